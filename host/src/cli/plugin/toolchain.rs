//! Finds a Rust compiler that can make WebAssembly.
//!
//! Two ways: a toolchain with the target's standard library (`rustup target add`), or Debian's packages, which have the
//! library's source, so that cargo builds it too. What was found is data, and the choice among it is pure. Next room:
//! `cargo`.

use super::cargo::TARGET;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Which way to build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    /// The first one that can
    Auto,
    /// A toolchain with the standard library for WebAssembly, as rustup installs it
    Rustup,
    /// Debian's packages, with the standard library's source
    Debian,
}

/// A way to build that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Toolchain {
    /// The `cargo` and `rustc` on the path.
    Path,
    /// Debian's, with this linker for WebAssembly.
    Debian {
        /// `rust-lld` or `wasm-ld`.
        linker: PathBuf,
    },
}

/// Why there is no way to build.
#[derive(Debug, thiserror::Error)]
#[error("no Rust compiler here makes WebAssembly: {missing}; run `{install}`")]
pub(super) struct ToolchainError {
    missing: String,
    install: &'static str,
}

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const INSTALL_TARGET: &str = "rustup target add wasm32-unknown-unknown";
const INSTALL_DEBIAN: &str = "apt install rustc-web cargo-web rust-web-src lld";

/// What is on this machine.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug, Clone, Default)]
struct Found {
    /// Whether the compiler on the path has the target's standard library.
    path_has_target: bool,
    /// Whether rustup is on the path.
    rustup: bool,
    /// Whether this is a system with Debian's packages.
    apt: bool,
    /// Whether Debian's compiler, cargo and the library's source are there.
    debian: bool,
    /// A linker for WebAssembly.
    linker: Option<PathBuf>,
}

/// Finds the way to build a folder (which may name a toolchain of its own).
pub(super) fn find(choice: Choice, folder: &Path) -> Result<Toolchain, ToolchainError> {
    choose(choice, &look(folder))
}

fn choose(choice: Choice, found: &Found) -> Result<Toolchain, ToolchainError> {
    if choice != Choice::Debian && found.path_has_target {
        return Ok(Toolchain::Path);
    }
    if choice != Choice::Rustup
        && found.debian
        && let Some(linker) = &found.linker
    {
        return Ok(Toolchain::Debian { linker: linker.clone() });
    }
    let (missing, install) = match choice {
        Choice::Auto | Choice::Rustup if found.rustup || !found.apt || choice == Choice::Rustup => {
            (format!("the standard library for `{TARGET}` is missing"), INSTALL_TARGET)
        }
        _ if found.debian => ("a linker (`rust-lld` or `wasm-ld`) is missing".to_owned(), "apt install lld"),
        _ => ("Debian's compiler, cargo or library source is missing".to_owned(), INSTALL_DEBIAN),
    };
    Err(ToolchainError { missing, install })
}

fn look(folder: &Path) -> Found {
    let sysroot = ask(Path::new("rustc"), &["--print", "sysroot"], folder).map(PathBuf::from);
    let host = ask(Path::new("rustc"), &["--print", "host-tuple"], folder);
    let debian_sysroot = ask(Path::new(DEBIAN_RUSTC), &["--print", "sysroot"], folder).map(PathBuf::from);
    let has_source = |sysroot: &PathBuf| sysroot.join("lib/rustlib/src/rust/library/std/Cargo.toml").is_file();
    let own_linker = sysroot
        .as_ref()
        .zip(host)
        .map(|(sysroot, host)| sysroot.join("lib/rustlib").join(host).join("bin/rust-lld"))
        .filter(|linker| linker.is_file());
    Found {
        path_has_target: sysroot.as_deref().is_some_and(has_target),
        rustup: in_path("rustup").is_some(),
        apt: in_path("apt").is_some(),
        debian: debian_sysroot.as_ref().is_some_and(has_source) && Path::new(DEBIAN_CARGO).is_file(),
        linker: own_linker.or_else(|| in_path("rust-lld")).or_else(|| in_path("wasm-ld")).or_else(installed_linker),
    }
}

/// The linker of any toolchain that rustup installed, for a path without rustup.
fn installed_linker() -> Option<PathBuf> {
    let home = std::env::var_os("RUSTUP_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".rustup")))?;
    let folders = |folder: PathBuf| {
        let mut paths: Vec<PathBuf> =
            std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
        paths.sort();
        paths
    };
    let hosts =
        folders(home.join("toolchains")).into_iter().flat_map(|toolchain| folders(toolchain.join("lib/rustlib")));
    hosts.map(|host| host.join("bin/rust-lld")).find(|linker| linker.is_file())
}

/// Whether a toolchain has the compiled standard library for the target.
fn has_target(sysroot: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(sysroot.join("lib/rustlib").join(TARGET).join("lib")) else { return false };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
}

/// The trimmed output of a program, if it runs.
fn ask(program: &Path, arguments: &[&str], folder: &Path) -> Option<String> {
    let output = Command::new(program).args(arguments).current_dir(folder).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

impl Toolchain {
    /// A cargo command without arguments for this way, and the target folder that it uses: the two ways make artifacts
    /// that must not be mixed.
    pub(super) fn cargo(&self, target_folder: &Path) -> (Command, PathBuf) {
        match self {
            Toolchain::Path => (Command::new("cargo"), target_folder.to_owned()),
            Toolchain::Debian { linker } => {
                let mut command = Command::new(DEBIAN_CARGO);
                command
                    // Building the standard library is unstable; Debian's compiler is a stable one.
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("RUSTC", DEBIAN_RUSTC)
                    .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker)
                    .env_remove("RUSTUP_TOOLCHAIN")
                    .args(["-Zbuild-std=std,panic_abort"]);
                (command, target_folder.join("wasm-debian"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Found {
        Found { path_has_target: true, rustup: true, apt: true, debian: true, linker: Some("/l".into()) }
    }

    #[test]
    fn an_installed_target_is_preferred_and_debian_is_the_second_way() {
        let debian = Toolchain::Debian { linker: "/l".into() };
        assert_eq!(choose(Choice::Auto, &all()).unwrap(), Toolchain::Path);
        assert_eq!(choose(Choice::Debian, &all()).unwrap(), debian);
        assert_eq!(choose(Choice::Auto, &Found { path_has_target: false, ..all() }).unwrap(), debian);
    }

    #[test]
    fn what_is_missing_is_named_with_the_line_that_installs_it() {
        let text = |choice, found: &Found| choose(choice, found).unwrap_err().to_string();
        assert!(text(Choice::Auto, &Found::default()).ends_with("run `rustup target add wasm32-unknown-unknown`"));
        let bare = Found { apt: true, ..Found::default() };
        assert!(text(Choice::Auto, &bare).ends_with("run `apt install rustc-web cargo-web rust-web-src lld`"));
        assert!(text(Choice::Rustup, &bare).ends_with("run `rustup target add wasm32-unknown-unknown`"));
        let rustup = Found { rustup: true, ..bare.clone() };
        assert!(text(Choice::Auto, &rustup).ends_with("run `rustup target add wasm32-unknown-unknown`"));
        assert!(text(Choice::Debian, &rustup).contains("rustc-web"));
        let unlinked = Found { debian: true, ..bare };
        assert!(text(Choice::Auto, &unlinked).ends_with("run `apt install lld`"));
    }

    #[test]
    fn the_two_ways_do_not_share_a_target_folder() {
        let target = Path::new("/w/target");
        assert_eq!(Toolchain::Path.cargo(target).1, target);
        let (command, folder) = Toolchain::Debian { linker: "/l".into() }.cargo(target);
        assert_eq!(folder, Path::new("/w/target/wasm-debian"));
        assert_eq!(command.get_program(), DEBIAN_CARGO);
        let linker = std::ffi::OsStr::new("/l");
        assert!(
            command
                .get_envs()
                .any(|(name, value)| name == "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER" && value == Some(linker))
        );
    }
}
