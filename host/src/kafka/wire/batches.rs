//! What the heads of record batches say: whose transaction they belong to, and where it was committed or aborted. Pure.
//!
//! Reads heads and control records only, which are never compressed. The bytes come from a broker, so every length is
//! checked before it is used. Next room: the parent, which fetches them.

/// Bytes of a batch before its records.
const HEAD_BYTES: usize = 61;
/// Bytes before the length counts.
const LENGTH_ENDS: usize = 12;
/// The format that every broker since 0.11 answers with.
const MAGIC: u8 = 2;
const ATTRIBUTE_TRANSACTIONAL: i16 = 1 << 4;
const ATTRIBUTE_CONTROL: i16 = 1 << 5;

/// How a transaction ended in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Committed,
    Aborted,
}

/// The head of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) first_offset: i64,
    pub(super) last_offset: i64,
    pub(super) producer_id: i64,
    pub(super) is_transactional: bool,
    /// Set in a control batch that ends a transaction.
    pub(super) end: Option<End>,
}

/// The whole batches at the beginning of what a broker sent; the last one may be cut and is left out.
pub(super) fn batches(mut bytes: &[u8]) -> Vec<Batch> {
    let mut found = Vec::new();
    while let Some((batch, rest)) = next(bytes) {
        found.push(batch);
        bytes = rest;
    }
    found
}

fn next(bytes: &[u8]) -> Option<(Batch, &[u8])> {
    let length = usize::try_from(number::<4>(bytes, 8).map(i32::from_be_bytes)?).ok()?;
    let whole = bytes.get(..LENGTH_ENDS.checked_add(length)?)?;
    if whole.len() < HEAD_BYTES || whole[16] != MAGIC {
        return None;
    }
    let first_offset = i64::from_be_bytes(number(whole, 0)?);
    let attributes = i16::from_be_bytes(number(whole, 21)?);
    let last_delta = i32::from_be_bytes(number(whole, 23)?);
    let is_control = attributes & ATTRIBUTE_CONTROL != 0;
    let batch = Batch {
        first_offset,
        last_offset: first_offset.checked_add(last_delta.max(0).into())?,
        producer_id: i64::from_be_bytes(number(whole, 43)?),
        is_transactional: attributes & ATTRIBUTE_TRANSACTIONAL != 0,
        end: if is_control { control_end(&whole[HEAD_BYTES..]) } else { None },
    };
    Some((batch, &bytes[whole.len()..]))
}

/// The type in the key of a control record: length, attributes, two deltas, key length, then version and type.
fn control_end(record: &[u8]) -> Option<End> {
    let mut at = 0;
    varint(record, &mut at)?;
    at += 1;
    varint(record, &mut at)?;
    varint(record, &mut at)?;
    varint(record, &mut at)?;
    match i16::from_be_bytes(number(record, at.checked_add(2)?)?) {
        0 => Some(End::Aborted),
        1 => Some(End::Committed),
        _ => None,
    }
}

/// Passes over a variable-length number; its value is of no use here.
fn varint(bytes: &[u8], at: &mut usize) -> Option<()> {
    /// A 64-bit number takes ten bytes of seven bits.
    const BYTES_MAX: usize = 10;
    for _ in 0..BYTES_MAX {
        let byte = *bytes.get(*at)?;
        *at += 1;
        if byte & 0x80 == 0 {
            return Some(());
        }
    }
    None
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::{Batch, End, batches};

    fn batch(first_offset: i64, last_delta: i32, producer: i64, attributes: i16, records: &[u8]) -> Vec<u8> {
        let mut bytes = first_offset.to_be_bytes().to_vec();
        bytes.extend((49 + records.len() as i32).to_be_bytes());
        bytes.extend([0, 0, 0, 0, 2, 0, 0, 0, 0]);
        bytes.extend(attributes.to_be_bytes());
        bytes.extend(last_delta.to_be_bytes());
        bytes.extend([0; 16]);
        bytes.extend(producer.to_be_bytes());
        bytes.extend([0; 10]);
        bytes.extend(records);
        bytes
    }

    /// Length, attributes, two deltas, a key of four bytes, and an empty rest.
    fn control(kind: u8) -> Vec<u8> {
        vec![0x10, 0, 0, 0, 8, 0, 0, 0, kind, 0]
    }

    #[test]
    fn heads_and_ends_are_read_and_a_cut_batch_is_left_out() {
        let mut bytes = batch(7, 2, 1000, 0x10, b"compressed or not");
        bytes.extend(batch(10, 0, 1000, 0x30, &control(1)));
        bytes.extend(batch(11, 0, 1001, 0x30, &control(0)));
        bytes.extend(batch(12, 0, -1, 0, b""));
        let known = |first_offset, last_offset, producer_id, is_transactional, end| Batch {
            first_offset,
            last_offset,
            producer_id,
            is_transactional,
            end,
        };
        let expected = [
            known(7, 9, 1000, true, None),
            known(10, 10, 1000, true, Some(End::Committed)),
            known(11, 11, 1001, true, Some(End::Aborted)),
            known(12, 12, -1, false, None),
        ];
        assert_eq!(batches(&bytes), expected);
        let cut = bytes.len() - 1;
        assert_eq!(batches(&bytes[..cut]), expected[..3]);
    }

    #[test]
    fn no_bytes_of_a_broker_panic() {
        let whole = [batch(7, 2, 1000, 0x10, b"abc"), batch(10, 0, 1000, 0x30, &control(1))].concat();
        for length in 0..whole.len() {
            let _ = batches(&whole[..length]);
            for value in [0, 0x7f, 0x80, 0xff] {
                let mut altered = whole.clone();
                altered[length] = value;
                let _ = batches(&altered);
            }
        }
    }
}
