//! Named moments of a checkpoint and of a recovery, where a test may end the process to see what a crash there does.
//!
//! The product installs no observer: then a moment costs one atomic load, a few times a checkpoint, never per record.

use std::sync::OnceLock;

static OBSERVER: OnceLock<fn(&'static str)> = OnceLock::new();

/// Installs the observer of this process. For tests of crashes; later calls change nothing.
pub fn observe(observer: fn(&'static str)) {
    let _ = OBSERVER.set(observer);
}

/// Says that a moment is reached.
pub fn reached(moment: &'static str) {
    if let Some(observer) = OBSERVER.get() {
        observer(moment);
    }
}
