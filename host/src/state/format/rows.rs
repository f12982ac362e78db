//! The rows of the store: their keys, and the plain values that stand in the frames (postcard).
//!
//! A key of a snapshot is `operator, 0, shard u16, checkpoint u64`, a part's has `part u32` behind it; numbers are
//! big-endian, so keys sort by them. Next room: [`super::super::store`], which reads and writes the rows.

use super::super::snapshot::GlobalValue;
use super::super::store::OperatorIdentity;
use super::{FormatError, FrameKind, seal, unseal};
use crate::ids::{CheckpointId, PluginHash, ShardId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Who the store is. Written once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Identity {
    /// The store's id.
    pub(in super::super) store: crate::ids::StoreId,
    /// The job it belongs to.
    pub(in super::super) job: String,
}

/// The numbers that recovery decides on. One row, so they never disagree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Ledger {
    /// The highest number ever prepared.
    pub(in super::super) highest: Option<CheckpointId>,
    /// The last COMMITTED one.
    pub(in super::super) committed: Option<CheckpointId>,
    /// The PREPARED one above it.
    pub(in super::super) prepared: Option<CheckpointId>,
}

/// A checkpoint's row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct CheckpointRow {
    /// When it was prepared, in milliseconds since the Unix epoch; for people only.
    pub(in super::super) prepared_at_ms: u64,
    /// Digest of which shards have snapshots and of which checkpoint the last of each is (see `index`).
    pub(in super::super) snapshots_digest: u64,
    /// The operators it was made with.
    pub(in super::super) operators: Vec<OperatorIdentity>,
    /// The record, encoded: the marker carries the digest of exactly these bytes.
    pub(in super::super) record: Vec<u8>,
}

/// What a snapshot is applied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) enum SnapshotKind {
    /// To zeros: all pages that are not zero.
    Base,
    /// To the shard's snapshot before it.
    Delta,
}

/// What is known of a snapshot before its parts are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct SnapshotHead {
    /// Base or delta.
    pub(in super::super) kind: SnapshotKind,
    /// The checkpoint of the shard's snapshot before it; `None` for a base.
    pub(in super::super) previous: Option<CheckpointId>,
    /// The artifact that wrote the memory.
    pub(in super::super) plugin: PluginHash,
    /// Sizes of the memories, in bytes.
    pub(in super::super) memory_bytes: Vec<u64>,
    /// All mutable globals.
    pub(in super::super) globals: Vec<GlobalValue>,
    /// How many parts there are.
    pub(in super::super) parts: u32,
    /// The parts' bytes as stored, frames included.
    pub(in super::super) stored_bytes: u64,
    /// Bytes of the pages that are in it.
    pub(in super::super) page_bytes: u64,
}

/// What is known of an artifact before its parts are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct ArtifactHead {
    /// How many parts follow.
    pub(in super::super) parts: u32,
    /// The artifact's length in bytes.
    pub(in super::super) bytes: u64,
}

/// A value as a frame.
pub(in super::super) fn encode<T: Serialize>(kind: FrameKind, key: &[u8], value: &T) -> Vec<u8> {
    let payload = postcard::to_stdvec(value).expect("plain data always encodes");
    seal(kind, key, &payload)
}

/// A value from its frame.
pub(in super::super) fn decode<T: DeserializeOwned>(
    kind: FrameKind,
    key: &[u8],
    frame: &[u8],
) -> Result<T, FormatError> {
    let payload = unseal(kind, key, frame)?;
    match postcard::take_from_bytes(payload) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(FormatError::damaged(format!("`{}` bytes are left over", rest.len()))),
        Err(error) => Err(FormatError::damaged(format!("it cannot be decoded: {error}"))),
    }
}

/// Which snapshot: an operator's shard at a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct SnapshotKey {
    /// The operator's name.
    pub(in super::super) operator: String,
    /// The shard.
    pub(in super::super) shard: ShardId,
    /// The checkpoint.
    pub(in super::super) checkpoint: CheckpointId,
}

impl SnapshotKey {
    /// The head's key.
    pub(in super::super) fn head(&self) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.operator.len() + 15);
        key.extend_from_slice(self.operator.as_bytes());
        key.push(0);
        key.extend_from_slice(&self.shard.0.to_be_bytes());
        key.extend_from_slice(&self.checkpoint.0.to_be_bytes());
        key
    }

    /// A part's key.
    pub(in super::super) fn part(&self, part: u32) -> Vec<u8> {
        let mut key = self.head();
        key.extend_from_slice(&part.to_be_bytes());
        key
    }

    /// Reads a head's key.
    pub(in super::super) fn parse(key: &[u8]) -> Option<SnapshotKey> {
        let name_bytes = key.len().checked_sub(11)?;
        let (name, rest) = key.split_at(name_bytes);
        let (&[0, s0, s1], number) = rest.split_first_chunk::<3>()? else {
            return None;
        };
        Some(SnapshotKey {
            operator: std::str::from_utf8(name).ok()?.to_owned(),
            shard: ShardId(u16::from_be_bytes([s0, s1])),
            checkpoint: CheckpointId(u64::from_be_bytes(number.try_into().ok()?)),
        })
    }
}

/// The key of an artifact's part.
pub(in super::super) fn artifact_key(hash: &str, part: u32) -> Vec<u8> {
    let mut key = Vec::with_capacity(hash.len() + 5);
    key.extend_from_slice(hash.as_bytes());
    key.push(0);
    key.extend_from_slice(&part.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_and_sorts_by_its_numbers() {
        let key = |shard, checkpoint| SnapshotKey {
            operator: "detector-1".into(),
            shard: ShardId(shard),
            checkpoint: CheckpointId(checkpoint),
        };
        assert_eq!(SnapshotKey::parse(&key(7, 300).head()), Some(key(7, 300)));
        assert!(key(7, 300).head() < key(7, 301).head());
        assert!(key(7, 300).head() < key(256, 1).head());
        assert!(key(7, 300).part(255) < key(7, 300).part(256));
        assert_eq!(SnapshotKey::parse(b"short"), None);
        assert_eq!(SnapshotKey::parse(b"\xff\xff\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01"), None);
    }
}
