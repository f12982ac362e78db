//! The Kafka side of a repair: looks at marker, sink topics and open transactions, and changes what a person chose.
//!
//! Decides nothing. Next rooms: `hanging` and `adopt`, the decisions; [`crate::kafka`].

use super::adopt;
use super::hanging::{self, OpenSeen, Ownership, Seen, Step};
use crate::checkpoint::record::{CheckpointRecord, Decider, Marker, PartitionEnd, SinkState};
use crate::checkpoint::recovery::Markers;
use crate::config::model::{Job, KafkaConnection, SinkKind};
use crate::error::JobError;
use crate::ids::{AttemptId, CheckpointId};
use crate::kafka::look::Patience;
use crate::kafka::open_transactions::{Fate, OpenTransactions, Owner};
use crate::kafka::output::{self, KafkaOutput, OutputOptions};
use crate::kafka::transaction::{CommitOutcome, Options, Rotation, TransactionalProducer};
use crate::kafka::{KafkaAdmin, KafkaError, Look, MarkerPlace, OffsetAt, TopicPartition};
use crate::state::store::{Facts, StoredCheckpoint};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// How long each question to the cluster may take.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// How long the producer may take to get its id.
const INIT_MAX: Duration = Duration::from_mins(1);
/// How long a marker of ours may take to be written, committed and confirmed, each.
const COMMIT_MAX: Duration = Duration::from_secs(30);
/// How long a transaction that was ended by hand may still be seen as open.
const ENDED_MAX: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);

/// The cluster of a job's Kafka sinks.
pub(super) struct Cluster {
    connection: KafkaConnection,
    transaction_timeout: Option<Duration>,
    admin: KafkaAdmin,
    look: Look,
    transactions: OpenTransactions,
    place: MarkerPlace,
    topics: Vec<String>,
    transactional_id: String,
    /// Who decides by the job file of today; `None`: the marker's topic is not there.
    pub(super) decider: Option<Decider>,
    /// The job's markers.
    pub(super) markers: Markers,
}

impl Cluster {
    /// Connects and reads the marker. `None`: no sink is Kafka's. Makes nothing and fences nobody.
    pub(super) fn look(job: &Job) -> Result<Option<Cluster>, JobError> {
        let kafka = job.sinks.iter().filter_map(|sink| match &sink.kind {
            SinkKind::Kafka { connection, topic, transaction_timeout, .. } => {
                Some((connection, topic.clone(), *transaction_timeout))
            }
            SinkKind::File { .. } => None,
        });
        let kafka: Vec<_> = kafka.collect();
        let Some((connection, _, transaction_timeout)) = kafka.first().cloned() else { return Ok(None) };
        let connection: &KafkaConnection = connection;
        let admin = KafkaAdmin::new(connection, ANSWER_MAX)?;
        let place = MarkerPlace::of_job(&job.name);
        let transactional_id = format!("tidegate.{}", job.name);
        let cluster_id = admin.cluster_id()?;
        let decider = match admin.topic(&place.topic) {
            Ok(topic) => Some(Decider::Kafka {
                cluster_id,
                marker_topic: topic.name,
                marker_topic_id: topic.id,
                transactional_id: transactional_id.clone(),
            }),
            Err(KafkaError::TopicMissing { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let mut cluster = Cluster {
            connection: connection.clone(),
            transaction_timeout,
            admin,
            look: Look::connect(connection)?,
            transactions: OpenTransactions::new(connection),
            place,
            topics: kafka.into_iter().map(|(_, topic, _)| topic).collect(),
            transactional_id,
            decider,
            markers: Markers { committed: None, written: None },
        };
        if cluster.decider.is_some() {
            cluster.markers = cluster.read_markers()?;
        }
        Ok(Some(cluster))
    }

    fn read_markers(&self) -> Result<Markers, JobError> {
        output::read_markers(&self.look, &self.place)
    }

    /// What the decision about hanging transactions is made of.
    pub(super) fn hanging(&mut self, facts: &Facts) -> Result<hanging::Seen, JobError> {
        let marker_at = TopicPartition { topic: self.place.topic.clone(), partition: 0 };
        let newest = facts.prepared.as_ref().or(facts.committed.as_ref());
        let written = newest.map(|newest| ends(&newest.record)).unwrap_or_default();
        let mut places: BTreeSet<TopicPartition> = written.iter().map(place_of).collect();
        for topic in &self.topics {
            places.extend(self.look.partitions(topic, ANSWER_MAX)?);
        }
        if self.decider.is_some() {
            places.insert(marker_at.clone());
        }
        let mut open = self.open_in(&places)?;
        self.recognise(&mut open, &written, &marker_at)?;
        let begun = open.iter().filter(|open| open.at == marker_at).map(|open| open.open.start_offset).min();
        let pending = match begun {
            Some(from) => {
                let value = self.look.undecided_marker(&self.place, from, ANSWER_MAX)?;
                value.as_deref().map(|value| output::decode_marker(value, &self.place)).transpose()?
            }
            None => None,
        };
        let mut fates = Vec::with_capacity(written.len());
        for end in written {
            let fate = self.fate(&end, &open)?;
            fates.push((end, fate));
        }
        let newest = newest.map(|newest| marker_of(facts, newest));
        Ok(Seen { marker_at, marker: self.markers.committed, pending, newest, written: fates, open })
    }

    /// A producer that no coordinator knows (it is forgotten after a week, and its number changes after 32,000 epochs) is this
    /// job's if it wrote the newest checkpoint's last record of the partition, or into the marker's topic, which is the job's.
    fn recognise(
        &mut self,
        open: &mut [OpenSeen],
        written: &[PartitionEnd],
        marker_at: &TopicPartition,
    ) -> Result<(), KafkaError> {
        for open in open.iter_mut().filter(|open| open.owner == Ownership::Unknown) {
            let end = written.iter().find(|end| place_of(end) == open.at && open.open.start_offset < end.end_offset);
            let is_ours = match end {
                Some(end) => self.transactions.writer(&open.at, end.end_offset - 1)? == Some(open.open.producer_id),
                None => open.at == *marker_at,
            };
            if is_ours {
                open.owner = Ownership::Ours("forgotten by its coordinator".to_owned());
            }
        }
        Ok(())
    }

    fn open_in(&mut self, places: &BTreeSet<TopicPartition>) -> Result<Vec<OpenSeen>, JobError> {
        let mut found = Vec::new();
        for at in places {
            found.extend(self.transactions.find(at)?.into_iter().map(|open| (at.clone(), open)));
        }
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let producers: BTreeSet<i64> = found.iter().map(|(_, open)| open.producer_id).collect();
        let owners = self.transactions.owners(&producers.into_iter().collect::<Vec<_>>())?;
        let owner = |producer: i64| owner(&owners, producer, &self.transactional_id);
        Ok(found.into_iter().map(|(at, open)| OpenSeen { owner: owner(open.producer_id), at, open }).collect())
    }

    fn fate(&mut self, end: &PartitionEnd, open: &[OpenSeen]) -> Result<Fate, KafkaError> {
        let at = place_of(end);
        if open.iter().any(|open| open.at == at && open.open.start_offset < end.end_offset) {
            return Ok(Fate::Open);
        }
        match self.transactions.fate(&at, end.end_offset - 1) {
            // A topic that is not there says nothing.
            Err(KafkaError::Call { code, .. }) if code == "UnknownTopicOrPartition" => Ok(Fate::Gone),
            fate => fate,
        }
    }

    /// Whether the PREPARED checkpoint happened.
    pub(super) fn happened(&mut self, facts: &Facts) -> Result<adopt::Happened, JobError> {
        let ends = facts.prepared.as_ref().map(|prepared| ends(&prepared.record)).unwrap_or_default();
        let is_here = matches!(
            (&facts.decider, self.cluster_id()?),
            (Some(Decider::Kafka { cluster_id, .. }), here) if *cluster_id == here
        );
        let mut fates = Vec::new();
        if is_here {
            for end in &ends {
                fates.push(self.fate(end, &[])?);
            }
        }
        Ok(adopt::happened(facts.decider.as_ref(), &fates))
    }

    /// The cluster's id.
    pub(super) fn cluster_id(&self) -> Result<String, KafkaError> {
        self.admin.cluster_id()
    }

    /// How many records at most readers find in the sink topics behind a checkpoint's own. `None`: it wrote none, or the
    /// topics are other ones.
    pub(super) fn later(&self, record: &CheckpointRecord) -> Option<u64> {
        let ends = ends(record);
        let places: Vec<TopicPartition> = ends.iter().map(place_of).collect();
        if places.is_empty() {
            return None;
        }
        let stable = self.admin.offsets(&places, OffsetAt::Stable).ok()?;
        // One control record follows what a checkpoint wrote in a partition.
        let behind = ends.iter().zip(stable).map(|(end, stable)| {
            let stable = stable.unwrap_or(0);
            (stable - end.end_offset - 1).max(0) as u64
        });
        Some(behind.sum())
    }

    /// Ends transactions by hand, then looks again: nothing of them may be left, and the marker is told.
    pub(super) fn end(&mut self, steps: &[Step]) -> Result<Option<Marker>, JobError> {
        for step in steps {
            self.transactions.end(&step.at, &step.open, step.ending)?;
        }
        let began = Instant::now();
        let places: BTreeSet<TopicPartition> = steps.iter().map(|step| step.at.clone()).collect();
        loop {
            let open = self.open_in(&places)?;
            let left = open.iter().find(|open| steps.iter().any(|step| step.at == open.at && step.open == open.open));
            let Some(left) = left else { break };
            if began.elapsed() > ENDED_MAX {
                return Err(JobError::Stop(format!(
                    "the transaction in `{}` partition `{}` was ended and is still open; look at the log of its leader \
                     (stop: hanging-transaction)",
                    left.at.topic, left.at.partition
                )));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(self.read_markers()?.committed)
    }

    /// Takes the transactional id over: whoever had it is fenced, and the coordinator ends what that one left open.
    pub(super) fn take_over(&self) -> Result<TransactionalProducer, KafkaError> {
        let options = Options {
            transactional_id: self.transactional_id.clone(),
            transaction_timeout: self.transaction_timeout,
            commit_max: COMMIT_MAX,
            marker: self.place.clone(),
            rotation: Rotation::WhenDoubtful,
        };
        let look = Look::connect(&self.connection)?;
        TransactionalProducer::init(&self.connection, options, look, INIT_MAX)
    }

    /// Makes the marker's topic if it is not there, and says who decides then.
    pub(super) fn decide_here(options: OutputOptions) -> Result<Decider, JobError> {
        Ok(KafkaOutput::look(options)?.decider().clone())
    }

    /// What an output of this job needs to know.
    pub(super) fn options(&self, job: &Job, facts: &Facts, attempt: AttemptId) -> OutputOptions {
        OutputOptions {
            connection: self.connection.clone(),
            job: job.name.clone(),
            store: facts.id,
            attempt,
            transaction_timeout: self.transaction_timeout,
            rotation: Rotation::WhenDoubtful,
        }
    }

    /// Writes a marker in a transaction of its own. It takes the transactional id over: whoever had it is fenced.
    pub(super) fn write(&self, marker: &Marker) -> Result<(), JobError> {
        let unconfirmed = match self.take_over()?.drain(COMMIT_MAX)?.commit(marker) {
            CommitOutcome::Committed(unconfirmed) => unconfirmed,
            CommitOutcome::Unknown(cause) => return Err(JobError::CommitUnknown { id: marker.id, cause }),
        };
        let began = Instant::now();
        let patience = &mut |_: &KafkaError| {
            if began.elapsed() > COMMIT_MAX { Patience::GiveUp } else { Patience::Wait }
        };
        // The producer is of no more use, so whether it is sound does not matter.
        unconfirmed.confirm(patience).map(drop)?;
        Ok(())
    }

    /// Deletes the marker's topic and waits until the cluster does not know it any more.
    pub(super) fn delete_marker(&mut self) -> Result<(), JobError> {
        self.transactions.delete_topic(&self.place.topic)?;
        let began = Instant::now();
        while !matches!(self.admin.topic(&self.place.topic), Err(KafkaError::TopicMissing { .. })) {
            if began.elapsed() > ANSWER_MAX {
                let what = format!("topic `{}` was deleted and is still there; try again", self.place.topic);
                return Err(JobError::Stop(format!("{what} (stop: marker-lost)")));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }
}

/// A stored checkpoint as its marker would look.
pub(super) fn marker_of(facts: &Facts, stored: &StoredCheckpoint) -> Marker {
    let CheckpointRecord { id, attempt, .. } = stored.record;
    Marker { id, attempt, store: facts.id, digest: stored.digest }
}

/// Where a checkpoint's Kafka output ends.
fn ends(record: &CheckpointRecord) -> Vec<PartitionEnd> {
    let ends = record.sinks.iter().filter_map(|state| match state {
        SinkState::Kafka { ends, .. } => Some(ends.clone()),
        SinkState::File { .. } => None,
    });
    let mut ends: Vec<PartitionEnd> = ends.flatten().collect();
    ends.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    ends.dedup_by(|a, b| (&a.topic, a.partition) == (&b.topic, b.partition));
    ends
}

fn place_of(end: &PartitionEnd) -> TopicPartition {
    TopicPartition { topic: end.topic.clone(), partition: end.partition }
}

fn owner(owners: &[Owner], producer: i64, ours: &str) -> Ownership {
    match owners.iter().find(|owner| owner.producer_id == producer) {
        None => Ownership::Unknown,
        Some(owner) if owner.transactional_id == ours => Ownership::Ours(owner.state.clone()),
        Some(owner) => Ownership::Other(owner.transactional_id.clone()),
    }
}

/// A number for a message.
pub(super) fn number(id: Option<CheckpointId>) -> String {
    id.map_or("none".to_owned(), |id| format!("`{id}`"))
}
