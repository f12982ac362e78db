//! Transactions that are open in partitions: whose they are, what became of earlier ones, and how one is ended by hand.
//!
//! For `tidegate state repair`: a transaction that its coordinator has forgotten (KAFKA-20734) stays open in a partition for
//! ever, and neither librdkafka nor Kafka's own tools can _commit_ it. Decides nothing. Next rooms: `wire` (the requests),
//! [`crate::repair`] (what is decided).

use super::error::KafkaError;
use super::partitions::TopicPartition;
use super::wire::Wire;
use crate::config::model::KafkaConnection;

/// A transaction that is open in a partition, as the partition's leader knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// The producer.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// The epoch of the coordinator that wrote the producer's last marker here, -1 when there was none.
    pub coordinator_epoch: i32,
    /// The offset of the transaction's first record in the partition.
    pub start_offset: i64,
}

/// A producer as the transaction coordinators know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its transactional id.
    pub transactional_id: String,
    /// The producer.
    pub producer_id: i64,
    /// The state of its last transaction, in Kafka's words (`Ongoing`, `Empty`, `CompleteCommit`, …).
    pub state: String,
}

/// What became of the transaction that wrote a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// A reader of committed records gets it.
    Committed,
    /// Nobody gets it.
    Aborted,
    /// It is not ended in this partition.
    Open,
    /// The record is not there any more, or was not written in a transaction: nothing can be said.
    Gone,
}

/// How a transaction is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Its records in the partition become visible.
    Commit,
    /// They never do.
    Abort,
}

/// Looks at a cluster's open transactions, and ends them.
pub struct OpenTransactions {
    wire: Wire,
}

impl OpenTransactions {
    /// Makes the client. Does no I/O.
    pub fn new(connection: &KafkaConnection) -> OpenTransactions {
        OpenTransactions { wire: Wire::new(connection) }
    }

    /// What is open in a partition. Needs `Read` on the topic.
    pub fn find(&mut self, at: &TopicPartition) -> Result<Vec<Open>, KafkaError> {
        self.wire.open(at)
    }

    /// Whose these producers are; those that no coordinator knows (any more) are left out. Needs `Describe` on the
    /// transactional ids: others are left out too.
    pub fn owners(&mut self, producers: &[i64]) -> Result<Vec<Owner>, KafkaError> {
        self.wire.owners(producers)
    }

    /// What became of the transaction that wrote the record at an offset. Needs `Read` on the topic.
    pub fn fate(&mut self, at: &TopicPartition, offset: i64) -> Result<Fate, KafkaError> {
        self.wire.fate(at, offset)
    }

    /// The producer of the transactional record at an offset; `None`: it is not there any more, or of no transaction. Needs
    /// `Read` on the topic.
    pub fn writer(&mut self, at: &TopicPartition, offset: i64) -> Result<Option<i64>, KafkaError> {
        self.wire.writer(at, offset)
    }

    /// Ends a transaction in one partition. Needs `ClusterAction` on the cluster. It fences nobody, and it is no error to do
    /// it again: a transaction that is ended already gets another marker, which changes nothing.
    pub fn end(&mut self, at: &TopicPartition, open: &Open, ending: Ending) -> Result<(), KafkaError> {
        self.wire.end(at, open, ending == Ending::Commit)
    }

    /// Deletes a topic. Needs `Delete` on it.
    pub fn delete_topic(&mut self, topic: &str) -> Result<(), KafkaError> {
        self.wire.delete_topic(topic)
    }
}
