//! A small disk: a tmpfs of so many bytes, mounted where only the processes that a test starts in it see it.
//!
//! Needs root, or user namespaces that anybody may make; where there is neither the test fails and says so. The disk lives as
//! long as its holder, a process in a mount namespace of its own. Next room: [`crate::scene`].

use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A mounted disk.
#[derive(Debug)]
pub struct SmallDisk {
    holder: Child,
    folder: PathBuf,
    is_root: bool,
}

impl SmallDisk {
    /// Mounts one at a folder that exists.
    ///
    /// # Panics
    /// If this machine lets nobody mount one.
    pub fn mount(folder: &Path, bytes: usize) -> SmallDisk {
        let is_root = is_root();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private"]);
        if !is_root {
            command.args(["--user", "--map-root-user"]);
        }
        let script = "mount -t tmpfs -o size=\"$1\" none \"$0\" && echo mounted && exec cat";
        command.args(["sh", "-c", script]).arg(folder).arg(bytes.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = command.spawn().unwrap_or_else(|error| panic!("`unshare` cannot be run: {error}"));
        let mut line = String::new();
        let said = BufReader::new(holder.stdout.take().expect("it is piped")).read_line(&mut line);
        assert!(
            said.is_ok() && line == "mounted\n",
            "no small disk could be mounted (what `unshare` and `mount` said is above): run the tests as root, or let users \
             make user namespaces"
        );
        SmallDisk { holder, folder: folder.to_owned(), is_root }
    }

    /// What a process must be started through to see the disk.
    pub fn launcher(&self) -> Vec<String> {
        let mut launcher: Vec<String> =
            ["nsenter", "--target", &self.holder.id().to_string(), "--mount"].map(str::to_owned).to_vec();
        if !self.is_root {
            launcher.extend(["--user", "--preserve-credentials"].map(str::to_owned));
        }
        launcher
    }

    /// Where the test itself finds a file of the disk.
    pub fn path(&self, name: &str) -> PathBuf {
        let folder = self.folder.strip_prefix("/").unwrap_or(&self.folder);
        PathBuf::from(format!("/proc/{}/root", self.holder.id())).join(folder).join(name)
    }

    /// Writes to a file until the disk is full.
    ///
    /// # Panics
    /// If it cannot be written at all.
    pub fn fill(&self) {
        use std::io::Write as _;
        let mut file = std::fs::File::create(self.path("filler")).expect("the small disk can be written");
        while file.write_all(&[1; 4096]).is_ok() {}
    }

    /// Gives back what [`SmallDisk::fill`] took.
    ///
    /// # Panics
    /// If it took nothing.
    pub fn free(&self) {
        std::fs::remove_file(self.path("filler")).expect("the filler is there");
    }
}

/// Whether the tests run as root, whom neither mounts nor permissions stop.
///
/// # Panics
/// If the system has no `/proc`.
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").expect("a process sees itself").uid() == 0
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The namespace goes with its last process, and the disk with it.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
