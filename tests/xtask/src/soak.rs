//! `cargo xtask soak`: two million payments, on files and on Kafka, each run killed at five moments that hit.
//!
//! Longer than a test may be. Next room: `crash`.

use crate::crash::{self, Attempt, Run};
use crate::failure::{Failure, Outcome};
use crate::generate::Plan;
use crate::kafka_session::KafkaSession;
use crate::report::{Phases, grouped, table};
use crate::trial::{Payments, Transport, Trial, insist};
use crate::{building, places, setup};

/// Files, and partitions of the topics.
const SPLITS: usize = 4;
/// Short enough that there is a checkpoint to hit at each moment.
const INTERVAL: &str = "50ms";
/// Kills in each run.
const KILLS: u64 = 5;
/// A run that ended before all kills had hit is set up anew so many times.
const ROUNDS: u32 = 10;

/// Runs both soaks.
///
/// # Errors
/// If a step fails, or if alerts are not exactly the recounted ones.
pub fn run(records: u64, seed: u64) -> Outcome<()> {
    let mut phases = Phases::default();
    let folder = places::target().join("soak");
    phases.run("look at the machine", || {
        setup::for_building()?;
        setup::for_kafka()
    })?;
    phases.run("build the host, the plugin and the broker's program", || {
        building::host()?;
        building::fraud_detector()?;
        building::kafka_session()
    })?;
    let plan = Plan { seed, ..Plan::new(records) };
    let payments = phases.run("generate payments", || Payments::generate(&folder, plan, SPLITS))?;
    let expected = phases.run("recount", || payments.recount())?;
    let kafka = phases.run("start a broker", KafkaSession::start)?;
    for (name, transport) in [("files", Transport::Files), ("Kafka", Transport::Kafka(kafka))] {
        let mut trial = Trial::new(&folder, transport);
        phases.run(&format!("load the payments ({name})"), || trial.load(&payments))?;
        let run = phases.run(&format!("run and kill ({name})"), || run_killed(&mut trial, records))?;
        let verdict = phases.run(&format!("compare ({name})"), || trial.verdict(&expected))?;
        for kill in &run.kills {
            let record = grouped(kill.record);
            println!(
                "killed at record {record} (checkpoint {}), recovered in {:.3} s",
                kill.checkpoint, kill.recovered_in
            );
        }
        println!("{name}: {} kills hit, {} came too late and were repeated", run.kills.len(), run.missed);
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
        insist(&verdict)?;
    }
    println!("{}", phases.table());
    Ok(())
}

fn run_killed(trial: &mut Trial, records: u64) -> Outcome<Run> {
    let moments: Vec<u64> = (1..=KILLS).map(|kill| records * kill / (KILLS + 1)).collect();
    for _ in 0..ROUNDS {
        let launch = trial.new_round(SPLITS, Some(INTERVAL))?;
        match crash::run(&launch, &moments)? {
            Attempt::Done(run) => return Ok(run),
            Attempt::EndedEarly { hit } => eprintln!("  the job ended after {hit} of {KILLS} kills; once more"),
        }
    }
    Err(Failure::Job(format!("no run was hit {KILLS} times in {ROUNDS} rounds; try more `--records`")))
}
