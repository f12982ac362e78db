//! A wish for a checkpoint before its time: workers ask, the coordinator answers with a barrier.
//!
//! Two numbers and no queue, because nothing gets lost: who asks goes on asking until the barrier is on its way. A wish that
//! comes while that barrier is injected may be answered with one more checkpoint, which does no harm.
//! Next room: [`super::coordinator`], which looks here.

use crate::ids::CheckpointId;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What workers and the coordinator share about it.
#[derive(Debug, Default)]
pub struct EarlyBarrier {
    is_wanted: AtomicBool,
    injected: AtomicU64,
}

impl EarlyBarrier {
    /// Asks for a checkpoint.
    pub fn ask(&self) {
        self.is_wanted.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked since the last barrier was injected.
    pub fn is_wanted(&self) -> bool {
        self.is_wanted.load(Ordering::Relaxed)
    }

    /// Says that a barrier is about to be put into the sources.
    pub fn inject(&self, id: CheckpointId) {
        self.injected.store(id.0, Ordering::Relaxed);
        self.is_wanted.store(false, Ordering::Relaxed);
    }

    /// Whether a later barrier than this one was put into the sources.
    pub fn is_on_its_way_after(&self, id: CheckpointId) -> bool {
        self.injected.load(Ordering::Relaxed) > id.0
    }
}
