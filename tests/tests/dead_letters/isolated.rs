//! What is found and taken out: wherever the poison stands, however the plugin fails, whatever the shape of the job.
//!
//! Next room: `refused`.

use super::{Counting, Letters, ONE_INTERVAL};
use std::fs;
use tidegate_tests::scene::{Scene, plugin};

/// Three poison records in each of three batches in a row: at the edges, side by side, spread.
const NINE: [usize; 9] = [1024, 1500, 2047, 2048, 2049, 2050, 3073, 3700, 4094];

#[test]
fn three_batches_in_a_row_with_three_poison_records_each_lose_nothing_else() {
    let letters = Letters::new(&ONE_INTERVAL, 10_000, NINE);
    let run = letters.run("nine in three batches");
    letters.expect_order("nine in three batches");
    // A watermark that was due may have cut a batch in two.
    let undone = run.log.matches("a call failed; looking for the record").count();
    assert!((3..=5).contains(&undone), "{undone} batches:\n{}", run.log);
    assert!(
        letters.reasons().iter().all(|reason| reason.starts_with("error: it trapped: ")),
        "{:?}",
        letters.reasons()
    );
    assert!(letters.reasons()[0].contains("\n    at "), "with the plugin's backtrace: {:?}", letters.reasons()[0]);
}

#[test]
fn the_first_record_of_all_and_the_last_one_are_found() {
    let letters = Letters::new(&ONE_INTERVAL, 3000, [0, 2999]);
    letters.run("the first and the last");
    letters.expect_order("the first and the last");
    let letters = Letters::new(&ONE_INTERVAL, 7, 0..7);
    letters.run("nothing but poison");
}

#[test]
fn every_way_to_fail_is_a_dead_letter_with_its_reason() {
    let ways = [
        ("trap_in_process", "", "told to trap at record"),
        ("err_in_process", "", "error: it returned an error: told to fail at record"),
        ("stack_overflow", "", "used up by endless recursion"),
        ("eat_memory", "memory = \"16MiB\"", "the limit is 16777216 bytes"),
        ("loop_forever", "call_timeout = \"500ms\"", "longer than 500ms"),
        ("bad_port", "", "error: it returned nonsense: a forward is for port 7"),
        ("malformed_columns", "", "error: it returned nonsense: "),
    ];
    for (mode, operator, reason) in ways {
        let letters = Letters::new(&Counting { mode, operator, ..ONE_INTERVAL }, 5000, [1100, 1900, 2500]);
        letters.run(mode);
        letters.expect_order(mode);
        for found in letters.reasons() {
            assert!(found.contains(reason), "{mode}: {found}");
        }
    }
}

#[test]
fn every_shape_of_the_job_gives_the_same() {
    let often = Counting { interval: "10ms", ..ONE_INTERVAL };
    let shapes = [
        Counting { batch_rows: 1, ..often.clone() },
        Counting { batch_rows: 7, ..often.clone() },
        Counting { shards: 16, workers: 1, ..often.clone() },
        Counting { shards: 5, workers: 3, ..often.clone() },
        Counting { shards: 16, workers: 2, ..ONE_INTERVAL },
        often,
    ];
    for shape in shapes {
        let what = format!("{} rows, {} shards, {} workers", shape.batch_rows, shape.shards, shape.workers);
        Letters::new(&shape, 40_000, (0..40_000).filter(|number| number * 31 % 997 == 5)).run(&what);
    }
}

#[test]
fn a_failure_that_does_not_repeat_record_by_record_costs_no_record() {
    // It fails on what batches never may: their size.
    let letters = Letters::new(&Counting { mode: "trap_in_batches", ..ONE_INTERVAL }, 5000, []);
    let text = fs::read_to_string(letters.scene.path("lines.jsonl")).expect("the input is read");
    fs::write(letters.scene.path("lines.jsonl"), text.replacen("\"good\"", "\"poison\"", 3)).expect("it is written");
    let run = letters.run("a failure of whole batches");
    letters.expect_order("a failure of whole batches");
    assert!(run.log.contains("the call did not fail again"), "{}", run.log);
}

/// A job in which the failing operator stands behind another one, and one in which it gets all records on every shard.
fn behind(edge: &str) -> Scene {
    let scene = Scene::new(env!("CARGO_BIN_EXE_tidegate-probed"));
    let lines = super::lines(4000, &[2000].into());
    fs::write(scene.path("lines.jsonl"), lines.join("\n") + "\n").expect("the input is written");
    let job = ONE_INTERVAL.job().replace("shards = 1", "shards = 4").replace("inputs = { main = \"lines\" }", edge);
    let map = format!(
        "[operator.map]\nplugin = \"{}\"\nconfig = {{ role = \"map\" }}\ndiscard = [\"out\"]\n\
         inputs = {{ main = {{ from = \"lines\", route = \"same-shard\" }} }}\n\n[operator.count]",
        plugin("steps").display()
    );
    let map = if edge.contains("map.out") { map.replace("discard = [\"out\"]\n", "") } else { map };
    scene.write_job(&job.replace("[operator.count]", &map));
    scene
}

fn dead_letters(scene: &Scene) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(scene.path("dead.jsonl")).expect("the dead letters are read");
    text.lines().map(|line| serde_json::from_str(line).expect("a dead letter is JSON")).collect()
}

#[test]
fn a_record_that_another_operator_emitted_is_a_dead_letter_without_a_position() {
    for edge in
        ["inputs = { main = \"map.out\" }", "inputs = { main = { from = \"map.out\", route = \"same-shard\" } }"]
    {
        let scene = behind(edge);
        scene.run().expect_success(edge);
        let letters = dead_letters(&scene);
        assert_eq!(letters.len(), 1, "{edge}: {letters:?}");
        assert!(letters[0]["position"].is_null(), "{edge}: {letters:?}");
        assert!(letters[0]["value"].as_str().is_some_and(|value| value.contains("\"mapped\":true")), "{letters:?}");
        let out = fs::read_to_string(scene.path("out.jsonl")).expect("the output is read");
        assert_eq!(out.lines().count(), 3999, "{edge}");
    }
}

#[test]
fn a_broadcast_record_is_a_dead_letter_of_each_shard_that_fails_on_it() {
    let scene = behind("inputs = { main = { from = \"lines\", route = \"broadcast\" } }");
    scene.run().expect_success("broadcast");
    let letters = dead_letters(&scene);
    assert_eq!(letters.len(), 4, "{letters:?}");
    assert!(letters.iter().all(|letter| letter["value"].as_str().is_some_and(|value| value.contains("poison"))));
    let out = fs::read_to_string(scene.path("out.jsonl")).expect("the output is read");
    assert_eq!(out.lines().count(), 4 * 3999);
}
