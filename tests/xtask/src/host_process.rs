//! A host under watch: started with a job file, read line by line, killed or waited for.
//!
//! Owns the process: it never outlives this value. Knows the log's events, nothing of what the job does. Next room: `crash`,
//! which decides when to kill.

use crate::events::Event;
use crate::failure::{Doing, Failure, Outcome};
use crate::usage::{self, PeakMemory};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Lines between the readers and us; a host that logs faster waits for us.
const LINES_WAITING: usize = 1024;
/// How much of the log an error shows.
const TAIL_LINES: usize = 20;

/// Which host to run on which job.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The host's program.
    pub program: PathBuf,
    /// The job file; the host runs in its folder.
    pub job: PathBuf,
    /// Where everything that the host prints is kept, one life after the other.
    pub log: PathBuf,
}

/// A running host.
#[derive(Debug)]
pub struct HostProcess {
    child: Child,
    lines: Receiver<Line>,
    log: File,
    tail: VecDeque<String>,
    began: Instant,
    memory: PeakMemory,
}

/// An event and when it was read.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The event.
    pub event: Event,
    /// When its line arrived here.
    pub at: Instant,
}

/// A host's end.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// When.
    pub at: Instant,
    /// CPU time of its whole life, user and system, in seconds.
    pub cpu_seconds: f64,
    /// Its largest resident size, in bytes.
    pub peak_memory_bytes: u64,
}

#[derive(Debug)]
struct Line {
    text: String,
    at: Instant,
}

impl HostProcess {
    /// Starts the host on its job, with JSON logs.
    ///
    /// # Errors
    /// If the program cannot be started or the log file not written.
    pub fn start(launch: &Launch) -> Outcome<HostProcess> {
        let log = OpenOptions::new().create(true).append(true).open(&launch.log).at("write", &launch.log)?;
        let mut command = Command::new(&launch.program);
        command.arg("run").arg(&launch.job).args(["--log", "json"]);
        command.current_dir(launch.job.parent().unwrap_or(Path::new(".")));
        let began = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .at("start", &launch.program)?;
        let (sender, lines) = sync_channel(LINES_WAITING);
        let stdout = child.stdout.take().expect("standard output was asked for");
        let stderr = child.stderr.take().expect("standard error was asked for");
        let other = sender.clone();
        thread::spawn(move || forward(stdout, &sender));
        thread::spawn(move || forward(stderr, &other));
        let memory = PeakMemory::follow(child.id());
        Ok(HostProcess { child, lines, log, tail: VecDeque::new(), began, memory })
    }

    /// When it was started.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Its CPU time so far, in seconds; `None` if it is gone.
    pub fn cpu_seconds(&self) -> Option<f64> {
        usage::cpu_seconds(self.child.id())
    }

    /// Waits for the next event; `None`: the host has closed its outputs, which it does when it ends.
    ///
    /// # Errors
    /// If nothing at all is printed for `patience`.
    pub fn next_event(&mut self, patience: Duration) -> Outcome<Option<Seen>> {
        loop {
            match self.lines.recv_timeout(patience) {
                Ok(line) => {
                    if let Some(seen) = self.keep(line)? {
                        return Ok(Some(seen));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(self.complaint(&format!("the host has printed nothing for {} s", patience.as_secs())));
                }
            }
        }
    }

    /// Kills the host with SIGKILL and gives back the events that it had logged but we had not read.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn kill(mut self) -> Outcome<Vec<Seen>> {
        self.child.kill().doing("kill the host")?;
        let mut rest = Vec::new();
        while let Ok(line) = self.lines.recv() {
            rest.extend(self.keep(line)?);
        }
        self.child.wait().doing("wait for the host")?;
        Ok(rest)
    }

    /// Waits for a host whose outputs are closed, and says what it used.
    ///
    /// # Errors
    /// If it does not end with success; the end of its log is in the text.
    pub fn finish(mut self, patience: Duration) -> Outcome<Ended> {
        let deadline = Instant::now() + patience;
        while !usage::has_ended(self.child.id()) {
            if Instant::now() >= deadline {
                return Err(self.complaint("the host has closed its outputs and does not end"));
            }
            thread::sleep(Duration::from_millis(1));
        }
        let at = Instant::now();
        // Before the wait, which lets the numbers go.
        let cpu_seconds = usage::cpu_seconds(self.child.id()).unwrap_or_default();
        let status = self.child.wait().doing("wait for the host")?;
        if !status.success() {
            return Err(self.complaint(&format!("the host ended with {status}")));
        }
        Ok(Ended { status, at, cpu_seconds, peak_memory_bytes: self.memory.bytes() })
    }

    /// A failure with the end of the log.
    pub fn complaint(&self, what: &str) -> Failure {
        let tail: Vec<&str> = self.tail.iter().map(String::as_str).collect();
        Failure::Job(format!("{what}; the end of its log:\n{}", tail.join("\n")))
    }

    fn keep(&mut self, line: Line) -> Outcome<Option<Seen>> {
        writeln!(self.log, "{}", line.text).doing("write the host's log")?;
        let event = Event::parse(&line.text);
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(line.text);
        Ok(event.map(|event| Seen { event, at: line.at }))
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        // Both fail when the host has been waited for already, and then there is nothing left to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn forward(output: impl Read, lines: &SyncSender<Line>) {
    for text in BufReader::new(output).split(b'\n') {
        let Ok(text) = text else { return };
        let line = Line { text: String::from_utf8_lossy(&text).into_owned(), at: Instant::now() };
        if lines.send(line).is_err() {
            return;
        }
    }
}
