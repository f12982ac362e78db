//! What the model's processes share: the clock, the cluster, the volumes, the input, the choices, the judge.
//!
//! And the words in which a step says what came of it. Next rooms: `process`, `world`.

use super::broker::Broker;
use super::choices::Choices;
use super::client::Network;
use super::coverage::{Coverage, Fault, Moment};
use super::files::Files;
use super::judge::Judge;
use super::source::Upstream;
use super::store::{SPLITS, Store};
use tidegate::checkpoint::recovery::Conflict;

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing can be done until something else happens.
    Waiting,
    /// Something was done, and more is left.
    Worked,
    /// It is done.
    Finished,
}

/// Why a process ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Death {
    /// A new start may help (exit 75).
    Failed(&'static str),
    /// The same, of a commit of which nobody knows whether it happened.
    CommitUnknown,
    /// A person must look (exit 78).
    Stop(Stop),
}

/// Why a person must look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stop {
    Conflict(Conflict),
    /// A transaction stays undecided.
    Undecided,
    /// Commit said OK and the marker says otherwise.
    OtherMarker,
    /// The output file is not what the checkpoint left.
    File,
    /// The disk failed.
    Disk,
    /// The source's topic is another one.
    Source,
    /// The marker's topic is another one.
    Decider,
}

/// What a run's world looks like.
#[derive(Debug, Clone, Default)]
pub(super) struct Shape {
    pub(super) kafka: bool,
    pub(super) file: bool,
    pub(super) shards: usize,
    pub(super) threads: usize,
    pub(super) from_latest: bool,
    /// From record to record of a source thread, at least.
    pub(super) pace_ms: u64,
    pub(super) network_faults_per_mille: u64,
    pub(super) disk_faults_per_mille: u64,
}

impl Shape {
    /// The first stage's shard of a key.
    pub(super) fn key_shard(&self, key: u8) -> usize {
        key as usize % self.shards
    }

    /// The second stage's shard of a group.
    pub(super) fn group_shard(&self, group: u8) -> usize {
        (group as usize + 1) % self.shards
    }
}

/// A disk with a store and output files.
#[derive(Debug)]
pub(super) struct Volume {
    pub(super) store: Store,
    pub(super) files: Files,
    /// A copy that somebody made.
    pub(super) backup: Option<Store>,
    /// The newer store, while the copy stands in its place.
    pub(super) newer: Option<Store>,
    /// Nobody starts the job here any more.
    pub(super) is_retired: bool,
    /// The supervisor starts the job no earlier, and later with each failure.
    pub(super) start_at_ms: u64,
    failures: u32,
}

impl Volume {
    pub(super) fn new(store: Store) -> Volume {
        Volume {
            store,
            files: Files::default(),
            backup: None,
            newer: None,
            is_retired: false,
            start_at_ms: 0,
            failures: 0,
        }
    }

    /// A process ended: the supervisor waits a while.
    pub(super) fn failed(&mut self, now_ms: u64) {
        self.failures += 1;
        self.start_at_ms = now_ms + (10 << self.failures.min(8));
    }
}

/// All of it.
pub(super) struct Shared {
    pub(super) clock_ms: u64,
    pub(super) shape: Shape,
    pub(super) choices: Choices,
    pub(super) broker: Broker,
    pub(super) network: Network,
    pub(super) volumes: Vec<Volume>,
    pub(super) upstream: [Upstream; SPLITS],
    pub(super) judge: Judge,
    pub(super) coverage: Coverage,
    /// Faults that may still strike.
    pub(super) faults_left: u32,
    /// Where the process that steps now is.
    pub(super) moment: Moment,
    /// Faults that wait for a moment, the last one first, so that rare pairs are met as well.
    pub(super) ambush: Vec<(Fault, Moment)>,
    /// The last attempt that began.
    pub(super) attempts: u32,
    /// What happened, if somebody wants to read it.
    pub(super) log: Option<Vec<String>>,
}

impl Shared {
    pub(super) fn may_fault(&self) -> bool {
        self.faults_left > 0
    }

    /// Whether a fault that can strike here does so now.
    pub(super) fn strikes(&mut self, faults: &[Fault], per_mille: u64) -> bool {
        let waits = self.ambush.last().is_some_and(|(fault, moment)| *moment == self.moment && faults.contains(fault));
        self.may_fault() && self.choices.chance(if waits { 500 } else { per_mille })
    }

    pub(super) fn is_away(&self) -> bool {
        self.clock_ms < self.broker.away_until_ms
    }

    /// A fault struck the process that steps now.
    pub(super) fn struck(&mut self, fault: Fault) {
        self.faults_left = self.faults_left.saturating_sub(1);
        if self.ambush.last() == Some(&(fault, self.moment)) {
            self.ambush.pop();
        }
        self.coverage.struck(fault, self.moment);
    }

    /// Writes a line of the trace.
    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            log.push(format!("{:>6} ms  {}", self.clock_ms, line()));
        }
    }

    /// The store of a process; a process whose volume was taken away has none.
    pub(super) fn store(&mut self, volume: Option<usize>) -> Result<&mut Store, Death> {
        let volume = volume.ok_or(Death::Failed("the volume is gone"))?;
        Ok(&mut self.volumes[volume].store)
    }

    /// The files of a process.
    pub(super) fn files(&mut self, volume: Option<usize>) -> Result<&mut Files, Death> {
        let volume = volume.ok_or(Death::Failed("the volume is gone"))?;
        Ok(&mut self.volumes[volume].files)
    }

    /// One durable transaction of a store; it may fail, and hide that it is durable all the same.
    pub(super) fn write_store(&mut self, volume: Option<usize>, write: impl FnOnce(&mut Store)) -> Result<(), Death> {
        let per_mille = self.shape.disk_faults_per_mille;
        let fails = self.strikes(&[Fault::StoreErrorDurable, Fault::StoreErrorLost], per_mille);
        let is_durable = !fails || self.choices.chance(500);
        let store = self.store(volume)?;
        if is_durable {
            write(store);
        }
        if !fails {
            return Ok(());
        }
        self.struck(if is_durable { Fault::StoreErrorDurable } else { Fault::StoreErrorLost });
        self.note(|| format!("the store's commit fails, and is {}durable", if is_durable { "" } else { "not " }));
        Err(Death::Failed("the store failed"))
    }

    /// Whether the next fsync of a file fails.
    pub(super) fn sync_fails(&mut self) -> bool {
        let fails = self.strikes(&[Fault::DiskError], self.shape.disk_faults_per_mille);
        if fails {
            self.struck(Fault::DiskError);
            self.note(|| "an fsync fails with EIO".to_owned());
        }
        fails
    }
}
