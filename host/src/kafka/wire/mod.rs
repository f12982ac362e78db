//! A small Kafka client of our own, for the few requests that librdkafka has no call for: who has a transaction open in a
//! partition, whose it is, what became of it, and to end it by hand.
//!
//! For repairs only: nothing on a job's way uses it. It asks leaders and brokers one question at a time over connections of
//! its own, and decides nothing. The only user of the protocol crate and of OpenSSL. Next rooms: `session` (one broker),
//! [`super::open_transactions`] (what a repair sees of this).

mod batches;
mod sasl;
mod scram;
mod session;
mod settings;
mod stream;

use super::error::{Class, KafkaError};
use super::open_transactions::{Fate, Open, Owner};
use super::partitions::TopicPartition;
use crate::config::model::KafkaConnection;
use batches::{Batch, End, batches};
use kafka_protocol::messages::delete_topics_request::DeleteTopicsRequest;
use kafka_protocol::messages::delete_topics_response::DeleteTopicsResponse;
use kafka_protocol::messages::describe_producers_request::{DescribeProducersRequest, TopicRequest};
use kafka_protocol::messages::describe_producers_response::{DescribeProducersResponse, PartitionResponse};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use kafka_protocol::messages::fetch_response::{FetchResponse, PartitionData};
use kafka_protocol::messages::list_transactions_request::ListTransactionsRequest;
use kafka_protocol::messages::list_transactions_response::ListTransactionsResponse;
use kafka_protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use kafka_protocol::messages::metadata_response::MetadataResponse;
use kafka_protocol::messages::write_txn_markers_request::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest,
};
use kafka_protocol::messages::write_txn_markers_response::WriteTxnMarkersResponse;
use kafka_protocol::messages::{ApiKey, ProducerId, TopicName};
use kafka_protocol::protocol::StrBytes;
use session::Session;
use settings::Settings;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

// One version each: the lowest that has what is asked for, which brokers from 3.0 to 4.x know.
const METADATA_VERSION: i16 = 9;
const DESCRIBE_PRODUCERS_VERSION: i16 = 0;
const LIST_TRANSACTIONS_VERSION: i16 = 0;
const WRITE_TXN_MARKERS_VERSION: i16 = 1;
const FETCH_VERSION: i16 = 11;
const DELETE_TOPICS_VERSION: i16 = 4;

/// Bytes that one fetch asks for.
const FETCH_BYTES: i32 = 1 << 20;
/// A transaction's end is looked for in this much of a partition at most, in fetches.
const FETCHES_MAX: usize = 256;
/// How long to wait before a question is repeated while a leader is being elected.
const PAUSE: Duration = Duration::from_millis(200);
/// The code of a broker that has another one in the leader's place.
const UNKNOWN_LEADER: i32 = -1;

/// Connections to a cluster's brokers.
pub(super) struct Wire {
    settings: Arc<Settings>,
    /// Addresses by broker id, from the last metadata.
    brokers: BTreeMap<i32, String>,
    sessions: BTreeMap<i32, Session>,
    leaders: BTreeMap<TopicPartition, i32>,
}

impl Wire {
    /// Knows a cluster's configured addresses. Does no I/O.
    pub(super) fn new(connection: &KafkaConnection) -> Wire {
        Wire {
            settings: Arc::new(Settings::of(connection)),
            brokers: BTreeMap::new(),
            sessions: BTreeMap::new(),
            leaders: BTreeMap::new(),
        }
    }

    /// Transactions that are open in a partition, as its leader knows them.
    pub(super) fn open(&mut self, at: &TopicPartition) -> Result<Vec<Open>, KafkaError> {
        let doing = format!("asking for the producers of `{}` partition `{}`", at.topic, at.partition);
        let mut topic = TopicRequest::default();
        topic.name = name(&at.topic);
        topic.partition_indexes = vec![at.partition];
        let mut request = DescribeProducersRequest::default();
        request.topics = vec![topic];
        self.at_leader(at, &doing, |session| {
            let answer: DescribeProducersResponse =
                session.ask(ApiKey::DescribeProducers, DESCRIBE_PRODUCERS_VERSION, &request, &doing)?;
            let found = answer.topics.into_iter().flat_map(|topic| topic.partitions);
            let Some(partition) = found.into_iter().find(|found| found.partition_index == at.partition) else {
                return Err(session.failed(&doing, "INCOMPLETE", "the answer leaves it out".to_owned(), Class::Fatal));
            };
            session.check(&doing, partition.error_code)?;
            Ok(open_ones(&partition))
        })
    }

    /// The transactional id and state of each of these producers, from all coordinators; those that none knows are left out.
    pub(super) fn owners(&mut self, producers: &[i64]) -> Result<Vec<Owner>, KafkaError> {
        let doing = "asking the transaction coordinators whose the open transactions are";
        self.refresh(&[], doing)?;
        let mut request = ListTransactionsRequest::default();
        request.producer_id_filters = producers.iter().map(|id| ProducerId(*id)).collect();
        let mut owners = Vec::new();
        for broker in self.brokers.keys().copied().collect::<Vec<_>>() {
            let answer: ListTransactionsResponse = self.at_broker(broker, doing, |session| {
                let answer: ListTransactionsResponse =
                    session.ask(ApiKey::ListTransactions, LIST_TRANSACTIONS_VERSION, &request, doing)?;
                session.check(doing, answer.error_code)?;
                Ok(answer)
            })?;
            owners.extend(answer.transaction_states.into_iter().map(|state| Owner {
                transactional_id: state.transactional_id.to_string(),
                producer_id: state.producer_id.0,
                state: state.transaction_state.to_string(),
            }));
        }
        Ok(owners)
    }

    /// What became of the transaction that wrote the record at an offset.
    pub(super) fn fate(&mut self, at: &TopicPartition, offset: i64) -> Result<Fate, KafkaError> {
        let doing = format!("reading `{}` partition `{}` from offset `{offset}`", at.topic, at.partition);
        let (mut from, mut producer) = (offset, None);
        for _ in 0..FETCHES_MAX {
            let Some(data) = self.fetch(at, from, &doing)? else { return Ok(Fate::Gone) };
            let found = batches(data.records.as_deref().unwrap_or_default());
            for batch in &found {
                if batch.last_offset < from {
                    continue;
                }
                let Some(producer) = producer else {
                    // Compaction may have taken the record, and the next one is somebody else's.
                    if batch.first_offset > offset || !batch.is_transactional || batch.end.is_some() {
                        return Ok(Fate::Gone);
                    }
                    producer = Some(batch.producer_id);
                    continue;
                };
                match batch.end {
                    Some(End::Committed) if batch.producer_id == producer => return Ok(Fate::Committed),
                    Some(End::Aborted) if batch.producer_id == producer => return Ok(Fate::Aborted),
                    _ => {}
                }
            }
            match found.last() {
                Some(last) if last.last_offset >= from => from = last.last_offset + 1,
                _ => break,
            }
            if from >= data.high_watermark {
                break;
            }
        }
        Ok(if producer.is_some() { Fate::Open } else { Fate::Gone })
    }

    /// The producer of the transactional record at an offset; `None`: it is not there any more, or of no transaction.
    pub(super) fn writer(&mut self, at: &TopicPartition, offset: i64) -> Result<Option<i64>, KafkaError> {
        let doing = format!("reading `{}` partition `{}` at offset `{offset}`", at.topic, at.partition);
        let Some(data) = self.fetch(at, offset, &doing)? else { return Ok(None) };
        let found = batches(data.records.as_deref().unwrap_or_default());
        let holds = |batch: &&Batch| (batch.first_offset..=batch.last_offset).contains(&offset);
        let batch = found.iter().find(holds).filter(|batch| batch.is_transactional && batch.end.is_none());
        Ok(batch.map(|batch| batch.producer_id))
    }

    /// Ends an open transaction in one partition by a marker of our own, written to its leader.
    pub(super) fn end(&mut self, at: &TopicPartition, open: &Open, commit: bool) -> Result<(), KafkaError> {
        let verb = if commit { "committing" } else { "aborting" };
        let doing = format!(
            "{verb} the transaction of producer `{}` in `{}` partition `{}` (needs `ClusterAction` on the cluster)",
            open.producer_id, at.topic, at.partition
        );
        let mut topic = WritableTxnMarkerTopic::default();
        topic.name = name(&at.topic);
        topic.partition_indexes = vec![at.partition];
        let mut marker = WritableTxnMarker::default();
        marker.producer_id = ProducerId(open.producer_id);
        marker.producer_epoch = open.producer_epoch;
        marker.transaction_result = commit;
        marker.topics = vec![topic];
        // As Kafka's own tool does: a producer that no coordinator has written a marker for yet has -1, which is refused.
        marker.coordinator_epoch = open.coordinator_epoch.max(0);
        let mut request = WriteTxnMarkersRequest::default();
        request.markers = vec![marker];
        self.at_leader(at, &doing, |session| {
            let answer: WriteTxnMarkersResponse =
                session.ask(ApiKey::WriteTxnMarkers, WRITE_TXN_MARKERS_VERSION, &request, &doing)?;
            let results = answer.markers.iter().flat_map(|marker| &marker.topics).flat_map(|topic| &topic.partitions);
            let codes: Vec<i16> = results.map(|result| result.error_code).collect();
            match codes[..] {
                [code] => session.check(&doing, code),
                // A broker that refuses the whole request answers with one code for each partition, or with none.
                _ => Err(session.failed(&doing, "INCOMPLETE", "the answer leaves it out".to_owned(), Class::Fatal)),
            }
        })
    }

    /// Deletes a topic.
    pub(super) fn delete_topic(&mut self, topic: &str) -> Result<(), KafkaError> {
        let doing = format!("deleting topic `{topic}`");
        self.refresh(&[], &doing)?;
        let mut request = DeleteTopicsRequest::default();
        request.topic_names = vec![name(topic)];
        request.timeout_ms = i32::try_from(self.settings.timeout.as_millis()).unwrap_or(i32::MAX);
        let Some(broker) = self.brokers.keys().next().copied() else { return Err(self.no_leader(&doing)) };
        self.at_broker(broker, &doing, |session| {
            let answer: DeleteTopicsResponse =
                session.ask(ApiKey::DeleteTopics, DELETE_TOPICS_VERSION, &request, &doing)?;
            answer.responses.iter().try_for_each(|response| session.check(&doing, response.error_code))
        })
    }

    /// One fetch of all records, committed or not; `None` where the offset is no longer there.
    fn fetch(&mut self, at: &TopicPartition, from: i64, doing: &str) -> Result<Option<PartitionData>, KafkaError> {
        /// Offset out of range, as a code.
        const OUT_OF_RANGE: i16 = 1;
        let mut partition = FetchPartition::default();
        partition.partition = at.partition;
        partition.fetch_offset = from;
        partition.partition_max_bytes = FETCH_BYTES;
        let mut topic = FetchTopic::default();
        topic.topic = name(&at.topic);
        topic.partitions = vec![partition];
        let mut request = FetchRequest::default();
        request.max_bytes = FETCH_BYTES;
        request.session_epoch = -1;
        request.topics = vec![topic];
        self.at_leader(at, doing, |session| {
            let answer: FetchResponse = session.ask(ApiKey::Fetch, FETCH_VERSION, &request, doing)?;
            session.check(doing, answer.error_code)?;
            let data = answer.responses.into_iter().flat_map(|topic| topic.partitions).next();
            let Some(data) = data else {
                return Err(session.failed(doing, "INCOMPLETE", "the answer leaves it out".to_owned(), Class::Fatal));
            };
            if data.error_code == OUT_OF_RANGE {
                return Ok(None);
            }
            session.check(doing, data.error_code)?;
            Ok(Some(data))
        })
    }

    /// Asks a partition's leader; while leaders change, again and again until the connection's timeout.
    fn at_leader<T>(
        &mut self,
        at: &TopicPartition,
        doing: &str,
        mut ask: impl FnMut(&mut Session) -> Result<T, KafkaError>,
    ) -> Result<T, KafkaError> {
        let deadline = Instant::now() + self.settings.timeout;
        loop {
            let leader = match self.leaders.get(at) {
                Some(leader) => Ok(*leader),
                None => self
                    .refresh(&[at], doing)
                    .and_then(|()| self.leaders.get(at).copied().ok_or_else(|| self.no_leader(doing))),
            };
            let error = match leader.and_then(|leader| self.at_broker(leader, doing, &mut ask)) {
                Err(error) if error.class() == Class::Retry && Instant::now() + PAUSE < deadline => error,
                result => return result,
            };
            tracing::debug!(%error, "asking again");
            self.leaders.remove(at);
            thread::sleep(PAUSE);
        }
    }

    fn at_broker<T>(
        &mut self,
        broker: i32,
        doing: &str,
        mut ask: impl FnMut(&mut Session) -> Result<T, KafkaError>,
    ) -> Result<T, KafkaError> {
        let Some(address) = self.brokers.get(&broker) else { return Err(self.no_leader(doing)) };
        let mut session = match self.sessions.remove(&broker) {
            Some(session) => session,
            None => Session::open(&self.settings, address, doing)?,
        };
        let result = ask(&mut session);
        // After an error the connection may hold half an answer, so it is closed.
        if result.is_ok() {
            self.sessions.insert(broker, session);
        }
        result
    }

    /// Learns the brokers' addresses and the leaders of these partitions from the first configured broker that answers.
    fn refresh(&mut self, partitions: &[&TopicPartition], doing: &str) -> Result<(), KafkaError> {
        let mut request = MetadataRequest::default();
        request.allow_auto_topic_creation = false;
        let topics = partitions.iter().map(|at| {
            let mut topic = MetadataRequestTopic::default();
            topic.name = Some(name(&at.topic));
            topic
        });
        request.topics = Some(topics.collect());
        let (settings, mut last) = (Arc::clone(&self.settings), None);
        for address in &settings.brokers {
            let answer = Session::open(&settings, address, doing)
                .and_then(|mut session| session.ask(ApiKey::Metadata, METADATA_VERSION, &request, doing));
            match answer {
                Ok(answer) => {
                    self.learn(&answer);
                    return Ok(());
                }
                Err(error) if error.class() == Class::Retry => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| self.no_leader(doing)))
    }

    fn learn(&mut self, answer: &MetadataResponse) {
        let brokers: BTreeMap<i32, String> = answer
            .brokers
            .iter()
            .map(|broker| {
                let host = broker.host.as_str();
                let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
                (broker.node_id.0, format!("{host}:{}", broker.port))
            })
            .collect();
        self.sessions.retain(|id, _| brokers.get(id) == self.brokers.get(id));
        self.brokers = brokers;
        for topic in &answer.topics {
            let Some(name) = &topic.name else { continue };
            for partition in topic.partitions.iter().filter(|partition| partition.leader_id.0 > UNKNOWN_LEADER) {
                let at = TopicPartition { topic: name.to_string(), partition: partition.partition_index };
                self.leaders.insert(at, partition.leader_id.0);
            }
        }
    }

    fn no_leader(&self, doing: &str) -> KafkaError {
        KafkaError::Call {
            doing: doing.to_owned(),
            connection: self.settings.connection.clone(),
            code: "LEADER_NOT_AVAILABLE".to_owned(),
            detail: "the partition has no leader now; bring its broker back".to_owned(),
            flags: super::error::CallFlags::default(),
            class: Class::Retry,
        }
    }
}

fn open_ones(partition: &PartitionResponse) -> Vec<Open> {
    let open = partition.active_producers.iter().filter(|producer| producer.current_txn_start_offset >= 0);
    open.map(|producer| Open {
        producer_id: producer.producer_id.0,
        producer_epoch: producer.producer_epoch as i16,
        coordinator_epoch: producer.coordinator_epoch,
        start_offset: producer.current_txn_start_offset,
    })
    .collect()
}

fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}
