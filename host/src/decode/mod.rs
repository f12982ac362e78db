//! Bytes to key, timestamp and wanted columns. JSON is the format.
//!
//! The source thread's [`Decoder`] validates a record's whole value and takes key and timestamp out of it in the same pass;
//! the worker's [`columns::ColumnDecoder`] takes out what an operator wants. Neither keeps a record, logs, or decides what
//! happens to a bad one. The good path allocates nothing per record. Next room: [`crate::columns`].

use self::fields::{Fields, Found, Kind};
use crate::config::model::{Decode, TimestampField};
use crate::hash::append_key_part;
use crate::source::RawRecord;

mod bad;
pub mod columns;
mod fields;
#[cfg(test)]
mod fuzz;
mod pointer;
mod scan;
mod time;

pub use bad::{BadRecord, Hint, Shown};
pub use pointer::{DEPTH_MAX, PointerError, check_pointer};

/// Takes key and timestamp out of the records of one source.
#[derive(Debug)]
pub struct Decoder {
    /// The key's pointers, then the timestamp's.
    fields: Fields,
    key: Vec<String>,
    timestamp: Option<TimestampField>,
    ahead_max_ms: i64,
    min_time_ms: i64,
    record_bytes_max: usize,
    /// A timestamp's string without its escapes.
    unescaped: Vec<u8>,
}

/// What a record says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded {
    /// Whether the record has a key; its bytes are in the caller's buffer.
    pub key: DecodedKey,
    /// Event time in milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
}

/// Whether a record has a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodedKey {
    /// It has one; it may be empty.
    Present,
    /// It has none, and none was asked for.
    Absent,
}

impl Decoder {
    /// A decoder for a source's settings. `record_bytes_max` bounds key and value together. Fails if a pointer is none.
    pub fn new(decode: &Decode, record_bytes_max: usize) -> Result<Decoder, PointerError> {
        let timestamp_pointer = decode.timestamp.as_ref().map(|field| field.pointer.as_str());
        let pointers = decode.key.iter().map(String::as_str).chain(timestamp_pointer);
        Ok(Decoder {
            fields: Fields::new(pointers)?,
            key: decode.key.clone(),
            timestamp: decode.timestamp.clone(),
            ahead_max_ms: i64::try_from(decode.max_ahead.as_millis()).unwrap_or(i64::MAX),
            min_time_ms: decode.min_time_ms,
            record_bytes_max,
            unescaped: Vec::new(),
        })
    }

    /// Decodes a record. `key` is cleared and filled: a string's unescaped UTF-8, an integer's canonical decimal digits (so
    /// `42` and `"42"` are one key), the length-prefixed parts of a composite key, or the message's own key where no pointer
    /// is configured. `now_ms` is the wall clock in milliseconds since the Unix epoch; it counts only where the message has
    /// no timestamp of its own to compare with. A tombstone has the message's key and timestamp.
    pub fn decode(&mut self, raw: &RawRecord<'_>, now_ms: i64, key: &mut Vec<u8>) -> Result<Decoded, BadRecord> {
        key.clear();
        let bytes = raw.value.map_or(0, <[u8]>::len) + raw.key.map_or(0, <[u8]>::len);
        if bytes > self.record_bytes_max {
            return Err(BadRecord::TooLarge { limit: self.record_bytes_max });
        }
        if let Some(value) = raw.value {
            self.fields.read(value)?;
        }
        let present = self.take_key(raw, key)?;
        let timestamp_ms = self.take_timestamp(raw, now_ms)?;
        Ok(Decoded { key: present, timestamp_ms })
    }

    fn take_key(&mut self, raw: &RawRecord<'_>, key: &mut Vec<u8>) -> Result<DecodedKey, BadRecord> {
        let Some(first) = self.key.first() else {
            let Some(own) = raw.key else { return Ok(DecodedKey::Absent) };
            key.extend_from_slice(own);
            return Ok(DecodedKey::Present);
        };
        let Some(value) = raw.value else {
            return Err(BadRecord::NoValue { pointer: first.clone() });
        };
        if self.key.len() == 1 {
            self.append_part(value, 0, key)?;
            return Ok(DecodedKey::Present);
        }
        for part in 0..self.key.len() {
            append_key_part(key, |key| self.append_part(value, part, key))?;
        }
        Ok(DecodedKey::Present)
    }

    /// Appends the bytes of one key part.
    fn append_part(&mut self, value: &[u8], part: usize, key: &mut Vec<u8>) -> Result<(), BadRecord> {
        match self.fields.get(part) {
            Some(found) if found.kind == Kind::String => self.fields.append_string(value, found, key),
            Some(found) if is_integer(value, found) => match found.text(value) {
                b"-0" => key.push(b'0'),
                digits => key.extend_from_slice(digits),
            },
            found => return Err(self.bad_key(value, part, found)),
        }
        Ok(())
    }

    fn take_timestamp(&mut self, raw: &RawRecord<'_>, now_ms: i64) -> Result<i64, BadRecord> {
        let (Some(field), Some(value)) = (&self.timestamp, raw.value) else {
            let own = raw.timestamp.ok_or(BadRecord::NoMessageTimestamp)?;
            // Kafka has no timestamp at or below 0; a sink could not write it.
            if own < self.min_time_ms || own <= 0 {
                return Err(self.early_message(own));
            }
            if own > now_ms.saturating_add(self.ahead_max_ms) {
                return Err(self.late_message(own));
            }
            return Ok(own);
        };
        let found = match self.fields.get(self.key.len()) {
            Some(found) if found.kind != Kind::Null => found,
            found => return Err(no_timestamp(field, found)),
        };
        let escaped = found.kind == Kind::String && found.text(value).contains(&b'\\');
        let parsed = if escaped {
            // A writer may escape what it likes: .NET does so with the `+` of a zone.
            self.unescaped.clear();
            self.unescaped.push(b'"');
            self.fields.append_string(value, found, &mut self.unescaped);
            self.unescaped.push(b'"');
            time::parse(field.format, found.kind, &self.unescaped)
        } else {
            time::parse(field.format, found.kind, found.text(value))
        };
        let Some(time_ms) = parsed else {
            return Err(bad_timestamp(field, value, found));
        };
        let ahead_of = raw.timestamp.unwrap_or(now_ms);
        if time_ms < self.min_time_ms || time_ms > ahead_of.saturating_add(self.ahead_max_ms) {
            return Err(self.out_of_range(raw, field, value, found, time_ms));
        }
        Ok(time_ms)
    }

    #[cold]
    fn bad_key(&self, value: &[u8], part: usize, found: Option<Found>) -> BadRecord {
        let pointer = self.key[part].clone();
        match found {
            None => BadRecord::NoKey { pointer, found: "missing" },
            Some(found) if found.kind == Kind::Null => BadRecord::NoKey { pointer, found: "null" },
            Some(found) => BadRecord::KeyType { pointer, found: found.kind.name(), value: Shown::found(value, found) },
        }
    }

    #[cold]
    fn early_message(&self, own: i64) -> BadRecord {
        BadRecord::TooEarly {
            pointer: "the message".to_owned(),
            value: Shown::new(own.to_string().as_bytes()),
            minimum: time::date(self.min_time_ms),
            hint: Hint::MinTime,
        }
    }

    #[cold]
    fn late_message(&self, own: i64) -> BadRecord {
        BadRecord::TooFarAhead {
            pointer: "the message".to_owned(),
            value: Shown::new(own.to_string().as_bytes()),
            ahead_max_ms: self.ahead_max_ms,
            reference: "the wall clock",
            hint: Hint::MaxAhead,
        }
    }

    #[cold]
    fn out_of_range(
        &self,
        raw: &RawRecord<'_>,
        field: &TimestampField,
        value: &[u8],
        found: Found,
        time_ms: i64,
    ) -> BadRecord {
        let pointer = field.pointer.clone();
        let likely = time::likely_format(field.format, found.kind, found.text(value));
        let value = Shown::found(value, found);
        if time_ms < self.min_time_ms {
            let minimum = time::date(self.min_time_ms);
            return BadRecord::TooEarly { pointer, value, minimum, hint: time::hint_if_early(likely) };
        }
        BadRecord::TooFarAhead {
            pointer,
            value,
            ahead_max_ms: self.ahead_max_ms,
            reference: if raw.timestamp.is_some() { "the message's own timestamp" } else { "the wall clock" },
            hint: time::hint_if_ahead(likely),
        }
    }
}

/// Whether a number has neither fraction nor exponent. It may be larger than any integer type: a key is only bytes.
fn is_integer(value: &[u8], found: Found) -> bool {
    found.kind == Kind::Number && found.text(value).iter().all(|byte| byte.is_ascii_digit() || *byte == b'-')
}

#[cold]
fn no_timestamp(field: &TimestampField, found: Option<Found>) -> BadRecord {
    let found = if found.is_some() { "null" } else { "missing" };
    BadRecord::NoTimestamp { pointer: field.pointer.clone(), found }
}

#[cold]
fn bad_timestamp(field: &TimestampField, value: &[u8], found: Found) -> BadRecord {
    let likely = time::likely_format(field.format, found.kind, found.text(value));
    BadRecord::TimestampType {
        pointer: field.pointer.clone(),
        found: found.kind.name(),
        value: Shown::found(value, found),
        format: time::name(field.format),
        wanted: time::wanted(field.format),
        hint: likely.map_or(Hint::None, Hint::LooksLike),
    }
}

#[cfg(test)]
mod tests;
