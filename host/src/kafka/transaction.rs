//! The one transactional producer, in the only order of calls that loses and doubles nothing.
//!
//! Each step consumes the value of the one before: [`TransactionalProducer`] takes records, [`Drained`] may only commit,
//! [`Unconfirmed`] may only be confirmed, [`Confirmed`] may only go on, with a new producer where the old one is
//! doubtful. Nothing here ever aborts: what a process leaves open, the next one's initialization ends. An error in any
//! step leaves recovery to a new process, because what is in memory is worth nothing until the marker was read.
//!
//! ```no_run
//! # use tidegate::kafka::transaction::{CommitOutcome, SettleError};
//! # use tidegate::kafka::{look::Patience, NewRecord, TopicHandle, TransactionalProducer};
//! # use tidegate::checkpoint::record::Marker;
//! # use std::time::Duration;
//! # fn order(mut producer: TransactionalProducer, topic: TopicHandle, record: NewRecord<'_>, marker: Marker, wait: Duration) {
//! producer.produce(topic, &record, []).unwrap();
//! let drained = producer.drain(wait).unwrap();
//! // PREPARED becomes durable here.
//! let CommitOutcome::Committed(unconfirmed) = drained.commit(&marker) else { panic!("recovery has to look") };
//! let confirmed = unconfirmed.confirm(&mut |_| Patience::Wait).unwrap();
//! let producer = confirmed.resume(wait).unwrap();
//! # }
//! ```
//!
//! ```compile_fail
//! # fn order(drained: tidegate::kafka::Drained, topic: tidegate::kafka::TopicHandle, record: tidegate::kafka::NewRecord<'_>) {
//! drained.produce(topic, &record, []); // a record after the drain would not be in the checkpoint
//! # }
//! ```
//!
//! ```compile_fail
//! # fn order(producer: tidegate::kafka::TransactionalProducer, marker: tidegate::checkpoint::record::Marker) {
//! producer.commit(&marker); // only what was drained can be committed
//! # }
//! ```
//!
//! ```compile_fail
//! # fn order(drained: tidegate::kafka::Drained, marker: tidegate::checkpoint::record::Marker) {
//! drained.commit(&marker);
//! drained.commit(&marker); // a commit happens once
//! # }
//! ```
//!
//! Next rooms: `session`, which makes the calls; [`super::output`], which takes a job through the steps.

use super::error::KafkaError;
use super::look::{Behind, Confirmation, Look, Needed, Patience};
use super::marker::{self, MarkerError, MarkerPlace};
use super::session::Session;
use crate::checkpoint::deciding::{Found, Next, Succession};
use crate::checkpoint::record::{Marker, PartitionEnd};
use crate::config::model::KafkaConnection;
use crate::probe;
use crate::seeded::{self, Bug};
use crate::stops::Stop;
use std::time::Duration;

pub use super::producer::NewRecord;

/// How a transactional producer is made.
#[derive(Debug, Clone)]
pub struct Options {
    /// The job's transactional id. A second producer with it fences the first.
    pub transactional_id: String,
    /// `transaction.timeout.ms`; `None` is ten minutes, or as much of it as the broker allows.
    pub transaction_timeout: Option<Duration>,
    /// How long a commit is repeated before its outcome is left to recovery.
    pub commit_max: Duration,
    /// Where the marker goes.
    pub marker: MarkerPlace,
    /// Whether a doubtful producer is replaced.
    pub rotation: Rotation,
}

/// Whether a doubtful producer is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rotation {
    /// It is, always: a delayed request of it could end the next transaction half way.
    #[default]
    WhenDoubtful,
    /// It is used again. For tests only, which show the damage that rotation prevents.
    Never,
}

/// A topic of a producer, valid for its whole life, rotations included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicHandle(pub(super) usize);

/// Why a record was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ProduceError {
    /// Its timestamp cannot be written: librdkafka would turn zero into the time of writing, and brokers refuse
    /// negative ones.
    #[error(
        "a record for topic `{topic}` has the timestamp `{timestamp}`; emit timestamps above 0, in milliseconds since the \
         Unix epoch"
    )]
    Timestamp {
        /// The topic's name.
        topic: String,
        /// The timestamp.
        timestamp: i64,
    },
    /// It is larger than the client may send.
    #[error(
        "a record for topic `{topic}` has `{bytes}` bytes, more than the client may send; raise `message.max.bytes` (and \
         `queue.buffering.max.kbytes`) in the connection's properties and `max.message.bytes` of the topic"
    )]
    TooLarge {
        /// The topic's name.
        topic: String,
        /// Bytes of key and value.
        bytes: usize,
    },
    /// The transaction is lost.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
}

/// Whether a producer that committed may go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Soundness {
    /// No request of the transaction can still be on its way.
    Sound,
    /// One may be, and would end the next transaction when it arrives.
    Doubtful(Doubt),
}

/// Why a producer is doubtful.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// Requests that end or extend a transaction got no answer.
    #[error("`{0}` transactional requests ended without an answer")]
    UnansweredRequests(u64),
    /// A call failed first.
    #[error("a transactional call had to be repeated: {0}")]
    Repeated(String),
    /// The producer cannot go on.
    #[error("the producer failed for good: {0}")]
    Failed(String),
}

/// What a commit came to.
#[derive(Debug)]
#[must_use]
pub enum CommitOutcome {
    /// The coordinator logged the intent to commit. Before anything is produced again it must be confirmed.
    Committed(Unconfirmed),
    /// Neither done nor undone as far as this process can know: only a new one may look.
    Unknown(KafkaError),
}

/// Why a committed transaction could not be left behind.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// The brokers say that the transaction is not decided, and nobody is about to decide it.
    #[error(
        "the committed transaction is still open in {}; nothing was produced or aborted since: have the partitions' \
         leaders looked at, then `tidegate state repair` ends it as the marker says", listed(.0)
    )]
    Undecided(Vec<Behind>),
    /// The brokers do not answer, and the caller would not wait any longer.
    #[error("whether the committed transaction is decided could not be asked")]
    NoAnswer(#[source] KafkaError),
    /// Commit said OK, and the marker says otherwise.
    #[error("the commit of marker `{expected}` was acknowledged, but the marker that readers get is {found}")]
    OtherMarker {
        /// The marker that was committed.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The marker that readers get is not one.
    #[error(transparent)]
    Malformed(#[from] MarkerError),
    /// The marker could not be read, or a new producer could not be made.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
}

impl SettleError {
    /// The reason to stop for a person; `None`: a new start may help.
    pub fn stop(&self) -> Option<Stop> {
        match self {
            SettleError::Undecided(_) => Some(Stop::CommitUndecided),
            SettleError::OtherMarker { .. } => Some(Stop::MarkerContradicts),
            SettleError::Malformed(_) => Some(Stop::MarkerUnreadable),
            SettleError::NoAnswer(_) | SettleError::Kafka(_) => None,
        }
    }
}

fn listed(behind: &[Behind]) -> String {
    behind.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Takes records. The transaction begins with the first one.
#[derive(Debug)]
pub struct TransactionalProducer {
    session: Box<Session>,
}

impl TransactionalProducer {
    /// Makes the producer: learns about the cluster, then fences whoever had the transactional id and ends what that one
    /// left open. Look at the marker _before_: an instance that has no right to run must not fence the one that has.
    pub fn init(
        connection: &KafkaConnection,
        options: Options,
        look: Look,
        at_most: Duration,
    ) -> Result<TransactionalProducer, KafkaError> {
        let session = Box::new(Session::start(connection, options, look, at_most)?);
        Ok(TransactionalProducer { session })
    }

    /// Opens a topic, if it is not open yet, and says how many partitions it has.
    pub fn open_topic(&mut self, name: &str, at_most: Duration) -> Result<(TopicHandle, u32), KafkaError> {
        self.session.open_topic(name, at_most)
    }

    /// Hands a record over; its bytes are copied. A full queue is waited for, so this blocks while brokers are away.
    pub fn produce<'a>(
        &mut self,
        topic: TopicHandle,
        record: &NewRecord<'_>,
        headers: impl IntoIterator<Item = (&'a [u8], Option<&'a [u8]>), IntoIter: Clone>,
    ) -> Result<(), ProduceError> {
        self.session.produce(topic, record, &headers.into_iter())
    }

    /// Serves delivery reports and says whether a record was lost. To be called now and then while nothing is produced.
    pub fn poll(&mut self) -> Result<(), KafkaError> {
        self.session.poll()
    }

    /// Waits until the brokers have every record, then asks for the end of each partition that this transaction wrote.
    pub fn drain(mut self, at_most: Duration) -> Result<Drained, KafkaError> {
        let (ends, marker_end) = self.session.drain(at_most)?;
        Ok(Drained { session: self.session, ends, marker_end })
    }

    /// What the producer's clients see of the cluster.
    pub fn look(&self) -> &Look {
        self.session.look()
    }
}

/// All records are with the brokers, none is visible. Nothing more may enter this transaction but the marker.
#[derive(Debug)]
#[must_use]
pub struct Drained {
    session: Box<Session>,
    ends: Vec<PartitionEnd>,
    marker_end: PartitionEnd,
}

impl Drained {
    /// The end of each partition that this transaction wrote, the marker's not among them.
    pub fn ends(&self) -> &[PartitionEnd] {
        &self.ends
    }

    /// Serves reports while a checkpoint is prepared.
    pub fn poll(&mut self) -> Result<(), KafkaError> {
        self.session.poll()
    }

    /// What the producer's clients see of the cluster.
    pub fn look(&self) -> &Look {
        self.session.look()
    }

    /// Writes the marker and commits. PREPARED must be durable by now.
    pub fn commit(mut self, marker: &Marker) -> CommitOutcome {
        if let Err(error) = self.session.commit(&marker::encode(marker)) {
            return CommitOutcome::Unknown(error);
        }
        // A control record follows the records of each partition; in the marker's, the marker comes before it.
        let mut needed: Vec<Needed> = self.ends;
        for end in &mut needed {
            end.end_offset += 1;
        }
        needed.push(PartitionEnd { end_offset: self.marker_end.end_offset + 2, ..self.marker_end });
        let soundness = self.session.soundness();
        CommitOutcome::Committed(Unconfirmed { session: self.session, needed, soundness, marker: *marker })
    }
}

/// Committed as far as the coordinator knows. A partition without a leader may still have missed it.
#[derive(Debug)]
#[must_use]
pub struct Unconfirmed {
    session: Box<Session>,
    needed: Vec<Needed>,
    soundness: Soundness,
    marker: Marker,
}

impl Unconfirmed {
    /// Whether the producer may go on after this.
    pub fn soundness(&self) -> &Soundness {
        &self.soundness
    }

    /// How far each partition must be stable.
    pub fn needed(&self) -> &[Needed] {
        &self.needed
    }

    /// Waits until the transaction is decided in every partition that it wrote. While brokers do not answer,
    /// `unanswered` says whether to go on waiting.
    pub fn confirm(self, unanswered: &mut dyn FnMut(&KafkaError) -> Patience) -> Result<Confirmed, SettleError> {
        let needed = if seeded::is(Bug::NoConfirm) { &[] } else { self.needed.as_slice() };
        match self.session.look().confirm(needed, unanswered) {
            Confirmation::Decided => {
                Ok(Confirmed { session: self.session, soundness: self.soundness, marker: self.marker })
            }
            Confirmation::Undecided(behind) => Err(SettleError::Undecided(behind)),
            Confirmation::NoAnswer(error) => Err(SettleError::NoAnswer(error)),
        }
    }
}

/// Decided everywhere: readers see it.
#[derive(Debug)]
#[must_use]
pub struct Confirmed {
    session: Box<Session>,
    soundness: Soundness,
    marker: Marker,
}

impl Confirmed {
    /// Goes on: with this producer where it is sound, else with a new one, reading the marker before and after.
    pub fn resume(self, at_most: Duration) -> Result<TransactionalProducer, SettleError> {
        probe::reached("confirmed");
        let Confirmed { mut session, soundness, marker } = self;
        if let Soundness::Doubtful(doubt) = &soundness {
            tracing::info!(checkpoint = marker.id.0, %doubt, "replacing the transactional producer");
            probe::reached("rotating");
        }
        let (mut succession, mut next) = Succession::begin(marker, soundness != Soundness::Sound);
        loop {
            let found = match next {
                Next::GoOn => {
                    if soundness != Soundness::Sound {
                        probe::reached("rotated");
                    }
                    return Ok(TransactionalProducer { session });
                }
                Next::Contradiction(found) => return Err(contradiction(&marker, found)),
                Next::ReadMarker => Found::Marker(read_marker(&session, at_most)?),
                Next::Replace => {
                    probe::reached("rotation-marker-read");
                    session = Box::new(session.rotate(at_most)?);
                    probe::reached("producer-replaced");
                    Found::Replaced
                }
                Next::Settle => {
                    settle(&session, at_most)?;
                    Found::Settled
                }
            };
            next = succession.on(found);
        }
    }
}

/// Waits until everything that is open in the session's topics now is decided.
fn settle(session: &Session, at_most: Duration) -> Result<(), SettleError> {
    let ends = session.look().ends(&session.places(), at_most)?;
    match session.look().confirm(&ends, &mut |_| Patience::Wait) {
        Confirmation::Decided => Ok(()),
        Confirmation::Undecided(behind) => Err(SettleError::Undecided(behind)),
        Confirmation::NoAnswer(error) => Err(SettleError::NoAnswer(error)),
    }
}

fn read_marker(session: &Session, at_most: Duration) -> Result<Option<Marker>, SettleError> {
    let value = session.look().read_marker(session.marker_place(), at_most)?;
    Ok(value.map(|value| marker::decode(&value)).transpose()?)
}

/// Commit said OK, so the marker must be ours; anything else is for a person.
fn contradiction(expected: &Marker, found: Option<Marker>) -> SettleError {
    let text = |marker: &Marker| String::from_utf8_lossy(&marker::encode(marker)).into_owned();
    SettleError::OtherMarker {
        expected: text(expected),
        found: found.map_or_else(|| "missing".to_owned(), |found| format!("`{}`", text(&found))),
    }
}
