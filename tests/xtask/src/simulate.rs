//! `cargo xtask simulate`: simulated jobs under every fault, as many seeds as one wants, on all cores.
//!
//! The simulation is part of the tests crate, which knows the host; this only builds and runs its program. Next room:
//! `tests/src/simulation`.

use crate::failure::Outcome;
use crate::{building, places, setup, shell};
use std::process::Command;

/// Runs so many seeds from the first one on.
///
/// # Errors
/// If the program cannot be built, or if a seed fails: it is on the terminal then, as simple as it can be.
pub fn run(seeds: u64, first_seed: u64, coverage: bool) -> Outcome<()> {
    setup::for_building()?;
    building::simulation()?;
    let mut program = Command::new(places::program("tidegate-simulate"));
    program.args(["--seeds", &seeds.to_string(), "--first-seed", &first_seed.to_string()]);
    if coverage {
        program.arg("--coverage");
    }
    shell::run(&mut program)
}
