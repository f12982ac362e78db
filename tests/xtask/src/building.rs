//! Builds what the commands run: the host, the plugins, the programs of the tests crate.
//!
//! Everything in the release profile, which clippy and tests use as well, so that wasmtime and librdkafka are built once.
//! Next room: `setup`, which must have run before.

use crate::failure::{Doing, Outcome};
use crate::{places, shell};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What tests build beside the product: a host that can be ended at named moments.
pub const TEST_FEATURES: &str = "tidegate-tests/fail-points";

/// Builds the host.
///
/// # Errors
/// If cargo fails; its words are on the terminal.
pub fn host() -> Outcome<()> {
    program("tidegate")
}

/// Builds the broker program of the tests crate.
///
/// # Errors
/// As [`host`].
pub fn kafka_session() -> Outcome<()> {
    program("kafka_session")
}

/// Builds the simulation's program of the tests crate.
///
/// # Errors
/// As [`host`].
pub fn simulation() -> Outcome<()> {
    program("tidegate-simulate")
}

/// Builds the torture program and the host that can be ended at named moments.
///
/// # Errors
/// As [`host`].
pub fn torture() -> Outcome<()> {
    let features = ["build", "--release", "--workspace", "--features", TEST_FEATURES];
    shell::run(shell::cargo().args(features).args(["--bin", "tidegate-torture", "--bin", "tidegate-probed"]))
}

/// Builds one program with the features of the whole workspace, those that the tests use: with `--package` alone a few
/// small crates would differ, and Wasmtime, which uses them, would be built twice.
fn program(name: &str) -> Outcome<()> {
    shell::run(shell::cargo().args(["build", "--release", "--workspace", "--bin", name]))
}

/// Builds one plugin's folder to a checked component in `target/plugins`, through the host's own command.
///
/// # Errors
/// If the host refuses; its words are on the terminal.
pub fn plugin(folder: &Path) -> Outcome<()> {
    let mut build = Command::new(places::host());
    build.current_dir(places::root()).args(["plugin", "build"]).arg(places::from_root(folder));
    // Standard output is for results, and may be read by a program.
    build.stdout(io::stderr());
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
