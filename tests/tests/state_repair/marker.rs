//! Store against marker: the marker's topic is gone, the store is an old copy or a new one.

use crate::{PROGRAM, carry_out, expect_sound, look, store, words};
use std::collections::HashMap;
use std::fs;
use tidegate_tests::broker;
use tidegate_tests::payments::{Options, Payments};

/// A job that has counted some payments and was stopped.
fn stopped() -> Payments<'static> {
    let payments = fed();
    payments.feed(2_000);
    run_and_stop(&payments);
    payments
}

fn fed() -> Payments<'static> {
    let broker = broker::shared();
    Payments::new(broker, &Options::fed(PROGRAM, broker.address()))
}

fn run_and_stop(payments: &Payments<'_>) {
    let mut running = payments.scene.start(None, &[]);
    payments.wait_counted(&mut running);
    running.signal(libc::SIGTERM);
    running.wait().expect_success("a stop");
}

/// How often a reader gets each record of the counts' topic.
fn counts(payments: &Payments<'_>) -> HashMap<String, usize> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for record in broker::shared().read_committed(&payments.counts_topic) {
        *seen.entry(record.text().to_owned()).or_default() += 1;
    }
    seen
}

fn more_than_once(counts: &HashMap<String, usize>) -> usize {
    counts.values().map(|times| times - 1).sum()
}

#[test]
fn a_deleted_marker_topic_is_made_anew_for_the_stores_checkpoint() {
    let payments = stopped();
    broker::shared().delete_topic(&payments.marker_topic());
    payments.scene.run().expect_refusal("a start", 78, &["stop `decider-changed`", "Nothing was changed"]);
    let looked = look(&payments.scene, &["stop decider-changed", "--do go-on-from-", "--do begin-anew"]);
    let choice = choice(&looked.log);
    carry_out(&payments.scene, &choice, &[]);
    expect_sound(&payments.scene);
    payments.restart_and_finish("with a new marker");
}

/// The only `go-on-from` of a look.
fn choice(log: &str) -> String {
    let choices: Vec<&str> = log.lines().filter(|line| line.starts_with("go-on-from-")).collect();
    assert_eq!(choices.len(), 1, "one checkpoint to go on from in\n{log}");
    choices[0].to_owned()
}

#[test]
fn with_the_marker_gone_the_sink_topics_say_whether_a_checkpoint_happened() {
    // Killed after commit said OK: it happened. Killed before: it did not. Later checkpoints may be without output.
    for (moment, happened) in [("unconfirmed:2", true), ("marked:2", false)] {
        let payments = fed();
        payments.feed(20_000);
        let run = payments.scene.run_and_kill(moment);
        assert!(run.was_killed(), "the kill did not hit:\n{}", run.log);
        broker::shared().delete_topic(&payments.marker_topic());
        payments.scene.run().expect_refusal(moment, 78, &["stop `decider-changed`"]);
        if !happened {
            look(&payments.scene, &["in hand"]);
            carry_out(&payments.scene, "take-over", &[]);
        }
        let looked = look(&payments.scene, &["PREPARED `1`", "loses and doubles nothing"]);
        assert_eq!(choice(&looked.log), if happened { "go-on-from-1" } else { "go-on-from-0" });
        carry_out(&payments.scene, &choice(&looked.log), &[]);
        expect_sound(&payments.scene);
        payments.restart_and_finish(moment);
    }
}

#[test]
fn going_on_from_an_old_copy_doubles_what_was_announced_and_loses_nothing() {
    let payments = stopped();
    let (store, old) = (store(&payments.scene), payments.scene.path("old-copy"));
    fs::copy(&store, &old).expect("the store is copied");
    payments.feed(3_000);
    run_and_stop(&payments);
    let whole = counts(&payments);
    assert_eq!(more_than_once(&whole), 0);
    fs::copy(&old, &store).expect("the old copy is put back");
    payments.scene.run().expect_refusal("a start", 78, &["an older copy", "stop `store-behind`"]);
    let looked = look(&payments.scene, &["stop store-behind", "the job writes them again"]);
    let choice = choice(&looked.log);
    let announced = words(&looked, &choice);
    carry_out(&payments.scene, &choice, &[]);
    expect_sound(&payments.scene);
    let mut running = payments.scene.start(None, &[]);
    running.wait_until("all of it again", |_| more_than_once(&counts(&payments)) >= 3_000);
    running.signal(libc::SIGTERM);
    running.wait().expect_success("a stop");
    let after = counts(&payments);
    assert_eq!(after.len(), whole.len(), "a record is lost, or one is new");
    let doubled = more_than_once(&after);
    assert_eq!(doubled, 3_000);
    expect_announced(&announced, doubled);
}

/// The words that a repair asked for say how many records it doubles, or that nobody can know.
fn expect_announced(words: &str, doubled: usize) {
    if let Some(records) = words.strip_prefix("write up to ").and_then(|rest| rest.strip_suffix(" records twice")) {
        let records: usize = records.parse().expect("a number");
        assert!((doubled..doubled + 1_000).contains(&records), "{doubled} are doubled, and {words} was announced");
    } else {
        assert!(words.starts_with("go on from checkpoint"), "{words}");
    }
}

#[test]
fn of_two_copies_that_both_went_on_the_one_that_did_not_commit_doubles_what_was_announced() {
    let payments = stopped();
    let store = store(&payments.scene);
    let [copy, first, second] = ["copy", "first", "second"].map(|name| payments.scene.path(name));
    fs::copy(&store, &copy).expect("the store is copied");
    payments.feed(3_000);
    assert!(payments.scene.run_and_kill("prepared:1").was_killed());
    fs::rename(&store, &first).expect("the first one is moved aside");
    fs::rename(&copy, &store).expect("the copy is put in its place");
    assert!(payments.scene.run_and_kill("committed:1").was_killed());
    let committed = counts(&payments).len() - 2_000;
    assert!(committed > 0, "the copy committed nothing");

    fs::rename(&store, &second).expect("the copy is lost");
    fs::rename(&first, &store).expect("the first one is back");
    payments.scene.run().expect_refusal("a start", 78, &["two processes worked", "stop `unknown-attempt`"]);
    let looked = look(&payments.scene, &["stop unknown-attempt", "the job writes them again"]);
    let choice = choice(&looked.log);
    let announced = words(&looked, &choice);
    carry_out(&payments.scene, &choice, &[]);
    expect_sound(&payments.scene);
    let mut running = payments.scene.start(None, &[]);
    running.wait_until("all of it", |_| {
        counts(&payments).len() == 5_000 && more_than_once(&counts(&payments)) >= committed
    });
    running.signal(libc::SIGTERM);
    running.wait().expect_success("a stop");
    assert_eq!((counts(&payments).len(), more_than_once(&counts(&payments))), (5_000, committed));
    expect_announced(&announced, committed);
}

#[test]
fn an_empty_volume_begins_anew_and_writes_everything_again() {
    let payments = stopped();
    let store = store(&payments.scene);
    fs::rename(&store, payments.scene.path("lost")).expect("the store is lost");
    payments.scene.run().expect_refusal("a start", 78, &["stop `foreign-store`", "Nothing was fenced"]);
    let looked = look(&payments.scene, &["stop foreign-store", "all output is written again", "--do begin-anew"]);
    assert!(!looked.log.contains("go-on-from"), "an empty store has nothing to go on from:\n{}", looked.log);
    carry_out(&payments.scene, "begin-anew", &[]);
    let mut running = payments.scene.start(None, &[]);
    running.wait_until("all of it again", |_| more_than_once(&counts(&payments)) >= 2_000);
    running.signal(libc::SIGTERM);
    running.wait().expect_success("a stop");
    assert_eq!((more_than_once(&counts(&payments)), counts(&payments).len()), (2_000, 2_000));
    expect_sound(&payments.scene);
}

#[test]
fn a_store_that_a_job_runs_on_is_left_alone() {
    let payments = fed();
    payments.feed(2_000);
    let mut running = payments.scene.start(None, &[]);
    payments.wait_counted(&mut running);
    payments.scene.repair(&[]).expect_refusal("a look at a running job", 75, &["is in use by another process"]);
    payments.finish(running, "while a repair looked");
}
