//! Finds changed pages by comparing with a copy that is kept from the last barrier.
//!
//! The copy is kept in chunks, and a chunk that was always zero takes no memory. The scan runs at memory speed; only
//! changed pages are copied. It holds no reference to the memory between two calls. Next room: [`super`].

use super::super::snapshot::{MemoryDelta, PAGE_BYTES};
use super::Tracker;
use crate::seeded::{self, Bug};

/// The unit in which the copy is allocated, in bytes: a page of Wasm, so a memory is whole chunks in practice.
const CHUNK_BYTES: usize = 64 * 1024;

/// What a page that was never written holds.
static ZERO_PAGE: [u8; PAGE_BYTES] = [0; PAGE_BYTES];

/// Compares with a shadow copy.
#[derive(Debug, Default)]
pub(super) struct ShadowTracker {
    /// The memory as it was at the last barrier, in chunks; `None`: all zero.
    chunks: Vec<Option<Box<[u8]>>>,
    /// The memory's size at the last barrier, in bytes.
    size_bytes: usize,
}

impl ShadowTracker {
    /// Knows nothing: the first take gives every page that is not zero.
    pub(super) fn new() -> ShadowTracker {
        ShadowTracker::default()
    }

    /// Calls `changed` with the number and bytes of each page that differs from the copy, and brings the copy up to date.
    fn scan(&mut self, memory: &[u8], mut changed: impl FnMut(u32, &[u8])) {
        assert!(memory.len() >= self.size_bytes, "a linear memory never shrinks");
        assert!(memory.len().is_multiple_of(PAGE_BYTES), "a linear memory is whole pages");
        self.size_bytes = memory.len();
        self.chunks.resize_with(memory.len().div_ceil(CHUNK_BYTES), || None);

        let pages_per_chunk = CHUNK_BYTES / PAGE_BYTES;
        for (chunk_index, (now, chunk)) in memory.chunks(CHUNK_BYTES).zip(&mut self.chunks).enumerate() {
            for (page_index, page) in now.chunks_exact(PAGE_BYTES).enumerate() {
                let range = page_index * PAGE_BYTES..(page_index + 1) * PAGE_BYTES;
                let known = chunk.as_ref().map_or(&ZERO_PAGE[..], |bytes| &bytes[range.clone()]);
                if page == known {
                    continue;
                }
                let copy = chunk.get_or_insert_with(|| vec![0; CHUNK_BYTES].into_boxed_slice());
                copy[range].copy_from_slice(page);
                let number = chunk_index * pages_per_chunk + page_index;
                changed(u32::try_from(number).expect("a linear memory is below 16 TiB"), page);
            }
        }
    }
}

impl Tracker for ShadowTracker {
    fn take(&mut self, memory: &[u8]) -> MemoryDelta {
        let mut delta = MemoryDelta { size_bytes: memory.len() as u64, ..MemoryDelta::default() };
        self.scan(memory, |number, page| {
            delta.pages.push(number);
            delta.data.extend_from_slice(page);
        });
        if seeded::is(Bug::DirtyPageMissed) && delta.pages.len() > 1 {
            delta.pages.pop();
            delta.data.truncate(delta.pages.len() * PAGE_BYTES);
        }
        delta
    }

    fn reset(&mut self, memory: &[u8]) {
        self.scan(memory, |_, _| {});
    }

    fn at_last_barrier(&self) -> MemoryDelta {
        let mut image = MemoryDelta { size_bytes: self.size_bytes as u64, ..MemoryDelta::default() };
        let pages_per_chunk = CHUNK_BYTES / PAGE_BYTES;
        for (chunk_index, chunk) in self.chunks.iter().enumerate() {
            let Some(chunk) = chunk else { continue };
            for (page_index, page) in chunk.chunks_exact(PAGE_BYTES).enumerate() {
                if *page != ZERO_PAGE {
                    let number = chunk_index * pages_per_chunk + page_index;
                    image.pages.push(u32::try_from(number).expect("a linear memory is below 16 TiB"));
                    image.data.extend_from_slice(page);
                }
            }
        }
        image
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(delta: &MemoryDelta, index: usize) -> &[u8] {
        &delta.data[index * PAGE_BYTES..(index + 1) * PAGE_BYTES]
    }

    #[test]
    fn the_first_take_gives_the_pages_that_are_not_zero() {
        let mut memory = vec![0; 40 * PAGE_BYTES];
        memory[3 * PAGE_BYTES + 17] = 1;
        memory[39 * PAGE_BYTES + 4095] = 2;
        let delta = ShadowTracker::new().take(&memory);
        assert_eq!(delta.size_bytes, memory.len() as u64);
        assert_eq!(delta.pages, [3, 39]);
        assert_eq!(page(&delta, 0)[17], 1);
        assert_eq!(page(&delta, 1)[4095], 2);
        assert_eq!(delta.data.len(), 2 * PAGE_BYTES);
    }

    #[test]
    fn a_take_gives_only_what_changed_since_the_one_before() {
        let mut tracker = ShadowTracker::new();
        let mut memory = vec![0; 32 * PAGE_BYTES];
        memory[0] = 1;
        tracker.take(&memory);
        assert!(tracker.take(&memory).pages.is_empty());
        memory[20 * PAGE_BYTES] = 9;
        assert_eq!(tracker.take(&memory).pages, [20]);
        memory[20 * PAGE_BYTES] = 0;
        let delta = tracker.take(&memory);
        assert_eq!(delta.pages, [20], "a page that became zero has changed");
        assert!(delta.data.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_memory_that_grew_gives_its_new_pages() {
        let mut tracker = ShadowTracker::new();
        let mut memory = vec![7; 16 * PAGE_BYTES];
        assert_eq!(tracker.take(&memory).pages.len(), 16);
        memory.resize(48 * PAGE_BYTES, 0);
        memory[47 * PAGE_BYTES] = 1;
        let delta = tracker.take(&memory);
        assert_eq!((delta.size_bytes, delta.pages), (48 * PAGE_BYTES as u64, vec![47]));
    }

    #[test]
    fn after_a_reset_the_memory_is_known() {
        let mut tracker = ShadowTracker::new();
        let mut memory = vec![7; 16 * PAGE_BYTES];
        tracker.reset(&memory);
        assert!(tracker.take(&memory).pages.is_empty());
        memory[5 * PAGE_BYTES] = 8;
        assert_eq!(tracker.take(&memory).pages, [5]);
    }

    #[test]
    fn the_memory_of_the_last_barrier_can_be_had_and_the_next_take_goes_on_from_there() {
        let mut tracker = ShadowTracker::new();
        assert_eq!(tracker.at_last_barrier(), MemoryDelta::default());
        let mut memory = vec![0; 40 * PAGE_BYTES];
        memory[3 * PAGE_BYTES] = 1;
        memory[39 * PAGE_BYTES] = 2;
        let taken = tracker.take(&memory);
        memory[7 * PAGE_BYTES] = 3;
        memory.resize(48 * PAGE_BYTES, 9);
        assert_eq!(tracker.at_last_barrier(), taken);
        let mut other = vec![0; 40 * PAGE_BYTES];
        other[3 * PAGE_BYTES] = 1;
        assert_eq!(tracker.take(&other).pages, [39], "another memory takes the place of the one that was given up");
        assert_eq!(tracker.at_last_barrier().pages, [3]);
    }

    #[test]
    fn a_memory_that_was_never_written_costs_no_copy() {
        let mut tracker = ShadowTracker::new();
        tracker.take(&vec![0; 64 * CHUNK_BYTES]);
        assert!(tracker.chunks.iter().all(Option::is_none));
    }
}
