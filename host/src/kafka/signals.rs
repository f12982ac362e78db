//! What a consumer's library threads tell the reading thread: data arrived, and which broker answered when.
//!
//! Written by callbacks, read by `consumer`. Nothing here waits for the network.

use rdkafka::bindings::{
    rd_kafka_conf_interceptor_add_on_new, rd_kafka_conf_t, rd_kafka_interceptor_add_on_response_received,
    rd_kafka_resp_err_t, rd_kafka_t,
};
use std::collections::HashMap;
use std::ffi::{c_char, c_int, c_void};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The key of a Fetch request in the Kafka protocol.
const FETCH: i16 = 1;

/// Shared between a consumer and its library threads.
#[derive(Debug, Default)]
pub(super) struct Signals {
    arrived: Mutex<bool>,
    arrival: Condvar,
    /// When each broker last answered a fetch without an error.
    answered: Mutex<HashMap<i32, Instant>>,
}

impl Signals {
    /// Has a client report answers to fetches here. The `Arc` must live until the client's handle is destroyed.
    pub(super) fn install(self: &Arc<Signals>, conf: *mut rd_kafka_conf_t) {
        let opaque = Arc::as_ptr(self).cast_mut().cast::<c_void>();
        // SAFETY: the configuration is live, the name is copied, the opaque lives long enough (see above). The only
        // error is a second interceptor of the same name, and there is one configuration per client.
        unsafe { rd_kafka_conf_interceptor_add_on_new(conf, c"tidegate".as_ptr(), Some(on_new), opaque) };
    }

    /// What a queue's event callback needs; the `Arc` must live until the callback is taken out again.
    pub(super) fn as_opaque(self: &Arc<Signals>) -> *mut c_void {
        Arc::as_ptr(self).cast_mut().cast()
    }

    /// Returns when data arrived since the last call, or after `at_most`.
    pub(super) fn wait(&self, at_most: Duration) {
        let arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut arrived, _) = self
            .arrival
            .wait_timeout_while(arrived, at_most, |arrived| !*arrived)
            .unwrap_or_else(PoisonError::into_inner);
        *arrived = false;
    }

    /// Whether a broker answered a fetch within the last `period`.
    pub(super) fn answered_within(&self, broker: i32, period: Duration) -> bool {
        let answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        answered.get(&broker).is_some_and(|at| at.elapsed() <= period)
    }

    fn arrive(&self) {
        *self.arrived.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.arrival.notify_one();
    }
}

/// A queue that was empty is not any more.
pub(super) unsafe extern "C" fn on_arrival(_: *mut rd_kafka_t, opaque: *mut c_void) {
    if let Some(signals) = signals_of(opaque) {
        signals.arrive();
    }
}

fn signals_of<'a>(opaque: *mut c_void) -> Option<&'a Signals> {
    // SAFETY: null or what `install` and `as_opaque` gave out: an `Arc` that outlives the callbacks.
    unsafe { opaque.cast::<Signals>().as_ref() }
}

unsafe extern "C" fn on_new(
    rk: *mut rd_kafka_t,
    _: *const rd_kafka_conf_t,
    opaque: *mut c_void,
    _: *mut c_char,
    _: usize,
) -> rd_kafka_resp_err_t {
    // SAFETY: called by the library with a live handle while it makes the client; the name is copied.
    unsafe { rd_kafka_interceptor_add_on_response_received(rk, c"tidegate".as_ptr(), Some(on_response), opaque) }
}

unsafe extern "C" fn on_response(
    _: *mut rd_kafka_t,
    _: c_int,
    _: *const c_char,
    broker: i32,
    api: i16,
    _: i16,
    _: i32,
    _: usize,
    _: i64,
    error: rd_kafka_resp_err_t,
    opaque: *mut c_void,
) -> rd_kafka_resp_err_t {
    if api == FETCH
        && error == rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
        && let Some(signals) = signals_of(opaque)
    {
        let mut answered = signals.answered.lock().unwrap_or_else(PoisonError::into_inner);
        answered.insert(broker, Instant::now());
    }
    rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_behind_the_opaque_pointer_is_told_of_arrivals_and_answers() {
        let signals = Arc::new(Signals::default());
        let opaque = signals.as_opaque();
        let answer = |api, error| {
            // SAFETY: called as the library does, with the pointer that `install` would give it.
            unsafe { on_response(std::ptr::null_mut(), 0, std::ptr::null(), 7, api, 0, 0, 0, 0, error, opaque) }
        };
        answer(FETCH, rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TRANSPORT);
        answer(FETCH + 1, rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR);
        assert!(!signals.answered_within(7, Duration::from_hours(1)));
        answer(FETCH, rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR);
        assert!(signals.answered_within(7, Duration::from_hours(1)));
        // SAFETY: as above.
        unsafe { on_arrival(std::ptr::null_mut(), opaque) };
        // SAFETY: a queue without an opaque pointer.
        unsafe { on_arrival(std::ptr::null_mut(), std::ptr::null_mut()) };
        let began = Instant::now();
        signals.wait(Duration::from_hours(1));
        assert!(began.elapsed() < Duration::from_mins(1), "the arrival was noticed");
    }
}
