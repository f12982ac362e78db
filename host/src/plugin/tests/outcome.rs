//! Every way in which a plugin can lie about what it returns, by name.

use super::super::bindings::tidegate::plugin::types;
use super::super::outcome::{Call, check};
use super::super::{Outcome, Port};

fn column(rows: &[&str], nulls: &[u32]) -> types::BytesColumnResult {
    let mut end = 0;
    let ends = rows.iter().map(|row| {
        end += row.len() as u32;
        end
    });
    types::BytesColumnResult { ends: ends.collect(), arena: rows.concat().into_bytes(), nulls: nulls.to_vec() }
}

fn batch() -> types::BatchResult {
    types::BatchResult {
        rows: 2,
        keys: Some(column(&["a", "b"], &[])),
        values: Some(column(&["one", ""], &[1])),
        timestamps: vec![1, 2],
        headers: None,
        columns: vec![],
    }
}

fn headers(rows: &[u32], names: types::BytesColumnResult, values: types::BytesColumnResult) -> types::HeadersResult {
    types::HeadersResult { rows: rows.to_vec(), names, values }
}

fn checked(raw: types::Outcome, call: Call) -> Result<Outcome, String> {
    let port = |name: &str| Port { name: name.to_owned(), columns: vec![] };
    check(raw, call, &[port("alerts"), port("late")])
}

fn empty() -> types::Outcome {
    types::Outcome { forwards: vec![], outputs: vec![], rejections: vec![], next_advance: None }
}

fn output(batch: types::BatchResult) -> types::Outcome {
    types::Outcome { outputs: vec![types::PortBatch { port: 0, batch }], ..empty() }
}

fn forward(port: u32, rows: &[u32]) -> types::Outcome {
    types::Outcome { forwards: vec![types::Forward { port, rows: rows.to_vec() }], ..empty() }
}

fn reject(rows: &[u32]) -> types::Outcome {
    let rejection = |row: &u32| types::Rejection { row: *row, code: "c".to_owned(), reason: "r".to_owned() };
    types::Outcome { rejections: rows.iter().map(rejection).collect(), ..empty() }
}

#[test]
fn what_is_well_formed_passes_unchanged() {
    let outcome = checked(output(batch()), Call::Advance).unwrap();
    let batch = &outcome.outputs[0].1;
    assert_eq!(
        (batch.keys.get(0), batch.values.get(0), batch.values.get(1)),
        (Some(&b"a"[..]), Some(&b"one"[..]), None)
    );
    assert_eq!(batch.rows(), 2);
    assert_eq!(checked(forward(1, &[0, 9]), Call::Process(10)).unwrap().forwards[0].1, [0, 9]);
    assert_eq!(checked(reject(&[0, 9]), Call::Process(10)).unwrap().rejections.len(), 2);
}

#[test]
fn empty_batches_and_forwards_are_dropped() {
    let nothing = types::BatchResult {
        rows: 0,
        keys: None,
        values: Some(column(&[], &[])),
        timestamps: vec![],
        headers: Some(headers(&[], column(&[], &[]), column(&[], &[]))),
        columns: vec![],
    };
    let raw = types::Outcome { outputs: output(nothing).outputs, ..forward(0, &[]) };
    let outcome = checked(raw, Call::Process(4)).unwrap();
    assert!(outcome.outputs.is_empty() && outcome.forwards.is_empty());
}

#[test]
fn headers_pass_and_may_repeat_a_row() {
    let mut with = batch();
    with.headers = Some(headers(&[1, 1], column(&["n", "m"], &[]), column(&["", "v"], &[0])));
    let outcome = checked(output(with), Call::Advance).unwrap();
    let headers = outcome.outputs[0].1.headers.as_ref().unwrap();
    assert_eq!(headers.rows, [1, 1]);
    assert_eq!(headers.values.get(0), None);
}

#[test]
fn long_texts_of_rejections_are_cut() {
    let mut raw = reject(&[3]);
    raw.rejections[0].code = "é".repeat(1000);
    raw.rejections[0].reason = "r".repeat(1_000_000);
    let rejection = checked(raw, Call::Process(4)).unwrap().rejections.remove(0);
    assert_eq!(rejection.code.len(), 64);
    assert_eq!(rejection.reason.len(), 4096);
}

#[test]
fn rows_and_ports_that_do_not_exist_are_refused() {
    let cases: Vec<(types::Outcome, Call, &str)> = vec![
        (forward(2, &[0]), Call::Process(1), "a forward is for port 2, and it described 2 output ports"),
        (forward(65536, &[0]), Call::Process(1), "a forward is for port 65536"),
        (forward(0, &[1]), Call::Process(1), "the rows forwarded to port `alerts` reach 1, and there are 1 rows"),
        (forward(1, &[1, 0]), Call::Process(2), "the rows forwarded to port `late` do not ascend: 1 comes before 0"),
        (forward(1, &[0, 0]), Call::Process(2), "do not ascend: 0 comes before 0"),
        (forward(0, &[0]), Call::Advance, "`advance` forwards rows"),
        (reject(&[0]), Call::Advance, "`advance` rejects rows"),
        (reject(&[1]), Call::Process(1), "it rejects row 1, and there are 1 rows"),
        (reject(&[1, 0]), Call::Process(2), "the rejected rows do not ascend: 1 comes before 0"),
        (reject(&[1, 1]), Call::Process(2), "the rejected rows do not ascend: 1 comes before 1"),
    ];
    for (raw, call, words) in cases {
        let error = checked(raw, call).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
    let mut raw = output(batch());
    raw.outputs[0].port = 2;
    assert!(checked(raw, Call::Advance).unwrap_err().contains("an output is for port 2"));
}

#[test]
fn malformed_batches_are_refused_by_part() {
    type Change = fn(&mut types::BatchResult);
    let cases: [(Change, &str); 13] = [
        (|batch| batch.rows = 3, "the batch for port `alerts` has 2 timestamps for 3 rows"),
        (|batch| batch.timestamps.push(3), "has 3 timestamps for 2 rows"),
        (|batch| batch.values = None, "the values for port `alerts` is missing"),
        (|batch| batch.columns.push(types::ColumnResult::Bytes(column(&[], &[]))), "has columns, only inputs have"),
        (|batch| batch.keys = Some(column(&["a"], &[])), "the keys for port `alerts` has 1 ends for 2 rows"),
        (
            |batch| batch.values.as_mut().unwrap().ends = vec![3, 2],
            "the ends of the values for port `alerts` do not ascend",
        ),
        (|batch| batch.values.as_mut().unwrap().ends = vec![3, 4], "ends at byte 4 of an arena of 3"),
        (|batch| batch.values.as_mut().unwrap().arena.push(0), "ends at byte 3 of an arena of 4"),
        (|batch| batch.values.as_mut().unwrap().nulls = vec![2], "the nulls of the values for port `alerts` reach 2"),
        (|batch| batch.values.as_mut().unwrap().nulls = vec![1, 1], "do not ascend: 1 comes before 1"),
        (|batch| batch.values.as_mut().unwrap().nulls = vec![0], "says that row 0 is null, and gives it 3 bytes"),
        (
            |batch| batch.headers = Some(headers(&[2], column(&["n"], &[]), column(&["v"], &[]))),
            "the header rows for port `alerts` reach 2",
        ),
        (
            |batch| batch.headers = Some(headers(&[1, 0], column(&["n", "m"], &[]), column(&["", ""], &[]))),
            "the header rows for port `alerts` do not ascend",
        ),
    ];
    for (change, words) in cases {
        let mut lie = batch();
        change(&mut lie);
        let error = checked(output(lie), Call::Process(9)).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn malformed_headers_are_refused() {
    let cases = [
        (
            headers(&[0], column(&[""], &[0]), column(&["v"], &[])),
            "header names for port `alerts` has a null at entry 0",
        ),
        (headers(&[0], column(&[], &[]), column(&["v"], &[])), "header names for port `alerts` has 0 ends for 1 rows"),
        (headers(&[0], column(&["n"], &[]), column(&[], &[])), "header values for port `alerts` has 0 ends for 1 rows"),
    ];
    for (lie, words) in cases {
        let mut with = batch();
        with.headers = Some(lie);
        let error = checked(output(with), Call::Advance).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}
