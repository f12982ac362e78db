//! Records into the columns that a port asked for, by the host's rules.
//!
//! Slow and simple on purpose: the host has its own reader, and this one must only agree with it. Next room: `record`.

use super::record::Record;
use crate::bindings::tidegate::plugin::types as wit;
use crate::error::Error;
use crate::output::{empty_column, push};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Builds a batch as the host would pass it.
///
/// # Errors
///
/// A record that the host would not have let through: its value is no JSON where a column points into it, or the field
/// is of another type. The text names record and column.
pub(super) fn batch(specs: &[wit::ColumnSpec], records: &[Record]) -> Result<wit::Batch, Error> {
    let wants = |name: &str| specs.iter().any(|spec| spec.name == name);
    let mut batch = wit::Batch {
        rows: records.len() as u32,
        keys: wants("@key").then(|| bytes_column(records.iter().map(|record| record.key.as_deref()))),
        values: wants("@value").then(|| bytes_column(records.iter().map(|record| record.value.as_deref()))),
        timestamps: records.iter().map(|record| record.timestamp).collect(),
        headers: wants("@headers").then(|| headers(records)).flatten(),
        columns: Vec::new(),
    };
    for spec in specs.iter().filter(|spec| !["@key", "@value", "@headers"].contains(&spec.name.as_str())) {
        batch.columns.push(column(spec, records)?);
    }
    Ok(batch)
}

fn bytes_column<'a>(rows: impl Iterator<Item = Option<&'a [u8]>>) -> wit::BytesColumn {
    let mut column = empty_column();
    rows.for_each(|row| push(&mut column, row));
    column
}

fn headers(records: &[Record]) -> Option<wit::Headers> {
    let mut headers = wit::Headers { rows: Vec::new(), names: empty_column(), values: empty_column() };
    for (row, record) in (0_u32..).zip(records) {
        for (name, value) in &record.headers {
            headers.rows.push(row);
            push(&mut headers.names, Some(name));
            push(&mut headers.values, value.as_deref());
        }
    }
    (!headers.rows.is_empty()).then_some(headers)
}

fn column(spec: &wit::ColumnSpec, records: &[Record]) -> Result<wit::Column, Error> {
    let mut fields = Vec::with_capacity(records.len());
    for record in records {
        let field = field(&spec.name, record).and_then(|json| typed(spec.kind, json));
        fields.push(field.map_err(|what| {
            Error::new(format!("the host would not let `{record:?}` through: `{}` {what}", spec.name))
        })?);
    }
    let nulls = (0_u32..).zip(&fields).filter(|(_, field)| field.is_none()).map(|(row, _)| row).collect();
    Ok(match spec.kind {
        wit::ColumnKind::Bytes => wit::Column::Bytes(bytes_column(fields.iter().map(|field| match field {
            Some(Field::Bytes(bytes)) => Some(bytes.as_slice()),
            _ => None,
        }))),
        wit::ColumnKind::Int => {
            let value = |field| if let Some(Field::Int(value)) = field { value } else { 0 };
            wit::Column::Int(wit::IntColumn { values: fields.into_iter().map(value).collect(), nulls })
        }
        wit::ColumnKind::Float => {
            let value = |field| if let Some(Field::Float(value)) = field { value } else { 0.0 };
            wit::Column::Float(wit::FloatColumn { values: fields.into_iter().map(value).collect(), nulls })
        }
    })
}

enum Field {
    Bytes(Vec<u8>),
    Int(i64),
    Float(f64),
}

/// What a column holds for a record, as JSON text; `None` is null.
fn field(name: &str, record: &Record) -> Result<Option<String>, String> {
    if let Some(name) = name.strip_prefix('@') {
        let Some((topic, partition, offset)) = &record.origin else { return Ok(None) };
        return match name {
            "topic" => Ok(serde_json::to_string(topic).ok()),
            "partition" => Ok(Some(partition.to_string())),
            "offset" => Ok(Some(offset.to_string())),
            _ => Err("is no column that the host knows".to_owned()),
        };
    }
    let value = record.value.as_deref().ok_or("points into a value that is null")?;
    let value: &RawValue =
        serde_json::from_slice(value).map_err(|error| format!("points into what is no JSON: {error}"))?;
    Ok(pointed(value, name).map(|found| found.get().to_owned()).filter(|json| json != "null"))
}

/// Follows a JSON Pointer (RFC 6901).
fn pointed<'a>(value: &'a RawValue, pointer: &str) -> Option<&'a RawValue> {
    let mut value = value;
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        value = if value.get().starts_with('[') {
            let items: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
            items.get(token.parse::<usize>().ok()?).copied()?
        } else {
            let fields: BTreeMap<String, &RawValue> = serde_json::from_str(value.get()).ok()?;
            fields.get(&token).copied()?
        };
    }
    Some(value)
}

fn typed(kind: wit::ColumnKind, json: Option<String>) -> Result<Option<Field>, String> {
    let Some(json) = json else { return Ok(None) };
    match kind {
        wit::ColumnKind::Bytes => {
            let text = serde_json::from_str::<String>(&json);
            Ok(Some(Field::Bytes(text.unwrap_or(json).into_bytes())))
        }
        wit::ColumnKind::Int => serde_json::from_str(&json)
            .map(|value| Some(Field::Int(value)))
            .map_err(|_| format!("is no integer: {json}")),
        wit::ColumnKind::Float => serde_json::from_str(&json)
            .map(|value| Some(Field::Float(value)))
            .map_err(|_| format!("is no number: {json}")),
    }
}
