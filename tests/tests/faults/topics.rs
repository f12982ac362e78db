//! Rows about what others do to the topics and the transactions of a job while it runs, or while it does not.
//!
//! Next rooms: `network`, `cluster`.

use crate::broker::with_short_transactions;
use crate::fed;
use crate::matrix::Row;
use rdkafka::producer::{BaseRecord, Producer};
use std::time::Duration;
use tidegate_tests::broker;
use tidegate_tests::judge::NewRecord;
use tidegate_tests::payments::Payments;
use tidegate_tests::scene::Running;

pub(crate) const ROWS: &[Row] = &[
    Row::quick(
        "source topic made again while stopped",
        "the job is stopped; its source's topic is deleted and made again, with more records than the old one had",
        "STOP: the topic is another one",
        source_made_again_while_stopped,
    ),
    Row::slow(
        "source topic made again while running",
        "the source's topic is deleted and made again, with more records, under a running job",
        "STOP: the topic is another one",
        source_made_again_while_running,
    ),
    Row::slow(
        "sink topic deleted while running",
        "a sink's topic is deleted under a running job, which then has output for it",
        "the process ends (75); the next start is a STOP that names the topic",
        sink_deleted_while_running,
    ),
    Row::slow(
        "sink topic deleted between commit and confirm",
        "the commit is acknowledged; before the host asks whether it reached every partition, the sink's topic is deleted",
        "STOP: the topic is named; no silent wait",
        sink_deleted_before_confirm,
    ),
    Row::quick(
        "marker's topic made again while stopped",
        "the job is stopped; the marker's topic is deleted, and made again by the next start or by hand",
        "STOP: decided by another topic",
        marker_made_again_while_stopped,
    ),
    Row::slow(
        "marker's topic deleted while running",
        "the marker's topic is deleted under a running job, which then has a checkpoint to decide",
        "the process ends (75); the next start is a STOP: decided by another topic",
        marker_deleted_while_running,
    ),
    Row::slow(
        "partitions added to the source",
        "the source's topic grows under a running job, and the new partition gets records",
        "exact: the new partition is read from its start, by the same process",
        source_grows,
    ),
    Row::slow(
        "partitions added to a sink",
        "the sink's topic grows under a running job, which is started again after that",
        "exact; only the order across the change of partitions is lost",
        sink_grows,
    ),
    Row::quick(
        "retention took the offsets to resume from",
        "the job is stopped; the broker deletes the records from its position on and more",
        "STOP: the position is named",
        retention,
    ),
    Row::quick(
        "transaction ended by an administrator",
        "an administrator takes the job's transactional id, which aborts the open transaction (as Kafka's own \
         `forceTerminateTransaction` does)",
        "the process ends (75); the next start is exact",
        aborted_by_an_administrator,
    ),
    Row::slow(
        "somebody's open transaction in a sink partition at start",
        "another producer has a transaction open in a partition of a sink when the job is started",
        "STOP before anything is written, the partition is named; exact when the other one has ended",
        open_transaction_at_start,
    ),
];

/// A job that has counted some payments and was stopped.
fn stopped() -> Payments<'static> {
    let payments = fed(broker::shared());
    payments.feed(2000);
    let running = counted(&payments);
    running.signal(libc::SIGTERM);
    running.wait().expect_success("a stop");
    payments
}

/// A job whose checkpoints may take two seconds.
fn impatient() -> Payments<'static> {
    let payments = Payments::new(broker::shared(), &with_short_transactions(broker::shared().address()));
    payments.feed(2000);
    payments
}

/// A job that has counted all that it was fed and goes on.
fn counted(payments: &Payments<'_>) -> Running {
    let mut running = payments.scene.start(None, &[]);
    payments.wait_counted(&mut running);
    running
}

/// Deletes a topic and makes it again with more records than it had.
fn make_again(topic: &str, partitions: i32) {
    let broker = broker::shared();
    broker.delete_topic(topic);
    broker.create_topic(topic, partitions, &[]);
    let value = br#"{"user_id":"somebody else","timestamp":1767225600000}"#;
    let new =
        |at: i32| NewRecord { partition: at % partitions, key: None, value: Some(value), timestamp: 1_767_225_600_000 };
    broker.produce(topic, (0..5000).map(new));
}

fn source_made_again_while_stopped() {
    let payments = stopped();
    make_again(&payments.payments_topic, 4);
    let topic = format!("`{}`", payments.payments_topic);
    payments.scene.run().expect_refusal("the next start", 78, &[&topic]);
    payments.expect_nothing_wrong("the next start");
}

fn source_made_again_while_running() {
    let payments = fed(broker::shared());
    payments.feed(2000);
    let running = counted(&payments);
    make_again(&payments.payments_topic, 4);
    let topic = format!("`{}`", payments.payments_topic);
    running.wait().expect_refusal("the running job", 78, &[&topic]);
    payments.expect_nothing_wrong("the running job");
}

fn sink_deleted_while_running() {
    let payments = impatient();
    let running = counted(&payments);
    broker::shared().delete_topic(&payments.counts_topic);
    payments.feed(2000);
    running.wait().expect_refusal("the running job", 75, &[]);
    payments.scene.run().expect_refusal("the next start", 78, &[&payments.counts_topic, "does not exist"]);
}

fn sink_deleted_before_confirm() {
    let payments = fed(broker::shared());
    payments.feed(2000);
    let mut running = payments.scene.start_and_stop("unconfirmed:2");
    running.wait_stopped();
    broker::shared().delete_topic(&payments.counts_topic);
    running.go_on();
    running.wait().expect_refusal(
        "the waiting job",
        78,
        &[&payments.counts_topic, "is committed, but the brokers refuse"],
    );
}

fn marker_made_again_while_stopped() {
    let payments = stopped();
    broker::shared().delete_topic(&payments.marker_topic());
    let said = ["decided by", &payments.marker_topic()];
    payments.scene.run().expect_refusal("the start that makes it again", 78, &said);
    payments.scene.run().expect_refusal("the start after that", 78, &said);
    payments.expect_nothing_wrong("the starts");
}

fn marker_deleted_while_running() {
    let payments = impatient();
    let running = counted(&payments);
    broker::shared().delete_topic(&payments.marker_topic());
    payments.feed(2000);
    running.wait().expect_refusal("the running job", 75, &[]);
    payments.scene.run().expect_refusal("the next start", 78, &["decided by", &payments.marker_topic()]);
    payments.expect_nothing_wrong("the next start");
}

fn source_grows() {
    let payments = fed(broker::shared());
    payments.feed(2000);
    let mut running = counted(&payments);
    broker::shared().grow_topic(&payments.payments_topic, 5);
    payments.feed_to(2000, 4);
    payments.wait_counted(&mut running);
    payments.finish(running, "with a new partition");
}

fn sink_grows() {
    let payments = fed(broker::shared());
    payments.feed(2000);
    let mut running = counted(&payments);
    broker::shared().grow_topic(&payments.counts_topic, 5);
    payments.feed(2000);
    payments.wait_counted(&mut running);
    running.signal(libc::SIGTERM);
    running.wait().expect_success("the job with new partitions");
    payments.feed(2000);
    let running = counted(&payments);
    running.signal(libc::SIGTERM);
    running.wait().expect_success("the next start");
    payments.expect_counted_once("with new partitions");
}

fn retention() {
    let payments = stopped();
    payments.feed(2000);
    for partition in 0..4 {
        broker::shared().delete_records(&payments.payments_topic, partition, 700);
    }
    let topic = format!("`{}`", payments.payments_topic);
    payments.scene.run().expect_refusal("the next start", 78, &[&topic]);
    payments.expect_nothing_wrong("the next start");
}

fn aborted_by_an_administrator() {
    let payments = fed(broker::shared());
    payments.feed(2000);
    let mut running = payments.scene.start_and_stop("aligned:1");
    running.wait_stopped();
    drop(broker::shared().transactional(&payments.marker_topic()));
    running.go_on();
    running.wait().expect_refusal("the running job", 75, &["fenced"]);
    payments.restart_and_finish("after the abort");
}

fn open_transaction_at_start() {
    let payments = stopped();
    let other = broker::shared().transactional(&format!("other-{}", payments.job));
    other.begin_transaction().expect("a transaction begins");
    let record = BaseRecord::<str, str>::to(&payments.counts_topic).partition(1).key("k").payload("not ours");
    other.send(record).expect("the queue has room");
    other.flush(Duration::from_secs(10)).expect("the broker takes it");
    let written = payments.counts_written();
    let open = format!("`{}` partition `1`", payments.counts_topic);
    payments.scene.run().expect_refusal("with an open transaction", 78, &["still open", &open, "Nothing was written"]);
    assert_eq!(payments.counts_written(), written, "the start wrote something");
    other.abort_transaction(Duration::from_secs(10)).expect("the broker answers");
    payments.restart_and_finish("when the other one has ended");
}
