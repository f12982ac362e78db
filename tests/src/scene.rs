//! A scene: a folder with a job in it, and the host run on it, to its end or to a kill at a named moment.
//!
//! It runs the host as a process of its own, so a kill is a kill. Knows nothing of what a job should give; the tests judge.

use crate::java::{end_with_parent, spawn_bound_to_this_process};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A run that takes longer hangs.
const RUN_MAX: Duration = Duration::from_mins(2);

/// A job's folder.
#[derive(Debug)]
pub struct Scene {
    folder: PathBuf,
    /// Removes the folder with the scene, if it is a temporary one.
    _temporary: Option<TempDir>,
    program: PathBuf,
    /// The command and its first arguments that start the host; empty: the host itself.
    launcher: Vec<String>,
    /// Variables that are set, or, without a value, not there.
    environment: Vec<(&'static str, Option<PathBuf>)>,
    /// Counts runs: each has its own log.
    runs: AtomicUsize,
}

/// A host that runs; it is killed if nobody waits for its end.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
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
    /// Fails the test unless the run ended with this exit code and said all of this.
    ///
    /// # Panics
    /// With the run's log, if it did not.
    pub fn expect_refusal(&self, what: &str, code: i32, said: &[&str]) {
        assert_eq!(self.status.code(), Some(code), "{what}: {:?}\n{}", self.status, self.log);
        if code == i32::from(tidegate::error::EXIT_STOP) {
            let is_named = tidegate::stops::Stop::ALL.iter().any(|stop| self.log.contains(stop.code()));
            assert!(is_named, "{what}: no stop of `host/STOPS.md` is named in\n{}", self.log);
        }
        for words in said {
            assert!(self.log.contains(words), "{what}: `{words}` is not said in\n{}", self.log);
        }
    }

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
        let scene = Scene::kept(program, folder.path());
        Scene { _temporary: Some(folder), ..scene }
    }

    /// A scene in a folder that is there and stays.
    pub fn kept(program: &str, folder: &Path) -> Scene {
        Scene {
            folder: folder.to_owned(),
            _temporary: None,
            program: program.into(),
            launcher: Vec::new(),
            environment: Vec::new(),
            runs: AtomicUsize::new(0),
        }
    }

    /// From now on the host is started through this command, which must become the host (`exec`) so that signals reach it.
    pub fn launch_through(&mut self, launcher: Vec<String>) {
        self.launcher = launcher;
    }

    /// From now on the host finds this variable to be a path, or not set.
    pub fn set_variable(&mut self, name: &'static str, value: Option<PathBuf>) {
        self.environment.push((name, value));
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
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

    /// Starts the job; it stops (SIGSTOP) when the moment is reached for the n-th time (`moment:n`). Wait for that with
    /// [`Running::wait_stopped`].
    pub fn start_and_stop(&self, at: &str) -> Running {
        self.spawn(&["run"], &[("TIDEGATE_STOP_AT", at)], &[])
    }

    /// Runs `tidegate state repair` on the job with more arguments. Nothing is typed: standard input is at its end.
    pub fn repair(&self, arguments: &[&str]) -> Run {
        self.spawn(&["state", "repair"], &[], arguments).wait()
    }

    /// Runs the job with more arguments.
    ///
    /// # Panics
    /// If the host cannot be started, or runs for longer than two minutes.
    pub fn run_with(&self, kill_at: Option<&str>, arguments: &[&str]) -> Run {
        self.start(kill_at, arguments).wait()
    }

    /// Starts the job and lets it run.
    ///
    /// # Panics
    /// If the host cannot be started.
    pub fn start(&self, kill_at: Option<&str>, arguments: &[&str]) -> Running {
        let kill_at: Vec<(&str, &str)> = kill_at.iter().map(|at| ("TIDEGATE_KILL_AT", *at)).collect();
        self.start_with(&kill_at, arguments)
    }

    /// Starts the job with variables that win over the scene's.
    pub(crate) fn start_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Running {
        self.spawn(&["run"], variables, arguments)
    }

    fn spawn(&self, words: &[&str], variables: &[(&str, &str)], arguments: &[&str]) -> Running {
        let log = self.path(&format!("host-{}.log", self.runs.fetch_add(1, Ordering::Relaxed)));
        let file = fs::File::create(&log).expect("the log is written");
        let mut command = match self.launcher.split_first() {
            None => Command::new(&self.program),
            Some((first, more)) => {
                let mut command = Command::new(first);
                command.args(more).arg(&self.program);
                command
            }
        };
        command.args(words).arg(self.path("job.toml")).args(arguments).stdin(Stdio::null());
        command.stdout(file.try_clone().expect("a second handle of the log")).stderr(file);
        end_with_parent(&mut command);
        // The numbers of a run's end are debug events.
        command.env("TIDEGATE_LOG", "tidegate::job=debug,info");
        for (name, value) in &self.environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.envs(variables.iter().copied());
        Running { child: spawn_bound_to_this_process(command).expect("the host starts"), log }
    }
}

impl Running {
    /// What it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Where it logs to.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// How it ended, if it has.
    ///
    /// # Panics
    /// If the system does not know the process.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the host is our child")
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// If the host has ended and was waited for.
    pub fn signal(&self, signal: i32) {
        let process = i32::try_from(self.child.id()).expect("process numbers fit");
        // SAFETY: a plain system call; the process is our child and was not waited for, so its number is its own.
        let sent = unsafe { libc::kill(process, signal) };
        assert_eq!(sent, 0, "the host takes signal {signal}");
    }

    /// Waits until the condition holds.
    ///
    /// # Panics
    /// If the host ends before, or it takes too long.
    pub fn wait_until(&mut self, what: &str, mut condition: impl FnMut(&Running) -> bool) {
        let until = Instant::now() + RUN_MAX;
        while !condition(self) {
            let ended = self.child.try_wait().expect("the host is our child");
            assert!(ended.is_none(), "the host ended before {what}: {ended:?}\n{}", self.log());
            assert!(Instant::now() < until, "the host never came to {what}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Lets a stopped host go on, and returns when it does.
    ///
    /// # Panics
    /// If it was not stopped.
    pub fn go_on(&self) {
        assert!(self.is_stopped(), "the host is not stopped:\n{}", self.log());
        self.signal(libc::SIGCONT);
        // The signal is acted on before `kill` returns or very soon after.
        while self.is_stopped() {
            std::thread::yield_now();
        }
    }

    fn is_stopped(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T'))
    }

    /// Waits until it has stopped (SIGSTOP), by itself or by a signal.
    ///
    /// # Panics
    /// If it ends before, or it takes too long.
    pub fn wait_stopped(&mut self) {
        self.wait_until("its stop", Running::is_stopped);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it runs for longer than two minutes.
    pub fn wait(self) -> Run {
        self.wait_within(RUN_MAX)
    }

    /// Waits for its end, for a time of the caller's.
    ///
    /// # Panics
    /// If it runs for longer.
    pub fn wait_within(mut self, longest: Duration) -> Run {
        let until = Instant::now() + longest;
        loop {
            if let Some(status) = self.child.try_wait().expect("the host is our child") {
                return Run { status, log: self.log() };
            }
            assert!(Instant::now() < until, "the host hangs:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, unless a test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
