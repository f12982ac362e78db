//! A model of the store: the ledger, the records of the checkpoints it keeps, and per shard a base and deltas.
//!
//! The rules are those of the product's state room: PREPARED(n), COMMITTED(n-1), snapshots and what nobody needs any more go
//! in one transaction, which is there whole or not at all; folding touches only what is at or below the last COMMITTED. One
//! call here is one durable transaction. Next room: `files`, which lie on the same volume.

use super::broker::SINK_PARTITIONS;
use super::stage::{Memory, PAGES, STAGES};
use std::rc::Rc;
use tidegate::checkpoint::record::CheckpointKind;
use tidegate::checkpoint::recovery::{StoreFacts, Stored};
use tidegate::ids::{AttemptId, CheckpointId, StoreId, Watermark};
use tidegate::seeded::{self, Bug};
use uuid::Uuid;

/// Shards there can be.
pub(super) const SHARDS_MAX: usize = 4;
/// Splits there are.
pub(super) const SPLITS: usize = 2;
/// Chains are folded when they have so many deltas.
const DELTAS_MAX: usize = 2;

/// Where a split goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SplitPart {
    pub(super) offset: u16,
    pub(super) topic: u32,
    pub(super) watermark: Watermark,
    pub(super) is_idle: bool,
    pub(super) is_finished: bool,
}

/// What the host keeps of a shard beside its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ShardPart {
    pub(super) stage: usize,
    pub(super) shard: usize,
    pub(super) watermark: Watermark,
    pub(super) advanced: Watermark,
    pub(super) next_advance: Option<i64>,
}

/// What a file sink had written: lengths in lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct FilePart {
    pub(super) committed: usize,
    pub(super) staged: usize,
    pub(super) digest: u64,
}

/// A checkpoint's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) id: CheckpointId,
    pub(super) attempt: u32,
    pub(super) kind: CheckpointKind,
    pub(super) splits: [SplitPart; SPLITS],
    pub(super) shards: Vec<ShardPart>,
    pub(super) file: FilePart,
    /// The end of each partition of the sink that it wrote; 0: none.
    pub(super) ends: [usize; SINK_PARTITIONS],
}

impl Record {
    /// Digest of everything in it.
    pub(super) fn digest(&self) -> u64 {
        let mut digest = self.id.0.wrapping_mul(31).wrapping_add(u64::from(self.attempt));
        for split in &self.splits {
            digest = digest.wrapping_mul(31).wrapping_add(u64::from(split.offset));
        }
        digest.wrapping_mul(31).wrapping_add(self.file.digest)
    }
}

/// An attempt's id as the product has it.
pub(super) fn attempt_id(attempt: u32) -> AttemptId {
    AttemptId(Uuid::from_u128(u128::from(attempt)))
}

/// A store's id as the product has it.
pub(super) fn store_id(store: u32) -> StoreId {
    StoreId(Uuid::from_u128(u128::from(store)))
}

/// One shard's changes at one checkpoint.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delta {
    /// Page and content; `None`: it did not change.
    pub(super) pages: [Option<u64>; PAGES],
    pub(super) global: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Snapshot {
    checkpoint: CheckpointId,
    is_base: bool,
    delta: Delta,
}

/// The store on a volume.
#[derive(Debug, Clone)]
pub(super) struct Store {
    pub(super) id: u32,
    /// The marker topic that its decider was recorded with.
    pub(super) decider: Option<u32>,
    pub(super) highest: Option<CheckpointId>,
    pub(super) committed: Option<Rc<Record>>,
    pub(super) prepared: Option<Rc<Record>>,
    snapshots: [[Vec<Snapshot>; SHARDS_MAX]; STAGES],
}

impl Store {
    pub(super) fn new(id: u32) -> Store {
        Store { id, decider: None, highest: None, committed: None, prepared: None, snapshots: Default::default() }
    }

    /// What recovery needs to know.
    pub(super) fn facts(&self) -> StoreFacts {
        let stored = |record: &Rc<Record>| Stored {
            id: record.id,
            attempt: attempt_id(record.attempt),
            digest: record.digest(),
        };
        StoreFacts {
            store: store_id(self.id),
            committed: self.committed.as_ref().map(stored),
            prepared: self.prepared.as_ref().map(stored),
            highest: self.highest,
        }
    }

    /// Makes PREPARED durable, with COMMITTED of the one before it.
    pub(super) fn prepare(
        &mut self,
        record: &Rc<Record>,
        deltas: &[(usize, usize, Delta)],
        decider: u32,
        commits: Option<CheckpointId>,
    ) {
        let id = record.id;
        assert_eq!(self.prepared.as_ref().map(|record| record.id), commits, "a checkpoint is decided before the next");
        if let Some(before) = self.prepared.take() {
            self.committed = Some(before);
        }
        for &(stage, shard, delta) in deltas {
            let chain = &mut self.snapshots[stage][shard];
            chain.push(Snapshot { checkpoint: id, is_base: chain.is_empty(), delta });
        }
        let needed = if seeded::is(Bug::GarbageTakenTooEarly) {
            self.fold_to(id);
            Some(id)
        } else {
            self.committed.as_ref().map(|record| record.id)
        };
        if let Some(needed) = needed {
            self.drop_superseded(needed);
        }
        self.prepared = Some(Rc::clone(record));
        self.highest = Some(id);
        self.decider = Some(decider);
    }

    /// Makes COMMITTED durable alone.
    pub(super) fn commit(&mut self, id: CheckpointId) {
        if self.prepared.as_ref().is_some_and(|record| record.id == id) {
            self.committed = self.prepared.take();
        }
        assert_eq!(self.committed.as_ref().map(|record| record.id), Some(id), "what is committed was prepared");
    }

    /// Deletes every row of a checkpoint that did not happen; the highest number stays.
    pub(super) fn roll_back(&mut self, id: CheckpointId) {
        self.prepared = None;
        if seeded::is(Bug::StalePartsLeft) {
            return;
        }
        for chain in self.snapshots.iter_mut().flatten() {
            chain.retain(|snapshot| snapshot.checkpoint != id);
        }
    }

    /// Folds long chains, between checkpoints.
    pub(super) fn fold(&mut self) {
        let last = match &self.prepared {
            Some(prepared) if seeded::is(Bug::FoldPastCommitted) => Some(prepared.id),
            _ => self.committed.as_ref().map(|record| record.id),
        };
        if let Some(last) = last {
            self.fold_to(last);
        }
    }

    fn fold_to(&mut self, last: CheckpointId) {
        for chain in self.snapshots.iter_mut().flatten() {
            let end = chain.partition_point(|snapshot| snapshot.checkpoint <= last);
            if end <= DELTAS_MAX {
                continue;
            }
            let memory = apply(&chain[..end]);
            let checkpoint = chain[end - 1].checkpoint;
            let delta = Delta { pages: memory.pages.map(Some), global: Some(memory.global) };
            chain.splice(..end, [Snapshot { checkpoint, is_base: true, delta }]);
        }
    }

    /// A shard's memory at the last COMMITTED checkpoint; `None`: it was never captured.
    pub(super) fn load(&self, stage: usize, shard: usize) -> Option<Memory> {
        let committed = self.committed.as_ref()?.id;
        let chain = &self.snapshots[stage][shard];
        let end = chain.partition_point(|snapshot| snapshot.checkpoint <= committed);
        (end > 0).then(|| apply(&chain[..end]))
    }

    /// Snapshots before a base at or below the last one needed go.
    fn drop_superseded(&mut self, needed: CheckpointId) {
        for chain in self.snapshots.iter_mut().flatten() {
            let end = chain.partition_point(|snapshot| snapshot.checkpoint <= needed);
            if let Some(base) = chain[..end].iter().rposition(|snapshot| snapshot.is_base) {
                chain.drain(..base);
            }
        }
    }
}

/// Applies the last base and the deltas behind it, in order.
fn apply(chain: &[Snapshot]) -> Memory {
    let mut memory = Memory::default();
    let base = chain.iter().rposition(|snapshot| snapshot.is_base).unwrap_or(0);
    let mut put = |snapshot: &Snapshot| {
        for (page, content) in snapshot.delta.pages.iter().enumerate() {
            memory.pages[page] = content.unwrap_or(memory.pages[page]);
        }
        memory.global = snapshot.delta.global.unwrap_or(0);
    };
    if seeded::is(Bug::DeltasInWrongOrder) {
        put(&chain[base]);
        chain[base + 1..].iter().rev().for_each(put);
    } else {
        chain[base..].iter().for_each(put);
    }
    memory
}
