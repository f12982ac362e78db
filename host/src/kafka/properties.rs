//! Which librdkafka properties a job file may set: an allow list, and for each refusal the reason and the way out. Pure.
//!
//! What is not on the list does not reach librdkafka: some properties load code or run a shell, some switch checks off, and
//! some belong to the engine, whose guarantee depends on them. Next room: [`java`], for the names of Java's client.

mod java;

use crate::config::nearest;

/// What a property's name means here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may be set.
    Allowed(&'static Property),
    /// It may not; the reason and the way out.
    Refused(String),
}

/// A property that may be set.
#[derive(Debug, PartialEq, Eq)]
pub struct Property {
    /// librdkafka's name.
    pub name: &'static str,
    /// What a value must be.
    pub value: PropertyValue,
}

/// What a property's value must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PropertyValue {
    /// Any text.
    Text,
    /// A file's path.
    Path,
    /// A text that must not stand in a job file.
    Secret,
    /// `true` or `false`.
    Boolean,
    /// An integer in a range.
    Integer {
        /// The smallest.
        min: i64,
        /// The largest.
        max: i64,
    },
    /// One of some words.
    Choice(&'static [&'static str]),
}

use PropertyValue::{Boolean, Choice, Path, Secret, Text};

const fn text(name: &'static str, value: PropertyValue) -> Property {
    Property { name, value }
}

const fn integer(name: &'static str, min: i64, max: i64) -> Property {
    Property { name, value: PropertyValue::Integer { min, max } }
}

const CODECS: PropertyValue = Choice(&["none", "gzip", "snappy", "lz4", "zstd"]);
const MECHANISMS: PropertyValue = Choice(&["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]);

/// The allow list. Ranges are those of librdkafka 2.12's CONFIGURATION.md.
static ALLOWED: &[Property] = &[
    text("bootstrap.servers", Text),
    text("client.id", Text),
    text("client.rack", Text),
    text("security.protocol", Choice(&["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"])),
    text("ssl.ca.location", Path),
    text("ssl.ca.pem", Text),
    text("ssl.certificate.location", Path),
    text("ssl.key.location", Path),
    text("ssl.key.password", Secret),
    text("ssl.crl.location", Path),
    text("ssl.endpoint.identification.algorithm", Choice(&["https", "none"])),
    text("sasl.mechanism", MECHANISMS),
    text("sasl.mechanisms", MECHANISMS),
    text("sasl.username", Text),
    text("sasl.password", Secret),
    integer("socket.timeout.ms", 10, 300_000),
    text("socket.keepalive.enable", Boolean),
    integer("reconnect.backoff.ms", 0, 3_600_000),
    integer("reconnect.backoff.max.ms", 0, 3_600_000),
    text("broker.address.family", Choice(&["any", "v4", "v6"])),
    integer("connections.max.idle.ms", 0, 2_147_483_647),
    integer("fetch.wait.max.ms", 0, 300_000),
    integer("fetch.queue.backoff.ms", 0, 300_000),
    integer("fetch.message.max.bytes", 1, 1_000_000_000),
    integer("max.partition.fetch.bytes", 1, 1_000_000_000),
    integer("fetch.max.bytes", 0, 2_147_483_135),
    integer("fetch.min.bytes", 1, 100_000_000),
    integer("fetch.error.backoff.ms", 0, 300_000),
    integer("queued.min.messages", 1, 10_000_000),
    integer("queued.max.messages.kbytes", 1, 2_097_151),
    text("check.crcs", Boolean),
    integer("linger.ms", 0, 900_000),
    integer("batch.size", 1, 2_147_483_647),
    integer("batch.num.messages", 1, 1_000_000),
    text("compression.type", CODECS),
    integer("compression.level", -1, 12),
    integer("queue.buffering.max.messages", 0, 2_147_483_647),
    integer("queue.buffering.max.kbytes", 1, 2_147_483_647),
    integer("queue.buffering.max.ms", 0, 900_000),
    integer("retry.backoff.ms", 1, 300_000),
    integer("retry.backoff.max.ms", 1, 300_000),
    integer("message.max.bytes", 1000, 1_000_000_000),
    integer("receive.message.max.bytes", 1000, 2_147_483_647),
    integer("statistics.interval.ms", 0, 86_400_000),
    integer("log_level", 0, 7),
    integer("topic.metadata.refresh.interval.ms", -1, 3_600_000),
];

/// Properties that are the engine's own, by name or by beginning (`enable.`): exactly-once depends on them.
static OWN: &[(&str, &str)] = &[
    ("transactional.id", "it follows from the job's name; rename the job for another one"),
    ("transaction.timeout.ms", "set `transaction_timeout` of the sink"),
    ("group.id", "set `group` of the source"),
    ("group.", "splits are assigned by the job itself, not by a consumer group; leave it out"),
    (
        "isolation.level",
        "sources read `read_committed`, or records of aborted transactions would be taken in; leave it out",
    ),
    ("acks", "a transactional producer needs `all`; leave it out"),
    ("request.required.acks", "a transactional producer needs `all`; leave it out"),
    ("auto.offset.reset", "set `start` of the source; a lost position stops the job instead of moving"),
    ("auto.commit", "positions are in the job's store; leave it out"),
    ("message.timeout.ms", "a checkpoint waits for its records; set `timeout` of `[checkpoint]`"),
    ("max.in.flight", "an idempotent producer sets it; leave it out"),
    ("partitioner", "messages are partitioned by murmur2, as Java does; leave it out"),
    ("enable.", "the engine sets it; leave it out"),
];

/// Properties that are never taken, by beginning. They load code, run a shell, or switch checks off.
static NEVER: &[(&str, &str)] = &[
    (
        "enable.ssl.certificate.verification",
        "it would switch the check of the brokers' certificates off; set `ca_file` to their authority's",
    ),
    ("ssl.certificate.verify_cb", "it would replace the check of the brokers' certificates; set `ca_file`"),
    ("plugin.library.paths", "it would load code into the host"),
    ("interceptors", "it would load code into the host"),
    ("ssl.engine.", "it would load code into the host; use `ssl.key.location`"),
    ("ssl.providers", "it would load code into the host"),
    ("sasl.kerberos.", "Kerberos runs a shell command; use `PLAIN` or `SCRAM`"),
    ("sasl.oauthbearer.", "OAUTHBEARER is not in this build; use `PLAIN` or `SCRAM`"),
    ("https.ca.", "it is for OAUTHBEARER, which is not in this build"),
    ("debug", "it writes keys and payloads into the log; use `log_level` and the host's own log"),
    ("test.", "it is for librdkafka's own tests"),
    ("internal.", "it is for librdkafka's own use"),
];

/// Properties for which a job file has a key of its own, so that each thing is said in one place.
static KEYS: &[(&str, &str)] = &[
    ("bootstrap.servers", "brokers"),
    ("metadata.broker.list", "brokers"),
    ("security.protocol", "security"),
    ("ssl.ca.location", "ca_file"),
    ("sasl.mechanism", "sasl.mechanism"),
    ("sasl.mechanisms", "sasl.mechanism"),
    ("sasl.username", "sasl.username"),
    ("sasl.password", "sasl.password"),
];

/// Judges a name of librdkafka's, as it may reach the library.
pub fn judge(name: &str) -> Verdict {
    if let Some(property) = ALLOWED.iter().find(|property| property.name == name) {
        return Verdict::Allowed(property);
    }
    Verdict::Refused(refusal(name))
}

/// Judges a name that stands in a job file's `properties`: like [`judge`], but what has a key of its own is said there.
pub fn judge_in_job_file(name: &str) -> Verdict {
    match KEYS.iter().find(|(property, _)| *property == name) {
        Some((_, key)) => Verdict::Refused(format!("the job file has a key for it; set `{key}` of the connection")),
        None => judge(name),
    }
}

fn refusal(name: &str) -> String {
    let belongs = |pattern: &str| match pattern.strip_suffix('.') {
        Some(_) => name.starts_with(pattern),
        None => name == pattern || name.strip_prefix(pattern).is_some_and(|rest| rest.starts_with('.')),
    };
    if let Some((_, reason)) = NEVER.iter().find(|(pattern, _)| belongs(pattern)) {
        return format!("is never taken: {reason}");
    }
    // Before the engine's own: some of Java's names begin like them (`group.instance.id`, `enable.metrics.push`).
    if let Some(advice) = java::advice(name) {
        return format!("is a name of Kafka's Java client; {advice}");
    }
    if let Some((_, way_out)) = OWN.iter().find(|(pattern, _)| belongs(pattern)) {
        return format!("is the engine's own: {way_out}");
    }
    let names = ALLOWED.iter().map(|property| property.name);
    match nearest::nearest(name, names) {
        Some(near) => format!("is not on the list of properties that may be set; the nearest is `{near}`"),
        None => "is not on the list of properties that may be set; leave it out".to_owned(),
    }
}

/// Says why a value cannot be this property's, without repeating the value: it may be secret.
pub fn check_value(property: &Property, value: &str) -> Result<(), String> {
    match property.value {
        Text | Path | Secret if value.is_empty() => Err("the value is empty; leave the property out".to_owned()),
        Text | Path | Secret => Ok(()),
        Boolean if matches!(value, "true" | "false") => Ok(()),
        Boolean => Err("wanted `true` or `false`".to_owned()),
        PropertyValue::Integer { min, max } => match value.parse::<i64>() {
            Ok(number) if (min..=max).contains(&number) => Ok(()),
            Ok(_) => Err(format!("the value is out of range; use {min} to {max}")),
            Err(_) => Err(format!("wanted an integer from {min} to {max}")),
        },
        Choice(words) if words.contains(&value) => Ok(()),
        Choice(words) => Err(format!("the value is not known; use one of {}", nearest::list(words))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str) -> String {
        match judge_in_job_file(name) {
            Verdict::Refused(reason) => reason,
            Verdict::Allowed(_) => panic!("`{name}` is allowed"),
        }
    }

    #[test]
    fn what_is_listed_is_allowed_and_its_value_checked() {
        let Verdict::Allowed(timeout) = judge("socket.timeout.ms") else { panic!("`socket.timeout.ms` is refused") };
        assert_eq!(check_value(timeout, "10000"), Ok(()));
        assert!(check_value(timeout, "1").is_err());
        assert!(check_value(timeout, "soon").is_err());
        let Verdict::Allowed(codec) = judge("compression.type") else { panic!("`compression.type` is refused") };
        assert!(check_value(codec, "brotli").expect_err("brotli").contains("`zstd`"));
        assert!(matches!(judge("sasl.password"), Verdict::Allowed(Property { value: Secret, .. })));
    }

    #[test]
    fn each_refusal_says_which_kind_it_is() {
        for name in [
            "transactional.id",
            "enable.auto.commit",
            "enable.idempotence",
            "acks",
            "max.in.flight.requests.per.connection",
        ] {
            assert!(refused(name).contains("engine's own"), "{name}: {}", refused(name));
        }
        let never = [
            "plugin.library.paths",
            "enable.ssl.certificate.verification",
            "ssl.engine.location",
            "debug",
            "sasl.kerberos.kinit.cmd",
            "sasl.oauthbearer.method",
            "test.mock.num.brokers",
            "internal.termination.signal",
        ];
        for name in never {
            assert!(refused(name).contains("never taken"), "{name}: {}", refused(name));
        }
        assert!(refused("bootstrap.servers").contains("`brokers`"));
        assert!(refused("socket.timeout").contains("`socket.timeout.ms`"));
    }

    #[test]
    fn a_java_name_gets_the_librdkafka_name() {
        assert!(refused("buffer.memory").contains("`queue.buffering.max.kbytes`"), "{}", refused("buffer.memory"));
        assert!(refused("fetch.max.wait.ms").contains("`fetch.wait.max.ms`"));
        assert!(refused("sasl.jaas.config").contains("`sasl = "));
        assert!(refused("max.poll.records").contains("`rows`"));
    }

    #[test]
    fn no_refused_name_is_on_the_allow_list() {
        for property in ALLOWED {
            assert_eq!(judge(property.name), Verdict::Allowed(property));
            assert!(java::advice(property.name).is_none(), "`{}` is both", property.name);
            for (pattern, _) in NEVER.iter().chain(OWN) {
                assert!(
                    !property.name.starts_with(pattern),
                    "`{}` is allowed and refused by `{pattern}`",
                    property.name
                );
            }
        }
    }

    #[test]
    fn every_name_that_advice_points_to_may_be_set() {
        for name in java::targets() {
            assert!(matches!(judge(name), Verdict::Allowed(_)), "`{name}`");
        }
    }
}
