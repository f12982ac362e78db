//! Is the model cluster like a real one? The same scripts run on both, and must end alike and leave the same topics.
//!
//! A script is a few lines of text (`tests/simulation/scripts.txt` says which there are); a step that a side cannot take is a
//! panic. Next rooms: `model`, `real`, `tests/tests/simulation_model.rs`.

mod model;
mod real;

use super::broker::{MARKER, PARTITIONS};
use crate::broker::Broker;
use crate::cluster::Cluster;
use model::Model;
use real::{Brokers, Real};
use std::sync::Arc;

/// A script.
#[derive(Debug, Clone)]
pub struct Script {
    /// What it shows.
    pub name: String,
    /// What is done, and how each step ends.
    pub steps: Vec<(Step, Outcome)>,
    sees: Visible,
}

impl Script {
    /// The partition that has no leader for a while, if one has none.
    pub fn stranded(&self) -> Option<usize> {
        self.steps.iter().find_map(|(step, _)| match step {
            Step::Fault(_, Kind::Strand(partition), _) => Some(*partition),
            _ => None,
        })
    }
}

/// What a `read_committed` reader gets of each partition, the marker's last.
type Visible = [Vec<String>; PARTITIONS];

/// One thing that is done. The first field is the producer's name in the script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Takes the transactional id.
    Init(String, Manner),
    /// Strikes the producer's next request of a kind.
    Fault(String, Kind, Api),
    /// A value to a partition of the sink.
    Produce(String, usize, String),
    /// The checkpoint of this number.
    Commit(String, u64),
    /// The process is gone.
    Kill(String),
    /// The broker gets the oldest request that was kept back.
    Deliver(String),
    /// The transaction's time-out ends it.
    Expire(String),
    /// The broker is killed and started.
    Restart,
}

/// How a producer is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Manner {
    is_kept: bool,
    is_hasty: bool,
    is_brief: bool,
}

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The broker acts, and the producer is cut off.
    LoseReply,
    /// The broker acts, and no reply of the connection arrives any more.
    DropReplies,
    /// The broker never sees it.
    CutBefore,
    /// It is kept back, and the producer is cut off and asks again.
    Hold,
    /// It is kept back, and the producer waits.
    Stall,
    /// It arrives while this partition has no leader: the control record that it brings about is lost there (KAFKA-20734).
    Strand(usize),
}

/// Which request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// `InitProducerId`.
    Init,
    /// `AddPartitionsToTxn`.
    Add,
    /// `Produce`.
    Produce,
    /// `EndTxn`.
    End,
}

/// How a step ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Done,
    /// A newer producer has the transactional id.
    Fenced,
    /// It is not what the transaction's state allows.
    Refused,
    /// Nobody can say.
    Unknown,
    /// The coordinator says that it is done, and a partition is open still.
    Open,
}

/// Who takes steps.
trait Side {
    fn step(&mut self, step: &Step) -> Outcome;

    /// Called once, when nothing is on its way any more.
    fn visible(&mut self) -> Visible;

    /// Faults that waited in vain for their request.
    fn idle_faults(&self) -> usize;
}

/// Reads scripts.
///
/// # Panics
///
/// At a line that is not of the language.
pub fn scripts(text: &str) -> Vec<Script> {
    let mut scripts: Vec<Script> = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with('#') && !line.is_empty()) {
        if let Some(name) = line.strip_prefix("script ") {
            scripts.push(Script { name: name.to_owned(), steps: Vec::new(), sees: Visible::default() });
            continue;
        }
        let script = scripts.last_mut().expect("the first line begins a script");
        let understood = read_line(script, line);
        assert!(understood.is_some(), "line {} is not of the language: `{line}`", at + 1);
    }
    scripts
}

fn read_line(script: &mut Script, line: &str) -> Option<()> {
    let (line, outcome) = match line.split_once(" -> ") {
        None => (line, Outcome::Done),
        Some((line, "fenced")) => (line, Outcome::Fenced),
        Some((line, "refused")) => (line, Outcome::Refused),
        Some((line, "unknown")) => (line, Outcome::Unknown),
        Some((line, "open")) => (line, Outcome::Open),
        Some(_) => return None,
    };
    let words: Vec<&str> = line.split_whitespace().collect();
    let own = |word: &str| word.to_owned();
    let step = match words[..] {
        ["sees"] => return Some(()),
        ["sees", partition, ref values @ ..] => {
            *script.sees.get_mut(read_partition(partition)?)? = values.iter().map(|value| own(value)).collect();
            return Some(());
        }
        ["init", producer, ref options @ ..] => {
            let mut manner = Manner::default();
            for option in options {
                match *option {
                    "without-rotation" => manner.is_kept = true,
                    "hasty" => manner.is_hasty = true,
                    "brief" => manner.is_brief = true,
                    _ => return None,
                }
            }
            Step::Init(own(producer), manner)
        }
        ["fault", producer, kind, api] => Step::Fault(own(producer), read_kind(kind)?, read_api(api)?),
        ["produce", producer, partition @ ("0" | "1"), value] => {
            Step::Produce(own(producer), partition.parse().ok()?, own(value))
        }
        ["commit", producer, checkpoint] => Step::Commit(own(producer), checkpoint.parse().ok()?),
        ["kill", producer] => Step::Kill(own(producer)),
        ["deliver", producer] => Step::Deliver(own(producer)),
        ["expire", producer] => Step::Expire(own(producer)),
        ["restart"] => Step::Restart,
        _ => return None,
    };
    script.steps.push((step, outcome));
    Some(())
}

fn read_partition(word: &str) -> Option<usize> {
    if word == "marker" { Some(MARKER) } else { word.parse().ok() }
}

fn read_kind(word: &str) -> Option<Kind> {
    Some(match word {
        "lose-reply" => Kind::LoseReply,
        "drop-replies" => Kind::DropReplies,
        "cut-before" => Kind::CutBefore,
        "hold" => Kind::Hold,
        "stall" => Kind::Stall,
        strand => Kind::Strand(read_partition(strand.strip_prefix("strand-")?)?),
    })
}

fn read_api(word: &str) -> Option<Api> {
    Some(match word {
        "init" => Api::Init,
        "add" => Api::Add,
        "produce" => Api::Produce,
        "end" => Api::End,
        _ => return None,
    })
}

/// Runs a script on the model.
pub fn on_model(script: &Script) -> Result<(), String> {
    run(script, &mut Model::new())
}

/// Runs a script on a real broker, which has topics of its own for each `job`.
pub fn on_broker(script: &Script, broker: &Broker, job: &str) -> Result<(), String> {
    run(script, &mut Real::new(Brokers::One(broker), job, None))
}

/// Runs a script in which a partition has no leader for a while on two real brokers.
pub fn on_cluster(script: &Script, cluster: &Arc<Cluster>, job: &str) -> Result<(), String> {
    run(script, &mut Real::new(Brokers::Two(Arc::clone(cluster)), job, script.stranded()))
}

/// What the script says is compared with what the side does, so two sides that both pass are alike.
fn run(script: &Script, side: &mut impl Side) -> Result<(), String> {
    for (step, expected) in &script.steps {
        let outcome = side.step(step);
        if outcome != *expected {
            return Err(format!("`{}`: {step:?} ended as {outcome:?}, not as {expected:?}", script.name));
        }
    }
    if side.idle_faults() > 0 {
        return Err(format!("`{}`: a fault did not meet its request", script.name));
    }
    let visible = side.visible();
    if visible != script.sees {
        return Err(format!("`{}` left {visible:?}, not {:?}", script.name, script.sees));
    }
    Ok(())
}
