//! Which snapshots there are, in memory: of each shard its base and deltas in order.
//!
//! Pure. Read once at the open and kept in step with each transaction, so that neither adding a snapshot nor choosing what
//! to fold looks anything up. Next room: `snapshots`, which writes what is listed here.

use super::super::format::rows::{SnapshotHead, SnapshotKey, SnapshotKind};
use crate::ids::{CheckpointId, PluginHash, ShardId};
use crate::seeded::{self, Bug};
use std::collections::BTreeMap;
use xxhash_rust::xxh3::Xxh3;

/// One snapshot, without its pages and globals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Entry {
    pub(in super::super) checkpoint: CheckpointId,
    pub(in super::super) kind: SnapshotKind,
    pub(in super::super) plugin: PluginHash,
    pub(in super::super) parts: u32,
    pub(in super::super) stored_bytes: u64,
    pub(in super::super) memory_bytes: u64,
}

impl Entry {
    pub(in super::super) fn new(checkpoint: CheckpointId, head: &SnapshotHead) -> Entry {
        Entry {
            checkpoint,
            kind: head.kind,
            plugin: head.plugin.clone(),
            parts: head.parts,
            stored_bytes: head.stored_bytes,
            memory_bytes: head.memory_bytes.iter().sum(),
        }
    }
}

/// An entry and whose it is.
#[derive(Debug, Clone)]
pub(super) struct Located {
    pub(super) key: SnapshotKey,
    pub(super) parts: u32,
}

/// All snapshots, by operator and shard; checkpoints ascend.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Index {
    shards: BTreeMap<(String, ShardId), Vec<Entry>>,
}

impl Index {
    /// Adds the snapshot that comes next for its shard.
    pub(super) fn push(&mut self, operator: &str, shard: ShardId, entry: Entry) {
        let entries = self.shards.entry((operator.to_owned(), shard)).or_default();
        assert!(entries.last().is_none_or(|last| last.checkpoint < entry.checkpoint), "snapshots come in order");
        entries.push(entry);
    }

    /// A shard's snapshots.
    pub(super) fn entries(&self, operator: &str, shard: ShardId) -> &[Entry] {
        // A lookup by `(&str, ShardId)` is not possible in a map of owned names; this is once a shard and checkpoint.
        self.shards.get(&(operator.to_owned(), shard)).map_or(&[], Vec::as_slice)
    }

    /// All shards with their snapshots.
    pub(in super::super) fn shards(&self) -> impl Iterator<Item = (&str, ShardId, &[Entry])> {
        self.shards.iter().map(|((operator, shard), entries)| (operator.as_str(), *shard, entries.as_slice()))
    }

    /// The snapshots that make up a shard's image at a checkpoint: the last base up to it and the deltas behind.
    pub(super) fn chain(&self, operator: &str, shard: ShardId, at: CheckpointId) -> &[Entry] {
        let entries = self.entries(operator, shard);
        let end = entries.partition_point(|entry| entry.checkpoint <= at);
        let start = entries[..end].iter().rposition(|entry| entry.kind == SnapshotKind::Base).unwrap_or(end);
        &entries[start..end]
    }

    /// All snapshots of one checkpoint.
    pub(super) fn at(&self, checkpoint: CheckpointId) -> Vec<Located> {
        self.located(|_, entry| entry.checkpoint == checkpoint)
    }

    /// All snapshots of one operator.
    pub(super) fn of_operator(&self, operator: &str) -> Vec<Located> {
        self.located(|name, _| name == operator)
    }

    /// The snapshots that stand before a base at or below `committed`: no image at or above `committed` needs them.
    pub(super) fn superseded(&self, committed: CheckpointId) -> Vec<Located> {
        let mut found = Vec::new();
        for (operator, shard, entries) in self.shards() {
            let chain = self.chain(operator, shard, committed);
            let first = if seeded::is(Bug::GarbageTakenTooEarly) { chain.last() } else { chain.first() };
            let first = first.map(|base| base.checkpoint);
            let old = entries.iter().take_while(|entry| Some(entry.checkpoint) < first);
            found.extend(old.map(|entry| locate(operator, shard, entry)));
        }
        found
    }

    /// Forgets snapshots.
    pub(super) fn remove(&mut self, doomed: &[Located]) {
        for Located { key, .. } in doomed {
            let shard = (key.operator.clone(), key.shard);
            if let Some(entries) = self.shards.get_mut(&shard) {
                entries.retain(|entry| entry.checkpoint != key.checkpoint);
                if entries.is_empty() {
                    self.shards.remove(&shard);
                }
            }
        }
    }

    /// Puts a base in the place of a shard's snapshots from `first` up to and including the base's checkpoint.
    pub(super) fn replace(&mut self, operator: &str, shard: ShardId, first: CheckpointId, base: Entry) {
        if let Some(entries) = self.shards.get_mut(&(operator.to_owned(), shard)) {
            entries.retain(|entry| entry.checkpoint < first || entry.checkpoint > base.checkpoint);
            let at = entries.partition_point(|entry| entry.checkpoint < base.checkpoint);
            entries.insert(at, base);
        }
    }

    /// Digest of which shards have an image at a checkpoint and where its last snapshot is. A row that went missing in a
    /// damaged file changes it; folding does not.
    pub(super) fn digest(&self, at: CheckpointId) -> u64 {
        let mut hash = Xxh3::new();
        for (operator, shard, _) in self.shards() {
            if let Some(last) = self.chain(operator, shard, at).last() {
                hash.update(operator.as_bytes());
                hash.update(&[0]);
                hash.update(&shard.0.to_le_bytes());
                hash.update(&last.checkpoint.0.to_le_bytes());
            }
        }
        hash.digest()
    }

    /// Bytes of all snapshots as stored.
    pub(super) fn stored_bytes(&self) -> u64 {
        self.shards.values().flatten().map(|entry| entry.stored_bytes).sum()
    }

    fn located(&self, wanted: impl Fn(&str, &Entry) -> bool) -> Vec<Located> {
        let mut found = Vec::new();
        for (operator, shard, entries) in self.shards() {
            let entries = entries.iter().filter(|entry| wanted(operator, entry));
            found.extend(entries.map(|entry| locate(operator, shard, entry)));
        }
        found
    }
}

fn locate(operator: &str, shard: ShardId, entry: &Entry) -> Located {
    let key = SnapshotKey { operator: operator.to_owned(), shard, checkpoint: entry.checkpoint };
    Located { key, parts: entry.parts }
}
