//! A job's way out to Kafka: looks at the marker, gets the right to write, and takes each checkpoint through its commit.
//!
//! Owns the one producer of the process. It turns what the brokers say into the job's errors; when a checkpoint is due
//! and what recovery does are not its business. Next rooms: [`super::transaction`] (the order of the calls),
//! [`crate::start`] and [`crate::sink::task`], which use it.

use super::admin::{KafkaAdmin, TopicInfo};
use super::error::{Class, KafkaError};
use super::look::{Confirmation, Look, Patience, UNDECIDED_MAX};
use super::marker::{self, MarkerPlace};
use super::partitions::TopicPartition;
use super::transaction::{
    CommitOutcome, Confirmed, Drained, Options, Rotation, SettleError, TransactionalProducer, Unconfirmed,
};
use crate::checkpoint::PreparedCheckpoint;
use crate::checkpoint::deciding::Step;
use crate::checkpoint::record::{Decider, Marker, PartitionEnd};
use crate::checkpoint::recovery::Markers;
use crate::config::model::KafkaConnection;
use crate::error::JobError;
use crate::ids::{AttemptId, CheckpointId, StoreId};
use crate::probe;
use crate::stops::Stop;
use std::time::{Duration, Instant};

/// How long a start waits for each answer of the cluster before it says that there is none.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// How long the producer may take to get its id: a broker first ends the transaction of an earlier life.
const INIT_MAX: Duration = Duration::from_mins(1);
/// How long output may take to reach the brokers. Records give up earlier, with the transaction's timeout.
const DRAIN_MAX: Duration = Duration::from_mins(15);
/// How long a commit is repeated: far above a broker's restart.
const COMMIT_MAX: Duration = Duration::from_secs(30);
/// How long brokers may refuse to confirm a commit. One that has just started may not know a topic yet.
const REFUSED_MAX: Duration = Duration::from_secs(30);
/// How often a wait for brokers is logged.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// What a job's output needs to know.
#[derive(Debug, Clone)]
pub struct OutputOptions {
    /// The cluster of the Kafka sinks.
    pub connection: KafkaConnection,
    /// The job's name.
    pub job: String,
    /// The store's identity.
    pub store: StoreId,
    /// This life of the process.
    pub attempt: AttemptId,
    /// `transaction.timeout.ms`; `None`: ten minutes, or the broker's maximum.
    pub transaction_timeout: Option<Duration>,
    /// Whether a doubtful producer is replaced.
    pub rotation: Rotation,
}

/// Looks, and has fenced nobody.
#[derive(Debug)]
pub struct OutputLook {
    options: OutputOptions,
    look: Look,
    place: MarkerPlace,
    decider: Decider,
}

/// The producer and what belongs to it.
#[derive(Debug)]
pub struct KafkaOutput {
    /// Missing only while a step has it, or after one failed: then the process ends.
    phase: Option<Phase>,
    options: OutputOptions,
    place: MarkerPlace,
}

#[derive(Debug)]
enum Phase {
    Writing(TransactionalProducer),
    Drained(Drained),
    Unconfirmed(Unconfirmed),
    Confirmed(Confirmed),
}

const IN_PHASE: &str = "an output whose step failed is not used again";
const IN_ORDER: &str = "a decision is taken in the order of its steps, and nothing else is asked in between";

impl KafkaOutput {
    /// Connects, makes the marker's topic if there is none, and fences nobody.
    pub fn look(options: OutputOptions) -> Result<OutputLook, JobError> {
        let admin = KafkaAdmin::new(&options.connection, ANSWER_MAX)?;
        let cluster_id = admin.cluster_id()?;
        let place = MarkerPlace::of_job(&options.job);
        let topic = marker_topic(&admin, &place)?;
        let decider = Decider::Kafka {
            cluster_id,
            marker_topic: topic.name,
            marker_topic_id: topic.id,
            transactional_id: format!("tidegate.{}", options.job),
        };
        let look = Look::connect(&options.connection)?;
        Ok(OutputLook { options, look, place, decider })
    }

    /// Waits until everything that was open before this life is decided, in the sinks' topics and the marker's. Until
    /// then neither the marker nor a commit of ours can be trusted.
    pub fn settle(&self, topics: &[String]) -> Result<(), JobError> {
        let look = self.looking();
        let mut places = vec![TopicPartition { topic: self.place.topic.clone(), partition: 0 }];
        for topic in topics {
            places.extend(look.partitions(topic, ANSWER_MAX)?);
        }
        let ends = look.ends(&places, ANSWER_MAX)?;
        let began = Instant::now();
        let patience = &mut |_: &KafkaError| {
            if began.elapsed() > INIT_MAX { Patience::GiveUp } else { Patience::Wait }
        };
        match look.confirm(&ends, patience) {
            Confirmation::Decided => Ok(()),
            Confirmation::NoAnswer(error) => Err(error.into()),
            Confirmation::Undecided(behind) => {
                let open: Vec<String> = behind.iter().map(ToString::to_string).collect();
                Err(JobError::Stop(format!(
                    "a transaction from before this start is still open: {}. Nothing was written. If another program \
                     writes to these topics, wait for it or give the job topics of its own. Otherwise the transaction \
                     hangs: never abort it by hand before you know what the marker in topic `{}` says, because it may be a checkpoint that was committed. \
                     `tidegate state repair` ends it as the marker says (stop: hanging-transaction)",
                    open.join(", "),
                    self.place.topic
                )))
            }
        }
    }

    /// The job's markers as they are now.
    pub fn markers(&self) -> Result<Markers, JobError> {
        read_markers(self.looking(), &self.place)
    }

    /// How many partitions a topic has.
    pub fn partition_count(&self, topic: &str) -> Result<u32, KafkaError> {
        self.looking().partitions(topic, ANSWER_MAX).map(|partitions| partitions.len() as u32)
    }

    /// The producer, between the end of one checkpoint and the drain for the next.
    ///
    /// # Panics
    ///
    /// Between [`KafkaOutput::flush`] and [`KafkaOutput::decide`]: a record written there would belong to no checkpoint.
    pub fn producer(&mut self) -> &mut TransactionalProducer {
        match &mut self.phase {
            Some(Phase::Writing(producer)) => producer,
            Some(_) => panic!("no record may be written between the drain and the end of a checkpoint"),
            None => panic!("{IN_PHASE}"),
        }
    }

    /// Serves reports while there is nothing to write. Fails when a record was lost.
    pub fn poll(&mut self) -> Result<(), JobError> {
        match &mut self.phase {
            Some(Phase::Writing(producer)) => producer.poll()?,
            Some(Phase::Drained(drained)) => drained.poll()?,
            Some(Phase::Unconfirmed(_) | Phase::Confirmed(_)) => panic!("{IN_ORDER}"),
            None => panic!("{IN_PHASE}"),
        }
        Ok(())
    }

    /// Waits until the brokers have everything, and says where each partition that was written ends.
    pub fn flush(&mut self) -> Result<Vec<PartitionEnd>, JobError> {
        let drained = match self.phase.take().expect(IN_PHASE) {
            Phase::Writing(producer) => producer.drain(DRAIN_MAX)?,
            Phase::Drained(drained) => drained,
            Phase::Unconfirmed(_) | Phase::Confirmed(_) => panic!("{IN_ORDER}"),
        };
        let ends = drained.ends().to_vec();
        self.phase = Some(Phase::Drained(drained));
        Ok(ends)
    }

    /// Takes one step of a decision (all but [`Step::Apply`], which is the file sinks'). After an error nothing of this
    /// process may be believed: recovery in a new one reads the marker. `alive` is called while it waits for brokers to
    /// confirm, which may take as long as they are away.
    ///
    /// # Panics
    ///
    /// If the steps come in another order than [`crate::checkpoint::deciding::Deciding`] gives them.
    pub fn decide(
        &mut self,
        step: Step,
        prepared: &PreparedCheckpoint,
        alive: &mut dyn FnMut(),
    ) -> Result<(), JobError> {
        if step == Step::Commit {
            self.flush()?;
        }
        let next = match (step, self.phase.take().expect(IN_PHASE)) {
            (Step::Commit, Phase::Drained(drained)) => Phase::Unconfirmed(self.commit(drained, prepared)?),
            (Step::Confirm, Phase::Unconfirmed(unconfirmed)) => {
                Phase::Confirmed(confirm(unconfirmed, prepared.record().id, alive)?)
            }
            (Step::Succeed, Phase::Confirmed(confirmed)) => {
                Phase::Writing(confirmed.resume(INIT_MAX).map_err(job_error)?)
            }
            (step, phase) => panic!("{IN_ORDER}: {step:?} while {phase:?}"),
        };
        self.phase = Some(next);
        Ok(())
    }

    fn commit(&self, drained: Drained, prepared: &PreparedCheckpoint) -> Result<Unconfirmed, JobError> {
        let record = prepared.record();
        let (id, store) = (record.id, self.options.store);
        let marker = Marker { id, attempt: record.attempt, store, digest: prepared.digest() };
        match drained.commit(&marker) {
            CommitOutcome::Committed(unconfirmed) => {
                probe::reached("unconfirmed");
                Ok(unconfirmed)
            }
            CommitOutcome::Unknown(cause) => Err(JobError::CommitUnknown { id, cause }),
        }
    }

    fn looking(&self) -> &Look {
        match &self.phase {
            Some(Phase::Writing(producer)) => producer.look(),
            Some(Phase::Drained(drained)) => drained.look(),
            Some(Phase::Unconfirmed(_) | Phase::Confirmed(_)) => panic!("{IN_ORDER}"),
            None => panic!("{IN_PHASE}"),
        }
    }
}

impl OutputLook {
    /// Who decides this job's checkpoints.
    pub fn decider(&self) -> &Decider {
        &self.decider
    }

    /// The job's markers as they are now. Another instance may still be about to change them.
    pub fn markers(&self) -> Result<Markers, JobError> {
        read_markers(&self.look, &self.place)
    }

    /// Waits until a prepared checkpoint is decided in every partition that it wrote up to these ends and in the marker's, or
    /// in none. Fences nobody: to initialise before could abort what is still open of a checkpoint that was committed.
    pub fn settle_prepared(&self, id: CheckpointId, is_marked: bool, ends: &[PartitionEnd]) -> Result<(), JobError> {
        let marker = TopicPartition { topic: self.place.topic.clone(), partition: 0 };
        let place = |end: &PartitionEnd| TopicPartition { topic: end.topic.clone(), partition: end.partition };
        let places: Vec<TopicPartition> = ends.iter().map(place).chain([marker.clone()]).collect();
        let began = Instant::now();
        loop {
            let mut stable = self.look.stable(&places, INIT_MAX)?;
            let marker_stable = stable.pop().expect("the marker's partition was asked for last").end_offset;
            let is_open = |(end, stable): &(&PartitionEnd, &PartitionEnd)| stable.end_offset < end.end_offset;
            let open: Vec<&PartitionEnd> = ends.iter().zip(&stable).filter(is_open).map(|(end, _)| end).collect();
            let is_nowhere = open.len() == ends.len() && !is_marked;
            if is_nowhere {
                return Ok(());
            }
            let marker_end = self.look.ends(std::slice::from_ref(&marker), INIT_MAX)?[0].end_offset;
            if open.is_empty() && (is_marked || marker_stable == marker_end) {
                return Ok(());
            }
            if began.elapsed() > UNDECIDED_MAX {
                let what = half_decided(id, is_marked, &open, &self.place.topic);
                return Err(JobError::Stop(format!("{what} (stop: hanging-transaction)")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Takes the transactional id over: fences whoever had it and ends what that one left open.
    pub fn init(self) -> Result<KafkaOutput, JobError> {
        let OutputLook { options, look, place, decider } = self;
        let Decider::Kafka { transactional_id, .. } = decider else {
            unreachable!("`look` makes the decider, and makes it Kafka");
        };
        let producer_options = Options {
            transactional_id,
            transaction_timeout: options.transaction_timeout,
            commit_max: COMMIT_MAX,
            marker: place.clone(),
            rotation: options.rotation,
        };
        let producer = TransactionalProducer::init(&options.connection, producer_options, look, INIT_MAX)?;
        Ok(KafkaOutput { phase: Some(Phase::Writing(producer)), options, place })
    }
}

/// Waits until the commit is decided everywhere, however long brokers are away.
fn confirm(unconfirmed: Unconfirmed, id: CheckpointId, alive: &mut dyn FnMut()) -> Result<Confirmed, JobError> {
    let (mut logged, mut refused_since) = (Instant::now(), None);
    let confirmed = unconfirmed.confirm(&mut |error| {
        alive();
        if logged.elapsed() > LOG_EVERY {
            logged = Instant::now();
            tracing::warn!(checkpoint = id.0, %error, "waiting for the brokers to confirm a commit");
        }
        // Brokers that are away come back, and are waited for. A refusal stays one until somebody does something.
        if error.class() != Class::Fatal {
            refused_since = None;
        } else if refused_since.get_or_insert_with(Instant::now).elapsed() > REFUSED_MAX {
            return Patience::GiveUp;
        }
        Patience::Wait
    });
    confirmed.map_err(|error| match error {
        SettleError::NoAnswer(refusal) => JobError::Stop(format!(
            "checkpoint `{id}` is committed, but the brokers refuse to say whether the commit reached every partition: \
             {refusal}. Nothing was produced or aborted since. Put right what they refuse (a topic that was deleted, a \
             permission that was taken away) and start again: the start asks again before it does anything (stop: commit-undecided)"
        )),
        error => job_error(error),
    })
}

/// What a person has to know of a checkpoint that is decided in a part of its partitions.
fn half_decided(id: CheckpointId, is_marked: bool, open: &[&PartitionEnd], marker_topic: &str) -> String {
    let mut places: Vec<String> =
        open.iter().map(|end| format!("`{}` partition `{}`", end.topic, end.partition)).collect();
    if !is_marked {
        places.push(format!("`{marker_topic}` partition `0` (the marker's)"));
    }
    let what = if is_marked { "was committed (the marker says so)" } else { "is decided in some partitions" };
    format!(
        "checkpoint `{id}` {what}, but a part of it is still open: {}. Nothing was fenced or changed. It must be ended there \
         as it was ended elsewhere, before this job is started again: `tidegate state repair` does that; \
         `kafka-transactions` can only abort, and would lose records of a committed checkpoint",
        places.join(", ")
    )
}

/// The marker's topic, made if it is not there. Two instances may make it at the same time.
fn marker_topic(admin: &KafkaAdmin, place: &MarkerPlace) -> Result<TopicInfo, KafkaError> {
    match admin.topic(&place.topic) {
        Err(KafkaError::TopicMissing { .. }) => {}
        known => return known,
    }
    probe::reached("marker-topic-making");
    match admin.create_marker_topic(&place.topic) {
        Ok(()) | Err(KafkaError::TopicExists { .. }) => {}
        Err(error) => return Err(error),
    }
    probe::reached("marker-topic-made");
    // The broker that answers may not have heard of it yet.
    let began = Instant::now();
    loop {
        match admin.topic(&place.topic) {
            Err(KafkaError::TopicMissing { .. }) if began.elapsed() < ANSWER_MAX => {
                std::thread::sleep(Duration::from_millis(20));
            }
            known => return known,
        }
    }
}

/// The job's markers as they are now.
pub(crate) fn read_markers(look: &Look, place: &MarkerPlace) -> Result<Markers, JobError> {
    // In this order: a marker that is committed in between is not taken for one that readers do not get.
    let written = look.written_marker(place, ANSWER_MAX)?;
    let committed = look.read_marker(place, ANSWER_MAX)?;
    let decode = |value: Option<Vec<u8>>| value.map(|value| decode_marker(&value, place)).transpose();
    Ok(Markers { committed: decode(committed)?, written: decode(written)? })
}

/// The marker in a value that was read.
pub(crate) fn decode_marker(value: &[u8], place: &MarkerPlace) -> Result<Marker, JobError> {
    marker::decode(value)
        .map_err(|error| JobError::Stop(format!("topic `{}`: {error} (stop: marker-unreadable)", place.topic)))
}

/// A contradiction is for a person; silence and trouble are for the next start.
fn job_error(error: SettleError) -> JobError {
    match error {
        SettleError::Kafka(error) | SettleError::NoAnswer(error) => JobError::Kafka(error),
        SettleError::Undecided(_) | SettleError::OtherMarker { .. } | SettleError::Malformed(_) => {
            let code = error.stop().map_or("", Stop::code);
            JobError::Stop(format!("{error} (stop: {code})"))
        }
    }
}
