//! The keys of a job file: their names, types, ranges, defaults and meaning, in one place.
//!
//! One table drives three things: which keys are known and what is nearest to an unknown one, how a value is checked and
//! what stands in for a missing one, and the generated reference. It holds no code. Next room: [`sections`], the table
//! itself; `reader`, which reads values by it.

pub(crate) mod sections;

use std::time::Duration;

/// A table of a job file and the keys it may have.
#[derive(Debug)]
pub(crate) struct Section {
    /// How it is written, `NAME` standing for a name of the user's.
    pub(crate) title: &'static str,
    /// What it is for.
    pub(crate) doc: &'static str,
    /// Its keys in the order of the reference.
    pub(crate) keys: &'static [Key],
}

/// A key.
#[derive(Debug)]
pub(crate) struct Key {
    /// Its name.
    pub(crate) name: &'static str,
    /// What a value must be.
    pub(crate) kind: Kind,
    /// What holds without it.
    pub(crate) absent: Absent,
    /// What it means.
    pub(crate) doc: &'static str,
}

/// What a value must be.
#[derive(Debug)]
pub(crate) enum Kind {
    /// Any string that is not empty.
    Text,
    /// A path, from the job file's folder if it is relative.
    Path,
    /// A list of strings that are not empty; itself not empty.
    Texts,
    /// An integer in a range.
    Integer {
        /// The smallest.
        min: i64,
        /// The largest.
        max: i64,
    },
    /// A string like `"5ms"`.
    Duration {
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// A string like `"256KiB"`.
    Size {
        /// The smallest, in bytes.
        min: u64,
        /// The largest, in bytes.
        max: u64,
    },
    /// One of some words.
    Choice(&'static [&'static str]),
    /// A table with keys of its own.
    Table(&'static Section),
    /// Tables by name, each with the same keys.
    Tables(&'static Section),
    /// Something with a reader of its own, in words.
    Other(&'static str),
}

/// What holds when a key is not there.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Absent {
    /// It must be there.
    Refused,
    /// This value, as it would be written.
    Value(&'static str),
    /// What these words say.
    Means(&'static str),
}

impl Section {
    /// A key by its name.
    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The keys' names.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.keys.iter().map(|key| key.name).collect()
    }
}
