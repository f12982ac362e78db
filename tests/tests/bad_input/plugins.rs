//! Plugins that trap, loop, eat memory: the job ends with 1 and says where, and what was committed stays.

use super::{Copying, expect_beginning, expect_whole, half_read, lines_of, scene, write_lines};
use std::collections::HashMap;
use std::fs;
use tidegate_tests::scene::{Scene, plugin};

const LINES: usize = 2000;
const POISONED: usize = 1700;

fn poisoned() -> Scene {
    let scene = scene();
    write_lines(&scene.path("lines.jsonl"), LINES, Some(POISONED));
    scene
}

/// Runs a plugin into its failure, twice, and then another one over the same records.
fn fails_and_goes_on(mode: &str, operator_keys: &str, said: &[&str]) {
    let scene = poisoned();
    let config = format!("mode = \"{mode}\", word = \"poison\"");
    let job = Copying { operator_keys: operator_keys.to_owned(), ..Copying::misbehaving(&config) };
    scene.write_job(&job.job());
    scene.run().expect_refusal(mode, 1, said);
    let first = expect_beginning(&scene, mode);
    scene.run().expect_refusal(&format!("{mode}, a second time"), 1, said);
    let second = expect_beginning(&scene, mode);
    assert!(first <= second && second <= POISONED, "{mode}: {first}, then {second} lines");
    scene.write_job(&Copying::healthy(0).job());
    scene.run_with(None, &["--fresh", "copy"]).expect_success(&format!("after {mode}"));
    expect_whole(&scene, &format!("after {mode}"));
}

#[test]
fn a_plugin_that_traps_names_the_records_and_loses_nothing() {
    let said = [
        "operator `copy`",
        "lines.jsonl@",
        "in `process`",
        "it trapped",
        "the last checkpoint is intact",
        "--fresh copy",
    ];
    fails_and_goes_on("trap_in_process", "", &said);
}

#[test]
fn a_plugin_that_returns_an_error_names_the_records_and_loses_nothing() {
    let said =
        ["operator `copy`", "lines.jsonl@", "in `process`", "told to fail at record", "the last checkpoint is intact"];
    fails_and_goes_on("err_in_process", "", &said);
}

#[test]
fn a_plugin_that_loops_for_ever_is_ended() {
    let said = ["operator `copy`", "lines.jsonl@", "in `process`", "longer than 1s", "`call_timeout`"];
    fails_and_goes_on("loop_forever", "call_timeout = \"1s\"", &said);
}

#[test]
fn a_plugin_that_eats_memory_is_ended() {
    let said = ["operator `copy`", "lines.jsonl@", "in `process`", "the limit is 16777216 bytes", "`memory`"];
    fails_and_goes_on("eat_memory", "memory = \"16MiB\"", &said);
}

#[test]
fn a_plugin_that_recurses_for_ever_is_ended() {
    fails_and_goes_on("stack_overflow", "", &["operator `copy`", "lines.jsonl@", "used up by endless recursion"]);
}

#[test]
fn a_plugin_that_returns_nonsense_is_ended() {
    for (mode, words) in
        [("bad_port", "port 7"), ("malformed_columns", "do not ascend"), ("bad_rejection_row", "rejects row")]
    {
        fails_and_goes_on(mode, "", &["operator `copy`", "lines.jsonl@", "it returned nonsense", words]);
    }
}

#[test]
fn a_plugin_that_traps_in_advance_names_the_time() {
    let said = ["operator `copy`", "`advance` to", "it trapped", "the last checkpoint is intact"];
    fails_and_goes_on("trap_in_advance", "", &said);
}

#[test]
fn a_plugin_that_traps_before_it_runs_is_refused_and_binds_nothing() {
    for (mode, call) in [("trap_in_describe", "`describe`"), ("trap_in_open", "`open`"), ("err_in_open", "`open`")] {
        let scene = poisoned();
        scene.write_job(&Copying::misbehaving(&format!("mode = \"{mode}\"")).job());
        let said = ["job.toml:", "operator `copy` cannot use its plugin", call];
        scene.run().expect_refusal(mode, 1, &said);
        // Nothing was read yet, so another configuration needs nobody's word.
        scene.write_job(&Copying::healthy(0).job());
        scene.run().expect_success(&format!("after {mode}"));
        expect_whole(&scene, &format!("after {mode}"));
    }
}

/// How often each line's user has come, that line included.
fn counts(lines: &[String]) -> Vec<u64> {
    let mut seen: HashMap<&str, u64> = HashMap::new();
    let count = |line| {
        let user: &str = str::split(line, '"').nth(3).expect("a line begins with its user");
        let seen = seen.entry(user).or_default();
        *seen += 1;
        *seen
    };
    lines.iter().map(String::as_str).map(count).collect()
}

fn counted(scene: &Scene) -> Vec<u64> {
    let count = |line: &String| {
        let row: serde_json::Value = serde_json::from_str(line).expect("an output line is JSON");
        row["count"].as_u64().expect("it has a count")
    };
    lines_of(&scene.path("out.jsonl")).iter().map(count).collect()
}

#[test]
fn fresh_begins_with_empty_state_at_the_positions_of_the_last_checkpoint() {
    const LINES: usize = 200_000;
    let scene = scene();
    write_lines(&scene.path("lines.jsonl"), LINES, None);
    let job = Copying {
        plugin: plugin("steps").display().to_string(),
        config: "role = \"count\"".to_owned(),
        ..Copying::healthy(0)
    };
    scene.write_job(&job.job());
    let run = scene.run_and_kill("committed:3");
    assert!(run.was_killed(), "the kill did not hit: {:?}\n{}", run.status, run.log);
    let run = scene.run_and_kill("committed:3");
    assert!(run.was_killed(), "the second kill did not hit: {:?}\n{}", run.status, run.log);
    scene.run_with(None, &["--fresh", "copy"]).expect_success("empty state");

    let lines = lines_of(&scene.path("lines.jsonl"));
    let (whole, found) = (counts(&lines), counted(&scene));
    assert_eq!(found.len(), LINES, "no line is lost or comes twice");
    let begun = (0..LINES).find(|at| found[*at] != whole[*at]).expect("the state was given up");
    assert!(begun > 0, "there was a checkpoint");
    assert_eq!(found[begun..], counts(&lines[begun..]), "from there on it counts anew");
}

/// The same plugin under another hash
/// The same plugin under another hash: an empty custom section is added.
fn rebuilt(scene: &Scene) -> String {
    let mut bytes = fs::read(plugin("misbehave")).expect("the plugin is there");
    bytes.extend_from_slice(&[0, 4, 3, b'n', b'e', b'w']);
    let path = scene.path("rebuilt.wasm");
    fs::write(&path, bytes).expect("the plugin is written");
    path.display().to_string()
}

#[test]
fn state_of_another_plugin_or_configuration_needs_a_word() {
    let scene = half_read();
    let before = expect_beginning(&scene, "after the kill");

    let mut job = Copying::healthy(30);
    job.plugin = rebuilt(&scene);
    scene.write_job(&job.job());
    let said = ["state of operator `copy` was written by plugin", "Nothing was changed", "`--fresh copy`"];
    scene.run().expect_refusal("another plugin", 78, &said);

    scene.write_job(&Copying::healthy(29).job());
    let said = ["state of operator `copy` was written by configuration", "\"rounds\":29000", "`--fresh copy`"];
    scene.run().expect_refusal("another configuration", 78, &said);
    assert_eq!(expect_beginning(&scene, "after two refusals"), before);

    scene.write_job(&job.job());
    scene.run_with(None, &["--fresh", "copy"]).expect_success("another plugin, with empty state");
    expect_whole(&scene, "another plugin, with empty state");
}

#[test]
fn with_a_log_in_json_an_error_is_one_json_line_too() {
    let scene = poisoned();
    scene.write_job(&Copying::misbehaving("mode = \"trap_in_process\", word = \"poison\"").job());
    let run = scene.run_with(None, &["--log", "json"]);
    run.expect_refusal("a trap", 1, &[]);
    let events: Vec<serde_json::Value> =
        run.log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"))).collect();
    let last = events.last().expect("something is logged");
    assert_eq!(last["level"], "ERROR");
    assert!(last["message"].as_str().is_some_and(|text| text.contains("operator `copy` failed on")), "{last}");
    assert!(last["because"].as_str().is_some_and(|text| text.contains("it trapped")), "{last}");
}
