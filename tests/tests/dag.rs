//! A job of many operators on two workers: a diamond with re-keying, a keyless map, a join, a broadcast input, a slow sink,
//! channels of one batch. Every output is exact, under kills too, and what waits between threads stays within its bound.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tidegate_tests::broker;
use tidegate_tests::scene::{Scene, plugin};

const RECORDS: usize = 60_000;
const MERCHANTS: usize = 37;
const USERS: usize = 500;
const START_MS: i64 = 1_700_000_000_000;
/// `limits.channel` of the job: less than one batch, so a lane holds one message.
const CHANNEL_BYTES: usize = 16 * 1024;
const BATCH_BYTES: usize = 32 * 1024;

static NEXT: AtomicU32 = AtomicU32::new(0);

struct Payment {
    id: String,
    user: String,
    merchant: String,
    time: i64,
}

/// What the outputs must be, from the input alone.
struct Expected {
    transactions: BTreeSet<String>,
    merchants: HashMap<String, u64>,
    blocked: BTreeSet<String>,
}

fn payments() -> Vec<Payment> {
    let payment = |at: usize| Payment {
        id: format!("t-{at}"),
        user: format!("user-{}", at * 7919 % USERS),
        merchant: format!("merchant-{}", at * 104_729 % MERCHANTS),
        time: START_MS + at as i64 * 10 - (at * 31 % 2000) as i64,
    };
    (0..RECORDS).map(payment).collect()
}

/// User, whether blocked, since when.
fn rules() -> Vec<(String, bool, i64)> {
    let middle = START_MS + RECORDS as i64 * 5;
    let mut rules = Vec::new();
    for user in (0..USERS).step_by(10) {
        rules.push((format!("user-{user}"), true, START_MS - 10_000));
        if user % 20 == 0 {
            rules.push((format!("user-{user}"), false, middle));
        }
    }
    rules.sort_by_key(|(_, _, time)| *time);
    rules
}

fn expected(payments: &[Payment], rules: &[(String, bool, i64)]) -> Expected {
    let mut merchants: HashMap<String, u64> = HashMap::new();
    let mut blocked = BTreeSet::new();
    for payment in payments {
        *merchants.entry(payment.merchant.clone()).or_default() += 1;
        let rule = rules.iter().rfind(|(user, _, time)| *user == payment.user && *time <= payment.time);
        if rule.is_some_and(|(_, is_blocked, _)| *is_blocked) {
            blocked.insert(payment.id.clone());
        }
    }
    Expected { transactions: payments.iter().map(|payment| payment.id.clone()).collect(), merchants, blocked }
}

struct Dag {
    scene: Scene,
    topic: String,
    expected: Expected,
}

impl Dag {
    fn new() -> Dag {
        Dag::changed(|job| job)
    }

    /// With another job file.
    fn changed(change: impl FnOnce(String) -> String) -> Dag {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let scene = Scene::new(env!("CARGO_BIN_EXE_tidegate-probed"));
        let (payments, rules) = (payments(), rules());
        fs::create_dir(scene.path("payments")).expect("the folder is made");
        for part in 0..3 {
            let lines: String = payments.iter().skip(part).step_by(3).map(line).collect();
            fs::write(scene.path(&format!("payments/{part}.jsonl")), lines).expect("payments are written");
        }
        let line = |(user, blocked, time): &(String, bool, i64)| {
            format!("{{\"user_id\":\"{user}\",\"blocked\":{blocked},\"timestamp\":{time}}}\n")
        };
        let lines: Vec<String> = rules.iter().map(line).collect();
        let lines = lines.concat();
        fs::write(scene.path("rules.jsonl"), lines).expect("rules are written");
        let topic = format!("joined-{number}");
        broker::shared().create_topic(&topic, 3, &[]);
        scene.write_job(&change(job(number, &topic)));
        Dag { scene, topic, expected: expected(&payments, &rules) }
    }

    fn expect_exact(&self, what: &str) {
        self.expect_joined(what);
        self.expect_counts(what);
        let passed = self.transactions("passed.jsonl", what);
        let blocked = self.transactions("blocked.jsonl", what);
        assert_eq!(blocked, self.expected.blocked, "{what}: blocked");
        let both = &passed | &blocked;
        assert!(passed.is_disjoint(&blocked) && both == self.expected.transactions, "{what}: passed");
    }

    fn expect_joined(&self, what: &str) {
        let mut joined = BTreeSet::new();
        for record in broker::shared().read_committed(&self.topic) {
            let value: Value = serde_json::from_str(record.text()).expect("a pair is JSON");
            let key = value["key"].as_str().expect("a pair has its key").to_owned();
            assert!(value["left"].to_string().contains(&key), "{what}: {value}");
            assert!(value["right"].to_string().contains(&key), "{what}: {value}");
            assert!(joined.insert(key), "{what}: a pair came twice: {value}");
        }
        assert_eq!(joined.len(), self.expected.transactions.len(), "{what}: pairs");
        assert!(joined == self.expected.transactions, "{what}: pairs of other transactions");
    }

    /// The n-th record of a merchant gives count n: all of 1 to its number, once each.
    fn expect_counts(&self, what: &str) {
        let mut counts: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        for line in self.lines("counts.jsonl") {
            let value: Value = serde_json::from_str(&line).expect("a count is JSON");
            let key = value["key"].as_str().expect("a count has its key").to_owned();
            let count = value["count"].as_u64().expect("a count has its count");
            assert!(counts.entry(key).or_default().insert(count), "{what}: a count came twice: {line}");
        }
        assert_eq!(counts.len(), self.expected.merchants.len(), "{what}: merchants");
        for (merchant, counts) in counts {
            let all = self.expected.merchants[&merchant];
            assert!(counts.into_iter().eq(1..=all), "{what}: the counts of {merchant} are not 1 to {all}");
        }
    }

    fn transactions(&self, file: &str, what: &str) -> BTreeSet<String> {
        let mut transactions = BTreeSet::new();
        for line in self.lines(file) {
            let value: Value = serde_json::from_str(&line).expect("a payment is JSON");
            assert_eq!(value["tagged"], Value::Bool(true), "{what}: {line}");
            let id = value["transaction_id"].as_str().expect("a payment has its id").to_owned();
            assert!(transactions.insert(id), "{what}: a payment came twice: {line}");
        }
        transactions
    }

    fn lines(&self, file: &str) -> Vec<String> {
        let text = fs::read_to_string(self.scene.path(file)).expect("the output is read");
        text.lines().map(str::to_owned).collect()
    }
}

fn line(payment: &Payment) -> String {
    let Payment { id, user, merchant, time } = payment;
    format!("{{\"transaction_id\":\"{id}\",\"user_id\":\"{user}\",\"merchant\":\"{merchant}\",\"timestamp\":{time}}}\n")
}

/// The job, with its variables as `@NAME`.
const JOB: &str = r#"format = 1
name = "dag-@NUMBER"
shards = 8
workers = 2

[checkpoint]
interval = "20ms"

[batch]
rows = 128
bytes = "@BATCHKiB"

[limits]
channel = "@CHANNELKiB"

[connection.main]
kind = "kafka"
brokers = ["@BROKER"]

[source.payments]
kind = "file"
path = "payments"
key = "/user_id"
timestamp = { field = "/timestamp", format = "unix_ms" }

[source.rules]
kind = "file"
path = "rules.jsonl"
timestamp = { field = "/timestamp", format = "unix_ms" }

[operator.tag]
plugin = "@STEPS"
config = { role = "map", field = "tagged" }
inputs = { main = { from = "payments", route = "same-shard" } }

[operator.left]
plugin = "@STEPS"
config = { role = "rekey", key = "/transaction_id" }
inputs = { main = { from = "tag.out", route = "same-shard" } }

[operator.by-user]
plugin = "@STEPS"
config = { role = "map", field = "again" }
inputs = { main = "tag.out" }

[operator.right]
plugin = "@STEPS"
config = { role = "rekey", key = "/transaction_id" }
inputs = { main = "by-user.out" }

[operator.pair]
plugin = "@STEPS"
config = { role = "join" }
inputs = { left = "left.out", right = "right.out" }

[operator.by-merchant]
plugin = "@STEPS"
config = { role = "rekey", key = "/merchant" }
inputs = { main = "tag.out" }

[operator.count]
plugin = "@STEPS"
config = { role = "count" }
inputs = { main = "by-merchant.out" }

[operator.rule]
plugin = "@STEPS"
config = { role = "rules" }
inputs = { main = "tag.out", rules = { from = "rules", route = "broadcast" } }

[sink.joined]
connection = "main"
topic = "@TOPIC"
from = ["pair.out"]

[sink.counts]
kind = "file"
path = "counts.jsonl"
from = ["count.out"]

[sink.passed]
kind = "file"
path = "passed.jsonl"
from = ["rule.passed"]

[sink.blocked]
kind = "file"
path = "blocked.jsonl"
from = ["rule.blocked"]
"#;

fn job(number: u32, topic: &str) -> String {
    JOB.replace("@NUMBER", &number.to_string())
        .replace("@BATCH", &(BATCH_BYTES / 1024).to_string())
        .replace("@CHANNEL", &(CHANNEL_BYTES / 1024).to_string())
        .replace("@BROKER", &broker::shared().address())
        .replace("@STEPS", &plugin("steps").display().to_string())
        .replace("@TOPIC", topic)
}

#[test]
fn every_output_is_exact_and_what_waits_is_bounded_while_a_sink_stands_still() {
    let dag = Dag::new();
    // The broker stands still for a while in the middle of the job: the slowest of sinks.
    let pause = std::thread::spawn(|| {
        std::thread::sleep(Duration::from_millis(700));
        broker::shared().pause();
        std::thread::sleep(Duration::from_secs(4));
        broker::shared().resume();
    });
    let run = dag.scene.run();
    pause.join().expect("the broker goes on");
    run.expect_success("with a sink that stands still");
    dag.expect_exact("with a sink that stands still");

    let peak: usize = run
        .log
        .split("queued_bytes_peak=")
        .nth(1)
        .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next())
        .and_then(|digits| digits.parse().ok())
        .expect("the host says how many bytes waited at most");
    // A lane holds its bound, or one message where that is larger; an operator parks what one call gives: at most a batch
    // for each of its readers and shards. Rows cost some bytes of their own beside key and value.
    let message = BATCH_BYTES * 2;
    let lanes = 2 * 2 * 10 + 2 * 5;
    let parked = 8 * 2 * 8;
    let bound = (lanes + parked) * message.max(CHANNEL_BYTES);
    assert!(peak > 0 && peak < bound, "{peak} bytes waited, the bound is {bound}");
}

#[test]
fn kills_lose_and_double_nothing() {
    let dag = Dag::new();
    let moments = [
        "aligned:1",
        "preparing:1",
        "prepared:1",
        "marked:2",
        "unconfirmed:2",
        "decided:1",
        "applied:2",
        "committed:2",
    ];
    let mut hits = 0;
    for moment in moments {
        hits += usize::from(dag.scene.run_and_kill(moment).was_killed());
    }
    assert!(hits >= 5, "only {hits} kills hit");
    dag.scene.run().expect_success("after the kills");
    dag.expect_exact("after the kills");
}

#[test]
fn operators_that_wait_for_early_checkpoints_do_not_wait_for_each_other() {
    // Each operator may keep less than two batches a worker for an undo, and no checkpoint comes by itself.
    let dag = Dag::changed(|job| {
        let job = job.replace("interval = \"20ms\"", "interval = \"5m\"");
        let job = job.replace("[limits]", "[limits]\nundo = \"80KiB\"");
        let job = job.replace("plugin = ", "on_error = \"dead-letter\"\nplugin = ");
        job + "\n[sink.dead]\nkind = \"file\"\npath = \"dead.jsonl\"\nfrom = [\"dead-letters\"]\n"
    });
    let run = dag.scene.run();
    run.expect_success("with early checkpoints");
    dag.expect_exact("with early checkpoints");
    assert_eq!(dag.lines("dead.jsonl"), Vec::<String>::new());
    let last: u64 = run
        .log
        .split("checkpoint=")
        .filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok())
        .max()
        .expect("the host says at which checkpoint it ended");
    assert!(last > 20, "only {last} checkpoints");
}
