//! What is in a store, read once at the open and checked as a whole.
//!
//! Damage that a checksum of one value cannot show is looked for here: a row that is missing. Every snapshot names the one
//! before it, and every checkpoint carries a digest of the snapshots that belong to it. Next room: `index`.

use super::super::error::StoreError;
use super::super::format::FrameKind;
use super::super::format::rows::{
    ArtifactHead, CheckpointRow, Identity, Ledger, SnapshotHead, SnapshotKey, SnapshotKind, decode,
};
use super::index::{Entry, Index};
use super::{StoredCheckpoint, create, tables};
use crate::checkpoint::record::Decider;
use crate::ids::CheckpointId;
use redb::{ReadTransaction, ReadableDatabase, ReadableTable};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::Path;

/// Everything but the snapshots' pages and the artifacts' bytes.
#[derive(Debug, Clone)]
pub(in super::super) struct Contents {
    pub(in super::super) identity: Identity,
    pub(in super::super) ledger: Ledger,
    pub(in super::super) decider: Option<Decider>,
    pub(in super::super) job_file: Option<String>,
    /// The checkpoints' rows: those of the ledger, and sometimes one before.
    pub(in super::super) rows: BTreeMap<CheckpointId, CheckpointRow>,
    pub(in super::super) index: Index,
    /// Length in bytes of each artifact, by content hash.
    pub(in super::super) artifacts: BTreeMap<String, u64>,
}

/// Reads a database's contents.
pub(in super::super) fn read_database(path: &Path, database: &impl ReadableDatabase) -> Result<Contents, StoreError> {
    create::quietly(path, || {
        let transaction =
            database.begin_read().map_err(|error| StoreError::engine(path, "reading the store", error))?;
        let contents = Contents::read(&Reader { path, transaction: &transaction })?;
        contents.verify(path)?;
        Ok(contents)
    })
}

/// The contents of a store that nobody runs on. Nothing is written, unless a crash left something that redb puts right.
pub(in super::super) fn inspect_contents(path: &Path) -> Result<Contents, StoreError> {
    match path.metadata() {
        Ok(metadata) if metadata.len() == 0 => {
            return Err(StoreError::damaged(path, "the file is empty, a store never is"));
        }
        // A later call says what else is wrong with the path.
        _ => {}
    }
    let read_only =
        create::quietly(path, || Ok(redb::Builder::new().set_cache_size(create::CACHE_BYTES).open_read_only(path)))?;
    match read_only {
        Ok(database) => read_database(path, &database),
        // The process that had it open was killed.
        Err(redb::DatabaseError::RepairAborted) => read_database(path, &create::open_existing(path)?),
        Err(error) => Err(StoreError::engine(path, "opening the file", error)),
    }
}

impl Contents {
    fn read(reader: &Reader<'_>) -> Result<Contents, StoreError> {
        let identity: Option<Identity> = reader.meta(tables::IDENTITY, "identity")?;
        let ledger: Option<Ledger> = reader.meta(tables::LEDGER, "ledger")?;
        let (Some(identity), Some(ledger)) = (identity, ledger) else {
            return Err(StoreError::damaged(reader.path, "it has no identity or no ledger"));
        };
        Ok(Contents {
            identity,
            ledger,
            decider: reader.meta(tables::DECIDER, "decider")?,
            job_file: reader.meta(tables::JOB_FILE, "job file")?,
            rows: reader.checkpoints()?,
            index: reader.snapshots()?,
            artifacts: reader.artifacts()?,
        })
    }

    /// Checks that what belongs together is all there.
    fn verify(&self, path: &Path) -> Result<(), StoreError> {
        let Ledger { highest, committed, prepared } = self.ledger;
        for id in committed.into_iter().chain(prepared) {
            if Some(id) > highest {
                return Err(StoreError::damaged(path, format!("checkpoint `{id}` is above the highest number")));
            }
            let Some(row) = self.rows.get(&id) else {
                return Err(StoreError::damaged(path, format!("the row of checkpoint `{id}` is missing")));
            };
            if row.snapshots_digest != self.index.digest(id) {
                return Err(StoreError::damaged(path, format!("a snapshot of checkpoint `{id}` is missing")));
            }
        }
        Ok(())
    }

    /// A checkpoint's record.
    pub(in super::super) fn stored(&self, path: &Path, id: CheckpointId) -> Result<StoredCheckpoint, StoreError> {
        match self.rows.get(&id) {
            Some(row) => row.stored(path, id),
            None => Err(StoreError::damaged(path, format!("the row of checkpoint `{id}` is missing"))),
        }
    }

    /// The row of the last COMMITTED checkpoint, else of the PREPARED one.
    pub(in super::super) fn last_row(&self) -> Option<&CheckpointRow> {
        self.ledger.committed.or(self.ledger.prepared).and_then(|id| self.rows.get(&id))
    }
}

/// Reads rows and says which one is damaged.
struct Reader<'a> {
    path: &'a Path,
    transaction: &'a ReadTransaction,
}

impl Reader<'_> {
    fn meta<T: DeserializeOwned>(&self, key: &[u8], what: &str) -> Result<Option<T>, StoreError> {
        let table = self.open(tables::META)?;
        let Some(value) = table.get(key).map_err(|error| self.failed(error))? else {
            return Ok(None);
        };
        decode(FrameKind::Meta, key, value.value())
            .map(Some)
            .map_err(|error| StoreError::row(self.path, &format!("the row of the {what}"), &error))
    }

    fn checkpoints(&self) -> Result<BTreeMap<CheckpointId, CheckpointRow>, StoreError> {
        let mut rows = BTreeMap::new();
        self.each(tables::CHECKPOINTS, |key, value| {
            let Ok(number) = <[u8; 8]>::try_from(key) else {
                return Err(StoreError::damaged(self.path, "a checkpoint's key is no number"));
            };
            let id = CheckpointId(u64::from_be_bytes(number));
            let row = decode(FrameKind::Checkpoint, key, value)
                .map_err(|error| StoreError::row(self.path, &format!("the row of checkpoint `{id}`"), &error))?;
            rows.insert(id, row);
            Ok(())
        })?;
        Ok(rows)
    }

    fn snapshots(&self) -> Result<Index, StoreError> {
        let mut index = Index::default();
        self.each(tables::SNAPSHOT_HEADS, |key, value| {
            let Some(key_parts) = SnapshotKey::parse(key) else {
                return Err(StoreError::damaged(self.path, "a snapshot's key cannot be read"));
            };
            let head: SnapshotHead = decode(FrameKind::SnapshotHead, key, value)
                .map_err(|error| StoreError::snapshot(self.path, &key_parts, None, &error))?;
            let SnapshotKey { operator, shard, checkpoint } = &key_parts;
            let before = index.entries(operator, *shard).last().map(|entry: &Entry| entry.checkpoint);
            let fits = match head.kind {
                SnapshotKind::Base => head.previous.is_none(),
                SnapshotKind::Delta => before.is_some() && head.previous == before,
            };
            if !fits || before >= Some(*checkpoint) {
                let what = "the snapshot before it is missing";
                let error = super::super::format::FormatError::damaged(what);
                return Err(StoreError::snapshot(self.path, &key_parts, None, &error));
            }
            index.push(operator, *shard, Entry::new(*checkpoint, &head));
            Ok(())
        })?;
        Ok(index)
    }

    fn artifacts(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        let mut artifacts = BTreeMap::new();
        self.each(tables::ARTIFACT_HEADS, |key, value| {
            let Ok(hash) = std::str::from_utf8(key) else {
                return Err(StoreError::damaged(self.path, "a plugin's key is no hash"));
            };
            let head: ArtifactHead = decode(FrameKind::Meta, key, value)
                .map_err(|error| StoreError::row(self.path, &format!("the row of plugin `{hash}`"), &error))?;
            artifacts.insert(hash.to_owned(), head.bytes);
            Ok(())
        })?;
        Ok(artifacts)
    }

    fn open(
        &self,
        definition: tables::Definition,
    ) -> Result<redb::ReadOnlyTable<&'static [u8], &'static [u8]>, StoreError> {
        self.transaction
            .open_table(definition)
            .map_err(|error| StoreError::engine(self.path, "reading the store", error))
    }

    fn each(
        &self,
        definition: tables::Definition,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let table = self.open(definition)?;
        for row in table.iter().map_err(|error| self.failed(error))? {
            let (key, value) = row.map_err(|error| self.failed(error))?;
            visit(key.value(), value.value())?;
        }
        Ok(())
    }

    fn failed(&self, error: impl Into<redb::Error>) -> StoreError {
        StoreError::engine(self.path, "reading the store", error)
    }
}
