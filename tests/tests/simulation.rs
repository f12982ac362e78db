//! The simulation in the test run: 10,000 seeds, the cases that once failed, and that nothing was left out.
//!
//! Next room: `tidegate_tests::simulation`; `cargo xtask simulate` runs as many as one wants.

use tidegate_tests::simulation::{self, Rule};

const SEEDS: u64 = 10_000;

fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

#[test]
fn ten_thousand_seeds_lose_double_and_reorder_nothing_and_leave_nothing_out() {
    let summary = simulation::run(0, SEEDS, threads(), &|_| {});
    if let Some(failure) = summary.failures.first() {
        let trace = simulation::trace(failure.seed);
        panic!(
            "seed {} of {} that failed: {:?}: {}\n{}\nas a case:\n{}",
            failure.seed,
            summary.failures.len(),
            failure.complaint.rule,
            failure.complaint.what,
            trace.log.join("\n"),
            trace.case
        );
    }
    let holes = summary.holes();
    assert!(holes.is_empty(), "never taken in {SEEDS} seeds:\n{}", holes.join("\n"));
}

#[test]
fn what_once_failed_does_not_fail_again() {
    let cases = include_str!("../simulation/cases.txt");
    for (at, case) in cases.lines().enumerate().filter(|(_, line)| !line.starts_with('#') && !line.is_empty()) {
        let trace = simulation::replay(case).expect("a case is a list of choices");
        assert_eq!(trace.complaint, None, "line {}:\n{}", at + 1, trace.log.join("\n"));
    }
}

#[test]
fn a_seed_is_the_same_run_every_time_and_so_is_its_list_of_choices() {
    for seed in 0..50 {
        let first = simulation::trace(seed);
        let again = simulation::trace(seed);
        assert_eq!((first.log.clone(), first.complaint.clone()), (again.log, again.complaint));
        let replayed = simulation::replay(&first.case).expect("a trace's case is a list of choices");
        assert_eq!(replayed.log, first.log, "seed {seed}");
    }
}

/// A judge that never complains would pass everything, so one rule is broken on purpose.
#[test]
fn a_run_that_cannot_get_on_is_a_complaint() {
    let complaint = simulation::starve(1).complaint.expect("a job without brokers does not end");
    assert_eq!(complaint.rule, Rule::NoProgress);
}
