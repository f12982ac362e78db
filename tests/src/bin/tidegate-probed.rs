//! The host as it is shipped, with one observer installed: it ends its own process with SIGKILL at a named moment.
//!
//! `TIDEGATE_KILL_AT=prepared:3` kills it when the moment `prepared` is reached for the third time. Without the variable it is
//! the host; `TIDEGATE_DISTORT=repeat` makes the value of this name another than was computed. Next room: `tidegate::probe`.

use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The moment and how often it must still be reached.
static KILL_AT: OnceLock<(String, AtomicU64)> = OnceLock::new();

fn main() -> ExitCode {
    if let Ok(wanted) = std::env::var("TIDEGATE_KILL_AT") {
        let (moment, times) = wanted.split_once(':').expect("TIDEGATE_KILL_AT is `moment:times`");
        let times = times.parse().expect("TIDEGATE_KILL_AT counts from 1");
        let _ = KILL_AT.set((moment.to_owned(), AtomicU64::new(times)));
        tidegate::probe::observe(kill_if_wanted);
    }
    if let Ok(name) = std::env::var("TIDEGATE_DISTORT") {
        tidegate::probe::distort(name.leak());
    }
    tidegate::cli::main()
}

fn kill_if_wanted(moment: &'static str) {
    let Some((wanted, times)) = KILL_AT.get() else { return };
    if moment == wanted && times.fetch_sub(1, Ordering::Relaxed) == 1 {
        // SAFETY: a system call without pointers; SIGKILL to any thread ends the whole process, as a power cut would.
        unsafe { libc::raise(libc::SIGKILL) };
        loop {
            std::thread::park();
        }
    }
}
