//! What is wrong with an output and what can be done about it, for `tidegate state repair`.
//!
//! Looks without changing anything; what it changes it first sets aside. A person has chosen by then. Next rooms: [`super`],
//! which refuses such an output; [`crate::repair`].

use super::staging::{self, Staged, StagingFile};
use crate::checkpoint::record::SinkState;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// How an output stands to what a checkpoint says of it. All lengths in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// As the checkpoint left it, or as a crash while applying it did.
    Sound,
    /// What stands behind `cut` is not this job's.
    Foreign {
        /// Up to here it is this job's.
        cut: u64,
        /// Its length.
        length: u64,
    },
    /// It is shorter than the checkpoint left it.
    Short {
        /// What should be there.
        committed: u64,
        /// Its length.
        length: u64,
    },
    /// Decided lines were to be appended from a staging file that is gone.
    StagingGone {
        /// How many bytes are lost with it.
        lost: u64,
    },
    /// It is another file.
    Replaced {
        /// What should be there.
        committed: u64,
        /// The new file's length.
        length: u64,
    },
    /// There is no file.
    Gone {
        /// What should be there.
        committed: u64,
    },
}

/// Looks at an output. `None`: the state is not a file sink's.
pub fn look(path: &Path, state: &SinkState) -> io::Result<Option<Standing>> {
    let SinkState::File { device, inode, committed_bytes: from, staged_bytes, staged_digest, .. } = *state else {
        return Ok(None);
    };
    let to = from + staged_bytes;
    let staged = Staged { bytes: staged_bytes, digest: staged_digest };
    let staging = StagingFile::new(path).find(staged)?;
    // Lines that are still staged are appended later; all others must be in the output.
    let committed = if staging.is_some() { from } else { to };
    let output = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Some(Standing::Gone { committed })),
        output => output?,
    };
    let metadata = output.metadata()?;
    let length = metadata.len();
    if (metadata.dev(), metadata.ino()) != (device, inode) {
        return Ok(Some(Standing::Replaced { committed, length }));
    }
    if length < from {
        return Ok(Some(Standing::Short { committed, length }));
    }
    let ours = match &staging {
        Some(staging) if staging::begins_with(staging, &output, from, length.min(to) - from)? => to,
        Some(_) => from,
        None if length >= to && staging::digest(&output, from, staged_bytes)? == staged => to,
        None => return Ok(Some(Standing::StagingGone { lost: staged_bytes })),
    };
    Ok(Some(if length > ours { Standing::Foreign { cut: ours, length } } else { Standing::Sound }))
}

/// Copies what stands behind an offset into a file of its own beside the output, makes it durable, and then cuts the output.
/// Gives the new file. The output is locked meanwhile: nobody writes it.
pub fn set_aside(path: &Path, cut: u64, label: &str) -> io::Result<PathBuf> {
    let output = open_locked(path)?;
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".{label}"));
    let aside = PathBuf::from(aside);
    let copy = OpenOptions::new().write(true).create_new(true).open(&aside)?;
    let length = output.metadata()?.len();
    staging::copy_part(&output, cut, length.saturating_sub(cut), &copy)?;
    copy.sync_all()?;
    sync_folder(path)?;
    output.set_len(cut)?;
    output.sync_all()?;
    Ok(aside)
}

/// The state under which a job goes on with an output as it is; a file that is gone is made. Lines that are staged are still
/// appended. A last line without an end is set aside under the label, and told.
pub fn accept(path: &Path, state: &SinkState, label: &str) -> io::Result<(SinkState, Option<PathBuf>)> {
    drop(OpenOptions::new().write(true).create(true).truncate(false).open(path)?);
    let output = open_locked(path)?;
    let whole = whole_lines(&output)?;
    let length = output.metadata()?.len();
    let mut accepted = state.clone();
    let SinkState::File { device, inode, committed_bytes, staged_bytes, staged_digest, .. } = &mut accepted else {
        return Ok((accepted, None));
    };
    let staged = Staged { bytes: *staged_bytes, digest: *staged_digest };
    let from = *committed_bytes;
    let staging = StagingFile::new(path).find(staged)?;
    let metadata = output.metadata()?;
    (*device, *inode) = (metadata.dev(), metadata.ino());
    let (committed, staged) = match staging {
        // Part of the staged lines, or all, may be in it already.
        Some(staging)
            if length >= from
                && length <= from + staged.bytes
                && staging::begins_with(&staging, &output, from, length - from)? =>
        {
            return Ok((accepted, None));
        }
        Some(_) => (whole, staged),
        None => (whole, Staged::default()),
    };
    (*committed_bytes, *staged_bytes, *staged_digest) = (committed, staged.bytes, staged.digest);
    drop(output);
    let aside = if whole < length { Some(set_aside(path, whole, label)?) } else { None };
    Ok((accepted, aside))
}

/// The length up to the end of the last whole line.
fn whole_lines(output: &File) -> io::Result<u64> {
    const PIECE_BYTES: u64 = 64 * 1024;
    let mut end = output.metadata()?.len();
    while end > 0 {
        let start = end.saturating_sub(PIECE_BYTES);
        let mut piece = vec![0; (end - start) as usize];
        output.read_exact_at(&mut piece, start)?;
        if let Some(at) = piece.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

fn open_locked(path: &Path) -> io::Result<File> {
    let output = OpenOptions::new().read(true).write(true).open(path)?;
    output.try_lock().map_err(|_| io::Error::new(ErrorKind::WouldBlock, "another process writes the file; stop it"))?;
    Ok(output)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::{Standing, accept, look, set_aside};
    use crate::checkpoint::record::SinkState;
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;
    use xxhash_rust::xxh3::xxh3_64;

    /// An output of ten bytes, `committed` of them from before the checkpoint, and what it staged.
    fn state(path: &Path, committed: u64, staged: &[u8]) -> SinkState {
        let metadata = path.metadata().expect("the file is there");
        SinkState::File {
            sink: "out".to_owned(),
            path: path.display().to_string(),
            device: metadata.dev(),
            inode: metadata.ino(),
            committed_bytes: committed,
            staged_bytes: staged.len() as u64,
            staged_digest: if staged.is_empty() { 0 } else { xxh3_64(staged) },
        }
    }

    fn standing(path: &Path, state: &SinkState) -> Standing {
        look(path, state).expect("it can be read").expect("it is a file sink's")
    }

    #[test]
    fn each_way_of_being_wrong_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out.jsonl");
        let write = |text: &str| fs::write(&path, text).expect("the file is written");
        write("one\n");
        let nothing_staged = state(&path, 4, b"");
        let two_staged = state(&path, 4, b"two\n");
        assert_eq!(standing(&path, &nothing_staged), Standing::Sound);
        assert_eq!(standing(&path, &two_staged), Standing::StagingGone { lost: 4 });
        write("on");
        assert_eq!(standing(&path, &two_staged), Standing::Short { committed: 8, length: 2 }, "it was appended");
        write("one\nxxx\n");
        assert_eq!(standing(&path, &nothing_staged), Standing::Foreign { cut: 4, length: 8 });
        assert_eq!(standing(&path, &two_staged), Standing::StagingGone { lost: 4 });
        write("one\ntwo\nthree\n");
        assert_eq!(standing(&path, &two_staged), Standing::Foreign { cut: 8, length: 14 });
        fs::write(folder.path().join(".out.jsonl.staging-7"), "two\n").expect("the file is written");
        assert_eq!(standing(&path, &two_staged), Standing::Foreign { cut: 8, length: 14 });
        write("one\nxxx\n");
        assert_eq!(standing(&path, &two_staged), Standing::Foreign { cut: 4, length: 8 });
        write("one\ntw");
        assert_eq!(standing(&path, &two_staged), Standing::Sound, "a crash while it was appended");
        write("on");
        assert_eq!(standing(&path, &two_staged), Standing::Short { committed: 4, length: 2 });
        fs::rename(&path, folder.path().join("kept")).expect("the file is moved");
        assert_eq!(standing(&path, &two_staged), Standing::Gone { committed: 4 });
        write("other\n");
        assert_eq!(standing(&path, &two_staged), Standing::Replaced { committed: 4, length: 6 });
    }

    #[test]
    fn what_is_cut_stands_in_a_file_of_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out.jsonl");
        fs::write(&path, "one\nforeign\n").expect("the file is written");
        let aside = set_aside(&path, 4, "aside").expect("it is set aside");
        assert_eq!(fs::read_to_string(&path).expect("it is read"), "one\n");
        assert_eq!(fs::read_to_string(aside).expect("it is read"), "foreign\n");
        set_aside(&path, 0, "aside").expect_err("a file that is there is never written over");
        assert_eq!(fs::read_to_string(&path).expect("it is read"), "one\n");
    }

    #[test]
    fn an_output_is_accepted_as_it_is_and_staged_lines_still_come() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out.jsonl");
        fs::write(&path, "one\n").expect("the file is written");
        let before = state(&path, 9, b"two\n");
        fs::write(folder.path().join(".out.jsonl.staging-7"), "two\n").expect("the file is written");
        fs::write(&path, "one\nhal").expect("the file is written");
        let (accepted, aside) = accept(&path, &before, "aside").expect("it is accepted");
        assert_eq!(accepted, state(&path, 4, b"two\n"));
        assert_eq!(fs::read_to_string(aside.expect("a cut line")).expect("it is read"), "hal");
        assert_eq!(standing(&path, &accepted), Standing::Sound);
        fs::remove_file(folder.path().join(".out.jsonl.staging-7")).expect("it is there");
        fs::remove_file(&path).expect("it is there");
        let (accepted, _) = accept(&path, &before, "again").expect("it is accepted");
        assert_eq!(accepted, state(&path, 0, b""));
    }
}
