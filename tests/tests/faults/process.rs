//! Rows about the host's own process: killed, stopped, started twice, out of memory, its clock changed.
//!
//! Next room: `broker`.

use crate::broker::with_short_transactions;
use crate::machine::{Clock, Squeezed};
use crate::matrix::Row;
use crate::{PROGRAM, fed};
use std::thread;
use std::time::Duration;
use tidegate::probe::POINTS;
use tidegate_tests::broker;
use tidegate_tests::payments::{Options, Payments};
use tidegate_tests::proxy::{ApiKey, Fault};

pub(crate) const ROWS: &[Row] = &[
    Row::quick(
        "two instances at once, one store",
        "a second process is started on the store of a running one",
        "the second ends (75) and says who has the store; the first goes on, exact",
        two_instances_on_one_store,
    ),
    Row::slow(
        "two instances, one after the other",
        "a process stands still (SIGSTOP) in the middle of its work; its store is moved to another folder, where a second one \
         goes on; then the first one wakes up (SIGCONT)",
        "the first is fenced and ends (75) without a record that a reader sees; the second is exact",
        zombie_with_a_successor_elsewhere,
    ),
    Row::quick(
        "two instances started at once",
        "two processes are started on an empty folder at the same time",
        "one runs, the other ends (75) and says who has the store; exact",
        two_instances_started_at_once,
    ),
    Row::elsewhere(
        "two instances, each with its own store",
        "a second process with an empty store is started beside a healthy one, three times",
        "the second is a STOP and fences nobody; the first goes on, exact",
        ("tests/tests/exactly_once_kafka.rs", "a_healthy_instance_is_not_harmed_by_one_with_an_empty_store"),
    ),
    Row::slow(
        "SIGSTOP for longer than the transaction timeout",
        "the host stands still for eight seconds in a transaction that may be open for five, and goes on",
        "what the broker aborted never becomes visible: 75, and the next start is exact",
        stopped_for_longer_than_the_transaction,
    ),
    Row::slow(
        "SIGKILL at each fail point",
        "SIGKILL at every one of the host's fail points (those of an undo are another row's), on one store after the other \
         state that reaches it: a first start, a run, a promote, a roll back, a doubtful producer, an emptied operator",
        "nothing wrong is visible after any of them; exact at the end",
        killed_at_each_fail_point,
    ),
    Row::slow(
        "out of memory",
        "the process takes more memory than its control group allows, and the kernel kills it in the middle of its work",
        "the next start is exact",
        out_of_memory,
    ),
    Row::slow(
        "the clock jumps",
        "the wall clock of the host jumps an hour and more forward, back, and an hour and more back, while it works; once it \
         is started anew with each",
        "exact, by the same process each time",
        clock_jumps,
    ),
    Row::elsewhere(
        "SIGKILL around a checkpoint's steps",
        "SIGKILL at the moments of a checkpoint that decide: prepared, marked, unconfirmed and others; restart",
        "exact",
        ("tests/tests/exactly_once_kafka.rs", "a_kill_at_any_moment_of_a_checkpoint_loses_and_doubles_nothing"),
    ),
    Row::elsewhere(
        "SIGKILL in recovery",
        "SIGKILL in a checkpoint, then again in the recovery from it; restart",
        "exact",
        ("tests/tests/exactly_once_kafka.rs", "a_kill_in_recovery_loses_and_doubles_nothing"),
    ),
];

fn two_instances_on_one_store() {
    let payments = fed(broker::shared());
    payments.feed(1000);
    let mut first = payments.scene.start(None, &[]);
    payments.wait_counted(&mut first);
    payments.scene.run().expect_refusal("the second", 75, &["another process"]);
    payments.finish(first, "the first");
}

fn zombie_with_a_successor_elsewhere() {
    let payments = fed(broker::shared());
    payments.feed(5000);
    let mut zombie = payments.scene.start(None, &[]);
    zombie.wait_until("its first counts", |_| payments.counts_visible() > 0);
    zombie.signal(libc::SIGSTOP);
    let store = payments.scene.path(&format!("{}.redb", payments.job));
    std::fs::copy(&store, payments.scene.path("copy.redb")).expect("the store is copied");
    std::fs::remove_file(&store).expect("the store is removed");
    std::fs::rename(payments.scene.path("copy.redb"), &store).expect("the copy takes its place");
    let mut successor = payments.scene.start(None, &[]);
    payments.feed(5000);
    payments.wait_counted(&mut successor);
    zombie.signal(libc::SIGCONT);
    zombie.wait().expect_refusal("the zombie", 75, &["was fenced"]);
    payments.finish(successor, "the successor");
}

fn two_instances_started_at_once() {
    let payments = fed(broker::shared());
    payments.feed(1000);
    let (mut one, mut other) = (payments.scene.start(None, &[]), payments.scene.start(None, &[]));
    while one.ended().is_none() && other.ended().is_none() {
        thread::sleep(Duration::from_millis(10));
    }
    let (winner, loser) = if one.ended().is_some() { (other, one) } else { (one, other) };
    loser.wait().expect_refusal("the loser", 75, &["another process"]);
    payments.finish(winner, "the winner");
}

fn stopped_for_longer_than_the_transaction() {
    let payments = Payments::new(broker::shared(), &with_short_transactions(broker::shared().address()));
    payments.feed(3000);
    let mut running = payments.scene.start_and_stop("aligned:1");
    running.wait_stopped();
    let (written, visible) = (payments.counts_written(), payments.counts_visible());
    assert!(written > visible, "no transaction is open: this tests nothing");
    thread::sleep(Duration::from_secs(8));
    running.go_on();
    running.wait().expect_refusal("the process that slept", 75, &[]);
    assert_eq!(payments.counts_visible(), visible, "something of the aborted transaction is visible");
    payments.restart_and_finish("after the sleep");
}

fn out_of_memory() {
    let payments = fed(broker::shared());
    payments.feed(1000);
    let mut running = payments.scene.start(None, &[]);
    payments.wait_counted(&mut running);
    let squeezed = Squeezed::new(&running);
    payments.feed(40_000);
    let run = running.wait();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&run.status), Some(squeezed.signal), "{}", run.log);
    payments.expect_nothing_wrong("out of memory");
    payments.restart_and_finish("with enough memory");
}

fn clock_jumps() {
    // More than the hour by which a broker lets a record's time be ahead of its own.
    const HOUR: i64 = 3700;
    let mut payments = fed(broker::shared());
    let clock = Clock::of(&mut payments.scene);
    payments.feed(1000);
    let mut running = payments.scene.start(None, &[]);
    for shift in [HOUR, 0, -HOUR, 0] {
        payments.wait_counted(&mut running);
        clock.jump(shift);
        for _ in 0..5 {
            payments.feed(500);
            payments.wait_counted(&mut running);
        }
    }
    for shift in [HOUR, -HOUR, 0] {
        running.signal(libc::SIGTERM);
        running.wait().expect_success("a stop after a jump");
        clock.jump(shift);
        payments.feed(500);
        running = payments.scene.start(None, &[]);
        payments.wait_counted(&mut running);
    }
    payments.finish(running, "after all jumps");
}

/// `tests/tests/dead_letters/kills.rs` kills there: it takes a plugin that fails on a record.
const OF_AN_UNDO: [&str; 3] = ["undoing", "repeated", "undone"];

/// What is done before a fail point may be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// Nothing: a store that is used.
    Used,
    /// A kill after a commit: the start promotes.
    Committed,
    /// A kill before a commit: the start rolls back.
    Prepared,
    /// A new job: the start makes everything.
    New,
    /// The first end of a transaction loses its answer: the producer is replaced.
    Doubtful,
    /// An operator's state is emptied by the start.
    Emptied,
}

fn killed_at_each_fail_point() {
    let broker = broker::shared();
    let proxy = broker.proxy();
    let options = Options { file: true, records: 60_000, ..Options::fed(PROGRAM, proxy.address()) };
    let payments = Payments::new(broker, &options);
    let mut left: Vec<&str> = POINTS.iter().copied().filter(|point| !OF_AN_UNDO.contains(point)).collect();
    for before in [Before::Used, Before::Committed, Before::Prepared, Before::New, Before::Doubtful, Before::Emptied] {
        left.retain(|point| match before {
            Before::Doubtful => {
                proxy.next(ApiKey::END_TXN, Fault::CutAfter);
                let is_hit = is_hit(&payments, point, before);
                proxy.clear();
                !is_hit
            }
            Before::New => !is_hit(&Payments::new(broker, &options), point, before),
            Before::Emptied => {
                let payments = Payments::new(broker, &options);
                run_to(&payments, None, &[]);
                !is_hit(&payments, point, before)
            }
            _ => !is_hit(&payments, point, before),
        });
        eprintln!("fail points left after {before:?}: {left:?}");
    }
    payments.restart_and_finish("after a kill at each fail point");
    assert!(left.is_empty(), "these fail points were never reached: {left:?}");
}

/// Feeds some payments, runs until they are counted, and stops. Whether a kill came before.
fn run_to(payments: &Payments<'_>, kill_at: Option<&str>, arguments: &[&str]) -> bool {
    payments.feed(100);
    let mut running = payments.scene.start(kill_at, arguments);
    while running.ended().is_none() && !payments.is_counted() {
        thread::sleep(Duration::from_millis(10));
    }
    if running.ended().is_none() {
        running.signal(libc::SIGTERM);
    }
    let run = running.wait();
    let what = kill_at.unwrap_or("a stop");
    assert!(run.was_killed() || run.status.success(), "{what}: {:?}\n{}", run.status, run.log);
    payments.expect_nothing_wrong(what);
    run.was_killed()
}

/// Whether the kill at this point hits.
fn is_hit(payments: &Payments<'_>, point: &str, before: Before) -> bool {
    match before {
        Before::Committed => run_to(payments, Some("unconfirmed:1"), &[]),
        Before::Prepared => run_to(payments, Some("prepared:1"), &[]),
        _ => false,
    };
    let arguments: &[&str] = if before == Before::Emptied { &["--fresh", "count"] } else { &[] };
    run_to(payments, Some(&format!("{point}:1")), arguments)
}
