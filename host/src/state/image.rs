//! Builds an instance's image from a base and its deltas, page by page.
//!
//! Pure. Pages arrive in the order in which they were written; a later one replaces an earlier one, and one that became
//! zero goes. Next room: [`super::store`], which reads the pages.

use super::format::FormatError;
use super::format::blocks::PageReceiver;
use super::snapshot::{MemoryDelta, PAGE_BYTES};

/// The largest linear memory that can be restored, in bytes: what 32-bit addresses reach.
pub(super) const MEMORY_BYTES_MAX: u64 = 1 << 32;

/// The slot of a page that is not there (never written, or zero).
const EMPTY: u32 = u32::MAX;

/// One memory being built.
#[derive(Debug, Default)]
struct MemoryBuilder {
    size_bytes: u64,
    /// Per page of the memory: its slot in `data`, or [`EMPTY`].
    slots: Vec<u32>,
    /// Pages in the order in which they first arrived.
    data: Vec<u8>,
}

/// Builds the memories of one instance.
#[derive(Debug, Default)]
pub(super) struct ImageBuilder {
    memories: Vec<MemoryBuilder>,
}

impl ImageBuilder {
    /// Begins a snapshot whose memories have these sizes; they are never smaller than the snapshot's before.
    pub(super) fn resize(&mut self, memory_bytes: &[u64]) -> Result<(), FormatError> {
        if !self.memories.is_empty() && self.memories.len() != memory_bytes.len() {
            return Err(FormatError::damaged(format!(
                "it has `{}` memories after `{}`",
                memory_bytes.len(),
                self.memories.len()
            )));
        }
        self.memories.resize_with(memory_bytes.len(), MemoryBuilder::default);
        for (memory, &size_bytes) in self.memories.iter_mut().zip(memory_bytes) {
            if size_bytes < memory.size_bytes || size_bytes > MEMORY_BYTES_MAX {
                return Err(FormatError::damaged(format!(
                    "a memory of `{}` bytes has `{size_bytes}` bytes next",
                    memory.size_bytes
                )));
            }
            memory.size_bytes = size_bytes;
            memory.slots.resize((size_bytes / PAGE_BYTES as u64) as usize, EMPTY);
        }
        Ok(())
    }

    /// The memories as they are now: pages ascend and none is zero.
    pub(super) fn finish(self) -> Vec<MemoryDelta> {
        self.memories.into_iter().map(MemoryBuilder::finish).collect()
    }
}

impl PageReceiver for ImageBuilder {
    fn pages(&mut self, memory: u16, pages: &[u32], data: &[u8]) -> Result<(), FormatError> {
        let memories = self.memories.len();
        let Some(memory) = self.memories.get_mut(memory as usize) else {
            return Err(FormatError::damaged(format!("a block is for memory `{memory}` of `{memories}`")));
        };
        for (index, &page) in pages.iter().enumerate() {
            let Some(slot) = memory.slots.get_mut(page as usize) else {
                return Err(FormatError::damaged(format!(
                    "page `{page}` is outside a memory of `{}` bytes",
                    memory.size_bytes
                )));
            };
            if data.is_empty() {
                *slot = EMPTY;
                continue;
            }
            let bytes = &data[index * PAGE_BYTES..(index + 1) * PAGE_BYTES];
            if *slot == EMPTY {
                *slot = (memory.data.len() / PAGE_BYTES) as u32;
                memory.data.extend_from_slice(bytes);
            } else {
                let at = *slot as usize * PAGE_BYTES;
                memory.data[at..at + PAGE_BYTES].copy_from_slice(bytes);
            }
        }
        Ok(())
    }
}

impl MemoryBuilder {
    fn finish(self) -> MemoryDelta {
        let taken = self.slots.iter().enumerate().filter(|(_, slot)| **slot != EMPTY);
        let pages: Vec<u32> = taken.clone().map(|(page, _)| page as u32).collect();
        let slots: Vec<u32> = taken.map(|(_, slot)| *slot).collect();
        // A base alone comes in order, and nothing is copied.
        let in_order = slots.iter().enumerate().all(|(index, slot)| *slot as usize == index);
        let data = if in_order && slots.len() * PAGE_BYTES == self.data.len() {
            self.data
        } else {
            let mut data = Vec::with_capacity(slots.len() * PAGE_BYTES);
            for slot in slots {
                let at = slot as usize * PAGE_BYTES;
                data.extend_from_slice(&self.data[at..at + PAGE_BYTES]);
            }
            data
        };
        MemoryDelta { size_bytes: self.size_bytes, pages, data }
    }
}
