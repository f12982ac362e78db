//! The tables and their small rows. Large ones (parts of snapshots and artifacts) have their own files.
//!
//! Keys are bytes in all tables: redb decodes typed keys with panics, and a damaged file must not panic.

use super::super::error::StoreError;
use super::super::format::FrameKind;
use super::super::format::rows::{CheckpointRow, Identity, Ledger, encode};
use crate::checkpoint::record::Decider;
use crate::ids::CheckpointId;
use redb::{TableDefinition, WriteTransaction};
use serde::Serialize;
use std::path::Path;

/// A table of bytes by bytes.
pub(super) type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// Single rows by name.
pub(super) const META: Definition = TableDefinition::new("meta");
/// [`CheckpointRow`] by number (big-endian).
pub(super) const CHECKPOINTS: Definition = TableDefinition::new("checkpoints");
/// `SnapshotHead` by operator, shard, checkpoint.
pub(super) const SNAPSHOT_HEADS: Definition = TableDefinition::new("snapshot_heads");
/// Blocks of pages by operator, shard, checkpoint, part.
pub(super) const SNAPSHOT_PARTS: Definition = TableDefinition::new("snapshot_parts");
/// `ArtifactHead` by content hash.
pub(super) const ARTIFACT_HEADS: Definition = TableDefinition::new("artifact_heads");
/// Plugin artifacts by content hash and part.
pub(super) const ARTIFACT_PARTS: Definition = TableDefinition::new("artifact_parts");

/// All of them.
pub(super) const ALL: [Definition; 6] =
    [META, CHECKPOINTS, SNAPSHOT_HEADS, SNAPSHOT_PARTS, ARTIFACT_HEADS, ARTIFACT_PARTS];

/// The names of the rows in [`META`].
pub(super) const IDENTITY: &[u8] = b"identity";
pub(super) const LEDGER: &[u8] = b"ledger";
pub(super) const DECIDER: &[u8] = b"decider";
pub(super) const JOB_FILE: &[u8] = b"job-file";

/// Writes a row.
pub(super) fn put(
    transaction: &WriteTransaction,
    path: &Path,
    definition: Definition,
    key: &[u8],
    value: &[u8],
) -> Result<(), StoreError> {
    let failed = |error: redb::Error| StoreError::engine(path, "writing a row", error);
    let mut table = transaction.open_table(definition).map_err(|error| failed(error.into()))?;
    table.insert(key, value).map_err(|error| failed(error.into()))?;
    Ok(())
}

/// Deletes rows; it is no error if one is not there.
pub(super) fn remove(
    transaction: &WriteTransaction,
    path: &Path,
    definition: Definition,
    keys: impl IntoIterator<Item = Vec<u8>>,
) -> Result<(), StoreError> {
    let failed = |error: redb::Error| StoreError::engine(path, "deleting rows", error);
    let mut table = transaction.open_table(definition).map_err(|error| failed(error.into()))?;
    for key in keys {
        table.remove(key.as_slice()).map_err(|error| failed(error.into()))?;
    }
    Ok(())
}

fn put_meta(transaction: &WriteTransaction, path: &Path, key: &[u8], value: &impl Serialize) -> Result<(), StoreError> {
    put(transaction, path, META, key, &encode(FrameKind::Meta, key, value))
}

/// Writes who the store is.
pub(super) fn put_identity(transaction: &WriteTransaction, path: &Path, value: &Identity) -> Result<(), StoreError> {
    put_meta(transaction, path, IDENTITY, value)
}

/// Writes the numbers.
pub(super) fn put_ledger(transaction: &WriteTransaction, path: &Path, value: &Ledger) -> Result<(), StoreError> {
    put_meta(transaction, path, LEDGER, value)
}

/// Writes who decides.
pub(super) fn put_decider(transaction: &WriteTransaction, path: &Path, value: &Decider) -> Result<(), StoreError> {
    put_meta(transaction, path, DECIDER, value)
}

/// Writes the job file.
pub(super) fn put_job_file(transaction: &WriteTransaction, path: &Path, value: &str) -> Result<(), StoreError> {
    put_meta(transaction, path, JOB_FILE, &value)
}

/// Writes a checkpoint's row.
pub(super) fn put_checkpoint(
    transaction: &WriteTransaction,
    path: &Path,
    id: CheckpointId,
    row: &CheckpointRow,
) -> Result<(), StoreError> {
    let key = id.0.to_be_bytes();
    put(transaction, path, CHECKPOINTS, &key, &encode(FrameKind::Checkpoint, &key, row))
}

/// Deletes a checkpoint's row.
pub(super) fn remove_checkpoint(
    transaction: &WriteTransaction,
    path: &Path,
    id: CheckpointId,
) -> Result<(), StoreError> {
    remove(transaction, path, CHECKPOINTS, [id.0.to_be_bytes().to_vec()])
}
