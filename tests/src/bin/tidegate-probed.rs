//! The host as it is shipped, with one observer installed: it ends or stops its own process at a named moment.
//!
//! `TIDEGATE_KILL_AT=prepared:3` kills it (SIGKILL) when the moment `prepared` is reached for the third time;
//! `TIDEGATE_STOP_AT=prepared:3` stops it (SIGSTOP) there, and it goes on when somebody lets it (SIGCONT). Several moments are
//! separated by commas. `TIDEGATE_DISTORT=repeat` makes the value of this name another than was computed. Without the variables
//! it is the host. Next room: `tidegate::probe`.

use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// A moment, how often it must still be reached, and the signal that comes then.
struct Wanted {
    moment: String,
    times: AtomicU64,
    signal: libc::c_int,
}

static WANTED: OnceLock<Vec<Wanted>> = OnceLock::new();

fn main() -> ExitCode {
    let variables = [("TIDEGATE_KILL_AT", libc::SIGKILL), ("TIDEGATE_STOP_AT", libc::SIGSTOP)];
    let wanted: Vec<Wanted> = variables.into_iter().flat_map(|(name, signal)| wanted(name, signal)).collect();
    if !wanted.is_empty() {
        let _ = WANTED.set(wanted);
        tidegate::probe::observe(signal_if_wanted);
    }
    if let Ok(name) = std::env::var("TIDEGATE_DISTORT") {
        tidegate::probe::distort(name.leak());
    }
    tidegate::cli::main()
}

fn wanted(variable: &str, signal: libc::c_int) -> Vec<Wanted> {
    let text = std::env::var(variable).unwrap_or_default();
    let one = |text: &str| {
        let (moment, times) =
            text.split_once(':').unwrap_or_else(|| panic!("{variable}: `{text}` is not `moment:times`"));
        let times = times.parse().unwrap_or_else(|_| panic!("{variable}: `{times}` is no number"));
        Wanted { moment: moment.to_owned(), times: AtomicU64::new(times), signal }
    };
    text.split(',').filter(|text| !text.is_empty()).map(one).collect()
}

fn signal_if_wanted(moment: &'static str) {
    for wanted in WANTED.get().into_iter().flatten().filter(|wanted| wanted.moment == moment) {
        if wanted.times.fetch_sub(1, Ordering::Relaxed) == 1 {
            // SAFETY: a system call without pointers; the signal to any thread ends or stops the whole process. A killed
            // one never comes back from it.
            unsafe { libc::raise(wanted.signal) };
        }
    }
}
