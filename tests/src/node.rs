//! One Kafka process and its folder: formats the storage, starts, stops, kills, pauses and reads the log.
//!
//! Knows no listener and no role: those are lines of the properties it is given. Every start is awaited with a deadline.
//! Next rooms: [`crate::broker`] (one node), [`crate::cluster`] (several).

use crate::broker::TransactionVersion;
use crate::java::{java, spawn_bound_to_this_process, tail};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a broker may take to listen. It takes 3 s on an idle machine; a loaded one gets the rest.
const START_DEADLINE: Duration = Duration::from_secs(90);
/// Ports are taken from here up to [`PORT_END`]: below the range from which the system gives clients theirs.
const PORT_START: u16 = 20_000;
const PORT_END: u16 = 32_000;

/// What every test broker has in common: small internal topics, no waiting for groups.
pub(crate) const FIXED_PROPERTIES: [(&str, &str); 15] = [
    ("controller.listener.names", "CONTROLLER"),
    ("inter.broker.listener.name", "PLAIN"),
    ("auto.create.topics.enable", "false"),
    ("default.replication.factor", "1"),
    ("offsets.topic.num.partitions", "2"),
    ("transaction.state.log.num.partitions", "1"),
    ("group.initial.rebalance.delay.ms", "0"),
    // Tests write records with timestamps of years ago, and a topic's age limit would delete them during the test.
    ("log.retention.ms", "-1"),
    ("num.network.threads", "2"),
    ("num.io.threads", "4"),
    ("background.threads", "2"),
    ("num.recovery.threads.per.data.dir", "1"),
    // Compaction is part of what the marker topic has to survive, so the cleaner looks often.
    ("log.cleaner.threads", "1"),
    ("log.cleaner.backoff.ms", "500"),
    ("log.cleaner.dedupe.buffer.size", "8388608"),
];

/// A Kafka process. Dropping it kills the process and removes its folder.
#[derive(Debug)]
pub(crate) struct Node {
    folder: TempDir,
    /// Where it listens once it is started.
    port: u16,
    process: Mutex<Option<Child>>,
    lives: AtomicU16,
}

impl Node {
    /// A folder for a process that will listen on the port.
    pub(crate) fn new(port: u16) -> Node {
        let folder = TempDir::with_prefix("tidegate-broker-").expect("a temporary folder");
        Node { folder, port, process: Mutex::new(None), lives: AtomicU16::new(0) }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes `server.properties` and formats the storage.
    pub(crate) fn format(&self, cluster: &str, lines: &[(&str, String)], version: TransactionVersion, more: &[String]) {
        let properties = self.path("server.properties");
        let mut text = String::new();
        for (name, value) in lines {
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "{name}={value}");
        }
        fs::write(&properties, text).expect("the temporary folder can be written");
        let log = self.path("format.log");
        let feature = match version {
            TransactionVersion::V0 => "transaction.version=0",
            TransactionVersion::V2 => "transaction.version=2",
        };
        let tool =
            ["-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool", "format", "--cluster-id", cluster, "--config"];
        let status = java(&log).args(tool).arg(&properties).args(["--feature", feature]).args(more).status();
        let status = status.unwrap_or_else(|error| panic!("`java` cannot be run: {error}; install Java 17"));
        assert!(status.success(), "formatting the broker's storage failed:\n{}", tail(&log));
    }

    /// Starts the process and waits until it answers; the error is the end of its log.
    pub(crate) fn try_run(&self) -> Result<(), String> {
        self.spawn()?;
        self.wait_answer()
    }

    /// Starts the process.
    pub(crate) fn spawn(&self) -> Result<(), String> {
        self.lives.fetch_add(1, Ordering::Relaxed);
        let mut command = java(&self.log());
        command.args(["-Xmx384m", "-Xms128m", "-XX:+UseSerialGC", "kafka.Kafka"]).arg(self.path("server.properties"));
        *self.process() = Some(spawn_bound_to_this_process(command).map_err(|error| format!("`java`: {error}"))?);
        Ok(())
    }

    /// Waits until the process answers; the error is the end of its log.
    pub(crate) fn wait_answer(&self) -> Result<(), String> {
        let deadline = Instant::now() + START_DEADLINE;
        while !self.answers() {
            let exited = self.process().as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)));
            if exited || Instant::now() > deadline {
                self.kill();
                return Err(tail(&self.log()));
            }
            thread::sleep(Duration::from_millis(25));
        }
        Ok(())
    }

    /// Starts it again on the same folder and port.
    ///
    /// # Panics
    ///
    /// When it does not answer in time.
    pub(crate) fn restart(&self) {
        self.kill();
        if let Err(log) = self.try_run() {
            panic!("the broker did not start again; the end of its log:\n{log}");
        }
    }

    /// Ends the process at once, as `kill -9` does. Its folder stays.
    pub(crate) fn kill(&self) {
        if let Some(mut child) = self.process().take() {
            // Both fail only for a process that is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Whether the process runs (a paused one does).
    pub(crate) fn is_running(&self) -> bool {
        self.process().is_some()
    }

    pub(crate) fn signal(&self, signal: libc::c_int) {
        let process = self.process();
        let child = process.as_ref().expect("only a running broker is paused or resumed");
        // SAFETY: `kill` has no memory contract; the child was not awaited, so the id is still its own.
        let sent = unsafe { libc::kill(child.id() as libc::pid_t, signal) };
        assert_eq!(sent, 0, "signal {signal} could not be sent: {}", io::Error::last_os_error());
    }

    /// The last lines of the current life's log.
    pub(crate) fn log_tail(&self) -> String {
        tail(&self.log())
    }

    /// The log of the current life: each start has a file of its own, so that no line of an earlier one is believed.
    fn log(&self) -> PathBuf {
        self.path(&format!("broker-{}.log", self.lives.load(Ordering::Relaxed)))
    }

    /// Whether the broker answers requests: it listens before it is registered, so a connection alone says little.
    fn answers(&self) -> bool {
        TcpStream::connect(("127.0.0.1", self.port)).is_ok()
            && fs::read_to_string(self.log()).is_ok_and(|log| log.contains("Kafka Server started"))
    }

    fn process(&self) -> MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that is free now. Processes begin at different places and go on from there, so two rarely meet.
pub(crate) fn free_port() -> u16 {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let span = PORT_END - PORT_START;
    let next = NEXT.get_or_init(|| AtomicU16::new((std::process::id().wrapping_mul(61) % u32::from(span)) as u16));
    for _ in 0..span {
        let port = PORT_START + next.fetch_add(1, Ordering::Relaxed) % span;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port between {PORT_START} and {PORT_END} is free");
}
