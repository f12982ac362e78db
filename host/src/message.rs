//! What travels on the lanes between threads: rows, watermarks, barriers.
//!
//! Knows nothing of threads or channels. Next room: `exchange`, the lanes themselves.

use crate::columns::Batch;
use crate::ids::{CheckpointId, ShardId, Watermark};
use std::sync::Arc;

/// Rows of a shared batch: all of them, or some (what an operator forwarded).
#[derive(Debug, Clone)]
pub struct Rows {
    /// The batch, shared with whoever else reads it.
    pub batch: Arc<Batch>,
    /// Row numbers, ascending; `None` is all rows.
    pub selection: Option<Arc<[u32]>>,
}

impl Rows {
    /// All rows of a batch.
    pub fn all(batch: Batch) -> Rows {
        Rows { batch: Arc::new(batch), selection: None }
    }

    /// How many rows are meant.
    pub fn len(&self) -> usize {
        self.selection.as_ref().map_or_else(|| self.batch.rows(), |rows| rows.len())
    }

    /// Whether no row is meant.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The row numbers in order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        let count = self.len();
        (0..count).map(move |i| self.selection.as_ref().map_or(i, |rows| rows[i] as usize))
    }
}

/// One message on a lane. Order on a lane is order of arrival.
#[derive(Debug, Clone)]
pub enum Message {
    /// Rows for one shard (or a sink, where the shard says who sent them).
    Rows {
        /// The shard the rows are for; every shard of the receiver for a broadcast edge.
        shard: Target,
        /// The rows.
        rows: Rows,
        /// The sender's watermark once these rows are taken in; holds for the target.
        watermark: Watermark,
    },
    /// The sender's watermark rose for every shard of the receiver.
    Watermark(Watermark),
    /// Everything before it on this lane belongs to the checkpoint, everything after it does not.
    Barrier(CheckpointId),
}

impl Message {
    /// What the message counts towards its lane's bound, in bytes.
    pub fn size_bytes(&self) -> usize {
        match self {
            Message::Rows { rows, .. } => rows.batch.size_bytes(),
            Message::Watermark(_) | Message::Barrier(_) => 0,
        }
    }
}

/// Which shards of the receiver a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// One shard.
    Shard(ShardId),
    /// All of them.
    All,
}
