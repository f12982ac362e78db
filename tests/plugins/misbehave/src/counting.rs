//! Counts records by key: state that shows whether a record was taken in once, never or twice.
//!
//! Next room: the crate's root.

use crate::bytes_of;
use std::collections::BTreeMap;
use tidegate_sdk::bindings::tidegate::plugin::types::{Batch, BytesColumn};

/// How many records each key has had.
#[derive(Debug, Default)]
pub(crate) struct Counts(BTreeMap<Vec<u8>, u64>);

impl Counts {
    /// Takes rows in and gives a record for each: `{"count":N,"was":VALUE}`, with the same key and timestamp.
    pub(crate) fn count(&mut self, batch: &Batch, rows: &[u32]) -> Batch {
        let empty = || BytesColumn { arena: Vec::new(), ends: Vec::new(), nulls: Vec::new() };
        let (mut keys, mut values, mut timestamps) = (empty(), empty(), Vec::new());
        for row in rows.iter().map(|row| *row as usize) {
            let key = bytes_of(batch.keys.as_ref(), row);
            let count = self.0.entry(key.to_vec()).or_default();
            *count += 1;
            push(&mut keys, key);
            let was = String::from_utf8_lossy(bytes_of(batch.values.as_ref(), row));
            push(&mut values, format!("{{\"count\":{count},\"was\":{was}}}").as_bytes());
            timestamps.push(batch.timestamps[row]);
        }
        let rows = timestamps.len() as u32;
        Batch { rows, keys: Some(keys), values: Some(values), timestamps, headers: None, columns: Vec::new() }
    }
}

fn push(column: &mut BytesColumn, bytes: &[u8]) {
    column.arena.extend_from_slice(bytes);
    column.ends.push(column.arena.len() as u32);
}
