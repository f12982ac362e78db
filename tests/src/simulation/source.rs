//! The input of the model, and the source thread that reads it.
//!
//! A split is a partition: records and control records, of which so many have arrived and so many are decided. The thread's
//! order of work is that of the product's `driver.rs`, its event time is the product's own. Next room: `stage`.

use super::lane::{Lanes, Sender};
use super::row::{Kind, Row, group_of};
use super::shared::{Death, Shared, Stop};
use super::stage::WORKERS;
use super::store::SplitPart;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tidegate::checkpoint::record::{Position, SplitState};
use tidegate::config::model::WatermarkPolicy;
use tidegate::ids::{CheckpointId, SplitIndex, Watermark};
use tidegate::seeded::{self, Bug};
use tidegate::source::clock::SourceClock;
use tidegate::watermark::SplitWatermarks;

/// How far a record's time may lie behind the largest of its split.
pub(super) const DISORDER_MS: i64 = 30;
/// How long a split without anything to read holds the watermark.
pub(super) const IDLE_AFTER_MS: u64 = 60;

/// A record of the input: time and key. `None`: a control record.
pub(super) type Input = Option<(i64, u8)>;

/// A split as its cluster has it.
#[derive(Debug, Default)]
pub(super) struct Upstream {
    /// All there will ever be.
    pub(super) records: Vec<Input>,
    /// The high watermark.
    pub(super) available: usize,
    /// The last stable offset.
    pub(super) stable: usize,
    /// Another one when somebody makes the topic anew.
    pub(super) topic: u32,
    /// What the new topic holds.
    pub(super) made_anew: Option<Vec<Input>>,
}

impl Upstream {
    fn read(&self, offset: u16) -> Input {
        self.made_anew.as_ref().unwrap_or(&self.records)[offset as usize]
    }
}

/// A source thread.
pub(super) struct Source {
    thread: usize,
    /// The splits' numbers.
    splits: Vec<usize>,
    topics: Vec<u32>,
    pub(super) offsets: Vec<u16>,
    watermarks: SplitWatermarks,
    clock: Arc<SourceClock>,
    sender: Sender,
    watermark: Watermark,
    announced: Watermark,
    has_finished: bool,
    pub(super) commands: VecDeque<CheckpointId>,
    read_at_ms: u64,
    /// Records read in this life.
    pub(super) records: u64,
}

/// What a source thread tells the coordinator.
pub(super) enum Said {
    Nothing,
    Worked,
    Positions(CheckpointId, Vec<(usize, SplitPart)>),
    Finished,
}

fn position(offset: u16) -> Position {
    // The strings are empty: they cost nothing, and nothing here compares them.
    Position::File {
        path: String::new(),
        device: 0,
        inode: 0,
        head_digest: 0,
        head_bytes: 0,
        offset: u64::from(offset),
    }
}

impl Source {
    pub(super) fn new(
        thread: usize,
        parts: &[(usize, SplitPart)],
        clock: &Arc<SourceClock>,
        lanes: Vec<usize>,
    ) -> Source {
        let policy = WatermarkPolicy {
            max_out_of_orderness: Duration::from_millis(DISORDER_MS as u64),
            idle_after: Duration::from_millis(IDLE_AFTER_MS),
        };
        let states: Vec<SplitState> = parts
            .iter()
            .map(|(_, part)| SplitState {
                position: position(part.offset),
                watermark: part.watermark,
                idle: part.is_idle,
                finished: part.is_finished,
            })
            .collect();
        let mut watermarks = SplitWatermarks::new(&policy, &states);
        watermarks.advance();
        Source {
            thread,
            splits: parts.iter().map(|(split, _)| *split).collect(),
            topics: parts.iter().map(|(_, part)| part.topic).collect(),
            offsets: parts.iter().map(|(_, part)| part.offset).collect(),
            watermark: watermarks.watermark(),
            watermarks,
            clock: Arc::clone(clock),
            sender: Sender::new(lanes),
            announced: Watermark::START,
            has_finished: false,
            commands: VecDeque::new(),
            read_at_ms: 0,
            records: 0,
        }
    }

    /// Does one piece of work.
    pub(super) fn step(&mut self, lanes: &mut Lanes, shared: &mut Shared) -> Result<Said, Death> {
        if !self.sender.is_empty() {
            return Ok(if self.sender.send(lanes) { Said::Worked } else { Said::Nothing });
        }
        if let Some(id) = self.commands.front().copied() {
            return self.barrier(id, shared);
        }
        if shared.clock_ms >= self.read_at_ms && self.poll(shared) {
            self.read_at_ms = shared.clock_ms + shared.shape.pace_ms;
            return Ok(Said::Worked);
        }
        Ok(self.tend())
    }

    fn verify(&self, shared: &Shared) -> Result<(), Death> {
        let is_same = |(split, topic): (&usize, &u32)| shared.upstream[*split].topic == *topic;
        if self.splits.iter().zip(&self.topics).all(is_same) { Ok(()) } else { Err(Death::Stop(Stop::Source)) }
    }

    fn barrier(&mut self, id: CheckpointId, shared: &Shared) -> Result<Said, Death> {
        if shared.is_away() {
            return Ok(Said::Nothing);
        }
        self.verify(shared)?;
        self.commands.pop_front();
        self.sender.barrier(id, self.watermark);
        Ok(Said::Positions(id, self.positions()))
    }

    /// Where the splits go on.
    pub(super) fn positions(&self) -> Vec<(usize, SplitPart)> {
        let part = |local: usize| {
            let offset = self.offsets[local];
            let state = self.watermarks.snapshot(SplitIndex(local as u32), position(offset));
            let is_short = seeded::is(Bug::OffsetsOneShort);
            let part = SplitPart {
                offset: if is_short { offset.saturating_sub(1) } else { offset },
                topic: self.topics[local],
                watermark: state.watermark,
                is_idle: state.idle,
                is_finished: state.finished,
            };
            (self.splits[local], part)
        };
        (0..self.splits.len()).map(part).collect()
    }

    /// Polls the splits, the one furthest behind first, until one has records.
    fn poll(&mut self, shared: &mut Shared) -> bool {
        let mut order: [usize; 2] = [0, 1];
        let order = &mut order[..self.splits.len()];
        order.sort_by_key(|local| self.watermarks.watermark_of(SplitIndex(*local as u32)));
        for &local in order.iter() {
            let index = SplitIndex(local as u32);
            if self.watermarks.is_finished(index) {
                continue;
            }
            if shared.is_away() {
                self.watermarks.active(index);
                continue;
            }
            let upstream = &shared.upstream[self.splits[local]];
            let offset = self.offsets[local] as usize;
            if offset < upstream.stable.min(upstream.records.len()) {
                self.read(local, shared);
                return true;
            }
            if offset >= upstream.records.len() {
                self.watermarks.finish(index);
            } else if offset >= upstream.available {
                let was_idle = self.watermarks.is_idle(index);
                self.watermarks.caught_up(index, shared.clock_ms);
                if self.watermarks.is_idle(index) && !was_idle {
                    shared.judge.idle(self.splits[local]);
                }
            } else {
                self.watermarks.active(index);
            }
        }
        false
    }

    fn read(&mut self, local: usize, shared: &mut Shared) {
        let split = self.splits[local];
        let offset = self.offsets[local];
        self.offsets[local] += 1;
        let index = SplitIndex(local as u32);
        self.watermarks.active(index);
        let Some((timestamp, key)) = shared.upstream[split].read(offset) else { return };
        self.records += 1;
        self.watermarks.observe(index, timestamp);
        let row = Row {
            kind: Kind::Record,
            split: split as u8,
            offset,
            timestamp,
            key,
            group: group_of(key),
            number: 0,
            tag: (0, 0),
        };
        self.sender.push(shared.shape.key_shard(key) % WORKERS, row);
    }

    /// What time brings: lingering batches, watermarks, the end.
    fn tend(&mut self) -> Said {
        self.watermarks.advance();
        let own = self.watermarks.watermark();
        self.watermark = self.clock.combine(self.thread, own, self.watermarks.activity()).max(self.watermark);
        if self.watermark > self.announced {
            self.announced = self.watermark;
            self.sender.announce(self.watermark);
            return Said::Worked;
        }
        if self.sender.linger() {
            return Said::Worked;
        }
        if self.watermark == Watermark::END && !self.has_finished {
            self.has_finished = true;
            return Said::Finished;
        }
        Said::Nothing
    }
}
