//! Signals: the first SIGINT or SIGTERM asks the job for a last checkpoint, the second ends the process at once.
//!
//! They are taken on a thread of their own, so that nothing runs inside a signal handler. Next room: [`crate::status`].

use crate::error::EXIT_INTERRUPTED;
use crate::status::{Control, Request};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::sync::Arc;

/// Why signals cannot be taken.
#[derive(Debug, thiserror::Error)]
#[error("cannot watch for signals, so a stop could lose its last checkpoint")]
pub struct SignalsError(#[source] io::Error);

/// Watches for signals until the process ends.
pub fn watch(control: Arc<Control>) -> Result<(), SignalsError> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(SignalsError)?;
    let body = move || {
        for signal in signals.forever() {
            if control.request() == Request::Run {
                tracing::info!(signal, "stopping with a last checkpoint; a second signal ends at once");
                control.stop();
            } else {
                tracing::warn!(signal, "ending at once; the next start recovers from the last checkpoint");
                control.stop_now();
                std::process::exit(i32::from(EXIT_INTERRUPTED));
            }
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(body).map_err(SignalsError)?;
    Ok(())
}
