//! Fuzz targets: keys, timestamps and columns from JSON of every shape, compared with what `serde_json` reads.
//!
//! Next rooms: [`json`], the texts; [`crate::fuzzing`], how targets run.

mod json;

use self::json::{Judgement, NAMES, Tree, judge, pointer, text};
use super::columns::ColumnDecoder;
use super::fields::{Fields, Found, Kind, Unreadable};
use super::*;
use crate::columns::{Batch, BytesColumn, Column, ColumnKind};
use crate::config::model::TimestampFormat;
use crate::fuzzing::{Bytes, Share, arbitrary_bytes, peak_bytes, run};
use crate::plugin::ColumnSpec;
use crate::source::RawHeaders;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestCaseResult;
use std::cmp::Ordering;
use std::time::Duration;

/// The unescaped parts of a generated pointer.
fn parts(pointer: &str) -> Vec<&'static str> {
    let unescaped = |part: &str| part.replace("~1", "/").replace("~0", "~");
    let known = |part: &str| *NAMES.iter().find(|name| **name == unescaped(part)).expect("made of these names");
    pointer.split('/').skip(1).map(known).collect()
}

fn kind_of(tree: &Tree) -> Kind {
    match tree {
        Tree::Null => Kind::Null,
        Tree::Bool(_) => Kind::Bool,
        Tree::Number(_) => Kind::Number,
        Tree::String(_) => Kind::String,
        Tree::Array(_) => Kind::Array,
        Tree::Object(_) => Kind::Object,
    }
}

/// What was found is what `serde_json` finds, as a whole and unescaped.
fn compare(fields: &mut Fields, value: &[u8], found: Option<Found>, expected: Option<&Tree>) -> TestCaseResult {
    let (found, expected) = match (found, expected) {
        (None, None) => return Ok(()),
        (Some(found), Some(expected)) => (found, expected),
        (found, expected) => return Err(TestCaseError::fail(format!("found {found:?} instead of {expected:?}"))),
    };
    prop_assert_eq!(found.kind, kind_of(expected));
    let Judgement::Value(tree) = judge(found.text(value)) else {
        return Err(TestCaseError::fail("what was found is no JSON by itself"));
    };
    prop_assert_eq!(&tree, expected);
    if let Tree::String(text) = expected {
        let mut unescaped = b"before".to_vec();
        fields.append_string(value, found, &mut unescaped);
        prop_assert_eq!(&unescaped[6..], text.as_bytes());
    }
    Ok(())
}

#[test]
fn fields_are_what_serde_json_finds() {
    let inputs = (vec(pointer(), 0..5), vec(text(), 1..3));
    let accepted = Share::default();
    run("json-fields", 20_000, &inputs, |(pointers, values)| {
        let mut fields = Fields::new(pointers.iter().map(String::as_str)).expect("pointers");
        for Bytes(value) in values {
            let outcome = fields.read(&value);
            accepted.count(outcome.is_ok());
            match (judge(&value), outcome) {
                (Judgement::Refused, outcome) => prop_assert!(
                    matches!(
                        outcome,
                        Err(Unreadable::Json { .. } | Unreadable::Utf8 { .. } | Unreadable::Twice { .. })
                    ),
                    "accepted although it is no JSON"
                ),
                (Judgement::Limit, _) => {}
                (Judgement::Value(tree), outcome) => {
                    let found: Vec<_> = pointers.iter().map(|pointer| tree.find(&parts(pointer))).collect();
                    if found.iter().any(Result::is_err) {
                        prop_assert!(matches!(outcome, Err(Unreadable::Twice { .. })), "{:?}", outcome);
                        continue;
                    }
                    prop_assert_eq!(outcome, Ok(()));
                    for (slot, expected) in found.into_iter().enumerate() {
                        let found = fields.get(slot);
                        compare(&mut fields, &value, found, expected.expect("asked above"))?;
                    }
                }
            }
        }
        Ok(())
    });
    accepted.assert_both(15);
}

#[test]
fn a_value_takes_no_more_memory_than_it_is_long() {
    let repeated = (select(&["[", "{\"a\":", "\"\\u0041", "1", "{\"a\":1,", "\\"][..]), 1_usize..20_000)
        .prop_map(|(piece, times)| Bytes(piece.repeat(times).into_bytes()));
    let inputs = (vec(pointer(), 0..3), prop_oneof![repeated, arbitrary_bytes(400)]);
    run("json-memory", 2_000, &inputs, |(pointers, Bytes(value))| {
        let mut fields = Fields::new(pointers.iter().map(String::as_str)).expect("pointers");
        let (_, peak) = peak_bytes(|| fields.read(&value).is_ok());
        prop_assert!(peak <= 2 * value.len() + 16 * 1024, "{peak} bytes for {}", value.len());
        Ok(())
    });
}

fn settings(key: Vec<String>, timestamp: Option<(String, TimestampFormat)>) -> Decode {
    Decode {
        key,
        timestamp: timestamp.map(|(pointer, format)| TimestampField { pointer, format }),
        max_ahead: Duration::MAX,
        min_time_ms: i64::MIN,
    }
}

fn format() -> impl Strategy<Value = TimestampFormat> {
    use TimestampFormat::{Rfc3339, UnixMicros, UnixMillis, UnixNanos, UnixSeconds};
    select(vec![UnixSeconds, UnixMillis, UnixMicros, UnixNanos, Rfc3339])
}

/// The key's bytes by the documented rule, from what `serde_json` read and from the text of numbers.
fn key_part(fields: &Fields, value: &[u8], slot: usize, tree: Option<&Tree>) -> Option<Vec<u8>> {
    match tree? {
        Tree::String(text) => Some(text.clone().into_bytes()),
        Tree::Number(_) => {
            let text = fields.get(slot)?.text(value);
            let digits = text.strip_prefix(b"-").unwrap_or(text).iter().all(u8::is_ascii_digit);
            digits.then(|| if text == b"-0" { b"0".to_vec() } else { text.to_vec() })
        }
        _ => None,
    }
}

#[test]
fn keys_are_the_documented_bytes_and_bad_records_have_words() {
    let inputs = (vec(pointer(), 1..4), prop::option::of((pointer(), format())), text());
    run("json-keys", 10_000, &inputs, |(key, timestamp, Bytes(value))| {
        let mut decoder = Decoder::new(&settings(key.clone(), timestamp.clone()), 1 << 20).expect("pointers");
        let raw = RawRecord {
            key: None,
            value: Some(&value),
            timestamp: Some(1_700_000_000_000),
            offset: 0,
            headers: RawHeaders::default(),
        };
        let mut bytes = b"left from before".to_vec();
        let outcome = decoder.decode(&raw, 1_700_000_000_000, &mut bytes);
        if let Err(bad) = &outcome {
            let words = bad.to_string();
            prop_assert!(!words.is_empty() && words.len() < 1024 && !words.contains('\n'), "{}", words);
        }
        let Judgement::Value(tree) = judge(&value) else { return Ok(()) };
        let Ok(found) = key.iter().map(|pointer| tree.find(&parts(pointer))).collect::<Result<Vec<_>, ()>>() else {
            return Ok(());
        };
        let parts: Option<Vec<Vec<u8>>> =
            found.iter().enumerate().map(|(slot, tree)| key_part(&decoder.fields, &value, slot, *tree)).collect();
        match (outcome, parts) {
            (Ok(_), Some(parts)) if parts.len() == 1 => prop_assert_eq!(&bytes, &parts[0]),
            (Ok(_), Some(parts)) => {
                let prefixed = parts.iter().flat_map(|part| [&(part.len() as u32).to_le_bytes()[..], part].concat());
                prop_assert_eq!(bytes, prefixed.collect::<Vec<u8>>());
            }
            (Ok(_), None) => prop_assert!(false, "a key was made of what is none"),
            (Err(_), None) => {}
            (Err(bad), Some(_)) => prop_assert!(timestamp.is_some(), "refused a good key: {bad}"),
        }
        Ok(())
    });
}

/// A date, and a JSON string that says it, with escapes where a writer may put them.
fn date() -> impl Strategy<Value = (String, String)> {
    let date = (0_i64..4_000_000_000_000, select(&["Z", "+01:00", "-05:30", ".250Z", ".1+00:00"][..]));
    (date, vec(0..8, 40)).prop_map(|((millis, zone), escapes)| {
        let date = jiff::Timestamp::from_second(millis / 1000).expect("in range").to_string();
        let date = format!("{}{zone}", date.trim_end_matches('Z'));
        let escaped: String = date
            .chars()
            .zip(escapes)
            .map(|(c, escape)| if escape == 0 { format!("\\u{:04X}", u32::from(c)) } else { c.to_string() })
            .collect();
        (date, escaped)
    })
}

#[test]
fn a_time_is_the_same_however_its_string_is_written() {
    run("json-times", 2_000, &date(), |(date, escaped)| {
        let settings = settings(vec![], Some(("/t".to_owned(), TimestampFormat::Rfc3339)));
        let mut decoder = Decoder::new(&settings, 1 << 20).expect("pointers");
        let mut time = |text: &str| {
            let value = format!("{{\"t\":\"{text}\"}}");
            let value = Some(value.as_bytes());
            let raw = RawRecord { key: None, value, timestamp: None, offset: 0, headers: RawHeaders::default() };
            decoder.decode(&raw, 0, &mut Vec::new()).map(|decoded| decoded.timestamp_ms)
        };
        let expected: jiff::Timestamp = date.parse().expect("a date");
        prop_assert_eq!(time(&date), Ok(expected.as_millisecond()));
        prop_assert_eq!(time(&escaped), Ok(expected.as_millisecond()));
        Ok(())
    });
}

/// Pointers with kinds, and the host's own columns.
fn specs() -> impl Strategy<Value = Vec<ColumnSpec>> {
    let kind = select(vec![ColumnKind::Bytes, ColumnKind::Int, ColumnKind::Float]);
    let field = (pointer(), kind).prop_map(|(name, kind)| ColumnSpec { name, kind });
    let own =
        select(vec![("@topic", ColumnKind::Bytes), ("@partition", ColumnKind::Int), ("@offset", ColumnKind::Int)])
            .prop_map(|(name, kind)| ColumnSpec { name: name.to_owned(), kind });
    vec(prop_oneof![4 => field, 1 => own], 0..5)
}

/// A column keeps what `columns` promises, and has this many rows.
fn well_formed(column: &Column, rows: usize) -> TestCaseResult {
    let (length, nulls) = match column {
        Column::Bytes(column) => {
            prop_assert!(column.ends.is_sorted());
            prop_assert_eq!(column.ends.last().copied().unwrap_or(0) as usize, column.arena.len());
            prop_assert!(column.nulls.iter().all(|row| column.bytes(*row as usize).is_empty()));
            (column.len(), &column.nulls)
        }
        Column::Int(column) => (column.values.len(), &column.nulls),
        Column::Float(column) => (column.values.len(), &column.nulls),
    };
    prop_assert_eq!(length, rows);
    prop_assert!(nulls.is_sorted_by(|a, b| a < b) && nulls.last().is_none_or(|row| (*row as usize) < rows));
    Ok(())
}

fn is_null(column: &Column, row: usize) -> bool {
    let nulls = match column {
        Column::Bytes(column) => &column.nulls,
        Column::Int(column) => &column.nulls,
        Column::Float(column) => &column.nulls,
    };
    nulls.contains(&(row as u32))
}

/// What a row's cell holds by the contract; `Err`: the row is bad.
fn cell_is(column: &Column, row: usize, tree: Option<&Tree>) -> Result<bool, ()> {
    let tree = match tree {
        None | Some(Tree::Null) => return Ok(is_null(column, row)),
        Some(tree) => tree,
    };
    match (column, tree) {
        (Column::Bytes(column), Tree::String(text)) => Ok(column.get(row) == Some(text.as_bytes())),
        (Column::Bytes(column), _) => {
            Ok(column.get(row).is_some_and(|text| matches!(judge(text), Judgement::Value(found) if found == *tree)))
        }
        (Column::Int(column), Tree::Number(number)) => {
            if column.nulls.contains(&(row as u32)) {
                return Err(());
            }
            Ok((column.values[row] as f64).partial_cmp(number) == Some(Ordering::Equal))
        }
        (Column::Float(column), Tree::Number(number)) => {
            // `serde_json` may be a last digit off.
            let found = column.values[row];
            Ok((found - number).abs() <= number.abs() * 1e-14)
        }
        _ => Err(()),
    }
}

#[test]
fn columns_hold_what_the_contract_says() {
    let value = prop_oneof![9 => text().prop_map(Some).boxed(), 1 => Just(None).boxed()];
    let inputs = (specs(), vec(vec(value, 0..4), 1..3));
    run("json-columns", 10_000, &inputs, |(specs, batches)| {
        let mut decoder = ColumnDecoder::new(&specs).expect("good columns");
        let mut columns = vec![Column::Bytes(BytesColumn::default())];
        for values in batches {
            let mut batch = Batch { timestamps: vec![0; values.len()], ..Batch::default() };
            for value in &values {
                batch.values.push(value.as_ref().map(|Bytes(value)| &value[..]));
            }
            let bad: Vec<usize> = decoder.decode(&batch, &mut columns).iter().map(|bad| bad.row as usize).collect();
            prop_assert_eq!(columns.len(), specs.len());
            prop_assert!(bad.is_sorted_by(|a, b| a < b), "each bad row once: {:?}", bad);
            for column in &columns {
                well_formed(column, values.len())?;
            }
            for (row, value) in values.iter().enumerate() {
                check_row(&specs, &columns, row, value.as_ref(), bad.contains(&row))?;
            }
        }
        Ok(())
    });
}

/// One row of all columns is what `serde_json` finds, or null in each if the row is bad.
fn check_row(
    specs: &[ColumnSpec],
    columns: &[Column],
    row: usize,
    value: Option<&Bytes>,
    is_bad: bool,
) -> TestCaseResult {
    let fields = || specs.iter().zip(columns).filter(|(spec, _)| !spec.name.starts_with('@'));
    if is_bad || value.is_none() {
        prop_assert!(fields().all(|(_, column)| is_null(column, row)), "row {} is bad and not null", row);
    }
    let (Some(Bytes(value)), true) = (value, fields().next().is_some()) else {
        prop_assert!(!is_bad, "nothing was asked of row {}", row);
        return Ok(());
    };
    let tree = match judge(value) {
        Judgement::Value(tree) => tree,
        Judgement::Limit => return Ok(()),
        Judgement::Refused => {
            prop_assert!(is_bad, "row {} is no JSON", row);
            return Ok(());
        }
    };
    for (spec, column) in fields() {
        match tree.find(&parts(&spec.name)).and_then(|found| cell_is(column, row, found)) {
            Ok(fits) => prop_assert!(fits || is_bad, "row {} of `{}`", row, spec.name),
            Err(()) => prop_assert!(is_bad, "row {} of `{}` does not fit", row, spec.name),
        }
    }
    Ok(())
}
