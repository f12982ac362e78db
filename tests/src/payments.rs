//! A job on payments from Kafka to Kafka, and what its topics must hold: the world of the tests that do harm to it.
//!
//! The fraud detector raises alerts (windows, watermarks), and, where a test wants output in every transaction, a second
//! operator counts each user's payments: state that is lost or doubled shows at once, record by record. Payments come all at
//! once or in pieces. Judges by recounting what was fed, with plain clients; knows no fault. Next rooms: [`crate::scene`],
//! [`crate::judge`].

use crate::judge::{Isolation, Judge, NewRecord, Record};
use crate::scene::{Running, Scene, plugin};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use xtask::generate::{Plan, generate};
use xtask::recount::{Alert, BadLine, Found, Recount, Rule};

/// Jobs and topics of one test binary share a broker, so each has a number of its own.
static NEXT: AtomicU32 = AtomicU32::new(0);
/// A payment so far ahead of all others closes their windows; one goes to each partition.
const CLOSING_MS: i64 = 3_600_000;
/// The file of the counts, with [`Options::file`].
const FILE: &str = "counts.jsonl";
/// Closing payments' users; nobody else has such a name.
const CLOSER: &str = "closer-";

/// What a job is varied in, one factor at a time.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Of the payments' topic.
    pub partitions: u16,
    /// Threads.
    pub workers: u16,
    /// Of the key space.
    pub shards: u16,
    /// Of a batch at most.
    pub batch_rows: usize,
}

/// What most tests take.
pub const USUAL: Shape = Shape { partitions: 4, workers: 2, shards: 16, batch_rows: 1024 };

/// What to build.
#[derive(Debug, Clone)]
pub struct Options<'a> {
    /// The program of the host under test.
    pub program: &'a str,
    /// Where the job reaches the brokers: addresses separated by commas.
    pub address: String,
    /// Its shape.
    pub shape: Shape,
    /// How many payments there can be.
    pub records: u64,
    /// Whether all of them are there before the job is started, and are its end.
    pub is_bounded: bool,
    /// Whether each payment gives a record of its own too, the user's count.
    pub counts: bool,
    /// Whether the counts go to a file as well.
    pub file: bool,
    /// Lines of `[checkpoint]`.
    pub checkpoint: &'a str,
    /// Lines that both Kafka sinks get.
    pub sink_keys: &'a str,
    /// Lines of `[source.payments]`.
    pub source_keys: &'a str,
    /// Lines that both operators get.
    pub operator_keys: &'a str,
    /// The inside of `[connection.main.properties]`.
    pub properties: &'a str,
    /// Replicas of each partition of the topics, if somebody must choose them: payments, alerts, counts.
    pub replicas: Option<[&'a [&'a [i32]]; 3]>,
}

impl<'a> Options<'a> {
    /// A bounded job of 200,000 payments that checkpoints all the time and raises alerts only.
    pub fn bounded(program: &'a str, address: String) -> Options<'a> {
        Options {
            program,
            address,
            shape: USUAL,
            records: 200_000,
            is_bounded: true,
            counts: false,
            file: false,
            checkpoint: "interval = \"10ms\"",
            sink_keys: "",
            source_keys: "",
            operator_keys: "",
            properties: "",
            replicas: None,
        }
    }

    /// A job without an end, whose up to 50,000 payments are fed in pieces; it counts them too.
    pub fn fed(program: &'a str, address: String) -> Options<'a> {
        let checkpoint = "interval = \"50ms\"";
        Options { records: 50_000, is_bounded: false, counts: true, checkpoint, ..Options::bounded(program, address) }
    }
}

/// A job on payments, and what was fed to it.
pub struct Payments<'a> {
    /// Its folder.
    pub scene: Scene,
    /// The job's name.
    pub job: String,
    /// Input.
    pub payments_topic: String,
    /// Output: users who pay too often.
    pub alerts_topic: String,
    /// Output, with [`Options::counts`]: how many payments the user has made.
    pub counts_topic: String,
    judge: &'a Judge,
    partitions: u16,
    counts: bool,
    file: bool,
    /// All payments: partition, JSON, timestamp.
    all: Vec<(i32, Vec<u8>, i64)>,
    fed: RefCell<Fed>,
}

struct Fed {
    /// How many of all payments.
    taken: usize,
    /// How many records, closing ones included.
    records: usize,
    closers: u32,
    recount: Recount,
    by_user: HashMap<String, u64>,
}

impl<'a> Payments<'a> {
    /// Makes topics and job. A bounded job has all its payments already, another one none.
    ///
    /// # Panics
    /// If the broker does not take them.
    pub fn new(judge: &'a Judge, options: &Options<'_>) -> Payments<'a> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let topic = |name: &str| format!("{name}-{number}");
        let mut all = Vec::new();
        let take = |payment: xtask::generate::Payment<'_>| -> Result<(), BadLine> {
            let partition = (payment.index % u64::from(options.shape.partitions)) as i32;
            all.push((partition, payment.json.to_vec(), payment.timestamp_ms));
            Ok(())
        };
        generate(Plan::new(options.records), take).expect("payments are JSON");
        let recount = Recount::new(Rule::default());
        let payments = Payments {
            scene: Scene::new(options.program),
            job: topic("fraud"),
            payments_topic: topic("payments"),
            alerts_topic: topic("alerts"),
            counts_topic: topic("counts"),
            judge,
            partitions: options.shape.partitions,
            counts: options.counts,
            file: options.file,
            all,
            fed: RefCell::new(Fed { taken: 0, records: 0, closers: 0, recount, by_user: HashMap::new() }),
        };
        payments.create_topics(options);
        payments.scene.write_job(&payments.job_text(options));
        if options.is_bounded {
            payments.feed(payments.all.len());
        }
        payments
    }

    fn create_topics(&self, options: &Options<'_>) {
        let topics = [(&self.payments_topic, self.partitions.into()), (&self.alerts_topic, 3), (&self.counts_topic, 3)];
        for (at, (topic, partitions)) in topics.into_iter().enumerate() {
            match options.replicas {
                Some(replicas) => self.judge.create_topic_on(topic, replicas[at], &[]),
                None => self.judge.create_topic(topic, partitions, &[]),
            }
        }
    }

    /// The marker's topic.
    pub fn marker_topic(&self) -> String {
        format!("tidegate.{}", self.job)
    }

    /// Writes the next payments to the topic; fewer if there are no more.
    ///
    /// # Panics
    /// If the broker does not take them.
    pub fn feed(&self, count: usize) {
        self.feed_with(count, new_record);
    }

    /// Writes the next payments to one partition.
    ///
    /// # Panics
    /// If the broker does not take them.
    pub fn feed_to(&self, count: usize, partition: i32) {
        self.feed_with(count, |payment| NewRecord { partition, ..new_record(payment) });
    }

    fn feed_with<'p>(&'p self, count: usize, new: impl Fn(&'p (i32, Vec<u8>, i64)) -> NewRecord<'p>) {
        let mut fed = self.fed.borrow_mut();
        let piece = &self.all[fed.taken..self.all.len().min(fed.taken.saturating_add(count))];
        assert!(piece.is_empty() || fed.closers == 0, "payments after the windows closed are late");
        fed.taken += piece.len();
        self.judge.produce(&self.payments_topic, piece.iter().map(new));
        for (_, json, _) in piece {
            fed.add(json);
        }
    }

    /// Writes a payment to each partition that is so far ahead that all windows before it close.
    ///
    /// # Panics
    /// If the broker does not take it.
    pub fn close_windows(&self) {
        let mut fed = self.fed.borrow_mut();
        let last = self.all.last().map_or(0, |(_, _, timestamp)| *timestamp);
        fed.closers += 1;
        let timestamp = last + CLOSING_MS * i64::from(fed.closers);
        let closer = |partition| {
            let json = format!(r#"{{"user_id":"{CLOSER}{partition}","timestamp":{timestamp}}}"#).into_bytes();
            (i32::from(partition), json, timestamp)
        };
        let closers: Vec<(i32, Vec<u8>, i64)> = (0..self.partitions).map(closer).collect();
        self.judge.produce(&self.payments_topic, closers.iter().map(new_record));
        for (_, json, _) in &closers {
            fed.add(json);
        }
    }

    /// Fails the test unless every alert and every count is there once, in its order, and nothing else.
    ///
    /// # Panics
    /// With what is lost, doubled or wrong.
    pub fn expect_exact(&self, what: &str) {
        let expected = self.fed.borrow().recount.alerts();
        let enough = self.all.len() / 2_000;
        assert!(expected.len() >= enough, "only {} alerts are expected: this tests nothing", expected.len());
        let verdict = self.alerts_found().compare(&expected);
        assert!(verdict.is_exact(), "{what}: {verdict:?}");
        if self.counts {
            let all = self.fed.borrow().by_user.clone();
            assert_eq!(self.count_in_order(what), all, "{what}: the users' last counts");
            if self.file {
                assert_eq!(self.count_in_file(what), all, "{what}: the users' last counts in the file");
            }
        }
    }

    /// Fails the test if a reader sees something that is not right: twice, out of order, too much. Nobody may see part of
    /// what is not finished, but what is there may be incomplete.
    ///
    /// # Panics
    /// With what is doubled or wrong.
    pub fn expect_nothing_wrong(&self, what: &str) {
        let verdict = self.alerts_found().compare(&self.fed.borrow().recount.alerts());
        assert!(verdict.duplicated == 0 && verdict.wrong == 0, "{what}: {verdict:?}");
        if self.counts {
            self.count_in_order(what);
        }
        if self.file {
            self.count_in_file(what);
        }
    }

    /// Fails the test unless every payment is counted once, in whatever order.
    ///
    /// # Panics
    /// With the user whose counts are not right.
    pub fn expect_counted_once(&self, what: &str) {
        let mut seen: HashMap<String, Vec<u64>> = HashMap::new();
        for record in self.judge.read_committed(&self.counts_topic) {
            let (user, count) = counted(&record);
            seen.entry(user).or_default().push(count);
        }
        let fed = self.fed.borrow();
        assert_eq!(seen.len(), fed.by_user.len(), "{what}: users");
        for (user, mut counts) in seen {
            counts.sort_unstable();
            assert!(counts.iter().copied().eq(1..=fed.by_user[&user]), "{what}: the counts of {user} are {counts:?}");
        }
    }

    /// How many counts a reader sees more than once.
    pub fn counts_doubled(&self) -> usize {
        let mut seen = HashSet::new();
        self.judge.read_committed(&self.counts_topic).iter().filter(|record| !seen.insert(counted(record))).count()
    }

    /// How many records of the counts' topic a reader sees now.
    pub fn counts_visible(&self) -> usize {
        self.judge.read_committed(&self.counts_topic).len()
    }

    /// How many alerts a reader sees now.
    pub fn alerts_visible(&self) -> usize {
        self.judge.read_committed(&self.alerts_topic).len()
    }

    /// Waits until all that was fed is counted, the host still running.
    ///
    /// # Panics
    /// If the host ends before.
    pub fn wait_counted(&self, running: &mut Running) {
        let fed = self.fed.borrow().records;
        running.wait_until("the counts of all that was fed", |_| {
            std::thread::sleep(Duration::from_millis(20));
            self.counts_visible() >= fed
        });
    }

    /// Closes all windows, waits for all that must come, stops the host and judges the topics.
    ///
    /// # Panics
    /// If something is lost, doubled or wrong, or the host ends by itself or otherwise than with 0.
    pub fn finish(&self, mut running: Running, what: &str) {
        self.feed(usize::MAX);
        self.close_windows();
        self.wait_counted(&mut running);
        let alerts = self.fed.borrow().recount.alerts().len();
        running.wait_until("all alerts", |_| {
            std::thread::sleep(Duration::from_millis(20));
            self.alerts_visible() >= alerts
        });
        running.signal(libc::SIGTERM);
        running.wait().expect_success(what);
        self.expect_exact(what);
    }

    /// How many records of the counts' topic are there, uncommitted and aborted ones included.
    pub fn counts_written(&self) -> usize {
        self.judge.read(&self.counts_topic, Isolation::Uncommitted).len()
    }

    /// Does what a supervisor does: starts the host again whenever it ends with 75, until all that was fed is counted. Returns
    /// the host that did, and how often it was started again.
    ///
    /// # Panics
    /// If it ends otherwise, or again and again.
    pub fn supervise(&self, mut running: Running) -> (Running, usize) {
        const STARTS_MAX: usize = 10;
        let fed = self.fed.borrow().records;
        for starts in 0..STARTS_MAX {
            while running.ended().is_none() && self.counts_visible() < fed {
                std::thread::sleep(Duration::from_millis(50));
            }
            if running.ended().is_none() {
                return (running, starts);
            }
            running.wait().expect_refusal("a host under a supervisor", 75, &[]);
            running = self.scene.start(None, &[]);
        }
        panic!("the host ended {STARTS_MAX} times:\n{}", running.log());
    }

    /// Starts a healthy host and lets it end the job as [`Payments::finish`] says.
    pub fn restart_and_finish(&self, what: &str) {
        self.finish(self.scene.start(None, &[]), what);
    }

    fn alerts_found(&self) -> Found {
        let mut found = Found::default();
        for record in self.judge.read_committed(&self.alerts_topic) {
            let alert: Alert = serde_json::from_str(record.text()).expect("an alert is JSON");
            assert_eq!(record.key.as_deref(), Some(alert.user_id.as_bytes()), "an alert's key is its user");
            assert_eq!(record.timestamp, alert.window_end - 1, "an alert's timestamp is its window's last millisecond");
            found.add(record.text().as_bytes());
        }
        found
    }

    /// Whether all that was fed is counted.
    pub fn is_counted(&self) -> bool {
        self.counts_visible() >= self.fed.borrow().records
    }

    /// The last count of each user in the file, where they stand as they do in the topic.
    fn count_in_file(&self, what: &str) -> HashMap<String, u64> {
        // There is none before the first start.
        let text = std::fs::read_to_string(self.scene.path(FILE)).unwrap_or_default();
        let mut last: HashMap<String, u64> = HashMap::new();
        for line in text.lines() {
            let (user, count) = user_and_count(line);
            let before = last.insert(user, count).unwrap_or(0);
            assert_eq!(count, before + 1, "{what}: in the file, after count {before} came {line}");
        }
        last
    }

    /// The last count of each user. All of a user's lie in one partition, and each is one more than the one before.
    fn count_in_order(&self, what: &str) -> HashMap<String, u64> {
        let mut last: HashMap<String, u64> = HashMap::new();
        for record in self.judge.read_committed(&self.counts_topic) {
            let (user, count) = counted(&record);
            let before = last.insert(user, count).unwrap_or(0);
            assert_eq!(count, before + 1, "{what}: after count {before} came {record:?}");
        }
        last
    }

    fn job_text(&self, options: &Options<'_>) -> String {
        let Options { checkpoint, sink_keys, source_keys, operator_keys, properties, .. } = options;
        let brokers = options.address.replace(',', "\", \"");
        let Shape { workers, shards, batch_rows, .. } = options.shape;
        let Payments { job, payments_topic, alerts_topic, .. } = self;
        let until = if options.is_bounded { "until = \"latest\"" } else { "" };
        let counting = if options.counts { self.counting(options) } else { String::new() };
        format!(
            r#"format = 1
name = "{job}"
shards = {shards}
workers = {workers}

[checkpoint]
{checkpoint}

[batch]
rows = {batch_rows}

[connection.main]
kind = "kafka"
brokers = ["{brokers}"]
properties = {{ {properties} }}

[source.payments]
connection = "main"
topics = ["{payments_topic}"]
{until}
key = "/user_id"
timestamp = {{ field = "/timestamp", format = "unix_ms" }}
watermark = {{ max_out_of_orderness = "5s" }}
{source_keys}

[operator.detector]
plugin = "{}"
inputs = {{ main = "payments" }}
config = {{ threshold = 10, window = "1m" }}
discard = ["late"]
{operator_keys}

[sink.alerts]
connection = "main"
topic = "{alerts_topic}"
from = ["detector.alerts"]
{sink_keys}
{counting}"#,
            plugin("fraud_detector").display()
        )
    }

    fn counting(&self, options: &Options<'_>) -> String {
        let Options { sink_keys, operator_keys, .. } = options;
        let file = format!("[sink.copy]\nkind = \"file\"\npath = \"{FILE}\"\nfrom = [\"count.out\"]\n");
        let file = if options.file { &file } else { "" };
        format!(
            r#"
[operator.count]
plugin = "{}"
inputs = {{ main = "payments" }}
config = {{ role = "count" }}
{operator_keys}

[sink.counts]
connection = "main"
topic = "{}"
from = ["count.out"]
{sink_keys}
{file}"#,
            plugin("steps").display(),
            self.counts_topic
        )
    }
}

impl Fed {
    fn add(&mut self, json: &[u8]) {
        self.recount.add(json).expect("payments are JSON");
        let value: serde_json::Value = serde_json::from_slice(json).expect("payments are JSON");
        let user = value["user_id"].as_str().expect("a payment has a user");
        *self.by_user.entry(user.to_owned()).or_default() += 1;
        self.records += 1;
    }
}

fn new_record((partition, json, timestamp): &(i32, Vec<u8>, i64)) -> NewRecord<'_> {
    NewRecord { partition: *partition, key: None, value: Some(json), timestamp: *timestamp }
}

fn counted(record: &Record) -> (String, u64) {
    let (user, count) = user_and_count(record.text());
    assert_eq!(record.key.as_deref(), Some(user.as_bytes()), "a count's key is its user");
    (user, count)
}

fn user_and_count(json: &str) -> (String, u64) {
    let value: serde_json::Value = serde_json::from_str(json).expect("a count is JSON");
    let user = value["key"].as_str().expect("a count has its key").to_owned();
    (user, value["count"].as_u64().expect("a count has its count"))
}
