//! What a running job and the one who watches it tell each other: requests to stop go in ([`Control`]), numbers come out
//! ([`Status`]). Plain atomics: writing them costs the hot path nothing, and nothing here decides anything.
//!
//! Next room: `job`, which fills the numbers in; [`crate::cli`], which shows them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};

/// [`Status::lag`] when it is not known.
pub const LAG_UNKNOWN: u64 = u64::MAX;

/// How a job is asked to end. Shared between the job and whoever may stop it; a request is never taken back.
#[derive(Debug, Default)]
pub struct Control {
    request: AtomicU8,
}

/// What was asked of a job, in rising urgency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Request {
    /// Go on.
    Run,
    /// Take a final checkpoint and end.
    Stop,
    /// End at once; the next start recovers from the last checkpoint.
    StopNow,
}

impl Control {
    /// Asks for a final checkpoint and a clean end. A request to stop at once stays.
    pub fn stop(&self) {
        self.request.fetch_max(Request::Stop as u8, Ordering::AcqRel);
    }

    /// Asks for an end without a checkpoint.
    pub fn stop_now(&self) {
        self.request.fetch_max(Request::StopNow as u8, Ordering::AcqRel);
    }

    /// What was asked so far.
    pub fn request(&self) -> Request {
        match self.request.load(Ordering::Acquire) {
            0 => Request::Run,
            1 => Request::Stop,
            _ => Request::StopNow,
        }
    }
}

/// A job's numbers since this process started, each written by the thread that knows it. A reader may see one number
/// newer than another.
#[derive(Debug)]
pub struct Status {
    /// Records read from all sources, bad ones included.
    pub records_in: AtomicU64,
    /// Bytes of these records as they lie in their source.
    pub bytes_in: AtomicU64,
    /// Records handed to sinks; visible to readers with the next checkpoint.
    pub records_out: AtomicU64,
    /// Records that could not be decoded.
    pub records_bad: AtomicU64,
    /// Records between the positions and the ends of all splits; [`LAG_UNKNOWN`] where that cannot be told.
    pub lag: AtomicU64,
    /// Bytes of a bounded input; 0 for an unbounded one.
    pub input_bytes_total: AtomicU64,
    /// How many of [`Status::input_bytes_total`] are read, those of earlier processes included.
    pub input_bytes_done: AtomicU64,
    /// The last decided checkpoint's number; 0 before the first.
    pub checkpoint_id: AtomicU64,
    /// From its barrier to its confirm, in microseconds.
    pub checkpoint_duration_us: AtomicU64,
    /// Memory of all instances, in bytes.
    pub state_bytes: AtomicU64,
    /// The lowest watermark of all sources, in milliseconds since the Unix epoch; `i64::MIN` before the first.
    pub watermark_ms: AtomicI64,
    watermark_holder: Mutex<Option<String>>,
}

impl Default for Status {
    fn default() -> Status {
        let zero = || AtomicU64::new(0);
        Status {
            records_in: zero(),
            bytes_in: zero(),
            records_out: zero(),
            records_bad: zero(),
            lag: AtomicU64::new(LAG_UNKNOWN),
            input_bytes_total: zero(),
            input_bytes_done: zero(),
            checkpoint_id: zero(),
            checkpoint_duration_us: zero(),
            state_bytes: zero(),
            watermark_ms: AtomicI64::new(i64::MIN),
            watermark_holder: Mutex::new(None),
        }
    }
}

impl Status {
    /// Replaces one source thread's part of [`Status::lag`].
    pub fn change_lag(&self, before: u64, now: u64) {
        let change = |total: u64| {
            let others = if total == LAG_UNKNOWN { 0 } else { total.saturating_sub(before) };
            Some(others.saturating_add(now))
        };
        // The closure never refuses.
        let _ = self.lag.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
    }

    /// Notes which split holds the watermark back, as `source split` in words for a person. `None`: no split does.
    pub fn set_watermark_holder(&self, holder: Option<String>) {
        *self.watermark_holder.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = holder;
    }

    /// Which split holds the watermark back, as last noted.
    pub fn watermark_holder(&self) -> Option<String> {
        self.watermark_holder.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_is_the_sum_of_all_threads() {
        let status = Status::default();
        status.change_lag(0, 10);
        status.change_lag(0, 5);
        status.change_lag(10, 3);
        assert_eq!(status.lag.load(Ordering::Relaxed), 8);
    }

    #[test]
    fn a_request_is_never_taken_back() {
        let control = Control::default();
        assert_eq!(control.request(), Request::Run);
        control.stop();
        assert_eq!(control.request(), Request::Stop);
        control.stop_now();
        control.stop();
        assert_eq!(control.request(), Request::StopNow);
    }
}
