//! That each mode does what it says, as far as a native test survives it.

use super::*;

fn batch(values: &[&str]) -> types::Batch {
    let mut column = types::BytesColumn { arena: Vec::new(), ends: Vec::new(), nulls: Vec::new() };
    for value in values {
        column.arena.extend_from_slice(value.as_bytes());
        column.ends.push(column.arena.len() as u32);
    }
    types::Batch {
        rows: values.len() as u32,
        keys: None,
        values: Some(column),
        timestamps: vec![0; values.len()],
        headers: None,
        columns: Vec::new(),
    }
}

fn process(config: &str) -> Result<types::Outcome, String> {
    Misbehave::open(config)?.process(&batch(&["good", "poison", "good"]))
}

#[test]
fn errors_come_where_they_are_told_to() {
    assert!(Misbehave::describe(r#"{"mode":"err_in_describe"}"#).is_err());
    assert!(Misbehave::open(r#"{"mode":"err_in_open"}"#).is_err());
    assert_eq!(process(r#"{"mode":"err_in_process","at_record":3}"#).unwrap_err(), "told to fail at record 3");
    assert_eq!(process(r#"{"mode":"err_in_process","word":"pois"}"#).unwrap_err(), "told to fail at record 2");
    assert!(process(r#"{"mode":"err_in_process","at_record":4}"#).is_ok());
}

#[test]
fn traps_come_where_they_are_told_to() {
    for config in [r#"{"mode":"trap_in_open"}"#, r#"{"mode":"trap_in_process","word":"poison"}"#] {
        assert!(std::panic::catch_unwind(|| process(config)).is_err(), "{config}");
    }
    assert!(std::panic::catch_unwind(|| Misbehave::describe(r#"{"mode":"trap_in_describe"}"#)).is_err());
}

#[test]
fn a_rejected_record_is_not_forwarded() {
    let outcome = process(r#"{"mode":"reject","word":"poison"}"#).unwrap();
    assert_eq!(outcome.forwards[0].rows, [0, 2]);
    assert_eq!(outcome.rejections.iter().map(|rejection| rejection.row).collect::<Vec<_>>(), [1]);
    assert!(Misbehave::describe(r#"{"mode":"reject"}"#).is_err(), "without a word there is nothing to reject");
}

#[test]
fn a_batch_of_one_is_no_trap_where_only_batches_are() {
    let mut alone = Misbehave::open(r#"{"mode":"trap_in_batches","word":"poison"}"#).unwrap();
    assert_eq!(alone.process(&batch(&["poison"])).unwrap().forwards[0].rows, [0]);
    let config = r#"{"mode":"trap_in_batches","word":"poison"}"#;
    assert!(std::panic::catch_unwind(|| process(config)).is_err());
}

#[test]
fn counted_records_are_emitted_with_their_counts() {
    let outcome = process(r#"{"mode":"reject","word":"poison","count":true}"#).unwrap();
    let values = outcome.outputs[0].batch.values.as_ref().unwrap();
    let text = std::str::from_utf8(&values.arena).unwrap();
    assert_eq!(text, r#"{"count":1,"was":good}{"count":2,"was":good}"#);
    assert!(outcome.forwards.is_empty());
}

#[test]
fn slow_is_right_in_what_it_does() {
    let outcome = process(r#"{"mode":"slow","rounds":10}"#).unwrap();
    assert_eq!(outcome.forwards[0].rows, [0, 1, 2]);
    assert!(outcome.outputs.is_empty());
}

#[test]
fn every_malformed_outcome_is_malformed() {
    for mode in [
        "bad_output_port",
        "malformed_columns",
        "ends_past_arena",
        "arena_past_ends",
        "wrong_row_count",
        "wrong_timestamp_count",
        "nulls_out_of_range",
        "nulls_not_ascending",
        "null_with_bytes",
        "no_values",
        "header_out_of_range",
        "extra_column",
    ] {
        let outcome = process(&format!(r#"{{"mode":"{mode}"}}"#)).unwrap();
        assert_eq!(outcome.outputs.len(), 1, "{mode}");
    }
    let bad_port = process(r#"{"mode":"bad_port"}"#).unwrap();
    assert!(bad_port.forwards.iter().any(|forward| forward.port == 7));
    let bad_row = process(r#"{"mode":"bad_forward_row"}"#).unwrap();
    assert!(bad_row.forwards.iter().any(|forward| forward.rows == [3]));
    assert_eq!(process(r#"{"mode":"bad_rejection_row"}"#).unwrap().rejections[0].row, 3);
}

#[test]
fn advance_misbehaves_when_told_to() {
    let advance = |mode: &str| Misbehave::open(&format!(r#"{{"mode":"{mode}"}}"#)).unwrap().advance();
    assert_eq!(advance("advance_forever").next_advance, Some(i64::MIN));
    assert_eq!(advance("forward_in_advance").forwards.len(), 1);
    assert!(advance("slow").forwards.is_empty());
    assert!(std::panic::catch_unwind(|| advance("trap_in_advance")).is_err());
}
