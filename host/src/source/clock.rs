//! Event time among the threads of one source: a thread whose splits are all idle goes by the others.
//!
//! Without it such a thread would hold the watermark of the whole job. Atomics only; nothing here waits.
//! Next room: [`super::driver`].

use crate::ids::Watermark;
use crate::watermark::Activity;
use std::sync::atomic::{AtomicI64, Ordering};

/// What a thread without an active split shows: it holds nobody back.
const HOLDS_NOBODY: i64 = i64::MAX;

/// The watermarks of a source's threads, shared by them.
#[derive(Debug)]
pub struct SourceClock {
    /// Per thread: how far it lets the others go.
    limits: Vec<AtomicI64>,
    /// The largest own watermark of any thread that was idle.
    idle: AtomicI64,
}

impl SourceClock {
    /// A clock for so many threads. None has shown anything yet, so each holds the watermark at its start.
    pub fn new(threads: usize) -> SourceClock {
        SourceClock {
            limits: (0..threads).map(|_| AtomicI64::new(Watermark::START.0)).collect(),
            idle: AtomicI64::new(Watermark::START.0),
        }
    }

    /// Shows a thread's own watermark and activity to the others, and says what its readers may rely on: its own watermark,
    /// or, while it is idle, the lowest of the threads that are active, and where none is, the largest of the idle ones. The
    /// end of the input is only ever its own.
    pub fn combine(&self, thread: usize, own: Watermark, activity: Activity) -> Watermark {
        if activity == Activity::Idle {
            self.idle.fetch_max(own.0, Ordering::Relaxed);
        }
        let limit = if activity == Activity::Active { own.0 } else { HOLDS_NOBODY };
        self.limits[thread].store(limit, Ordering::Relaxed);
        if activity != Activity::Idle {
            return own;
        }
        let lowest = self.limits.iter().map(|other| other.load(Ordering::Relaxed)).min().unwrap_or(HOLDS_NOBODY);
        let reached = if lowest == HOLDS_NOBODY { self.idle.load(Ordering::Relaxed) } else { lowest };
        own.max(Watermark(reached))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_thread_goes_by_the_active_ones_and_only_its_own_end_is_the_end() {
        let clock = SourceClock::new(3);
        // The third thread has not shown anything: nobody may run ahead of it.
        assert_eq!(clock.combine(0, Watermark(10), Activity::Idle), Watermark(10));
        assert_eq!(clock.combine(1, Watermark(50), Activity::Active), Watermark(50));
        assert_eq!(clock.combine(2, Watermark(40), Activity::Active), Watermark(40));
        assert_eq!(clock.combine(0, Watermark(10), Activity::Idle), Watermark(40));
        assert_eq!(clock.combine(2, Watermark::END, Activity::Finished), Watermark::END);
        assert_eq!(clock.combine(0, Watermark(10), Activity::Idle), Watermark(50));
        assert_eq!(clock.combine(1, Watermark::END, Activity::Finished), Watermark::END);
        assert_eq!(clock.combine(0, Watermark(10), Activity::Idle), Watermark(10));
    }

    #[test]
    fn idle_threads_go_to_the_furthest_of_them_in_any_order() {
        for (first, second) in [(50, 10), (10, 50)] {
            let clock = SourceClock::new(2);
            assert_eq!(clock.combine(1, Watermark(second), Activity::Active), Watermark(second));
            clock.combine(0, Watermark(first), Activity::Idle);
            assert_eq!(clock.combine(1, Watermark(second), Activity::Idle), Watermark(50));
            assert_eq!(clock.combine(0, Watermark(first), Activity::Idle), Watermark(50));
        }
    }
}
