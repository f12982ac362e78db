//! Trackers find the pages of a linear memory that changed since the last barrier.
//!
//! A tracker belongs to one memory of one instance and is asked only at a barrier, while no guest code runs. It does not
//! own the memory, does not write it, and knows neither Wasm nor storage. What it must keep: applying all deltas it ever
//! gave, in order, to the memory of its last reset (zeros, without one) gives the memory as it is now.
//! Next room: [`super::store`], which writes the deltas.

mod shadow;

use super::snapshot::MemoryDelta;

/// Finds what changed in one linear memory.
///
/// Every call gets the whole memory, from its first byte to its current size: a multiple of
/// [`PAGE_BYTES`](super::snapshot::PAGE_BYTES), always at the same address, and never smaller than before. So a tracker may
/// compare the bytes, or hand the range to the kernel (write protection) and never read a clean page at all.
pub trait Tracker: Send {
    /// Takes the pages that changed since the last `take` or [`reset`](Tracker::reset), and starts a new interval. Without
    /// one before, these are all pages that are not zero.
    ///
    /// # Panics
    ///
    /// If the memory shrank or is not whole pages: linear memories do neither.
    fn take(&mut self, memory: &[u8]) -> MemoryDelta;

    /// Says that the memory, as it is now, is known: the next [`take`](Tracker::take) gives only what changes from here on.
    /// Called once an image was restored into the memory.
    ///
    /// # Panics
    ///
    /// As [`take`](Tracker::take).
    fn reset(&mut self, memory: &[u8]);

    /// The memory as it was at the last [`take`](Tracker::take) or [`reset`](Tracker::reset): its pages that are not zero.
    /// For the undo of a failed call, whose memory is given up: after this the tracker gets another memory, filled anew and
    /// at another address, and still gives what changed since then.
    fn at_last_barrier(&self) -> MemoryDelta;
}

/// How changed pages are found. Operators whose calls are undone need one that keeps a copy of what it last took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TrackerKind {
    /// A copy of the memory is kept and compared at each barrier. Works everywhere; costs the memory a second time (parts
    /// that are all zero excepted) and time in proportion to its size.
    #[default]
    Shadow,
}

/// Makes a tracker for one memory that nothing is known of yet.
pub fn new_tracker(kind: TrackerKind) -> Box<dyn Tracker> {
    match kind {
        TrackerKind::Shadow => Box::new(shadow::ShadowTracker::new()),
    }
}
