//! Makes a native client of a connection and explains its failures. Consumers, producers and admin calls share it.
//!
//! Owns the handle and its destruction; knows nothing of topics, transactions or positions. It never prints a
//! property's value. Next room: `reports`, where the library's own words are kept; `error`, what they become.

use super::codes;
use super::error::{CallFlags, Class, KafkaError};
use super::reports::{Report, Reports, code_of, text_of};
use crate::config::model::KafkaConnection;
use rdkafka::bindings as native;
use rdkafka::bindings::{rd_kafka_conf_t, rd_kafka_resp_err_t as Code, rd_kafka_t};
use std::any::Any;
use std::ffi::{CString, c_char, c_int};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

/// The library writes its reasons into buffers of at least this size.
const TEXT_BYTES: usize = 512;

/// How often who leads what is asked for anyway. When a broker dies the library asks once, at once: before the cluster has
/// noticed and chosen another leader, and then not again for five minutes, unless it is told otherwise.
pub(super) const METADATA_REFRESH: (&str, &str) = ("topic.metadata.refresh.interval.ms", "3000");

/// What a client is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It produces; admin calls use one too, because it joins no group.
    Producer,
    /// It consumes.
    Consumer,
}

/// A librdkafka handle of ours. Thread-safe, like the handle itself. Queues, topics and messages made from it must be
/// gone before it is dropped: whoever makes them keeps an `Arc` of it.
#[derive(Debug)]
pub(super) struct Client {
    handle: NonNull<rd_kafka_t>,
    connection: KafkaConnection,
    // Declared after `handle`: the callbacks use it until the handle is destroyed in `drop`.
    reports: Arc<Reports>,
    kept: Vec<Arc<dyn Any + Send + Sync>>,
}

// SAFETY: librdkafka documents its handles as completely thread-safe; everything else here is Send and Sync by itself.
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

impl Client {
    /// Makes a client. `defaults` may be overridden by the connection's properties, `owned` may not. `before_new` gets
    /// the configuration last, for interceptors and callbacks; it must not set the opaque, the error or the log
    /// callback, and what it registers must be handed to `keep` afterwards. Does no I/O: brokers that are down are not noticed.
    pub(super) fn new(
        connection: &KafkaConnection,
        role: Role,
        defaults: &[(&str, &str)],
        owned: &[(&str, &str)],
        before_new: impl FnOnce(*mut rd_kafka_conf_t),
    ) -> Result<Client, KafkaError> {
        let reports = Arc::new(Reports::new(connection));
        let brokers = connection.brokers.join(",");
        let mut conf = Conf::new(&connection.name);
        // Level 6 (info): lower levels swallow the disconnects that explain a wrong `security`.
        conf.set("log_level", "6")?;
        conf.set("client.id", "tidegate")?;
        if let Some((name, value)) = authorities(|variable| std::env::var_os(variable).is_some()) {
            conf.set(name, value)?;
        }
        for (name, value) in defaults {
            conf.set(name, value)?;
        }
        for (name, value) in &connection.properties {
            conf.set(name, value.reveal())?;
        }
        conf.set("bootstrap.servers", &brokers)?;
        for (name, value) in owned {
            conf.set(name, value)?;
        }
        reports.install(conf.pointer);
        before_new(conf.pointer);
        let handle = conf.build(role, &reports)?;
        Ok(Client { handle, connection: connection.clone(), reports, kept: Vec::new() })
    }

    /// Keeps a value until the handle is destroyed: what `before_new` registered callbacks with.
    pub(super) fn keep(&mut self, value: Arc<dyn Any + Send + Sync>) {
        self.kept.push(value);
    }

    /// The handle, for calls of this module. Valid while `self` is.
    pub(super) fn handle(&self) -> NonNull<rd_kafka_t> {
        self.handle
    }

    /// The same, as calls take it.
    pub(super) fn as_ptr(&self) -> *mut rd_kafka_t {
        self.handle.as_ptr()
    }

    /// The connection's name in the job file.
    pub(super) fn connection(&self) -> &str {
        &self.connection.name
    }

    /// Serves the client's own queue: error reports, and delivery reports of a producer. Waits at most `at_most` for one.
    pub(super) fn poll(&self, at_most: Duration) {
        // SAFETY: the handle is live; callbacks run on this thread and only write to `reports` or to what the maker of
        // the client registered.
        unsafe { native::rd_kafka_poll(self.as_ptr(), millis(at_most)) };
    }

    /// Whether a call succeeded; if not, why.
    pub(super) fn check(&self, doing: &str, code: Code) -> Result<(), KafkaError> {
        if code == Code::RD_KAFKA_RESP_ERR_NO_ERROR { Ok(()) } else { Err(self.explain(doing, code, "")) }
    }

    /// Whether a call that returns an error object succeeded; if not, why. Takes the object over and destroys it.
    pub(super) fn check_object(&self, doing: &str, object: *mut native::rd_kafka_error_t) -> Result<(), KafkaError> {
        if object.is_null() {
            return Ok(());
        }
        let error = self.explain_object(doing, object);
        // SAFETY: the object is ours (the call returned it) and not used afterwards.
        unsafe { native::rd_kafka_error_destroy(object) };
        Err(error)
    }

    /// Explains an error object that stays its owner's. Must not be null.
    pub(super) fn explain_object(&self, doing: &str, object: *const native::rd_kafka_error_t) -> KafkaError {
        // SAFETY: the caller hands in a live error object.
        let code = unsafe { codes::error_code(object) };
        // SAFETY: as above; the string lives as long as the object.
        let text = text_of(unsafe { native::rd_kafka_error_string(object) });
        // SAFETY: as above.
        let fatal = unsafe { native::rd_kafka_error_is_fatal(object) } != 0;
        // SAFETY: as above.
        let retriable = unsafe { native::rd_kafka_error_is_retriable(object) } != 0;
        // SAFETY: as above.
        let requires_abort = unsafe { native::rd_kafka_error_txn_requires_abort(object) } != 0;
        self.explain_flagged(doing, code, &text, Some(CallFlags { fatal, retriable, requires_abort }))
    }

    /// Makes an error of a code, with what the library reported about the connection. `text` replaces the code's own
    /// text unless empty.
    pub(super) fn explain(&self, doing: &str, code: Code, text: &str) -> KafkaError {
        self.explain_flagged(doing, code, text, None)
    }

    /// A call was given up after `waited` without an answer: says why, if the library reported it.
    pub(super) fn no_answer(&self, doing: &str, waited: Duration) -> KafkaError {
        self.poll(Duration::ZERO);
        self.connection_error(doing).unwrap_or_else(|| KafkaError::TimedOut {
            doing: doing.to_owned(),
            connection: self.connection.name.clone(),
            after: waited,
        })
    }

    /// The error after which the handle is of no use any more, if there was one.
    pub(super) fn fatal(&self, doing: &str) -> Option<KafkaError> {
        let mut text = [0 as c_char; TEXT_BYTES];
        // SAFETY: the handle is live.
        let code = unsafe { codes::fatal_error(self.as_ptr(), &mut text) };
        (code != Code::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| {
            let flags = CallFlags { fatal: true, ..CallFlags::default() };
            self.explain_flagged(doing, code, &text_of(text.as_ptr()), Some(flags))
        })
    }

    fn explain_flagged(&self, doing: &str, code: Code, text: &str, flags: Option<CallFlags>) -> KafkaError {
        self.poll(Duration::ZERO);
        let fatal = flags.is_some_and(|flags| flags.fatal);
        if !fatal
            && is_connection_trouble(code)
            && let Some(error) = self.connection_error(doing)
        {
            return error;
        }
        let doing = doing.to_owned();
        let connection = self.connection.name.clone();
        // SAFETY: any code may be asked for; the string is static.
        let code_name = text_of(unsafe { native::rd_kafka_err2name(code) });
        let detail = if text.is_empty() {
            // SAFETY: as above.
            text_of(unsafe { native::rd_kafka_err2str(code) })
        } else {
            text.to_owned()
        };
        let detail = sentence(&self.reports.clean(&detail));
        match code {
            Code::RD_KAFKA_RESP_ERR__FENCED
            | Code::RD_KAFKA_RESP_ERR_PRODUCER_FENCED
            | Code::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH => KafkaError::Fenced { doing },
            Code::RD_KAFKA_RESP_ERR__AUTHENTICATION | Code::RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED => {
                KafkaError::Authentication { doing, connection, detail }
            }
            Code::RD_KAFKA_RESP_ERR__SSL => KafkaError::Tls { doing, connection, detail },
            Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED
            | Code::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED
            | Code::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED
            | Code::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED => {
                KafkaError::Authorization { doing, connection, code: code_name, detail }
            }
            _ => {
                let flags = flags.unwrap_or(CallFlags { retriable: is_retriable(code), ..CallFlags::default() });
                KafkaError::Call { doing, connection, code: code_name, detail, flags, class: class_of(flags) }
            }
        }
    }

    /// The error that no waiting heals, if the library has reported one: wrong credentials, or no TLS. A call that waits
    /// for an answer can give up then.
    pub(super) fn refusal(&self, doing: &str) -> Option<KafkaError> {
        self.poll(Duration::ZERO);
        self.refusal_in(doing, &self.reports.recent())
    }

    fn refusal_in(&self, doing: &str, reports: &[Report]) -> Option<KafkaError> {
        let connection = self.connection.name.clone();
        let doing = doing.to_owned();
        let with_code = |code: Code| reports.iter().find(|report| report.code == Some(code));
        if let Some(report) = with_code(Code::RD_KAFKA_RESP_ERR__AUTHENTICATION) {
            return Some(KafkaError::Authentication { doing, connection, detail: sentence(&report.text) });
        }
        // A port without TLS just closes the connection; only the text says in which state that was.
        let report = with_code(Code::RD_KAFKA_RESP_ERR__SSL)
            .or_else(|| reports.iter().find(|report| report.text.contains("in state SSL_HANDSHAKE")))?;
        Some(KafkaError::Tls { doing, connection, detail: sentence(&report.text) })
    }

    /// What the reports say about the connection, the most telling first: credentials, TLS, an advertised address, and
    /// only then "cannot be reached".
    fn connection_error(&self, doing: &str) -> Option<KafkaError> {
        let reports = self.reports.recent();
        if let Some(error) = self.refusal_in(doing, &reports) {
            return Some(error);
        }
        let with_code = |code: Code| reports.iter().find(|report| report.code == Some(code));
        let doing = doing.to_owned();
        let connection = self.connection.name.clone();
        let about_address = |report: &&Report| report.address.is_some();
        let elsewhere =
            |report: &&Report| report.address.as_ref().is_some_and(|at| !self.connection.brokers.contains(at));
        let detail = |report: &Report| sentence(&report.text);
        let failing = |broker: &String| reports.iter().any(|report| report.address.as_ref() == Some(broker));
        // An advertised address is only known once a configured one has answered; when those fail too, it is not the
        // advertising that is wrong.
        if let Some(report) = reports.iter().find(elsewhere).filter(|_| !self.connection.brokers.iter().all(failing)) {
            let address = report.address.clone().unwrap_or_default();
            return Some(KafkaError::AdvertisedUnreachable { doing, connection, address, detail: detail(report) });
        }
        let brokers = self.connection.brokers.iter().map(|broker| format!("`{broker}`")).collect::<Vec<_>>().join(", ");
        let report =
            reports.iter().find(about_address).or_else(|| with_code(Code::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN))?;
        Some(KafkaError::Unreachable { doing, connection, brokers, detail: detail(report) })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // SAFETY: the handle is live, ours, and not used afterwards; objects made from it are gone (see the type's
        // doc). Closing a consumer first would only wait for a group that we never join.
        unsafe { native::rd_kafka_destroy_flags(self.handle.as_ptr(), native::RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE) };
    }
}

/// A configuration that is destroyed unless a client was made of it.
struct Conf<'a> {
    pointer: *mut rd_kafka_conf_t,
    connection: &'a str,
}

impl<'a> Conf<'a> {
    fn new(connection: &'a str) -> Conf<'a> {
        // SAFETY: takes no argument; the result is ours.
        let pointer = unsafe { native::rd_kafka_conf_new() };
        Conf { pointer, connection }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), KafkaError> {
        let refused = || KafkaError::Property { connection: self.connection.to_owned(), property: name.to_owned() };
        let c_name = CString::new(name).map_err(|_| refused())?;
        let c_value = CString::new(value).map_err(|_| refused())?;
        let mut reason = [0 as c_char; TEXT_BYTES];
        // SAFETY: all four pointers are live for the call, the strings end in NUL, the buffer is as long as said. What
        // it writes into the buffer quotes the value, so it is not read.
        let result = unsafe {
            native::rd_kafka_conf_set(
                self.pointer,
                c_name.as_ptr(),
                c_value.as_ptr(),
                reason.as_mut_ptr(),
                reason.len(),
            )
        };
        if result == native::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK { Ok(()) } else { Err(refused()) }
    }

    fn build(mut self, role: Role, reports: &Reports) -> Result<NonNull<rd_kafka_t>, KafkaError> {
        let kind = match role {
            Role::Producer => native::rd_kafka_type_t::RD_KAFKA_PRODUCER,
            Role::Consumer => native::rd_kafka_type_t::RD_KAFKA_CONSUMER,
        };
        let mut reason = [0 as c_char; TEXT_BYTES];
        // SAFETY: the configuration is live; on success the handle owns it, on failure it stays ours (`drop`).
        let handle = unsafe { native::rd_kafka_new(kind, self.pointer, reason.as_mut_ptr(), reason.len()) };
        let Some(handle) = NonNull::new(handle) else {
            let detail = sentence(&reports.clean(&text_of(reason.as_ptr())));
            return Err(KafkaError::Client { connection: self.connection.to_owned(), detail });
        };
        self.pointer = std::ptr::null_mut();
        Ok(handle)
    }
}

impl Drop for Conf<'_> {
    fn drop(&mut self) {
        if !self.pointer.is_null() {
            // SAFETY: still ours: no client was made of it.
            unsafe { native::rd_kafka_conf_destroy(self.pointer) };
        }
    }
}

/// The property that finds the system's certificates, which hold unless a connection names others. The OpenSSL that is
/// linked in looks in a folder of its own, which no system has, so librdkafka must look in the usual ones; only where
/// OpenSSL's own variables name a place is OpenSSL right.
fn authorities(is_set: impl Fn(&str) -> bool) -> Option<(&'static str, &'static str)> {
    let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().any(is_set);
    (!named).then_some(("ssl.ca.location", "probe"))
}

/// Milliseconds for the library's timeouts, which are `int`.
pub(super) fn millis(duration: Duration) -> c_int {
    c_int::try_from(duration.as_millis()).unwrap_or(c_int::MAX)
}

/// The code that a per-item result of the library carries as a number.
pub(super) fn code(number: c_int) -> Code {
    code_of(number)
}

/// A text as part of a longer one: no capital at the start (unless a whole word is), no final dot.
fn sentence(text: &str) -> String {
    let text = text.trim().trim_end_matches('.');
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            first.to_lowercase().chain(text[first.len_utf8()..].chars()).collect()
        }
        _ => text.to_owned(),
    }
}

/// Codes that say "could not talk to a broker" without saying why.
fn is_connection_trouble(code: Code) -> bool {
    matches!(
        code,
        Code::RD_KAFKA_RESP_ERR__TRANSPORT
            | Code::RD_KAFKA_RESP_ERR__TIMED_OUT
            | Code::RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE
            | Code::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN
            | Code::RD_KAFKA_RESP_ERR__RESOLVE
            | Code::RD_KAFKA_RESP_ERR__WAIT_COORD
            | Code::RD_KAFKA_RESP_ERR__WAIT_CACHE
    )
}

/// Codes after which the same question may be asked again, for calls that do not say so themselves.
fn is_retriable(code: Code) -> bool {
    is_connection_trouble(code)
        || matches!(
            code,
            Code::RD_KAFKA_RESP_ERR__IN_PROGRESS
                // Offsets of a partition that has no leader now.
                | Code::RD_KAFKA_RESP_ERR__NOENT
                | Code::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE
                | Code::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION
                | Code::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT
                | Code::RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION
                | Code::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS
                | Code::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE
                | Code::RD_KAFKA_RESP_ERR_NOT_COORDINATOR
                | Code::RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE
                | Code::RD_KAFKA_RESP_ERR_NOT_CONTROLLER
                | Code::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR
                | Code::RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH
                | Code::RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH
                | Code::RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE
                | Code::RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT
                | Code::RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED
        )
}

fn class_of(flags: CallFlags) -> Class {
    match flags {
        CallFlags { fatal: false, retriable: true, .. } => Class::Retry,
        // Only this transaction is lost: what a new process finds decides.
        CallFlags { fatal: false, requires_abort: true, .. } => Class::Unknown,
        _ => Class::Fatal,
    }
}

#[cfg(test)]
mod tests {
    use super::authorities;

    #[test]
    fn the_systems_certificates_are_looked_for_unless_a_variable_names_them() {
        assert_eq!(authorities(|_| false), Some(("ssl.ca.location", "probe")));
        for variable in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
            assert_eq!(authorities(|name| name == variable), None, "{variable}");
        }
    }
}
