//! Gives back a shard's memory as it was at the last COMMITTED checkpoint.
//!
//! Reads only. Next room: [`super::super::image`], which puts the pages together.

use super::super::error::StoreError;
use super::super::format::rows::SnapshotKey;
use super::super::image::ImageBuilder;
use super::super::snapshot::{GlobalValue, InstanceImage};
use super::index::Entry;
use super::snapshots::SnapshotTables;
use super::{Store, create, tables};
use crate::ids::{PluginHash, ShardId};
use crate::seeded::{self, Bug};
use redb::{ReadableDatabase, ReadableTable};

impl Store {
    /// A shard's memory at the last COMMITTED checkpoint; `None`: it was never captured.
    ///
    /// # Errors
    ///
    /// `ForeignPlugin` if another artifact wrote the memory; `DamagedSnapshot`, which names the part.
    pub fn load(
        &self,
        operator: &str,
        shard: ShardId,
        plugin: &PluginHash,
    ) -> Result<Option<InstanceImage>, StoreError> {
        self.latch.check()?;
        let Some(committed) = self.contents.ledger.committed else {
            return Ok(None);
        };
        let chain = self.contents.index.chain(operator, shard, committed);
        let Some(last) = chain.last() else {
            return Ok(None);
        };
        if last.plugin != *plugin {
            return Err(StoreError::ForeignPlugin {
                operator: operator.to_owned(),
                shard,
                found: last.plugin.clone(),
                wanted: plugin.clone(),
            });
        }
        self.latch.observe(create::quietly(&self.path, || self.load_chain(operator, shard, chain))).map(Some)
    }

    fn load_chain(&self, operator: &str, shard: ShardId, chain: &[Entry]) -> Result<InstanceImage, StoreError> {
        let path = &self.path;
        let doing = "reading a snapshot";
        let transaction = self.database.begin_read().map_err(|error| StoreError::engine(path, doing, error))?;
        let open = |table| transaction.open_table(table).map_err(|error| StoreError::engine(path, doing, error));
        let tables =
            SnapshotTables { path, heads: open(tables::SNAPSHOT_HEADS)?, parts: open(tables::SNAPSHOT_PARTS)? };
        apply_chain(&tables, operator, shard, chain)
    }
}

/// Applies a base and its deltas, which must not be empty, in order.
pub(super) fn apply_chain<T: ReadableTable<&'static [u8], &'static [u8]>>(
    tables: &SnapshotTables<'_, T>,
    operator: &str,
    shard: ShardId,
    chain: &[Entry],
) -> Result<InstanceImage, StoreError> {
    let mut image = ImageBuilder::default();
    let mut globals: Vec<GlobalValue> = Vec::new();
    for index in 0..chain.len() {
        let newest_first = seeded::is(Bug::DeltasInWrongOrder) && index > 0;
        let entry = &chain[if newest_first { chain.len() - index } else { index }];
        let key = SnapshotKey { operator: operator.to_owned(), shard, checkpoint: entry.checkpoint };
        globals = tables.apply(&key, &mut image)?.globals;
    }
    Ok(InstanceImage { memories: image.finish(), globals })
}
