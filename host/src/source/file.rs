//! Files of JSON lines as splits.
//!
//! The list of files is made once, for checkpoint 0, and never changes. Each file is a split, bounded by its end: by the end
//! it has when it is reached, so lines that are appended while the job runs are still read, and what comes later is not. A
//! last line without a line end is a record. `\r\n` is a line end too, and empty lines are no records. A file that shrank or
//! was replaced is refused; a finished one is not looked at again and may be deleted. Next rooms: `lines` (reading),
//! `listing` (which files), `identity` (what a file is known by).

use self::identity::{Difference, Identity};
use self::lines::{Lines, Step};
use self::listing::ListingError;
use super::{Polled, RawHeaders, RawRecord, Reader, SourceError, Verified};
use crate::checkpoint::record::{Position, SourceState, SplitState};
use crate::columns::SplitName;
use crate::ids::{SplitIndex, Watermark};
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

mod identity;
mod lines;
mod listing;
pub mod mend;

/// How much a poll reads at most, in bytes: a few milliseconds' worth, whatever the lines look like.
const POLL_BYTES_MAX: usize = 4 << 20;

/// How many files are open at once, each with a buffer. Of more splits, those read longest ago are opened again.
const OPEN_FILES_MAX: usize = 64;

/// What to do when a file is not the one that was read.
const CHANGED_WAY_OUT: &str = "put the file back as it was, or have `tidegate state repair` go on elsewhere in it";

/// Lists the files of a pattern (a file, a folder, or a path with `*` and `?`) and notes what each is known by. Nothing but
/// the first bytes is read.
pub fn resolve(source: &str, pattern: &Path) -> Result<SourceState, SourceError> {
    let files = listing::list(pattern).map_err(|error| match error {
        ListingError::Nothing(what) => {
            SourceError::Changed { source_name: source.to_owned(), what: format!("{what} (stop: nothing-to-read)") }
        }
        ListingError::Unreadable { path, cause } => failed(source, "look at", &path.display().to_string(), cause),
    })?;
    let split = |path: PathBuf| -> Result<SplitState, SourceError> {
        // The next start may be from another folder.
        let path = std::path::absolute(&path)
            .map_err(|error| failed(source, "look at", &path.display().to_string(), error))?;
        let path = path.into_os_string().into_string().map_err(|path| SourceError::Changed {
            source_name: source.to_owned(),
            what: format!(
                "the name `{}` is not UTF-8; rename the file (stop: nothing-to-read)",
                path.to_string_lossy()
            ),
        })?;
        let identity = Identity::observe(&path).map_err(|error| failed(source, "open", &path, error))?;
        let position = identity.at(0);
        Ok(SplitState { position, watermark: Watermark::START, idle: false, finished: false })
    };
    let splits = files.into_iter().map(split).collect::<Result<_, _>>()?;
    Ok(SourceState { source: source.to_owned(), splits })
}

/// Compares what a pattern names today with the files of a checkpoint: the list is made once, so whatever came since is not
/// read, and that is said. A pattern that names none of them was changed.
pub fn compare(source: &str, pattern: &Path, state: &SourceState, is_finished: bool) -> Result<(), SourceError> {
    // A file that was read to its end may be gone; any other is missed when it is opened.
    let Ok(files) = listing::list(pattern) else { return Ok(()) };
    let known: HashSet<PathBuf> = state.splits.iter().filter_map(|split| path_of(&split.position)).collect();
    let is_new = |file: &&PathBuf| !std::path::absolute(file).is_ok_and(|path| known.contains(&path));
    let new = files.iter().filter(is_new).count();
    let pattern = pattern.display();
    if new == files.len() && !is_finished {
        let first = known.iter().min().map_or_else(String::new, |path| format!(" (such as `{}`)", path.display()));
        return Err(SourceError::Changed {
            source_name: source.to_owned(),
            what: format!(
                "`{pattern}` names none of the files that the last checkpoint is about{first}; put `path` back, or start the \
                 job under a new `name` or `store.path` (stop: job-changed)"
            ),
        });
    }
    if new > 0 {
        tracing::warn!(
            "source `{source}`: {new} of the {} files that `{pattern}` names were not there at the first start and are not \
             read; start the job under a new `name` or `store.path` to read them",
            files.len()
        );
    }
    Ok(())
}

fn path_of(position: &Position) -> Option<PathBuf> {
    match position {
        Position::File { path, .. } => std::path::absolute(path).ok(),
        Position::Kafka { .. } => None,
    }
}

/// Reads lines.
#[derive(Debug)]
pub struct FileReader {
    source: String,
    splits: Vec<Split>,
    names: Vec<Arc<SplitName>>,
    record_bytes_max: usize,
    /// Counts polls, to find the file that was read longest ago.
    polls: u64,
}

#[derive(Debug)]
struct Split {
    identity: Identity,
    /// The next byte to read: the start of a line, or the file's end.
    offset: u64,
    /// The file's length when it was last looked at, in bytes.
    bytes: u64,
    finished: bool,
    lines: Option<Lines>,
    polled: u64,
}

impl FileReader {
    /// Opens files at their positions, after comparing each with what its position says of it. A longer line than
    /// `record_bytes_max` is handed out cut to one byte more than that, so that the decoder refuses it.
    pub fn open(source: &str, splits: &[SplitState], record_bytes_max: usize) -> Result<FileReader, SourceError> {
        let mut reader = FileReader {
            source: source.to_owned(),
            splits: Vec::with_capacity(splits.len()),
            names: Vec::with_capacity(splits.len()),
            record_bytes_max,
            polls: 0,
        };
        for state in splits {
            let (identity, offset) = Identity::of(&state.position).ok_or_else(|| SourceError::Changed {
                source_name: source.to_owned(),
                what: "the store has positions in Kafka for this source, which now reads files; give the source another name \
                       (stop: job-changed)"
                    .to_owned(),
            })?;
            reader.names.push(Arc::new(SplitName { topic: identity.path.clone(), partition: 0 }));
            let mut split = Split { identity, offset, bytes: offset, finished: state.finished, lines: None, polled: 0 };
            if !split.finished {
                let compared = split.identity.open(offset).map_err(|error| split.failed(source, "open", error))?;
                let (_, bytes) = compared.map_err(|difference| changed(source, &difference))?;
                split.bytes = bytes;
            }
            reader.splits.push(split);
        }
        Ok(reader)
    }

    /// Opens a split's file if it is closed, and closes another one if too many are open.
    fn make_open(&mut self, index: usize) -> Result<(), SourceError> {
        self.polls += 1;
        self.splits[index].polled = self.polls;
        if self.splits[index].lines.is_some() {
            return Ok(());
        }
        let open = self.splits.iter_mut().filter(|split| split.lines.is_some());
        if open.count() >= OPEN_FILES_MAX {
            let open = self.splits.iter_mut().filter(|split| split.lines.is_some());
            // A file inside a long line would have to read the line again, so it goes last.
            let oldest = open.min_by_key(|split| (split.is_inside_a_line(), split.polled));
            oldest.expect("some are open").lines = None;
        }
        let split = &mut self.splits[index];
        let opened = split.identity.open(split.offset).map_err(|error| split.failed(&self.source, "open", error))?;
        let (file, bytes) = opened.map_err(|difference| changed(&self.source, &difference))?;
        split.bytes = bytes;
        split.lines = Some(Lines::new(file, split.offset, self.record_bytes_max));
        Ok(())
    }
}

impl Split {
    fn is_inside_a_line(&self) -> bool {
        self.lines.as_ref().is_some_and(Lines::is_inside_a_line)
    }

    /// Hands out up to `records_max` lines.
    fn visit(&mut self, records_max: usize, visit: &mut dyn FnMut(RawRecord<'_>)) -> io::Result<Polled> {
        let lines = self.lines.as_mut().expect("the caller opened the file");
        let mut budget = POLL_BYTES_MAX;
        let mut count = 0;
        let mut ended = false;
        while count < records_max {
            match lines.step(&mut budget)? {
                Step::Line { offset, at } => {
                    visit(RawRecord {
                        key: None,
                        value: Some(lines.bytes(at)),
                        timestamp: None,
                        offset: offset as i64,
                        headers: RawHeaders::default(),
                    });
                    count += 1;
                }
                Step::Later => break,
                Step::End => {
                    ended = true;
                    break;
                }
            }
        }
        self.offset = lines.offset();
        Ok(match count {
            0 if ended => Polled::Finished,
            0 => Polled::Pending,
            count => Polled::Records(count),
        })
    }

    /// After the end was reached: closes the file, unless it is now shorter than it once was.
    fn finish(&mut self) -> io::Result<Result<(), Difference>> {
        let lines = self.lines.take().expect("the end was found in an open file");
        let bytes = lines.file_bytes()?;
        let read = self.offset.max(self.bytes);
        if bytes < read {
            return Ok(Err(Difference::Shrunk { path: self.identity.path.clone(), offset: read, bytes }));
        }
        self.finished = true;
        self.bytes = self.offset;
        Ok(Ok(()))
    }

    fn failed(&self, source: &str, what: &str, cause: io::Error) -> SourceError {
        failed(source, what, &self.identity.path, cause)
    }
}

impl Reader for FileReader {
    fn splits(&self) -> &[Arc<SplitName>] {
        &self.names
    }

    fn poll(
        &mut self,
        split: SplitIndex,
        records_max: usize,
        visit: &mut dyn FnMut(RawRecord<'_>),
    ) -> Result<Polled, SourceError> {
        if self.splits[split.index()].finished {
            return Ok(Polled::Finished);
        }
        self.make_open(split.index())?;
        let split = &mut self.splits[split.index()];
        let polled = split.visit(records_max, visit).map_err(|error| split.failed(&self.source, "read", error))?;
        if polled == Polled::Finished {
            let finished = split.finish().map_err(|error| split.failed(&self.source, "look at", error))?;
            finished.map_err(|difference| changed(&self.source, &difference))?;
        }
        Ok(polled)
    }

    fn position(&self, split: SplitIndex) -> Position {
        let split = &self.splits[split.index()];
        split.identity.at(split.offset)
    }

    /// A file is always ready; once all are finished there is nothing to wait for but the end of the job.
    fn wait(&mut self, at_most: Duration) {
        if self.splits.iter().all(|split| split.finished) {
            std::thread::sleep(at_most);
        }
    }

    fn verify(&mut self) -> Result<Verified, SourceError> {
        for split in self.splits.iter().filter(|split| !split.finished) {
            let compared = split.identity.verify(split.offset);
            let compared = compared.map_err(|error| split.failed(&self.source, "look at", error))?;
            compared.map_err(|difference| changed(&self.source, &difference))?;
        }
        Ok(Verified::Proven)
    }

    fn publish(&mut self, _positions: &[Position]) {}

    fn lag(&self) -> Option<u64> {
        None
    }

    fn progress(&self) -> Option<(u64, u64)> {
        let done = self.splits.iter().map(|split| split.offset).sum();
        let total = self.splits.iter().map(|split| split.bytes.max(split.offset)).sum();
        Some((done, total))
    }
}

fn changed(source: &str, difference: &Difference) -> SourceError {
    SourceError::Changed {
        source_name: source.to_owned(),
        what: format!("{difference}; {CHANGED_WAY_OUT} (stop: file-changed)"),
    }
}

/// A path that is wrong, or forbidden, stays so until a person mends it; anything else may pass.
fn failed(source: &str, what: &str, path: &str, cause: io::Error) -> SourceError {
    let advice = "check the file and its permissions, then start again";
    if matches!(
        cause.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory
    ) {
        let what = format!("cannot {what} `{path}` ({cause}); {advice} (stop: nothing-to-read)");
        return SourceError::Changed { source_name: source.to_owned(), what };
    }
    let what = format!("cannot {what} `{path}`; {advice}");
    SourceError::Failed { source_name: source.to_owned(), what, cause: Some(Box::new(cause)) }
}

#[cfg(test)]
mod tests;
