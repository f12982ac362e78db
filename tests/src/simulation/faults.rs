//! Faults that strike between two steps, and the person who is called when a process stops.
//!
//! The person does what the runbook says, and nothing else; where it says that only somebody who knows more can decide, the
//! run is over. Next room: `world`.

use super::broker::{Fate, MARKER, PARTITIONS, Payload};
use super::coverage::{Fault, Moment};
use super::judge::Rule;
use super::process::Process;
use super::shared::{Stop, Volume};
use super::store::{Store, attempt_id};
use super::world::World;
use tidegate::checkpoint::recovery::Conflict;

impl World {
    /// Lets one fault strike, if the one that was chosen can strike now.
    pub(super) fn fault(&mut self) {
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
        let count = self.processes.len();
        let at = self.shared.choices.below(count.max(1));
        self.shared.moment = self.processes.get(at).map_or(Moment::Idle, Process::moment);
        let has_struck = if at < count { self.strike(fault, at) } else { false };
        if has_struck {
            self.shared.note(|| format!("fault: {fault:?}"));
            self.shared.struck(fault);
        }
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
                self.rivals = true;
                self.processes[at].is_detached = true;
                self.processes[at].is_frozen = true;
            }
            Fault::StopAsked => return self.processes[at].stop(),
            Fault::ClockJump => {
                let ms = [1_100, 2_500, 25_000][self.shared.choices.below(3)];
                self.let_time_pass(ms);
            }
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
            self.copies = true;
            self.shared.judge.numbers_begin_anew();
            self.shared.volumes[volume].store.clone()
        } else {
            Store::new(self.shared.volumes.len() as u32 + 1)
        };
        self.rivals = true;
        self.shared.volumes.push(Volume::new(store));
        true
    }

    /// The first time a copy is made, the second time it is put in the store's place.
    fn old_copy(&mut self, at: usize) -> bool {
        let volume = &mut self.shared.volumes[at];
        if volume.newer.is_some() {
            return false;
        }
        match volume.backup.take() {
            // An empty store in its place would be a new job.
            None if volume.store.committed.is_none() => return false,
            None => {
                volume.backup = Some(volume.store.clone());
                // A copy alone does no harm.
                self.shared.faults_left += 1;
            }
            Some(copy) => {
                volume.newer = Some(std::mem::replace(&mut volume.store, copy));
                self.shared.judge.numbers_begin_anew();
                self.processes.retain(|process| process.volume != at || process.is_detached);
            }
        }
        true
    }

    /// What only a person can put right, who knows more than the runbook.
    fn ruin(&mut self, fault: Fault) -> bool {
        if self.is_beyond_repair || self.rivals || !self.shared.choices.chance(300) {
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
            Stop::OtherMarker if self.rivals => {}
            Stop::Conflict(Conflict::ForeignStore { .. }) if self.rivals => {
                self.shared.volumes[volume].is_retired = true;
            }
            Stop::Conflict(Conflict::StoreBehind { .. } | Conflict::UnknownAttempt { .. }) | Stop::File
                if self.shared.volumes[volume].newer.is_some() =>
            {
                let known = &mut self.shared.volumes[volume];
                known.store = known.newer.take().expect("the guard looked");
            }
            Stop::Conflict(Conflict::StoreBehind { .. } | Conflict::UnknownAttempt { .. }) if self.copies => {
                self.shared.volumes[volume].is_retired = true;
            }
            Stop::Conflict(_) | Stop::OtherMarker | Stop::Source | Stop::Decider if is_ruined => self.is_over = true,
            _ => {
                let stop = stop.clone();
                self.shared.judge.complain(Rule::NeedlessStop, || format!("{stop:?} on volume {volume}"));
            }
        }
        if self.shared.volumes.iter().all(|volume| volume.is_retired) && self.processes.is_empty() {
            self.shared.judge.complain(Rule::NoProgress, || "no instance may go on".to_owned());
        }
    }

    /// `tidegate state repair`: ends what hangs as the marker decides. No instance of the job runs meanwhile.
    fn repair(&mut self) {
        self.processes.retain(|process| process.is_detached);
        if !self.shared.broker.is_at_rest() {
            return;
        }
        let broker = &mut self.shared.broker;
        let hangs =
            |partition: &usize| broker.partitions[*partition].stable() < broker.partitions[*partition].log.len();
        let hanging: Vec<usize> = (0..PARTITIONS).filter(hangs).collect();
        let marked = |payload| if let Payload::Marker(marker) = payload { Some(marker) } else { None };
        let row = |payload| if let Payload::Row(row) = payload { Some(row.tag) } else { None };
        let open_marker = broker.partitions[MARKER].of_fate(Fate::Open).filter_map(marked).last();
        let is_commit = match open_marker {
            // The marker's own partition hangs, too: PREPARED is durable then, and what became of the rest of its
            // checkpoint says what becomes of it. If all of it hangs, to commit is right for everybody who may wait.
            Some(marker) => {
                let is_of_it = |tag: (u32, u64)| (attempt_id(tag.0), tag.1) == (marker.attempt, marker.id.0);
                let mut aborted = broker.partitions[..MARKER].iter().flat_map(|known| known.of_fate(Fate::Aborted));
                !aborted.any(|payload| row(payload).is_some_and(is_of_it))
            }
            None => {
                let open = hanging.iter().flat_map(|at| broker.partitions[*at].of_fate(Fate::Open)).find_map(row);
                open.zip(broker.marker(false))
                    .is_some_and(|(tag, marker)| (attempt_id(tag.0), tag.1) == (marker.attempt, marker.id.0))
            }
        };
        for partition in &hanging {
            broker.repair(*partition, is_commit);
        }
        self.shared
            .note(|| format!("a person ends partitions {hanging:?}: {}", if is_commit { "commit" } else { "abort" }));
    }
}
