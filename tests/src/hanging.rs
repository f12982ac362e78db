//! A hanging transaction on demand, as KAFKA-20734 leaves it: committed as far as the coordinator and the marker know, and
//! open for ever in a partition that had no leader when it was committed.
//!
//! Next rooms: [`crate::cluster`], [`crate::payments`].

use crate::cluster::Cluster;
use crate::payments::Payments;
use crate::scene::Running;

/// Runs the job on two brokers until a checkpoint's marker is written and its commit not yet asked for; kills broker 2, on
/// which one of the partitions that it wrote lies alone; lets the host commit, which the coordinator on broker 1 says it has;
/// and brings broker 2 back. The host has not yet asked whether the commit reached all partitions: it stands still (SIGSTOP).
/// `number` counts checkpoints, from 1 (which is checkpoint 0).
///
/// # Panics
/// If the host ends before.
pub fn commit_without_a_leader(cluster: &Cluster, payments: &Payments<'_>, number: u32) -> Running {
    let mut running = payments.scene.start_and_stop(&format!("marked:{number},unconfirmed:{number}"));
    running.wait_stopped();
    cluster.kill(2);
    running.go_on();
    running.wait_stopped();
    assert!(running.log().contains("running from checkpoint"), "nothing was processed yet:\n{}", running.log());
    cluster.restart(2);
    running
}
