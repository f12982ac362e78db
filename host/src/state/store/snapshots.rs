//! Writes, reads and deletes one snapshot: its head and its parts.
//!
//! Knows no checkpoint rules; those stand in `prepare`, `load` and `fold`. Next room: `format`, the bytes.

use super::super::error::StoreError;
use super::super::format::blocks::{BlockReader, BlockWriter, ZeroPages};
use super::super::format::parts::{PART_BYTES_MAX, next_part_bytes};
use super::super::format::rows::{SnapshotHead, SnapshotKey, SnapshotKind, decode, encode};
use super::super::format::{FormatError, FrameKind, seal_with, unseal};
use super::super::image::{ImageBuilder, MEMORY_BYTES_MAX};
use super::super::snapshot::{GlobalValue, MemoryDelta, PAGE_BYTES};
use super::index::{Entry, Located};
use super::tables;
use crate::ids::{CheckpointId, PluginHash};
use redb::{ReadableTable, Table, WriteTransaction};
use std::path::Path;

/// A snapshot to be written.
pub(super) struct Draft<'a> {
    pub(super) key: SnapshotKey,
    pub(super) kind: SnapshotKind,
    /// The shard's snapshot before it; `None` for a base.
    pub(super) previous: Option<CheckpointId>,
    pub(super) plugin: &'a PluginHash,
    pub(super) memories: &'a [MemoryDelta],
    pub(super) globals: &'a [GlobalValue],
}

/// Writes snapshots. Keeps its buffers from one to the next.
pub(super) struct SnapshotWriter {
    blocks: BlockWriter,
    stream: Vec<u8>,
    frame: Vec<u8>,
}

impl SnapshotWriter {
    pub(super) fn new() -> SnapshotWriter {
        SnapshotWriter { blocks: BlockWriter::new(), stream: Vec::new(), frame: Vec::new() }
    }

    /// Writes a snapshot into the transaction, and gives its entry for the index.
    pub(super) fn write(
        &mut self,
        transaction: &WriteTransaction,
        path: &Path,
        draft: &Draft<'_>,
    ) -> Result<Entry, StoreError> {
        let failed = |error: redb::Error| StoreError::engine(path, "writing a snapshot", error);
        let table = transaction.open_table(tables::SNAPSHOT_PARTS).map_err(|error| failed(error.into()))?;
        let SnapshotWriter { blocks, stream, frame } = self;
        stream.clear();
        let mut parts = Parts { table, path, key: &draft.key, frame, count: 0, stored_bytes: 0 };
        let zero_pages = match draft.kind {
            SnapshotKind::Base => ZeroPages::LeftOut,
            SnapshotKind::Delta => ZeroPages::Named,
        };
        for (index, memory) in draft.memories.iter().enumerate() {
            blocks.write(index as u16, memory, zero_pages, stream, |stream| {
                while stream.len() >= PART_BYTES_MAX {
                    parts.write(stream, PART_BYTES_MAX)?;
                }
                Ok::<(), StoreError>(())
            })?;
        }
        while !stream.is_empty() {
            let part_bytes = next_part_bytes(stream.len());
            parts.write(stream, part_bytes)?;
        }
        let Parts { count, stored_bytes, table, .. } = parts;
        drop(table);

        let head = SnapshotHead {
            kind: draft.kind,
            previous: draft.previous,
            plugin: draft.plugin.clone(),
            memory_bytes: draft.memories.iter().map(|memory| memory.size_bytes).collect(),
            globals: draft.globals.to_vec(),
            parts: count,
            stored_bytes,
            page_bytes: draft.memories.iter().map(|memory| memory.data.len() as u64).sum(),
        };
        let key = draft.key.head();
        let value = encode(FrameKind::SnapshotHead, &key, &head);
        tables::put(transaction, path, tables::SNAPSHOT_HEADS, &key, &value)?;
        Ok(Entry::new(draft.key.checkpoint, &head))
    }
}

/// The parts of the snapshot being written.
struct Parts<'a, 'txn> {
    table: Table<'txn, &'static [u8], &'static [u8]>,
    path: &'a Path,
    key: &'a SnapshotKey,
    frame: &'a mut Vec<u8>,
    count: u32,
    stored_bytes: u64,
}

impl Parts<'_, '_> {
    /// Stores the first bytes of the stream as the next part.
    fn write(&mut self, stream: &mut Vec<u8>, part_bytes: usize) -> Result<(), StoreError> {
        let key = self.key.part(self.count);
        seal_with(FrameKind::SnapshotPart, &key, self.frame, |out| out.extend_from_slice(&stream[..part_bytes]));
        self.table
            .insert(key.as_slice(), self.frame.as_slice())
            .map_err(|error| StoreError::engine(self.path, "writing a snapshot", error))?;
        stream.drain(..part_bytes);
        self.count += 1;
        self.stored_bytes += self.frame.len() as u64;
        Ok(())
    }
}

/// The two tables of snapshots, open for reading in either kind of transaction.
pub(super) struct SnapshotTables<'a, T> {
    pub(super) path: &'a Path,
    pub(super) heads: T,
    pub(super) parts: T,
}

impl<T: ReadableTable<&'static [u8], &'static [u8]>> SnapshotTables<'_, T> {
    /// Applies a snapshot to an image and gives its head.
    pub(super) fn apply(&self, key: &SnapshotKey, image: &mut ImageBuilder) -> Result<SnapshotHead, StoreError> {
        let damaged = |part, error: FormatError| StoreError::snapshot(self.path, key, part, &error);
        let head_key = key.head();
        let head: SnapshotHead = match self.get(&self.heads, &head_key)? {
            Some(value) => decode(FrameKind::SnapshotHead, &head_key, value.value()).map_err(|e| damaged(None, e))?,
            None => return Err(damaged(None, FormatError::damaged("it is missing"))),
        };
        image.resize(&head.memory_bytes).map_err(|error| damaged(None, error))?;
        let mut blocks = BlockReader::new();
        for part in 0..head.parts {
            let part_key = key.part(part);
            let Some(value) = self.get(&self.parts, &part_key)? else {
                return Err(damaged(Some(part), FormatError::damaged("it is missing")));
            };
            unseal(FrameKind::SnapshotPart, &part_key, value.value())
                .and_then(|payload| blocks.read(payload, image))
                .map_err(|error| damaged(Some(part), error))?;
        }
        blocks.finish().map_err(|error| damaged(head.parts.checked_sub(1), error))?;
        Ok(head)
    }

    fn get<'t>(&self, table: &'t T, key: &[u8]) -> Result<Option<redb::AccessGuard<'t, &'static [u8]>>, StoreError> {
        table.get(key).map_err(|error| StoreError::engine(self.path, "reading a snapshot", error))
    }
}

/// Deletes snapshots with all their parts.
pub(super) fn remove(transaction: &WriteTransaction, path: &Path, doomed: &[Located]) -> Result<(), StoreError> {
    if doomed.is_empty() {
        return Ok(());
    }
    let parts = doomed.iter().flat_map(|located| (0..located.parts).map(|part| located.key.part(part)));
    tables::remove(transaction, path, tables::SNAPSHOT_PARTS, parts)?;
    tables::remove(transaction, path, tables::SNAPSHOT_HEADS, doomed.iter().map(|located| located.key.head()))
}

/// What is wrong with the memories of a capture, if something is: the store trusts nobody with a page number.
pub(super) fn fault(memories: &[MemoryDelta]) -> Option<String> {
    for memory in memories {
        let pages = memory.size_bytes / PAGE_BYTES as u64;
        if memory.size_bytes > MEMORY_BYTES_MAX || !memory.size_bytes.is_multiple_of(PAGE_BYTES as u64) {
            return Some(format!("a memory of `{}` bytes cannot be kept", memory.size_bytes));
        }
        if memory.pages.len() * PAGE_BYTES != memory.data.len() {
            return Some(format!("`{}` pages come with `{}` bytes", memory.pages.len(), memory.data.len()));
        }
        if !memory.pages.is_sorted_by(|a, b| a < b) || memory.pages.last().is_some_and(|last| u64::from(*last) >= pages)
        {
            return Some("page numbers do not ascend within the memory".into());
        }
    }
    (memories.len() > usize::from(u16::MAX)).then(|| format!("`{}` memories are too many", memories.len()))
}
