//! A disk that fails on demand: a library that the host is started with, and that makes chosen system calls go wrong.
//!
//! Knows calls and paths, nothing of jobs. The library is `faulty_disk.c`, compiled once for each test binary. Next room:
//! [`crate::scene`].

use crate::scene::Scene;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use tempfile::TempDir;

/// The library's source.
const SOURCE: &str = include_str!("faulty_disk.c");

/// Which kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// `fsync`, `fdatasync`.
    Sync,
    /// `write`, `pwrite`.
    Write,
    /// `ftruncate`, `fallocate`.
    Resize,
}

/// What happens instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// It fails with this error number.
    Error(i32),
    /// Half of the bytes are written, and their number is returned.
    Short,
    /// Half of the bytes are written, and the process is killed.
    Torn,
    /// Nothing is written and all is said to be well; the next sync of the same files fails once with `EIO`, and the one
    /// after it is well again: what Linux does with pages that it could not write back.
    Lost,
    /// The call never returns.
    Hang,
}

/// A disk that fails: from one call on, for a number of calls.
#[derive(Debug, Clone, Copy)]
pub struct FaultyDisk {
    /// Which calls.
    pub call: Call,
    /// On files whose path contains this.
    pub path: &'static str,
    /// The first one that fails, counted from 1; 0 for none.
    pub at: usize,
    /// How many fail.
    pub times: usize,
    /// How.
    pub wrong: Wrong,
}

/// What a scene with a faulty disk has counted.
#[derive(Debug)]
pub struct Counted {
    log: PathBuf,
}

impl FaultyDisk {
    /// Every later run of the scene has this disk.
    ///
    /// # Panics
    /// If there is no C compiler.
    pub fn put_into(self, scene: &mut Scene) -> Counted {
        let log = scene.path("disk.log");
        let call = match self.call {
            Call::Sync => "sync",
            Call::Write => "write",
            Call::Resize => "resize",
        };
        let what = match self.wrong {
            Wrong::Error(number) => format!("errno:{number}"),
            Wrong::Short => "short".to_owned(),
            Wrong::Torn => "torn".to_owned(),
            Wrong::Lost => "lost".to_owned(),
            Wrong::Hang => "hang".to_owned(),
        };
        for (name, value) in [
            ("LD_PRELOAD", library().to_owned()),
            ("TIDEGATE_FAULT_CALL", call.into()),
            ("TIDEGATE_FAULT_PATH", self.path.into()),
            ("TIDEGATE_FAULT_AT", self.at.to_string().into()),
            ("TIDEGATE_FAULT_TIMES", self.times.to_string().into()),
            ("TIDEGATE_FAULT_WHAT", what.into()),
            ("TIDEGATE_FAULT_LOG", log.clone()),
        ] {
            scene.set_variable(name, Some(value));
        }
        Counted { log }
    }
}

impl Counted {
    /// How many calls there were, those that failed included.
    pub fn calls(&self) -> usize {
        self.text().len()
    }

    /// How many of them failed.
    pub fn failed(&self) -> usize {
        self.text().matches('X').count()
    }

    /// Later runs have a disk that is well.
    pub fn mend(&self, scene: &mut Scene) {
        scene.set_variable("LD_PRELOAD", None);
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// The library, compiled.
fn library() -> &'static PathBuf {
    static BUILT: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = BUILT.get_or_init(|| {
        let folder = TempDir::with_prefix("tidegate-disk-").expect("a temporary folder");
        let (source, library) = (folder.path().join("faulty_disk.c"), folder.path().join("faulty_disk.so"));
        fs::write(&source, SOURCE).expect("the source is written");
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl");
        let output =
            compiler.output().unwrap_or_else(|error| panic!("`cc` cannot be run: {error}; install a C compiler"));
        assert!(output.status.success(), "`cc` failed:\n{}", String::from_utf8_lossy(&output.stderr));
        (folder, library)
    });
    path
}
