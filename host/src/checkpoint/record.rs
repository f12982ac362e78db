//! A checkpoint's record: everything in it but the shards' memory. It is what PREPARED(n) makes durable.
//!
//! Plain data, written with postcard inside a versioned frame by the store. The marker carries its digest.
//! Next room: `protocol`, which says when a record is made, and `recovery`, which reads it after a start.

use crate::ids::{AttemptId, CheckpointId, Watermark};
use serde::{Deserialize, Serialize};

/// Checkpoint n: positions, watermarks and ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointRecord {
    /// Its number.
    pub id: CheckpointId,
    /// The life of the process that made it.
    pub attempt: AttemptId,
    /// What the checkpoint was for.
    pub kind: CheckpointKind,
    /// Where each source goes on, by source name.
    pub sources: Vec<SourceState>,
    /// Per shard what the host keeps beside the memory.
    pub shards: Vec<ShardState>,
    /// What each sink had written, by sink name.
    pub sinks: Vec<SinkState>,
}

/// What a checkpoint was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckpointKind {
    /// Checkpoint 0: resolved start positions, before the first record is read.
    Start,
    /// One of the regular ones.
    Periodic,
    /// The last one of a stopped job, which can go on later.
    Stop,
    /// The last one of a bounded job that read all of its input: a new start has nothing to do.
    Finished,
}

/// Where one source goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceState {
    /// The source's name in the job file.
    pub source: String,
    /// Its splits.
    pub splits: Vec<SplitState>,
}

/// Where one split goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitState {
    /// The split's identity and the next position in it.
    pub position: Position,
    /// The split's own watermark (largest timestamp seen minus the allowed disorder).
    pub watermark: Watermark,
    /// Whether it was held idle.
    pub idle: bool,
    /// Whether its bounded input was read to its end.
    pub finished: bool,
}

/// A position in a split. It names the split so exactly that a recreated one is noticed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Position {
    /// In a Kafka partition.
    Kafka {
        /// The cluster's id.
        cluster_id: String,
        /// The topic's name.
        topic: String,
        /// The topic's id, new when a topic is made again under its old name (Kafka's base64 form).
        topic_id: String,
        /// The partition.
        partition: i32,
        /// The next offset to read.
        offset: i64,
        /// The leader epoch of the last record read, -1 when none is known.
        leader_epoch: i32,
        /// The offset at which a bounded read ends, if it is bounded.
        until: Option<i64>,
    },
    /// In a file of lines.
    File {
        /// The path as the job file resolves it.
        path: String,
        /// The device.
        device: u64,
        /// The inode.
        inode: u64,
        /// Digest of the first bytes (as many as `head_bytes` says).
        head_digest: u64,
        /// How many first bytes the digest covers.
        head_bytes: u32,
        /// The next byte to read.
        offset: u64,
    },
}

/// What the host keeps of a shard beside its memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardState {
    /// The operator's name in the job file.
    pub operator: String,
    /// The shard's number.
    pub shard: u16,
    /// Per input port: the last watermark that was delivered. Never lowered.
    pub watermarks: Vec<Watermark>,
    /// The last watermark for which `advance` was called or was not due.
    pub advanced: Watermark,
    /// When the operator wants `advance` next; `None`: at every watermark.
    pub next_advance: Option<i64>,
}

/// What one sink had written when the checkpoint was prepared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SinkState {
    /// A Kafka sink.
    Kafka {
        /// The sink's name in the job file.
        sink: String,
        /// Topic, partition and end offset (`read_uncommitted`, marker not yet written) of each partition that n wrote.
        ends: Vec<PartitionEnd>,
    },
    /// A file sink.
    File {
        /// The sink's name in the job file.
        sink: String,
        /// The output file's path.
        path: String,
        /// The device of the output file.
        device: u64,
        /// The inode of the output file.
        inode: u64,
        /// The output file's length before this checkpoint is applied, in bytes.
        committed_bytes: u64,
        /// The length of the staging file that this checkpoint appends, in bytes; 0: there is none.
        staged_bytes: u64,
        /// Digest of the staging file's bytes.
        staged_digest: u64,
    },
}

/// The end of a partition at a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionEnd {
    /// The topic's name.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The first offset after the last record written.
    pub end_offset: i64,
}

/// Who decides whether a prepared checkpoint happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decider {
    /// The store itself: PREPARED is the decision. For jobs without a Kafka sink.
    Store,
    /// The Kafka cluster of the sink, by the marker in its transaction.
    Kafka {
        /// The cluster's id.
        cluster_id: String,
        /// The marker's topic.
        marker_topic: String,
        /// The marker topic's id.
        marker_topic_id: String,
        /// The one producer's transactional id.
        transactional_id: String,
    },
}

/// The record that goes last into the Kafka transaction of checkpoint n and decides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The checkpoint.
    pub id: CheckpointId,
    /// The life of the process that prepared it.
    pub attempt: AttemptId,
    /// The store that holds PREPARED(id).
    pub store: crate::ids::StoreId,
    /// Digest (XXH3, 64 bits) of the encoded checkpoint record.
    pub digest: u64,
}
