//! The order in which a prepared checkpoint becomes one that happened. Pure: two small machines, no I/O, no clock, no log.
//!
//! A step that fails ends the process: whether the checkpoint happened is then for the next start to find out, since what is
//! in memory is worth nothing until the marker was read. Next rooms: [`crate::kafka::output`] and [`crate::sink::task`],
//! which take the steps; [`super::startup`], which decides the start checkpoint in the same order.

use super::record::Marker;
use super::startup::DecidedBy;
use crate::seeded::{self, Bug};

/// One step of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Write the marker into the transaction of the output, last, and commit.
    Commit,
    /// Wait until the transaction is decided in every partition that it wrote: OK from the commit only means that the
    /// coordinator logged its intent.
    Confirm,
    /// Take the producer for the next transaction, as [`Succession`] says.
    Succeed,
    /// Let the file sinks append what they staged.
    Apply,
}

/// The steps of a decision, in order. The next one is asked for when the last one is done.
#[derive(Debug, Clone)]
pub struct Deciding {
    next: Option<Step>,
}

impl Deciding {
    /// Begins. PREPARED is durable by now.
    pub fn new(decided_by: DecidedBy) -> Deciding {
        let first = match decided_by {
            DecidedBy::Kafka => Step::Commit,
            DecidedBy::Store => Step::Apply,
        };
        Deciding { next: Some(first) }
    }
}

impl Iterator for Deciding {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let step = self.next?;
        self.next = match step {
            Step::Commit if seeded::is(Bug::NoConfirm) => Some(Step::Succeed),
            Step::Commit => Some(Step::Confirm),
            Step::Confirm => Some(Step::Succeed),
            Step::Succeed => Some(Step::Apply),
            Step::Apply => None,
        };
        Some(step)
    }
}

/// What came of the last step of a succession.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The marker as readers get it now.
    Marker(Option<Marker>),
    /// A new producer has the transactional id.
    Replaced,
    /// Nothing of an earlier transaction is open.
    Settled,
}

/// What the caller must do about the producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Read the marker.
    ReadMarker,
    /// Destroy the producer and make a new one.
    Replace,
    /// Wait until what was open when the new one had its id is decided: another process may have been there in between, and
    /// the marker of what it committed may hang where no reader sees it.
    Settle,
    /// Begin the next transaction with the producer at hand.
    GoOn,
    /// Commit said OK and the marker says otherwise: a person must look. Never roll back.
    Contradiction(Option<Marker>),
}

/// Which producer writes the next transaction: the old one, or a new one where a delayed request of the old one could end
/// the next transaction half way. Then the marker must be ours, before and after.
#[derive(Debug, Clone)]
pub struct Succession {
    marker: Marker,
    is_replaced: bool,
}

impl Succession {
    /// Begins after the transaction that ends with `marker` was confirmed.
    pub fn begin(marker: Marker, is_doubtful: bool) -> (Succession, Next) {
        let goes_on = !is_doubtful || seeded::is(Bug::NoRotation);
        (Succession { marker, is_replaced: false }, if goes_on { Next::GoOn } else { Next::ReadMarker })
    }

    /// Takes what came of the last step and says the next.
    pub fn on(&mut self, found: Found) -> Next {
        match found {
            Found::Marker(marker) if marker != Some(self.marker) => Next::Contradiction(marker),
            Found::Marker(_) if self.is_replaced => Next::GoOn,
            Found::Marker(_) => Next::Replace,
            Found::Replaced => {
                self.is_replaced = true;
                Next::Settle
            }
            Found::Settled => Next::ReadMarker,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{AttemptId, CheckpointId, StoreId};
    use uuid::Uuid;

    const MARKER: Marker = Marker {
        id: CheckpointId(3),
        attempt: AttemptId(Uuid::from_u128(1)),
        store: StoreId(Uuid::from_u128(2)),
        digest: 4,
    };

    #[test]
    fn nothing_is_applied_before_it_is_confirmed() {
        let steps: Vec<Step> = Deciding::new(DecidedBy::Kafka).collect();
        assert_eq!(steps, [Step::Commit, Step::Confirm, Step::Succeed, Step::Apply]);
        assert_eq!(Deciding::new(DecidedBy::Store).collect::<Vec<_>>(), [Step::Apply]);
    }

    #[test]
    fn a_doubtful_producer_is_replaced_between_two_looks_at_the_marker() {
        assert_eq!(Succession::begin(MARKER, false).1, Next::GoOn);
        let (mut succession, first) = Succession::begin(MARKER, true);
        assert_eq!(first, Next::ReadMarker);
        assert_eq!(succession.on(Found::Marker(Some(MARKER))), Next::Replace);
        assert_eq!(succession.on(Found::Replaced), Next::Settle);
        assert_eq!(succession.on(Found::Settled), Next::ReadMarker);
        assert_eq!(succession.on(Found::Marker(Some(MARKER))), Next::GoOn);
    }

    #[test]
    fn another_marker_is_for_a_person_before_and_after() {
        let other = Some(Marker { digest: 5, ..MARKER });
        let (mut succession, _) = Succession::begin(MARKER, true);
        assert_eq!(succession.clone().on(Found::Marker(None)), Next::Contradiction(None));
        assert_eq!(succession.on(Found::Marker(other)), Next::Contradiction(other));
        succession.on(Found::Replaced);
        assert_eq!(succession.on(Found::Marker(other)), Next::Contradiction(other));
    }
}
