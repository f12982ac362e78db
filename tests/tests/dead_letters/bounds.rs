//! What is kept for an undo is bounded: the bound takes a checkpoint before its time.
//!
//! Next room: `kills`.

use super::{Counting, Letters, ONE_INTERVAL};
use tidegate_tests::scene::Run;

const RECORDS: usize = 100_000;

fn run(counting: &Counting, poison: impl IntoIterator<Item = usize>, what: &str) -> Run {
    let mut letters = Letters::new(counting, RECORDS, poison);
    letters.scene.set_variable("TIDEGATE_LOG", Some("tidegate::checkpoint=debug,info".into()));
    letters.run(what)
}

/// Checkpoints that were committed while the job ran, the last one among them.
fn checkpoints(run: &Run) -> usize {
    run.log.lines().filter(|line| line.contains(" committed ")).count()
}

#[test]
fn the_bound_takes_a_checkpoint_before_its_time() {
    let poison = || (0..RECORDS).step_by(9_973);
    // Little waits between threads, so that a barrier passes soon.
    let unbounded = run(&Counting { limits: "channel = \"32KiB\"", ..ONE_INTERVAL }, poison(), "without a bound");
    assert_eq!(checkpoints(&unbounded), 1, "{}", unbounded.log);
    // 100,000 records are about 10 MB.
    let bounded = Counting { limits: "undo = \"1MiB\"\nchannel = \"32KiB\"", ..ONE_INTERVAL };
    let early = run(&bounded, poison(), "with a bound");
    assert!(checkpoints(&early) > 3, "{} checkpoints:\n{}", checkpoints(&early), early.log);
}

#[test]
fn a_bound_below_one_batch_works() {
    let tiny = Counting { limits: "undo = \"1B\"\nchannel = \"32KiB\"", shards: 4, workers: 2, ..ONE_INTERVAL };
    let early = run(&tiny, (0..RECORDS).step_by(9_973), "with a bound of a byte");
    assert!(checkpoints(&early) > 10, "{} checkpoints:\n{}", checkpoints(&early), early.log);
}

#[test]
fn poison_in_every_interval_takes_its_own_checkpoint_and_not_the_limit_of_all() {
    // The image that an undo goes back to counts towards the bound, so that poison itself asks for a checkpoint.
    let bounded =
        Counting { limits: "undo = \"64KiB\"\nchannel = \"32KiB\"", operator: "max_dead_letters = 20", ..ONE_INTERVAL };
    let early = run(&bounded, (0..RECORDS).step_by(1_000), "a hundred poison records, twenty a checkpoint");
    assert!(checkpoints(&early) > 10, "{} checkpoints:\n{}", checkpoints(&early), early.log);
}
