//! A job's side of the transaction: the one producer through its states, the marker, and the looks before and after a start.
//!
//! What may follow what is in the types of [`super::transaction`]; this keeps the place between two calls of the sink thread
//! and turns what cannot go on into the job's errors. Next room: [`crate::start`], which looks, then initialises, then looks
//! again.

use super::admin::KafkaAdmin;
use super::look::{Confirmation, Look, Needed, Patience};
use super::marker::{self, MarkerPlace};
use super::transaction::{CommitOutcome, Drained, Options, Rotation, SettleError, TransactionalProducer};
use super::{KafkaError, TopicInfo};
use crate::checkpoint::PreparedCheckpoint;
use crate::checkpoint::record::{Decider, Marker, PartitionEnd};
use crate::config::model::KafkaConnection;
use crate::error::JobError;
use crate::ids::{AttemptId, StoreId};
use crate::probe;
use std::time::{Duration, Instant};

/// How long a question at a start may take before the start is given up.
const START_MAX: Duration = Duration::from_secs(30);

/// How long an older life's transaction may take to be ended at a start, before a person is asked.
const SETTLE_MAX: Duration = Duration::from_secs(60);

/// How long a drain may take before the process ends: the checkpoint's own timeout usually comes first.
const DRAIN_MAX: Duration = Duration::from_mins(5);

/// How often a wait for brokers is said again in the log.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// What the output of a job is made with.
#[derive(Debug, Clone)]
pub struct OutputOptions {
    /// The sinks' cluster.
    pub connection: KafkaConnection,
    /// The job's name.
    pub job: String,
    /// The store that prepares.
    pub store: StoreId,
    /// This life of the process.
    pub attempt: AttemptId,
    /// `transaction.timeout.ms`, if the job says.
    pub transaction_timeout: Option<Duration>,
    /// Whether a doubtful producer is replaced.
    pub rotation: Rotation,
}

/// The output before anything was fenced: it only looks.
pub struct OutputLook {
    options: OutputOptions,
    admin: KafkaAdmin,
    look: Look,
    place: MarkerPlace,
    decider: Decider,
}

/// The output with its producer.
pub struct KafkaOutput {
    looked: LookedAt,
    state: State,
}

/// What is kept of the look after the producer took its clients over.
struct LookedAt {
    admin: KafkaAdmin,
    place: MarkerPlace,
    store: StoreId,
    attempt: AttemptId,
}

enum State {
    Producing(TransactionalProducer),
    Drained(Drained),
    /// Between two states, and for good after an error.
    Lost,
}

impl KafkaOutput {
    /// Connects without fencing anybody; makes the marker's topic where it is missing.
    pub fn look(options: OutputOptions) -> Result<OutputLook, JobError> {
        let admin = KafkaAdmin::new(&options.connection, START_MAX)?;
        let cluster_id = admin.cluster_id()?;
        let place = MarkerPlace::of_job(&options.job);
        let topic = marker_topic(&admin, &place.topic)?;
        let decider = Decider::Kafka {
            cluster_id,
            marker_topic: place.topic.clone(),
            marker_topic_id: topic.id,
            transactional_id: transactional_id(&options.job),
        };
        let look = Look::connect(&options.connection)?;
        Ok(OutputLook { options, admin, look, place, decider })
    }

    /// The producer, to write records with.
    ///
    /// # Panics
    /// Between [`KafkaOutput::flush`] and [`KafkaOutput::decide`]: nothing may enter the transaction then.
    pub fn producer(&mut self) -> &mut TransactionalProducer {
        match &mut self.state {
            State::Producing(producer) => producer,
            State::Drained(_) | State::Lost => unreachable!("no record enters a transaction that is being decided"),
        }
    }

    /// Serves delivery reports while there is nothing to write.
    pub fn poll(&mut self) -> Result<(), KafkaError> {
        match &mut self.state {
            State::Producing(producer) => producer.poll(),
            State::Drained(drained) => drained.poll(),
            State::Lost => Ok(()),
        }
    }

    /// Waits until the brokers have every record, and says where each partition that was written ends.
    pub fn flush(&mut self) -> Result<Vec<PartitionEnd>, JobError> {
        let State::Producing(producer) = std::mem::replace(&mut self.state, State::Lost) else {
            unreachable!("a transaction is drained once");
        };
        let drained = producer.drain(DRAIN_MAX)?;
        let ends = drained.ends().to_vec();
        self.state = State::Drained(drained);
        Ok(ends)
    }

    /// Writes the marker, commits, confirms, and replaces a doubtful producer. After an error the output is of no use.
    pub fn decide(mut self, prepared: &PreparedCheckpoint) -> Result<KafkaOutput, JobError> {
        let id = prepared.record().id;
        let drained = match self.state {
            State::Drained(drained) => drained,
            State::Producing(producer) => producer.drain(DRAIN_MAX)?,
            State::Lost => unreachable!("an output is not used after an error"),
        };
        let marker =
            Marker { id, attempt: self.looked.attempt, store: self.looked.store, digest: prepared.digest() };
        probe::reached("before-marker");
        let unconfirmed = match drained.commit(&marker) {
            CommitOutcome::Committed(unconfirmed) => unconfirmed,
            CommitOutcome::Unknown(cause) => return Err(JobError::CommitUnknown { id, cause }),
        };
        probe::reached("before-confirm");
        let mut said: Option<Instant> = None;
        let confirmed = unconfirmed.confirm(&mut |error| {
            if said.is_none_or(|said| said.elapsed() > SAY_EVERY) {
                said = Some(Instant::now());
                tracing::warn!(checkpoint = id.0, %error, "committed; waiting for brokers to confirm it");
            }
            Patience::Wait
        })?;
        self.state = State::Producing(confirmed.resume(START_MAX)?);
        Ok(self)
    }

    /// Waits until nothing of an older life is undecided in these topics and in the marker's: what it left open would
    /// otherwise be published by our next commit.
    pub fn settle(&self, topics: &[String]) -> Result<(), JobError> {
        let State::Producing(producer) = &self.state else { unreachable!("nothing was written yet") };
        let look = producer.look();
        let mut names = topics.to_vec();
        names.push(self.looked.place.topic.clone());
        let infos = self.looked.admin.topics(&names)?;
        let places: Vec<(&str, i32)> = infos
            .iter()
            .flat_map(|info| (0..info.leaders.len() as i32).map(|partition| (info.name.as_str(), partition)))
            .collect();
        let needed: Vec<Needed> = look.ends(&places, START_MAX)?;
        let until = Instant::now() + SETTLE_MAX;
        let mut patience = |_: &KafkaError| if Instant::now() < until { Patience::Wait } else { Patience::GiveUp };
        match look.confirm(&needed, &mut patience) {
            Confirmation::Decided => Ok(()),
            Confirmation::NoAnswer(error) => Err(error.into()),
            Confirmation::Undecided(behind) => {
                let places: Vec<String> = behind.iter().map(ToString::to_string).collect();
                Err(JobError::Stop(format!(
                    "a transaction is still open in {}, although every one of this job was ended. Nothing was produced or \
                     aborted. If other producers write to these topics, give this job topics of its own; if not, the \
                     broker left a transaction hanging (KAFKA-20734): what the marker in `{}` names must be committed, \
                     not aborted, by an administrator",
                    places.join(", "),
                    self.looked.place.topic
                )))
            }
        }
    }

    /// The job's last committed marker.
    pub fn marker(&self) -> Result<Option<Marker>, JobError> {
        let State::Producing(producer) = &self.state else { unreachable!("nothing was written yet") };
        read_marker(producer.look(), &self.looked.place)
    }
}

impl OutputLook {
    /// Who decides: this cluster, by this marker topic.
    pub fn decider(&self) -> &Decider {
        &self.decider
    }

    /// The job's last committed marker as it is now. An older life's transaction may still be pending.
    pub fn marker(&self) -> Result<Option<Marker>, JobError> {
        read_marker(&self.look, &self.place)
    }

    /// Makes the producer: fences whoever had the transactional id, and ends what that one left open.
    pub fn init(self) -> Result<KafkaOutput, JobError> {
        let OutputLook { options, admin, look, place, .. } = self;
        let OutputOptions { connection, job, store, attempt, transaction_timeout, rotation } = options;
        let producer = TransactionalProducer::init(
            &connection,
            Options { transactional_id: transactional_id(&job), transaction_timeout, marker: place.clone(), rotation },
            look,
            START_MAX,
        )?;
        Ok(KafkaOutput { looked: LookedAt { admin, place, store, attempt }, state: State::Producing(producer) })
    }
}

fn transactional_id(job: &str) -> String {
    format!("tidegate.{job}")
}

fn read_marker(look: &Look, place: &MarkerPlace) -> Result<Option<Marker>, JobError> {
    match look.read_marker(place, START_MAX)? {
        None => Ok(None),
        Some(value) => Ok(Some(marker::decode(&value).map_err(SettleError::from)?)),
    }
}

fn marker_topic(admin: &KafkaAdmin, name: &str) -> Result<TopicInfo, KafkaError> {
    match admin.topic(name) {
        Err(KafkaError::TopicMissing { .. }) => {}
        answer => return answer,
    }
    match admin.create_marker_topic(name) {
        Ok(()) | Err(KafkaError::TopicExists { .. }) => {}
        Err(error) => return Err(error),
    }
    // The cluster may need a moment to tell all its brokers.
    let until = Instant::now() + START_MAX;
    loop {
        match admin.topic(name) {
            Err(KafkaError::TopicMissing { .. }) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(20));
            }
            answer => return answer,
        }
    }
}
