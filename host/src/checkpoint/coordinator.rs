//! The coordinator: hears what the threads report, asks the pure protocol, and passes its actions on.
//!
//! It does no slow work itself, so it always notices when somebody else is stuck. It never touches Kafka or the store.
//! Next rooms: [`super::protocol`] (what happens when), [`super::writer`] and [`crate::sink::task`] (who does it).

use super::PreparedCheckpoint;
use super::early::EarlyBarrier;
use super::messages::{Report, SourceCommand, Task};
use super::protocol::{Action, Event, Protocol};
use super::record::{CheckpointKind, CheckpointRecord, ShardState, SinkState, SourceState, SplitState};
use crate::error::JobError;
use crate::exchange::{Command, Commands};
use crate::ids::{AttemptId, CheckpointId, SourceIndex};
use crate::probe;
use crate::status::{Control, Request, Status};
use crate::watchdog::Heartbeat;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

/// The longest the coordinator sleeps, so that a stop is noticed soon.
const NAP_MAX: Duration = Duration::from_millis(20);

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to stop and took a last checkpoint.
    Stopped(CheckpointId),
    /// Its bounded input was read to the end.
    Finished(CheckpointId),
}

/// The coordinator and the ways to everybody else.
pub struct Coordinator {
    /// The pure protocol.
    pub protocol: Protocol,
    /// This life of the process.
    pub attempt: AttemptId,
    /// Names of the sources, in order.
    pub source_names: Vec<String>,
    /// To each source thread: its source and its commands.
    pub sources: Vec<(SourceIndex, SyncSender<SourceCommand>)>,
    /// To the writer.
    pub writer: SyncSender<Task>,
    /// To the sink thread.
    pub sink: Commands,
    /// Where workers ask for a checkpoint before its time.
    pub early: Arc<EarlyBarrier>,
    /// The numbers for whoever watches.
    pub status: Arc<Status>,
    /// What was collected of the checkpoint in flight.
    pub parts: Collected,
    /// Source threads that have not finished.
    pub reading: usize,
    /// Records handed to sinks when the last checkpoint was decided: what came since is in an open transaction.
    pub records_out: u64,
    /// How long a stop may take before the process ends without its last checkpoint.
    pub stop_max: Duration,
}

/// The parts of the checkpoint in flight.
#[derive(Debug, Default)]
pub struct Collected {
    sources: Vec<(SourceIndex, Vec<SplitState>)>,
    shards: Vec<ShardState>,
    sinks: Vec<SinkState>,
    prepared: Option<PreparedCheckpoint>,
    began: Option<Instant>,
    pause: Duration,
    memory_bytes: usize,
    records_in: u64,
}

impl Coordinator {
    /// Runs the job's checkpoints until it ends or fails.
    pub fn run(
        mut self,
        reports: &Receiver<Report>,
        control: &Control,
        heartbeat: &Heartbeat,
    ) -> Result<Ended, JobError> {
        let began = Instant::now();
        let mut stopping_since: Option<Instant> = None;
        loop {
            heartbeat.beat();
            let now_ms = began.elapsed().as_millis() as u64;
            let action = match reports.recv_timeout(NAP_MAX) {
                Ok(report) => self.hear(now_ms, report)?,
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Err(JobError::ThreadDied { thread: "all".into() }),
            };
            if let Some(ended) = self.act(action)? {
                return Ok(ended);
            }
            let now_ms = began.elapsed().as_millis() as u64;
            let action = match control.request() {
                Request::StopNow => return Err(JobError::StoppedAtOnce),
                Request::Stop if stopping_since.is_none() => {
                    stopping_since = Some(Instant::now());
                    self.protocol.on(now_ms, Event::StopRequested)
                }
                Request::Stop if stopping_since.is_some_and(|since| since.elapsed() > self.stop_max) => {
                    return Err(JobError::StopTimeout);
                }
                Request::Run | Request::Stop => {
                    let is_active = self.is_active();
                    let action = self.protocol.on(now_ms, Event::Tick { is_active });
                    let is_wanted = action.is_none() && self.early.is_wanted();
                    if is_wanted { self.protocol.on(now_ms, Event::Wanted) } else { action }
                }
            };
            if let Some(ended) = self.act(action)? {
                return Ok(ended);
            }
        }
    }

    /// Whether anything happened that a checkpoint would make safe or visible. Output counts beside input: windows that close
    /// while nothing arrives open a transaction, which must not stay open for long.
    fn is_active(&self) -> bool {
        self.status.records_in.load(Relaxed) != self.parts.records_in
            || self.status.records_out.load(Relaxed) != self.records_out
    }

    fn hear(&mut self, now_ms: u64, report: Report) -> Result<Option<Action>, JobError> {
        let event = match report {
            Report::Positions { id, source, splits } => {
                self.parts.sources.push((source, splits));
                Event::Positions(id)
            }
            Report::InputFinished => {
                self.reading -= 1;
                if self.reading > 0 {
                    return Ok(None);
                }
                Event::InputFinished
            }
            Report::Snapshot { id, shards, pause, memory_bytes } => {
                self.parts.shards.extend(shards);
                self.parts.pause = self.parts.pause.max(pause);
                self.parts.memory_bytes += memory_bytes;
                Event::Snapshot(id)
            }
            Report::Flushed { id, sinks } => {
                self.parts.sinks = sinks;
                Event::Flushed(id)
            }
            Report::Prepared(prepared) => {
                let id = prepared.record().id;
                tracing::debug!(target: "tidegate::checkpoint", checkpoint = id.0, "prepared");
                probe::reached("prepared");
                self.parts.prepared = Some(prepared);
                Event::Prepared(id)
            }
            Report::Decided(id) => {
                self.decided(id);
                Event::Decided(id)
            }
            Report::Recorded(id) => Event::Recorded(id),
            Report::Failed(error) => return Err(error),
        };
        Ok(self.protocol.on(now_ms, event))
    }

    fn act(&mut self, action: Option<Action>) -> Result<Option<Ended>, JobError> {
        match action {
            None => {}
            Some(Action::Inject(id)) => self.inject(id),
            Some(Action::Prepare { id, kind, commits }) => self.prepare(id, kind, commits),
            Some(Action::Decide(_)) => {
                let prepared = self.parts.prepared.take().expect("the protocol decides what was prepared");
                probe::reached("deciding");
                self.sink.send(Command::Decide(prepared));
            }
            Some(Action::Record(id)) => self.write(Task::Record(id)),
            Some(Action::End(id, CheckpointKind::Finished)) => return Ok(Some(Ended::Finished(id))),
            Some(Action::End(id, _)) => return Ok(Some(Ended::Stopped(id))),
            Some(Action::GiveUp(id)) => return Err(JobError::CheckpointTimeout { id }),
        }
        Ok(None)
    }

    fn inject(&mut self, id: CheckpointId) {
        probe::reached("inject");
        self.parts = Collected {
            began: Some(Instant::now()),
            records_in: self.status.records_in.load(Relaxed),
            ..Collected::default()
        };
        tracing::debug!(target: "tidegate::checkpoint", checkpoint = id.0, "barrier");
        self.write(Task::Begin(id));
        self.early.inject(id);
        for (_, source) in &self.sources {
            // A source that is gone has reported why, or will.
            let _ = source.send(SourceCommand::Barrier(id));
        }
        probe::reached("injected");
    }

    fn prepare(&mut self, id: CheckpointId, kind: CheckpointKind, commits: Option<CheckpointId>) {
        probe::reached("collected");
        let parts = &mut self.parts;
        let mut sources: Vec<SourceState> =
            self.source_names.iter().map(|name| SourceState { source: name.clone(), splits: Vec::new() }).collect();
        for (source, splits) in parts.sources.drain(..) {
            sources[source.index()].splits.extend(splits);
        }
        let record = CheckpointRecord {
            id,
            attempt: self.attempt,
            kind,
            sources,
            shards: std::mem::take(&mut parts.shards),
            sinks: std::mem::take(&mut parts.sinks),
        };
        self.write(Task::Finish { record: Box::new(record), commits });
    }

    fn decided(&mut self, id: CheckpointId) {
        let duration = self.parts.began.map_or(Duration::ZERO, |began| began.elapsed());
        let status = &self.status;
        status.checkpoint_id.store(id.0, Relaxed);
        status.checkpoint_duration_us.store(duration.as_micros() as u64, Relaxed);
        status.state_bytes.store(self.parts.memory_bytes as u64, Relaxed);
        self.records_out = status.records_out.load(Relaxed);
        tracing::debug!(
            target: "tidegate::checkpoint",
            checkpoint = id.0,
            records_in = self.parts.records_in,
            duration_ms = duration.as_secs_f64() * 1e3,
            pause_us = self.parts.pause.as_micros() as u64,
            "committed"
        );
        probe::reached("committed");
        for (_, source) in &self.sources {
            let _ = source.send(SourceCommand::Publish);
        }
    }

    fn write(&self, task: Task) {
        // A writer that is gone has reported why, or will.
        let _ = self.writer.send(task);
    }
}
