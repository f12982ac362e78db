//! What runs went through: every arm of the pure machines, and every fault at every moment where it can strike.
//!
//! An arm or a pair that many runs never take is a hole in the simulation, and the test says which. Next room: `campaign`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use tidegate::checkpoint::deciding::{Next, Step};
use tidegate::checkpoint::protocol::{Action, Event, Stage};
use tidegate::checkpoint::recovery::{Conflict, Decision};
use tidegate::checkpoint::startup;

macro_rules! listed {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum $name { $($(#[$variant_doc])* $variant,)* }
        impl $name {
            pub(super) const ALL: &'static [$name] = &[$($name::$variant,)*];
        }
    };
}

listed! {
    /// What goes wrong in the model's world.
    Fault {
        RequestLost,
        RequestHeld,
        AnswerLost,
        HeldDelivered,
        BrokersAway,
        ControlLost,
        TransactionExpired,
        Killed,
        PowerCut,
        Frozen,
        Replaced,
        SecondInstance,
        CopyStarted,
        OldCopy,
        StoreErrorDurable,
        StoreErrorLost,
        DiskError,
        ClockJump,
        StopAsked,
        MarkerPurged,
        MarkerRecreated,
        SourceRecreated,
    }
}

listed! {
    /// Where a process is.
    Moment {
        Look,
        SettlePrepared,
        Initialise,
        Settle,
        ReadMarker,
        Opening,
        DiscardStaging,
        RollBack,
        StartPrepare,
        StartCommit,
        StartConfirm,
        ApplyAtStart,
        RecordAtStart,
        Idle,
        Collecting,
        Flushing,
        Preparing,
        Deciding,
        BeforeMarker,
        Commit,
        Confirm,
        Succeed,
        RotationMarker,
        Replace,
        ApplyDecided,
        Recording,
    }
}

/// Pairs that struck less often are listed by name.
const RARE: u64 = 5;

const FAULTS: usize = Fault::ALL.len();
const MOMENTS: usize = Moment::ALL.len();
const STAGES: usize = 6;
const EVENTS: usize = 11;

/// Counts.
#[derive(Debug, Clone)]
pub(super) struct Coverage {
    pairs: [[u64; MOMENTS]; FAULTS],
    /// By stage and event.
    events: [[u64; EVENTS]; STAGES],
    actions: [u64; ACTIONS.len()],
    decisions: [u64; DECISIONS.len()],
    conflicts: [u64; CONFLICTS.len()],
    startup: [u64; STARTUP.len()],
    steps: [u64; STEPS.len()],
    successions: [u64; SUCCESSIONS.len()],
}

const EVENT_NAMES: [&str; EVENTS] = [
    "Tick(idle)",
    "Tick(active)",
    "Positions",
    "Snapshot",
    "Flushed",
    "Prepared",
    "Decided",
    "InputFinished",
    "StopRequested",
    "Recorded",
    "Wanted",
];
const STAGE_NAMES: [&str; STAGES] = ["Idle", "Collecting", "Preparing", "Deciding", "Recording", "Ended"];
const ACTIONS: [&str; 7] = ["Inject", "Prepare", "Prepare(commits)", "Decide", "Record", "End", "GiveUp"];
const DECISIONS: [&str; 6] = ["Start", "Start(forget)", "Resume", "Promote", "RollBack", "Stop"];
const CONFLICTS: [&str; 4] = ["ForeignStore", "StoreBehind", "UnknownAttempt", "MarkerLost"];
const STARTUP: [&str; 16] = [
    "Look",
    "Initialise",
    "Settle",
    "ReadMarker",
    "Tell",
    "DiscardStaging",
    "RollBack",
    "OpenSinks(first)",
    "OpenSinks",
    "Resolve",
    "Prepare",
    "Decide",
    "Apply",
    "Record",
    "Run",
    "SettlePrepared",
];
const STEPS: [&str; 4] = ["Commit", "Confirm", "Succeed", "Apply"];
const SUCCESSIONS: [&str; 5] = ["ReadMarker", "Replace", "GoOn", "Contradiction", "Settle"];

impl Coverage {
    pub(super) fn new() -> Coverage {
        Coverage {
            pairs: [[0; MOMENTS]; FAULTS],
            events: [[0; EVENTS]; STAGES],
            actions: [0; ACTIONS.len()],
            decisions: [0; DECISIONS.len()],
            conflicts: [0; CONFLICTS.len()],
            startup: [0; STARTUP.len()],
            steps: [0; STEPS.len()],
            successions: [0; SUCCESSIONS.len()],
        }
    }

    pub(super) fn struck(&mut self, fault: Fault, moment: Moment) {
        self.pairs[fault as usize][moment as usize] += 1;
    }

    pub(super) fn protocol(&mut self, stage: Stage, event: Event, action: Option<Action>) {
        let event = match event {
            Event::Tick { is_active: false } => 0,
            Event::Tick { is_active: true } => 1,
            Event::Positions(_) => 2,
            Event::Snapshot(_) => 3,
            Event::Flushed(_) => 4,
            Event::Prepared(_) => 5,
            Event::Decided(_) => 6,
            Event::InputFinished => 7,
            Event::StopRequested => 8,
            Event::Recorded(_) => 9,
            Event::Wanted => 10,
        };
        self.events[stage as usize][event] += 1;
        let action = match action {
            None => return,
            Some(Action::Inject(_)) => 0,
            Some(Action::Prepare { commits: None, .. }) => 1,
            Some(Action::Prepare { commits: Some(_), .. }) => 2,
            Some(Action::Decide(_)) => 3,
            Some(Action::Record(_)) => 4,
            Some(Action::End(..)) => 5,
            Some(Action::GiveUp(_)) => 6,
        };
        self.actions[action] += 1;
    }

    pub(super) fn decision(&mut self, decision: &Decision) {
        self.decisions[match decision {
            Decision::Start { forget: None, .. } => 0,
            Decision::Start { forget: Some(_), .. } => 1,
            Decision::Resume(_) => 2,
            Decision::Promote(_) => 3,
            Decision::RollBack { .. } => 4,
            Decision::Stop(_) => 5,
        }] += 1;
    }

    pub(super) fn conflict(&mut self, conflict: &Conflict) {
        self.conflicts[match conflict {
            Conflict::ForeignStore { .. } => 0,
            Conflict::StoreBehind { .. } => 1,
            Conflict::UnknownAttempt { .. } => 2,
            Conflict::MarkerLost { .. } => 3,
        }] += 1;
    }

    pub(super) fn startup(&mut self, action: &startup::Action) {
        use startup::Action;
        self.startup[match action {
            Action::Look => 0,
            Action::Initialise => 1,
            Action::Settle => 2,
            Action::ReadMarkers => 3,
            Action::Tell(_) => 4,
            Action::DiscardStaging(_) => 5,
            Action::RollBack(_) => 6,
            Action::OpenSinks(None) => 7,
            Action::OpenSinks(Some(_)) => 8,
            Action::Resolve(_) => 9,
            Action::Prepare(_) => 10,
            Action::Decide(_) => 11,
            Action::Apply(_) => 12,
            Action::Record(_) => 13,
            Action::Run(_) => 14,
            Action::SettlePrepared { .. } => 15,
            Action::Stop(_) => return,
        }] += 1;
    }

    pub(super) fn decided(&mut self, step: Step) {
        self.steps[step as usize] += 1;
    }

    pub(super) fn succession(&mut self, next: Next) {
        self.successions[match next {
            Next::ReadMarker => 0,
            Next::Replace => 1,
            Next::GoOn => 2,
            Next::Contradiction(_) => 3,
            Next::Settle => 4,
        }] += 1;
    }

    /// Adds another run's counts.
    pub(super) fn add(&mut self, other: &Coverage) {
        let pairs = self.pairs.iter_mut().flatten().zip(other.pairs.iter().flatten());
        let events = self.events.iter_mut().flatten().zip(other.events.iter().flatten());
        let lists = [
            (&mut self.actions[..], &other.actions[..]),
            (&mut self.decisions[..], &other.decisions[..]),
            (&mut self.conflicts[..], &other.conflicts[..]),
            (&mut self.startup[..], &other.startup[..]),
            (&mut self.steps[..], &other.steps[..]),
            (&mut self.successions[..], &other.successions[..]),
        ];
        let lists = lists.into_iter().flat_map(|(to, from)| to.iter_mut().zip(from));
        pairs.chain(events).chain(lists).for_each(|(to, from)| *to += from);
    }

    /// Every arm of the pure machines by name, and how often it was taken.
    pub(super) fn arms(&self) -> BTreeMap<String, u64> {
        let mut arms = BTreeMap::new();
        let lists: [(&str, &[&str], &[u64]); 6] = [
            ("protocol action", &ACTIONS, &self.actions),
            ("recovery", &DECISIONS, &self.decisions),
            ("conflict", &CONFLICTS, &self.conflicts),
            ("startup", &STARTUP, &self.startup),
            ("deciding", &STEPS, &self.steps),
            ("succession", &SUCCESSIONS, &self.successions),
        ];
        for (machine, names, counts) in lists {
            arms.extend(names.iter().zip(counts).map(|(name, count)| (format!("{machine}: {name}"), *count)));
        }
        for (stage, events) in STAGE_NAMES.iter().zip(&self.events) {
            for (event, count) in EVENT_NAMES.iter().zip(events).filter(|(event, _)| is_possible_event(stage, event)) {
                arms.insert(format!("protocol: {event} while {stage}"), *count);
            }
        }
        arms
    }

    /// Every pair of fault and moment that can be, and how often it struck there.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (Fault, Moment, u64)> + '_ {
        let all = Fault::ALL.iter().flat_map(|fault| Moment::ALL.iter().map(|moment| (*fault, *moment)));
        all.filter(|(fault, moment)| super::possible::pair(*fault, *moment))
            .map(|(fault, moment)| (fault, moment, self.pairs[fault as usize][moment as usize]))
    }

    /// What was never taken.
    pub(super) fn holes(&self) -> Vec<String> {
        let arms = self.arms().into_iter().filter(|(_, count)| *count == 0).map(|(name, _)| name);
        let pairs = self.pairs().filter(|(.., count)| *count == 0);
        arms.chain(pairs.map(|(fault, moment, _)| format!("{fault:?} at {moment:?}"))).collect()
    }

    /// All counts as text.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (name, count) in self.arms() {
            let _ = writeln!(text, "{count:>12}  {name}");
        }
        for fault in Fault::ALL {
            let struck = self.pairs().filter(|(known, ..)| known == fault);
            let (places, total) = struck.fold((0, 0), |(places, total), (.., count)| (places + 1, total + count));
            let _ = writeln!(text, "{total:>12}  {fault:?} in {places} moments");
        }
        for (fault, moment, count) in self.pairs().filter(|(.., count)| *count < RARE) {
            let _ = writeln!(text, "{count:>12}  {fault:?} at {moment:?}, which is rare");
        }
        text
    }
}

/// Reports come only while their checkpoint waits for them, and a job that ended hears nothing.
fn is_possible_event(stage: &str, event: &str) -> bool {
    match event {
        "Tick(idle)" | "Tick(active)" | "StopRequested" | "InputFinished" | "Wanted" => stage != "Ended",
        "Positions" | "Snapshot" | "Flushed" => stage == "Collecting",
        "Prepared" => stage == "Preparing",
        "Decided" => stage == "Deciding",
        _ => stage == "Recording",
    }
}
