//! Small objects of librdkafka with an owner: a topic handle, an answer about metadata.
//!
//! Each keeps its client alive and destroys itself; nothing here waits except [`refresh`] and [`partition_count`]. Next
//! rooms: `producer` and `look`, which use them.

use super::client::{Client, code, millis};
use super::codes;
use super::error::KafkaError;
use rdkafka::bindings as native;
use rdkafka::bindings::{rd_kafka_resp_err_t as Code, rd_kafka_topic_t};
use std::ffi::{CString, c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

/// A topic as one client knows it.
#[derive(Debug)]
pub(super) struct Topic {
    pointer: NonNull<rd_kafka_topic_t>,
    name: String,
    client: Arc<Client>,
}

// SAFETY: librdkafka's topic handles are thread-safe like the client they belong to, which `client` keeps alive.
unsafe impl Send for Topic {}

impl Topic {
    /// The topic's handle in a client. Whether it exists is not asked.
    pub(super) fn new(client: &Arc<Client>, name: &str) -> Result<Topic, KafkaError> {
        let doing = || format!("opening topic `{name}`");
        let invalid = || client.explain(&doing(), Code::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION, "");
        let c_name = CString::new(name).map_err(|_| invalid())?;
        // SAFETY: the client is live, the name ends in NUL, and null stands for the default configuration.
        let pointer = unsafe { native::rd_kafka_topic_new(client.as_ptr(), c_name.as_ptr(), ptr::null_mut()) };
        let pointer = NonNull::new(pointer).ok_or_else(invalid)?;
        Ok(Topic { pointer, name: name.to_owned(), client: Arc::clone(client) })
    }

    /// The handle; valid while `self` is.
    pub(super) fn as_ptr(&self) -> *mut rd_kafka_topic_t {
        self.pointer.as_ptr()
    }

    /// The topic's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The client it belongs to.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: the handle is ours, not used afterwards, and its client is still alive.
        unsafe { native::rd_kafka_topic_destroy(self.pointer.as_ptr()) };
    }
}

/// Has a client learn again who leads what: after an error, and before the first question (which is slow otherwise).
pub(super) fn refresh(client: &Client, at_most: Duration) -> Result<(), KafkaError> {
    Metadata::ask(client, ptr::null_mut(), at_most).map(|_| ())
}

/// How many partitions a topic has.
pub(super) fn partition_count(topic: &Topic, at_most: Duration) -> Result<u32, KafkaError> {
    let client = topic.client();
    let metadata = Metadata::ask(client, topic.as_ptr(), at_most)?;
    let missing =
        || KafkaError::TopicMissing { topic: topic.name().to_owned(), connection: client.connection().to_owned() };
    let (count, error) = metadata.first_topic().ok_or_else(missing)?;
    if error == Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART {
        return Err(missing());
    }
    client.check(&format!("asking for the partitions of topic `{}`", topic.name()), error)?;
    if count == 0 { Err(missing()) } else { Ok(count) }
}

/// The library's `rd_kafka_message_t` with the error as a number: a broker newer than the library can answer with a code
/// that its enum does not have, and a reference to such an enum would be undefined.
#[repr(C)]
pub(super) struct RawMessage {
    pub(super) err: c_int,
    pub(super) topic: *mut rd_kafka_topic_t,
    pub(super) partition: i32,
    pub(super) value: *const u8,
    pub(super) value_bytes: usize,
    pub(super) key: *const u8,
    pub(super) key_bytes: usize,
    pub(super) offset: i64,
    pub(super) opaque: *mut c_void,
}

const _: () = assert!(size_of::<RawMessage>() == size_of::<native::rd_kafka_message_t>());

/// The library's `rd_kafka_metadata_topic_t`, likewise.
#[repr(C)]
struct MetadataTopic {
    topic: *const c_char,
    partition_cnt: c_int,
    partitions: *const c_void,
    err: c_int,
}

const _: () = assert!(size_of::<MetadataTopic>() == size_of::<native::rd_kafka_metadata_topic>());

struct Metadata {
    pointer: *const native::rd_kafka_metadata,
}

impl Metadata {
    /// Asks for one topic, or with null for those that the client knows.
    fn ask(client: &Client, topic: *mut rd_kafka_topic_t, at_most: Duration) -> Result<Metadata, KafkaError> {
        let mut pointer = ptr::null();
        // SAFETY: client and topic (or null) are live.
        let result = unsafe { codes::metadata(client.as_ptr(), topic, &mut pointer, millis(at_most)) };
        client.check("asking for the cluster's metadata", result)?;
        Ok(Metadata { pointer })
    }

    /// Partitions and error of the first topic in the answer.
    fn first_topic(&self) -> Option<(u32, Code)> {
        // SAFETY: a successful call filled the answer in; it lives until `drop`.
        let answer = unsafe { &*self.pointer };
        if answer.topic_cnt < 1 {
            return None;
        }
        // SAFETY: there is at least one topic, and the layout is the same.
        let topic = unsafe { &*answer.topics.cast::<MetadataTopic>() };
        Some((u32::try_from(topic.partition_cnt).unwrap_or(0), code(topic.err)))
    }
}

impl Drop for Metadata {
    fn drop(&mut self) {
        // SAFETY: the answer is ours and not used afterwards.
        unsafe { native::rd_kafka_metadata_destroy(self.pointer) };
    }
}
