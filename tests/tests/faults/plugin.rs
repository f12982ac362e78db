//! Rows of the fault matrix about plugins that break while a Kafka transaction is open.
//!
//! Traps, loops and nonsense with files are `tests/bad_input/plugins.rs`. Next room: `tidegate_tests::tally`.

use crate::PROGRAM;
use crate::matrix::Row;
use tidegate_tests::tally::{Shape, Tally};

pub(crate) const ROWS: &[Row] = &[
    Row::elsewhere(
        "trap at record k",
        "`process` panics at a record",
        "1, the records and the trace named; what was committed stays; mended exact",
        ("tests/tests/bad_input/plugins.rs", "a_plugin_that_traps_names_the_records_and_loses_nothing"),
    ),
    Row::quick(
        "trap at record k, Kafka",
        "the same while a transaction is open",
        "the same, and nothing of the transaction is ever visible",
        trap_with_kafka,
    ),
    Row::elsewhere(
        "error at record k",
        "`process` returns an error",
        "the same",
        ("tests/tests/bad_input/plugins.rs", "a_plugin_that_returns_an_error_names_the_records_and_loses_nothing"),
    ),
    Row::elsewhere(
        "trap in open",
        "`describe` or `open` panics or fails",
        "1, nothing is bound to the plugin",
        ("tests/tests/bad_input/plugins.rs", "a_plugin_that_traps_before_it_runs_is_refused_and_binds_nothing"),
    ),
    Row::elsewhere(
        "trap in advance",
        "`advance` panics",
        "1, the time named",
        ("tests/tests/bad_input/plugins.rs", "a_plugin_that_traps_in_advance_names_the_time"),
    ),
    Row::elsewhere(
        "endless loop",
        "`process` never returns",
        "1 after `call_timeout`",
        ("tests/tests/bad_input/plugins.rs", "a_plugin_that_loops_for_ever_is_ended"),
    ),
    Row::quick(
        "endless loop, Kafka",
        "the same while a transaction is open",
        "the same, and nothing of the transaction is ever visible",
        endless_loop_with_kafka,
    ),
    Row::elsewhere(
        "memory bomb",
        "`process` allocates without an end",
        "1 at `memory`",
        ("tests/tests/bad_input/plugins.rs", "a_plugin_that_eats_memory_is_ended"),
    ),
    Row::quick(
        "memory bomb, Kafka",
        "the same while a transaction is open",
        "the same, and nothing of the transaction is ever visible",
        memory_bomb_with_kafka,
    ),
    Row::elsewhere(
        "poison record, `fail`",
        "a record that makes `process` fail, with `on_error = \"fail\"`",
        "1, the records named; what was committed stays; mended exact",
        ("tests/tests/bad_input/plugins.rs", "a_plugin_that_traps_names_the_records_and_loses_nothing"),
    ),
    Row::elsewhere(
        "poison record, `dead-letter`",
        "records that trap, return an error or nonsense, loop, or take too much memory, with `on_error = \"dead-letter\"`",
        "each is a dead letter with its reason; the effects of all others stay",
        ("tests/tests/dead_letters/isolated.rs", "every_way_to_fail_is_a_dead_letter_with_its_reason"),
    ),
    Row::elsewhere(
        "poison record, `dead-letter`, and SIGKILL",
        "the same, killed around the undo and the checkpoint",
        "each dead letter once, and all else exact",
        ("tests/tests/dead_letters/kills.rs", "kafka_gets_each_dead_letter_once_wherever_the_host_is_killed"),
    ),
    Row::elsewhere(
        "different output on replay",
        "the calls that an undo repeats give another output",
        "1, operator, shard and call named as not deterministic",
        ("tests/tests/dead_letters/refused.rs", "another_output_of_a_repeated_call_is_named_and_ends_the_job"),
    ),
    Row::elsewhere(
        "stack overflow",
        "`process` recurses without an end",
        "1",
        ("tests/tests/bad_input/plugins.rs", "a_plugin_that_recurses_for_ever_is_ended"),
    ),
    Row::elsewhere(
        "malformed columns, a port that does not exist",
        "`process` returns columns that do not fit together, rows or ports that are not there",
        "1, what is wrong named",
        ("tests/tests/bad_input/plugins.rs", "a_plugin_that_returns_nonsense_is_ended"),
    ),
    Row::elsewhere(
        "advance for ever",
        "`advance` always wants to be called again",
        "1; and every other kind of nonsense: one case each",
        ("tests/tests/cases.rs", "every_case_says_and_writes_what_is_expected"),
    ),
];

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
fn trap_with_kafka() {
    breaks("trap_in_process", "", &["in `process`", "it trapped"]);
}

/// An endless loop.
fn endless_loop_with_kafka() {
    breaks("loop_forever", "call_timeout = \"1s\"", &["in `process`", "longer than 1s", "`call_timeout`"]);
}

/// A memory bomb.
fn memory_bomb_with_kafka() {
    breaks("eat_memory", "memory = \"16MiB\"", &["in `process`", "the limit is 16777216 bytes", "`memory`"]);
}
