//! Configuration: canonical JSON from the job file into an author's type, with errors that name the key.
//!
//! Knows nothing of any operator's keys. Next room: [`crate::operator`].

use crate::error::Error;
use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// The configuration of an operator that has none. Any key is refused.
///
/// ```
/// use tidegate_sdk::{NoConfig, parse_configuration};
///
/// assert!(parse_configuration::<NoConfig>("{}").is_ok());
/// let error = parse_configuration::<NoConfig>(r#"{"window":"1m"}"#).unwrap_err();
/// assert!(error.to_string().contains("unknown field `window`"));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// Reads a configuration as the host passes it. The export macro calls it; a unit test may.
///
/// # Errors
///
/// The text names the key that is wrong, and says why.
///
/// ```
/// # use serde::Deserialize;
/// #[derive(Debug, Deserialize)]
/// struct Config { threshold: u32 }
///
/// let error = tidegate_sdk::parse_configuration::<Config>(r#"{"threshold":"ten"}"#).unwrap_err();
/// assert_eq!(error.to_string(), "configuration key `threshold`: invalid type: string \"ten\", expected u32");
/// ```
pub fn parse_configuration<C: DeserializeOwned>(json: &str) -> Result<C, Error> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let text = without_position(&error.into_inner());
        // The path is "." for the table as a whole: an unknown or a missing key, which serde's own text names.
        if path == "." { Error::new(format!("configuration: {text}")) } else { Error::configuration(&path, text) }
    })
}

/// Serde's text without " at line 1 column 17", which means nothing to someone who wrote TOML.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&position).map_or_else(|| text.clone(), str::to_owned)
}

/// A length of time above zero, for configuration types: a number of milliseconds, or a text like "500ms", "30s", "1m",
/// "2h", "7d".
///
/// ```
/// use tidegate_sdk::{Period, parse_configuration};
///
/// #[derive(serde::Deserialize)]
/// struct Config { window: Period }
///
/// let config: Config = parse_configuration(r#"{"window":"1m"}"#).unwrap();
/// assert_eq!(config.window.millis(), 60_000);
/// let error = parse_configuration::<Config>(r#"{"window":"1 fortnight"}"#).err().unwrap();
/// assert!(error.to_string().starts_with("configuration key `window`: `1 fortnight` is no length of time"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period {
    millis: i64,
}

impl Period {
    /// Makes a period of `millis` milliseconds; `None` if that is not above zero.
    ///
    /// ```
    /// use tidegate_sdk::Period;
    ///
    /// assert_eq!(Period::from_millis(60_000).unwrap().millis(), 60_000);
    /// assert!(Period::from_millis(0).is_none());
    /// ```
    pub const fn from_millis(millis: i64) -> Option<Period> {
        if millis > 0 { Some(Period { millis }) } else { None }
    }

    /// One minute, a common default.
    ///
    /// ```
    /// assert_eq!(tidegate_sdk::Period::MINUTE.millis(), 60_000);
    /// ```
    pub const MINUTE: Period = Period { millis: 60_000 };

    /// The period in milliseconds, above zero.
    ///
    /// ```
    /// assert_eq!(tidegate_sdk::Period::MINUTE.millis(), 60_000);
    /// ```
    pub const fn millis(self) -> i64 {
        self.millis
    }

    fn parse(text: &str) -> Option<Period> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit_millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        Period::from_millis(number.parse::<i64>().ok()?.checked_mul(unit_millis)?)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Period, D::Error> {
        deserializer.deserialize_any(PeriodVisitor)
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.millis)
    }
}

struct PeriodVisitor;

impl PeriodVisitor {
    fn refuse<E: serde::de::Error>(value: impl fmt::Display) -> E {
        E::custom(format!(
            "`{value}` is no length of time; write a number of milliseconds above 0, or a text like \"500ms\", \
             \"30s\", \"1m\", \"2h\", \"7d\""
        ))
    }
}

impl Visitor<'_> for PeriodVisitor {
    type Value = Period;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a length of time: a number of milliseconds, or a text like \"1m\"")
    }

    fn visit_u64<E: serde::de::Error>(self, millis: u64) -> Result<Period, E> {
        i64::try_from(millis).ok().and_then(Period::from_millis).ok_or_else(|| Self::refuse(millis))
    }

    fn visit_i64<E: serde::de::Error>(self, millis: i64) -> Result<Period, E> {
        Period::from_millis(millis).ok_or_else(|| Self::refuse(millis))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Period, E> {
        Period::parse(text).ok_or_else(|| Self::refuse(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_read_in_every_unit() {
        for (text, millis) in [("1ms", 1), ("30s", 30_000), ("1m", 60_000), ("2h", 7_200_000), ("7d", 604_800_000)] {
            assert_eq!(Period::parse(text).map(Period::millis), Some(millis), "{text}");
        }
    }

    #[test]
    fn what_is_no_period_is_refused() {
        for text in ["", "m", "0s", "-1s", "1", "1.5s", "1 m", "1M", "9223372036854775807d", "99999999999999999999s"] {
            assert_eq!(Period::parse(text), None, "{text}");
        }
        for json in ["0", "-5", "1.5", "18446744073709551615", "true", "null"] {
            assert!(serde_json::from_str::<Period>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn an_error_names_the_nested_key() {
        #[derive(Debug, Deserialize)]
        struct Outer {
            #[expect(dead_code)]
            rules: Vec<Inner>,
        }
        #[derive(Debug, Deserialize)]
        struct Inner {
            #[expect(dead_code)]
            limit: u8,
        }
        let error = parse_configuration::<Outer>(r#"{"rules":[{"limit":1},{"limit":300}]}"#).unwrap_err();
        assert_eq!(error.to_string(), "configuration key `rules[1].limit`: invalid value: integer `300`, expected u8");
    }
}
