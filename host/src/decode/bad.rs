//! Why a record is bad, in words that name the place and the way out. Shows at most a few bytes of the record.

use super::fields::{Found, Unreadable};
use super::time;
use crate::config::model::TimestampFormat;
use std::fmt;

/// How much of an offending value an error shows, in bytes.
const SHOWN_BYTES_MAX: usize = 32;

/// Why a record is bad. The source's `on_bad_record` says what follows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// Key and value together are larger than the source allows.
    #[error("the record is larger than {limit} bytes; raise `max_record` if such records are meant")]
    TooLarge {
        /// `max_record`, in bytes.
        limit: usize,
    },
    /// The value is not UTF-8.
    #[error("the value is not UTF-8 at byte {at}; JSON is always UTF-8")]
    NotUtf8 {
        /// The first bad byte, from 0.
        at: usize,
    },
    /// The value is not one JSON value.
    #[error("the value is not JSON: {what} at byte {at}")]
    NotJson {
        /// What is wrong.
        what: String,
        /// Where, from 0.
        at: usize,
    },
    /// A name on the way to a wanted field stands twice in its object.
    #[error("the value has `{name}` twice, so it is not known which one is meant")]
    Twice {
        /// The name.
        name: Shown,
    },
    /// The message has no value (a tombstone), and the key is wanted from the value.
    #[error(
        "the message has no value, so there is no key at `{pointer}`; leave `key` out to take the message's own key"
    )]
    NoValue {
        /// Where the key should be.
        pointer: String,
    },
    /// The key, or a part of it, is missing or null.
    #[error("there is no key at `{pointer}`: the field is {found}")]
    NoKey {
        /// Where it should be.
        pointer: String,
        /// `missing` or `null`.
        found: &'static str,
    },
    /// The key, or a part of it, is neither a string nor an integer.
    #[error("the key at `{pointer}` is {found}, `{value}`; a key is a string or an integer")]
    KeyType {
        /// Where it is.
        pointer: String,
        /// What it is.
        found: &'static str,
        /// Its beginning.
        value: Shown,
    },
    /// There is no timestamp.
    #[error("there is no timestamp at `{pointer}`: the field is {found}")]
    NoTimestamp {
        /// Where it should be.
        pointer: String,
        /// `missing` or `null`.
        found: &'static str,
    },
    /// The message has no timestamp of its own, and no field is configured.
    #[error(
        "the message has no timestamp of its own; name the field: `timestamp = {{ field = \"...\", format = \"...\" }}`"
    )]
    NoMessageTimestamp,
    /// The timestamp cannot be read in the configured format.
    #[error("the timestamp at `{pointer}` is {found}, `{value}`; `{format}` wants {wanted}{hint}")]
    TimestampType {
        /// Where it is.
        pointer: String,
        /// What it is.
        found: &'static str,
        /// Its beginning.
        value: Shown,
        /// The format's name in the job file.
        format: &'static str,
        /// What the format wants.
        wanted: &'static str,
        /// The way out, if one is likely.
        hint: Hint,
    },
    /// The timestamp is before `min_time`.
    #[error("the timestamp `{value}` at `{pointer}` is before {minimum}{hint}")]
    TooEarly {
        /// Where it is; `the message` for its own.
        pointer: String,
        /// Its beginning.
        value: Shown,
        /// `min_time` as a date.
        minimum: String,
        /// The way out.
        hint: Hint,
    },
    /// The timestamp is too far ahead: it would close every window.
    #[error("the timestamp `{value}` at `{pointer}` is more than {ahead_max_ms} ms ahead of {reference}{hint}")]
    TooFarAhead {
        /// Where it is.
        pointer: String,
        /// Its beginning.
        value: Shown,
        /// `max_ahead` in milliseconds.
        ahead_max_ms: i64,
        /// What it was compared with.
        reference: &'static str,
        /// The way out.
        hint: Hint,
    },
}

/// The beginning of an offending value: at most 32 bytes of it, in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown(String);

/// What is likely meant. Empty if nothing is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// Nothing is known.
    None,
    /// The number fits this format (its name in the job file).
    LooksLike(TimestampFormat),
    /// The number fits this format, or such old records are meant.
    LooksLikeOrMinTime(TimestampFormat),
    /// Such old records may be meant.
    MinTime,
    /// Such records may be meant.
    MaxAhead,
}

impl Shown {
    /// Takes the beginning of some bytes.
    pub(super) fn new(bytes: &[u8]) -> Shown {
        let cut = &bytes[..bytes.len().min(SHOWN_BYTES_MAX)];
        let mut text: String = String::from_utf8_lossy(cut).chars().flat_map(char::escape_debug).collect();
        // `escape_debug` is for one line of log; quotes need no backslash there.
        text = text.replace("\\\"", "\"").replace("\\'", "'");
        if cut.len() < bytes.len() {
            while text.ends_with(char::REPLACEMENT_CHARACTER) {
                text.pop(); // a character that the cut went through
            }
            text.push_str("...");
        }
        Shown(text)
    }

    /// Takes the beginning of what was found in a value.
    pub(super) fn found(value: &[u8], found: Found) -> Shown {
        Shown::new(found.text(value))
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hint::None => Ok(()),
            Hint::LooksLike(format) => {
                write!(f, "; it looks like {}: set `format = \"{}\"`", time::plain_name(*format), time::name(*format))
            }
            Hint::LooksLikeOrMinTime(format) => {
                write!(f, "{}, or lower `min_time` if it is meant", Hint::LooksLike(*format))
            }
            Hint::MinTime => f.write_str("; lower `min_time` if it is meant"),
            Hint::MaxAhead => f.write_str("; raise `max_ahead` if it is meant"),
        }
    }
}

impl From<Unreadable> for BadRecord {
    fn from(error: Unreadable) -> BadRecord {
        match error {
            Unreadable::Utf8 { at } => BadRecord::NotUtf8 { at },
            Unreadable::Json { what, at } => BadRecord::NotJson { what, at },
            Unreadable::Twice { name } => BadRecord::Twice { name: Shown::new(name.as_bytes()) },
        }
    }
}
