//! `cargo xtask torture`, the part that has the clients: runs a piece of a campaign and prints what it came to.
//!
//! Next room: `tidegate_tests::torture`.

use clap::Parser;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tidegate::probe::POINTS;
use tidegate_tests::torture::campaign::{self, Options};
use tidegate_tests::torture::recovery;

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
    /// Instead of kills, measure how long a start with so much state takes, such as `100MiB`
    #[arg(long, value_parser = bytes)]
    state: Option<usize>,
    /// Where the campaign's state and stores are
    #[arg(long)]
    folder: PathBuf,
}

/// What state may cost at a start, beyond the process's own.
const BEYOND_MAX: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    // The host with fail points is built with this program, into the same folder.
    let program = std::env::current_exe().expect("this program has a path").with_file_name("tidegate-probed");
    let program = program.to_str().expect("the target folder's path is UTF-8").to_owned();
    if let Some(bytes) = arguments.state {
        return measure(&program, &arguments.folder, bytes);
    }
    let options = Options {
        kills: arguments.kills,
        at_most: Duration::from_secs(arguments.minutes * 60),
        seed: arguments.seed.unwrap_or(now),
        folder: arguments.folder,
        program,
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

/// A number of MiB.
fn bytes(text: &str) -> Result<usize, String> {
    let mebibytes = text.strip_suffix("MiB").and_then(|number| number.parse::<usize>().ok());
    mebibytes.map(|number| number << 20).ok_or_else(|| format!("`{text}` is no size; say `100MiB`"))
}

fn measure(program: &str, folder: &Path, bytes: usize) -> ExitCode {
    let folder = folder.join("recovery");
    if folder.exists()
        && let Err(error) = fs::remove_dir_all(&folder)
    {
        eprintln!("error: `{}` cannot be emptied: {error}", folder.display());
        return ExitCode::FAILURE;
    }
    match recovery::measure(program, &folder, bytes) {
        Ok(measured) => {
            println!("{}", measured.report());
            if measured.beyond() < BEYOND_MAX { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(violation) => {
            eprintln!("error: {violation}");
            ExitCode::FAILURE
        }
    }
}
