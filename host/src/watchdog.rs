//! The watchdog: ends a process whose coordinator or sink thread stands still, because a thread stuck in a library cannot be
//! ended alone.
//!
//! The coordinator only passes messages on, so it stands still only when somebody it must hand something to is stuck, in an
//! fsync for instance, and then it cannot notice by itself that a checkpoint takes too long. The sink thread may wait for
//! brokers for ever while they confirm a commit, and says so; a commit or an fsync that hangs says nothing. The last
//! checkpoint is safe and a new start goes on from it. Next room: [`crate::checkpoint::coordinator`].

use crate::error::EXIT_RESTART;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How often the watchdog looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Keeps the watchdog content as long as it is told so; dropping it sends the watchdog away.
#[derive(Debug)]
pub struct Heartbeat {
    began: Instant,
    last_ms: Arc<AtomicU64>,
}

impl Heartbeat {
    /// Starts a watchdog that ends the process with exit code 75 when no beat comes for `silence_max`.
    pub fn start(silence_max: Duration) -> std::io::Result<Heartbeat> {
        let heartbeat = Heartbeat { began: Instant::now(), last_ms: Arc::default() };
        let (began, last_ms) = (heartbeat.began, Arc::downgrade(&heartbeat.last_ms));
        std::thread::Builder::new()
            .name("watchdog".into())
            .spawn(move || watch(began, &last_ms, silence_max))
            .map(|_| heartbeat)
    }

    /// Says that the thread is alive.
    pub fn beat(&self) {
        self.last_ms.store(self.began.elapsed().as_millis() as u64, Ordering::Relaxed);
    }
}

fn watch(began: Instant, last_ms: &Weak<AtomicU64>, silence_max: Duration) {
    loop {
        std::thread::sleep(LOOK_EVERY);
        let Some(last_ms) = last_ms.upgrade() else { return };
        let silence = began.elapsed().saturating_sub(Duration::from_millis(last_ms.load(Ordering::Relaxed)));
        if silence > silence_max {
            tracing::error!(
                silence_s = silence.as_secs(),
                "a thread of the job is stuck, in the disk or the network; the process ends, the last checkpoint is intact"
            );
            std::process::exit(EXIT_RESTART.into());
        }
    }
}
