//! Poison and SIGKILL: each dead letter is there exactly once, with its checkpoint, and every count is right.
//!
//! Next room: `host/src/operator/undo.rs`.

use super::{Counting, Letters, ONE_INTERVAL, count_of, expect_counts, lines};
use std::collections::BTreeSet;
use tidegate_tests::broker;
use tidegate_tests::judge::{NewRecord, Record};
use tidegate_tests::scene::Scene;

const RECORDS: usize = 100_000;
/// Before, in and behind the undoing of a call, and at each step of a checkpoint with dead letters in it.
const MOMENTS: [&str; 12] = [
    "undoing:1",
    "repeated:1",
    "undone:1",
    "flushed:2",
    "undoing:4",
    "aligned:2",
    "preparing:2",
    "prepared:2",
    "repeated:3",
    "decided:2",
    "committed:2",
    "undone:5",
];
/// A job that takes a file of 100,000 records has more moments than these.
const HITS_MIN: usize = 12;

fn poison() -> BTreeSet<usize> {
    (0..RECORDS).filter(|number| number * 31 % 2003 == 5).collect()
}

fn counting() -> Counting {
    // Little waits between threads, so that a barrier passes soon.
    let limits = "channel = \"32KiB\"";
    Counting { interval: "10ms", shards: 4, workers: 2, batch_rows: 256, limits, ..ONE_INTERVAL }
}

#[test]
fn files_get_each_dead_letter_once_wherever_the_host_is_killed() {
    let letters = Letters::new(&counting(), RECORDS, poison());
    let mut hits = 0;
    for moment in MOMENTS.into_iter().chain(["applied:1", "applied:2"]) {
        hits += usize::from(letters.scene.run_and_kill(moment).was_killed());
    }
    assert!(hits >= HITS_MIN, "only {hits} kills hit");
    letters.run("files, after the kills");
}

#[test]
fn kafka_gets_each_dead_letter_once_wherever_the_host_is_killed() {
    let broker = broker::shared();
    for (topic, partitions) in [("letters-in", 2), ("letters-out", 2), ("letters-dead", 1)] {
        broker.create_topic(topic, partitions, &[]);
    }
    let poison = poison();
    let lines = lines(RECORDS, &poison);
    // A user's records stay in one partition, and so in order.
    let partition = |number: usize| (super::user_of(number).len() + number * 7919 % super::USERS) as i32 % 2;
    broker.produce(
        "letters-in",
        lines.iter().enumerate().map(|(number, line)| NewRecord {
            partition: partition(number),
            key: Some(b"original"),
            value: Some(line.as_bytes()),
            timestamp: (super::START + number) as i64,
        }),
    );
    let scene = Scene::new(env!("CARGO_BIN_EXE_tidegate-probed"));
    let connection = format!("[connection.main]\nkind = \"kafka\"\nbrokers = [\"{}\"]\n", broker.address());
    let topic = |name: &str| format!("connection = \"main\"\ntopic = \"letters-{name}\"\n");
    let source = "connection = \"main\"\ntopics = [\"letters-in\"]\nuntil = \"latest\"\n";
    scene.write_job(&counting().job_between(&connection, source, &topic("out"), &topic("dead")));
    let mut hits = 0;
    for moment in MOMENTS.into_iter().chain(["marked:2", "unconfirmed:2"]) {
        hits += usize::from(scene.run_and_kill(moment).was_killed());
        expect_no_double(&broker.read_committed("letters-dead"), moment);
    }
    assert!(hits >= HITS_MIN, "only {hits} kills hit");
    scene.run().expect_success("Kafka, after the kills");

    let mut counts: Vec<(u64, usize)> = broker.read_committed("letters-out").iter().map(counted).collect();
    // A user's counts are in one partition of the sink by its key; those of several users come in any order.
    counts.sort_by_key(|(_, number)| *number);
    expect_counts(&counts, &poison, RECORDS, "Kafka, after the kills");
    let dead = broker.read_committed("letters-dead");
    expect_no_double(&dead, "after the kills");
    assert_eq!(dead.len(), poison.len(), "dead letters");
    for letter in &dead {
        let value = letter.text();
        let number = lines.iter().position(|line| line == value).expect("the original bytes");
        assert!(poison.contains(&number), "{value}");
        assert_eq!(header(letter, "tidegate.operator"), "count");
        assert!(header(letter, "tidegate.reason").starts_with("error: it trapped"), "{letter:?}");
        let place = format!("letters-in[{}]@", partition(number));
        assert!(header(letter, "tidegate.position").starts_with(&place), "{letter:?}");
    }
}

fn counted(record: &Record) -> (u64, usize) {
    count_of(&serde_json::from_str(record.text()).expect("a count is JSON"))
}

fn expect_no_double(dead: &[Record], what: &str) {
    let positions: BTreeSet<&str> = dead.iter().map(|letter| header(letter, "tidegate.position")).collect();
    assert_eq!(positions.len(), dead.len(), "{what}: a dead letter came twice");
}

fn header<'a>(record: &'a Record, name: &str) -> &'a str {
    let value = record.headers.iter().find(|(header, _)| header == name).and_then(|(_, value)| value.as_deref());
    std::str::from_utf8(value.unwrap_or_default()).expect("the header is text")
}
