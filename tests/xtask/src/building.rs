//! Builds what the commands run: the host, the plugins, the programs of the tests crate.
//!
//! Everything in the release profile, which clippy and tests use as well, so that wasmtime and librdkafka are built once.
//! Next room: `setup`, which must have run before.

use crate::failure::{Doing, Outcome};
use crate::{places, shell};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds the host.
///
/// # Errors
/// If cargo fails; its words are on the terminal.
pub fn host() -> Outcome<()> {
    shell::run(shell::cargo().args(["build", "--release", "--package", "tidegate"]))
}

/// Builds the broker program of the tests crate.
///
/// # Errors
/// As [`host`].
pub fn kafka_session() -> Outcome<()> {
    shell::run(shell::cargo().args(["build", "--release", "--package", "tidegate-tests", "--bin", "kafka_session"]))
}

/// Builds one plugin's folder to a checked component in `target/plugins`, through the host's own command.
///
/// # Errors
/// If the host refuses; its words are on the terminal.
pub fn plugin(folder: &Path) -> Outcome<()> {
    let mut build = Command::new(places::host());
    build.current_dir(places::root()).args(["plugin", "build"]).arg(places::from_root(folder));
    shell::run(&mut build)
}

/// Builds the fraud detector.
///
/// # Errors
/// As [`plugin`].
pub fn fraud_detector() -> Outcome<()> {
    plugin(&places::root().join("plugins/fraud-detector"))
}

/// The folders of all plugins: the examples, and those that only tests run.
///
/// # Errors
/// If a folder cannot be listed.
pub fn plugin_folders() -> Outcome<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for parent in [places::root().join("plugins"), places::root().join("tests/plugins")] {
        if !parent.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&parent).at("list", &parent)? {
            let folder = entry.at("list", &parent)?.path();
            if folder.join("Cargo.toml").is_file() {
                folders.push(folder);
            }
        }
    }
    folders.sort();
    Ok(folders)
}
