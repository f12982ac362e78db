//! Every system call of the file sink that changes something, so that a test can end a process between any two.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What changes files.
pub(super) trait Disk: Send {
    /// Makes an empty file; an old one of this name is emptied.
    fn create(&mut self, path: &Path) -> io::Result<File>;
    /// Writes all bytes at an offset.
    fn write_at(&mut self, file: &File, bytes: &[u8], offset_bytes: u64) -> io::Result<()>;
    /// Makes a file's bytes and length durable.
    fn sync(&mut self, file: &File) -> io::Result<()>;
    /// Makes a folder's names durable.
    fn sync_folder(&mut self, folder: &Path) -> io::Result<()>;
    /// Gives a file another name.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&mut self, path: &Path) -> io::Result<()>;
}

/// The disk.
pub(super) struct RealDisk;

impl Disk for RealDisk {
    fn create(&mut self, path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).create(true).truncate(true).open(path)
    }

    fn write_at(&mut self, file: &File, bytes: &[u8], offset_bytes: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset_bytes)
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_folder(&mut self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}
