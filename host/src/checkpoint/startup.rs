//! The order of a start, as a pure state machine: facts go in, the next action comes out.
//!
//! Look at the markers, settle what is prepared, and only then fence; wait until what an earlier life left open is decided; look again, and only then
//! act. After that the table of [`super::recovery`] says which of four roads is taken, and [`road`] what its steps are. A
//! step that fails ends the process: there is no fact for it, the next start begins from the top. No I/O, no clock, no log.
//! Next rooms: `recovery` (the table), [`crate::start`] (the shell that acts).

use super::recovery::{self, Conflict, Decision, Markers, StoreFacts, Verdict};
use crate::ids::CheckpointId;
use crate::seeded::{self, Bug};

/// What came of the last action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// It was done.
    Done,
    /// The markers as they are now, after [`Action::Look`] and [`Action::ReadMarkers`].
    Markers(Markers),
}

/// What the caller must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Read the markers, fencing nobody.
    Look,
    /// Wait until the prepared checkpoint is decided in every partition that it wrote and in the marker's, or in none of
    /// them. A partition that missed its control record (KAFKA-20734) still holds it open, and the initialisation would
    /// abort that part for good where a delayed request has begun another transaction in that partition.
    SettlePrepared {
        /// The prepared checkpoint.
        id: CheckpointId,
        /// Whether the marker names it.
        is_marked: bool,
    },
    /// Take the transactional id over: fences whoever had it and ends what that one left open.
    Initialise,
    /// Wait until everything that was open before this life is decided, in the sinks' topics and the marker's.
    Settle,
    /// Read the markers again.
    ReadMarkers,
    /// Say what was decided. Changes nothing.
    Tell(Decision),
    /// Remove the staging files of a checkpoint that did not happen.
    DiscardStaging(CheckpointId),
    /// Delete every row of a checkpoint that did not happen.
    RollBack(CheckpointId),
    /// Open the sinks as this checkpoint left them; `None`: for the first time.
    OpenSinks(Option<CheckpointId>),
    /// Resolve the start positions: they and the sinks' lengths are the start checkpoint.
    Resolve(CheckpointId),
    /// Make PREPARED of the start checkpoint durable.
    Prepare(CheckpointId),
    /// Let the decider decide the start checkpoint, as [`super::deciding`] says.
    Decide(CheckpointId),
    /// Apply the staging files of a checkpoint that happened.
    Apply(CheckpointId),
    /// Write COMMITTED.
    Record(CheckpointId),
    /// Start the threads: the job goes on from here.
    Run(GoOn),
    /// End the process for a person. Nothing was changed.
    Stop(Conflict),
}

/// Where a job goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GoOn {
    /// The checkpoint whose positions and memory count.
    pub from: CheckpointId,
    /// The number of the next one.
    pub next: CheckpointId,
}

/// Who decides, as far as a start must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecidedBy {
    /// PREPARED is the decision.
    Store,
    /// The marker is.
    Kafka,
}

/// What the machine waits for.
#[derive(Debug)]
enum Phase {
    Looking,
    SettlingPrepared,
    Initialising,
    Settling,
    Reading,
    /// Decided: what is left to do.
    Walking(std::vec::IntoIter<Action>),
}

/// The state machine.
#[derive(Debug)]
pub struct Startup {
    facts: StoreFacts,
    /// The markers before the initialisation.
    seen: Markers,
    phase: Phase,
}

impl Startup {
    /// Begins with what the store says, and the first action.
    pub fn begin(facts: StoreFacts, decided_by: DecidedBy) -> (Startup, Action) {
        let mut startup = Startup { facts, seen: Markers { committed: None, written: None }, phase: Phase::Looking };
        let action = match decided_by {
            DecidedBy::Store => startup.decide(Verdict::StoreDecides),
            DecidedBy::Kafka if seeded::is(Bug::InitBeforeMarker) => startup.enter(Phase::Initialising),
            DecidedBy::Kafka => Action::Look,
        };
        (startup, action)
    }

    /// Takes what came of the last action and says the next. After [`Action::Run`] and [`Action::Stop`] there is none.
    ///
    /// # Panics
    /// On a fact that is no answer to the last action.
    pub fn on(&mut self, fact: Fact) -> Action {
        match (&mut self.phase, fact) {
            (Phase::Looking, Fact::Markers(markers)) => {
                self.seen = markers;
                match recovery::decide(&self.facts, Verdict::Markers(markers)) {
                    Decision::Stop(conflict) => Action::Stop(conflict),
                    decision if let Some(prepared) = self.facts.prepared => {
                        self.phase = Phase::SettlingPrepared;
                        let is_marked = decision == Decision::Promote(prepared.id);
                        Action::SettlePrepared { id: prepared.id, is_marked }
                    }
                    _ => self.enter(Phase::Initialising),
                }
            }
            (Phase::SettlingPrepared, Fact::Done) => self.enter(Phase::Initialising),
            (Phase::Initialising, Fact::Done) => self.enter(Phase::Settling),
            (Phase::Settling, Fact::Done) => self.enter(Phase::Reading),
            (Phase::Reading, Fact::Markers(markers)) => self.decide(Verdict::Markers(markers)),
            (Phase::Walking(steps), Fact::Done) => steps.next().expect("a road ends with a run or a stop"),
            (phase, fact) => panic!("{fact:?} is no answer while {phase:?}"),
        }
    }

    fn enter(&mut self, phase: Phase) -> Action {
        let action = match phase {
            Phase::Initialising => Action::Initialise,
            Phase::Settling if seeded::is(Bug::NoSettle) => return self.enter(Phase::Reading),
            Phase::Settling => Action::Settle,
            Phase::Reading if seeded::is(Bug::MarkerNotReadAgain) => return self.decide(Verdict::Markers(self.seen)),
            Phase::Reading => Action::ReadMarkers,
            Phase::Looking | Phase::SettlingPrepared | Phase::Walking(_) => {
                unreachable!("a start begins with one and ends with the other")
            }
        };
        self.phase = phase;
        action
    }

    fn decide(&mut self, verdict: Verdict) -> Action {
        let decision = recovery::decide(&self.facts, verdict);
        self.phase = Phase::Walking(road(&self.facts, decision.clone()).into_iter());
        Action::Tell(decision)
    }
}

/// What a decision means, step by step.
fn road(facts: &StoreFacts, decision: Decision) -> Vec<Action> {
    match decision {
        Decision::Stop(conflict) => vec![Action::Stop(conflict)],
        Decision::Start { number, forget } => {
            let mut steps = forget.map_or_else(Vec::new, undo);
            steps.extend([Action::OpenSinks(None), Action::Resolve(number)]);
            if !seeded::is(Bug::NoCheckpointZero) {
                // Before the first record is read: `start = "latest"` would lose what arrives before the first checkpoint,
                // and "nothing was ever committed" could not be told from a lost marker.
                steps.extend([Action::Prepare(number), Action::Decide(number), Action::Record(number)]);
            }
            steps.push(Action::Run(GoOn { from: number, next: number.next() }));
            steps
        }
        Decision::Resume(id) => vec![Action::OpenSinks(Some(id)), go_on(facts, id)],
        Decision::Promote(id) => {
            vec![Action::OpenSinks(Some(id)), Action::Apply(id), Action::Record(id), go_on(facts, id)]
        }
        Decision::RollBack { forget, resume } => {
            let mut steps = undo(forget);
            steps.extend([Action::OpenSinks(Some(resume)), go_on(facts, resume)]);
            steps
        }
    }
}

/// Staging files go first: while the row is there, a next start finds what is left of them.
fn undo(forget: CheckpointId) -> Vec<Action> {
    vec![Action::DiscardStaging(forget), Action::RollBack(forget)]
}

fn go_on(facts: &StoreFacts, from: CheckpointId) -> Action {
    let next = if seeded::is(Bug::NumbersReused) { from.next() } else { recovery::next_number(facts) };
    Action::Run(GoOn { from, next })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::record::Marker;
    use crate::checkpoint::recovery::Stored;
    use crate::ids::{AttemptId, StoreId};
    use uuid::Uuid;

    const STORE: StoreId = StoreId(Uuid::from_u128(1));
    const ATTEMPT: AttemptId = AttemptId(Uuid::from_u128(2));

    fn facts(committed: Option<u64>, prepared: Option<u64>) -> StoreFacts {
        let stored = |id| Stored { id: CheckpointId(id), attempt: ATTEMPT, digest: id };
        StoreFacts {
            store: STORE,
            committed: committed.map(stored),
            prepared: prepared.map(stored),
            highest: prepared.or(committed).map(CheckpointId),
        }
    }

    fn marker(id: u64) -> Marker {
        Marker { id: CheckpointId(id), attempt: ATTEMPT, store: STORE, digest: id }
    }

    /// All actions of a start by Kafka, when the marker is first `seen` and then `found`.
    fn walk(facts: StoreFacts, seen: Option<Marker>, found: Option<Marker>) -> Vec<Action> {
        let (mut startup, mut action) = Startup::begin(facts, DecidedBy::Kafka);
        let mut actions = vec![action.clone()];
        while !matches!(action, Action::Run(_) | Action::Stop(_)) {
            action = startup.on(match action {
                Action::Look => Fact::Markers(Markers { committed: seen, written: seen }),
                Action::ReadMarkers => Fact::Markers(Markers { committed: found, written: found }),
                _ => Fact::Done,
            });
            actions.push(action.clone());
        }
        actions
    }

    #[test]
    fn a_first_start_decides_checkpoint_0_before_it_runs() {
        let zero = CheckpointId(0);
        let tell = Action::Tell(Decision::Start { number: zero, forget: None });
        let expected = [
            Action::Look,
            Action::Initialise,
            Action::Settle,
            Action::ReadMarkers,
            tell,
            Action::OpenSinks(None),
            Action::Resolve(zero),
            Action::Prepare(zero),
            Action::Decide(zero),
            Action::Record(zero),
            Action::Run(GoOn { from: zero, next: CheckpointId(1) }),
        ];
        assert_eq!(walk(facts(None, None), None, None), expected);
    }

    #[test]
    fn what_counts_is_the_marker_after_the_initialisation() {
        let (four, seven) = (CheckpointId(4), CheckpointId(7));
        let next = CheckpointId(8);
        let promoted = walk(facts(Some(4), Some(7)), Some(marker(4)), Some(marker(7)));
        let expected = [
            Action::OpenSinks(Some(seven)),
            Action::Apply(seven),
            Action::Record(seven),
            Action::Run(GoOn { from: seven, next }),
        ];
        assert_eq!(promoted[6..], expected);
        let rolled_back = walk(facts(Some(4), Some(7)), Some(marker(4)), Some(marker(4)));
        let expected = [
            Action::DiscardStaging(seven),
            Action::RollBack(seven),
            Action::OpenSinks(Some(four)),
            Action::Run(GoOn { from: four, next }),
        ];
        assert_eq!(rolled_back[6..], expected);
    }

    #[test]
    fn what_is_prepared_is_settled_before_the_initialisation_could_abort_it() {
        for (seen, is_marked) in [(4, false), (7, true)] {
            let actions = walk(facts(Some(4), Some(7)), Some(marker(seen)), Some(marker(7)));
            let settle = Action::SettlePrepared { id: CheckpointId(7), is_marked };
            assert_eq!(actions[..3], [Action::Look, settle, Action::Initialise]);
        }
        assert_eq!(walk(facts(Some(4), None), Some(marker(4)), Some(marker(4)))[1], Action::Initialise);
    }

    #[test]
    fn a_contradiction_that_the_first_look_shows_fences_nobody() {
        let actions = walk(facts(Some(4), None), Some(marker(9)), Some(marker(4)));
        assert!(matches!(actions[..], [Action::Look, Action::Stop(Conflict::StoreBehind { .. })]), "{actions:?}");
        let actions = walk(facts(Some(4), None), Some(marker(4)), Some(marker(9)));
        assert!(matches!(actions[..], [.., Action::Tell(Decision::Stop(_)), Action::Stop(_)]), "{actions:?}");
    }

    #[test]
    fn a_store_that_decides_promotes_without_asking() {
        let (startup, action) = Startup::begin(facts(Some(4), Some(5)), DecidedBy::Store);
        assert_eq!(action, Action::Tell(Decision::Promote(CheckpointId(5))));
        assert!(matches!(startup.phase, Phase::Walking(_)));
    }
}
