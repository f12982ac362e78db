//! Checkpoints: the record, the pure machines (protocol, startup, deciding, recovery), and the thin shells that act.

pub mod coordinator;
pub mod deciding;
pub mod early;
pub mod messages;
pub mod protocol;
pub mod record;
pub mod recovery;
pub mod startup;
pub mod writer;

use crate::checkpoint::record::CheckpointRecord;

/// The right to let a checkpoint be decided: proof that PREPARED is durable. Made by the writer, used up by the sink thread.
#[must_use]
#[derive(Debug)]
pub struct PreparedCheckpoint {
    record: CheckpointRecord,
    digest: u64,
}

impl PreparedCheckpoint {
    /// What was prepared.
    pub fn record(&self) -> &CheckpointRecord {
        &self.record
    }

    /// Digest of the encoded record, as the marker carries it.
    pub fn digest(&self) -> u64 {
        self.digest
    }
}
