//! The file sink: JSON lines, exactly once.
//!
//! Rows go into a staging file beside the output. A checkpoint makes it durable before PREPARED and appends it after the
//! decision, so a reader of the output never sees an uncommitted line, nor a line twice, whenever the process dies. The
//! sink decides nothing and knows no store. Next rooms: `staging` (the files), `lines` (what a row looks like), `disk`
//! (every system call that changes something).
//!
//! What is on disk between two checkpoints: the output, `committed_bytes` long; `.<name>.staging`, rows of the checkpoint
//! that is being collected, worth nothing after a crash; `.<name>.staging-<n>`, rows of checkpoint n, until it is applied.

mod disk;
mod lines;
pub mod mend;
mod staging;
#[cfg(test)]
mod tests;

use super::SinkError;
use crate::checkpoint::record::SinkState;
use crate::ids::CheckpointId;
use crate::message::Rows;
use crate::probe;
use crate::seeded::{self, Bug};
use disk::{Disk, RealDisk};
use staging::{Staged, StagingFile};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Rows are gathered in memory up to this many bytes before they go to the staging file.
const BUFFER_BYTES: usize = 256 * 1024;

/// Writes lines to one file. Only one process has a file open as a sink: it holds the file's lock.
pub struct FileSink {
    name: String,
    path: PathBuf,
    /// Open for reading and writing, and locked.
    output: File,
    device: u64,
    inode: u64,
    /// The output's length that is decided and applied.
    committed_bytes: u64,
    /// A decided checkpoint that [`FileSink::apply`] has yet to append, found at the open.
    owed: Option<SinkState>,
    staging: StagingFile,
    /// Lines that are not in the staging file yet.
    buffer: Vec<u8>,
    /// Whether staging files of an earlier process are gone.
    is_swept: bool,
    disk: Box<dyn Disk>,
    latch: Option<Latched>,
}

/// The first failure: nothing is tried again after it.
struct Latched {
    what: String,
    is_stop: bool,
}

/// The fields of [`SinkState::File`] that the sink decides on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileState {
    device: u64,
    inode: u64,
    committed_bytes: u64,
    staged: Staged,
}

impl FileSink {
    /// Opens the output. `resume` is the sink's state in the checkpoint that the job goes on from; without one the file is
    /// made if it does not exist, and records are appended to what it holds.
    ///
    /// # Errors
    ///
    /// `Stop` if the file is not the one of `resume`, is shorter, or holds what this job did not write; if another process
    /// writes it; if it cannot be opened. Nothing was changed then.
    pub fn open(name: &str, path: &Path, resume: Option<&SinkState>) -> Result<FileSink, SinkError> {
        FileSink::open_on(Box::new(RealDisk), name, path, resume)
    }

    fn open_on(
        disk: Box<dyn Disk>,
        name: &str,
        path: &Path,
        resume: Option<&SinkState>,
    ) -> Result<FileSink, SinkError> {
        let stop = |what: String| SinkError::Stop { sink: name.to_owned(), what };
        let output = OpenOptions::new().read(true).write(true).create(resume.is_none()).truncate(false).open(path);
        let output = output.map_err(|error| stop(open_failure(path, &error, resume.is_some())))?;
        let metadata = output.metadata().map_err(|error| stop(open_failure(path, &error, resume.is_some())))?;
        if !metadata.is_file() {
            return Err(stop(format!(
                "`{}` is not a regular file; name one as `path` (stop: output-unusable)",
                path.display()
            )));
        }
        match output.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(stop(format!(
                    "another process writes `{}`; stop it, or name another file: a file has one writer (stop: output-locked)",
                    path.display()
                )));
            }
            Err(TryLockError::Error(error)) => {
                return Err(stop(format!("`{}` cannot be locked: {error} (stop: output-unusable)", path.display())));
            }
        }
        let mut sink = FileSink {
            name: name.to_owned(),
            path: path.to_owned(),
            output,
            device: metadata.dev(),
            inode: metadata.ino(),
            committed_bytes: metadata.len(),
            owed: None,
            staging: StagingFile::new(path),
            buffer: Vec::with_capacity(BUFFER_BYTES),
            is_swept: false,
            disk,
            latch: None,
        };
        match resume {
            Some(state) => sink.resume(state)?,
            None => sink.begin()?,
        }
        Ok(sink)
    }

    /// The state for checkpoint 0: the output as it is, nothing staged.
    pub fn initial_state(&self) -> SinkState {
        self.state(Staged::default())
    }

    /// The sink's name in the job file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes rows, a line each: the value, with raw newlines (which JSON allows between its tokens only) as spaces, and
    /// `null` for a null value.
    pub fn write(&mut self, rows: &Rows) -> Result<(), SinkError> {
        self.check()?;
        for row in rows.iter() {
            lines::push_value(&mut self.buffer, rows.batch.values.get(row));
            if self.buffer.len() >= BUFFER_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Writes dead letters, a JSON object each: `reason`, `operator`, `position`, `key`, `value`, `headers`. Bytes that are
    /// not UTF-8 are base64, and an `..._encoding` beside them says so.
    pub fn write_dead_letters(&mut self, rows: &Rows) -> Result<(), SinkError> {
        self.check()?;
        for row in rows.iter() {
            lines::push_dead_letter(&mut self.buffer, &rows.batch, row);
            if self.buffer.len() >= BUFFER_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Makes everything written since the last call durable as checkpoint `n`'s staging file. Called before PREPARED(n).
    pub fn stage(&mut self, n: CheckpointId) -> Result<SinkState, SinkError> {
        self.check()?;
        assert!(self.owed.is_none(), "a decided checkpoint is applied before the next one is staged");
        let fault = self.identity_fault();
        self.stop_if(fault)?;
        if !self.is_swept {
            // Everything decided is applied by now, so whatever an earlier process staged is worth nothing.
            probe::reached("staging-sweeping");
            let swept = self.staging.sweep(&mut *self.disk);
            self.latched("removing old staging files", swept)?;
            probe::reached("staging-swept");
            self.is_swept = true;
        }
        self.flush()?;
        let staged = self.staging.finish(&mut *self.disk, n);
        let staged = self.latched("making the staging file durable", staged)?;
        let state = self.state(staged);
        if seeded::is(Bug::ApplyBeforeDecided) {
            self.apply(&state)?;
        }
        Ok(state)
    }

    /// Appends what a decided checkpoint staged. Doing it again, in this process or a later one, writes the same bytes in
    /// the same place; the output never gets shorter.
    ///
    /// # Errors
    ///
    /// `Stop` if output or staging file are not what the state says. Nothing was changed then.
    pub fn apply(&mut self, state: &SinkState) -> Result<(), SinkError> {
        self.check()?;
        let state = self.file_state(state)?;
        let examined = self.examine(&state);
        let staging = self.examined(examined)?;
        if let Some(staging) = &staging {
            probe::reached("appending");
            let at = if seeded::is(Bug::AppendWithoutLooking) { self.length_bytes()? } else { state.committed_bytes };
            let copied = staging::append(&mut *self.disk, staging, &self.output, at);
            self.latched("appending to the output", copied)?;
            probe::reached("appended");
        }
        if state.staged.bytes > 0 {
            let mut synced = self.disk.sync(&self.output);
            if seeded::is(Bug::CleanCacheTrusted) && synced.is_err() {
                synced = self.disk.sync(&self.output);
            }
            self.latched("making the output durable", synced)?;
            probe::reached("output-synced");
        }
        if let Some(staging) = &staging {
            let removed = self.staging.remove_applied(&mut *self.disk, staging);
            self.latched("removing the staging file", removed)?;
            probe::reached("staging-removed");
        }
        self.committed_bytes = state.committed_bytes + state.staged.bytes;
        self.owed = None;
        Ok(())
    }

    /// Removes the staging file of a checkpoint that did not happen. It is no error if there is none.
    pub fn discard(name: &str, path: &Path, n: CheckpointId) -> Result<(), SinkError> {
        staging::discard(&mut RealDisk, path, n).map_err(|error| SinkError::Failed {
            sink: name.to_owned(),
            what: format!("the staging file of checkpoint `{n}` beside `{}` cannot be removed", path.display()),
            cause: Some(Box::new(error)),
        })
    }

    /// First start: the file as it is counts as committed.
    fn begin(&mut self) -> Result<(), SinkError> {
        if self.committed_bytes > 0 {
            let mut last = [0];
            let read = self.output.read_exact_at(&mut last, self.committed_bytes - 1);
            self.latched("reading the output", read)?;
            if last != *b"\n" {
                let fault = "does not end with a newline, so the first record would continue its last line; end it with \
                             one, or name another file (stop: output-unusable)";
                return self.stop_if(Some(format!("`{}` {fault}", self.path.display())));
            }
        }
        probe::reached("output-beginning");
        let begun = self.disk.sync_folder(self.staging.folder()).and_then(|()| self.staging.reset(&mut *self.disk));
        self.latched("preparing the output's folder", begun)?;
        probe::reached("output-begun");
        Ok(())
    }

    /// A later start: the output must be as the checkpoint left it, or as a crash while applying it did.
    fn resume(&mut self, resume: &SinkState) -> Result<(), SinkError> {
        let state = self.file_state(resume)?;
        let examined = self.examine(&state);
        let staging = self.examined(examined)?;
        let after_bytes = state.committed_bytes + state.staged.bytes;
        if staging.is_some() && self.length_bytes()? < after_bytes {
            self.committed_bytes = state.committed_bytes;
            self.owed = Some(resume.clone());
        } else {
            self.committed_bytes = after_bytes;
        }
        probe::reached("staging-resetting");
        let reset = self.staging.reset(&mut *self.disk);
        self.latched("removing old staging files", reset)?;
        probe::reached("staging-reset");
        Ok(())
    }

    /// Compares the output with what a checkpoint's state allows. Gives the checkpoint's staging file if it is there.
    fn examine(&self, state: &FileState) -> io::Result<Result<Option<PathBuf>, String>> {
        let path = self.path.display();
        let length_bytes = self.output.metadata()?.len();
        let (from, to) = (state.committed_bytes, state.committed_bytes + state.staged.bytes);
        if length_bytes < from {
            return Ok(Err(format!(
                "`{path}` has `{length_bytes}` bytes, the last checkpoint left `{from}`: somebody shortened it; put the \
                 missing lines back, or accept it as it is with `tidegate state repair` (stop: output-short)"
            )));
        }
        if length_bytes > to {
            return Ok(Err(format!(
                "`{path}` has `{length_bytes}` bytes, the last checkpoint accounts for `{to}`: somebody else wrote to it, or \
                 the store is an older copy. If it is, put the newer store back; if not, what stands behind byte `{to}` is \
                 not this job's: `tidegate state repair` moves it aside (stop: output-foreign)"
            )));
        }
        let staging = self.staging.find(state.staged)?;
        let excess_bytes = length_bytes - from;
        let is_ours = match &staging {
            Some(staging) => staging::begins_with(staging, &self.output, from, excess_bytes)?,
            None if length_bytes == to => staging::digest(&self.output, from, excess_bytes)? == state.staged,
            None => {
                return Ok(Err(format!(
                    "the staging file with the last `{}` bytes of `{path}` is missing or altered (it stands in the same \
                     folder, its name begins with `{}`); put it back: without it committed lines are lost \
                     (stop: staging-gone)",
                    state.staged.bytes,
                    self.staging.prefix()
                )));
            }
        };
        if !is_ours {
            return Ok(Err(format!(
                "`{path}` holds other bytes behind byte `{from}` than the last checkpoint wrote; what stands there is not \
                 this job's: `tidegate state repair` moves it aside (stop: output-foreign)"
            )));
        }
        Ok(Ok(staging))
    }

    fn examined(
        &mut self,
        examined: io::Result<Result<Option<PathBuf>, String>>,
    ) -> Result<Option<PathBuf>, SinkError> {
        match self.latched("reading the output", examined)? {
            Ok(staging) => Ok(staging),
            Err(fault) => self.stop_if(Some(fault)).map(|()| None),
        }
    }

    /// What is wrong with the output as it stands under its name, if something is.
    fn identity_fault(&self) -> Option<String> {
        let path = self.path.display();
        match self.path.metadata() {
            Ok(metadata) if (metadata.dev(), metadata.ino()) != (self.device, self.inode) => Some(format!(
                "`{path}` was replaced by another file while the job runs; put the first one back (stop: output-replaced)"
            )),
            Ok(metadata) if metadata.len() != self.committed_bytes => Some(format!(
                "`{path}` has `{}` bytes instead of `{}`: somebody else wrote to it; a file has one writer (stop: output-foreign)",
                metadata.len(),
                self.committed_bytes
            )),
            Ok(_) => None,
            Err(error) => Some(format!("`{path}` is not there any more ({error}); put it back (stop: output-gone)")),
        }
    }

    /// The state as this sink's own, for this very file.
    fn file_state(&mut self, state: &SinkState) -> Result<FileState, SinkError> {
        let SinkState::File { device, inode, committed_bytes, staged_bytes, staged_digest, .. } = state else {
            let fault = "was a Kafka sink at the last checkpoint and is a file now; give the new sink another name (stop: job-changed)";
            return Err(SinkError::Stop { sink: self.name.clone(), what: fault.to_owned() });
        };
        if (*device, *inode) != (self.device, self.inode) {
            let fault = format!(
                "`{}` is not the file that the last checkpoint wrote (device `{}` inode `{}` instead of `{device}` and \
                 `{inode}`): it was replaced; put the first one back, or accept this one with `tidegate state repair` \
                 (stop: output-replaced)",
                self.path.display(),
                self.device,
                self.inode
            );
            return Err(SinkError::Stop { sink: self.name.clone(), what: fault });
        }
        Ok(FileState {
            device: *device,
            inode: *inode,
            committed_bytes: *committed_bytes,
            staged: Staged { bytes: *staged_bytes, digest: *staged_digest },
        })
    }

    fn state(&self, staged: Staged) -> SinkState {
        SinkState::File {
            sink: self.name.clone(),
            path: self.path.display().to_string(),
            device: self.device,
            inode: self.inode,
            committed_bytes: self.committed_bytes,
            staged_bytes: staged.bytes,
            staged_digest: staged.digest,
        }
    }

    fn length_bytes(&mut self) -> Result<u64, SinkError> {
        let length = self.output.metadata().map(|metadata| metadata.len());
        self.latched("reading the output", length)
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let written = self.staging.write(&mut *self.disk, &self.buffer);
        self.latched("writing the staging file", written)?;
        self.buffer.clear();
        Ok(())
    }

    /// Refuses once something failed.
    fn check(&self) -> Result<(), SinkError> {
        let Some(latched) = &self.latch else { return Ok(()) };
        let (sink, what) =
            (self.name.clone(), format!("is not used any more after an earlier failure ({})", latched.what));
        Err(if latched.is_stop {
            SinkError::Stop { sink, what }
        } else {
            SinkError::Failed { sink, what, cause: None }
        })
    }

    /// Turns what was found into a stop, and remembers it.
    fn stop_if(&mut self, fault: Option<String>) -> Result<(), SinkError> {
        let Some(what) = fault else { return Ok(()) };
        self.latch = Some(Latched { what: what.clone(), is_stop: true });
        Err(SinkError::Stop { sink: self.name.clone(), what })
    }

    /// Remembers an I/O error: nothing is tried again, since after a failed sync the cache claims what the disk lacks.
    fn latched<T>(&mut self, doing: &str, result: io::Result<T>) -> Result<T, SinkError> {
        let cause = match result {
            Ok(value) => return Ok(value),
            Err(cause) => cause,
        };
        let path = self.path.display();
        let is_stop = cause.raw_os_error() == Some(libc::EIO);
        let way_out = match cause.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free some space, nothing committed is lost",
            _ if is_stop => "look at the disk before anything is started again",
            _ => "the next start goes on from the last checkpoint",
        };
        let what = format!("{doing} of `{path}` failed; {way_out}");
        self.latch = Some(Latched { what: format!("{what}: {cause}"), is_stop });
        let sink = self.name.clone();
        Err(if is_stop {
            SinkError::Stop { sink, what: format!("{what}: {cause} (stop: disk-error)") }
        } else {
            SinkError::Failed { sink, what, cause: Some(Box::new(cause)) }
        })
    }
}

fn open_failure(path: &Path, error: &io::Error, is_resumed: bool) -> String {
    let path = path.display();
    match error.kind() {
        ErrorKind::NotFound if is_resumed => format!(
            "`{path}`, which the last checkpoint wrote, is gone; put it back, or begin a new file with `tidegate state repair` \
             (stop: output-gone)"
        ),
        ErrorKind::NotFound => {
            format!("`{path}` cannot be made: its folder does not exist; make the folder (stop: output-unusable)")
        }
        _ => format!("`{path}` cannot be opened for reading and writing: {error} (stop: output-unusable)"),
    }
}
