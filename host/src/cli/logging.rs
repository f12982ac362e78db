//! The log: `tracing` to standard error, as text or as JSON lines, never into the middle of a progress line.
//!
//! Next room: [`super::progress`], which owns the line at the bottom of a terminal.

use indicatif::ProgressBar;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The progress line at the bottom of the terminal, while there is one.
static PROGRESS: OnceLock<ProgressBar> = OnceLock::new();

/// How log events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A line for people.
    Text,
    /// A JSON object a line, with the steps of each checkpoint.
    Json,
}

/// Starts the log of this process. A second call changes nothing.
pub fn start(format: Format, quiet: bool) {
    // Programs that watch a job read its checkpoints from JSON; for people they are in the progress.
    let default = match (quiet, format) {
        (true, _) => "warn",
        (false, Format::Text) => "info",
        (false, Format::Json) => "info,tidegate::checkpoint=debug",
    };
    let filter = EnvFilter::try_from_env("TIDEGATE_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(AboveProgress);
    // An error means that a log was started before, by a test or by whoever embeds the host: theirs stays.
    let _ = match format {
        Format::Text => {
            let target = std::env::var_os("TIDEGATE_LOG").is_some();
            builder.with_ansi(io::stderr().is_terminal()).with_target(target).try_init()
        }
        Format::Json => builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
    };
}

/// Names the progress line that log lines must stay above.
pub fn keep_above(progress: &ProgressBar) {
    // One process, one job, one line.
    let _ = PROGRESS.set(progress.clone());
}

/// Prints something while the progress line is taken away.
pub fn above_progress(print: impl FnOnce()) {
    match PROGRESS.get() {
        Some(progress) => progress.suspend(print),
        None => print(),
    }
}

/// Writes to standard error above the progress line. One call is one event.
struct AboveProgress;

impl Write for AboveProgress {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let mut outcome = Ok(());
        above_progress(|| outcome = io::stderr().write_all(event));
        outcome.map(|()| event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl MakeWriter<'_> for AboveProgress {
    type Writer = AboveProgress;

    fn make_writer(&self) -> AboveProgress {
        AboveProgress
    }
}
