//! Kafka: the only door to rdkafka. Consumers, the transactional producer, and questions to the cluster.
//!
//! Nothing outside this folder names a type of the library: its errors become [`KafkaError`], its bytes become slices
//! that live for one call. It decides nothing about checkpoints and never prints a property's value. Start with
//! `client` (how a handle is made and how its failures are explained), then `consumer` or `admin`.

mod admin;
mod admin_call;
mod client;
mod consumer;
mod error;
mod partitions;
pub mod properties;
mod reports;
mod signals;
mod visit;

pub use admin::{KafkaAdmin, OffsetAt, TopicInfo};
pub use consumer::{Consumer, ReadError, StartAt};
pub use error::{CallFlags, Class, KafkaError};
pub use partitions::TopicPartition;
pub use visit::{EndSeen, Fetched, Round};
