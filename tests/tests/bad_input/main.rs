//! Bad input of the kinds that a case folder cannot hold: lines too long, files that change, plugins that trap, damaged
//! stores, signals.
//!
//! Each test looks at three things: what the host says (place and way out), its exit code, and that the next right start
//! loses and doubles nothing. Next rooms: `files`, `kafka`, `plugins`, `stores`, `stops`; `tests/cases` for the rest.

mod files;
mod kafka;
mod plugins;
mod stops;
mod stores;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use tidegate_tests::scene::{Scene, plugin};

/// A job that copies records through one shard of an operator, checkpointing all the time.
struct Copying {
    plugin: String,
    config: String,
    operator_keys: String,
    source_keys: String,
    sections: String,
}

impl Copying {
    /// With plugin `misbehave` in this mode; `config` is the inside of a TOML table.
    fn misbehaving(config: &str) -> Copying {
        Copying {
            plugin: plugin("misbehave").display().to_string(),
            config: config.to_owned(),
            operator_keys: String::new(),
            source_keys: String::new(),
            sections: String::new(),
        }
    }

    /// With a plugin that does no harm, and takes `thousands` of rounds of arithmetic for each record.
    fn healthy(thousands: u32) -> Copying {
        Copying::misbehaving(&format!("mode = \"slow\", rounds = {}", thousands * 1000))
    }

    fn job(&self) -> String {
        let Copying { plugin, config, operator_keys, source_keys, sections } = self;
        format!(
            r#"name = "copy"
shards = 1
workers = 1

[checkpoint]
interval = "10ms"

[batch]
rows = 16

# Little waits between threads, so that a barrier passes soon.
[limits]
channel = "8KiB"

[source.lines]
kind = "file"
path = "lines.jsonl"
key = "user"
timestamp = {{ field = "time" }}
{source_keys}

[operator.copy]
plugin = "{plugin}"
inputs = {{ main = "lines" }}
config = {{ {config} }}
{operator_keys}

[sink.out]
kind = "file"
path = "out.jsonl"
from = ["copy.out"]
{sections}"#
        )
    }
}

const DEAD_LETTERS: &str = "\n[sink.dead]\nkind = \"file\"\npath = \"dead.jsonl\"\nfrom = [\"dead-letters\"]\n";

fn scene() -> Scene {
    Scene::new(env!("CARGO_BIN_EXE_tidegate-probed"))
}

fn line(number: usize, word: &str) -> String {
    let time = 1_767_225_600_000 + number;
    format!(r#"{{"user": "u{}", "time": {time}, "number": {number}, "word": "{word}"}}"#, number % 7)
}

/// Writes lines; the one with the number `poisoned` holds the word "poison".
fn write_lines(path: &Path, count: usize, poisoned: Option<usize>) {
    let mut text = String::new();
    for number in 0..count {
        let word = if Some(number) == poisoned { "poison" } else { "good" };
        writeln!(text, "{}", line(number, word)).expect("a String takes it");
    }
    fs::write(path, text).expect("the input is written");
}

/// A job that was killed in the middle of its input, after a checkpoint with some of it.
fn half_read() -> Scene {
    // Enough for several checkpoints: a source answers a barrier between two polls.
    const LINES: usize = 12_000;
    let scene = scene();
    write_lines(&scene.path("lines.jsonl"), LINES, None);
    scene.write_job(&Copying::healthy(30).job());
    let run = scene.run_and_kill("committed:4");
    assert!(run.was_killed(), "the kill did not hit: {:?}\n{}", run.status, run.log);
    let count = expect_beginning(&scene, "after the kill");
    assert!(0 < count && count < LINES, "{count} lines are committed: the test tests nothing");
    scene
}

fn lines_of(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).expect("the file is there and is UTF-8");
    assert!(text.is_empty() || text.ends_with('\n'), "a line is cut");
    text.lines().map(str::to_owned).collect()
}

/// One shard and one split: what is committed is the beginning of the input, in its order.
fn expect_beginning(scene: &Scene, what: &str) -> usize {
    let (input, output) = (lines_of(&scene.path("lines.jsonl")), lines_of(&scene.path("out.jsonl")));
    assert!(output.len() <= input.len(), "{what}: {} lines of {}", output.len(), input.len());
    assert_eq!(output[..], input[..output.len()], "{what}: what is committed is not the beginning of the input");
    output.len()
}

fn expect_whole(scene: &Scene, what: &str) {
    let count = expect_beginning(scene, what);
    assert_eq!(count, lines_of(&scene.path("lines.jsonl")).len(), "{what}: lines are missing at the end");
}
