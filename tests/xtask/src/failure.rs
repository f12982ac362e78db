//! What can go wrong in a command, said so that a person can go on.
//!
//! Next room: `shell`, where most of it happens.

use std::io;
use std::path::Path;

/// Why a command ended early.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The file system or the operating system said no.
    #[error("cannot {what}")]
    Io {
        /// A verb phrase with the path in it.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program ended with an error, or was not found.
    #[error("`{command}` {outcome}")]
    Program {
        /// The command line.
        command: String,
        /// How it ended.
        outcome: String,
    },
    /// The machine lacks something that this command may not fetch by itself.
    #[error("this machine lacks {what}; run\n\n    {line}\n\nand then this command again")]
    Lacks {
        /// The thing.
        what: String,
        /// The command line that brings it.
        line: String,
    },
    /// A job did not do what it must.
    #[error("{0}")]
    Job(String),
}

/// The result of a step.
pub type Outcome<T> = Result<T, Failure>;

/// Turns an I/O error into a [`Failure`] that names what was tried.
pub trait Doing<T> {
    /// Names the step, as a verb phrase: `write the job file`.
    fn doing(self, what: &str) -> Outcome<T>;
    /// Names the step and the path: `` read `target/demo/alerts.jsonl` ``.
    fn at(self, verb: &str, path: &Path) -> Outcome<T>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: &str) -> Outcome<T> {
        self.map_err(|source| Failure::Io { what: what.to_owned(), source })
    }

    fn at(self, verb: &str, path: &Path) -> Outcome<T> {
        self.map_err(|source| Failure::Io { what: format!("{verb} `{}`", path.display()), source })
    }
}
