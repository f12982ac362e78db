//! Lines that are too long, and files that are not what they were at the checkpoint.

use super::{Copying, DEAD_LETTERS, expect_beginning, expect_whole, half_read, line, lines_of, scene, write_lines};
use std::fs;
use tidegate_tests::scene::Scene;

const LONG_BYTES: usize = 10 << 20;

fn long_line_scene(policy: &str, sections: &str) -> (Scene, usize) {
    let scene = scene();
    let before = format!("{}\n{}\n", line(0, "good"), line(1, "good"));
    let long = line(2, &"x".repeat(LONG_BYTES));
    let text = format!("{before}{long}\n{}\n", line(3, "good"));
    fs::write(scene.path("lines.jsonl"), text).expect("the input is written");
    let (source_keys, sections) = (policy.to_owned(), sections.to_owned());
    let job = Copying { source_keys, sections, ..Copying::healthy(0) };
    scene.write_job(&job.job());
    (scene, before.len())
}

fn numbers_of(scene: &Scene) -> Vec<String> {
    let number =
        |line: &String| line.split("\"number\": ").nth(1).and_then(|rest| rest.split(',').next()).map(str::to_owned);
    lines_of(&scene.path("out.jsonl")).iter().filter_map(number).collect()
}

#[test]
fn a_line_of_10_mib_stops_the_job_by_default() {
    let (scene, at) = long_line_scene("", "");
    let position = format!("lines.jsonl@{at}`");
    let said = ["source `lines`", &position, "larger than 1048576 bytes", "`max_record`", "`on_bad_record`"];
    scene.run().expect_refusal("a long line", 1, &said);
    expect_beginning(&scene, "a long line");
}

#[test]
fn a_line_of_10_mib_is_left_out_with_skip() {
    let (scene, _) = long_line_scene("on_bad_record = \"skip\"", "");
    scene.run().expect_success("a long line is skipped");
    assert_eq!(numbers_of(&scene), ["0", "1", "3"]);
}

#[test]
fn a_line_of_10_mib_is_a_dead_letter_that_says_it_is_cut() {
    let (scene, at) = long_line_scene("on_bad_record = \"dead-letter\"", DEAD_LETTERS);
    scene.run().expect_success("a long line is a dead letter");
    assert_eq!(numbers_of(&scene), ["0", "1", "3"]);
    let dead = lines_of(&scene.path("dead.jsonl"));
    assert_eq!(dead.len(), 1);
    let letter: serde_json::Value = serde_json::from_str(&dead[0]).expect("a dead letter is JSON");
    let reason = letter["reason"].as_str().expect("the reason is text");
    assert!(
        reason.contains("larger than 1048576 bytes") && reason.contains("its first 1048577 bytes are here"),
        "{reason}"
    );
    assert!(
        letter["position"].as_str().is_some_and(|it| it.ends_with(&format!("lines.jsonl@{at}"))),
        "{}",
        letter["position"]
    );
    assert_eq!(letter["operator"], "lines");
    assert_eq!(letter["value"].as_str().map(str::len), Some(1_048_577));
}

#[test]
fn a_line_of_10_mib_is_read_where_it_is_allowed() {
    let (scene, _) = long_line_scene("max_record = \"11MiB\"", "");
    scene.run().expect_success("a long line is allowed");
    expect_whole(&scene, "a long line is allowed");
}

#[test]
fn a_file_that_shrank_since_the_checkpoint_is_refused() {
    let scene = half_read();
    let input = fs::read(scene.path("lines.jsonl")).expect("the input is there");
    fs::write(scene.path("lines.jsonl"), &input[..100]).expect("the input is cut");
    scene.run().expect_refusal(
        "a file that shrank",
        78,
        &["source `lines`", "lines.jsonl` shrank", "put the file back"],
    );
    fs::write(scene.path("lines.jsonl"), &input).expect("the input is whole again");
    scene.run().expect_success("the file is as it was");
    expect_whole(&scene, "the file is as it was");
}

#[test]
fn a_file_that_was_replaced_since_the_checkpoint_is_refused() {
    let scene = half_read();
    fs::rename(scene.path("lines.jsonl"), scene.path("kept")).expect("the input is moved");
    write_lines(&scene.path("lines.jsonl"), 3000, Some(1));
    scene.run().expect_refusal(
        "a replaced file",
        78,
        &["source `lines`", "lines.jsonl` was replaced", "put the file back"],
    );
    fs::remove_file(scene.path("lines.jsonl")).expect("the other input goes");
    scene.run().expect_refusal("no file", 78, &["source `lines`", "lines.jsonl` is gone", "put the file back"]);
    fs::rename(scene.path("kept"), scene.path("lines.jsonl")).expect("the input comes back");
    scene.run().expect_success("the file is back");
    expect_whole(&scene, "the file is back");
}

#[test]
fn a_file_that_was_rewritten_in_place_is_refused() {
    let scene = half_read();
    let input = fs::read_to_string(scene.path("lines.jsonl")).expect("the input is there");
    fs::write(scene.path("lines.jsonl"), input.replace("u1", "w1")).expect("the input is rewritten");
    scene.run().expect_refusal("a rewritten file", 78, &["source `lines`", "was written anew", "put the file back"]);
}

#[test]
fn an_output_that_somebody_else_wrote_to_is_refused() {
    let scene = half_read();
    let output = fs::read_to_string(scene.path("out.jsonl")).expect("the output is there");
    fs::write(scene.path("out.jsonl"), format!("{output}by hand\n")).expect("the output is longer");
    scene.run().expect_refusal("a longer output", 78, &["sink `out`", "somebody else wrote to it"]);
    let cut = &output[..output.len() / 2];
    fs::write(scene.path("out.jsonl"), cut).expect("the output is shorter");
    scene.run().expect_refusal("a shorter output", 78, &["sink `out`", "somebody shortened it"]);
    fs::write(scene.path("out.jsonl"), &output).expect("the output is as it was");
    scene.run().expect_success("the output is as it was");
    expect_whole(&scene, "the output is as it was");
}

#[test]
fn a_pattern_that_names_other_files_is_refused_and_new_files_are_told() {
    let scene = half_read();
    let job = std::fs::read_to_string(scene.path("job.toml")).expect("the job file is there");
    write_lines(&scene.path("other.jsonl"), 3, None);
    scene.write_job(&job.replace("path = \"lines.jsonl\"", "path = \"other.jsonl\""));
    let said = ["source `lines`", "other.jsonl` names none of the files", "lines.jsonl`", "put `path` back"];
    scene.run().expect_refusal("another path", 78, &said);
    scene.write_job(&job.replace("path = \"lines.jsonl\"", "path = \"*er.jsonl\"").replace("*er", "*e*"));
    let run = scene.run();
    run.expect_success("a wider pattern");
    assert!(run.log.contains("1 of the 2 files"), "{}", run.log);
    expect_whole(&scene, "a wider pattern");
}
