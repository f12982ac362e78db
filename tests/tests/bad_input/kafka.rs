//! Bad records in a topic that never ends: tombstones, no JSON, times far ahead; and a stop in the middle of it.

use super::scene;
use std::collections::BTreeSet;
use tidegate_tests::broker;
use tidegate_tests::judge::{NewRecord, Record, wait_until};
use tidegate_tests::scene::{Scene, plugin};

const TIME: i64 = 1_767_225_600_000;

fn job() -> String {
    format!(
        r#"name = "unending"
shards = 4

[checkpoint]
interval = "50ms"

[connection.main]
kind = "kafka"
brokers = ["{}"]

[source.lines]
connection = "main"
topics = ["unending-in"]
key = "/user"
timestamp = {{ field = "/time" }}
on_bad_record = "dead-letter"

[operator.copy]
plugin = "{}"
inputs = {{ main = "lines" }}
config = {{ mode = "reject", word = "poison" }}
on_rejected = "dead-letter"

[sink.out]
connection = "main"
topic = "unending-out"
from = ["copy.out"]

[sink.dead]
connection = "main"
topic = "unending-dead"
from = ["dead-letters"]
"#,
        broker::shared().address(),
        plugin("misbehave").display()
    )
}

fn produce(from: usize, to: usize, bad: &[Option<&[u8]>]) {
    let good: Vec<String> = (from..to).map(|number| line(number, "good")).collect();
    let good = good.iter().map(|line| Some(line.as_bytes()));
    let records = good.chain(bad.iter().copied()).enumerate().map(|(at, value)| NewRecord {
        partition: (at % 2) as i32,
        key: Some(b"own"),
        value,
        timestamp: TIME,
    });
    broker::shared().produce("unending-in", records);
}

fn line(number: usize, word: &str) -> String {
    format!(r#"{{"user": "u{}", "time": {}, "number": {number}, "word": "{word}"}}"#, number % 7, TIME + number as i64)
}

/// Runs the job until both topics have so many records, and stops it.
fn run_until(scene: &Scene, out: usize, dead: usize) {
    let broker = broker::shared();
    let running = scene.start(None, &[]);
    wait_until("all records are out", || {
        broker.read_committed("unending-out").len() >= out && broker.read_committed("unending-dead").len() >= dead
    });
    running.signal(libc::SIGTERM);
    let run = running.wait();
    run.expect_success("a stop");
    assert!(run.log.contains("stopped with a last checkpoint"), "{}", run.log);
}

fn header<'a>(record: &'a Record, name: &str) -> &'a str {
    let value = record.headers.iter().find(|(header, _)| header == name).and_then(|(_, value)| value.as_deref());
    std::str::from_utf8(value.unwrap_or_default()).expect("the header is text")
}

#[test]
fn bad_records_of_a_topic_are_dead_letters_and_a_stop_is_exact() {
    let broker = broker::shared();
    broker.create_topic("unending-in", 2, &[]);
    broker.create_topic("unending-out", 2, &[]);
    broker.create_topic("unending-dead", 1, &[]);
    let far_ahead = line(0, "good").replace(&TIME.to_string(), "32503680000000");
    let seconds = line(0, "good").replace(&TIME.to_string(), "1767225600");
    let poison = line(0, "poison");
    let bad: [Option<&[u8]>; 6] = [
        None,
        Some(b"not JSON"),
        Some(b"\xff\xfe"),
        Some(far_ahead.as_bytes()),
        Some(seconds.as_bytes()),
        Some(poison.as_bytes()),
    ];
    let scene = scene();
    scene.write_job(&job());
    produce(0, 500, &bad);
    run_until(&scene, 500, 6);
    produce(500, 700, &bad[..1]);
    run_until(&scene, 700, 7);

    let out = broker.read_committed("unending-out");
    let found: BTreeSet<&str> = out.iter().map(Record::text).collect();
    let expected: Vec<String> = (0..700).map(|number| line(number, "good")).collect();
    assert_eq!(out.len(), 700, "no record comes twice");
    assert_eq!(found, expected.iter().map(String::as_str).collect());

    let dead = broker.read_committed("unending-dead");
    assert_eq!(dead.len(), 7, "each bad record once: {dead:?}");
    for (value, by, reason) in [
        (bad[0], "lines", "no value"),
        (bad[1], "lines", "not JSON"),
        (bad[2], "lines", "not UTF-8"),
        (bad[3], "lines", "ahead of the message's own timestamp"),
        (bad[4], "lines", "it looks like seconds"),
        (bad[5], "copy", "word: the value contains the word"),
    ] {
        let letter = dead.iter().find(|letter| letter.value.as_deref() == value).expect("its bytes are as they were");
        assert!(header(letter, "tidegate.reason").contains(reason), "{letter:?}");
        assert_eq!(header(letter, "tidegate.operator"), by);
        assert!(header(letter, "tidegate.position").starts_with("unending-in["), "{letter:?}");
        // The operator knows a record by the key that the job file gives it.
        assert_eq!(letter.key.as_deref(), Some(if by == "lines" { b"own".as_slice() } else { b"u0" }));
    }
}
