//! `tidegate state inspect STORE`: what is in a store, while no job runs on it.
//!
//! Prints; what is in the store is for [`crate::state::inspect`] to say.

use crate::checkpoint::record::{Decider, Position, SinkState, SplitState};
use crate::ids::Watermark;
use crate::state::inspect::{CheckpointState, InspectedCheckpoint, InspectedOperator, Inspection, inspect as look};
use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// What `tidegate state inspect` takes.
#[derive(Debug, clap::Args)]
pub struct InspectArguments {
    /// The store's file (`store.path` of the job; `<name>.redb` beside the job file unless set)
    pub store: PathBuf,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// Prints what is in a store.
///
/// # Errors
///
/// A [`StoreError`](crate::state::StoreError) that names the store and the way out; a reader of the output that went away
/// is none.
pub fn inspect(arguments: &InspectArguments) -> Result<(), Box<dyn Error>> {
    let inspection = look(&arguments.store)?;
    let text = if arguments.json { serde_json::to_string_pretty(&inspection)? + "\n" } else { text(&inspection) };
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// The contents as a person reads them.
fn text(inspection: &Inspection) -> String {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let mut out = Vec::new();
    print(inspection, now_ms, &mut out).expect("a vector takes all bytes");
    String::from_utf8(out).expect("only text was written")
}

fn print(inspection: &Inspection, now_ms: u64, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "store     {} ({})", inspection.path.display(), bytes(inspection.file_bytes))?;
    writeln!(out, "job       {}", inspection.job)?;
    writeln!(out, "store id  {}", inspection.store)?;
    writeln!(out, "decider   {}", decider(inspection.decider.as_ref()))?;
    match inspection.highest {
        Some(highest) => writeln!(out, "highest   checkpoint {highest}")?,
        None => writeln!(out, "highest   no checkpoint was ever prepared")?,
    }
    for checkpoint in &inspection.checkpoints {
        print_checkpoint(checkpoint, now_ms, out)?;
    }
    for operator in &inspection.operators {
        print_operator(operator, out)?;
    }
    if !inspection.plugins.is_empty() {
        writeln!(out, "\nplugins")?;
        for (hash, plugin_bytes) in &inspection.plugins {
            writeln!(out, "  {hash}  {}", bytes(*plugin_bytes))?;
        }
    }
    Ok(())
}

fn print_checkpoint(checkpoint: &InspectedCheckpoint, now_ms: u64, out: &mut impl Write) -> io::Result<()> {
    let record = &checkpoint.record;
    let state = match checkpoint.state {
        CheckpointState::Superseded => "superseded",
        CheckpointState::Committed => "COMMITTED",
        CheckpointState::Prepared => "PREPARED (the next start finds out whether it happened)",
    };
    let kind = format!("{:?}", record.kind).to_lowercase();
    let age = age(now_ms.saturating_sub(checkpoint.prepared_at_ms));
    writeln!(out, "\ncheckpoint {}  {state}", record.id)?;
    writeln!(out, "  prepared {age} ago, {kind}, attempt {}", record.attempt)?;
    for source in &record.sources {
        for split in &source.splits {
            writeln!(out, "  source {}  {}", source.source, position(split))?;
        }
    }
    for sink in &record.sinks {
        writeln!(out, "  sink {}", sink_state(sink))?;
    }
    Ok(())
}

fn print_operator(operator: &InspectedOperator, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\noperator {}", operator.operator)?;
    if let Some(identity) = &operator.identity {
        writeln!(out, "  plugin {}\n  config {}", identity.plugin, identity.config)?;
    }
    if operator.shards.is_empty() {
        return writeln!(out, "  no state");
    }
    writeln!(out, "  {:>5} {:>12} {:>12} {:>7} {:>12} {:>10}", "shard", "memory", "base", "deltas", "stored", "last")?;
    for shard in &operator.shards {
        writeln!(
            out,
            "  {:>5} {:>12} {:>12} {:>7} {:>12} {:>10}",
            shard.shard,
            bytes(shard.memory_bytes),
            bytes(shard.base_bytes),
            shard.deltas,
            bytes(shard.delta_bytes),
            shard.last
        )?;
    }
    let (memory, stored) = operator.shards.iter().fold((0, 0), |(memory, stored), shard| {
        (memory + shard.memory_bytes, stored + shard.base_bytes + shard.delta_bytes)
    });
    writeln!(out, "  {} of memory in {} stored", bytes(memory), bytes(stored))
}

fn decider(decider: Option<&Decider>) -> String {
    match decider {
        None => "none yet".into(),
        Some(Decider::Store) => "the store itself".into(),
        Some(Decider::Kafka { cluster_id, marker_topic, transactional_id, .. }) => {
            format!("Kafka cluster {cluster_id}, marker topic {marker_topic}, transactional id {transactional_id}")
        }
    }
}

fn position(split: &SplitState) -> String {
    let at = match &split.position {
        Position::Kafka { topic, partition, offset, .. } => format!("{topic}[{partition}]@{offset}"),
        Position::File { path, offset, .. } => format!("{path}@{offset}"),
    };
    let watermark = match split.watermark {
        Watermark::START => "no watermark".into(),
        Watermark::END => "watermark at the end".into(),
        Watermark(milliseconds) => match jiff::Timestamp::from_millisecond(milliseconds) {
            Ok(time) => format!("watermark {time}"),
            Err(_) => format!("watermark {milliseconds} ms"),
        },
    };
    let idle = if split.idle { ", idle" } else { "" };
    let finished = if split.finished { ", finished" } else { "" };
    format!("{at}  {watermark}{idle}{finished}")
}

fn sink_state(state: &SinkState) -> String {
    match state {
        SinkState::Kafka { sink, ends } => {
            let ends: Vec<String> =
                ends.iter().map(|end| format!("{}[{}]@{}", end.topic, end.partition, end.end_offset)).collect();
            if ends.is_empty() { format!("{sink}  wrote nothing") } else { format!("{sink}  up to {}", ends.join(" ")) }
        }
        SinkState::File { sink, path, committed_bytes, staged_bytes, .. } => {
            format!("{sink}  {path}: {} and {} staged", bytes(*committed_bytes), bytes(*staged_bytes))
        }
    }
}

fn bytes(count: u64) -> String {
    bytesize::ByteSize::b(count).to_string()
}

fn age(milliseconds: u64) -> String {
    match milliseconds / 1000 {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::record::{CheckpointKind, CheckpointRecord, SourceState};
    use crate::ids::{AttemptId, CheckpointId, PluginHash, ShardId};
    use crate::state::snapshot::{InstanceDelta, MemoryDelta, PAGE_BYTES};
    use crate::state::store::{OperatorIdentity, Store};

    #[test]
    fn a_store_is_shown_with_checkpoints_positions_and_shards() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("fraud.redb");
        let attempt = AttemptId(uuid::Uuid::from_u128(1));
        let plugin = PluginHash("ab".repeat(32));
        let mut store = Store::open(&path, "fraud").expect("a new store");
        let mut preparing = store.prepare(CheckpointId(0), attempt).expect("the first checkpoint");
        let memory = MemoryDelta { size_bytes: 1 << 20, pages: vec![1], data: vec![7; PAGE_BYTES] };
        let delta = InstanceDelta { memories: vec![memory], globals: Vec::new() };
        preparing.add("detector", ShardId(9), &plugin, &delta).expect("a snapshot");
        let identity = OperatorIdentity { operator: "detector".into(), plugin, config: "cd".repeat(32) };
        preparing.identify(&[identity], "format = 1");
        let split = SplitState {
            position: Position::File {
                path: "payments.jsonl".into(),
                device: 1,
                inode: 2,
                head_digest: 3,
                head_bytes: 4,
                offset: 4711,
            },
            watermark: Watermark(1_700_000_000_000),
            idle: true,
            finished: false,
        };
        let record = CheckpointRecord {
            id: CheckpointId(0),
            attempt,
            kind: CheckpointKind::Start,
            sources: vec![SourceState { source: "payments".into(), splits: vec![split] }],
            shards: Vec::new(),
            sinks: Vec::new(),
        };
        preparing.finish(&record, &Decider::Store, None).expect("a durable checkpoint");
        drop(store);

        let inspection = look(&path).expect("a store to show");
        let text = text(&inspection);
        for part in [
            "job       fraud",
            "the store itself",
            "checkpoint 0  PREPARED",
            "source payments  payments.jsonl@4711  watermark 2023-11-14T22:13:20Z, idle",
            "operator detector",
            "1.0 MiB of memory",
        ] {
            assert!(text.contains(part), "`{part}` is missing in:\n{text}");
        }
        let json = serde_json::to_value(&inspection).expect("plain data");
        assert_eq!(json["operators"][0]["shards"][0]["shard"], 9);
    }

    #[test]
    fn ages_are_short() {
        assert_eq!([age(900), age(61_000), age(7_200_000), age(864_000_000)], ["0 s", "1 min", "2 h", "10 days"]);
    }
}
