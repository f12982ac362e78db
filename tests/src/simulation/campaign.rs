//! Many runs on all cores, their coverage, and what failed. Next room: `world`.

use super::choices::Choices;
use super::coverage::Coverage;
use super::judge::{Complaint, Rule};
use super::shrink;
use super::world::{Run, World};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures that are kept; more say nothing new.
const FAILURES_MAX: usize = 8;
/// Seeds that a thread takes at once.
const PIECE: u64 = 64;

/// A seed whose run broke a rule.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The judge's complaint.
    pub complaint: Complaint,
}

/// What many runs came to.
#[derive(Debug)]
pub struct Summary {
    /// Runs.
    pub seeds: u64,
    /// Steps of all of them.
    pub steps: u64,
    /// The first failures, by seed.
    pub failures: Vec<Failure>,
    /// How long it took.
    pub took: Duration,
    coverage: Coverage,
}

impl Summary {
    /// Arms and pairs that no run took.
    pub fn holes(&self) -> Vec<String> {
        self.coverage.holes()
    }

    /// All counts as text.
    pub fn coverage(&self) -> String {
        self.coverage.text()
    }
}

/// Runs so many seeds from the first one on, on so many threads. `progress` hears how many are done, now and then.
pub fn run(first: u64, seeds: u64, threads: usize, progress: &(dyn Fn(u64) + Sync)) -> Summary {
    let began = Instant::now();
    let next = AtomicU64::new(0);
    let steps = AtomicU64::new(0);
    let has_enough = AtomicBool::new(false);
    let found = Mutex::new((Coverage::new(), Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                let mut coverage = Coverage::new();
                loop {
                    let at = next.fetch_add(PIECE, Ordering::Relaxed);
                    if at >= seeds || has_enough.load(Ordering::Relaxed) {
                        break;
                    }
                    for seed in first + at..first + (at + PIECE).min(seeds) {
                        let run = one(Choices::from_seed(seed), false);
                        coverage.add(&run.coverage);
                        steps.fetch_add(u64::from(run.steps), Ordering::Relaxed);
                        if let Some(complaint) = run.complaint {
                            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                            found.1.push(Failure { seed, complaint });
                            has_enough.store(found.1.len() >= FAILURES_MAX, Ordering::Relaxed);
                        }
                    }
                    progress((at + PIECE).min(seeds));
                }
                found.lock().unwrap_or_else(PoisonError::into_inner).0.add(&coverage);
            });
        }
    });
    let (coverage, mut failures) = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    failures.sort_by_key(|failure| failure.seed);
    Summary { seeds, steps: steps.into_inner(), failures, took: began.elapsed(), coverage }
}

/// One run by its choices. A panic of the product's assertions is a complaint like any other.
fn one(choices: Choices, wants_log: bool) -> Run {
    let mut world = World::new(choices, wants_log.then(Vec::new));
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| world.run())) {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let what = panic.downcast_ref::<String>().cloned().or(text).unwrap_or_default();
        world.shared.judge.complain(Rule::Panicked, || what);
    }
    world.end()
}

/// A run with everything that happened in it.
#[derive(Debug)]
pub struct Trace {
    /// The choices, as a case keeps them.
    pub case: String,
    /// What happened.
    pub log: Vec<String>,
    /// The judge's complaint, if there is one.
    pub complaint: Option<Complaint>,
}

/// Runs a seed again and makes what failed in it as simple as it can.
pub fn trace(seed: u64) -> Trace {
    let run = one(Choices::from_seed(seed), true);
    let Some(complaint) = &run.complaint else { return traced(run) };
    let script = shrink::shrink(run.made.clone(), complaint.rule, |script| one(Choices::from_script(script), false));
    traced(one(Choices::from_script(script), true))
}

/// A run of a seed in which no broker ever answers.
pub fn starve(seed: u64) -> Trace {
    let mut world = World::new(Choices::from_seed(seed), Some(Vec::new()));
    world.starve();
    world.run();
    traced(world.end())
}

/// Runs a case again.
///
/// # Errors
/// If it is not a list of choices.
pub fn replay(case: &str) -> Result<Trace, String> {
    let script = decode(case)?;
    Ok(traced(one(Choices::from_script(script), true)))
}

fn traced(run: Run) -> Trace {
    Trace { case: encode(&run.made), log: run.log, complaint: run.complaint }
}

/// Choices with spaces in between, `xN` for N dull ones; dull ones at the end are left out.
fn encode(made: &[u8]) -> String {
    let end = made.iter().rposition(|choice| *choice != 0).map_or(0, |last| last + 1);
    let pieces = made[..end].chunk_by(|left, right| (*left == 0) == (*right == 0));
    let words = pieces.flat_map(|piece| match piece[0] {
        0 => vec![format!("x{}", piece.len())],
        _ => piece.iter().map(u8::to_string).collect(),
    });
    words.collect::<Vec<_>>().join(" ")
}

fn decode(case: &str) -> Result<Vec<u8>, String> {
    let mut script = Vec::new();
    for word in case.split_whitespace() {
        let wrong = |error| format!("`{word}` is no choice: {error}");
        match word.strip_prefix('x') {
            Some(count) => script.resize(script.len() + count.parse::<u16>().map_err(wrong)? as usize, 0),
            None => script.push(word.parse().map_err(wrong)?),
        }
    }
    Ok(script)
}
