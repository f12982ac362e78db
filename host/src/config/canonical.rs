//! An operator's `config`: TOML to canonical JSON (RFC 8785), so that one configuration has one hash.
//!
//! What JSON cannot carry in every language is refused: times, numbers that are not finite, integers beyond 2^53.

use super::reader::{Table, Value, describe};
use serde_json::{Map, Number, Value as Json};
use toml::de::DeValue;

/// The largest integer that a double holds with all its neighbours: 2^53 - 1.
const INTEGER_MAX: i64 = (1 << 53) - 1;

/// The configuration as canonical JSON; `{}` if there is none.
pub(super) fn config(table: &Table<'_>) -> String {
    let empty = "{}".to_owned();
    let Some(value) = table.value("config") else { return empty };
    if !value.get_ref().is_table() {
        table.error("config", format!("found {}, wanted a table", describe(value.get_ref())));
        return empty;
    }
    let Some(json) = convert(table, &table.path_of("config"), value) else { return empty };
    // Converted values have string keys and finite numbers, and those always have a canonical form.
    serde_json_canonicalizer::to_string(&json).expect("converted values are canonical")
}

fn convert(table: &Table<'_>, path: &str, value: &Value<'_>) -> Option<Json> {
    let refuse = |what: String| {
        table.context.error(&value.span(), path, what);
        None
    };
    match value.get_ref() {
        DeValue::String(text) => Some(Json::String(text.to_string())),
        DeValue::Boolean(value) => Some(Json::Bool(*value)),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(parsed) if (-INTEGER_MAX..=INTEGER_MAX).contains(&parsed) => Some(Json::Number(parsed.into())),
            _ => refuse(format!(
                "`{number}` is beyond 2^53, which JSON numbers do not hold exactly; write it as a string"
            )),
        },
        DeValue::Float(number) => match number.as_str().parse::<f64>().ok().and_then(Number::from_f64) {
            Some(parsed) => Some(Json::Number(parsed)),
            None => refuse(format!("`{number}` is not a number that JSON has; leave it out, or write it as a string")),
        },
        DeValue::Datetime(time) => {
            refuse(format!("`{time}` is a time, which JSON does not have; write it as a string"))
        }
        DeValue::Array(items) => {
            let items: Vec<_> =
                items.iter().enumerate().map(|(at, item)| convert(table, &format!("{path}[{at}]"), item)).collect();
            items.into_iter().collect::<Option<Vec<_>>>().map(Json::Array)
        }
        DeValue::Table(entries) => {
            let mut members = Map::new();
            let mut sound = true;
            for (key, value) in entries {
                match convert(table, &format!("{path}.{}", key.get_ref()), value) {
                    Some(json) => _ = members.insert(key.get_ref().to_string(), json),
                    None => sound = false,
                }
            }
            sound.then_some(Json::Object(members))
        }
    }
}
