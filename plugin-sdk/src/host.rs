//! What an operator may ask of the host: a log line, a counter. Natively, in a unit test, neither has an effect
//! outside.
//!
//! Neither returns anything, so neither can make two runs differ. Next room: [`crate::operator`].

/// How much a log line matters.
///
/// ```
/// tidegate_sdk::log(tidegate_sdk::Level::Warn, "no rule has come yet; every payment passes");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// For whoever looks for a fault.
    Debug,
    /// Part of normal life.
    Info,
    /// Unexpected, and we went on.
    Warn,
    /// A person must look.
    Error,
}

/// Writes a line to the host's log, marked with job, operator and shard; in a unit test, to the test's output. Not for
/// every record, and never personal data.
///
/// ```
/// tidegate_sdk::log(tidegate_sdk::Level::Info, "rules loaded");
/// ```
pub fn log(level: Level, message: &str) {
    #[cfg(target_arch = "wasm32")]
    {
        use crate::bindings::tidegate::plugin::host;
        let level = match level {
            Level::Debug => host::Level::Debug,
            Level::Info => host::Level::Info,
            Level::Warn => host::Level::Warn,
            Level::Error => host::Level::Error,
        };
        host::log(level, message);
    }
    #[cfg(not(target_arch = "wasm32"))]
    eprintln!("{level:?}: {message}");
}

/// Adds to a counter of the operator, shown with the job's metrics; in a unit test, nothing happens. Use few, constant
/// names, and add once a batch rather than once a record.
///
/// ```
/// tidegate_sdk::count("late", 3);
/// ```
pub fn count(metric: &str, delta: u64) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::tidegate::plugin::host::count(metric, delta);
    #[cfg(not(target_arch = "wasm32"))]
    let _ = (metric, delta);
}
