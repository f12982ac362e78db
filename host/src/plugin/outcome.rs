//! Checks what `process` and `advance` return: a plugin may lie, and nothing is believed before it was looked at.
//!
//! Pure. What passes keeps the promises of [`crate::columns`], so later rooms index without checking. Next room: `worker`.

use super::bindings::tidegate::plugin::types;
use super::host::cut;
use super::{Outcome, Port, Rejection};
use crate::columns::{Batch, BytesColumn, Headers};
use crate::ids::PortIndex;
use std::fmt::{self, Display};

/// A longer code of a rejection is cut, in bytes: it is a label of a metric.
const CODE_BYTES_MAX: usize = 64;
/// A longer reason is cut, in bytes: it goes into a header of the dead letter.
const REASON_BYTES_MAX: usize = 4096;

/// The call that returned an outcome.
#[derive(Debug, Clone, Copy)]
pub(super) enum Call {
    /// With so many input rows.
    Process(usize),
    /// Without input.
    Advance,
}

/// The outcome in our types, or what is wrong with it.
pub(super) fn check(raw: types::Outcome, call: Call, outputs: &[Port]) -> Result<Outcome, String> {
    let rows = match call {
        Call::Process(rows) => rows,
        Call::Advance if !raw.forwards.is_empty() => return Err("`advance` forwards rows, and it has none".to_owned()),
        Call::Advance if !raw.rejections.is_empty() => return Err("`advance` rejects rows, and it has none".to_owned()),
        Call::Advance => 0,
    };
    let mut outcome = Outcome { next_advance: raw.next_advance, ..Outcome::default() };
    for forward in raw.forwards {
        let port = port_index(forward.port, outputs, "a forward")?;
        ascending(&forward.rows, rows, &format_args!("the rows forwarded to port `{}`", outputs[port.index()].name))?;
        if !forward.rows.is_empty() {
            outcome.forwards.push((port, forward.rows));
        }
    }
    for output in raw.outputs {
        let port = port_index(output.port, outputs, "an output")?;
        let batch = batch(output.batch, &outputs[port.index()].name)?;
        if !batch.is_empty() {
            outcome.outputs.push((port, batch));
        }
    }
    outcome.rejections = rejections(raw.rejections, rows)?;
    Ok(outcome)
}

fn port_index(port: u32, outputs: &[Port], what: &str) -> Result<PortIndex, String> {
    match u16::try_from(port) {
        Ok(index) if usize::from(index) < outputs.len() => Ok(PortIndex(index)),
        _ => Err(format!("{what} is for port {port}, and it described {} output ports", outputs.len())),
    }
}

/// Strictly, so that no row comes twice.
fn ascending(rows: &[u32], end: usize, what: &dyn Display) -> Result<(), String> {
    if let Some([before, after]) = rows.windows(2).find(|pair| pair[0] >= pair[1]) {
        return Err(format!("{what} do not ascend: {before} comes before {after}"));
    }
    in_range(rows, end, what)
}

/// The last one of ascending rows is looked at alone.
fn in_range(rows: &[u32], end: usize, what: &dyn Display) -> Result<(), String> {
    match rows.last() {
        Some(last) if *last as usize >= end => Err(format!("{what} reach {last}, and there are {end} rows")),
        _ => Ok(()),
    }
}

fn batch(raw: types::BatchResult, port: &str) -> Result<Batch, String> {
    let rows = raw.rows as usize;
    let place = |part| Place { port, part };
    if raw.timestamps.len() != rows {
        return Err(format!("{} has {} timestamps for {rows} rows", place("batch"), raw.timestamps.len()));
    }
    if !raw.columns.is_empty() {
        return Err(format!("{} has columns, only inputs have: write them into the value", place("batch")));
    }
    let keys = match raw.keys {
        Some(keys) => bytes_column(keys, rows, &place("keys"))?,
        None => all_null(raw.rows),
    };
    let values = raw.values.ok_or_else(|| format!("{} is missing; a null value is a tombstone", place("values")))?;
    let values = bytes_column(values, rows, &place("values"))?;
    let headers = match raw.headers {
        Some(raw) => headers(raw, rows, port)?,
        None => None,
    };
    Ok(Batch { keys, values, timestamps: raw.timestamps, headers, origins: None })
}

fn headers(raw: types::HeadersResult, rows: usize, port: &str) -> Result<Option<Headers>, String> {
    let place = |part| Place { port, part };
    if let Some([before, after]) = raw.rows.windows(2).find(|pair| pair[0] > pair[1]) {
        return Err(format!("{} do not ascend: {before} comes before {after}", place("header rows")));
    }
    in_range(&raw.rows, rows, &place("header rows"))?;
    let names = bytes_column(raw.names, raw.rows.len(), &place("header names"))?;
    if let Some(entry) = names.nulls.first() {
        return Err(format!("{} has a null at entry {entry}, only values can be null", place("header names")));
    }
    let values = bytes_column(raw.values, raw.rows.len(), &place("header values"))?;
    Ok((!raw.rows.is_empty()).then_some(Headers { rows: raw.rows, names, values }))
}

/// Checks that each row is a slice of the arena, and that all of the arena is used.
fn bytes_column(raw: types::BytesColumnResult, rows: usize, place: &Place<'_>) -> Result<BytesColumn, String> {
    let types::BytesColumnResult { arena, ends, nulls } = raw;
    if ends.len() != rows {
        return Err(format!("{place} has {} ends for {rows} rows", ends.len()));
    }
    if !ends.is_sorted() {
        return Err(format!("the ends of {place} do not ascend"));
    }
    let last = ends.last().copied().unwrap_or(0);
    if last as usize != arena.len() {
        return Err(format!("{place} ends at byte {last} of an arena of {}", arena.len()));
    }
    ascending(&nulls, rows, &format_args!("the nulls of {place}"))?;
    for null in &nulls {
        let row = *null as usize;
        let start = if row == 0 { 0 } else { ends[row - 1] };
        if ends[row] != start {
            return Err(format!("{place} says that row {row} is null, and gives it {} bytes", ends[row] - start));
        }
    }
    Ok(BytesColumn { arena, ends, nulls })
}

fn all_null(rows: u32) -> BytesColumn {
    BytesColumn { arena: Vec::new(), ends: vec![0; rows as usize], nulls: (0..rows).collect() }
}

fn rejections(raw: Vec<types::Rejection>, rows: usize) -> Result<Vec<Rejection>, String> {
    let mut rejections: Vec<Rejection> = Vec::with_capacity(raw.len());
    for rejection in raw {
        let row = rejection.row;
        if row as usize >= rows {
            return Err(format!("it rejects row {row}, and there are {rows} rows"));
        }
        if let Some(last) = rejections.last()
            && last.row >= row
        {
            return Err(format!("the rejected rows do not ascend: {} comes before {row}", last.row));
        }
        rejections.push(Rejection {
            row,
            code: cut(&rejection.code, CODE_BYTES_MAX).to_owned(),
            reason: cut(&rejection.reason, REASON_BYTES_MAX).to_owned(),
        });
    }
    Ok(rejections)
}

/// A part of an output, for a message.
struct Place<'a> {
    port: &'a str,
    part: &'static str,
}

impl Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} for port `{}`", self.part, self.port)
    }
}
