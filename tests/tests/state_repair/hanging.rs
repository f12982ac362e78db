//! Transactions that hang: found, told apart, and ended as the marker says.

use crate::{PROGRAM, carry_out, expect_sound, look, store, words};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidegate_tests::broker::{self, TransactionVersion};
use tidegate_tests::cluster::{Cluster, Options};
use tidegate_tests::hanging::commit_without_a_leader;
use tidegate_tests::payments::{self, Payments};

const SOON: Duration = Duration::from_secs(30);
/// Counted from 1, which is checkpoint 0.
const WITH_OUTPUT: u32 = 2;
/// What a start says.
const REFUSED: [&str; 4] = ["still open", "Nothing was", "stop `hanging-transaction`", "tidegate state repair"];
const FIRST: &[i32] = &[1];
const SECOND: &[i32] = &[2];

/// Two brokers are two JVMs, so one such test runs at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Brokers with `transaction.version=0`, where a producer's epoch stays from one transaction to the next.
fn old_cluster() -> Cluster {
    Cluster::start(&Options { transaction_version: TransactionVersion::V0, ..Options::default() })
}

/// A job with output in every transaction; alerts, counts and marker lie where the caller says.
fn job<'a>(cluster: &'a Cluster, alerts: &[i32], counts: &[&[i32]], marker: &[i32]) -> Payments<'a> {
    let alerts = [alerts; 3];
    let options = payments::Options {
        replicas: Some([&[FIRST; 4], &alerts, counts]),
        ..payments::Options::fed(PROGRAM, cluster.addresses())
    };
    let payments = Payments::new(cluster, &options);
    cluster.create_topic_on(&payments.marker_topic(), &[marker], &[("cleanup.policy", "compact")]);
    payments.feed(20_000);
    payments
}

/// The checkpoint is committed, a partition missed it, and the host is killed before it could ask.
fn commit_and_kill(cluster: &Cluster, payments: &Payments<'_>) {
    let running = commit_without_a_leader(cluster, payments, WITH_OUTPUT);
    running.signal(libc::SIGKILL);
    assert!(running.wait().was_killed());
    payments.scene.run().expect_refusal("a start that finds it open", 78, &REFUSED);
}

/// The checkpoint is PREPARED and its marker written, not committed; the next start's `init` aborts the transaction while a
/// partition has no leader, so that one misses the abort.
fn abort_without_a_leader(cluster: &Cluster, payments: &Payments<'_>) {
    let run = payments.scene.run_and_kill(&format!("marked:{WITH_OUTPUT}"));
    assert!(run.was_killed(), "the kill did not hit:\n{}", run.log);
    // The marker is read before the transactional id is taken over, so its broker must be there until then.
    let mut running = payments.scene.start_and_stop("looked:1,initialized:1");
    running.wait_stopped();
    cluster.kill(2);
    running.go_on();
    running.wait_stopped();
    cluster.restart(2);
    running.go_on();
    running.wait().expect_refusal("a start that finds it open", 78, &REFUSED);
}

/// From the stop to an exact result.
fn mend(payments: &Payments<'_>, said: &[&str]) {
    let written = payments.counts_written();
    look(&payments.scene, said);
    let run = carry_out(&payments.scene, "end-transactions", &[]);
    assert!(run.log.contains("the marker says checkpoint"), "{}", run.log);
    expect_sound(&payments.scene);
    assert_eq!(payments.counts_written(), written, "a repair wrote output");
    payments.expect_nothing_wrong("after the repair");
    payments.restart_and_finish("after the repair");
}

#[test]
fn a_committed_checkpoint_that_hangs_in_a_sink_partition_is_committed_there() {
    let _alone = alone();
    let cluster = Cluster::start(&Options::default());
    let payments = job(&cluster, FIRST, &[FIRST, SECOND, FIRST], FIRST);
    commit_and_kill(&cluster, &payments);
    let place = format!("COMMIT in `{}` partition `1`", payments.counts_topic);
    mend(&payments, &[&place, "the marker says that it happened", "loses and doubles nothing"]);
}

#[test]
fn an_aborted_checkpoint_that_hangs_in_a_sink_partition_is_aborted_there() {
    let _alone = alone();
    let cluster = Cluster::start(&Options::default());
    let payments = job(&cluster, FIRST, &[FIRST, SECOND, FIRST], FIRST);
    abort_without_a_leader(&cluster, &payments);
    let place = format!("ABORT in `{}` partition `1`", payments.counts_topic);
    mend(&payments, &[&place, "the marker says that it did not happen", "loses and doubles nothing"]);
}

#[test]
fn a_marker_that_hangs_is_committed_when_readers_have_seen_its_checkpoint() {
    let _alone = alone();
    let cluster = old_cluster();
    let payments = job(&cluster, FIRST, &[FIRST; 3], SECOND);
    commit_and_kill(&cluster, &payments);
    let place = format!("COMMIT in `{}` partition `0`", payments.marker_topic());
    mend(&payments, &[&place, "readers have seen its records in another partition"]);
}

#[test]
fn a_marker_that_hangs_gives_an_old_copy_of_the_store_away() {
    let _alone = alone();
    let cluster = old_cluster();
    let payments = job(&cluster, FIRST, &[FIRST; 3], SECOND);
    let run = payments.scene.run_and_kill("started:1");
    assert!(run.was_killed(), "the kill did not hit:\n{}", run.log);
    let (store, old, newer) = (store(&payments.scene), payments.scene.path("old-copy"), payments.scene.path("newer"));
    fs::copy(&store, &old).expect("the store is copied");
    let running = commit_without_a_leader(&cluster, &payments, 1);
    running.signal(libc::SIGKILL);
    assert!(running.wait().was_killed());

    fs::rename(&store, &newer).expect("the store is moved aside");
    fs::rename(&old, &store).expect("the old copy is put in its place");
    payments.scene.run().expect_refusal("a start with the old copy", 78, &["an older copy", "stop `store-behind`"]);
    let said = ["stop store-behind", "this is not the store that wrote last", "ABORT in"];
    let looked = look(&payments.scene, &said);
    assert_eq!(words(&looked, "end-transactions"), "end them without the right store");

    fs::rename(&newer, &store).expect("the newer store is put back");
    let place = format!("COMMIT in `{}` partition `0`", payments.marker_topic());
    mend(&payments, &[&place, "readers have seen its records in another partition"]);
}

#[test]
fn a_marker_that_hangs_is_aborted_when_its_checkpoint_was_aborted_elsewhere() {
    let _alone = alone();
    let cluster = old_cluster();
    let payments = job(&cluster, FIRST, &[FIRST; 3], SECOND);
    abort_without_a_leader(&cluster, &payments);
    let place = format!("ABORT in `{}` partition `0`", payments.marker_topic());
    mend(&payments, &[&place, "it was aborted in another partition"]);
}

#[test]
fn a_checkpoint_of_which_all_hangs_is_committed_whole() {
    let _alone = alone();
    let cluster = Cluster::start(&Options::default());
    let payments = job(&cluster, SECOND, &[SECOND; 3], SECOND);
    commit_and_kill(&cluster, &payments);
    let place = format!("COMMIT in `{}` partition `0`", payments.marker_topic());
    mend(&payments, &[&place, "all of it hangs"]);
}

#[test]
fn a_transaction_that_the_coordinator_will_end_is_left_to_it() {
    let broker = broker::shared();
    let payments = Payments::new(broker, &payments::Options::fed(PROGRAM, broker.address()));
    payments.feed(20_000);
    let run = payments.scene.run_and_kill("marked:2");
    assert!(run.was_killed(), "the kill did not hit:\n{}", run.log);
    let looked =
        look(&payments.scene, &["in hand (`Ongoing`)", "the next start ends its transaction", "--do take-over"]);
    assert!(!looked.log.contains("end-transactions"), "{}", looked.log);
    carry_out(&payments.scene, "take-over", &[]);
    expect_sound(&payments.scene);
    payments.restart_and_finish("after the transactional id was taken over");
}

#[test]
fn a_transaction_of_another_program_is_left_alone() {
    let broker = broker::shared();
    let payments = Payments::new(broker, &payments::Options::fed(PROGRAM, broker.address()));
    payments.feed(2_000);
    let run = payments.scene.run_and_kill("committed:2");
    assert!(run.was_killed(), "the kill did not hit:\n{}", run.log);
    // Ends what the killed one left open.
    let mut running = payments.scene.start(None, &[]);
    payments.wait_counted(&mut running);
    running.signal(libc::SIGTERM);
    running.wait().expect_success("a stop");

    let other: BaseProducer = broker.client().set("transactional.id", "billing").create().expect("a producer");
    other.init_transactions(SOON).expect("it gets its id");
    other.begin_transaction().expect("it begins");
    other.send(BaseRecord::<[u8], [u8]>::to(&payments.alerts_topic).partition(0).payload(b"{}")).expect("it is taken");
    other.flush(SOON).expect("the broker has it");
    let looked =
        look(&payments.scene, &["open transactions of other programs", "`billing`", "nothing is to be done here"]);
    assert!(!looked.log.contains("--do"), "{}", looked.log);
    other.abort_transaction(SOON).expect("it ends");
    expect_sound(&payments.scene);
    payments.restart_and_finish("after the other program");
}
