//! The sink thread: serves all sinks, aligns their barriers, owns the one transactional producer.
//!
//! Between a complete barrier and the end of its checkpoint it reads no lane, so output of n+1 waits in bounded lanes and
//! never enters the transaction of n. Next rooms: [`crate::kafka`] (commit, confirm, rotation), [`super::file`] (staging).

use super::SinkError;
use super::file::FileSink;
use super::kafka::KafkaSink;
use crate::align::{Aligned, Alignment};
use crate::checkpoint::PreparedCheckpoint;
use crate::checkpoint::deciding::{Deciding, Step};
use crate::checkpoint::messages::Report;
use crate::checkpoint::record::{CheckpointRecord, SinkState};
use crate::checkpoint::startup::DecidedBy;
use crate::error::JobError;
use crate::exchange::{Command, Inbox, LaneIndex};
use crate::ids::{CheckpointId, SinkIndex};
use crate::kafka::output::KafkaOutput;
use crate::message::{Message, Rows};
use crate::probe;
use crate::status::Status;
use crate::watchdog::Heartbeat;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

/// The longest sleep with nothing to write; delivery reports are served in between.
const NAP_MAX: Duration = Duration::from_millis(20);

/// One sink.
pub enum Sink {
    /// Lines in a file.
    File(Box<FileSink>),
    /// Records in a topic.
    Kafka(KafkaSink),
}

impl Sink {
    /// What a sink had written before anything of this job.
    pub fn initial_state(&self) -> SinkState {
        match self {
            Sink::File(file) => file.initial_state(),
            Sink::Kafka(topic) => topic.state(&[]),
        }
    }
}

/// What a lane carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Records.
    Records,
    /// Dead letters.
    DeadLetters,
}

/// The sink thread.
pub struct SinkTask {
    /// Where its lanes end.
    pub inbox: Inbox,
    /// Its lanes: which sink they feed, with what.
    pub lanes: Vec<(LaneIndex, SinkIndex, Content)>,
    /// All sinks, in the order of the job file.
    pub sinks: Vec<Sink>,
    /// The transactional producer and what belongs to it, if any sink is Kafka's.
    pub output: Option<KafkaOutput>,
    /// To the coordinator.
    pub reports: SyncSender<Report>,
    /// The numbers for whoever watches.
    pub status: Arc<Status>,
    /// Tells the watchdog that this thread is not stuck in a commit or an fsync.
    pub heartbeat: Heartbeat,
}

impl SinkTask {
    /// Writes until told to end.
    pub fn run(mut self) -> Result<(), JobError> {
        self.inbox.attach();
        let lanes: Vec<LaneIndex> = self.lanes.iter().map(|(lane, ..)| *lane).collect();
        let mut alignment = Alignment::new(lanes.len());
        let mut next = 0;
        loop {
            self.heartbeat.beat();
            match self.inbox.command() {
                Some(Command::Shutdown) => return Ok(()),
                Some(Command::Decide(prepared)) => {
                    let id = prepared.record().id;
                    self.decide(&prepared)?;
                    alignment.release(id);
                    let _ = self.reports.send(Report::Decided(id));
                }
                None => {}
            }
            let Some((at, message)) = self.inbox.receive(&lanes, next, |at| !alignment.blocked(at)) else {
                self.idle()?;
                continue;
            };
            next = (at + 1) % lanes.len();
            match message {
                Message::Rows { rows, .. } => self.write(at, &rows)?,
                Message::Watermark(_) => {}
                Message::Barrier(id) => {
                    if let Aligned::Complete(id) = alignment.barrier(at, id) {
                        let sinks = self.flush(id)?;
                        let _ = self.reports.send(Report::Flushed { id, sinks });
                    }
                }
            }
        }
    }

    fn idle(&mut self) -> Result<(), JobError> {
        if let Some(output) = &mut self.output {
            output.poll()?;
        }
        self.inbox.wait(NAP_MAX);
        Ok(())
    }

    fn write(&mut self, at: usize, rows: &Rows) -> Result<(), JobError> {
        let (_, sink, content) = self.lanes[at];
        self.status.records_out.fetch_add(rows.len() as u64, Relaxed);
        match (&mut self.sinks[sink.index()], content) {
            (Sink::File(file), Content::Records) => file.write(rows)?,
            (Sink::File(file), Content::DeadLetters) => file.write_dead_letters(rows)?,
            (Sink::Kafka(topic), _) => {
                let output = self.output.as_mut().expect("a job with a Kafka sink has its producer");
                topic.write(output.producer(), rows)?;
            }
        }
        Ok(())
    }

    /// Everything written so far is with the broker or on disk, and nothing of it is visible.
    fn flush(&mut self, id: CheckpointId) -> Result<Vec<SinkState>, JobError> {
        probe::reached("aligned");
        let ends = match &mut self.output {
            Some(output) => output.flush()?,
            None => Vec::new(),
        };
        probe::reached("drained");
        let mut states = Vec::with_capacity(self.sinks.len());
        for sink in &mut self.sinks {
            states.push(match sink {
                Sink::File(file) => file.stage(id)?,
                Sink::Kafka(topic) => topic.state(&ends),
            });
        }
        probe::reached("flushed");
        Ok(states)
    }

    /// Marker and commit, confirm, then the file sinks.
    fn decide(&mut self, prepared: &PreparedCheckpoint) -> Result<(), JobError> {
        for step in Deciding::new(decided_by(self.output.as_ref())) {
            match (step, &mut self.output) {
                (Step::Apply, _) => {
                    self.heartbeat.beat();
                    probe::reached("decided");
                    apply(&mut self.sinks, prepared.record())?;
                    probe::reached("applied");
                }
                (step, output) => {
                    let output = output.as_mut().expect("only Kafka has steps before the last");
                    output.decide(step, prepared, &mut || self.heartbeat.beat())?;
                }
            }
        }
        Ok(())
    }
}

/// Who decides the checkpoints of a job with this output.
pub fn decided_by(output: Option<&KafkaOutput>) -> DecidedBy {
    if output.is_some() { DecidedBy::Kafka } else { DecidedBy::Store }
}

/// Lets the file sinks append what a decided checkpoint staged. Doing it again changes nothing.
pub fn apply(sinks: &mut [Sink], record: &CheckpointRecord) -> Result<(), SinkError> {
    for sink in sinks {
        let Sink::File(file) = sink else { continue };
        // A sink that was added since has nothing staged.
        if let Some(state) = record.sinks.iter().find(|state| state.sink() == file.name()) {
            file.apply(state)?;
        }
    }
    Ok(())
}
