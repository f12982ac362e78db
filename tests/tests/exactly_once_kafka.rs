//! Payments from a real Kafka, alerts to it: a `read_committed` reader gets exactly those of an independent recount, whatever
//! the shape of the job, and whenever it is killed.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tidegate_tests::broker;
use tidegate_tests::judge::NewRecord;
use tidegate_tests::proxy::{ApiKey, Fault, Rule as ProxyRule};
use tidegate_tests::scene::{Scene, plugin};
use xtask::generate::{Plan, generate};
use xtask::recount::{Alert, Found, Recount, Rule};

const RECORDS: u64 = 200_000;

/// Jobs and topics of one test binary share a broker, so each has a number of its own.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// What a job is varied in, one factor at a time.
#[derive(Clone, Copy)]
struct Shape {
    partitions: u16,
    workers: u16,
    shards: u16,
    batch_rows: usize,
}

const USUAL: Shape = Shape { partitions: 4, workers: 2, shards: 16, batch_rows: 1024 };

struct Payments {
    scene: Scene,
    alerts_topic: String,
    expected: Vec<Alert>,
}

impl Payments {
    fn new(shape: Shape) -> Payments {
        Payments::through(&broker::shared().address(), "until = \"latest\"", shape)
    }

    /// The job reaches the broker at an address of the caller's, and ends its input as the key says.
    fn through(address: &str, until: &str, shape: Shape) -> Payments {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let (payments, alerts) = (format!("payments-{number}"), format!("alerts-{number}"));
        let broker = broker::shared();
        broker.create_topic(&payments, shape.partitions.into(), &[]);
        broker.create_topic(&alerts, 3, &[]);
        let mut recount = Recount::new(Rule::default());
        let mut records = Vec::new();
        let take = |payment: xtask::generate::Payment<'_>| -> Result<(), xtask::recount::BadLine> {
            recount.add(payment.json)?;
            let partition = (payment.index % u64::from(shape.partitions)) as i32;
            records.push((partition, payment.json.to_vec(), payment.timestamp_ms));
            Ok(())
        };
        generate(Plan::new(RECORDS), take).expect("payments are JSON");
        let records = records.iter().map(|(partition, json, timestamp)| NewRecord {
            partition: *partition,
            key: None,
            value: Some(json),
            timestamp: *timestamp,
        });
        broker.produce(&payments, records);
        let scene = Scene::new(env!("CARGO_BIN_EXE_tidegate-probed"));
        scene.write_job(&job(number, address, until, shape));
        Payments { scene, alerts_topic: alerts, expected: recount.alerts() }
    }

    /// What a `read_committed` reader gets now.
    fn found(&self) -> Found {
        let mut found = Found::default();
        for record in broker::shared().read_committed(&self.alerts_topic) {
            let user = String::from_utf8(record.key.clone().expect("an alert has a key")).expect("a user is text");
            let alert: Alert = serde_json::from_str(record.text()).expect("an alert is JSON");
            assert_eq!(alert.user_id, user, "an alert's key is its user");
            assert_eq!(record.timestamp, alert.window_end - 1, "an alert's timestamp is its window's last millisecond");
            found.add(record.text().as_bytes());
        }
        found
    }

    fn expect_exact(&self, what: &str) {
        assert!(self.expected.len() > 100, "only {} alerts are expected: this tests nothing", self.expected.len());
        let verdict = self.found().compare(&self.expected);
        assert!(verdict.is_exact(), "{what}: {verdict:?}");
    }

    /// Nobody may see part of what is not finished: what is there is right and there once, if not yet complete.
    fn expect_nothing_wrong(&self, what: &str) {
        let verdict = self.found().compare(&self.expected);
        assert!(verdict.duplicated == 0 && verdict.wrong == 0, "{what}: {verdict:?}");
    }

    fn kill(&self, moment: &str) {
        let run = self.scene.run_and_kill(moment);
        assert!(run.was_killed(), "the kill at {moment} did not hit: {:?}\n{}", run.status, run.log);
        self.expect_nothing_wrong(moment);
    }
}

fn job(number: u32, address: &str, until: &str, shape: Shape) -> String {
    let Shape { workers, shards, batch_rows, .. } = shape;
    format!(
        r#"format = 1
name = "fraud-{number}"
shards = {shards}
workers = {workers}

[checkpoint]
interval = "10ms"

[batch]
rows = {batch_rows}

[connection.main]
kind = "kafka"
brokers = ["{address}"]

[source.payments]
connection = "main"
topics = ["payments-{number}"]
{until}
key = "/user_id"
timestamp = {{ field = "/timestamp", format = "unix_ms" }}
watermark = {{ max_out_of_orderness = "5s" }}

[operator.detector]
plugin = "{}"
inputs = {{ main = "payments" }}
config = {{ threshold = 10, window = "1m" }}
discard = ["late"]

[sink.alerts]
connection = "main"
topic = "alerts-{number}"
from = ["detector.alerts"]
"#,
        plugin("fraud_detector").display()
    )
}

#[test]
fn every_shape_of_the_job_gives_exactly_the_recounted_alerts() {
    let shapes = [
        USUAL,
        Shape { partitions: 2, ..USUAL },
        Shape { workers: 1, ..USUAL },
        Shape { workers: 3, ..USUAL },
        Shape { shards: 1, ..USUAL },
        Shape { batch_rows: 1, ..USUAL },
    ];
    for shape in shapes {
        let what = format!(
            "{} partitions, {} workers, {} shards, {} rows a batch",
            shape.partitions, shape.workers, shape.shards, shape.batch_rows
        );
        let payments = Payments::new(shape);
        payments.scene.run().expect_success(&what);
        payments.expect_exact(&what);
    }
}

#[test]
fn a_kill_at_any_moment_of_a_checkpoint_loses_and_doubles_nothing() {
    let moments = [
        "start-prepared:1",
        "marked:1",
        "unconfirmed:1",
        "aligned:2",
        "preparing:2",
        "prepared:2",
        "marked:2",
        "unconfirmed:2",
        "committed:2",
    ];
    for moment in moments {
        let payments = Payments::new(USUAL);
        payments.kill(moment);
        payments.scene.run().expect_success(moment);
        payments.expect_exact(moment);
    }
}

#[test]
fn a_kill_in_recovery_loses_and_doubles_nothing() {
    let pairs = [
        ("unconfirmed:2", "looked:1"),
        ("unconfirmed:2", "promoted:1"),
        ("marked:2", "recovery:1"),
        ("marked:2", "rolled-back:1"),
    ];
    for (first, second) in pairs {
        let payments = Payments::new(USUAL);
        payments.kill(first);
        payments.kill(second);
        payments.scene.run().expect_success(second);
        payments.expect_exact(second);
    }
}

#[test]
fn an_instance_with_an_empty_store_beside_a_used_one_stops_and_fences_nobody() {
    let payments = Payments::new(USUAL);
    payments.kill("committed:2");
    let kept = payments.scene.path("kept.redb");
    let store = std::fs::read_dir(payments.scene.folder())
        .expect("the folder is read")
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "redb"))
        .expect("the job has a store");
    std::fs::rename(&store, &kept).expect("the store is put aside");
    let run = payments.scene.run();
    assert_eq!(run.status.code(), Some(78), "a person must look:\n{}", run.log);
    std::fs::rename(&kept, &store).expect("the store is put back");
    payments.scene.run().expect_success("with its own store");
    payments.expect_exact("with its own store");
}

#[test]
fn a_healthy_instance_is_not_harmed_by_one_with_an_empty_store() {
    let payments = Payments::through(&broker::shared().address(), "", USUAL);
    let mut healthy = payments.scene.start(None, &[]);
    healthy.wait_until("its first alerts", |_| payments.found().compare(&payments.expected).found > 0);
    let other = Scene::new(env!("CARGO_BIN_EXE_tidegate-probed"));
    let text = std::fs::read_to_string(payments.scene.path("job.toml")).expect("the job file is read");
    other.write_job(&text);
    for _ in 0..3 {
        let run = other.run();
        assert_eq!(run.status.code(), Some(78), "a person must look:\n{}", run.log);
        assert!(run.log.contains("another instance"), "{}", run.log);
    }
    healthy.signal(libc::SIGTERM);
    healthy.wait().expect_success("the healthy one");
    payments.expect_nothing_wrong("the healthy one");
}

#[test]
fn a_late_end_of_a_transaction_finds_the_producer_replaced() {
    let proxy = broker::shared().proxy();
    let payments = Payments::through(&proxy.address(), "until = \"latest\"", USUAL);
    // The request reaches the broker while the next transaction is open; the client is cut off, repeats it and hears OK.
    let fault = Fault::Late(Duration::from_millis(150));
    proxy.rule(ProxyRule { api: ApiKey::END_TXN, skip: 1, times: 2, fault });
    let run = payments.scene.run();
    run.expect_success("with late ends of transactions");
    assert!(run.log.contains("replacing the transactional producer"), "no rotation took place:\n{}", run.log);
    payments.expect_exact("with late ends of transactions");
}

#[test]
fn a_start_that_cannot_succeed_says_why_and_what_to_do() {
    let down = Payments::through("127.0.0.1:9", "until = \"latest\"", USUAL);
    down.scene.run().expect_refusal("a broker that is down", 75, &["no broker of connection `main`", "127.0.0.1:9"]);
    let payments = Payments::new(USUAL);
    let text = std::fs::read_to_string(payments.scene.path("job.toml")).expect("the job file is read");
    payments.scene.write_job(&text.replace("topic = \"alerts-", "topic = \"no-alerts-"));
    payments.scene.run().expect_refusal(
        "a missing sink topic",
        78,
        &["topic `no-alerts-", "does not exist", "create it"],
    );
    payments.scene.write_job(&text.replace("topics = [\"payments-", "topics = [\"no-payments-"));
    payments.scene.run().expect_refusal("a missing source topic", 78, &["topic `no-payments-", "does not exist"]);
    payments.scene.write_job(&text);
    payments.scene.run().expect_success("with the right topics");
    payments.expect_exact("with the right topics");
}

#[test]
fn a_window_that_closes_while_nothing_arrives_becomes_visible_soon() {
    const START: i64 = 1_767_225_600_000;
    let payments = Payments::through(&broker::shared().address(), "", Shape { partitions: 2, ..USUAL });
    let text = std::fs::read_to_string(payments.scene.path("job.toml")).expect("the job file is read");
    let (source, sink) =
        (payments.alerts_topic.replace("alerts", "quiet"), payments.alerts_topic.replace("alerts", "late"));
    broker::shared().create_topic(&source, 2, &[]);
    broker::shared().create_topic(&sink, 1, &[]);
    // One split stops at the first minute, the other is ten minutes ahead: the window closes when the first one is idle.
    let json = |user: &str, time: i64| format!("{{\"user_id\":\"{user}\",\"timestamp\":{time}}}").into_bytes();
    let mut records: Vec<(i32, Vec<u8>)> = (0..11).map(|at| (0, json("busy", START + at))).collect();
    records.push((1, json("other", START + 600_000)));
    broker::shared().produce(
        &source,
        records.iter().map(|(partition, value)| NewRecord {
            partition: *partition,
            key: None,
            value: Some(value),
            timestamp: START,
        }),
    );
    let (old_source, old_sink) = (payments.alerts_topic.replace("alerts", "payments"), &payments.alerts_topic);
    let text =
        text.replace(&old_source, &source).replace(&format!("topic = \"{old_sink}\""), &format!("topic = \"{sink}\""));
    let text = text.replace("max_out_of_orderness = \"5s\"", "max_out_of_orderness = \"5s\", idle_after = \"1s\"");
    payments.scene.write_job(&text);
    let began = Instant::now();
    let mut running = payments.scene.start(None, &[]);
    running.wait_until("the alert", |_| broker::shared().read_committed(&sink).len() == 1);
    // Checkpoints are left out for a minute while nothing happens; this output must not wait for that.
    assert!(began.elapsed() < Duration::from_secs(40), "the alert came after {:?}", began.elapsed());
    running.signal(libc::SIGTERM);
    running.wait().expect_success("the quiet job");
}
