//! Positions that cannot be gone on from: deleted records, recreated topics, changed files.

use crate::{PROGRAM, carry_out, expect_sound, look};
use std::fs;
use tidegate_tests::broker;
use tidegate_tests::judge::NewRecord;
use tidegate_tests::scene::{Scene, plugin};

const TIME: i64 = 1_767_225_600_000;

/// A job that copies a topic with one partition into a file; its name is its input's.
fn copying(name: &str) -> Scene {
    let scene = Scene::new(PROGRAM);
    scene.write_job(&format!(
        r#"name = "{name}"
shards = 1
workers = 1

[checkpoint]
interval = "20ms"

[connection.main]
kind = "kafka"
brokers = ["{}"]

[source.lines]
connection = "main"
topics = ["{name}"]
key = "/user"
timestamp = {{ field = "/time", format = "unix_ms" }}

[operator.copy]
plugin = "{}"
inputs = {{ main = "lines" }}
config = {{ mode = "slow", rounds = 0 }}

[sink.out]
kind = "file"
path = "out.jsonl"
from = ["copy.out"]
"#,
        broker::shared().address(),
        plugin("misbehave").display()
    ));
    scene
}

fn line(number: i64) -> String {
    format!(r#"{{"user": "u", "time": {}, "number": {number}, "word": "good"}}"#, TIME + number)
}

fn feed(topic: &str, numbers: std::ops::Range<i64>) {
    let lines: Vec<(i64, String)> = numbers.map(|number| (number, line(number))).collect();
    let records = lines.iter().map(|(number, line)| NewRecord {
        partition: 0,
        key: None,
        value: Some(line.as_bytes()),
        timestamp: TIME + number,
    });
    broker::shared().produce(topic, records);
}

fn output(scene: &Scene) -> Vec<String> {
    let text = fs::read_to_string(scene.path("out.jsonl")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn run_until(scene: &Scene, lines: usize) {
    let mut running = scene.start(None, &[]);
    running.wait_until("the lines", |_| output(scene).len() >= lines);
    running.signal(libc::SIGTERM);
    running.wait().expect_success("a stop");
    assert_eq!(output(scene).len(), lines);
}

#[test]
fn deleted_records_are_skipped_and_counted() {
    const NAME: &str = "repair-deleted";
    let broker = broker::shared();
    broker.create_topic(NAME, 1, &[]);
    feed(NAME, 0..100);
    let scene = copying(NAME);
    run_until(&scene, 100);
    feed(NAME, 100..150);
    broker.delete_records(NAME, 0, 120);
    scene.run().expect_refusal("a start", 78, &["stop `offsets-gone`"]);
    look(&scene, &["stop offsets-gone", "up to 20 records are lost", "lose up to 20 records"]);
    carry_out(&scene, "move-lines", &[]);
    expect_sound(&scene);
    run_until(&scene, 130);
    let expected: Vec<String> = (0..100).chain(120..150).map(line).collect();
    assert_eq!(output(&scene), expected);
}

#[test]
fn a_recreated_topic_is_read_from_where_a_person_says() {
    const NAME: &str = "repair-recreated";
    let broker = broker::shared();
    broker.create_topic(NAME, 1, &[]);
    feed(NAME, 0..100);
    let scene = copying(NAME);
    run_until(&scene, 100);
    broker.delete_topic(NAME);
    broker.create_topic(NAME, 1, &[]);
    feed(NAME, 1000..1200);
    scene.run().expect_refusal("a start", 78, &["stop `topic-recreated`", "made again"]);
    look(&scene, &["stop topic-recreated", "from offset `0` of `0` to `200`", "number unknown"]);
    scene.repair(&["--at", &format!("{NAME}[0]=201")]).expect_refusal(
        "an offset that is not there",
        78,
        &["cannot go on"],
    );
    carry_out(&scene, "move-lines", &["--at", &format!("{NAME}[0]=50")]);
    expect_sound(&scene);
    run_until(&scene, 250);
    let expected: Vec<String> = (0..100).chain(1050..1200).map(line).collect();
    assert_eq!(output(&scene), expected);
}

#[test]
fn positions_of_a_job_with_a_kafka_sink_are_moved_together_with_its_marker() {
    use tidegate_tests::payments::{Options, Payments};
    let broker = broker::shared();
    let payments = Payments::new(broker, &Options::fed(PROGRAM, broker.address()));
    payments.feed(2_000);
    let mut running = payments.scene.start(None, &[]);
    payments.wait_counted(&mut running);
    running.signal(libc::SIGTERM);
    running.wait().expect_success("a stop");
    let before = payments.counts_visible();
    payments.feed(400);
    // 500 of each partition were read and 100 came since: 30 of those are deleted in one of them.
    broker.delete_records(&payments.payments_topic, 2, 530);
    payments.scene.run().expect_refusal("a start", 78, &["stop `offsets-gone`"]);
    // What came of the other partitions may be with the broker already: in a transaction that is open then.
    if payments.scene.repair(&[]).log.contains("in hand") {
        carry_out(&payments.scene, "take-over", &[]);
    }
    look(&payments.scene, &["partition `2`", "up to 30 records are lost"]);
    carry_out(&payments.scene, "move-payments", &[]);
    expect_sound(&payments.scene);
    let mut running = payments.scene.start(None, &[]);
    running.wait_until("the counts", |_| payments.counts_visible() >= before + 370);
    running.signal(libc::SIGTERM);
    running.wait().expect_success("a stop");
    assert_eq!(payments.counts_visible(), before + 370);
}
