//! Calls that return an error code which a broker may have chosen, declared to return a number.
//!
//! The library passes codes of its own and of brokers through alike, and a broker newer than the library can answer with
//! one that its enum does not have. Rust's binding returns the enum, and an enum with such a value is undefined. The
//! symbols are the library's own, and a C enum is returned as an `int`. Next room: `client`, which makes errors of them.

use super::reports::code_of;
use rdkafka::bindings as native;
use rdkafka::bindings::{rd_kafka_resp_err_t as Code, rd_kafka_t};
use std::ffi::{c_char, c_int};

const _: () = assert!(size_of::<Code>() == size_of::<c_int>());

/// The library's calls, as they are compiled.
mod numbers {
    use super::{c_char, c_int, native, rd_kafka_t};

    unsafe extern "C" {
        pub(super) fn rd_kafka_error_code(error: *const native::rd_kafka_error_t) -> c_int;
        pub(super) fn rd_kafka_event_error(event: *mut native::rd_kafka_event_t) -> c_int;
        pub(super) fn rd_kafka_topic_result_error(result: *const native::rd_kafka_topic_result_t) -> c_int;
        pub(super) fn rd_kafka_fatal_error(client: *mut rd_kafka_t, text: *mut c_char, length: usize) -> c_int;
        pub(super) fn rd_kafka_offsets_for_times(
            client: *mut rd_kafka_t,
            list: *mut native::rd_kafka_topic_partition_list_t,
            timeout: c_int,
        ) -> c_int;
        pub(super) fn rd_kafka_metadata(
            client: *mut rd_kafka_t,
            all: c_int,
            topic: *mut native::rd_kafka_topic_t,
            answer: *mut *const native::rd_kafka_metadata,
            timeout: c_int,
        ) -> c_int;
        pub(super) fn rd_kafka_query_watermark_offsets(
            client: *mut rd_kafka_t,
            topic: *const c_char,
            partition: i32,
            low: *mut i64,
            high: *mut i64,
            timeout: c_int,
        ) -> c_int;
    }
}

/// The code of an error object.
///
/// # Safety
/// As `rd_kafka_error_code`: null or a live object.
pub(super) unsafe fn error_code(error: *const native::rd_kafka_error_t) -> Code {
    // SAFETY: the caller promises the contract.
    code_of(unsafe { numbers::rd_kafka_error_code(error) })
}

/// The code of an event.
///
/// # Safety
/// As `rd_kafka_event_error`: a live event.
pub(super) unsafe fn event_error(event: *mut native::rd_kafka_event_t) -> Code {
    // SAFETY: the caller promises the contract.
    code_of(unsafe { numbers::rd_kafka_event_error(event) })
}

/// The code of a topic's result.
///
/// # Safety
/// As `rd_kafka_topic_result_error`: a live result.
pub(super) unsafe fn topic_result_error(result: *const native::rd_kafka_topic_result_t) -> Code {
    // SAFETY: the caller promises the contract.
    code_of(unsafe { numbers::rd_kafka_topic_result_error(result) })
}

/// The code of the error that ended a client, and its text in `text`.
///
/// # Safety
/// As `rd_kafka_fatal_error`: a live client.
pub(super) unsafe fn fatal_error(client: *mut rd_kafka_t, text: &mut [c_char]) -> Code {
    // SAFETY: the caller promises the client; the buffer is live and as long as said.
    code_of(unsafe { numbers::rd_kafka_fatal_error(client, text.as_mut_ptr(), text.len()) })
}

/// Fills a list with offsets for its times.
///
/// # Safety
/// As `rd_kafka_offsets_for_times`: a live client and a live list that nobody else uses.
pub(super) unsafe fn offsets_for_times(
    client: *mut rd_kafka_t,
    list: *mut native::rd_kafka_topic_partition_list_t,
    timeout: c_int,
) -> Code {
    // SAFETY: the caller promises the contract.
    code_of(unsafe { numbers::rd_kafka_offsets_for_times(client, list, timeout) })
}

/// Asks for metadata; the answer is the caller's to destroy if the code is none of an error.
///
/// # Safety
/// As `rd_kafka_metadata`: a live client, and null or a topic of it.
pub(super) unsafe fn metadata(
    client: *mut rd_kafka_t,
    topic: *mut native::rd_kafka_topic_t,
    answer: &mut *const native::rd_kafka_metadata,
    timeout: c_int,
) -> Code {
    // SAFETY: the caller promises the contract; the answer goes to a live place.
    code_of(unsafe { numbers::rd_kafka_metadata(client, 0, topic, answer, timeout) })
}

/// Asks for a partition's first and last offset.
///
/// # Safety
/// As `rd_kafka_query_watermark_offsets`: a live client and a topic's name that ends in NUL.
pub(super) unsafe fn query_watermark_offsets(
    client: *mut rd_kafka_t,
    topic: *const c_char,
    partition: i32,
    (low, high): (&mut i64, &mut i64),
    timeout: c_int,
) -> Code {
    // SAFETY: the caller promises the contract; the offsets go to live places.
    code_of(unsafe { numbers::rd_kafka_query_watermark_offsets(client, topic, partition, low, high, timeout) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `rd_kafka_error_new` with the code as a number; its format has no arguments.
    mod making {
        use super::{c_char, c_int, native};

        unsafe extern "C" {
            pub(super) fn rd_kafka_error_new(code: c_int, format: *const c_char, ...) -> *mut native::rd_kafka_error_t;
        }
    }

    #[test]
    fn a_code_that_the_library_does_not_know_is_an_unknown_one() {
        for (number, expected) in [
            (9999, Code::RD_KAFKA_RESP_ERR_UNKNOWN),
            (-9999, Code::RD_KAFKA_RESP_ERR_UNKNOWN),
            (90, Code::RD_KAFKA_RESP_ERR_PRODUCER_FENCED),
        ] {
            // SAFETY: a code and a text without arguments; the object is ours.
            let error = unsafe { making::rd_kafka_error_new(number, c"broken".as_ptr()) };
            // SAFETY: live.
            assert_eq!(unsafe { error_code(error) }, expected, "{number}");
            // SAFETY: ours, and not used afterwards.
            unsafe { native::rd_kafka_error_destroy(error) };
        }
    }
}
