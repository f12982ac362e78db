//! `cargo xtask torture`, the part that has the clients: runs a piece of a campaign and prints what it came to.
//!
//! Next room: `tidegate_tests::torture`.

use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tidegate::probe::POINTS;
use tidegate_tests::torture::campaign::{self, Options};

#[derive(Parser)]
struct Arguments {
    /// How many kills, over all scenarios
    #[arg(long, default_value_t = 200)]
    kills: u64,
    /// Begin no turn after so many minutes
    #[arg(long, default_value_t = 24 * 60)]
    minutes: u64,
    /// Decides how lives end; default: the time
    #[arg(long)]
    seed: Option<u64>,
    /// Where the campaign's state and stores are
    #[arg(long)]
    folder: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    // The host with fail points is built with this program, into the same folder.
    let program = std::env::current_exe().expect("this program has a path").with_file_name("tidegate-probed");
    let options = Options {
        kills: arguments.kills,
        at_most: Duration::from_secs(arguments.minutes * 60),
        seed: arguments.seed.unwrap_or(now),
        folder: arguments.folder,
        program: program.to_str().expect("the target folder's path is UTF-8").to_owned(),
        script: None,
    };
    let piece = match campaign::run(&options) {
        Ok(piece) => piece,
        Err(error) => {
            eprintln!("error: the campaign in `{}` cannot go on: {error}", options.folder.display());
            return ExitCode::FAILURE;
        }
    };
    print!("{}", piece.state.report(&POINTS));
    println!("{}", piece.state.total().line());
    if piece.found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
