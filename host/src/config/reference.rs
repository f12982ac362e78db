//! The reference of the job file, `host/JOB_FILE.md`: generated from the table of keys, so that it cannot be stale.
//!
//! A test compares the file with what this makes; `TIDEGATE_BLESS=1` rewrites it. Next room:
//! [`super::keys::sections`], the table.

use super::keys::sections::ALL;
use super::keys::{Absent, Key, Kind, Section};
use super::values::{show_duration, show_size};
use std::fmt::Write;

/// A job file with every key, checked by a test.
const COMPLETE: &str = include_str!("complete.toml");

/// The shortest useful job file, checked by a test.
const MINIMAL: &str = include_str!("minimal.toml");

/// The reference as Markdown.
pub fn reference() -> String {
    let mut text = format!(
        "# The job file\n\n\
         <!-- Generated from `host/src/config/keys/sections.rs` by `tidegate reference`; do not edit. -->\n\n\
         A job is one TOML file. Relative paths in it begin at its own folder. An unknown key is an error. `tidegate check` \
         reads it, asks the plugins what they are, and says what is wrong with file, line and column, without starting \
         anything.\n\n\
         **Durations** are strings with a unit: `\"5ms\"`, `\"1s\"`, `\"10m\"`, `\"1h\"`. **Sizes** too: `\"256KiB\"`, \
         `\"64MiB\"`, `\"4GiB\"`. **Names** of jobs, sources, operators, sinks and connections are letters, digits and `-`, \
         at most 64; sources, operators and sinks share one space of names. **JSON Pointers** look like `/user/id`.\n\n\
         The shortest useful one:\n\n```toml\n{MINIMAL}```\n"
    );
    for section in ALL {
        text.push_str(&render(section));
    }
    // Writing to a `String` cannot fail.
    let _ = write!(text, "\n## Everything in one file\n\n```toml\n{COMPLETE}```\n");
    text
}

fn render(section: &Section) -> String {
    let title = if section.title.contains(' ') { capital(section.title) } else { format!("`[{}]`", section.title) };
    let mut text =
        format!("\n## {title}\n\n{}\n\n| key | value | without it | |\n| --- | --- | --- | --- |\n", section.doc);
    for key in section.keys {
        let (name, doc) = (key.name, key.doc);
        let _ = writeln!(text, "| `{name}` | {} | {} | {doc} |", value(key), absent(key));
    }
    text
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn value(key: &Key) -> String {
    match &key.kind {
        Kind::Text => "string".to_owned(),
        Kind::Path => "path".to_owned(),
        Kind::Texts => "list of strings".to_owned(),
        Kind::Integer { min, max } if min == max => format!("`{min}`"),
        Kind::Integer { min, max } => format!("integer, {min} to {max}"),
        Kind::Duration { min, max } => format!("duration, {} to {}", show_duration(*min), show_duration(*max)),
        Kind::Size { min, max } => format!("size, {} to {}", show_size(*min), show_size(*max)),
        Kind::Choice(words) => {
            let quoted = |word: &&str| format!("`\"{word}\"`");
            words.iter().map(quoted).collect::<Vec<_>>().join(", ")
        }
        Kind::Table(section) if section.title.contains(' ') => section.title.to_owned(),
        Kind::Table(section) | Kind::Tables(section) => format!("table `[{}]`", section.title),
        Kind::Other(words) => (*words).to_owned(),
    }
}

fn absent(key: &Key) -> String {
    match key.absent {
        Absent::Refused => "refused".to_owned(),
        Absent::Means(words) => words.to_owned(),
        Absent::Value(value) if matches!(key.kind, Kind::Integer { .. }) => format!("`{value}`"),
        Absent::Value(value) if value.starts_with('{') => format!("`{value}`"),
        Absent::Value(value) => format!("`\"{value}\"`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::values;

    #[test]
    fn the_reference_in_the_repository_is_the_generated_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/JOB_FILE.md");
        if std::env::var_os("TIDEGATE_BLESS").is_some() {
            std::fs::write(path, reference()).expect("the reference can be written");
        }
        let there = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            there == reference(),
            "host/JOB_FILE.md is stale; rewrite it with `TIDEGATE_BLESS=1 cargo test --release -p tidegate reference`"
        );
    }

    #[test]
    fn every_default_is_a_value_of_its_kind() {
        for key in ALL.iter().flat_map(|section| section.keys) {
            let Absent::Value(text) = key.absent else { continue };
            let name = key.name;
            match &key.kind {
                Kind::Integer { min, max } => assert!((min..=max).contains(&&text.parse().expect(name)), "{name}"),
                Kind::Duration { min, max } => {
                    assert!((min..=max).contains(&&values::duration(text).expect(name)), "{name}");
                }
                Kind::Size { min, max } => assert!((min..=max).contains(&&values::size(text).expect(name)), "{name}"),
                Kind::Choice(words) => assert!(words.contains(&text), "{name}"),
                Kind::Other(_) => {}
                _ => panic!("`{name}` has a default that nothing reads"),
            }
        }
    }

    #[test]
    fn the_complete_example_has_every_key() {
        // Keys that exclude another one of their table, and so stand in a comment.
        let commented = ["path", "kind", "env", "file"];
        for key in ALL.iter().flat_map(|section| section.keys) {
            let name = key.name;
            let there = COMPLETE.lines().any(|line| {
                let code = line.split(" # ").next().unwrap_or_default();
                code.contains(&format!("{name} =")) || code.contains(&format!("[{name}"))
            });
            assert!(there || commented.contains(&name), "`{name}` is missing in complete.toml");
        }
    }
}
