//! The fraud detector, natively: no Wasm, no host.

use super::*;
use tidegate_sdk::testing::{Harness, Record, Step, same_at_every_batch_size};

const END: Watermark = Watermark::END;

fn transactions(user: &str, timestamps: impl IntoIterator<Item = i64>) -> Vec<Record> {
    timestamps.into_iter().map(|at| Record::at(at).key(user).value("{}")).collect()
}

fn run(config: &str, steps: &[Step]) -> tidegate_sdk::testing::Results {
    same_at_every_batch_size::<FraudDetector>(config, steps).unwrap()
}

fn alert(user: &str, start: i64, end: i64, count: u64) -> Record {
    let value = format!(r#"{{"user_id":"{user}","window_start":{start},"window_end":{end},"count":{count}}}"#);
    Record::at(end - 1).key(user).value(value)
}

#[test]
fn eleven_transactions_in_a_minute_raise_one_alert_and_ten_none() {
    let mut records = transactions("alice", (0..11).map(|n| 60_000 + n * 5_000));
    records.extend(transactions("bob", (0..10).map(|n| 60_000 + n * 5_000)));
    let results = run("{}", &[Step::Records(0, records), Step::Watermark(END)]);
    assert_eq!(results.emitted(0), [alert("alice", 60_000, 120_000, 11)]);
    assert!(results.forwarded(1).is_empty() && results.rejected().is_empty());
}

#[test]
fn windows_are_apart() {
    // Eleven within a minute, but six of them before the window's edge.
    let records = transactions("alice", (0..11).map(|n| 59_994 + n));
    let results = run("{}", &[Step::Records(0, records), Step::Watermark(END)]);
    assert!(results.emitted(0).is_empty());
}

#[test]
fn an_alert_waits_until_the_watermark_reaches_the_window_end() {
    let mut test = Harness::<FraudDetector>::open(r#"{"threshold":1}"#).unwrap();
    test.process(0, &transactions("alice", [1_000, 2_000])).unwrap();
    test.advance(Watermark::at(59_999)).unwrap();
    assert!(test.results().emitted(0).is_empty());
    test.advance(Watermark::at(60_000)).unwrap();
    assert_eq!(test.results().emitted(0), [alert("alice", 0, 60_000, 2)]);
    test.advance(END).unwrap();
    assert_eq!(test.results().emitted(0).len(), 1, "one alert a window");
}

#[test]
fn a_record_is_late_when_its_window_is_over_and_not_before() {
    let steps = [
        Step::Records(0, transactions("alice", [1_000])),
        Step::Watermark(Watermark::at(59_999)),
        Step::Records(0, transactions("alice", [0, 59_999])),
        Step::Watermark(Watermark::at(60_000)),
        Step::Records(0, transactions("alice", [59_999, 60_000, 0])),
        Step::Watermark(END),
    ];
    let results = run(r#"{"threshold":0}"#, &steps);
    assert_eq!(results.emitted(0), [alert("alice", 0, 60_000, 3), alert("alice", 60_000, 120_000, 1)]);
    assert_eq!(results.forwarded(1), transactions("alice", [59_999, 0]), "late records go out whole");
}

#[test]
fn times_before_the_epoch_and_at_its_ends_are_counted() {
    let moments = [-1, -60_000, -60_001, i64::MIN, i64::MAX];
    let results = run(r#"{"threshold":0}"#, &[Step::Records(0, transactions("alice", moments)), Step::Watermark(END)]);
    let found = results.emitted(0);
    assert_eq!(found.len(), 4);
    assert_eq!(found[1..3], [alert("alice", -120_000, -60_000, 1), alert("alice", -60_000, 0, 2)]);
}

#[test]
fn a_record_without_a_key_is_rejected_and_changes_nothing() {
    let mut records = transactions("alice", 0..11);
    records.insert(3, Record::at(3).value("{}"));
    let results = run("{}", &[Step::Records(0, records), Step::Watermark(END)]);
    assert_eq!(results.emitted(0), [alert("alice", 0, 60_000, 11)]);
    let [rejected] = results.rejected() else { panic!("one record is rejected") };
    assert_eq!((rejected.code.as_str(), &rejected.record), ("no-key", &Record::at(3).value("{}")));
}

#[test]
fn an_empty_key_is_a_user() {
    let results = run("{}", &[Step::Records(0, transactions("", 0..11)), Step::Watermark(END)]);
    assert_eq!(results.emitted(0), [alert("", 0, 60_000, 11)]);
}

#[test]
fn a_crossing_alerts_at_once_and_once() {
    let config = r#"{"alert":"crossing","threshold":2,"window":1000}"#;
    let mut test = Harness::<FraudDetector>::open(config).unwrap();
    test.process(0, &transactions("alice", [0, 1])).unwrap();
    assert!(test.results().emitted(0).is_empty());
    test.process(0, &transactions("alice", [2])).unwrap();
    assert_eq!(test.results().emitted(0), [alert("alice", 0, 1_000, 3)]);

    let steps = [Step::Records(0, transactions("alice", 0..500)), Step::Watermark(END)];
    assert_eq!(run(config, &steps).emitted(0), [alert("alice", 0, 1_000, 3)]);
}

#[test]
fn many_users_alert_in_order_of_their_first_transaction_at_every_batch_size() {
    let users = 5_000;
    let records: Vec<Record> = (0..users * 3)
        .map(|n| Record::at(i64::from(n % 7) * 100).key(format!("user-{}", (n * 7919) % users)).value("{}"))
        .collect();
    let results = run(r#"{"threshold":2}"#, &[Step::Records(0, records.clone()), Step::Watermark(END)]);
    let expected = (0..users).map(|n| alert(&format!("user-{}", (n * 7919) % users), 0, 60_000, 3));
    assert!(results.emitted(0).iter().cloned().eq(expected));
}

#[test]
fn quotes_and_foreign_letters_in_a_user_are_written_as_json() {
    let records = transactions("a\"ß\\\n", [1]);
    let results = run(r#"{"threshold":0}"#, &[Step::Records(0, records), Step::Watermark(END)]);
    let value = results.emitted(0)[0].value_text();
    assert_eq!(value, "{\"user_id\":\"a\\\"ß\\\\\\n\",\"window_start\":0,\"window_end\":60000,\"count\":1}");
}

#[test]
fn a_configuration_that_cannot_work_is_refused_by_its_key() {
    for (config, wanted) in [
        (r#"{"window":"1 minute"}"#, "configuration key `window`: `1 minute` is no length of time"),
        (r#"{"window":0}"#, "configuration key `window`: `0` is no length of time"),
        (r#"{"threshold":-1}"#, "configuration key `threshold`"),
        (r#"{"alert":"never"}"#, "configuration key `alert`: unknown variant `never`, expected `close` or `crossing`"),
        (r#"{"treshold":5}"#, "unknown field `treshold`, expected one of `threshold`, `window`, `alert`"),
    ] {
        let error = Harness::<FraudDetector>::open(config).unwrap_err().to_string();
        assert!(error.contains(wanted), "{config}: {error}");
    }
}
