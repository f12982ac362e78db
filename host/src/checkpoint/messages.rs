//! What the threads of a job tell each other about checkpoints, beside the data on the lanes: reports to the coordinator, tasks
//! for the writer, commands for the sources. (The sink thread's commands come with its inbox.)
//!
//! Plain data. Next room: [`super::coordinator`], where they meet.

use super::PreparedCheckpoint;
use super::record::{CheckpointRecord, ShardState, SinkState, SplitState};
use crate::error::JobError;
use crate::ids::{CheckpointId, OperatorIndex, ShardId, SourceIndex};
use crate::state::snapshot::InstanceDelta;
use std::time::Duration;

/// What a thread tells the coordinator.
#[derive(Debug)]
pub enum Report {
    /// A source thread put the barrier on its lanes.
    Positions {
        /// The checkpoint.
        id: CheckpointId,
        /// The source.
        source: SourceIndex,
        /// Where this thread's splits go on.
        splits: Vec<SplitState>,
    },
    /// A source thread read all its bounded splits and sent the largest watermark. Once a thread.
    InputFinished,
    /// An operator's shards on one worker were captured; their memory is on its way to the writer.
    Snapshot {
        /// The checkpoint.
        id: CheckpointId,
        /// What the host keeps of them beside the memory.
        shards: Vec<ShardState>,
        /// How long the worker stood still for it.
        pause: Duration,
        /// Memory of the instances, in bytes.
        memory_bytes: usize,
    },
    /// The sink thread has all output of the checkpoint flushed or staged.
    Flushed {
        /// The checkpoint.
        id: CheckpointId,
        /// What each sink wrote.
        sinks: Vec<SinkState>,
    },
    /// PREPARED is durable.
    Prepared(PreparedCheckpoint),
    /// The checkpoint happened and every sink applied it.
    Decided(CheckpointId),
    /// COMMITTED was written alone.
    Recorded(CheckpointId),
    /// A thread cannot go on.
    Failed(JobError),
}

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

/// What a source thread is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceCommand {
    /// Put the barrier on all lanes and report positions.
    Barrier(CheckpointId),
    /// The last reported positions are committed: publish them for lag tools.
    Publish,
    /// End.
    Shutdown,
}
