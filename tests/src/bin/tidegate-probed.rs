//! The host as it is shipped, with one observer of its fail points: it ends or stops its own process at a named moment.
//!
//! `TIDEGATE_KILL_AT=prepared:3` kills it (SIGKILL) when the moment `prepared` is reached for the third time;
//! `TIDEGATE_STOP_AT=prepared:3` stops it (SIGSTOP) there, and it goes on when somebody lets it (SIGCONT). Several moments are
//! separated by commas. `TIDEGATE_REACHED=FILE` has it append to a file the name of each moment, once, when it is first
//! reached. `TIDEGATE_PACE=10` makes its sources wait for so many milliseconds before each poll, so that input in files
//! lasts. `TIDEGATE_DISTORT=repeat` makes the value of this name another than was computed. Without the
//! variables it is the host. Next room: `tidegate::probe`.

use std::fs::File;
use std::io::Write;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tidegate::probe::{self, POINTS};

/// What the environment asks for.
struct Wanted {
    signals: Vec<WantedSignal>,
    reached: Option<Reached>,
    pace: Option<Duration>,
}

/// A moment, how often it must still be reached, and the signal that comes then.
struct WantedSignal {
    moment: String,
    times: AtomicU64,
    signal: libc::c_int,
}

/// Notes which moments were reached.
struct Reached {
    file: File,
    seen: [AtomicBool; POINTS.len()],
}

static WANTED: OnceLock<Wanted> = OnceLock::new();

fn main() -> ExitCode {
    let variables = [("TIDEGATE_KILL_AT", libc::SIGKILL), ("TIDEGATE_STOP_AT", libc::SIGSTOP)];
    let signals: Vec<WantedSignal> = variables.into_iter().flat_map(|(name, signal)| signals(name, signal)).collect();
    let reached = std::env::var_os("TIDEGATE_REACHED").map(|path| Reached {
        file: File::options().create(true).append(true).open(path).expect("TIDEGATE_REACHED can be written"),
        seen: [const { AtomicBool::new(false) }; POINTS.len()],
    });
    let pace = std::env::var("TIDEGATE_PACE").ok();
    let pace = pace.map(|wanted| Duration::from_millis(wanted.parse().expect("TIDEGATE_PACE is in milliseconds")));
    if !signals.is_empty() || reached.is_some() || pace.is_some() {
        let _ = WANTED.set(Wanted { signals, reached, pace });
        probe::observe(observe);
    }
    if let Ok(name) = std::env::var("TIDEGATE_DISTORT") {
        tidegate::probe::distort(name.leak());
    }
    tidegate::cli::main()
}

fn signals(variable: &str, signal: libc::c_int) -> Vec<WantedSignal> {
    let text = std::env::var(variable).unwrap_or_default();
    let one = |text: &str| {
        let (moment, times) =
            text.split_once(':').unwrap_or_else(|| panic!("{variable}: `{text}` is not `moment:times`"));
        let times = times.parse().unwrap_or_else(|_| panic!("{variable}: `{times}` is no number"));
        WantedSignal { moment: moment.to_owned(), times: AtomicU64::new(times), signal }
    };
    text.split(',').filter(|text| !text.is_empty()).map(one).collect()
}

fn observe(moment: &'static str) {
    let Some(wanted) = WANTED.get() else { return };
    if let Some(reached) = &wanted.reached {
        reached.note(moment);
    }
    for wanted in wanted.signals.iter().filter(|wanted| wanted.moment == moment) {
        if wanted.times.fetch_sub(1, Ordering::Relaxed) == 1 {
            // SAFETY: a system call without pointers; the signal to any thread ends or stops the whole process. A killed
            // one never comes back from it.
            unsafe { libc::raise(wanted.signal) };
        }
    }
    if let Some(pace) = wanted.pace.filter(|_| moment == "polling") {
        std::thread::sleep(pace);
    }
}

impl Reached {
    fn note(&self, moment: &str) {
        let index =
            POINTS.iter().position(|point| *point == moment).expect("every moment is in the list of fail points");
        if !self.seen[index].swap(true, Ordering::Relaxed) {
            // One write, so that the lines of two threads do not mix.
            (&self.file).write_all(format!("{moment}\n").as_bytes()).expect("TIDEGATE_REACHED can be written");
        }
    }
}
