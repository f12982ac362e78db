//! From counters to what a person wants to know: rates, and whether a job takes in without giving out. Pure: the time comes
//! in as an argument.
//!
//! Next room: [`super::progress`], which samples and shows.

use std::collections::VecDeque;
use std::time::Duration;

/// How far back a rate looks.
const WINDOW: Duration = Duration::from_secs(10);
/// Input without output for this long is worth a word.
pub const SILENCE: Duration = Duration::from_secs(10);

/// A rate over the last ten seconds. At most one sample a quarter second is given, so it holds about forty.
#[derive(Debug, Default)]
pub struct Rate {
    samples: VecDeque<(Duration, u64)>,
}

impl Rate {
    /// Adds a counter's value at a time since the start, and gives the rate per second.
    pub fn observe(&mut self, now: Duration, count: u64) -> f64 {
        self.samples.push_back((now, count));
        while self.samples.len() > 2 && self.samples.get(1).is_some_and(|(at, _)| now.saturating_sub(*at) >= WINDOW) {
            self.samples.pop_front();
        }
        let Some((then, before)) = self.samples.front() else { return 0.0 };
        let seconds = now.saturating_sub(*then).as_secs_f64();
        if seconds > 0.0 { count.saturating_sub(*before) as f64 / seconds } else { 0.0 }
    }
}

/// Notices records that go in while none come out.
#[derive(Debug, Default)]
pub struct Silence {
    records_in: u64,
    records_out: u64,
    /// When the first record after the last output went in; `None`: none did.
    since: Option<Duration>,
    /// When the last record went in.
    moved_at: Duration,
    told: bool,
}

impl Silence {
    /// Adds both counters' values at a time since the start. True once per silence: when records have gone in for
    /// [`SILENCE`], and still do, and none has come out.
    pub fn observe(&mut self, now: Duration, records_in: u64, records_out: u64) -> bool {
        if records_out != self.records_out {
            *self = Silence { records_in, records_out, moved_at: now, ..Silence::default() };
            return false;
        }
        if records_in != self.records_in {
            self.records_in = records_in;
            self.moved_at = now;
            self.since.get_or_insert(now);
        } else if now.saturating_sub(self.moved_at) >= SILENCE {
            // The input has stopped as well: nothing is wrong with that.
            self.since = None;
        }
        let is_silent = self.since.is_some_and(|since| now.saturating_sub(since) >= SILENCE);
        let is_fed = now.saturating_sub(self.moved_at) < SILENCE / 2;
        if self.told || !is_silent || !is_fed {
            return false;
        }
        self.told = true;
        true
    }
}

/// A count as people write it: `1,234,567`.
pub fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_rate_looks_back_ten_seconds() {
        let mut rate = Rate::default();
        assert!(rate.observe(seconds(0), 0).abs() < 1e-9);
        assert!((rate.observe(seconds(1), 100) - 100.0).abs() < 1e-9);
        for second in 2..=30 {
            rate.observe(seconds(second), 100);
        }
        assert!(rate.observe(seconds(31), 100).abs() < 1e-9, "the burst at the start is forgotten");
    }

    #[test]
    fn input_without_output_is_told_once() {
        let mut silence = Silence::default();
        let told: Vec<u64> = (1..60).filter(|second| silence.observe(seconds(*second), second * 5, 0)).collect();
        assert_eq!(told, [11]);
        assert!(!silence.observe(seconds(60), 300, 1), "output ends the silence");
        let again: Vec<u64> = (61..80).filter(|second| silence.observe(seconds(*second), second * 5, 1)).collect();
        assert_eq!(again, [71]);
    }

    #[test]
    fn a_job_without_input_or_with_output_is_not_silent() {
        let mut silence = Silence::default();
        assert!((1..60).all(|second| !silence.observe(seconds(second), 7, 0)), "nothing arrives");
        let mut silence = Silence::default();
        assert!((1..60).all(|second| !silence.observe(seconds(second), second, second)), "both move");
        let mut silence = Silence::default();
        assert!((1..60).all(|second| !silence.observe(seconds(second), second / 20, 0)), "a record now and then");
    }

    #[test]
    fn counts_have_commas() {
        assert_eq!(thousands(7), "7");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(thousands(123_456), "123,456");
    }
}
