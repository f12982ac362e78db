//! The Rust target that plugins are built for: `wasm32-unknown-unknown`.
//!
//! Only makes sure that one of two compilers is there; `tidegate plugin build` chooses between them and builds.

use super::{FETCH_LIMIT, install};
use crate::failure::{Failure, Outcome};
use crate::shell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The target's name.
pub const TARGET: &str = "wasm32-unknown-unknown";
/// `rustup target add` takes seconds where there is internet, and can hang where there is none.
const RUSTUP_LIMIT: Duration = Duration::from_secs(90);
/// Debian's compiler with the standard library's source; it builds the library for the target itself.
const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// Makes sure that Rust code can be built for Wasm: through rustup, else with Debian's packages.
///
/// # Errors
/// If neither is there and neither may be fetched; the text has the line that brings it.
pub fn prepare() -> Outcome<()> {
    if sysroot().is_some_and(|sysroot| has_target(&sysroot)) || has_debian_packages() {
        return Ok(());
    }
    let mut add = Command::new("rustup");
    add.args(["target", "add", TARGET]);
    eprintln!("  the Rust target {TARGET} is missing: {}", shell::line(&add));
    if shell::run_within(&mut add, RUSTUP_LIMIT.min(FETCH_LIMIT)).is_ok() {
        return Ok(());
    }
    if install("a Rust compiler for Wasm", &DEBIAN_PACKAGES).is_ok() {
        return Ok(());
    }
    let what = format!("the Rust target {TARGET}");
    Err(Failure::Lacks { what, line: shell::line(&add) })
}

fn sysroot() -> Option<PathBuf> {
    shell::ask("rustc", &["--print", "sysroot"]).map(|path| PathBuf::from(path.trim()))
}

fn has_target(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib").join(TARGET).join("lib").is_dir()
}

fn has_debian_packages() -> bool {
    let status = |package: &&str| shell::ask("dpkg-query", &["--show", "--showformat=${Status}", package]);
    DEBIAN_PACKAGES.iter().all(|package| status(package).is_some_and(|text| text == "install ok installed"))
}

#[cfg(test)]
mod tests {
    use super::{TARGET, has_target};

    #[test]
    fn a_sysroot_has_the_target_when_its_library_folder_is_there() {
        let sysroot = tempfile::tempdir().unwrap();
        assert!(!has_target(sysroot.path()));
        std::fs::create_dir_all(sysroot.path().join("lib/rustlib").join(TARGET).join("lib")).unwrap();
        assert!(has_target(sysroot.path()));
    }
}
