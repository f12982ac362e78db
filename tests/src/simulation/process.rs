//! A model process: a start, step by step, and the job that runs then.
//!
//! The order of a start is the product's `startup.rs`; here is what the thin shell below it does. Next rooms: `job`,
//! `world`, which kills, freezes and starts processes.

use super::broker::{MARKER, PARTITIONS, SINK_PARTITIONS};
use super::coverage::Moment;
use super::job::{Ended, Job};
use super::output::{Output, UNDECIDED_MAX_MS};
use super::shared::{Death, Progress, Shared, Stop};
use super::store::{FilePart, Record, SPLITS, SplitPart, store_id};
use std::rc::Rc;
use tidegate::checkpoint::record::CheckpointKind;
use tidegate::checkpoint::recovery::{Decision, Markers};
use tidegate::checkpoint::startup::{Action, DecidedBy, Fact, Startup};
use tidegate::ids::{CheckpointId, Watermark};
use tidegate::seeded::{self, Bug};

/// How long a start waits for an answer of the cluster.
const ANSWER_MAX_MS: u64 = 2_000;

/// One life of the job.
pub(super) struct Process {
    pub(super) attempt: u32,
    pub(super) volume: usize,
    /// SIGSTOP: it does nothing, and keeps everything.
    pub(super) is_frozen: bool,
    /// Its volume was taken away and given to a successor.
    pub(super) is_detached: bool,
    body: Body,
}

enum Body {
    Starting(Box<Starting>),
    Running(Box<Job>),
}

struct Starting {
    startup: Startup,
    action: Action,
    output: Output,
    record: Option<Rc<Record>>,
    prepared: Option<Rc<Record>>,
    committed: Option<Rc<Record>>,
    waiting_since_ms: Option<u64>,
    undecided_since_ms: Option<u64>,
    /// The ends read after the initialisation.
    ends: Option<[usize; PARTITIONS]>,
    is_deciding: bool,
    /// The marker was of another store when this life began.
    is_foreign: bool,
}

impl Process {
    /// Begins a life on a volume whose lock it has.
    pub(super) fn new(volume: usize, shared: &mut Shared) -> Result<Process, Death> {
        shared.attempts += 1;
        let attempt = shared.attempts;
        let store = &shared.volumes[volume].store;
        if shared.shape.kafka && store.decider.is_some_and(|topic| topic != shared.broker.marker_topic) {
            return Err(Death::Stop(Stop::Decider));
        }
        let newest = store.prepared.as_ref().or(store.committed.as_ref());
        let is_other = |record: &Rc<Record>| {
            record.splits.iter().zip(&shared.upstream).any(|(part, upstream)| part.topic != upstream.topic)
        };
        if newest.is_some_and(is_other) {
            return Err(Death::Stop(Stop::Source));
        }
        let decided_by = if shared.shape.kafka { DecidedBy::Kafka } else { DecidedBy::Store };
        let (startup, action) = Startup::begin(store.facts(), decided_by);
        let starting = Starting {
            startup,
            action,
            output: Output::default(),
            record: None,
            prepared: store.prepared.clone(),
            committed: store.committed.clone(),
            waiting_since_ms: None,
            undecided_since_ms: None,
            ends: None,
            is_deciding: false,
            is_foreign: shared.broker.marker(false).is_some_and(|marker| marker.store != store_id(store.id)),
        };
        shared.note(|| format!("attempt {attempt} starts on volume {volume}"));
        let body = Body::Starting(Box::new(starting));
        Ok(Process { attempt, volume, is_frozen: false, is_detached: false, body })
    }

    /// Where the process is.
    pub(super) fn moment(&self) -> Moment {
        match &self.body {
            Body::Starting(starting) => starting.moment(),
            Body::Running(job) => job.moment(),
        }
    }

    /// Asks the job to stop, if it runs.
    pub(super) fn stop(&mut self) -> bool {
        match &mut self.body {
            Body::Starting(_) => false,
            Body::Running(job) => {
                job.stop();
                true
            }
        }
    }

    /// Does a piece of work.
    pub(super) fn step(&mut self, shared: &mut Shared) -> Result<(Progress, Option<Ended>), Death> {
        shared.moment = self.moment();
        shared.judge.attempt = self.attempt;
        let volume = (!self.is_detached).then_some(self.volume);
        let starting = match &mut self.body {
            Body::Running(job) => return job.step(volume, shared),
            Body::Starting(starting) => starting,
        };
        if let Action::Run(go_on) = &starting.action {
            let Some(own) = volume else { return Err(Death::Failed("the volume is gone")) };
            let record = starting.record.take().expect("a start goes on from a checkpoint");
            shared.coverage.startup(&starting.action);
            if record.kind == CheckpointKind::Finished {
                return Ok((Progress::Finished, Some(Ended::Finished)));
            }
            shared.judge.runs(&record);
            shared.note(|| format!("runs from checkpoint {}", record.id));
            let output = std::mem::take(&mut starting.output);
            let job = Job::new(&record, go_on.next, output, self.attempt, own, shared);
            self.body = Body::Running(Box::new(job));
            return Ok((Progress::Worked, None));
        }
        let progress = starting.step(self.attempt, volume, shared)?;
        Ok((progress, None))
    }
}

impl Starting {
    fn moment(&self) -> Moment {
        if let Some(moment) = self.output.moment() {
            return match moment {
                Moment::BeforeMarker | Moment::Commit => Moment::StartCommit,
                Moment::Confirm => Moment::StartConfirm,
                later => later,
            };
        }
        match self.action {
            Action::Look => Moment::Look,
            Action::SettlePrepared { .. } => Moment::SettlePrepared,
            Action::Initialise => Moment::Initialise,
            Action::Settle => Moment::Settle,
            Action::ReadMarkers => Moment::ReadMarker,
            Action::Tell(_) | Action::OpenSinks(_) | Action::Run(_) | Action::Stop(_) => Moment::Opening,
            Action::DiscardStaging(_) => Moment::DiscardStaging,
            Action::RollBack(_) => Moment::RollBack,
            Action::Resolve(_) | Action::Prepare(_) | Action::Decide(_) => Moment::StartPrepare,
            Action::Apply(_) => Moment::ApplyAtStart,
            Action::Record(_) => Moment::RecordAtStart,
        }
    }

    fn step(&mut self, attempt: u32, volume: Option<usize>, shared: &mut Shared) -> Result<Progress, Death> {
        let Some(fact) = self.perform(attempt, volume, shared)? else {
            let since_ms = *self.waiting_since_ms.get_or_insert(shared.clock_ms);
            if shared.clock_ms - since_ms > ANSWER_MAX_MS {
                return Err(Death::Failed("the cluster does not answer"));
            }
            return Ok(Progress::Waiting);
        };
        if self.is_deciding {
            return Ok(Progress::Worked);
        }
        self.waiting_since_ms = None;
        shared.coverage.startup(&self.action);
        self.action = self.startup.on(fact);
        let action = &self.action;
        shared.note(|| format!("attempt {attempt}: {action:?}"));
        Ok(Progress::Worked)
    }

    /// Does the action, or a part of it; `None`: nothing can be done now.
    fn perform(&mut self, attempt: u32, volume: Option<usize>, shared: &mut Shared) -> Result<Option<Fact>, Death> {
        match self.action.clone() {
            Action::Look | Action::SettlePrepared { .. } | Action::ReadMarkers | Action::Settle if shared.is_away() => {
                return Ok(None);
            }
            Action::Look | Action::ReadMarkers => {
                let committed = shared.broker.marker(seeded::is(Bug::MarkerReadUncommitted));
                return Ok(Some(Fact::Markers(Markers { committed, written: shared.broker.marker(true) })));
            }
            Action::Initialise => {
                shared.judge.fenced(self.is_foreign);
                return Ok(match self.output.client.init(shared) {
                    Progress::Finished => Some(Fact::Done),
                    _ => None,
                });
            }
            Action::SettlePrepared { is_marked, .. } => return self.settle_prepared(is_marked, shared),
            Action::Settle => return self.settle(shared),
            Action::Tell(decision) => {
                shared.coverage.decision(&decision);
                if let Decision::RollBack { forget, .. } | Decision::Start { forget: Some(forget), .. } = decision {
                    let attempt = self.prepared.as_ref().map_or(0, |record| record.attempt);
                    shared.judge.rolled_back(attempt, forget);
                }
            }
            Action::DiscardStaging(id) => shared.files(volume)?.discard(id),
            Action::RollBack(id) => shared.write_store(volume, |store| store.roll_back(id))?,
            Action::OpenSinks(from) => {
                let known = [&self.prepared, &self.committed].into_iter().flatten();
                self.record = known.into_iter().find(|record| Some(record.id) == from).cloned();
                if shared.shape.file {
                    let part = self.record.as_ref().map(|record| record.file);
                    shared.files(volume)?.open(part.as_ref())?;
                }
            }
            Action::Resolve(number) => self.record = Some(resolve(number, attempt, volume, shared)?),
            Action::Prepare(_) => {
                let record = Rc::clone(self.record.as_ref().expect("it was resolved"));
                let decider = shared.broker.marker_topic;
                let commits = shared.store(volume)?.prepared.as_ref().map(|record| record.id);
                shared.write_store(volume, |store| store.prepare(&record, &[], decider, commits))?;
                let store = shared.store(volume)?.id;
                shared.judge.numbered(store, &record);
            }
            Action::Decide(_) => return self.decide(volume, shared),
            Action::Apply(_) => {
                let file = self.record.as_ref().expect("it was found").file;
                if shared.shape.file {
                    let fails = shared.sync_fails();
                    shared.files(volume)?.apply(&file, fails)?;
                }
            }
            Action::Record(id) => shared.write_store(volume, |store| store.commit(id))?,
            Action::Stop(conflict) => {
                shared.coverage.conflict(&conflict);
                return Err(Death::Stop(Stop::Conflict(conflict)));
            }
            Action::Run(_) => unreachable!("a run is no action of a start"),
        }
        Ok(Some(Fact::Done))
    }

    fn decide(&mut self, volume: Option<usize>, shared: &mut Shared) -> Result<Option<Fact>, Death> {
        if !self.is_deciding {
            self.is_deciding = true;
            let store = shared.store(volume)?.id;
            let record = Rc::clone(self.record.as_ref().expect("it was prepared"));
            self.output.begin(&record, store, shared);
            return Ok(Some(Fact::Done));
        }
        Ok(match self.output.decide(volume, shared)? {
            Progress::Waiting => None,
            Progress::Worked => Some(Fact::Done),
            Progress::Finished => {
                self.is_deciding = false;
                Some(Fact::Done)
            }
        })
    }

    /// Waits until what is prepared is decided everywhere or nowhere.
    fn settle_prepared(&mut self, is_marked: bool, shared: &Shared) -> Result<Option<Fact>, Death> {
        let ends = self.prepared.as_ref().expect("it was prepared").ends;
        let partitions = &shared.broker.partitions;
        let written = (0..SINK_PARTITIONS).filter(|partition| ends[*partition] > 0);
        let open = written.clone().filter(|at| partitions[*at].stable() < ends[*at]).count();
        let is_marker_settled = partitions[MARKER].stable() == partitions[MARKER].log.len();
        let is_nowhere = open == written.count() && !is_marked;
        let is_everywhere = open == 0 && (is_marked || is_marker_settled);
        self.await_decided(is_nowhere || is_everywhere, shared)
    }

    /// Waits until everything that was open before this life is decided.
    fn settle(&mut self, shared: &Shared) -> Result<Option<Fact>, Death> {
        let partitions = &shared.broker.partitions;
        let ends = *self.ends.get_or_insert_with(|| std::array::from_fn(|at| partitions[at].log.len()));
        let is_stable = partitions.iter().zip(ends).all(|(partition, end)| partition.stable() >= end);
        self.await_decided(is_stable, shared)
    }

    /// Waits for a decision, but not for ever.
    fn await_decided(&mut self, is_decided: bool, shared: &Shared) -> Result<Option<Fact>, Death> {
        if is_decided {
            self.undecided_since_ms = None;
            return Ok(Some(Fact::Done));
        }
        let since_ms = *self.undecided_since_ms.get_or_insert(shared.clock_ms);
        if shared.clock_ms - since_ms > UNDECIDED_MAX_MS {
            return Err(Death::Stop(Stop::Undecided));
        }
        Ok(None)
    }
}

/// Checkpoint 0: where everything begins.
fn resolve(
    number: CheckpointId,
    attempt: u32,
    volume: Option<usize>,
    shared: &mut Shared,
) -> Result<Rc<Record>, Death> {
    let from_latest = shared.shape.from_latest;
    let splits: [SplitPart; SPLITS] = std::array::from_fn(|split| SplitPart {
        offset: if from_latest { shared.upstream[split].available as u16 } else { 0 },
        topic: shared.upstream[split].topic,
        watermark: Watermark::START,
        is_idle: false,
        is_finished: false,
    });
    let file = if shared.shape.file { shared.files(volume)?.initial() } else { FilePart::default() };
    Ok(Rc::new(Record {
        id: number,
        attempt,
        kind: CheckpointKind::Start,
        splits,
        shards: Vec::new(),
        file,
        ends: Default::default(),
    }))
}
