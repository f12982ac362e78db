//! What a plugin can reach of the host: memory up to its limit, log lines and counters.
//!
//! No clock, no randomness, no files. Everything a guest can fill has a bound here. Next room: `instance`.

use super::bindings::tidegate::plugin::{host, types};
use std::time::{Duration, Instant};
use wasmtime::ResourceLimiter;

/// Table elements that an instance may have in all its tables: far above what a language's runtime needs (Python: 20,000).
const TABLE_ELEMENTS_MAX: usize = 1_000_000;
/// A longer log message is cut, in bytes.
const LOG_MESSAGE_BYTES_MAX: usize = 2048;
/// Lines that an instance may log in one [`LOG_WINDOW`]; the rest is counted and dropped.
const LOG_LINES_PER_WINDOW: u32 = 50;
/// The interval for which log lines are counted.
const LOG_WINDOW: Duration = Duration::from_secs(1);
/// What is kept of the last error line of a call, in bytes.
const SAID_BYTES_MAX: usize = 512;
/// Counters of one instance; further names are dropped with a warning.
const COUNTERS_MAX: usize = 64;
/// A longer name of a counter is cut, in bytes.
const COUNTER_NAME_BYTES_MAX: usize = 64;

/// What a store carries for the host's own functions.
pub(super) struct HostState {
    pub(super) limits: Limits,
    operator: String,
    shard: u16,
    log: LogWindow,
    /// The last line with level error of the call that runs: before a trap it is the panic's text.
    said: Option<String>,
    counters: Vec<(String, u64)>,
    counters_full: bool,
}

impl HostState {
    /// A state for one instance; the names go into its log lines.
    pub(super) fn new(operator: &str, shard: u16, memory_bytes_max: usize) -> HostState {
        HostState {
            limits: Limits { memory_bytes_max, memory_bytes: 0, refused: None, table_elements: 0 },
            operator: operator.to_owned(),
            shard,
            log: LogWindow { start: None, lines: 0, dropped: 0 },
            said: None,
            counters: Vec::new(),
            counters_full: false,
        }
    }

    /// Says that a call begins.
    #[inline]
    pub(super) fn begin_call(&mut self) {
        self.said = None;
    }

    /// The last line with level error that the call logged, if it did.
    pub(super) fn said(&self) -> Option<&str> {
        self.said.as_deref()
    }

    /// The counters' increments since the last call, by name.
    pub(super) fn take_counters(&mut self) -> Vec<(String, u64)> {
        let taken = self.counters.iter().filter(|(_, delta)| *delta > 0).cloned().collect();
        for (_, delta) in &mut self.counters {
            *delta = 0;
        }
        taken
    }
}

/// Bounds what an instance may allocate.
pub(super) struct Limits {
    memory_bytes_max: usize,
    memory_bytes: usize,
    /// The size, in bytes, of the first growth that was refused.
    refused: Option<usize>,
    table_elements: usize,
}

impl Limits {
    /// Says that the memory limit was hit, for the text of a trap that followed.
    pub(super) fn refusal(&self) -> Option<String> {
        let wanted = self.refused?;
        let limit = self.memory_bytes_max;
        Some(format!("it asked for {wanted} bytes of memory, the limit is {limit} bytes (setting `memory`)"))
    }
}

impl ResourceLimiter for Limits {
    /// A growth past the memory's own maximum is let pass uncounted, because it fails right after. One that the system
    /// refuses stays counted: the limit may then be hit early, and never late.
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(true);
        }
        let total = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        if total > self.memory_bytes_max {
            self.refused.get_or_insert(total);
            return Ok(false);
        }
        self.memory_bytes = total;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        tracing::debug!(%error, "a linear memory could not grow");
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _max: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.table_elements.saturating_add(desired.saturating_sub(current));
        if total > TABLE_ELEMENTS_MAX {
            return Ok(false);
        }
        self.table_elements = total;
        Ok(true)
    }
}

/// Counts log lines, so that a plugin that logs each record does not fill the disk.
struct LogWindow {
    start: Option<Instant>,
    lines: u32,
    dropped: u64,
}

impl LogWindow {
    /// Whether a line may pass at this time, and how many were dropped in a window that has just ended.
    fn admit(&mut self, now: Instant) -> (bool, u64) {
        let mut dropped = 0;
        if self.start.is_none_or(|start| now.duration_since(start) >= LOG_WINDOW) {
            dropped = std::mem::take(&mut self.dropped);
            self.start = Some(now);
            self.lines = 0;
        }
        if self.lines >= LOG_LINES_PER_WINDOW {
            self.dropped += 1;
            return (false, dropped);
        }
        self.lines += 1;
        (true, dropped)
    }
}

impl types::Host for HostState {}

impl host::Host for HostState {
    /// Control characters are escaped: a plugin cannot forge lines of the host's log.
    fn log(&mut self, level: host::Level, message: String) {
        if level == host::Level::Error {
            self.said = Some(cut(&message, SAID_BYTES_MAX).to_owned());
        }
        let (admitted, dropped) = self.log.admit(Instant::now());
        let (operator, shard) = (self.operator.as_str(), self.shard);
        if dropped > 0 {
            tracing::warn!(operator, shard, dropped, "the operator logs too much, lines were dropped");
        }
        if !admitted {
            return;
        }
        let said = cut(&message, LOG_MESSAGE_BYTES_MAX);
        match level {
            host::Level::Debug => tracing::debug!(operator, shard, ?said, "operator log"),
            host::Level::Info => tracing::info!(operator, shard, ?said, "operator log"),
            host::Level::Warn => tracing::warn!(operator, shard, ?said, "operator log"),
            host::Level::Error => tracing::error!(operator, shard, ?said, "operator log"),
        }
    }

    fn count(&mut self, metric: String, delta: u64) {
        let name = cut(&metric, COUNTER_NAME_BYTES_MAX);
        if let Some((_, sum)) = self.counters.iter_mut().find(|(known, _)| known == name) {
            *sum = sum.saturating_add(delta);
        } else if self.counters.len() < COUNTERS_MAX {
            self.counters.push((name.to_owned(), delta));
        } else if !self.counters_full {
            self.counters_full = true;
            let (operator, shard) = (self.operator.as_str(), self.shard);
            tracing::warn!(operator, shard, ?name, limit = COUNTERS_MAX, "too many counters, further ones are dropped");
        }
    }
}

/// The longest prefix of a text that has at most `bytes_max` bytes.
pub(super) fn cut(text: &str, bytes_max: usize) -> &str {
    if text.len() <= bytes_max {
        return text;
    }
    let end = (0..=bytes_max).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::Host as _;

    #[test]
    fn counters_add_up_are_drained_and_are_bounded() {
        let mut state = HostState::new("o", 0, 0);
        state.count("late".to_owned(), 2);
        state.count("late".to_owned(), 3);
        assert_eq!(state.take_counters(), [("late".to_owned(), 5)]);
        assert_eq!(state.take_counters(), []);
        for name in 0..COUNTERS_MAX * 2 {
            state.count(name.to_string(), 1);
        }
        assert_eq!(state.take_counters().len(), COUNTERS_MAX - 1);
    }

    #[test]
    fn the_last_error_line_of_a_call_is_remembered_until_the_next_call() {
        let mut state = HostState::new("o", 0, 0);
        state.log(host::Level::Error, "é".repeat(SAID_BYTES_MAX));
        assert_eq!(state.said().map(str::len), Some(SAID_BYTES_MAX));
        state.log(host::Level::Info, "no error".to_owned());
        state.log(host::Level::Error, "panicked".to_owned());
        assert_eq!(state.said(), Some("panicked"));
        state.begin_call();
        assert_eq!(state.said(), None);
    }

    #[test]
    fn log_lines_past_the_window_are_counted_and_dropped() {
        let mut window = LogWindow { start: None, lines: 0, dropped: 0 };
        let now = Instant::now();
        let admitted = (0..LOG_LINES_PER_WINDOW + 7).filter(|_| window.admit(now).0).count();
        assert_eq!(admitted, LOG_LINES_PER_WINDOW as usize);
        assert_eq!(window.admit(now + LOG_WINDOW), (true, 7));
    }

    #[test]
    fn all_memories_together_stay_under_the_limit() {
        let mut limits = HostState::new("o", 0, 100).limits;
        assert!(limits.memory_growing(0, 60, None).unwrap());
        assert!(limits.memory_growing(60, 80, Some(70)).unwrap(), "fails by itself and is not counted");
        limits.memory_grow_failed(wasmtime::format_err!("maximum")).unwrap();
        assert!(limits.memory_growing(0, 40, None).unwrap());
        assert!(!limits.memory_growing(60, 61, None).unwrap());
        assert!(limits.refusal().unwrap().contains("asked for 101 bytes"));
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("aé", 3), "aé");
    }
}
