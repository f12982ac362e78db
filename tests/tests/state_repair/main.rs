//! From a stop to an exact result with `tidegate state repair`, or to one that is inexact exactly as announced.
//!
//! Each test makes a stop on a real store, real files and a real Kafka, looks (nothing may change), refuses wrong words,
//! carries a choice out, and judges the result by a recount. Next room: `host/STOPS.md`, what a person is told.

mod files;
mod hanging;
mod inputs;
mod marker;

use std::fs;
use std::path::PathBuf;
use tidegate_tests::scene::{Run, Scene};

/// The host with fail points.
const PROGRAM: &str = env!("CARGO_BIN_EXE_tidegate-probed");

/// The only store of a scene.
fn store(scene: &Scene) -> PathBuf {
    let entries = fs::read_dir(scene.folder()).expect("the folder is read");
    let mut paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    paths.find(|path| path.extension().is_some_and(|extension| extension == "redb")).expect("the job has a store")
}

/// Copies of the store that repairs have made.
fn copies(scene: &Scene) -> usize {
    let entries = fs::read_dir(scene.folder()).expect("the folder is read");
    let names = entries.filter_map(|entry| entry.ok().map(|entry| entry.file_name().to_string_lossy().into_owned()));
    names.filter(|name| name.contains(".redb.before-repair-")).count()
}

/// Looks, and finds what is expected; nothing is changed.
fn look(scene: &Scene, said: &[&str]) -> Run {
    let run = scene.repair(&[]);
    run.expect_refusal("a look", 78, said);
    assert!(run.log.contains("Nothing was changed"), "{}", run.log);
    run
}

/// The words that a choice asks for, as a look prints them.
fn words(look: &Run, choice: &str) -> String {
    let command = format!("--do {choice} --yes \"");
    let (_, rest) = look.log.split_once(&command).unwrap_or_else(|| panic!("no `{choice}` in\n{}", look.log));
    rest.split('"').next().unwrap_or_default().to_owned()
}

/// Carries a choice out: never without the right words, and with a copy of the store.
fn carry_out(scene: &Scene, choice: &str, more: &[&str]) -> Run {
    let before = copies(scene);
    let looked = scene.repair(more);
    let words = words(&looked, choice);
    let chosen = |yes: &[&str]| scene.repair(&[&["--do", choice], yes, more].concat());
    chosen(&[]).expect_refusal("without words", 1, &["nothing was changed"]);
    chosen(&["--yes", "yes"]).expect_refusal("other words", 1, &["nothing was changed"]);
    assert_eq!(copies(scene), before, "a repair that was not agreed to did something");
    let run = chosen(&["--yes", &words]);
    run.expect_success(choice);
    assert!(run.log.contains("done: "), "{}", run.log);
    assert_eq!(copies(scene) + usize::from(choice == "begin-anew"), before + 1 + usize::from(choice == "begin-anew"));
    run
}

/// Nothing is left to mend.
fn expect_sound(scene: &Scene) {
    let run = scene.repair(&[]);
    run.expect_success("a look after the repair");
    assert!(run.log.contains("nothing stops the job"), "{}", run.log);
}
