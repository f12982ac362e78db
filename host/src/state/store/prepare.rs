//! Prepares a checkpoint: snapshots, artifacts and the record in one write transaction.
//!
//! It decides only what may go: what neither this checkpoint nor the last COMMITTED one needs. Next room: `snapshots`.

use super::super::error::StoreError;
use super::super::format::rows::{CheckpointRow, Ledger, SnapshotKey, SnapshotKind};
use super::super::snapshot::InstanceDelta;
use super::index::{Entry, Located};
use super::snapshots::{self, Draft, SnapshotWriter};
use super::{OperatorIdentity, Store, StoredCheckpoint, artifacts, tables};
use crate::checkpoint::record::{CheckpointRecord, Decider};
use crate::ids::{AttemptId, CheckpointId, PluginHash, ShardId};
use crate::probe;
use redb::WriteTransaction;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

/// A checkpoint being prepared: an open write transaction. Dropped, it leaves no trace.
#[must_use = "a checkpoint that is not finished never happened"]
pub struct Preparing<'a> {
    store: &'a mut Store,
    transaction: WriteTransaction,
    id: CheckpointId,
    attempt: AttemptId,
    writer: SnapshotWriter,
    added: BTreeMap<(String, ShardId), Entry>,
    artifacts: BTreeMap<String, u64>,
    operators: Option<Vec<OperatorIdentity>>,
    job_file: Option<String>,
}

impl<'a> Preparing<'a> {
    pub(super) fn begin(
        store: &'a mut Store,
        id: CheckpointId,
        attempt: AttemptId,
    ) -> Result<Preparing<'a>, StoreError> {
        let transaction = store.latch.observe(store.begin())?;
        Ok(Preparing {
            store,
            transaction,
            id,
            attempt,
            writer: SnapshotWriter::new(),
            added: BTreeMap::new(),
            artifacts: BTreeMap::new(),
            operators: None,
            job_file: None,
        })
    }

    /// Adds one shard's snapshot. A shard's first one, and the first of another plugin, is its base and must hold all pages
    /// that are not zero, as a new instance's first capture does.
    ///
    /// # Errors
    ///
    /// `OutOfOrder` for a shard that has one already, or for pages that no memory can have.
    pub fn add(
        &mut self,
        operator: &str,
        shard: ShardId,
        plugin: &PluginHash,
        delta: &InstanceDelta,
    ) -> Result<(), StoreError> {
        self.store.latch.check()?;
        let shard_key = (operator.to_owned(), shard);
        let fault = if self.added.contains_key(&shard_key) {
            Some("it was added before".to_owned())
        } else {
            snapshots::fault(&delta.memories)
        };
        if let Some(fault) = fault {
            let what = format!("the snapshot of operator `{operator}` shard `{shard}` is refused: {fault}");
            return Err(StoreError::out_of_order(&self.store.path, what));
        }
        let last = self.store.contents.index.entries(operator, shard).last();
        let previous = last.filter(|last| last.plugin == *plugin).map(|last| last.checkpoint);
        let draft = Draft {
            key: SnapshotKey { operator: operator.to_owned(), shard, checkpoint: self.id },
            kind: if previous.is_some() { SnapshotKind::Delta } else { SnapshotKind::Base },
            previous,
            plugin,
            memories: &delta.memories,
            globals: &delta.globals,
        };
        let written = self.writer.write(&self.transaction, &self.store.path, &draft);
        let entry = self.store.latch.observe(written)?;
        self.added.insert(shard_key, entry);
        Ok(())
    }

    /// Says which operators the checkpoint is made with, and keeps the job file (text). Without it, those of the last
    /// COMMITTED checkpoint go on.
    pub fn identify(&mut self, operators: &[OperatorIdentity], job_file: &str) {
        self.operators = Some(operators.to_vec());
        self.job_file = Some(job_file.to_owned());
    }

    /// Keeps an artifact by its content's hash. Artifacts that no kept checkpoint's operators name go with the next
    /// checkpoint.
    pub fn put_artifact(&mut self, hash: &PluginHash, bytes: &[u8]) -> Result<(), StoreError> {
        self.store.latch.check()?;
        if self.store.contents.artifacts.contains_key(&hash.0) || self.artifacts.contains_key(&hash.0) {
            return Ok(());
        }
        let written = artifacts::put(&self.transaction, &self.store.path, hash, bytes);
        self.store.latch.observe(written)?;
        self.artifacts.insert(hash.0.clone(), bytes.len() as u64);
        Ok(())
    }

    /// Makes PREPARED(id) durable, and `commits` COMMITTED in the same transaction. An error leaves the outcome open:
    /// the process must end and recovery look.
    ///
    /// # Errors
    ///
    /// `OutOfOrder` if the record is of another checkpoint or attempt, or if `commits` is not the PREPARED one: a
    /// checkpoint is decided before the next one is prepared. Nothing was written then.
    pub fn finish(
        mut self,
        record: &CheckpointRecord,
        decider: &Decider,
        commits: Option<CheckpointId>,
    ) -> Result<StoredCheckpoint, StoreError> {
        self.store.latch.check()?;
        if let Some(what) = self.misuse(record, commits) {
            return Err(StoreError::out_of_order(&self.store.path, what));
        }
        let before = self.store.contents.ledger;
        let ledger =
            Ledger { highest: Some(self.id), committed: commits.or(before.committed), prepared: Some(self.id) };
        let (superseded, snapshots_digest) = self.extend_index(ledger);
        let plan = self.plan(ledger, record, decider, superseded, snapshots_digest);
        let Preparing { store, transaction, id, .. } = self;
        let written = write_plan(&transaction, store, id, &plan).and_then(|()| {
            let doing = "preparing a checkpoint";
            probe::reached("store-preparing");
            transaction.commit().map_err(|error| StoreError::engine(&store.path, doing, error))
        });
        store.latch.seal(written)?;
        probe::reached("store-prepared");
        let stored = StoredCheckpoint { record: record.clone(), digest: xxhash_rust::xxh3::xxh3_64(&plan.row.record) };
        plan.take_over(store, id);
        Ok(stored)
    }

    fn misuse(&self, record: &CheckpointRecord, commits: Option<CheckpointId>) -> Option<String> {
        let id = self.id;
        if record.id != id || record.attempt != self.attempt {
            return Some(format!("the record of checkpoint `{}` was given to `{id}`", record.id));
        }
        let prepared = self.store.contents.ledger.prepared;
        (prepared != commits).then(|| {
            let number = |id: Option<CheckpointId>| id.map_or("none".to_owned(), |id| id.to_string());
            format!("checkpoint `{id}` commits `{}` while `{}` is prepared", number(commits), number(prepared))
        })
    }

    /// Puts the new snapshots into the index and takes those out that nobody needs any more. Done before the write and in
    /// place, since an index may be long: if the write fails, the latch keeps everybody from looking at it.
    fn extend_index(&mut self, ledger: Ledger) -> (Vec<Located>, u64) {
        let index = &mut self.store.contents.index;
        for ((operator, shard), entry) in std::mem::take(&mut self.added) {
            index.push(&operator, shard, entry);
        }
        let superseded = ledger.committed.map(|committed| index.superseded(committed)).unwrap_or_default();
        index.remove(&superseded);
        (superseded, index.digest(self.id))
    }

    /// What else the transaction will leave behind.
    fn plan(
        &self,
        ledger: Ledger,
        record: &CheckpointRecord,
        decider: &Decider,
        superseded: Vec<Located>,
        snapshots_digest: u64,
    ) -> Plan {
        let contents = &self.store.contents;
        let operators = match &self.operators {
            Some(operators) => operators.clone(),
            None => contents.last_row().map(|row| row.operators.clone()).unwrap_or_default(),
        };
        let rows_gone: Vec<CheckpointId> =
            contents.rows.keys().copied().filter(|id| Some(*id) != ledger.committed).collect();
        let kept_rows = contents.rows.iter().filter(|(id, _)| !rows_gone.contains(id));
        let named: BTreeSet<&str> = kept_rows
            .flat_map(|(_, row)| &row.operators)
            .chain(&operators)
            .map(|identity| identity.plugin.0.as_str())
            .collect();
        let artifacts: BTreeMap<String, u64> =
            contents.artifacts.iter().chain(&self.artifacts).map(|(hash, bytes)| (hash.clone(), *bytes)).collect();
        let (artifacts, artifacts_gone) = artifacts.into_iter().partition(|(hash, _)| named.contains(hash.as_str()));
        let row = CheckpointRow {
            prepared_at_ms: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64),
            snapshots_digest,
            operators,
            record: postcard::to_stdvec(record).expect("plain data always encodes"),
        };
        Plan {
            ledger,
            row,
            superseded,
            rows_gone,
            artifacts,
            artifacts_gone,
            decider: Some(decider.clone()).filter(|decider| contents.decider.as_ref() != Some(decider)),
            job_file: self.job_file.clone().filter(|text| contents.job_file.as_ref() != Some(text)),
        }
    }
}

/// What a finished checkpoint changes, worked out before anything of it is written.
struct Plan {
    ledger: Ledger,
    row: CheckpointRow,
    superseded: Vec<Located>,
    rows_gone: Vec<CheckpointId>,
    artifacts: BTreeMap<String, u64>,
    artifacts_gone: BTreeMap<String, u64>,
    /// If it is another one.
    decider: Option<Decider>,
    /// If it is another one.
    job_file: Option<String>,
}

fn write_plan(transaction: &WriteTransaction, store: &Store, id: CheckpointId, plan: &Plan) -> Result<(), StoreError> {
    let path = &store.path;
    snapshots::remove(transaction, path, &plan.superseded)?;
    for gone in &plan.rows_gone {
        tables::remove_checkpoint(transaction, path, *gone)?;
    }
    for (hash, bytes) in &plan.artifacts_gone {
        artifacts::remove(transaction, path, hash, *bytes)?;
    }
    if let Some(decider) = &plan.decider {
        tables::put_decider(transaction, path, decider)?;
    }
    if let Some(job_file) = &plan.job_file {
        tables::put_job_file(transaction, path, job_file)?;
    }
    tables::put_checkpoint(transaction, path, id, &plan.row)?;
    tables::put_ledger(transaction, path, &plan.ledger)
}

impl Plan {
    /// Brings what the store knows in step with what is durable now.
    fn take_over(self, store: &mut Store, id: CheckpointId) {
        let contents = &mut store.contents;
        contents.ledger = self.ledger;
        contents.artifacts = self.artifacts;
        contents.rows.retain(|id, _| !self.rows_gone.contains(id));
        contents.rows.insert(id, self.row);
        contents.decider = self.decider.or(contents.decider.take());
        contents.job_file = self.job_file.or(contents.job_file.take());
    }
}
