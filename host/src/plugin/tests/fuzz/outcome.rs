//! Fuzz target: what calls return, with lies, against the contract's rules written down a second time.
//!
//! Next room: [`super::super::super::outcome`], the check.

use super::super::super::Port;
use super::super::super::bindings::tidegate::plugin::types;
use super::super::super::outcome::{Call, check};
use crate::fuzzing::{Share, peak_bytes, run};
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestCaseResult;

const PORTS: usize = 2;
const ROWS: usize = 6;

/// A change of one thing in an outcome that was right.
#[derive(Debug, Clone, Copy)]
enum Lie {
    /// An entry of one of its lists of numbers.
    Number(Index, Index, u32),
    Push(Index, u32),
    Pop(Index),
    Swap(Index, Index, Index),
    /// The length of one of its arenas.
    Arena(Index, usize),
    Timestamps(Index, usize),
    Rows(Index, u32),
    Port(Index, u32),
    NoValues(Index),
    Columns(Index),
    Rejection(Index, u32),
}

fn number() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0_u32..8, 1 => 8_u32..64, 1 => prop::sample::select(vec![u32::MAX, u32::MAX - 1, 1 << 31, 1 << 16])]
}

fn lie() -> impl Strategy<Value = Lie> {
    let at = any::<Index>;
    prop_oneof![
        4 => (at(), at(), number()).prop_map(|(list, at, value)| Lie::Number(list, at, value)),
        2 => (at(), number()).prop_map(|(list, value)| Lie::Push(list, value)),
        2 => at().prop_map(Lie::Pop),
        1 => (at(), at(), at()).prop_map(|(list, a, b)| Lie::Swap(list, a, b)),
        1 => (at(), 0_usize..20).prop_map(|(arena, length)| Lie::Arena(arena, length)),
        1 => (at(), 0_usize..8).prop_map(|(batch, length)| Lie::Timestamps(batch, length)),
        1 => (at(), number()).prop_map(|(batch, rows)| Lie::Rows(batch, rows)),
        1 => (at(), number()).prop_map(|(port, value)| Lie::Port(port, value)),
        1 => at().prop_map(Lie::NoValues),
        1 => at().prop_map(Lie::Columns),
        1 => (at(), number()).prop_map(|(at, row)| Lie::Rejection(at, row)),
    ]
}

fn column(rows: &[Option<Vec<u8>>]) -> types::BytesColumnResult {
    let mut end = 0;
    let ends = rows.iter().map(|row| {
        end += row.as_ref().map_or(0, Vec::len) as u32;
        end
    });
    let ends = ends.collect();
    let nulls = (0_u32..).zip(rows).filter(|(_, row)| row.is_none()).map(|(at, _)| at).collect();
    types::BytesColumnResult { ends, arena: rows.iter().flatten().flatten().copied().collect(), nulls }
}

fn cells(count: usize) -> impl Strategy<Value = types::BytesColumnResult> {
    vec(option::of(vec(any::<u8>(), 0..4)), count).prop_map(|rows| column(&rows))
}

fn batch() -> impl Strategy<Value = types::BatchResult> {
    (0_usize..5).prop_flat_map(|rows| {
        let entry = (0..rows.max(1) as u32, vec(any::<u8>(), 0..4), option::of(vec(any::<u8>(), 0..4)));
        let headers = vec(entry, 0..if rows == 0 { 1 } else { 5 }).prop_map(|mut entries| {
            entries.sort_by_key(|entry| entry.0);
            types::HeadersResult {
                rows: entries.iter().map(|entry| entry.0).collect(),
                names: column(&entries.iter().map(|entry| Some(entry.1.clone())).collect::<Vec<_>>()),
                values: column(&entries.iter().map(|entry| entry.2.clone()).collect::<Vec<_>>()),
            }
        });
        (option::of(cells(rows)), cells(rows), vec(any::<i64>(), rows), option::of(headers)).prop_map(
            move |(keys, values, timestamps, headers)| types::BatchResult {
                rows: rows as u32,
                keys,
                values: Some(values),
                timestamps,
                headers,
                columns: vec![],
            },
        )
    })
}

/// An outcome that is right for a call with [`ROWS`] rows.
fn outcome() -> impl Strategy<Value = types::Outcome> {
    let rows = || btree_set(0..ROWS as u32, 0..ROWS).prop_map(|rows| rows.into_iter().collect::<Vec<u32>>());
    let port = || 0..PORTS as u32;
    let forward = (port(), rows()).prop_map(|(port, rows)| types::Forward { port, rows });
    let output = (port(), batch()).prop_map(|(port, batch)| types::PortBatch { port, batch });
    let rejections = rows().prop_map(|rows| {
        let reject = |row| types::Rejection { row, code: "late".to_owned(), reason: "é".repeat(row as usize * 1000) };
        rows.into_iter().map(reject).collect()
    });
    (vec(forward, 0..3), vec(output, 0..3), rejections, option::of(any::<i64>())).prop_map(
        |(forwards, outputs, rejections, next_advance)| types::Outcome { forwards, outputs, rejections, next_advance },
    )
}

/// All lists of numbers in an outcome.
fn lists(raw: &mut types::Outcome) -> Vec<&mut Vec<u32>> {
    let mut lists: Vec<&mut Vec<u32>> = raw.forwards.iter_mut().map(|forward| &mut forward.rows).collect();
    for output in &mut raw.outputs {
        let batch = &mut output.batch;
        for column in batch.keys.iter_mut().chain(&mut batch.values) {
            lists.extend([&mut column.ends, &mut column.nulls]);
        }
        if let Some(headers) = &mut batch.headers {
            lists.push(&mut headers.rows);
            lists.extend([&mut headers.names.ends, &mut headers.names.nulls]);
            lists.extend([&mut headers.values.ends, &mut headers.values.nulls]);
        }
    }
    lists
}

fn arenas(raw: &mut types::Outcome) -> Vec<&mut Vec<u8>> {
    let mut arenas = Vec::new();
    for output in &mut raw.outputs {
        arenas.extend(output.batch.keys.iter_mut().chain(&mut output.batch.values).map(|column| &mut column.arena));
        if let Some(headers) = &mut output.batch.headers {
            arenas.extend([&mut headers.names.arena, &mut headers.values.arena]);
        }
    }
    arenas
}

/// The entry of a list at an index, if it has any.
fn at<T>(list: &mut [T], index: Index) -> Option<&mut T> {
    if list.is_empty() { None } else { list.get_mut(index.index(list.len())) }
}

fn tell(raw: &mut types::Outcome, lie: Lie) {
    let batch = |raw, index| at::<types::PortBatch>(raw, index).map(|output| &mut output.batch);
    match lie {
        Lie::Number(list, place, value) => {
            if let Some(number) = at(&mut lists(raw), list).and_then(|list| at(list, place)) {
                *number = value;
            }
        }
        Lie::Push(list, value) => _ = at(&mut lists(raw), list).map(|list| list.push(value)),
        Lie::Pop(list) => _ = at(&mut lists(raw), list).map(|list| list.pop()),
        Lie::Swap(list, a, b) => {
            if let Some(list) = at(&mut lists(raw), list).filter(|list| !list.is_empty()) {
                let (a, b) = (a.index(list.len()), b.index(list.len()));
                list.swap(a, b);
            }
        }
        Lie::Arena(arena, length) => _ = at(&mut arenas(raw), arena).map(|arena| arena.resize(length, b'x')),
        Lie::Timestamps(at, length) => _ = batch(&mut raw.outputs, at).map(|batch| batch.timestamps.resize(length, 7)),
        Lie::Rows(at, rows) => _ = batch(&mut raw.outputs, at).map(|batch| batch.rows = rows),
        Lie::NoValues(at) => _ = batch(&mut raw.outputs, at).map(|batch| batch.values = None),
        Lie::Columns(at) => {
            let column = types::ColumnResult::Int(types::IntColumnResult { values: vec![], nulls: vec![] });
            _ = batch(&mut raw.outputs, at).map(|batch| batch.columns.push(column));
        }
        Lie::Port(index, value) => {
            let ports = raw.outputs.iter_mut().map(|output| &mut output.port);
            let mut ports: Vec<&mut u32> =
                ports.chain(raw.forwards.iter_mut().map(|forward| &mut forward.port)).collect();
            _ = at(&mut ports, index).map(|port| **port = value);
        }
        Lie::Rejection(index, row) => _ = at(&mut raw.rejections, index).map(|rejection| rejection.row = row),
    }
}

/// Rows that exist, each once and in order.
fn rows_are_right(rows: &[u32], end: usize) -> bool {
    rows.is_sorted_by(|a, b| a < b) && rows.iter().all(|row| (*row as usize) < end)
}

fn column_is_right(column: &types::BytesColumnResult, rows: usize) -> bool {
    let starts: Vec<u32> = std::iter::once(0).chain(column.ends.iter().copied()).collect();
    column.ends.len() == rows
        && starts.is_sorted()
        && starts[rows] as usize == column.arena.len()
        && rows_are_right(&column.nulls, rows)
        && column.nulls.iter().all(|row| starts[*row as usize] == starts[*row as usize + 1])
}

fn batch_is_right(batch: &types::BatchResult) -> bool {
    let rows = batch.rows as usize;
    let headers = |headers: &types::HeadersResult| {
        headers.rows.is_sorted()
            && headers.rows.iter().all(|row| (*row as usize) < rows)
            && column_is_right(&headers.names, headers.rows.len())
            && headers.names.nulls.is_empty()
            && column_is_right(&headers.values, headers.rows.len())
    };
    batch.timestamps.len() == rows
        && batch.columns.is_empty()
        && batch.keys.as_ref().is_none_or(|keys| column_is_right(keys, rows))
        && batch.values.as_ref().is_some_and(|values| column_is_right(values, rows))
        && batch.headers.as_ref().is_none_or(headers)
}

/// The contract's rules.
fn is_right(raw: &types::Outcome, call: Call) -> bool {
    let rows = match call {
        Call::Process(rows) => rows,
        Call::Advance => 0,
    };
    let rejected: Vec<u32> = raw.rejections.iter().map(|rejection| rejection.row).collect();
    let advance_is_right = raw.forwards.is_empty() && raw.rejections.is_empty();
    (matches!(call, Call::Process(_)) || advance_is_right)
        && raw.forwards.iter().all(|it| (it.port as usize) < PORTS && rows_are_right(&it.rows, rows))
        && raw.outputs.iter().all(|it| (it.port as usize) < PORTS && batch_is_right(&it.batch))
        && rows_are_right(&rejected, rows)
}

#[test]
fn a_lie_never_passes_and_the_truth_always_does() {
    let call =
        prop_oneof![4 => Just(Call::Process(ROWS)), 1 => Just(Call::Advance), 1 => (0..ROWS).prop_map(Call::Process)];
    let inputs = (outcome(), vec(lie(), 0..3), call);
    let ports: Vec<Port> = (0..PORTS).map(|port| Port { name: format!("port-{port}"), columns: vec![] }).collect();
    let accepted = Share::default();
    run("plugin-outcome", 30_000, &inputs, |(mut raw, lies, call)| {
        for lie in lies {
            tell(&mut raw, lie);
        }
        let right = is_right(&raw, call);
        let bytes: usize = arenas(&mut raw).iter().map(|arena| arena.len()).sum();
        let (outcome, peak) = peak_bytes(|| check(raw, call, &ports));
        prop_assert!(peak <= 64 * 1024 + 16 * bytes, "{} bytes to check {}", peak, bytes);
        accepted.count(outcome.is_ok());
        prop_assert_eq!(outcome.is_ok(), right, "{:?}", outcome.err());
        outcome.map_or(Ok(()), |outcome| can_be_read(&outcome))
    });
    accepted.assert_both(10);
}

/// Everything that later rooms read without checking is there.
fn can_be_read(outcome: &super::super::super::Outcome) -> TestCaseResult {
    for (port, batch) in &outcome.outputs {
        prop_assert!(port.index() < PORTS && !batch.is_empty());
        prop_assert_eq!((batch.keys.len(), batch.values.len()), (batch.rows(), batch.rows()));
        for row in 0..batch.rows() {
            prop_assert_eq!(batch.keys.get(row).unwrap_or_default(), batch.keys.bytes(row));
            prop_assert_eq!(batch.values.get(row).unwrap_or_default(), batch.values.bytes(row));
        }
        if let Some(headers) = &batch.headers {
            for entry in 0..headers.rows.len() {
                prop_assert!(headers.names.get(entry).is_some() && (headers.rows[entry] as usize) < batch.rows());
                headers.values.get(entry);
            }
        }
    }
    prop_assert!(outcome.forwards.iter().all(|(port, rows)| port.index() < PORTS && !rows.is_empty()));
    prop_assert!(outcome.rejections.iter().all(|it| it.code.len() <= 64 && it.reason.len() <= 4096));
    Ok(())
}
