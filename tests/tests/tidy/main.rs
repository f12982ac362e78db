//! The executable style rules: every file of the repository, against every rule, with an advice for each complaint.
//!
//! Here are the walk and the list of rules; each rule has a test of its own beside it. Needs no build of the product: a
//! complaint is about text. Next rooms: `doors`, `shape`, `unsafety`, `words`.

mod doors;
mod shape;
mod source;
mod stops;
mod unsafety;
mod words;

use source::{Complaint, Source};
use std::fs;
use std::path::{Path, PathBuf};

/// Rules about one Rust file.
const RULES: [fn(&Source) -> Vec<Complaint>; 9] = [
    doors::door,
    doors::no_foreign_types_in_public_names,
    doors::pure_core,
    shape::module_doc,
    shape::file_length,
    shape::function_length,
    unsafety::argued,
    words::bans,
    words::error_texts,
];

/// Folders that are not ours to judge.
const SKIPPED: [&str; 2] = ["target", ".git"];
/// Files that people write and read, besides Rust.
const TEXTS: [&str; 7] = ["rs", "md", "toml", "wit", "jsonl", "sh", "txt"];

#[test]
fn the_repository_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the repository");
    let mut complaints = Vec::new();
    let mut sources = Vec::new();
    let mut cases = Vec::new();
    for path in files(root) {
        let name = path.strip_prefix(root).expect("the walk began at the root").to_string_lossy().replace('\\', "/");
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("`{name}` cannot be read: {error}"));
        // A case may hold bytes that are no text on purpose.
        let text = String::from_utf8_lossy(&bytes).into_owned();
        complaints.extend(words::places_of_a_machine(&name, &text));
        if let Some(case) = name.strip_prefix("tests/cases/") {
            cases.push((case.to_owned(), text));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            sources.push(Source::new(&name, &text));
        }
    }
    assert!(sources.len() > 50, "only {} Rust files were found below `{}`", sources.len(), root.display());
    for rule in RULES {
        complaints.extend(sources.iter().flat_map(rule));
    }
    complaints.extend(shape::orphans(&sources));
    complaints.extend(stops::named(&sources));
    complaints.extend(shape::cases(&cases));
    let list: Vec<String> = complaints.iter().map(|it| format!("{}: {}", it.place, it.advice)).collect();
    assert!(list.is_empty(), "{} complaints:\n{}", list.len(), list.join("\n"));
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("`{}` cannot be listed: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("an entry of the repository can be read").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if !SKIPPED.contains(&name.as_str()) {
                found.extend(files(&path));
            }
        } else if TEXTS.iter().any(|ending| path.extension().is_some_and(|it| it == *ending)) {
            found.push(path);
        }
    }
    found.sort();
    found
}
