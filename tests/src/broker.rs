//! A real Apache Kafka for the tests: one process in `KRaft` mode, in a temporary folder, gone with the test.
//!
//! Knows how to start, pause and kill a broker and which addresses it has; what is written and read is `judge`'s. Every
//! start is awaited with a deadline, and a broker that does not come is a panic with the tail of its log: a test that
//! cannot get its broker fails. Next room: [`crate::proxied`].

use crate::judge::Judge;
use crate::node::{FIXED_PROPERTIES, Node, free_port};
use crate::proxied::{Listener, Misadvertised, Proxies, ProxyLease};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Once, OnceLock, PoisonError};

mod secured;

pub use secured::{SCRAM_MECHANISMS, SCRAM_PASSWORD, SCRAM_USER};

/// How often a start is repeated when another process took one of the ports in between.
const STARTS_MAX: usize = 3;
/// The user name that the listener of [`Broker::sasl_address`] lets in.
pub const SASL_USER: &str = "tidegate";
/// The password that goes with [`SASL_USER`].
pub const SASL_PASSWORD: &str = "not-a-secret";

/// The broker's `transaction.version` feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionVersion {
    /// As brokers before 4.0 behave.
    V0,
    /// The default of Kafka 4.
    V2,
}

/// What kind of broker to start.
#[derive(Debug, Clone)]
pub struct Options {
    /// The `transaction.version` that its storage is formatted with.
    pub transaction_version: TransactionVersion,
    /// Partitions of a topic that is made without saying how many.
    pub partitions: u32,
    /// Whether it has the listener of [`Broker::secured_address`] too. Its certificates take two seconds.
    pub secured: bool,
    /// Lines of `server.properties` that come last, so they win.
    pub config: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Options { transaction_version: TransactionVersion::V2, partitions: 1, secured: false, config: Vec::new() }
    }
}

/// A running broker. Dropping it kills the process and removes its folder.
pub struct Broker {
    node: Node,
    ports: Ports,
    judge: Judge,
    proxies: Arc<Proxies>,
}

#[derive(Debug, Clone)]
struct Ports {
    plain: u16,
    sasl: u16,
    secured: u16,
    controller: u16,
}

/// The brokers that tests of this binary share, by name.
static SHARED: Mutex<BTreeMap<&'static str, &'static OnceLock<Broker>>> = Mutex::new(BTreeMap::new());

/// The broker that all tests of one binary share. They keep apart by the names of their topics and transactional ids.
pub fn shared() -> &'static Broker {
    shared_with("default", Options::default)
}

/// A further broker for all tests of one binary, started when the first one asks for the name.
pub fn shared_with(name: &'static str, options: impl FnOnce() -> Options) -> &'static Broker {
    static EXIT_HANDLER: Once = Once::new();
    EXIT_HANDLER.call_once(|| {
        // SAFETY: `end_shared` takes no argument, does not unwind, and may run on any thread.
        let registered = unsafe { libc::atexit(end_shared) };
        assert_eq!(registered, 0, "the exit handler could not be registered");
    });
    let place = {
        let mut brokers = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        // They live as long as the process, so they are leaked on purpose, and ended by the exit handler.
        *brokers.entry(name).or_insert_with(|| Box::leak(Box::default()))
    };
    place.get_or_init(|| Broker::start(&options()))
}

/// What lives as long as the process is never dropped, so the shared brokers are ended when the process ends.
extern "C" fn end_shared() {
    let brokers = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    for broker in brokers.values().filter_map(|place| place.get()) {
        broker.node.kill();
        // What cannot be removed is left to the system's own cleaning of temporary folders.
        let _ = fs::remove_dir_all(broker.node.folder());
    }
}

impl Broker {
    /// Starts a broker and returns when it answers.
    ///
    /// # Panics
    ///
    /// When it does not answer in time, with the tail of its log.
    pub fn start(options: &Options) -> Broker {
        let mut last = String::new();
        for _ in 0..STARTS_MAX {
            let ports = Ports::find();
            let broker = Broker {
                judge: Judge::new(format!("127.0.0.1:{}", ports.plain)),
                node: Node::new(ports.plain),
                ports,
                proxies: Proxies::new(),
            };
            broker.format(options);
            match broker.node.try_run() {
                Ok(()) => return broker,
                Err(log) if log.contains("Address already in use") => last = log,
                Err(log) => panic!("the broker did not start; the end of its log:\n{log}"),
            }
        }
        panic!("the broker found no free ports in {STARTS_MAX} starts; the end of its log:\n{last}");
    }

    /// Where clients reach the broker directly (`bootstrap.servers`).
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.plain)
    }

    /// Where clients reach it with `SASL_PLAINTEXT` and `PLAIN` as [`SASL_USER`].
    pub fn sasl_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.sasl)
    }

    /// A listener that answers, and then sends its clients to an address where nobody listens.
    pub fn misadvertised(&self) -> Misadvertised {
        self.proxies.misadvertised()
    }

    /// A proxy in front of the broker, for the caller alone. Clients that start at its address stay behind it.
    pub fn proxy(&self) -> ProxyLease {
        self.proxies.proxy()
    }

    /// Ends the process at once, as `kill -9` does. Its folder stays.
    pub fn kill(&self) {
        self.node.kill();
    }

    /// Starts the process again, on the same folder and ports, and returns when it answers.
    ///
    /// # Panics
    ///
    /// When it does not answer in time.
    pub fn restart(&self) {
        self.node.restart();
    }

    /// Whether the process runs (a paused one does).
    pub fn is_running(&self) -> bool {
        self.node.is_running()
    }

    /// Stops the process without ending it: its clients see a broker that does not answer.
    pub fn pause(&self) {
        self.node.signal(libc::SIGSTOP);
    }

    /// Lets a paused process go on.
    pub fn resume(&self) {
        self.node.signal(libc::SIGCONT);
    }

    /// The last lines of the broker's log, for a failing test's message.
    pub fn log_tail(&self) -> String {
        self.node.log_tail()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.node.path(name)
    }

    /// Writes `server.properties` and formats the storage.
    fn format(&self, options: &Options) {
        if options.secured {
            secured::make_certificates(self.node.folder());
        }
        let cluster = format!("tidegate{:05}{:09}", self.ports.plain, std::process::id());
        let lines = self.server_properties(options);
        self.node.format(&cluster, &lines, options.transaction_version, &secured::storage_arguments(options));
    }

    fn server_properties<'a>(&self, options: &'a Options) -> Vec<(&'a str, String)> {
        let ports = &self.ports;
        let (mut listeners, mut advertised, mut protocols) = (String::new(), String::new(), String::new());
        let mut listening = vec![
            ("PLAIN", "PLAINTEXT", ports.plain, Some(ports.plain)),
            ("SASL", "SASL_PLAINTEXT", ports.sasl, Some(ports.sasl)),
            ("CONTROLLER", "PLAINTEXT", ports.controller, None),
        ];
        if options.secured {
            listening.push(("SECURED", "SASL_SSL", ports.secured, Some(ports.secured)));
        }
        for (name, protocol, port, told) in listening {
            let _ = write!(listeners, "{name}://127.0.0.1:{port},");
            let _ = write!(protocols, "{name}:{protocol},");
            if let Some(told) = told {
                let _ = write!(advertised, "{name}://127.0.0.1:{told},");
            }
        }
        for (index, Listener { upstream, front }) in self.proxies.listeners().into_iter().enumerate() {
            let _ = write!(listeners, "PROXY{index}://127.0.0.1:{upstream},");
            let _ = write!(protocols, "PROXY{index}:PLAINTEXT,");
            let _ = write!(advertised, "PROXY{index}://127.0.0.1:{front},");
        }
        let mut lines = vec![
            ("listeners", listeners.trim_end_matches(',').to_owned()),
            ("advertised.listeners", advertised.trim_end_matches(',').to_owned()),
            ("listener.security.protocol.map", protocols.trim_end_matches(',').to_owned()),
            ("controller.quorum.voters", format!("1@127.0.0.1:{}", ports.controller)),
            ("log.dirs", self.path("data").display().to_string()),
            ("num.partitions", options.partitions.to_string()),
            ("listener.name.sasl.plain.sasl.jaas.config", jaas()),
        ];
        if options.secured {
            lines.extend(secured::properties(self.node.folder()));
        }
        lines.extend(FIXED_PROPERTIES.iter().chain(&ALONE).map(|(name, value)| (*name, (*value).to_owned())));
        lines.extend(options.config.iter().map(|(name, value)| (name.as_str(), value.clone())));
        lines
    }
}

impl Deref for Broker {
    type Target = Judge;

    fn deref(&self) -> &Judge {
        &self.judge
    }
}

/// One node is controller and broker, and the only replica of everything.
const ALONE: [(&str, &str); 8] = [
    ("process.roles", "broker,controller"),
    ("node.id", "1"),
    ("listener.name.sasl.sasl.enabled.mechanisms", "PLAIN"),
    ("offsets.topic.replication.factor", "1"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("share.coordinator.state.topic.replication.factor", "1"),
    ("share.coordinator.state.topic.min.isr", "1"),
];

fn jaas() -> String {
    format!("org.apache.kafka.common.security.plain.PlainLoginModule required user_{SASL_USER}=\"{SASL_PASSWORD}\" ;")
}

impl Ports {
    fn find() -> Ports {
        Ports { plain: free_port(), sasl: free_port(), secured: free_port(), controller: free_port() }
    }
}
