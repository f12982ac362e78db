//! Calls, and the ways in which they fail: the guest dies, the host does not.

use super::super::failure::CALL_RESULT_BYTES_MAX;
use super::super::{Input, Instance, PluginError, Rejection};
use super::{MIB, guest, mode, options, process, rows};
use crate::columns::ColumnKind;
use crate::ids::{PortIndex, Watermark};
use std::time::{Duration, Instant};

fn open(mode: &str) -> Instance {
    guest().open(&options(mode)).unwrap()
}

/// The text of the error with which a call of `process` in this mode ends.
fn failure(mode: &str) -> String {
    process(open(mode), 4, 1000).err().unwrap().to_string()
}

#[test]
fn a_description_names_ports_columns_and_version() {
    let description = guest().describe(mode::COUNT).unwrap();
    assert_eq!(description.inputs.len(), 1);
    assert_eq!(description.inputs[0].name, "in");
    assert_eq!(description.inputs[0].columns[0].name, "@key");
    assert_eq!(description.inputs[0].columns[0].kind, ColumnKind::Bytes);
    assert_eq!(description.outputs[0].name, "out");
    assert_eq!(description.state_version, 3);
}

#[test]
fn a_batch_goes_in_and_a_record_comes_out() {
    let (instance, outcome) = process(open(mode::COUNT), 4, 1000).unwrap();
    let (port, batch) = &outcome.outputs[0];
    assert_eq!(*port, PortIndex(0));
    assert_eq!(batch.timestamps, [1000]);
    assert_eq!(batch.keys.get(0), None, "a batch without keys has null keys");
    let words: Vec<i64> =
        batch.values.bytes(0).chunks_exact(8).map(|word| i64::from_le_bytes(word.try_into().unwrap())).collect();
    assert_eq!(words[..4], [4, 4006, 1, 42], "records, sum of times, calls, seed");
    assert_eq!(outcome.next_advance, Some(61_000));
    let (_, outcome) = instance.advance(Watermark(5000)).unwrap();
    assert_eq!(outcome.outputs[0].1.timestamps, [5000]);
}

#[test]
fn rows_are_forwarded_and_rejected() {
    let (_, outcome) = process(open(mode::FORWARD), 4, 1000).unwrap();
    assert_eq!(outcome.forwards, [(PortIndex(0), vec![0])]);
    let wanted = Rejection { row: 1, code: "late".to_owned(), reason: "poison".to_owned() };
    assert_eq!(outcome.rejections, [wanted]);
    let error = process(open(mode::FORWARD), 1, 1000).err().unwrap().to_string();
    assert!(error.contains("it rejects row 1, and there are 1 rows"), "{error}");
}

#[test]
fn counters_are_collected() {
    let (instance, _) = process(open(mode::COUNTERS), 4, 1000).unwrap();
    let (mut instance, _) = process(instance, 3, 1000).unwrap();
    assert_eq!(instance.take_counters(), [("late".to_owned(), 7)]);
    assert_eq!(instance.take_counters(), []);
}

#[test]
fn a_trap_names_operator_shard_call_and_function() {
    let error = failure(mode::TRAP);
    assert!(error.starts_with("operator `counter` shard 3 failed in `process`: it trapped: "), "{error}");
    assert!(error.contains("unreachable"), "{error}");
    assert!(error.contains("!process"), "the backtrace names the function: {error}");
    let error = guest().open(&options(mode::TRAP_IN_OPEN)).err().unwrap().to_string();
    assert!(error.contains("failed in `open`: it trapped"), "{error}");
    let error = open(mode::TRAP_IN_ADVANCE).advance(Watermark(1)).err().unwrap().to_string();
    assert!(error.contains("failed in `advance`: it trapped"), "{error}");
    let error = guest().describe(mode::TRAP_IN_DESCRIBE).unwrap_err().to_string();
    assert!(error.contains("`guest.wasm`") && error.contains("`describe` failed: it trapped"), "{error}");
}

#[test]
fn an_error_of_the_plugin_is_passed_on_in_its_words() {
    let error = failure(mode::ERROR);
    assert!(error.contains("failed in `process`: it returned an error: poison"), "{error}");
    let error = guest().open(&options(mode::ERROR_IN_OPEN)).err().unwrap();
    assert!(matches!(&error, PluginError::Configuration { call: "open", what } if what == "no such configuration"));
    let error = guest().describe(mode::ERROR_IN_DESCRIBE).unwrap_err();
    assert!(matches!(&error, PluginError::Configuration { call: "describe", what } if what == "no such configuration"));
}

#[test]
fn an_endless_loop_ends_within_the_timeout() {
    let timeout = Duration::from_millis(200);
    let plugin = guest();
    let instance = plugin.open(&super::InstanceOptions { call_timeout: timeout, ..options(mode::LOOP) }).unwrap();
    let start = Instant::now();
    let error = process(instance, 4, 1000).err().unwrap().to_string();
    let took = start.elapsed();
    assert!(error.contains("took longer than 200ms"), "{error}");
    assert!(took >= timeout && took < timeout * 10, "it took {took:?}");
    assert!(process(plugin.open(&options(mode::COUNT)).unwrap(), 4, 1000).is_ok(), "the host lives");
}

#[test]
fn each_call_has_the_whole_timeout() {
    let timeout = Duration::from_millis(60);
    let mut instance = guest().open(&super::InstanceOptions { call_timeout: timeout, ..options(mode::PLAIN) }).unwrap();
    let start = Instant::now();
    while start.elapsed() < timeout * 4 {
        instance = process(instance, 1, 1000).unwrap().0;
    }
}

#[test]
fn a_memory_bomb_stops_at_the_limit() {
    let error = failure(mode::BOMB);
    assert!(error.contains("the limit is 67108864 bytes (setting `memory`)"), "{error}");
    let small = super::InstanceOptions { memory_bytes: MIB / 16, ..options(mode::COUNT) };
    let error = guest().open(&small).err().unwrap().to_string();
    assert!(error.contains("failed in `start`") && error.contains("the limit is 65536 bytes"), "{error}");
}

#[test]
fn endless_recursion_is_a_trap() {
    let error = failure(mode::RECURSE);
    assert!(error.contains("more stack than it has"), "{error}");
}

#[test]
fn nonsense_is_refused_by_name() {
    let error = failure(mode::NO_SUCH_PORT);
    assert!(error.contains("it returned nonsense: an output is for port 7"), "{error}");
    let error = open(mode::FORWARD_IN_ADVANCE).advance(Watermark(1)).err().unwrap().to_string();
    assert!(error.contains("`advance` forwards rows"), "{error}");
}

#[test]
fn more_than_the_limit_in_one_call_is_refused() {
    let error = failure(mode::TOO_MUCH);
    assert!(error.contains(&format!("more than {CALL_RESULT_BYTES_MAX} bytes in one call")), "{error}");
}

#[test]
fn a_call_of_1024_rows_costs_nanoseconds_a_record() {
    let (keys, timestamps) = rows(1024, 1_700_000_000_000);
    let input =
        Input { rows: 1024, keys: Some(&keys), values: None, timestamps: &timestamps, headers: None, columns: &[] };
    let mut instance = open(mode::PLAIN);
    let mut best = f64::MAX;
    for _ in 0..20 {
        let start = Instant::now();
        for _ in 0..200 {
            instance = instance.process(PortIndex(0), Watermark(0), &input).unwrap().0;
        }
        best = best.min(start.elapsed().as_nanos() as f64 / (200.0 * 1024.0));
    }
    println!("{best:.1} ns a record, {:.0} ns a call of 1,024 rows", best * 1024.0);
    assert!(best < 1000.0, "a call does not cost what a call per record costs: {best} ns a record");
}
