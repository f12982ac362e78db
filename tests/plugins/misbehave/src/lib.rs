//! An operator that breaks the rules, in a way that its configuration picks; otherwise it forwards every record, or counts.
//!
//! It implements the contract's raw exports, because the SDK would not let it return what some modes return. One input
//! port `main`, one output port `out`. Next rooms: `malformed`, for outcomes that a host must refuse; `counting`.

mod counting;
mod malformed;

use counting::Counts;
use serde::Deserialize;
use std::cell::RefCell;
use std::hint::black_box;
use tidegate_sdk::bindings::exports::tidegate::plugin::operator::Guest;
use tidegate_sdk::bindings::tidegate::plugin::types;
use tidegate_sdk::parse_configuration;

/// The operator's `config` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What it does wrong.
    pub mode: Mode,
    /// It does so at this record of the instance, counted from 1, where the mode is about a record.
    #[serde(default = "first")]
    pub at_record: u64,
    /// If given, it does so at records whose value contains this word instead.
    pub word: Option<String>,
    /// Instead of forwarding a record, emit `{"count":N,"was":VALUE}`: the how many-th of its key it is.
    #[serde(default)]
    pub count: bool,
    /// Rounds of arithmetic for each record in `slow`: a million are about a millisecond.
    #[serde(default = "many")]
    pub rounds: u64,
}

fn first() -> u64 {
    1
}

fn many() -> u64 {
    1_000_000
}

/// What it does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// `describe` panics.
    TrapInDescribe,
    /// `describe` returns an error.
    ErrInDescribe,
    /// `describe` wants a column that does not exist.
    UnknownColumn,
    /// `describe` gives a setting that no host knows.
    UnknownSetting,
    /// `open` panics.
    TrapInOpen,
    /// `open` returns an error.
    ErrInOpen,
    /// `process` panics at the record.
    TrapInProcess,
    /// `process` panics at the record if its batch has others.
    TrapInBatches,
    /// `process` returns an error at the record.
    ErrInProcess,
    /// `advance` panics.
    TrapInAdvance,
    /// `process` never returns from the record.
    LoopForever,
    /// `process` allocates until it cannot at the record.
    EatMemory,
    /// `process` recurses without an end at the record.
    StackOverflow,
    /// `process` burns time on each record, and is right.
    Slow,
    /// Each record that contains the word is rejected, and that is right too.
    Reject,
    /// `advance` always wants to be called again.
    AdvanceForever,
    /// `advance` forwards a row, which it was not given.
    ForwardInAdvance,
    /// Forwards to an output port that does not exist.
    BadPort,
    /// Emits on an output port that does not exist.
    BadOutputPort,
    /// Forwards a row that does not exist.
    BadForwardRow,
    /// Rejects a row that does not exist.
    BadRejectionRow,
    /// A column whose ends fall.
    MalformedColumns,
    /// A column whose last end is past its arena.
    EndsPastArena,
    /// A column whose arena goes on after its last end.
    ArenaPastEnds,
    /// A column with another number of rows than the batch.
    WrongRowCount,
    /// Another number of timestamps than rows.
    WrongTimestampCount,
    /// A null that names a row that does not exist.
    NullsOutOfRange,
    /// Nulls that do not ascend.
    NullsNotAscending,
    /// A null row that has bytes.
    NullWithBytes,
    /// Records without values, which is not the same as null values.
    NoValues,
    /// A header that belongs to a row that does not exist.
    HeaderOutOfRange,
    /// An extra column, which only input has.
    ExtraColumn,
}

/// An instance.
#[derive(Debug)]
pub struct Misbehave {
    config: Config,
    records: u64,
    counts: Counts,
    hoard: Vec<Vec<u8>>,
}

impl Misbehave {
    /// Answers the contract's `describe`.
    pub fn describe(config: &str) -> Result<types::Description, String> {
        let config: Config = parse_configuration(config).map_err(|error| error.to_string())?;
        let mut columns = vec![types::ColumnSpec { name: "@value".to_owned(), kind: types::ColumnKind::Bytes }];
        if config.count {
            columns.push(types::ColumnSpec { name: "@key".to_owned(), kind: types::ColumnKind::Bytes });
        }
        let mut settings = Vec::new();
        match config.mode {
            Mode::TrapInDescribe => panic!("told to trap in describe"),
            Mode::ErrInDescribe => return Err("told to fail in describe".to_owned()),
            Mode::Reject if config.word.is_none() => return Err("configuration key `word`: missing".to_owned()),
            Mode::UnknownColumn => {
                columns.push(types::ColumnSpec { name: "@weather".to_owned(), kind: types::ColumnKind::Bytes });
            }
            Mode::UnknownSetting => {
                settings.push(types::Setting { name: "parallel".to_owned(), value: "true".to_owned() });
            }
            _ => {}
        }
        let input = types::Port { name: "main".to_owned(), columns, settings: Vec::new() };
        let output = types::Port { name: "out".to_owned(), columns: Vec::new(), settings: Vec::new() };
        Ok(types::Description { inputs: vec![input], outputs: vec![output], state_version: 0, settings })
    }

    /// Answers the contract's `open`.
    pub fn open(config: &str) -> Result<Misbehave, String> {
        let config: Config = parse_configuration(config).map_err(|error| error.to_string())?;
        match config.mode {
            Mode::TrapInOpen => panic!("told to trap in open"),
            Mode::ErrInOpen => Err("told to fail in open".to_owned()),
            _ => Ok(Misbehave { config, records: 0, counts: Counts::default(), hoard: Vec::new() }),
        }
    }

    /// Answers the contract's `process`.
    pub fn process(&mut self, batch: &types::Batch) -> Result<types::Outcome, String> {
        let mut outcome = malformed::empty_outcome();
        let mut forwarded = Vec::new();
        for row in 0..batch.rows {
            self.records += 1;
            if self.config.mode == Mode::Slow {
                black_box(burn(self.config.rounds));
            }
            if !self.is_the_record(batch, row) {
                forwarded.push(row);
                continue;
            }
            match self.config.mode {
                Mode::TrapInProcess => panic!("told to trap at record {}", self.records),
                Mode::TrapInBatches if batch.rows > 1 => panic!("told to trap in a batch of {}", batch.rows),
                Mode::ErrInProcess => return Err(format!("told to fail at record {}", self.records)),
                Mode::LoopForever => burn(u64::MAX),
                Mode::EatMemory => self.eat_memory(),
                Mode::StackOverflow => black_box(descend(1)),
                Mode::Reject => {
                    outcome.rejections.push(types::Rejection {
                        row,
                        code: "word".to_owned(),
                        reason: "the value contains the word".to_owned(),
                    });
                    continue;
                }
                mode => {
                    malformed::spoil(&mut outcome, mode, batch.rows);
                    0
                }
            };
            forwarded.push(row);
        }
        if self.config.count {
            outcome.outputs.push(types::PortBatch { port: 0, batch: self.counts.count(batch, &forwarded) });
        } else {
            outcome.forwards.push(types::Forward { port: 0, rows: forwarded });
        }
        outcome.next_advance = Some(if self.advances() { i64::MIN } else { i64::MAX });
        Ok(outcome)
    }

    /// Answers the contract's `advance`.
    pub fn advance(&mut self) -> types::Outcome {
        let mut outcome = malformed::empty_outcome();
        match self.config.mode {
            Mode::TrapInAdvance => panic!("told to trap in advance"),
            Mode::AdvanceForever => outcome.next_advance = Some(i64::MIN),
            Mode::ForwardInAdvance => outcome.forwards.push(types::Forward { port: 0, rows: vec![0] }),
            _ => {}
        }
        outcome
    }

    fn advances(&self) -> bool {
        matches!(self.config.mode, Mode::TrapInAdvance | Mode::AdvanceForever | Mode::ForwardInAdvance)
    }

    /// Whether this is the record at which it happens.
    fn is_the_record(&self, batch: &types::Batch, row: u32) -> bool {
        match &self.config.word {
            Some(word) => value(batch, row as usize).windows(word.len().max(1)).any(|part| part == word.as_bytes()),
            None => self.records == self.config.at_record,
        }
    }

    fn eat_memory(&mut self) -> u64 {
        loop {
            // Written to, so that the pages are really there.
            self.hoard.push(vec![1; 1 << 20]);
            black_box(&self.hoard);
        }
    }
}

fn value(batch: &types::Batch, row: usize) -> &[u8] {
    bytes_of(batch.values.as_ref(), row)
}

/// A row's bytes; nothing where there is no such column.
fn bytes_of(column: Option<&types::BytesColumn>, row: usize) -> &[u8] {
    let Some(column) = column else { return &[] };
    let start = if row == 0 { 0 } else { column.ends[row - 1] as usize };
    &column.arena[start..column.ends[row] as usize]
}

fn burn(rounds: u64) -> u64 {
    let mut number = black_box(0x9E37_79B9_7F4A_7C15_u64);
    for _ in 0..rounds {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        number = black_box(number);
    }
    number
}

#[expect(unconditional_recursion, reason = "this is what the mode is for")]
fn descend(depth: u64) -> u64 {
    // The array keeps the frame large, and the use after the call keeps it a call.
    let frame = black_box([depth; 64]);
    descend(depth + 1) + black_box(frame)[0]
}

thread_local! {
    static INSTANCE: RefCell<Option<Misbehave>> = const { RefCell::new(None) };
}

fn with_instance<T>(call: impl FnOnce(&mut Misbehave) -> T) -> T {
    INSTANCE.with_borrow_mut(|instance| call(instance.as_mut().expect("the host calls `open` first")))
}

/// The contract's exports.
#[derive(Debug)]
pub struct Exported;

impl Guest for Exported {
    fn describe(config: String) -> Result<types::Description, String> {
        Misbehave::describe(&config)
    }

    fn open(config: String, _: types::Context) -> Result<(), String> {
        // As the SDK does: a trap carries no text.
        #[cfg(target_arch = "wasm32")]
        std::panic::set_hook(Box::new(|panic| {
            tidegate_sdk::host::log(tidegate_sdk::host::Level::Error, &panic.to_string())
        }));
        INSTANCE.set(Some(Misbehave::open(&config)?));
        Ok(())
    }

    fn process(_: u32, _: i64, batch: types::Batch) -> Result<types::Outcome, String> {
        with_instance(|instance| instance.process(&batch))
    }

    fn advance(_: i64) -> Result<types::Outcome, String> {
        Ok(with_instance(Misbehave::advance))
    }
}

#[cfg(target_arch = "wasm32")]
tidegate_sdk::bindings::export!(Exported with_types_in tidegate_sdk::bindings);

#[cfg(test)]
mod tests;
