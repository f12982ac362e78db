//! Text to values: durations, sizes, times, JSON Pointers, names. Pure; an error says what is wrong and how to write it.

use crate::decode::check_pointer;
use std::time::Duration;

/// Longest name of a job, source, operator, sink or connection, in characters.
pub(super) const NAME_MAX: usize = 64;

/// A span of time like `1s`, `5ms`, `1h30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let way_out = "write a number with a unit, like `\"5ms\"`, `\"1s\"`, `\"10m\"` or `\"1h\"`";
    if text.trim().parse::<f64>().is_ok() {
        return Err(format!("`{text}` has no unit; {way_out}"));
    }
    let signed: jiff::SignedDuration = text.parse().map_err(|_| format!("`{text}` is not a duration; {way_out}"))?;
    signed.try_into().map_err(|_| format!("`{text}` is negative; {way_out}"))
}

/// Bytes like `64MiB`, `256KiB`, `1MB`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let way_out = "write a number with a unit, like `\"256KiB\"`, `\"64MiB\"` or `\"4GiB\"`";
    if text.trim().parse::<f64>().is_ok() {
        return Err(format!("`{text}` has no unit; {way_out}"));
    }
    // `4M` would be taken as a decimal megabyte by one reader and as a binary one by another.
    if !text.trim_end().ends_with(['B', 'b']) {
        return Err(format!("`{text}` is not a size; {way_out}"));
    }
    let parsed: Result<bytesize::ByteSize, String> = text.parse();
    parsed.map(|size| size.0).map_err(|_| format!("`{text}` is not a size; {way_out}"))
}

/// A duration as one would write it.
pub(super) fn show_duration(duration: Duration) -> String {
    match jiff::SignedDuration::try_from(duration) {
        Ok(signed) => format!("{signed:#}").replace(' ', ""),
        Err(_) => format!("{}s", duration.as_secs()),
    }
}

/// A size as one would write it.
pub(super) fn show_size(bytes: u64) -> String {
    let units = [(1_u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let exact = units.into_iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit));
    exact.map_or_else(|| format!("{bytes}B"), |(unit, name)| format!("{}{name}", bytes / unit))
}

/// An RFC 3339 time, in milliseconds since the Unix epoch.
pub(super) fn time_ms(text: &str) -> Option<i64> {
    let timestamp: jiff::Timestamp = text.parse().ok()?;
    Some(timestamp.as_millisecond())
}

/// A JSON Pointer (RFC 6901); a plain name is a top-level field.
pub(super) fn pointer(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("is empty; name a field, like `user_id` or `/user/id`".to_owned());
    }
    let Some(path) = text.strip_prefix('/') else {
        if text.starts_with(['$', '#']) {
            return Err(format!("`{text}` is not a JSON Pointer; write it like `/user/id`"));
        }
        if text.contains('/') {
            let escaped = text.replace('~', "~0").replace('/', "~1");
            return Err(format!(
                "`{text}` can be read in two ways; write `/{text}` for a nested field, or `/{escaped}` for a field of this name"
            ));
        }
        return Ok(format!("/{}", text.replace('~', "~0")));
    };
    let mut rest = path;
    while let Some(at) = rest.find('~') {
        if !rest[at + 1..].starts_with(['0', '1']) {
            return Err(format!(
                "`{text}` is not a JSON Pointer: write `~0` for a `~` in a field's name, `~1` for a `/`"
            ));
        }
        rest = &rest[at + 1..];
    }
    // What it cannot follow, the decoder would refuse when the job starts.
    check_pointer(text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

/// Says why a name cannot be one. Names end up in file names, topics and transactional ids.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if name.is_empty() {
        return Err("is empty; use letters, digits and `-`".to_owned());
    }
    if let Some(wrong) = name.chars().find(|c| !legal(*c)) {
        let fixed: String = name.chars().map(|c| if legal(c) { c } else { '-' }).collect();
        return Err(format!("`{name}` holds `{}`; use letters, digits and `-`, as in `{fixed}`", wrong.escape_debug()));
    }
    if name.len() > NAME_MAX {
        return Err(format!("`{name}` has {} characters; use at most {NAME_MAX}", name.len()));
    }
    Ok(())
}

/// Says why a topic's name cannot be one for Kafka.
pub(super) fn check_topic(name: &str) -> Result<(), String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > 249 || name == "." || name == ".." || !name.chars().all(legal) {
        return Err(format!(
            "`{name}` cannot be a Kafka topic; use up to 249 letters, digits, `.`, `_` and `-` (patterns are not taken)"
        ));
    }
    Ok(())
}

/// Says why a broker's address cannot be one.
pub(super) fn check_broker(address: &str) -> Result<(), String> {
    let way_out = "write `host:port`, like `k1:9092`";
    if address.contains("://") {
        return Err(format!("`{address}` names a protocol; {way_out}, and set `security` for TLS"));
    }
    if address.contains([',', ' ']) {
        return Err(format!("`{address}` is more than one broker; make each a string of its own"));
    }
    let Some((host, port)) = address.rsplit_once(':') else {
        return Err(format!("`{address}` has no port; {way_out}"));
    };
    match port.parse::<u16>() {
        Ok(1..) if !host.is_empty() => Ok(()),
        _ => Err(format!("`{address}` is not an address; {way_out}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("5ms"), Ok(Duration::from_millis(5)));
        assert_eq!(duration("1h"), Ok(Duration::from_hours(1)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_mins(90)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for wrong in ["1", "1.5", "", "s", "1 parsec", "-1s"] {
            let error = duration(wrong).expect_err(wrong);
            assert!(error.contains("\"1s\""), "{error}");
        }
        assert_eq!(show_duration(Duration::from_millis(1500)), "1s500ms");
        assert_eq!(show_duration(Duration::from_mins(1)), "1m");
    }

    #[test]
    fn sizes_need_a_unit() {
        assert_eq!(size("4MiB"), Ok(4 << 20));
        assert_eq!(size("256KiB"), Ok(256 << 10));
        assert_eq!(size("1MB"), Ok(1_000_000));
        for wrong in ["4", "", "MiB", "4M", "4 apples", "-4MiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        assert_eq!(show_size(4 << 20), "4MiB");
        assert_eq!(show_size(1500), "1500B");
    }

    #[test]
    fn a_plain_name_is_a_top_level_field() {
        assert_eq!(pointer("user_id").as_deref(), Ok("/user_id"));
        assert_eq!(pointer("a~b").as_deref(), Ok("/a~0b"));
        assert_eq!(pointer("/user/id").as_deref(), Ok("/user/id"));
        assert_eq!(pointer("/a~1b/~0").as_deref(), Ok("/a~1b/~0"));
        for wrong in ["", "a/b", "$.user.id", "/a~b", "/a~"] {
            assert!(pointer(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_and_addresses_are_checked() {
        assert!(check_name("fraud-2").is_ok());
        assert_eq!(check_name("a_b"), Err("`a_b` holds `_`; use letters, digits and `-`, as in `a-b`".to_owned()));
        assert!(check_name(&"a".repeat(65)).is_err());
        assert!(check_topic("fraud.dead_2").is_ok());
        assert!(check_topic("fraud*").is_err());
        assert!(check_broker("k1:9092").is_ok());
        assert!(check_broker("[::1]:9092").is_ok());
        for wrong in ["k1", "k1:0", "k1:99999", ":9092", "ssl://k1:9092", "k1:9092,k2:9092"] {
            assert!(check_broker(wrong).is_err(), "{wrong}");
        }
    }
}
