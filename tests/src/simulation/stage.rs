//! The two stages of the model job on one worker: shards with memory, aligned inputs, watermarks, `advance`, barriers.
//!
//! Alignment and watermarks are the product's own; the thin code between them is that of its `operator.rs`, step by step.
//! The first stage numbers a key's records. The second counts a group's records in windows and closes them by the watermark.
//! Next room: `job`, which gives each stage its turn.

use super::lane::{Lanes, Message, Sender};
use super::row::{Kind, Row, WINDOWS, window_end};
use super::shared::Shared;
use super::store::{Delta, ShardPart};
use tidegate::align::{Aligned, Alignment};
use tidegate::ids::{CheckpointId, Watermark};
use tidegate::seeded::{self, Bug};
use tidegate::watermark::InputWatermarks;

/// Stages of the job.
pub(super) const STAGES: usize = 2;
/// Pages of a shard's memory.
pub(super) const PAGES: usize = 8;
/// Workers of the job.
pub(super) const WORKERS: usize = 2;
/// A shard that has nothing to wait for.
const NOTHING: Option<i64> = Some(i64::MAX);

/// A shard's memory: pages, and a global outside of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Memory {
    pub(super) pages: [u64; PAGES],
    pub(super) global: u64,
}

/// A shard of a stage.
#[derive(Debug, Clone)]
pub(super) struct Shard {
    pub(super) number: usize,
    pub(super) memory: Memory,
    /// The memory at the last capture.
    captured: Option<Memory>,
    watermarks: InputWatermarks,
    advanced: Watermark,
    next_advance: Option<i64>,
}

impl Shard {
    /// A shard that never ran, with so many senders.
    pub(super) fn new(number: usize, senders: usize) -> Shard {
        Shard {
            number,
            memory: Memory::default(),
            captured: None,
            watermarks: InputWatermarks::new(&[senders]),
            advanced: Watermark::START,
            next_advance: None,
        }
    }

    /// A shard as a checkpoint left it.
    pub(super) fn restored(memory: Memory, part: &ShardPart, senders: usize) -> Shard {
        let floor = if seeded::is(Bug::WatermarkNotRestored) { Watermark::START } else { part.watermark };
        Shard {
            number: part.shard,
            memory,
            captured: Some(memory),
            watermarks: InputWatermarks::restored(&[senders], &[floor]),
            advanced: if seeded::is(Bug::WatermarkNotRestored) { Watermark::START } else { part.advanced },
            next_advance: if seeded::is(Bug::AdvanceMissedAfterRestore) { NOTHING } else { part.next_advance },
        }
    }

    fn part(&self, stage: usize) -> ShardPart {
        ShardPart {
            stage,
            shard: self.number,
            watermark: self.watermarks.port(0),
            advanced: self.advanced,
            next_advance: self.next_advance,
        }
    }

    /// What changed since the last capture.
    fn capture(&mut self) -> Delta {
        let before = self.captured.unwrap_or_default();
        let is_first = self.captured.is_none();
        let mut pages = [None; PAGES];
        for (page, content) in pages.iter_mut().enumerate() {
            let now = self.memory.pages[page];
            *content = (is_first || now != before.pages[page]).then_some(now);
        }
        if seeded::is(Bug::DirtyPageMissed)
            && let Some(last) = pages.iter_mut().rev().find(|page| page.is_some())
        {
            *last = None;
        }
        self.captured = Some(self.memory);
        Delta { pages, global: (!seeded::is(Bug::GlobalsNotCaptured)).then_some(self.memory.global) }
    }

    /// The first window that has records.
    fn first_window(&self) -> Option<usize> {
        (0..WINDOWS).find(|window| self.memory.pages[*window] != 0)
    }

    /// The end of the first window that has records, as the plugin would ask for `advance`.
    fn wanted(&self) -> Option<i64> {
        self.first_window().map(window_end).or(NOTHING)
    }
}

/// What a barrier made of a stage on a worker.
pub(super) struct Captured {
    pub(super) id: CheckpointId,
    pub(super) shards: Vec<(ShardPart, Delta, Memory)>,
}

/// What a step did.
pub(super) enum Step {
    Idle,
    Worked,
    Captured(Captured),
}

/// A stage on a worker.
pub(super) struct Stage {
    place: usize,
    pub(super) shards: Vec<Shard>,
    alignment: Alignment,
    /// Its first lane, and how many there are.
    lanes: (usize, usize),
    sender: Sender,
    due: Vec<usize>,
    watermark: Watermark,
    announced: Watermark,
}

impl Stage {
    pub(super) fn new(stage: usize, shards: Vec<Shard>, lanes: (usize, usize), sender: Sender) -> Stage {
        let watermark = shards.iter().map(|shard| shard.advanced).min().unwrap_or(Watermark::START);
        Stage {
            place: stage,
            shards,
            alignment: Alignment::new(lanes.1),
            lanes,
            sender,
            due: Vec::new(),
            watermark,
            announced: Watermark::START,
        }
    }

    /// Does one piece of work: sends what is parked, or advances a shard, or takes a message in.
    pub(super) fn step(&mut self, lanes: &mut Lanes, shared: &mut Shared) -> Step {
        if !self.sender.is_empty() {
            return if self.sender.send(lanes) { Step::Worked } else { Step::Idle };
        }
        if !self.due.is_empty() {
            let local = self.due.remove(0);
            self.advance(local);
            return Step::Worked;
        }
        let first = shared.choices.below(self.lanes.1);
        for at in (0..self.lanes.1).map(|step| (first + step) % self.lanes.1) {
            if self.is_blocked(at) {
                continue;
            }
            let Some(message) = lanes.receive(self.lanes.0 + at) else { continue };
            return self.take(at, message, shared);
        }
        self.tend()
    }

    fn is_blocked(&self, lane: usize) -> bool {
        self.alignment.blocked(lane)
    }

    /// Sends what lingers, and tells the watermark.
    fn tend(&mut self) -> Step {
        let is_behind = self.watermark > self.announced;
        if is_behind {
            self.announced = self.watermark;
            self.sender.announce(self.watermark);
        }
        if is_behind || self.sender.linger() { Step::Worked } else { Step::Idle }
    }

    fn take(&mut self, lane: usize, message: Message, shared: &mut Shared) -> Step {
        match message {
            Message::Row(row) => {
                self.process(row, shared);
                Step::Worked
            }
            Message::Watermark(watermark) => {
                for local in 0..self.shards.len() {
                    self.raise(local, lane, watermark);
                }
                self.promise();
                Step::Worked
            }
            Message::Barrier(id) => {
                let aligned = self.alignment.barrier(lane, id);
                let is_first = self.alignment.missing().count() + 1 == self.lanes.1;
                match aligned {
                    Aligned::Waiting if is_first && seeded::is(Bug::SnapshotBeforeAlignment) => self.capture(id),
                    Aligned::Waiting => Step::Worked,
                    Aligned::Complete(id) if seeded::is(Bug::SnapshotBeforeAlignment) && self.lanes.1 > 1 => {
                        self.sender.barrier(id, self.watermark);
                        self.alignment.release(id);
                        Step::Worked
                    }
                    Aligned::Complete(id) => {
                        let captured = self.capture(id);
                        self.sender.barrier(id, self.watermark);
                        self.alignment.release(id);
                        captured
                    }
                }
            }
        }
    }

    fn process(&mut self, row: Row, shared: &mut Shared) {
        let number =
            if self.place == 0 { shared.shape.key_shard(row.key) } else { shared.shape.group_shard(row.group) };
        let local = number / WORKERS;
        let shard = &mut self.shards[local];
        let watermark = shard.watermarks.watermark();
        let mut out = row;
        if self.place == 0 {
            shard.memory.pages[row.key as usize] += 1;
            shard.memory.global += 1;
            out.number = shard.memory.pages[row.key as usize] as u32;
            shard.next_advance = NOTHING;
            self.sender.push(shared.shape.group_shard(row.group) % WORKERS, out);
            return;
        }
        let is_late = window_end(row.window()) <= watermark.0;
        out.kind = Kind::Line { is_late };
        if is_late {
            shared.judge.late(&row, watermark, &shared.upstream);
        } else {
            shard.memory.pages[row.window()] += 1 << (8 * row.group);
        }
        shard.next_advance = shard.wanted();
        self.sender.push(0, out);
    }

    /// Takes a sender's watermark for one shard in, and notes whether `advance` is due.
    fn raise(&mut self, local: usize, lane: usize, watermark: Watermark) {
        let shard = &mut self.shards[local];
        shard.watermarks.update(0, lane, watermark);
        let now = shard.watermarks.watermark();
        if now <= shard.advanced {
            return;
        }
        if shard.next_advance.is_none_or(|next| next <= now.0) {
            if !self.due.contains(&local) {
                self.due.push(local);
            }
        } else {
            shard.advanced = now;
        }
    }

    fn advance(&mut self, local: usize) {
        let shard = &mut self.shards[local];
        let watermark = shard.watermarks.watermark();
        // One window a call: a million of them would not come in one return.
        if self.place == 1
            && let Some(window) = shard.first_window().filter(|window| window_end(*window) <= watermark.0)
        {
            let counts = std::mem::take(&mut shard.memory.pages[window]);
            for group in (0..3_u8).filter(|group| counts >> (8 * group) & 0xff != 0) {
                shard.memory.global += 1;
                let (count, sequence) = ((counts >> (8 * group) & 0xff) as u8, shard.memory.global as u32);
                let kind = Kind::Closed { window: window as u8, count, sequence };
                let timestamp = window_end(window) - 1;
                self.sender
                    .push(0, Row { kind, split: 0, offset: 0, timestamp, key: 0, group, number: 0, tag: (0, 0) });
            }
        }
        shard.next_advance = if self.place == 1 { shard.wanted() } else { NOTHING };
        let wants_more = shard.next_advance.is_some_and(|next| next <= watermark.0 && next != i64::MAX);
        if wants_more {
            self.due.insert(0, local);
        } else {
            shard.advanced = watermark;
            self.promise();
        }
    }

    /// What all shards here have advanced to is what readers may rely on.
    fn promise(&mut self) {
        let low = self.shards.iter().map(|shard| shard.advanced).min().unwrap_or(Watermark::START);
        self.watermark = self.watermark.max(low);
    }

    fn capture(&mut self, id: CheckpointId) -> Step {
        let stage = self.place;
        let shards = self.shards.iter_mut().map(|shard| (shard.part(stage), shard.capture(), shard.memory)).collect();
        Step::Captured(Captured { id, shards })
    }
}

impl Shard {
    /// A window that the shard says is behind it and that still has records.
    pub(super) fn missed_window(&self) -> Option<usize> {
        self.first_window().filter(|window| window_end(*window) <= self.advanced.0)
    }
}
