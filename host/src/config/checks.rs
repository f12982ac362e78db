//! What must fit together: times, memory, dead letters, clusters, paths. Each value alone has been checked before.
//!
//! Pure but for the context it reports to. Next room: [`super::resolve`], what must fit the plugins.

use super::context::Context;
use super::model::{
    BatchLimits, Checkpointing, Job, OnBadRecord, OnError, OnRejected, Operator, Origin, Route, SinkInput, SinkKind,
    Source, SourceKind,
};
use super::reader::Table;
use super::values::{show_duration, show_size};
use std::time::Duration;

/// `transaction.timeout.ms` if a sink does not set it.
const TRANSACTION_TIMEOUT_DEFAULT: Duration = Duration::from_mins(10);

/// Of a record that makes the plugin loop: the call with its batch, and two alone.
const CALLS_TO_FIND_A_LOOP: u32 = 3;

/// Reports checkpoint and batch times that cannot work together.
pub(super) fn times(top: &Table<'_>, checkpoint: Checkpointing, batch: BatchLimits) {
    let Checkpointing { interval, min_pause, timeout } = checkpoint;
    if batch.linger > interval {
        let what = format!(
            "`{}` is longer than the checkpoint interval `{}`, and a barrier ends every batch; lower it",
            show_duration(batch.linger),
            show_duration(interval)
        );
        top.table("batch").error("linger", what);
    }
    if min_pause > interval.saturating_add(timeout) {
        let what = format!(
            "`{}` is longer than `interval` and `timeout` together (`{}`), so `interval` would mean nothing; raise \
             `interval` instead",
            show_duration(min_pause),
            show_duration(interval.saturating_add(timeout))
        );
        top.table("checkpoint").error("min_pause", what);
    }
}

/// Reports what does not fit in a job that was read without other errors.
pub(super) fn whole(context: &Context<'_>, top: &Table<'_>, job: &Job) {
    let report = |path: &str, what: String| context.error_at_key(path, what);
    memory(top, job);
    transaction_timeouts(job, &report);
    call_timeouts(job, &report);
    dead_letters(job, &report);
    clusters(job, &report);
    destinations(job, &report);
    keys(job, &report);
}

fn memory(top: &Table<'_>, job: &Job) {
    let limits = top.table("limits");
    let limit = limits.size("memory");
    let an_instance: u64 = job.operators.iter().map(|operator| operator.memory_bytes as u64).sum();
    let sum = an_instance.saturating_mul(u64::from(job.shards));
    if sum > limit {
        let what = format!(
            "`{}` is too little: {} shards of {} take up to {}; raise it, or lower `shards` or the operators' `memory`",
            show_size(limit),
            job.shards,
            show_size(an_instance),
            show_size(sum)
        );
        limits.error("memory", what);
    }
}

fn transaction_timeouts(job: &Job, report: &dyn Fn(&str, String)) {
    // A transaction opens with the first record after a confirm and ends with the next checkpoint's commit.
    let Checkpointing { interval, min_pause, timeout } = job.checkpoint;
    let open = interval.max(min_pause).saturating_add(timeout);
    for sink in &job.sinks {
        let SinkKind::Kafka { transaction_timeout, .. } = &sink.kind else { continue };
        let limit = transaction_timeout.unwrap_or(TRANSACTION_TIMEOUT_DEFAULT);
        if limit <= open {
            let (limit, open) = (show_duration(limit), show_duration(open));
            let what = format!(
                "`{limit}` cannot work: a transaction stays open for up to checkpoint interval + timeout = `{open}`, and \
                 the broker would abort it before; make it longer than that, or lower `timeout` of `[checkpoint]`"
            );
            report(&format!("sink.{}.transaction_timeout", sink.name), what);
        }
    }
}

fn call_timeouts(job: &Job, report: &dyn Fn(&str, String)) {
    for operator in &job.operators {
        if operator.call_timeout >= job.checkpoint.timeout {
            let what = format!(
                "`{}` cannot work: a checkpoint waits for the call and ends the process after `{}` (`timeout` of \
                 `[checkpoint]`); make it shorter than that",
                show_duration(operator.call_timeout),
                show_duration(job.checkpoint.timeout)
            );
            report(&format!("operator.{}.call_timeout", operator.name), what);
        } else if operator.on_error == OnError::DeadLetter
            && operator.call_timeout * CALLS_TO_FIND_A_LOOP >= job.checkpoint.timeout
        {
            let what = format!(
                "`{}` cannot work with `on_error = \"dead-letter\"`: a record on which the plugin loops takes up to \
                 {CALLS_TO_FIND_A_LOOP} times as long to be found, and a checkpoint that waits for it ends the process after \
                 `{}` (`timeout` of `[checkpoint]`); make it shorter than a third of that",
                show_duration(operator.call_timeout),
                show_duration(job.checkpoint.timeout)
            );
            report(&format!("operator.{}.call_timeout", operator.name), what);
        }
    }
}

fn dead_letters(job: &Job, report: &dyn Fn(&str, String)) {
    let mut sinks = job.sinks.iter().filter(|sink| sink.from.contains(&SinkInput::DeadLetters));
    let first = sinks.next();
    for second in sinks {
        let what = format!(
            "dead letters go to sink `{}` already; a job has one dead-letter sink",
            first.map_or("", |sink| sink.name.as_str())
        );
        report(&format!("sink.{}.from", second.name), what);
    }
    if let Some(sink) = first {
        let feeds = job.sources.iter().any(|source| source.on_bad_record == OnBadRecord::DeadLetter)
            || job.operators.iter().any(Operator::sends_dead_letters);
        let is_only_sink = job.sinks.iter().all(|sink| sink.from == [SinkInput::DeadLetters]);
        if is_only_sink && !feeds {
            let what = "nothing ever comes here: it is the only sink, and no source or operator sends dead letters; set \
                        `on_bad_record`, `on_error` or `on_rejected`, or let a sink take records";
            report(&format!("sink.{}.from", sink.name), what.to_owned());
        }
        return;
    }
    let what = "there is no sink for dead letters; add one with `from = [\"dead-letters\"]`, or use `fail`";
    for source in job.sources.iter().filter(|source| source.on_bad_record == OnBadRecord::DeadLetter) {
        report(&format!("source.{}.on_bad_record", source.name), what.to_owned());
    }
    for operator in job.operators.iter().filter(|operator| operator.on_rejected == OnRejected::DeadLetter) {
        report(&format!("operator.{}.on_rejected", operator.name), what.to_owned());
    }
    for operator in job.operators.iter().filter(|operator| operator.on_error == OnError::DeadLetter) {
        report(&format!("operator.{}.on_error", operator.name), what.to_owned());
    }
}

fn clusters(job: &Job, report: &dyn Fn(&str, String)) {
    let mut first: Option<&str> = None;
    for sink in &job.sinks {
        let SinkKind::Kafka { connection, .. } = &sink.kind else { continue };
        let first = *first.get_or_insert(&connection.name);
        if first != connection.name {
            let what = format!(
                "the sinks of a job write to one Kafka cluster, and another sink writes to `{first}`: two cannot commit \
                 together; use `{first}`, or a second job that reads from it"
            );
            report(&format!("sink.{}.connection", sink.name), what);
        }
    }
}

/// Two sinks of one file or topic, or a sink that feeds its own job.
fn destinations(job: &Job, report: &dyn Fn(&str, String)) {
    for (at, sink) in job.sinks.iter().enumerate() {
        let same = |other: &&super::model::Sink| match (&other.kind, &sink.kind) {
            (SinkKind::File { path: a }, SinkKind::File { path: b }) => a == b,
            (SinkKind::Kafka { topic: a, .. }, SinkKind::Kafka { topic: b, .. }) => a == b,
            _ => false,
        };
        let key = if matches!(sink.kind, SinkKind::File { .. }) { "path" } else { "topic" };
        let path = format!("sink.{}.{key}", sink.name);
        if let Some(other) = job.sinks[..at].iter().find(same) {
            let what = format!("sink `{}` writes there already; give one of the two `from` both origins", other.name);
            report(&path, what);
        }
        if let Some(source) = job.sources.iter().find(|source| reads(source, &sink.kind)) {
            report(
                &path,
                format!("source `{}` reads from there: the job would feed itself; write elsewhere", source.name),
            );
        }
        if let SinkKind::Kafka { topic, .. } = &sink.kind
            && *topic == format!("tidegate.{}", job.name)
        {
            report(&path, format!("`{topic}` is the job's own marker topic; write to another"));
        }
    }
}

fn reads(source: &Source, sink: &SinkKind) -> bool {
    match (&source.kind, sink) {
        (SourceKind::File { pattern }, SinkKind::File { path }) => pattern == path || path.parent() == Some(pattern),
        (SourceKind::Kafka { connection: from, topics, .. }, SinkKind::Kafka { connection: to, topic, .. }) => {
            from.name == to.name && topics.contains(topic)
        }
        _ => false,
    }
}

/// A file's lines have no key of their own, so an edge that routes by key needs the source's `key`.
fn keys(job: &Job, report: &dyn Fn(&str, String)) {
    for operator in &job.operators {
        for input in operator.inputs.iter().filter(|input| input.route == Route::Key) {
            let Origin::Source(index) = &input.from else { continue };
            let source = &job.sources[index.index()];
            if matches!(source.kind, SourceKind::File { .. }) && source.decode.key.is_empty() {
                let what = format!(
                    "source `{0}` has no key to route by: a file's lines have none of their own; set `key` of \
                     `[source.{0}]`, or write `{{ from = \"{0}\", route = \"same-shard\" }}`",
                    source.name
                );
                report(&format!("operator.{}.inputs.{}", operator.name, input.port), what);
            }
        }
    }
}
