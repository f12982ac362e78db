//! A panic ends the process: a job with a dead thread must not stay half alive, holding its store and its transaction.
//!
//! A panic is a bug of ours (but see [`crate::guarded`]), so the next start recovers from the last checkpoint (exit code 75).

use crate::error::EXIT_RESTART;
use crate::guarded;
use std::panic;

/// Makes every panic that nobody waits for, on any thread, print itself and end the process.
pub fn end_the_process() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if guarded::is_catching() {
            return;
        }
        super::logging::above_progress(|| print(panic));
        tracing::error!("this is a bug; the last checkpoint is intact and the next start recovers from it");
        std::process::exit(i32::from(EXIT_RESTART));
    }));
}
