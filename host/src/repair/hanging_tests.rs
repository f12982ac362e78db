//! Every way in which a transaction can hang, and what is done about it.

use super::{OpenSeen, Ownership, Plan, Seen, Verdict, decide};
use crate::checkpoint::record::{Marker, PartitionEnd};
use crate::ids::{AttemptId, CheckpointId, StoreId};
use crate::kafka::TopicPartition;
use crate::kafka::open_transactions::{Ending, Fate, Open};
use uuid::Uuid;

fn marker(id: u64) -> Marker {
    Marker {
        id: CheckpointId(id),
        attempt: AttemptId(Uuid::from_u128(1)),
        store: StoreId(Uuid::from_u128(2)),
        digest: id * 10,
    }
}

fn at(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition { topic: topic.to_owned(), partition }
}

fn open(topic: &str, partition: i32, start_offset: i64, owner: Ownership) -> OpenSeen {
    let open = Open { producer_id: 9, producer_epoch: 3, coordinator_epoch: 0, start_offset };
    OpenSeen { at: at(topic, partition), open, owner }
}

fn idle() -> Ownership {
    Ownership::Ours("CompleteCommit".to_owned())
}

/// Checkpoint 5 is the newest one and wrote two partitions up to offset 20.
fn seen(of_marker: u64, fates: [Fate; 2], open: Vec<OpenSeen>) -> Seen {
    let end = |partition| PartitionEnd { topic: "out".to_owned(), partition, end_offset: 20 };
    Seen {
        marker_at: at("tidegate.job", 0),
        marker: Some(marker(of_marker)),
        pending: None,
        newest: Some(marker(5)),
        written: vec![(end(0), fates[0]), (end(1), fates[1])],
        open,
    }
}

fn plan(seen: &Seen) -> Plan {
    match decide(seen) {
        Verdict::End(plan) => plan,
        verdict => panic!("{verdict:?}"),
    }
}

fn endings(plan: &Plan) -> Vec<(String, i32, Ending)> {
    plan.steps.iter().map(|step| (step.at.topic.clone(), step.at.partition, step.ending)).collect()
}

fn out(partition: i32, ending: Ending) -> (String, i32, Ending) {
    ("out".to_owned(), partition, ending)
}

#[test]
fn what_the_marker_names_is_committed() {
    let plan = plan(&seen(5, [Fate::Open, Fate::Committed], vec![open("out", 0, 12, idle())]));
    assert_eq!(endings(&plan), [out(0, Ending::Commit)]);
    assert_eq!((plan.checkpoint, plan.loss), (Some((CheckpointId(5), Ending::Commit)), None));
}

#[test]
fn what_the_marker_does_not_name_is_aborted() {
    for marker_of in [4, 3] {
        let plan = plan(&seen(marker_of, [Fate::Open, Fate::Aborted], vec![open("out", 0, 12, idle())]));
        assert_eq!(endings(&plan), [out(0, Ending::Abort)]);
        assert_eq!(plan.checkpoint, Some((CheckpointId(5), Ending::Abort)));
        assert_eq!(plan.loss, None);
    }
}

#[test]
fn what_began_after_the_newest_checkpoint_is_aborted_whatever_the_marker_says() {
    let plan = plan(&seen(5, [Fate::Committed; 2], vec![open("out", 0, 21, Ownership::Unknown)]));
    assert_eq!(endings(&plan), [out(0, Ending::Abort)]);
    assert_eq!(plan.checkpoint, None);
    assert!(plan.unknown.expect("nobody knows whose it is").contains("producer `9`"));
}

#[test]
fn a_hanging_marker_follows_what_readers_have_seen() {
    let hanging = |fates| Seen {
        pending: Some(marker(5)),
        ..seen(4, fates, vec![open("tidegate.job", 0, 7, idle()), open("out", 1, 15, idle())])
    };
    let marker_place = |ending| ("tidegate.job".to_owned(), 0, ending);
    let committed = plan(&hanging([Fate::Committed, Fate::Open]));
    assert_eq!(endings(&committed), [marker_place(Ending::Commit), out(1, Ending::Commit)]);
    let aborted = plan(&hanging([Fate::Aborted, Fate::Open]));
    assert_eq!(endings(&aborted), [marker_place(Ending::Abort), out(1, Ending::Abort)]);
    // Where the records are gone (retention) nothing is known of that partition.
    for fates in [[Fate::Open; 2], [Fate::Gone, Fate::Open]] {
        let all_of_it = plan(&hanging(fates));
        assert_eq!(endings(&all_of_it), [marker_place(Ending::Commit), out(1, Ending::Commit)]);
        assert!(all_of_it.steps[0].why.contains("all of it hangs"));
    }
}

#[test]
fn a_pending_marker_that_is_not_the_newest_checkpoints_is_aborted() {
    let other_attempt = Marker { attempt: AttemptId(Uuid::from_u128(7)), ..marker(5) };
    for pending in [None, Some(marker(6)), Some(other_attempt)] {
        let seen = Seen { pending, ..seen(4, [Fate::Aborted; 2], vec![open("tidegate.job", 0, 7, idle())]) };
        let plan = plan(&seen);
        assert_eq!(plan.steps[0].ending, Ending::Abort, "{pending:?}");
        assert_eq!(plan.checkpoint, None);
    }
}

#[test]
fn a_checkpoint_without_output_whose_marker_hangs_is_committed() {
    let mut seen = seen(4, [Fate::Open; 2], vec![open("tidegate.job", 0, 7, Ownership::Unknown)]);
    seen.written.clear();
    seen.pending = Some(marker(5));
    assert_eq!(plan(&seen).steps[0].ending, Ending::Commit);
}

#[test]
fn what_somebody_ended_the_wrong_way_is_said() {
    let lost = plan(&seen(5, [Fate::Open, Fate::Aborted], vec![open("out", 0, 12, idle())]));
    assert!(lost.loss.expect("a loss").contains("`out` partition `1` up to offset `20`"));
    let doubled = plan(&seen(4, [Fate::Open, Fate::Committed], vec![open("out", 0, 12, idle())]));
    assert!(doubled.loss.expect("a loss").contains("written again"));
}

#[test]
fn nothing_is_ended_while_somebody_is_at_it() {
    for state in ["Ongoing", "PrepareCommit", "PrepareAbort"] {
        let busy = seen(4, [Fate::Open; 2], vec![open("out", 0, 12, Ownership::Ours(state.to_owned()))]);
        assert_eq!(decide(&busy), Verdict::InHand(state.to_owned()));
    }
    let other = || open("out", 0, 12, Ownership::Other("billing".to_owned()));
    assert!(
        matches!(decide(&seen(5, [Fate::Committed; 2], vec![other()])), Verdict::Wait(why) if why.contains("billing"))
    );
    // Another program's transaction is left alone while ours is ended.
    let both = plan(&seen(5, [Fate::Committed, Fate::Open], vec![other(), open("out", 1, 12, idle())]));
    assert_eq!(endings(&both), [out(1, Ending::Commit)]);
    assert_eq!(decide(&seen(5, [Fate::Committed; 2], Vec::new())), Verdict::Nothing);
}

/// A delayed request has put the partition that missed its commit into another transaction: taking the id over would abort
/// the committed records in it.
#[test]
fn what_was_committed_elsewhere_is_committed_before_a_later_transaction_is_ended() {
    let ongoing = || Ownership::Ours("Ongoing".to_owned());
    let marked = plan(&seen(
        5,
        [Fate::Open, Fate::Committed],
        vec![open("out", 0, 12, ongoing()), open("out", 1, 21, ongoing())],
    ));
    assert_eq!(endings(&marked), [out(0, Ending::Commit)], "the later one is left for the next look");
    let pending =
        Seen { pending: Some(marker(5)), ..seen(4, [Fate::Committed; 2], vec![open("tidegate.job", 0, 7, ongoing())]) };
    assert_eq!(plan(&pending).steps[0].ending, Ending::Commit);
    // Its control records are on their way.
    let preparing = Ownership::Ours("PrepareCommit".to_owned());
    let busy = seen(5, [Fate::Open, Fate::Committed], vec![open("out", 0, 12, preparing)]);
    assert_eq!(decide(&busy), Verdict::InHand("PrepareCommit".to_owned()));
}

#[test]
fn an_empty_store_commits_nothing() {
    let mut seen = seen(5, [Fate::Open; 2], vec![open("out", 0, 12, idle()), open("tidegate.job", 0, 1, idle())]);
    seen.newest = None;
    seen.written.clear();
    assert!(plan(&seen).steps.iter().all(|step| step.ending == Ending::Abort));
}
