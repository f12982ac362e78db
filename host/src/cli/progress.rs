//! What a running job shows: on a terminal a line that moves, elsewhere a log line every ten seconds.
//!
//! A thread samples [`Status`]; nothing of the job waits for it. Next room: [`super::meter`], the arithmetic.

use super::logging::{self, Format};
use super::meter::{Rate, Silence, thousands};
use crate::status::{LAG_UNKNOWN, Status};
use indicatif::{BinaryBytes, ProgressBar, ProgressStyle};
use std::io::{IsTerminal, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the numbers are looked at; a terminal's line moves with it.
const SAMPLE: Duration = Duration::from_millis(250);
/// How often a log line tells them.
const LINE: Duration = Duration::from_secs(10);

const BOUNDED: &str = "{prefix} [{bar:24}] {percent}% {msg}, {eta} left";
const UNBOUNDED: &str = "{prefix} {spinner} {msg}";

/// The display of a running job.
pub struct Progress {
    end: SyncSender<()>,
    thread: Option<JoinHandle<()>>,
}

/// Numbers at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Sample {
    records_in: u64,
    records_out: u64,
    records_bad: u64,
    records_per_second: f64,
    lag: Option<u64>,
    checkpoint: u64,
    checkpoint_ms: f64,
    state_bytes: u64,
}

impl Progress {
    /// Starts to show a job's numbers. Without a thread for it the job runs unseen.
    pub fn start(job: &str, status: Arc<Status>, format: Format, quiet: bool) -> Progress {
        let (end, ended) = sync_channel(1);
        let bar = (format == Format::Text && !quiet && stderr().is_terminal()).then(|| bar(job));
        let mut watcher =
            Watcher { status, bar, quiet, rate: Rate::default(), silence: Silence::default(), is_bounded: false };
        let body = move || {
            let began = Instant::now();
            let mut line_at = LINE;
            loop {
                let is_last = ended.recv_timeout(SAMPLE) != Err(RecvTimeoutError::Timeout);
                let now = began.elapsed();
                let is_due = is_last || now >= line_at;
                if now >= line_at {
                    line_at = now + LINE;
                }
                watcher.show(now, is_due);
                if is_last {
                    watcher.close();
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("progress".to_owned()).spawn(body);
        if let Err(error) = &thread {
            tracing::warn!(%error, "no progress is shown: there is no thread for it");
        }
        Progress { end, thread: thread.ok() }
    }

    /// Shows the last numbers and takes the line away.
    pub fn finish(mut self) {
        // A display that ended by itself is not waited for.
        let _ = self.end.send(());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn bar(job: &str) -> ProgressBar {
    let bar = ProgressBar::no_length().with_prefix(job.to_owned());
    bar.set_style(style(UNBOUNDED));
    logging::keep_above(&bar);
    bar
}

fn style(template: &'static str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates are constants").progress_chars("=> ")
}

struct Watcher {
    status: Arc<Status>,
    bar: Option<ProgressBar>,
    quiet: bool,
    rate: Rate,
    silence: Silence,
    is_bounded: bool,
}

impl Watcher {
    fn show(&mut self, now: Duration, is_due: bool) {
        let sample = self.sample(now);
        if self.silence.observe(now, sample.records_in, sample.records_out) {
            self.tell_silence();
        }
        match &self.bar {
            Some(bar) => {
                let (done, total) = (read(&self.status.input_bytes_done), read(&self.status.input_bytes_total));
                if total > 0 {
                    if !self.is_bounded {
                        bar.set_style(style(BOUNDED));
                        bar.set_length(total);
                        bar.set_position(done.min(total));
                        // What an earlier process read says nothing of this one's speed.
                        bar.reset_eta();
                        self.is_bounded = true;
                    }
                    bar.set_length(total);
                    bar.set_position(done.min(total));
                }
                bar.set_message(sample.text(self.is_bounded));
                bar.tick();
            }
            None if is_due && !self.quiet => sample.log(),
            None => {}
        }
    }

    fn close(&mut self) {
        if let Some(bar) = &self.bar {
            // The line stays with its last numbers, unless nothing was ever read.
            if read(&self.status.records_in) > 0 { bar.abandon() } else { bar.finish_and_clear() }
        }
    }

    fn sample(&mut self, now: Duration) -> Sample {
        let status = &self.status;
        let records_in = read(&status.records_in);
        let lag = read(&status.lag);
        Sample {
            records_in,
            records_out: read(&status.records_out),
            records_bad: read(&status.records_bad),
            records_per_second: self.rate.observe(now, records_in),
            lag: (lag != LAG_UNKNOWN).then_some(lag),
            checkpoint: read(&status.checkpoint_id),
            checkpoint_ms: read(&status.checkpoint_duration_us) as f64 / 1e3,
            state_bytes: read(&status.state_bytes),
        }
    }

    fn tell_silence(&self) {
        if let Some(holder) = self.status.watermark_holder() {
            tracing::warn!(
                holder,
                "records arrive but nothing comes out: this split holds the watermark back; if it is quiet, lower \
                 `idle_after` of its source's `watermark`; if it is behind, wait; else look at its timestamps"
            );
        } else {
            tracing::warn!(
                "records arrive but nothing comes out, and no split holds the watermark back; look whether the operators \
                 emit anything for this input"
            );
        }
    }
}

impl Sample {
    fn text(&self, is_bounded: bool) -> String {
        let mut parts = vec![format!("{} records/s", thousands(self.records_per_second as u64))];
        if let (Some(lag), false) = (self.lag, is_bounded) {
            parts.push(format!("lag {}", thousands(lag)));
        }
        if self.records_bad > 0 {
            parts.push(format!("{} bad", thousands(self.records_bad)));
        }
        parts.push(format!("checkpoint {} in {:.0} ms", self.checkpoint, self.checkpoint_ms));
        parts.push(format!("state {}", BinaryBytes(self.state_bytes)));
        parts.join(", ")
    }

    fn log(&self) {
        tracing::info!(
            target: "tidegate::progress",
            records_in = self.records_in,
            records_out = self.records_out,
            records_bad = self.records_bad,
            records_per_second = self.records_per_second as u64,
            lag = self.lag,
            checkpoint = self.checkpoint,
            checkpoint_ms = self.checkpoint_ms,
            state_bytes = self.state_bytes,
            "progress"
        );
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_leaves_out_what_is_not_known() {
        let sample = Sample {
            records_in: 10,
            records_out: 1,
            records_bad: 0,
            records_per_second: 1_234_567.8,
            lag: None,
            checkpoint: 7,
            checkpoint_ms: 12.4,
            state_bytes: 64 << 20,
        };
        assert_eq!(sample.text(false), "1,234,567 records/s, checkpoint 7 in 12 ms, state 64.00 MiB");
        let known = Sample { lag: Some(1200), records_bad: 3, ..sample };
        assert_eq!(known.text(false), "1,234,567 records/s, lag 1,200, 3 bad, checkpoint 7 in 12 ms, state 64.00 MiB");
        assert!(!known.text(true).contains("lag"), "a bar shows how much is left");
    }

    #[test]
    fn both_templates_are_right() {
        for template in [BOUNDED, UNBOUNDED] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
