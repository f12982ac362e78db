//! Records in columns: what crosses into Wasm, what comes back, and what the host keeps of a row until its last reader.
//!
//! Plain data without any library's types. Rows are counted in u32 and a column's arena is below 4 GiB, which the limits on
//! a batch and on a record keep true. Next room: [`crate::message`].

use std::sync::Arc;

/// Byte strings, one a row: row i is `arena[ends[i-1]..ends[i]]`, with `ends[-1] = 0`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BytesColumn {
    /// All rows' bytes, one after the other.
    pub arena: Vec<u8>,
    /// Where each row ends in the arena; never falls.
    pub ends: Vec<u32>,
    /// The rows that are null, ascending. Their length is 0.
    pub nulls: Vec<u32>,
}

impl BytesColumn {
    /// Rows in the column.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Appends a row; `None` is null.
    #[inline]
    pub fn push(&mut self, value: Option<&[u8]>) {
        match value {
            Some(bytes) => self.arena.extend_from_slice(bytes),
            None => self.nulls.push(self.ends.len() as u32),
        }
        self.ends.push(self.arena.len() as u32);
    }

    /// The bytes of a row, empty for a null one. The row must exist.
    #[inline]
    pub fn bytes(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] as usize };
        &self.arena[start..self.ends[row] as usize]
    }

    /// The row, or `None` where it is null. The row must exist.
    #[inline]
    pub fn get(&self, row: usize) -> Option<&[u8]> {
        if !self.nulls.is_empty() && self.nulls.binary_search(&(row as u32)).is_ok() {
            return None;
        }
        Some(self.bytes(row))
    }

    /// Memory the rows take, in bytes.
    pub fn size_bytes(&self) -> usize {
        self.arena.len() + self.ends.len() * 4 + self.nulls.len() * 4
    }
}

/// Integers, one a row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IntColumn {
    /// A null row holds 0.
    pub values: Vec<i64>,
    /// The rows that are null, ascending.
    pub nulls: Vec<u32>,
}

/// Floating-point numbers, one a row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FloatColumn {
    /// A null row holds 0.
    pub values: Vec<f64>,
    /// The rows that are null, ascending.
    pub nulls: Vec<u32>,
}

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// Byte strings.
    Bytes,
    /// 64-bit signed integers.
    Int,
    /// 64-bit floating-point numbers.
    Float,
}

/// A column that an operator asked for by name.
#[derive(Debug, Clone, PartialEq)]
pub enum Column {
    /// Byte strings.
    Bytes(BytesColumn),
    /// Integers.
    Int(IntColumn),
    /// Floating-point numbers.
    Float(FloatColumn),
}

/// Headers of a batch, sparse: entry j belongs to row `rows[j]`; rows ascend and may repeat.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Headers {
    /// The row of each entry.
    pub rows: Vec<u32>,
    /// The name of each entry.
    pub names: BytesColumn,
    /// The value of each entry, null where Kafka's is null.
    pub values: BytesColumn,
}

/// A split by name, as a record's origin shows it: a topic and partition, or a file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SplitName {
    /// The topic, or the file's path.
    pub topic: String,
    /// The partition; 0 for a file.
    pub partition: i32,
}

/// Where the rows of a batch came from. Rows of one split stand in runs, so a run costs one entry and a row 8 bytes.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    /// `(first row, split)`, ascending; a run reaches to the next one.
    pub runs: Vec<(u32, Arc<SplitName>)>,
    /// Per row: the Kafka offset, or the byte offset of the line in the file.
    pub offsets: Vec<i64>,
}

impl Origins {
    /// Appends a row.
    #[inline]
    pub fn push(&mut self, split: &Arc<SplitName>, offset: i64) {
        if !self.runs.last().is_some_and(|(_, last)| Arc::ptr_eq(last, split)) {
            self.runs.push((self.offsets.len() as u32, Arc::clone(split)));
        }
        self.offsets.push(offset);
    }

    /// The split and offset of a row. The row must exist.
    pub fn get(&self, row: usize) -> (&Arc<SplitName>, i64) {
        let run = self.runs.partition_point(|(first, _)| *first as usize <= row) - 1;
        (&self.runs[run].1, self.offsets[row])
    }
}

/// Rows on their way through a job: shared behind an `Arc`, never changed once sent.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Null where a record has no key.
    pub keys: BytesColumn,
    /// Null where a record is a tombstone.
    pub values: BytesColumn,
    /// Milliseconds since the Unix epoch.
    pub timestamps: Vec<i64>,
    /// `None` when no row has a header.
    pub headers: Option<Headers>,
    /// `None` for what an operator emitted.
    pub origins: Option<Origins>,
}

impl Batch {
    /// Rows in the batch.
    pub fn rows(&self) -> usize {
        self.timestamps.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.timestamps.is_empty()
    }

    /// Memory the batch takes, in bytes, as the channels count it.
    pub fn size_bytes(&self) -> usize {
        let headers =
            self.headers.as_ref().map_or(0, |h| h.rows.len() * 4 + h.names.size_bytes() + h.values.size_bytes());
        let origins = self.origins.as_ref().map_or(0, |o| o.offsets.len() * 8 + o.runs.len() * 16);
        self.keys.size_bytes() + self.values.size_bytes() + self.timestamps.len() * 8 + headers + origins
    }
}
