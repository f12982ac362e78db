//! Faults that strike between two steps, and the person who is called when a process stops.
//!
//! The person does what the runbook says, and nothing else; where it says that only somebody who knows more can decide, the
//! run is over. Next room: `world`.

use super::broker::{Answer, Fate, MARKER, PARTITIONS, Payload, Request};
use super::choices::Choices;
use super::coverage::{Fault, Moment};
use super::judge::Rule;
use super::possible;
use super::shared::{Shape, Stop, Volume};
use super::store::{Store, attempt_id};
use super::world::{Course, Rivals, World};
use tidegate::checkpoint::recovery::Conflict;

/// A fault for a rare moment, and what brings a run there.
pub(super) fn ambush(choices: &mut Choices) -> Vec<(Fault, Moment)> {
    // A delayed request needs the most luck.
    let chosen = choices.below(Fault::ALL.len() + 3);
    let fault = Fault::ALL.get(chosen).copied().unwrap_or(Fault::HeldDelivered);
    let moments = || Moment::ALL.iter().filter(|moment| possible::pair(fault, **moment));
    let chosen = choices.below(moments().count());
    let moment = *moments().nth(chosen).expect("a number below their count was chosen");
    let mut waiting = vec![(fault, moment)];
    waiting.extend(match moment {
        Moment::DiscardStaging | Moment::RollBack => Some((Fault::Killed, Moment::BeforeMarker)),
        Moment::ApplyAtStart | Moment::RecordAtStart | Moment::SettlePrepared => Some((Fault::Killed, Moment::Confirm)),
        Moment::Recording => Some((Fault::StopAsked, Moment::Idle)),
        Moment::RotationMarker | Moment::Replace => Some((Fault::AnswerLost, Moment::Commit)),
        Moment::Look | Moment::Initialise | Moment::Settle | Moment::ReadMarker | Moment::Opening => {
            Some((Fault::Killed, Moment::Collecting))
        }
        _ => None,
    });
    if fault == Fault::HeldDelivered {
        let sending = match moment {
            Moment::StartPrepare | Moment::StartCommit | Moment::StartConfirm => Moment::Initialise,
            // The end of one transaction that arrives in the next.
            _ if choices.chance(500) => Moment::Commit,
            _ => Moment::Collecting,
        };
        waiting.push((Fault::RequestHeld, sending));
    }
    waiting
}

/// The sinks without which a fault cannot strike, or a moment never comes.
pub(super) fn fit(shape: &mut Shape, (fault, moment): (Fault, Moment)) {
    let is_rival = matches!(fault, Fault::SecondInstance | Fault::CopyStarted);
    let needs_kafka = matches!(
        moment,
        Moment::SettlePrepared
            | Moment::DiscardStaging
            | Moment::RollBack
            | Moment::RotationMarker
            | Moment::Replace
            | Moment::Confirm
    );
    let is_marked = matches!(fault, Fault::MarkerPurged | Fault::MarkerRecreated | Fault::HeldDelivered);
    shape.kafka |= is_rival || is_marked || needs_kafka;
    shape.file &= !is_rival;
}

impl World {
    /// Lets one fault strike, if the one that was chosen can strike now.
    pub(super) fn fault(&mut self) {
        // What cannot be undone is rare; the kill is the commonest.
        const STRIKES: [Fault; 15] = [
            Fault::Killed,
            Fault::HeldDelivered,
            Fault::BrokersAway,
            Fault::Frozen,
            Fault::Replaced,
            Fault::ClockJump,
            Fault::PowerCut,
            Fault::StopAsked,
            Fault::Killed,
            Fault::SecondInstance,
            Fault::CopyStarted,
            Fault::OldCopy,
            Fault::MarkerPurged,
            Fault::MarkerRecreated,
            Fault::SourceRecreated,
        ];
        let fault = STRIKES[self.shared.choices.below(STRIKES.len())];
        let at = self.shared.choices.below(self.processes.len().max(1));
        let is_ruin = matches!(fault, Fault::MarkerPurged | Fault::MarkerRecreated | Fault::SourceRecreated);
        if at < self.processes.len() && (!is_ruin || self.shared.choices.chance(300)) {
            self.strike_now(fault, at);
        }
    }

    /// Lets the fault strike that waits for a moment, when a process is there. Says whether it did.
    pub(super) fn spring_ambush(&mut self) -> bool {
        let Some(&(fault, moment)) = self.shared.ambush.last() else { return false };
        let Some(at) = self.processes.iter().position(|process| process.moment() == moment) else { return false };
        self.shared.choices.chance(600) && self.strike_now(fault, at)
    }

    fn strike_now(&mut self, fault: Fault, at: usize) -> bool {
        self.shared.moment = self.processes[at].moment();
        let has_struck = self.strike(fault, at);
        if has_struck {
            self.shared.note(|| format!("fault: {fault:?}"));
            self.shared.struck(fault);
        }
        has_struck
    }

    fn strike(&mut self, fault: Fault, at: usize) -> bool {
        let volume = self.processes[at].volume;
        match fault {
            Fault::Killed => {
                self.processes.remove(at);
            }
            Fault::PowerCut => {
                self.processes.retain(|process| process.volume != volume || process.is_detached);
                self.shared.volumes[volume].files.lose_cache();
            }
            Fault::Frozen => self.processes[at].is_frozen = !self.processes[at].is_frozen,
            Fault::Replaced => {
                if self.processes.len() > 2 || self.processes[at].is_detached || self.is_beyond_repair {
                    return false;
                }
                self.rivals = self.rivals.max(Rivals::Zombies);
                self.processes[at].is_detached = true;
                self.processes[at].is_frozen = true;
            }
            Fault::StopAsked => return self.processes[at].stop(),
            Fault::ClockJump => {
                let ms = [1_100, 2_500, 25_000][self.shared.choices.below(3)];
                let _ = self.let_time_pass(ms);
            }
            Fault::TransactionExpired => return self.let_time_pass(25_000),
            Fault::BrokersAway => {
                let ms = 50 + 100 * self.shared.choices.below(20) as u64;
                self.shared.broker.away_until_ms = self.shared.clock_ms + ms;
            }
            Fault::HeldDelivered => return self.deliver(),
            Fault::SecondInstance | Fault::CopyStarted => return self.second_instance(fault, volume),
            Fault::OldCopy => return self.old_copy(volume),
            Fault::MarkerPurged | Fault::MarkerRecreated | Fault::SourceRecreated => return self.ruin(fault),
            _ => return false,
        }
        true
    }

    /// A request that was held back arrives, whoever its sender was.
    fn deliver(&mut self) -> bool {
        let held = &mut self.shared.network.held;
        if held.is_empty() || self.shared.clock_ms < self.shared.broker.away_until_ms {
            return false;
        }
        let at = self.shared.choices.below(held.len());
        let request = held.remove(at);
        let answer = self.shared.broker.take(self.shared.clock_ms, request);
        self.shared.note(|| format!("{request:?} arrives late: {answer:?}"));
        self.has_phantom |= matches!(request, Request::Add { .. }) && answer == Answer::Done;
        // It was a fault when it was held back.
        self.shared.faults_left += 1;
        true
    }

    fn second_instance(&mut self, fault: Fault, volume: usize) -> bool {
        if !self.shared.shape.kafka || self.shared.shape.file || self.shared.volumes.len() > 2 || self.is_beyond_repair
        {
            return false;
        }
        let store = if fault == Fault::CopyStarted {
            self.rivals = Rivals::Copies;
            self.shared.judge.numbers_begin_anew();
            self.shared.volumes[volume].store.clone()
        } else {
            Store::new(self.shared.volumes.len() as u32 + 1)
        };
        self.rivals = self.rivals.max(Rivals::Stores);
        self.shared.volumes.push(Volume::new(store));
        true
    }

    /// Somebody puts an old copy in the store's place.
    fn old_copy(&mut self, at: usize) -> bool {
        let volume = &mut self.shared.volumes[at];
        let Some(copy) = volume.backup.take() else { return false };
        volume.newer = Some(std::mem::replace(&mut volume.store, copy));
        self.shared.judge.numbers_begin_anew();
        self.processes.retain(|process| process.volume != at || process.is_detached);
        true
    }

    /// What only a person can put right, who knows more than the runbook.
    fn ruin(&mut self, fault: Fault) -> bool {
        if self.is_beyond_repair || self.rivals > Rivals::None {
            return false;
        }
        match fault {
            Fault::SourceRecreated if !self.shared.judge.has_run() => return false,
            Fault::SourceRecreated => {
                let upstream = &mut self.shared.upstream[0];
                upstream.topic += 1;
                upstream.made_anew = Some(upstream.records.iter().rev().copied().collect());
            }
            _ if !self.shared.shape.kafka => return false,
            _ => self.shared.broker.purge_marker(fault == Fault::MarkerRecreated),
        }
        self.is_beyond_repair = true;
        true
    }

    /// A process stopped for a person: was there a reason, and what does the runbook say?
    pub(super) fn call_person(&mut self, volume: usize, stop: &Stop) {
        let is_ruined = self.is_beyond_repair;
        match stop {
            Stop::Undecided => self.repair(),
            Stop::Disk => {}
            Stop::OtherMarker if self.rivals > Rivals::None => {}
            // A lost control record, and then the time-out of a transaction that a delayed request began: it aborted what
            // was committed. The product sees the contradiction, and what is where must be looked at.
            Stop::OtherMarker if self.has_phantom => self.course = Course::Over,
            Stop::Conflict(Conflict::ForeignStore { .. }) if self.rivals >= Rivals::Stores => {
                self.shared.volumes[volume].is_retired = true;
            }
            Stop::Conflict(Conflict::StoreBehind { .. } | Conflict::UnknownAttempt { .. }) | Stop::File
                if self.shared.volumes[volume].newer.is_some() =>
            {
                let known = &mut self.shared.volumes[volume];
                known.store = known.newer.take().expect("the guard looked");
            }
            Stop::Conflict(Conflict::StoreBehind { .. } | Conflict::UnknownAttempt { .. })
                if self.rivals == Rivals::Copies =>
            {
                self.shared.volumes[volume].is_retired = true;
            }
            Stop::Conflict(_) | Stop::OtherMarker | Stop::Source | Stop::Decider if is_ruined => {
                self.course = Course::Over;
            }
            _ => {
                let stop = stop.clone();
                self.shared.judge.complain(Rule::NeedlessStop, || format!("{stop:?} on volume {volume}"));
            }
        }
        if self.shared.volumes.iter().all(|volume| volume.is_retired) && self.processes.is_empty() {
            self.shared.judge.complain(Rule::NoProgress, || "no instance may go on".to_owned());
        }
    }

    /// `tidegate state repair`: ends what hangs as the marker decides, partition by partition, since a partition may be open
    /// for another transaction. No instance of the job runs meanwhile.
    fn repair(&mut self) {
        self.processes.retain(|process| process.is_detached);
        let broker = &mut self.shared.broker;
        let of_row =
            |payload| if let Payload::Row(row) = payload { Some((attempt_id(row.tag.0), row.tag.1)) } else { None };
        let of_marker =
            |payload| if let Payload::Marker(known) = payload { Some((known.attempt, known.id.0)) } else { None };
        let has_any = |fate, checkpoint| {
            let mut all = broker.partitions[..MARKER].iter().flat_map(|known| known.of_fate(fate));
            all.any(|payload| of_row(payload) == Some(checkpoint))
        };
        let visible = broker.marker(false).map(|marker| (marker.attempt, marker.id.0));
        // The marker's own partition may hang, too: PREPARED is durable then, and what became of the rest of its checkpoint
        // says what becomes of it. If all of it hangs, to commit is right for everybody who may wait.
        let hidden = broker.partitions[MARKER].of_fate(Fate::Open).filter_map(of_marker).last();
        let hidden = hidden.filter(|checkpoint| !has_any(Fate::Aborted, *checkpoint));
        let is_seen = hidden.is_some_and(|checkpoint| has_any(Fate::Committed, checkpoint));
        let mut ends = Vec::new();
        for partition in 0..PARTITIONS {
            let known = &broker.partitions[partition];
            if known.stable() == known.log.len() {
                continue;
            }
            let open = known.of_fate(Fate::Open).find_map(|payload| of_row(payload).or(of_marker(payload)));
            let is_visible = open.is_some() && open == visible;
            let is_commit = is_visible || (open.is_some() && open == hidden);
            // While the coordinator has a transaction, what is open may be that one, unless it is known to be committed.
            if broker.is_at_rest() || is_visible || (is_commit && is_seen) {
                ends.push((partition, is_commit));
            }
        }
        for (partition, is_commit) in &ends {
            broker.repair(*partition, *is_commit);
        }
        self.shared.note(|| format!("a person ends partitions (commit or not): {ends:?}"));
    }
}
