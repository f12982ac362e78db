//! Reads assigned partitions, committed records only, each from its own small queue.
//!
//! Owns the client, its settings and the queues. It keeps no position: the caller says where to start and how far it is.
//! It joins no group. Next room: `visit`, one round of one queue; `signals`, how the library's threads wake us.

use super::client::{Client, METADATA_REFRESH, Role, code, millis};
use super::error::KafkaError;
use super::partitions::{PartitionList, TopicPartition, entries};
use super::signals::{Signals, on_arrival};
use super::visit::{Bounds, Fetched, Header, Round, Trouble, serve};
use crate::config::model::KafkaConnection;
use rdkafka::bindings as native;
use rdkafka::bindings::rd_kafka_resp_err_t as Code;
use std::ffi::{CString, c_int};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Settings that a connection's `properties` may change.
const DEFAULTS: [(&str, &str); 9] = [
    METADATA_REFRESH,
    // Bytes waiting per partition. The process holds about 3.8 times as much (measured).
    ("queued.max.messages.kbytes", "2048"),
    // Per partition and answer. A larger record still arrives: a broker sends at least one batch.
    ("fetch.message.max.bytes", "1048576"),
    // Per answer, over all partitions.
    ("fetch.max.bytes", "16777216"),
    // An answer with one oversized batch must pass, or the partition would be stuck for ever.
    ("receive.message.max.bytes", "268435456"),
    // A full queue is looked at again after this; the library's 1000 would leave it empty most of the time.
    ("fetch.queue.backoff.ms", "5"),
    ("fetch.wait.max.ms", FETCH_WAIT_MS),
    ("check.crcs", "true"),
    ("socket.keepalive.enable", "true"),
];

/// A broker without new records answers a fetch after this many milliseconds. Only that answer shows the end of a
/// partition, so it is also how late a bounded read learns that only control records are left.
const FETCH_WAIT_MS: &str = "100";

/// A broker whose answer is overdue by this much counts as not reachable.
const ANSWER_OVERDUE: Duration = Duration::from_secs(2);

/// Reports of the library wait at most this long to be read.
const SERVICE_INTERVAL: Duration = Duration::from_millis(200);

/// The library's main thread takes up assigned partitions one by one; nothing of it waits for the network.
const SEEK_TIMEOUT: Duration = Duration::from_secs(10);

/// Between two looks at whether it has.
const SEEK_PAUSE: Duration = Duration::from_millis(2);

/// What a seek says of a partition that is assigned but not taken up yet.
const NOT_STARTED: c_int = Code::RD_KAFKA_RESP_ERR__STATE as c_int;

/// Where to start reading a partition.
#[derive(Debug, Clone)]
pub struct StartAt {
    /// The partition.
    pub at: TopicPartition,
    /// The first offset to read.
    pub offset: i64,
    /// The leader epoch of the record just before it, if that was the last one read: then a log that lost it is noticed.
    pub leader_epoch: Option<i32>,
}

/// Why a partition cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The log does not have the offset (any more), or not the records before it.
    #[error("{0}")]
    PositionLost(String),
    /// Anything else.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
}

/// Reads partitions, numbered in the order in which they were added.
#[derive(Debug)]
pub struct Consumer {
    // Queues go before the client: they are made from its handle.
    partitions: Vec<Partition>,
    client: Arc<Client>,
    signals: Arc<Signals>,
    spare_headers: Vec<Header<'static>>,
    answer_period: Duration,
    serviced: Instant,
}

/// A partition's queue. `None` once the partition was given back.
#[derive(Debug)]
struct Partition {
    at: TopicPartition,
    topic: CString,
    queue: Option<Queue>,
    /// Found behind records that were handed on: the next read's answer.
    trouble: Option<Trouble>,
}

#[derive(Debug)]
struct Queue(NonNull<native::rd_kafka_queue_t>);

// SAFETY: queues are internally locked and not bound to a thread.
unsafe impl Send for Queue {}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: live. Takes the lock that a callback holds while it runs, so none runs afterwards.
        unsafe { native::rd_kafka_queue_cb_event_enable(self.0.as_ptr(), None, std::ptr::null_mut()) };
        // SAFETY: ours, and not used afterwards.
        unsafe { native::rd_kafka_queue_destroy(self.0.as_ptr()) };
    }
}

impl Consumer {
    /// Makes a consumer. `group` is only a name to publish offsets under. Does no I/O.
    pub fn new(connection: &KafkaConnection, group: &str) -> Result<Consumer, KafkaError> {
        let owned = [
            ("group.id", group),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            ("isolation.level", "read_committed"),
            ("enable.partition.eof", "true"),
            ("allow.auto.create.topics", "false"),
            ("enable.metrics.push", "false"),
        ];
        let signals = Arc::new(Signals::default());
        let mut client = Client::new(connection, Role::Consumer, &DEFAULTS, &owned, |conf| signals.install(conf))?;
        client.keep(signals.clone());
        Ok(Consumer {
            partitions: Vec::new(),
            client: Arc::new(client),
            signals,
            spare_headers: Vec::new(),
            answer_period: fetch_wait(connection) + ANSWER_OVERDUE,
            serviced: Instant::now(),
        })
    }

    /// Starts to read partitions; they get the next numbers. Does not wait for the brokers.
    pub fn add(&mut self, starts: &[StartAt]) -> Result<(), KafkaError> {
        let doing = "assigning partitions";
        let mut list = PartitionList::new(starts.len());
        for start in starts {
            list.add(&start.at, start.offset, start.leader_epoch);
            let topic = CString::new(start.at.topic.as_str()).unwrap_or_default();
            let client = self.client.as_ptr();
            // SAFETY: the handle is live; the queue is ours and goes before the handle.
            let queue = unsafe { native::rd_kafka_queue_get_partition(client, topic.as_ptr(), start.at.partition) };
            let Some(queue) = NonNull::new(queue) else {
                return Err(self.client.explain(doing, Code::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION, ""));
            };
            let queue = Queue(queue);
            // Out of the common queue before the partition is assigned, or its first records would land there.
            // SAFETY: the queue is live.
            unsafe { native::rd_kafka_queue_forward(queue.0.as_ptr(), std::ptr::null_mut()) };
            let opaque = self.signals.as_opaque();
            // SAFETY: the queue is live; the opaque outlives the queue, whose drop takes the callback out.
            unsafe { native::rd_kafka_queue_cb_event_enable(queue.0.as_ptr(), Some(on_arrival), opaque) };
            self.partitions.push(Partition { at: start.at.clone(), topic, queue: Some(queue), trouble: None });
        }
        // SAFETY: handle and list are live; the list is copied.
        let error = unsafe { native::rd_kafka_incremental_assign(self.client.as_ptr(), list.as_ptr()) };
        self.client.check_object(doing, error)?;
        self.compare_epochs(starts)
    }

    /// Has the library compare the leader epochs with the brokers' logs before it reads: 2.12 does so for a seek, but
    /// for an assignment only by chance (when the metadata come later).
    fn compare_epochs(&self, starts: &[StartAt]) -> Result<(), KafkaError> {
        let doing = "starting to read partitions";
        let began = Instant::now();
        let mut left: Vec<&StartAt> =
            starts.iter().filter(|start| start.leader_epoch.is_some() && start.offset > 0).collect();
        while !left.is_empty() {
            let mut list = PartitionList::new(left.len());
            for start in &left {
                list.add(&start.at, start.offset, start.leader_epoch);
            }
            let timeout = millis(SEEK_TIMEOUT);
            // SAFETY: handle and list are live; each entry gets its own outcome.
            let error = unsafe { native::rd_kafka_seek_partitions(self.client.as_ptr(), list.as_ptr(), timeout) };
            self.client.check_object(doing, error)?;
            // SAFETY: our own list, live and not written to here.
            let outcomes = unsafe { entries(list.as_ptr()) };
            for outcome in outcomes.iter().filter(|outcome| outcome.code != NOT_STARTED) {
                self.client.check(doing, code(outcome.code))?;
            }
            left.retain(|start| outcomes.iter().any(|outcome| outcome.at == start.at && outcome.code == NOT_STARTED));
            if !left.is_empty() {
                if began.elapsed() >= SEEK_TIMEOUT {
                    return Err(self.client.no_answer(doing, SEEK_TIMEOUT));
                }
                std::thread::sleep(SEEK_PAUSE);
            }
        }
        Ok(())
    }

    /// Stops reading a partition, which keeps its number.
    pub fn release(&mut self, partition: usize) -> Result<(), KafkaError> {
        let at = &mut self.partitions[partition];
        if at.queue.take().is_none() {
            return Ok(());
        }
        let mut list = PartitionList::new(1);
        list.add(&at.at, -1001, None);
        // SAFETY: handle and list are live.
        let error = unsafe { native::rd_kafka_incremental_unassign(self.client.as_ptr(), list.as_ptr()) };
        self.client.check_object("giving a partition back", error)
    }

    /// Hands a partition's waiting records from offset `from` up to (not including) `until` to `visit`, `records_max` at
    /// most. Does not wait. A panic of `visit` comes out of this call.
    pub fn read(
        &mut self,
        partition: usize,
        from: i64,
        until: i64,
        records_max: usize,
        visit: &mut dyn FnMut(Fetched<'_>),
    ) -> Result<Round, ReadError> {
        let at = &mut self.partitions[partition];
        let Some(queue) = &at.queue else {
            return Ok(Round::default());
        };
        if let Some(trouble) = at.trouble.take() {
            return Err(self.read_error(partition, trouble));
        }
        let bounds = Bounds { from, until, records_max: records_max.max(1) };
        let (round, trouble) = serve(self.client.handle(), queue.0, bounds, &mut self.spare_headers, visit);
        match trouble {
            // The records before it count: whoever gets an error forgets the round.
            Some(trouble) if round == Round::default() => Err(self.read_error(partition, trouble)),
            trouble => {
                at.trouble = trouble;
                Ok(round)
            }
        }
    }

    /// The offset behind the last record of all, open transactions included, as of the last answer.
    pub fn high_watermark(&self, partition: usize) -> Option<i64> {
        let at = &self.partitions[partition];
        let (mut low, mut high) = (-1, -1);
        let client = self.client.as_ptr();
        // SAFETY: all pointers are live; the call only reads what the client remembers.
        let code = unsafe {
            native::rd_kafka_get_watermark_offsets(
                client,
                at.topic.as_ptr(),
                at.at.partition,
                &raw mut low,
                &raw mut high,
            )
        };
        (code == Code::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
    }

    /// Whether a broker answers fetches in time.
    pub fn is_answering(&self, broker: i32) -> bool {
        self.signals.answered_within(broker, self.answer_period)
    }

    /// Returns when records may have arrived, or after `at_most`.
    pub fn wait(&mut self, at_most: Duration) {
        self.signals.wait(at_most);
        if self.serviced.elapsed() >= SERVICE_INTERVAL {
            self.serviced = Instant::now();
            self.client.poll(Duration::ZERO);
            self.drop_group_events();
        }
    }

    /// Publishes offsets to the group, best effort: the outcome is not waited for.
    pub fn publish(&self, offsets: &[(TopicPartition, i64)]) {
        let mut list = PartitionList::new(offsets.len());
        for (at, offset) in offsets {
            list.add(at, *offset, None);
        }
        // SAFETY: handle and list are live; the list is copied, and asynchronous (1) means without waiting.
        let code = unsafe { native::rd_kafka_commit(self.client.as_ptr(), list.as_ptr(), 1) };
        if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            let error = self.client.explain("publishing offsets", code, "");
            tracing::debug!(error = %error, "offsets not published");
        }
    }

    /// Events of the group (its coordinator is not reachable, for example) matter to nobody, as we join none.
    fn drop_group_events(&self) {
        // SAFETY: the handle is live; the queue reference is ours.
        let queue = unsafe { native::rd_kafka_queue_get_consumer(self.client.as_ptr()) };
        let Some(queue) = NonNull::new(queue) else { return };
        loop {
            // SAFETY: the queue is live.
            let event = unsafe { native::rd_kafka_queue_poll(queue.as_ptr(), 0) };
            if event.is_null() {
                break;
            }
            // SAFETY: ours, and not used afterwards.
            unsafe { native::rd_kafka_event_destroy(event) };
        }
        // SAFETY: our reference, and not used afterwards.
        unsafe { native::rd_kafka_queue_destroy(queue.as_ptr()) };
    }

    fn read_error(&self, partition: usize, trouble: Trouble) -> ReadError {
        const LOST: [c_int; 4] = [
            Code::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET as c_int,
            Code::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE as c_int,
            Code::RD_KAFKA_RESP_ERR__LOG_TRUNCATION as c_int,
            Code::RD_KAFKA_RESP_ERR__NO_OFFSET as c_int,
        ];
        if LOST.contains(&trouble.code) {
            return ReadError::PositionLost(trouble.text);
        }
        let at = &self.partitions[partition].at;
        let doing = format!("reading partition {} of topic `{}`", at.partition, at.topic);
        ReadError::Kafka(self.client.explain(&doing, code(trouble.code), &trouble.text))
    }
}

/// How long a broker may take for an answer by the settings.
fn fetch_wait(connection: &KafkaConnection) -> Duration {
    let set = connection.properties.iter().rev().find(|(name, _)| name == "fetch.wait.max.ms");
    let millis = set.map_or(FETCH_WAIT_MS, |(_, value)| value.reveal());
    Duration::from_millis(millis.parse().unwrap_or(0))
}
