//! `tidegate state repair`: what a person can do after a stop, with what loss, and doing it.
//!
//! Looks first and changes nothing. What may be done comes as choices, each with its price and with the words that accept it;
//! before one is carried out the store is copied. The store's lock is held all the time, so no job runs on it. Decisions are
//! pure: `hanging` (open transactions), `adopt` (store against marker), `inputs` (positions). Next rooms: `diagnosis` (the
//! looking), `cluster` (Kafka), [`crate::cli::state`] (the asking).

mod adopt;
mod cluster;
mod diagnosis;
mod hanging;
mod inputs;

use crate::checkpoint::record::{CheckpointRecord, Decider, SinkState};
use crate::checkpoint::recovery::{StoreFacts, Stored};
use crate::config::model::{Job, SinkKind};
use crate::error::JobError;
use crate::ids::CheckpointId;
use crate::kafka::open_transactions::Ending;
use crate::sink::file::{FileSink, mend};
use crate::state::StoreError;
use crate::state::store::{Amendment, Facts, Store, StoredCheckpoint};
use crate::stops::Stop;
use cluster::{Cluster, marker_of};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A new position for a split, by a person's word: `payments[3]=1700` or `/data/payments.jsonl=1700`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The split: `topic[partition]` or the file's path.
    pub split: String,
    /// The next offset, or byte.
    pub offset: u64,
}

/// What a repair found, and what may be done.
#[derive(Debug, Clone, Default)]
pub struct Diagnosis {
    /// What is known, in lines.
    pub known: Vec<String>,
    /// What stops the job.
    pub found: Vec<Finding>,
    /// What may be done about it; any one of them.
    pub choices: Vec<Choice>,
}

/// A reason why the job stops.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Which.
    pub stop: Stop,
    /// What was found.
    pub what: String,
}

/// Something that may be done.
#[derive(Debug, Clone)]
pub struct Choice {
    /// How it is chosen: `--do NAME`.
    pub name: String,
    /// What is done, step by step.
    pub steps: Vec<String>,
    /// What is lost or doubled; empty: nothing.
    pub price: Vec<String>,
    /// What a person types to have it done.
    pub words: String,
    action: Action,
}

/// How a choice is carried out.
#[derive(Debug, Clone)]
enum Action {
    End(Vec<hanging::Step>),
    TakeOver,
    GoOnFrom { checkpoint: CheckpointId, decider: DeciderToday, used: Option<CheckpointId> },
    BeginAnew,
    SetAside { path: PathBuf, cut: u64 },
    AcceptOutput { checkpoint: CheckpointId, sink: String, path: PathBuf },
    Move(CheckpointRecord),
}

/// Who decides by the job file of today.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DeciderToday {
    Store,
    Kafka,
}

/// A job's store and cluster, held while they are looked at and repaired.
pub struct Repair<'a> {
    job: &'a Job,
    store: Store,
    facts: Facts,
    cluster: Option<Cluster>,
}

impl<'a> Repair<'a> {
    /// Opens the store, which must be there, and looks at the cluster of the sinks.
    ///
    /// # Errors
    ///
    /// `Locked` while a job runs on the store. Nothing was changed then.
    pub fn open(job: &'a Job) -> Result<Repair<'a>, JobError> {
        if !job.store.exists() {
            return Err(StoreError::Missing { path: job.store.clone() }.into());
        }
        let store = Store::open(&job.store, &job.name)?;
        let facts = store.facts()?;
        let cluster = Cluster::look(job)?;
        Ok(Repair { job, store, facts, cluster })
    }

    /// Carries a choice out, and says what was done, in lines. The store is copied first.
    pub fn carry_out(mut self, choice: &Choice) -> Result<Vec<String>, JobError> {
        let label = label();
        let copy = copy(&self.job.store, &label)?;
        let mut done = vec![format!("the store was copied to `{}`", copy.display())];
        match &choice.action {
            Action::End(steps) => done.extend(self.end(steps)?),
            Action::TakeOver => {
                let cluster = self.cluster.as_ref().expect("only a cluster has open transactions");
                cluster.take_over()?;
                done.push("the transactional id was taken over; nobody else may write with it".to_owned());
            }
            Action::GoOnFrom { checkpoint, decider, used } => {
                done.extend(self.go_on_from(*checkpoint, *decider, *used)?);
            }
            Action::BeginAnew => return self.begin_anew(&label, done),
            Action::SetAside { path, cut } => {
                let aside = mend::set_aside(path, *cut, &label).map_err(|error| failed(path, &error))?;
                done.push(format!("`{}` has `{cut}` bytes; the rest is in `{}`", path.display(), aside.display()));
            }
            Action::AcceptOutput { checkpoint, sink, path } => {
                done.extend(self.accept(*checkpoint, sink, path, &label)?);
            }
            Action::Move(record) => {
                self.amend(record.clone())?;
                done.push(format!("the positions of checkpoint `{}` were moved", record.id));
            }
        }
        Ok(done)
    }

    fn end(&mut self, steps: &[hanging::Step]) -> Result<Vec<String>, JobError> {
        let cluster = self.cluster.as_mut().expect("only a cluster has open transactions");
        let marker = cluster.end(steps)?;
        let mut done: Vec<String> = steps
            .iter()
            .map(|step| {
                let verb = if step.ending == Ending::Commit { "committed" } else { "aborted" };
                format!("{verb} in `{}` partition `{}`", step.at.topic, step.at.partition)
            })
            .collect();
        done.push(format!("the marker says checkpoint {} now", cluster::number(marker.map(|marker| marker.id))));
        Ok(done)
    }

    /// Makes a checkpoint of this store the truth.
    fn go_on_from(
        &mut self,
        checkpoint: CheckpointId,
        today: DeciderToday,
        used: Option<CheckpointId>,
    ) -> Result<Vec<String>, JobError> {
        let undecided = self.facts.prepared.as_ref().map(|prepared| prepared.record.id);
        if today == DeciderToday::Store {
            // Without a marker PREPARED would be the decision, so what is not gone on from goes now.
            if let Some(undecided) = undecided.filter(|undecided| *undecided != checkpoint) {
                for sink in &self.job.sinks {
                    if let SinkKind::File { path } = &sink.kind {
                        FileSink::discard(&sink.name, path, undecided)?;
                    }
                }
                self.store.roll_back(undecided)?;
            }
            self.store.amend(&Amendment { decider: Some(Decider::Store), used, record: None })?;
            return Ok(vec![format!("the store itself decides now, and goes on from checkpoint `{checkpoint}`")]);
        }
        let stored = self.stored(checkpoint).clone();
        let cluster = self.cluster.as_ref().expect("a job whose sink is Kafka's has a cluster");
        let options = cluster.options(self.job, &self.facts, stored.record.attempt);
        let decider = Cluster::decide_here(options)?;
        self.store.amend(&Amendment { decider: Some(decider), used, record: None })?;
        cluster.write(&marker_of(&self.facts, &stored))?;
        Ok(vec![format!("the marker says checkpoint `{checkpoint}` of this store now; the next start goes on from it")])
    }

    fn begin_anew(mut self, label: &str, mut done: Vec<String>) -> Result<Vec<String>, JobError> {
        if let Some(cluster) = self.cluster.as_mut().filter(|cluster| cluster.decider.is_some()) {
            cluster.delete_marker()?;
            done.push("the marker's topic was deleted; the next start makes it anew".to_owned());
        }
        let path = self.job.store.clone();
        // Closed before its name goes: what is moved must be whole.
        drop(self);
        let aside = beside(&path, &format!("given-up-{label}"));
        fs::rename(&path, &aside).map_err(|error| failed(&path, &error))?;
        done.push(format!("the store was moved to `{}`; the next start begins with an empty one", aside.display()));
        Ok(done)
    }

    fn accept(
        &mut self,
        checkpoint: CheckpointId,
        sink: &str,
        path: &Path,
        label: &str,
    ) -> Result<Vec<String>, JobError> {
        let mut record = self.stored(checkpoint).record.clone();
        let mut done = Vec::new();
        for state in record.sinks.iter_mut().filter(|state| state.sink() == sink) {
            let (accepted, aside) = mend::accept(path, state, label).map_err(|error| failed(path, &error))?;
            *state = accepted;
            if let Some(aside) = aside {
                done.push(format!("a last line without an end was moved to `{}`", aside.display()));
            }
            if let SinkState::File { committed_bytes, .. } = state {
                done.push(format!("`{}` goes on behind byte `{committed_bytes}`", path.display()));
            }
        }
        self.amend(record)?;
        Ok(done)
    }

    /// Writes a checkpoint's record anew. Its digest changes with it, so the marker must say so too.
    fn amend(&mut self, record: CheckpointRecord) -> Result<(), JobError> {
        let amended = self.store.amend(&Amendment { record: Some(record), ..Amendment::default() })?;
        if let (Some(cluster), Some(amended)) = (&self.cluster, amended) {
            cluster.write(&marker_of(&self.facts, &amended))?;
        }
        Ok(())
    }

    fn stored(&self, id: CheckpointId) -> &StoredCheckpoint {
        let known = [&self.facts.prepared, &self.facts.committed].into_iter().flatten();
        known.into_iter().find(|stored| stored.record.id == id).expect("a choice names a checkpoint of the store")
    }

    fn short(&self) -> StoreFacts {
        let stored = |stored: &StoredCheckpoint| Stored {
            id: stored.record.id,
            attempt: stored.record.attempt,
            digest: stored.digest,
        };
        StoreFacts {
            store: self.facts.id,
            committed: self.facts.committed.as_ref().map(stored),
            prepared: self.facts.prepared.as_ref().map(stored),
            highest: self.facts.highest,
        }
    }
}

/// What distinguishes the files of one repair: the time, in a form that a file's name may have.
fn label() -> String {
    jiff::Timestamp::now().strftime("repair-%Y%m%dT%H%M%S%3fZ").to_string()
}

/// Copies the store beside itself, durable when this returns. It is open, but nobody writes to it.
fn copy(store: &Path, label: &str) -> Result<PathBuf, JobError> {
    let to = beside(store, &format!("before-{label}"));
    let copied = || -> io::Result<()> {
        fs::copy(store, &to)?;
        fs::File::open(&to)?.sync_all()?;
        let folder = store.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::File::open(folder)?.sync_all()
    };
    copied().map_err(|error| failed(&to, &error))?;
    Ok(to)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{suffix}"));
    PathBuf::from(name)
}

/// A file could not be read or written. What was done before stays done, and a repair can be begun again.
fn failed(path: &Path, error: &io::Error) -> JobError {
    JobError::Stop(format!("`{}`: {error}; nothing more was changed (stop: output-unusable)", path.display()))
}
