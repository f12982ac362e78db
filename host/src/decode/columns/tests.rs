//! Columns by spec: values, nulls, origins, bad rows, and specs that are refused.

use super::*;
use crate::columns::{Origins, SplitName};
use std::sync::Arc;

fn spec(name: &str, kind: ColumnKind) -> ColumnSpec {
    ColumnSpec { name: name.to_owned(), kind }
}

fn batch(values: &[Option<&str>]) -> Batch {
    let mut batch = Batch::default();
    for value in values {
        batch.keys.push(None);
        batch.values.push(value.map(str::as_bytes));
        batch.timestamps.push(0);
    }
    batch
}

fn decode(specs: &[ColumnSpec], batch: &Batch) -> (Vec<Column>, Vec<BadRow>) {
    let mut columns = Vec::new();
    let bad = ColumnDecoder::new(specs).expect("specs").decode(batch, &mut columns);
    (columns, bad)
}

fn bytes(rows: &[Option<&str>]) -> Column {
    let mut column = BytesColumn::default();
    for row in rows {
        column.push(row.map(str::as_bytes));
    }
    Column::Bytes(column)
}

fn ints(values: &[i64], nulls: &[u32]) -> Column {
    Column::Int(IntColumn { values: values.to_vec(), nulls: nulls.to_vec() })
}

fn floats(values: &[f64], nulls: &[u32]) -> Column {
    Column::Float(FloatColumn { values: values.to_vec(), nulls: nulls.to_vec() })
}

#[test]
fn fields_come_in_the_ports_order_with_absent_and_null_as_null() {
    let specs = [spec("/n", ColumnKind::Int), spec("/s", ColumnKind::Bytes), spec("/f", ColumnKind::Float)];
    let rows = [
        Some(r#"{"s":"a\u00e9","n":1,"f":1.5}"#),
        Some(r#"{"s":null,"n":null}"#),
        None,
        Some(r#"{"f":3,"n":-9223372036854775808,"s":""}"#),
    ];
    let (columns, bad) = decode(&specs, &batch(&rows));
    assert_eq!(bad, []);
    let expected = [
        ints(&[1, 0, 0, i64::MIN], &[1, 2]),
        bytes(&[Some("aé"), None, None, Some("")]),
        floats(&[1.5, 0.0, 0.0, 3.0], &[1, 2]),
    ];
    assert_eq!(columns, expected);
}

#[test]
fn bytes_of_what_is_no_string_are_its_json_text() {
    let rows = [Some(r#"{"a":{"b": [1,2]}}"#), Some(r#"{"a":1.50}"#), Some(r#"{"a":true}"#)];
    let (columns, bad) = decode(&[spec("/a", ColumnKind::Bytes)], &batch(&rows));
    assert_eq!(bad, []);
    assert_eq!(columns, [bytes(&[Some(r#"{"b": [1,2]}"#), Some("1.50"), Some("true")])]);
}

#[test]
fn a_bad_row_is_null_in_every_field_and_named_once() {
    let specs = [spec("/s", ColumnKind::Bytes), spec("/n", ColumnKind::Int), spec("/f", ColumnKind::Float)];
    let rows = [
        Some(r#"{"s":"a","n":1.5,"f":"no"}"#),
        Some(r#"{"s":"b","n":2,"f":1e999}"#),
        Some("{"),
        Some(r#"{"s":"c","n":9223372036854775808}"#),
        Some(r#"{"s":"d","n":5,"f":2}"#),
        Some(r#"{"s":"e","n":"5"}"#),
        Some(r#"{"n":1,"n":1}"#),
    ];
    let (columns, bad) = decode(&specs, &batch(&rows));
    let texts: Vec<(u32, String)> = bad.iter().map(|bad| (bad.row, bad.reason.to_string())).collect();
    let expected = [
        (0, "`/n` is `1.5`, which is not a whole number of 64 bits"),
        (1, "`/f` is `1e999`, which is not a number of 64 bits"),
        (2, "the value is not JSON: EOF while parsing an object at byte 1"),
        (3, "`/n` is `9223372036854775808`, which is not a whole number of 64 bits"),
        (5, "`/n` is a string, `\"5\"`; the operator asks for a whole number of 64 bits"),
        (6, "the value has `n` twice, so it is not known which one is meant"),
    ];
    assert_eq!(texts, expected.map(|(row, text)| (row, text.to_owned())));
    let nulls = [0, 1, 2, 3, 5, 6];
    assert_eq!(columns[0], bytes(&[None, None, None, None, Some("d"), None, None]));
    assert_eq!(columns[1], ints(&[0, 0, 0, 0, 5, 0, 0], &nulls));
    assert_eq!(columns[2], floats(&[0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0], &nulls));
}

#[test]
fn origins_are_told_and_null_on_emitted_records() {
    let specs = [
        spec("@offset", ColumnKind::Int),
        spec("@topic", ColumnKind::Bytes),
        spec("/a", ColumnKind::Int),
        spec("@partition", ColumnKind::Int),
    ];
    let mut rows = batch(&[Some("{\"a\":1}"), Some("{"), Some("{}")]);
    let (columns, bad) = decode(&specs, &rows);
    assert_eq!(bad.len(), 1);
    let emitted = [ints(&[0; 3], &[0, 1, 2]), bytes(&[None; 3]), ints(&[1, 0, 0], &[1, 2]), ints(&[0; 3], &[0, 1, 2])];
    assert_eq!(columns, emitted);
    let mut origins = Origins::default();
    let (first, second) = (
        Arc::new(SplitName { topic: "pay".to_owned(), partition: 3 }),
        Arc::new(SplitName { topic: "a.jsonl".to_owned(), partition: 0 }),
    );
    origins.push(&first, 7);
    origins.push(&first, 8);
    origins.push(&second, 0);
    rows.origins = Some(origins);
    let (columns, bad) = decode(&specs, &rows);
    assert_eq!(bad.len(), 1, "a bad row keeps its origin");
    let read = [
        ints(&[7, 8, 0], &[]),
        bytes(&[Some("pay"), Some("pay"), Some("a.jsonl")]),
        ints(&[1, 0, 0], &[1, 2]),
        ints(&[3, 3, 0], &[]),
    ];
    assert_eq!(columns, read);
}

#[test]
fn the_batchs_own_columns_are_only_noted() {
    let specs = [spec("@key", ColumnKind::Bytes), spec("@headers", ColumnKind::Bytes)];
    let mut decoder = ColumnDecoder::new(&specs).expect("specs");
    assert_eq!(decoder.own(), OwnColumns { keys: true, values: false, headers: true });
    let mut columns = vec![ints(&[1], &[])];
    assert_eq!(decoder.decode(&batch(&[Some("not JSON, and not read")]), &mut columns), []);
    assert_eq!(columns, []);
}

#[test]
fn columns_of_another_batch_or_port_are_replaced() {
    let mut decoder = ColumnDecoder::new(&[spec("/a", ColumnKind::Int), spec("/b", ColumnKind::Bytes)]).expect("specs");
    let mut columns = vec![bytes(&[Some("old")]), bytes(&[Some("old"), None]), floats(&[1.0], &[])];
    for _ in 0..2 {
        assert_eq!(decoder.decode(&batch(&[Some(r#"{"a":1,"b":"x"}"#)]), &mut columns), []);
        assert_eq!(columns, [ints(&[1], &[]), bytes(&[Some("x")])]);
    }
}

#[test]
fn specs_that_cannot_be_met_are_refused_with_the_way_out() {
    let refused = |name: &str, kind| ColumnDecoder::new(&[spec(name, kind)]).expect_err(name).to_string();
    let text = refused("@time", ColumnKind::Int);
    assert!(text.starts_with("unknown column `@time`; the host has `@key`"), "{text}");
    assert_eq!(refused("@topic", ColumnKind::Int), "column `@topic` has the type `bytes`, not `int`; ask for `bytes`");
    assert_eq!(
        refused("@offset", ColumnKind::Float),
        "column `@offset` has the type `int`, not `float`; ask for `int`"
    );
    assert_eq!(refused("@key", ColumnKind::Int), "column `@key` has the type `bytes`, not `int`; ask for `bytes`");
    assert!(refused("user_id", ColumnKind::Bytes).ends_with("write `/user_id`"));
}
