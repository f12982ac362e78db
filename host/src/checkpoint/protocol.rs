//! The life of a checkpoint, as a pure state machine: facts go in, at most one action comes out.
//!
//! One checkpoint at a time: barrier n+1 is injected only after n is decided, because output of n+1 must not enter the
//! transaction of n. A checkpoint whose pages were taken is never dropped: one that does not end in time ends the process.
//! No I/O, no clock (time comes as an argument, in milliseconds from any fixed point), no log.
//! Next room: `coordinator`, the thin shell that acts.

use super::record::CheckpointKind;
use crate::ids::CheckpointId;
use crate::seeded::{self, Bug};

/// When checkpoints are taken, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// From barrier to barrier.
    pub interval_ms: u64,
    /// At least this long from the end of one to the next barrier.
    pub min_pause_ms: u64,
    /// From barrier to PREPARED; longer ends the process.
    pub timeout_ms: u64,
    /// How long checkpoints may be left out while nothing arrives.
    pub idle_max_ms: u64,
}

/// How many parts a checkpoint has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// Source threads, which report positions.
    pub sources: usize,
    /// (operator, worker) pairs, which report snapshots.
    pub snapshots: usize,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Time passed; `is_active`: records arrived since the last barrier.
    Tick {
        /// Whether records arrived since the last barrier.
        is_active: bool,
    },
    /// Somebody wants a checkpoint before its time.
    Wanted,
    /// A source thread put the barrier on all its lanes and reported its positions.
    Positions(CheckpointId),
    /// An operator's shards on one worker were captured and handed to the writer.
    Snapshot(CheckpointId),
    /// The sink thread aligned the barrier, and all output of the checkpoint is flushed or staged.
    Flushed(CheckpointId),
    /// PREPARED is durable.
    Prepared(CheckpointId),
    /// The checkpoint happened, is confirmed, and every sink applied it.
    Decided(CheckpointId),
    /// All sources read their bounded input to the end and sent the largest watermark.
    InputFinished,
    /// Somebody wants the job to stop.
    StopRequested,
    /// COMMITTED was written alone.
    Recorded(CheckpointId),
}

/// What the caller must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Put the barrier into all sources.
    Inject(CheckpointId),
    /// Write PREPARED(id), and COMMITTED of `commits` with it.
    Prepare {
        /// The checkpoint.
        id: CheckpointId,
        /// What it was for.
        kind: CheckpointKind,
        /// The one before it, which was decided but not yet recorded as such.
        commits: Option<CheckpointId>,
    },
    /// Let the decider decide: marker and commit for Kafka, then confirm, then apply.
    Decide(CheckpointId),
    /// Write COMMITTED(id) alone: the job ends.
    Record(CheckpointId),
    /// The job ended as asked, at this checkpoint.
    End(CheckpointId, CheckpointKind),
    /// The checkpoint did not get to PREPARED in time: end the process.
    GiveUp(CheckpointId),
}

/// How far the checkpoint in flight is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// None is in flight.
    Idle,
    /// Its parts are on their way.
    Collecting,
    /// PREPARED is being written.
    Preparing,
    /// It is being decided, confirmed and applied.
    Deciding,
    /// COMMITTED is being written alone.
    Recording,
    /// The job ended.
    Ended,
}

/// Where the checkpoint in flight is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Collecting { id: CheckpointId, kind: CheckpointKind, sources: usize, snapshots: usize, sink: usize },
    Preparing { id: CheckpointId, kind: CheckpointKind },
    Deciding { id: CheckpointId, kind: CheckpointKind },
    Recording { id: CheckpointId, kind: CheckpointKind },
    Ended,
}

/// The state machine.
#[derive(Debug)]
pub struct Protocol {
    schedule: Schedule,
    parts: Parts,
    phase: Phase,
    next: CheckpointId,
    /// Decided, but COMMITTED is not yet in the store: it goes with the next PREPARED.
    unrecorded: Option<CheckpointId>,
    barrier_ms: u64,
    ended_ms: u64,
    ending: Option<CheckpointKind>,
}

impl Protocol {
    /// Begins after a start or a recovery: `next` is above every number ever prepared, and the store has recorded all that
    /// was decided.
    pub fn new(schedule: Schedule, parts: Parts, next: CheckpointId, now_ms: u64) -> Protocol {
        Protocol {
            schedule,
            parts,
            phase: Phase::Idle,
            next,
            unrecorded: None,
            barrier_ms: now_ms,
            ended_ms: now_ms,
            ending: None,
        }
    }

    /// Takes a fact and says what to do.
    ///
    /// # Panics
    /// On a fact that cannot be: a part that reports another checkpoint than the one in flight, or one part too many.
    pub fn on(&mut self, now_ms: u64, event: Event) -> Option<Action> {
        match event {
            Event::Tick { is_active } => self.tick(now_ms, is_active),
            Event::Wanted => self.wanted(now_ms),
            Event::InputFinished => self.end(now_ms, CheckpointKind::Finished),
            Event::StopRequested => self.end(now_ms, CheckpointKind::Stop),
            Event::Positions(id) => self.part(id, |sources, _, _| sources),
            Event::Snapshot(id) => self.part(id, |_, snapshots, _| snapshots),
            Event::Flushed(id) => self.part(id, |_, _, sink| sink),
            Event::Prepared(id) => self.prepared(now_ms, id),
            Event::Decided(id) => self.decided(now_ms, id),
            Event::Recorded(id) => Some(self.recorded(id)),
        }
    }

    /// How far the checkpoint in flight is.
    pub fn stage(&self) -> Stage {
        match self.phase {
            Phase::Idle => Stage::Idle,
            Phase::Collecting { .. } => Stage::Collecting,
            Phase::Preparing { .. } => Stage::Preparing,
            Phase::Deciding { .. } => Stage::Deciding,
            Phase::Recording { .. } => Stage::Recording,
            Phase::Ended => Stage::Ended,
        }
    }

    /// The checkpoint in flight, if there is one.
    pub fn in_flight(&self) -> Option<CheckpointId> {
        match self.phase {
            Phase::Idle | Phase::Ended => None,
            Phase::Collecting { id, .. }
            | Phase::Preparing { id, .. }
            | Phase::Deciding { id, .. }
            | Phase::Recording { id, .. } => Some(id),
        }
    }

    /// While one is in flight the wish is forgotten: whoever still has it then repeats it. The pause between two does not
    /// count, because it is for work, and who wishes may have to stand still.
    fn wanted(&mut self, now_ms: u64) -> Option<Action> {
        (self.phase == Phase::Idle).then(|| self.inject(now_ms, CheckpointKind::Periodic))
    }

    fn tick(&mut self, now_ms: u64, is_active: bool) -> Option<Action> {
        let since_barrier = now_ms.saturating_sub(self.barrier_ms);
        match self.phase {
            Phase::Idle => {
                let is_rested = now_ms.saturating_sub(self.ended_ms) >= self.schedule.min_pause_ms;
                let is_wanted = is_active || since_barrier >= self.schedule.idle_max_ms;
                let is_due = since_barrier >= self.schedule.interval_ms && is_rested && is_wanted;
                is_due.then(|| self.inject(now_ms, CheckpointKind::Periodic))
            }
            Phase::Collecting { id, .. } | Phase::Preparing { id, .. } if since_barrier > self.schedule.timeout_ms => {
                if seeded::is(Bug::CheckpointDropped) {
                    self.phase = Phase::Idle;
                    return None;
                }
                Some(Action::GiveUp(id))
            }
            // Only the store is asked here; a decision by Kafka may take as long as its brokers are away.
            Phase::Recording { id, .. } if now_ms.saturating_sub(self.ended_ms) > self.schedule.timeout_ms => {
                Some(Action::GiveUp(id))
            }
            _ => None,
        }
    }

    fn end(&mut self, now_ms: u64, kind: CheckpointKind) -> Option<Action> {
        // The end of the input says more than a stop; a stop that comes first keeps its word.
        self.ending.get_or_insert(kind);
        (self.phase == Phase::Idle).then(|| self.inject(now_ms, kind))
    }

    fn inject(&mut self, now_ms: u64, kind: CheckpointKind) -> Action {
        let id = self.next;
        self.next = id.next();
        self.barrier_ms = now_ms;
        self.phase =
            Phase::Collecting { id, kind, sources: self.parts.sources, snapshots: self.parts.snapshots, sink: 1 };
        Action::Inject(id)
    }

    fn part(
        &mut self,
        reported: CheckpointId,
        which: impl for<'a> Fn(&'a mut usize, &'a mut usize, &'a mut usize) -> &'a mut usize,
    ) -> Option<Action> {
        let Phase::Collecting { id, kind, sources, snapshots, sink } = &mut self.phase else {
            if seeded::is(Bug::CheckpointDropped) {
                return None;
            }
            panic!("a part of checkpoint {reported} was reported while none is collected");
        };
        assert_eq!(*id, reported, "a part of another checkpoint");
        let left = which(sources, snapshots, sink);
        assert!(*left > 0, "a part of checkpoint {reported} was reported twice");
        *left -= 1;
        if *sources + *snapshots + *sink > 0 {
            return None;
        }
        let (id, kind) = (*id, *kind);
        if seeded::is(Bug::CommitBeforePrepared) {
            self.phase = Phase::Deciding { id, kind };
            return Some(Action::Decide(id));
        }
        self.phase = Phase::Preparing { id, kind };
        Some(Action::Prepare { id, kind, commits: self.unrecorded })
    }

    fn prepared(&mut self, now_ms: u64, reported: CheckpointId) -> Option<Action> {
        let Phase::Preparing { id, kind } = self.phase else { panic!("checkpoint {reported} was not being prepared") };
        assert_eq!(id, reported, "another checkpoint was prepared");
        self.unrecorded = None;
        if seeded::is(Bug::CommitBeforePrepared) {
            return self.happened(now_ms, id, kind);
        }
        self.phase = Phase::Deciding { id, kind };
        Some(Action::Decide(id))
    }

    fn decided(&mut self, now_ms: u64, reported: CheckpointId) -> Option<Action> {
        let Phase::Deciding { id, kind } = self.phase else { panic!("checkpoint {reported} was not being decided") };
        assert_eq!(id, reported, "another checkpoint was decided");
        if seeded::is(Bug::CommitBeforePrepared) {
            self.phase = Phase::Preparing { id, kind };
            return Some(Action::Prepare { id, kind, commits: self.unrecorded });
        }
        self.happened(now_ms, id, kind)
    }

    fn happened(&mut self, now_ms: u64, id: CheckpointId, kind: CheckpointKind) -> Option<Action> {
        self.unrecorded = Some(id);
        self.ended_ms = now_ms;
        if kind != CheckpointKind::Periodic {
            self.phase = Phase::Recording { id, kind };
            return Some(Action::Record(id));
        }
        self.phase = Phase::Idle;
        self.ending.map(|kind| self.inject(now_ms, kind))
    }

    fn recorded(&mut self, reported: CheckpointId) -> Action {
        let Phase::Recording { id, kind } = self.phase else { panic!("checkpoint {reported} was not being recorded") };
        assert_eq!(id, reported, "another checkpoint was recorded");
        self.unrecorded = None;
        self.phase = Phase::Ended;
        Action::End(id, kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: Schedule = Schedule { interval_ms: 1000, min_pause_ms: 200, timeout_ms: 5000, idle_max_ms: 60_000 };

    fn protocol() -> Protocol {
        Protocol::new(SCHEDULE, Parts { sources: 2, snapshots: 1 }, CheckpointId(1), 0)
    }

    fn collect(protocol: &mut Protocol, id: CheckpointId) -> Option<Action> {
        assert_eq!(protocol.on(0, Event::Positions(id)), None);
        assert_eq!(protocol.on(0, Event::Flushed(id)), None);
        assert_eq!(protocol.on(0, Event::Snapshot(id)), None);
        protocol.on(0, Event::Positions(id))
    }

    #[test]
    fn a_checkpoint_is_prepared_when_every_part_is_there_and_committed_with_the_next_one() {
        let mut protocol = protocol();
        let (one, two) = (CheckpointId(1), CheckpointId(2));
        assert_eq!(protocol.on(999, Event::Tick { is_active: true }), None);
        assert_eq!(protocol.on(1000, Event::Tick { is_active: true }), Some(Action::Inject(one)));
        let kind = CheckpointKind::Periodic;
        assert_eq!(collect(&mut protocol, one), Some(Action::Prepare { id: one, kind, commits: None }));
        assert_eq!(protocol.on(1010, Event::Prepared(one)), Some(Action::Decide(one)));
        assert_eq!(protocol.on(1900, Event::Decided(one)), None);
        // The interval has passed, the pause has not.
        assert_eq!(protocol.on(2050, Event::Tick { is_active: true }), None);
        assert_eq!(protocol.on(2100, Event::Tick { is_active: true }), Some(Action::Inject(two)));
        assert_eq!(collect(&mut protocol, two), Some(Action::Prepare { id: two, kind, commits: Some(one) }));
    }

    #[test]
    fn one_that_is_wanted_comes_before_its_time_but_after_the_one_in_flight() {
        let mut protocol = protocol();
        let (one, two) = (CheckpointId(1), CheckpointId(2));
        assert_eq!(protocol.on(300, Event::Wanted), Some(Action::Inject(one)));
        assert_eq!(protocol.on(310, Event::Wanted), None);
        collect(&mut protocol, one);
        protocol.on(320, Event::Prepared(one));
        assert_eq!(protocol.on(330, Event::Decided(one)), None);
        assert_eq!(protocol.on(331, Event::Tick { is_active: true }), None, "the wish was forgotten");
        assert_eq!(protocol.on(332, Event::Wanted), Some(Action::Inject(two)));
    }

    #[test]
    fn nothing_is_injected_while_one_is_in_flight() {
        let mut protocol = protocol();
        assert!(protocol.on(1000, Event::Tick { is_active: true }).is_some());
        assert_eq!(protocol.on(3000, Event::Tick { is_active: true }), None);
        assert_eq!(protocol.on(3000, Event::StopRequested), None);
        assert_eq!(protocol.in_flight(), Some(CheckpointId(1)));
    }

    #[test]
    fn one_that_is_not_prepared_in_time_ends_the_process_but_a_commit_may_take_for_ever() {
        let mut protocol = protocol();
        let one = CheckpointId(1);
        assert!(protocol.on(1000, Event::Tick { is_active: true }).is_some());
        assert_eq!(protocol.on(6001, Event::Tick { is_active: true }), Some(Action::GiveUp(one)));
        collect(&mut protocol, one);
        assert_eq!(protocol.on(6001, Event::Tick { is_active: true }), Some(Action::GiveUp(one)));
        protocol.on(6002, Event::Prepared(one));
        assert_eq!(protocol.on(1_000_000, Event::Tick { is_active: true }), None);
    }

    #[test]
    fn idle_checkpoints_are_left_out_for_a_minute() {
        let mut protocol = protocol();
        assert_eq!(protocol.on(59_999, Event::Tick { is_active: false }), None);
        assert_eq!(protocol.on(60_000, Event::Tick { is_active: false }), Some(Action::Inject(CheckpointId(1))));
    }

    #[test]
    fn a_stop_takes_a_last_checkpoint_records_it_and_ends() {
        let mut protocol = protocol();
        let one = CheckpointId(1);
        assert_eq!(protocol.on(10, Event::StopRequested), Some(Action::Inject(one)));
        let kind = CheckpointKind::Stop;
        assert_eq!(collect(&mut protocol, one), Some(Action::Prepare { id: one, kind, commits: None }));
        assert_eq!(protocol.on(20, Event::Prepared(one)), Some(Action::Decide(one)));
        assert_eq!(protocol.on(30, Event::Decided(one)), Some(Action::Record(one)));
        assert_eq!(protocol.on(5030, Event::Tick { is_active: false }), None);
        assert_eq!(protocol.on(5031, Event::Tick { is_active: false }), Some(Action::GiveUp(one)));
        assert_eq!(protocol.on(5040, Event::Recorded(one)), Some(Action::End(one, kind)));
    }

    #[test]
    fn the_end_of_the_input_waits_for_the_checkpoint_in_flight_and_takes_one_more() {
        let mut protocol = protocol();
        let (one, two) = (CheckpointId(1), CheckpointId(2));
        assert!(protocol.on(1000, Event::Tick { is_active: true }).is_some());
        assert_eq!(protocol.on(1001, Event::InputFinished), None);
        collect(&mut protocol, one);
        protocol.on(1002, Event::Prepared(one));
        assert_eq!(protocol.on(1003, Event::Decided(one)), Some(Action::Inject(two)));
        let kind = CheckpointKind::Finished;
        assert_eq!(collect(&mut protocol, two), Some(Action::Prepare { id: two, kind, commits: Some(one) }));
    }

    #[test]
    fn a_part_of_another_checkpoint_is_our_bug_and_panics() {
        let outcome = std::panic::catch_unwind(|| {
            let mut protocol = protocol();
            protocol.on(1000, Event::Tick { is_active: true });
            protocol.on(1001, Event::Positions(CheckpointId(9)))
        });
        assert!(outcome.is_err());
    }
}
