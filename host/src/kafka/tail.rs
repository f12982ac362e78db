//! Reads the tail of a topic's only partition, backwards in growing steps, for the last record with a certain key.
//!
//! Next room: `look`, which says when that is meaningful.

use super::client::{code, millis};
use super::codes;
use super::error::KafkaError;
use super::look::QUESTION;
use super::objects::{RawMessage, Topic};
use rdkafka::bindings as native;
use rdkafka::bindings::{rd_kafka_message_t, rd_kafka_resp_err_t as Code};
use std::ffi::CString;
use std::ops::Range;
use std::ptr::NonNull;
use std::slice;
use std::time::Instant;

/// Offsets to look at first; each further look goes sixteen times as far back.
const FIRST_OFFSETS: i64 = 8;
const FACTOR: i64 = 16;
/// How long one poll waits, in milliseconds: the deadline is looked at in between.
const POLL_MS: i32 = 100;

/// The last value with this key in partition 0 that the topic's client sees, or `None` when there is none from the first offset to
/// the last: the last stable one for a client that reads committed records only. The client says where a partition ends.
pub(super) fn last_value(
    topic: &Topic,
    key: &[u8],
    doing: &str,
    deadline: Instant,
) -> Result<Option<Vec<u8>>, KafkaError> {
    let (first, end) = bounds(topic, doing)?;
    let mut back = FIRST_OFFSETS;
    loop {
        let from = end.saturating_sub(back).max(first);
        let found = Tail::open(topic, from, doing)?.last_of(key, end, doing, deadline)?;
        if found.is_some() || from <= first {
            return Ok(found);
        }
        back = back.saturating_mul(FACTOR);
    }
}

/// The last value with this key in partition 0 from an offset on to its end, which the caller knows, as this topic's client
/// sees it.
pub(super) fn last_value_from(
    topic: &Topic,
    key: &[u8],
    range: Range<i64>,
    doing: &str,
    deadline: Instant,
) -> Result<Option<Vec<u8>>, KafkaError> {
    Tail::open(topic, range.start, doing)?.last_of(key, range.end, doing, deadline)
}

/// The first offset of partition 0 and the one behind the last that the client sees.
fn bounds(topic: &Topic, doing: &str) -> Result<(i64, i64), KafkaError> {
    let client = topic.client();
    let name = CString::new(topic.name()).unwrap_or_default();
    let (mut first, mut end) = (-1, -1);
    let offsets = (&mut first, &mut end);
    // SAFETY: client and name are live; the call waits at most as long as said.
    let result =
        unsafe { codes::query_watermark_offsets(client.as_ptr(), name.as_ptr(), 0, offsets, millis(QUESTION)) };
    if result == Code::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION || result == Code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC {
        let connection = client.connection().to_owned();
        return Err(KafkaError::TopicMissing { topic: topic.name().to_owned(), connection });
    }
    client.check(doing, result)?;
    if first < 0 || end < 0 { Err(client.no_answer(doing, QUESTION)) } else { Ok((first, end)) }
}

/// Partition 0 of a topic while it is read; reading stops with it.
struct Tail<'a> {
    topic: &'a Topic,
}

/// What a poll brought.
enum Read {
    Record {
        is_ours: bool,
        value: Vec<u8>,
    },
    Nothing,
    /// The end as the answering broker knows it: the offset after it.
    End(i64),
}

impl Tail<'_> {
    fn open<'a>(topic: &'a Topic, from: i64, doing: &str) -> Result<Tail<'a>, KafkaError> {
        // SAFETY: the topic is live and not being read: the last reader stopped when it was dropped.
        if unsafe { native::rd_kafka_consume_start(topic.as_ptr(), 0, from) } == 0 {
            return Ok(Tail { topic });
        }
        // SAFETY: no contract; the error of this thread's last call.
        let error = unsafe { native::rd_kafka_last_error() };
        Err(topic.client().explain(doing, error, ""))
    }

    /// Reads to the end, at least to `known_end`, and returns the last value with this key. A replica that lags behind the leader
    /// says that the partition ends before: believing it would take a committed checkpoint for one that did not happen.
    fn last_of(
        &self,
        key: &[u8],
        known_end: i64,
        doing: &str,
        deadline: Instant,
    ) -> Result<Option<Vec<u8>>, KafkaError> {
        let began = Instant::now();
        let mut last = None;
        loop {
            match self.read(key, doing)? {
                Read::Record { is_ours: true, value } => last = Some(value),
                Read::End(offset) if offset >= known_end => return Ok(last),
                Read::End(_) | Read::Nothing if Instant::now() > deadline => {
                    return Err(self.topic.client().no_answer(doing, began.elapsed()));
                }
                Read::Record { .. } | Read::End(_) | Read::Nothing => {}
            }
        }
    }

    fn read(&self, key: &[u8], doing: &str) -> Result<Read, KafkaError> {
        // SAFETY: the topic is live and being read.
        let message = unsafe { native::rd_kafka_consume(self.topic.as_ptr(), 0, POLL_MS) };
        let Some(message) = NonNull::new(message).map(OwnedMessage) else { return Ok(Read::Nothing) };
        match message.error() {
            Code::RD_KAFKA_RESP_ERR_NO_ERROR => {
                let is_ours = message.key() == Some(key);
                Ok(Read::Record { is_ours, value: message.value().unwrap_or_default().to_vec() })
            }
            Code::RD_KAFKA_RESP_ERR__PARTITION_EOF => Ok(Read::End(message.fields().offset)),
            error => Err(self.topic.client().explain(doing, error, "")),
        }
    }
}

impl Drop for Tail<'_> {
    fn drop(&mut self) {
        // SAFETY: the topic is live and being read; all messages of it are destroyed. It fails only if it is not read.
        unsafe { native::rd_kafka_consume_stop(self.topic.as_ptr(), 0) };
    }
}

/// A message that is given back when it was looked at.
struct OwnedMessage(NonNull<rd_kafka_message_t>);

impl OwnedMessage {
    fn fields(&self) -> &RawMessage {
        // SAFETY: the message is live as long as `self`, nobody writes to it, and the layout is the same.
        unsafe { self.0.cast::<RawMessage>().as_ref() }
    }

    fn error(&self) -> Code {
        code(self.fields().err)
    }

    fn key(&self) -> Option<&[u8]> {
        let fields = self.fields();
        // SAFETY: a key that is not null has as many bytes as said, and lives as long as the message.
        (!fields.key.is_null()).then(|| unsafe { slice::from_raw_parts(fields.key, fields.key_bytes) })
    }

    fn value(&self) -> Option<&[u8]> {
        let fields = self.fields();
        // SAFETY: as for the key.
        (!fields.value.is_null()).then(|| unsafe { slice::from_raw_parts(fields.value, fields.value_bytes) })
    }
}

impl Drop for OwnedMessage {
    fn drop(&mut self) {
        // SAFETY: the message is ours and not used afterwards.
        unsafe { native::rd_kafka_message_destroy(self.0.as_ptr()) };
    }
}
