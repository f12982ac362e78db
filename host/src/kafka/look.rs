//! Looks at what Kafka has decided: end offsets, last stable offsets, the marker. Writes nothing, belongs to no group.
//!
//! An answer is only believed when it is one: an offset below zero, an error or silence is _no answer_, and after each of
//! those the client learns again who leads what, because it asks the wrong broker otherwise. Next room: `transaction`.

use super::client::{Client, Role, code, millis};
use super::codes;
use super::error::KafkaError;
use super::marker::MarkerPlace;
use super::objects::{Topic, partition_count};
use super::partitions::{PartitionList, TopicPartition, entries};
use super::tail;
use crate::checkpoint::record::PartitionEnd;
use crate::config::model::KafkaConnection;
use crate::seeded::{self, Bug};
use rdkafka::bindings as native;
use rdkafka::bindings::rd_kafka_resp_err_t as Code;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How long one question may take.
pub(super) const QUESTION: Duration = Duration::from_secs(3);
/// So long brokers must say that a topic is not there.
const MISSING_MAX: Duration = Duration::from_secs(10);
/// How long to wait after a question without an answer.
const PAUSE_UNANSWERED: Duration = Duration::from_millis(50);
/// Answers that say "undecided" for this long mean that nobody is about to decide.
pub(super) const UNDECIDED_MAX: Duration = Duration::from_secs(10);
/// The pauses between questions about a transaction that is about to be decided, usually within 3 ms.
const PAUSE_UNDECIDED_MIN: Duration = Duration::from_micros(250);
const PAUSE_UNDECIDED_MAX: Duration = Duration::from_millis(50);
/// The offset that asks `rd_kafka_offsets_for_times` for the end.
const ASK_END: i64 = native::RD_KAFKA_OFFSET_END as i64;

/// A partition and an offset that it must have reached.
pub type Needed = PartitionEnd;

/// Whether a transaction is decided in all its partitions.
#[derive(Debug)]
pub enum Confirmation {
    /// It is.
    Decided,
    /// The brokers answer, and have said for 10 s that it is not: produce nothing, abort nothing, call a person.
    Undecided(Vec<Behind>),
    /// There is no answer, and the caller would not wait any longer.
    NoAnswer(KafkaError),
}

/// A partition in which a transaction is still open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behind {
    /// What was needed.
    pub needed: Needed,
    /// The last stable offset.
    pub stable: i64,
}

impl std::fmt::Display for Behind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Behind { needed, stable } = self;
        write!(
            f,
            "`{}` partition `{}` is stable to `{stable}` of `{}`",
            needed.topic, needed.partition, needed.end_offset
        )
    }
}

/// Whether to go on waiting for brokers that do not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Ask again.
    Wait,
    /// Return what is known.
    GiveUp,
}

/// Two clients that only look: one sees what is decided, one sees everything.
#[derive(Debug)]
pub struct Look {
    committed: Arc<Client>,
    everything: Arc<Client>,
}

impl Look {
    /// Makes the clients. Does no I/O.
    pub fn connect(connection: &KafkaConnection) -> Result<Look, KafkaError> {
        let client = |isolation| {
            let defaults = [("fetch.error.backoff.ms", "20"), ("reconnect.backoff.max.ms", "2000")];
            let owned = [
                ("isolation.level", isolation),
                ("enable.auto.commit", "false"),
                ("enable.partition.eof", "true"),
                ("auto.offset.reset", "error"),
                // Only leaders are asked: a replica nearby may lag behind.
                ("client.rack", ""),
                // The marker's tail is read to its end, and the end is only said when nothing more comes.
                ("fetch.wait.max.ms", "5"),
            ];
            Client::new(connection, Role::Consumer, &defaults, &owned, |_| {}).map(Arc::new)
        };
        Ok(Look { committed: client("read_committed")?, everything: client("read_uncommitted")? })
    }

    /// All partitions of a topic. Asks again until `at_most` is over.
    pub fn partitions(&self, topic: &str, at_most: Duration) -> Result<Vec<TopicPartition>, KafkaError> {
        let known = Topic::new(&self.everything, topic)?;
        let count = patiently(at_most, || partition_count(&known, QUESTION), || {})?;
        Ok((0..count as i32).map(|partition| TopicPartition { topic: topic.to_owned(), partition }).collect())
    }

    /// The end of each partition, open transactions included, in the order asked. Asks again until `at_most` is over.
    pub fn ends(&self, places: &[TopicPartition], at_most: Duration) -> Result<Vec<PartitionEnd>, KafkaError> {
        ask_patiently(&self.everything, places, at_most)
    }

    /// The last stable offset of each partition, in the order asked. Asks again until `at_most` is over.
    pub fn stable(&self, places: &[TopicPartition], at_most: Duration) -> Result<Vec<PartitionEnd>, KafkaError> {
        ask_patiently(&self.committed, places, at_most)
    }

    /// Waits until the last stable offset of each partition has reached what is needed. Where brokers do not answer,
    /// `unanswered` is asked after each try whether to go on; where they say "undecided", it ends after 10 s.
    pub fn confirm(&self, needed: &[Needed], unanswered: &mut dyn FnMut(&KafkaError) -> Patience) -> Confirmation {
        if needed.is_empty() {
            return Confirmation::Decided;
        }
        let place = |end: &Needed| TopicPartition { topic: end.topic.clone(), partition: end.partition };
        let places: Vec<TopicPartition> = needed.iter().map(place).collect();
        let (mut undecided_since, mut pause) = (None, PAUSE_UNDECIDED_MIN);
        loop {
            match ask(&self.committed, &places) {
                Ok(stable) => {
                    let behind: Vec<Behind> = needed
                        .iter()
                        .zip(stable)
                        .filter(|(needed, stable)| *stable < needed.end_offset)
                        .map(|(needed, stable)| Behind { needed: needed.clone(), stable })
                        .collect();
                    if behind.is_empty() {
                        return Confirmation::Decided;
                    }
                    if undecided_since.get_or_insert_with(Instant::now).elapsed() > UNDECIDED_MAX {
                        return Confirmation::Undecided(behind);
                    }
                    thread::sleep(pause);
                    pause = (pause + pause / 2).min(PAUSE_UNDECIDED_MAX);
                }
                Err(error) => {
                    undecided_since = None;
                    if unanswered(&error) == Patience::GiveUp {
                        return Confirmation::NoAnswer(error);
                    }
                    thread::sleep(PAUSE_UNANSWERED);
                }
            }
        }
    }

    /// The value of the job's last committed marker, or `None` when the partition holds none from its start to the last
    /// stable offset. Only meaningful when no transaction of ours is open. Tries again until `at_most` is over.
    pub fn read_marker(&self, place: &MarkerPlace, at_most: Duration) -> Result<Option<Vec<u8>>, KafkaError> {
        let is_uncommitted = seeded::is(Bug::MarkerReadUncommitted);
        last_marker(if is_uncommitted { &self.everything } else { &self.committed }, place, at_most)
    }

    /// The value of the last marker that was written, whatever became of its transaction: it tells nothing about which checkpoint
    /// happened. Tries again until `at_most` is over.
    pub fn written_marker(&self, place: &MarkerPlace, at_most: Duration) -> Result<Option<Vec<u8>>, KafkaError> {
        last_marker(&self.everything, place, at_most)
    }

    /// The last marker from an offset on, whether its transaction was decided or not. For repairs: it tells nothing about
    /// which checkpoint happened.
    pub fn undecided_marker(
        &self,
        place: &MarkerPlace,
        from: i64,
        at_most: Duration,
    ) -> Result<Option<Vec<u8>>, KafkaError> {
        let at = TopicPartition { topic: place.topic.clone(), partition: 0 };
        let ends = self.ends(&[at], at_most)?;
        let range = from..ends.first().map_or(from, |end| end.end_offset);
        let doing = format!("reading undecided markers in topic `{}`", place.topic);
        let topic = Topic::new(&self.everything, &place.topic)?;
        tail::last_value_from(&topic, place.key.as_bytes(), range, &doing, Instant::now() + at_most)
    }
}

fn last_marker(client: &Arc<Client>, place: &MarkerPlace, at_most: Duration) -> Result<Option<Vec<u8>>, KafkaError> {
    let deadline = Instant::now() + at_most;
    let doing = format!("reading the marker in topic `{}`", place.topic);
    let topic = Topic::new(client, &place.topic)?;
    let read = || tail::last_value(&topic, place.key.as_bytes(), &doing, deadline);
    patiently(at_most, read, || {
        // The next try learns who leads now; that it fails, the try itself will say.
        let _ = partition_count(&topic, QUESTION);
    })
}

/// Tries again until `at_most` is over; `between` two tries something may be done about it. That a topic is missing is only
/// believed when it is said for a while: a broker that has just come back does not know all of them yet.
fn patiently<T>(
    at_most: Duration,
    mut attempt: impl FnMut() -> Result<T, KafkaError>,
    mut between: impl FnMut(),
) -> Result<T, KafkaError> {
    let began = Instant::now();
    let mut missing_since = None;
    loop {
        let error = match attempt() {
            Ok(found) => return Ok(found),
            Err(error) => error,
        };
        if !matches!(error, KafkaError::TopicMissing { .. }) {
            missing_since = None;
        } else if missing_since.get_or_insert_with(Instant::now).elapsed() > MISSING_MAX {
            return Err(error);
        }
        if began.elapsed() > at_most {
            return Err(error);
        }
        between();
        thread::sleep(PAUSE_UNANSWERED);
    }
}

/// Questions for the ends of partitions until there is an answer.
fn ask_patiently(
    client: &Arc<Client>,
    places: &[TopicPartition],
    at_most: Duration,
) -> Result<Vec<PartitionEnd>, KafkaError> {
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let ends = patiently(at_most, || ask(client, places), || {})?;
    let with_place = |(place, end_offset): (&TopicPartition, i64)| PartitionEnd {
        topic: place.topic.clone(),
        partition: place.partition,
        end_offset,
    };
    Ok(places.iter().zip(ends).map(with_place).collect())
}

/// One question for the ends of partitions: the last stable ones or the high watermarks, as the client is made.
fn ask(client: &Arc<Client>, places: &[TopicPartition]) -> Result<Vec<i64>, KafkaError> {
    let answer = ask_once(client, places);
    if answer.is_err() {
        // The answer's error is the one to tell.
        let _ = relearn(client, places);
    }
    answer
}

/// Has the client ask who leads these partitions now. librdkafka 2.12 does not do so after every error, and a question about all
/// topics that it knows leaves out those whose leader it believes to know: a dead broker would be asked again and again.
fn relearn(client: &Arc<Client>, places: &[TopicPartition]) -> Result<(), KafkaError> {
    let topics: BTreeSet<&str> = places.iter().map(|place| place.topic.as_str()).collect();
    topics.into_iter().try_for_each(|topic| partition_count(&Topic::new(client, topic)?, QUESTION).map(drop))
}

fn ask_once(client: &Client, places: &[TopicPartition]) -> Result<Vec<i64>, KafkaError> {
    let doing = "asking for the end of partitions";
    let mut list = PartitionList::new(places.len());
    for place in places {
        list.add(place, ASK_END, None);
    }
    // SAFETY: client and list are live; the call waits at most as long as said and fills the list.
    let result = unsafe { codes::offsets_for_times(client.as_ptr(), list.as_ptr(), millis(QUESTION)) };
    if result != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
        // The library does not say which topic it is about.
        let topics: BTreeSet<String> = places.iter().map(|place| format!("`{}`", place.topic)).collect();
        let topics = topics.into_iter().collect::<Vec<_>>().join(", ");
        return Err(client.explain(&format!("{doing} of {topics}"), result, ""));
    }
    // SAFETY: our own list, live and not written to here.
    let answers = unsafe { entries(list.as_ptr()) };
    let answer = |place: &TopicPartition| {
        let entry = answers.iter().find(|entry| entry.at == *place).ok_or_else(|| client.no_answer(doing, QUESTION))?;
        if code(entry.code) == Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART {
            let connection = client.connection().to_owned();
            return Err(KafkaError::TopicMissing { topic: place.topic.clone(), connection });
        }
        client.check(
            &format!("asking for the end of `{}` partition `{}`", place.topic, place.partition),
            code(entry.code),
        )?;
        // A broker that just went away is seen to leave the offset as it was asked for, without an error.
        if entry.offset < 0 { Err(client.no_answer(doing, QUESTION)) } else { Ok(entry.offset) }
    };
    places.iter().map(answer).collect()
}
