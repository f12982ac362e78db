//! What no undo may hide: a plugin that is not deterministic, one that fails in `advance`, one that fails too often.
//!
//! Next room: `bounds`.

use super::{Counting, Letters, ONE_INTERVAL};

#[test]
fn another_output_of_a_repeated_call_is_named_and_ends_the_job() {
    // No plugin can do this by itself, there is nothing to be random from: the host is made to compare with another digest.
    let mut letters = Letters::new(&ONE_INTERVAL, 5000, [3000]);
    letters.scene.set_variable("TIDEGATE_DISTORT", Some("repeat".into()));
    let said = [
        "operator `count` shard `0` is not deterministic",
        "call 1 of 2, `process` with one of `1024` records, the first at `",
        "lines.jsonl@0`",
        "its output was another",
        "on_error = \"fail\"",
    ];
    letters.scene.run().expect_refusal("another output", 1, &said);
    letters.scene.set_variable("TIDEGATE_DISTORT", None);
    letters.run("without the distortion");
}

#[test]
fn a_failure_in_advance_ends_the_job() {
    let letters = Letters::new(&Counting { mode: "trap_in_advance", ..ONE_INTERVAL }, 100, []);
    let said = ["operator `count` failed on `advance` to", "it trapped", "the last checkpoint is intact"];
    letters.scene.run().expect_refusal("a trap in advance", 1, &said);
}

#[test]
fn more_poison_than_allowed_between_two_checkpoints_ends_the_job() {
    let poison = [10, 20, 1030, 1040, 2060, 2070];
    let five = Counting { operator: "max_dead_letters = 5", ..ONE_INTERVAL };
    let letters = Letters::new(&five, 5000, poison);
    let offset: usize = letters.lines[..2070].iter().map(|line| line.len() + 1).sum();
    let place = format!("lines.jsonl@{offset}`, past its limit of `5` records");
    let said = ["operator `count` failed again on the record at `", place.as_str(), "it trapped"];
    letters.scene.run().expect_refusal("six, where five may be", 1, &said);
    assert!(letters.output().counts.is_empty() && letters.output().dead.is_empty(), "nothing was committed");
    // The limit is part of no state: a new start may have another.
    letters.scene.write_job(&Counting { operator: "max_dead_letters = 6", ..ONE_INTERVAL }.job());
    letters.run("six, where six may be");
}

#[test]
fn more_time_than_allowed_between_two_checkpoints_ends_the_job() {
    let loops = Counting {
        mode: "loop_forever",
        operator: "call_timeout = \"300ms\"",
        checkpoint: "timeout = \"10s\"",
        ..ONE_INTERVAL
    };
    let letters = Letters::new(&loops, 5000, 1000..1090);
    let said = ["operator `count` failed again", "past its limit of `5s` of repeated calls", "longer than 300ms"];
    letters.scene.run().expect_refusal("ninety loops", 1, &said);
    let letters = Letters::new(&loops, 5000, [1000]);
    letters.run("one loop");
}
