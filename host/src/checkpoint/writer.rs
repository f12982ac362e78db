//! The writer thread: the one that holds the store while a job runs.
//!
//! It takes snapshots as the workers capture them and writes them into the open transaction of the checkpoint, so the disk
//! works while other shards are still being captured; PREPARED joins the same transaction. Between checkpoints it folds
//! deltas into bases. After any error it reports and ends: the store is latched, and only a new process looks again.
//! Next room: [`crate::state::store`].

use super::PreparedCheckpoint;
use super::coordinator::Report;
use super::record::{CheckpointRecord, Decider};
use crate::ids::{AttemptId, CheckpointId, OperatorIndex, ShardId};
use crate::state::snapshot::InstanceDelta;
use crate::state::store::{OperatorIdentity, Preparing, Store, StoreError};
use std::sync::mpsc::{Receiver, SyncSender};

/// What the writer is asked to do, in order.
#[derive(Debug)]
pub enum Task {
    /// A checkpoint begins.
    Begin(CheckpointId),
    /// One shard's snapshot of the checkpoint that began.
    Add {
        /// The operator.
        operator: OperatorIndex,
        /// The shard.
        shard: ShardId,
        /// What changed.
        delta: InstanceDelta,
    },
    /// All snapshots were handed over: make PREPARED durable.
    Finish {
        /// Everything but the memory.
        record: Box<CheckpointRecord>,
        /// The checkpoint to mark COMMITTED with it.
        commits: Option<CheckpointId>,
    },
    /// Mark a checkpoint COMMITTED alone.
    Record(CheckpointId),
}

/// The writer's view of the job.
pub struct Writer {
    /// The store, open.
    pub store: Store,
    /// This life of the process.
    pub attempt: AttemptId,
    /// Operators in topological order.
    pub operators: Vec<OperatorIdentity>,
    /// Who decides.
    pub decider: Decider,
}

impl Writer {
    /// Works until the senders are gone, and gives the store back.
    pub fn run(mut self, tasks: &Receiver<Task>, reports: &SyncSender<Report>) -> Result<(), StoreError> {
        while let Ok(task) = tasks.recv() {
            match task {
                Task::Begin(id) => {
                    let Some(prepared) = self.checkpoint(id, tasks)? else { return Ok(()) };
                    let _ = reports.send(Report::Prepared(prepared));
                    self.store.fold()?;
                }
                Task::Record(id) => {
                    self.store.commit(id)?;
                    let _ = reports.send(Report::Recorded(id));
                }
                Task::Add { .. } | Task::Finish { .. } => unreachable!("a part of a checkpoint comes after its begin"),
            }
        }
        Ok(())
    }

    /// One checkpoint, without the threads: how the start checkpoint is prepared.
    pub fn prepare_start(&mut self, record: &CheckpointRecord) -> Result<PreparedCheckpoint, StoreError> {
        let Writer { store, attempt, operators, decider } = self;
        let preparing = store.prepare(record.id, *attempt)?;
        finish(preparing, record, operators, decider, None)
    }

    /// `None`: the job ended in the middle; the transaction is dropped.
    fn checkpoint(&mut self, id: CheckpointId, tasks: &Receiver<Task>) -> Result<Option<PreparedCheckpoint>, StoreError> {
        let Writer { store, attempt, operators, decider } = self;
        let mut preparing = store.prepare(id, *attempt)?;
        while let Ok(task) = tasks.recv() {
            match task {
                Task::Add { operator, shard, delta } => {
                    let identity = &operators[operator.index()];
                    preparing.add(&identity.operator, shard, &identity.plugin, &delta)?;
                }
                Task::Finish { record, commits } => {
                    return finish(preparing, &record, operators, decider, commits).map(Some);
                }
                Task::Begin(_) | Task::Record(_) => unreachable!("one checkpoint at a time"),
            }
        }
        Ok(None)
    }
}

fn finish(
    preparing: Preparing<'_>,
    record: &CheckpointRecord,
    operators: &[OperatorIdentity],
    decider: &Decider,
    commits: Option<CheckpointId>,
) -> Result<PreparedCheckpoint, StoreError> {
    let _ = operators;
    let stored = preparing.finish(record, decider, commits)?;
    Ok(PreparedCheckpoint { record: stored.record, digest: stored.digest })
}
