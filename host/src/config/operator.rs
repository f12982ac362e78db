//! `[operator.NAME]`: a plugin, its configuration, and what feeds it by name.
//!
//! Next room: `graph`, which resolves the names; `canonical`, which turns the configuration into JSON.

use super::canonical;
use super::keys::sections::INPUT;
use super::model::{OnError, OnRejected, Operator, Route};
use super::reader::{Table, Text, Value, describe, text_of};
use std::path::PathBuf;
use toml::de::DeValue;

/// An operator whose inputs are still names.
pub(super) struct RawOperator {
    /// All but the inputs.
    pub(super) operator: Operator,
    /// The inputs.
    pub(super) inputs: Vec<RawInput>,
}

/// An edge whose origin is still a name.
pub(super) struct RawInput {
    /// The input port.
    pub(super) port: String,
    /// The origin as it is written.
    pub(super) from: Text,
    /// Which shard gets a record.
    pub(super) route: Route,
    /// The key path, for errors.
    pub(super) path: String,
}

/// Reads one operator.
pub(super) fn read(name: &str, table: &Table<'_>) -> RawOperator {
    RawOperator { operator: operator(name, table), inputs: inputs(table) }
}

fn operator(name: &str, table: &Table<'_>) -> Operator {
    Operator {
        name: name.to_owned(),
        plugin: plugin(table),
        config: canonical::config(table),
        memory_bytes: table.size("memory") as usize,
        call_timeout: table.duration("call_timeout"),
        on_error: match table.choice("on_error") {
            "dead-letter" => OnError::DeadLetter,
            _ => OnError::Fail,
        },
        dead_letters_max: table.integer("max_dead_letters") as u32,
        on_rejected: match table.choice("on_rejected") {
            "dead-letter" => OnRejected::DeadLetter,
            _ => OnRejected::Fail,
        },
        inputs: Vec::new(),
        discard: table.texts("discard").into_iter().map(|port| port.text).collect(),
    }
}

fn plugin(table: &Table<'_>) -> PathBuf {
    let Some(path) = table.path("plugin") else { return PathBuf::new() };
    let way_out = "build it with `tidegate plugin build`; relative paths begin at the job file";
    if path.is_dir() {
        table.error("plugin", format!("`{}` is a folder, wanted the artifact; {way_out}", path.display()));
    } else if !path.exists() {
        table.error("plugin", format!("`{}` does not exist; {way_out}", path.display()));
    }
    path
}

fn inputs(table: &Table<'_>) -> Vec<RawInput> {
    let form = "write `inputs = { PORT = \"ORIGIN\" }`";
    let Some(value) = table.value("inputs") else {
        table.missing("inputs", form);
        return Vec::new();
    };
    let DeValue::Table(ports) = value.get_ref() else {
        table.error("inputs", format!("found {}, wanted a table; {form}", describe(value.get_ref())));
        return Vec::new();
    };
    if ports.is_empty() {
        table.error("inputs", format!("is empty, so nothing would ever reach the operator; {form}"));
    }
    let mut ports: Vec<_> = ports.iter().collect();
    ports.sort_by_key(|(port, _)| port.span().start);
    let mut inputs = Vec::new();
    for (port, value) in ports {
        let path = format!("{}.{}", table.path_of("inputs"), port.get_ref());
        table.context.remember(&path, &port.span());
        let items = match value.get_ref() {
            DeValue::Array(items) => items.iter().collect(),
            _ => vec![value],
        };
        if items.is_empty() {
            table.context.error(
                &value.span(),
                path.clone(),
                "the list is empty; name an origin, or leave the port out",
            );
        }
        inputs.extend(items.into_iter().filter_map(|item| input(table, port.get_ref(), &path, item)));
    }
    inputs
}

fn input(table: &Table<'_>, port: &str, path: &str, value: &Value<'_>) -> Option<RawInput> {
    let (from, route) = if value.get_ref().is_table() {
        let table = Table::open(table.context, &INPUT, path.to_owned(), value.span(), Some(value));
        let route = match table.choice("route") {
            "same-shard" => Route::SameShard,
            "broadcast" => Route::Broadcast,
            _ => Route::Key,
        };
        (table.text("from")?, route)
    } else {
        (text_of(table.context, path, value)?, Route::Key)
    };
    Some(RawInput { port: port.to_owned(), from, route, path: path.to_owned() })
}
