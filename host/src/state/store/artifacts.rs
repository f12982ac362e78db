//! Keeps plugin artifacts by their content's hash, so that recovery runs what wrote the state and not what lies at a path.
//!
//! Which artifacts stay is decided in `prepare`. Next room: `tables`.

use super::super::error::StoreError;
use super::super::format::parts::PART_BYTES_MAX;
use super::super::format::rows::{ArtifactHead, artifact_key, decode, encode};
use super::super::format::{FrameKind, seal, unseal};
use super::{Store, create, tables};
use crate::ids::PluginHash;
use redb::{ReadableDatabase, WriteTransaction};
use std::path::Path;

impl Store {
    /// An artifact by its content's hash; `None`: it is not kept.
    pub fn artifact(&self, hash: &PluginHash) -> Result<Option<Vec<u8>>, StoreError> {
        self.latch.check()?;
        if !self.contents.artifacts.contains_key(&hash.0) {
            return Ok(None);
        }
        self.latch.observe(create::quietly(&self.path, || self.read_artifact(hash))).map(Some)
    }

    fn read_artifact(&self, hash: &PluginHash) -> Result<Vec<u8>, StoreError> {
        let path = &self.path;
        let doing = "reading a plugin";
        let damaged = |what: String| StoreError::damaged(path, format!("plugin `{hash}`: {what}"));
        let transaction = self.database.begin_read().map_err(|error| StoreError::engine(path, doing, error))?;
        let open = |table| transaction.open_table(table).map_err(|error| StoreError::engine(path, doing, error));
        let (heads, parts) = (open(tables::ARTIFACT_HEADS)?, open(tables::ARTIFACT_PARTS)?);
        let key = hash.0.as_bytes();
        let Some(head) = heads.get(key).map_err(|error| StoreError::engine(path, doing, error))? else {
            return Err(damaged("its head is missing".into()));
        };
        let head: ArtifactHead = decode(FrameKind::Meta, key, head.value())
            .map_err(|error| StoreError::row(path, "a plugin's row", &error))?;
        let mut bytes = Vec::new();
        for part in 0..head.parts {
            let key = artifact_key(&hash.0, part);
            let Some(value) = parts.get(key.as_slice()).map_err(|error| StoreError::engine(path, doing, error))? else {
                return Err(damaged(format!("part `{part}` is missing")));
            };
            let row = format!("plugin `{hash}`, part `{part}`");
            let payload = unseal(FrameKind::ArtifactPart, &key, value.value())
                .map_err(|error| StoreError::row(path, &row, &error))?;
            bytes.extend_from_slice(payload);
        }
        if bytes.len() as u64 != head.bytes {
            return Err(damaged(format!("it has `{}` bytes instead of `{}`", bytes.len(), head.bytes)));
        }
        Ok(bytes)
    }
}

/// Writes an artifact.
pub(super) fn put(
    transaction: &WriteTransaction,
    path: &Path,
    hash: &PluginHash,
    bytes: &[u8],
) -> Result<(), StoreError> {
    for (part, payload) in bytes.chunks(PART_BYTES_MAX).enumerate() {
        let key = artifact_key(&hash.0, part as u32);
        tables::put(transaction, path, tables::ARTIFACT_PARTS, &key, &seal(FrameKind::ArtifactPart, &key, payload))?;
    }
    let head = ArtifactHead { parts: part_count(bytes.len() as u64), bytes: bytes.len() as u64 };
    let key = hash.0.as_bytes();
    tables::put(transaction, path, tables::ARTIFACT_HEADS, key, &encode(FrameKind::Meta, key, &head))
}

/// Deletes an artifact of so many bytes.
pub(super) fn remove(transaction: &WriteTransaction, path: &Path, hash: &str, bytes: u64) -> Result<(), StoreError> {
    let parts = (0..part_count(bytes)).map(|part| artifact_key(hash, part));
    tables::remove(transaction, path, tables::ARTIFACT_PARTS, parts)?;
    tables::remove(transaction, path, tables::ARTIFACT_HEADS, [hash.as_bytes().to_vec()])
}

fn part_count(bytes: u64) -> u32 {
    bytes.div_ceil(PART_BYTES_MAX as u64) as u32
}
