//! Which checkpoint of this store may be made the truth when store and marker contradict each other, and at what price. Pure.
//!
//! The price is output: written twice if the job goes on from before it, lost if it goes on from after something that did
//! not happen. Next room: the parent, which asks a person and writes the new marker.

use crate::checkpoint::record::Decider;
use crate::checkpoint::recovery::StoreFacts;
use crate::ids::CheckpointId;
use crate::kafka::open_transactions::Fate;

/// Whether the PREPARED checkpoint happened, as far as the sink topics (or the store itself) say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Happened {
    /// Readers have its records, or it was the store's to decide.
    Yes,
    /// Its records were aborted.
    No,
    /// Nothing tells.
    Unknown,
}

/// A checkpoint to go on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Its number.
    pub(super) checkpoint: CheckpointId,
    /// What is lost or doubled, a sentence each; empty: nothing.
    pub(super) price: Vec<String>,
    /// What a person types to accept the price; `None`: the job's name will do.
    pub(super) words: Option<String>,
}

/// What the sink topics say about the PREPARED checkpoint.
pub(super) fn happened(recorded: Option<&Decider>, fates: &[Fate]) -> Happened {
    if recorded == Some(&Decider::Store) {
        return Happened::Yes;
    }
    match (fates.contains(&Fate::Committed), fates.contains(&Fate::Aborted)) {
        (true, _) => Happened::Yes,
        (false, true) => Happened::No,
        (false, false) => Happened::Unknown,
    }
}

/// The checkpoints of a store that may be gone on from, the better one first. `later` says how many records at most stand in
/// the sink topics behind a checkpoint's own.
pub(super) fn candidates(
    facts: &StoreFacts,
    prepared: Happened,
    later: impl Fn(CheckpointId) -> Option<u64>,
) -> Vec<Candidate> {
    let committed = facts.committed.map(|stored| stored.id);
    let Some(undecided) = facts.prepared.map(|stored| stored.id) else {
        return committed.map(|id| candidate(id, later(id), None)).into_iter().collect();
    };
    let from_undecided = |risk| candidate(undecided, later(undecided), risk);
    match prepared {
        Happened::Yes => vec![from_undecided(None)],
        // What was aborted stands behind the committed one's output, and nobody gets it.
        Happened::No => committed.map(|id| candidate(id, later(undecided), None)).into_iter().collect(),
        Happened::Unknown => {
            let lost = Some(format!("if checkpoint `{undecided}` did not happen, its output is lost"));
            let doubled = Some(format!("if checkpoint `{undecided}` happened, its output is written twice"));
            let committed = committed.map(|id| candidate(id, later(id), doubled));
            committed.into_iter().chain([from_undecided(lost)]).collect()
        }
    }
}

fn candidate(checkpoint: CheckpointId, later: Option<u64>, risk: Option<String>) -> Candidate {
    let words = match (later, &risk) {
        (Some(0), None) => None,
        (Some(0), Some(_)) | (None, _) => Some(format!("go on from checkpoint {checkpoint}")),
        (Some(records), _) => Some(format!("write up to {records} records twice")),
    };
    let doubled = match later {
        Some(0) => None,
        Some(records) => Some(format!(
            "up to {records} records stand in the sink topics behind checkpoint `{checkpoint}`; the job writes them again"
        )),
        None => Some(format!(
            "how many records stand in the sink topics behind checkpoint `{checkpoint}` is not known; the job writes them again"
        )),
    };
    Candidate { checkpoint, price: risk.into_iter().chain(doubled).collect(), words }
}

#[cfg(test)]
mod tests {
    use super::{Candidate, Happened, candidates, happened};
    use crate::checkpoint::record::Decider;
    use crate::checkpoint::recovery::{StoreFacts, Stored};
    use crate::ids::{AttemptId, CheckpointId, StoreId};
    use crate::kafka::open_transactions::Fate;
    use uuid::Uuid;

    fn facts(committed: Option<u64>, prepared: Option<u64>) -> StoreFacts {
        let stored = |id| Stored { id: CheckpointId(id), attempt: AttemptId(Uuid::nil()), digest: 0 };
        StoreFacts {
            store: StoreId(Uuid::nil()),
            committed: committed.map(stored),
            prepared: prepared.map(stored),
            highest: prepared.or(committed).map(CheckpointId),
        }
    }

    fn numbers(candidates: &[Candidate]) -> Vec<(u64, bool)> {
        candidates.iter().map(|candidate| (candidate.checkpoint.0, candidate.price.is_empty())).collect()
    }

    #[test]
    fn the_sink_topics_say_whether_a_checkpoint_happened() {
        assert_eq!(happened(Some(&Decider::Store), &[]), Happened::Yes);
        assert_eq!(happened(None, &[Fate::Gone, Fate::Committed]), Happened::Yes);
        assert_eq!(happened(None, &[Fate::Aborted, Fate::Gone]), Happened::No);
        assert_eq!(happened(None, &[Fate::Gone]), Happened::Unknown);
        assert_eq!(happened(None, &[]), Happened::Unknown);
    }

    #[test]
    fn what_is_proven_is_offered_alone_and_costs_nothing() {
        let nothing_later = |_| Some(0);
        assert_eq!(numbers(&candidates(&facts(Some(4), None), Happened::Unknown, nothing_later)), [(4, true)]);
        assert_eq!(numbers(&candidates(&facts(Some(4), Some(5)), Happened::Yes, nothing_later)), [(5, true)]);
        assert_eq!(numbers(&candidates(&facts(Some(4), Some(5)), Happened::No, nothing_later)), [(4, true)]);
        let aborted_behind = |id| Some(if id == CheckpointId(4) { 100 } else { 0 });
        assert_eq!(numbers(&candidates(&facts(Some(4), Some(5)), Happened::No, aborted_behind)), [(4, true)]);
        assert_eq!(numbers(&candidates(&facts(None, None), Happened::Unknown, nothing_later)), []);
    }

    #[test]
    fn what_is_not_proven_is_a_choice_with_a_price_and_words() {
        let both = candidates(&facts(Some(4), Some(5)), Happened::Unknown, |_| Some(0));
        assert_eq!(numbers(&both), [(4, false), (5, false)]);
        assert!(both[0].price[0].contains("written twice") && both[1].price[0].contains("is lost"));
        assert!(both.iter().all(|candidate| candidate.words.is_some()));
        let behind = candidates(&facts(Some(4), None), Happened::Unknown, |_| Some(17));
        assert_eq!(behind[0].words.as_deref(), Some("write up to 17 records twice"));
        let unknown = candidates(&facts(Some(4), None), Happened::Unknown, |_| None);
        assert_eq!(unknown[0].words.as_deref(), Some("go on from checkpoint 4"));
    }
}
