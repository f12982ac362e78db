//! Outcomes as values: their digest, and several of them as one.
//!
//! Pure. Next room: `undo`, which compares digests and takes batches apart.

use crate::columns::{Batch, BytesColumn, Headers};
use crate::plugin::{Outcome, Rejection};
use xxhash_rust::xxh3::Xxh3;

/// An output batch of joined outcomes takes no more of them once it has so many bytes: arenas are counted in u32.
const JOINED_BYTES_MAX: usize = 1 << 20;

/// The digest of everything that an outcome holds.
pub(super) fn digest(outcome: &Outcome) -> u64 {
    let mut hash = Xxh3::new();
    number(&mut hash, outcome.forwards.len());
    for (port, rows) in &outcome.forwards {
        number(&mut hash, port.index());
        numbers(&mut hash, rows);
    }
    number(&mut hash, outcome.outputs.len());
    for (port, batch) in &outcome.outputs {
        number(&mut hash, port.index());
        rows_of(&mut hash, batch);
    }
    number(&mut hash, outcome.rejections.len());
    for Rejection { row, code, reason } in &outcome.rejections {
        numbers(&mut hash, &[*row]);
        bytes(&mut hash, code.as_bytes());
        bytes(&mut hash, reason.as_bytes());
    }
    number(&mut hash, usize::from(outcome.next_advance.is_some()));
    hash.update(&outcome.next_advance.unwrap_or_default().to_le_bytes());
    hash.digest()
}

/// Adds the outcome of a call that got one row, `row` of the whole batch, behind those of the rows before it.
pub(super) fn append(whole: &mut Outcome, row: u32, one: Outcome) {
    for (port, _) in one.forwards {
        match whole.forwards.iter_mut().find(|(known, _)| *known == port) {
            Some((_, rows)) => rows.push(row),
            None => whole.forwards.push((port, vec![row])),
        }
    }
    for (port, batch) in one.outputs {
        let last = whole.outputs.iter_mut().rfind(|(known, _)| *known == port);
        match last.filter(|(_, last)| last.size_bytes() + batch.size_bytes() <= JOINED_BYTES_MAX) {
            Some((_, last)) => append_batch(last, &batch),
            None => whole.outputs.push((port, batch)),
        }
    }
    whole.rejections.extend(one.rejections.into_iter().map(|rejection| Rejection { row, ..rejection }));
    whole.next_advance = one.next_advance;
}

fn append_batch(batch: &mut Batch, next: &Batch) {
    let first = batch.rows() as u32;
    append_column(&mut batch.keys, &next.keys);
    append_column(&mut batch.values, &next.values);
    batch.timestamps.extend_from_slice(&next.timestamps);
    if let Some(next) = &next.headers {
        let headers = batch.headers.get_or_insert_with(Headers::default);
        headers.rows.extend(next.rows.iter().map(|row| first + row));
        append_column(&mut headers.names, &next.names);
        append_column(&mut headers.values, &next.values);
    }
}

fn append_column(column: &mut BytesColumn, next: &BytesColumn) {
    let (rows, end) = (column.ends.len() as u32, column.arena.len() as u32);
    column.arena.extend_from_slice(&next.arena);
    column.ends.extend(next.ends.iter().map(|own| end + own));
    column.nulls.extend(next.nulls.iter().map(|row| rows + row));
}

fn rows_of(hash: &mut Xxh3, batch: &Batch) {
    number(hash, batch.rows());
    in_blocks(hash, &batch.timestamps, i64::to_le_bytes);
    column(hash, &batch.keys);
    column(hash, &batch.values);
    number(hash, batch.headers.as_ref().map_or(0, |headers| headers.rows.len()));
    if let Some(headers) = &batch.headers {
        numbers(hash, &headers.rows);
        column(hash, &headers.names);
        column(hash, &headers.values);
    }
}

fn column(hash: &mut Xxh3, column: &BytesColumn) {
    bytes(hash, &column.arena);
    numbers(hash, &column.ends);
    numbers(hash, &column.nulls);
}

fn bytes(hash: &mut Xxh3, bytes: &[u8]) {
    number(hash, bytes.len());
    hash.update(bytes);
}

fn numbers(hash: &mut Xxh3, numbers: &[u32]) {
    number(hash, numbers.len());
    in_blocks(hash, numbers, u32::to_le_bytes);
}

/// Many numbers at once: a hash that is fed 4 bytes a time is slow.
fn in_blocks<T: Copy, const N: usize>(hash: &mut Xxh3, numbers: &[T], to_bytes: impl Fn(T) -> [u8; N]) {
    let mut block = [0; 1024];
    for numbers in numbers.chunks(block.len() / N) {
        for (place, number) in block.chunks_exact_mut(N).zip(numbers) {
            place.copy_from_slice(&to_bytes(*number));
        }
        hash.update(&block[..numbers.len() * N]);
    }
}

fn number(hash: &mut Xxh3, number: usize) {
    hash.update(&(number as u64).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::PortIndex;

    fn emitted(values: &[Option<&str>], header: bool) -> Batch {
        let mut batch = Batch::default();
        for (row, value) in values.iter().enumerate() {
            batch.keys.push(Some(b"k"));
            batch.values.push(value.map(str::as_bytes));
            batch.timestamps.push(row as i64);
            if header {
                let headers = batch.headers.get_or_insert_with(Headers::default);
                headers.rows.push(row as u32);
                headers.names.push(Some(b"h"));
                headers.values.push(None);
            }
        }
        batch
    }

    fn one(port: u16, batch: Batch, next_advance: Option<i64>) -> Outcome {
        Outcome { outputs: vec![(PortIndex(port), batch)], next_advance, ..Outcome::default() }
    }

    #[test]
    fn joined_outcomes_are_what_one_call_would_have_given() {
        let mut whole = Outcome::default();
        append(&mut whole, 0, one(0, emitted(&[Some("a"), None], false), Some(1)));
        append(&mut whole, 2, Outcome { forwards: vec![(PortIndex(1), vec![0])], ..Outcome::default() });
        append(&mut whole, 5, one(1, emitted(&[Some("x")], false), None));
        append(&mut whole, 7, one(0, emitted(&[None, Some("bc")], true), Some(9)));
        append(&mut whole, 8, Outcome { forwards: vec![(PortIndex(1), vec![0])], ..Outcome::default() });
        let rejection = Rejection { row: 0, code: "c".into(), reason: "r".into() };
        append(&mut whole, 9, Outcome { rejections: vec![rejection], next_advance: Some(4), ..Outcome::default() });
        assert_eq!(whole.forwards, [(PortIndex(1), vec![2, 8])]);
        assert_eq!(whole.rejections[0].row, 9);
        assert_eq!(whole.next_advance, Some(4));
        let (port, batch) = &whole.outputs[0];
        assert_eq!((port.0, batch.rows(), whole.outputs.len()), (0, 4, 2));
        let values: Vec<Option<&[u8]>> = (0..4).map(|row| batch.values.get(row)).collect();
        assert_eq!(values, [Some(&b"a"[..]), None, None, Some(b"bc")]);
        assert_eq!(batch.headers.as_ref().expect("it has headers").rows, [2, 3]);
    }

    #[test]
    fn a_joined_batch_stays_small_enough_to_count() {
        let large = "x".repeat(JOINED_BYTES_MAX / 2);
        let mut whole = Outcome::default();
        for row in 0..3 {
            append(&mut whole, row, one(0, emitted(&[Some(&large)], false), None));
        }
        assert_eq!(whole.outputs.len(), 3);
    }

    #[test]
    fn whatever_differs_gives_another_digest() {
        let forward = |rows: Vec<u32>| Outcome { forwards: vec![(PortIndex(0), rows)], ..Outcome::default() };
        let reject = |reason: &str| {
            let rejection = Rejection { row: 0, code: "c".into(), reason: reason.into() };
            Outcome { rejections: vec![rejection], ..Outcome::default() }
        };
        let mut later = emitted(&[Some("a")], false);
        later.timestamps[0] = 5;
        let outcomes = [
            Outcome::default(),
            Outcome { next_advance: Some(0), ..Outcome::default() },
            Outcome { next_advance: Some(1), ..Outcome::default() },
            forward(vec![0]),
            forward(vec![0, 1]),
            reject("a"),
            reject("b"),
            one(0, emitted(&[Some("a")], false), None),
            one(1, emitted(&[Some("a")], false), None),
            one(0, emitted(&[Some("b")], false), None),
            one(0, emitted(&[Some("a")], true), None),
            one(0, emitted(&[None], false), None),
            one(0, emitted(&[Some("")], false), None),
            one(0, later, None),
        ];
        let mut digests: Vec<u64> = outcomes.iter().map(digest).collect();
        assert!(outcomes.iter().zip(&digests).all(|(outcome, known)| digest(&outcome.clone()) == *known));
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), outcomes.len());
    }
}
