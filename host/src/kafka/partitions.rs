//! The library's list of partitions, as a value that frees itself.
//!
//! Owns memory only. Next room: `admin` and `consumer`, which fill it and read it.

use super::reports::text_of;
use rdkafka::bindings as native;
use std::ffi::{CString, c_int};
use std::ptr::NonNull;

/// A partition by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: String,
    /// The partition.
    pub partition: i32,
}

/// One entry of a list, read back.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) at: TopicPartition,
    pub(super) offset: i64,
    /// The entry's own error, 0 for none.
    pub(super) code: c_int,
}

/// A list of partitions that is ours.
#[derive(Debug)]
pub(super) struct PartitionList(NonNull<native::rd_kafka_topic_partition_list_t>);

impl PartitionList {
    /// An empty list with room for `capacity` entries. It grows.
    pub(super) fn new(capacity: usize) -> PartitionList {
        // SAFETY: takes a number; the result is ours.
        let list = unsafe { native::rd_kafka_topic_partition_list_new(capacity as c_int) };
        PartitionList(NonNull::new(list).expect("librdkafka ends the process when memory runs out"))
    }

    /// Adds a partition with an offset (or whatever the call at hand takes for one). A name with a NUL byte becomes the
    /// empty name, which every call refuses.
    pub(super) fn add(&mut self, at: &TopicPartition, offset: i64, leader_epoch: Option<i32>) {
        let topic = CString::new(at.topic.as_str()).unwrap_or_default();
        // SAFETY: the list is live and ours; the name is copied.
        let entry = unsafe { native::rd_kafka_topic_partition_list_add(self.0.as_ptr(), topic.as_ptr(), at.partition) };
        // SAFETY: the entry just added is live until the list grows again, and nobody else holds it.
        unsafe { (*entry).offset = offset };
        if let Some(epoch) = leader_epoch {
            // SAFETY: as above.
            unsafe { native::rd_kafka_topic_partition_set_leader_epoch(entry, epoch) };
        }
    }

    /// The list, for a call.
    pub(super) fn as_ptr(&self) -> *mut native::rd_kafka_topic_partition_list_t {
        self.0.as_ptr()
    }
}

impl Drop for PartitionList {
    fn drop(&mut self) {
        // SAFETY: ours, and not used afterwards.
        unsafe { native::rd_kafka_topic_partition_list_destroy(self.0.as_ptr()) };
    }
}

/// Reads one entry.
///
/// # Safety
/// The pointer is an entry of a list or answer that is live and not written to meanwhile.
pub(super) unsafe fn entry(entry: *const native::rd_kafka_topic_partition_t) -> Entry {
    // SAFETY: live (see above); a `NULL` name reads as empty.
    let topic = text_of(unsafe { (*entry).topic });
    // SAFETY: live.
    let partition = unsafe { (*entry).partition };
    // SAFETY: live.
    let offset = unsafe { (*entry).offset };
    // SAFETY: in bounds of the live entry; no reference to the field is made.
    let code = unsafe { &raw const (*entry).err }.cast::<c_int>();
    // SAFETY: the field has the size of an int. It is read as one because a broker newer than the library can answer
    // with a code that its enum does not have.
    let code = unsafe { code.read() };
    Entry { at: TopicPartition { topic, partition }, offset, code }
}

/// Reads all entries of a list that stays its owner's; none for null.
///
/// # Safety
/// Where it is not null the list is live, and nobody writes to it meanwhile.
pub(super) unsafe fn entries(list: *const native::rd_kafka_topic_partition_list_t) -> Vec<Entry> {
    // SAFETY: null or a live list, the caller promises.
    let Some(list) = (unsafe { list.as_ref() }) else {
        return Vec::new();
    };
    (0..list.cnt as usize)
        .map(|i| {
            // SAFETY: `elems` has `cnt` entries.
            let at = unsafe { list.elems.add(i) };
            // SAFETY: an entry of the live list.
            unsafe { entry(at) }
        })
        .collect()
}
