//! What a start refuses before anything is fenced or changed: a job that is not the one that the store's checkpoints are of.
//!
//! Reads only. Each refusal says what was found, and the way on. Next room: [`super`], which asks in this order.

use super::StartOptions;
use crate::checkpoint::record::{CheckpointKind, CheckpointRecord, Decider, SinkState};
use crate::config::earlier;
use crate::config::model::{self, Job, SinkKind};
use crate::error::JobError;
use crate::source;
use crate::state::store::{Facts, OperatorIdentity, Store};

/// The ends of bounded sources are those of the first start: other ones would not count.
pub(super) fn admit_ends(job: &Job, store: &Store) -> Result<(), JobError> {
    let text = store.job_file()?.unwrap_or_default();
    earlier::changed_end(job, &job.places.file, text).map_or(Ok(()), |what| changed_shape(&what))
}

/// State is bound to the code and the configuration that wrote it: other ones need a person's word.
pub(super) fn admit_operators(
    store: &Store,
    operators: &[OperatorIdentity],
    options: &StartOptions,
) -> Result<(), JobError> {
    let known = store.operators()?;
    for name in &options.fresh {
        if !operators.iter().any(|operator| &operator.operator == name) {
            return Err(JobError::Stop(format!(
                "`--fresh {name}`: the job has no operator of this name (stop: operator-changed)"
            )));
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
             checkpoint (`--fresh {name}`). State cannot be migrated in this version (stop: operator-changed)"
        )));
    }
    for stored in &known {
        if !operators.iter().any(|operator| operator.operator == stored.operator)
            && store.has_state(&stored.operator)?
        {
            let name = &stored.operator;
            return Err(JobError::Stop(format!(
                "the store holds state of operator `{name}`, which the job file no longer has; names are the identity of \
                 state. Put the name back, or start the changed job under a new `name` or `store.path` (stop: operator-changed)"
            )));
        }
    }
    Ok(())
}

/// Positions and shards are taken up by name and number, so both must be those of the checkpoint: what is missing would be
/// read from the start, or not at all.
pub(super) fn admit_shape(job: &Job, record: &CheckpointRecord) -> Result<(), JobError> {
    for source in &job.sources {
        let Some(state) = record.sources.iter().find(|state| state.source == source.name) else {
            return changed_shape(&format!(
                "the job file has a source `{}`, of which checkpoint `{}` knows no positions",
                source.name, record.id
            ));
        };
        source::compare(source, state, record.kind == CheckpointKind::Finished)?;
    }
    for state in &record.sources {
        if !job.sources.iter().any(|source| source.name == state.source) {
            return changed_shape(&format!(
                "checkpoint `{}` holds positions of source `{}`, which the job file no longer has",
                record.id, state.source
            ));
        }
    }
    for operator in &job.operators {
        let shards = record.shards.iter().filter(|state| state.operator == operator.name).count();
        if shards > 0 && shards != job.shards as usize {
            return changed_shape(&format!(
                "the state of operator `{}` is in `{shards}` shards, and the job file says `shards = {}`; the number of \
                 shards cannot be changed in this version",
                operator.name, job.shards
            ));
        }
    }
    Ok(())
}

fn changed_shape<T>(what: &str) -> Result<T, JobError> {
    Err(JobError::Stop(format!(
        "{what}. Nothing was changed. Put it back as it was, or start the changed job under a new `name` or \
         `store.path` (stop: job-changed)"
    )))
}

/// What a prepared checkpoint owes a file sink is appended when that sink is opened: output of a sink that is gone would
/// never be written.
pub(super) fn admit_sinks(job: &Job, facts: &Facts) -> Result<(), JobError> {
    for state in facts.prepared.iter().flat_map(|prepared| &prepared.record.sinks) {
        let SinkState::File { sink, path, staged_bytes, .. } = state else { continue };
        let is_file = |known: &model::Sink| matches!(known.kind, SinkKind::File { .. });
        if *staged_bytes > 0 && !job.sinks.iter().any(|known| &known.name == sink && is_file(known)) {
            return Err(JobError::Stop(format!(
                "the last checkpoint may owe sink `{sink}` the last `{staged_bytes}` bytes of `{path}`, and the job file no \
                 longer has this file sink. Nothing was changed. Put the sink back, start and stop the job, then take it out (stop: job-changed)"
            )));
        }
    }
    Ok(())
}

/// A prepared checkpoint is decided where it was meant to be decided, whatever the job file says today.
pub(super) fn admit_decider(facts: &Facts, decider: &Decider) -> Result<(), JobError> {
    let Some(recorded) = &facts.decider else { return Ok(()) };
    if recorded == decider {
        return Ok(());
    }
    Err(JobError::Stop(format!(
        "the checkpoints in this store are decided by {}, but the job file's sinks would decide by {}. Nothing was changed. \
         Put the sinks back as they were, or start the changed job under a new `name` or `store.path`; for a recreated \
         marker topic or another cluster, `tidegate state repair` shows the ways on (stop: decider-changed)",
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

/// Empty state is begun with at the last positions, and behind the end of the input nothing is to be read.
pub(super) fn admit_fresh(record: &CheckpointRecord, options: &StartOptions) -> Result<(), JobError> {
    match options.fresh.first() {
        Some(name) if record.kind == CheckpointKind::Finished => Err(JobError::Stop(format!(
            "`--fresh {name}`: the job's input was read to its end, so an operator with empty state would be given nothing. \
             The state was not emptied. To read everything anew, start the job under a new `name` or \
             `store.path` (stop: operator-changed)"
        ))),
        _ => Ok(()),
    }
}
