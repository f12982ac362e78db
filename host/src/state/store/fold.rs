//! Folds a shard's deltas into a new base, off the hot path.
//!
//! Touches only rows at or below the last COMMITTED checkpoint, in a write transaction of its own: whatever happens to it,
//! the image at every checkpoint at or above that one stays what it was. Next room: `load`, which applies a chain.

use super::super::error::StoreError;
use super::super::format::rows::{SnapshotKey, SnapshotKind};
use super::index::{Entry, Located};
use super::snapshots::{self, Draft, SnapshotTables, SnapshotWriter};
use super::{Store, load, tables};
use crate::ids::{CheckpointId, ShardId};
use crate::probe;
use crate::seeded::{self, Bug};
use redb::WriteTransaction;

/// Deltas of fewer bytes together are not worth a new base, whatever the base's size: folding costs a commit.
const DELTA_BYTES_MIN: u64 = 256 << 10;

/// So many deltas are folded whatever their size: a start reads them all.
const DELTAS_MAX: usize = 64;

/// What a call of [`Store::fold`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Folded {
    /// Shards that have a new base.
    pub shards: usize,
    /// Stored bytes of the snapshots that went.
    pub bytes_before: u64,
    /// Stored bytes of the new bases.
    pub bytes_after: u64,
    /// Shards that are left to fold: call again.
    pub remaining: usize,
}

/// A shard whose deltas outweigh its base.
struct Candidate {
    operator: String,
    shard: ShardId,
    chain: Vec<Entry>,
    stored_bytes: u64,
}

impl Store {
    /// Folds shards whose deltas outweigh their base, those with the most to gain first, until it has read
    /// `budget_bytes` of stored snapshots; at least one shard, if there is one. Called between checkpoints by the thread
    /// that writes them. Does nothing, at no cost, where nothing is to fold.
    ///
    /// # Errors
    ///
    /// As any write: after one the outcome is open.
    pub fn fold(&mut self, budget_bytes: u64) -> Result<Folded, StoreError> {
        self.latch.check()?;
        let Some(mut committed) = self.contents.ledger.committed else {
            return Ok(Folded::default());
        };
        if seeded::is(Bug::FoldPastCommitted) {
            committed = self.contents.ledger.prepared.unwrap_or(committed);
        }
        let mut candidates = self.candidates(committed);
        let mut read_bytes = 0;
        let fitting = candidates.iter().take_while(|candidate| {
            let first = read_bytes == 0;
            read_bytes += candidate.stored_bytes;
            first || read_bytes <= budget_bytes
        });
        let remaining = candidates.split_off(fitting.count()).len();
        if candidates.is_empty() {
            return Ok(Folded::default());
        }
        let result = self.write_folded(&candidates);
        let bases = self.latch.observe(result)?;
        let folded = Folded {
            shards: candidates.len(),
            bytes_before: candidates.iter().map(|candidate| candidate.stored_bytes).sum(),
            bytes_after: bases.iter().map(|base| base.stored_bytes).sum(),
            remaining,
        };
        for (candidate, base) in candidates.into_iter().zip(bases) {
            let first = candidate.chain[0].checkpoint;
            self.contents.index.replace(&candidate.operator, candidate.shard, first, base);
        }
        Ok(folded)
    }

    fn candidates(&self, committed: CheckpointId) -> Vec<Candidate> {
        let mut found = Vec::new();
        for (operator, shard, _) in self.contents.index.shards() {
            let chain = self.contents.index.chain(operator, shard, committed);
            let Some((base, deltas)) = chain.split_first() else {
                continue;
            };
            let delta_bytes: u64 = deltas.iter().map(|delta| delta.stored_bytes).sum();
            if delta_bytes > base.stored_bytes.max(DELTA_BYTES_MIN) || deltas.len() >= DELTAS_MAX {
                let stored_bytes = base.stored_bytes + delta_bytes;
                found.push(Candidate { operator: operator.to_owned(), shard, chain: chain.to_vec(), stored_bytes });
            }
        }
        found.sort_by_key(|candidate| std::cmp::Reverse(candidate.stored_bytes));
        found
    }

    fn write_folded(&self, candidates: &[Candidate]) -> Result<Vec<Entry>, StoreError> {
        let transaction = self.begin()?;
        let bases = self.write_bases(&transaction, candidates)?;
        probe::reached("folding");
        transaction.commit().map_err(|error| StoreError::engine(&self.path, "folding snapshots", error))?;
        probe::reached("folded");
        Ok(bases)
    }

    fn write_bases(&self, transaction: &WriteTransaction, candidates: &[Candidate]) -> Result<Vec<Entry>, StoreError> {
        let path = &self.path;
        let mut writer = SnapshotWriter::new();
        let mut bases = Vec::with_capacity(candidates.len());
        for Candidate { operator, shard, chain, .. } in candidates {
            let open = |table| {
                transaction.open_table(table).map_err(|error| StoreError::engine(path, "folding snapshots", error))
            };
            let tables =
                SnapshotTables { path, heads: open(tables::SNAPSHOT_HEADS)?, parts: open(tables::SNAPSHOT_PARTS)? };
            let image = load::apply_chain(&tables, operator, *shard, chain)?;
            drop(tables);

            let key =
                |entry: &Entry| SnapshotKey { operator: operator.clone(), shard: *shard, checkpoint: entry.checkpoint };
            let doomed: Vec<Located> =
                chain.iter().map(|entry| Located { key: key(entry), parts: entry.parts }).collect();
            snapshots::remove(transaction, path, &doomed)?;
            let last = chain.last().expect("a candidate has deltas");
            let draft = Draft {
                // The last delta's number, so that the delta behind it still finds the snapshot it names.
                key: key(last),
                kind: SnapshotKind::Base,
                previous: None,
                plugin: &last.plugin,
                memories: &image.memories,
                globals: &image.globals,
            };
            bases.push(writer.write(transaction, path, &draft)?);
        }
        Ok(bases)
    }
}
