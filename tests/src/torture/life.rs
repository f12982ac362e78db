//! One life of a host: a process, its log as it grows, and when it first committed.
//!
//! Ends nothing by itself. Next rooms: [`super::siege`] and [`super::recovery`], which order the ends.

use super::violation::Violation;
use crate::scene::{Running, Scene};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::process::ExitStatus;
use std::time::Instant;
use xtask::events::{Event, Step};

/// A life that runs.
pub(super) struct Life {
    pub(super) running: Running,
    pub(super) began: Instant,
    /// When its first commit was seen.
    pub(super) committed_at: Option<Instant>,
    log_read: u64,
}

impl Life {
    /// Starts the host, to end at a fail point (`name:times`) if it says so.
    pub(super) fn start(scene: &Scene, at: Option<&str>) -> Life {
        let began = Instant::now();
        let mut variables = vec![("TIDEGATE_LOG", "tidegate::job=debug,tidegate::checkpoint=debug,info")];
        variables.extend(at.map(|at| ("TIDEGATE_KILL_AT", at)));
        let running = scene.start_with(&variables, &["--log", "json"]);
        Life { running, began, log_read: 0, committed_at: None }
    }

    /// Whether its first commit was seen now.
    pub(super) fn looks_committed(&mut self) -> bool {
        if self.committed_at.is_some() {
            return false;
        }
        let mut text = String::new();
        let read = File::open(self.running.log_path()).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.log_read))?;
            file.read_to_string(&mut text)
        });
        if read.is_err() {
            return false;
        }
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        self.log_read += whole as u64;
        if text[..whole].lines().filter_map(Event::parse).any(|event| event.step == Step::Committed) {
            self.committed_at = Some(Instant::now());
        }
        self.committed_at.is_some()
    }

    /// The host ended by itself, or in another way than it was told to.
    pub(super) fn unexpected(&self, status: ExitStatus) -> Violation {
        let log = self.running.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(5)..].join("\n");
        Violation::Host(format!("it ended with {status}; the end of `{}`:\n{tail}", self.running.log_path().display()))
    }
}
