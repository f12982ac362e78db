//! Calls whose panic is an answer, not a bug of ours: what reads a library's own structures from a file that may be damaged.
//!
//! The process-wide hook that turns panics into an exit asks here first. Next rooms: [`crate::state`], [`crate::cli::panics`].

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Calls `read`; `None` if it panicked. Nothing that it was writing to may be used afterwards.
pub fn catch<T>(read: impl FnOnce() -> T) -> Option<T> {
    DEPTH.set(DEPTH.get() + 1);
    let result = catch_unwind(AssertUnwindSafe(read));
    DEPTH.set(DEPTH.get() - 1);
    result.ok()
}

/// Whether the calling thread is inside [`catch`].
pub fn is_catching() -> bool {
    DEPTH.get() > 0
}
