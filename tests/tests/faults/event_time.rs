//! Rows of the fault matrix about event time: transactions of others that stay open, splits that run ahead.
//!
//! The job counts payments in windows of a minute, and its alerts are compared with a recount. Next room: `source`.

use crate::PROGRAM;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::fmt::Write as _;
use std::fs;
use std::time::Duration;
use tidegate_tests::broker;
use tidegate_tests::judge::{NewRecord, wait_until};
use tidegate_tests::scene::{Scene, plugin};
use xtask::recount::{Found, Recount, Rule};

/// Event time of the first payment, in milliseconds since the Unix epoch: the start of a minute.
const START: i64 = 1_767_225_600_000;
const MINUTE: i64 = 60_000;
const ANSWER: Duration = Duration::from_secs(30);

fn payment(user: &str, time: i64) -> String {
    format!("{{\"user_id\":\"{user}\",\"timestamp\":{time}}}")
}

/// Counts payments of topic `<name>-in`; alerts go to `<name>-out`, late ones to `<name>-late`.
fn job(name: &str, until: &str, keys: &str) -> String {
    let mut text = format!(
        r#"name = "{name}"
shards = 4
workers = 2

[checkpoint]
interval = "50ms"

[connection.main]
kind = "kafka"
brokers = ["{}"]

[source.payments]
connection = "main"
topics = ["{name}-in"]
{until}
key = "/user_id"
timestamp = {{ field = "/timestamp" }}
watermark = {{ max_out_of_orderness = "5s", idle_after = "1s" }}

[operator.detector]
plugin = "{}"
inputs = {{ main = "payments" }}
config = {{ threshold = 10, window = "1m" }}
{keys}
"#,
        broker::shared().address(),
        plugin("fraud_detector").display()
    );
    for (sink, port) in [("out", "alerts"), ("late", "late")] {
        writeln!(
            text,
            "\n[sink.{sink}]\nconnection = \"main\"\ntopic = \"{name}-{sink}\"\nfrom = [\"detector.{port}\"]"
        )
        .expect("a String takes it");
    }
    text
}

fn scene(name: &str, until: &str, keys: &str) -> Scene {
    broker::shared().create_topic(&format!("{name}-in"), 2, &[]);
    broker::shared().create_topic(&format!("{name}-out"), 1, &[]);
    broker::shared().create_topic(&format!("{name}-late"), 1, &[]);
    let scene = Scene::new(PROGRAM);
    scene.write_job(&job(name, until, keys));
    scene
}

fn produce(name: &str, partition: i32, payments: &[(i64, String)]) {
    let records = payments.iter().map(|(timestamp, payment)| NewRecord {
        partition,
        key: None,
        value: Some(payment.as_bytes()),
        timestamp: *timestamp,
    });
    broker::shared().produce(&format!("{name}-in"), records);
}

/// Somebody's transaction in one partition stays open for longer than `idle_after`, while the other partition is ten minutes
/// ahead: the partition is not idle, so its records are not late when they come.
pub(crate) fn upstream_transaction_stays_open() {
    let name = "upstream";
    let scene = scene(name, "", "");
    let upstream: BaseProducer =
        broker::shared().client().set("transactional.id", "upstream").create().expect("a producer");
    upstream.init_transactions(ANSWER).expect("transactions");
    upstream.begin_transaction().expect("a transaction");
    let topic = format!("{name}-in");
    for at in 0..11 {
        let payment = payment("busy", START + at);
        let record = BaseRecord::<(), str>::to(&topic).partition(0).payload(&payment).timestamp(START);
        upstream.send(record).map_err(|(error, _)| error).expect("the queue has room");
    }
    upstream.flush(ANSWER).expect("the broker takes the records");
    let ahead = START + 10 * MINUTE;
    produce(name, 1, &[(ahead, payment("other", ahead))]);

    let mut running = scene.start(None, &[]);
    running.wait_until("its start", |running| running.log().contains("running from checkpoint"));
    // Far longer than `idle_after`.
    std::thread::sleep(Duration::from_secs(4));
    assert!(broker::shared().read_committed(&format!("{name}-out")).is_empty(), "an alert before its payments");
    upstream.commit_transaction(ANSWER).expect("the transaction is committed");
    wait_until("the alert", || broker::shared().read_committed(&format!("{name}-out")).len() == 1);
    running.signal(libc::SIGTERM);
    running.wait().expect_success("an open transaction");
    assert!(
        broker::shared().read_committed(&format!("{name}-late")).is_empty(),
        "a payment of the transaction was late"
    );
    let alert = broker::shared().read_committed(&format!("{name}-out")).remove(0);
    assert!(alert.text().contains("busy"), "{}", alert.text());
}

/// Two partitions of so many payments each, one of them a day ahead of the other. Gives the job's largest resident memory in
/// KiB.
fn peak_memory(name: &str, payments: i64) -> u64 {
    // If the one ahead were read as it comes, its open windows alone would take more than this.
    let scene = scene(name, "until = \"latest\"", "memory = \"8MiB\"");
    let mut recount = Recount::new(Rule::default());
    for (partition, offset) in [(0, 0), (1, 24 * 60 * MINUTE)] {
        let payments: Vec<(i64, String)> = (0..payments)
            .map(|at| {
                // Each minute has one user who pays eleven times, and a thousand others.
                let user = if at % 90 == 0 { format!("busy-{partition}") } else { format!("u-{partition}-{at}") };
                let time = START + offset + at * MINUTE / 1000;
                (time, payment(&user, time))
            })
            .collect();
        for (_, payment) in &payments {
            recount.add(payment.as_bytes()).expect("a payment is JSON");
        }
        produce(name, partition, &payments);
    }
    let mut running = scene.start(None, &[]);
    let mut peak = 0;
    // The peak is the process's own; it is looked at as long as there is one.
    while running.ended().is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", running.process())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line.and_then(|rest| rest.trim().strip_suffix(" kB")).and_then(|digits| digits.parse().ok());
        peak = kibibytes.unwrap_or(0).max(peak);
        std::thread::sleep(Duration::from_millis(5));
    }
    running.wait().expect_success(name);
    let mut found = Found::default();
    for record in broker::shared().read_committed(&format!("{name}-out")) {
        found.add(record.text().as_bytes());
    }
    let expected = recount.alerts();
    assert!(expected.len() > 100, "only {} alerts are expected: this tests nothing", expected.len());
    let verdict = found.compare(&expected);
    assert!(verdict.is_exact(), "{name}: {verdict:?}");
    assert!(broker::shared().read_committed(&format!("{name}-late")).is_empty(), "{name}: a payment was late");
    assert!(peak > 0, "the memory was never looked at");
    peak
}

/// A split that is a day ahead of the other: it waits, and memory does not grow with the length of the topic.
pub(crate) fn split_far_ahead() {
    /// What a peak may differ by from run to run, in KiB.
    const NOISE: u64 = 24 * 1024;
    let (short, long) = (peak_memory("ahead-short", 100_000), peak_memory("ahead-long", 300_000));
    assert!(long < short + NOISE, "{long} KiB for 300,000 payments a partition, {short} KiB for 100,000");
}
