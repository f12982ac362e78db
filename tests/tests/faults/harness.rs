//! Runs the rows of the matrix and says what came of each, and which it left out.
//!
//! Takes what `cargo test -- …` hands on: words that a row's name must contain, `--exact`, `--list`, `--test-threads N`.
//! Slow rows run when `TIDEGATE_FAULTS` is set (`cargo xtask test --faults` does). Next room: `matrix`.

use crate::matrix::{Group, Proof, complaints, full_name, rows};
use std::num::NonZero;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

/// Rows start hosts and brokers of their own, so more at a time only slows each of them.
const THREADS_MAX: usize = 4;
/// Sentinel row: the table itself.
const TABLE_ROW: &str = "matrix: the table in the repository is the generated one";

struct Job {
    name: String,
    run: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct Arguments {
    words: Vec<String>,
    is_exact: bool,
    is_list: bool,
    threads: Option<usize>,
}

impl Arguments {
    fn read() -> Result<Arguments, String> {
        let mut arguments = Arguments::default();
        let mut given = std::env::args().skip(1);
        while let Some(argument) = given.next() {
            let threads = match argument.as_str() {
                "--exact" => {
                    arguments.is_exact = true;
                    continue;
                }
                "--list" => {
                    arguments.is_list = true;
                    continue;
                }
                // Output is never captured here, and there is one way to print it.
                "--nocapture" | "--no-capture" | "--show-output" | "--quiet" | "-q" => continue,
                "--test-threads" => given.next().unwrap_or_default(),
                _ => match argument.strip_prefix("--test-threads=") {
                    Some(threads) => threads.to_owned(),
                    None if argument.starts_with('-') => return Err(format!("`{argument}` means nothing here")),
                    None => {
                        arguments.words.push(argument);
                        continue;
                    }
                },
            };
            let parsed: Result<NonZero<usize>, _> = threads.parse();
            arguments.threads = Some(parsed.map_err(|_| format!("`{threads}` is no number of threads"))?.get());
        }
        Ok(arguments)
    }

    fn wants(&self, name: &str) -> bool {
        let fits = |word: &String| if self.is_exact { name == word } else { name.contains(word.as_str()) };
        self.words.is_empty() || self.words.iter().any(fits)
    }
}

/// Runs what the command line asks for; fails if a row does.
pub(crate) fn run(matrix: &'static [Group]) -> ExitCode {
    let arguments = match Arguments::read() {
        Ok(arguments) => arguments,
        Err(what) => {
            eprintln!("{what}; give words of a row's name, --exact, --list, --test-threads N");
            return ExitCode::FAILURE;
        }
    };
    let takes_slow = std::env::var_os("TIDEGATE_FAULTS").is_some();
    let mut jobs = vec![Job { name: TABLE_ROW.to_owned(), run: Box::new(move || check_table(matrix)) }];
    let mut left_out = 0;
    for (group, row) in rows(matrix) {
        let run = match row.proof {
            Proof::Quick(run) => run,
            Proof::Slow(run) if takes_slow || arguments.is_list => run,
            Proof::Slow(_) => {
                left_out += usize::from(arguments.wants(&full_name(group, row)));
                continue;
            }
            Proof::Elsewhere(..) => continue,
        };
        jobs.push(Job { name: full_name(group, row), run: Box::new(run) });
    }
    jobs.retain(|job| arguments.wants(&job.name));
    if arguments.is_list {
        for job in &jobs {
            println!("{}: test", job.name);
        }
        return ExitCode::SUCCESS;
    }
    let failed = run_jobs(jobs, &arguments);
    if left_out > 0 {
        println!("{left_out} slow rows of the fault matrix were left out; `cargo xtask test --faults` runs them\n");
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn check_table(matrix: &'static [Group]) {
    let complaints = complaints(matrix);
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// Whether one failed.
fn run_jobs(jobs: Vec<Job>, arguments: &Arguments) -> bool {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = arguments.threads.unwrap_or(cores.min(THREADS_MAX));
    let (count, began) = (jobs.len(), Instant::now());
    println!("\nrunning {count} rows of the fault matrix");
    let waiting = Mutex::new(jobs.into_iter());
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let Some(job) = waiting.lock().expect("nobody panics with it").next() else { return };
                    if !run_job(&job) {
                        failed.lock().expect("nobody panics with it").push(job.name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("nobody panics with it");
    let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {verdict}. {} passed; {} failed; finished in {:.1} s\n",
        count - failed.len(),
        failed.len(),
        began.elapsed().as_secs_f64()
    );
    for name in &failed {
        println!("    failed: {name}");
    }
    !failed.is_empty()
}

/// Runs one row on a thread with its name, so that a panic's message begins with it.
fn run_job(job: &Job) -> bool {
    let began = Instant::now();
    let passed = thread::scope(|scope| {
        let thread = thread::Builder::new().name(job.name.clone()).spawn_scoped(scope, || (job.run)());
        thread.expect("a thread can be started").join().is_ok()
    });
    let verdict = if passed { "ok" } else { "FAILED" };
    println!("test {} ... {verdict} ({:.1} s)", job.name, began.elapsed().as_secs_f64());
    passed
}
