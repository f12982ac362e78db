//! Timestamps: JSON text to milliseconds since the Unix epoch, and what a number was probably meant to be.
//!
//! Integers only: a fraction of a second would be cut differently by every writer. Next room: [`super`].

use super::bad::Hint;
use super::fields::Kind;
use crate::config::model::TimestampFormat;
use jiff::Timestamp;

/// The range in which a time is held to be a real one when a hint is looked for: 1980 to 2100, in seconds.
const PLAUSIBLE_SECONDS: std::ops::Range<i64> = 315_532_800..4_102_444_800;

/// The format's name in a job file.
pub(super) fn name(format: TimestampFormat) -> &'static str {
    match format {
        TimestampFormat::UnixSeconds => "unix_s",
        TimestampFormat::UnixMillis => "unix_ms",
        TimestampFormat::UnixMicros => "unix_us",
        TimestampFormat::UnixNanos => "unix_ns",
        TimestampFormat::Rfc3339 => "rfc3339",
    }
}

/// What the format counts, in plain words.
pub(super) fn plain_name(format: TimestampFormat) -> &'static str {
    match format {
        TimestampFormat::UnixSeconds => "seconds",
        TimestampFormat::UnixMillis => "milliseconds",
        TimestampFormat::UnixMicros => "microseconds",
        TimestampFormat::UnixNanos => "nanoseconds",
        TimestampFormat::Rfc3339 => "a date",
    }
}

/// What the format wants to find.
pub(super) fn wanted(format: TimestampFormat) -> &'static str {
    match format {
        TimestampFormat::UnixSeconds => "a whole number of seconds",
        TimestampFormat::UnixMillis => "a whole number of milliseconds",
        TimestampFormat::UnixMicros => "a whole number of microseconds",
        TimestampFormat::UnixNanos => "a whole number of nanoseconds",
        TimestampFormat::Rfc3339 => "a string like \"2026-01-31T12:00:00Z\"",
    }
}

/// The time that a field says, rounded down to milliseconds. `text` is the field's JSON text; for a string its quotes are
/// part of it. `None` if it is not of the format.
pub(super) fn parse(format: TimestampFormat, kind: Kind, text: &[u8]) -> Option<i64> {
    match (format, kind) {
        (TimestampFormat::Rfc3339, Kind::String) => parse_rfc3339(text.get(1..text.len() - 1)?),
        (TimestampFormat::Rfc3339, _) => None,
        (_, Kind::Number) => to_millis(format, parse_integer(text)?),
        _ => None,
    }
}

/// What the field was probably meant to be, when [`parse`] refused it or the time is out of range.
pub(super) fn likely_format(configured: TimestampFormat, kind: Kind, text: &[u8]) -> Option<TimestampFormat> {
    if kind == Kind::String {
        let is_date = text.len() > 2 && parse_rfc3339(&text[1..text.len() - 1]).is_some();
        return (is_date && configured != TimestampFormat::Rfc3339).then_some(TimestampFormat::Rfc3339);
    }
    let number = parse_integer(text)?;
    let counting = [
        TimestampFormat::UnixSeconds,
        TimestampFormat::UnixMillis,
        TimestampFormat::UnixMicros,
        TimestampFormat::UnixNanos,
    ];
    counting.into_iter().find(|format| {
        let seconds = to_millis(*format, number).map(|millis| millis.div_euclid(1_000));
        *format != configured && seconds.is_some_and(|seconds| PLAUSIBLE_SECONDS.contains(&seconds))
    })
}

/// The hint for a time before `min_time`.
pub(super) fn hint_if_early(likely: Option<TimestampFormat>) -> Hint {
    likely.map_or(Hint::MinTime, Hint::LooksLikeOrMinTime)
}

/// The hint for a time too far ahead.
pub(super) fn hint_if_ahead(likely: Option<TimestampFormat>) -> Hint {
    likely.map_or(Hint::MaxAhead, Hint::LooksLike)
}

/// A time as a date, for an error; the number where no calendar has it.
pub(super) fn date(millis: i64) -> String {
    Timestamp::from_millisecond(millis).map_or_else(|_| format!("{millis} ms"), |date| date.to_string())
}

/// A JSON number without fraction and exponent that fits 64 bits.
#[inline]
pub(super) fn parse_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        _ => (false, text),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value: i64 = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // Counting downwards: the smallest number has no positive counterpart.
        value = value.checked_mul(10)?.checked_sub(i64::from(digit))?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

fn to_millis(format: TimestampFormat, number: i64) -> Option<i64> {
    match format {
        TimestampFormat::UnixSeconds => number.checked_mul(1_000),
        TimestampFormat::UnixMillis => Some(number),
        TimestampFormat::UnixMicros => Some(number.div_euclid(1_000)),
        TimestampFormat::UnixNanos => Some(number.div_euclid(1_000_000)),
        TimestampFormat::Rfc3339 => None,
    }
}

fn parse_rfc3339(text: &[u8]) -> Option<i64> {
    let time: Timestamp = std::str::from_utf8(text).ok()?.parse().ok()?;
    Some(time.as_nanosecond().div_euclid(1_000_000) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use TimestampFormat::{Rfc3339, UnixMicros, UnixMillis, UnixNanos, UnixSeconds};

    fn number(format: TimestampFormat, text: &str) -> Option<i64> {
        parse(format, Kind::Number, text.as_bytes())
    }

    #[test]
    fn integers_are_whole_and_fit() {
        let cases = [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("1.0", None),
            ("1e3", None),
            ("-", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_integer(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn units_become_milliseconds_rounded_down() {
        assert_eq!(number(UnixSeconds, "1700000000"), Some(1_700_000_000_000));
        assert_eq!(number(UnixSeconds, "9223372036854776"), None);
        assert_eq!(number(UnixMillis, "-1"), Some(-1));
        assert_eq!(number(UnixMicros, "1700000000000999"), Some(1_700_000_000_000));
        assert_eq!(number(UnixMicros, "-1"), Some(-1));
        assert_eq!(number(UnixNanos, "1700000000000999999"), Some(1_700_000_000_000));
        assert_eq!(number(Rfc3339, "1700000000"), None);
        assert_eq!(parse(UnixMillis, Kind::String, b"\"1\""), None);
    }

    #[test]
    fn dates_need_a_zone_and_keep_milliseconds() {
        let date = |text: &str| parse(Rfc3339, Kind::String, format!("\"{text}\"").as_bytes());
        assert_eq!(date("2023-11-14T22:13:20Z"), Some(1_700_000_000_000));
        assert_eq!(date("2023-11-14T23:13:20.1239+01:00"), Some(1_700_000_000_123));
        assert_eq!(date("1969-12-31T23:59:59.9999Z"), Some(-1));
        assert_eq!(date("2023-11-14T22:13:20"), None);
        assert_eq!(date("2023-02-30T00:00:00Z"), None);
        assert_eq!(date(""), None);
        assert_eq!(parse(Rfc3339, Kind::Null, b"null"), None);
    }

    #[test]
    fn the_likely_format_is_found_by_magnitude() {
        let likely = |configured, text: &str| likely_format(configured, Kind::Number, text.as_bytes());
        assert_eq!(likely(UnixMillis, "1700000000"), Some(UnixSeconds));
        assert_eq!(likely(UnixMillis, "1700000000000000"), Some(UnixMicros));
        assert_eq!(likely(UnixSeconds, "1700000000000"), Some(UnixMillis));
        assert_eq!(likely(Rfc3339, "1700000000000000000"), Some(UnixNanos));
        assert_eq!(likely(UnixMillis, "1700000000000"), None);
        assert_eq!(likely(UnixMillis, "5"), None);
        assert_eq!(likely_format(UnixMillis, Kind::String, b"\"2023-11-14T22:13:20Z\""), Some(Rfc3339));
        assert_eq!(likely_format(Rfc3339, Kind::String, b"\"yesterday\""), None);
    }
}
