//! Outcomes that a host must refuse.
//!
//! Each differs from a good one in one place. Next room: the crate's root, which picks.

use crate::Mode;
use tidegate_sdk::bindings::tidegate::plugin::types::{
    Batch, BytesColumn, Column, Forward, Headers, IntColumn, Outcome, PortBatch, Rejection,
};

/// An outcome that does nothing.
pub(crate) fn empty_outcome() -> Outcome {
    Outcome { forwards: Vec::new(), outputs: Vec::new(), rejections: Vec::new(), next_advance: None }
}

/// Adds what is wrong. `rows` is how many the input has.
pub(crate) fn spoil(outcome: &mut Outcome, mode: Mode, rows: u32) {
    let mut output = PortBatch { port: 0, batch: good_batch() };
    match mode {
        Mode::BadPort => return outcome.forwards.push(Forward { port: 7, rows: vec![0] }),
        Mode::BadForwardRow => return outcome.forwards.push(Forward { port: 0, rows: vec![rows] }),
        Mode::BadRejectionRow => {
            let (code, reason) = ("nowhere".to_owned(), "there is no such row".to_owned());
            return outcome.rejections.push(Rejection { row: rows, code, reason });
        }
        Mode::BadOutputPort => output.port = 7,
        mode => spoil_batch(&mut output.batch, mode),
    }
    if output != (PortBatch { port: 0, batch: good_batch() }) {
        outcome.outputs.push(output);
    }
}

/// Two records, "one" and "two", without keys.
fn good_batch() -> Batch {
    let values = BytesColumn { arena: b"onetwo".to_vec(), ends: vec![3, 6], nulls: Vec::new() };
    Batch { rows: 2, keys: None, values: Some(values), timestamps: vec![0, 0], headers: None, columns: Vec::new() }
}

fn spoil_batch(batch: &mut Batch, mode: Mode) {
    let column = |ends: &[u32], nulls: &[u32]| {
        Some(BytesColumn { arena: b"onetwo".to_vec(), ends: ends.to_vec(), nulls: nulls.to_vec() })
    };
    match mode {
        Mode::MalformedColumns => batch.values = column(&[6, 3], &[]),
        Mode::EndsPastArena => batch.values = column(&[3, 7], &[]),
        Mode::ArenaPastEnds => batch.values = column(&[3, 5], &[]),
        Mode::WrongRowCount => batch.values = column(&[6], &[]),
        Mode::WrongTimestampCount => batch.timestamps = vec![0],
        Mode::NullsOutOfRange => batch.values = column(&[3, 6], &[2]),
        Mode::NullsNotAscending => {
            let values = BytesColumn { arena: Vec::new(), ends: vec![0, 0], nulls: vec![1, 0] };
            batch.values = Some(values);
        }
        Mode::NullWithBytes => batch.values = column(&[3, 6], &[1]),
        Mode::NoValues => batch.values = None,
        Mode::HeaderOutOfRange => {
            let text = || BytesColumn { arena: b"name".to_vec(), ends: vec![4], nulls: Vec::new() };
            batch.headers = Some(Headers { rows: vec![2], names: text(), values: text() });
        }
        Mode::ExtraColumn => batch.columns = vec![Column::Int(IntColumn { values: vec![0, 0], nulls: Vec::new() })],
        // The other modes do their wrong elsewhere.
        _ => {}
    }
}
