//! A worker thread: the shards s with s mod workers = its number, of every operator.
//!
//! It never blocks on a send: an operator whose output does not fit parks it and takes nothing in, and the worker goes on
//! with the others, later stages first, so that what is on its way out leaves before new work comes in. It sleeps only when
//! no operator can do anything. Next room: [`crate::operator`].

use crate::checkpoint::messages::Report;
use crate::checkpoint::messages::Task;
use crate::error::JobError;
use crate::exchange::{Command, Inbox};
use crate::operator::{Captured, Operator, Step};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

/// The longest sleep of a worker with nothing to do.
const NAP_MAX: Duration = Duration::from_millis(50);

/// A worker and its ways out.
pub struct Worker {
    /// Where its lanes end.
    pub inbox: Inbox,
    /// In topological order.
    pub operators: Vec<Operator>,
    /// To the coordinator.
    pub reports: SyncSender<Report>,
    /// To the writer.
    pub writer: SyncSender<Task>,
}

impl Worker {
    /// Works until told to end.
    pub fn run(mut self) -> Result<(), JobError> {
        self.inbox.attach();
        loop {
            if matches!(self.inbox.command(), Some(Command::Shutdown)) {
                return Ok(());
            }
            let mut has_worked = false;
            for at in (0..self.operators.len()).rev() {
                let began = Instant::now();
                match self.operators[at].step(&self.inbox)? {
                    Step::Idle | Step::Parked => {}
                    Step::Worked => has_worked = true,
                    Step::Captured(captured) => {
                        has_worked = true;
                        self.hand_over(captured, began.elapsed());
                    }
                }
            }
            let nap = self.tend();
            if !has_worked && !nap.is_zero() {
                self.inbox.wait(nap);
            }
        }
    }

    fn tend(&mut self) -> Duration {
        let now = Instant::now();
        self.operators.iter_mut().filter_map(|operator| operator.tend(now)).min().unwrap_or(NAP_MAX)
    }

    /// The memory goes to the writer, the rest to the coordinator, in this order: when the coordinator knows of all
    /// snapshots, all are with the writer.
    fn hand_over(&self, captured: Captured, pause: Duration) {
        let Captured { id, operator, shards, memory_bytes } = captured;
        let mut states = Vec::with_capacity(shards.len());
        for (shard, state, delta) in shards {
            // A writer or coordinator that is gone has reported why, or will.
            let _ = self.writer.send(Task::Add { operator, shard, delta });
            states.push(state);
        }
        let _ = self.reports.send(Report::Snapshot { id, shards: states, pause, memory_bytes });
    }
}
