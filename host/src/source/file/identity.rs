//! What a file is known by, so that another one in its place is noticed: inode and a digest of the first bytes.
//!
//! The device is kept too, but it alone decides nothing: its number may change when the machine starts again. Next room:
//! [`super`], which compares.

use crate::checkpoint::record::Position;
use crate::hash::digest;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// How many first bytes the digest covers at most.
const HEAD_BYTES_MAX: u64 = 4096;

/// What a file is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) path: String,
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) head_digest: u64,
    pub(super) head_bytes: u32,
}

/// How a file differs from what a position says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Difference {
    /// There is no file.
    #[error("`{path}` is gone")]
    Missing {
        /// The file.
        path: String,
    },
    /// It is shorter than what was read.
    #[error("`{path}` shrank: {offset} bytes of it were read, and it has {bytes}")]
    Shrunk {
        /// The file.
        path: String,
        /// How much was read.
        offset: u64,
        /// Its length.
        bytes: u64,
    },
    /// Another file has its name.
    #[error("`{path}` was replaced: it is another file than the one that was read (inode {found}, not {inode})")]
    Replaced {
        /// The file.
        path: String,
        /// The one that was read.
        inode: u64,
        /// The one that is there.
        found: u64,
    },
    /// It begins with other bytes.
    #[error("`{path}` was written anew: its first {bytes} bytes are not those that were read")]
    Rewritten {
        /// The file.
        path: String,
        /// How many first bytes were compared.
        bytes: u32,
    },
    /// It went on in the middle of what was its last line.
    #[error("`{path}` grew inside the line that was its last one and was read without a line end, at byte {offset}")]
    Continued {
        /// The file.
        path: String,
        /// Where the line ended.
        offset: u64,
    },
}

impl Identity {
    /// Looks at a file for the first time.
    pub(super) fn observe(path: &str) -> io::Result<Identity> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let mut head = Vec::new();
        file.take(metadata.len().min(HEAD_BYTES_MAX)).read_to_end(&mut head)?;
        Ok(Identity {
            path: path.to_owned(),
            device: metadata.dev(),
            inode: metadata.ino(),
            head_digest: digest(&head),
            head_bytes: head.len() as u32,
        })
    }

    /// The identity and the offset in a position; `None` if it is not a file's.
    pub(super) fn of(position: &Position) -> Option<(Identity, u64)> {
        let Position::File { path, device, inode, head_digest, head_bytes, offset } = position else { return None };
        let identity = Identity {
            path: path.clone(),
            device: *device,
            inode: *inode,
            head_digest: *head_digest,
            head_bytes: *head_bytes,
        };
        Some((identity, *offset))
    }

    /// The position in this file at an offset.
    pub(super) fn at(&self, offset: u64) -> Position {
        Position::File {
            path: self.path.clone(),
            device: self.device,
            inode: self.inode,
            head_digest: self.head_digest,
            head_bytes: self.head_bytes,
            offset,
        }
    }

    /// Opens the file and compares everything: the length, the inode, the first bytes, and that the offset is where a line
    /// begins. Gives the open file and its length.
    pub(super) fn open(&self, offset: u64) -> io::Result<Result<(File, u64), Difference>> {
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Err(self.missing())),
            file => file?,
        };
        let metadata = file.metadata()?;
        if let Err(difference) = self.compare(metadata.ino(), metadata.len(), offset) {
            return Ok(Err(difference));
        }
        let mut head = vec![0; self.head_bytes as usize];
        if metadata.len() < head.len() as u64
            || file.read_exact_at(&mut head, 0).is_err()
            || digest(&head) != self.head_digest
        {
            return Ok(Err(Difference::Rewritten { path: self.path.clone(), bytes: self.head_bytes }));
        }
        if offset > 0 && offset < metadata.len() {
            let mut around = [0; 2];
            file.read_exact_at(&mut around, offset - 1)?;
            // The second case: the last line had no line end when it was read, and has got one since.
            if around[0] != b'\n' && !matches!(around[1], b'\n' | b'\r') {
                return Ok(Err(Difference::Continued { path: self.path.clone(), offset }));
            }
        }
        Ok(Ok((file, metadata.len())))
    }

    /// Compares what costs one system call: the inode and the length.
    pub(super) fn verify(&self, offset: u64) -> io::Result<Result<(), Difference>> {
        match std::fs::metadata(Path::new(&self.path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Err(self.missing())),
            metadata => {
                let metadata = metadata?;
                Ok(self.compare(metadata.ino(), metadata.len(), offset))
            }
        }
    }

    fn missing(&self) -> Difference {
        Difference::Missing { path: self.path.clone() }
    }

    fn compare(&self, inode: u64, bytes: u64, offset: u64) -> Result<(), Difference> {
        if inode != self.inode {
            return Err(Difference::Replaced { path: self.path.clone(), inode: self.inode, found: inode });
        }
        if bytes < offset {
            return Err(Difference::Shrunk { path: self.path.clone(), offset, bytes });
        }
        Ok(())
    }
}
