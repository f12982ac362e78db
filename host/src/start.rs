//! A start: opens what a job needs, looks at what was there before, and decides where to go on.
//!
//! The order is that of [`crate::checkpoint::startup`], a pure machine; here its actions are done. What does not depend on
//! the marker is looked at first: other code, other sources or another decider than the store's are refused before anybody
//! is fenced. Next rooms: [`crate::checkpoint::startup`] (the order and why), [`crate::checkpoint::recovery`] (the table),
//! [`crate::job`] (what runs then).

mod admission;

use crate::checkpoint::PreparedCheckpoint;
use crate::checkpoint::deciding::{Deciding, Step};
use crate::checkpoint::record::{CheckpointKind, CheckpointRecord, Decider, PartitionEnd, SinkState, SourceState};
use crate::checkpoint::recovery::{StoreFacts, Stored};
use crate::checkpoint::startup::{Action, DecidedBy, Fact, GoOn, Startup};
use crate::checkpoint::writer::Writer;
use crate::config::model::{Job, KafkaConnection, SinkKind};
use crate::config::resolve::{self, Plan};
use crate::error::{JobError, OperatorError, PluginProblem};
use crate::ids::{AttemptId, CheckpointId};
use crate::kafka::output::{KafkaOutput, OutputLook, OutputOptions};
use crate::kafka::transaction::Rotation;
use crate::plugin::{Description, Engine, Plugin};
use crate::probe;
use crate::sink::file::FileSink;
use crate::sink::kafka::KafkaSink;
use crate::sink::task::{Sink, apply, decided_by};
use crate::source;
use crate::state::store::{Facts, OperatorIdentity, Store, StoredCheckpoint};
use admission::{admit_decider, admit_ends, admit_fresh, admit_operators, admit_shape, admit_sinks};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// What a person asked of this start.
#[derive(Debug, Clone, Default)]
pub struct StartOptions {
    /// Operators whose state is to be emptied (`--fresh`); positions and numbers stay.
    pub fresh: Vec<String>,
    /// Where compiled plugins are kept; `None`: nowhere.
    pub cache: Option<PathBuf>,
    /// Whether a doubtful producer is replaced. `Never` only in tests that show the damage.
    pub rotation: Rotation,
}

/// Plugins of a job, compiled and described.
pub struct Plugins {
    /// By operator.
    pub plugins: Vec<Plugin>,
    /// The artifacts' bytes, by operator.
    pub artifacts: Vec<Vec<u8>>,
    /// By operator.
    pub descriptions: Vec<Description>,
    /// Edges between ports that exist.
    pub plan: Plan,
}

/// A job that may run from here.
pub struct Started {
    /// Holds the store.
    pub writer: Writer,
    /// The checkpoint to go on from.
    pub record: CheckpointRecord,
    /// The number of the next checkpoint.
    pub next: CheckpointId,
    /// Open sinks, in the order of the job file.
    pub sinks: Vec<Sink>,
    /// The transactional producer, if any sink is Kafka's.
    pub output: Option<KafkaOutput>,
}

/// Loads and describes every plugin and resolves the edges. Touches neither store nor Kafka.
pub fn load_plugins(job: &Job, cache: Option<&Path>) -> Result<Plugins, JobError> {
    let engine = Engine::new(cache)?;
    let mut plugins: Vec<Plugin> = Vec::with_capacity(job.operators.len());
    let mut artifacts = Vec::with_capacity(job.operators.len());
    let mut descriptions = Vec::with_capacity(job.operators.len());
    for operator in &job.operators {
        let path = operator.plugin.display().to_string();
        let bytes = std::fs::read(&operator.plugin)
            .map_err(|cause| OperatorError::new(job, &operator.name, PluginProblem::Unreadable(cause)))?;
        let refused = |cause| OperatorError::new(job, &operator.name, PluginProblem::Refused(cause));
        let plugin = engine.load(&path, &bytes).map_err(refused)?;
        descriptions.push(plugin.describe(&operator.config).map_err(refused)?);
        plugins.push(plugin);
        artifacts.push(bytes);
    }
    let plan = resolve::resolve(job, &descriptions)?;
    Ok(Plugins { plugins, artifacts, descriptions, plan })
}

/// Brings a job to the point where its threads may start.
pub fn start(job: &Job, plugins: &Plugins, options: &StartOptions) -> Result<Started, JobError> {
    let attempt = AttemptId(Uuid::new_v4());
    let store = Store::open(&job.store, &job.name)?;
    probe::reached("store-opened");
    let operators = identities(job, plugins);
    admit_operators(&store, &operators, options)?;
    let facts = store.facts()?;
    // Both have one shape: a checkpoint is only ever prepared by a job that went on from the other.
    if let Some(newest) = facts.prepared.as_ref().or(facts.committed.as_ref()) {
        admit_shape(job, &newest.record)?;
        admit_ends(job, &store)?;
    }
    admit_sinks(job, &facts)?;
    let look = output_options(job, &facts, attempt, options.rotation).map(KafkaOutput::look).transpose()?;
    let decider = look.as_ref().map_or(Decider::Store, |look| look.decider().clone());
    admit_decider(&facts, &decider)?;
    let writer = Writer {
        store,
        attempt,
        operators,
        artifacts: plugins.artifacts.clone(),
        // A job that was not read from a file has none.
        job_file: std::fs::read_to_string(&job.places.file).unwrap_or_default(),
        decider,
    };
    let output = look.map_or(Output::None, Output::Looking);
    let starting = Starting { job, writer, facts, output, sinks: Vec::new(), record: None, prepared: None };
    let mut started = starting.run()?;
    admit_fresh(&started.record, options)?;
    // Only now: what was prepared is decided first.
    for name in &options.fresh {
        started.writer.store.drop_operator(name)?;
    }
    Ok(started)
}

/// What a start has in hands: the shell of [`Startup`], which says the order.
struct Starting<'a> {
    job: &'a Job,
    writer: Writer,
    facts: Facts,
    output: Output,
    sinks: Vec<Sink>,
    /// The checkpoint to go on from.
    record: Option<CheckpointRecord>,
    /// The start checkpoint, between PREPARED and the decision.
    prepared: Option<PreparedCheckpoint>,
}

/// The way out to Kafka, as far as it is.
enum Output {
    /// No sink is Kafka's.
    None,
    Looking(OutputLook),
    Ready(KafkaOutput),
}

const IN_ORDER: &str = "the order of a start is the pure machine's, and it initialises first";

impl Starting<'_> {
    fn run(mut self) -> Result<Started, JobError> {
        let decided_by = match self.output {
            Output::None => DecidedBy::Store,
            Output::Looking(_) | Output::Ready(_) => DecidedBy::Kafka,
        };
        let (mut startup, mut action) = Startup::begin(short(&self.facts), decided_by);
        loop {
            action = match action {
                Action::Run(GoOn { next, .. }) => return Ok(self.finish(next)),
                Action::Stop(conflict) => return Err(conflict.into()),
                Action::Look
                | Action::SettlePrepared { .. }
                | Action::Initialise
                | Action::Settle
                | Action::ReadMarkers => {
                    let fact = self.ask_kafka(&action)?;
                    startup.on(fact)
                }
                action => {
                    self.act(action)?;
                    startup.on(Fact::Done)
                }
            };
        }
    }

    fn ask_kafka(&mut self, action: &Action) -> Result<Fact, JobError> {
        match (action, &self.output) {
            (Action::Look, Output::Looking(look)) => return Ok(Fact::Markers(look.markers()?)),
            (Action::SettlePrepared { id, is_marked }, Output::Looking(look)) => {
                look.settle_prepared(*id, *is_marked, &prepared_ends(&self.facts))?;
            }
            (Action::Settle, Output::Ready(output)) => {
                output.settle(&sink_topics(self.job))?;
                probe::reached("settled");
            }
            (Action::ReadMarkers, Output::Ready(output)) => return Ok(Fact::Markers(output.markers()?)),
            (Action::Initialise, Output::Looking(_)) => {
                probe::reached("looked");
                let Output::Looking(look) = std::mem::replace(&mut self.output, Output::None) else {
                    unreachable!("the arm asked for it");
                };
                self.output = Output::Ready(look.init()?);
                probe::reached("initialized");
            }
            (action, _) => panic!("{IN_ORDER}: {action:?}"),
        }
        Ok(Fact::Done)
    }

    fn act(&mut self, action: Action) -> Result<(), JobError> {
        match action {
            Action::Tell(decision) => {
                tracing::info!(%decision, "recovery");
                probe::reached("recovery");
            }
            Action::DiscardStaging(_) => {
                probe::reached("rolling-back");
                discard_staging(self.job, self.facts.prepared.as_ref())?;
                probe::reached("discarded");
            }
            Action::RollBack(id) => {
                self.writer.store.roll_back(id)?;
                probe::reached("rolled-back");
            }
            Action::OpenSinks(from) => {
                let known = [&self.facts.prepared, &self.facts.committed].into_iter().flatten();
                self.record = known.map(|stored| &stored.record).find(|record| Some(record.id) == from).cloned();
                assert!(
                    self.record.as_ref().map(|record| record.id) == from,
                    "a start goes on from what the store has"
                );
                self.sinks = open_sinks(self.job, self.record.as_ref(), self.output.ready())?;
                probe::reached("sinks-opened");
            }
            Action::Resolve(number) => {
                self.record = Some(self.start_record(number)?);
                probe::reached("start-resolved");
            }
            Action::Prepare(_) => {
                self.prepared = Some(self.writer.prepare_start(self.record.as_ref().expect("it was resolved"))?);
                probe::reached("start-prepared");
            }
            Action::Decide(_) => self.decide()?,
            Action::Apply(_) => {
                apply(&mut self.sinks, self.record.as_ref().expect("it was found"))?;
                probe::reached("promote-applied");
            }
            Action::Record(id) => {
                self.writer.store.commit(id)?;
                let is_first = self.record.as_ref().is_some_and(|record| record.kind == CheckpointKind::Start);
                let is_new = is_first && self.facts.prepared.as_ref().is_none_or(|known| known.record.id != id);
                if is_new {
                    probe::reached("started");
                } else {
                    probe::reached("promoted");
                }
            }
            action => panic!("{IN_ORDER}: {action:?}"),
        }
        Ok(())
    }

    /// Checkpoint 0: where everything begins.
    fn start_record(&self, number: CheckpointId) -> Result<CheckpointRecord, JobError> {
        let sources = self.job.sources.iter().map(source::resolve).collect::<Result<Vec<SourceState>, _>>()?;
        Ok(CheckpointRecord {
            id: number,
            attempt: self.writer.attempt,
            kind: CheckpointKind::Start,
            sources,
            shards: Vec::new(),
            sinks: self.sinks.iter().map(Sink::initial_state).collect(),
        })
    }

    fn decide(&mut self) -> Result<(), JobError> {
        let prepared = self.prepared.take().expect("the start checkpoint was prepared");
        for step in Deciding::new(decided_by(self.output.ready())) {
            match (step, &mut self.output) {
                (Step::Apply, _) => apply(&mut self.sinks, prepared.record())?,
                (step, Output::Ready(output)) => output.decide(step, &prepared, &mut || {})?,
                (step, Output::None | Output::Looking(_)) => panic!("{IN_ORDER}: {step:?}"),
            }
        }
        probe::reached("start-decided");
        Ok(())
    }

    fn finish(self, next: CheckpointId) -> Started {
        let Starting { writer, output, sinks, record, .. } = self;
        let record = record.expect("a job goes on from a checkpoint");
        let output = match output {
            Output::Ready(output) => Some(output),
            Output::None | Output::Looking(_) => None,
        };
        Started { writer, record, next, sinks, output }
    }
}

impl Output {
    fn ready(&self) -> Option<&KafkaOutput> {
        match self {
            Output::Ready(output) => Some(output),
            Output::None | Output::Looking(_) => None,
        }
    }
}

fn short(facts: &Facts) -> StoreFacts {
    let stored = |stored: &StoredCheckpoint| Stored {
        id: stored.record.id,
        attempt: stored.record.attempt,
        digest: stored.digest,
    };
    StoreFacts {
        store: facts.id,
        committed: facts.committed.as_ref().map(stored),
        prepared: facts.prepared.as_ref().map(stored),
        highest: facts.highest,
    }
}

fn identities(job: &Job, plugins: &Plugins) -> Vec<OperatorIdentity> {
    job.operators
        .iter()
        .zip(&plugins.plugins)
        .map(|(operator, plugin)| OperatorIdentity {
            operator: operator.name.clone(),
            plugin: plugin.hash().clone(),
            config: operator.config.clone(),
        })
        .collect()
}

fn output_options(job: &Job, facts: &Facts, attempt: AttemptId, rotation: Rotation) -> Option<OutputOptions> {
    let (connection, transaction_timeout) = job.sinks.iter().find_map(|sink| match &sink.kind {
        SinkKind::Kafka { connection, transaction_timeout, .. } => Some((connection, *transaction_timeout)),
        SinkKind::File { .. } => None,
    })?;
    let connection: &KafkaConnection = connection;
    Some(OutputOptions {
        connection: connection.clone(),
        job: job.name.clone(),
        store: facts.id,
        attempt,
        transaction_timeout,
        rotation,
    })
}

fn sink_topics(job: &Job) -> Vec<String> {
    let topics = job.sinks.iter().filter_map(|sink| match &sink.kind {
        SinkKind::Kafka { topic, .. } => Some(topic.clone()),
        SinkKind::File { .. } => None,
    });
    topics.collect()
}

fn open_sinks(
    job: &Job,
    resume: Option<&CheckpointRecord>,
    output: Option<&KafkaOutput>,
) -> Result<Vec<Sink>, JobError> {
    let mut sinks = Vec::with_capacity(job.sinks.len());
    for sink in &job.sinks {
        let state = resume.and_then(|record| record.sinks.iter().find(|state| state.sink() == sink.name));
        sinks.push(match &sink.kind {
            SinkKind::File { path } => Sink::File(Box::new(FileSink::open(&sink.name, path, state)?)),
            SinkKind::Kafka { topic, key, .. } => {
                let output = output.expect("a job with a Kafka sink has its producer");
                tracing::info!(
                    sink = sink.name,
                    topic,
                    "read this topic with `isolation.level=read_committed`; other readers see records of unfinished checkpoints"
                );
                Sink::Kafka(KafkaSink::open(&sink.name, topic, key, output)?)
            }
        });
    }
    Ok(sinks)
}

/// The end of each partition that the prepared checkpoint wrote.
fn prepared_ends(facts: &Facts) -> Vec<PartitionEnd> {
    let sinks = facts.prepared.iter().flat_map(|prepared| &prepared.record.sinks);
    let ends = sinks.filter_map(|state| if let SinkState::Kafka { ends, .. } = state { Some(ends) } else { None });
    ends.flatten().cloned().collect()
}

/// Staging files of a checkpoint that did not happen.
fn discard_staging(job: &Job, prepared: Option<&StoredCheckpoint>) -> Result<(), JobError> {
    let Some(prepared) = prepared else { return Ok(()) };
    for sink in &job.sinks {
        if let SinkKind::File { path } = &sink.kind {
            FileSink::discard(&sink.name, path, prepared.record.id)?;
        }
    }
    Ok(())
}

impl SinkState {
    /// The sink's name in the job file.
    pub fn sink(&self) -> &str {
        match self {
            SinkState::Kafka { sink, .. } | SinkState::File { sink, .. } => sink,
        }
    }
}
