//! Keys, timestamps and their errors, by record.

use super::*;
use crate::config::model::TimestampFormat;
use crate::source::RawHeaders;
use std::time::Duration;

const NOW_MS: i64 = 1_700_000_100_000;
const PAYMENT: &str = r#"{"transaction_id":"tx-1","user_id":"user-1","amount":12.5,"currency":"EUR","merchant":"m-1","timestamp":1700000000000}"#;

fn settings(key: &[&str], timestamp: Option<(&str, TimestampFormat)>) -> Decode {
    Decode {
        key: key.iter().map(|pointer| (*pointer).to_owned()).collect(),
        timestamp: timestamp.map(|(pointer, format)| TimestampField { pointer: pointer.to_owned(), format }),
        max_ahead: Duration::from_hours(1),
        min_time_ms: 100_000_000_000,
    }
}

fn raw<'a>(key: Option<&'a [u8]>, value: Option<&'a str>, timestamp: Option<i64>) -> RawRecord<'a> {
    RawRecord { key, value: value.map(str::as_bytes), timestamp, offset: 0, headers: RawHeaders::default() }
}

fn decode_raw(settings: &Decode, raw: &RawRecord<'_>) -> Result<(Option<Vec<u8>>, i64), BadRecord> {
    let mut key = b"left from before".to_vec();
    let decoded = Decoder::new(settings, 1 << 20).expect("pointers").decode(raw, NOW_MS, &mut key)?;
    Ok(((decoded.key == DecodedKey::Present).then_some(key), decoded.timestamp_ms))
}

fn decode(settings: &Decode, value: &str) -> Result<(Option<Vec<u8>>, i64), BadRecord> {
    decode_raw(settings, &raw(None, Some(value), None))
}

fn payments() -> Decode {
    settings(&["/user_id"], Some(("/timestamp", TimestampFormat::UnixMillis)))
}

fn key_of(pointers: &[&str], value: &str) -> Result<Vec<u8>, BadRecord> {
    let record = raw(None, Some(value), Some(NOW_MS));
    decode_raw(&settings(pointers, None), &record).map(|(key, _)| key.expect("a key"))
}

fn time_of(format: TimestampFormat, json: &str) -> Result<i64, BadRecord> {
    decode(&settings(&[], Some(("/t", format))), &format!("{{\"t\":{json}}}")).map(|(_, time)| time)
}

#[test]
fn a_payment_has_its_user_and_its_time() {
    assert_eq!(decode(&payments(), PAYMENT), Ok((Some(b"user-1".to_vec()), 1_700_000_000_000)));
}

#[test]
fn an_integer_and_its_digits_in_a_string_are_one_key() {
    assert_eq!(key_of(&["/id"], r#"{"id":42}"#).expect("a key"), b"42");
    assert_eq!(key_of(&["/id"], r#"{"id":"42"}"#).expect("a key"), b"42");
    assert_eq!(key_of(&["/id"], r#"{"id":-0}"#).expect("a key"), b"0");
    assert_eq!(key_of(&["/id"], r#"{"id":-7}"#).expect("a key"), b"-7");
    assert_eq!(key_of(&["/id"], r#"{"id":123456789012345678901234567890}"#).expect("a key").len(), 30);
    assert_eq!(key_of(&["/id"], r#"{"id":"\u00e9"}"#).expect("a key"), "é".as_bytes());
    assert_eq!(key_of(&["/id"], r#"{"id":""}"#).expect("a key"), b"");
}

#[test]
fn a_composite_key_is_length_prefixed_in_the_order_of_the_pointers() {
    let value = r#"{"a":"x","b":{"c":12}}"#;
    assert_eq!(key_of(&["/a", "/b/c"], value).expect("a key"), b"\x01\0\0\0x\x02\0\0\x0012");
    assert_eq!(key_of(&["/b/c", "/a"], value).expect("a key"), b"\x02\0\0\x0012\x01\0\0\0x");
    assert_eq!(key_of(&["/a", "/a"], value).expect("a key"), b"\x01\0\0\0x\x01\0\0\0x");
    let bad = key_of(&["/a", "/b"], value).expect_err("an object");
    assert_eq!(bad.to_string(), r#"the key at `/b` is an object, `{"c":12}`; a key is a string or an integer"#);
}

#[test]
fn what_is_no_key_is_refused_by_name() {
    let cases = [
        ("{}", "there is no key at `/id`: the field is missing"),
        (r#"{"id":null}"#, "there is no key at `/id`: the field is null"),
        (r#"{"id":1.0}"#, "the key at `/id` is a number, `1.0`; a key is a string or an integer"),
        (r#"{"id":1e3}"#, "the key at `/id` is a number, `1e3`; a key is a string or an integer"),
        (r#"{"id":true}"#, "the key at `/id` is a boolean, `true`; a key is a string or an integer"),
        (r#"{"id":1,"id":1}"#, "the value has `id` twice, so it is not known which one is meant"),
        ("{\"id\":1", "the value is not JSON: EOF while parsing an object at byte 7"),
    ];
    for (value, expected) in cases {
        assert_eq!(key_of(&["/id"], value).expect_err(value).to_string(), expected);
    }
}

#[test]
fn without_pointers_the_message_says_key_and_time() {
    let settings = settings(&[], None);
    let own = raw(Some(b"\xffk"), Some("[]"), Some(NOW_MS));
    assert_eq!(decode_raw(&settings, &own), Ok((Some(b"\xffk".to_vec()), NOW_MS)));
    let keyless = raw(None, Some("[]"), Some(NOW_MS));
    assert_eq!(decode_raw(&settings, &keyless), Ok((None, NOW_MS)));
    let timeless = raw(None, Some("[]"), None);
    assert_eq!(decode_raw(&settings, &timeless), Err(BadRecord::NoMessageTimestamp));
    let old = raw(None, Some("[]"), Some(0));
    let text = decode_raw(&settings, &old).expect_err("1970").to_string();
    assert_eq!(
        text,
        "the timestamp `0` at `the message` is before 1973-03-03T09:46:40Z; lower `min_time` if it is meant"
    );
    let broken = raw(None, Some("["), Some(NOW_MS));
    assert!(
        matches!(decode_raw(&settings, &broken), Err(BadRecord::NotJson { .. })),
        "the value is validated all the same"
    );
}

#[test]
fn a_tombstone_has_the_messages_own_key_and_time() {
    let tombstone = raw(Some(b"k"), None, Some(NOW_MS));
    assert_eq!(decode_raw(&settings(&[], None), &tombstone), Ok((Some(b"k".to_vec()), NOW_MS)));
    let timed = settings(&[], Some(("/t", TimestampFormat::UnixMillis)));
    assert_eq!(decode_raw(&timed, &tombstone), Ok((Some(b"k".to_vec()), NOW_MS)));
    let bad = decode_raw(&payments(), &tombstone).expect_err("a key is wanted from the value").to_string();
    let expected =
        "the message has no value, so there is no key at `/user_id`; leave `key` out to take the message's own key";
    assert_eq!(bad, expected);
}

#[test]
fn seconds_taken_for_milliseconds_are_found_with_the_way_out() {
    let bad = time_of(TimestampFormat::UnixMillis, "1700000000").expect_err("1970").to_string();
    assert_eq!(
        bad,
        "the timestamp `1700000000` at `/t` is before 1973-03-03T09:46:40Z; it looks like seconds: set `format = \
         \"unix_s\"`, or lower `min_time` if it is meant"
    );
    assert_eq!(time_of(TimestampFormat::UnixSeconds, "1700000000"), Ok(1_700_000_000_000));
    let allowed = Decode { min_time_ms: 0, ..settings(&[], Some(("/t", TimestampFormat::UnixMillis))) };
    assert_eq!(decode(&allowed, r#"{"t":5}"#), Ok((None, 5)));
}

#[test]
fn a_time_far_ahead_is_refused_relative_to_the_message_or_the_clock() {
    let settings = settings(&[], Some(("/t", TimestampFormat::UnixMillis)));
    let at = |time: i64, own: Option<i64>| {
        decode_raw(&settings, &raw(None, Some(&format!("{{\"t\":{time}}}")), own)).map(|(_, time)| time)
    };
    let latest = NOW_MS + 3_600_000;
    assert_eq!(at(latest, None), Ok(latest));
    let bad = at(latest + 1, None).expect_err("ahead of the clock").to_string();
    assert_eq!(
        bad,
        "the timestamp `1700003700001` at `/t` is more than 3600000 ms ahead of the wall clock; raise `max_ahead` if it \
         is meant"
    );
    let own = 1_600_000_000_000;
    assert_eq!(at(own + 3_600_000, Some(own)), Ok(own + 3_600_000));
    let bad = at(own + 3_600_001, Some(own)).expect_err("ahead of the message").to_string();
    assert!(bad.contains("ahead of the message's own timestamp"), "{bad}");
    let bad = at(1_700_000_000_000_000, None).expect_err("microseconds").to_string();
    assert!(bad.ends_with("it looks like microseconds: set `format = \"unix_us\"`"), "{bad}");
    assert!(at(i64::MAX, Some(i64::MAX)).is_ok(), "no overflow");
}

#[test]
fn what_is_no_timestamp_is_refused_by_name() {
    use TimestampFormat::{Rfc3339, UnixMillis, UnixSeconds};
    let cases = [
        (UnixMillis, "null", "there is no timestamp at `/t`: the field is null"),
        (
            UnixMillis,
            "1.5e12",
            "the timestamp at `/t` is a number, `1.5e12`; `unix_ms` wants a whole number of milliseconds",
        ),
        (
            UnixSeconds,
            "9223372036854775807",
            "the timestamp at `/t` is a number, `9223372036854775807`; `unix_s` wants a whole number of seconds",
        ),
        (
            UnixMillis,
            "\"2023-11-14T22:13:20Z\"",
            "the timestamp at `/t` is a string, `\"2023-11-14T22:13:20Z\"`; `unix_ms` wants a whole number of \
             milliseconds; it looks like a date: set `format = \"rfc3339\"`",
        ),
        (
            Rfc3339,
            "1700000000",
            "the timestamp at `/t` is a number, `1700000000`; `rfc3339` wants a string like \
             \"2026-01-31T12:00:00Z\"; it looks like seconds: set `format = \"unix_s\"`",
        ),
    ];
    for (format, json, expected) in cases {
        assert_eq!(time_of(format, json).expect_err(json).to_string(), expected);
    }
    assert!(matches!(decode(&payments(), r#"{"user_id":1}"#), Err(BadRecord::NoTimestamp { .. })));
}

#[test]
fn a_record_beyond_the_limit_is_not_parsed() {
    let mut decoder = Decoder::new(&settings(&[], None), 10).expect("pointers");
    let mut key = Vec::new();
    let mut decode = |own: Option<&'static [u8]>, value: &str| {
        decoder.decode(&raw(own, Some(value), Some(NOW_MS)), NOW_MS, &mut key)
    };
    assert!(decode(None, "[1,2,3,45]").is_ok());
    assert!(decode(Some(b"k"), "[1,2,3,4]").is_ok());
    let bad = decode(Some(b"k"), "[1,2,3,45").expect_err("11 bytes with the key... of what is not JSON");
    assert!(matches!(bad, BadRecord::NotJson { .. }), "10 bytes");
    let bad = decode(Some(b"k"), "[1,2,3,45]").expect_err("11 bytes");
    assert_eq!(bad.to_string(), "the record is larger than 10 bytes; raise `max_record` if such records are meant");
}

#[test]
fn errors_show_the_beginning_of_a_value_and_no_more() {
    let long = format!("{{\"id\":[\"{}\"]}}", "secret ".repeat(1000));
    let text = key_of(&["/id"], &long).expect_err("an array").to_string();
    assert!(text.len() < 200 && text.contains("..."), "{text}");
    let umlauts = format!("{{\"id\":[\"{}\"]}}", "ä".repeat(100));
    let text = key_of(&["/id"], &umlauts).expect_err("an array").to_string();
    assert!(!text.contains(char::REPLACEMENT_CHARACTER), "{text}");
    assert_eq!(Shown::new(b"a\nb\"c").to_string(), "a\\nb\"c");
}

#[test]
fn a_pointer_that_is_none_is_refused_when_the_decoder_is_made() {
    assert!(Decoder::new(&settings(&["user_id"], None), 1).is_err());
    assert!(Decoder::new(&settings(&[], Some(("/~", TimestampFormat::UnixMillis))), 1).is_err());
}

#[test]
fn a_message_s_own_time_must_be_above_zero_and_not_far_ahead_of_the_clock() {
    let own = |timestamp: i64| {
        let settings = Decode { min_time_ms: i64::MIN, ..settings(&[], None) };
        decode_raw(&settings, &raw(None, Some("{}"), Some(timestamp))).map(|(_, time)| time)
    };
    assert_eq!(own(1), Ok(1));
    assert_eq!(own(NOW_MS + 3_600_000), Ok(NOW_MS + 3_600_000));
    for early in [0, -1] {
        assert!(matches!(own(early), Err(BadRecord::TooEarly { .. })), "{early}");
    }
    let ahead = own(NOW_MS + 3_600_001).expect_err("more than an hour ahead").to_string();
    assert!(ahead.contains("ahead of the wall clock"), "{ahead}");
}

#[test]
fn a_date_whose_string_has_escapes_is_read() {
    let time = |text: &str| time_of(TimestampFormat::Rfc3339, text);
    assert_eq!(time(r#""2023-11-14T23:13:20\u002B01:00""#), Ok(1_700_000_000_000));
    assert_eq!(time(r#""\u0032023-11-14T22:13:20Z""#), Ok(1_700_000_000_000));
    assert!(time(r#""2023-11-14T22:13:20\\u002b00:00""#).is_err());
}
