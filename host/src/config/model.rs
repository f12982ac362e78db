//! A checked job: what the rest of the host builds from. Every value here has passed `check`; nothing here knows TOML.
//!
//! Next room: [`super`], which makes these values from text; `job`, which runs them.

use crate::ids::{OperatorIndex, SinkIndex, SourceIndex};
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// A whole job.
#[derive(Debug, Clone)]
pub struct Job {
    /// The job's identity: prefix of store, marker topic, transactional id and consumer group.
    pub name: String,
    /// How many slices the key space has.
    pub shards: u16,
    /// Worker threads.
    pub workers: u16,
    /// Where the store is.
    pub store: PathBuf,
    /// When checkpoints are taken.
    pub checkpoint: Checkpointing,
    /// How batches are cut.
    pub batch: BatchLimits,
    /// Bound of each lane between threads, in bytes (`limits.channel`).
    pub channel_bytes: usize,
    /// What an operator keeps since the last checkpoint to undo a failed call, on all workers, in bytes (`limits.undo`).
    pub undo_bytes: usize,
    /// Sources, in the order of the job file.
    pub sources: Vec<Source>,
    /// Operators in topological order.
    pub operators: Vec<Operator>,
    /// Sinks, in the order of the job file.
    pub sinks: Vec<Sink>,
    /// Where each key stands in the job file, for errors that are found later.
    pub places: Places,
}

/// Where keys stand in a job file. Empty for a job that was not read from one.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// The job file.
    pub file: PathBuf,
    /// By key path (`operator.detector.inputs.main`).
    pub keys: HashMap<String, Place>,
}

/// A place in a text, both numbers from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// When checkpoints are taken.
#[derive(Debug, Clone, Copy)]
pub struct Checkpointing {
    /// From barrier to barrier.
    pub interval: Duration,
    /// At least this long from the end of one to the next barrier.
    pub min_pause: Duration,
    /// A checkpoint that takes longer ends the process.
    pub timeout: Duration,
}

/// How a shard's batch is cut: at the first of the three, and at a barrier.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Rows.
    pub rows: usize,
    /// Bytes that enter Wasm; a larger record travels alone.
    pub bytes: usize,
    /// Time since the batch's first row.
    pub linger: Duration,
}

/// A value that must not be printed. Its `Debug` and `Display` hide it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: String) -> Secret {
        Secret(value)
    }

    /// The value itself, for the one place that hands it to a library.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// A Kafka cluster and how to reach it, shared by sources and sinks that name the same connection.
#[derive(Debug, Clone)]
pub struct KafkaConnection {
    /// The connection's name in the job file.
    pub name: String,
    /// `host:port` each.
    pub brokers: Vec<String>,
    /// librdkafka properties that follow from `security`, `ca_file`, `sasl` and `properties`, all on the allow list. They
    /// are printed by name only.
    pub properties: Vec<(String, Secret)>,
}

/// A source.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its name in the job file.
    pub name: String,
    /// What it reads.
    pub kind: SourceKind,
    /// Decoding threads; splits are shared out among them.
    pub threads: u16,
    /// How a record's key, timestamp and value are found.
    pub decode: Decode,
    /// How event time moves.
    pub watermark: WatermarkPolicy,
    /// What happens to a record that cannot be decoded.
    pub on_bad_record: OnBadRecord,
    /// A larger record is a bad one, in bytes.
    pub max_record_bytes: usize,
}

/// What a source reads.
#[derive(Debug, Clone)]
pub enum SourceKind {
    /// Files of JSON lines.
    File {
        /// A file, a directory or a glob, resolved from the job file's folder.
        pattern: PathBuf,
    },
    /// Topics.
    Kafka {
        /// The cluster.
        connection: KafkaConnection,
        /// The topics' names.
        topics: Vec<String>,
        /// Where a first start begins.
        start: Start,
        /// Where a bounded read ends; `None`: never.
        until: Option<Until>,
        /// The consumer group whose offsets are read (`start = "group"`) and published after each confirm, for lag tools.
        group: String,
    },
}

/// Where a first start begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the first record kept.
    Earliest,
    /// At the end.
    Latest,
    /// At the first record of this time or later, in milliseconds since the Unix epoch.
    Time(i64),
    /// At the group's committed offsets.
    Group,
}

/// Where a bounded read ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// At the end as it is at the first start.
    Latest,
    /// Before the first record of this time or later, in milliseconds since the Unix epoch.
    Time(i64),
}

/// How a record's parts are found in its bytes. The format is JSON.
#[derive(Debug, Clone)]
pub struct Decode {
    /// JSON Pointers of the key's parts; empty: the message's own key.
    pub key: Vec<String>,
    /// Where the timestamp is; `None`: the message's own.
    pub timestamp: Option<TimestampField>,
    /// A timestamp that lies further ahead of the message's own (or of the wall clock at reading, where there is none) is bad.
    pub max_ahead: Duration,
    /// A timestamp below this is bad, in milliseconds since the Unix epoch. Default 10^11 (1973) for `unix_ms`: it catches
    /// seconds taken for milliseconds.
    pub min_time_ms: i64,
}

/// Where a timestamp is and what it counts.
#[derive(Debug, Clone)]
pub struct TimestampField {
    /// A JSON Pointer.
    pub pointer: String,
    /// The unit, or RFC 3339.
    pub format: TimestampFormat,
}

/// What a timestamp field counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampFormat {
    /// Seconds since the Unix epoch.
    UnixSeconds,
    /// Milliseconds since the Unix epoch.
    UnixMillis,
    /// Microseconds since the Unix epoch.
    UnixMicros,
    /// Nanoseconds since the Unix epoch.
    UnixNanos,
    /// A string like `2026-01-31T12:00:00Z`.
    Rfc3339,
}

/// How event time moves.
#[derive(Debug, Clone, Copy)]
pub struct WatermarkPolicy {
    /// How far a record may lie behind the newest one of its split before it counts as late.
    pub max_out_of_orderness: Duration,
    /// A split without records for this long no longer holds the watermark.
    pub idle_after: Duration,
}

/// What happens to a record that cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnBadRecord {
    /// The job stops.
    Fail,
    /// It is counted and left out.
    Skip,
    /// It goes to the dead-letter sink.
    DeadLetter,
}

/// An operator: one plugin with its configuration.
#[derive(Debug, Clone)]
pub struct Operator {
    /// Its name in the job file: the identity of its state.
    pub name: String,
    /// The artifact's path.
    pub plugin: PathBuf,
    /// The configuration as canonical JSON (RFC 8785).
    pub config: String,
    /// Memory limit of an instance, in bytes.
    pub memory_bytes: usize,
    /// A call that takes longer is ended and counts as a trap.
    pub call_timeout: Duration,
    /// What happens when the plugin fails on a record.
    pub on_error: OnError,
    /// Records of one shard on which it may fail between two checkpoints, where they become dead letters.
    pub dead_letters_max: u32,
    /// What happens to a rejected row.
    pub on_rejected: OnRejected,
    /// Its inputs. Several may feed one port.
    pub inputs: Vec<Input>,
    /// Names of output ports whose records are dropped.
    pub discard: Vec<String>,
}

/// What happens when a call of an operator fails: it trapped, took too long, or returned an error or nonsense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// The job stops at its last checkpoint.
    Fail,
    /// The call is undone, and the records at fault go to the dead-letter sink.
    DeadLetter,
}

/// What happens to a row that an operator rejects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRejected {
    /// The job stops at its last checkpoint.
    Fail,
    /// The record goes to the dead-letter sink.
    DeadLetter,
}

/// One edge into an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// The operator's input port, by name; resolved against the plugin's description when the job is built.
    pub port: String,
    /// Where records come from.
    pub from: Origin,
    /// Which shard gets a record.
    pub route: Route,
}

/// Where records come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A source.
    Source(SourceIndex),
    /// An operator's output port, by name.
    Operator(OperatorIndex, String),
}

/// Which shard gets a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// hash(key) mod shards.
    Key,
    /// The shard it comes from (from a source: its split's number mod shards).
    SameShard,
    /// Every shard.
    Broadcast,
}

/// A sink.
#[derive(Debug, Clone)]
pub struct Sink {
    /// Its name in the job file.
    pub name: String,
    /// Where it writes.
    pub kind: SinkKind,
    /// What it takes in.
    pub from: Vec<SinkInput>,
}

/// What a sink takes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkInput {
    /// A source's or an operator's records.
    Records(Origin),
    /// Every dead letter of the job.
    DeadLetters,
}

/// Where a sink writes.
#[derive(Debug, Clone)]
pub enum SinkKind {
    /// A file of JSON lines: the records' values.
    File {
        /// The file, resolved from the job file's folder.
        path: PathBuf,
    },
    /// A topic.
    Kafka {
        /// The cluster.
        connection: KafkaConnection,
        /// The topic's name.
        topic: String,
        /// Which key a record gets.
        key: SinkKey,
        /// `transaction.timeout.ms`; `None`: ten minutes, or the broker's maximum.
        transaction_timeout: Option<Duration>,
    },
}

/// Which key a record gets in a Kafka sink. Partitioned by murmur2, as Java does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkKey {
    /// The emitted record's key.
    Record,
    /// None.
    Null,
    /// What a JSON Pointer finds in the value.
    Pointer(String),
}

impl Operator {
    /// Whether any of its records can become a dead letter.
    pub fn sends_dead_letters(&self) -> bool {
        self.on_error == OnError::DeadLetter || self.on_rejected == OnRejected::DeadLetter
    }
}

impl Job {
    /// The index types' way to a port: kept here so that callers need not know how ports are numbered.
    pub fn operator(&self, index: OperatorIndex) -> &Operator {
        &self.operators[index.index()]
    }

    /// The sink that takes dead letters, if there is one.
    pub fn dead_letter_sink(&self) -> Option<SinkIndex> {
        let at = self.sinks.iter().position(|sink| sink.from.contains(&SinkInput::DeadLetters))?;
        Some(SinkIndex(at as u16))
    }
}
