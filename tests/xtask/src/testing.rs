//! `cargo xtask test`: formatting, clippy, and every test, with everything they need.
//!
//! Sets up, builds and runs; knows no single test. Next room: `building`.

use crate::building::TEST_FEATURES;
use crate::failure::Outcome;
use crate::report::Phases;
use crate::{building, places, setup, shell};

/// Which rows of the fault matrix run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Faults {
    /// Those that take seconds.
    Quick,
    /// All of them.
    All,
}

/// Runs everything, the cheap checks first; ends at the first phase that fails.
///
/// # Errors
/// That of the phase.
pub fn run(faults: Faults) -> Outcome<()> {
    let mut phases = Phases::default();
    let outcome = run_phases(&mut phases, faults);
    println!("\n{}", phases.table());
    outcome
}

fn run_phases(phases: &mut Phases, faults: Faults) -> Outcome<()> {
    phases.run("look at the machine", || {
        setup::for_building()?;
        setup::for_checking()?;
        setup::for_kafka()
    })?;
    phases.run("check the formatting", || shell::run(shell::cargo().args(["fmt", "--all", "--", "--check"])))?;
    phases.run("run clippy", || {
        let clippy = ["clippy", "--release", "--workspace", "--all-targets", "--features", TEST_FEATURES];
        shell::run(shell::cargo().args(clippy).args(["--", "--deny", "warnings"]))
    })?;
    phases.run("build the host and the tests", || {
        building::host()?;
        shell::run(shell::cargo().args(["test", "--release", "--workspace", "--features", TEST_FEATURES, "--no-run"]))
    })?;
    phases.run("build the plugins", || building::plugin_folders()?.iter().try_for_each(|it| building::plugin(it)))?;
    phases.run("run the tests", || {
        let mut test = shell::cargo();
        test.args(["test", "--release", "--workspace", "--features", TEST_FEATURES, "--no-fail-fast"]);
        test.env("TIDEGATE_KAFKA_LIBS", places::kafka_libs()).env("TIDEGATE_TEST_PLUGINS", places::plugins());
        if faults == Faults::All {
            test.env("TIDEGATE_FAULTS", "1");
        }
        shell::run(&mut test)
    })
}
