//! Rows about two or three brokers: a commit while a partition has no leader, and a replica that goes down or lags.
//!
//! Next rooms: `broker`, and `tidegate_tests::hanging`, which makes the transaction that hangs.

use crate::PROGRAM;
use crate::matrix::Row;
use tidegate_tests::cluster::{Cluster, Options};
use tidegate_tests::hanging::commit_without_a_leader;
use tidegate_tests::payments::{self, Payments};
use tidegate_tests::scene::Run;

pub(crate) const ROWS: &[Row] = &[
    Row::slow(
        "the sink's only replica dead at commit",
        "two brokers: the one that holds a sink partition alone dies before the commit of n and comes back after it \
         (KAFKA-20734: the partition misses its control record); the host waits; it is started again",
        "STOP before n+1 produces anything, and again at the next start; the partition is named",
        the_sinks_only_replica_dead_at_commit,
    ),
    Row::slow(
        "the sink's only replica dead at commit, then SIGKILL",
        "the same, and the host is killed while it waits for the partition to be decided; restart",
        "STOP at the start, before anything is produced or aborted",
        the_sinks_only_replica_dead_at_commit_then_sigkill,
    ),
    Row::slow(
        "the marker's only replica dead at commit",
        "the same with the broker that holds the marker's partition alone",
        "STOP before n+1 produces anything, and again at the next start",
        the_markers_only_replica_dead_at_commit,
    ),
    Row::slow(
        "three replicas, one goes down",
        "three brokers, every topic on all of them, two in sync are enough; one that leads partitions is killed under a \
         running job, and comes back; then another",
        "no effect: exact, by the same process",
        one_of_three_replicas_goes_down,
    ),
    Row::slow(
        "a replica lags that is nearer",
        "two brokers in two racks, the job in the rack of a follower (`client.rack`), which stands still while the host is \
         killed after a commit and started again",
        "the start reads the marker from the leader; exact",
        a_nearer_replica_lags,
    ),
    Row::slow(
        "a broker without the job's data stands still at a start",
        "two brokers; the one on which nothing of the job lies is stopped (SIGSTOP) right before a start, six times",
        "each start gets on: it asks the other one",
        a_broker_stands_still_at_a_start,
    ),
];

/// Counted from 1, which is checkpoint 0. Later ones may be without output: all payments may have been read by then.
const FIRST_WITH_OUTPUT: u32 = 2;
/// On which brokers the partitions of payments, alerts and counts lie.
const FIRST: &[i32] = &[1];
const SECOND: &[i32] = &[2];
const PAYMENTS: &[&[i32]] = &[FIRST; 4];
const ALERTS: &[&[i32]] = &[FIRST; 3];

/// A job with the partitions of its counts and its marker where the caller says, and everything else on the first broker.
fn job<'a>(cluster: &'a Cluster, counts: &[&[i32]], marker: &[i32]) -> Payments<'a> {
    let options = payments::Options {
        replicas: Some([PAYMENTS, ALERTS, counts]),
        ..payments::Options::fed(PROGRAM, cluster.addresses())
    };
    let payments = Payments::new(cluster, &options);
    cluster.create_topic_on(&payments.marker_topic(), &[marker], &[("cleanup.policy", "compact")]);
    payments.feed(20_000);
    payments
}

/// The host has stopped; started again it stops again, and has written nothing in between.
fn expect_stop(payments: &Payments<'_>, run: &Run, topic: &str) {
    let open = format!("`{topic}` partition");
    run.expect_refusal("the host that committed", 78, &["still open", &open]);
    expect_stop_at_start(payments, topic);
}

fn expect_stop_at_start(payments: &Payments<'_>, topic: &str) {
    let open = format!("`{topic}` partition");
    let written = payments.counts_written();
    payments.scene.run().expect_refusal("the next start", 78, &["still open", &open, "Nothing was fenced"]);
    assert_eq!(payments.counts_written(), written, "a start wrote something");
    payments.expect_nothing_wrong("after the starts");
}

fn the_sinks_only_replica_dead_at_commit() {
    let cluster = Cluster::start(&Options::default());
    let payments = job(&cluster, &[FIRST, SECOND, FIRST], FIRST);
    let running = commit_without_a_leader(&cluster, &payments, FIRST_WITH_OUTPUT);
    running.go_on();
    let run = running.wait();
    expect_stop(&payments, &run, &payments.counts_topic);
}

fn the_sinks_only_replica_dead_at_commit_then_sigkill() {
    let cluster = Cluster::start(&Options::default());
    let payments = job(&cluster, &[FIRST, SECOND, FIRST], FIRST);
    let running = commit_without_a_leader(&cluster, &payments, FIRST_WITH_OUTPUT);
    running.signal(libc::SIGKILL);
    assert!(running.wait().was_killed());
    expect_stop_at_start(&payments, &payments.counts_topic);
}

fn the_markers_only_replica_dead_at_commit() {
    let cluster = Cluster::start(&Options::default());
    let payments = job(&cluster, &[FIRST; 3], SECOND);
    let running = commit_without_a_leader(&cluster, &payments, FIRST_WITH_OUTPUT);
    running.go_on();
    let run = running.wait();
    expect_stop(&payments, &run, &payments.marker_topic());
}

fn one_of_three_replicas_goes_down() {
    const ALL: [&[i32]; 3] = [&[2, 3, 1], &[3, 1, 2], &[1, 2, 3]];
    let config = vec![("min.insync.replicas", "2"), ("default.replication.factor", "3")];
    let cluster = Cluster::start(&Options { nodes: 3, coordinator_replicas: 3, config, ..Options::default() });
    let payments = &[ALL[0], ALL[1], ALL[2], ALL[0]][..];
    let options = payments::Options {
        replicas: Some([payments, &ALL, &ALL]),
        ..payments::Options::fed(PROGRAM, cluster.addresses())
    };
    let payments = Payments::new(&cluster, &options);
    cluster.create_topic_on(&payments.marker_topic(), &[ALL[0]], &[("cleanup.policy", "compact")]);
    payments.feed(2000);
    let mut running = payments.scene.start(None, &[]);
    for (partition, node) in [(0, 2), (1, 3)] {
        payments.wait_counted(&mut running);
        assert_eq!(cluster.leader(&payments.counts_topic, partition), Some(node), "it leads nothing");
        cluster.kill(node);
        payments.feed(5000);
        payments.wait_counted(&mut running);
        cluster.restart(node);
        payments.feed(5000);
    }
    payments.finish(running, "with one of three down");
}

fn a_nearer_replica_lags() {
    const BOTH: &[i32] = &[1, 2];
    let selector = "org.apache.kafka.common.replica.RackAwareReplicaSelector";
    let config = vec![("replica.selector.class", selector)];
    let cluster = Cluster::start(&Options { config, ..Options::default() });
    let options = payments::Options {
        replicas: Some([&[BOTH; 4], &[BOTH; 3], &[BOTH; 3]]),
        properties: "\"client.rack\" = \"rack-2\"",
        ..payments::Options::fed(PROGRAM, cluster.address(1))
    };
    let payments = Payments::new(&cluster, &options);
    cluster.create_topic_on(&payments.marker_topic(), &[BOTH], &[("cleanup.policy", "compact")]);
    payments.feed(2000);
    let mut running = payments.scene.start(None, &[]);
    payments.wait_counted(&mut running);
    running.signal(libc::SIGTERM);
    running.wait().expect_success("a stop");
    payments.feed(2000);
    let run = payments.scene.run_and_kill("unconfirmed:1");
    assert!(run.was_killed(), "the kill did not hit: {:?}\n{}", run.status, run.log);
    cluster.pause(2);
    let mut running = payments.scene.start(None, &[]);
    running.wait_until("its start", |running| running.log().contains("running from checkpoint"));
    cluster.resume(2);
    payments.finish(running, "beside a replica that lagged");
}

fn a_broker_stands_still_at_a_start() {
    let cluster = Cluster::start(&Options::default());
    let payments = job(&cluster, &[FIRST; 3], FIRST);
    for _ in 0..6 {
        cluster.pause(2);
        let mut running = payments.scene.start(None, &[]);
        running.wait_until("its start", |running| running.log().contains("running from checkpoint"));
        cluster.resume(2);
        payments.wait_counted(&mut running);
        running.signal(libc::SIGTERM);
        running.wait().expect_success("a stop");
    }
    payments.restart_and_finish("after six starts");
}
