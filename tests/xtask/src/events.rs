//! Reads what a host logs with `--log json`: one JSON object a line, the event's fields beside `target` and `message`.
//!
//! Pure: text in, an [`Event`] out. Only the checkpoint events are understood; every other line is no event.
//! Next room: `host_process`, which reads the lines.

use serde_json::Value;

/// The targets of the events that are read here: a job's start, and its checkpoints.
const TARGETS: [&str; 2] = ["tidegate::job", "tidegate::checkpoint"];

/// One step of a checkpoint, or the start before the first.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Which step.
    pub step: Step,
    /// The checkpoint's number.
    pub checkpoint: u64,
    /// Records that the sources of this process have read; `None` where the step does not say.
    pub records_in: Option<u64>,
    /// From barrier to the end, in milliseconds.
    pub duration_ms: Option<f64>,
    /// The longest a worker stood still for this checkpoint, in microseconds.
    pub pause_us: Option<f64>,
}

/// Which step of a checkpoint an event tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The job goes on from this checkpoint: start-up and recovery are over, and nothing was read yet.
    Running,
    /// Its barrier was sent; it is unfinished from here on.
    Barrier,
    /// It is durable in the store, and not yet decided unless the store decides.
    Prepared,
    /// It is decided and applied by every sink; it is finished.
    Committed,
}

impl Event {
    /// Reads a log line; `None` if it tells of no checkpoint.
    pub fn parse(line: &str) -> Option<Event> {
        let value: Value = serde_json::from_str(line).ok()?;
        if !TARGETS.contains(&value.get("target")?.as_str()?) {
            return None;
        }
        let step = match value.get("message")?.as_str()? {
            "running from checkpoint" | "the job's bounded input was already read to the end" => Step::Running,
            "barrier" => Step::Barrier,
            "prepared" => Step::Prepared,
            "committed" => Step::Committed,
            _ => return None,
        };
        Some(Event {
            step,
            checkpoint: number(&value, "checkpoint")? as u64,
            records_in: number(&value, "records_in").map(|records| records as u64),
            duration_ms: number(&value, "duration_ms"),
            pause_us: number(&value, "pause_us"),
        })
    }
}

/// A number field; a newtype that logs itself through `Display` arrives as a string.
fn number(value: &Value, field: &str) -> Option<f64> {
    match value.get(field)? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, Step};

    #[test]
    fn a_committed_line_gives_its_numbers() {
        let line = r#"{"timestamp":"2026-01-01T00:00:00Z","level":"INFO","message":"committed","checkpoint":"7",
            "records_in":1200,"duration_ms":12,"pause_us":90.5,"target":"tidegate::checkpoint"}"#;
        let event = Event::parse(line).unwrap();
        assert_eq!((event.step, event.checkpoint), (Step::Committed, 7));
        assert_eq!((event.records_in, event.duration_ms, event.pause_us), (Some(1200), Some(12.0), Some(90.5)));
    }

    #[test]
    fn a_barrier_may_carry_its_number_only() {
        let line = r#"{"level":"INFO","message":"barrier","checkpoint":3,"target":"tidegate::checkpoint"}"#;
        let event = Event::parse(line).unwrap();
        assert_eq!((event.step, event.checkpoint, event.records_in), (Step::Barrier, 3, None));
    }

    #[test]
    fn the_end_of_start_up_is_an_event_of_the_job() {
        let line = r#"{"message":"running from checkpoint","job":"a","checkpoint":0,"start_ms":12.5,"target":"tidegate::job"}"#;
        let event = Event::parse(line).unwrap();
        assert_eq!((event.step, event.checkpoint), (Step::Running, 0));
    }

    #[test]
    fn other_lines_are_no_events() {
        for line in [
            "plain text",
            "{}",
            r#"{"message":"barrier","checkpoint":3,"target":"tidegate::kafka"}"#,
            r#"{"message":"elsewhere","checkpoint":3,"target":"tidegate::checkpoint"}"#,
            r#"{"message":"barrier","target":"tidegate::checkpoint"}"#,
        ] {
            assert_eq!(Event::parse(line), None, "{line}");
        }
    }
}
