//! Ids and positions, each a type of its own, so that a shard is never taken for a worker.
//!
//! Knows nothing of storage or Kafka. Next room: [`crate::message`].

use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub struct $name(pub $inner);
        impl $name {
            /// The number as an index into a list of these.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// A checkpoint's number. Numbers rise and are never reused, not even after a rollback.
    CheckpointId(u64)
);
number!(
    /// A fixed slice of the key space, `0..shards` (Flink: key group).
    ShardId(u16)
);
number!(
    /// A worker thread, `0..workers`. Shard s lives on worker s mod workers.
    WorkerId(u16)
);
number!(
    /// A source's place in the job file's order of names.
    SourceIndex(u16)
);
number!(
    /// An operator's place in topological order: an edge always leads from a smaller to a larger one.
    OperatorIndex(u16)
);
number!(
    /// A sink's place in the job file's order of names.
    SinkIndex(u16)
);
number!(
    /// An input or output port's place in the plugin's description.
    PortIndex(u16)
);
number!(
    /// An edge's place in the plan's list of edges.
    EdgeIndex(u16)
);
number!(
    /// A split's place in its reader's list (a Kafka partition, a file).
    SplitIndex(u32)
);

impl CheckpointId {
    /// The number that follows.
    #[must_use]
    pub fn next(self) -> CheckpointId {
        CheckpointId(self.0 + 1)
    }
}

/// One life of a process on a store. A marker written by another attempt is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AttemptId(pub Uuid);

/// A store's identity, made with its first open. A marker names it, so two stores of one job are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StoreId(pub Uuid);

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Event-time progress in milliseconds since the Unix epoch: no further timestamp below it is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Watermark(pub i64);

impl Watermark {
    /// Before the first watermark.
    pub const START: Watermark = Watermark(i64::MIN);
    /// The end of the input.
    pub const END: Watermark = Watermark(i64::MAX);
}

/// SHA-256 of a plugin artifact as the author built it, lowercase hexadecimal (64 digits).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PluginHash(pub String);

impl fmt::Display for PluginHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
