//! Says what is in a store, for people: checkpoints, shards, sizes.
//!
//! Reads a store that nobody runs on, and changes nothing in it but what redb itself puts right after a crash. No names of
//! its own: what it prints are the job file's. Next room: [`super::store`].

use super::error::StoreError;
use super::format::rows::SnapshotKind;
use super::store::{Contents, OperatorIdentity, inspect_contents};
use crate::checkpoint::record::{CheckpointRecord, Decider};
use crate::ids::{CheckpointId, ShardId, StoreId};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What is in a store.
#[derive(Debug, Clone, Serialize)]
pub struct Inspection {
    /// The store's path.
    pub path: PathBuf,
    /// The file's length in bytes, free space in it included.
    pub file_bytes: u64,
    /// The store's identity.
    pub store: StoreId,
    /// The job it belongs to.
    pub job: String,
    /// Who decides; `None` until checkpoint 0 was prepared.
    pub decider: Option<Decider>,
    /// The highest number ever prepared.
    pub highest: Option<CheckpointId>,
    /// The checkpoints that recovery may need, ascending.
    pub checkpoints: Vec<InspectedCheckpoint>,
    /// Operators that have an identity or state, by name.
    pub operators: Vec<InspectedOperator>,
    /// Plugin artifacts: content hash and length in bytes.
    pub plugins: Vec<(String, u64)>,
}

/// A checkpoint in a store.
#[derive(Debug, Clone, Serialize)]
pub struct InspectedCheckpoint {
    /// Where it stands.
    pub state: CheckpointState,
    /// When it was prepared, in milliseconds since the Unix epoch.
    pub prepared_at_ms: u64,
    /// Everything in it but the memory.
    pub record: CheckpointRecord,
}

/// Where a checkpoint stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum CheckpointState {
    /// Older than the last COMMITTED one; goes with the next checkpoint.
    Superseded,
    /// Decided, and applied by every sink.
    Committed,
    /// Durable, not yet known to be decided: the next start finds out.
    Prepared,
}

/// An operator in a store.
#[derive(Debug, Clone, Serialize)]
pub struct InspectedOperator {
    /// Its name.
    pub operator: String,
    /// Artifact and configuration; `None` if the last checkpoint was made without it.
    pub identity: Option<OperatorIdentity>,
    /// Its shards that have a snapshot.
    pub shards: Vec<InspectedShard>,
}

/// A shard's snapshots.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct InspectedShard {
    /// The shard.
    pub shard: ShardId,
    /// Linear memory of the instance, in bytes.
    pub memory_bytes: u64,
    /// Bases as stored, in bytes.
    pub base_bytes: u64,
    /// Deltas behind them.
    pub deltas: usize,
    /// Deltas as stored, in bytes.
    pub delta_bytes: u64,
    /// The checkpoint of the last snapshot.
    pub last: CheckpointId,
}

/// Looks into a store.
///
/// # Errors
///
/// `Locked` while a job runs on it, `Missing`, `Damaged`, `UnknownVersion`, `Io`.
pub fn inspect(path: &Path) -> Result<Inspection, StoreError> {
    let contents = inspect_contents(path)?;
    let file_bytes = path.metadata().map_err(|error| StoreError::io(path, "looking at the file", error))?.len();
    let checkpoints = checkpoints(path, &contents)?;
    Ok(Inspection {
        path: path.to_owned(),
        file_bytes,
        operators: operators(&contents),
        checkpoints,
        store: contents.identity.store,
        job: contents.identity.job,
        decider: contents.decider,
        highest: contents.ledger.highest,
        plugins: contents.artifacts.into_iter().collect(),
    })
}

fn checkpoints(path: &Path, contents: &Contents) -> Result<Vec<InspectedCheckpoint>, StoreError> {
    let state = |id: CheckpointId| {
        if contents.ledger.prepared == Some(id) {
            CheckpointState::Prepared
        } else if contents.ledger.committed == Some(id) {
            CheckpointState::Committed
        } else {
            CheckpointState::Superseded
        }
    };
    let rows = contents.rows.iter().map(|(id, row)| {
        Ok(InspectedCheckpoint {
            state: state(*id),
            prepared_at_ms: row.prepared_at_ms,
            record: contents.stored(path, *id)?.record,
        })
    });
    rows.collect()
}

fn operators(contents: &Contents) -> Vec<InspectedOperator> {
    let identities = contents.last_row().map(|row| row.operators.as_slice()).unwrap_or_default();
    let mut operators: Vec<InspectedOperator> = identities
        .iter()
        .map(|identity| InspectedOperator {
            operator: identity.operator.clone(),
            identity: Some(identity.clone()),
            shards: Vec::new(),
        })
        .collect();
    for (operator, shard, entries) in contents.index.shards() {
        let at = operators.iter().position(|known| known.operator == operator).unwrap_or_else(|| {
            operators.push(InspectedOperator { operator: operator.to_owned(), identity: None, shards: Vec::new() });
            operators.len() - 1
        });
        let Some(last) = entries.last() else { continue };
        let bytes = |kind| entries.iter().filter(|entry| entry.kind == kind).map(|entry| entry.stored_bytes).sum();
        operators[at].shards.push(InspectedShard {
            shard,
            memory_bytes: last.memory_bytes,
            base_bytes: bytes(SnapshotKind::Base),
            deltas: entries.iter().filter(|entry| entry.kind == SnapshotKind::Delta).count(),
            delta_bytes: bytes(SnapshotKind::Delta),
            last: last.checkpoint,
        });
    }
    operators.sort_by(|a, b| a.operator.cmp(&b.operator));
    operators
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::record::CheckpointKind;
    use crate::ids::{AttemptId, PluginHash};
    use crate::state::snapshot::{InstanceDelta, MemoryDelta, PAGE_BYTES};
    use crate::state::store::Store;
    use std::os::unix::fs::PermissionsExt;

    fn filled(path: &Path) {
        let attempt = AttemptId(uuid::Uuid::from_u128(1));
        let plugin = PluginHash("a".repeat(64));
        let mut store = Store::open(path, "fraud").unwrap();
        for id in 0..3 {
            let mut preparing = store.prepare(CheckpointId(id), attempt).unwrap();
            let memory = MemoryDelta { size_bytes: 1 << 20, pages: vec![id as u32], data: vec![1; PAGE_BYTES] };
            let delta = InstanceDelta { memories: vec![memory], globals: Vec::new() };
            preparing.add("detector", ShardId(3), &plugin, &delta).unwrap();
            let record = CheckpointRecord {
                id: CheckpointId(id),
                attempt,
                kind: CheckpointKind::Periodic,
                sources: Vec::new(),
                shards: Vec::new(),
                sinks: Vec::new(),
            };
            preparing.finish(&record, &Decider::Store, id.checked_sub(1).map(CheckpointId)).unwrap();
        }
    }

    #[test]
    fn a_store_that_nobody_runs_on_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.redb");
        filled(&path);
        let before = std::fs::read(&path).unwrap();
        let inspection = inspect(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), before, "looking changes nothing");
        assert_eq!((inspection.job.as_str(), inspection.highest), ("fraud", Some(CheckpointId(2))));
        let states: Vec<_> = inspection.checkpoints.iter().map(|at| (at.record.id.0, at.state)).collect();
        assert_eq!(states, [(1, CheckpointState::Committed), (2, CheckpointState::Prepared)]);
        let [operator] = &inspection.operators[..] else { panic!("one operator") };
        let [shard] = operator.shards[..] else { panic!("one shard") };
        assert_eq!((shard.shard, shard.deltas, shard.last), (ShardId(3), 2, CheckpointId(2)));
        assert_eq!(shard.memory_bytes, 1 << 20);
        assert!(shard.base_bytes > 0 && shard.delta_bytes > shard.base_bytes);
    }

    #[test]
    fn a_store_that_may_only_be_read_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.redb");
        filled(&path);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
        assert_eq!(inspect(&path).unwrap().job, "fraud");
    }

    #[test]
    fn a_running_jobs_store_and_a_missing_one_say_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.redb");
        assert!(matches!(inspect(&path), Err(StoreError::Missing { .. })));
        assert!(!path.exists());
        filled(&path);
        let held = Store::open(&path, "fraud").unwrap();
        let error = inspect(&path).unwrap_err();
        assert!(matches!(error, StoreError::Locked { .. }), "{error}");
        drop(held);
        inspect(&path).unwrap();
    }

    #[test]
    fn a_store_whose_process_was_killed_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.redb");
        filled(&path);
        let held = Store::open(&path, "fraud").unwrap();
        // The file as a killed process leaves it: open, not closed.
        let copy = folder.path().join("copy.redb");
        std::fs::copy(&path, &copy).unwrap();
        drop(held);
        assert_eq!(inspect(&copy).unwrap().highest, Some(CheckpointId(2)));
    }
}
