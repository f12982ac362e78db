//! A model of a file sink and of the disk below it, in lines instead of bytes.
//!
//! What was written is in the page cache; an fsync makes it durable; the end of a process keeps the cache, a power cut loses
//! what was not made durable; an fsync that fails leaves pages that look clean and are not durable, so that the next one
//! says OK. The rules of the sink are those of the product's file room. Next room: `output`, which calls it.

use super::row::Row;
use super::shared::{Death, Stop};
use super::store::FilePart;
use tidegate::ids::CheckpointId;
use tidegate::seeded::{self, Bug};

/// A file of lines, only ever appended to.
#[derive(Debug, Clone, Default)]
pub(super) struct File {
    pub(super) lines: Vec<Row>,
    /// Lines that survive a power cut.
    durable: usize,
    /// Lines that an fsync need not write: more than are durable after one that failed.
    clean: usize,
}

impl File {
    /// Writes lines at a place; what stands there is replaced, and must be written out again.
    fn write_at(&mut self, at: usize, lines: &[Row]) {
        self.lines.truncate(at);
        self.lines.extend_from_slice(lines);
        self.durable = self.durable.min(at);
        self.clean = self.clean.min(at);
    }

    /// Makes everything durable; `fails`: the disk says no, once.
    fn sync(&mut self, fails: bool) -> Result<(), Death> {
        if fails {
            self.clean = self.lines.len();
            return Err(Death::Stop(Stop::Disk));
        }
        if self.clean == self.durable {
            self.durable = self.lines.len();
        }
        self.clean = self.lines.len();
        Ok(())
    }

    /// As [`File::sync`], repeated and believed by a seeded bug.
    fn sync_carefully(&mut self, fails: bool) -> Result<(), Death> {
        let first = self.sync(fails);
        if first.is_err() && seeded::is(Bug::CleanCacheTrusted) { self.sync(false) } else { first }
    }

    fn lose_cache(&mut self) {
        self.lines.truncate(self.durable);
        self.clean = self.durable;
    }
}

/// An output file and its staging files.
#[derive(Debug, Clone, Default)]
pub(super) struct Files {
    pub(super) output: File,
    staging: File,
    /// Under their checkpoints' numbers.
    staged: Vec<(CheckpointId, File)>,
    /// The length that is decided and applied, as the process knows it.
    committed: usize,
}

impl Files {
    /// Opens the output as a checkpoint left it; `None`: for the first time.
    pub(super) fn open(&mut self, resume: Option<&FilePart>) -> Result<(), Death> {
        self.staging = File::default();
        let Some(part) = resume else {
            self.committed = self.output.lines.len();
            return Ok(());
        };
        let staging = self.examine(part)?;
        let after = part.committed + part.staged;
        let is_owed = staging.is_some() && self.output.lines.len() < after;
        self.committed = if is_owed { part.committed } else { after };
        Ok(())
    }

    /// The state for checkpoint 0.
    pub(super) fn initial(&self) -> FilePart {
        FilePart { committed: self.committed, staged: 0, digest: 0 }
    }

    /// Appends a line to the staging file.
    pub(super) fn write(&mut self, row: Row) {
        self.staging.lines.push(row);
    }

    /// Makes the staging file durable under a checkpoint's number.
    pub(super) fn stage(&mut self, id: CheckpointId, fails: bool) -> Result<FilePart, Death> {
        if self.output.lines.len() != self.committed && !seeded::is(Bug::ApplyBeforeDecided) {
            return Err(Death::Stop(Stop::File));
        }
        let mut file = std::mem::take(&mut self.staging);
        let part = FilePart { committed: self.committed, staged: file.lines.len(), digest: digest(&file.lines) };
        if part.staged == 0 {
            return Ok(part);
        }
        if !seeded::is(Bug::StagingNotSynced) {
            file.sync_carefully(fails)?;
        }
        self.staged.retain(|(known, _)| *known != id);
        self.staged.push((id, file));
        if seeded::is(Bug::ApplyBeforeDecided) {
            self.apply(&part, false)?;
        }
        Ok(part)
    }

    /// Appends what a decided checkpoint staged. Doing it again changes nothing.
    pub(super) fn apply(&mut self, part: &FilePart, fails: bool) -> Result<(), Death> {
        let staging = if seeded::is(Bug::AppendWithoutLooking) { self.find(part) } else { self.examine(part)? };
        if let Some(at) = staging {
            let lines = std::mem::take(&mut self.staged[at].1.lines);
            let from = if seeded::is(Bug::AppendWithoutLooking) { self.output.lines.len() } else { part.committed };
            self.output.write_at(from, &lines);
            self.staged[at].1.lines = lines;
        }
        if part.staged > 0 {
            self.output.sync_carefully(fails)?;
        }
        if let Some(at) = staging {
            self.staged.remove(at);
        }
        self.committed = part.committed + part.staged;
        Ok(())
    }

    /// Removes the staging file of a checkpoint that did not happen.
    pub(super) fn discard(&mut self, id: CheckpointId) {
        self.staged.retain(|(known, _)| *known != id);
    }

    /// A power cut.
    pub(super) fn lose_cache(&mut self) {
        self.output.lose_cache();
        self.staging = File::default();
        self.staged.iter_mut().for_each(|(_, file)| file.lose_cache());
    }

    /// Compares the output with what a checkpoint allows. Gives the checkpoint's staging file if it is there.
    fn examine(&self, part: &FilePart) -> Result<Option<usize>, Death> {
        let lines = &self.output.lines;
        let (from, to) = (part.committed, part.committed + part.staged);
        if lines.len() < from || lines.len() > to {
            return Err(Death::Stop(Stop::File));
        }
        let staging = self.find(part);
        let excess = &lines[from..];
        let is_ours = match staging {
            Some(at) => self.staged[at].1.lines.starts_with(excess),
            None => lines.len() == to && digest(excess) == part.digest,
        };
        if is_ours { Ok(staging) } else { Err(Death::Stop(Stop::File)) }
    }

    fn find(&self, part: &FilePart) -> Option<usize> {
        let is_it = |file: &File| file.lines.len() == part.staged && digest(&file.lines) == part.digest;
        (part.staged > 0).then(|| self.staged.iter().position(|(_, file)| is_it(file))).flatten()
    }
}

/// Digest of lines; 0 of none.
fn digest(lines: &[Row]) -> u64 {
    let mix = |digest: u64, value: u64| (digest ^ value).wrapping_mul(0x0100_0000_01b3).rotate_left(17);
    lines.iter().fold(0, |digest, row| {
        let digest = mix(digest ^ 0x9e37, u64::from(row.offset) << 16 | u64::from(row.split) << 8 | u64::from(row.key));
        mix(mix(digest, u64::from(row.number)), row.tag.1 << 32 | u64::from(row.tag.0))
    })
}
