//! Looks for what the machine lacks, fetches it where it may, and otherwise names the line that does.
//!
//! May fetch: the Wasm target through rustup, Debian packages as root, and Kafka's jars through Maven. Never runs `sudo`, and
//! never changes anything that is already there. Next rooms: [`wasm`], [`kafka`].

pub mod kafka;
pub mod wasm;

use crate::failure::{Failure, Outcome};
use crate::shell;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A package download that takes longer is given up: without internet it can hang for ever.
const FETCH_LIMIT: Duration = Duration::from_mins(10);

/// A program that must be there, and how Debian calls what brings it.
struct Need {
    what: &'static str,
    is_there: fn() -> bool,
    packages: &'static [&'static str],
}

/// What the host's build needs (librdkafka and OpenSSL are built from source).
const BUILD: [Need; 3] = [
    Need { what: "a C compiler", is_there: || answers("cc", "--version"), packages: &["gcc", "libc6-dev"] },
    Need { what: "make", is_there: || answers("make", "--version"), packages: &["make"] },
    Need { what: "perl", is_there: || answers("perl", "--version"), packages: &["perl"] },
];

/// What Apache Kafka needs.
const JAVA: [Need; 2] = [
    Need { what: "Java 17 or newer", is_there: java_is_new_enough, packages: &["default-jre-headless"] },
    Need { what: "Maven", is_there: || answers("mvn", "--version"), packages: &["maven"] },
];

/// Makes sure that host and plugins can be built.
///
/// # Errors
/// If something is missing and may not be fetched; the text has the line that brings it.
pub fn for_building() -> Outcome<()> {
    for need in &BUILD {
        need.meet()?;
    }
    wasm::prepare()
}

/// Makes sure that a Kafka broker can be started; its jars included.
///
/// # Errors
/// As [`for_building`].
pub fn for_kafka() -> Outcome<()> {
    if !java_is_new_enough() {
        JAVA[0].meet()?;
    }
    if !kafka::is_there() {
        JAVA[1].meet()?;
    }
    kafka::fetch()
}

/// Makes sure that formatting and clippy can be checked.
///
/// # Errors
/// As [`for_building`].
pub fn for_checking() -> Outcome<()> {
    for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if shell::ask("cargo", &[subcommand, "--version"]).is_some() {
            continue;
        }
        let mut add = Command::new("rustup");
        add.args(["component", "add", component]);
        if shell::run_within(&mut add, FETCH_LIMIT).is_err() {
            return Err(Failure::Lacks { what: format!("`cargo {subcommand}`"), line: shell::line(&add) });
        }
    }
    Ok(())
}

impl Need {
    fn meet(&self) -> Outcome<()> {
        if (self.is_there)() {
            return Ok(());
        }
        install(self.what, self.packages)?;
        if (self.is_there)() {
            return Ok(());
        }
        Err(Failure::Job(format!(
            "{} is still missing after `{}`; install it by hand",
            self.what,
            install_line(self.packages)
        )))
    }
}

/// Installs Debian packages if we are root there; otherwise says which line does.
fn install(what: &str, packages: &[&str]) -> Outcome<()> {
    let lacks = || Failure::Lacks { what: what.to_owned(), line: format!("sudo {}", install_line(packages)) };
    if !is_debian() {
        let line = format!("your system's installer for: {}", packages.join(" "));
        return Err(Failure::Lacks { what: what.to_owned(), line });
    }
    if !is_root() {
        return Err(lacks());
    }
    eprintln!("  {what} is missing: {}", install_line(packages));
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(["--quiet", "--yes"]).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        shell::run_within(&mut command, FETCH_LIMIT)
    };
    let mut install = vec!["install", "--no-install-recommends"];
    install.extend(packages);
    // The package lists may be missing (a container) or old: ask for them only when the first try fails.
    if apt(&install).is_ok() {
        return Ok(());
    }
    apt(&["update"]).and_then(|()| apt(&install)).map_err(|_| lacks())
}

fn install_line(packages: &[&str]) -> String {
    format!("apt-get install --yes --no-install-recommends {}", packages.join(" "))
}

fn answers(program: &str, argument: &str) -> bool {
    shell::ask(program, &[argument]).is_some()
}

fn is_debian() -> bool {
    Path::new("/etc/debian_version").exists() && answers("apt-get", "--version")
}

fn is_root() -> bool {
    shell::ask("id", &["-u"]).is_some_and(|id| id.trim() == "0")
}

fn java_is_new_enough() -> bool {
    shell::ask("java", &["-version"]).and_then(|text| java_major(&text)).is_some_and(|major| major >= 17)
}

/// The major version in what `java -version` prints: `openjdk version "17.0.15" 2025-04-15`.
fn java_major(text: &str) -> Option<u32> {
    let version = text.split('"').nth(1)?;
    version.split(['.', '-', '+']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{JAVA, Need, java_major};

    #[test]
    fn the_java_version_is_read_from_its_own_words() {
        assert_eq!(java_major("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK Runtime"), Some(17));
        assert_eq!(java_major("java version \"1.8.0_402\""), Some(1));
        assert_eq!(java_major("openjdk version \"25-ea\" 2025-09-16"), Some(25));
        assert_eq!(java_major("command not found"), None);
    }

    #[test]
    fn what_is_there_is_not_fetched() {
        let need = Need { what: "a thing", is_there: || true, packages: &["no-such-package-here"] };
        need.meet().unwrap();
        assert!(JAVA.iter().all(|need| !need.packages.is_empty()));
    }
}
