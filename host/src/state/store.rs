//! The store: one redb file a job, and the only door to redb. (stub)
use super::snapshot::{InstanceDelta, InstanceImage};
use crate::checkpoint::record::{CheckpointRecord, Decider};
use crate::ids::{AttemptId, CheckpointId, PluginHash, ShardId, StoreId};
use std::path::Path;

/// A job's store, open and locked.
pub struct Store;

/// What the store knows when it is opened: the facts recovery decides on.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The store's identity.
    pub id: StoreId,
    /// Who decides; `None` until checkpoint 0 was prepared.
    pub decider: Option<Decider>,
    /// The last COMMITTED checkpoint.
    pub committed: Option<StoredCheckpoint>,
    /// The PREPARED one above it.
    pub prepared: Option<StoredCheckpoint>,
    /// The highest number ever prepared.
    pub highest: Option<CheckpointId>,
}

/// A checkpoint's record and its digest (XXH3 of its encoding).
#[derive(Debug, Clone, PartialEq)]
pub struct StoredCheckpoint {
    /// The record.
    pub record: CheckpointRecord,
    /// The digest that the marker carries.
    pub digest: u64,
}

/// What a job is bound to besides its name; compared at start.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct OperatorIdentity {
    /// The operator's name.
    pub operator: String,
    /// The artifact's hash.
    pub plugin: PluginHash,
    /// SHA-256 of the canonical configuration, hexadecimal.
    pub config: String,
}

/// A checkpoint being prepared: an open write transaction.
pub struct Preparing<'a>(std::marker::PhantomData<&'a mut Store>);

/// Why the store cannot be used. After an I/O error every later call gives the same one: only a new open clears it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// stub
    #[error("stub")]
    Stub,
}

impl Store {
    /// Opens or makes the store of a job.
    pub fn open(_path: &Path, _job: &str) -> Result<Store, StoreError> {
        unimplemented!()
    }
    /// What is in it.
    pub fn facts(&self) -> Result<Facts, StoreError> {
        unimplemented!()
    }
    /// Starts to prepare a checkpoint whose number is above any ever prepared.
    pub fn prepare(&mut self, _id: CheckpointId, _attempt: AttemptId) -> Result<Preparing<'_>, StoreError> {
        unimplemented!()
    }
    /// Writes COMMITTED(id) alone: after a promote, a stop, an end.
    pub fn commit(&mut self, _id: CheckpointId) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// Deletes every row of a PREPARED checkpoint that did not happen.
    pub fn roll_back(&mut self, _id: CheckpointId) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// A shard's memory at the last COMMITTED checkpoint; `None`: it was never captured.
    pub fn load(
        &self,
        _operator: &str,
        _shard: ShardId,
        _plugin: &PluginHash,
    ) -> Result<Option<InstanceImage>, StoreError> {
        unimplemented!()
    }
    /// The operators the store was last written by.
    pub fn operators(&self) -> Result<Vec<OperatorIdentity>, StoreError> {
        unimplemented!()
    }
}

impl Preparing<'_> {
    /// Adds one shard's snapshot.
    pub fn add(
        &mut self,
        _operator: &str,
        _shard: ShardId,
        _plugin: &PluginHash,
        _delta: &InstanceDelta,
    ) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// Makes PREPARED(id) durable, and `commits` COMMITTED in the same transaction. An error leaves the outcome open:
    /// the process must end and recovery look.
    pub fn finish(
        self,
        _record: &CheckpointRecord,
        _decider: &Decider,
        _commits: Option<CheckpointId>,
    ) -> Result<StoredCheckpoint, StoreError> {
        unimplemented!()
    }
}
