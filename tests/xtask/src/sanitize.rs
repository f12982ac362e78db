//! `cargo xtask miri`: unsafe code under Miri, and under Valgrind what Miri cannot run.
//!
//! Miri interprets: it sees every wrong pointer, and no foreign call. So it runs the tests whose names begin with
//! `memory_`: the pointer logic around librdkafka's structures and callbacks, on the counting allocator of the unit tests.
//! Valgrind runs what the tests are otherwise, librdkafka and OpenSSL included, and sees reads and writes beside a block:
//! the unit tests of the rooms with unsafe code, and those that read from and write to a real broker. Reports of undefined
//! values are off: all of them are in wasmparser's optimised enums. Miri needs a nightly compiler and a build of
//! everything for itself, so none of this is part of `cargo xtask test`. Next room: `setup`.

use crate::failure::{Failure, Outcome};
use crate::report::Phases;
use crate::{places, setup, shell};
use std::process::Command;

/// The tests that make no foreign call.
const MIRI_TESTS: &str = "::memory_";

/// Takes a gibibyte, which Miri would fill.
const NOT_UNDER_MIRI: &str = "only_reserved";

/// The rooms with unsafe code, by their paths.
const UNSAFE_ROOMS: [&str; 5] =
    ["kafka::", "plugin::memory", "plugin::tests::calls", "plugin::tests::restore", "fuzzing::tests"];

/// The tests with a broker: each kind of record that is read and written, transactions, admin questions.
const BROKER_TESTS: [&str; 4] = ["kafka_source", "kafka_sink", "kafka_transaction", "kafka_admin"];

/// Reads the system's list of mappings, where Valgrind has its own, or measures time.
const NOT_UNDER_VALGRIND: [&str; 4] = [
    "the_guard_and_the_reservation_are_inaccessible",
    "costs_nanoseconds",
    "an_endless_loop_ends_within_the_timeout",
    "a_broker_that_does_not_answer_is_not_idleness",
];

/// Checks what the machine has and runs both.
///
/// # Errors
/// If a nightly compiler, a part of it or Valgrind is missing; the text has the line that brings it. If a test fails.
pub fn run() -> Outcome<()> {
    lacks_nothing()?;
    setup::for_kafka()?;
    let mut phases = Phases::default();
    let outcome = run_phases(&mut phases);
    println!("\n{}", phases.table());
    outcome
}

fn run_phases(phases: &mut Phases) -> Outcome<()> {
    phases.run("run the pointer logic under Miri", || shell::run(&mut miri()))?;
    phases.run("run the rooms with unsafe code under Valgrind", || {
        shell::run(under_valgrind(&["--package", "tidegate", "--lib"]).args(UNSAFE_ROOMS))
    })?;
    BROKER_TESTS.iter().try_for_each(|test| {
        phases.run(&format!("run `{test}` under Valgrind"), || {
            shell::run(&mut under_valgrind(&["--package", "tidegate-tests", "--test", test]))
        })
    })
}

fn lacks_nothing() -> Outcome<()> {
    let lacks = |what: &str, line: &str| Err(Failure::Lacks { what: what.to_owned(), line: line.to_owned() });
    if shell::ask("rustup", &["run", "nightly", "rustc", "--version"]).is_none() {
        let line = "rustup toolchain install nightly --profile minimal --component miri rust-src";
        return lacks("a nightly compiler", line);
    }
    if shell::ask("rustup", &["run", "nightly", "cargo", "miri", "--version"]).is_none() {
        return lacks("Miri for the nightly compiler", "rustup +nightly component add miri rust-src");
    }
    if shell::ask("valgrind", &["--version"]).is_none() {
        return lacks("Valgrind", "apt-get install valgrind");
    }
    Ok(())
}

fn miri() -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo", "miri", "test"]).current_dir(places::root());
    // The variables of the cargo that runs us would choose its compiler again.
    command.env_remove("CARGO").env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN");
    // Nothing is linked, so librdkafka need not be built: this takes the place of its build script.
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    command.args(["--config", &format!("target.{triple}.rdkafka.rustc-link-lib=[\"rdkafka\"]")]);
    command.args(["--package", "tidegate", "--lib", "--target-dir"]).arg(places::target().join("miri"));
    command.args(["--", MIRI_TESTS, "--skip", NOT_UNDER_MIRI]);
    // Clocks are read: reports have an age.
    command.env("MIRIFLAGS", "-Zmiri-disable-isolation");
    command
}

/// `cargo test` of some tests, one after the other, each binary under Valgrind.
fn under_valgrind(which: &[&str]) -> Command {
    let mut command = shell::cargo();
    command.args(["test", "--release", "--features", "fail-points"]).args(which).args(["--", "--test-threads", "1"]);
    command.args(NOT_UNDER_VALGRIND.iter().flat_map(|name| ["--skip", name]));
    let runner = format!("CARGO_TARGET_{}_UNKNOWN_LINUX_GNU_RUNNER", std::env::consts::ARCH.to_uppercase());
    command.env(runner, "valgrind --quiet --error-exitcode=9 --undef-value-errors=no --num-callers=20");
    command.env("TIDEGATE_KAFKA_LIBS", places::kafka_libs()).env("TIDEGATE_TEST_PLUGINS", places::plugins());
    command
}
