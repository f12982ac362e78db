//! The writer thread: the one that holds the store while a job runs.
//!
//! It takes snapshots as the workers capture them and writes them into the open transaction of the checkpoint, so the disk
//! works while other shards are still being captured; PREPARED joins the same transaction. Between checkpoints it folds
//! deltas into bases. After any error it reports and ends: the store is latched, and only a new process looks again.
//! Next room: [`crate::state::store`].

use super::PreparedCheckpoint;
use super::messages::{Report, Task};
use super::record::{CheckpointRecord, Decider};
use crate::ids::{AttemptId, CheckpointId};
use crate::probe;
use crate::state::StoreError;
use crate::state::store::{OperatorIdentity, Preparing, Store};
use std::sync::mpsc::{Receiver, SyncSender};

/// Stored snapshots that one fold between two checkpoints may read, in bytes: at most some 100 ms of work, so that the next
/// checkpoint does not wait for it.
const FOLD_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The writer's view of the job.
pub struct Writer {
    /// The store, open.
    pub store: Store,
    /// This life of the process.
    pub attempt: AttemptId,
    /// Operators in topological order.
    pub operators: Vec<OperatorIdentity>,
    /// The operators' artifacts as their authors built them, in the same order.
    pub artifacts: Vec<Vec<u8>>,
    /// The job file's text, kept beside the checkpoints.
    pub job_file: String,
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
                    self.store.fold(FOLD_BYTES_MAX)?;
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

    /// The start checkpoint, without the threads.
    pub fn prepare_start(&mut self, record: &CheckpointRecord) -> Result<PreparedCheckpoint, StoreError> {
        let Writer { store, attempt, operators, artifacts, job_file, decider } = self;
        let mut preparing = store.prepare(record.id, *attempt)?;
        identify(&mut preparing, operators, artifacts, job_file)?;
        finish(preparing, record, decider, None)
    }

    /// `None`: the job ended in the middle; the transaction is dropped.
    fn checkpoint(
        &mut self,
        id: CheckpointId,
        tasks: &Receiver<Task>,
    ) -> Result<Option<PreparedCheckpoint>, StoreError> {
        let Writer { store, attempt, operators, artifacts, job_file, decider } = self;
        let mut preparing = store.prepare(id, *attempt)?;
        identify(&mut preparing, operators, artifacts, job_file)?;
        while let Ok(task) = tasks.recv() {
            match task {
                Task::Add { operator, shard, delta } => {
                    let identity = &operators[operator.index()];
                    preparing.add(&identity.operator, shard, &identity.plugin, &delta)?;
                }
                Task::Finish { record, commits } => {
                    probe::reached("preparing");
                    return finish(preparing, &record, decider, commits).map(Some);
                }
                Task::Begin(_) | Task::Record(_) => unreachable!("one checkpoint at a time"),
            }
        }
        Ok(None)
    }
}

/// Says which code and which job file the checkpoint belongs to. What the store has already costs nothing.
fn identify(
    preparing: &mut Preparing<'_>,
    operators: &[OperatorIdentity],
    artifacts: &[Vec<u8>],
    job_file: &str,
) -> Result<(), StoreError> {
    preparing.identify(operators, job_file);
    for (operator, artifact) in operators.iter().zip(artifacts) {
        preparing.put_artifact(&operator.plugin, artifact)?;
    }
    Ok(())
}

fn finish(
    preparing: Preparing<'_>,
    record: &CheckpointRecord,
    decider: &Decider,
    commits: Option<CheckpointId>,
) -> Result<PreparedCheckpoint, StoreError> {
    let stored = preparing.finish(record, decider, commits)?;
    Ok(PreparedCheckpoint { record: stored.record, digest: stored.digest })
}
