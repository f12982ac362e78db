//! Says from the payments alone which alerts a job must have written, and compares with what it wrote.
//!
//! The oracle of demo, tests and benchmarks. It shares no code with host, SDK, plugins or `generate`: it reads the same JSON
//! with another parser and counts without windows that open and close. It knows nothing of checkpoints or order.
//! Next room: `demo`, which prints its verdict.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

/// What makes an alert: more than `threshold` payments of one user in one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The largest number that is still no alert.
    pub threshold: u64,
    /// A tumbling window's length, in milliseconds; windows begin at its multiples.
    pub window_ms: i64,
}

impl Default for Rule {
    /// The fraud detector's defaults: more than 10 in a minute.
    fn default() -> Rule {
        Rule { threshold: 10, window_ms: 60_000 }
    }
}

/// One alert, as the job writes it. Ordered by user, then window.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    /// The user.
    pub user_id: String,
    /// The window's first millisecond since the Unix epoch.
    pub window_start: i64,
    /// The first millisecond after the window.
    pub window_end: i64,
    /// How many payments of the user lie in the window.
    pub count: u64,
}

/// A line that is not what its reader needs.
#[derive(Debug)]
pub struct BadLine {
    /// The line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for BadLine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}: {}", self.line, self.reason)
    }
}

impl std::error::Error for BadLine {}

/// Counts payments per user and window.
#[derive(Debug)]
pub struct Recount {
    rule: Rule,
    records: u64,
    counts: HashMap<String, HashMap<i64, u64>>,
}

#[derive(Deserialize)]
struct Counted<'a> {
    #[serde(borrow)]
    user_id: std::borrow::Cow<'a, str>,
    timestamp: i64,
}

impl Recount {
    /// Nothing counted yet.
    pub fn new(rule: Rule) -> Recount {
        Recount { rule, records: 0, counts: HashMap::new() }
    }

    /// Counts one payment, a JSON object.
    ///
    /// # Errors
    /// If it is not JSON, or lacks `user_id` or `timestamp`; then nothing was counted.
    pub fn add(&mut self, json: &[u8]) -> Result<(), BadLine> {
        let payment: Counted<'_> = serde_json::from_slice(json)
            .map_err(|error| BadLine { line: self.records + 1, reason: error.to_string() })?;
        self.records += 1;
        let window = payment.timestamp.div_euclid(self.rule.window_ms);
        if let Some(windows) = self.counts.get_mut(payment.user_id.as_ref()) {
            *windows.entry(window).or_default() += 1;
        } else {
            self.counts.insert(payment.user_id.into_owned(), HashMap::from([(window, 1)]));
        }
        Ok(())
    }

    /// Counts a file of JSON lines; empty lines are left out.
    ///
    /// # Errors
    /// Those of the file system, and a line that is no payment, named by number.
    pub fn add_file(&mut self, path: &Path) -> io::Result<()> {
        for_each_line(path, |_, line| self.add(line))
    }

    /// How many payments were counted.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// The alerts these payments must raise, in order.
    pub fn alerts(&self) -> Vec<Alert> {
        let mut alerts = Vec::new();
        for (user_id, windows) in &self.counts {
            for (window, count) in windows {
                if *count > self.rule.threshold {
                    let window_start = window * self.rule.window_ms;
                    let window_end = window_start + self.rule.window_ms;
                    alerts.push(Alert { user_id: user_id.clone(), window_start, window_end, count: *count });
                }
            }
        }
        alerts.sort_unstable();
        alerts
    }
}

/// What a comparison found. Exactly once means that the last three are zero.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Alerts that the payments must raise.
    pub expected: u64,
    /// Lines that the job wrote.
    pub found: u64,
    /// Expected alerts of which there is no line at all.
    pub lost: u64,
    /// Lines beyond the first for one user and window.
    pub duplicated: u64,
    /// Lines with another count than expected, for a window that must raise no alert, or that are no alert.
    pub wrong: u64,
    /// The first few differences, in words.
    pub examples: Vec<String>,
}

impl Verdict {
    /// Whether every expected alert is there once and nothing else is.
    pub fn is_exact(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && self.wrong == 0 && self.expected == self.found
    }

    fn note(&mut self, difference: impl FnOnce() -> String) {
        const EXAMPLES: usize = 5;
        if self.examples.len() < EXAMPLES {
            self.examples.push(difference());
        }
    }
}

/// The alerts that were found, to be compared with the expected ones.
#[derive(Debug, Default)]
pub struct Found {
    alerts: Vec<Alert>,
    unreadable: Vec<BadLine>,
    lines: u64,
}

impl Found {
    /// Takes one line of output. One that is no alert is kept too: it counts as wrong.
    pub fn add(&mut self, line: &[u8]) {
        self.lines += 1;
        match serde_json::from_slice(line) {
            Ok(alert) => self.alerts.push(alert),
            Err(error) => self.unreadable.push(BadLine { line: self.lines, reason: error.to_string() }),
        }
    }

    /// Takes a file of JSON lines.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn add_file(&mut self, path: &Path) -> io::Result<()> {
        for_each_line(path, |_, line| {
            self.add(line);
            Ok(())
        })
    }

    /// Compares with the expected alerts, each of which must be there once.
    pub fn compare(&self, expected: &[Alert]) -> Verdict {
        let mut verdict = Verdict { expected: expected.len() as u64, found: self.lines, ..Verdict::default() };
        let mut by_window: BTreeMap<(&str, i64, i64), Vec<u64>> = BTreeMap::new();
        for alert in &self.alerts {
            let window = (alert.user_id.as_str(), alert.window_start, alert.window_end);
            by_window.entry(window).or_default().push(alert.count);
        }
        for alert in expected {
            match by_window.remove(&(alert.user_id.as_str(), alert.window_start, alert.window_end)) {
                None => {
                    verdict.lost += 1;
                    verdict.note(|| format!("lost: {alert:?}"));
                }
                Some(counts) => verdict.judge(alert, &counts),
            }
        }
        for ((user_id, window_start, _), counts) in by_window {
            verdict.wrong += counts.len() as u64;
            verdict.note(|| format!("must not be there: {user_id} from {window_start} with {counts:?}"));
        }
        for bad in &self.unreadable {
            verdict.wrong += 1;
            verdict.note(|| format!("no alert: {bad}"));
        }
        verdict
    }
}

impl Verdict {
    fn judge(&mut self, alert: &Alert, counts: &[u64]) {
        if counts.len() > 1 {
            self.duplicated += counts.len() as u64 - 1;
            self.note(|| format!("{} times: {alert:?}", counts.len()));
        }
        if counts.iter().any(|count| *count != alert.count) {
            self.wrong += 1;
            self.note(|| format!("counted {counts:?} instead of: {alert:?}"));
        }
    }
}

fn for_each_line(path: &Path, mut take: impl FnMut(u64, &[u8]) -> Result<(), BadLine>) -> io::Result<()> {
    const BUFFER_BYTES: usize = 1 << 20;
    let in_file = |error: String| io::Error::other(format!("`{}`: {error}", path.display()));
    let file = File::open(path).map_err(|error| in_file(error.to_string()))?;
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, file);
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        number += 1;
        let text = line.trim_ascii_end();
        if !text.is_empty() {
            take(number, text).map_err(|bad| in_file(BadLine { line: number, ..bad }.to_string()))?;
        }
    }
}

#[cfg(test)]
#[path = "recount_tests.rs"]
mod tests;
