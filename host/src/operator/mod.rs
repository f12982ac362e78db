//! One operator's shards on one worker: takes messages in, calls the plugin, passes its output on, answers barriers.
//!
//! Everything here belongs to one worker thread. A shard's instance moves into each call and comes back only from one that
//! succeeded. Output goes into the operator's own outbox; while that does not fit on its lanes the operator takes nothing in,
//! so what is parked is bounded by one call. Next rooms: `undo`, what happens when a call fails; [`crate::plugin`].

mod letters;
mod outcomes;
mod search;
mod undo;

pub use undo::{Undo, UndoLimits};

use crate::align::{Aligned, Alignment};
use crate::checkpoint::record::ShardState;
use crate::columns::Column;
use crate::config::model::OnRejected;
use crate::decode::columns::ColumnDecoder;
use crate::error::JobError;
use crate::exchange::{Inbox, LaneIndex, LaneSender};
use crate::ids::{CheckpointId, OperatorIndex, PortIndex, ShardId, Watermark};
use crate::message::{Message, Rows, Target};
use crate::outlet::{Outbox, Outlet};
use crate::plugin::{FailedCall, Instance, Outcome, PluginError, Rejection};
use crate::probe;
use crate::state::snapshot::InstanceDelta;
use crate::watermark::InputWatermarks;
use letters::{range_of, time_of, without};
use search::{Caller, Given, input};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use undo::Place;

/// At most this long after it rose, a watermark is told to readers that got no batch to carry it.
const ANNOUNCE_AFTER: Duration = Duration::from_millis(50);

/// How soon an operator that waits for a barrier to be on its way looks again.
const FULL_NAP: Duration = Duration::from_millis(1);

/// A plugin that asks for `advance` so many times in a row without emitting anything is taken to be stuck.
const FRUITLESS_ADVANCES_MAX: u32 = 100_000;

/// A lane into the operator: which port it feeds, and which of that port's senders it is.
#[derive(Debug, Clone, Copy)]
pub struct LaneInput {
    /// The input port.
    pub port: PortIndex,
    /// The sender's place among those of the port.
    pub sender: usize,
}

/// One shard of the operator.
pub struct Shard {
    /// Its number.
    pub id: ShardId,
    /// `None` only while a call has it.
    pub instance: Option<Instance>,
    /// What its inputs said.
    pub watermarks: InputWatermarks,
    /// The last watermark for which `advance` was called or was not due.
    pub advanced: Watermark,
    /// When the plugin wants `advance` next; `None`: at every watermark.
    pub next_advance: Option<i64>,
    /// How many calls of `advance` in a row emitted nothing and asked for another.
    pub fruitless: u32,
}

/// How records leave an operator.
pub struct Outputs {
    /// By output port.
    pub outlets: Vec<Outlet>,
    /// To the dead-letter sink, if rejected rows go there, or records on which the plugin fails.
    pub dead_letters: Option<LaneSender>,
}

/// What an operator is made of.
pub struct Parts {
    /// Its place in topological order.
    pub index: OperatorIndex,
    /// Its name in the job file.
    pub name: Arc<str>,
    /// Its lanes in the worker's inbox.
    pub lanes: Vec<(LaneIndex, LaneInput)>,
    /// By input port.
    pub decoders: Vec<ColumnDecoder>,
    /// Its shards on this worker, ascending.
    pub shards: Vec<Shard>,
    /// How many workers there are: shard s is the (s / workers)-th of its worker.
    pub workers: u16,
    /// Where records leave.
    pub outputs: Outputs,
    /// What happens to a rejected row.
    pub on_rejected: OnRejected,
    /// If records on which the plugin fails become dead letters.
    pub undo: Option<Undo>,
}

/// One operator's shards on one worker.
pub struct Operator {
    index: OperatorIndex,
    name: Arc<str>,
    lanes: Vec<LaneIndex>,
    inputs: Vec<LaneInput>,
    next_lane: usize,
    alignment: Alignment,
    decoders: Vec<ColumnDecoder>,
    /// Room for decoded columns, used again from batch to batch.
    columns: Vec<Column>,
    shards: Vec<Shard>,
    workers: u16,
    outlets: Vec<Outlet>,
    outbox: Outbox,
    dead_letters: Option<LaneSender>,
    on_rejected: OnRejected,
    undo: Option<Undo>,
    /// Local shards whose `advance` is due, each once.
    due: VecDeque<usize>,
    /// What this operator on this worker promises its readers.
    watermark: Watermark,
    announced: Watermark,
    announced_at: Instant,
}

/// What a step did.
pub enum Step {
    /// Nothing to do.
    Idle,
    /// Output waits for room, or what is kept for an undo for a barrier; nothing was taken in.
    Parked,
    /// Something was done.
    Worked,
    /// A barrier was complete and the shards were captured.
    Captured(Captured),
}

/// The operator's part of a checkpoint on this worker.
pub struct Captured {
    /// The checkpoint.
    pub id: CheckpointId,
    /// The operator.
    pub operator: OperatorIndex,
    /// What the host keeps of each shard, and what changed in its memory.
    pub shards: Vec<(ShardId, ShardState, InstanceDelta)>,
    /// Memory of the instances, in bytes.
    pub memory_bytes: usize,
}

impl Operator {
    /// Puts an operator together.
    pub fn new(parts: Parts) -> Operator {
        let (lanes, inputs): (Vec<_>, Vec<_>) = parts.lanes.into_iter().unzip();
        let watermark = parts.shards.iter().map(|shard| shard.advanced).min().unwrap_or(Watermark::START);
        Operator {
            index: parts.index,
            name: parts.name,
            alignment: Alignment::new(lanes.len()),
            lanes,
            inputs,
            next_lane: 0,
            decoders: parts.decoders,
            columns: Vec::new(),
            shards: parts.shards,
            workers: parts.workers,
            outlets: parts.outputs.outlets,
            outbox: Outbox::default(),
            dead_letters: parts.outputs.dead_letters,
            on_rejected: parts.on_rejected,
            undo: parts.undo,
            due: VecDeque::new(),
            watermark,
            announced: Watermark::START,
            announced_at: Instant::now(),
        }
    }

    /// Does one piece of work: sends what is parked, or advances one shard, or takes one message in.
    pub fn step(&mut self, inbox: &Inbox) -> Result<Step, JobError> {
        if !self.outbox.send()? {
            return Ok(Step::Parked);
        }
        if let Some(local) = self.due.pop_front() {
            self.advance(local)?;
            return Ok(Step::Worked);
        }
        if self.undo.as_ref().is_some_and(Undo::is_full) {
            return Ok(Step::Parked);
        }
        let alignment = &self.alignment;
        let Some((at, message)) = inbox.receive(&self.lanes, self.next_lane, |at| !alignment.blocked(at)) else {
            return Ok(Step::Idle);
        };
        self.next_lane = (at + 1) % self.lanes.len();
        let from = self.inputs[at];
        match message {
            Message::Rows { shard, rows, watermark } => {
                self.take(from, shard, &rows, watermark)?;
                Ok(Step::Worked)
            }
            Message::Watermark(watermark) => {
                for local in 0..self.shards.len() {
                    self.raise(local, from, watermark);
                }
                self.promise();
                Ok(Step::Worked)
            }
            Message::Barrier(id) => match self.alignment.barrier(at, id) {
                Aligned::Waiting => Ok(Step::Worked),
                Aligned::Complete(id) => self.capture(id).map(Step::Captured),
            },
        }
    }

    /// Cuts batches that lingered, and tells readers the watermark if it is time. Returns when to come back at the latest.
    pub fn tend(&mut self, now: Instant) -> Option<Duration> {
        if !self.outbox.is_empty() {
            return None;
        }
        for outlet in &mut self.outlets {
            outlet.linger(now, self.watermark, &mut self.outbox);
        }
        let is_behind = self.watermark > self.announced;
        if is_behind && (self.watermark == Watermark::END || now.duration_since(self.announced_at) >= ANNOUNCE_AFTER) {
            for outlet in &mut self.outlets {
                outlet.announce(self.watermark, &mut self.outbox);
            }
            self.announced = self.watermark;
            self.announced_at = now;
        }
        if !self.outbox.is_empty() {
            return Some(Duration::ZERO);
        }
        if self.undo.as_ref().is_some_and(Undo::is_full) {
            return Some(FULL_NAP);
        }
        let is_behind = self.watermark > self.announced;
        let is_waiting = self.outlets.iter().any(Outlet::is_waiting);
        (is_behind || is_waiting).then(|| if is_waiting { Duration::from_millis(1) } else { ANNOUNCE_AFTER })
    }

    fn take(&mut self, from: LaneInput, target: Target, rows: &Rows, watermark: Watermark) -> Result<(), JobError> {
        // Rows for an operator always come whole: an outlet copies a selection into batches of its own.
        let mut columns = std::mem::take(&mut self.columns);
        let bad = self.decoders[from.port.index()].decode(&rows.batch, &mut columns);
        let outcome = if bad.is_empty() {
            self.take_decoded(from, target, rows, &columns, watermark)
        } else {
            let rejections: Vec<Rejection> = bad
                .iter()
                .map(|bad| Rejection { row: bad.row, code: "column".into(), reason: bad.reason.to_string() })
                .collect();
            // A broadcast reaches every worker, and each finds the same rows bad: the one with the first shard says so.
            if matches!(target, Target::Shard(_)) || self.shards.first().is_some_and(|shard| shard.id == ShardId(0)) {
                self.refuse(rows, &rejections)?;
            }
            self.take(from, target, &without(rows, &rejections), watermark)
        };
        self.columns = columns;
        outcome
    }

    fn take_decoded(
        &mut self,
        from: LaneInput,
        target: Target,
        rows: &Rows,
        columns: &[Column],
        watermark: Watermark,
    ) -> Result<(), JobError> {
        let locals = match target {
            Target::Shard(shard) => {
                let local = shard.index() / self.workers as usize;
                local..local + 1
            }
            Target::All => 0..self.shards.len(),
        };
        for local in locals {
            if !rows.is_empty() {
                self.process(local, from.port, rows, columns)?;
            }
            self.raise(local, from, watermark);
        }
        if let Some(undo) = &mut self.undo {
            undo.count(&rows.batch);
        }
        self.promise();
        Ok(())
    }

    fn process(&mut self, local: usize, port: PortIndex, rows: &Rows, columns: &[Column]) -> Result<(), JobError> {
        let shard = &mut self.shards[local];
        let watermark = shard.watermarks.watermark();
        let instance = shard.instance.take().expect("an instance is missing only after a failed call");
        let called = instance.process(port, watermark, &input(&self.decoders[port.index()], &rows.batch, columns));
        let (instance, outcome) = match called {
            Ok((instance, outcome)) => {
                if let Some(undo) = &mut self.undo {
                    undo.keep(local, Given { port, watermark, batch: Arc::clone(&rows.batch) }, &outcome);
                }
                (instance, outcome)
            }
            Err(failed) => self.undo(local, Given { port, watermark, batch: Arc::clone(&rows.batch) }, failed)?,
        };
        let shard = &mut self.shards[local];
        shard.instance = Some(instance);
        shard.next_advance = outcome.next_advance;
        if is_due(outcome.next_advance, shard.watermarks.watermark()) && !self.due.contains(&local) {
            self.due.push_back(local);
        }
        self.emit(local, Some(rows), outcome)
    }

    /// Takes a failed call back and goes on without the records at fault, which become dead letters; or ends the job.
    #[cold]
    fn undo(&mut self, local: usize, given: Given, failed: FailedCall) -> Result<(Instance, Outcome), JobError> {
        let batch = Arc::clone(&given.batch);
        let Some(undo) = &mut self.undo else {
            let (operator, input) = (self.name.to_string(), range_of(&batch));
            return Err(JobError::OperatorFailed { operator, input, cause: failed.error });
        };
        let place = Place { operator: &self.name, shard: self.shards[local].id, local };
        let undone = undo.undo(&mut Caller::new(&mut self.decoders), place, given, failed)?;
        self.bury(&batch, undone.poison.iter().map(|poison| (poison.row, poison.reason())));
        Ok((undone.instance, undone.outcome))
    }

    fn advance(&mut self, local: usize) -> Result<(), JobError> {
        let shard = &mut self.shards[local];
        let watermark = shard.watermarks.watermark();
        let instance = shard.instance.take().expect("an instance is missing only after a failed call");
        let failed = |cause| JobError::OperatorFailed {
            operator: self.name.to_string(),
            input: format!("`advance` to {}", time_of(watermark)),
            cause,
        };
        let (instance, outcome) = instance.advance(watermark).map_err(|call| failed(call.error))?;
        if let Some(undo) = &mut self.undo {
            undo.keep_advance(local, watermark, &outcome);
        }
        shard.instance = Some(instance);
        shard.next_advance = outcome.next_advance;
        shard.fruitless = if outcome.outputs.is_empty() { shard.fruitless + 1 } else { 0 };
        let wants_more = is_due(outcome.next_advance, watermark);
        if wants_more && shard.fruitless > FRUITLESS_ADVANCES_MAX {
            return Err(failed(PluginError::Call {
                operator: self.name.to_string(),
                shard: shard.id.0,
                call: "advance",
                what: format!(
                    "it asked to be called again {FRUITLESS_ADVANCES_MAX} times in a row and emitted nothing; return a \
                     `next-advance` above the watermark when nothing is due"
                ),
            }));
        }
        self.emit(local, None, outcome)?;
        if wants_more {
            self.due.push_front(local);
        } else {
            self.shards[local].advanced = watermark;
            self.shards[local].fruitless = 0;
            self.promise();
        }
        Ok(())
    }

    /// Takes a sender's watermark for one shard in, and notes whether `advance` is due.
    fn raise(&mut self, local: usize, from: LaneInput, watermark: Watermark) {
        let shard = &mut self.shards[local];
        shard.watermarks.update(from.port.index(), from.sender, watermark);
        let now = shard.watermarks.watermark();
        if now <= shard.advanced {
            return;
        }
        if shard.next_advance.is_none_or(|next| next <= now.0) {
            if !self.due.contains(&local) {
                self.due.push_back(local);
            }
        } else {
            shard.advanced = now;
        }
    }

    /// What all shards here have advanced to is what readers may rely on.
    fn promise(&mut self) {
        let low = self.shards.iter().map(|shard| shard.advanced).min().unwrap_or(Watermark::START);
        self.watermark = self.watermark.max(low);
    }

    fn emit(&mut self, local: usize, input: Option<&Rows>, outcome: Outcome) -> Result<(), JobError> {
        let home = self.shards[local].id;
        for (port, selected) in outcome.forwards {
            let Some(rows) = input else { continue };
            let outlet = &mut self.outlets[port.index()];
            if !outlet.is_unread() && !selected.is_empty() {
                let is_all = selected.len() == rows.batch.rows();
                let selection = (!is_all).then(|| selected.into());
                let forwarded = Rows { batch: Arc::clone(&rows.batch), selection };
                outlet.pass(&forwarded, home, self.watermark, &mut self.outbox);
            }
        }
        for (port, batch) in outcome.outputs {
            let outlet = &mut self.outlets[port.index()];
            if !outlet.is_unread() {
                outlet.pass(&Rows::all(batch), home, self.watermark, &mut self.outbox);
            }
        }
        match input {
            Some(rows) if !outcome.rejections.is_empty() => self.refuse(rows, &outcome.rejections),
            _ => Ok(()),
        }
    }

    fn capture(&mut self, id: CheckpointId) -> Result<Captured, JobError> {
        probe::reached("capturing");
        for outlet in &mut self.outlets {
            outlet.barrier(id, self.watermark, &mut self.outbox);
        }
        if let Some(lane) = &self.dead_letters {
            self.outbox.push(lane, Message::Barrier(id));
        }
        let mut shards = Vec::with_capacity(self.shards.len());
        let mut memory_bytes = 0;
        for shard in &mut self.shards {
            let instance = shard.instance.as_mut().expect("an instance is missing only after a failed call");
            let delta = instance.capture()?;
            memory_bytes += instance.memory_bytes();
            let state = ShardState {
                operator: self.name.to_string(),
                shard: shard.id.0,
                watermarks: shard.watermarks.ports(),
                advanced: shard.advanced,
                next_advance: shard.next_advance,
            };
            shards.push((shard.id, state, delta));
        }
        if let Some(undo) = &mut self.undo {
            undo.captured(id);
        }
        self.alignment.release(id);
        probe::reached("captured");
        Ok(Captured { id, operator: self.index, shards, memory_bytes })
    }
}

/// Whether the plugin asked for `advance` at a watermark that is already there. The largest s64 asks for nothing: at the end
/// of the input there is nothing left to wait for.
fn is_due(next_advance: Option<i64>, watermark: Watermark) -> bool {
    next_advance.is_some_and(|next| next <= watermark.0 && next != i64::MAX)
}
