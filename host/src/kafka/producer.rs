//! The native transactional producer: librdkafka's calls made safe, in no particular order.
//!
//! Knows how to hand records over, and what became of them; it does not know which order of calls is right:
//! `transaction` does, and is the only user.

use super::client::{Client, METADATA_REFRESH, Role, millis};
use super::codes;
use super::error::KafkaError;
use super::objects::{RawMessage, Topic, refresh};
use super::reports::text_of;
use crate::config::model::KafkaConnection;
use rdkafka::bindings as native;
use rdkafka::bindings::{rd_kafka_conf_t, rd_kafka_resp_err_t as Code, rd_kafka_t, rd_kafka_vtype_t as Kind};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// `AddPartitionsToTxn`: a failed one may still be on its way to the broker.
const ADD_PARTITIONS_TO_TXN: i16 = 24;
/// `EndTxn`: a failed one may still be on its way, and would then end the next transaction.
const END_TXN: i16 = 26;
/// Delivery failures kept word for word; after the first the transaction is lost anyway.
const FAILURES_MAX: usize = 4;
/// Records that wait for the broker take at most this much memory, keys and librdkafka's own bookkeeping not counted.
const QUEUE_KIBIBYTES: &str = "32768";
/// And they are at most this many, which bounds the bookkeeping: about 300 bytes each.
const QUEUE_RECORDS: &str = "100000";
/// The size to begin a record's headers with.
const HEADERS_USUAL: usize = 4;

/// Settings that a connection's properties may override.
const DEFAULTS: [(&str, &str); 6] = [
    METADATA_REFRESH,
    ("queue.buffering.max.kbytes", QUEUE_KIBIBYTES),
    ("queue.buffering.max.messages", QUEUE_RECORDS),
    ("linger.ms", "5"),
    ("retry.backoff.ms", "20"),
    ("reconnect.backoff.max.ms", "2000"),
];

/// What the library's threads tell about one producer.
#[derive(Debug, Default)]
struct Watch {
    /// Requests of the transaction that did not get an answer.
    doubtful_requests: AtomicU64,
    failures: Mutex<Vec<DeliveryFailure>>,
}

/// A record that the broker did not take.
#[derive(Debug, Clone)]
struct DeliveryFailure {
    topic: String,
    partition: i32,
    bytes: usize,
    code: c_int,
}

impl DeliveryFailure {
    fn doing(&self) -> String {
        let DeliveryFailure { topic, partition, bytes, .. } = self;
        format!("writing a record of `{bytes}` bytes to `{topic}` partition `{partition}`")
    }

    fn is_purged(&self) -> bool {
        let purged = [Code::RD_KAFKA_RESP_ERR__PURGE_QUEUE, Code::RD_KAFKA_RESP_ERR__PURGE_INFLIGHT];
        purged.contains(&super::client::code(self.code))
    }
}

/// A record on its way to the queue. The bytes are copied by the call that takes it.
#[derive(Debug, Clone, Copy)]
pub struct NewRecord<'a> {
    /// The partition; it must exist.
    pub partition: i32,
    /// The key; `None` is null.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Milliseconds since the Unix epoch, above zero.
    pub timestamp: i64,
}

/// What became of a record that was handed over.
pub(super) enum Enqueued {
    /// The queue has it.
    Done,
    /// The queue is full: serve it and try again.
    Full,
    /// It is larger than `message.max.bytes`.
    TooLarge,
}

/// A transactional producer and its topics. The handle is destroyed with it, without ending the transaction; one that was
/// fenced, or still has records on their way, is left to the end of the process.
#[derive(Debug)]
pub(super) struct Producer {
    // In this order: topics keep the client, and the client's callbacks use the watch.
    topics: Vec<Topic>,
    client: Arc<Client>,
    watch: Arc<Watch>,
}

impl Producer {
    /// Makes a producer and has it learn about the cluster. Fences nobody yet.
    pub(super) fn connect(
        connection: &KafkaConnection,
        transactional_id: &str,
        transaction_timeout: Duration,
        at_most: Duration,
    ) -> Result<Producer, KafkaError> {
        let watch = Arc::<Watch>::default();
        let timeout = millis(transaction_timeout).to_string();
        let owned = [
            ("transactional.id", transactional_id),
            ("transaction.timeout.ms", timeout.as_str()),
            ("enable.idempotence", "true"),
            // Only failures: a report for each record would cost more than the record.
            ("delivery.report.only.error", "true"),
        ];
        let watch_pointer = Arc::as_ptr(&watch).cast_mut().cast::<c_void>();
        let client = Client::new(connection, Role::Producer, &DEFAULTS, &owned, |conf| install(conf, watch_pointer))?;
        let producer = Producer { topics: Vec::new(), client: Arc::new(client), watch };
        // Without this question `init_transactions` waits half a second for its coordinator.
        refresh(&producer.client, at_most)?;
        Ok(producer)
    }

    /// Opens one more topic; topics are numbered in this order.
    pub(super) fn open_topic(&mut self, name: &str) -> Result<usize, KafkaError> {
        self.topics.push(Topic::new(&self.client, name)?);
        Ok(self.topics.len() - 1)
    }

    /// An open topic.
    pub(super) fn topic(&self, index: usize) -> &Topic {
        &self.topics[index]
    }

    /// Gets the producer's id, fencing whoever had it and ending what that one left open.
    pub(super) fn init_transactions(&self, at_most: Duration) -> Result<(), KafkaError> {
        // SAFETY: the handle is live; the call waits at most as long as said.
        let error = unsafe { native::rd_kafka_init_transactions(self.client.as_ptr(), millis(at_most)) };
        self.client.check_object("initializing the transactional producer", error)
    }

    /// Begins a transaction; asks nobody.
    pub(super) fn begin(&self) -> Result<(), KafkaError> {
        // SAFETY: the handle is live.
        let error = unsafe { native::rd_kafka_begin_transaction(self.client.as_ptr()) };
        self.client.check_object("beginning a transaction", error)
    }

    /// Says why the transaction failed, if it did. Must only be called when it cannot go on: asked to begin another one, the
    /// library does nothing and says why it cannot.
    fn expect_sound(&self, doing: &str) -> Result<(), KafkaError> {
        // SAFETY: the handle is live.
        let error = unsafe { native::rd_kafka_begin_transaction(self.client.as_ptr()) };
        self.client.check_object(doing, error)
    }

    /// Commits. OK means that the coordinator logged its intent.
    pub(super) fn commit(&self, at_most: Duration) -> Result<(), KafkaError> {
        // SAFETY: the handle is live; the call waits at most as long as said.
        let error = unsafe { native::rd_kafka_commit_transaction(self.client.as_ptr(), millis(at_most)) };
        self.client.check_object("committing the transaction", error)
    }

    /// Hands a record over, copying its bytes.
    pub(super) fn enqueue<'a>(
        &self,
        topic: usize,
        record: &NewRecord<'_>,
        headers: impl IntoIterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> Result<Enqueued, KafkaError> {
        let headers = RecordHeaders::new(headers);
        let watch = Arc::as_ptr(&self.watch).cast_mut().cast::<c_void>();
        let topic = &self.topics[topic];
        let arguments = [
            argument(Kind::RD_KAFKA_VTYPE_RKT, Value { rkt: topic.as_ptr() }),
            argument(Kind::RD_KAFKA_VTYPE_PARTITION, Value { i32_: record.partition }),
            argument(Kind::RD_KAFKA_VTYPE_MSGFLAGS, Value { i: native::RD_KAFKA_MSG_F_COPY as c_int }),
            argument(Kind::RD_KAFKA_VTYPE_VALUE, bytes(record.value)),
            argument(Kind::RD_KAFKA_VTYPE_KEY, bytes(record.key)),
            argument(Kind::RD_KAFKA_VTYPE_TIMESTAMP, Value { i64_: record.timestamp }),
            argument(Kind::RD_KAFKA_VTYPE_OPAQUE, Value { ptr: watch }),
            argument(Kind::RD_KAFKA_VTYPE_HEADERS, Value { headers: headers.as_ptr() }),
        ];
        // The last argument is left out where there are no headers.
        let count = arguments.len() - usize::from(headers.0.is_none());
        // SAFETY: each argument holds the union field that its kind asks for; key and value are copied before the call
        // returns; topic and watch outlive the record, because the client does not outlive them.
        let error = unsafe { native::rd_kafka_produceva(self.client.as_ptr(), arguments.as_ptr(), count) };
        if error.is_null() {
            // The record owns its headers now.
            std::mem::forget(headers);
            return Ok(Enqueued::Done);
        }
        // SAFETY: not null, so a live error object of ours.
        let code = unsafe { codes::error_code(error) };
        let outcome = match code {
            Code::RD_KAFKA_RESP_ERR__QUEUE_FULL => Enqueued::Full,
            Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE => Enqueued::TooLarge,
            _ => {
                let doing = format!("writing a record to topic `{}`", topic.name());
                let refused = self.client.check_object(&doing, error);
                if matches!(code, Code::RD_KAFKA_RESP_ERR__STATE | Code::RD_KAFKA_RESP_ERR__FATAL) {
                    self.expect_sound(&doing)?;
                }
                return refused.map(|()| Enqueued::Done);
            }
        };
        // SAFETY: as above, and not used afterwards.
        unsafe { native::rd_kafka_error_destroy(error) };
        Ok(outcome)
    }

    /// Serves reports, waiting at most `at_most` for one, and says whether a record failed so far.
    pub(super) fn serve(&self, at_most: Duration) -> Result<(), KafkaError> {
        self.client.poll(at_most);
        // Explaining serves reports too, so the lock must be free by then.
        let failure = self.watch.failures.lock().unwrap_or_else(PoisonError::into_inner).first().cloned();
        let Some(failure) = failure else { return Ok(()) };
        if failure.is_purged() {
            // The library threw the record away because the transaction had failed before.
            self.expect_sound("writing the output to the brokers")?;
        }
        Err(self.explain(&failure))
    }

    /// Sends what is queued without waiting for `linger.ms`, and says how many records are not answered yet.
    pub(super) fn push_out(&self) -> usize {
        // SAFETY: the handle is live; a timeout of zero does not wait, and its result only says that records are left.
        unsafe { native::rd_kafka_flush(self.client.as_ptr(), 0) };
        self.outstanding()
    }

    /// Records and reports that are not answered or served yet.
    pub(super) fn outstanding(&self) -> usize {
        // SAFETY: the handle is live.
        let count = unsafe { native::rd_kafka_outq_len(self.client.as_ptr()) };
        usize::try_from(count).unwrap_or(0)
    }

    /// The error after which the handle is of no use, if there was one.
    pub(super) fn fatal(&self) -> Option<KafkaError> {
        self.client.fatal("looking at the producer")
    }

    /// How many requests of the transaction ended without an answer, in the producer's life. Each may still arrive.
    pub(super) fn doubtful_requests(&self) -> u64 {
        self.watch.doubtful_requests.load(Ordering::Acquire)
    }

    /// A call took too long and nothing says why but the connection's own reports.
    pub(super) fn no_answer(&self, doing: &str, waited: Duration) -> KafkaError {
        self.client.no_answer(doing, waited)
    }

    fn explain(&self, failure: &DeliveryFailure) -> KafkaError {
        let code = super::client::code(failure.code);
        let way_out = match code {
            Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE => {
                "the broker takes no record of this size; raise the topic's `max.message.bytes`"
            }
            Code::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP => {
                "the broker refuses the record's timestamp; mend the operator that emitted it, or raise the topic's \
                 `message.timestamp.after.max.ms` or `message.timestamp.before.max.ms`"
            }
            _ => "",
        };
        self.client.explain(&failure.doing(), code, way_out)
    }
}

impl Drop for Producer {
    /// librdkafka 2.12 damages its heap now and then, and then aborts the process, when it destroys a producer whose requests
    /// are being refused as a fenced one's. Such a producer is of no use and its process ends, so it is not destroyed.
    fn drop(&mut self) {
        if self.outstanding() > 0 || self.fatal().is_some() {
            // One more owner of each, for ever: the library's threads go on using both.
            std::mem::forget((Arc::clone(&self.client), Arc::clone(&self.watch)));
        }
    }
}

/// The headers of one record, destroyed unless a record took them over.
struct RecordHeaders(Option<NonNull<native::rd_kafka_headers_t>>);

impl RecordHeaders {
    fn new<'a>(entries: impl IntoIterator<Item = (&'a [u8], Option<&'a [u8]>)>) -> RecordHeaders {
        let mut headers = RecordHeaders(None);
        for (name, value) in entries {
            let pointer = *headers.0.get_or_insert_with(|| {
                // SAFETY: the argument is only a size to begin with.
                let pointer = unsafe { native::rd_kafka_headers_new(HEADERS_USUAL) };
                NonNull::new(pointer).expect("librdkafka ends the process when memory runs out")
            });
            let value_pointer = value.map_or(ptr::null(), <[u8]>::as_ptr).cast();
            let value_bytes = value.map_or(0, <[u8]>::len) as isize;
            // SAFETY: the headers are live; name and value are live for the call, which copies them, and their lengths
            // are said (a null value is a null header).
            unsafe {
                native::rd_kafka_header_add(
                    pointer.as_ptr(),
                    name.as_ptr().cast(),
                    name.len() as isize,
                    value_pointer,
                    value_bytes,
                )
            };
        }
        headers
    }

    fn as_ptr(&self) -> *mut native::rd_kafka_headers_t {
        self.0.map_or(ptr::null_mut(), NonNull::as_ptr)
    }
}

impl Drop for RecordHeaders {
    fn drop(&mut self) {
        if let Some(pointer) = self.0 {
            // SAFETY: no record took them over, so they are ours.
            unsafe { native::rd_kafka_headers_destroy(pointer.as_ptr()) };
        }
    }
}

type Argument = native::rd_kafka_vu_s;
type Value = native::rd_kafka_vu_s__bindgen_ty_1;

fn argument(kind: Kind, value: Value) -> Argument {
    Argument { vtype: kind, u: value }
}

fn bytes(bytes: Option<&[u8]>) -> Value {
    let ptr = bytes.map_or(ptr::null(), <[u8]>::as_ptr).cast_mut().cast::<c_void>();
    Value { mem: native::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 { ptr, size: bytes.map_or(0, <[u8]>::len) } }
}

/// The interceptors' name, as the library's log shows it.
const INTERCEPTOR: &CStr = c"tidegate";

/// Registers the callbacks that write to the watch at `watch`, which must outlive the client made of `conf`.
fn install(conf: *mut rd_kafka_conf_t, watch: *mut c_void) {
    // SAFETY: `conf` is a live configuration; the callback has the documented signature.
    unsafe { native::rd_kafka_conf_set_dr_msg_cb(conf, Some(on_delivery)) };
    // SAFETY: as above; the name is copied, the watch outlives the client.
    let added =
        unsafe { native::rd_kafka_conf_interceptor_add_on_new(conf, INTERCEPTOR.as_ptr(), Some(on_new), watch) };
    assert!(added == Code::RD_KAFKA_RESP_ERR_NO_ERROR, "a fresh configuration takes its first interceptor");
}

unsafe extern "C" fn on_new(
    client: *mut rd_kafka_t,
    _: *const rd_kafka_conf_t,
    watch: *mut c_void,
    _: *mut c_char,
    _: usize,
) -> Code {
    // SAFETY: the client is being made and live; name and watch as in `install`.
    unsafe {
        native::rd_kafka_interceptor_add_on_response_received(client, INTERCEPTOR.as_ptr(), Some(on_response), watch)
    }
}

/// Runs on the library's threads, for each answer, and for each request that ends without one.
unsafe extern "C" fn on_response(
    _: *mut rd_kafka_t,
    _: c_int,
    _: *const c_char,
    _: i32,
    api_key: i16,
    _: i16,
    _: i32,
    _: usize,
    _: i64,
    error: Code,
    watch: *mut c_void,
) -> Code {
    // librdkafka 2.12 calls this twice for an answer; counting errors only, twice is as good as once.
    if error != Code::RD_KAFKA_RESP_ERR_NO_ERROR && matches!(api_key, ADD_PARTITIONS_TO_TXN | END_TXN) {
        // SAFETY: the pointer is the one of `install`, and the watch outlives the client whose thread this is.
        let watch = unsafe { &*watch.cast::<Watch>() };
        watch.doubtful_requests.fetch_add(1, Ordering::Release);
    }
    Code::RD_KAFKA_RESP_ERR_NO_ERROR
}

/// Runs inside `serve` and the waiting calls, for each record that failed.
unsafe extern "C" fn on_delivery(_: *mut rd_kafka_t, message: *const native::rd_kafka_message_t, _: *mut c_void) {
    // SAFETY: the library hands in a live message, and the layout is the same.
    let message = unsafe { &*message.cast::<RawMessage>() };
    if message.err == Code::RD_KAFKA_RESP_ERR_NO_ERROR as c_int {
        return;
    }
    // SAFETY: the opaque is the one that `enqueue` set: the watch of the producer whose call this is in.
    let Some(watch) = (unsafe { message.opaque.cast::<Watch>().as_ref() }) else { return };
    // SAFETY: a delivered message carries its live topic.
    let topic = text_of(unsafe { native::rd_kafka_topic_name(message.topic) });
    let (partition, bytes, code) = (message.partition, message.value_bytes + message.key_bytes, message.err);
    let mut failures = watch.failures.lock().unwrap_or_else(PoisonError::into_inner);
    if failures.len() < FAILURES_MAX {
        failures.push(DeliveryFailure { topic, partition, bytes, code });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_behind_the_opaque_pointers_counts_doubtful_requests_and_no_good_delivery() {
        let watch = Arc::<Watch>::default();
        let opaque = Arc::as_ptr(&watch).cast_mut().cast::<c_void>();
        let answer = |api, error| {
            // SAFETY: called as the library does, with the pointer that `install` would give it.
            unsafe { on_response(ptr::null_mut(), 0, ptr::null(), 1, api, 0, 0, 0, 0, error, opaque) }
        };
        answer(END_TXN, Code::RD_KAFKA_RESP_ERR_NO_ERROR);
        answer(0, Code::RD_KAFKA_RESP_ERR__TRANSPORT);
        answer(END_TXN, Code::RD_KAFKA_RESP_ERR__TRANSPORT);
        answer(ADD_PARTITIONS_TO_TXN, Code::RD_KAFKA_RESP_ERR__TIMED_OUT);
        assert_eq!(watch.doubtful_requests.load(Ordering::Acquire), 2);
        let message = RawMessage {
            err: 0,
            topic: ptr::null_mut(),
            partition: 0,
            value: ptr::null(),
            value_bytes: 0,
            key: ptr::null(),
            key_bytes: 0,
            offset: 0,
            opaque,
        };
        // SAFETY: as the library does for a record that was delivered.
        unsafe { on_delivery(ptr::null_mut(), (&raw const message).cast(), ptr::null_mut()) };
        assert!(watch.failures.lock().expect("nobody panicked").is_empty());
    }
}
