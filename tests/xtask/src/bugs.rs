//! `cargo xtask bugs`: the checker is checked. Bugs that the host has on purpose must each be found by the test that is
//! named for it, and the same test must pass without a bug.
//!
//! One build with the feature `seeded-bugs` serves all: the bug is chosen when a process starts, by `TIDEGATE_BUG`, and
//! reaches the hosts that a test starts. Next room: `table`, which says what finds what.

pub mod table;

use crate::failure::{Doing, Failure, Outcome};
use crate::{building, places, setup, shell};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use table::{CAUGHT_BY, Check};

/// The feature that puts the bugs in.
const FEATURE: &str = "tidegate-tests/seeded-bugs";
/// The program of the simulation.
const SIMULATION: &str = "tidegate-simulate";
/// Seeds of the simulation, as many as in a test run.
const SEEDS: &str = "10000";
/// A bug may make a job hang: a check that takes longer has failed.
const CHECK_MAX: Duration = Duration::from_mins(4);
/// How often a running check is looked at.
const POLL: Duration = Duration::from_millis(20);

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Passed,
    Failed,
    Hung,
}

/// Builds once, and tries every bug, or the ones named.
///
/// # Errors
/// If a check fails without a bug, or passes with one.
pub fn run(only: &[String]) -> Outcome<()> {
    setup::for_building()?;
    setup::for_kafka()?;
    building::host()?;
    building::plugin_folders()?.iter().try_for_each(|it| building::plugin(it))?;
    let programs = Programs::build()?;
    fs::create_dir_all(logs()).at("make", &logs())?;
    let bugs: Vec<_> =
        CAUGHT_BY.iter().filter(|(bug, _)| only.is_empty() || only.iter().any(|name| name == bug)).collect();
    let checks: BTreeSet<Check> = bugs.iter().flat_map(|(_, checks)| checks.iter().copied()).collect();
    println!("without a bug, {} checks must pass", checks.len());
    for check in checks {
        let ended = try_check(&programs, check, None)?;
        if ended != Ended::Passed {
            let log = log_of(check, None);
            return Err(Failure::Job(format!("{} does not pass without a bug; see `{log}`", name_of(check))));
        }
    }
    let mut caught = 0;
    println!("\n| bug | found by |\n| --- | -------- |");
    for (bug, checks) in &bugs {
        let mut cells = Vec::new();
        let mut is_caught = true;
        for check in *checks {
            let ended = try_check(&programs, *check, Some(bug))?;
            is_caught &= ended != Ended::Passed;
            cells.push(match ended {
                Ended::Failed => name_of(*check),
                Ended::Hung => format!("{} (it hung)", name_of(*check)),
                Ended::Passed => format!("NOT by {}", name_of(*check)),
            });
        }
        caught += usize::from(is_caught);
        println!("| `{bug}` | {} |", cells.join("; "));
    }
    println!("\n{caught} of {} caught", bugs.len());
    if caught < bugs.len() {
        return Err(Failure::Job("a bug went unnoticed".to_owned()));
    }
    Ok(())
}

/// The programs of the one build, so that no check can fail for a compiler's reason.
struct Programs {
    simulation: PathBuf,
    /// Unit tests of the host.
    host: PathBuf,
    /// By target of the tests crate.
    tests: BTreeMap<String, PathBuf>,
}

impl Programs {
    fn build() -> Outcome<Programs> {
        let features = ["--release", "--workspace", "--features", FEATURE];
        let bins = ["--bin", SIMULATION, "--bin", "tidegate-probed"];
        shell::run(shell::cargo().arg("build").args(features).args(bins))?;
        let mut build = shell::cargo();
        build.arg("test").args(features).args(["--no-run", "--message-format", "json-render-diagnostics"]);
        let output = build.stderr(Stdio::inherit()).output().doing("build the tests")?;
        if !output.status.success() {
            return Err(Failure::Job("the tests cannot be built with the seeded bugs".to_owned()));
        }
        let mut programs =
            Programs { simulation: places::program(SIMULATION), host: PathBuf::new(), tests: BTreeMap::new() };
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let Ok(message) = serde_json::from_str::<Value>(line) else { continue };
            let (Some(path), Some(name)) = (message["executable"].as_str(), message["target"]["name"].as_str()) else {
                continue;
            };
            match message["target"]["kind"][0].as_str() {
                Some("test") => drop(programs.tests.insert(name.to_owned(), path.into())),
                Some("lib") if name == "tidegate" => programs.host = path.into(),
                _ => {}
            }
        }
        Ok(programs)
    }

    fn command_of(&self, check: Check) -> Outcome<Command> {
        let (folder, program, test) = match check {
            Check::Simulation => {
                let mut simulation = Command::new(&self.simulation);
                simulation.args(["--seeds", SEEDS]);
                return Ok(simulation);
            }
            Check::Host(test) => ("host", &self.host, test),
            Check::Test(target, test) => {
                let program = self.tests.get(target);
                let program = program.ok_or_else(|| Failure::Job(format!("there is no test target `{target}`")))?;
                ("tests", program, test)
            }
        };
        let mut command = Command::new(program);
        command.args(["--exact", test]).current_dir(places::root().join(folder));
        Ok(command)
    }
}

fn try_check(programs: &Programs, check: Check, bug: Option<&str>) -> Outcome<Ended> {
    let path = logs().join(log_of(check, bug));
    let log = File::create(&path).at("write", &path)?;
    let mut command = programs.command_of(check)?;
    command.env("TIDEGATE_KAFKA_LIBS", places::kafka_libs()).env("TIDEGATE_TEST_PLUGINS", places::plugins());
    if let Some(bug) = bug {
        command.env("TIDEGATE_BUG", bug);
    }
    command.stdin(Stdio::null()).stdout(log.try_clone().doing("share a log")?).stderr(log);
    // A group of its own, so that a check that hangs can be ended with its hosts and its broker.
    command.process_group(0);
    let mut child = command.spawn().doing("start a check")?;
    let deadline = Instant::now() + CHECK_MAX;
    loop {
        if let Some(status) = child.try_wait().doing("wait for a check")? {
            let is_run =
                check == Check::Simulation || fs::read_to_string(&path).at("read", &path)?.contains("running 1 test");
            if !is_run {
                return Err(Failure::Job(format!("{} is no test; see `{}`", name_of(check), places::from_root(&path))));
            }
            return Ok(if status.success() { Ended::Passed } else { Ended::Failed });
        }
        if Instant::now() > deadline {
            shell::run(Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]))?;
            child.wait().doing("wait for a check")?;
            return Ok(Ended::Hung);
        }
        thread::sleep(POLL);
    }
}

fn name_of(check: Check) -> String {
    match check {
        Check::Simulation => "simulation".to_owned(),
        Check::Host(test) => format!("`{test}`"),
        Check::Test(target, test) => format!("`{target}::{test}`"),
    }
}

fn logs() -> PathBuf {
    places::target().join("bugs")
}

/// One file a check and bug.
fn log_of(check: Check, bug: Option<&str>) -> String {
    let check: String =
        name_of(check).chars().map(|letter| if letter.is_alphanumeric() { letter } else { '-' }).collect();
    format!("{}{check}.log", bug.unwrap_or("none"))
}
