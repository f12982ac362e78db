//! What a running process has used: CPU time and peak memory, from Linux's `/proc`.
//!
//! Reads only. A process that has ended keeps its CPU time until it is waited for, but not its memory: [`PeakMemory`] looks
//! while it runs. Next room: `host_process`, the process that is measured.

use crate::shell;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// How often memory is looked at. The kernel keeps the peak; only growth in a process's last moment can be missed.
const MEMORY_POLL: Duration = Duration::from_millis(20);
/// Linux's unit of CPU time in `/proc`, when `getconf` does not say otherwise.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time of a process so far, user and system, all threads, in seconds (in steps of 10 ms); `None` if it is not there.
pub fn cpu_seconds(process: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, ticks) = parse_stat(&stat)?;
    Some(ticks as f64 / ticks_per_second())
}

/// Whether a process has ended and only waits to be waited for. True as well if it is not there at all.
pub fn has_ended(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    parse_stat(&stat).is_none_or(|(state, _)| state == "Z" || state == "X")
}

/// Follows a process's peak memory until it ends.
#[derive(Debug)]
pub struct PeakMemory {
    bytes: Arc<AtomicU64>,
}

impl PeakMemory {
    /// Begins to follow; a thread of its own looks and ends with the process.
    pub fn follow(process: u32) -> PeakMemory {
        let bytes = Arc::new(AtomicU64::new(0));
        let shared = Arc::clone(&bytes);
        thread::spawn(move || {
            while let Some(now) = peak_memory_bytes(process) {
                shared.fetch_max(now, Ordering::Relaxed);
                thread::sleep(MEMORY_POLL);
            }
        });
        PeakMemory { bytes }
    }

    /// The largest resident size seen, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

fn peak_memory_bytes(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// State and CPU ticks in a `stat` line. The name before them may hold spaces and brackets, so reading begins after its end.
fn parse_stat(stat: &str) -> Option<(&str, u64)> {
    let after_name = &stat[stat.rfind(')')? + 1..];
    let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
    // proc(5): the state is field 3, the first after the name; utime and stime are 14 and 15.
    let user: u64 = fields.get(11)?.parse().ok()?;
    let system: u64 = fields.get(12)?.parse().ok()?;
    Some((fields.first()?, user + system))
}

fn ticks_per_second() -> f64 {
    shell::ask("getconf", &["CLK_TCK"]).and_then(|text| text.trim().parse().ok()).unwrap_or(TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::{PeakMemory, cpu_seconds, has_ended, parse_stat};
    use std::process::{Command, id};
    use std::time::{Duration, Instant};

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "42 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1 0 100";
        assert_eq!(parse_stat(stat), Some(("S", 200)));
        assert_eq!(parse_stat("42 (cut off"), None);
        assert_eq!(parse_stat("42 (a) S 1 2"), None);
    }

    #[test]
    fn work_shows_as_cpu_time() {
        let before = cpu_seconds(id()).unwrap();
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(200) {
            std::hint::black_box(began.elapsed());
        }
        assert!(cpu_seconds(id()).unwrap() >= before + 0.05);
    }

    #[test]
    fn an_ended_process_is_seen_as_ended_before_it_is_waited_for() {
        let mut child = Command::new("true").spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while !has_ended(child.id()) {
            assert!(Instant::now() < deadline, "`true` does not end");
            std::thread::yield_now();
        }
        assert!(cpu_seconds(child.id()).is_some());
        child.wait().unwrap();
    }

    #[test]
    fn peak_memory_is_more_than_nothing() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let peak = PeakMemory::follow(child.id());
        let deadline = Instant::now() + Duration::from_secs(30);
        while peak.bytes() == 0 {
            assert!(Instant::now() < deadline, "no memory seen");
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
