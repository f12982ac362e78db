//! What a failed call is in words: the reason first, what the guest said last, then its backtrace.
//!
//! Next room: `instance`.

use super::host::{HostState, cut};
use std::fmt::Write as _;
use std::time::Duration;
use wasmtime::{Trap, WasmBacktrace};

/// A longer text of a failure is cut, in bytes: it goes into logs and the API.
const TEXT_BYTES_MAX: usize = 8 * 1024;
/// A longer backtrace is cut.
const BACKTRACE_LINES_MAX: usize = 16;
/// A longer name of a function is cut, in bytes.
const NAME_BYTES_MAX: usize = 80;
/// What one call may return, in bytes of host memory. The host holds it once for each worker.
pub(super) const CALL_RESULT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The text for an error that wasmtime returned.
pub(super) fn text(error: &wasmtime::Error, state: &HostState, timeout: Duration) -> String {
    let mut text = match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => {
            format!("the call took longer than {timeout:?} (setting `call_timeout`)")
        }
        Some(Trap::StackOverflow) => "it used more stack than it has: endless recursion?".to_owned(),
        // Rust keeps part of the stack in memory, and it runs out at address 0.
        Some(Trap::MemoryOutOfBounds) => {
            format!("it trapped: {}: a wrong pointer, or a stack used up by endless recursion", Trap::MemoryOutOfBounds)
        }
        Some(Trap::UnreachableCodeReached) => {
            format!("it trapped: {}: in Rust, a panic", Trap::UnreachableCodeReached)
        }
        Some(trap) => format!("it trapped: {trap}"),
        None if is_too_much_data(error) => format!(
            "it handed over more than {CALL_RESULT_BYTES_MAX} bytes in one call; return less and ask for `advance` again"
        ),
        None => error.root_cause().to_string(),
    };
    if let Some(refusal) = state.limits.refusal() {
        let _ = write!(text, "; {refusal}");
    }
    // Quoted, since it is the author's text: a line end in it would look like one of ours.
    if let Some(said) = state.said() {
        let _ = write!(text, "; it said {said:?}");
    }
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
        push_backtrace(&mut text, backtrace);
    }
    cut(&text, TEXT_BYTES_MAX).to_owned()
}

/// Appends the author's own functions, innermost first: those of Rust's standard library are on the way to every panic.
fn push_backtrace(text: &mut String, backtrace: &WasmBacktrace) {
    let mut lines = 0;
    for frame in backtrace.frames() {
        if frame.symbols().is_empty() {
            let module = frame.module().name().unwrap_or("<unknown>");
            let _ = write!(text, "\n    at {module}!{}", name_of(frame.func_name()));
            lines += 1;
        }
        for symbol in frame.symbols() {
            let file = symbol.file().unwrap_or("<unknown>");
            if !file.starts_with("/rustc/") {
                let line = symbol.line().unwrap_or(0);
                let _ = write!(text, "\n    at {} ({file}:{line})", name_of(symbol.name()));
                lines += 1;
            }
        }
        if lines >= BACKTRACE_LINES_MAX {
            let _ = write!(text, "\n    ...");
            return;
        }
    }
}

/// A function's name without its type parameters, which can take a screen.
fn name_of(name: Option<&str>) -> &str {
    let name = name.unwrap_or("(no name)");
    let end = name.find('<').filter(|at| *at > 0).unwrap_or(name.len());
    cut(&name[..end], NAME_BYTES_MAX)
}

/// The text for an error that the plugin returned.
pub(super) fn returned(error: &str) -> String {
    format!("it returned an error: {}", cut(error, TEXT_BYTES_MAX))
}

/// Wasmtime has no public type for it; the test `more_than_the_limit_in_one_call_is_refused` watches the words.
fn is_too_much_data(error: &wasmtime::Error) -> bool {
    error.root_cause().to_string().contains("fuel allocated for hostcalls")
}
