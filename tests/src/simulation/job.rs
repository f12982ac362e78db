//! A running model job: source threads, two stages on two workers, the sink thread, the writer, the coordinator.
//!
//! Each of them does a small piece of work when it is its turn, and whose turn it is the run's choices say. The coordinator
//! asks the product's `Protocol`, the sink takes the steps of the product's `Deciding`. Next rooms: `stage`, `source`,
//! `output`.

use super::coverage::Moment;
use super::lane::{INTO_SINK, Lanes, Message, Sender, into_stage};
use super::output::{Flushed, Output};
use super::shared::{Death, Progress, Shared};
use super::source::{Said, Source};
use super::stage::{STAGES, Shard, Stage, Step, WORKERS};
use super::store::{Delta, Record, SPLITS, ShardPart, SplitPart, Store};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use tidegate::align::{Aligned, Alignment};
use tidegate::checkpoint::protocol::{Action, Event, Parts, Protocol, Schedule, Stage as ProtocolStage};
use tidegate::checkpoint::record::CheckpointKind;
use tidegate::ids::CheckpointId;
use tidegate::seeded::{self, Bug};
use tidegate::source::clock::SourceClock;

/// When checkpoints are taken in the model.
const SCHEDULE: Schedule = Schedule { interval_ms: 60, min_pause_ms: 10, timeout_ms: 2_000, idle_max_ms: 600 };
/// At these times a worker wishes for a checkpoint before its time, as one that keeps much for an undo does.
const WANTED_EVERY_MS: u64 = 37;
/// Threads that may have something to do.
const TURNS: usize = 9;

enum Report {
    Positions(CheckpointId, Vec<(usize, SplitPart)>),
    InputFinished,
    Snapshot(CheckpointId, Vec<ShardPart>),
    Flushed(CheckpointId, Flushed),
    Prepared(Rc<Record>),
    Decided(CheckpointId),
    Recorded(CheckpointId),
}

enum Task {
    Begin,
    Add(usize, usize, Delta),
    Finish(Rc<Record>, Option<CheckpointId>),
    Record(CheckpointId),
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Stopped,
    Finished,
}

#[derive(Default)]
struct Collected {
    splits: Vec<(usize, SplitPart)>,
    shards: Vec<ShardPart>,
    flushed: Flushed,
    records: u64,
}

struct Sink {
    alignment: Alignment,
    output: Output,
    flushing: Option<CheckpointId>,
    is_deciding: bool,
    /// The checkpoint that rows belong to now.
    collecting: CheckpointId,
}

/// A job from its start to the end of its process.
pub(super) struct Job {
    attempt: u32,
    lanes: Lanes,
    sources: Vec<Source>,
    stages: [[Stage; WORKERS]; STAGES],
    sink: Sink,
    protocol: Protocol,
    ticked_ms: u64,
    reports: VecDeque<Report>,
    tasks: VecDeque<Task>,
    added: Vec<(usize, usize, Delta)>,
    wants_fold: bool,
    collected: Collected,
    prepared: Option<Rc<Record>>,
    reading: usize,
    wants_stop: bool,
}

impl Job {
    /// Builds the job as the checkpoint left it.
    pub(super) fn new(
        record: &Record,
        next: CheckpointId,
        output: Output,
        attempt: u32,
        volume: usize,
        shared: &mut Shared,
    ) -> Job {
        let threads = shared.shape.threads;
        let clock = Arc::new(SourceClock::new(threads));
        let sources: Vec<Source> = (0..threads)
            .map(|thread| {
                let parts = record.splits.iter().copied().enumerate().filter(|(split, _)| split % threads == thread);
                let lanes = (0..WORKERS).map(|worker| into_stage(0, worker) + thread).collect();
                Source::new(thread, &parts.collect::<Vec<_>>(), &clock, lanes)
            })
            .collect();
        let stages = std::array::from_fn(|stage| {
            std::array::from_fn(|worker| {
                let senders = if stage == 0 { threads } else { WORKERS };
                let shards = (worker..shared.shape.shards).step_by(WORKERS);
                let shards = shards.map(|shard| restore(stage, shard, senders, record, volume, shared)).collect();
                let lanes = if stage + 1 < STAGES {
                    (0..WORKERS).map(|receiver| into_stage(stage + 1, receiver) + worker).collect()
                } else {
                    vec![INTO_SINK + worker]
                };
                Stage::new(stage, shards, (into_stage(stage, worker), senders), Sender::new(lanes))
            })
        });
        let parts = Parts { sources: threads, snapshots: STAGES * WORKERS };
        Job {
            attempt,
            lanes: Lanes::default(),
            stages,
            sink: Sink {
                alignment: Alignment::new(WORKERS),
                output,
                flushing: None,
                is_deciding: false,
                collecting: next,
            },
            protocol: Protocol::new(SCHEDULE, parts, next, shared.clock_ms),
            ticked_ms: shared.clock_ms,
            reports: VecDeque::new(),
            tasks: VecDeque::new(),
            added: Vec::new(),
            wants_fold: false,
            collected: Collected::default(),
            prepared: None,
            reading: sources.len(),
            sources,
            wants_stop: false,
        }
    }

    /// Asks the job to stop.
    pub(super) fn stop(&mut self) {
        self.wants_stop = true;
    }

    /// Where the job is.
    pub(super) fn moment(&self) -> Moment {
        if let Some(moment) = self.sink.output.moment() {
            return moment;
        }
        match self.protocol.stage() {
            ProtocolStage::Idle => Moment::Idle,
            ProtocolStage::Collecting if self.sink.flushing.is_some() => Moment::Flushing,
            ProtocolStage::Collecting => Moment::Collecting,
            ProtocolStage::Preparing => Moment::Preparing,
            ProtocolStage::Deciding => Moment::Deciding,
            ProtocolStage::Recording | ProtocolStage::Ended => Moment::Recording,
        }
    }

    /// Lets one of the threads do a piece of work.
    pub(super) fn step(
        &mut self,
        volume: Option<usize>,
        shared: &mut Shared,
    ) -> Result<(Progress, Option<Ended>), Death> {
        let first = shared.choices.below(TURNS);
        for turn in (0..TURNS).map(|step| (first + step) % TURNS) {
            let progress = match turn {
                0 => {
                    let (progress, ended) = self.coordinate(volume, shared)?;
                    if ended.is_some() {
                        return Ok((Progress::Finished, ended));
                    }
                    progress
                }
                1 => self.write(volume, shared)?,
                2 => self.sink(volume, shared)?,
                3..=6 => self.work(1 - (turn - 3) / WORKERS, (turn - 3) % WORKERS, shared),
                _ => self.read(turn - 7, shared)?,
            };
            if progress != Progress::Waiting {
                return Ok((progress, None));
            }
        }
        Ok((Progress::Waiting, None))
    }

    fn read(&mut self, thread: usize, shared: &mut Shared) -> Result<Progress, Death> {
        let Some(source) = self.sources.get_mut(thread) else { return Ok(Progress::Waiting) };
        match source.step(&mut self.lanes, shared)? {
            Said::Nothing => return Ok(Progress::Waiting),
            Said::Worked => {}
            Said::Positions(id, parts) => self.reports.push_back(Report::Positions(id, parts)),
            Said::Finished => self.reports.push_back(Report::InputFinished),
        }
        Ok(Progress::Worked)
    }

    fn work(&mut self, stage: usize, worker: usize, shared: &mut Shared) -> Progress {
        match self.stages[stage][worker].step(&mut self.lanes, shared) {
            Step::Idle => return Progress::Waiting,
            Step::Worked => {}
            Step::Captured(captured) => {
                let mut parts = Vec::with_capacity(captured.shards.len());
                for (part, delta, memory) in captured.shards {
                    shared.judge.captured(self.attempt, captured.id, &part, memory);
                    self.tasks.push_back(Task::Add(stage, part.shard, delta));
                    parts.push(part);
                }
                self.reports.push_back(Report::Snapshot(captured.id, parts));
            }
        }
        for shard in &self.stages[stage][worker].shards {
            if stage == 1 && shard.missed_window().is_some() {
                shared.judge.missed_window(shard.number);
            }
        }
        Progress::Worked
    }

    fn sink(&mut self, volume: Option<usize>, shared: &mut Shared) -> Result<Progress, Death> {
        let sink = &mut self.sink;
        if sink.is_deciding {
            let progress = sink.output.decide(volume, shared)?;
            if progress == Progress::Finished {
                sink.is_deciding = false;
                let id = sink.alignment.current().expect("what is decided was aligned");
                sink.alignment.release(id);
                self.reports.push_back(Report::Decided(id));
                return Ok(Progress::Worked);
            }
            return Ok(progress);
        }
        if let Some(id) = sink.flushing {
            return match sink.output.flush(id, self.attempt, volume, shared)? {
                Err(progress) => Ok(progress),
                Ok(flushed) => {
                    sink.flushing = None;
                    sink.collecting = id.next();
                    self.reports.push_back(Report::Flushed(id, flushed));
                    Ok(Progress::Worked)
                }
            };
        }
        let first = shared.choices.below(WORKERS);
        for at in [first, 1 - first] {
            if sink.alignment.blocked(at) && !(seeded::is(Bug::SinkReadsOn) && sink.alignment.is_complete()) {
                continue;
            }
            match self.lanes.receive(INTO_SINK + at) {
                None => continue,
                Some(Message::Row(mut row)) => {
                    row.tag = (self.attempt, sink.collecting.0);
                    sink.output.write(row, volume, shared)?;
                }
                Some(Message::Watermark(_)) => {}
                Some(Message::Barrier(id)) => {
                    if let Aligned::Complete(id) = sink.alignment.barrier(at, id) {
                        sink.flushing = Some(id);
                    }
                }
            }
            return Ok(Progress::Worked);
        }
        sink.output.pump(shared)
    }

    fn write(&mut self, volume: Option<usize>, shared: &mut Shared) -> Result<Progress, Death> {
        let Some(task) = self.tasks.pop_front() else {
            if !std::mem::take(&mut self.wants_fold) {
                return Ok(Progress::Waiting);
            }
            shared.write_store(volume, Store::fold)?;
            return Ok(Progress::Worked);
        };
        match task {
            Task::Begin => self.added.clear(),
            Task::Add(stage, shard, delta) => self.added.push((stage, shard, delta)),
            Task::Finish(record, commits) => {
                let decider = shared.broker.marker_topic;
                let added = std::mem::take(&mut self.added);
                shared.write_store(volume, |store| store.prepare(&record, &added, decider, commits))?;
                shared.note(|| format!("PREPARED({}) is durable", record.id));
                shared.judge.prepared(&record, &shared.upstream);
                let store = shared.store(volume)?.id;
                shared.judge.numbered(store, &record);
                self.reports.push_back(Report::Prepared(record));
                self.wants_fold = true;
            }
            Task::Record(id) => {
                shared.write_store(volume, |store| store.commit(id))?;
                self.reports.push_back(Report::Recorded(id));
            }
        }
        Ok(Progress::Worked)
    }

    fn coordinate(&mut self, volume: Option<usize>, shared: &mut Shared) -> Result<(Progress, Option<Ended>), Death> {
        let event = if let Some(report) = self.reports.pop_front() {
            match self.hear(report) {
                Some(event) => event,
                None => return Ok((Progress::Worked, None)),
            }
        } else if std::mem::take(&mut self.wants_stop) {
            Event::StopRequested
        } else if shared.clock_ms > self.ticked_ms {
            self.ticked_ms = shared.clock_ms;
            let records: u64 = self.sources.iter().map(|source| source.records).sum();
            if self.ticked_ms.is_multiple_of(WANTED_EVERY_MS) {
                Event::Wanted
            } else {
                Event::Tick { is_active: records != self.collected.records }
            }
        } else {
            return Ok((Progress::Waiting, None));
        };
        let before = self.protocol.stage();
        let action = self.protocol.on(shared.clock_ms, event);
        shared.coverage.protocol(before, event, action);
        let Some(action) = action else {
            let is_tick = matches!(event, Event::Tick { .. });
            return Ok((if is_tick { Progress::Waiting } else { Progress::Worked }, None));
        };
        shared.note(|| format!("protocol: {action:?}"));
        let ended = self.act(action, volume, shared)?;
        Ok((Progress::Worked, ended))
    }

    fn hear(&mut self, report: Report) -> Option<Event> {
        Some(match report {
            Report::Positions(id, mut parts) => {
                if seeded::is(Bug::PositionsAfterBarrier) {
                    let known = parts.iter().map(|(split, _)| *split).collect::<Vec<_>>();
                    let now = self.sources.iter().flat_map(Source::positions);
                    parts = now.filter(|(split, _)| known.contains(split)).collect();
                }
                self.collected.splits.extend(parts);
                Event::Positions(id)
            }
            Report::InputFinished => {
                self.reading -= 1;
                if self.reading > 0 {
                    return None;
                }
                Event::InputFinished
            }
            Report::Snapshot(id, parts) => {
                self.collected.shards.extend(parts);
                Event::Snapshot(id)
            }
            Report::Flushed(id, flushed) => {
                self.collected.flushed = flushed;
                Event::Flushed(id)
            }
            Report::Prepared(record) => {
                let id = record.id;
                self.prepared = Some(record);
                Event::Prepared(id)
            }
            Report::Decided(id) => Event::Decided(id),
            Report::Recorded(id) => Event::Recorded(id),
        })
    }

    fn act(&mut self, action: Action, volume: Option<usize>, shared: &mut Shared) -> Result<Option<Ended>, Death> {
        match action {
            Action::Inject(id) => {
                self.collected = Collected {
                    records: self.sources.iter().map(|source| source.records).sum(),
                    ..Collected::default()
                };
                self.tasks.push_back(Task::Begin);
                self.sources.iter_mut().for_each(|source| source.commands.push_back(id));
            }
            Action::Prepare { id, kind, commits } => {
                let record = match self.prepared.take().filter(|known| known.id == id) {
                    Some(record) => record,
                    None => self.record(id, kind),
                };
                self.tasks.push_back(Task::Finish(record, commits));
            }
            Action::Decide(id) => {
                let record = match self.prepared.take() {
                    Some(record) => record,
                    // Only a seeded bug decides what is not prepared.
                    None => self.record(id, CheckpointKind::Periodic),
                };
                let store = shared.store(volume)?.id;
                if seeded::is(Bug::CommitBeforePrepared) {
                    self.prepared = Some(Rc::clone(&record));
                }
                self.sink.output.begin(&record, store, shared);
                self.sink.is_deciding = true;
            }
            Action::Record(id) => self.tasks.push_back(Task::Record(id)),
            Action::End(_, CheckpointKind::Finished) => return Ok(Some(Ended::Finished)),
            Action::End(..) => return Ok(Some(Ended::Stopped)),
            Action::GiveUp(_) => return Err(Death::Failed("a checkpoint was not prepared in time")),
        }
        Ok(None)
    }

    fn record(&mut self, id: CheckpointId, kind: CheckpointKind) -> Rc<Record> {
        let nothing = SplitPart {
            offset: 0,
            topic: 0,
            watermark: tidegate::ids::Watermark::START,
            is_idle: false,
            is_finished: false,
        };
        let mut splits = [nothing; SPLITS];
        for (split, part) in self.collected.splits.drain(..) {
            splits[split] = part;
        }
        let shards = std::mem::take(&mut self.collected.shards);
        let (file, ends) = self.collected.flushed;
        Rc::new(Record { id, attempt: self.attempt, kind, splits, shards, file, ends })
    }
}

fn restore(stage: usize, shard: usize, senders: usize, record: &Record, volume: usize, shared: &mut Shared) -> Shard {
    let part = record.shards.iter().find(|part| part.stage == stage && part.shard == shard);
    match (shared.volumes[volume].store.load(stage, shard), part) {
        (Some(memory), Some(part)) => {
            shared.judge.restored(record, part, &memory);
            Shard::restored(memory, part, senders)
        }
        _ => Shard::new(shard, senders),
    }
}
