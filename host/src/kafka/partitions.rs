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

#[cfg(test)]
mod tests {
    use super::{entries, entry};
    use rdkafka::bindings as native;
    use std::ffi::c_int;
    use std::mem::MaybeUninit;

    /// An entry as the library has it, with a code that its enum need not have.
    fn raw(topic: &std::ffi::CStr, partition: i32, code: c_int) -> MaybeUninit<native::rd_kafka_topic_partition_t> {
        let mut raw = MaybeUninit::<native::rd_kafka_topic_partition_t>::zeroed();
        // SAFETY: numbers, null pointers and the code 0 are values of the fields' types.
        let fields = unsafe { raw.assume_init_mut() };
        fields.topic = topic.as_ptr().cast_mut();
        fields.partition = partition;
        let err = (&raw mut fields.err).cast::<c_int>();
        // SAFETY: in bounds of our own memory, and the field has the size of an int.
        unsafe { err.write(code) };
        raw
    }

    #[test]
    fn memory_of_a_list_is_read_even_with_a_code_that_nobody_knows() {
        let mut raws = [raw(c"payments", 3, 0), raw(c"alerts", 7, 9999)];
        let list = native::rd_kafka_topic_partition_list_t { cnt: 2, size: 2, elems: raws.as_mut_ptr().cast() };
        // SAFETY: our own list of two entries.
        let found = unsafe { entries(&raw const list) };
        let found: Vec<_> =
            found.iter().map(|entry| (entry.at.topic.as_str(), entry.at.partition, entry.code)).collect();
        assert_eq!(found, [("payments", 3, 0), ("alerts", 7, 9999)]);
        // SAFETY: null is allowed.
        assert!(unsafe { entries(std::ptr::null()) }.is_empty());
        // SAFETY: one of the entries above.
        assert_eq!(unsafe { entry(raws[1].as_ptr()) }.offset, 0);
    }
}
