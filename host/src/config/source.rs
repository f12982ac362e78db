//! `[source.NAME]`: what is read, how a record's parts are found, how event time moves.
//!
//! Next room: `graph`, which connects sources to what reads them.

use super::model::{
    Decode, KafkaConnection, OnBadRecord, Source, SourceKind, Start, TimestampField, TimestampFormat, Until,
    WatermarkPolicy,
};
use super::nearest::hint;
use super::reader::{Table, Text, describe};
use super::values;
use std::path::PathBuf;
use toml::de::DeValue;

/// Parts of a composite key: more is a mistake, and each part costs on the hot path.
const KEY_PARTS_MAX: usize = 16;
/// 1973-03-03: no `unix_ms` of a job lies before it, but every `unix_s` of this age taken for one does.
const MIN_TIME_DEFAULT_MS: i64 = 100_000_000_000;

/// Where records come from or go, before its keys are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Medium {
    /// A Kafka cluster.
    Kafka,
    /// Files.
    File,
}

/// What a source or a sink is: `kind`, or what its keys imply; `None` if it does not say, which is reported.
pub(super) fn medium(table: &Table<'_>) -> Option<Medium> {
    if table.has("kind") {
        let errors_before = table.context.error_count();
        let kind = table.choice("kind");
        return match kind {
            _ if table.context.error_count() > errors_before => None,
            "file" => Some(Medium::File),
            _ => Some(Medium::Kafka),
        };
    }
    if table.has("connection") {
        return Some(Medium::Kafka);
    }
    table.missing("kind", "set `connection` for Kafka, or `kind = \"file\"` and `path` for files");
    None
}

/// The connection that a source or a sink names.
pub(super) fn connection(table: &Table<'_>, connections: &[KafkaConnection]) -> KafkaConnection {
    let found = table.text("connection").and_then(|name| {
        let found = connections.iter().find(|connection| connection.name == name.text);
        if found.is_none() {
            let names: Vec<&str> = connections.iter().map(|connection| connection.name.as_str()).collect();
            let way_out = hint(&name.text, &names);
            table.error("connection", format!("there is no connection `{}`; {way_out}", name.text));
        }
        found
    });
    if !table.has("connection") {
        table.missing("connection", "name a `[connection.NAME]` for Kafka, or set `kind = \"file\"`");
    }
    found.cloned().unwrap_or_else(|| KafkaConnection {
        name: String::new(),
        brokers: Vec::new(),
        properties: Vec::new(),
    })
}

/// Reads one source of a job.
pub(super) fn read(name: &str, table: &Table<'_>, job: &str, connections: &[KafkaConnection]) -> Source {
    let kind = match medium(table) {
        Some(Medium::Kafka) => kafka(table, job, connections),
        Some(Medium::File) => file(table),
        None => SourceKind::File { pattern: PathBuf::new() },
    };
    table.choice("format");
    let (timestamp, min_time_ms) = timestamp(table);
    let watermark = table.table("watermark");
    let decode = Decode { key: key(table), timestamp, max_ahead: watermark.duration("max_ahead"), min_time_ms };
    Source {
        name: name.to_owned(),
        kind,
        threads: table.integer("threads") as u16,
        decode,
        watermark: WatermarkPolicy {
            max_out_of_orderness: watermark.duration("max_out_of_orderness"),
            idle_after: watermark.duration("idle_after"),
        },
        on_bad_record: match table.choice("on_bad_record") {
            "skip" => OnBadRecord::Skip,
            "dead-letter" => OnBadRecord::DeadLetter,
            _ => OnBadRecord::Fail,
        },
        max_record_bytes: table.size("max_record") as usize,
    }
}

fn kafka(table: &Table<'_>, job: &str, connections: &[KafkaConnection]) -> SourceKind {
    table.refuse("path", "is for files; leave it out, or set `kind = \"file\"` instead of `connection`");
    let topics = table.texts("topics");
    if !table.has("topics") {
        table.missing("topics", "write `topics = [\"…\"]`");
    }
    for topic in &topics {
        if let Err(what) = values::check_topic(&topic.text) {
            table.context.error(&topic.span, table.path_of("topics"), what);
        }
    }
    let start = start(table);
    SourceKind::Kafka {
        connection: connection(table, connections),
        topics: topics.into_iter().map(|topic| topic.text).collect(),
        start,
        until: until(table, start),
        group: table.text("group").map_or_else(|| job.to_owned(), |group| group.text),
    }
}

fn file(table: &Table<'_>) -> SourceKind {
    for key in ["connection", "topics", "start", "until", "group"] {
        table.refuse(key, "is for Kafka; a file is read from its beginning to its end; leave it out");
    }
    let pattern = table.path("path");
    if pattern.is_none() && !table.has("path") {
        table.missing("path", "write `path = \"…\"`: a file, a folder, or a glob");
    }
    if !table.has("timestamp") {
        table.missing("timestamp", "a file's lines have no time of their own; write `timestamp = { field = \"…\" }`");
    }
    SourceKind::File { pattern: pattern.unwrap_or_default() }
}

/// A word or a time, as a string or as a time of TOML's own.
fn word_or_time(table: &Table<'_>, name: &str) -> Option<Text> {
    let value = table.value(name)?;
    match value.get_ref() {
        DeValue::String(text) => Some(Text { text: text.to_string(), span: value.span() }),
        DeValue::Datetime(time) => Some(Text { text: time.to_string(), span: value.span() }),
        other => {
            table.error(name, format!("found {}, wanted a string", describe(other)));
            None
        }
    }
}

fn time_ms(table: &Table<'_>, name: &str, text: &str, words: &[&str]) -> Option<i64> {
    let time = values::time_ms(text);
    if time.is_none() {
        let words = if words.is_empty() { String::new() } else { format!("{}, or ", super::nearest::list(words)) };
        let way_out = format!("use {words}an RFC 3339 time with its offset, like `2026-01-31T12:00:00Z`");
        table.error(name, format!("`{}` is not known; {way_out}", text.escape_debug()));
    }
    time
}

fn start(table: &Table<'_>) -> Start {
    let Some(text) = word_or_time(table, "start") else { return Start::Earliest };
    match text.text.as_str() {
        "earliest" => Start::Earliest,
        "latest" => Start::Latest,
        "group" => Start::Group,
        other => time_ms(table, "start", other, &["earliest", "latest", "group"]).map_or(Start::Earliest, Start::Time),
    }
}

fn until(table: &Table<'_>, start: Start) -> Option<Until> {
    let text = word_or_time(table, "until")?;
    let until_ms = match text.text.as_str() {
        "none" => return None,
        "latest" => return Some(Until::Latest),
        other => time_ms(table, "until", other, &["none", "latest"])?,
    };
    if let Start::Time(start_ms) = start
        && until_ms <= start_ms
    {
        table.error("until", format!("`{}` is not after `start`; nothing would be read", text.text));
    }
    Some(Until::Time(until_ms))
}

fn key(table: &Table<'_>) -> Vec<String> {
    let Some(value) = table.value("key") else { return Vec::new() };
    let single = value.get_ref().as_str().map(|text| vec![Text { text: text.to_owned(), span: value.span() }]);
    let parts = match (single, value.get_ref()) {
        (Some(single), _) => single,
        (None, DeValue::Array(_)) => table.texts("key"),
        (None, other) => {
            table.error("key", format!("found {}, wanted a JSON Pointer or a list of them", describe(other)));
            return Vec::new();
        }
    };
    if parts.len() > KEY_PARTS_MAX {
        table.error("key", format!("has {} parts; use at most {KEY_PARTS_MAX}", parts.len()));
    }
    let pointer = |part: &Text| match values::pointer(&part.text) {
        Ok(pointer) => pointer,
        Err(what) => {
            table.context.error(&part.span, table.path_of("key"), what);
            String::new()
        }
    };
    parts.iter().map(pointer).collect()
}

fn timestamp(table: &Table<'_>) -> (Option<TimestampField>, i64) {
    if !table.has("timestamp") {
        return (None, 0);
    }
    if table.value("timestamp").is_some_and(|value| value.get_ref().is_str()) {
        table.error("timestamp", "found a string, wanted a table; write `{ field = \"…\", format = \"unix_ms\" }`");
        return (None, 0);
    }
    let timestamp = table.table("timestamp");
    let format = match timestamp.choice("format") {
        "unix_s" => TimestampFormat::UnixSeconds,
        "unix_us" => TimestampFormat::UnixMicros,
        "unix_ns" => TimestampFormat::UnixNanos,
        "rfc3339" => TimestampFormat::Rfc3339,
        _ => TimestampFormat::UnixMillis,
    };
    let field = timestamp.text("field");
    let pointer =
        field.and_then(|field| values::pointer(&field.text).map_err(|what| timestamp.error("field", what)).ok());
    let default = match format {
        TimestampFormat::UnixMillis | TimestampFormat::UnixMicros | TimestampFormat::UnixNanos => MIN_TIME_DEFAULT_MS,
        TimestampFormat::UnixSeconds | TimestampFormat::Rfc3339 => 0,
    };
    let min_time = word_or_time(&timestamp, "min_time");
    let min_time_ms = min_time.and_then(|text| time_ms(&timestamp, "min_time", &text.text, &[])).unwrap_or(default);
    (pointer.map(|pointer| TimestampField { pointer, format }), min_time_ms)
}
