//! `[connection.NAME]`: a Kafka cluster, its security, and the properties that reach librdkafka.
//!
//! Values of properties and secrets never appear in an error. Next room: [`crate::kafka::properties`], the allow list.

use super::context::Context;
use super::keys::sections::SECRET;
use super::model::{KafkaConnection, Secret};
use super::reader::{Table, Value, describe, text_of};
use super::values;
use crate::kafka::properties::{Property, PropertyValue, Verdict, check_value, judge_in_job_file};
use std::ops::Range;
use toml::de::DeValue;

/// Longest secret, in bytes: a private key with its chain fits many times.
const SECRET_BYTES_MAX: u64 = 1 << 20;

/// Reads one connection.
pub(super) fn read(name: &str, table: &Table<'_>) -> KafkaConnection {
    table.choice("kind");
    let brokers = table.texts("brokers");
    for broker in &brokers {
        if let Err(what) = values::check_broker(&broker.text) {
            table.context.error(&broker.span, table.path_of("brokers"), what);
        }
    }
    let mut properties = security(table);
    properties.extend(own_properties(table));
    KafkaConnection {
        name: name.to_owned(),
        brokers: brokers.into_iter().map(|broker| broker.text).collect(),
        properties,
    }
}

fn security(table: &Table<'_>) -> Vec<(String, Secret)> {
    let security = table.choice("security");
    let mut properties = Vec::new();
    let mut set = |name: &str, value: String| properties.push((name.to_owned(), Secret::new(value)));
    set("security.protocol", security.to_owned());
    let (tls, authenticated) = (security.ends_with("ssl"), security.starts_with("sasl"));
    if let Some(path) = table.path("ca_file") {
        if !tls {
            let secure = if authenticated { "sasl_ssl" } else { "ssl" };
            table.error("ca_file", format!("`security` is `{security}`, without TLS; set `security = \"{secure}\"`"));
        } else if !path.exists() {
            table
                .error("ca_file", format!("`{}` does not exist; relative paths begin at the job file", path.display()));
        }
        set("ssl.ca.location", path.display().to_string());
    }
    match (table.has("sasl"), authenticated) {
        (true, false) => {
            let secure = if tls { "sasl_ssl" } else { "sasl_plaintext` or `sasl_ssl" };
            table.error("sasl", format!("`security` is `{security}`, without authentication; set it to `{secure}`"));
        }
        (false, true) => table.error(
            "security",
            format!("`{security}` needs to know who we are; add `sasl = {{ mechanism, username, password }}`"),
        ),
        (true, true) | (false, false) => {}
    }
    if table.has("sasl") {
        let sasl = table.table("sasl");
        set("sasl.mechanism", sasl.choice("mechanism").to_owned());
        if let Some(username) = user(&sasl) {
            properties.push(("sasl.username".to_owned(), username));
        }
        if let Some(password) = password(&sasl) {
            properties.push(("sasl.password".to_owned(), password));
        }
    }
    properties
}

fn user(sasl: &Table<'_>) -> Option<Secret> {
    let Some(value) = sasl.value("username") else {
        sasl.missing("username", "write `username = \"…\"`, or `{ env = \"…\" }`, or `{ file = \"…\" }`");
        return None;
    };
    let path = sasl.path_of("username");
    if value.get_ref().is_table() {
        return secret(sasl.context, &path, value);
    }
    text_of(sasl.context, &path, value).map(|text| Secret::new(text.text))
}

fn password(sasl: &Table<'_>) -> Option<Secret> {
    let Some(value) = sasl.value("password") else {
        sasl.missing("password", "write `password = { env = \"…\" }` or `{ file = \"…\" }`");
        return None;
    };
    secret(sasl.context, &sasl.path_of("password"), value)
}

/// Reads `{ env = "…" }` or `{ file = "…" }` and fetches the value.
fn secret(context: &Context<'_>, path: &str, value: &Value<'_>) -> Option<Secret> {
    if !value.get_ref().is_table() {
        let what = "a secret must not stand in the job file, which is stored with the job; \
                    write `{ env = \"…\" }` or `{ file = \"…\" }`";
        context.error(&value.span(), path, what);
        return None;
    }
    let table = Table::open(context, &SECRET, path.to_owned(), value.span(), Some(value));
    match (table.text("env"), table.path("file")) {
        (Some(variable), None) => from_variable(context, path, &variable.text, &variable.span),
        (None, Some(file)) => from_file(context, path, &file, &table.span_of("file")),
        (None, None) => {
            // A wrong type of either was reported where it stands.
            if !table.has("env") && !table.has("file") {
                context.error(
                    &value.span(),
                    path,
                    "says not where the secret is; write `env = \"…\"` or `file = \"…\"`",
                );
            }
            None
        }
        (Some(_), Some(_)) => {
            context.error(&value.span(), path, "has both `env` and `file`; leave one out");
            None
        }
    }
}

fn from_variable(context: &Context<'_>, path: &str, variable: &str, span: &Range<usize>) -> Option<Secret> {
    let state = match (context.environment.variable)(variable) {
        Some(value) if !value.is_empty() => return Some(Secret::new(value)),
        Some(_) => "empty",
        None => "not set",
    };
    let what = format!("the environment variable `{variable}` is {state}; set it for the process, or use `file`");
    context.error(span, path, what);
    None
}

fn from_file(context: &Context<'_>, path: &str, file: &std::path::Path, span: &Range<usize>) -> Option<Secret> {
    let shown = file.display();
    let length = std::fs::metadata(file).map(|metadata| metadata.len());
    if length.is_ok_and(|length| length > SECRET_BYTES_MAX) {
        let what = format!("`{shown}` is larger than {}; is it the right file?", values::show_size(SECRET_BYTES_MAX));
        context.error(span, path, what);
        return None;
    }
    match std::fs::read_to_string(file) {
        Ok(text) => {
            let value = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
            if value.is_empty() {
                context.error(span, path, format!("`{shown}` is empty; write the secret into it"));
                return None;
            }
            Some(Secret::new(value.to_owned()))
        }
        Err(error) => {
            let what = format!("cannot read `{shown}` ({error}); relative paths begin at the job file");
            context.error(span, path, what);
            None
        }
    }
}

/// Reads `properties`, each judged by the allow list.
fn own_properties(table: &Table<'_>) -> Vec<(String, Secret)> {
    let Some(value) = table.value("properties") else { return Vec::new() };
    let DeValue::Table(entries) = value.get_ref() else {
        table.error("properties", format!("found {}, wanted a table", describe(value.get_ref())));
        return Vec::new();
    };
    let mut properties = Vec::new();
    for (key, value) in entries {
        let name = key.get_ref().as_ref();
        let path = format!("{}.\"{name}\"", table.path_of("properties"));
        if value.get_ref().as_table().is_some_and(|inner| !inner.contains_key("env") && !inner.contains_key("file")) {
            // `socket.timeout.ms = 1` without quotes is three nested tables.
            let what = "found a table; write the whole name in quotes, like `\"socket.timeout.ms\" = 10000`";
            table.context.error(&key.span(), path, what);
            continue;
        }
        match judge_in_job_file(name) {
            Verdict::Refused(reason) => table.context.error(&key.span(), path, reason),
            Verdict::Allowed(property) => {
                if let Some(text) = property_text(table.context, &path, property, value) {
                    properties.push((name.to_owned(), text));
                }
            }
        }
    }
    properties
}

fn property_text(context: &Context<'_>, path: &str, property: &Property, value: &Value<'_>) -> Option<Secret> {
    let text = match value.get_ref() {
        DeValue::Table(_) => secret(context, path, value)?,
        _ if property.value == PropertyValue::Secret => secret(context, path, value)?,
        DeValue::String(text) if property.value == PropertyValue::Path => {
            Secret::new(context.resolve(text).display().to_string())
        }
        DeValue::String(text) => Secret::new(text.to_string()),
        DeValue::Integer(number) => Secret::new(number.to_string()),
        DeValue::Boolean(value) => Secret::new(value.to_string()),
        other => {
            let what = format!("found {}, wanted a string, an integer or a boolean", describe(other));
            context.error(&value.span(), path, what);
            return None;
        }
    };
    if let Err(what) = check_value(property, text.reveal()) {
        context.error(&value.span(), path, what);
    }
    Some(text)
}
