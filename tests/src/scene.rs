//! A scene: a folder with a job in it, and the host run on it, to its end or to a kill at a named moment.
//!
//! It runs the host as a process of its own, so a kill is a kill. Knows nothing of what a job should give; the tests judge.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A run that takes longer hangs.
const RUN_MAX: Duration = Duration::from_mins(2);

/// A job's folder.
#[derive(Debug)]
pub struct Scene {
    folder: TempDir,
    program: PathBuf,
}

/// How a run ended and what it said.
#[derive(Debug)]
pub struct Run {
    /// The end.
    pub status: ExitStatus,
    /// All that it logged.
    pub log: String,
}

impl Run {
    /// Whether it was ended by SIGKILL.
    pub fn was_killed(&self) -> bool {
        self.status.signal() == Some(libc::SIGKILL)
    }

    /// Fails the test unless the run ended with 0.
    ///
    /// # Panics
    /// With the run's log, if it did not.
    pub fn expect_success(&self, what: &str) {
        assert!(self.status.success(), "{what}: {:?}\n{}", self.status, self.log);
    }
}

/// Where the built plugin of this name is.
///
/// # Panics
/// If it was not built.
pub fn plugin(name: &str) -> PathBuf {
    let folder = std::env::var_os("TIDEGATE_TEST_PLUGINS").map_or_else(xtask::places::plugins, PathBuf::from);
    let path = folder.join(format!("{name}.wasm"));
    assert!(path.exists(), "plugin `{}` is missing; `cargo xtask test` builds it", path.display());
    path
}

impl Scene {
    /// An empty folder. `program` is the probed host of the calling test binary: `env!("CARGO_BIN_EXE_tidegate-probed")`.
    ///
    /// # Panics
    /// If there is no room for a temporary folder.
    pub fn new(program: &str) -> Scene {
        let folder = tempfile::Builder::new().prefix("tidegate-scene").tempdir().expect("a temporary folder");
        Scene { folder, program: program.into() }
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes the job file.
    ///
    /// # Panics
    /// If that fails.
    pub fn write_job(&self, text: &str) {
        fs::write(self.path("job.toml"), text).expect("the job file is written");
    }

    /// Runs the job to its end.
    pub fn run(&self) -> Run {
        self.run_with(None, &[])
    }

    /// Runs the job until the moment is reached for the n-th time (`moment:n`), or to its end if it never is.
    pub fn run_and_kill(&self, at: &str) -> Run {
        self.run_with(Some(at), &[])
    }

    /// Runs the job with more arguments.
    ///
    /// # Panics
    /// If the host cannot be started, or runs for longer than two minutes.
    pub fn run_with(&self, kill_at: Option<&str>, arguments: &[&str]) -> Run {
        let log = self.path("host.log");
        let file = fs::File::create(&log).expect("the log is written");
        let mut command = Command::new(&self.program);
        command.arg("run").arg(self.path("job.toml")).args(arguments).stdin(Stdio::null());
        command.stdout(file.try_clone().expect("a second handle of the log")).stderr(file);
        // The numbers of a run's end are debug events.
        command.env("TIDEGATE_LOG", "tidegate::job=debug,info");
        if let Some(at) = kill_at {
            command.env("TIDEGATE_KILL_AT", at);
        }
        let mut child = command.spawn().expect("the host starts");
        let until = Instant::now() + RUN_MAX;
        loop {
            if let Some(status) = child.try_wait().expect("the host is our child") {
                return Run { status, log: fs::read_to_string(&log).unwrap_or_default() };
            }
            if Instant::now() > until {
                let _ = child.kill();
                let _ = child.wait();
                panic!("the host hangs:\n{}", fs::read_to_string(&log).unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
