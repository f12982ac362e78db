//! One transactional id's life: the native producer, what it wrote in the open transaction, and the waiting around calls.
//!
//! Every wait has a limit. Knows what to call, not when: `transaction` keeps the order and is the only user.

use super::error::KafkaError;
use super::look::Look;
use super::marker::MarkerPlace;
use super::objects::partition_count;
use super::partitions::TopicPartition;
use super::producer::{Enqueued, NewRecord, Producer};
use super::transaction::{Doubt, Options, ProduceError, Rotation, Soundness, TopicHandle};
use crate::checkpoint::record::PartitionEnd;
use crate::config::model::KafkaConnection;
use crate::probe;
use crate::seeded::{self, Bug};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// `transaction.timeout.ms` unless the job says otherwise: far above any outage.
const TRANSACTION_TIMEOUT: Duration = Duration::from_mins(10);
/// Where a broker allows less, it is halved, down to this.
const TRANSACTION_TIMEOUT_MIN: Duration = Duration::from_secs(30);
/// How long one call of the library waits before it is looked at.
const CALL: Duration = Duration::from_secs(5);
/// The wait for a place in a full queue, and the longest between two looks at a drain.
const PAUSE_FULL: Duration = Duration::from_millis(1);
/// A drain usually takes a few milliseconds, so its first looks are close together.
const PAUSE_DRAIN_MIN: Duration = Duration::from_micros(100);
const PAUSE_DRAIN_MAX: Duration = Duration::from_millis(5);
/// The wait before a call is repeated.
const PAUSE_REPEAT: Duration = Duration::from_millis(100);
/// The marker's topic is opened first; its only partition is 0.
const MARKER: TopicHandle = TopicHandle(0);
const MARKER_PARTITION: i32 = 0;

/// A topic as it outlives the native producer.
#[derive(Debug)]
struct Opened {
    name: String,
    /// By partition: whether the open transaction wrote to it.
    written: Vec<bool>,
}

#[derive(Debug)]
pub(super) struct Session {
    producer: Producer,
    look: Look,
    connection: KafkaConnection,
    options: Options,
    topics: Vec<Opened>,
    begin_key: String,
    is_open: bool,
    repeated: Option<String>,
}

impl Session {
    pub(super) fn start(
        connection: &KafkaConnection,
        options: Options,
        look: Look,
        at_most: Duration,
    ) -> Result<Session, KafkaError> {
        let (producer, repeated) = init(connection, &options, at_most)?;
        let mut session = Session {
            producer,
            look,
            connection: connection.clone(),
            begin_key: format!("{}/begin", options.marker.key),
            options,
            topics: Vec::new(),
            is_open: false,
            repeated,
        };
        let marker_topic = session.options.marker.topic.clone();
        session.open_topic(&marker_topic, at_most)?;
        Ok(session)
    }

    /// The same session with a new native producer. The old one is destroyed first: it must not come back to life.
    pub(super) fn rotate(self, at_most: Duration) -> Result<Session, KafkaError> {
        let Session { producer, look, connection, options, topics, begin_key, .. } = self;
        drop(producer);
        probe::reached("producer-destroyed");
        let (mut producer, repeated) = init(&connection, &options, at_most)?;
        for topic in &topics {
            producer.open_topic(&topic.name)?;
        }
        Ok(Session { producer, look, connection, options, topics, begin_key, is_open: false, repeated })
    }

    pub(super) fn look(&self) -> &Look {
        &self.look
    }

    /// Every partition of the topics that were opened, the marker's among them.
    pub(super) fn places(&self) -> Vec<TopicPartition> {
        let mut places = Vec::new();
        for topic in &self.topics {
            let place = |partition| TopicPartition { topic: topic.name.clone(), partition };
            places.extend((0..topic.written.len() as i32).map(place));
        }
        places
    }

    pub(super) fn marker_place(&self) -> &MarkerPlace {
        &self.options.marker
    }

    pub(super) fn open_topic(&mut self, name: &str, at_most: Duration) -> Result<(TopicHandle, u32), KafkaError> {
        if let Some(index) = self.topics.iter().position(|topic| topic.name == name) {
            return Ok((TopicHandle(index), self.topics[index].written.len() as u32));
        }
        let index = self.producer.open_topic(name)?;
        let partitions = partition_count(self.producer.topic(index), at_most)?;
        self.topics.push(Opened { name: name.to_owned(), written: vec![false; partitions as usize] });
        Ok((TopicHandle(index), partitions))
    }

    pub(super) fn produce<'a>(
        &mut self,
        topic: TopicHandle,
        record: &NewRecord<'_>,
        headers: &(impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + Clone),
    ) -> Result<(), ProduceError> {
        if record.timestamp <= 0 {
            let topic = self.topics[topic.0].name.clone();
            return Err(ProduceError::Timestamp { topic, timestamp: record.timestamp });
        }
        if !self.is_open {
            self.begin()?;
        }
        self.enqueue(topic, record, headers)
    }

    pub(super) fn poll(&mut self) -> Result<(), KafkaError> {
        self.producer.serve(Duration::ZERO)
    }

    /// Ends of the partitions written, and of the marker's.
    pub(super) fn drain(&mut self, at_most: Duration) -> Result<(Vec<PartitionEnd>, PartitionEnd), KafkaError> {
        self.wait_delivered(at_most)?;
        let mut places = Vec::new();
        for topic in &self.topics[1..] {
            let written = topic.written.iter().enumerate().filter(|(_, written)| **written);
            let place = |partition| TopicPartition { topic: topic.name.clone(), partition };
            places.extend(written.map(|(partition, _)| place(partition as i32)));
        }
        places.push(TopicPartition { topic: self.options.marker.topic.clone(), partition: MARKER_PARTITION });
        let mut ends = self.look.ends(&places, at_most)?;
        let marker_end = ends.pop().expect("the marker's partition was asked for last");
        Ok((ends, marker_end))
    }

    /// Writes the marker and commits, repeating what may be repeated.
    pub(super) fn commit(&mut self, marker: &[u8]) -> Result<(), KafkaError> {
        let began = Instant::now();
        probe::reached("marking");
        if !seeded::is(Bug::MarkerLeftOut) {
            self.write_marker(marker)?;
        }
        self.wait_delivered(self.options.commit_max)?;
        probe::reached("marked");
        loop {
            match self.producer.commit(CALL.min(self.options.commit_max)) {
                Ok(()) => break,
                Err(error) if error.flags().retriable && began.elapsed() < self.options.commit_max => {
                    tracing::warn!(%error, "committing again");
                    self.repeated.get_or_insert_with(|| error.to_string());
                    thread::sleep(PAUSE_REPEAT);
                }
                Err(error) => return Err(error),
            }
        }
        self.is_open = false;
        for topic in &mut self.topics {
            topic.written.fill(false);
        }
        Ok(())
    }

    pub(super) fn soundness(&self) -> Soundness {
        if self.options.rotation == Rotation::Never || seeded::is(Bug::NoRotation) {
            return Soundness::Sound;
        }
        if let Some(error) = self.producer.fatal() {
            return Soundness::Doubtful(Doubt::Failed(error.to_string()));
        }
        if let Some(call) = &self.repeated {
            return Soundness::Doubtful(Doubt::Repeated(call.clone()));
        }
        // A doubtful producer is replaced before it commits again, so what it counted belongs to this transaction.
        match self.producer.doubtful_requests() {
            0 => Soundness::Sound,
            count => Soundness::Doubtful(Doubt::UnansweredRequests(count)),
        }
    }

    fn begin(&mut self) -> Result<(), KafkaError> {
        probe::reached("transaction-beginning");
        self.producer.begin()?;
        self.is_open = true;
        probe::reached("transaction-begun");
        // Has librdkafka add the marker's partition to the transaction now: it would cost the commit a round trip.
        let key = self.begin_key.clone();
        self.write_own(&key, None)
    }

    fn write_marker(&mut self, marker: &[u8]) -> Result<(), KafkaError> {
        if !self.is_open {
            self.producer.begin()?;
            self.is_open = true;
        }
        let key = self.options.marker.key.clone();
        self.write_own(&key, Some(marker))
    }

    fn write_own(&mut self, key: &str, value: Option<&[u8]>) -> Result<(), KafkaError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_millis() as i64);
        let key = Some(key.as_bytes());
        let record = NewRecord { partition: MARKER_PARTITION, key, value, timestamp: now.max(1) };
        self.enqueue(MARKER, &record, &std::iter::empty()).map_err(|error| match error {
            ProduceError::Kafka(error) => error,
            // The marker is about 200 bytes and its timestamp the clock's.
            ProduceError::TooLarge { .. } | ProduceError::Timestamp { .. } => {
                unreachable!("librdkafka takes records of a kilobyte: {error}")
            }
        })
    }

    fn enqueue<'a>(
        &mut self,
        topic: TopicHandle,
        record: &NewRecord<'_>,
        headers: &(impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + Clone),
    ) -> Result<(), ProduceError> {
        loop {
            match self.producer.enqueue(topic.0, record, headers.clone())? {
                Enqueued::Done => break,
                // An empty queue that is full has no room for this record, ever.
                Enqueued::Full if self.producer.outstanding() > 0 => self.producer.serve(PAUSE_FULL)?,
                Enqueued::Full | Enqueued::TooLarge => {
                    let bytes = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
                    return Err(ProduceError::TooLarge { topic: self.topics[topic.0].name.clone(), bytes });
                }
            }
        }
        self.topics[topic.0].written[record.partition as usize] = true;
        Ok(())
    }

    /// The library's own flush sleeps in steps of 10 ms and more; this looks every 0.1 ms first.
    fn wait_delivered(&mut self, at_most: Duration) -> Result<(), KafkaError> {
        let began = Instant::now();
        let mut pause = PAUSE_DRAIN_MIN;
        while self.producer.push_out() > 0 {
            self.producer.serve(Duration::ZERO)?;
            if began.elapsed() > at_most {
                return Err(self.producer.no_answer("writing the output to the brokers", began.elapsed()));
            }
            thread::sleep(pause);
            pause = (pause + PAUSE_DRAIN_MIN).min(PAUSE_DRAIN_MAX);
        }
        self.producer.serve(Duration::ZERO)?;
        // A fenced producer drains without an error.
        self.producer.fatal().map_or(Ok(()), Err)
    }
}

/// A new native producer that has its id. Says what had to be repeated, if something had.
fn init(
    connection: &KafkaConnection,
    options: &Options,
    at_most: Duration,
) -> Result<(Producer, Option<String>), KafkaError> {
    let began = Instant::now();
    let mut timeout = options.transaction_timeout.unwrap_or(TRANSACTION_TIMEOUT);
    let mut repeated = None;
    let mut producer = Producer::connect(connection, &options.transactional_id, timeout, at_most)?;
    loop {
        match producer.init_transactions(CALL) {
            Ok(()) => return Ok((producer, repeated)),
            Err(error) if is_timeout_refused(&error) => {
                timeout /= 2;
                if options.transaction_timeout.is_some() || timeout < TRANSACTION_TIMEOUT_MIN {
                    return Err(error);
                }
                producer = Producer::connect(connection, &options.transactional_id, timeout, at_most)?;
            }
            Err(error) if error.flags().retriable && began.elapsed() < at_most => {
                repeated = Some(error.to_string());
                thread::sleep(PAUSE_REPEAT);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether the broker's `transaction.max.timeout.ms` is below what was asked for.
fn is_timeout_refused(error: &KafkaError) -> bool {
    matches!(error, KafkaError::Call { code, .. } if code == "INVALID_TRANSACTION_TIMEOUT")
}
