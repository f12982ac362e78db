//! `cargo xtask torture`: the host killed thousands of times on one store, on files and on Kafka.
//!
//! Builds what is needed and starts the program of the tests crate that has the clients. Pieces of a campaign add up in
//! `target/torture`. Next rooms: `building`, and `tests/src/torture`.

use crate::failure::Outcome;
use crate::report::Phases;
use crate::{building, places, setup, shell};
use std::process::Command;

/// What a piece is to do; handed on to the program.
#[derive(Debug, Clone)]
pub struct Order {
    /// How many kills, over all scenarios.
    pub kills: u64,
    /// Begin nothing new after so many minutes.
    pub minutes: Option<u64>,
    /// Decides how lives end.
    pub seed: Option<u64>,
    /// Instead of kills, measure how long a start with so much state takes.
    pub state: Option<String>,
}

/// Runs a piece.
///
/// # Errors
/// If a step fails, or if something was lost or doubled.
pub fn run(order: &Order) -> Outcome<()> {
    let mut phases = Phases::default();
    phases.run("look at the machine", || {
        setup::for_building()?;
        setup::for_kafka()
    })?;
    phases.run("build the host, the plugins and the programs", || {
        building::host()?;
        building::plugin_folders()?.iter().try_for_each(|it| building::plugin(it))?;
        building::torture()
    })?;
    let mut torture = Command::new(places::program("tidegate-torture"));
    torture.env("TIDEGATE_KAFKA_LIBS", places::kafka_libs()).env("TIDEGATE_TEST_PLUGINS", places::plugins());
    torture.arg("--folder").arg(places::target().join("torture")).args(["--kills", &order.kills.to_string()]);
    for (name, value) in [("--minutes", order.minutes), ("--seed", order.seed)] {
        torture.args(value.map(|value| format!("{name}={value}")));
    }
    torture.args(order.state.as_ref().map(|state| format!("--state={state}")));
    shell::run(&mut torture)
}
