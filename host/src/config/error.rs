//! What is wrong with a job file: each error with its place, its key and the way out, as many as can be found at once.
//!
//! Owns how such errors read. Next room: `reader`, which makes most of them.

use super::model::{Place, Places};
use crate::printable::printable;
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

/// Errors that are printed; nobody reads more before mending these.
const SHOWN_MAX: usize = 100;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigError {
    /// Where, if it can be told.
    pub place: Option<Place>,
    /// The key path (`source.payments.start`); empty for the file as a whole.
    pub key: String,
    /// What is wrong, with the value in backticks, and the way out.
    pub what: String,
}

/// Everything that is wrong with a job file. Nothing was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The job file.
    pub file: PathBuf,
    /// At least one, by place.
    pub errors: Vec<ConfigError>,
}

impl ConfigErrors {
    /// Sorts errors by place, so that they read from top to bottom.
    pub(super) fn new(file: PathBuf, mut errors: Vec<ConfigError>) -> ConfigErrors {
        errors.sort();
        errors.dedup();
        ConfigErrors { file, errors }
    }
}

impl ConfigError {
    /// An error at a key of a job that was already read.
    pub(super) fn at(places: &Places, key: String, what: String) -> ConfigError {
        let place = nearest_place(&places.keys, &key);
        ConfigError { place, key, what }
    }
}

/// A key's own place, or that of the nearest table around it: a missing key is reported where it would stand.
pub(super) fn nearest_place(keys: &HashMap<String, Place>, key: &str) -> Option<Place> {
    let mut path = key;
    loop {
        if let Some(place) = keys.get(path) {
            return Some(*place);
        }
        path = path.rsplit_once('.')?.0;
    }
}

/// A line that counts, then a line an error, in the form that editors and terminals make a link of.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errors.len() {
            1 => write!(f, "the job file has an error, nothing was started:")?,
            count => write!(f, "the job file has {count} errors, nothing was started:")?,
        }
        let file = self.file.display();
        for error in self.errors.iter().take(SHOWN_MAX) {
            write!(f, "\n{file}")?;
            if let Some(Place { line, column }) = error.place {
                write!(f, ":{line}:{column}")?;
            }
            if !error.key.is_empty() {
                write!(f, ": `{}`", printable(&error.key))?;
            }
            write!(f, ": {}", printable(&error.what))?;
        }
        match self.errors.len().saturating_sub(SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, "\n{file}: and {more} more"),
        }
    }
}

impl std::error::Error for ConfigErrors {}
