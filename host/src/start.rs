//! A start: opens what a job needs, looks at what was there before, and decides where to go on.
//!
//! The order matters. The marker is read before the transactional producer is initialised, because that fences: an instance
//! with an empty or a foreign store must stop without harming a healthy one. After the initialisation nothing of an older
//! process can change the answer, so the marker is read again and only then acted on. Nothing is read from a source before
//! checkpoint 0 is decided: otherwise `start = "latest"` would lose what arrives before the first checkpoint, and "nothing
//! was ever committed" could not be told from a lost marker. Next rooms: [`crate::checkpoint::recovery`] (the table),
//! [`crate::job`] (what runs then).

use crate::checkpoint::PreparedCheckpoint;
use crate::checkpoint::record::{CheckpointKind, CheckpointRecord, Decider, SinkState, SourceState};
use crate::checkpoint::recovery::{self, Decision, StoreFacts, Stored, Verdict};
use crate::checkpoint::writer::Writer;
use crate::config::model::{self, Job, KafkaConnection, SinkKind};
use crate::config::resolve::{self, Plan};
use crate::error::{JobError, OperatorError, PluginProblem};
use crate::ids::{AttemptId, CheckpointId};
use crate::kafka::output::{KafkaOutput, OutputOptions};
use crate::kafka::transaction::Rotation;
use crate::plugin::{Description, Engine, Plugin};
use crate::probe;
use crate::sink::file::FileSink;
use crate::sink::kafka::KafkaSink;
use crate::sink::task::{Sink, apply};
use crate::source;
use crate::state::store::{Facts, OperatorIdentity, Store, StoredCheckpoint};
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
    }
    admit_sinks(job, &facts)?;
    let output = output_options(job, &facts, attempt, options.rotation).map(KafkaOutput::look).transpose()?;
    let decider = output.as_ref().map_or(Decider::Store, |output| output.decider().clone());
    admit_decider(&facts, &decider)?;
    let begin = Begin { job, plugins, attempt, decider, operators };
    let mut started = match output {
        None => begin.recover(store, facts, None)?,
        Some(look) => {
            let seen = look.marker()?;
            if let Decision::Stop(conflict) = recovery::decide(&short(&facts), Verdict::Marker(seen)) {
                return Err(conflict.into());
            }
            probe::reached("looked");
            let output = look.init()?;
            probe::reached("initialized");
            output.settle(&sink_topics(job))?;
            probe::reached("settled");
            begin.recover(store, facts, Some(output))?
        }
    };
    // Only now: what was prepared is decided first.
    for name in &options.fresh {
        started.writer.store.drop_operator(name)?;
    }
    Ok(started)
}

struct Begin<'a> {
    job: &'a Job,
    plugins: &'a Plugins,
    attempt: AttemptId,
    decider: Decider,
    operators: Vec<OperatorIdentity>,
}

impl Begin<'_> {
    fn recover(self, mut store: Store, facts: Facts, output: Option<KafkaOutput>) -> Result<Started, JobError> {
        let verdict = match &output {
            None => Verdict::StoreDecides,
            Some(output) => Verdict::Marker(output.marker()?),
        };
        let decision = recovery::decide(&short(&facts), verdict);
        tracing::info!(%decision, "recovery");
        probe::reached("recovery");
        match decision {
            Decision::Stop(conflict) => Err(conflict.into()),
            Decision::Start { number, forget } => {
                if let Some(id) = forget {
                    discard_staging(self.job, facts.prepared.as_ref())?;
                    store.roll_back(id)?;
                }
                self.start_checkpoint(store, number, output)
            }
            Decision::Resume(_) => self.resume(store, facts.committed, facts.highest, output, Applied::Before),
            Decision::Promote(id) => {
                let sinks_record = facts.prepared.clone();
                let mut started = self.resume(store, sinks_record, facts.highest, output, Applied::Now)?;
                started.writer.store.commit(id)?;
                probe::reached("promoted");
                Ok(started)
            }
            Decision::RollBack { forget, .. } => {
                probe::reached("rolling-back");
                discard_staging(self.job, facts.prepared.as_ref())?;
                probe::reached("discarded");
                store.roll_back(forget)?;
                probe::reached("rolled-back");
                self.resume(store, facts.committed, facts.highest, output, Applied::Before)
            }
        }
    }

    fn resume(
        self,
        store: Store,
        from: Option<StoredCheckpoint>,
        highest: Option<CheckpointId>,
        output: Option<KafkaOutput>,
        applied: Applied,
    ) -> Result<Started, JobError> {
        let record = from.expect("the decision names a checkpoint that the store has").record;
        let mut sinks = open_sinks(self.job, Some(&record), output.as_ref())?;
        probe::reached("sinks-opened");
        if applied == Applied::Now {
            apply(&mut sinks, &record)?;
            probe::reached("promote-applied");
        }
        let next = highest.map_or(CheckpointId(0), CheckpointId::next);
        Ok(Started { writer: self.writer(store), record, next, sinks, output })
    }

    /// Checkpoint 0, decided before the first record is read.
    fn start_checkpoint(
        self,
        store: Store,
        number: CheckpointId,
        mut output: Option<KafkaOutput>,
    ) -> Result<Started, JobError> {
        let job = self.job;
        let mut sinks = open_sinks(job, None, output.as_ref())?;
        let sources = job.sources.iter().map(source::resolve).collect::<Result<Vec<SourceState>, _>>()?;
        let record = CheckpointRecord {
            id: number,
            attempt: self.attempt,
            kind: CheckpointKind::Start,
            sources,
            shards: Vec::new(),
            sinks: sinks.iter().map(Sink::initial_state).collect(),
        };
        let mut writer = self.writer(store);
        probe::reached("start-resolved");
        let prepared: PreparedCheckpoint = writer.prepare_start(&record)?;
        probe::reached("start-prepared");
        if let Some(ready) = output.take() {
            output = Some(ready.decide(&prepared, &mut || {})?);
        }
        probe::reached("start-decided");
        apply(&mut sinks, prepared.record())?;
        writer.store.commit(number)?;
        probe::reached("started");
        Ok(Started { writer, record, next: number.next(), sinks, output })
    }

    fn writer(self, store: Store) -> Writer {
        Writer {
            store,
            attempt: self.attempt,
            operators: self.operators,
            artifacts: self.plugins.artifacts.clone(),
            // A job that was not read from a file has none.
            job_file: std::fs::read_to_string(&self.job.places.file).unwrap_or_default(),
            decider: self.decider,
        }
    }
}

/// Whether the checkpoint to go on from was applied by every sink before this start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Applied {
    Before,
    Now,
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

/// State is bound to the code and the configuration that wrote it: other ones need a person's word.
fn admit_operators(store: &Store, operators: &[OperatorIdentity], options: &StartOptions) -> Result<(), JobError> {
    let known = store.operators()?;
    for name in &options.fresh {
        if !operators.iter().any(|operator| &operator.operator == name) {
            return Err(JobError::Stop(format!("`--fresh {name}`: the job has no operator of this name")));
        }
    }
    for operator in operators {
        let name = &operator.operator;
        let Some(stored) = known.iter().find(|stored| &stored.operator == name) else { continue };
        // Before its first checkpoint an operator has nothing to lose: its first configuration may have been a mistake.
        if options.fresh.contains(name) || !store.has_state(name)? {
            continue;
        }
        let what = match (stored.plugin == operator.plugin, stored.config == operator.config) {
            (true, true) => continue,
            (false, _) => format!("plugin `{}`, and the job file names plugin `{}`", stored.plugin, operator.plugin),
            (true, false) => format!("configuration `{}`, and the job file has `{}`", stored.config, operator.config),
        };
        return Err(JobError::Stop(format!(
            "the state of operator `{name}` was written by {what}. Nothing was changed. Ways on: keep the old one (put the \
             old artifact or configuration back); or begin with empty state for this operator at the positions of the last \
             checkpoint (`--fresh {name}`). State cannot be migrated to new code in this version"
        )));
    }
    for stored in &known {
        if !operators.iter().any(|operator| operator.operator == stored.operator)
            && store.has_state(&stored.operator)?
        {
            let name = &stored.operator;
            return Err(JobError::Stop(format!(
                "the store holds state of operator `{name}`, which the job file no longer has; names are the identity of \
                 state. Put the name back, or start the changed job under a new `name` or `store.path`"
            )));
        }
    }
    Ok(())
}

/// Positions and shards are taken up by name and number, so both must be those of the checkpoint: what is missing would be
/// read from the start, or not at all.
fn admit_shape(job: &Job, record: &CheckpointRecord) -> Result<(), JobError> {
    let stop = |what: String| {
        Err(JobError::Stop(format!(
            "{what}. Nothing was changed. Put it back as it was, or start the changed job under a new `name` or `store.path`"
        )))
    };
    for source in &job.sources {
        let Some(state) = record.sources.iter().find(|state| state.source == source.name) else {
            return stop(format!(
                "the job file has a source `{}`, of which checkpoint `{}` knows no positions",
                source.name, record.id
            ));
        };
        source::compare(source, state, record.kind == CheckpointKind::Finished)?;
    }
    for state in &record.sources {
        if !job.sources.iter().any(|source| source.name == state.source) {
            return stop(format!(
                "checkpoint `{}` holds positions of source `{}`, which the job file no longer has",
                record.id, state.source
            ));
        }
    }
    for operator in &job.operators {
        let shards = record.shards.iter().filter(|state| state.operator == operator.name).count();
        if shards > 0 && shards != job.shards as usize {
            return stop(format!(
                "the state of operator `{}` is in `{shards}` shards, and the job file says `shards = {}`; the number of \
                 shards cannot be changed in this version",
                operator.name, job.shards
            ));
        }
    }
    Ok(())
}

/// What a prepared checkpoint owes a file sink is appended when that sink is opened: output of a sink that is gone would
/// never be written.
fn admit_sinks(job: &Job, facts: &Facts) -> Result<(), JobError> {
    for state in facts.prepared.iter().flat_map(|prepared| &prepared.record.sinks) {
        let SinkState::File { sink, path, staged_bytes, .. } = state else { continue };
        let is_file = |known: &model::Sink| matches!(known.kind, SinkKind::File { .. });
        if *staged_bytes > 0 && !job.sinks.iter().any(|known| &known.name == sink && is_file(known)) {
            return Err(JobError::Stop(format!(
                "the last checkpoint may owe sink `{sink}` the last `{staged_bytes}` bytes of `{path}`, and the job file no \
                 longer has this file sink. Nothing was changed. Put the sink back, start and stop the job once, then take it out"
            )));
        }
    }
    Ok(())
}

/// A prepared checkpoint is decided where it was meant to be decided, whatever the job file says today.
fn admit_decider(facts: &Facts, decider: &Decider) -> Result<(), JobError> {
    let Some(recorded) = &facts.decider else { return Ok(()) };
    if recorded == decider {
        return Ok(());
    }
    Err(JobError::Stop(format!(
        "the checkpoints in this store are decided by {}, but the job file's sinks would decide by {}. Nothing was changed. \
         Put the sinks back as they were, or start the changed job under a new `name` or `store.path`; a recreated marker \
         topic or another cluster needs a person's decision",
        describe(recorded),
        describe(decider)
    )))
}

fn describe(decider: &Decider) -> String {
    match decider {
        Decider::Store => "the store itself".into(),
        Decider::Kafka { cluster_id, marker_topic, marker_topic_id, transactional_id } => format!(
            "topic `{marker_topic}` (id `{marker_topic_id}`) of Kafka cluster `{cluster_id}` under transactional id \
             `{transactional_id}`"
        ),
    }
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
