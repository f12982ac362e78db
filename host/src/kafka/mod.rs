//! Kafka: the only door to rdkafka, and to the protocol crate and OpenSSL. Consumers, the transactional producer, and
//! questions to the cluster.
//!
//! Nothing outside this folder names a type of the library: its errors become [`KafkaError`], its bytes become slices
//! that live for one call. It decides nothing about checkpoints and never prints a property's value. Start with
//! `client` (how a handle is made and how its failures are explained), then `consumer` or `admin`; on the way out
//! [`transaction`] (the order of a commit) and [`output`] (what a job does in that order).

mod admin;
mod admin_call;
mod client;
mod codes;
mod consumer;
mod error;
pub mod look;
pub mod marker;
mod objects;
pub mod open_transactions;
pub mod output;
pub mod partitioner;
mod partitions;
mod producer;
pub mod properties;
mod reports;
mod session;
mod signals;
mod tail;
pub mod transaction;
mod visit;
mod wire;

pub use admin::{KafkaAdmin, OffsetAt, TopicInfo};
pub use consumer::{Consumer, ReadError, StartAt};
pub use error::{CallFlags, Class, KafkaError};
pub use look::Look;
pub use marker::MarkerPlace;
pub use partitions::TopicPartition;
pub use transaction::{Drained, NewRecord, TopicHandle, TransactionalProducer};
pub use visit::{EndSeen, Fetched, Round};
