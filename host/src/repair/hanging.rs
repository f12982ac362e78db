//! What to do with a transaction that hangs: commit it, abort it, or keep the hands off. Pure.
//!
//! A coordinator of Kafka 4.3 can forget a partition that had no leader when the transaction was ended (KAFKA-20734); there
//! it stays open for ever. The marker decides: of the checkpoint that the marker names everything is committed, everything
//! else is aborted. If the marker itself hangs, the other partitions say what was decided; if all of the checkpoint hangs,
//! nobody has seen any of it, and either way is exact. Next room: the parent, which looks and acts.

use crate::checkpoint::record::{Marker, PartitionEnd};
use crate::ids::CheckpointId;
use crate::kafka::TopicPartition;
use crate::kafka::open_transactions::{Ending, Fate, Open};

/// Everything the decision is made of.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// Where the marker lies.
    pub(super) marker_at: TopicPartition,
    /// The marker as readers of committed records get it.
    pub(super) marker: Option<Marker>,
    /// The marker in the open part of its partition, if that part holds one.
    pub(super) pending: Option<Marker>,
    /// The newest checkpoint in the store, as its marker would look, if there is one.
    pub(super) newest: Option<Marker>,
    /// The partitions that the newest checkpoint wrote (the marker's not among them), and what became of it there.
    pub(super) written: Vec<(PartitionEnd, Fate)>,
    /// Every transaction that is open in a sink's or the marker's partition.
    pub(super) open: Vec<OpenSeen>,
}

/// An open transaction and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OpenSeen {
    /// The partition.
    pub(super) at: TopicPartition,
    /// What its leader says.
    pub(super) open: Open,
    /// Whose the producer is.
    pub(super) owner: Ownership,
}

/// Whose a producer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ownership {
    /// This job's; the coordinator's state of its last transaction.
    Ours(String),
    /// No coordinator knows it any more.
    Unknown,
    /// Another transactional id's.
    Other(String),
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing is open.
    Nothing,
    /// Other programs' transactions are open: what to do.
    Wait(String),
    /// The coordinator has this job's own transaction in hand, in this state: its owner lives, or was killed.
    InHand(String),
    /// End these.
    End(Plan),
}

/// Which transactions are ended, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// One a partition and producer.
    pub(super) steps: Vec<Step>,
    /// The checkpoint that is committed or aborted by it, if any of its partitions hangs.
    pub(super) checkpoint: Option<(CheckpointId, Ending)>,
    /// What is lost whatever is done, because it was lost before.
    pub(super) loss: Option<String>,
    /// Transactions of which nobody knows whose they are, as a sentence.
    pub(super) unknown: Option<String>,
}

/// One transaction in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// The partition.
    pub(super) at: TopicPartition,
    /// The transaction.
    pub(super) open: Open,
    /// How it is ended.
    pub(super) ending: Ending,
    /// Why, as part of a sentence.
    pub(super) why: String,
}

/// States in which the coordinator itself will end the transaction, or somebody goes on with it.
const IN_HAND: [&str; 4] = ["Ongoing", "PrepareCommit", "PrepareAbort", "PrepareEpochFence"];

/// Decides.
pub(super) fn decide(seen: &Seen) -> Verdict {
    let others: Vec<String> = seen.open.iter().filter_map(other).collect();
    let ours: Vec<&OpenSeen> = seen.open.iter().filter(|open| other(open).is_none()).collect();
    if ours.is_empty() {
        return if others.is_empty() { Verdict::Nothing } else { Verdict::Wait(wait_for_others(&others)) };
    }
    let (ending, why) = fate_of_newest(seen);
    let busy = ours.iter().find_map(|open| in_hand(open));
    // What was committed elsewhere is not what the coordinator has in hand now: that one is later, and ending it, as a start
    // would, aborts the stuck part too where a delayed request has put that partition into it.
    let is_stuck = |open: &OpenSeen| is_known_committed(seen) && is_of_newest(seen, open) && !is_being_ended(open);
    let ours: Vec<&OpenSeen> = match busy {
        None => ours,
        Some(state) => {
            let stuck: Vec<&OpenSeen> = ours.into_iter().filter(|open| is_stuck(open)).collect();
            if stuck.is_empty() {
                return Verdict::InHand(state);
            }
            stuck
        }
    };
    let mut steps = Vec::new();
    for open in ours {
        let (ending, why) = match (is_of_newest(seen, open), seen.newest) {
            (true, Some(newest)) => (ending, format!("it belongs to checkpoint `{}`: {why}", newest.id)),
            _ => (Ending::Abort, "it belongs to no checkpoint that happened".to_owned()),
        };
        steps.push(Step { at: open.at.clone(), open: open.open, ending, why });
    }
    let hangs = seen.open.iter().any(|open| is_of_newest(seen, open));
    let checkpoint = seen.newest.filter(|_| hangs).map(|newest| (newest.id, ending));
    Verdict::End(Plan { steps, checkpoint, loss: loss(seen, ending), unknown: unknown(seen) })
}

fn other(open: &OpenSeen) -> Option<String> {
    match &open.owner {
        Ownership::Other(id) => Some(format!("`{id}` in `{}` partition `{}`", open.at.topic, open.at.partition)),
        Ownership::Ours(_) | Ownership::Unknown => None,
    }
}

fn wait_for_others(others: &[String]) -> String {
    format!(
        "open transactions of other programs: {}; wait until they end, or give the job topics of its own",
        others.join(", ")
    )
}

fn in_hand(open: &OpenSeen) -> Option<String> {
    match &open.owner {
        Ownership::Ours(state) if IN_HAND.contains(&state.as_str()) => Some(state.clone()),
        _ => None,
    }
}

/// Whether the coordinator is writing control records for the producer right now.
fn is_being_ended(open: &OpenSeen) -> bool {
    matches!(&open.owner, Ownership::Ours(state) if state.starts_with("Prepare"))
}

/// Whether readers have part of the newest checkpoint, its marker or records: then its commit was decided.
fn is_known_committed(seen: &Seen) -> bool {
    let is_marked = seen.newest.is_some() && seen.marker == seen.newest;
    let is_pending = seen.pending.is_some() && seen.pending == seen.newest;
    is_marked || (is_pending && seen.written.iter().any(|(_, fate)| *fate == Fate::Committed))
}

/// Whether an open transaction wrote the newest checkpoint's records in its partition. That checkpoint drained all of them
/// before it was prepared, so it ends where the store says, and whatever begins later is somebody else's.
fn is_of_newest(seen: &Seen, open: &OpenSeen) -> bool {
    if open.at == seen.marker_at {
        return seen.pending.is_some() && seen.pending == seen.newest;
    }
    let is_there = |end: &PartitionEnd| end.topic == open.at.topic && end.partition == open.at.partition;
    seen.written.iter().any(|(end, _)| is_there(end) && open.open.start_offset < end.end_offset)
}

/// What was decided about the newest checkpoint, and how that is known.
fn fate_of_newest(seen: &Seen) -> (Ending, &'static str) {
    let has = |fate: Fate| seen.written.iter().any(|(_, known)| *known == fate);
    if seen.newest.is_some() && seen.marker == seen.newest {
        return (Ending::Commit, "the marker says that it happened");
    }
    if seen.pending.is_none() || seen.pending != seen.newest {
        return (Ending::Abort, "the marker says that it did not happen");
    }
    if has(Fate::Committed) {
        return (Ending::Commit, "its marker hangs, and readers have seen its records in another partition");
    }
    if has(Fate::Aborted) {
        return (Ending::Abort, "its marker hangs, and it was aborted in another partition");
    }
    (Ending::Commit, "all of it hangs, so nobody has seen any of it, and committing keeps the work")
}

/// Transactions that would be ended although nobody knows whose they are.
fn unknown(seen: &Seen) -> Option<String> {
    let unknown = seen.open.iter().filter(|open| open.owner == Ownership::Unknown);
    let places: Vec<String> = unknown
        .map(|open| {
            format!("producer `{}` in `{}` partition `{}`", open.open.producer_id, open.at.topic, open.at.partition)
        })
        .collect();
    let list = places.join(", ");
    (!places.is_empty()).then(|| {
        format!(
            "no coordinator knows (or lets this connection see) whose these are: {list}; if another program writes to the \
             topic, what it has open is lost to it"
        )
    })
}

/// Where the newest checkpoint was ended the other way, by somebody's hand.
fn loss(seen: &Seen, ending: Ending) -> Option<String> {
    let newest = seen.newest?;
    let (wrong, what) = match ending {
        Ending::Commit => {
            (Fate::Aborted, "was committed, but its records are lost for good, because they were aborted, in")
        }
        Ending::Abort => {
            (Fate::Committed, "did not happen, but its records were committed and will be written again, in")
        }
    };
    let places: Vec<String> = seen
        .written
        .iter()
        .filter(|(_, fate)| *fate == wrong)
        .map(|(end, _)| format!("`{}` partition `{}` up to offset `{}`", end.topic, end.partition, end.end_offset))
        .collect();
    (!places.is_empty()).then(|| format!("checkpoint `{}` {what} {}", newest.id, places.join(", ")))
}

#[cfg(test)]
#[path = "hanging_tests.rs"]
mod tests;
