//! The judge: what must hold while a run goes on, and of the final topics and files.
//!
//! It shares no code with what it judges: it keeps what was captured and what was promised, and compares. Its first
//! complaint ends the run. The rules are those of [`Rule`]. Next room: `world`, which asks for the verdict.

use super::broker::{Broker, Payload, SINK_PARTITIONS};
use super::row::{KEYS, Kind, Row, WINDOWS, window_end};
use super::shared::Shape;
use super::source::Upstream;
use super::stage::Memory;
use super::store::{Record, SPLITS, ShardPart};
use std::collections::BTreeSet;
use tidegate::ids::{CheckpointId, Watermark};

/// What was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// A record's effect is missing.
    Lost,
    /// A record's effect is there twice.
    Doubled,
    /// A shard's output is not in its order.
    Order,
    /// Readers see output of a checkpoint that was rolled back.
    RolledBackVisible,
    /// Memory is ahead of or behind the positions that were prepared with it.
    TornCut,
    /// Restored memory is not what was captured.
    WrongMemory,
    /// A window did not close when its shard was told to go on.
    WindowMissed,
    /// A window closed twice, or with a wrong count.
    WindowWrong,
    /// A record came too late for its window although its split was not behind.
    WronglyLate,
    /// A transaction is open for ever.
    Hanging,
    /// Topic and file differ.
    SinksDiffer,
    /// A process asked for a person without a reason.
    NeedlessStop,
    /// A job went on though only a person may decide that.
    MissedStop,
    /// A number was given to two checkpoints of one store.
    NumberReused,
    /// An instance that had no right to run fenced one that had.
    HealthyFenced,
    /// The job does not get to its end though nothing hinders it.
    NoProgress,
    /// Ours stopped itself: an assertion.
    Panicked,
}

/// A complaint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// What was broken.
    pub rule: Rule,
    /// Where, in words.
    pub what: String,
}

/// A shard's memory at a checkpoint of an attempt.
struct Saved {
    attempt: u32,
    id: CheckpointId,
    stage: usize,
    shard: usize,
    memory: Memory,
}

/// What the judge remembers.
#[derive(Default)]
pub(super) struct Judge {
    pub(super) complaint: Option<Complaint>,
    saved: Vec<Saved>,
    /// Where the records begin that the job owes: where it first ran from.
    owed: Option<[usize; SPLITS]>,
    rolled_back: Vec<(u32, CheckpointId)>,
    /// The cluster lost records of a committed transaction before anybody could help.
    is_loss_excused: bool,
    /// The life whose turn it is.
    pub(super) attempt: u32,
    lives: Vec<Life>,
    /// Numbers of checkpoints that were prepared, and by whom.
    numbers: Vec<(u32, CheckpointId, u32)>,
    /// Copies of stores give numbers again.
    are_numbers_free: bool,
}

/// What counts for records that come too late.
struct Life {
    attempt: u32,
    /// Splits that were idle in it.
    idle: [bool; SPLITS],
    /// The largest watermark in the checkpoint that it went on from.
    reached: i64,
}

impl Judge {
    pub(super) fn complain(&mut self, rule: Rule, what: impl FnOnce() -> String) {
        if self.complaint.is_none() {
            self.complaint = Some(Complaint { rule, what: what() });
        }
    }

    /// A life begins to read.
    pub(super) fn runs(&mut self, record: &Record) {
        if self.owed.is_none() {
            self.owed = Some(record.splits.map(|part| part.offset as usize));
        }
        let reached = record.splits.iter().map(|part| part.watermark.0).max().unwrap_or(i64::MIN);
        self.lives.push(Life { attempt: self.attempt, idle: [false; SPLITS], reached });
    }

    /// Whether the job ever read: from then on its positions are in its store.
    pub(super) fn has_run(&self) -> bool {
        self.owed.is_some()
    }

    /// A split was at the high watermark for long enough.
    pub(super) fn idle(&mut self, split: usize) {
        let attempt = self.attempt;
        if let Some(life) = self.lives.iter_mut().rev().find(|life| life.attempt == attempt) {
            life.idle[split] = true;
        }
    }

    /// A record came too late for its window.
    pub(super) fn late(&mut self, row: &Row, watermark: Watermark, upstream: &[Upstream; SPLITS]) {
        let end = window_end(row.window());
        let is_known = upstream.iter().all(|split| split.made_anew.is_none());
        let Some(life) = self.lives.iter().rev().find(|life| life.attempt == self.attempt) else { return };
        if is_known && !life.idle[row.split as usize] && end > life.reached {
            self.complain(Rule::WronglyLate, || {
                format!("offset {} of split {} is late at watermark {}", row.offset, row.split, watermark.0)
            });
        }
    }

    pub(super) fn missed_window(&mut self, shard: usize) {
        self.complain(Rule::WindowMissed, || format!("shard {shard} went past the end of a window with records"));
    }

    pub(super) fn captured(&mut self, attempt: u32, id: CheckpointId, part: &ShardPart, memory: Memory) {
        self.saved.push(Saved { attempt, id, stage: part.stage, shard: part.shard, memory });
    }

    /// The cluster aborted a part of a committed transaction by its time-out: no process and no person came in time.
    pub(super) fn excuse_loss(&mut self) {
        self.is_loss_excused = true;
    }

    /// Somebody put a copy of a store to work: it cannot know which numbers the other gave.
    pub(super) fn numbers_begin_anew(&mut self) {
        self.are_numbers_free = true;
    }

    /// A checkpoint got its number in a store.
    pub(super) fn numbered(&mut self, store: u32, record: &Record) {
        let is_it = |(known, id, _): &&(u32, CheckpointId, u32)| (*known, *id) == (store, record.id);
        let is_used = self.numbers.iter().find(is_it).is_some_and(|(.., attempt)| *attempt != record.attempt);
        if is_used && !self.are_numbers_free {
            self.complain(Rule::NumberReused, || format!("checkpoint {} is prepared twice", record.id));
        }
        self.numbers.push((store, record.id, record.attempt));
    }

    /// A process fences while the marker, when it began, was of another store.
    pub(super) fn fenced(&mut self, is_foreign: bool) {
        if is_foreign {
            self.complain(Rule::HealthyFenced, || "an instance without the right to run fenced another".to_owned());
        }
    }

    /// PREPARED is durable: what the first stage counted must be what lies before the positions.
    pub(super) fn prepared(&mut self, record: &Record, upstream: &[Upstream; SPLITS]) {
        let Some(owed) = self.owed.filter(|_| upstream.iter().all(|split| split.made_anew.is_none())) else { return };
        let is_it = |saved: &&Saved| saved.attempt == record.attempt && saved.id == record.id && saved.stage == 0;
        let counted: u64 = self.saved.iter().filter(is_it).map(|saved| saved.memory.global).sum();
        let read: usize = (0..SPLITS)
            .map(|split| {
                let to = record.splits[split].offset as usize;
                let records = upstream[split].records.get(owed[split]..to).unwrap_or_default();
                records.iter().flatten().count()
            })
            .sum();
        if counted != read as u64 {
            self.complain(Rule::TornCut, || {
                format!("checkpoint {} holds {counted} records in memory and {read} before its positions", record.id)
            });
        }
    }

    /// A shard was restored.
    pub(super) fn restored(&mut self, record: &Record, part: &ShardPart, memory: &Memory) {
        let is_it = |saved: &&Saved| {
            (saved.attempt, saved.id, saved.stage, saved.shard) == (record.attempt, record.id, part.stage, part.shard)
        };
        if self.saved.iter().rev().find(is_it).is_none_or(|saved| saved.memory != *memory) {
            self.complain(Rule::WrongMemory, || {
                format!("stage {} shard {} is not as checkpoint {} captured it", part.stage, part.shard, record.id)
            });
        }
    }

    pub(super) fn rolled_back(&mut self, attempt: u32, id: CheckpointId) {
        self.rolled_back.push((attempt, id));
    }

    /// The verdict about what readers see. `is_whole`: the job got to the end of its input.
    pub(super) fn verdict(
        &mut self,
        shape: &Shape,
        upstream: &[Upstream; SPLITS],
        broker: &Broker,
        file: &[Row],
        is_whole: bool,
    ) {
        let mut topics: Vec<Vec<Row>> = Vec::new();
        for partition in &broker.partitions[..SINK_PARTITIONS] {
            let row = |payload| if let Payload::Row(row) = payload { Some(row) } else { None };
            topics.push(partition.committed().filter_map(row).collect());
        }
        if shape.kafka {
            self.rows(upstream, &topics, is_whole);
        }
        if shape.file {
            self.rows(upstream, &[file.to_vec()], is_whole);
        }
        if shape.kafka && shape.file && is_whole {
            let group = |row: &&Row, partition: usize| row.group as usize % SINK_PARTITIONS == partition;
            for (partition, rows) in topics.iter().enumerate() {
                let in_file: Vec<&Row> = file.iter().filter(|row| group(row, partition)).collect();
                if in_file != rows.iter().collect::<Vec<_>>() {
                    self.complain(Rule::SinksDiffer, || format!("partition {partition} and the file differ"));
                }
            }
        }
        if is_whole && broker.partitions.iter().any(|partition| partition.stable() < partition.log.len()) {
            self.complain(Rule::Hanging, || "a transaction is open for ever".to_owned());
        }
    }

    fn rows(&mut self, upstream: &[Upstream; SPLITS], sinks: &[Vec<Row>], is_whole: bool) {
        let mut seen: BTreeSet<(u8, u16)> = BTreeSet::new();
        for rows in sinks {
            self.one_sink(rows, &mut seen);
        }
        for row in sinks.iter().flatten().filter(|row| matches!(row.kind, Kind::Line { .. })) {
            if upstream[row.split as usize].records[row.offset as usize] != Some((row.timestamp, row.key)) {
                self.complain(Rule::MissedStop, || "output of a topic that was made anew is visible".to_owned());
            }
        }
        let Some(owed) = self.owed.filter(|_| is_whole) else { return };
        for split in 0..SPLITS {
            for offset in owed[split]..upstream[split].records.len() {
                let is_record = upstream[split].records[offset].is_some();
                if is_record && !seen.contains(&(split as u8, offset as u16)) {
                    self.complain(Rule::Lost, || format!("nothing of offset {offset} of split {split}"));
                }
            }
        }
        self.windows(sinks, is_whole);
    }

    fn one_sink(&mut self, rows: &[Row], seen: &mut BTreeSet<(u8, u16)>) {
        let mut numbers = [0_u32; KEYS as usize];
        let mut offsets = [[-1_i32; KEYS as usize]; SPLITS];
        for row in rows {
            if self.rolled_back.contains(&(row.tag.0, CheckpointId(row.tag.1))) {
                self.complain(Rule::RolledBackVisible, || {
                    format!("output of checkpoint {} of attempt {} is visible", row.tag.1, row.tag.0)
                });
            }
            if !matches!(row.kind, Kind::Line { .. }) {
                continue;
            }
            let key = row.key as usize;
            if !seen.insert((row.split, row.offset)) {
                self.complain(Rule::Doubled, || format!("offset {} of split {} twice", row.offset, row.split));
            }
            let is_excused = self.is_loss_excused && row.number > numbers[key];
            if row.number != numbers[key] + 1 && !is_excused {
                self.complain(if row.number > numbers[key] { Rule::Lost } else { Rule::Doubled }, || {
                    format!("record {} of key {key} follows record {}", row.number, numbers[key])
                });
            }
            numbers[key] = row.number;
            let last = &mut offsets[row.split as usize][key];
            if i32::from(row.offset) <= *last {
                self.complain(Rule::Order, || format!("offset {} of split {} comes too late", row.offset, row.split));
            } else {
                *last = i32::from(row.offset);
            }
        }
    }

    /// Each window with records closes once, with their number, behind them, and before late ones.
    fn windows(&mut self, sinks: &[Vec<Row>], is_whole: bool) {
        let groups = KEYS as usize / 2;
        let mut counts = vec![[0_u32; WINDOWS]; groups];
        let mut closed = vec![[false; WINDOWS]; groups];
        for row in sinks.iter().flatten() {
            let group = row.group as usize;
            match row.kind {
                Kind::Record | Kind::Line { is_late: true } => {}
                Kind::Line { is_late: false } => {
                    if closed[group][row.window()] {
                        self.complain(Rule::WindowWrong, || format!("a record of group {group} behind its window"));
                    }
                    counts[group][row.window()] += 1;
                }
                Kind::Closed { window, count, .. } => {
                    let window = window as usize;
                    if std::mem::replace(&mut closed[group][window], true) || u32::from(count) != counts[group][window]
                    {
                        let counted = counts[group][window];
                        self.complain(Rule::WindowWrong, || {
                            format!("window {window} of group {group} closes with {count} of {counted}")
                        });
                    }
                }
            }
        }
        for group in 0..groups {
            for window in 0..WINDOWS {
                if is_whole && counts[group][window] > 0 && !closed[group][window] {
                    self.complain(Rule::WindowMissed, || format!("window {window} of group {group} never closes"));
                }
            }
        }
    }
}
