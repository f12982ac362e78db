//! Records on which a plugin fails, with `on_error = "dead-letter"`: each is one dead letter, and everything else is as if
//! it had not been in the input.
//!
//! The plugin counts by key, so a record that was taken in twice, or whose undoing took another one along, shows in every
//! count behind it. Here is what a job is and how it is judged. Next rooms: `isolated` (what is found), `refused` (what ends
//! the job), `bounds`, `kills`.

mod bounds;
mod isolated;
mod kills;
mod refused;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use tidegate_tests::scene::{Run, Scene, plugin};

/// Event time of the first record, in milliseconds.
const START: usize = 1_767_225_600_000;
/// More keys than shards.
const USERS: usize = 23;

/// A job that counts records by user, and fails on some.
#[derive(Clone)]
struct Counting {
    mode: &'static str,
    shards: u16,
    workers: u16,
    batch_rows: usize,
    interval: &'static str,
    /// More keys of the operator.
    operator: &'static str,
    /// More keys of `[limits]`.
    limits: &'static str,
    /// More keys of `[checkpoint]`.
    checkpoint: &'static str,
}

/// One shard, one split, whole batches, and no checkpoint before the last one.
const ONE_INTERVAL: Counting = Counting {
    mode: "trap_in_process",
    shards: 1,
    workers: 1,
    batch_rows: 1024,
    interval: "1h",
    operator: "",
    limits: "",
    checkpoint: "",
};

impl Counting {
    fn job(&self) -> String {
        let source = r#"kind = "file"
path = "lines.jsonl"
"#;
        let sink = |name: &str| format!("kind = \"file\"\npath = \"{name}.jsonl\"\n");
        self.job_between("", source, &sink("out"), &sink("dead"))
    }

    /// The job with its connection, source and sinks given.
    fn job_between(&self, connection: &str, source: &str, out: &str, dead: &str) -> String {
        let Counting { mode, shards, workers, batch_rows, interval, operator, limits, checkpoint } = self;
        format!(
            r#"name = "letters"
shards = {shards}
workers = {workers}

[checkpoint]
interval = "{interval}"
{checkpoint}

[batch]
rows = {batch_rows}
linger = "{interval}"

[limits]
{limits}

{connection}

[source.lines]
{source}
key = "user"
timestamp = {{ field = "time" }}

[operator.count]
plugin = "{}"
inputs = {{ main = "lines" }}
config = {{ mode = "{mode}", word = "poison", count = true }}
on_error = "dead-letter"
{operator}

[sink.out]
{out}
from = ["count.out"]

[sink.dead]
{dead}
from = ["dead-letters"]
"#,
            plugin("misbehave").display()
        )
    }
}

/// An input file with poison in it, and a scene for its job.
struct Letters {
    scene: Scene,
    lines: Vec<String>,
    poison: BTreeSet<usize>,
}

/// A dead letter of a file sink, and what a count says.
struct Output {
    counts: Vec<(u64, usize)>,
    dead: Vec<Value>,
}

impl Letters {
    fn new(counting: &Counting, records: usize, poison: impl IntoIterator<Item = usize>) -> Letters {
        let poison: BTreeSet<usize> = poison.into_iter().collect();
        let scene = Scene::new(env!("CARGO_BIN_EXE_tidegate-probed"));
        let lines = lines(records, &poison);
        let text = lines.iter().fold(String::new(), |mut text, line| {
            writeln!(text, "{line}").expect("a String takes it");
            text
        });
        fs::write(scene.path("lines.jsonl"), text).expect("the input is written");
        scene.write_job(&counting.job());
        Letters { scene, lines, poison }
    }

    fn output(&self) -> Output {
        let read = |name: &str| -> Vec<Value> {
            let text = fs::read_to_string(self.scene.path(name)).unwrap_or_default();
            assert!(text.is_empty() || text.ends_with('\n'), "a line of {name} is cut");
            text.lines().map(|line| serde_json::from_str(line).expect("an output line is JSON")).collect()
        };
        Output { counts: read("out.jsonl").iter().map(count_of).collect(), dead: read("dead.jsonl") }
    }

    /// Every count as if there were no poison, in the input's order for each user, and every poison record once.
    fn expect_exact(&self, what: &str) {
        let output = self.output();
        expect_counts(&output.counts, &self.poison, self.lines.len(), what);
        let mut at = 0;
        let positions: BTreeMap<usize, usize> = self
            .lines
            .iter()
            .enumerate()
            .map(|(number, line)| {
                at += line.len() + 1;
                (at - line.len() - 1, number)
            })
            .collect();
        let mut found = BTreeSet::new();
        for letter in &output.dead {
            let position = letter["position"].as_str().expect("a dead letter has a position");
            let (path, offset) = position.rsplit_once('@').expect("a position has an offset");
            assert!(path.ends_with("/lines.jsonl"), "{what}: {letter}");
            let number = positions[&offset.parse().expect("an offset is a number")];
            assert_eq!(letter["value"], self.lines[number], "{what}: the original bytes");
            assert_eq!(letter["operator"], "count", "{what}: {letter}");
            assert!(found.insert(number), "{what}: a dead letter came twice: {letter}");
        }
        assert_eq!(found, self.poison, "{what}: dead letters");
    }

    /// One shard and one split: the counts come in the order of the input.
    fn expect_order(&self, what: &str) {
        let numbers: Vec<usize> = self.output().counts.into_iter().map(|(_, number)| number).collect();
        let expected: Vec<usize> = (0..self.lines.len()).filter(|number| !self.poison.contains(number)).collect();
        assert!(numbers == expected, "{what}: the order of the output");
    }

    fn reasons(&self) -> Vec<String> {
        let text = |letter: &Value| letter["reason"].as_str().expect("a dead letter has a reason").to_owned();
        self.output().dead.iter().map(text).collect()
    }

    fn run(&self, what: &str) -> Run {
        let run = self.scene.run();
        run.expect_success(what);
        self.expect_exact(what);
        run
    }
}

fn lines(records: usize, poison: &BTreeSet<usize>) -> Vec<String> {
    let line = |number: usize| {
        let (user, time) = (user_of(number), START + number);
        let word = if poison.contains(&number) { "poison" } else { "good" };
        format!(r#"{{"user":"{user}","time":{time},"number":{number},"word":"{word}"}}"#)
    };
    (0..records).map(line).collect()
}

fn user_of(number: usize) -> String {
    format!("u{}", number * 7919 % USERS)
}

/// The count and the number of its record.
fn count_of(value: &Value) -> (u64, usize) {
    let number = value["was"]["number"].as_u64().expect("it has its number");
    (value["count"].as_u64().expect("it has its count"), number as usize)
}

/// The n-th good record of a user has count n, and each is there once, in order.
fn expect_counts(found: &[(u64, usize)], poison: &BTreeSet<usize>, records: usize, what: &str) {
    let mut by_user: BTreeMap<String, Vec<(u64, usize)>> = BTreeMap::new();
    for (count, number) in found {
        by_user.entry(user_of(*number)).or_default().push((*count, *number));
    }
    let mut expected: BTreeMap<String, Vec<(u64, usize)>> = BTreeMap::new();
    for number in (0..records).filter(|number| !poison.contains(number)) {
        let counts = expected.entry(user_of(number)).or_default();
        counts.push((counts.len() as u64 + 1, number));
    }
    assert!(by_user == expected, "{what}: {} counts, {} were expected", found.len(), records - poison.len());
}
