//! What to do after a start: the recovery table, as a pure function of what the store and the marker say.
//!
//! The decider (the Kafka cluster of the sink, or the store itself) knows whether checkpoint n happened; the store knows what
//! n was. No I/O here, no clock: the caller reads, asks and acts. It asks twice: before the transactional producer is
//! initialised, because an instance with a foreign or an empty store must stop without fencing a healthy one; and again
//! afterwards, when nothing of an older process can change the answer any more. Next room: [`super::protocol`].

use super::record::Marker;
use crate::ids::{AttemptId, CheckpointId, StoreId};
use crate::seeded::{self, Bug};
use crate::stops::Stop;
use std::fmt;

/// What the store says when it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreFacts {
    /// The store's identity.
    pub store: StoreId,
    /// The last COMMITTED checkpoint.
    pub committed: Option<Stored>,
    /// The PREPARED one above it.
    pub prepared: Option<Stored>,
    /// The highest number ever prepared.
    pub highest: Option<CheckpointId>,
}

/// A checkpoint in the store, as far as the decision needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its number.
    pub id: CheckpointId,
    /// The attempt that prepared it.
    pub attempt: AttemptId,
    /// Digest of its record.
    pub digest: u64,
}

/// What the decider says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The store decides for itself: PREPARED is the decision.
    StoreDecides,
    /// The markers do.
    Markers(Markers),
}

/// What the marker's topic holds of the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Markers {
    /// The last committed one, as readers get it: it decides.
    pub committed: Option<Marker>,
    /// The last one that was written, whatever became of its transaction. It decides nothing; but PREPARED is durable before a
    /// marker is written, so a store that never gave its number is an older copy.
    pub written: Option<Marker>,
}

/// What the caller must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing was ever committed: drop `forget` if there is one, then make the start checkpoint under this number.
    Start {
        /// The number of the start checkpoint.
        number: CheckpointId,
        /// A prepared one that did not happen.
        forget: Option<CheckpointId>,
    },
    /// Go on from this committed checkpoint.
    Resume(CheckpointId),
    /// The prepared one happened: apply its staging files, write COMMITTED, go on from it.
    Promote(CheckpointId),
    /// The prepared one did not happen: delete every row of it before a source starts, then go on from the committed one.
    RollBack {
        /// The one that did not happen.
        forget: CheckpointId,
        /// The one to go on from.
        resume: CheckpointId,
    },
    /// Neither going on nor going back is safe. Nothing was changed.
    Stop(Conflict),
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Decision::Start { number, forget: None } => {
                write!(f, "nothing to go on from; begin with checkpoint {number}")
            }
            Decision::Start { number, forget: Some(forget) } => {
                write!(f, "checkpoint {forget} did not happen; begin with checkpoint {number}")
            }
            Decision::Resume(id) => write!(f, "go on from checkpoint {id}"),
            Decision::Promote(id) => write!(f, "checkpoint {id} happened; go on from it"),
            Decision::RollBack { forget, resume } => {
                write!(f, "checkpoint {forget} did not happen; go on from checkpoint {resume}")
            }
            Decision::Stop(conflict) => write!(f, "stop: {conflict}"),
        }
    }
}

/// Why a start stops for a person (exit 78). The text says what was found and the way on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// The marker names another store.
    #[error(
        "the marker of this job was written from store `{marker}`, but this store is `{ours}`; another instance of the job \
         runs or ran elsewhere. Nothing was fenced or changed. Start the job on the volume that holds store `{marker}`; or, \
         if that store is lost for good, `tidegate state repair` begins anew"
    )]
    ForeignStore {
        /// The store that the marker names.
        marker: StoreId,
        /// The one that was opened.
        ours: StoreId,
    },
    /// The store lags behind the marker.
    #[error(
        "the marker of checkpoint `{marker}` was written, but the newest one that this store knows is `{newest}`; the store \
         is an older copy. Output up to `{marker}` may be in Kafka. Put the newer store back; going on from this one would \
         write the output in between twice, and `tidegate state repair` says how much"
    )]
    StoreBehind {
        /// The marker's checkpoint.
        marker: CheckpointId,
        /// The store's newest.
        newest: CheckpointId,
    },
    /// Same numbers, other attempt or content.
    #[error(
        "the marker says checkpoint `{marker}` by attempt `{attempt}`, which this store did not prepare; two processes worked \
         on copies of one store. Keep the store whose `tidegate state inspect` shows this attempt, and start from that one; where it is gone, \
         `tidegate state repair` goes on from this one"
    )]
    UnknownAttempt {
        /// The marker's checkpoint.
        marker: CheckpointId,
        /// The marker's attempt.
        attempt: AttemptId,
    },
    /// The store committed something that the marker does not know.
    #[error(
        "the store committed checkpoint `{committed}`, but its marker is gone or older; the marker topic was deleted, made \
         anew or truncated. State and positions in the store are intact; `tidegate state repair` looks into the sink topics \
         and writes a new marker"
    )]
    MarkerLost {
        /// The store's committed checkpoint.
        committed: CheckpointId,
    },
}

impl Conflict {
    /// The reason to stop.
    pub fn stop(&self) -> Stop {
        match self {
            Conflict::ForeignStore { .. } => Stop::ForeignStore,
            Conflict::StoreBehind { .. } => Stop::StoreBehind,
            Conflict::UnknownAttempt { .. } => Stop::UnknownAttempt,
            Conflict::MarkerLost { .. } => Stop::MarkerLost,
        }
    }
}

/// The recovery table.
pub fn decide(facts: &StoreFacts, verdict: Verdict) -> Decision {
    match verdict {
        Verdict::StoreDecides => store_decides(facts),
        Verdict::Markers(markers) => {
            let by_marker = match &markers.committed {
                None => marker_absent(facts),
                Some(marker) => marker_present(facts, marker),
            };
            let is_stop = matches!(by_marker, Decision::Stop(_));
            let unknown = markers.written.filter(|_| !is_stop).and_then(|written| unknown_here(facts, &written));
            unknown.map_or(by_marker, Decision::Stop)
        }
    }
}

/// What a marker that was written, and maybe not committed, says against the store. A commit can be decided in the sinks' topics
/// while the marker's partition missed it (KAFKA-20734): then readers do not get this marker, and it is the only trace of a
/// checkpoint that an older copy of the store does not know. One of another store says nothing about this one.
fn unknown_here(facts: &StoreFacts, written: &Marker) -> Option<Conflict> {
    if written.store != facts.store || seeded::is(Bug::WrittenMarkerIgnored) {
        return None;
    }
    if facts.highest.is_none_or(|highest| highest < written.id) {
        let newest = facts.highest.unwrap_or(CheckpointId(0));
        return Some(Conflict::StoreBehind { marker: written.id, newest });
    }
    let known = [facts.committed, facts.prepared].into_iter().flatten().find(|stored| stored.id == written.id);
    let is_other = known.is_some_and(|stored| stored.attempt != written.attempt);
    let is_conflict = is_other && !seeded::is(Bug::OldAttemptAccepted);
    is_conflict.then_some(Conflict::UnknownAttempt { marker: written.id, attempt: written.attempt })
}

/// The number that follows every one ever prepared: numbers are never reused, not even after a rollback.
pub fn next_number(facts: &StoreFacts) -> CheckpointId {
    facts.highest.map_or(CheckpointId(0), CheckpointId::next)
}

fn store_decides(facts: &StoreFacts) -> Decision {
    match (facts.prepared, facts.committed) {
        (Some(prepared), _) => Decision::Promote(prepared.id),
        (None, Some(committed)) => Decision::Resume(committed.id),
        (None, None) => Decision::Start { number: next_number(facts), forget: None },
    }
}

fn marker_absent(facts: &StoreFacts) -> Decision {
    match facts.committed {
        Some(committed) if seeded::is(Bug::LostMarkerAccepted) => match facts.prepared {
            Some(prepared) => Decision::RollBack { forget: prepared.id, resume: committed.id },
            None => Decision::Resume(committed.id),
        },
        Some(committed) => Decision::Stop(Conflict::MarkerLost { committed: committed.id }),
        None => Decision::Start { number: next_number(facts), forget: facts.prepared.map(|prepared| prepared.id) },
    }
}

fn marker_present(facts: &StoreFacts, marker: &Marker) -> Decision {
    if marker.store != facts.store && !seeded::is(Bug::ForeignStoreAccepted) {
        return Decision::Stop(Conflict::ForeignStore { marker: marker.store, ours: facts.store });
    }
    let is_marked = |stored: Stored| {
        stored.id == marker.id
            && (stored.attempt == marker.attempt || seeded::is(Bug::OldAttemptAccepted))
            // The digest covers the attempt, so a comparison by number alone leaves both out.
            && (stored.digest == marker.digest || seeded::is(Bug::DigestIgnored) || seeded::is(Bug::OldAttemptAccepted))
    };
    match (facts.committed, facts.prepared) {
        (_, Some(prepared)) if is_marked(prepared) => Decision::Promote(prepared.id),
        (Some(committed), Some(prepared)) if is_marked(committed) => {
            Decision::RollBack { forget: prepared.id, resume: committed.id }
        }
        (Some(committed), None) if is_marked(committed) => Decision::Resume(committed.id),
        (committed, prepared) => Decision::Stop(conflict(marker, committed, prepared)),
    }
}

fn conflict(marker: &Marker, committed: Option<Stored>, prepared: Option<Stored>) -> Conflict {
    let newest = prepared.or(committed).map_or(CheckpointId(0), |stored| stored.id);
    match committed {
        _ if newest < marker.id => Conflict::StoreBehind { marker: marker.id, newest },
        Some(committed) if marker.id < committed.id => Conflict::MarkerLost { committed: committed.id },
        _ => Conflict::UnknownAttempt { marker: marker.id, attempt: marker.attempt },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const STORE: StoreId = StoreId(Uuid::from_u128(1));
    const ATTEMPT: AttemptId = AttemptId(Uuid::from_u128(2));

    fn stored(id: u64) -> Stored {
        Stored { id: CheckpointId(id), attempt: ATTEMPT, digest: id * 10 }
    }

    fn marker(id: u64) -> Marker {
        Marker { id: CheckpointId(id), attempt: ATTEMPT, store: STORE, digest: id * 10 }
    }

    fn facts(committed: Option<u64>, prepared: Option<u64>, highest: Option<u64>) -> StoreFacts {
        StoreFacts {
            store: STORE,
            committed: committed.map(stored),
            prepared: prepared.map(stored),
            highest: highest.map(CheckpointId),
        }
    }

    /// A marker that was committed, or none.
    fn read(marker: Option<Marker>) -> Verdict {
        Verdict::Markers(Markers { committed: marker, written: marker })
    }

    #[test]
    fn the_rows_of_the_table() {
        let start = |number, forget: Option<u64>| Decision::Start {
            number: CheckpointId(number),
            forget: forget.map(CheckpointId),
        };
        let cases = [
            (facts(Some(4), Some(7), Some(7)), Some(marker(7)), Decision::Promote(CheckpointId(7))),
            (
                facts(Some(4), Some(7), Some(7)),
                Some(marker(4)),
                Decision::RollBack { forget: CheckpointId(7), resume: CheckpointId(4) },
            ),
            (facts(Some(4), None, Some(6)), Some(marker(4)), Decision::Resume(CheckpointId(4))),
            (facts(None, Some(0), Some(0)), Some(marker(0)), Decision::Promote(CheckpointId(0))),
            (facts(None, Some(3), Some(3)), None, start(4, Some(3))),
            (facts(None, None, Some(3)), None, start(4, None)),
            (facts(None, None, None), None, start(0, None)),
        ];
        for (facts, seen, expected) in cases {
            assert_eq!(decide(&facts, read(seen)), expected, "{facts:?} {seen:?}");
        }
    }

    #[test]
    fn everything_else_stops_and_says_why() {
        let stop = |facts: StoreFacts, seen: Option<Marker>| match decide(&facts, read(seen)) {
            Decision::Stop(conflict) => conflict,
            other => panic!("{other:?} for {facts:?} {seen:?}"),
        };
        let foreign = Marker { store: StoreId(Uuid::from_u128(9)), ..marker(4) };
        assert!(matches!(stop(facts(Some(4), None, Some(4)), Some(foreign)), Conflict::ForeignStore { .. }));
        assert!(matches!(stop(facts(None, None, None), Some(foreign)), Conflict::ForeignStore { .. }));
        assert!(matches!(stop(facts(Some(4), None, Some(4)), Some(marker(5))), Conflict::StoreBehind { .. }));
        assert!(matches!(stop(facts(None, None, None), Some(marker(5))), Conflict::StoreBehind { .. }));
        assert!(matches!(stop(facts(Some(4), Some(5), Some(5)), Some(marker(3))), Conflict::MarkerLost { .. }));
        assert!(matches!(stop(facts(Some(4), Some(5), Some(5)), None), Conflict::MarkerLost { .. }));
        let other_attempt = Marker { attempt: AttemptId(Uuid::from_u128(8)), ..marker(5) };
        assert!(matches!(stop(facts(Some(4), Some(5), Some(5)), Some(other_attempt)), Conflict::UnknownAttempt { .. }));
        let other_content = Marker { digest: 1, ..marker(5) };
        assert!(matches!(stop(facts(Some(4), Some(5), Some(5)), Some(other_content)), Conflict::UnknownAttempt { .. }));
        // Between the two: a number that this store prepared and rolled back.
        assert!(matches!(stop(facts(Some(4), Some(7), Some(7)), Some(marker(5))), Conflict::UnknownAttempt { .. }));
    }

    #[test]
    fn a_marker_that_was_written_tells_an_old_copy_although_readers_do_not_get_it() {
        let with = |facts: StoreFacts, written: Marker| {
            decide(&facts, Verdict::Markers(Markers { committed: Some(marker(4)), written: Some(written) }))
        };
        let behind = Decision::Stop(Conflict::StoreBehind { marker: CheckpointId(7), newest: CheckpointId(6) });
        assert_eq!(with(facts(Some(4), None, Some(6)), marker(7)), behind);
        // The store prepared and rolled back this number, or it has it still: an ordinary crash.
        let resumed = Decision::Resume(CheckpointId(4));
        assert_eq!(with(facts(Some(4), None, Some(7)), marker(7)), resumed);
        let rolled_back = Decision::RollBack { forget: CheckpointId(7), resume: CheckpointId(4) };
        assert_eq!(with(facts(Some(4), Some(7), Some(7)), marker(7)), rolled_back);
        let other_attempt = Marker { attempt: AttemptId(Uuid::from_u128(8)), ..marker(7) };
        let stopped = with(facts(Some(4), Some(7), Some(7)), other_attempt);
        assert!(matches!(stopped, Decision::Stop(Conflict::UnknownAttempt { .. })), "{stopped:?}");
        // Another instance that was fenced before it committed anything.
        let foreign = Marker { store: StoreId(Uuid::from_u128(9)), ..marker(7) };
        assert_eq!(with(facts(Some(4), None, Some(4)), foreign), resumed);
        let empty = Verdict::Markers(Markers { committed: None, written: Some(marker(0)) });
        assert!(matches!(decide(&facts(None, None, None), empty), Decision::Stop(Conflict::StoreBehind { .. })));
    }

    #[test]
    fn a_store_that_decides_promotes_what_it_prepared() {
        let on_its_own = |facts: StoreFacts| decide(&facts, Verdict::StoreDecides);
        assert_eq!(on_its_own(facts(Some(4), Some(5), Some(5))), Decision::Promote(CheckpointId(5)));
        assert_eq!(on_its_own(facts(Some(4), None, Some(5))), Decision::Resume(CheckpointId(4)));
        assert_eq!(on_its_own(facts(None, None, None)), Decision::Start { number: CheckpointId(0), forget: None });
    }
}
