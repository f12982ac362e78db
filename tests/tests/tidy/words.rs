//! Rules about words: what may not be written, what an error's text looks like, what no file may name.
//!
//! Each ban says what to do instead. Next room: `unsafety`.

use crate::source::{Complaint, Source, has_word};

/// Code that may not be written, and what to do instead.
const BANS: [(&str, &str); 8] = [
    ("dbg!", "log it with `tracing`, or take it out"),
    ("todo!", "build it, or leave it out"),
    ("unimplemented!", "build it, or refuse it with an error"),
    ("mpsc::channel(", "bound it: `mpsc::sync_channel`"),
    ("unbounded_channel(", "bound it: `mpsc::channel` of tokio takes a size"),
    ("unbounded()", "bound it"),
    ("#[ignore", "a test that does not run proves nothing; fix or delete it"),
    ("#[should_panic", "assert the error, or catch the panic and look at its text"),
];

/// Marks in comments that may not stay on main.
const MARKS: [&str; 3] = ["FIXME", "XXX", "TODO"];

/// Banned code and marks.
pub(crate) fn bans(source: &Source) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (number, line) in source.numbered() {
        for (banned, instead) in BANS.iter().filter(|(banned, _)| line.code.contains(banned)) {
            complaints.push(source.complain(number, format!("`{banned}` is banned: {instead}")));
        }
        for mark in MARKS.iter().filter(|mark| has_word(&line.comment, mark)) {
            complaints
                .push(source.complain(number, format!("`{mark}` is no note for later: open an issue, or do it now")));
        }
    }
    complaints
}

/// An error's text begins in lower case and ends without a dot, because it is printed within a sentence.
pub(crate) fn error_texts(source: &Source) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (index, line) in source.lines.iter().enumerate() {
        if !line.code.trim_start().starts_with("#[error(") {
            continue;
        }
        let Some(text) = source.lines[index..].iter().take(2).find_map(|line| line.literals.first()) else { continue };
        if begins_with_capital(text) {
            complaints.push(source.complain(index + 1, "begin the error's text in lower case"));
        }
        if text.ends_with('.') {
            complaints.push(source.complain(index + 1, "end the error's text without a dot"));
        }
    }
    complaints
}

/// A capital letter followed by a small one. An acronym (`JSON`) stays as it is, and so does a name of the field.
fn begins_with_capital(text: &str) -> bool {
    const NAMES: [&str; 2] = ["Kafka", "Wasm"];
    let word = text.split(|character: char| !character.is_alphanumeric()).next().unwrap_or_default();
    let mut letters = word.chars();
    let is_capital = letters.next().is_some_and(char::is_uppercase) && letters.next().is_none_or(char::is_lowercase);
    is_capital && !NAMES.contains(&word)
}

/// No file names a machine's own folders, or the host of a registry: both are the user's choice.
pub(crate) fn places_of_a_machine(path: &str, text: &str) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(name) = machine_names().iter().find(|name| line.contains(name.as_str())) {
            let advice = format!("`{name}` is a place of one machine, or the host of a registry; name it in words");
            complaints.push(Complaint { place: format!("{path}:{}", index + 1), advice });
        }
    }
    complaints
}

/// Put together here, so that this file does not name them either.
fn machine_names() -> Vec<String> {
    let folders = ["work", "root", "home", "Users"].map(|folder| format!("/{folder}/"));
    let hosts = [
        ["crates", ".io"],
        ["static.rust-", "lang.org"],
        ["repo.maven.", "apache.org"],
        ["repo1.", "maven.org"],
        ["deb.", "debian.org"],
        ["proxy.", "golang.org"],
        ["registry.", "npmjs.org"],
        ["files.", "pythonhosted.org"],
    ];
    folders.into_iter().chain(hosts.map(|parts| parts.concat())).collect()
}

#[cfg(test)]
mod tests {
    use super::{bans, error_texts, places_of_a_machine};
    use crate::source::Source;

    #[test]
    fn banned_code_is_found_and_talk_of_it_is_not() {
        let text =
            "let (a, b) = mpsc::channel();\ndbg!(a);\n// dbg! is banned\nlet c = \"todo!\";\nmpsc::sync_channel(1);\n";
        assert_eq!(bans(&Source::new("a.rs", text)).len(), 2);
    }

    #[test]
    fn marks_are_found_in_comments_only() {
        assert_eq!(bans(&Source::new("a.rs", "// FIXME: later\n/// TODO\nlet todos = TODO;\n")).len(), 2);
    }

    #[test]
    fn an_error_text_that_is_a_sentence_is_found() {
        let bad = "#[error(\"The store is locked\")]\n#[error(\n    \"it is gone.\"\n)]\n";
        assert_eq!(error_texts(&Source::new("a.rs", bad)).len(), 2);
        let good = "#[error(\"the store is locked\")]\n#[error(\"JSON is bad\")]\n#[error(\"`X` is bad\")]\n#[error(\"Kafka is down\")]\n";
        assert_eq!(error_texts(&Source::new("a.rs", good)), []);
    }

    #[test]
    fn a_machine_s_folder_and_a_registry_s_host_are_found() {
        let text = format!("see /{}/me\nfrom {}{}\nnetwork/home\n", "home", "crates", ".io");
        assert_eq!(places_of_a_machine("README.md", &text).len(), 2);
    }
}
