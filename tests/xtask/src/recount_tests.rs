//! What the recount must and must not take for the same.
//!
//! Next room: `recount`, the code under test.

use super::{Alert, Found, Recount, Rule, Verdict};

fn payment(user_id: &str, timestamp: i64) -> Vec<u8> {
    format!("{{\"user_id\":\"{user_id}\",\"amount\":1,\"timestamp\":{timestamp}}}").into_bytes()
}

fn alert(user_id: &str, window: i64, count: u64) -> Alert {
    Alert { user_id: user_id.to_owned(), window_start: window * 60_000, window_end: (window + 1) * 60_000, count }
}

fn found(alerts: &[Alert]) -> Found {
    let mut found = Found::default();
    for alert in alerts {
        found.add(&serde_json::to_vec(alert).unwrap());
    }
    found
}

#[test]
fn ten_in_a_minute_are_none_and_eleven_are_one_alert() {
    let mut recount = Recount::new(Rule::default());
    for second in 0..10 {
        recount.add(&payment("ten", 60_000 + second * 1000)).unwrap();
    }
    for second in 0..11 {
        recount.add(&payment("eleven", 60_000 + second * 1000)).unwrap();
    }
    assert_eq!(recount.records(), 21);
    assert_eq!(recount.alerts(), [alert("eleven", 1, 11)]);
}

#[test]
fn windows_are_cut_at_their_first_millisecond_also_before_1970() {
    let mut recount = Recount::new(Rule { threshold: 1, window_ms: 60_000 });
    for timestamp in [59_999, 59_998, 60_000, -1, -60_000, -60_001] {
        recount.add(&payment("u", timestamp)).unwrap();
    }
    assert_eq!(recount.alerts(), [alert("u", -1, 2), alert("u", 0, 2)]);
}

#[test]
fn a_line_that_is_no_payment_is_named_and_not_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("payments.jsonl");
    std::fs::write(&path, "{\"user_id\":\"u\",\"timestamp\":1}\n\n{\"user_id\":\"u\"}\n").unwrap();
    let mut recount = Recount::new(Rule::default());
    let error = recount.add_file(&path).unwrap_err().to_string();
    assert!(error.contains("payments.jsonl") && error.contains("line 3"), "{error}");
    assert_eq!(recount.records(), 1);
}

#[test]
fn the_same_alerts_in_another_order_are_exact() {
    let expected = [alert("a", 0, 11), alert("a", 1, 12), alert("b", 0, 11)];
    let verdict = found(&[expected[2].clone(), expected[0].clone(), expected[1].clone()]).compare(&expected);
    assert_eq!(verdict, Verdict { expected: 3, found: 3, ..Verdict::default() });
    assert!(verdict.is_exact());
}

#[test]
fn lost_duplicated_and_wrong_are_told_apart() {
    let expected = [alert("a", 0, 11), alert("b", 0, 11), alert("c", 0, 11)];
    let written = [expected[0].clone(), expected[0].clone(), alert("b", 0, 12), alert("d", 0, 11)];
    let mut found = found(&written);
    found.add(b"{\"user_id\":\"e\"");
    let verdict = found.compare(&expected);
    assert_eq!((verdict.expected, verdict.found), (3, 5));
    assert_eq!((verdict.lost, verdict.duplicated, verdict.wrong), (1, 1, 3));
    assert!(!verdict.is_exact());
    assert_eq!(verdict.examples.len(), 5);
}

#[test]
fn a_line_with_a_field_too_many_is_no_alert() {
    let mut found = Found::default();
    found.add(b"{\"user_id\":\"a\",\"window_start\":0,\"window_end\":60000,\"count\":11,\"extra\":1}");
    assert_eq!(found.compare(&[alert("a", 0, 11)]).wrong, 1);
}
