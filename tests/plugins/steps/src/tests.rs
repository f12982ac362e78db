//! Each role, natively, at several batch sizes.

use super::*;
use tidegate_sdk::testing::{Harness, Record, Results, Step, same_at_every_batch_size};

fn run(config: &str, steps: &[Step]) -> Results {
    same_at_every_batch_size::<Steps>(config, steps).unwrap()
}

fn payment(at: i64, user: &str, merchant: &str) -> Record {
    Record::at(at).key(user).value(format!(r#"{{"user_id":"{user}","merchant":"{merchant}"}}"#))
}

#[test]
fn pass_forwards_records_whole() {
    let records = vec![payment(1, "a", "m").header("trace", "1"), Record::at(2)];
    let results = run(r#"{"role":"pass"}"#, &[Step::Records(0, records.clone())]);
    assert_eq!(results.forwarded(0), records);
    assert!(results.emitted(0).is_empty());
}

#[test]
fn hold_forwards_records_whole_whatever_it_holds() {
    let records = vec![payment(1, "a", "m"), Record::at(2)];
    for bytes in [0, 8, 20_000] {
        let results = run(&format!(r#"{{"role":"hold","bytes":{bytes}}}"#), &[Step::Records(0, records.clone())]);
        assert_eq!(results.forwarded(0), records);
    }
}

#[test]
fn map_adds_a_field_and_refuses_what_is_no_object() {
    let records =
        vec![Record::at(1).key("a").value(r#"{"x":1}"#), Record::at(2).value(" { } "), Record::at(3).value("[1]")];
    let results = run(r#"{"role":"map","field":"seen"}"#, &[Step::Records(0, records)]);
    let expected = [Record::at(1).key("a").value(r#"{"x":1,"seen":true}"#), Record::at(2).value(r#"{ "seen":true}"#)];
    assert_eq!(results.emitted(0), expected);
    assert_eq!(results.rejected()[0].code, "no-object");
}

#[test]
fn rekey_takes_the_key_from_the_value() {
    let records = vec![payment(1, "a", "shop"), Record::at(2).key("b").value(r#"{"merchant":null}"#)];
    let results = run(r#"{"role":"rekey","key":"/merchant"}"#, &[Step::Records(0, records)]);
    assert_eq!(results.emitted(0), [payment(1, "a", "shop").key("shop")]);
    assert_eq!(results.rejected().len(), 1);
    let error = Harness::<Steps>::open(r#"{"role":"rekey","key":"merchant"}"#).unwrap_err();
    assert!(error.to_string().contains("`merchant` is no JSON Pointer"), "{error}");
}

#[test]
fn count_counts_by_key() {
    let records = ["a", "b", "a"].iter().zip(1..).map(|(user, at)| payment(at, user, "m")).collect();
    let results = run(r#"{"role":"count"}"#, &[Step::Records(0, records)]);
    let values: Vec<String> = results.emitted(0).iter().map(Record::value_text).collect();
    assert_eq!(values, [r#"{"key":"a","count":1}"#, r#"{"key":"b","count":1}"#, r#"{"key":"a","count":2}"#]);
}

#[test]
fn zip_pairs_what_a_key_has_on_both_sides_in_order() {
    let left = vec![Record::at(5).key("a").value("l1"), Record::at(6).key("a").value("l2"), Record::at(7).key("b")];
    let right = vec![Record::at(9).key("a").value("r1"), Record::at(1).key("c"), Record::at(2).key("a").value("r2")];
    let expected = [
        Record::at(9).key("a").value(r#"{"key":"a","left":"l1","right":"r1"}"#),
        Record::at(6).key("a").value(r#"{"key":"a","left":"l2","right":"r2"}"#),
    ];
    let one = run(r#"{"role":"zip"}"#, &[Step::Records(0, left.clone()), Step::Records(1, right.clone())]);
    let other = run(r#"{"role":"zip"}"#, &[Step::Records(1, right), Step::Records(0, left)]);
    assert_eq!(one.emitted(0), expected);
    assert_eq!(other, one, "which input comes first changes nothing where one comes whole");
}

#[test]
fn join_emits_a_key_once_when_both_sides_have_it() {
    let left = vec![Record::at(5).key("a").value("l1"), Record::at(6).key("a").value("l2"), Record::at(7).key("b")];
    let right = vec![Record::at(9).key("a").value("r1"), Record::at(1).key("a").value("r2"), Record::at(2).key("c")];
    let expected = [Record::at(9).key("a").value(r#"{"key":"a","left":"l1","right":"r1"}"#)];
    let one = run(r#"{"role":"join"}"#, &[Step::Records(0, left.clone()), Step::Records(1, right.clone())]);
    let other = run(r#"{"role":"join"}"#, &[Step::Records(1, right), Step::Records(0, left)]);
    assert_eq!(one.emitted(0), expected);
    assert_eq!(other, one, "which input comes first changes nothing");
}

#[test]
fn rules_by_event_time_do_not_depend_on_which_input_comes_first() {
    let rule =
        |at, user: &str, blocked: bool| Record::at(at).value(format!(r#"{{"user_id":"{user}","blocked":{blocked}}}"#));
    let main = vec![payment(9, "a", "m"), payment(10, "a", "m"), payment(20, "a", "m"), payment(15, "b", "m")];
    let rules = vec![rule(10, "a", true), rule(16, "a", false), rule(16, "b", true)];
    let end = Step::Watermark(Watermark::END);
    let one =
        run(r#"{"role":"rules"}"#, &[Step::Records(0, main.clone()), Step::Records(1, rules.clone()), end.clone()]);
    let other = run(r#"{"role":"rules"}"#, &[Step::Records(1, rules), Step::Records(0, main), end]);
    assert_eq!(one, other);
    assert_eq!(one.emitted(0), [payment(9, "a", "m"), payment(15, "b", "m"), payment(20, "a", "m")]);
    assert_eq!(one.emitted(1), [payment(10, "a", "m")]);
}

#[test]
fn rules_by_arrival_forward_at_once() {
    let mut test = Harness::<Steps>::open(r#"{"role":"rules","when":"arrival"}"#).unwrap();
    test.process(0, &[payment(1, "a", "m")]).unwrap();
    test.process(1, &[Record::at(9).value(r#"{"user_id":"a","blocked":true}"#), Record::at(9).value("{}")]).unwrap();
    test.process(0, &[payment(2, "a", "m")]).unwrap();
    assert_eq!(test.results().forwarded(0), [payment(1, "a", "m")]);
    assert_eq!(test.results().forwarded(1), [payment(2, "a", "m")]);
    assert_eq!(test.results().rejected()[0].code, "bad-rule");
}
