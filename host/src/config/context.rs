//! What reading one job file shares: its text, its folder, the environment, and the errors found so far.
//!
//! Next room: `reader`, which reads tables and reports here.

use super::error::{ConfigError, ConfigErrors, nearest_place};
use super::model::{Place, Places};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// How far a place is counted from the nearest known one, in bytes.
const MILESTONE_BYTES: usize = 1024;

/// What a job file is resolved against besides its own text.
pub struct Environment {
    /// Reads an environment variable; `None`: it is not set (or not text).
    pub variable: fn(&str) -> Option<String>,
    /// How many cores the process may use.
    pub cores: u16,
}

impl Environment {
    /// That of this process.
    pub fn of_process() -> Environment {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Environment { variable: |name| std::env::var(name).ok(), cores: u16::try_from(cores).unwrap_or(u16::MAX) }
    }
}

/// One reading of one job file.
pub(super) struct Context<'a> {
    /// The job file, as errors call it.
    pub(super) file: &'a Path,
    /// Its text.
    pub(super) text: &'a str,
    /// Where relative paths begin.
    pub(super) folder: PathBuf,
    /// What is outside.
    pub(super) environment: &'a Environment,
    /// Bytes and places, one at every [`MILESTONE_BYTES`].
    milestones: Vec<(usize, Place)>,
    errors: RefCell<Vec<ConfigError>>,
    keys: RefCell<HashMap<String, Place>>,
}

impl<'a> Context<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str, environment: &'a Environment) -> Context<'a> {
        let folder = file.parent().map_or_else(PathBuf::new, Path::to_path_buf);
        let milestones = milestones(text);
        Context { file, text, folder, environment, milestones, errors: RefCell::default(), keys: RefCell::default() }
    }

    /// Adds an error at a span of the text.
    pub(super) fn error(&self, span: &Range<usize>, key: impl Into<String>, what: impl Into<String>) {
        let place = Some(self.place(span.start));
        self.errors.borrow_mut().push(ConfigError { place, key: key.into(), what: what.into() });
    }

    /// Adds an error at a key that was read, or at the table where it would stand.
    pub(super) fn error_at_key(&self, key: &str, what: String) {
        let place = nearest_place(&self.keys.borrow(), key);
        self.errors.borrow_mut().push(ConfigError { place, key: key.to_owned(), what });
    }

    /// How many errors there are; more than before means that what was read since cannot be relied on.
    pub(super) fn error_count(&self) -> usize {
        self.errors.borrow().len()
    }

    /// Whether an error was reported at a key like this.
    pub(super) fn has_error_at(&self, is_like: impl Fn(&str) -> bool) -> bool {
        self.errors.borrow().iter().any(|error| is_like(&error.key))
    }

    /// Remembers where a key stands.
    pub(super) fn remember(&self, key: &str, span: &Range<usize>) {
        let place = self.place(span.start);
        self.keys.borrow_mut().entry(key.to_owned()).or_insert(place);
    }

    /// A path from the job file's folder.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// The errors, if there are any; else where all keys stand.
    pub(super) fn finish(self) -> Result<Places, ConfigErrors> {
        let errors = self.errors.into_inner();
        if errors.is_empty() {
            Ok(Places { file: self.file.to_path_buf(), keys: self.keys.into_inner() })
        } else {
            Err(ConfigErrors::new(self.file.to_path_buf(), errors))
        }
    }

    fn place(&self, offset: usize) -> Place {
        let offset = self.text.floor_char_boundary(offset);
        let (start, place) = self.milestones[offset / MILESTONE_BYTES];
        advance(place, &self.text[start..offset])
    }
}

/// Where every so many bytes of a text stand: counting from the start for each key would take minutes for a long file.
fn milestones(text: &str) -> Vec<(usize, Place)> {
    let mut milestones = vec![(0, Place { line: 1, column: 1 })];
    for target in (MILESTONE_BYTES..=text.len()).step_by(MILESTONE_BYTES) {
        let (start, place) = *milestones.last().expect("the first one is there");
        let end = text.floor_char_boundary(target);
        milestones.push((end, advance(place, &text[start..end])));
    }
    milestones
}

/// The place behind some text that begins at a place.
fn advance(place: Place, text: &str) -> Place {
    match text.rfind('\n') {
        None => Place { column: place.column + text.chars().count(), ..place },
        Some(at) => Place { line: place.line + text.matches('\n').count(), column: text[at + 1..].chars().count() + 1 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_the_same_as_counted_from_the_start() {
        let text = "é\n日本\r\n".repeat(300) + &"ü".repeat(3000) + "\n\nend";
        let environment = Environment { variable: |_| None, cores: 1 };
        let context = Context::new(Path::new("job.toml"), &text, &environment);
        for offset in 0..=text.len() {
            let before = &text[..text.floor_char_boundary(offset)];
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            assert_eq!(context.place(offset), Place { line: before.matches('\n').count() + 1, column }, "{offset}");
        }
    }
}
