//! `[sink.NAME]`: what is written, and what feeds it by name.
//!
//! Next room: `graph`, which resolves the names.

use super::model::{KafkaConnection, Sink, SinkKey, SinkKind};
use super::reader::{Table, Text, describe};
use super::source::{Medium, connection, medium};
use super::values;
use std::path::PathBuf;

/// A sink whose origins are still names.
pub(super) struct RawSink {
    /// All but the origins.
    pub(super) sink: Sink,
    /// The origins as they are written.
    pub(super) from: Vec<Text>,
    /// The key path of `from`, for errors.
    pub(super) path: String,
}

/// Reads one sink.
pub(super) fn read(name: &str, table: &Table<'_>, connections: &[KafkaConnection]) -> RawSink {
    let kind = match medium(table) {
        Some(Medium::Kafka) => kafka(table, connections),
        Some(Medium::File) => file(table),
        None => SinkKind::File { path: PathBuf::new() },
    };
    let sink = Sink { name: name.to_owned(), kind, from: Vec::new() };
    RawSink { sink, from: table.texts("from"), path: table.path_of("from") }
}

fn kafka(table: &Table<'_>, connections: &[KafkaConnection]) -> SinkKind {
    table.refuse("path", "is for files; leave it out, or set `kind = \"file\"` instead of `connection`");
    let topic = table.text("topic").map_or_else(
        || {
            if !table.has("topic") {
                table.missing("topic", "write `topic = \"…\"`");
            }
            String::new()
        },
        |topic| {
            if let Err(what) = values::check_topic(&topic.text) {
                table.error("topic", what);
            }
            topic.text
        },
    );
    SinkKind::Kafka {
        connection: connection(table, connections),
        topic,
        key: key(table),
        transaction_timeout: table.duration_if_there("transaction_timeout"),
    }
}

fn file(table: &Table<'_>) -> SinkKind {
    for key in ["connection", "topic", "key", "transaction_timeout"] {
        table.refuse(key, "is for Kafka; leave it out");
    }
    let path = table.path("path");
    if path.is_none() && !table.has("path") {
        table.missing("path", "write `path = \"…\"`");
    }
    if let Some(path) = &path
        && path.is_dir()
    {
        table.error("path", format!("`{}` is a folder, wanted a file", path.display()));
    }
    SinkKind::File { path: path.unwrap_or_default() }
}

fn key(table: &Table<'_>) -> SinkKey {
    let Some(value) = table.value("key") else { return SinkKey::Record };
    match value.get_ref().as_str() {
        Some("record") => SinkKey::Record,
        Some("none") => SinkKey::Null,
        // Only a pointer: a plain name could be a mistyped `record`.
        Some(text) if text.starts_with('/') => match values::pointer(text) {
            Ok(pointer) => SinkKey::Pointer(pointer),
            Err(what) => {
                table.error("key", what);
                SinkKey::Record
            }
        },
        Some(text) => {
            let text = text.escape_debug();
            table.error(
                "key",
                format!("`{text}` is not known; use `record`, `none`, or `/{text}` for a field of the value"),
            );
            SinkKey::Record
        }
        None => {
            table.error(
                "key",
                format!("found {}, wanted `record`, `none` or a JSON Pointer", describe(value.get_ref())),
            );
            SinkKey::Record
        }
    }
}
