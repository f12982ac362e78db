//! What can go wrong with Kafka, said so that a person knows what to do, and classed so that the caller does.
//!
//! Knows no handle: `client` turns codes and reports of the library into these. Texts never hold a property's value.
//! Next room: `client`.

use std::time::Duration;

/// What a caller may do after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Nothing happened, or nothing that repeating would harm: try again, bounded, with a backoff.
    Retry,
    /// It is not known whether it happened: drop the handle, open a new one, read what is true, decide.
    Unknown,
    /// Repeating changes nothing: stop and say so.
    Fatal,
}

/// What librdkafka says about an error of a transactional call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CallFlags {
    /// The handle is of no use any more.
    pub fatal: bool,
    /// The same call may be repeated.
    pub retriable: bool,
    /// The transaction can only be aborted.
    pub requires_abort: bool,
}

/// Why something asked of Kafka did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KafkaError {
    /// No configured broker can be reached.
    #[error(
        "{doing}: no broker of connection `{connection}` can be reached ({brokers}): {detail}; check that the brokers \
         run, their addresses and the network"
    )]
    Unreachable {
        /// What was being done.
        doing: String,
        /// The connection's name in the job file.
        connection: String,
        /// The configured addresses, each in backticks.
        brokers: String,
        /// What the library reported last.
        detail: String,
    },
    /// A configured broker answers, but the address that the cluster gives out for a broker does not.
    #[error(
        "{doing}: connection `{connection}` was made, but the cluster sends us on to `{address}`, which cannot be reached \
         from here: {detail}; correct `advertised.listeners` of that broker, or make the address reachable"
    )]
    AdvertisedUnreachable {
        /// What was being done.
        doing: String,
        /// The connection's name in the job file.
        connection: String,
        /// The address that the cluster advertises.
        address: String,
        /// What the library reported last.
        detail: String,
    },
    /// The broker refuses the credentials.
    #[error(
        "{doing}: the brokers of connection `{connection}` refuse its credentials: {detail}; check `sasl` (mechanism, \
         user name, password) or the client certificate"
    )]
    Authentication {
        /// What was being done.
        doing: String,
        /// The connection's name in the job file.
        connection: String,
        /// What the library reported last.
        detail: String,
    },
    /// TLS cannot be set up.
    #[error(
        "{doing}: TLS with the brokers of connection `{connection}` fails: {detail}; check `security` and `ca_file`, \
         that the port is a TLS listener, and that its certificate names its address"
    )]
    Tls {
        /// What was being done.
        doing: String,
        /// The connection's name in the job file.
        connection: String,
        /// What the library reported last.
        detail: String,
    },
    /// The credentials are good but not allowed to do this.
    #[error(
        "{doing}: connection `{connection}` is not allowed to: {detail} (`{code}`); have an administrator grant it"
    )]
    Authorization {
        /// What was being done.
        doing: String,
        /// The connection's name in the job file.
        connection: String,
        /// The error's name, as librdkafka has it.
        code: String,
        /// The error's text.
        detail: String,
    },
    /// No answer in time and no report that says why.
    #[error("{doing}: no answer from connection `{connection}` in {} ms; the brokers may be overloaded", after.as_millis())]
    TimedOut {
        /// What was being done.
        doing: String,
        /// The connection's name in the job file.
        connection: String,
        /// How long was waited.
        after: Duration,
    },
    /// There is no such topic.
    #[error(
        "topic `{topic}` does not exist on connection `{connection}`; create it, or correct its name in the job file"
    )]
    TopicMissing {
        /// The topic's name.
        topic: String,
        /// The connection's name in the job file.
        connection: String,
    },
    /// There is such a topic already.
    #[error("topic `{topic}` already exists on connection `{connection}`")]
    TopicExists {
        /// The topic's name.
        topic: String,
        /// The connection's name in the job file.
        connection: String,
    },
    /// The library refuses a property. The value is not shown.
    #[error(
        "connection `{connection}`: librdkafka refuses the value of property `{property}`; correct it in the job file"
    )]
    Property {
        /// The connection's name in the job file.
        connection: String,
        /// The property's name.
        property: String,
    },
    /// The library refuses the whole configuration (a certificate that cannot be read, for example).
    #[error("connection `{connection}`: cannot make a Kafka client: {detail}; correct the connection in the job file")]
    Client {
        /// The connection's name in the job file.
        connection: String,
        /// What the library says, property values left out.
        detail: String,
    },
    /// The transactional producer may not go on. Two causes look the same.
    #[error(
        "{doing}: the producer was fenced: either another process started with the same transactional id, or the \
         transaction outlived `transaction.timeout.ms`; make sure that the job runs only once"
    )]
    Fenced {
        /// What was being done.
        doing: String,
    },
    /// Any other refusal.
    #[error("{doing}: connection `{connection}`: {detail} (`{code}`)")]
    Call {
        /// What was being done.
        doing: String,
        /// The connection's name in the job file.
        connection: String,
        /// The error's name, as librdkafka has it, `UNKNOWN_PRODUCER_ID` for example.
        code: String,
        /// The error's text.
        detail: String,
        /// What librdkafka says about going on.
        flags: CallFlags,
        /// What the caller may do.
        class: Class,
    },
}

impl KafkaError {
    /// What the caller may do. A call whose effect matters (a commit) may have to take `Retry` for `Unknown`: the class
    /// speaks of the error, not of the call.
    pub fn class(&self) -> Class {
        match self {
            KafkaError::Unreachable { .. } | KafkaError::AdvertisedUnreachable { .. } | KafkaError::TimedOut { .. } => {
                Class::Retry
            }
            KafkaError::Fenced { .. } => Class::Unknown,
            KafkaError::Call { class, .. } => *class,
            KafkaError::Authentication { .. }
            | KafkaError::Tls { .. }
            | KafkaError::Authorization { .. }
            | KafkaError::TopicMissing { .. }
            | KafkaError::TopicExists { .. }
            | KafkaError::Property { .. }
            | KafkaError::Client { .. } => Class::Fatal,
        }
    }

    /// What librdkafka says about going on after this error; nothing is known of errors that are not a call's own.
    pub fn flags(&self) -> CallFlags {
        match self {
            KafkaError::Call { flags, .. } => *flags,
            KafkaError::Fenced { .. } => CallFlags { fatal: true, ..CallFlags::default() },
            _ => CallFlags { retriable: self.class() == Class::Retry, ..CallFlags::default() },
        }
    }
}
