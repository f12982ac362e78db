//! The marker as bytes: the record that goes last into a transaction and decides its checkpoint.
//!
//! JSON, because a person with a console consumer must be able to read it. Versioned: a reader refuses what it does not
//! know instead of guessing. Next room: `look`, which finds it; `transaction`, which writes it.

use crate::checkpoint::record::Marker;
use crate::ids::{AttemptId, CheckpointId, StoreId};
use crate::printable::printable;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The version that this program writes and reads.
const VERSION: u32 = 1;

/// How much of a value that is no marker an error shows, in bytes.
const SHOWN_BYTES_MAX: usize = 200;

/// The settings of a marker's topic: compacted, and with small segments, so that compaction keeps up and reading the topic's
/// tail stays short. The broker says when a marker was written: it would refuse the time of a host whose clock is ahead.
pub const TOPIC_SETTINGS: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("segment.ms", "600000"),
    ("min.cleanable.dirty.ratio", "0.1"),
    ("message.timestamp.type", "LogAppendTime"),
];

/// Where a job's marker lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkerPlace {
    /// The compacted topic of our own, `tidegate.<job>`; its partition is 0.
    pub topic: String,
    /// The record's key: the job's name.
    pub key: String,
}

impl MarkerPlace {
    /// The place of a job's marker.
    pub fn of_job(job: &str) -> MarkerPlace {
        MarkerPlace { topic: format!("tidegate.{job}"), key: job.to_owned() }
    }

    /// The command with which an administrator makes the topic, where the job may not.
    pub fn command(&self, brokers: &[String]) -> String {
        let settings = TOPIC_SETTINGS.map(|(setting, value)| format!("--config {setting}={value}")).join(" ");
        format!(
            "kafka-topics.sh --bootstrap-server {} --create --topic {} --partitions 1 {settings}",
            brokers.join(","),
            self.topic
        )
    }
}

/// A marker record's value is not one that this program wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MarkerError {
    /// It is of a newer program.
    #[error(
        "the marker has version `{version}` and this program knows `{VERSION}`; start the newer program that wrote it"
    )]
    Version {
        /// Its version.
        version: u32,
    },
    /// It cannot be read.
    #[error("the marker `{text}` cannot be read ({reason}); something else writes to the marker's topic")]
    Malformed {
        /// Its beginning.
        text: String,
        /// Why not.
        reason: String,
    },
}

/// How the value looks, field by field.
#[derive(Serialize, Deserialize)]
struct Written {
    version: u32,
    checkpoint: u64,
    attempt: Uuid,
    store: Uuid,
    /// Hexadecimal: JSON readers of other languages would round a number of 64 bits.
    digest: String,
}

/// The value to write.
pub fn encode(marker: &Marker) -> Vec<u8> {
    let written = Written {
        version: VERSION,
        checkpoint: marker.id.0,
        attempt: marker.attempt.0,
        store: marker.store.0,
        digest: digest_text(marker.digest),
    };
    serde_json::to_vec(&written).expect("numbers and strings are always JSON")
}

/// The marker in a value.
pub fn decode(value: &[u8]) -> Result<Marker, MarkerError> {
    #[derive(Deserialize)]
    struct Head {
        version: u32,
    }
    let malformed = |reason: String| {
        // It may quote the value.
        let reason = printable(&reason).into_owned();
        MarkerError::Malformed { text: beginning(value), reason }
    };
    let head: Head = serde_json::from_slice(value).map_err(|error| malformed(error.to_string()))?;
    if head.version != VERSION {
        return Err(MarkerError::Version { version: head.version });
    }
    let written: Written = serde_json::from_slice(value).map_err(|error| malformed(error.to_string()))?;
    let digest = u64::from_str_radix(&written.digest, 16).map_err(|error| malformed(error.to_string()))?;
    if written.digest != digest_text(digest) {
        return Err(malformed(format!("the digest `{}` is not 16 lowercase hexadecimal digits", written.digest)));
    }
    Ok(Marker {
        id: CheckpointId(written.checkpoint),
        attempt: AttemptId(written.attempt),
        store: StoreId(written.store),
        digest,
    })
}

fn digest_text(digest: u64) -> String {
    format!("{digest:016x}")
}

/// The beginning of a value.
fn beginning(value: &[u8]) -> String {
    let shown = &value[..value.len().min(SHOWN_BYTES_MAX)];
    printable(&String::from_utf8_lossy(shown)).into_owned()
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    fn marker() -> Marker {
        Marker {
            id: CheckpointId(17),
            attempt: AttemptId(Uuid::from_u128(1)),
            store: StoreId(Uuid::from_u128(2)),
            digest: u64::MAX - 3,
        }
    }

    /// Written by version 1; must stay readable.
    const VERSION_1: &str = concat!(
        r#"{"version":1,"checkpoint":17,"attempt":"00000000-0000-0000-0000-000000000001","#,
        r#""store":"00000000-0000-0000-0000-000000000002","digest":"fffffffffffffffc"}"#
    );

    #[test]
    fn the_command_for_an_administrator_makes_the_topic_that_the_job_would() {
        let brokers = ["k1:9092".to_owned(), "k2:9092".to_owned()];
        assert_eq!(
            MarkerPlace::of_job("fraud").command(&brokers),
            "kafka-topics.sh --bootstrap-server k1:9092,k2:9092 --create --topic tidegate.fraud --partitions 1 \
             --config cleanup.policy=compact --config segment.ms=600000 --config min.cleanable.dirty.ratio=0.1 \
             --config message.timestamp.type=LogAppendTime"
        );
    }

    #[test]
    fn a_marker_is_readable_and_stays_so() {
        assert_eq!(String::from_utf8(encode(&marker())).expect("JSON is UTF-8"), VERSION_1);
        assert_eq!(decode(VERSION_1.as_bytes()), Ok(marker()));
    }

    #[test]
    fn what_is_not_ours_is_refused_with_its_reason() {
        let newer = VERSION_1.replace(r#""version":1"#, r#""version":2"#);
        assert_eq!(decode(newer.as_bytes()), Err(MarkerError::Version { version: 2 }));
        for value in ["", "17", "{}", r#"{"version":1}"#, &VERSION_1.replace("fff", "xyz")] {
            assert!(matches!(decode(value.as_bytes()), Err(MarkerError::Malformed { .. })), "{value}");
        }
        for digest in ["+ffffffffffffffc", "fffffffffffffffC", "fffc"] {
            let value = VERSION_1.replace("fffffffffffffffc", digest);
            assert!(matches!(decode(value.as_bytes()), Err(MarkerError::Malformed { .. })), "{value}");
        }
    }

    #[test]
    fn a_foreign_record_cannot_command_the_terminal() {
        let error = decode(b"\x1b[2J\r\n{").expect_err("it is none").to_string();
        assert!(error.starts_with(r"the marker `\u{1b}[2J\r\n{` cannot be read"), "{error}");
    }
}
