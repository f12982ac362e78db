//! What the tests write and read by themselves, through plain clients that share no code with the product.
//!
//! A `read_committed` reader here sees what a user's reader would see. Next rooms: [`crate::broker`], [`crate::cluster`],
//! which both have a judge.

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

/// How long a helper waits for the broker before the test fails.
const DEADLINE: Duration = Duration::from_mins(1);

/// A record to write. The partition is chosen by the test, so that it knows what to expect.
#[derive(Debug, Clone, Copy)]
pub struct NewRecord<'a> {
    /// The partition.
    pub partition: i32,
    /// The key; `None` is null.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Milliseconds since the Unix epoch.
    pub timestamp: i64,
}

/// A record as a reader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The partition.
    pub partition: i32,
    /// Its offset in the partition.
    pub offset: i64,
    /// The key; `None` is null.
    pub key: Option<Vec<u8>>,
    /// The value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Milliseconds since the Unix epoch, -1 when there is none.
    pub timestamp: i64,
    /// Name and value of each header.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    /// The value as text, empty for a tombstone.
    ///
    /// # Panics
    ///
    /// When it is not UTF-8.
    pub fn text(&self) -> &str {
        std::str::from_utf8(self.value.as_deref().unwrap_or_default()).expect("the value is UTF-8")
    }
}

/// What a reader is shown of transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Only what was committed, up to the last stable offset.
    Committed,
    /// Everything.
    Uncommitted,
}

/// Plain clients of one cluster.
#[derive(Debug, Clone)]
pub struct Judge {
    bootstrap: String,
}

impl Judge {
    /// Clients begin at these addresses (`host:port`, separated by commas).
    pub fn new(bootstrap: String) -> Judge {
        Judge { bootstrap }
    }

    /// Makes a topic with one replica a partition and returns when its partitions have leaders.
    pub fn create_topic(&self, name: &str, partitions: i32, config: &[(&str, &str)]) {
        self.create(name, partitions, TopicReplication::Fixed(1), config);
    }

    /// Makes a topic whose partitions lie on these brokers, the preferred leader first, and returns when they have leaders.
    pub fn create_topic_on(&self, name: &str, replicas: &[&[i32]], config: &[(&str, &str)]) {
        self.create(name, replicas.len() as i32, TopicReplication::Variable(replicas), config);
    }

    fn create(&self, name: &str, partitions: i32, replication: TopicReplication<'_>, config: &[(&str, &str)]) {
        let mut topic = NewTopic::new(name, partitions, replication);
        for (key, value) in config {
            topic = topic.set(key, value);
        }
        let results = block_on(self.admin().create_topics([&topic], &AdminOptions::new()));
        let result = results.unwrap_or_else(|error| panic!("`{name}` was not made: {error}")).remove(0);
        result.unwrap_or_else(|(_, error)| panic!("`{name}` was not made: {error}"));
        self.await_leaders(name, partitions);
    }

    /// Deletes a topic and returns when the broker does not know it any more.
    pub fn delete_topic(&self, name: &str) {
        let results = block_on(self.admin().delete_topics(&[name], &AdminOptions::new()));
        results
            .unwrap_or_else(|error| panic!("`{name}` was not deleted: {error}"))
            .remove(0)
            .unwrap_or_else(|(_, error)| panic!("`{name}` was not deleted: {error}"));
        let admin = self.admin();
        wait_until(&format!("`{name}` is gone"), || {
            let metadata = admin.inner().fetch_metadata(Some(name), DEADLINE).expect("the broker answers");
            metadata.topics().iter().all(|topic| topic.error().is_some())
        });
    }

    /// Deletes a partition's records below an offset, as an age limit does.
    pub fn delete_records(&self, topic: &str, partition: i32, before: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(before)).expect("it is an offset");
        let result = block_on(self.admin().delete_records(&list, &AdminOptions::new()));
        result.unwrap_or_else(|error| panic!("records of `{topic}` were not deleted: {error}"));
    }

    /// Writes records, without a transaction, and returns when the broker has them all.
    pub fn produce<'a>(&self, topic: &str, records: impl IntoIterator<Item = NewRecord<'a>>) {
        let producer: BaseProducer = self
            .client()
            .set("linger.ms", "5")
            .set("enable.idempotence", "true")
            .set("queue.buffering.max.messages", "200000")
            .create()
            .expect("a producer can be made");
        for new in records {
            let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(new.partition).timestamp(new.timestamp);
            record.key = new.key;
            record.payload = new.value;
            while let Err((error, back)) = producer.send(record) {
                assert!(is_full(&error), "a record for `{topic}` was refused: {error}");
                producer.poll(Duration::from_millis(10));
                record = back;
            }
        }
        producer.flush(DEADLINE).unwrap_or_else(|error| panic!("`{topic}` was not written: {error}"));
    }

    /// All records of a topic that a `read_committed` reader gets now, partition by partition.
    pub fn read_committed(&self, topic: &str) -> Vec<Record> {
        self.read(topic, Isolation::Committed)
    }

    /// All records of a topic, up to the end of each partition, partition by partition.
    pub fn read(&self, topic: &str, isolation: Isolation) -> Vec<Record> {
        let level = if isolation == Isolation::Committed { "read_committed" } else { "read_uncommitted" };
        let consumer: BaseConsumer = self
            .client()
            .set("group.id", "judge")
            .set("isolation.level", level)
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "error")
            .set("fetch.wait.max.ms", "20")
            .create()
            .expect("a consumer can be made");
        let metadata = consumer.fetch_metadata(Some(topic), DEADLINE).expect("the broker answers");
        let partitions = metadata.topics()[0].partitions().len();
        assert!(partitions > 0, "there is no topic `{topic}`");
        let mut assignment = TopicPartitionList::new();
        for partition in 0..partitions as i32 {
            assignment.add_partition_offset(topic, partition, Offset::Beginning).expect("beginning is an offset");
        }
        consumer.assign(&assignment).expect("the partitions can be assigned");
        let (mut records, mut ended) = (Vec::new(), 0);
        while ended < partitions {
            match consumer.poll(DEADLINE) {
                Some(Ok(message)) => records.push(to_record(&message)),
                Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
                Some(Err(error)) => panic!("`{topic}` cannot be read: {error}"),
                None => panic!("`{topic}` was not read to its end in {DEADLINE:?}"),
            }
        }
        records.sort_by_key(|record| (record.partition, record.offset));
        records
    }

    /// A client's configuration that reaches this cluster.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap).set("log_level", "2");
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().expect("an admin client can be made")
    }

    fn await_leaders(&self, topic: &str, partitions: i32) {
        let consumer: BaseConsumer = self.client().set("group.id", "judge").create().expect("a consumer can be made");
        wait_until(&format!("the partitions of `{topic}` have leaders"), || {
            (0..partitions).all(|partition| consumer.fetch_watermarks(topic, partition, Duration::from_secs(5)).is_ok())
        });
    }
}

/// Waits for a condition, with a deadline of one minute.
///
/// # Panics
///
/// When the deadline passes first; `what` says what was waited for.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {DEADLINE:?} in vain until {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn to_record(message: &BorrowedMessage<'_>) -> Record {
    Record {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        timestamp: message.timestamp().to_millis().unwrap_or(-1),
        headers: message.headers().map_or_else(Vec::new, |headers| {
            headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
        }),
    }
}

fn is_full(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull)
}

/// Waits for the future of an admin call: it is woken by the client's own thread and needs no runtime.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
