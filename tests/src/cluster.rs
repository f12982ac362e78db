//! Two or three real brokers: what one broker cannot show, a partition without a leader and a replica that lags.
//!
//! Node 1 is the only controller and holds the transactions' and groups' coordinators, so it is not to be killed; the others
//! are. Topics say on which nodes they lie ([`Judge::create_topic_on`]). Next rooms: `node`, [`crate::judge`].

use crate::broker::TransactionVersion;
use crate::judge::{Judge, wait_until};
use crate::node::{FIXED_PROPERTIES, Node, free_port};
use crate::proxied::{Listener, PROXIES, Proxies, ProxyLease};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::metadata::MetadataTopic;
use rdkafka::producer::{BaseProducer, Producer};
use std::fmt::Write as _;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

/// A controller that has not heard from a broker for so long takes its partitions' leadership away.
const SESSION: Duration = Duration::from_millis(1500);
/// How long one question to the cluster may take.
const QUESTION: Duration = Duration::from_secs(10);

/// What kind of cluster to start.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many brokers.
    pub nodes: usize,
    /// On how many of them the coordinators' topics lie. With one it is node 1.
    pub coordinator_replicas: usize,
    /// The `transaction.version` that its storage is formatted with.
    pub transaction_version: TransactionVersion,
    /// Further lines of every node's `server.properties`.
    pub config: Vec<(&'static str, &'static str)>,
}

impl Default for Options {
    /// Two brokers, the coordinators on the first.
    fn default() -> Self {
        Options { nodes: 2, coordinator_replicas: 1, transaction_version: TransactionVersion::V2, config: Vec::new() }
    }
}

/// Running brokers, numbered from 1. Dropping it kills them all and removes their folders.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    ports: Vec<u16>,
    /// In front of node 1. The others have the same listeners, and tell clients where they really are.
    proxies: Arc<Proxies>,
    direct: Vec<[u16; PROXIES]>,
    judge: Judge,
}

impl Cluster {
    /// Starts all brokers and returns when they answer.
    ///
    /// # Panics
    ///
    /// When one does not answer in time, with the tail of its log.
    pub fn start(options: &Options) -> Cluster {
        let (controller, ports) = (free_port(), (0..options.nodes).map(|_| free_port()).collect::<Vec<u16>>());
        let addresses: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let nodes = ports.iter().map(|port| Node::new(*port)).collect();
        let direct = ports.iter().map(|_| std::array::from_fn(|_| free_port())).collect();
        let judge = Judge::new(addresses.join(","));
        let cluster = Cluster { nodes, judge, ports, proxies: Proxies::new(), direct };
        let id = format!("tidegate{controller:05}{:09}", std::process::id());
        for (at, node) in cluster.nodes.iter().enumerate() {
            node.format(&id, &cluster.properties(options, at, controller), options.transaction_version, &[]);
        }
        let (first, others) = cluster.nodes.split_first().expect("a cluster has a node");
        let started = |log: Result<(), String>| {
            if let Err(log) = log {
                panic!("a broker did not start; the end of its log:\n{log}");
            }
        };
        started(first.try_run());
        if options.coordinator_replicas == 1 {
            // The coordinators' topics are made when somebody needs them, on the brokers that are there.
            cluster.use_coordinators(&addresses[0]);
        }
        for node in others {
            started(node.spawn());
        }
        for node in others {
            started(node.wait_answer());
        }
        cluster.use_coordinators(&addresses[0]);
        cluster
    }

    /// Where clients reach the cluster (`bootstrap.servers`): all brokers.
    pub fn addresses(&self) -> String {
        self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
    }

    /// Where clients reach one broker.
    pub fn address(&self, node: usize) -> String {
        format!("127.0.0.1:{}", self.ports[node - 1])
    }

    /// A proxy in front of node 1, which has the coordinators, for the caller alone. Clients that start at its address talk to
    /// node 1 through it, and to the others directly.
    pub fn proxy(&self) -> ProxyLease {
        self.proxies.proxy()
    }

    /// Kills a broker and returns when the cluster knows: partitions that lay on it alone have no leader then.
    ///
    /// # Panics
    ///
    /// For node 1, without which the cluster knows nothing.
    pub fn kill(&self, node: usize) {
        assert!(node > 1, "node 1 is the controller");
        self.nodes[node - 1].kill();
        wait_until(&format!("the cluster misses broker {node}"), || self.knows(node) == Some(false));
    }

    /// Starts a broker again, and returns when it leads what lies on it alone.
    ///
    /// # Panics
    ///
    /// When it does not come back in time.
    pub fn restart(&self, node: usize) {
        self.nodes[node - 1].restart();
        let consumer = self.consumer();
        wait_until(&format!("broker {node} leads again"), || {
            let Ok(metadata) = consumer.fetch_metadata(None, QUESTION) else { return false };
            let mut partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
            partitions.all(|partition| partition.leader() > 0)
        });
    }

    /// Stops a broker's process without ending it.
    pub fn pause(&self, node: usize) {
        self.nodes[node - 1].signal(libc::SIGSTOP);
    }

    /// Lets a paused broker go on, and returns when the cluster has it.
    ///
    /// # Panics
    ///
    /// When it does not come back in time.
    pub fn resume(&self, node: usize) {
        self.nodes[node - 1].signal(libc::SIGCONT);
        wait_until(&format!("the cluster has broker {node}"), || self.knows(node) == Some(true));
    }

    /// Who leads a partition, or nothing while nobody does.
    ///
    /// # Panics
    ///
    /// When there is no such topic.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<usize> {
        let metadata = self.consumer().fetch_metadata(Some(topic), QUESTION).expect("the controller answers");
        let found = metadata.topics()[0].partitions().iter().find(|known| known.id() == partition);
        usize::try_from(found.expect("the partition is there").leader()).ok()
    }

    /// The last lines of a broker's log, for a failing test's message.
    pub fn log_tail(&self, node: usize) -> String {
        self.nodes[node - 1].log_tail()
    }

    fn properties<'a>(&self, options: &'a Options, at: usize, controller: u16) -> Vec<(&'a str, String)> {
        let port = self.ports[at];
        let mut listeners = format!("PLAIN://127.0.0.1:{port}");
        let mut advertised = listeners.clone();
        let mut protocols = "PLAIN:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned();
        for (index, Listener { upstream, front }) in self.proxies.listeners().into_iter().enumerate() {
            let direct = self.direct[at][index];
            let (listens, told) = if at == 0 { (upstream, front) } else { (direct, direct) };
            let _ = write!(listeners, ",PROXY{index}://127.0.0.1:{listens}");
            let _ = write!(advertised, ",PROXY{index}://127.0.0.1:{told}");
            let _ = write!(protocols, ",PROXY{index}:PLAINTEXT");
        }
        let mut roles = "broker";
        if at == 0 {
            roles = "broker,controller";
            let _ = write!(listeners, ",CONTROLLER://127.0.0.1:{controller}");
        }
        let replicas = options.coordinator_replicas.to_string();
        let in_sync = options.coordinator_replicas.div_ceil(2).to_string();
        let mut lines = vec![
            ("process.roles", roles.to_owned()),
            ("node.id", (at + 1).to_string()),
            ("broker.rack", format!("rack-{}", at + 1)),
            ("listeners", listeners),
            ("advertised.listeners", advertised),
            ("listener.security.protocol.map", protocols),
            ("controller.quorum.voters", format!("1@127.0.0.1:{controller}")),
            ("log.dirs", self.nodes[at].path("data").display().to_string()),
            ("broker.session.timeout.ms", SESSION.as_millis().to_string()),
            ("broker.heartbeat.interval.ms", "250".to_owned()),
            ("replica.lag.time.max.ms", "2000".to_owned()),
            ("offsets.topic.replication.factor", replicas.clone()),
            ("transaction.state.log.replication.factor", replicas),
            ("transaction.state.log.min.isr", in_sync),
        ];
        lines.extend(FIXED_PROPERTIES.iter().chain(&options.config).map(|(name, value)| (*name, (*value).to_owned())));
        lines
    }

    /// Has the coordinators' topics made, and waits until they answer.
    fn use_coordinators(&self, address: &str) {
        let mut client = self.judge.client();
        client.set("bootstrap.servers", address);
        let producer: BaseProducer =
            client.clone().set("transactional.id", "first-use").create().expect("a producer can be made");
        wait_until("the transactions' coordinator answers", || producer.init_transactions(QUESTION).is_ok());
        let consumer: BaseConsumer = client.set("group.id", "first-use").create().expect("a consumer can be made");
        wait_until("the groups' coordinator answers", || {
            consumer.fetch_group_list(Some("first-use"), QUESTION).is_ok()
        });
    }

    /// Whether clients are told of a broker; `None`: the controller does not answer.
    fn knows(&self, node: usize) -> Option<bool> {
        let metadata = self.consumer().fetch_metadata(None, QUESTION).ok()?;
        Some(metadata.brokers().iter().any(|broker| broker.id() == node as i32))
    }

    fn consumer(&self) -> BaseConsumer {
        let mut client = self.judge.client();
        client.set("bootstrap.servers", self.address(1)).set("group.id", "judge");
        client.create().expect("a consumer can be made")
    }
}

impl Deref for Cluster {
    type Target = Judge;

    fn deref(&self) -> &Judge {
        &self.judge
    }
}
