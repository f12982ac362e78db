//! Sources: what reads records from the world, one file a kind, and the thread that drives them.
//!
//! A reader hands out raw bytes in place; it decodes nothing, routes nothing and knows no checkpoint. The driver
//! ([`driver`]) decodes, cuts batches, moves event time and answers barriers. Next room: [`crate::decode`].

use crate::checkpoint::record::{Position, SourceState, SplitState};
use crate::columns::SplitName;
use crate::config::model::{Source, SourceKind};
use crate::ids::SplitIndex;
use std::sync::Arc;
use std::time::Duration;

pub mod clock;
pub mod driver;
pub mod file;
pub mod kafka;

/// A record as the world has it. The bytes live until the visitor returns.
#[derive(Debug, Clone, Copy)]
pub struct RawRecord<'a> {
    /// The message's own key; files have none.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The message's own timestamp in milliseconds since the Unix epoch; files have none.
    pub timestamp: Option<i64>,
    /// The Kafka offset, or the byte offset of the line in the file.
    pub offset: i64,
    /// The message's headers.
    pub headers: RawHeaders<'a>,
}

/// The headers of a raw record, read only when somebody wants them.
#[derive(Debug, Clone, Copy, Default)]
pub struct RawHeaders<'a> {
    /// Name and value of each, in the message's order.
    pub entries: &'a [(&'a str, Option<&'a [u8]>)],
}

/// What a poll of one split found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polled {
    /// Records were visited: this many.
    Records(usize),
    /// Nothing yet; more is on its way, or the broker is not reachable.
    Pending,
    /// Nothing, and the broker says that there is nothing up to the high watermark (idleness counts from here).
    CaughtUp,
    /// A bounded split was read to its end.
    Finished,
}

/// What a check of the splits' identity came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verified {
    /// All records visited so far came from the topics and files that the positions name.
    Proven,
    /// The cluster did not answer in time: ask again.
    Unanswered,
}

/// Reads the splits of one source thread.
pub trait Reader: Send {
    /// The names of the splits, by index. Grows when a partition is discovered.
    fn splits(&self) -> &[Arc<SplitName>];

    /// Hands up to `records_max` records of a split to `visit`, in order. Never blocks longer than a few milliseconds.
    fn poll(
        &mut self,
        split: SplitIndex,
        records_max: usize,
        visit: &mut dyn FnMut(RawRecord<'_>),
    ) -> Result<Polled, SourceError>;

    /// Where the split goes on after the last visited record: its identity and the next offset.
    fn position(&self, split: SplitIndex) -> Position;

    /// Returns when something may have arrived, or after `at_most`.
    fn wait(&mut self, at_most: Duration);

    /// Looks for splits that are new since the start (their positions are the earliest) and checks that the known ones
    /// are still the same topics and files. Called now and then and before each checkpoint is prepared; must be cheap.
    fn verify(&mut self) -> Result<Verified, SourceError>;

    /// Publishes positions for lag tools, best effort, after a checkpoint was confirmed. Never blocks.
    fn publish(&mut self, positions: &[Position]);

    /// Bytes read and bytes in all of a bounded input whose size is known.
    fn progress(&self) -> Option<(u64, u64)> {
        None
    }

    /// Records between the positions and the ends of the splits as far as is known, for the progress line.
    fn lag(&self) -> Option<u64>;
}

/// Why a source cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The input is not what the positions were taken in: a person must look (exit 78).
    #[error("source `{source_name}`: {what}")]
    Changed {
        /// The source's name in the job file.
        source_name: String,
        /// What was found, where, and the way out.
        what: String,
    },
    /// Reading failed; a new start may help (exit 75).
    #[error("source `{source_name}`: {what}")]
    Failed {
        /// The source's name in the job file.
        source_name: String,
        /// What failed, where.
        what: String,
        /// The cause.
        #[source]
        cause: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// A record cannot be decoded and the policy is `fail` (exit 1).
    #[error("source `{source_name}`: {what}")]
    BadRecord {
        /// The source's name in the job file.
        source_name: String,
        /// Position, reason and the way out.
        what: String,
    },
}

/// Resolves the positions of a first start: lists the splits, asks for offsets. Nothing is read yet.
pub fn resolve(source: &Source) -> Result<SourceState, SourceError> {
    match &source.kind {
        SourceKind::File { pattern } => file::resolve(&source.name, pattern),
        SourceKind::Kafka { .. } => kafka::resolve(source),
    }
}

/// Compares what a source names today with what a checkpoint knows of it, before anything is opened.
pub fn compare(source: &Source, state: &SourceState, is_finished: bool) -> Result<(), SourceError> {
    match &source.kind {
        SourceKind::File { pattern } => file::compare(&source.name, pattern, state, is_finished),
        // Topics are compared by their ids, when they are opened.
        SourceKind::Kafka { .. } => Ok(()),
    }
}

/// Opens a reader over some of a source's splits at their positions. Refuses a split whose identity changed.
pub fn open(source: &Source, splits: &[SplitState], discover: Discover<'_>) -> Result<Box<dyn Reader>, SourceError> {
    match &source.kind {
        SourceKind::File { .. } => Ok(Box::new(file::FileReader::open(&source.name, splits, source.max_record_bytes)?)),
        SourceKind::Kafka { .. } => Ok(Box::new(kafka::KafkaReader::open(source, splits, discover)?)),
    }
}

/// Whether a reader is the one of its source that takes over newly found splits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discover<'a> {
    /// It looks for new splits: those that are not among these, which are all that the source has, whichever thread
    /// reads them.
    Yes(&'a [SplitState]),
    /// Another thread of the source does.
    No,
}
