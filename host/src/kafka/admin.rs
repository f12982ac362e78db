//! Questions to a cluster, and the one topic that we create. Every call blocks, bounded by the timeout given at the start.
//!
//! Knows nothing of checkpoints or sources: it answers with offsets and ids. Next room: `admin_call`, one request.

use super::admin_call::{LOOK_EVERY, Reading, request};
use super::client::{Client, Role, code, millis};
use super::codes;
use super::error::{Class, KafkaError};
use super::marker::TOPIC_SETTINGS;
use super::partitions::{Entry, PartitionList, TopicPartition, entries, entry};
use super::reports::text_of;
use crate::config::model::KafkaConnection;
use rdkafka::bindings as native;
use rdkafka::bindings::{rd_kafka_admin_op_t as Operation, rd_kafka_resp_err_t as Code};
use std::ffi::{CString, c_char};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a question is repeated while the cluster says "not now" (a leader is being elected, for example).
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Asks a cluster. Cheap to share: clones use one handle.
#[derive(Debug, Clone)]
pub struct KafkaAdmin {
    client: Arc<Client>,
    timeout: Duration,
}

/// What a cluster says about a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    /// The topic's name.
    pub name: String,
    /// The topic's id in Kafka's base64 form; new when a topic is made again under its old name.
    pub id: String,
    /// Per partition, by number: the id of its leader, -1 if it has none now.
    pub leaders: Vec<i32>,
}

/// Which offset of a partition is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetAt {
    /// The first one kept.
    Earliest,
    /// The last stable offset: where a reader of committed records finds the end.
    Stable,
    /// The high watermark: behind the last record of all, open transactions included.
    HighWatermark,
    /// The first record of this time or later (milliseconds since the Unix epoch).
    Time(i64),
    /// The same, but only below the last stable offset.
    StableTime(i64),
}

impl KafkaAdmin {
    /// Makes a client of its own for questions: on a consumer's connection they would wait behind a fetch that waits for
    /// records (400 ms, measured). Each answers or fails within about `timeout`.
    pub fn new(connection: &KafkaConnection, timeout: Duration) -> Result<KafkaAdmin, KafkaError> {
        let owned = [("allow.auto.create.topics", "false"), ("enable.metrics.push", "false")];
        let client = Client::new(connection, Role::Producer, &[], &owned, |_| {})?;
        Ok(KafkaAdmin { client: Arc::new(client), timeout })
    }

    /// The same with another timeout.
    #[must_use]
    pub fn within(&self, timeout: Duration) -> KafkaAdmin {
        KafkaAdmin { client: Arc::clone(&self.client), timeout }
    }

    /// The cluster's id.
    pub fn cluster_id(&self) -> Result<String, KafkaError> {
        let doing = "asking for the cluster's id";
        let deadline = Instant::now() + self.timeout;
        let id = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // SAFETY: the handle is live; the answer is ours to free.
            let id = unsafe { native::rd_kafka_clusterid(self.client.as_ptr(), millis(left.min(LOOK_EVERY))) };
            if !id.is_null() {
                break id;
            }
            if let Some(refusal) = self.client.refusal(doing) {
                return Err(refusal);
            }
            if left.is_zero() {
                return Err(self.client.no_answer(doing, self.timeout));
            }
        };
        let text = text_of(id);
        // SAFETY: ours, allocated by the library, not used afterwards.
        unsafe { native::rd_kafka_mem_free(self.client.as_ptr(), id.cast()) };
        Ok(text)
    }

    /// A topic's id and partitions.
    pub fn topic(&self, name: &str) -> Result<TopicInfo, KafkaError> {
        let mut infos = self.topics(std::slice::from_ref(&name.to_owned()))?;
        infos.pop().ok_or_else(|| self.missing(name))
    }

    /// Ids and partitions of several topics, in the order asked. Fails when one is missing.
    pub fn topics(&self, names: &[String]) -> Result<Vec<TopicInfo>, KafkaError> {
        let doing = format!("describing {}", list(names));
        let c_names: Vec<CString> = names.iter().map(|name| CString::new(name.as_str()).unwrap_or_default()).collect();
        let mut pointers: Vec<*const c_char> = c_names.iter().map(|name| name.as_ptr()).collect();
        // SAFETY: the array has the length said; the names are copied.
        let collection =
            unsafe { native::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()) };
        let operation = Operation::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let answer = request(&self.client, &doing, operation, Reading::Plain, self.timeout, |options, queue| {
            // SAFETY: all four are live; the request copies what it needs.
            unsafe { native::rd_kafka_DescribeTopics(self.client.as_ptr(), collection, options, queue) };
        });
        // SAFETY: ours, and not used afterwards.
        unsafe { native::rd_kafka_TopicCollection_destroy(collection) };
        let answer = answer?;
        // SAFETY: the event is live; null when it is of another kind, which the array call would refuse.
        let result = unsafe { native::rd_kafka_event_DescribeTopics_result(answer.as_ptr()) };
        let mut count = 0;
        // SAFETY: the result lives as long as the answer.
        let topics = unsafe { native::rd_kafka_DescribeTopics_result_topics(result, &raw mut count) };
        let mut infos = Vec::with_capacity(count);
        // SAFETY: the array is the answer's own and has as many entries as it said; the answer outlives this use.
        for topic in unsafe { items(topics.cast_const(), count) } {
            infos.push(self.topic_info(&doing, *topic)?);
        }
        let find =
            |name: &String| infos.iter().find(|info| info.name == *name).cloned().ok_or_else(|| self.missing(name));
        names.iter().map(find).collect()
    }

    /// An offset of each partition, in the order asked. `None` only for a time: no record is as late.
    pub fn offsets(&self, partitions: &[TopicPartition], at: OffsetAt) -> Result<Vec<Option<i64>>, KafkaError> {
        let (spec, reading) = match at {
            OffsetAt::Earliest => (-2, Reading::Committed),
            OffsetAt::Stable => (-1, Reading::Committed),
            OffsetAt::HighWatermark => (-1, Reading::Plain),
            OffsetAt::Time(time) => (time.max(0), Reading::Plain),
            OffsetAt::StableTime(time) => (time.max(0), Reading::Committed),
        };
        let mut topics: Vec<String> = partitions.iter().map(|partition| partition.topic.clone()).collect();
        topics.dedup();
        let doing = &format!("asking for offsets of {}", list(&topics));
        let deadline = Instant::now() + self.timeout;
        loop {
            let error = match self.offsets_once(doing, partitions, spec, reading, at) {
                Err(error) if error.class() == Class::Retry && Instant::now() + RETRY_PAUSE < deadline => error,
                result => return result,
            };
            tracing::debug!(error = %error, "asking again");
            std::thread::sleep(RETRY_PAUSE);
        }
    }

    fn offsets_once(
        &self,
        doing: &str,
        partitions: &[TopicPartition],
        spec: i64,
        reading: Reading,
        at: OffsetAt,
    ) -> Result<Vec<Option<i64>>, KafkaError> {
        let mut asked = PartitionList::new(partitions.len());
        for partition in partitions {
            asked.add(partition, spec, None);
        }
        let operation = Operation::RD_KAFKA_ADMIN_OP_LISTOFFSETS;
        let answer = request(&self.client, doing, operation, reading, self.timeout, |options, queue| {
            // SAFETY: all four are live; the request copies what it needs.
            unsafe { native::rd_kafka_ListOffsets(self.client.as_ptr(), asked.as_ptr(), options, queue) };
        })?;
        // SAFETY: the event is live.
        let result = unsafe { native::rd_kafka_event_ListOffsets_result(answer.as_ptr()) };
        let mut count = 0;
        // SAFETY: the result lives as long as the answer.
        let infos = unsafe { native::rd_kafka_ListOffsets_result_infos(result, &raw mut count) };
        let mut found = Vec::with_capacity(count);
        // SAFETY: the array is the answer's own and has as many entries as it said; the answer outlives this use.
        for info in unsafe { items(infos.cast_const(), count) } {
            // SAFETY: the entry is live as long as the answer.
            let partition = unsafe { native::rd_kafka_ListOffsetsResultInfo_topic_partition(*info) };
            // SAFETY: an entry of the same live answer.
            found.push(unsafe { entry(partition) });
        }
        let is_time = matches!(at, OffsetAt::Time(_) | OffsetAt::StableTime(_));
        partitions.iter().map(|partition| self.offset_of(doing, &found, partition, is_time)).collect()
    }

    /// The committed offset of each partition in a group, in the order asked; `None` where there is none. Offsets of
    /// pending transactions are waited for.
    pub fn group_offsets(&self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, KafkaError> {
        let doing = format!("asking for the committed offsets of group `{group}`");
        let mut asked = PartitionList::new(partitions.len());
        for partition in partitions {
            asked.add(partition, -1, None);
        }
        let name = CString::new(group).unwrap_or_default();
        // SAFETY: both are live and copied; the request object is ours.
        let mut wanted = unsafe { native::rd_kafka_ListConsumerGroupOffsets_new(name.as_ptr(), asked.as_ptr()) };
        let operation = Operation::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS;
        let answer = request(&self.client, &doing, operation, Reading::Stable, self.timeout, |options, queue| {
            let client = self.client.as_ptr();
            // SAFETY: the array has the one entry said; the request copies what it needs.
            unsafe { native::rd_kafka_ListConsumerGroupOffsets(client, &raw mut wanted, 1, options, queue) };
        });
        // SAFETY: ours, and not used afterwards.
        unsafe { native::rd_kafka_ListConsumerGroupOffsets_destroy(wanted) };
        let answer = answer?;
        // SAFETY: the event is live.
        let result = unsafe { native::rd_kafka_event_ListConsumerGroupOffsets_result(answer.as_ptr()) };
        let mut count = 0;
        // SAFETY: the result lives as long as the answer.
        let groups = unsafe { native::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &raw mut count) };
        // SAFETY: the array is the answer's own and has as many entries as it said; the answer outlives this use.
        let groups = unsafe { items(groups.cast_const(), count) };
        let Some(group) = groups.first().copied() else {
            return Err(self.client.no_answer(&doing, self.timeout));
        };
        // SAFETY: the group is live.
        let error = unsafe { native::rd_kafka_group_result_error(group) };
        if !error.is_null() {
            return Err(self.client.explain_object(&doing, error));
        }
        // SAFETY: the group is live, and its list as long as it.
        let list = unsafe { native::rd_kafka_group_result_partitions(group) };
        // SAFETY: null or the answer's own list; the answer outlives this use.
        let found = unsafe { entries(list) };
        partitions
            .iter()
            .map(|partition| {
                let entry = found.iter().find(|entry| entry.at == *partition);
                if let Some(entry) = entry {
                    self.client.check(&doing, code(entry.code))?;
                }
                Ok(entry.map(|entry| entry.offset).filter(|offset| *offset >= 0))
            })
            .collect()
    }

    /// Creates the topic that markers go to: one partition, compacted, replicated as the broker does by default.
    pub fn create_marker_topic(&self, name: &str) -> Result<(), KafkaError> {
        let doing = format!("creating topic `{name}`");
        let c_name = CString::new(name).unwrap_or_default();
        let mut reason = [0 as c_char; 256];
        // SAFETY: name and buffer are live; -1 is the broker's default replication; the result is ours.
        let mut topic =
            unsafe { native::rd_kafka_NewTopic_new(c_name.as_ptr(), 1, -1, reason.as_mut_ptr(), reason.len()) };
        if topic.is_null() {
            return Err(self.client.explain(&doing, Code::RD_KAFKA_RESP_ERR__INVALID_ARG, &text_of(reason.as_ptr())));
        }
        for (setting, value) in TOPIC_SETTINGS {
            let (setting, value) = (CString::new(setting).unwrap_or_default(), CString::new(value).unwrap_or_default());
            // SAFETY: all three are live; the strings are copied. The only error is an empty name.
            unsafe { native::rd_kafka_NewTopic_set_config(topic, setting.as_ptr(), value.as_ptr()) };
        }
        let operation = Operation::RD_KAFKA_ADMIN_OP_CREATETOPICS;
        let answer = request(&self.client, &doing, operation, Reading::Plain, self.timeout, |options, queue| {
            // SAFETY: the array has the one entry said; the request copies what it needs.
            unsafe { native::rd_kafka_CreateTopics(self.client.as_ptr(), &raw mut topic, 1, options, queue) };
        });
        // SAFETY: ours, and not used afterwards.
        unsafe { native::rd_kafka_NewTopic_destroy(topic) };
        let answer = answer?;
        // SAFETY: the event is live.
        let result = unsafe { native::rd_kafka_event_CreateTopics_result(answer.as_ptr()) };
        let mut count = 0;
        // SAFETY: the result lives as long as the answer.
        let topics = unsafe { native::rd_kafka_CreateTopics_result_topics(result, &raw mut count) };
        // SAFETY: the array is the answer's own and has as many entries as it said; the answer outlives this use.
        let topics = unsafe { items(topics.cast_const(), count) };
        for topic in topics.iter().copied() {
            // SAFETY: the entry is live as long as the answer.
            let code = unsafe { codes::topic_result_error(topic) };
            if code == Code::RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS {
                return Err(KafkaError::TopicExists {
                    topic: name.to_owned(),
                    connection: self.client.connection().to_owned(),
                });
            }
            if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                // SAFETY: as above.
                let text = text_of(unsafe { native::rd_kafka_topic_result_error_string(topic) });
                return Err(self.client.explain(&doing, code, &text));
            }
        }
        self.await_leader(name)
    }

    /// Brokers learn of a new topic one after the other; until then the first reader would not find it.
    fn await_leader(&self, name: &str) -> Result<(), KafkaError> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let result = self.topic(name);
            match result {
                Ok(info) if info.leaders.iter().all(|leader| *leader >= 0) => return Ok(()),
                Err(error) if Instant::now() >= deadline => return Err(error),
                Ok(_) if Instant::now() >= deadline => {
                    return Err(self.client.no_answer(&format!("waiting for a leader of `{name}`"), self.timeout));
                }
                Ok(_) | Err(_) => std::thread::sleep(RETRY_PAUSE),
            }
        }
    }

    fn topic_info(
        &self,
        doing: &str,
        topic: *const native::rd_kafka_TopicDescription_t,
    ) -> Result<TopicInfo, KafkaError> {
        // SAFETY: the description is live, like all that is read from it below.
        let name = text_of(unsafe { native::rd_kafka_TopicDescription_name(topic) });
        // SAFETY: as above.
        let error = unsafe { native::rd_kafka_TopicDescription_error(topic) };
        if !error.is_null() {
            // SAFETY: as above.
            let code = unsafe { codes::error_code(error) };
            if matches!(code, Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART | Code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC) {
                return Err(self.missing(&name));
            }
            if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err(self.client.explain_object(doing, error));
            }
        }
        // SAFETY: as above.
        let id = unsafe { native::rd_kafka_TopicDescription_topic_id(topic) };
        // SAFETY: as above; the text lives as long as the id.
        let id = text_of(unsafe { native::rd_kafka_Uuid_base64str(id) });
        let mut count = 0;
        // SAFETY: as above.
        let partitions = unsafe { native::rd_kafka_TopicDescription_partitions(topic, &raw mut count) };
        let mut leaders = vec![-1; count];
        // SAFETY: the array is the answer's own and has as many entries as it said; the answer outlives this use.
        let partitions = unsafe { items(partitions.cast_const(), count) };
        for partition in partitions.iter().copied() {
            // SAFETY: the entry is live.
            let number = unsafe { native::rd_kafka_TopicPartitionInfo_partition(partition) };
            // SAFETY: as above.
            let leader = unsafe { native::rd_kafka_TopicPartitionInfo_leader(partition) };
            if let Some(at) = leaders.get_mut(number as usize).filter(|_| !leader.is_null()) {
                // SAFETY: not null, and live as long as the entry.
                *at = unsafe { native::rd_kafka_Node_id(leader) };
            }
        }
        Ok(TopicInfo { name, id, leaders })
    }

    fn offset_of(
        &self,
        doing: &str,
        found: &[Entry],
        partition: &TopicPartition,
        is_time: bool,
    ) -> Result<Option<i64>, KafkaError> {
        let Some(entry) = found.iter().find(|entry| entry.at == *partition) else {
            return Err(self.client.no_answer(doing, self.timeout));
        };
        self.client.check(&format!("{doing}, partition {}", partition.partition), code(entry.code))?;
        match entry.offset {
            offset if offset >= 0 => Ok(Some(offset)),
            -1 if is_time => Ok(None),
            // The library answers with a negative offset and no error when the broker did not answer.
            _ => Err(self.client.no_answer(doing, self.timeout)),
        }
    }

    fn missing(&self, topic: &str) -> KafkaError {
        KafkaError::TopicMissing { topic: topic.to_owned(), connection: self.client.connection().to_owned() }
    }
}

fn list(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    format!("topic {}", quoted.join(", "))
}

/// An array of results as a slice; empty for null.
///
/// # Safety
/// Where `start` is not null it points to `count` entries, which nobody writes to or frees while the slice lives.
unsafe fn items<'a, T>(start: *const *const T, count: usize) -> &'a [*const T] {
    if start.is_null() {
        return &[];
    }
    // SAFETY: not null, and the rest is the caller's promise.
    unsafe { std::slice::from_raw_parts(start, count) }
}

#[cfg(test)]
mod tests {
    use super::items;

    #[test]
    fn memory_of_an_answers_array_becomes_a_slice_and_null_becomes_empty() {
        let (one, two) = (1_i32, 2_i32);
        let array = [&raw const one, &raw const two];
        // SAFETY: our own array of two pointers.
        let found = unsafe { items(array.as_ptr(), 2) };
        // SAFETY: both numbers live to the end of the test.
        assert_eq!(found.iter().map(|number| unsafe { **number }).collect::<Vec<i32>>(), [1, 2]);
        // SAFETY: null is allowed.
        assert!(unsafe { items::<i32>(std::ptr::null(), 5) }.is_empty());
    }
}
