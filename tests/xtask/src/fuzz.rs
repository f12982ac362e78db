//! `cargo xtask fuzz`: the host's fuzz targets with one seed after the other, until the time is over.
//!
//! The targets are unit tests of the host, since most of what they attack is private; this only runs them again and again
//! and adds up. A failing input is in the output, and its seed in `host/fuzz`. Next room: `host/src/fuzzing.rs`.

use crate::failure::{Doing, Failure, Outcome};
use crate::report::{grouped, table};
use crate::{building, places, shell};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Runs the targets with the name in theirs; without one, all of them.
///
/// # Errors
/// If the tests do not build, or one fails.
pub fn run(minutes: u64, target: Option<&str>, first_seed: u64) -> Outcome<()> {
    building::host()?;
    building::plugin_folders()?.iter().try_for_each(|folder| building::plugin(folder))?;
    let deadline = Instant::now() + Duration::from_secs(minutes.saturating_mul(60));
    let mut iterations = BTreeMap::new();
    let mut seed = first_seed;
    let outcome = loop {
        let round = run_round(seed, target, &mut iterations);
        seed += 1;
        if round.is_err() || Instant::now() >= deadline {
            break round;
        }
        eprintln!("seed {} done, {} s to go", seed - 1, deadline.saturating_duration_since(Instant::now()).as_secs());
    };
    let rows: Vec<(&str, String)> = iterations.iter().map(|(name, count)| (name.as_str(), grouped(*count))).collect();
    println!("\niterations by target, seeds {first_seed} to {}:\n\n{}", seed - 1, table(&rows));
    if outcome.is_ok() && iterations.is_empty() {
        return Err(Failure::Job(format!("no target has `{}` in its name", target.unwrap_or_default())));
    }
    outcome
}

/// Every target once, with its usual number of iterations.
fn run_round(seed: u64, target: Option<&str>, iterations: &mut BTreeMap<String, u64>) -> Outcome<()> {
    let mut command = shell::cargo();
    command.args(["test", "--release", "--quiet", "--package", "tidegate", "--lib", "--"]);
    command.args(["fuzz::", "--nocapture"]).env("TIDEGATE_FUZZ_TARGET", target.unwrap_or_default());
    command.env("TIDEGATE_FUZZ_SEED", seed.to_string()).env("TIDEGATE_TEST_PLUGINS", places::plugins());
    let mut child = command.stdout(Stdio::piped()).spawn().doing("start the targets")?;
    let output = child.stdout.take().expect("it was asked for");
    for line in BufReader::new(output).lines() {
        let line = line.doing("read what the targets say")?;
        if let Some((name, count)) = result_of(&line) {
            *iterations.entry(name.to_owned()).or_default() += count;
        }
    }
    let status = child.wait().doing("wait for the targets")?;
    if status.success() {
        return Ok(());
    }
    let again = format!("TIDEGATE_FUZZ_SEED={seed} {}", shell::line(&command));
    Err(Failure::Job(format!(
        "a target failed with seed {seed}; its input is above and its seed in `host/fuzz`: {again}"
    )))
}

/// Target and iterations in a line of `fuzzing::run`; the test harness may have begun the line with its own words.
fn result_of(line: &str) -> Option<(&str, u64)> {
    let (_, rest) = line.split_once("fuzz ")?;
    let (name, rest) = rest.split_once(": ")?;
    let (count, rest) = rest.split_once(' ')?;
    rest.starts_with("iterations in ").then_some((name, count.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::result_of;

    #[test]
    fn a_line_of_a_target_is_told_from_the_others() {
        assert_eq!(result_of("fuzz json-keys: 10000 iterations in 0.5 s"), Some(("json-keys", 10_000)));
        assert_eq!(result_of("..fuzz marker: 7 iterations in 0.0 s"), Some(("marker", 7)));
        assert_eq!(result_of("test decode::fuzz::keys ... ok"), None);
        assert_eq!(result_of("running 14 tests"), None);
    }
}
