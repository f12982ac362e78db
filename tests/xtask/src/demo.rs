//! `cargo xtask demo`: the main job on a million payments, killed half way, compared with a recount.
//!
//! Tells the story; `crash` kills, `recount` judges. Everything it makes stays in `target/demo` for the reader.

use crate::crash::{self, Attempt, Run};
use crate::failure::{Doing, Failure, Outcome};
use crate::generate::Plan;
use crate::host_process::Launch;
use crate::recount::Verdict;
use crate::report::{Phases, grouped, table};
use crate::trial::{Payments, Transport, Trial, insist};
use crate::{building, places, setup};
use std::fs;
use std::path::Path;

/// Files of payments; each is a split.
const SPLITS: usize = 4;
/// Short, so that a job of a second or two is taken in the middle of a checkpoint.
const INTERVAL: &str = "100ms";
/// A job that ended before the kill hit is set up anew so many times.
const ROUNDS: u32 = 10;

/// Runs the demo.
///
/// # Errors
/// If a step fails, or if the alerts are not exactly the recounted ones.
pub fn run(records: u64, seed: u64) -> Outcome<()> {
    let mut phases = Phases::default();
    let folder = places::target().join("demo");
    phases.run("look at the machine", setup::for_building)?;
    phases.run("build the host", building::host)?;
    phases.run("build the plugin", building::fraud_detector)?;
    let plan = Plan { seed, ..Plan::new(records) };
    let name = format!("generate {} payments", grouped(records));
    let payments = phases.run(&name, || Payments::generate(&folder, plan, SPLITS))?;
    let mut trial = Trial::new(&folder, Transport::Files);
    let (launch, run) = phases.run("run, kill half way, run again", || run_killed(&mut trial, records))?;
    let verdict = phases.run("recount and compare", || trial.verdict(&payments.recount()?))?;
    println!("\n{}", phases.table());
    print_run(&run, records);
    print_verdict(&verdict);
    insist(&verdict)?;
    print_alert(&folder.join(trial.alerts()))?;
    print_operator()?;
    print_next(&launch);
    Ok(())
}

fn run_killed(trial: &mut Trial, records: u64) -> Outcome<(Launch, Run)> {
    for _ in 0..ROUNDS {
        let launch = trial.new_round(SPLITS, Some(INTERVAL))?;
        match crash::run(&launch, &[records / 2])? {
            Attempt::Done(run) => return Ok((launch, run)),
            Attempt::EndedEarly { .. } => eprintln!("  the job ended before the kill hit a checkpoint; once more"),
        }
    }
    let advice = "this machine is too fast for so few records, try `cargo xtask demo --records 5000000`";
    Err(Failure::Job(format!("no kill hit an unfinished checkpoint in {ROUNDS} runs; {advice}")))
}

fn print_run(run: &Run, records: u64) {
    if run.missed > 0 {
        println!("{} kills came after a checkpoint's end; repeated, not counted", run.missed);
    }
    for kill in &run.kills {
        println!("killed at record {} (checkpoint {})", grouped(kill.record), kill.checkpoint);
        println!("recovered in {:.3} s", kill.recovered_in);
    }
    let rate = (records as f64 / run.seconds).round() as u64;
    println!("{} records/s, both lives, start-up and recovery included\n", grouped(rate));
}

fn print_verdict(verdict: &Verdict) {
    println!(
        "{}",
        table(&[
            ("expected", verdict.expected),
            ("found", verdict.found),
            ("lost", verdict.lost),
            ("duplicated", verdict.duplicated),
            ("wrong", verdict.wrong),
        ])
    );
    let end = if verdict.is_exact() { "exactly once" } else { "NOT exactly once" };
    println!("lost {}, duplicated {}: {end}\n", verdict.lost, verdict.duplicated);
}

fn print_alert(alerts: &Path) -> Outcome<()> {
    let text = fs::read_to_string(alerts).at("read", alerts)?;
    let first = text.lines().next().unwrap_or("none");
    println!("One alert ({}):\n\n  {first}\n", places::from_root(alerts));
    Ok(())
}

fn print_operator() -> Outcome<()> {
    let path = places::root().join("plugins/fraud-detector/src/lib.rs");
    let text = fs::read_to_string(&path).at("read", &path)?;
    println!("The operator ({}):\n", places::from_root(&path));
    for line in operator_lines(&text) {
        println!("{}", format!("  {line}").trim_end());
    }
    println!();
    Ok(())
}

/// The lines between `// demo:begin` and `// demo:end`.
fn operator_lines(text: &str) -> impl Iterator<Item = &str> {
    let after = text.lines().skip_while(|line| line.trim() != "// demo:begin").skip(1);
    after.take_while(|line| line.trim() != "// demo:end")
}

fn print_next(launch: &Launch) {
    let job = places::from_root(&launch.job);
    let store = places::from_root(&launch.job.with_extension("redb"));
    let host = places::from_root(&places::host());
    println!("Next:\n");
    for (command, why) in [
        (format!("{host} check {job}"), "what can be known of a job before it runs"),
        (format!("{host} state inspect {store}"), "what the job has kept, and where it is"),
        ("cargo xtask bench fraud".to_owned(), "how fast it is here, on files and on a real Kafka"),
    ] {
        println!("  {command}\n      {why}");
    }
}

#[cfg(test)]
mod tests {
    use super::operator_lines;

    #[test]
    fn the_operator_is_what_lies_between_the_two_comments() {
        let text = "a\n// demo:begin\nstruct Detector;\n\nimpl Detector {}\n// demo:end\nb\n";
        assert_eq!(operator_lines(text).collect::<Vec<_>>(), ["struct Detector;", "", "impl Detector {}"]);
        assert_eq!(operator_lines("no comments").count(), 0);
    }
}
