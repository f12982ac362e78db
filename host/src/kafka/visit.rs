//! One round of a partition's queue: the library calls back per message, and each is handed on in place.
//!
//! No copy and no allocation per record here. A panic of the visitor never crosses the library's frames. Next room:
//! `consumer`, which owns the queues.

use super::reports::text_of;
use rdkafka::bindings as native;
use std::any::Any;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::NonNull;

/// A header: its name and value. The bytes live as long as the message they are of.
pub(super) type Header<'a> = (&'a str, Option<&'a [u8]>);

/// A message as it lies in the library's buffer. The bytes live until the visitor returns.
#[derive(Debug, Clone, Copy)]
pub struct Fetched<'a> {
    /// The message's key.
    pub key: Option<&'a [u8]>,
    /// The message's value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The message's timestamp in milliseconds since the Unix epoch, if it has one.
    pub timestamp: Option<i64>,
    /// The message's offset.
    pub offset: i64,
    /// The message's headers, in order. A name that is not UTF-8 ends where it stops being it.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// The end of a partition as a reader of committed records sees it, at the time of one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndSeen {
    /// The offset that the next record will have at least. Higher than the last record's + 1 after control or aborted
    /// records.
    pub offset: i64,
    /// The broker that said so.
    pub broker: i32,
}

/// What one round found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Round {
    /// Records visited.
    pub records: usize,
    /// Offset and leader epoch (-1: unknown) of the last record visited.
    pub last: Option<(i64, i32)>,
    /// The end of the partition, if nothing was found after it.
    pub end: Option<EndSeen>,
    /// A record at or behind the limit was found. It was not visited.
    pub limit_reached: bool,
}

/// A partition's reading stopped with an error.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) code: c_int,
    pub(super) text: String,
}

/// Which records a round may hand on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Earlier ones are left out: they were read before.
    pub(super) from: i64,
    /// From here on nothing is read; `i64::MAX` for no limit.
    pub(super) until: i64,
    /// At most this many. At least one.
    pub(super) records_max: usize,
}

/// What the callback works on during one round.
struct Context<'a> {
    client: *mut native::rd_kafka_t,
    bounds: Bounds,
    round: Round,
    trouble: Option<Trouble>,
    panic: Option<Box<dyn Any + Send>>,
    headers: Vec<Header<'static>>,
    knows_layout: bool,
    visit: &'a mut dyn FnMut(Fetched<'_>),
}

/// Serves a queue once, without waiting. `spare` is reused for headers. Raises a panic of the visitor again. Trouble comes
/// after what the round found.
pub(super) fn serve(
    client: NonNull<native::rd_kafka_t>,
    queue: NonNull<native::rd_kafka_queue_t>,
    bounds: Bounds,
    spare: &mut Vec<Header<'static>>,
    visit: &mut dyn FnMut(Fetched<'_>),
) -> (Round, Option<Trouble>) {
    let mut context = Context {
        client: client.as_ptr(),
        bounds,
        round: Round::default(),
        trouble: None,
        panic: None,
        headers: std::mem::take(spare),
        knows_layout: knows_layout(),
        visit,
    };
    let opaque = (&raw mut context).cast::<c_void>();
    // SAFETY: the queue is live (its owner lends it), the callback gets exactly this context, only during this call and
    // on this thread.
    unsafe { native::rd_kafka_consume_callback_queue(queue.as_ptr(), 0, Some(on_message), opaque) };
    // A visitor that panicked left entries of a message that is gone.
    context.headers.clear();
    *spare = std::mem::take(&mut context.headers);
    if let Some(panic) = context.panic.take() {
        resume_unwind(panic);
    }
    (context.round, context.trouble)
}

unsafe extern "C" fn on_message(message: *mut native::rd_kafka_message_t, opaque: *mut c_void) {
    // SAFETY: the opaque is the context that `serve` lent for this call; nothing else refers to it meanwhile.
    let context = unsafe { &mut *opaque.cast::<Context<'_>>() };
    if context.panic.is_some() || context.trouble.is_some() || context.round.limit_reached {
        // The library stops after the message during which it was told to; this is only for certainty.
        return;
    }
    let caught = catch_unwind(AssertUnwindSafe(|| context.take(message)));
    if let Err(panic) = caught {
        context.panic = Some(panic);
        context.stop();
    }
}

impl Context<'_> {
    fn take(&mut self, message: *mut native::rd_kafka_message_t) {
        // SAFETY: in bounds of the live message; no reference to the field is made.
        let code = unsafe { &raw const (*message).err }.cast::<c_int>();
        // SAFETY: the field has the size of an int; see `partitions::entry` for why it is read as one.
        match unsafe { code.read() } {
            0 => self.record(message),
            PARTITION_EOF => {
                // SAFETY: live.
                let offset = unsafe { (*message).offset };
                // SAFETY: live.
                let broker = unsafe { native::rd_kafka_message_broker_id(message) };
                self.round.end = Some(EndSeen { offset, broker });
            }
            code => {
                // SAFETY: live; the text lives as long as the message.
                let text = text_of(unsafe { native::rd_kafka_message_errstr(message) });
                self.trouble = Some(Trouble { code, text });
                self.stop();
            }
        }
    }

    fn record(&mut self, message: *mut native::rd_kafka_message_t) {
        // SAFETY: live.
        let offset = unsafe { (*message).offset };
        if offset < self.bounds.from {
            return;
        }
        self.round.end = None;
        if offset >= self.bounds.until {
            self.round.limit_reached = true;
            self.stop();
            return;
        }
        // SAFETY: live.
        let epoch = unsafe { native::rd_kafka_message_leader_epoch(message) };
        // SAFETY: live, without an error (so all fields hold what their types say), and written to by nobody meanwhile.
        let fields = unsafe { &*message };
        self.headers.clear();
        if !self.knows_layout || epoch < 0 || may_have_headers(fields) {
            self.read_headers(message);
        }
        let mut kind = native::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: both are live.
        let timestamp = unsafe { native::rd_kafka_message_timestamp(message, &raw mut kind) };
        let available = kind != native::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE && timestamp >= 0;
        (self.visit)(Fetched {
            key: bytes(fields.key, fields.key_len),
            value: bytes(fields.payload, fields.len),
            timestamp: available.then_some(timestamp),
            offset,
            headers: &self.headers,
        });
        self.headers.clear();
        self.round.last = Some((offset, epoch));
        self.round.records += 1;
        if self.round.records >= self.bounds.records_max {
            self.stop();
        }
    }

    fn read_headers(&mut self, message: *mut native::rd_kafka_message_t) {
        let mut headers = std::ptr::null_mut();
        // SAFETY: both are live. An error says that there are none (or none that can be read).
        let code = unsafe { native::rd_kafka_message_headers(message, &raw mut headers) };
        if code != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return;
        }
        for index in 0.. {
            let mut name: *const c_char = std::ptr::null();
            let mut value: *const c_void = std::ptr::null();
            let mut length = 0;
            // SAFETY: the headers live as long as the message, and all out pointers are live.
            let code = unsafe {
                native::rd_kafka_header_get_all(headers, index, &raw mut name, &raw mut value, &raw mut length)
            };
            if code != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return;
            }
            // The entries claim to live for ever but are cleared when the visitor returns, and `Fetched` lends them
            // only for its call.
            self.headers.push((header_name(name), bytes(value, length)));
        }
    }

    /// Has the library put what it has not called back for yet back into the queue.
    fn stop(&self) {
        // SAFETY: the handle is live, and this is the thread that serves the queue, as the call demands.
        unsafe { native::rd_kafka_yield(self.client) };
    }
}

const PARTITION_EOF: c_int = native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__PARTITION_EOF as c_int;

/// The librdkafka version whose message layout `may_have_headers` relies on: 2.12.1.
const KNOWN_VERSION: c_int = 0x020c_01ff;

/// Whether the library is the version that `may_have_headers` was checked against.
fn knows_layout() -> bool {
    // SAFETY: takes nothing, returns a constant.
    unsafe { native::rd_kafka_version() == KNOWN_VERSION }
}

/// Whether a message of format 2 may have headers. Asking the library costs 200 ns a record (measured): it allocates a
/// parser even when there is nothing to parse, more than all the rest of reading. But a record of format 2 has its
/// headers right behind its value, first their count, and `0` for none is one zero byte.
fn may_have_headers(message: &native::rd_kafka_message_t) -> bool {
    // An empty value points elsewhere, and a tombstone nowhere.
    if message.payload.is_null() || message.len == 0 {
        return true;
    }
    let behind_value = message.payload.cast::<u8>().cast_const().wrapping_add(message.len);
    // SAFETY: the caller has checked version and format. In that version the value lies where the broker's answer (or
    // its decompressed batch) was put, in one piece, up to the record's end (`rd_kafka_msgset_reader_msg_v2`); the format
    // puts at least the byte of the count there, and brokers refuse records without it.
    let count = unsafe { behind_value.read() };
    count != 0
}

/// Bytes of the library; `None` for null. The caller ends their use with the message.
fn bytes<'a>(start: *const c_void, length: usize) -> Option<&'a [u8]> {
    if start.is_null() {
        return None;
    }
    // SAFETY: not null, and the library says how long; nothing writes to it while the message lives.
    Some(unsafe { std::slice::from_raw_parts(start.cast(), length) })
}

/// A header's name, up to its first byte that is not UTF-8.
fn header_name<'a>(name: *const c_char) -> &'a str {
    if name.is_null() {
        return "";
    }
    // SAFETY: the library ends header names with NUL; the caller ends the use with the message.
    let name = unsafe { CStr::from_ptr(name) };
    match name.to_str() {
        Ok(name) => name,
        Err(error) => std::str::from_utf8(&name.to_bytes()[..error.valid_up_to()]).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::{bytes, header_name, knows_layout, may_have_headers};
    use rdkafka::bindings as native;
    use std::ffi::c_void;

    /// When this fails, librdkafka was upgraded: read how it stores a message's value and headers, and set the version.
    /// Until then headers are found, but every record costs an allocation.
    #[test]
    fn the_message_layout_of_this_librdkafka_was_checked() {
        assert!(knows_layout());
    }

    /// A message whose value is the first so many bytes of a record.
    fn message(record: &[u8], length: usize) -> native::rd_kafka_message_t {
        native::rd_kafka_message_t {
            err: native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR,
            rkt: std::ptr::null_mut(),
            partition: 0,
            payload: record.as_ptr().cast_mut().cast::<c_void>(),
            len: length,
            key: std::ptr::null_mut(),
            key_len: 0,
            offset: 0,
            _private: std::ptr::null_mut(),
        }
    }

    #[test]
    fn memory_one_byte_behind_a_value_says_whether_there_are_headers() {
        assert!(!may_have_headers(&message(b"value\0", 5)));
        assert!(may_have_headers(&message(b"value\x02", 5)));
        assert!(may_have_headers(&message(b"", 0)), "an empty value points elsewhere");
        let tombstone = native::rd_kafka_message_t { payload: std::ptr::null_mut(), ..message(b"", 0) };
        assert!(may_have_headers(&tombstone));
    }

    #[test]
    fn memory_of_the_library_becomes_slices_and_null_becomes_none() {
        assert_eq!(bytes(std::ptr::null(), 7), None);
        assert_eq!(bytes(b"key".as_ptr().cast(), 3), Some(&b"key"[..]));
        assert_eq!(bytes(b"key".as_ptr().cast(), 0), Some(&b""[..]));
        assert_eq!(header_name(std::ptr::null()), "");
        assert_eq!(header_name(c"trace-id".as_ptr()), "trace-id");
        assert_eq!(header_name(c"caf\xc3\xa9\xff".as_ptr()), "caf\u{e9}");
    }
}
