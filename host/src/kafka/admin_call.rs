//! One admin request of the library: options, a queue for the answer, the answer as an event. Bounded in time.
//!
//! librdkafka sends it to the one broker that it was told is the controller, and waits for that one for as long as the request
//! may take, even if it is dead and the others live. Brokers in `KRaft` mode name any one of them. So a request without an
//! answer is made again, after the library was told anew; every request here may be made twice.
//!
//! Knows no particular request; next room: `admin`, which has them.

use super::client::{Client, millis};
use super::codes;
use super::error::{Class, KafkaError};
use super::objects::refresh;
use super::reports::text_of;
use rdkafka::bindings as native;
use std::ffi::c_char;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

/// The library answers a request that timed out by itself; this much later we no longer wait for that.
const ANSWER_GRACE: Duration = Duration::from_millis(500);

/// While an answer is waited for, the library's reports are looked at this often: wrong credentials end the wait.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long the first try may take; each further one may take twice as long, for the sake of brokers that are slow.
const FIRST_TRY_MAX: Duration = Duration::from_secs(3);

/// Learning who leads is given at least this long, however short the request's own time is, and at most so long: brokers that
/// live answer at once.
const REFRESH_MIN: Duration = Duration::from_millis(500);
const REFRESH_MAX: Duration = Duration::from_secs(2);

/// What a request asks of the broker beside its own arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Nothing special.
    Plain,
    /// Offsets as a reader of committed records sees them.
    Committed,
    /// Group offsets without those of a pending transaction.
    Stable,
}

/// An answer. Destroyed when dropped; what is read from it must not outlive it.
#[derive(Debug)]
pub(super) struct Answer(NonNull<native::rd_kafka_event_t>);

impl Answer {
    /// The event, for the calls that read results from it.
    pub(super) fn as_ptr(&self) -> *mut native::rd_kafka_event_t {
        self.0.as_ptr()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // SAFETY: ours, and not used afterwards.
        unsafe { native::rd_kafka_event_destroy(self.0.as_ptr()) };
    }
}

/// A queue for answers.
struct Queue(NonNull<native::rd_kafka_queue_t>);

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: ours, and not used afterwards. A late answer is dropped by the library.
        unsafe { native::rd_kafka_queue_destroy(self.0.as_ptr()) };
    }
}

/// Options of a request.
struct Options(NonNull<native::rd_kafka_AdminOptions_t>);

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: ours, and not used afterwards: requests copy their options.
        unsafe { native::rd_kafka_AdminOptions_destroy(self.0.as_ptr()) };
    }
}

/// Makes a request with `submit`, which gets the options and the queue, and waits for its answer. It is submitted again while
/// there is none and `timeout` is not over.
pub(super) fn request(
    client: &Client,
    doing: &str,
    operation: native::rd_kafka_admin_op_t,
    reading: Reading,
    timeout: Duration,
    mut submit: impl FnMut(*mut native::rd_kafka_AdminOptions_t, *mut native::rd_kafka_queue_t),
) -> Result<Answer, KafkaError> {
    let began = Instant::now();
    let mut try_max = FIRST_TRY_MAX;
    loop {
        let (asked, left) = (Instant::now(), timeout.saturating_sub(began.elapsed()));
        let result = request_once(client, doing, operation, reading, try_max.min(left), &mut submit);
        if !result.as_ref().is_err_and(|error| error.class() == Class::Retry) {
            return result;
        }
        let is_unanswered = asked.elapsed() >= try_max;
        // The next request goes where the cluster says then; that this fails, it will say.
        let _ = refresh(client, timeout.clamp(REFRESH_MIN, REFRESH_MAX));
        if !is_unanswered || began.elapsed() >= timeout {
            return result;
        }
        try_max *= 2;
    }
}

fn request_once(
    client: &Client,
    doing: &str,
    operation: native::rd_kafka_admin_op_t,
    reading: Reading,
    timeout: Duration,
    submit: &mut impl FnMut(*mut native::rd_kafka_AdminOptions_t, *mut native::rd_kafka_queue_t),
) -> Result<Answer, KafkaError> {
    let options = options(client, doing, operation, reading, timeout)?;
    // SAFETY: the handle is live; the queue is ours and goes before the handle.
    let queue = unsafe { native::rd_kafka_queue_new(client.as_ptr()) };
    let queue = Queue(NonNull::new(queue).expect("librdkafka ends the process when memory runs out"));
    submit(options.0.as_ptr(), queue.0.as_ptr());
    let answer = await_answer(client, doing, &queue, timeout)?;
    // SAFETY: the event is live.
    let code = unsafe { codes::event_error(answer.as_ptr()) };
    if code == native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Ok(answer);
    }
    // SAFETY: the event is live, and the text as long as it.
    let text = text_of(unsafe { native::rd_kafka_event_error_string(answer.as_ptr()) });
    Err(client.explain(doing, code, &text))
}

fn await_answer(client: &Client, doing: &str, queue: &Queue, timeout: Duration) -> Result<Answer, KafkaError> {
    let deadline = Instant::now() + timeout + ANSWER_GRACE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // SAFETY: the queue is live.
        let event = unsafe { native::rd_kafka_queue_poll(queue.0.as_ptr(), millis(left.min(LOOK_EVERY))) };
        if let Some(event) = NonNull::new(event) {
            return Ok(Answer(event));
        }
        if let Some(refusal) = client.refusal(doing) {
            return Err(refusal);
        }
        if left.is_zero() {
            return Err(client.no_answer(doing, timeout));
        }
    }
}

fn options(
    client: &Client,
    doing: &str,
    operation: native::rd_kafka_admin_op_t,
    reading: Reading,
    timeout: Duration,
) -> Result<Options, KafkaError> {
    // SAFETY: the handle is live; the options are ours.
    let options = unsafe { native::rd_kafka_AdminOptions_new(client.as_ptr(), operation) };
    let options = Options(NonNull::new(options).expect("the operation is one of the library's own"));
    let mut reason = [0 as c_char; 256];
    // SAFETY: options and buffer are live; the length is the buffer's.
    let code = unsafe {
        native::rd_kafka_AdminOptions_set_request_timeout(
            options.0.as_ptr(),
            millis(timeout),
            reason.as_mut_ptr(),
            reason.len(),
        )
    };
    client.check(doing, code)?;
    let error = match reading {
        Reading::Plain => std::ptr::null_mut(),
        Reading::Committed => {
            let level = native::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED;
            // SAFETY: the options are live and of a request that knows this setting.
            unsafe { native::rd_kafka_AdminOptions_set_isolation_level(options.0.as_ptr(), level) }
        }
        Reading::Stable => {
            // SAFETY: as above.
            unsafe { native::rd_kafka_AdminOptions_set_require_stable_offsets(options.0.as_ptr(), 1) }
        }
    };
    client.check_object(doing, error)?;
    Ok(options)
}
