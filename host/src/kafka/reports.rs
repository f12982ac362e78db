//! What the library reports while it works: connection errors and log lines, kept so that a failed call can say why.
//!
//! Its threads write here through two callbacks; a call that failed reads. Bounded, and free of property values. Next
//! room: `client`, which owns it.

use crate::config::model::{KafkaConnection, Secret};
use rdkafka::bindings::{
    rd_kafka_conf_set_error_cb, rd_kafka_conf_set_log_cb, rd_kafka_conf_set_opaque, rd_kafka_conf_t, rd_kafka_opaque,
    rd_kafka_resp_err_t, rd_kafka_t,
};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Reports kept. One cluster's brokers report one line each; older ones give way.
const REPORTS_MAX: usize = 32;

/// Older reports do not explain a failure of now. librdkafka holds identical reports of a broker back for 30 s, so this
/// must be longer.
const REPORT_AGE_MAX: Duration = Duration::from_mins(1);

/// One thing that the library reported.
#[derive(Debug, Clone)]
pub(super) struct Report {
    /// The error; `None` for a mere log line about a connection.
    pub(super) code: Option<rd_kafka_resp_err_t>,
    /// `host:port` of the broker it is about, where the text names one.
    pub(super) address: Option<String>,
    /// The text without the broker's name, property values left out.
    pub(super) text: String,
    seen: Instant,
}

/// The reports of one client. The client's opaque pointer leads here.
#[derive(Debug)]
pub(super) struct Reports {
    connection: String,
    hidden: Vec<(String, Secret)>,
    recent: Mutex<Vec<Report>>,
}

impl Reports {
    /// Reports for clients of a connection, and the values that their texts must not show.
    pub(super) fn new(connection: &KafkaConnection) -> Reports {
        let hidden = connection.properties.iter().filter(|(name, value)| is_hidden(name) && !value.reveal().is_empty());
        Reports {
            connection: connection.name.clone(),
            hidden: hidden.cloned().collect(),
            recent: Mutex::new(Vec::with_capacity(REPORTS_MAX)),
        }
    }

    /// Has a client's callbacks write here. The client must keep the `Arc` until its handle is destroyed.
    pub(super) fn install(self: &Arc<Reports>, conf: *mut rd_kafka_conf_t) {
        let opaque = Arc::as_ptr(self).cast_mut().cast::<c_void>();
        // SAFETY: `conf` is a live configuration (the caller made it); the pointer outlives the handle (see above).
        unsafe { rd_kafka_conf_set_opaque(conf, opaque) };
        // SAFETY: `conf` is live and the callback has the signature the library documents.
        unsafe { rd_kafka_conf_set_error_cb(conf, Some(on_error)) };
        // SAFETY: as above.
        unsafe { rd_kafka_conf_set_log_cb(conf, Some(on_log)) };
    }

    /// The text with every hidden value replaced by its property's name.
    pub(super) fn clean(&self, text: &str) -> String {
        let mut cleaned = text.to_owned();
        for (name, value) in &self.hidden {
            if cleaned.contains(value.reveal()) {
                cleaned = cleaned.replace(value.reveal(), &format!("<{name}>"));
            }
        }
        cleaned
    }

    /// The recent reports, the newest first.
    pub(super) fn recent(&self) -> Vec<Report> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.iter().rev().filter(|report| report.seen.elapsed() < REPORT_AGE_MAX).cloned().collect()
    }

    /// Keeps a report. A later one about the same broker and error replaces the earlier.
    pub(super) fn add(&self, code: Option<rd_kafka_resp_err_t>, line: &str) {
        let (address, text) = split_broker(line);
        let report = Report { code, address, text: self.clean(text), seen: Instant::now() };
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|old| old.code != report.code || old.address != report.address);
        if recent.len() >= REPORTS_MAX {
            recent.remove(0);
        }
        recent.push(report);
    }
}

/// Whether a property's value must be cut out of the library's texts. Values like `sasl_ssl` are not: cutting them
/// would make the texts unreadable.
fn is_hidden(name: &str) -> bool {
    ["password", "pem", "username", "location"].iter().any(|end| name.ends_with(end))
}

/// Splits `[thrd:…]: sasl_ssl://host:9093/1: text` into `host:9093` and the text.
fn split_broker(line: &str) -> (Option<String>, &str) {
    let line = line.strip_prefix("[thrd:").and_then(|rest| rest.split_once("]: ")).map_or(line, |(_, rest)| rest);
    let Some((name, text)) = line.split_once(": ") else {
        return (None, line);
    };
    let Some((address, _id)) = name.rsplit_once('/') else {
        return (None, line);
    };
    let address = address.rsplit_once("://").map_or(address, |(_, rest)| rest);
    if address.contains(' ') { (None, line) } else { (Some(address.to_owned()), text) }
}

/// The reports behind a client's opaque pointer.
fn reports_of<'a>(opaque: *mut c_void) -> Option<&'a Reports> {
    // SAFETY: the pointer is null (no client of ours) or what `install` set: an `Arc` that outlives the handle, and
    // with it every callback.
    unsafe { opaque.cast::<Reports>().as_ref() }
}

/// A C string as text; empty for null.
pub(super) fn text_of(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the library hands out strings that end in NUL and live for the call.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// An error code as the library's type; codes that this version does not know become `UNKNOWN`.
pub(super) fn code_of(code: c_int) -> rd_kafka_resp_err_t {
    rd_kafka_resp_err_t::try_from(code).unwrap_or(rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_UNKNOWN)
}

unsafe extern "C" fn on_error(_: *mut rd_kafka_t, code: c_int, reason: *const c_char, opaque: *mut c_void) {
    if let Some(reports) = reports_of(opaque) {
        reports.add(Some(code_of(code)), &text_of(reason));
    }
}

unsafe extern "C" fn on_log(rk: *const rd_kafka_t, level: c_int, facility: *const c_char, line: *const c_char) {
    if rk.is_null() {
        return;
    }
    // SAFETY: `rk` is the live handle that logs.
    let opaque = unsafe { rd_kafka_opaque(rk) };
    let Some(reports) = reports_of(opaque) else { return };
    let facility = text_of(facility);
    if facility == "CONFWARN" {
        // A property that only producers (or only consumers) know: a connection is shared by both.
        return;
    }
    let line = text_of(line);
    if facility == "FAIL" {
        reports.add(None, &line);
    }
    let line = reports.clean(&line);
    // Syslog levels: up to 4 is a warning or worse. librdkafka goes on after all of them, so none is an error of ours.
    if level <= 4 {
        tracing::warn!(target: "librdkafka", connection = reports.connection, facility, line, "client log");
    } else {
        tracing::debug!(target: "librdkafka", connection = reports.connection, facility, line, "client log");
    }
}

#[cfg(test)]
mod tests {
    use super::{Reports, code_of, on_error, split_broker};
    use crate::config::model::{KafkaConnection, Secret};
    use rdkafka::bindings::rd_kafka_resp_err_t as Code;
    use std::ptr;
    use std::sync::Arc;

    fn reports(properties: &[(&str, &str)]) -> Reports {
        let property = |(name, value): &(&str, &str)| ((*name).to_owned(), Secret::new((*value).to_owned()));
        let properties = properties.iter().map(property).collect();
        Reports::new(&KafkaConnection { name: "main".to_owned(), brokers: vec![], properties })
    }

    #[test]
    fn memory_behind_the_opaque_pointer_gets_what_the_library_reports() {
        let reports = Arc::new(reports(&[]));
        let opaque = Arc::as_ptr(&reports).cast_mut().cast();
        // SAFETY: called as the library does, with the pointer that `install` would give it.
        unsafe { on_error(ptr::null_mut(), 9999, c"k1:9093/1: no".as_ptr(), opaque) };
        // SAFETY: a client without an opaque pointer.
        unsafe { on_error(ptr::null_mut(), 0, ptr::null(), ptr::null_mut()) };
        let recent = reports.recent();
        assert_eq!((recent.len(), recent[0].text.as_str()), (1, "no"));
        assert_eq!(recent[0].code, Some(Code::RD_KAFKA_RESP_ERR_UNKNOWN));
        assert_eq!(code_of(-195), Code::RD_KAFKA_RESP_ERR__TRANSPORT);
    }

    #[test]
    fn a_broker_is_read_from_every_form_of_line() {
        let refused = "Connect to ipv4#127.0.0.1:9 failed: Connection refused (after 0ms in state CONNECT)";
        for (line, address) in [
            (format!("127.0.0.1:9/bootstrap: {refused}"), "127.0.0.1:9"),
            (format!("sasl_ssl://k1:9093/1: {refused}"), "k1:9093"),
            (format!("[thrd:k1:9093/1]: k1:9093/1: {refused}"), "k1:9093"),
        ] {
            assert_eq!(split_broker(&line), (Some(address.to_owned()), refused), "{line}");
        }
        assert_eq!(split_broker("2/2 brokers are down"), (None, "2/2 brokers are down"));
    }

    #[test]
    fn a_secret_never_stays_in_a_text() {
        let reports = reports(&[("sasl.password", "hunter2")]);
        reports.add(None, "k1:9093/1: no user with hunter2 here");
        assert_eq!(reports.recent()[0].text, "no user with <sasl.password> here");
    }
}
