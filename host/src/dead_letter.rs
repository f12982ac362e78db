//! Dead letters: records that could not be taken in, with their original bytes and headers and the reason beside them.
//!
//! A dead letter is an ordinary row with three more headers, so every sink can carry it in the checkpoint it belongs to.
//! Next room: [`crate::sink`].

use crate::columns::{Batch, Headers, Origins};
use crate::message::Rows;
use crate::outlet::Record;

/// Header: why the record is here.
pub const REASON: &str = "tidegate.reason";
/// Header: the source or operator that refused it.
pub const OPERATOR: &str = "tidegate.operator";
/// Header: where it was read, `topic[partition]@offset` or `path@byte`; absent for what an operator emitted.
pub const POSITION: &str = "tidegate.position";

/// Collects dead letters into batches.
#[derive(Default)]
pub struct DeadLetters {
    batch: Batch,
}

impl DeadLetters {
    /// Adds a record. `refused_by` is the source's or operator's name.
    pub fn push(&mut self, record: Record<'_>, refused_by: &str, reason: &str) {
        let row = self.batch.timestamps.len() as u32;
        self.batch.keys.push(record.key);
        self.batch.values.push(record.value);
        self.batch.timestamps.push(record.timestamp);
        let headers = self.batch.headers.get_or_insert_with(Headers::default);
        let mut add = |name: &str, value: Option<&[u8]>| {
            headers.rows.push(row);
            headers.names.push(Some(name.as_bytes()));
            headers.values.push(value);
        };
        for (name, value) in record.headers {
            add(name, *value);
        }
        add(REASON, Some(reason.as_bytes()));
        add(OPERATOR, Some(refused_by.as_bytes()));
        if let Some((split, offset)) = record.origin {
            add(POSITION, Some(split.position(offset).as_bytes()));
            self.batch.origins.get_or_insert_with(Origins::default).push(split, offset);
        }
    }

    /// Bytes collected so far.
    pub fn size_bytes(&self) -> usize {
        self.batch.size_bytes()
    }

    /// Takes what was collected, if anything was.
    pub fn take(&mut self) -> Option<Rows> {
        (!self.batch.is_empty()).then(|| Rows::all(std::mem::take(&mut self.batch)))
    }
}
