//! The README's job files are right as they stand there. (Its Rust is compiled as a doc test of this crate.)
//!
//! Next room: `README.md`, "A first job of your own".

use std::fs;
use std::path::Path;
use tidegate::config;

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).expect("the README can be read")
}

/// The blocks of one language, in order.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let opening = format!("```{language}\n");
    text.split(&opening).skip(1).filter_map(|rest| rest.split("```").next()).map(str::to_owned).collect()
}

#[test]
fn the_job_files_of_the_readme_are_right() {
    let readme = readme();
    let toml = blocks(&readme, "toml");
    let [_, on_files, for_kafka] = &toml[..] else { panic!("the README has {} TOML blocks", toml.len()) };
    // What changes for Kafka replaces source and sink; name and operator stay.
    let (head, _) = on_files.split_once("[source.").expect("the job has a source");
    let (_, operator) = on_files.split_once("[operator.").expect("the job has an operator");
    let (operator, _) = operator.split_once("[sink.").expect("the job has a sink");
    let on_kafka = format!("{head}{for_kafka}\n[operator.{operator}");

    let folder = tempfile::tempdir().expect("there is room for a folder");
    fs::write(folder.path().join("payments.jsonl"), &blocks(&readme, "json")[0]).expect("the folder can be written");
    fs::write(folder.path().join("sums.wasm"), "").expect("the folder can be written");
    for (name, text) in [("files.toml", on_files), ("kafka.toml", &on_kafka)] {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("the folder can be written");
        config::load(&path).unwrap_or_else(|errors| panic!("{name}: {errors}"));
    }
}
