//! What a failed call is in words: the reason first, then the guest's backtrace.
//!
//! Next room: `instance`.

use super::host::{HostState, cut};
use std::fmt::Write as _;
use std::time::Duration;
use wasmtime::{Trap, WasmBacktrace};

/// A longer text of a failure is cut, in bytes: it goes into logs and the API.
const TEXT_BYTES_MAX: usize = 8 * 1024;
/// What one call may return, in bytes of host memory. The host holds it once for each worker.
pub(super) const CALL_RESULT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The text for an error that wasmtime returned.
pub(super) fn text(error: &wasmtime::Error, state: &HostState, timeout: Duration) -> String {
    let mut text = match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => {
            format!("the call took longer than {timeout:?} (setting `call_timeout`)")
        }
        Some(Trap::StackOverflow) => "it used more stack than it has: endless recursion?".to_owned(),
        Some(trap) => format!("it trapped: {trap}"),
        None if is_too_much_data(error) => format!(
            "it handed over more than {CALL_RESULT_BYTES_MAX} bytes in one call; return less and ask for `advance` again"
        ),
        None => error.root_cause().to_string(),
    };
    if let Some(refusal) = state.limits.refusal() {
        let _ = write!(text, "; {refusal}");
    }
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
        // Its first line is a heading for the lines that follow.
        for line in backtrace.to_string().lines().skip(1) {
            let _ = write!(text, "\n{line}");
        }
    }
    cut(&text, TEXT_BYTES_MAX).to_owned()
}

/// The text for an error that the plugin returned.
pub(super) fn returned(error: &str) -> String {
    format!("it returned an error: {}", cut(error, TEXT_BYTES_MAX))
}

/// Wasmtime has no public type for it; the test `more_than_the_limit_in_one_call_is_refused` watches the words.
fn is_too_much_data(error: &wasmtime::Error) -> bool {
    error.root_cause().to_string().contains("fuel allocated for hostcalls")
}
