//! The table of keys itself. To add a key: a line here, its reading in the section's file, the reference blessed.

use super::{Absent, Key, Kind, Section};
use std::time::Duration;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
/// Longer than any retention that is meant: `max_ahead` and the like.
const YEARS: Duration = Duration::from_hours(100 * 365 * 24);
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

const fn key(name: &'static str, kind: Kind, absent: Absent, doc: &'static str) -> Key {
    Key { name, kind, absent, doc }
}

const fn duration(min: Duration, max: Duration) -> Kind {
    Kind::Duration { min, max }
}

/// All sections, in the order of the reference.
pub(crate) static ALL: [&Section; 14] = [
    &JOB,
    &STORE,
    &CHECKPOINT,
    &BATCH,
    &LIMITS,
    &CONNECTION,
    &SASL,
    &SECRET,
    &SOURCE,
    &TIMESTAMP,
    &WATERMARK,
    &OPERATOR,
    &INPUT,
    &SINK,
];

pub(crate) static JOB: Section = Section {
    title: "the top of the file",
    doc: "Keys at the top of the file, before the first table.",
    keys: &[
        key("format", Kind::Integer { min: 1, max: 1 }, Absent::Value("1"), "Version of the job file's format."),
        key(
            "name",
            Kind::Text,
            Absent::Refused,
            "The job's identity: it begins the names of store, marker topic, transactional id and consumer group. \
             Letters, digits and `-`, at most 64.",
        ),
        key(
            "shards",
            Kind::Integer { min: 1, max: 32_768 },
            Absent::Value("16"),
            "How many fixed slices the key space has; each operator has one instance a shard. Fixed once the job has a store.",
        ),
        key(
            "workers",
            Kind::Integer { min: 1, max: 1024 },
            Absent::Means("one a core, at most one a shard"),
            "Threads that run operators. May differ from start to start.",
        ),
        key("store", Kind::Table(&STORE), Absent::Means("defaults"), "Where state is kept."),
        key("checkpoint", Kind::Table(&CHECKPOINT), Absent::Means("defaults"), "When checkpoints are taken."),
        key("batch", Kind::Table(&BATCH), Absent::Means("defaults"), "How batches are cut."),
        key("limits", Kind::Table(&LIMITS), Absent::Means("defaults"), "What the job may take."),
        key("connection", Kind::Tables(&CONNECTION), Absent::Means("none"), "Kafka clusters, by name."),
        key("source", Kind::Tables(&SOURCE), Absent::Refused, "Where records come from, by name; at least one."),
        key("operator", Kind::Tables(&OPERATOR), Absent::Means("none"), "Plugins, by name."),
        key("sink", Kind::Tables(&SINK), Absent::Refused, "Where records go, by name; at least one."),
    ],
};

pub(crate) static STORE: Section = Section {
    title: "store",
    doc: "Where the job's state and positions are kept.",
    keys: &[key(
        "path",
        Kind::Path,
        Absent::Means("`NAME.redb`, after the job"),
        "The store's file. One job, one store.",
    )],
};

pub(crate) static CHECKPOINT: Section = Section {
    title: "checkpoint",
    doc: "When checkpoints are taken. Output becomes visible to `read_committed` readers with each.",
    keys: &[
        key(
            "interval",
            duration(Duration::from_millis(10), DAY),
            Absent::Value("1s"),
            "From barrier to barrier. Without input, checkpoints are left out for up to a minute.",
        ),
        key(
            "min_pause",
            duration(Duration::ZERO, DAY),
            Absent::Value("0s"),
            "At least this long from the end of one checkpoint to the next barrier, but where `undo` of `[limits]` wants one.",
        ),
        key(
            "timeout",
            duration(Duration::from_millis(100), HOUR),
            Absent::Value("60s"),
            "A checkpoint that is not prepared by then ends the process (exit 75); a new start recovers.",
        ),
    ],
};

pub(crate) static BATCH: Section = Section {
    title: "batch",
    doc: "A shard's batch ends at the first of the three, and at a barrier. This never changes results.",
    keys: &[
        key("rows", Kind::Integer { min: 1, max: 1 << 20 }, Absent::Value("1024"), "Rows."),
        key(
            "bytes",
            Kind::Size { min: 1, max: 256 * MIB },
            Absent::Value("256KiB"),
            "Bytes that enter the plugin; a larger record travels alone.",
        ),
        key("linger", duration(Duration::ZERO, HOUR), Absent::Value("5ms"), "Time since the batch's first row."),
    ],
};

pub(crate) static LIMITS: Section = Section {
    title: "limits",
    doc: "What the job may take.",
    keys: &[
        key(
            "memory",
            Kind::Size { min: MIB, max: 1 << 50 },
            Absent::Value("4GiB"),
            "Shards times the `memory` of all operators must fit in it.",
        ),
        key(
            "channel",
            Kind::Size { min: 1, max: GIB },
            Absent::Value("4MiB"),
            "Bound of each lane: an edge has one for each sending and receiving thread. An empty one takes any batch.",
        ),
        key(
            "undo",
            Kind::Size { min: 1, max: 1 << 40 },
            Absent::Value("256MiB"),
            "Records that an operator with `on_error = \"dead-letter\"` keeps since the last checkpoint, shared out among the \
             workers. At half of it a checkpoint is taken before its time.",
        ),
    ],
};

pub(crate) static CONNECTION: Section = Section {
    title: "connection.NAME",
    doc: "A Kafka cluster and how to reach it, for sources and sinks that name it.",
    keys: &[
        key("kind", Kind::Choice(&["kafka"]), Absent::Value("kafka"), "What it leads to."),
        key("brokers", Kind::Texts, Absent::Refused, "Some of the brokers, `host:port` each."),
        key(
            "security",
            Kind::Choice(&["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"]),
            Absent::Value("plaintext"),
            "Encryption (`ssl`) and authentication (`sasl`).",
        ),
        key(
            "ca_file",
            Kind::Path,
            Absent::Means("the system's certificates"),
            "PEM file of the authority that signed the brokers' certificates; with `ssl` or `sasl_ssl`.",
        ),
        key("sasl", Kind::Table(&SASL), Absent::Means("none"), "Who we are; with `sasl_plaintext` or `sasl_ssl`."),
        key(
            "properties",
            Kind::Other("a table of librdkafka properties"),
            Absent::Means("none"),
            "librdkafka's own names, in quotes, through an allow list. Values are strings, integers, booleans, or \
             `{ env = … }` or `{ file = … }` for what is secret.",
        ),
    ],
};

pub(crate) static SASL: Section = Section {
    title: "connection.NAME.sasl",
    doc: "Who we are for the brokers.",
    keys: &[
        key(
            "mechanism",
            Kind::Choice(&["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]),
            Absent::Refused,
            "How the password is proven. `PLAIN` shows it to the broker.",
        ),
        key("username", Kind::Other("a string, or a secret"), Absent::Refused, "The user."),
        key("password", Kind::Table(&SECRET), Absent::Refused, "The password, never in the job file itself."),
    ],
};

pub(crate) static SECRET: Section = Section {
    title: "a secret",
    doc: "Where a value comes from that must not stand in the job file: exactly one of the two. It is read at start, and \
          never printed or stored.",
    keys: &[
        key("env", Kind::Text, Absent::Means("not from there"), "Name of an environment variable."),
        key("file", Kind::Path, Absent::Means("not from there"), "A file; one line end at its end does not count."),
    ],
};

pub(crate) static SOURCE: Section = Section {
    title: "source.NAME",
    doc: "Where records come from. Its name is the identity of its positions.",
    keys: &[
        key("kind", Kind::Choice(&["kafka", "file"]), Absent::Means("`kafka` with a `connection`"), "What it reads."),
        key("connection", Kind::Text, Absent::Means("none"), "Kafka: a `[connection.NAME]`."),
        key("topics", Kind::Texts, Absent::Means("refused for Kafka"), "Kafka: the topics."),
        key(
            "path",
            Kind::Path,
            Absent::Means("refused for files"),
            "Files of JSON lines: a file, a folder, or a glob.",
        ),
        key(
            "threads",
            Kind::Integer { min: 1, max: 256 },
            Absent::Value("1"),
            "Decoding threads; splits are shared out.",
        ),
        key(
            "start",
            Kind::Other("`earliest`, `latest`, `group`, or an RFC 3339 time"),
            Absent::Value("earliest"),
            "Kafka: where the very first start begins; later ones go on from the store.",
        ),
        key(
            "until",
            Kind::Other("`none`, `latest`, or an RFC 3339 time"),
            Absent::Value("none"),
            "Kafka: where a bounded read ends. Then the job ends too.",
        ),
        key(
            "group",
            Kind::Text,
            Absent::Means("the job's name"),
            "Kafka: the consumer group that `start = \"group\"` begins from, and that positions are published to for lag tools.",
        ),
        key("format", Kind::Choice(&["json"]), Absent::Value("json"), "What a record's value is."),
        key(
            "key",
            Kind::Other("a JSON Pointer, or a list of them"),
            Absent::Means("the message's key"),
            "Where the key is. A plain name is a top-level field. A file's lines have no key without it.",
        ),
        key(
            "timestamp",
            Kind::Table(&TIMESTAMP),
            Absent::Means("the message's timestamp"),
            "Where event time is. Files need it.",
        ),
        key("watermark", Kind::Table(&WATERMARK), Absent::Means("defaults"), "How event time moves."),
        key("max_record", Kind::Size { min: 1, max: GIB }, Absent::Value("1MiB"), "A larger record is a bad record."),
        key(
            "on_bad_record",
            Kind::Choice(&["fail", "skip", "dead-letter"]),
            Absent::Value("fail"),
            "What happens to a record that cannot be decoded: the job stops, it is counted and left out, or it goes to the \
             dead-letter sink.",
        ),
    ],
};

pub(crate) static TIMESTAMP: Section = Section {
    title: "source.NAME.timestamp",
    doc: "Where a record's event time is.",
    keys: &[
        key("field", Kind::Other("a JSON Pointer"), Absent::Refused, "The field. A plain name is a top-level field."),
        key(
            "format",
            Kind::Choice(&["unix_s", "unix_ms", "unix_us", "unix_ns", "rfc3339"]),
            Absent::Value("unix_ms"),
            "What it counts, or a string like `2026-01-31T12:00:00Z`.",
        ),
        key(
            "min_time",
            Kind::Other("an RFC 3339 time"),
            Absent::Means("1973-03-03 for `unix_ms`, `unix_us` and `unix_ns`, else 1970"),
            "An earlier timestamp is a bad record. The default catches seconds taken for milliseconds.",
        ),
    ],
};

pub(crate) static WATERMARK: Section = Section {
    title: "source.NAME.watermark",
    doc: "How event time moves.",
    keys: &[
        key(
            "max_out_of_orderness",
            duration(Duration::ZERO, YEARS),
            Absent::Value("5s"),
            "How far a record may lie behind the newest of its split before it counts as late.",
        ),
        key(
            "idle_after",
            duration(MILLISECOND, YEARS),
            Absent::Value("30s"),
            "A split that is read to its end and quiet for this long no longer holds the watermark.",
        ),
        key(
            "max_ahead",
            duration(SECOND, YEARS),
            Absent::Value("1h"),
            "A timestamp further ahead of the message's own (or of the clock, where there is none) is a bad record.",
        ),
    ],
};

pub(crate) static OPERATOR: Section = Section {
    title: "operator.NAME",
    doc: "A plugin with its inputs and its configuration. Its name is the identity of its state.",
    keys: &[
        key(
            "plugin",
            Kind::Path,
            Absent::Refused,
            "The artifact: a WebAssembly component, as `tidegate plugin build` makes it.",
        ),
        key(
            "inputs",
            Kind::Other("a table: input port to an origin, an `{ from, route }`, or a list of these"),
            Absent::Refused,
            "What feeds each input port. An origin is a source's name, or `OPERATOR.PORT`.",
        ),
        key(
            "config",
            Kind::Other("a table"),
            Absent::Value("{}"),
            "The plugin's own configuration; it gets it as JSON. Never secrets: it is hashed and stored.",
        ),
        key(
            "memory",
            Kind::Size { min: 64 * KIB, max: 4 * GIB },
            Absent::Value("64MiB"),
            "Memory limit of an instance.",
        ),
        key(
            "call_timeout",
            duration(MILLISECOND, HOUR),
            Absent::Value("5s"),
            "A call that takes longer is ended; it counts as a trap.",
        ),
        key(
            "on_error",
            Kind::Choice(&["fail", "dead-letter"]),
            Absent::Value("fail"),
            "What happens when a call of the plugin traps, takes too long, or returns an error: the job stops at its last \
             checkpoint, or the call is undone and the record at fault becomes a dead letter. A failure in `advance` always \
             stops the job.",
        ),
        key(
            "max_dead_letters",
            Kind::Integer { min: 1, max: 1 << 20 },
            Absent::Value("100"),
            "With `on_error = \"dead-letter\"`: records of one shard on which the plugin may fail between two checkpoints. One \
             more stops the job.",
        ),
        key(
            "on_rejected",
            Kind::Choice(&["fail", "dead-letter"]),
            Absent::Value("fail"),
            "A row that the plugin rejects, or whose columns cannot be decoded: the job stops, or a dead letter.",
        ),
        key(
            "discard",
            Kind::Texts,
            Absent::Means("none"),
            "Output ports whose records are dropped. A port that goes nowhere is an error unless it is named here.",
        ),
    ],
};

pub(crate) static INPUT: Section = Section {
    title: "operator.NAME.inputs.PORT",
    doc: "An input with another route than by key; `PORT = \"ORIGIN\"` is short for `PORT = { from = \"ORIGIN\" }`.",
    keys: &[
        key("from", Kind::Text, Absent::Refused, "The origin."),
        key(
            "route",
            Kind::Choice(&["key", "same-shard", "broadcast"]),
            Absent::Value("key"),
            "Which shard gets a record: by the hash of its key, the shard it comes from (from a source: that of its split), \
             or every shard.",
        ),
    ],
};

pub(crate) static SINK: Section = Section {
    title: "sink.NAME",
    doc: "Where records go.",
    keys: &[
        key(
            "kind",
            Kind::Choice(&["kafka", "file"]),
            Absent::Means("`kafka` with a `connection`"),
            "What it writes to.",
        ),
        key(
            "connection",
            Kind::Text,
            Absent::Means("none"),
            "Kafka: a `[connection.NAME]`; the same for all sinks of a job.",
        ),
        key("topic", Kind::Text, Absent::Means("refused for Kafka"), "Kafka: the topic. It is this job's alone."),
        key("path", Kind::Path, Absent::Means("refused for files"), "A file of JSON lines. It is this job's alone."),
        key(
            "from",
            Kind::Texts,
            Absent::Refused,
            "What it takes in: `OPERATOR.PORT`, a source's name, or `dead-letters` (every dead letter of the job).",
        ),
        key(
            "key",
            Kind::Other("`record`, `none`, or a JSON Pointer"),
            Absent::Value("record"),
            "Kafka: which key a message gets: the emitted record's, none, or what is found in its value. Messages are \
             partitioned by murmur2, as Java does.",
        ),
        key(
            "transaction_timeout",
            duration(SECOND, DAY),
            Absent::Means("10 minutes, or the broker's maximum"),
            "Kafka: after this long the broker aborts an open transaction. Must exceed the longest time between two \
             checkpoints' ends; the broker's `transaction.max.timeout.ms` is its upper bound.",
        ),
    ],
};
