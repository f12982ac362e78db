//! Output and input files that somebody else has touched, and an old copy of the store beside them.

use crate::{PROGRAM, carry_out, expect_sound, look, store};
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use tidegate_tests::scene::{Scene, plugin};

/// Enough for several checkpoints.
const LINES: usize = 12_000;

fn line(number: usize) -> String {
    let time = 1_767_225_600_000 + number;
    format!(r#"{{"user": "u{}", "time": {time}, "number": {number}, "word": "good"}}"#, number % 7)
}

/// A job that copies a file, slowly enough to be killed in the middle.
fn copying() -> Scene {
    let scene = Scene::new(PROGRAM);
    let text: String = (0..LINES).map(|number| line(number) + "\n").collect();
    fs::write(scene.path("lines.jsonl"), text).expect("the input is written");
    scene.write_job(&format!(
        r#"name = "copy"
shards = 1
workers = 1

[checkpoint]
interval = "10ms"

[batch]
rows = 16

[limits]
channel = "8KiB"

[source.lines]
kind = "file"
path = "lines.jsonl"
key = "user"
timestamp = {{ field = "time" }}

[operator.copy]
plugin = "{}"
inputs = {{ main = "lines" }}
config = {{ mode = "slow", rounds = 30000 }}

[sink.out]
kind = "file"
path = "out.jsonl"
from = ["copy.out"]
"#,
        plugin("misbehave").display()
    ));
    scene
}

fn kill(scene: &Scene, at: &str) {
    let run = scene.run_and_kill(at);
    assert!(run.was_killed(), "the kill did not hit: {:?}\n{}", run.status, run.log);
}

fn output(scene: &Scene) -> PathBuf {
    scene.path("out.jsonl")
}

fn lines(scene: &Scene) -> Vec<String> {
    fs::read_to_string(output(scene)).expect("the output is there").lines().map(str::to_owned).collect()
}

fn append(path: &PathBuf, text: &str) {
    let mut file = fs::File::options().append(true).open(path).expect("the file is there");
    file.write_all(text.as_bytes()).expect("it is written");
}

fn expect_whole(scene: &Scene, what: &str) {
    expect_lines(scene, 0..LINES, what);
}

fn expect_lines(scene: &Scene, numbers: impl IntoIterator<Item = usize>, what: &str) {
    let (expected, found): (Vec<String>, _) = (numbers.into_iter().map(line).collect(), lines(scene));
    let differs = (0..).zip(expected.iter().zip(&found)).find(|(_, (expected, found))| expected != found);
    assert_eq!((differs, found.len()), (None, expected.len()), "{what}");
}

#[test]
fn foreign_lines_are_set_aside_and_nothing_is_lost() {
    for at in ["committed:3", "decided:3", "prepared:3"] {
        let scene = copying();
        kill(&scene, at);
        append(&output(&scene), "foreign\n");
        scene.run().expect_refusal(at, 78, &["stop `output-foreign`", "moves it aside"]);
        look(&scene, &["stop output-foreign", "loses and doubles nothing"]);
        let run = carry_out(&scene, "set-aside-out", &[]);
        let (_, aside) = run.log.split_once("the rest is in `").expect("the file's name is told");
        let aside = fs::read_to_string(aside.split('`').next().unwrap_or_default()).expect("it is there");
        assert!(aside.ends_with("foreign\n"), "{aside}");
        expect_sound(&scene);
        scene.run().expect_success(at);
        expect_whole(&scene, at);
    }
}

#[test]
fn an_old_copy_of_a_store_writes_its_output_again_once_the_later_lines_are_set_aside() {
    let scene = copying();
    kill(&scene, "committed:3");
    let store = store(&scene);
    fs::copy(&store, scene.path("old-copy")).expect("the store is copied");
    kill(&scene, "committed:3");
    fs::copy(scene.path("old-copy"), &store).expect("the old copy is put back");
    scene.run().expect_refusal("an old copy", 78, &["stop `output-foreign`"]);
    carry_out(&scene, "set-aside-out", &[]);
    expect_sound(&scene);
    scene.run().expect_success("from the old copy");
    expect_whole(&scene, "from the old copy");
}

#[test]
fn a_shortened_output_loses_what_was_cut_and_nothing_else() {
    let scene = copying();
    kill(&scene, "committed:4");
    let all = fs::read(output(&scene)).expect("the output is there");
    // Three whole lines and half of one stay.
    let kept: usize = (0..3).map(|number| line(number).len() + 1).sum();
    fs::write(output(&scene), &all[..kept + 10]).expect("the output is cut");
    scene.run().expect_refusal("a shortened output", 78, &["stop `output-short`"]);
    look(&scene, &["stop output-short", &format!("`{}` bytes of output are lost", committed(&scene) - kept - 10)]);
    let before = committed_lines(&scene);
    carry_out(&scene, "accept-out", &[]);
    expect_sound(&scene);
    scene.run().expect_success("as it is");
    expect_lines(&scene, (0..3).chain(before..LINES), "as it is");
}

/// What the last checkpoint left of the output, in bytes.
fn committed(scene: &Scene) -> usize {
    let looked = scene.repair(&[]);
    let (_, rest) = looked.log.split_once("and it should have `").expect("it is told");
    rest.split('`').next().and_then(|number| number.parse().ok()).expect("a number")
}

/// The same in lines.
fn committed_lines(scene: &Scene) -> usize {
    let bytes = committed(scene);
    let (mut count, mut length) = (0, 0);
    while length < bytes {
        length += line(count).len() + 1;
        count += 1;
    }
    assert_eq!(length, bytes, "a checkpoint ends with a whole line");
    count
}

#[test]
fn a_replaced_output_is_gone_on_with_as_it_is() {
    let scene = copying();
    kill(&scene, "committed:4");
    let copy = scene.path("copy");
    fs::copy(output(&scene), &copy).expect("the output is copied");
    fs::rename(&copy, output(&scene)).expect("and replaced by its copy");
    scene.run().expect_refusal("a replaced output", 78, &["stop `output-replaced`"]);
    look(&scene, &["stop output-replaced", "it is taken as it is"]);
    carry_out(&scene, "accept-out", &[]);
    expect_sound(&scene);
    scene.run().expect_success("with the copy");
    expect_whole(&scene, "with the copy");
}

#[test]
fn a_staging_file_that_is_gone_costs_what_was_announced() {
    let scene = copying();
    kill(&scene, "decided:4");
    let entries = fs::read_dir(scene.folder()).expect("the folder is read");
    let staging = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let staging: Vec<PathBuf> = staging.filter(|path| path.to_string_lossy().contains(".out.jsonl.staging-")).collect();
    let [staging] = &staging[..] else { panic!("one staging file: {staging:?}") };
    let lost = fs::read_to_string(staging).expect("it is read").lines().count();
    let before = lines(&scene).len();
    assert!(lost > 0);
    fs::remove_file(staging).expect("it is there");
    scene.run().expect_refusal("a lost staging file", 78, &["stop `staging-gone`"]);
    look(&scene, &["stop staging-gone", "bytes of output are lost"]);
    carry_out(&scene, "accept-out", &[]);
    expect_sound(&scene);
    scene.run().expect_success("without it");
    expect_lines(&scene, (0..before).chain(before + lost..LINES), "without it");
}

#[test]
fn a_replaced_input_is_read_from_where_a_person_says() {
    let scene = copying();
    kill(&scene, "committed:4");
    let before = lines(&scene).len();
    let text = fs::read_to_string(scene.path("lines.jsonl")).expect("the input is there");
    fs::write(scene.path("new"), &text).expect("a copy is written");
    fs::rename(scene.path("new"), scene.path("lines.jsonl")).expect("and takes its place");
    scene.run().expect_refusal("a replaced input", 78, &["stop `file-changed`"]);
    look(&scene, &["stop file-changed", "is read from byte `0`"]);
    let offset: usize = (0..before).map(|number| line(number).len() + 1).sum();
    let at = format!("{}={offset}", scene.path("lines.jsonl").display());
    carry_out(&scene, "move-lines", &["--at", &at]);
    expect_sound(&scene);
    scene.run().expect_success("in the copy");
    expect_whole(&scene, "in the copy");
}
