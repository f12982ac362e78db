//! Rows of the fault matrix about plugins that break while a Kafka transaction is open.
//!
//! Traps, loops and nonsense with files are `tests/bad_input/plugins.rs`. Next room: `tidegate_tests::tally`.

use tidegate_tests::tally::{Shape, Tally};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tidegate-probed");

/// The operator breaks in the middle of its input; nothing of the open transaction is ever visible, and mended it is exact.
fn breaks(mode: &str, keys: &str, said: &[&str]) {
    let tally = Tally::new(PROGRAM, Shape::TO_KAFKA);
    let slow = "config = { mode = \"slow\", rounds = 30000 }";
    let broken = format!("config = {{ mode = \"{mode}\", at_record = 9000 }}\n{keys}");
    tally.change_job(&[(slow, &broken)]);
    let run = tally.scene.run();
    let said = [&["operator `slow`", "lines.jsonl@", "the last checkpoint is intact", "--fresh slow"], said].concat();
    run.expect_refusal(mode, 1, &said);
    let first = tally.expect_nothing_wrong(mode);
    tally.scene.run().expect_refusal(mode, 1, &[]);
    assert!(tally.expect_nothing_wrong(mode) >= first, "{mode}: what was committed stays");
    tally.change_job(&[(slow, "config = { mode = \"slow\", rounds = 1 }")]);
    tally.scene.run_with(None, &["--fresh", "slow"]).expect_success(mode);
    tally.expect_exact(mode);
}

/// A trap at record k.
pub(crate) fn trap_with_kafka() {
    breaks("trap_in_process", "", &["in `process`", "it trapped"]);
}

/// An endless loop.
pub(crate) fn endless_loop_with_kafka() {
    breaks("loop_forever", "call_timeout = \"1s\"", &["in `process`", "longer than 1s", "`call_timeout`"]);
}

/// A memory bomb.
pub(crate) fn memory_bomb_with_kafka() {
    breaks("eat_memory", "memory = \"16MiB\"", &["in `process`", "the limit is 16777216 bytes", "`memory`"]);
}
