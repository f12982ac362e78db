//! Rules about the shape of files: how they begin, how long they are, and that each is part of something.
//!
//! The lists of exceptions are here, a reason with each. Next room: `words`.

use crate::source::{Complaint, Source};
use std::collections::BTreeSet;

/// A file is the unit of reading.
const FILE_LINES_MAX: usize = 500;
/// A function is one thought.
const FUNCTION_LINES_MAX: usize = 70;

/// Longer files, each with the reason why it is one piece.
const LONG_FILES: [(&str, &str); 0] = [];
/// Longer functions, as `path name`, each with the reason why it is one piece.
const LONG_FUNCTIONS: [(&str, &str); 0] = [];

/// Line 1 is the module's doc: what it owns, what it may not do, the next room to read.
pub(crate) fn module_doc(source: &Source) -> Vec<Complaint> {
    if source.text.starts_with("//! ") {
        return Vec::new();
    }
    vec![source.complain(1, "begin with `//! ` and what the file owns, what it may not do, and the next room to read")]
}

/// A long file is split by job.
pub(crate) fn file_length(source: &Source) -> Vec<Complaint> {
    let lines = source.text.lines().count();
    if lines <= FILE_LINES_MAX || LONG_FILES.iter().any(|(path, _)| *path == source.path) {
        return Vec::new();
    }
    let advice =
        format!("{lines} lines are more than {FILE_LINES_MAX}; split the file by job, or list it with a reason");
    vec![source.complain(1, advice)]
}

/// A long function is split by thought.
pub(crate) fn function_length(source: &Source) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for function in functions(source) {
        let name = format!("{} {}", source.path, function.name);
        if function.lines > FUNCTION_LINES_MAX && !LONG_FUNCTIONS.iter().any(|(listed, _)| *listed == name) {
            let (name, lines) = (function.name, function.lines);
            let advice = format!("`{name}` has {lines} lines, more than {FUNCTION_LINES_MAX}; give its parts names");
            complaints.push(source.complain(function.begins, advice));
        }
    }
    complaints
}

/// Every file under a `src` folder is a crate's root, a program, or declared by its parent module.
pub(crate) fn orphans(sources: &[Source]) -> Vec<Complaint> {
    let paths: BTreeSet<&str> = sources.iter().map(|source| source.path.as_str()).collect();
    let mut known: BTreeSet<String> = BTreeSet::new();
    for source in sources {
        known.extend(declared_by(source));
    }
    let mut complaints = Vec::new();
    for source in sources.iter().filter(|source| source.path.contains("src/")) {
        let (_, inside) = source.path.rsplit_once("src/").expect("the filter asked for it");
        let is_root = inside == "lib.rs" || inside == "main.rs" || inside.starts_with("bin/");
        if !is_root && !known.contains(&source.path) {
            complaints.push(source.complain(1, "no module declares this file; declare or delete it"));
        }
    }
    for (path, _) in LONG_FILES.iter().filter(|(path, _)| !paths.contains(path)) {
        complaints
            .push(Complaint { place: (*path).to_owned(), advice: "is listed as long and is not there".to_owned() });
    }
    complaints
}

/// Every folder of cases is a job that says why it exists; the runner would take anything else for a broken case, or none.
///
/// `files` are all files below `tests/cases`, from there, with their texts.
pub(crate) fn cases(files: &[(String, String)]) -> Vec<Complaint> {
    let names: BTreeSet<&str> = files.iter().filter_map(|(path, _)| path.split('/').next()).collect();
    let mut complaints = Vec::new();
    for name in names {
        let job = files.iter().find(|(path, _)| *path == format!("{name}/job.toml"));
        if !job.is_some_and(|(_, text)| text.starts_with("# ")) {
            let advice = "begin the case's `job.toml` with a comment that says why the case exists".to_owned();
            complaints.push(Complaint { place: format!("tests/cases/{name}"), advice });
        }
    }
    complaints
}

/// The paths that a file's `mod name;` lines can mean.
fn declared_by(source: &Source) -> Vec<String> {
    let (folder, name) = source.path.rsplit_once('/').unwrap_or(("", &source.path));
    let stem = name.trim_end_matches(".rs");
    let inner = if ["lib", "main", "mod"].contains(&stem) { folder.to_owned() } else { format!("{folder}/{stem}") };
    let mut declared = Vec::new();
    let mut path_attribute = None;
    for line in &source.lines {
        let code = line.code.trim();
        if code.starts_with("#[path") {
            path_attribute = line.literals.first().cloned();
        } else if let Some(module) = module_name(code) {
            match path_attribute.take() {
                Some(path) => declared.push(format!("{folder}/{path}")),
                None => declared.extend([format!("{inner}/{module}.rs"), format!("{inner}/{module}/mod.rs")]),
            }
        }
    }
    declared
}

/// The name in `mod name;`, whatever its visibility.
fn module_name(code: &str) -> Option<&str> {
    let (visibility, name) = code.strip_suffix(';')?.split_once("mod ")?;
    let is_visibility = visibility.is_empty() || visibility.trim_end() == "pub" || visibility.starts_with("pub(");
    is_visibility.then_some(name.trim())
}

struct Function {
    name: String,
    begins: usize,
    lines: usize,
}

/// Every function with a body, from the line of its `fn` to the line of its closing brace.
fn functions(source: &Source) -> Vec<Function> {
    let mut functions = Vec::new();
    for (number, line) in source.numbered() {
        let Some(name) = function_name(&line.code) else { continue };
        let mut depth = 0_usize;
        'body: for (offset, line) in source.lines[number - 1..].iter().enumerate() {
            for character in line.code.chars() {
                match character {
                    // A declaration without a body. A semicolon in an array's type stands in brackets.
                    ';' if depth == 0 && !line.code.contains('[') => break 'body,
                    '{' => depth += 1,
                    '}' => {
                        depth = depth.saturating_sub(1);
                        if depth == 0 {
                            functions.push(Function { name: name.to_owned(), begins: number, lines: offset + 1 });
                            break 'body;
                        }
                    }
                    _ => {}
                }
            }
        }
    }
    functions
}

/// The name in a line that begins a function; a type like `fn(u32) -> u32` has none.
fn function_name(code: &str) -> Option<&str> {
    let (before, after) = code.split_once("fn ")?;
    let allowed = ["pub", "const", "async", "unsafe", "extern", "\"\"", "default"];
    let is_item = before.split_whitespace().all(|word| allowed.contains(&word) || word.starts_with("pub("));
    let name = after.split(['(', '<']).next()?.trim();
    (is_item && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::{cases, file_length, function_length, module_doc, orphans};
    use crate::source::Source;

    #[test]
    fn a_file_without_its_doc_is_found() {
        assert_eq!(module_doc(&Source::new("a.rs", "//! Owns a thing.\n")), []);
        assert_eq!(module_doc(&Source::new("a.rs", "\n//! Owns a thing.\n")).len(), 1);
        assert_eq!(module_doc(&Source::new("a.rs", "// Owns a thing.\n")).len(), 1);
    }

    #[test]
    fn a_long_file_is_found() {
        assert_eq!(file_length(&Source::new("a.rs", &"x\n".repeat(500))), []);
        assert_eq!(file_length(&Source::new("a.rs", &"x\n".repeat(501))).len(), 1);
    }

    #[test]
    fn a_long_function_is_found_and_braces_in_text_do_not_count() {
        let body =
            |lines: usize| format!("pub fn long(x: [u8; 4]) {{\n{}}}\n", "    f(\"}\", '{'); // }\n".repeat(lines));
        assert_eq!(function_length(&Source::new("a.rs", &body(68))), []);
        let complaints =
            function_length(&Source::new("a.rs", &format!("trait T {{\n fn short(&self);\n}}\n{}", body(69))));
        assert_eq!(complaints.len(), 1);
        assert_eq!(complaints[0].place, "a.rs:4");
        assert!(complaints[0].advice.contains("`long` has 71 lines"), "{}", complaints[0].advice);
    }

    #[test]
    fn a_case_without_a_reason_is_found() {
        let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
        let files = [
            file("good/job.toml", "# why\nname = \"a\"\n"),
            file("good/expected-error.txt", "error"),
            file("silent/job.toml", "name = \"a\"\n"),
            file("silent/expected/out.jsonl", ""),
            file("orphan/left.txt", ""),
        ];
        let places: Vec<String> = cases(&files).into_iter().map(|complaint| complaint.place).collect();
        assert_eq!(places, ["tests/cases/orphan", "tests/cases/silent"]);
    }

    #[test]
    fn a_file_that_no_module_declares_is_found() {
        let sources = [
            Source::new("host/src/lib.rs", "pub mod a;\npub(crate) mod b;\n// mod d;\n"),
            Source::new("host/src/a.rs", "#[cfg(test)]\n#[path = \"a_tests.rs\"]\nmod tests;\n"),
            Source::new("host/src/a_tests.rs", ""),
            Source::new("host/src/b/mod.rs", "mod c;\n"),
            Source::new("host/src/b/c.rs", ""),
            Source::new("host/src/d.rs", ""),
            Source::new("host/src/bin/tool.rs", ""),
        ];
        let places: Vec<String> = orphans(&sources).into_iter().map(|complaint| complaint.place).collect();
        assert_eq!(places, ["host/src/d.rs:1"]);
    }
}
