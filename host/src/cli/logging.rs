//! The log: `tracing` to standard error, as text or as JSON lines, never into the middle of a progress line.
//!
//! Next room: [`super::progress`], which owns the line at the bottom of a terminal.

use indicatif::ProgressBar;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The environment variable that says which log events are shown.
const LOG_VARIABLE: &str = "TIDEGATE_LOG";

/// The progress line at the bottom of the terminal, while there is one.
static PROGRESS: OnceLock<ProgressBar> = OnceLock::new();

/// Whether log events are written as JSON.
static IS_JSON: AtomicBool = AtomicBool::new(false);

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
    let asked = std::env::var(LOG_VARIABLE).ok();
    let parsed = asked.as_deref().map(EnvFilter::try_new);
    let problem = parsed.as_ref().and_then(|parsed| parsed.as_ref().err()).map(ToString::to_string);
    let filter = parsed.and_then(Result::ok).unwrap_or_else(|| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(AboveProgress);
    // An error means that a log was started before, by a test or by whoever embeds the host: theirs stays.
    let _ = match format {
        Format::Text => builder.with_ansi(io::stderr().is_terminal()).with_target(asked.is_some()).try_init(),
        Format::Json => builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
    };
    IS_JSON.store(format == Format::Json, Ordering::Relaxed);
    if let Some(problem) = problem {
        tracing::warn!(
            problem,
            "`{LOG_VARIABLE}` is not understood and left out; write it like `info` or `tidegate=debug`"
        );
    }
}

/// Whether standard error carries JSON lines, and nothing else may be written there.
pub fn is_json() -> bool {
    IS_JSON.load(Ordering::Relaxed) && tracing::enabled!(tracing::Level::ERROR)
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
