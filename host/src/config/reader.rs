//! Reads the tables of a job file by the table of keys: known names, types, units, ranges, defaults.
//!
//! A getter always gives a value. If it had to make one up it has reported an error, and then the job is never built; so a
//! reader of a section goes on, and all errors are found together. Next room: [`super::keys`], the table it goes by.

use super::context::Context;
use super::keys::sections::ALL;
use super::keys::{Absent, Key, Kind, Section};
use super::nearest::{hint, list, nearest};
use super::values;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value of a job file with its place.
pub(super) type Value<'a> = Spanned<DeValue<'a>>;

/// A table being read.
pub(super) struct Table<'a> {
    pub(super) context: &'a Context<'a>,
    /// The key path of the table itself; empty at the top.
    pub(super) path: String,
    /// Where it begins.
    pub(super) span: Range<usize>,
    section: &'static Section,
    entries: Option<&'a DeTable<'a>>,
}

/// A string with its place.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub(super) text: String,
    pub(super) span: Range<usize>,
}

/// What a value is, for an error; never the text of a value that may be long.
pub(super) fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if text.chars().count() <= 80 => format!("the string `{}`", text.escape_debug()),
        DeValue::String(_) => "a long string".to_owned(),
        DeValue::Integer(number) => format!("the integer `{number}`"),
        DeValue::Float(number) => format!("the number `{number}`"),
        DeValue::Boolean(value) => format!("`{value}`"),
        DeValue::Datetime(time) => format!("the time `{time}`"),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

impl<'a> Table<'a> {
    /// Opens the document's top.
    pub(super) fn top(
        context: &'a Context<'a>,
        section: &'static Section,
        document: &'a Spanned<DeTable<'a>>,
    ) -> Table<'a> {
        let table = Table { context, path: String::new(), span: 0..0, section, entries: Some(document.get_ref()) };
        table.report_unknown_keys();
        table
    }

    /// Opens a value as a table and reports keys that it may not have.
    pub(super) fn open(
        context: &'a Context<'a>,
        section: &'static Section,
        path: String,
        span: Range<usize>,
        value: Option<&'a Value<'a>>,
    ) -> Table<'a> {
        let entries = value.and_then(|value| {
            let table = value.get_ref().as_table();
            if table.is_none() {
                let what = format!("found {}, wanted a table; {}", describe(value.get_ref()), table_form(section));
                context.error(&value.span(), path.clone(), what);
            }
            table
        });
        let table = Table { context, path, span, section, entries };
        table.report_unknown_keys();
        table
    }

    /// Opens a table inside this one; an empty one if it is not there.
    pub(super) fn table(&self, name: &str) -> Table<'a> {
        let key = self.key(name);
        let Kind::Table(section) = key.kind else { unreachable!("`{name}` is read as the kind it is listed as") };
        let span = self.key_span(name);
        Table::open(self.context, section, self.path_of(name), span, self.value(name))
    }

    /// Opens the named tables inside this one, in the order of the file. Names are checked.
    pub(super) fn tables(&self, name: &str) -> Vec<(String, Table<'a>)> {
        let key = self.key(name);
        let Kind::Tables(section) = key.kind else { unreachable!("`{name}` is read as the kind it is listed as") };
        let Some(value) = self.value(name) else {
            if matches!(key.absent, Absent::Refused) {
                let what = format!("there is no {name}; add one as a table `[{}]`", section.title);
                self.context.error(&self.span, self.path_of(name), what);
            }
            return Vec::new();
        };
        let Some(entries) = value.get_ref().as_table() else {
            let what =
                format!("found {}, wanted tables; write each as `[{}]`", describe(value.get_ref()), section.title);
            self.context.error(&value.span(), self.path_of(name), what);
            return Vec::new();
        };
        if entries.is_empty() && matches!(key.absent, Absent::Refused) {
            let what = format!("there is no {name}; add one as a table `[{}]`", section.title);
            self.context.error(&value.span(), self.path_of(name), what);
        }
        let mut entries: Vec<_> = entries.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let open = |(key, value): (&'a Spanned<std::borrow::Cow<'a, str>>, &'a Value<'a>)| {
            let own_name = key.get_ref().to_string();
            let path = format!("{}.{own_name}", self.path_of(name));
            self.context.remember(&path, &key.span());
            if let Err(what) = values::check_name(&own_name) {
                self.context.error(&key.span(), path.clone(), format!("the name {what}"));
            }
            (own_name, Table::open(self.context, section, path, key.span(), Some(value)))
        };
        entries.into_iter().map(open).collect()
    }

    /// Whether a key is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// A key's value, if it is there.
    pub(super) fn value(&self, name: &str) -> Option<&'a Value<'a>> {
        // Only what the table of keys lists can be read, so nothing is read that the reference does not know.
        self.key(name);
        self.entries?.iter().find(|(key, _)| key.get_ref() == name).map(|(_, value)| value)
    }

    /// The path of a key of this table.
    pub(super) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Where a key's value stands, or the table if it is not there.
    pub(super) fn span_of(&self, name: &str) -> Range<usize> {
        self.value(name).map_or_else(|| self.span.clone(), Spanned::span)
    }

    /// Reports an error at a key.
    pub(super) fn error(&self, name: &str, what: impl Into<String>) {
        self.context.error(&self.span_of(name), self.path_of(name), what);
    }

    /// Reports a key that must not stand here.
    pub(super) fn refuse(&self, name: &str, reason: &str) {
        if self.has(name) {
            self.context.error(&self.key_span(name), self.path_of(name), reason);
        }
    }

    /// Reports that a key is missing.
    pub(super) fn missing(&self, name: &str, way_out: &str) {
        // A table of the wrong type has been reported; what it lacks says nothing more.
        if self.entries.is_some() || self.span == (0..0) {
            self.context.error(&self.span, self.path_of(name), format!("is missing; {way_out}"));
        }
    }

    /// A string that is not empty; `None` if it is not there, with an error if it must be.
    pub(super) fn text(&self, name: &str) -> Option<Text> {
        let Some(value) = self.value(name) else {
            if matches!(self.key(name).absent, Absent::Refused) {
                self.missing(name, &format!("write `{name} = \"…\"`"));
            }
            return None;
        };
        text_of(self.context, &self.path_of(name), value)
    }

    /// A path from the job file's folder.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(|text| self.context.resolve(&text.text))
    }

    /// Strings; empty if they are not there, with an error if they must be.
    pub(super) fn texts(&self, name: &str) -> Vec<Text> {
        let Some(value) = self.value(name) else {
            if matches!(self.key(name).absent, Absent::Refused) {
                self.missing(name, &format!("write `{name} = [\"…\"]`"));
            }
            return Vec::new();
        };
        let Some(items) = value.get_ref().as_array() else {
            let way_out = match value.get_ref() {
                DeValue::String(text) => format!("; write `[\"{}\"]`", text.escape_debug()),
                _ => String::new(),
            };
            self.error(name, format!("found {}, wanted a list of strings{way_out}", describe(value.get_ref())));
            return Vec::new();
        };
        if items.is_empty() {
            self.error(name, "the list is empty; name at least one, or leave the key out");
        }
        let path = self.path_of(name);
        let texts: Vec<Text> = items.iter().filter_map(|item| text_of(self.context, &path, item)).collect();
        for (at, text) in texts.iter().enumerate() {
            if texts[..at].iter().any(|earlier| earlier.text == text.text) {
                self.context.error(&text.span, path.clone(), format!("`{}` is there twice; leave one out", text.text));
            }
        }
        texts
    }

    /// One of the words that the table of keys lists.
    pub(super) fn choice(&self, name: &str) -> &'static str {
        let Kind::Choice(words) = self.key(name).kind else {
            unreachable!("`{name}` is read as the kind it is listed as")
        };
        let fallback = self.preset(name).unwrap_or(words[0]);
        if !self.has(name) {
            if matches!(self.key(name).absent, Absent::Refused) {
                self.missing(name, &format!("write one of {}", list(words)));
            }
            return fallback_word(words, fallback);
        }
        let Some(text) = self.text(name) else { return words[0] };
        if let Some(word) = words.iter().find(|word| **word == text.text) {
            return word;
        }
        self.error(name, format!("`{}` is not known; {}", text.text.escape_debug(), choice_hint(&text.text, words)));
        words[0]
    }

    /// An integer in its range.
    pub(super) fn integer(&self, name: &str) -> i64 {
        let Kind::Integer { min, max } = self.key(name).kind else {
            unreachable!("`{name}` is read as the kind it is listed as")
        };
        let Some(value) = self.value(name) else {
            return self.preset(name).and_then(|text| text.parse().ok()).unwrap_or(min);
        };
        let DeValue::Integer(number) = value.get_ref() else {
            let way_out = match value.get_ref() {
                DeValue::String(text) if text.parse::<i64>().is_ok() => {
                    format!("; write `{name} = {text}` without quotes")
                }
                _ => String::new(),
            };
            self.error(name, format!("found {}, wanted an integer{way_out}", describe(value.get_ref())));
            return min;
        };
        match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(parsed) if (min..=max).contains(&parsed) => parsed,
            _ if min == max => {
                self.error(name, format!("`{number}` is not known; this version takes `{min}`"));
                min
            }
            _ => {
                self.error(name, format!("`{number}` is out of range; use {min} to {max}"));
                min
            }
        }
    }

    /// A duration in its range; the default, or the shortest if there is none.
    pub(super) fn duration(&self, name: &str) -> Duration {
        let Kind::Duration { min, .. } = self.key(name).kind else {
            unreachable!("`{name}` is read as the kind it is listed as")
        };
        let preset = || self.preset(name).and_then(|text| values::duration(text).ok()).unwrap_or(min);
        self.duration_if_there(name).unwrap_or_else(preset)
    }

    /// A duration in its range, if it is there.
    pub(super) fn duration_if_there(&self, name: &str) -> Option<Duration> {
        let Kind::Duration { min, max } = self.key(name).kind else {
            unreachable!("`{name}` is read as the kind it is listed as")
        };
        let text = self.unit_text(name, "a duration", "1s")?;
        match values::duration(&text) {
            Ok(duration) if (min..=max).contains(&duration) => return Some(duration),
            Ok(_) => {
                let range = format!("{} to {}", values::show_duration(min), values::show_duration(max));
                self.error(name, format!("`{text}` is out of range; use {range}"));
            }
            Err(what) => self.error(name, what),
        }
        None
    }

    /// A size in its range, in bytes; the default, or the smallest if there is none.
    pub(super) fn size(&self, name: &str) -> u64 {
        let Kind::Size { min, max } = self.key(name).kind else {
            unreachable!("`{name}` is read as the kind it is listed as")
        };
        if let Some(text) = self.unit_text(name, "a size", "64MiB") {
            match values::size(&text) {
                Ok(size) if (min..=max).contains(&size) => return size,
                Ok(_) => {
                    let range = format!("{} to {}", values::show_size(min), values::show_size(max));
                    self.error(name, format!("`{text}` is out of range; use {range}"));
                }
                Err(what) => self.error(name, what),
            }
        }
        self.preset(name).and_then(|text| values::size(text).ok()).unwrap_or(min)
    }

    /// A string that needs a unit, so that a bare number gets a hint.
    fn unit_text(&self, name: &str, what: &str, example: &str) -> Option<String> {
        let value = self.value(name)?;
        if let DeValue::String(text) = value.get_ref() {
            return Some(text.to_string());
        }
        let found = describe(value.get_ref());
        self.error(name, format!("found {found}, wanted {what}: a string with a unit, like `\"{example}\"`"));
        None
    }

    fn preset(&self, name: &str) -> Option<&'static str> {
        match self.key(name).absent {
            Absent::Value(text) => Some(text),
            Absent::Refused | Absent::Means(_) => None,
        }
    }

    fn key(&self, name: &str) -> &'static Key {
        self.section.key(name).expect("only listed keys are read")
    }

    fn key_span(&self, name: &str) -> Range<usize> {
        let entry = self.entries.and_then(|entries| entries.iter().find(|(key, _)| key.get_ref() == name));
        entry.map_or_else(|| self.span.clone(), |(key, _)| key.span())
    }

    fn report_unknown_keys(&self) {
        for (key, value) in self.entries.into_iter().flat_map(|entries| entries.iter()) {
            let name = key.get_ref().as_ref();
            let path = self.path_of(name);
            if self.section.key(name).is_some() {
                self.context.remember(&path, &value.span());
            } else {
                self.context.error(&key.span(), path, unknown_key(self.section, name));
            }
        }
    }
}

/// A string that is not empty.
pub(super) fn text_of(context: &Context<'_>, path: &str, value: &Value<'_>) -> Option<Text> {
    match value.get_ref() {
        DeValue::String(text) if text.is_empty() => {
            context.error(&value.span(), path, "the string is empty; write a value, or leave the key out");
            None
        }
        DeValue::String(text) => Some(Text { text: text.to_string(), span: value.span() }),
        other => {
            context.error(&value.span(), path, format!("found {}, wanted a string", describe(other)));
            None
        }
    }
}

fn fallback_word(words: &'static [&'static str], preset: &'static str) -> &'static str {
    words.iter().copied().find(|word| *word == preset).unwrap_or(words[0])
}

fn choice_hint(word: &str, words: &[&'static str]) -> String {
    match nearest(word, words.iter().copied()) {
        Some(near) => format!("the nearest is `{near}`; known are {}", list(words)),
        None => hint(word, words),
    }
}

fn table_form(section: &Section) -> String {
    if section.title.contains(' ') {
        "write `{ … }`".to_owned()
    } else {
        format!("write `[{}]` and its keys below", section.title)
    }
}

/// Why a key is not known: the nearest one here, or the section that has it.
fn unknown_key(section: &Section, name: &str) -> String {
    let names = section.names();
    if let Some(near) = nearest(name, names.iter().copied()) {
        return format!("unknown key; the nearest known is `{near}`");
    }
    let elsewhere = ALL.iter().find(|other| other.key(name).is_some());
    match elsewhere {
        Some(other) if other.title.contains(' ') => format!("unknown key here; `{name}` belongs to {}", other.title),
        Some(other) => format!("unknown key here; `{name}` belongs to `[{}]`", other.title),
        None => format!("unknown key; known are {}", list(&names)),
    }
}
