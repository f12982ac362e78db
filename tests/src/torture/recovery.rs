//! How long a killed job needs until it commits again when it has much state, and how much of that is the state's.
//!
//! The same job is killed and started with state and without; the difference is what state costs beyond the process's own
//! start. Judges no output. Next room: [`super::life`].

use super::feeder::{Feeder, FileFeeder};
use super::life::Life;
use super::violation::Violation;
use crate::scene::{Scene, plugin};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use tidegate::state::inspect::inspect;

const SHARDS: usize = 8;
/// Starts that are measured.
const STARTS: usize = 9;
/// Each life goes on for so long after its first commit, so that deltas stand behind the bases.
const LIFE: Duration = Duration::from_millis(700);
/// A host that has not committed for so long hangs.
const COMMIT_MAX: Duration = Duration::from_mins(2);
const MIB: f64 = 1024.0 * 1024.0;

/// Times from SIGKILL to the first commit afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Memory of the instances, as the store knows it, in bytes.
    pub state_bytes: u64,
    /// Ascending.
    pub times: Vec<Duration>,
}

/// What state costs at a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// With state.
    pub with: Recovery,
    /// The same job without.
    pub without: Recovery,
}

impl Recovery {
    /// The one in the middle.
    pub fn median(&self) -> Duration {
        self.times[self.times.len() / 2]
    }

    fn line(&self) -> String {
        let state = self.state_bytes as f64 / MIB;
        let (median, worst) = (self.median(), self.times[self.times.len() - 1]);
        format!("state {state:7.1} MiB: SIGKILL to first commit median {median:.2?}, worst {worst:.2?}")
    }
}

impl Measured {
    /// What state costs beyond the process's start: the difference of the medians.
    pub fn beyond(&self) -> Duration {
        self.with.median().saturating_sub(self.without.median())
    }

    /// Three lines for a person.
    pub fn report(&self) -> String {
        format!("{}\n{}\nbeyond process start {:.2?}", self.without.line(), self.with.line(), self.beyond())
    }
}

/// Kills and starts a job with so much state, and one without.
///
/// # Errors
/// If a host does not commit or ends by itself.
pub fn measure(program: &str, folder: &Path, state_bytes: usize) -> Result<Measured, Violation> {
    let mut measured = Vec::new();
    for (name, bytes) in [("without", 0), ("with", state_bytes)] {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).map_err(|error| failed(&error))?;
        measured.push(recover(program, &folder, bytes)?);
    }
    let with = measured.pop().expect("two were measured");
    let without = measured.pop().expect("two were measured");
    Ok(Measured { with, without })
}

fn recover(program: &str, folder: &Path, state_bytes: usize) -> Result<Recovery, Violation> {
    let mut feeder = Feeder::Files(FileFeeder::new(folder).map_err(|error| failed(&error))?);
    let mut scene = Scene::kept(program, folder);
    scene.set_variable("TIDEGATE_PACE", Some("20".into()));
    scene.write_job(&job(state_bytes / SHARDS));
    let mut times = Vec::new();
    let mut killed_at = None;
    for start in 0..=STARTS {
        // The pace is known, so is how far the input must be ahead.
        feeder.feed(start as u64 * 100_000).map_err(|error| failed(&error))?;
        let mut life = Life::start(&scene, None);
        while !life.looks_committed() {
            if let Some(status) = life.running.ended() {
                return Err(life.unexpected(status));
            }
            if life.began.elapsed() > COMMIT_MAX {
                return Err(Violation::Host("it does not commit".to_owned()));
            }
            thread::sleep(Duration::from_millis(1));
        }
        times.extend(killed_at.map(|at: Instant| at.elapsed()));
        thread::sleep(LIFE);
        killed_at = Some(Instant::now());
        life.running.signal(libc::SIGKILL);
        while life.running.ended().is_none() {
            thread::sleep(Duration::from_micros(200));
        }
    }
    let inspection = inspect(&folder.join("state.redb")).map_err(|error| Violation::Host(error.to_string()))?;
    let shards = inspection.operators.iter().flat_map(|operator| &operator.shards);
    let state_bytes = shards.map(|shard| shard.memory_bytes).sum();
    times.sort_unstable();
    Ok(Recovery { state_bytes, times })
}

fn failed(error: &std::io::Error) -> Violation {
    Violation::Host(format!("the input cannot be written: {error}"))
}

fn job(shard_bytes: usize) -> String {
    format!(
        "format = 1\nname = \"state\"\nshards = {SHARDS}\n\n[checkpoint]\ninterval = \"10ms\"\n\n\
         [source.payments]\nkind = \"file\"\npath = \"payments\"\nkey = \"/user_id\"\n\
         timestamp = {{ field = \"/timestamp\", format = \"unix_ms\" }}\n\n\
         [operator.hold]\nplugin = \"{}\"\nmemory = \"512MiB\"\nconfig = {{ role = \"hold\", bytes = {shard_bytes} }}\n\
         inputs = {{ main = \"payments\" }}\n\n\
         [sink.out]\nkind = \"file\"\npath = \"out.jsonl\"\nfrom = [\"hold.out\"]\n",
        plugin("steps").display()
    )
}
