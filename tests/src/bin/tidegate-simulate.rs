//! Runs simulated jobs, many seeds on all cores, for `cargo xtask simulate`; a failing one is made simple and shown.
//!
//! Next room: `tidegate_tests::simulation`.

use clap::Parser;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use tidegate_tests::simulation::{self, Trace};

#[derive(Parser)]
#[command(about = "Simulates jobs under every fault, and judges them")]
struct Arguments {
    /// How many runs
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first run's seed
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
    /// Threads; all cores without it
    #[arg(long)]
    threads: Option<usize>,
    /// Print how often every arm and every fault was taken
    #[arg(long)]
    coverage: bool,
    /// Do not make the first failure simple
    #[arg(long)]
    no_shrink: bool,
    /// Only this seed, with everything that happens in it
    #[arg(long)]
    trace: Option<u64>,
}

/// So many seeds must meet everything.
const WHOLE: u64 = 10_000;
/// Progress is told so often, in seeds.
const TELL_EVERY: u64 = 50_000;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A panic is a complaint, and the run's own words are enough.
    std::panic::set_hook(Box::new(|_| {}));
    if let Some(seed) = arguments.trace {
        show(&simulation::trace(seed));
        return ExitCode::SUCCESS;
    }
    let threads = arguments.threads.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
    let told = AtomicU64::new(0);
    let summary = simulation::run(arguments.first_seed, arguments.seeds, threads, &|done| {
        let piece = done / TELL_EVERY;
        if told.fetch_max(piece, Ordering::Relaxed) < piece {
            eprintln!("  {done} of {} seeds", arguments.seeds);
        }
    });
    if arguments.coverage {
        print!("{}", summary.coverage());
    }
    if arguments.seeds >= WHOLE {
        for hole in summary.holes() {
            println!("never taken: {hole}");
        }
    }
    for failure in &summary.failures {
        println!("seed {}: {:?}: {}", failure.seed, failure.complaint.rule, failure.complaint.what);
    }
    if let Some(failure) = summary.failures.first().filter(|_| !arguments.no_shrink) {
        println!("\nseed {}, made as simple as it can be:", failure.seed);
        show(&simulation::trace(failure.seed));
    }
    let seconds = summary.took.as_secs_f64();
    println!(
        "{} seeds from {}, {} steps, {seconds:.1} s, {:.0} seeds/s, {} failed",
        summary.seeds,
        arguments.first_seed,
        summary.steps,
        summary.seeds as f64 / seconds,
        summary.failures.len()
    );
    if summary.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn show(trace: &Trace) {
    for line in &trace.log {
        println!("  {line}");
    }
    match &trace.complaint {
        Some(complaint) => {
            println!("  {:?}: {}", complaint.rule, complaint.what);
            println!("to keep it: a line in tests/simulation/cases.txt\n{}", trace.case);
        }
        None => println!("  nothing is wrong"),
    }
}
