//! `cargo xtask bench fraud`: what the main job costs, on files and on Kafka, with the shipped defaults.
//!
//! How it is measured. _Start-up_ (compiling the plugin, opening store and broker, checkpoint 0) ends before the first record
//! is read, with the host's line `running from checkpoint`: time and CPU time are counted from there to the process's end,
//! final checkpoint included. _CPU_ is the host's user + system time of all threads, from `/proc`, in steps of 10 ms; the broker is another
//! process and not counted. _Memory_ is the kernel's own peak (`VmHWM`). _Pause_ and _duration_ are the host's own numbers of
//! every checkpoint. The alerts are compared with the recount. Next room: `trial`.

use crate::events::{Event, Step};
use crate::failure::{Failure, Outcome};
use crate::generate::Plan;
use crate::host_process::{HostProcess, Launch};
use crate::kafka_session::KafkaSession;
use crate::recount::Verdict;
use crate::report::{Phases, grouped, percentile, table};
use crate::trial::{Payments, Transport, Trial, insist};
use crate::{building, places, setup};
use serde::Serialize;
use std::time::Duration;

/// Files, and partitions of the topics.
const SPLITS: usize = 4;
/// A host that prints nothing for so long hangs: it logs a checkpoint a second.
const PATIENCE: Duration = Duration::from_mins(2);

/// One row of the result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// `file` or `kafka`.
    pub input: &'static str,
    /// Records read.
    pub records: u64,
    /// Records a second, start-up excluded.
    pub records_per_second: f64,
    /// User and system time of the host for a million records, start-up excluded, in seconds.
    pub cpu_seconds_per_million: f64,
    /// The host's largest resident size, in bytes.
    pub peak_memory_bytes: u64,
    /// Checkpoints committed, checkpoint 0 not among them.
    pub checkpoints: u64,
    /// The longest stop of a worker in a checkpoint, median, in milliseconds; `None` if the host does not say.
    pub checkpoint_pause_ms_p50: Option<f64>,
    /// The same, 99th percentile.
    pub checkpoint_pause_ms_p99: Option<f64>,
    /// From barrier to commit, median, in milliseconds.
    pub checkpoint_duration_ms_p50: Option<f64>,
    /// The same, 99th percentile.
    pub checkpoint_duration_ms_p99: Option<f64>,
    /// Alerts that the recount expects.
    pub alerts: u64,
    /// Expected alerts that are missing.
    pub lost: u64,
    /// Alerts written more than once.
    pub duplicated: u64,
}

/// Which inputs to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inputs {
    /// Files only.
    File,
    /// Kafka only.
    Kafka,
    /// One after the other.
    Both,
}

/// How rows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A table each.
    Table,
    /// A JSON object each, one a line.
    Json,
}

/// Measures and prints one row an input.
///
/// # Errors
/// If a step fails, or if alerts are not exactly the recounted ones; the rows are printed before.
pub fn run(records: u64, inputs: Inputs, style: Style) -> Outcome<()> {
    let mut phases = Phases::default();
    let folder = places::target().join("bench");
    phases.run("look at the machine", || {
        setup::for_building()?;
        if inputs == Inputs::File { Ok(()) } else { setup::for_kafka() }
    })?;
    phases.run("build the host and the plugin", || {
        building::host()?;
        building::fraud_detector()?;
        if inputs == Inputs::File { Ok(()) } else { building::kafka_session() }
    })?;
    let payments = phases.run("generate payments", || Payments::generate(&folder, Plan::new(records), SPLITS))?;
    let expected = phases.run("recount", || payments.recount())?;
    let mut transports = Vec::new();
    if inputs != Inputs::Kafka {
        transports.push(("file", Transport::Files));
    }
    if inputs != Inputs::File {
        transports.push(("kafka", Transport::Kafka(phases.run("start a broker", KafkaSession::start)?)));
    }
    let mut verdicts = Vec::new();
    for (input, transport) in transports {
        let mut trial = Trial::new(&folder, transport);
        phases.run(&format!("load the payments ({input})"), || trial.load(&payments))?;
        let launch = trial.new_round(SPLITS, None)?;
        let measured = phases.run(&format!("run ({input})"), || measure(&launch))?;
        let verdict = phases.run(&format!("compare ({input})"), || trial.verdict(&expected))?;
        print(&measured.row(input, records, &verdict), style)?;
        verdicts.push(verdict);
    }
    verdicts.iter().try_for_each(insist)
}

/// A run of the host, from checkpoint 0 to its end.
#[derive(Debug, Default)]
struct Measured {
    seconds: f64,
    cpu_seconds: f64,
    peak_memory_bytes: u64,
    checkpoints: u64,
    pauses_ms: Vec<f64>,
    durations_ms: Vec<f64>,
}

fn measure(launch: &Launch) -> Outcome<Measured> {
    let mut host = HostProcess::start(launch)?;
    let mut measured = Measured::default();
    let mut start_up = None;
    while let Some(seen) = host.next_event(PATIENCE)? {
        match seen.event.step {
            Step::Committed => measured.take(&seen.event),
            Step::Running => {
                let cpu_seconds = host.cpu_seconds().ok_or_else(|| host.complaint("the host ended at its start"))?;
                start_up = Some((seen.at, cpu_seconds));
            }
            Step::Barrier | Step::Prepared => {}
        }
    }
    let (at, cpu_seconds) = start_up.ok_or_else(|| host.complaint("the host did not say when it was running"))?;
    let ended = host.finish(PATIENCE)?;
    measured.seconds = (ended.at - at).as_secs_f64();
    measured.cpu_seconds = ended.cpu_seconds - cpu_seconds;
    measured.peak_memory_bytes = ended.peak_memory_bytes;
    Ok(measured)
}

impl Measured {
    fn take(&mut self, event: &Event) {
        self.checkpoints += 1;
        self.durations_ms.extend(event.duration_ms);
        self.pauses_ms.extend(event.pause_us.map(|pause| pause / 1_000.0));
    }

    fn row(&self, input: &'static str, records: u64, verdict: &Verdict) -> Row {
        Row {
            input,
            records,
            records_per_second: records as f64 / self.seconds,
            cpu_seconds_per_million: self.cpu_seconds / (records as f64 / 1e6),
            peak_memory_bytes: self.peak_memory_bytes,
            checkpoints: self.checkpoints,
            checkpoint_pause_ms_p50: percentile(&self.pauses_ms, 50.0),
            checkpoint_pause_ms_p99: percentile(&self.pauses_ms, 99.0),
            checkpoint_duration_ms_p50: percentile(&self.durations_ms, 50.0),
            checkpoint_duration_ms_p99: percentile(&self.durations_ms, 99.0),
            alerts: verdict.expected,
            lost: verdict.lost,
            duplicated: verdict.duplicated,
        }
    }
}

fn print(row: &Row, style: Style) -> Outcome<()> {
    if style == Style::Json {
        let text = serde_json::to_string(row).map_err(|error| Failure::Job(error.to_string()))?;
        println!("{text}");
        return Ok(());
    }
    let both = |p50: Option<f64>, p99: Option<f64>| match (p50, p99) {
        (Some(p50), Some(p99)) => format!("p50 {p50:.2} ms, p99 {p99:.2} ms"),
        _ => "not logged".to_owned(),
    };
    println!(
        "\n{}, {} records\n{}",
        row.input,
        grouped(row.records),
        table(&[
            ("records/s", grouped(row.records_per_second.round() as u64)),
            ("CPU-seconds per million records", format!("{:.2}", row.cpu_seconds_per_million)),
            ("peak memory", format!("{} MiB", row.peak_memory_bytes >> 20)),
            ("checkpoints", row.checkpoints.to_string()),
            ("checkpoint pause", both(row.checkpoint_pause_ms_p50, row.checkpoint_pause_ms_p99)),
            ("checkpoint duration", both(row.checkpoint_duration_ms_p50, row.checkpoint_duration_ms_p99)),
            ("alerts", grouped(row.alerts)),
            ("lost", row.lost.to_string()),
            ("duplicated", row.duplicated.to_string()),
        ])
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Measured, measure};
    use crate::host_process::Launch;
    use crate::recount::Verdict;
    use std::fs;
    use std::path::Path;

    /// A host of a few lines, run as `sh run job.toml …` in the job's folder.
    fn host(folder: &Path, script: &str) -> Launch {
        let event = "event() { echo \"{\\\"target\\\":\\\"tidegate::checkpoint\\\",\\\"message\\\":\\\"committed\\\",\
                     \\\"checkpoint\\\":$1,\\\"records_in\\\":$2,\\\"duration_ms\\\":$1,\\\"pause_us\\\":500}\"; }\n";
        let running = "running() { echo '{\"target\":\"tidegate::job\",\"message\":\"running from checkpoint\",\"checkpoint\":0}'; }\n";
        fs::write(folder.join("run"), format!("{event}{running}{script}")).unwrap();
        Launch { program: "/bin/sh".into(), job: folder.join("job.toml"), log: folder.join("host.log") }
    }

    #[test]
    fn start_up_is_left_out_of_time_and_cpu() {
        let folder = tempfile::tempdir().unwrap();
        let burn = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
        let launch = host(folder.path(), &format!("{burn}; {burn}; running; sleep 0.3; event 1 10; event 2 20"));
        let measured = measure(&launch).unwrap();
        assert_eq!(measured.checkpoints, 2);
        assert_eq!((measured.durations_ms, measured.pauses_ms), (vec![1.0, 2.0], vec![0.5, 0.5]));
        assert!((0.3..20.0).contains(&measured.seconds), "{} s", measured.seconds);
        assert!(measured.cpu_seconds < 0.1, "{} CPU-s after start-up", measured.cpu_seconds);
        assert!(measured.peak_memory_bytes > 0);
    }

    #[test]
    fn a_host_that_does_not_say_when_it_runs_cannot_be_measured() {
        let folder = tempfile::tempdir().unwrap();
        let error = measure(&host(folder.path(), "event 1 1000")).unwrap_err().to_string();
        assert!(error.contains("did not say when it was running"), "{error}");
    }

    #[test]
    fn a_row_counts_by_the_million() {
        let measured = Measured { seconds: 4.0, cpu_seconds: 10.0, ..Measured::default() };
        let row = measured.row("file", 5_000_000, &Verdict::default());
        assert!((row.cpu_seconds_per_million - 2.0).abs() < 1e-9);
        assert!((row.records_per_second - 1_250_000.0).abs() < 1e-6);
        let json = serde_json::to_value(&row).unwrap();
        for field in
            ["input", "records_per_second", "cpu_seconds_per_million", "peak_memory_bytes", "lost", "duplicated"]
        {
            assert!(!json[field].is_null(), "{field} in {json}");
        }
    }
}
