//! A panic ends the process: a job with a dead thread must not stay half alive, holding its store and its transaction.
//!
//! A panic is a bug of ours, so the next start recovers from the last checkpoint (exit code 75); but one inside the store's
//! engine says that the store is damaged, and a person must look (78): see [`crate::state::of_panic`] and [`crate::guarded`].

use super::run::Stopped;
use crate::error::{EXIT_RESTART, EXIT_STOP};
use crate::{guarded, state};
use std::panic;
use std::path::Path;

/// Makes every panic that nobody waits for, on any thread, print itself and end the process, which was given this job file.
pub fn end_the_process(job: &Path) {
    let job = job.display().to_string();
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if guarded::is_catching() {
            return;
        }
        // Before anything is unwound: what the engine drops then may panic again, and abort the process.
        if let Some(damage) = panic.location().and_then(|place| state::of_panic(place.file())) {
            super::report(&damage);
            super::report(&Stopped { code: damage.stop().code(), job: job.clone() });
            std::process::exit(i32::from(EXIT_STOP));
        }
        super::logging::above_progress(|| print(panic));
        tracing::error!("this is a bug; the last checkpoint is intact and the next start recovers from it");
        std::process::exit(i32::from(EXIT_RESTART));
    }));
}
