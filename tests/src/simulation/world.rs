//! One run: a world made from choices, taken step by step to its end or to the judge's first complaint.
//!
//! A step is a piece of work of one process, or of the cluster, or time. While faults are left one may strike before any
//! step; when none is left, nothing hinders the job any more and it must get to its end. Next rooms: `faults`, `process`.

use super::broker::Broker;
use super::choices::Choices;
use super::client::Network;
use super::coverage::{Coverage, Fault, Moment};
use super::faults;
use super::job::Ended;
use super::judge::{Complaint, Judge, Rule};
use super::process::Process;
use super::row::{KEYS, WINDOW_MS, WINDOWS};
use super::shared::{Death, Progress, Shape, Shared, Volume};
use super::source::{DISORDER_MS, Input, Upstream};
use super::store::Store;

/// Steps in which faults may strike.
const FAULTY_STEPS: u32 = 3_000;
/// Steps that a job may need after the last fault.
const QUIET_STEPS_MAX: u32 = 8_000;

/// The world.
pub(super) struct World {
    pub(super) shared: Shared,
    pub(super) processes: Vec<Process>,
    /// A fault after which only a person can say how to go on.
    pub(super) is_beyond_repair: bool,
    pub(super) course: Course,
    pub(super) rivals: Rivals,
    /// A delayed request began a transaction that nobody will end but its time-out.
    pub(super) has_phantom: bool,
    is_starved: bool,
    steps: u32,
    /// The input goes on no earlier.
    input_at_ms: u64,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Course {
    GoingOn,
    /// Only somebody who knows more than the runbook can go on.
    Over,
    /// The job read all of its input.
    Finished,
}

/// Which processes may have been there at once, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rivals {
    None,
    /// One that lost its volume to a successor.
    Zombies,
    /// Two with stores of their own.
    Stores,
    /// Two with copies of one store.
    Copies,
}

/// What a run came to.
pub(super) struct Run {
    pub(super) complaint: Option<Complaint>,
    pub(super) coverage: Coverage,
    pub(super) made: Vec<u8>,
    pub(super) log: Vec<String>,
    pub(super) steps: u32,
}

impl World {
    /// Makes a world.
    pub(super) fn new(mut choices: Choices, log: Option<Vec<String>>) -> World {
        let sinks = choices.below(4);
        let mut shape = Shape {
            kafka: sinks != 3,
            file: sinks >= 2,
            shards: 2 + choices.below(3),
            threads: 1 + choices.below(2),
            from_latest: choices.chance(500),
            pace_ms: [0, 0, 8, 25][choices.below(4)],
            network_faults_per_mille: [20, 5, 60, 150][choices.below(4)],
            disk_faults_per_mille: [5, 30, 100][choices.below(3)],
        };
        let upstream = std::array::from_fn(|_| upstream(&mut choices));
        let faults_left = 2 + choices.below(6) as u32;
        let ambush = faults::ambush(&mut choices);
        faults::fit(&mut shape, ambush[0]);
        let shared = Shared {
            clock_ms: 1,
            shape,
            choices,
            broker: Broker::new(),
            network: Network::default(),
            volumes: vec![Volume::new(Store::new(1))],
            upstream,
            judge: Judge::default(),
            coverage: Coverage::new(),
            faults_left,
            moment: Moment::Look,
            ambush,
            attempts: 0,
            log,
        };
        World {
            shared,
            processes: Vec::new(),
            is_beyond_repair: false,
            course: Course::GoingOn,
            rivals: Rivals::None,
            has_phantom: false,
            is_starved: false,
            steps: 0,
            input_at_ms: 0,
        }
    }

    /// Takes the brokers away for good, of a job that needs them.
    pub(super) fn starve(&mut self) {
        self.shared.shape.kafka = true;
        self.is_starved = true;
    }

    /// Runs to the end.
    pub(super) fn run(&mut self) {
        let shape = self.shared.shape.clone();
        if self.is_starved {
            self.shared.broker.away_until_ms = u64::MAX;
        }
        self.shared.note(|| format!("{shape:?}"));
        let mut quiet_steps = 0;
        while self.course == Course::GoingOn && self.shared.judge.complaint.is_none() {
            self.steps += 1;
            self.shared.clock_ms += 1;
            if self.steps > FAULTY_STEPS {
                self.shared.faults_left = 0;
            }
            if !self.shared.may_fault() {
                quiet_steps += 1;
                self.calm();
            }
            if quiet_steps > QUIET_STEPS_MAX {
                self.shared.judge.complain(Rule::NoProgress, || "the job does not get to its end".to_owned());
            }
            self.step();
        }
        if self.shared.judge.complaint.is_none() {
            let shared = &mut self.shared;
            let is_whole = self.course == Course::Finished && !self.is_beyond_repair;
            let file = &shared.volumes[0].files.output.lines;
            shared.judge.verdict(&shape, &shared.upstream, &shared.broker, file, is_whole);
        }
    }

    /// What the run came to.
    pub(super) fn end(self) -> Run {
        let shared = self.shared;
        Run {
            complaint: shared.judge.complaint,
            coverage: shared.coverage,
            made: shared.choices.into_made(),
            log: shared.log.unwrap_or_default(),
            steps: self.steps,
        }
    }

    fn step(&mut self) {
        if self.shared.may_fault() {
            if self.spring_ambush() {
                return;
            }
            // An ambush needs faults that are left.
            let per_mille = if self.shared.ambush.is_empty() { 20 } else { 2 };
            if self.shared.choices.chance(per_mille) {
                self.fault();
                return;
            }
        }
        let first = self.shared.choices.below(8);
        let has_worked = if first < 6 { self.let_process_work() } else { false };
        if has_worked || self.let_world_work() || (first >= 6 && self.let_process_work()) {
            return;
        }
        let ms = 10 + 10 * self.shared.choices.below(4) as u64;
        self.let_time_pass(ms);
    }

    /// Gives a turn to a process that can do something.
    fn let_process_work(&mut self) -> bool {
        let count = self.processes.len();
        if count == 0 {
            return false;
        }
        let first = self.shared.choices.below(count);
        for at in (0..count).map(|step| (first + step) % count) {
            if self.processes[at].is_frozen {
                continue;
            }
            match self.processes[at].step(&mut self.shared) {
                Ok((Progress::Waiting, _)) => {}
                Ok((_, None)) => return true,
                Ok((_, Some(ended))) => {
                    let process = self.processes.remove(at);
                    self.shared.note(|| format!("attempt {} ended: {ended:?}", process.attempt));
                    if ended == Ended::Finished {
                        self.course = Course::Finished;
                    }
                    return true;
                }
                Err(death) => {
                    let process = self.processes.remove(at);
                    self.died(&process, &death);
                    return true;
                }
            }
        }
        false
    }

    pub(super) fn died(&mut self, process: &Process, death: &Death) {
        self.shared.note(|| format!("attempt {} ends: {death:?}", process.attempt));
        if !process.is_detached {
            let now_ms = self.shared.clock_ms;
            self.shared.volumes[process.volume].failed(now_ms);
        }
        // Nobody listens to a zombie.
        if let Death::Stop(stop) = death
            && !process.is_detached
        {
            self.call_person(process.volume, stop);
        }
    }

    /// What goes on without any process: input arrives, control records are written, supervisors start jobs.
    fn let_world_work(&mut self) -> bool {
        let first = self.shared.choices.below(3);
        (0..3).map(|step| (first + step) % 3).any(|turn| match turn {
            0 => self.supervise(),
            1 => self.write_control(),
            _ => self.input_arrives(),
        })
    }

    /// Starts the job on a volume where nobody runs it.
    fn supervise(&mut self) -> bool {
        let is_locked = |volume| self.processes.iter().any(|process| process.volume == volume && !process.is_detached);
        let is_wanted = |volume: &Volume| !volume.is_retired && volume.start_at_ms <= self.shared.clock_ms;
        let free = (0..self.shared.volumes.len())
            .find(|volume| is_wanted(&self.shared.volumes[*volume]) && !is_locked(*volume));
        let Some(volume) = free else { return false };
        self.start(volume);
        true
    }

    fn start(&mut self, volume: usize) {
        match Process::new(volume, &mut self.shared) {
            Ok(process) => self.processes.push(process),
            Err(Death::Stop(stop)) => {
                let now_ms = self.shared.clock_ms;
                self.shared.volumes[volume].failed(now_ms);
                self.shared.note(|| format!("a start stops: {stop:?}"));
                self.call_person(volume, &stop);
            }
            Err(_) => {}
        }
    }

    fn write_control(&mut self) -> bool {
        let shared = &mut self.shared;
        if shared.is_away() || shared.broker.pending.is_empty() {
            return false;
        }
        let at = shared.choices.below(shared.broker.pending.len());
        let partition = shared.broker.pending[at];
        shared.moment = self.processes.first().map_or(Moment::Idle, Process::moment);
        let is_lost = shared.strikes(&[Fault::ControlLost], 40);
        if is_lost {
            shared.struck(Fault::ControlLost);
        }
        shared.note(|| format!("control record of partition {partition}{}", if is_lost { " is lost" } else { "" }));
        shared.broker.write_control(at, is_lost);
        true
    }

    fn input_arrives(&mut self) -> bool {
        let shared = &mut self.shared;
        if shared.clock_ms < self.input_at_ms {
            return false;
        }
        self.input_at_ms = shared.clock_ms + 2 * shared.choices.below(40) as u64;
        if shared.choices.chance(200) {
            let volume = &mut shared.volumes[0];
            // An empty store in the place of a newer one would be a new job.
            if volume.store.committed.is_some() && volume.newer.is_none() {
                volume.backup = Some(volume.store.clone());
            }
        }
        let split = shared.choices.below(2);
        for upstream in [split, 1 - split] {
            let upstream = &mut shared.upstream[upstream];
            if upstream.available < upstream.records.len() {
                upstream.available += 1;
                if !shared.choices.chance(200) {
                    upstream.stable = upstream.available;
                }
                return true;
            }
            if upstream.stable < upstream.available {
                upstream.stable = upstream.available;
                return true;
            }
        }
        false
    }

    /// Says whether a transaction was open for too long by then.
    pub(super) fn let_time_pass(&mut self, ms: u64) -> bool {
        self.shared.clock_ms += ms;
        let now_ms = self.shared.clock_ms;
        let hung = self.shared.broker.hangs_in_next_transaction();
        let is_expired = self.shared.broker.expire(now_ms);
        if is_expired {
            // Nobody came in time to a partition that missed its control record, and that a delayed request had put into
            // another transaction: its records are lost, whatever the job does.
            if hung {
                self.is_beyond_repair = true;
                self.shared.judge.excuse_loss();
            }
            self.shared.moment = self.processes.first().map_or(Moment::Idle, Process::moment);
            let moment = self.shared.moment;
            self.shared.coverage.struck(Fault::TransactionExpired, moment);
            self.shared.note(|| "the transaction was open for too long: aborted".to_owned());
        }
        is_expired
    }

    /// What hinders the job goes away when no fault is left.
    fn calm(&mut self) {
        self.shared.broker.away_until_ms = if self.is_starved { u64::MAX } else { 0 };
        for process in &mut self.processes {
            process.is_frozen = false;
        }
    }
}

/// Records that will arrive on a split.
fn upstream(choices: &mut Choices) -> Upstream {
    let count = 6 + choices.below(8);
    let mut records: Vec<Input> = Vec::with_capacity(count + 2);
    let mut time = 1 + 10 * choices.below(6) as i64;
    for _ in 0..count {
        if choices.chance(120) {
            records.push(None);
        }
        time += 20 * choices.below(5) as i64;
        let late = DISORDER_MS / 3 * choices.below(4) as i64;
        let timestamp = (time - late).clamp(0, WINDOW_MS * WINDOWS as i64 - 1);
        records.push(Some((timestamp, choices.below(KEYS as usize) as u8)));
    }
    let available = choices.below(3);
    Upstream { records, available, stable: available, topic: 1, made_anew: None }
}
