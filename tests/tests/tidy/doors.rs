//! Rules about who may know whom: each outside library has one door, and the core knows nothing of the world.
//!
//! Next room: `host/ARCHITECTURE.md`, which says why.

use crate::source::{Complaint, Source, has_word};

/// An outside library and the folder that alone may use it.
struct Door {
    library: &'static str,
    crates: &'static [&'static str],
    folder: &'static str,
}

const DOORS: [Door; 5] = [
    Door { library: "rdkafka", crates: &["rdkafka", "rdkafka_sys"], folder: "host/src/kafka" },
    Door { library: "wasmtime", crates: &["wasmtime"], folder: "host/src/plugin" },
    Door { library: "redb", crates: &["redb"], folder: "host/src/state" },
    Door { library: "kafka-protocol", crates: &["kafka_protocol"], folder: "host/src/kafka/wire" },
    Door { library: "OpenSSL", crates: &["openssl"], folder: "host/src/kafka/wire" },
];

/// Where the doors hold: the product. The tests judge with clients of their own.
const PRODUCT: [&str; 3] = ["host/src/", "plugin-sdk/", "plugins/"];

/// Files that decide and do not act. They take everything as arguments.
const CORE: [&str; 7] = [
    "host/src/align",
    "host/src/watermark",
    "host/src/hash",
    "host/src/checkpoint/protocol",
    "host/src/checkpoint/recovery",
    "host/src/checkpoint/startup",
    "host/src/checkpoint/deciding",
];

/// What the core may not name, and where it belongs.
const WORLD: [(&str, &str); 14] = [
    ("SystemTime", "a clock: take the time as an argument"),
    ("Instant", "a clock: take the time as an argument"),
    ("tokio", "a task: the caller waits, the core decides"),
    ("thread", "a task: the caller waits, the core decides"),
    ("tracing", "a log: give the fact back and let the caller log it"),
    ("println", "a log: give the fact back and let the caller log it"),
    ("eprintln", "a log: give the fact back and let the caller log it"),
    ("rand", "a random source: take the number or a seed as an argument"),
    ("getrandom", "a random source: take the number or a seed as an argument"),
    ("RandomState", "a random source: use an ordered map, so that every run is the same"),
    ("new_v4", "a random source: take the id as an argument"),
    ("fs", "I/O: take what was read as an argument"),
    ("io", "I/O: take what was read as an argument"),
    ("net", "I/O: take what was read as an argument"),
];

/// A library is named only behind its door.
pub(crate) fn door(source: &Source) -> Vec<Complaint> {
    if !PRODUCT.iter().any(|folder| source.path.starts_with(folder)) {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    for door in DOORS.iter().filter(|door| !is_inside(&source.path, door.folder)) {
        let names_it = |code: &str| door.crates.iter().any(|name| names_crate(code, name));
        for (number, _) in source.numbered().filter(|(_, line)| names_it(&line.code)) {
            let (library, folder) = (door.library, door.folder);
            complaints
                .push(source.complain(number, format!("only `{folder}` may use {library}; ask it for what you need")));
        }
    }
    complaints
}

/// No type of a library is in a public name of its door.
pub(crate) fn no_foreign_types_in_public_names(source: &Source) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for door in DOORS.iter().filter(|door| is_inside(&source.path, door.folder)) {
        let imported: Vec<String> = door.crates.iter().flat_map(|name| imported_names(source, name)).collect();
        for (number, signature) in public_signatures(source) {
            let foreign = door.crates.iter().copied().find(|name| names_crate(&signature, name));
            let foreign =
                foreign.or_else(|| imported.iter().map(String::as_str).find(|name| has_word(&signature, name)));
            if let Some(name) = foreign {
                let library = door.library;
                complaints.push(source.complain(number, format!("`{name}` of {library} is in a public name; wrap it")));
            }
        }
    }
    complaints
}

/// The core has no clock, no random source, no I/O, no task, no log.
pub(crate) fn pure_core(source: &Source) -> Vec<Complaint> {
    if !CORE.iter().any(|part| is_inside(&source.path, part)) {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    for (number, line) in source.numbered() {
        for (word, advice) in WORLD.iter().filter(|(word, _)| has_word(&line.code, word)) {
            complaints.push(source.complain(number, format!("`{word}` in the core is {advice}")));
        }
    }
    complaints
}

/// Whether a path is `part.rs` or lies in the folder `part`.
fn is_inside(path: &str, part: &str) -> bool {
    path.strip_prefix(part).is_some_and(|rest| rest.starts_with('/') || rest == ".rs")
}

/// A crate is named in a path or imported: `redb::`, `use redb`. A field called `redb` is neither.
fn names_crate(code: &str, name: &str) -> bool {
    let code = code.trim_start();
    let imports =
        code.strip_prefix("pub ").unwrap_or(code).strip_prefix("use ").is_some_and(|path| has_word(path, name));
    imports || (code.contains(&format!("{name}::")) && has_word(code, name))
}

/// Names that `use library::…;` brings into a file, those in braces and after `as` included.
fn imported_names(source: &Source, library: &str) -> Vec<String> {
    let code: String = source.lines.iter().map(|line| line.code.as_str()).collect::<Vec<_>>().join(" ");
    let mut names = Vec::new();
    for (at, _) in code.match_indices(&format!("use {library}::")) {
        let statement = code[at..].split(';').next().unwrap_or_default();
        for part in statement.split(['{', ',', '}']) {
            let name = part.trim().rsplit([':', ' ']).next().unwrap_or_default();
            if name.starts_with(char::is_uppercase) {
                names.push(name.to_owned());
            }
        }
    }
    names
}

/// Every `pub` item up to its body or end, joined to one line. `pub(crate)` and narrower are the door's own business.
fn public_signatures(source: &Source) -> Vec<(usize, String)> {
    let mut signatures = Vec::new();
    for (number, _) in source.numbered().filter(|(_, line)| line.code.trim_start().starts_with("pub ")) {
        let mut signature = String::new();
        for line in &source.lines[number - 1..] {
            signature.push_str(line.code.trim());
            signature.push(' ');
            if line.code.trim_end().ends_with(['{', ';', ',', '}']) {
                break;
            }
        }
        let ends_at_body = signature.split(" {").next().unwrap_or_default().to_owned();
        signatures.push((number, ends_at_body));
    }
    signatures
}

#[cfg(test)]
mod tests {
    use super::{door, no_foreign_types_in_public_names, pure_core};
    use crate::source::Source;

    #[test]
    fn a_library_outside_its_door_is_found() {
        let text =
            "use redb::Database;\nlet a = wasmtime::Engine::default();\n// redb::Database\nlet redb = \"redb::X\";\n";
        let complaints = door(&Source::new("host/src/job.rs", text));
        let places: Vec<&str> = complaints.iter().map(|complaint| complaint.place.as_str()).collect();
        assert_eq!(places, ["host/src/job.rs:2", "host/src/job.rs:1"]);
        assert_eq!(door(&Source::new("host/src/state/store.rs", "use redb::Database;")), []);
        assert_eq!(door(&Source::new("host/src/state.rs", "use redb::Database;")), []);
        assert_eq!(door(&Source::new("host/src/stateful.rs", "use redb::Database;")).len(), 1);
        assert_eq!(door(&Source::new("tests/src/judge.rs", "use rdkafka::Offset;")), []);
        assert_eq!(door(&Source::new("host/src/kafka/wire/stream.rs", "use openssl::ssl;")), []);
        assert_eq!(door(&Source::new("host/src/kafka/look.rs", "use kafka_protocol::messages;")).len(), 1);
    }

    #[test]
    fn a_library_type_in_a_public_name_is_found() {
        let text = "use wasmtime::{Engine, Store as Cell};\npub fn a(\n    engine: &Engine,\n) -> u32 {\n}\n\
                    pub(crate) fn b(engine: &Engine) {}\nfn c(cell: Cell) {}\npub struct D {\n    pub cell: Cell,\n}\n\
                    pub fn e() { let engine = Engine::new(); }\n";
        let complaints = no_foreign_types_in_public_names(&Source::new("host/src/plugin/engine.rs", text));
        let places: Vec<&str> = complaints.iter().map(|complaint| complaint.place.as_str()).collect();
        assert_eq!(places, ["host/src/plugin/engine.rs:2", "host/src/plugin/engine.rs:9"]);
    }

    #[test]
    fn the_world_in_the_core_is_found() {
        let text = "use std::time::Instant;\nfn f() { tracing::info!(\"\"); }\n// Instant\nlet operand = 1;\n";
        assert_eq!(pure_core(&Source::new("host/src/align.rs", text)).len(), 2);
        assert_eq!(pure_core(&Source::new("host/src/watermark/tests.rs", text)).len(), 2);
        assert_eq!(pure_core(&Source::new("host/src/job.rs", text)), []);
    }
}
