//! Stores that are in use, damaged, or another job's.

use super::{Copying, expect_whole, half_read, scene, write_lines};
use std::fs;
use tidegate_tests::scene::Scene;

const LINES: usize = 12_000;

fn goes_on(scene: &Scene, what: &str) {
    scene.run().expect_success(what);
    expect_whole(scene, what);
}

#[test]
fn a_store_in_use_is_refused_and_its_job_is_not_harmed() {
    let scene = scene();
    write_lines(&scene.path("lines.jsonl"), LINES, None);
    scene.write_job(&Copying::healthy(100).job());
    let mut running = scene.start(None, &[]);
    running.wait_until("its start", |running| running.log().contains("running from checkpoint"));
    let said = ["copy.redb` is in use by another process", "stop the job that runs on it"];
    scene.run().expect_refusal("a second process", 75, &said);
    running.wait().expect_success("the first process");
    expect_whole(&scene, "the first process");
}

#[test]
fn a_truncated_store_is_refused_and_whole_again_it_goes_on() {
    let scene = half_read();
    let store = fs::read(scene.path("copy.redb")).expect("the store is there");
    let output = fs::read(scene.path("out.jsonl")).expect("the output is there");
    for length in [0, 100, 4096, store.len() / 4] {
        fs::write(scene.path("copy.redb"), &store[..length]).expect("the store is cut");
        let what = format!("a store cut to {length} bytes");
        scene.run().expect_refusal(&what, 78, &["copy.redb` is damaged", "put a copy of the file"]);
        assert_eq!(fs::read(scene.path("out.jsonl")).expect("the output is there"), output, "{what}");
    }
    fs::write(scene.path("copy.redb"), &store).expect("the store is whole again");
    goes_on(&scene, "the store is whole again");
}

/// Where a text stands in the store.
fn places_of(store: &[u8], text: &[u8]) -> Vec<usize> {
    store.windows(text.len()).enumerate().filter(|(_, window)| *window == text).map(|(at, _)| at).collect()
}

#[test]
fn a_flipped_byte_in_a_snapshot_is_refused_by_name_and_fresh_goes_on() {
    let scene = half_read();
    let store = fs::read(scene.path("copy.redb")).expect("the store is there");
    let output = fs::read(scene.path("out.jsonl")).expect("the output is there");
    // It is in the plugin's data: so in its memory, and in the stored artifact.
    let places = places_of(&store, b"told to");
    assert!(!places.is_empty(), "the plugin's data is in its snapshot");
    let mut named = 0;
    for place in places {
        let mut damaged = store.clone();
        damaged[place] ^= 0x20;
        fs::write(scene.path("copy.redb"), &damaged).expect("the store is damaged");
        fs::write(scene.path("out.jsonl"), &output).expect("the output is as it was");
        let run = scene.run();
        if run.status.success() {
            // A page that nothing refers to any more.
            expect_whole(&scene, "a byte that nobody needs");
            continue;
        }
        let what = format!("a flipped byte at {place}");
        run.expect_refusal(&what, 78, &["copy.redb` is damaged", "put a copy of the file"]);
        assert_eq!(fs::read(scene.path("out.jsonl")).expect("the output is there"), output, "{what}");
        if run.log.contains("damaged in the snapshot of operator `copy`, shard `0`") {
            named += 1;
            assert!(run.log.contains("`--fresh copy`"), "{}", run.log);
            scene.run_with(None, &["--fresh", "copy"]).expect_success("without the damaged snapshot");
            expect_whole(&scene, "without the damaged snapshot");
        }
    }
    assert!(named > 0, "no flipped byte was named as a snapshot's");
}

#[test]
fn a_flipped_byte_anywhere_is_refused_or_harmless() {
    let scene = half_read();
    let store = fs::read(scene.path("copy.redb")).expect("the store is there");
    let output = fs::read(scene.path("out.jsonl")).expect("the output is there");
    let in_use: Vec<usize> = (0..store.len()).step_by(4096).filter(|page| store[page + 64] != 0).collect();
    for page in in_use.iter().step_by(in_use.len().div_ceil(24)) {
        let mut damaged = store.clone();
        damaged[page + 64] ^= 1;
        fs::write(scene.path("copy.redb"), &damaged).expect("the store is damaged");
        fs::write(scene.path("out.jsonl"), &output).expect("the output is as it was");
        let run = scene.run();
        let what = format!("a flipped byte at {}", page + 64);
        match run.status.code() {
            Some(0) => expect_whole(&scene, &what),
            // A byte of the version: not what this build can read.
            _ if run.log.contains("file format version") => run.expect_refusal(&what, 78, &["copy.redb`"]),
            _ => run.expect_refusal(&what, 78, &["copy.redb` is damaged", "put a copy of the file"]),
        }
    }
}

#[test]
fn the_store_of_another_job_is_refused() {
    let scene = half_read();
    let job = Copying::healthy(30).job();
    scene.write_job(&job.replace("name = \"copy\"", "name = \"copies\"\nstore.path = \"copy.redb\""));
    let said = ["copy.redb` belongs to job `copy`, not to `copies`", "set another `store.path`"];
    scene.run().expect_refusal("another job's store", 78, &said);
    scene.write_job(&job);
    goes_on(&scene, "the job has its name back");
}

#[test]
fn a_renamed_operator_is_refused() {
    let scene = half_read();
    let job = Copying::healthy(30).job();
    scene.write_job(&job.replace("[operator.copy]", "[operator.copier]").replace("copy.out", "copier.out"));
    let said = ["state of operator `copy`, which the job file no longer has", "Put the name back"];
    scene.run().expect_refusal("a renamed operator", 78, &said);
    scene.write_job(&job);
    goes_on(&scene, "the operator has its name back");
}

#[test]
fn a_renamed_source_is_refused_instead_of_reading_nothing() {
    let scene = half_read();
    let job = Copying::healthy(30).job();
    scene.write_job(&job.replace("[source.lines]", "[source.rows]").replace("main = \"lines\"", "main = \"rows\""));
    let said = ["has a source `rows`, of which checkpoint", "knows no positions", "Put it back"];
    scene.run().expect_refusal("a renamed source", 78, &said);
    scene.write_job(&job);
    goes_on(&scene, "the source has its name back");
}

#[test]
fn a_sink_that_is_still_owed_output_cannot_be_taken_out() {
    let scene = scene();
    write_lines(&scene.path("lines.jsonl"), LINES, None);
    let job = Copying::healthy(30).job();
    scene.write_job(&job);
    let run = scene.run_and_kill("prepared:3");
    assert!(run.was_killed(), "the kill did not hit: {:?}\n{}", run.status, run.log);
    scene.write_job(&job.replace("[sink.out]", "[sink.other]").replace("out.jsonl", "other.jsonl"));
    let refused = scene.run();
    refused.expect_refusal("a sink is gone", 78, &["may owe sink `out` the last", "Put the sink back"]);
    scene.write_job(&job);
    goes_on(&scene, "the sink is back");
}
