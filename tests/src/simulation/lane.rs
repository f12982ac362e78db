//! Lanes between the model's threads, and batches that wait at their senders.
//!
//! A lane holds a few rows; barriers and watermarks always fit, and a watermark replaces one that nobody read. A sender keeps
//! rows until a batch is full, it lingered, or a barrier cuts it. Next room: `stage`.

use super::row::Row;
use super::stage::WORKERS;
use std::collections::VecDeque;
use tidegate::ids::{CheckpointId, Watermark};
use tidegate::seeded::{self, Bug};

/// Rows that a lane holds.
const LANE_ROWS: usize = 4;
/// Rows of a full batch.
const BATCH_ROWS: usize = 2;
/// Lanes: from two source threads to two workers, between the stages, to the sink.
const LANES: usize = 10;

/// What travels.
#[derive(Debug, Clone, Copy)]
pub(super) enum Message {
    Row(Row),
    Watermark(Watermark),
    Barrier(CheckpointId),
}

/// The first lane into a stage on a worker; each of its senders has one.
pub(super) fn into_stage(stage: usize, worker: usize) -> usize {
    stage * 4 + worker * WORKERS
}

/// The first lane into the sink.
pub(super) const INTO_SINK: usize = 8;

/// All lanes of a job.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    queues: [VecDeque<Message>; LANES],
}

impl Lanes {
    pub(super) fn receive(&mut self, lane: usize) -> Option<Message> {
        self.queues[lane].pop_front()
    }

    fn try_send(&mut self, lane: usize, message: Message) -> bool {
        let queue = &mut self.queues[lane];
        let is_full = queue.len() >= LANE_ROWS;
        match (message, queue.back_mut()) {
            (Message::Row(_), _) if is_full => return false,
            (Message::Watermark(new), Some(Message::Watermark(old))) => *old = new,
            _ => queue.push_back(message),
        }
        true
    }
}

/// A thread's way out: to the same stage or sink on each worker there is.
#[derive(Debug)]
pub(super) struct Sender {
    /// The lane to each receiver.
    lanes: Vec<usize>,
    /// Rows of a batch that is not full, by receiver.
    waiting: Vec<Vec<Row>>,
    outbox: VecDeque<(usize, Message)>,
}

impl Sender {
    pub(super) fn new(lanes: Vec<usize>) -> Sender {
        let waiting = vec![Vec::with_capacity(BATCH_ROWS); lanes.len()];
        Sender { lanes, waiting, outbox: VecDeque::new() }
    }

    /// Nothing is parked.
    pub(super) fn is_empty(&self) -> bool {
        self.outbox.is_empty()
    }

    /// Sends what fits. Says whether anything did.
    pub(super) fn send(&mut self, lanes: &mut Lanes) -> bool {
        let mut has_sent = false;
        while let Some((lane, message)) = self.outbox.front() {
            if !lanes.try_send(*lane, *message) {
                break;
            }
            self.outbox.pop_front();
            has_sent = true;
        }
        has_sent
    }

    /// Adds a row to its receiver's batch.
    pub(super) fn push(&mut self, receiver: usize, row: Row) {
        self.waiting[receiver].push(row);
        if self.waiting[receiver].len() >= BATCH_ROWS {
            self.cut(receiver);
        }
    }

    /// Cuts batches that are not full. Says whether there was one.
    pub(super) fn linger(&mut self) -> bool {
        let is_waiting = self.waiting.iter().any(|rows| !rows.is_empty());
        (0..self.lanes.len()).for_each(|receiver| self.cut(receiver));
        is_waiting
    }

    /// Tells every receiver the watermark, behind all rows.
    pub(super) fn announce(&mut self, watermark: Watermark) {
        self.linger();
        self.outbox.extend(self.lanes.iter().map(|lane| (*lane, Message::Watermark(watermark))));
    }

    /// Puts watermark and barrier behind all rows, on all lanes. Behind the last barrier nobody reads any more.
    pub(super) fn barrier(&mut self, id: CheckpointId, watermark: Watermark) {
        if !seeded::is(Bug::BarrierOvertakesRows) {
            self.linger();
        }
        self.outbox.extend(self.lanes.iter().map(|lane| (*lane, Message::Watermark(watermark))));
        self.outbox.extend(self.lanes.iter().map(|lane| (*lane, Message::Barrier(id))));
    }

    fn cut(&mut self, receiver: usize) {
        let lane = self.lanes[receiver];
        self.outbox.extend(self.waiting[receiver].drain(..).map(|row| (lane, Message::Row(row))));
    }
}
