//! Runs a job to its end and kills it on the way, each time in the middle of a checkpoint.
//!
//! A kill counts only if it hit: the barrier of a checkpoint was logged and its commit was not. One that came too late is
//! repeated. Decides when to kill and what was hit; `host_process` does it. Next room: `demo`, which tells of it.

use crate::events::Step;
use crate::failure::Outcome;
use crate::host_process::{Ended, HostProcess, Launch, Seen};
use std::time::{Duration, Instant};

/// A host that prints nothing for so long hangs; it logs every checkpoint, and the slowest start is a matter of seconds.
const PATIENCE: Duration = Duration::from_mins(2);

/// A kill that hit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kill {
    /// Records that the sources were known to have read.
    pub record: u64,
    /// The checkpoint that it left unfinished.
    pub checkpoint: u64,
    /// From the next start to its recovery, in seconds.
    pub recovered_in: f64,
}

/// A whole run.
#[derive(Debug, Clone)]
pub struct Run {
    /// The kills that hit, in order.
    pub kills: Vec<Kill>,
    /// Kills that came too late and were repeated.
    pub missed: u32,
    /// Time with a host running, all its lives, in seconds.
    pub seconds: f64,
    /// The last host's end.
    pub ended: Ended,
}

/// How a run with kills came out.
#[derive(Debug)]
pub enum Attempt {
    /// All kills hit and the job came to its end.
    Done(Run),
    /// The job came to its end before every kill had hit; it must be set up anew.
    EndedEarly {
        /// How many kills had hit by then.
        hit: usize,
    },
}

/// Runs the job; kills it at the first unfinished checkpoint after each of `records` was read; lets it end.
///
/// # Errors
/// If a host hangs or ends with an error; its log's end is in the text.
pub fn run(launch: &Launch, records: &[u64]) -> Outcome<Attempt> {
    let mut kills: Vec<Kill> = Vec::new();
    let mut missed = 0;
    let mut seconds = 0.0;
    let mut known = Known::default();
    loop {
        let goal = records.get(kills.len()).copied();
        let is_restart = missed > 0 || !kills.is_empty();
        let host = HostProcess::start(launch)?;
        let began = host.began();
        let life = live(host, goal, &mut known)?;
        if is_restart && let Some(kill) = kills.last_mut().filter(|kill| kill.recovered_in == 0.0) {
            kill.recovered_in = life.recovered_in;
        }
        seconds += (life.end - began).as_secs_f64();
        match life.outcome {
            Death::Hit { record, checkpoint } => kills.push(Kill { record, checkpoint, recovered_in: 0.0 }),
            Death::Missed => missed += 1,
            Death::End(ended) if goal.is_none() => return Ok(Attempt::Done(Run { kills, missed, seconds, ended })),
            Death::End(_) => return Ok(Attempt::EndedEarly { hit: kills.len() }),
        }
    }
}

/// What the events have told so far, over all lives of the job.
///
/// A host counts the records of its own life. The next life begins at the last checkpoint, so what was read by then is
/// added to its count.
#[derive(Debug, Default)]
struct Known {
    before: u64,
    records: u64,
    committed: u64,
    unfinished: Option<u64>,
}

impl Known {
    fn begin_life(&mut self) {
        self.before = self.committed;
        self.records = self.before;
        self.unfinished = None;
    }

    fn take(&mut self, seen: &Seen) {
        if let Some(records) = seen.event.records_in {
            self.records = self.before + records;
        }
        match seen.event.step {
            Step::Barrier => self.unfinished = Some(seen.event.checkpoint),
            Step::Committed => {
                self.committed = self.records;
                self.unfinished = self.unfinished.filter(|checkpoint| *checkpoint != seen.event.checkpoint);
            }
            Step::Prepared | Step::Running => {}
        }
    }
}

struct Life {
    outcome: Death,
    end: Instant,
    recovered_in: f64,
}

enum Death {
    Hit { record: u64, checkpoint: u64 },
    Missed,
    End(Ended),
}

fn live(mut host: HostProcess, goal: Option<u64>, known: &mut Known) -> Outcome<Life> {
    known.begin_life();
    let began = host.began();
    let mut recovered_in = 0.0;
    while let Some(seen) = host.next_event(PATIENCE)? {
        known.take(&seen);
        if seen.event.step == Step::Running {
            recovered_in = (seen.at - began).as_secs_f64();
        }
        let Some(checkpoint) = known.unfinished else { continue };
        if goal.is_none_or(|goal| known.records < goal) {
            continue;
        }
        let rest = host.kill()?;
        let end = Instant::now();
        for seen in &rest {
            known.take(seen);
        }
        let outcome = if known.unfinished == Some(checkpoint) {
            Death::Hit { record: known.records, checkpoint }
        } else {
            Death::Missed
        };
        return Ok(Life { outcome, end, recovered_in });
    }
    let ended = host.finish(PATIENCE)?;
    Ok(Life { outcome: Death::End(ended), end: ended.at, recovered_in })
}

#[cfg(test)]
mod tests {
    use super::{Attempt, run};
    use crate::host_process::Launch;
    use std::fmt::Write as _;
    use std::fs;
    use std::path::Path;

    /// A host of a few lines: life n prints `lives[n - 1]`; `hang` waits to be killed.
    fn host(folder: &Path, lives: &[&str]) -> Launch {
        let mut script = String::from(
            "event() { [ $1 = running ] && set -- 'running from checkpoint' $2 $3; echo \"{\\\"target\\\":\\\"tidegate::checkpoint\\\",\\\"message\\\":\\\"$1\\\",\
             \\\"checkpoint\\\":$2,\\\"records_in\\\":$3}\"; }\nhang() { exec sleep 100; }\n\
             echo life >> lives\ncase $(wc -l < lives) in\n",
        );
        for (index, life) in lives.iter().enumerate() {
            writeln!(script, "{}) {life};;", index + 1).unwrap();
        }
        script += "esac\n";
        // `sh run job.toml …` in the job's folder reads the script called `run`. (A script that is executed itself meets
        // "text file busy" when another test's thread starts a process while it is being written.)
        fs::write(folder.join("run"), script).unwrap();
        Launch { program: "/bin/sh".into(), job: folder.join("job.toml"), log: folder.join("host.log") }
    }

    #[test]
    fn it_kills_in_the_first_unfinished_checkpoint_after_the_record() {
        let folder = tempfile::tempdir().unwrap();
        let first = "event barrier 1 0; event committed 1 100; event barrier 2 100; event committed 2 600; \
                     event barrier 3 650; hang";
        // The second life counts from zero again: 200 of its own are 800 in all.
        let second = "event running 2 0; event committed 4 90; event barrier 5 200; hang";
        let launch = host(folder.path(), &[first, second, "event running 4 0; event committed 6 310"]);
        let Attempt::Done(run) = run(&launch, &[500, 800]).unwrap() else { panic!("ended early") };
        assert_eq!((run.kills.len(), run.missed), (2, 0));
        assert_eq!((run.kills[0].record, run.kills[0].checkpoint), (650, 3));
        assert_eq!((run.kills[1].record, run.kills[1].checkpoint), (800, 5));
        assert!(run.kills[0].recovered_in > 0.0 && run.seconds >= run.kills[0].recovered_in);
        assert!(fs::read_to_string(&launch.log).unwrap().contains("\"message\":\"running from checkpoint\""));
    }

    #[test]
    fn a_kill_that_came_too_late_is_repeated() {
        let folder = tempfile::tempdir().unwrap();
        // The first life logs barrier and commit in one write: whoever kills at the barrier finds the commit in the pipe.
        let late = "{ event barrier 1 900; event committed 1 900; } > both; cat both; hang";
        let launch = host(folder.path(), &[late, "event barrier 2 950; hang", "event committed 3 1000"]);
        let Attempt::Done(run) = run(&launch, &[500]).unwrap() else { panic!("ended early") };
        assert_eq!((run.kills.len(), run.missed), (1, 1));
        assert_eq!(run.kills[0].checkpoint, 2);
    }

    #[test]
    fn a_job_that_ends_before_the_kill_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let launch = host(folder.path(), &["event barrier 1 100; event committed 1 1000"]);
        assert!(matches!(run(&launch, &[500]).unwrap(), Attempt::EndedEarly { hit: 0 }));
    }

    #[test]
    fn a_host_that_fails_shows_the_end_of_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let launch = host(folder.path(), &["echo 'error: no such plugin' >&2; exit 78"]);
        let error = run(&launch, &[]).unwrap_err().to_string();
        assert!(error.contains("78") && error.contains("no such plugin"), "{error}");
    }
}
