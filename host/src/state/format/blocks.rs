//! Pages of memory as a stream of blocks: page numbers, then the pages, compressed together.
//!
//! ```text
//! block    kind u8 | reserved u8 | memory u16 | pages u32 | stored bytes u32 | page numbers u32 each | stored bytes
//! kind     0: the pages became all zero, nothing stored; 1: stored as they are; 2: lz4 block of the pages
//! ```
//!
//! Little-endian. The stream carries no checksum: it is cut into parts, and each part's frame has one. Pure.

use super::super::snapshot::{MemoryDelta, PAGE_BYTES};
use super::FormatError;

/// Pages in a block: 256 KiB compress well and cost little when one page is wanted.
const BLOCK_PAGES_MAX: usize = 64;

/// Page numbers in a block of zero pages; they have no bytes, so there may be more.
const ZERO_PAGES_MAX: usize = 4096;

/// What stands before a block's page numbers, in bytes.
const HEAD_BYTES: usize = 12;

const KIND_ZERO: u8 = 0;
const KIND_RAW: u8 = 1;
const KIND_LZ4: u8 = 2;

static ZERO_PAGE: [u8; PAGE_BYTES] = [0; PAGE_BYTES];

/// Whether pages that are all zero are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum ZeroPages {
    /// They are named: the delta may replace pages that were not zero.
    Named,
    /// They are left out: there is nothing before a base.
    LeftOut,
}

/// Compresses pages into blocks. Keeps its buffers from snapshot to snapshot.
pub(in super::super) struct BlockWriter {
    /// The pages of the block being filled.
    pages: Vec<u32>,
    raw: Vec<u8>,
    /// Pages that became zero.
    zeros: Vec<u32>,
    compressed: Vec<u8>,
}

impl BlockWriter {
    pub(in super::super) fn new() -> BlockWriter {
        BlockWriter {
            pages: Vec::with_capacity(BLOCK_PAGES_MAX),
            raw: Vec::with_capacity(BLOCK_PAGES_MAX * PAGE_BYTES),
            zeros: Vec::new(),
            compressed: vec![0; lz4_flex::block::get_maximum_output_size(BLOCK_PAGES_MAX * PAGE_BYTES)],
        }
    }

    /// Appends the pages of one memory to `stream`, calling `flush` whenever the stream may be cut.
    pub(in super::super) fn write<E>(
        &mut self,
        memory: u16,
        delta: &MemoryDelta,
        zero_pages: ZeroPages,
        stream: &mut Vec<u8>,
        mut flush: impl FnMut(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        for (number, page) in delta.pages.iter().zip(delta.data.chunks_exact(PAGE_BYTES)) {
            if page == ZERO_PAGE {
                if zero_pages == ZeroPages::Named {
                    self.zeros.push(*number);
                }
                if self.zeros.len() == ZERO_PAGES_MAX {
                    self.write_zeros(memory, stream);
                    flush(stream)?;
                }
                continue;
            }
            self.pages.push(*number);
            self.raw.extend_from_slice(page);
            if self.pages.len() == BLOCK_PAGES_MAX {
                self.write_pages(memory, stream);
                flush(stream)?;
            }
        }
        if !self.zeros.is_empty() {
            self.write_zeros(memory, stream);
        }
        if !self.pages.is_empty() {
            self.write_pages(memory, stream);
        }
        flush(stream)
    }

    fn write_pages(&mut self, memory: u16, stream: &mut Vec<u8>) {
        let compressed_bytes = lz4_flex::block::compress_into(&self.raw, &mut self.compressed)
            .expect("the buffer holds the largest possible output");
        let (kind, stored) = if compressed_bytes < self.raw.len() {
            (KIND_LZ4, &self.compressed[..compressed_bytes])
        } else {
            (KIND_RAW, &self.raw[..])
        };
        write_head(stream, kind, memory, &self.pages, stored.len());
        stream.extend_from_slice(stored);
        self.pages.clear();
        self.raw.clear();
    }

    fn write_zeros(&mut self, memory: u16, stream: &mut Vec<u8>) {
        write_head(stream, KIND_ZERO, memory, &self.zeros, 0);
        self.zeros.clear();
    }
}

fn write_head(stream: &mut Vec<u8>, kind: u8, memory: u16, pages: &[u32], stored_bytes: usize) {
    stream.extend_from_slice(&[kind, 0]);
    stream.extend_from_slice(&memory.to_le_bytes());
    stream.extend_from_slice(&(pages.len() as u32).to_le_bytes());
    stream.extend_from_slice(&(stored_bytes as u32).to_le_bytes());
    for page in pages {
        stream.extend_from_slice(&page.to_le_bytes());
    }
}

/// Gets what the blocks of a stream say, in order.
pub(in super::super) trait PageReceiver {
    /// The pages of a memory; `data` is empty if they became zero, else [`PAGE_BYTES`] a page.
    fn pages(&mut self, memory: u16, pages: &[u32], data: &[u8]) -> Result<(), FormatError>;
}

/// Takes blocks from a stream whose bytes arrive part by part.
pub(in super::super) struct BlockReader {
    /// Bytes of a block that is not whole yet.
    pending: Vec<u8>,
    pages: Vec<u32>,
    raw: Vec<u8>,
}

impl BlockReader {
    pub(in super::super) fn new() -> BlockReader {
        BlockReader { pending: Vec::new(), pages: Vec::new(), raw: vec![0; BLOCK_PAGES_MAX * PAGE_BYTES] }
    }

    /// Takes the next part of the stream and hands on every block that is whole.
    pub(in super::super) fn read(&mut self, part: &[u8], receiver: &mut impl PageReceiver) -> Result<(), FormatError> {
        let mut pending = std::mem::take(&mut self.pending);
        pending.extend_from_slice(part);
        let mut consumed = 0;
        while let Some(block_bytes) = self.block(&pending[consumed..], receiver)? {
            consumed += block_bytes;
        }
        pending.drain(..consumed);
        self.pending = pending;
        Ok(())
    }

    /// Says that the stream is at its end.
    pub(in super::super) fn finish(&mut self) -> Result<(), FormatError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        Err(FormatError::damaged(format!("the last block is cut off after `{}` bytes", self.pending.len())))
    }

    /// Hands on the block at the start of `bytes` and gives its length; `None`: it is not whole.
    fn block(&mut self, bytes: &[u8], receiver: &mut impl PageReceiver) -> Result<Option<usize>, FormatError> {
        let Some((head, rest)) = bytes.split_at_checked(HEAD_BYTES) else {
            return Ok(None);
        };
        let kind = head[0];
        let memory = u16::from_le_bytes([head[2], head[3]]);
        let page_count = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let stored_bytes = u32::from_le_bytes([head[8], head[9], head[10], head[11]]) as usize;
        let raw_bytes = match kind {
            KIND_ZERO if page_count <= ZERO_PAGES_MAX && stored_bytes == 0 => 0,
            KIND_RAW if page_count <= BLOCK_PAGES_MAX && stored_bytes == page_count * PAGE_BYTES => stored_bytes,
            KIND_LZ4 if page_count <= BLOCK_PAGES_MAX && stored_bytes < page_count * PAGE_BYTES => {
                page_count * PAGE_BYTES
            }
            _ => {
                return Err(FormatError::damaged(format!(
                    "a block of kind `{kind}` with `{page_count}` pages in `{stored_bytes}` bytes is not possible"
                )));
            }
        };
        let Some((numbers, rest)) = rest.split_at_checked(page_count * 4) else {
            return Ok(None);
        };
        let Some(stored) = rest.get(..stored_bytes) else {
            return Ok(None);
        };
        self.pages.clear();
        self.pages.extend(numbers.chunks_exact(4).map(|n| u32::from_le_bytes([n[0], n[1], n[2], n[3]])));
        let data = if kind == KIND_LZ4 {
            let raw = &mut self.raw[..raw_bytes];
            match lz4_flex::block::decompress_into(stored, raw) {
                Ok(found) if found == raw_bytes => &raw[..],
                Ok(found) => {
                    return Err(FormatError::damaged(format!("a block has `{found}` bytes instead of `{raw_bytes}`")));
                }
                Err(error) => return Err(FormatError::damaged(format!("a block cannot be decompressed: {error}"))),
            }
        } else {
            stored
        };
        receiver.pages(memory, &self.pages, data)?;
        Ok(Some(HEAD_BYTES + page_count * 4 + stored_bytes))
    }
}
