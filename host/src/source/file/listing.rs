//! Which files a source reads: a file, the regular files of a folder, or those that a pattern with `*` and `?` matches.
//!
//! Hidden files, and staging files of a file sink, are left out of folders and patterns. Nothing is opened here. Next room:
//! [`super::identity`], which says what a file is known by.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// Why a pattern gives no files.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListingError {
    /// It names nothing that can be read.
    #[error("{0}")]
    Nothing(String),
    /// A folder or file cannot be looked at.
    #[error("cannot look at `{}`", path.display())]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
}

/// The files of a pattern, sorted. At least one.
pub(super) fn list(pattern: &Path) -> Result<Vec<PathBuf>, ListingError> {
    let shown = pattern.display();
    let files = match fs::metadata(pattern) {
        Ok(found) if found.is_file() => return Ok(vec![pattern.to_owned()]),
        Ok(found) if found.is_dir() => sorted(regular_files(pattern, &|_| true)?),
        Ok(_) => {
            return Err(ListingError::Nothing(format!(
                "`{shown}` is neither a file nor a folder; copy it into a file"
            )));
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unreadable(pattern, error)),
        Err(_) if !is_pattern(pattern) => {
            return Err(ListingError::Nothing(format!(
                "`{shown}` does not exist; check `path` (from the job file's folder)"
            )));
        }
        Err(_) => sorted(expand(pattern)?),
    };
    if files.is_empty() {
        let text = format!("`{shown}` has no file to read; check `path` (hidden files and staging files do not count)");
        return Err(ListingError::Nothing(text));
    }
    Ok(files)
}

/// Whether a name matches a pattern: `*` is any characters, also none, and `?` is one.
fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n) = (0, 0);
    // After a mismatch the last star takes one character more; earlier stars need never change again.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(wanted) if *wanted == '?' || *wanted == name[n] => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((star_p, star_n)) = star else { return false };
                star = Some((star_p, star_n + 1));
                p = star_p + 1;
                n = star_n + 1;
            }
        }
    }
    pattern[p..].iter().all(|rest| *rest == '*')
}

fn is_pattern(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?'])
}

/// Follows a pattern part by part.
fn expand(pattern: &Path) -> Result<Vec<PathBuf>, ListingError> {
    if pattern.to_string_lossy().contains("**") {
        let text =
            format!("`{}` has `**`, which is not supported; name each level, like `*/*.jsonl`", pattern.display());
        return Err(ListingError::Nothing(text));
    }
    let parts: Vec<Component<'_>> = pattern.components().collect();
    let mut found = vec![PathBuf::new()];
    for (at, part) in parts.iter().enumerate() {
        let name = part.as_os_str().to_string_lossy();
        let last = at + 1 == parts.len();
        if !name.contains(['*', '?']) {
            for path in &mut found {
                path.push(part);
            }
            continue;
        }
        let mut next = Vec::new();
        for folder in &found {
            if folder.is_dir() || folder.as_os_str().is_empty() {
                let suits = |file: &str| matches(&name, file);
                next.extend(if last { regular_files(folder, &suits)? } else { entries(folder, &suits)? });
            }
        }
        found = next;
    }
    // A pattern in a folder's name with a plain name behind it: only some of the folders have such a file.
    found.retain(|path| path.is_file());
    Ok(found)
}

fn regular_files(folder: &Path, suits: &dyn Fn(&str) -> bool) -> Result<Vec<PathBuf>, ListingError> {
    let mut files = entries(folder, suits)?;
    files.retain(|path| path.is_file());
    Ok(files)
}

/// What a folder has under a suitable name that is neither hidden nor a staging file's. Names that are not UTF-8 are kept:
/// whoever opens them says so.
fn entries(folder: &Path, suits: &dyn Fn(&str) -> bool) -> Result<Vec<PathBuf>, ListingError> {
    let looked_at = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let mut found = Vec::new();
    for entry in fs::read_dir(looked_at).map_err(|error| unreadable(folder, error))? {
        let name = entry.map_err(|error| unreadable(folder, error))?.file_name();
        let text = name.to_string_lossy();
        let left_out = text.starts_with('.') || text.contains(".staging");
        if !left_out && suits(&text) {
            found.push(folder.join(&name));
        }
    }
    Ok(found)
}

fn sorted(mut files: Vec<PathBuf>) -> Vec<PathBuf> {
    files.sort();
    files
}

fn unreadable(path: &Path, cause: io::Error) -> ListingError {
    ListingError::Unreadable { path: path.to_owned(), cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(root: &Path, pattern: &str) -> Vec<String> {
        let files = list(&root.join(pattern)).expect("files");
        files.iter().map(|file| file.strip_prefix(root).expect("below the root").display().to_string()).collect()
    }

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
            fs::write(path, "x").expect("a file");
        }
        root
    }

    #[test]
    fn stars_and_question_marks_match_as_in_a_shell() {
        let yes = [
            ("*", ""),
            ("*", "abc"),
            ("a*c", "ac"),
            ("a*c", "abcbc"),
            ("?", "é"),
            ("a?c*", "abc"),
            ("*.jsonl", "x.jsonl"),
        ];
        for (pattern, name) in yes {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        let no = [("", "a"), ("?", ""), ("a*c", "abd"), ("*.jsonl", "x.json"), ("a", "ab"), ("a?", "a"), ("A", "a")];
        for (pattern, name) in no {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
        assert!(!matches(&"*a".repeat(50), &"a".repeat(49)), "no blow-up");
    }

    #[test]
    fn a_file_is_itself_even_with_a_star_in_its_name() {
        let root = folder(&["a*.jsonl", "ab.jsonl", ".hidden"]);
        assert_eq!(names(root.path(), "a*.jsonl"), ["a*.jsonl"]);
        assert_eq!(names(root.path(), ".hidden"), [".hidden"]);
    }

    #[test]
    fn a_folder_is_its_regular_files_by_name() {
        let root =
            folder(&["in/b.jsonl", "in/a.jsonl", "in/c", "in/.d", "in/sub/e", "in/a.jsonl.staging", "in/f.staging.7"]);
        assert_eq!(names(root.path(), "in"), ["in/a.jsonl", "in/b.jsonl", "in/c"]);
    }

    #[test]
    fn a_pattern_may_stand_in_any_part() {
        let root =
            folder(&["x1/a.jsonl", "x1/b.txt", "x2/a.jsonl", "y/a.jsonl", "x3", "x4/a.jsonl/deep", ".x5/a.jsonl"]);
        assert_eq!(names(root.path(), "x?/*.jsonl"), ["x1/a.jsonl", "x2/a.jsonl"]);
        assert_eq!(names(root.path(), "*/a.jsonl"), ["x1/a.jsonl", "x2/a.jsonl", "y/a.jsonl"]);
        assert_eq!(names(root.path(), "y/*"), ["y/a.jsonl"]);
    }

    #[test]
    fn nothing_to_read_is_an_error_with_the_way_out() {
        let root = folder(&["in/.hidden"]);
        let text = |pattern: &str| list(&root.path().join(pattern)).expect_err(pattern).to_string();
        assert!(text("missing.jsonl").contains("does not exist; check `path`"));
        assert!(text("in").contains("has no file to read"));
        assert!(text("in/*.jsonl").contains("has no file to read"));
        assert!(text("missing/*.jsonl").contains("has no file to read"));
        assert!(text("in/**/a").contains("not supported"));
        let device = list(Path::new("/dev/null")).expect_err("a device").to_string();
        assert!(device.contains("neither a file nor a folder"), "{device}");
    }
}
