//! Where things lie in this repository and its target folder.
//!
//! Only paths; creates nothing. Next room: `shell`, which runs programs there.

use std::env;
use std::path::{Path, PathBuf};

/// The repository's root folder.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("xtask lies two folders below the root").to_owned()
}

/// The folder for everything that is built: `target`, or what `CARGO_TARGET_DIR` says.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |folder| root().join(folder))
}

/// A program of this workspace, in the release profile.
pub fn program(name: &str) -> PathBuf {
    target().join("release").join(name)
}

/// The host.
pub fn host() -> PathBuf {
    program("tidegate")
}

/// The folder of the built plugins.
pub fn plugins() -> PathBuf {
    target().join("plugins")
}

/// The folder of Apache Kafka's jars.
pub fn kafka_libs() -> PathBuf {
    target().join("kafka").join("libs")
}

/// A path as a person would type it from the root folder.
pub fn from_root(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}
