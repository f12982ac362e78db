//! Rows about the host's own process: killed, stopped, started twice, out of memory, its clock changed.
//!
//! Next room: `broker`.

use crate::fed;
use crate::matrix::Row;
use tidegate_tests::broker;

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
