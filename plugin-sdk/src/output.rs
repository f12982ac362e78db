//! What goes out of a call: new records written straight into columns, forwards, rejections, and when `advance` is
//! wanted.
//!
//! No allocation per record: arenas grow by doubling. Next room: [`crate::window`].

use crate::batch::Row;
use crate::bindings::tidegate::plugin::types as wit;
use crate::error::Error;
use serde::Serialize;
use std::fmt::Display;

/// Rows that [`Output::is_full`] allows in one call: what the host likes to take at once.
const FULL_ROWS: usize = 1024;
/// Bytes of keys and values that [`Output::is_full`] allows in one call.
const FULL_BYTES: usize = 256 * 1024;

/// Collects what one call gives back to the host.
///
/// ```
/// use tidegate_sdk::{Output, Row};
///
/// fn answer(row: Row<'_>, out: &mut Output) {
///     out.port(0).emit(row.key(), b"seen".as_slice(), row.timestamp());
///     out.next_advance(row.timestamp() + 1_000);
/// }
/// ```
#[derive(Debug)]
pub struct Output {
    ports: Vec<PortOutput>,
    rejections: Vec<wit::Rejection>,
    next_advance: Option<i64>,
}

impl Output {
    pub(crate) fn new(ports: usize) -> Output {
        Output {
            ports: (0..ports).map(|_| PortOutput::default()).collect(),
            rejections: Vec::new(),
            next_advance: None,
        }
    }

    /// The output port number `port`, in the order of [`crate::Description::output`].
    ///
    /// # Panics
    ///
    /// If `describe` names no such port.
    ///
    /// ```
    /// # fn example(out: &mut tidegate_sdk::Output) {
    /// const ALERTS: u32 = 0;
    /// out.port(ALERTS).emit(None, b"fire".as_slice(), 1_000);
    /// # }
    /// ```
    #[inline]
    #[track_caller]
    pub fn port(&mut self, port: u32) -> &mut PortOutput {
        let ports = self.ports.len();
        match self.ports.get_mut(port as usize) {
            Some(port) => port,
            None => panic!("output port `{port}` does not exist: `describe` names {ports}, counted from 0"),
        }
    }

    /// Refuses a row: it is wrong in itself. It goes the way of the operator's `on_rejected`; the rest of the batch
    /// stands.
    /// `code` is a short, constant word for grouping, `reason` says what is wrong with this record. Of two rejections
    /// of one row the first counts. Do not also use or forward the row.
    ///
    /// ```
    /// # fn example(row: tidegate_sdk::Row<'_>, out: &mut tidegate_sdk::Output) {
    /// out.reject(row, "no-key", "the record has no key");
    /// # }
    /// ```
    pub fn reject(&mut self, row: Row<'_>, code: &str, reason: impl Display) {
        self.rejections.push(wit::Rejection { row: row.index(), code: code.to_owned(), reason: reason.to_string() });
    }

    /// Says when `advance` is wanted: once the watermark reaches `at` (milliseconds since the Unix epoch). At or below
    /// the current watermark means again at once; `i64::MAX` means at the end of the input only. Each call of `process`
    /// or `advance` says it anew; one that says nothing wants `advance` at every watermark.
    ///
    /// ```
    /// # fn example(out: &mut tidegate_sdk::Output, windows: &tidegate_sdk::TumblingWindows<u64>) {
    /// out.next_advance(windows.next_advance());
    /// # }
    /// ```
    pub fn next_advance(&mut self, at: i64) {
        self.next_advance = Some(at);
    }

    /// Whether this call has emitted as much as one call should: 1,024 records, or 256 KiB of keys and values. Then
    /// stop, and ask to be called again with [`next_advance`](Output::next_advance). Windows and timers of this crate
    /// do.
    ///
    /// ```
    /// # fn example(out: &mut tidegate_sdk::Output, mut waiting: Vec<Vec<u8>>) {
    /// while !out.is_full() && let Some(value) = waiting.pop() {
    ///     out.port(0).emit(None, value.as_slice(), 1_000);
    /// }
    /// # }
    /// ```
    #[inline]
    pub fn is_full(&self) -> bool {
        let rows: usize = self.ports.iter().map(|port| port.timestamps.len()).sum();
        let bytes: usize = self.ports.iter().map(|port| port.keys.arena.len() + port.values.arena.len()).sum();
        rows >= FULL_ROWS || bytes >= FULL_BYTES
    }

    pub(crate) fn into_contract(mut self) -> wit::Outcome {
        // Rows are usually met in order, and then this is one pass.
        self.rejections.sort_by_key(|rejection| rejection.row);
        self.rejections.dedup_by_key(|rejection| rejection.row);
        let mut forwards = Vec::new();
        let mut outputs = Vec::new();
        for (port, output) in (0_u32..).zip(self.ports) {
            let (rows, batch) = output.into_contract();
            if !rows.is_empty() {
                forwards.push(wit::Forward { port, rows });
            }
            if let Some(batch) = batch {
                outputs.push(wit::PortBatch { port, batch });
            }
        }
        wit::Outcome { forwards, outputs, rejections: self.rejections, next_advance: self.next_advance }
    }
}

/// What one call sends to one output port. Forwarded rows go out before the records that are emitted.
///
/// ```
/// use tidegate_sdk::{PortOutput, Row};
///
/// fn split(row: Row<'_>, large: &mut PortOutput) {
///     if row.int(0).is_some_and(|amount| amount > 1_000) {
///         large.forward(row);
///     }
/// }
/// ```
#[derive(Debug)]
pub struct PortOutput {
    keys: wit::BytesColumn,
    values: wit::BytesColumn,
    timestamps: Vec<i64>,
    headers: Option<wit::Headers>,
    forwards: Vec<u32>,
}

impl Default for PortOutput {
    fn default() -> PortOutput {
        PortOutput {
            keys: empty_column(),
            values: empty_column(),
            timestamps: Vec::new(),
            headers: None,
            forwards: Vec::new(),
        }
    }
}

impl PortOutput {
    /// Emits a record. No key is a keyless record, no value a tombstone; `timestamp` is in milliseconds since the Unix
    /// epoch.
    ///
    /// ```
    /// # fn example(out: &mut tidegate_sdk::PortOutput) {
    /// out.emit(b"alice".as_slice(), b"blocked".as_slice(), 59_999);
    /// out.emit(None, b"no key".as_slice(), 59_999).header("trace", b"17".as_slice());
    /// # }
    /// ```
    #[inline]
    pub fn emit<'b>(
        &mut self,
        key: impl Into<Option<&'b [u8]>>,
        value: impl Into<Option<&'b [u8]>>,
        timestamp: i64,
    ) -> Emitted<'_> {
        push(&mut self.keys, key.into());
        push(&mut self.values, value.into());
        self.timestamps.push(timestamp);
        Emitted { port: self }
    }

    /// Emits a record whose value is written as compact JSON, fields in the order of the type, straight into the
    /// column.
    ///
    /// # Errors
    ///
    /// The value cannot be JSON (a map whose keys are no strings). Then nothing is emitted.
    ///
    /// ```
    /// #[derive(serde::Serialize)]
    /// struct Total { user_id: String, sum: i64 }
    ///
    /// # fn example(out: &mut tidegate_sdk::PortOutput) -> Result<(), tidegate_sdk::Error> {
    /// out.emit_json(b"alice".as_slice(), &Total { user_id: "alice".into(), sum: 30 }, 59_999)?;
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn emit_json<'b, T: Serialize + ?Sized>(
        &mut self,
        key: impl Into<Option<&'b [u8]>>,
        value: &T,
        timestamp: i64,
    ) -> Result<Emitted<'_>, Error> {
        let written = self.values.arena.len();
        if let Err(error) = serde_json::to_writer(&mut self.values.arena, value) {
            self.values.arena.truncate(written);
            return Err(error.into());
        }
        end_row(&mut self.values);
        push(&mut self.keys, key.into());
        self.timestamps.push(timestamp);
        Ok(Emitted { port: self })
    }

    /// Passes an input row on as it came: key, value, timestamp, headers and origin. Costs nothing but its number. Rows
    /// go out in their order, each once a port, however this was called.
    ///
    /// ```
    /// # fn example(row: tidegate_sdk::Row<'_>, late: &mut tidegate_sdk::PortOutput) {
    /// late.forward(row);
    /// # }
    /// ```
    #[inline]
    pub fn forward(&mut self, row: Row<'_>) {
        self.forwards.push(row.index());
    }

    fn into_contract(mut self) -> (Vec<u32>, Option<wit::Batch>) {
        self.forwards.sort_unstable();
        self.forwards.dedup();
        let rows = self.timestamps.len();
        let batch = (rows > 0).then(|| wit::Batch {
            rows: rows as u32,
            keys: (self.keys.nulls.len() < rows).then_some(self.keys),
            values: Some(self.values),
            timestamps: self.timestamps,
            headers: self.headers,
            columns: Vec::new(),
        });
        (self.forwards, batch)
    }
}

/// The record that was just emitted, to which headers can be added.
///
/// ```
/// # fn example(out: &mut tidegate_sdk::PortOutput) {
/// out.emit(None, b"hello".as_slice(), 0).header("language", b"en".as_slice()).header("draft", None);
/// # }
/// ```
#[derive(Debug)]
pub struct Emitted<'a> {
    port: &'a mut PortOutput,
}

impl Emitted<'_> {
    /// Adds a header; no value is a null value. A name may repeat.
    ///
    /// ```
    /// # fn example(out: &mut tidegate_sdk::PortOutput) {
    /// out.emit(None, b"hello".as_slice(), 0).header("language", b"en".as_slice());
    /// # }
    /// ```
    #[expect(clippy::return_self_not_must_use, reason = "the header is added whether or not another follows")]
    pub fn header<'b>(self, name: &str, value: impl Into<Option<&'b [u8]>>) -> Self {
        let row = self.port.timestamps.len() - 1;
        let headers = self.port.headers.get_or_insert_with(|| wit::Headers {
            rows: Vec::new(),
            names: empty_column(),
            values: empty_column(),
        });
        headers.rows.push(row as u32);
        push(&mut headers.names, Some(name.as_bytes()));
        push(&mut headers.values, value.into());
        self
    }
}

pub(crate) fn empty_column() -> wit::BytesColumn {
    wit::BytesColumn { arena: Vec::new(), ends: Vec::new(), nulls: Vec::new() }
}

#[inline]
pub(crate) fn push(column: &mut wit::BytesColumn, row: Option<&[u8]>) {
    match row {
        Some(bytes) => column.arena.extend_from_slice(bytes),
        None => column.nulls.push(column.ends.len() as u32),
    }
    end_row(column);
}

#[inline]
fn end_row(column: &mut wit::BytesColumn) {
    let end = u32::try_from(column.arena.len()).expect("what one call emits stays below 4 GiB");
    column.ends.push(end);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;

    fn batch(rows: u32) -> wit::Batch {
        let timestamps = vec![0; rows as usize];
        wit::Batch { rows, keys: None, values: None, timestamps, headers: None, columns: Vec::new() }
    }

    #[test]
    fn rows_leave_in_order_and_once_however_they_were_named() {
        let input = batch(4);
        let rows: Vec<Row<'_>> = Batch::new(&input).rows().collect();
        let mut out = Output::new(2);
        for row in [3, 0, 3, 1] {
            out.port(1).forward(rows[row]);
            out.reject(rows[row], "code", row);
        }
        let outcome = out.into_contract();
        assert_eq!(outcome.forwards, [wit::Forward { port: 1, rows: vec![0, 1, 3] }]);
        assert_eq!(outcome.rejections.iter().map(|rejection| rejection.row).collect::<Vec<_>>(), [0, 1, 3]);
        assert!(outcome.outputs.is_empty());
    }

    #[test]
    fn records_are_laid_out_as_the_contract_says() {
        let mut out = Output::new(1);
        out.port(0).emit(None, b"one".as_slice(), 1);
        out.port(0).emit(b"k".as_slice(), None, -2).header("h", None).header("h", b"x".as_slice());
        out.port(0).emit_json(b"".as_slice(), &["two"], 3).unwrap();
        let outcome = out.into_contract();
        let column = |arena: &str, ends: &[u32], nulls: &[u32]| wit::BytesColumn {
            arena: arena.as_bytes().to_vec(),
            ends: ends.to_vec(),
            nulls: nulls.to_vec(),
        };
        let batch = &outcome.outputs[0].batch;
        assert_eq!((batch.rows, &batch.timestamps), (3, &vec![1, -2, 3]));
        assert_eq!(batch.keys, Some(column("k", &[0, 1, 1], &[0])));
        assert_eq!(batch.values, Some(column("one[\"two\"]", &[3, 3, 10], &[1])));
        let headers = batch.headers.as_ref().unwrap();
        assert_eq!(headers.rows, [1, 1]);
        assert_eq!(headers.names, column("hh", &[1, 2], &[]));
        assert_eq!(headers.values, column("x", &[0, 1], &[0]));
    }

    #[test]
    fn records_without_any_key_have_no_key_column() {
        let mut out = Output::new(1);
        out.port(0).emit(None, b"one".as_slice(), 1);
        assert_eq!(out.into_contract().outputs[0].batch.keys, None);
    }

    #[test]
    fn a_value_that_cannot_be_json_emits_nothing() {
        let mut out = Output::new(1);
        out.port(0).emit(None, b"one".as_slice(), 1);
        let bad = std::collections::BTreeMap::from([(vec![1], 1)]);
        assert!(out.port(0).emit_json(b"k".as_slice(), &bad, 2).is_err());
        out.port(0).emit(None, b"two".as_slice(), 3);
        let outcome = out.into_contract();
        let values = outcome.outputs[0].batch.values.as_ref().unwrap();
        assert_eq!((values.arena.as_slice(), values.ends.as_slice()), (b"onetwo".as_slice(), [3, 6].as_slice()));
    }
}
