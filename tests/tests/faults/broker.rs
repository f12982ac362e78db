//! Rows about one broker's process: killed and started again, or standing still, at each stage of a job.
//!
//! Each row has a broker of its own. Next rooms: `network`, `topics`.

use crate::matrix::Row;
use crate::{PROGRAM, old_broker};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tidegate_tests::broker::{Broker, Options as BrokerOptions};
use tidegate_tests::judge::wait_until;
use tidegate_tests::payments::{Options, Payments};
use tidegate_tests::proxy::{ApiKey, Fault, Rule};
use tidegate_tests::scene::Running;

pub(crate) const ROWS: &[Row] = &[
    Row::slow(
        "SIGKILL in a transaction",
        "the broker is killed when output of n is with it and n is not prepared; it is back after three seconds",
        "exact; where the process ends, it ends with 75",
        killed_in_a_transaction,
    ),
    Row::slow(
        "SIGKILL in a commit",
        "the broker is killed when it has the request to commit; it is back after a second",
        "exact; where the process ends, it ends with 75",
        killed_in_a_commit,
    ),
    Row::elsewhere(
        "SIGKILL in a commit, by the call",
        "the broker is killed when it has the request to commit, and comes back while the commit is repeated, or after",
        "the commit happens once, or its outcome is unknown and the marker decides",
        (
            "tests/tests/kafka_transaction.rs",
            "a_broker_that_dies_in_a_commit_leaves_it_unknown_or_commits_once_when_it_is_back",
        ),
    ),
    Row::slow(
        "SIGKILL in recovery",
        "the host is killed after a commit that it did not confirm; in the recovery from it the broker is killed before the \
         producer is initialised, after it, and before the decision; it is back after three seconds",
        "exact; where the process ends, it ends with 75",
        killed_in_recovery,
    ),
    Row::slow(
        "SIGSTOP, short",
        "the broker stands still for three seconds",
        "exact, by the same process",
        stopped_for_a_while,
    ),
    Row::slow(
        "SIGSTOP, longer than the transaction timeout",
        "the broker stands still for ten seconds, with a transaction timeout of five",
        "exact; where the process ends, it ends with 75",
        stopped_for_longer_than_the_transaction,
    ),
    Row::slow(
        "transaction.version 0",
        "a broker as before Kafka 4; the host is killed when the marker is written, and when the commit is not confirmed",
        "exact",
        version_0,
    ),
];

/// The shortest transaction timeout that the job file's rules allow with room to spare.
pub(crate) fn with_short_transactions<'a>(address: String) -> Options<'a> {
    Options {
        checkpoint: "interval = \"50ms\"\ntimeout = \"2s\"",
        sink_keys: "transaction_timeout = \"5s\"",
        operator_keys: "call_timeout = \"1s\"",
        ..Options::fed(PROGRAM, address)
    }
}

fn killed_in_a_transaction() {
    let broker = Broker::start(&BrokerOptions::default());
    let payments = Payments::new(&broker, &Options::fed(PROGRAM, broker.address()));
    payments.feed(3000);
    let mut running = payments.scene.start_and_stop("aligned:1");
    running.wait_stopped();
    broker.kill();
    running.go_on();
    thread::sleep(Duration::from_secs(3));
    broker.restart();
    let (running, _) = payments.supervise(running);
    payments.finish(running, "killed in a transaction");
}

fn killed_in_a_commit() {
    let broker = Arc::new(Broker::start(&BrokerOptions::default()));
    let proxy = broker.proxy();
    let payments = Payments::new(&broker, &Options::fed(PROGRAM, proxy.address()));
    payments.feed(1000);
    let killed = Arc::clone(&broker);
    let fault = Fault::Hook(Arc::new(move || killed.kill()));
    // Checkpoint 0 has no output.
    proxy.rule(Rule { api: ApiKey::END_TXN, skip: 1, times: 1, fault });
    let running = payments.scene.start(None, &[]);
    wait_until("the broker is killed", || !broker.is_running());
    thread::sleep(Duration::from_secs(1));
    broker.restart();
    let (running, _) = payments.supervise(running);
    payments.finish(running, "killed in a commit");
}

fn killed_in_recovery() {
    let broker = Broker::start(&BrokerOptions::default());
    let payments = Payments::new(&broker, &Options::fed(PROGRAM, broker.address()));
    payments.feed(3000);
    let run = payments.scene.run_and_kill("unconfirmed:2");
    assert!(run.was_killed(), "{}", run.log);
    for moment in ["looked:1", "initialized:1", "settled:1", "recovery:1"] {
        let mut running = payments.scene.start_and_stop(moment);
        running.wait_stopped();
        broker.kill();
        running.go_on();
        thread::sleep(Duration::from_secs(3));
        broker.restart();
        let goes_on = |running: &Running| running.log().contains("running from checkpoint");
        while running.ended().is_none() && !goes_on(&running) {
            thread::sleep(Duration::from_millis(20));
        }
        if running.ended().is_none() {
            running.signal(libc::SIGKILL);
            assert!(running.wait().was_killed());
        } else {
            running.wait().expect_refusal(moment, 75, &[]);
        }
        payments.expect_nothing_wrong(moment);
    }
    payments.restart_and_finish("killed in recovery");
}

fn stopped_for_a_while() {
    let broker = Broker::start(&BrokerOptions::default());
    let payments = Payments::new(&broker, &Options::fed(PROGRAM, broker.address()));
    payments.feed(1000);
    let mut running = payments.scene.start(None, &[]);
    payments.wait_counted(&mut running);
    payments.feed(10_000);
    broker.pause();
    thread::sleep(Duration::from_secs(3));
    broker.resume();
    payments.finish(running, "stopped for a while");
}

fn stopped_for_longer_than_the_transaction() {
    // The controller in the same process must not take the leadership away: a transaction that ends without a leader hangs
    // (KAFKA-20734), which rows of `cluster` show.
    let config = vec![("broker.session.timeout.ms".to_owned(), "60000".to_owned())];
    let broker = Broker::start(&BrokerOptions { config, ..BrokerOptions::default() });
    let payments = Payments::new(&broker, &with_short_transactions(broker.address()));
    payments.feed(3000);
    let mut running = payments.scene.start_and_stop("aligned:1");
    running.wait_stopped();
    broker.pause();
    running.go_on();
    thread::sleep(Duration::from_secs(10));
    broker.resume();
    let (running, _) = payments.supervise(running);
    payments.finish(running, "stopped for longer than the transaction timeout");
}

fn version_0() {
    let broker = old_broker();
    let payments = Payments::new(broker, &Options::fed(PROGRAM, broker.address()));
    for moment in ["marked:2", "unconfirmed:2", "aligned:1", "decided:1"] {
        payments.feed(2000);
        let run = payments.scene.run_and_kill(moment);
        assert!(run.was_killed(), "the kill at {moment} did not hit: {:?}\n{}", run.status, run.log);
        payments.expect_nothing_wrong(moment);
    }
    payments.restart_and_finish("on transaction.version 0");
}
