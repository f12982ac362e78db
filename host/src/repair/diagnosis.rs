//! Looks for what stops a job, in the order in which it must be mended, and says what may be done.
//!
//! Open transactions come first, because a new marker would decide them by accident; then store against marker; then the
//! positions and outputs of the checkpoint that the next start goes on from. Changes nothing. Next room: the parent.

use super::adopt::{Happened, candidates};
use super::cluster::number;
use super::hanging::{self, Verdict as Hanging};
use super::inputs::{self, Gap, Partition};
use super::{Action, Choice, DeciderToday, Diagnosis, Finding, Given, Repair, failed};
use crate::checkpoint::record::{CheckpointRecord, Decider, Position, SourceState, SplitState};
use crate::checkpoint::recovery::{self, Conflict, Decision, Verdict};
use crate::config::model::{KafkaConnection, SinkKind, Source, SourceKind};
use crate::error::JobError;
use crate::ids::CheckpointId;
use crate::kafka::open_transactions::Ending;
use crate::kafka::{KafkaAdmin, KafkaError, OffsetAt, TopicPartition};
use crate::sink::file::mend::{self, Standing};
use crate::source::file::mend as file_source;
use crate::stops::Stop;
use std::path::Path;
use std::time::Duration;

/// How long each question about a source's topics may take.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// What a person types to end transactions with a store that cannot tell whose they are.
const WITHOUT_STORE: &str = "end them without the right store";

impl Repair<'_> {
    /// Says what stops the job and what may be done. `given` are positions by a person's word.
    pub fn diagnose(&mut self, given: &[Given]) -> Result<Diagnosis, JobError> {
        let mut diagnosis = Diagnosis { known: self.known(), ..Diagnosis::default() };
        self.look_for_hanging(&mut diagnosis)?;
        if diagnosis.found.is_empty() {
            self.compare_with_marker(&mut diagnosis)?;
        }
        if diagnosis.found.is_empty()
            && let Some(record) = self.target()
        {
            self.look_at_inputs(&record, given, &mut diagnosis)?;
            self.look_at_outputs(&record, &mut diagnosis)?;
        }
        Ok(diagnosis)
    }

    fn known(&self) -> Vec<String> {
        let name =
            |stored: &Option<crate::state::store::StoredCheckpoint>| stored.as_ref().map(|stored| stored.record.id);
        let mut known = vec![format!(
            "store `{}`: COMMITTED {}, PREPARED {}, highest {}",
            self.facts.id,
            number(name(&self.facts.committed)),
            number(name(&self.facts.prepared)),
            number(self.facts.highest)
        )];
        if let Some(cluster) = &self.cluster {
            known.push(match &cluster.markers.committed {
                Some(marker) => format!("marker: checkpoint `{}` of store `{}`", marker.id, marker.store),
                None if cluster.decider.is_none() => "marker: its topic is not there".to_owned(),
                None => "marker: none".to_owned(),
            });
        }
        known
    }

    fn look_for_hanging(&mut self, diagnosis: &mut Diagnosis) -> Result<(), JobError> {
        let Some(cluster) = &mut self.cluster else { return Ok(()) };
        let seen = cluster.hanging(&self.facts)?;
        let open = seen.open.iter().map(|open| {
            format!(
                "`{}` partition `{}`: producer `{}` epoch `{}` from offset `{}`",
                open.at.topic,
                open.at.partition,
                open.open.producer_id,
                open.open.producer_epoch,
                open.open.start_offset
            )
        });
        let what = format!("transactions are open in {}", open.collect::<Vec<_>>().join(", "));
        let verdict = hanging::decide(&seen);
        let other_store = if verdict == Hanging::Nothing { None } else { self.other_store() };
        // What hangs may be of a checkpoint that only the right store knows.
        let risk = other_store.as_ref().map(|_| {
            "this is not the store that wrote last: what is open may belong to a checkpoint that happened, and here it is taken for \
             one that did not. Its records are lost then, also to the right store"
                .to_owned()
        });
        match verdict {
            Hanging::Nothing => {}
            Hanging::Wait(why) => {
                diagnosis.found.push(Finding { stop: Stop::HangingTransaction, what: format!("{what}; {why}") });
            }
            Hanging::InHand(state) => {
                let what = format!(
                    "{what}; the coordinator still has this job's transaction in hand (`{state}`): either another instance \
                     of the job is at work, then stop it; or one was killed, then the next start ends its transaction"
                );
                diagnosis.found.push(Finding { stop: Stop::HangingTransaction, what });
                diagnosis.choices.push(Choice {
                    name: "take-over".to_owned(),
                    steps: vec![
                        "the transactional id is taken over, as a start does: another instance of the job is fenced"
                            .to_owned(),
                        "the coordinator ends the transaction: what was not committed is aborted".to_owned(),
                    ],
                    words: if risk.is_some() { WITHOUT_STORE.to_owned() } else { self.job.name.clone() },
                    price: risk.into_iter().collect(),
                    action: Action::TakeOver,
                });
            }
            Hanging::End(plan) => {
                diagnosis.found.push(Finding { stop: Stop::HangingTransaction, what });
                let steps = plan.steps.iter().map(|step| {
                    let verb = if step.ending == Ending::Commit { "COMMIT" } else { "ABORT" };
                    format!("{verb} in `{}` partition `{}`: {}", step.at.topic, step.at.partition, step.why)
                });
                let words = match (&plan.unknown, &plan.loss, plan.checkpoint) {
                    _ if risk.is_some() => WITHOUT_STORE.to_owned(),
                    (Some(_), ..) => "end transactions of unknown producers".to_owned(),
                    (None, None, _) | (None, _, None) => self.job.name.clone(),
                    (None, Some(_), Some((id, Ending::Commit))) => format!("lose records of checkpoint {id}"),
                    (None, Some(_), Some((id, Ending::Abort))) => format!("write records of checkpoint {id} twice"),
                };
                diagnosis.choices.push(Choice {
                    name: "end-transactions".to_owned(),
                    steps: steps.collect(),
                    price: risk.into_iter().chain(plan.loss).chain(plan.unknown).collect(),
                    words,
                    action: Action::End(plan.steps),
                });
            }
        }
        diagnosis.found.extend(other_store);
        Ok(())
    }

    /// Whether markers say that another store, or a newer copy of this one, wrote last.
    fn other_store(&self) -> Option<Finding> {
        match recovery::decide(&self.short(), self.verdict()) {
            Decision::Stop(conflict) if !matches!(conflict, Conflict::MarkerLost { .. }) => Some(finding(&conflict)),
            _ => None,
        }
    }

    fn compare_with_marker(&mut self, diagnosis: &mut Diagnosis) -> Result<(), JobError> {
        let facts = self.short();
        let (today, is_other, used) = match &self.cluster {
            None => {
                (DeciderToday::Store, self.facts.decider.as_ref().is_some_and(|known| *known != Decider::Store), None)
            }
            Some(cluster) => (
                DeciderToday::Kafka,
                self.facts.decider.is_some() && self.facts.decider != cluster.decider,
                [cluster.markers.committed, cluster.markers.written]
                    .into_iter()
                    .flatten()
                    .map(|marker| marker.id)
                    .max(),
            ),
        };
        // Another decider's marker says nothing about this store.
        let conflict = match recovery::decide(&facts, self.verdict()) {
            Decision::Stop(conflict) if !is_other => Some(conflict),
            _ => None,
        };
        if let Some(conflict) = &conflict {
            diagnosis.found.push(finding(conflict));
        }
        if is_other {
            let what =
                "the sinks of the job file decide elsewhere than the store's checkpoints were decided".to_owned();
            diagnosis.found.push(Finding { stop: Stop::DeciderChanged, what });
        }
        if diagnosis.found.is_empty() {
            return Ok(());
        }
        let prepared = match &mut self.cluster {
            Some(cluster) => cluster.happened(&self.facts)?,
            None => Happened::Unknown,
        };
        let later = |id: CheckpointId| match &self.cluster {
            Some(cluster) => cluster.later(&self.stored(id).record),
            None => Some(0),
        };
        for candidate in candidates(&facts, prepared, later) {
            let id = candidate.checkpoint;
            let mut steps = vec![format!("checkpoint `{id}` of this store is what the next start goes on from")];
            if today == DeciderToday::Kafka {
                steps.push("a new marker says so; writing it fences every other instance of the job".to_owned());
            }
            diagnosis.choices.push(Choice {
                name: format!("go-on-from-{id}"),
                steps,
                price: candidate.price,
                words: candidate.words.unwrap_or_else(|| self.job.name.clone()),
                action: Action::GoOnFrom { checkpoint: id, decider: today, used },
            });
        }
        diagnosis.choices.push(Choice {
            name: "begin-anew".to_owned(),
            steps: vec![
                "the store is moved aside and the marker's topic deleted".to_owned(),
                "the next start begins with empty state where `start` of each source says".to_owned(),
            ],
            price: vec!["all output is written again behind what the sinks hold (move output files away first), and all state is given \
                 up".to_owned()],
            words: "begin anew".to_owned(),
            action: Action::BeginAnew,
        });
        Ok(())
    }

    fn verdict(&self) -> Verdict {
        match &self.cluster {
            None => Verdict::StoreDecides,
            Some(cluster) => Verdict::Markers(cluster.markers),
        }
    }

    /// The checkpoint that the next start goes on from.
    fn target(&self) -> Option<CheckpointRecord> {
        let id = match recovery::decide(&self.short(), self.verdict()) {
            Decision::Resume(id) | Decision::Promote(id) | Decision::RollBack { resume: id, .. } => id,
            Decision::Start { .. } | Decision::Stop(_) => return None,
        };
        Some(self.stored(id).record.clone())
    }

    fn look_at_inputs(
        &self,
        record: &CheckpointRecord,
        given: &[Given],
        diagnosis: &mut Diagnosis,
    ) -> Result<(), JobError> {
        for source in &self.job.sources {
            let Some(state) = record.sources.iter().find(|state| state.source == source.name) else { continue };
            let mended = match &source.kind {
                SourceKind::Kafka { connection, topics, .. } => mend_topics(connection, topics, state, given)?,
                SourceKind::File { .. } => mend_files(state, given)?,
            };
            let Some(Mended { findings, effects, splits, words }) = mended else { continue };
            diagnosis.found.extend(findings);
            let mut record = record.clone();
            for state in record.sources.iter_mut().filter(|state| state.source == source.name) {
                state.splits.clone_from(&splits);
            }
            diagnosis.choices.push(moving(source, effects, words, record));
        }
        Ok(())
    }

    fn look_at_outputs(&self, record: &CheckpointRecord, diagnosis: &mut Diagnosis) -> Result<(), JobError> {
        for sink in &self.job.sinks {
            let SinkKind::File { path } = &sink.kind else { continue };
            let Some(state) = record.sinks.iter().find(|state| state.sink() == sink.name) else { continue };
            let standing = mend::look(path, state).map_err(|error| failed(path, &error))?;
            if let Some((finding, choice)) = standing.and_then(|found| output(record.id, &sink.name, path, &found)) {
                let words = if choice.price.is_empty() { self.job.name.clone() } else { choice.words };
                diagnosis.found.push(finding);
                diagnosis.choices.push(Choice { words, ..choice });
            }
        }
        Ok(())
    }
}

fn finding(conflict: &Conflict) -> Finding {
    Finding { stop: conflict.stop(), what: conflict.to_string() }
}

fn moving(source: &Source, effects: Vec<String>, words: String, record: CheckpointRecord) -> Choice {
    Choice {
        name: format!("move-{}", source.name),
        steps: vec!["the positions are moved; state and watermarks stay (other ones: `--at SPLIT=OFFSET`)".to_owned()],
        price: effects,
        words,
        action: Action::Move(record),
    }
}

/// The splits of a source as they may go on.
struct Mended {
    findings: Vec<Finding>,
    effects: Vec<String>,
    splits: Vec<SplitState>,
    words: String,
}

fn mend_topics(
    connection: &KafkaConnection,
    topics: &[String],
    state: &SourceState,
    given: &[Given],
) -> Result<Option<Mended>, JobError> {
    let admin = KafkaAdmin::new(connection, ANSWER_MAX)?;
    let cluster_id = admin.cluster_id()?;
    let mut mended = Mended { findings: Vec::new(), effects: Vec::new(), splits: Vec::new(), words: String::new() };
    let mut lost = Some(0);
    for split in &state.splits {
        let Position::Kafka { topic, partition, .. } = &split.position else { return Ok(None) };
        let at = TopicPartition { topic: topic.clone(), partition: *partition };
        if !topics.contains(topic) {
            mended.splits.push(split.clone());
            continue;
        }
        let now = partition_now(&admin, &cluster_id, &at)?;
        let wanted = given.iter().find(|given| given.split == format!("{topic}[{partition}]"));
        let gap = inputs::gap(split, &now);
        let Some(gap) = gap else {
            mended.splits.push(split.clone());
            continue;
        };
        let moved = inputs::moved(split, gap, &now, wanted.map(|given| given.offset as i64))
            .map_err(|what| JobError::Stop(format!("{what} (stop: offsets-gone)")))?;
        let (stop, what) = gap_words(gap);
        let what = format!("source `{}`: `{topic}` partition `{partition}`: {what}", state.source);
        mended.findings.push(Finding { stop, what });
        lost = lost.zip(moved.lost).map(|(all, more)| all + more);
        mended.effects.push(moved.effect);
        mended.splits.extend(moved.split);
    }
    mended.words = match lost {
        Some(0) => format!("read {} again", state.source),
        Some(records) => format!("lose up to {records} records"),
        None => format!("go on elsewhere in {}", state.source),
    };
    Ok((!mended.findings.is_empty()).then_some(mended))
}

fn gap_words(gap: Gap) -> (Stop, &'static str) {
    match gap {
        Gap::Deleted => (Stop::OffsetsGone, "records before the first one kept were deleted unread"),
        Gap::Cut => (Stop::OffsetsGone, "the log ends before the position"),
        Gap::Recreated => (Stop::TopicRecreated, "the topic was deleted and made again"),
        Gap::OtherCluster => (Stop::ClusterChanged, "the brokers belong to another cluster"),
        Gap::Gone => (Stop::PartitionsGone, "the partition is gone"),
    }
}

fn partition_now(admin: &KafkaAdmin, cluster_id: &str, at: &TopicPartition) -> Result<Partition, JobError> {
    let cluster_id = cluster_id.to_owned();
    let info = match admin.topic(&at.topic) {
        Err(KafkaError::TopicMissing { .. }) => {
            return Ok(Partition { cluster_id, topic_id: String::new(), range: None });
        }
        info => info?,
    };
    if at.partition as usize >= info.leaders.len() {
        return Ok(Partition { cluster_id, topic_id: info.id, range: None });
    }
    let places = [at.clone()];
    let offset = |at| -> Result<i64, KafkaError> { Ok(admin.offsets(&places, at)?[0].unwrap_or(0)) };
    let range = Some((offset(OffsetAt::Earliest)?, offset(OffsetAt::HighWatermark)?));
    Ok(Partition { cluster_id, topic_id: info.id, range })
}

fn mend_files(state: &SourceState, given: &[Given]) -> Result<Option<Mended>, JobError> {
    let words = format!("go on elsewhere in {}", state.source);
    let mut mended = Mended { findings: Vec::new(), effects: Vec::new(), splits: Vec::new(), words };
    for split in &state.splits {
        let Position::File { path, .. } = &split.position else { return Ok(None) };
        let unreadable = |error: &std::io::Error| failed(Path::new(path), error);
        let Some(changed) = file_source::look(split).map_err(|error| unreadable(&error))? else {
            mended.splits.push(split.clone());
            continue;
        };
        let to = given.iter().find(|given| given.split == *path).map_or(changed.to, |given| given.offset);
        let what = format!("source `{}`: {}", state.source, changed.what);
        mended.findings.push(Finding { stop: Stop::FileChanged, what });
        mended.effects.push(match changed.bytes {
            None => format!("`{path}` is left out; what it held from byte `{}` on is lost", changed.offset),
            Some(bytes) if to > bytes => {
                let what = format!("`{path}` has `{bytes}` bytes, so it cannot go on at `{to}`");
                return Err(JobError::Stop(format!("{what} (stop: file-changed)")));
            }
            Some(bytes) => format!(
                "`{path}` is read from byte `{to}` of `{bytes}`; it was read to byte `{}`: lines before `{to}` that were not \
                 read are lost, and lines behind it that were read are read again",
                changed.offset
            ),
        });
        mended.splits.extend(file_source::moved(split, to).map_err(|error| unreadable(&error))?);
    }
    Ok((!mended.findings.is_empty()).then_some(mended))
}

/// What is wrong with an output and what may be done; the words are of the choice's price.
fn output(checkpoint: CheckpointId, sink: &str, path: &Path, standing: &Standing) -> Option<(Finding, Choice)> {
    let name = path.display();
    let (stop, what, price) = match standing {
        Standing::Sound => return None,
        Standing::Foreign { cut, length } => {
            let what = format!(
                "sink `{sink}`: what stands in `{name}` from byte `{cut}` to `{length}` is not of this checkpoint"
            );
            let action = Action::SetAside { path: path.to_owned(), cut: *cut };
            let steps = vec![format!("these {} bytes are moved into a file beside it", length - cut)];
            let name = format!("set-aside-{sink}");
            let choice = Choice { name, steps, price: Vec::new(), words: String::new(), action };
            return Some((Finding { stop: Stop::OutputForeign, what }, choice));
        }
        Standing::Short { committed, length } => (
            Stop::OutputShort,
            format!("`{name}` has `{length}` bytes, and it should have `{committed}`"),
            format!("`{}` bytes of output are lost", committed - length),
        ),
        Standing::StagingGone { lost } => (
            Stop::StagingGone,
            format!("the staging file of `{name}` with `{lost}` bytes is gone"),
            format!("up to `{lost}` bytes of output are lost"),
        ),
        Standing::Replaced { committed, length } => (
            Stop::OutputReplaced,
            format!("`{name}` is another file than the one that the checkpoint wrote"),
            format!("it is taken as it is, with `{length}` bytes instead of `{committed}`; what it lacks is lost"),
        ),
        Standing::Gone { committed } => (
            Stop::OutputGone,
            format!("`{name}` is gone"),
            format!("a new file is begun; the `{committed}` bytes of the old one are lost"),
        ),
    };
    let choice = Choice {
        name: format!("accept-{sink}"),
        steps: vec![format!("`{name}` is taken as it is, and the job goes on behind its last whole line")],
        price: vec![price],
        words: format!("accept {sink} as it is"),
        action: Action::AcceptOutput { checkpoint, sink: sink.to_owned(), path: path.to_owned() },
    };
    Some((Finding { stop, what: format!("sink `{sink}`: {what}") }, choice))
}
