//! The staging files beside an output: one being written, and one for each checkpoint that is not applied yet.
//!
//! Knows names and bytes, not which checkpoint was decided. Next room: [`super`].

use super::disk::Disk;
use crate::ids::CheckpointId;
use crate::probe;
use crate::seeded::{self, Bug};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::Xxh3;

/// Files are compared and copied in pieces of this many bytes.
const PIECE_BYTES: usize = 1 << 20;

/// What is staged for a checkpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Staged {
    /// 0: there is no staging file.
    pub(super) bytes: u64,
    /// XXH3 (64 bits) of the bytes; 0 where there are none.
    pub(super) digest: u64,
}

/// The staging files of one output.
pub(super) struct StagingFile {
    folder: PathBuf,
    /// `.<output's name>.staging`
    stem: OsString,
    current: Option<Current>,
    /// What the last [`StagingFile::finish`] made, until it is applied.
    pending: Option<(PathBuf, Staged)>,
}

/// The file being written.
struct Current {
    file: File,
    bytes: u64,
    digest: Xxh3,
}

impl StagingFile {
    pub(super) fn new(output: &Path) -> StagingFile {
        StagingFile { folder: folder(output), stem: stem(output), current: None, pending: None }
    }

    /// The folder of the output and its staging files.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// How the names of all checkpoints' staging files begin.
    pub(super) fn prefix(&self) -> String {
        format!("{}-", self.stem.to_string_lossy())
    }

    /// Appends bytes to the file being written.
    pub(super) fn write(&mut self, disk: &mut dyn Disk, bytes: &[u8]) -> io::Result<()> {
        let path = self.folder.join(&self.stem);
        let current = match &mut self.current {
            Some(current) => current,
            none => none.insert(Current { file: disk.create(&path)?, bytes: 0, digest: Xxh3::new() }),
        };
        probe::reached("staging-writing");
        disk.write_at(&current.file, bytes, current.bytes)?;
        probe::reached("staging-written");
        current.digest.update(bytes);
        current.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Makes what was written durable under the checkpoint's name.
    pub(super) fn finish(&mut self, disk: &mut dyn Disk, n: CheckpointId) -> io::Result<Staged> {
        let Some(current) = self.current.take() else {
            return Ok(Staged::default());
        };
        let path = numbered(&self.folder, &self.stem, n);
        probe::reached("staging-syncing");
        if !seeded::is(Bug::StagingNotSynced) {
            disk.sync(&current.file)?;
        }
        probe::reached("staging-synced");
        disk.rename(&self.folder.join(&self.stem), &path)?;
        probe::reached("staging-renamed");
        disk.sync_folder(&self.folder)?;
        probe::reached("staging-durable");
        let staged = Staged { bytes: current.bytes, digest: current.digest.digest() };
        self.pending = Some((path, staged));
        Ok(staged)
    }

    /// The staging file with exactly these bytes; any one that has them will do.
    pub(super) fn find(&self, staged: Staged) -> io::Result<Option<PathBuf>> {
        if staged.bytes == 0 {
            return Ok(None);
        }
        if let Some((path, pending)) = &self.pending
            && *pending == staged
            && has(path, staged)?
        {
            return Ok(Some(path.clone()));
        }
        for path in self.numbered()? {
            if has(&path, staged)? {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// Removes the file of an applied checkpoint.
    pub(super) fn remove_applied(&mut self, disk: &mut dyn Disk, path: &Path) -> io::Result<()> {
        self.pending = None;
        remove_if_there(disk, path)
    }

    /// Removes the file that was being written when an earlier process ended.
    pub(super) fn reset(&mut self, disk: &mut dyn Disk) -> io::Result<()> {
        remove_if_there(disk, &self.folder.join(&self.stem))
    }

    /// Removes all checkpoints' staging files; only when none of them is needed.
    pub(super) fn sweep(&mut self, disk: &mut dyn Disk) -> io::Result<()> {
        for path in self.numbered()? {
            remove_if_there(disk, &path)?;
        }
        Ok(())
    }

    fn numbered(&self) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        let prefix = [self.stem.as_encoded_bytes(), b"-"].concat();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let number = name.as_encoded_bytes().strip_prefix(prefix.as_slice());
            if number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit)) {
                found.push(entry.path());
            }
        }
        Ok(found)
    }
}

/// Removes the staging file of a checkpoint.
pub(super) fn discard(disk: &mut dyn Disk, output: &Path, n: CheckpointId) -> io::Result<()> {
    remove_if_there(disk, &numbered(&folder(output), &stem(output), n))
}

/// Copies a staging file to the output at an offset. What was copied before a crash is written again with the same bytes.
pub(super) fn append(disk: &mut dyn Disk, staging: &Path, output: &File, offset_bytes: u64) -> io::Result<()> {
    let staging = File::open(staging)?;
    let length_bytes = staging.metadata()?.len();
    each_piece(&staging, 0, length_bytes, |at, piece| disk.write_at(output, piece, offset_bytes + at))
}

/// Whether a staging file begins with the output's bytes from an offset on.
pub(super) fn begins_with(staging: &Path, output: &File, offset_bytes: u64, length_bytes: u64) -> io::Result<bool> {
    let staging = File::open(staging)?;
    let mut is_equal = true;
    let mut known = vec![0; PIECE_BYTES.min(length_bytes as usize)];
    each_piece(output, offset_bytes, length_bytes, |at, piece| {
        let known = &mut known[..piece.len()];
        staging.read_exact_at(known, at)?;
        is_equal &= known == piece;
        Ok(())
    })?;
    Ok(is_equal)
}

/// Length and digest of a part of a file.
pub(super) fn digest(file: &File, offset_bytes: u64, length_bytes: u64) -> io::Result<Staged> {
    if length_bytes == 0 {
        return Ok(Staged::default());
    }
    let mut digest = Xxh3::new();
    each_piece(file, offset_bytes, length_bytes, |_, piece| {
        digest.update(piece);
        Ok(())
    })?;
    Ok(Staged { bytes: length_bytes, digest: digest.digest() })
}

/// Copies a part of a file to the beginning of another.
pub(super) fn copy_part(from: &File, offset_bytes: u64, length_bytes: u64, to: &File) -> io::Result<()> {
    each_piece(from, offset_bytes, length_bytes, |at, piece| to.write_all_at(piece, at))
}

/// Reads a part of a file in pieces; `visit` gets each with its offset in the part.
fn each_piece(
    file: &File,
    offset_bytes: u64,
    length_bytes: u64,
    mut visit: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES.min(length_bytes as usize)];
    let mut at = 0;
    while at < length_bytes {
        let piece = &mut piece[..PIECE_BYTES.min((length_bytes - at) as usize)];
        file.read_exact_at(piece, offset_bytes + at)?;
        visit(at, piece)?;
        at += piece.len() as u64;
    }
    Ok(())
}

/// Whether a file has exactly these bytes; one that is not there has not.
fn has(path: &Path, staged: Staged) -> io::Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    Ok(file.metadata()?.len() == staged.bytes && digest(&file, 0, staged.bytes)? == staged)
}

fn remove_if_there(disk: &mut dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn folder(output: &Path) -> PathBuf {
    output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

fn stem(output: &Path) -> OsString {
    let mut stem = OsString::from(".");
    stem.push(output.file_name().unwrap_or_default());
    stem.push(".staging");
    stem
}

fn numbered(folder: &Path, stem: &OsString, n: CheckpointId) -> PathBuf {
    let mut name = stem.clone();
    name.push(format!("-{n}"));
    folder.join(name)
}
