//! Tests of both kinds of watermark: the rules one by one, then random histories against a slow, plain model.

use super::*;
use std::time::Duration;

const POLICY: WatermarkPolicy =
    WatermarkPolicy { max_out_of_orderness: Duration::from_millis(5), idle_after: Duration::from_millis(30) };
const A: SplitIndex = SplitIndex(0);
const B: SplitIndex = SplitIndex(1);

fn position() -> Position {
    Position::File { path: "a".to_owned(), device: 0, inode: 0, head_digest: 0, head_bytes: 0, offset: 0 }
}

fn state(watermark: i64, idle: bool, finished: bool) -> SplitState {
    SplitState { position: position(), watermark: Watermark(watermark), idle, finished }
}

fn fresh(splits: usize) -> SplitWatermarks {
    SplitWatermarks::new(&POLICY, &vec![state(i64::MIN, false, false); splits])
}

/// A seeded generator (a linear congruential one is plenty here).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[test]
fn a_split_lags_by_the_allowed_disorder_and_never_falls() {
    let mut splits = fresh(1);
    assert_eq!(splits.advance(), None);
    splits.observe(A, 100);
    assert_eq!(splits.advance(), Some(Watermark(95)));
    splits.observe(A, 60);
    assert_eq!(splits.advance(), None);
    assert_eq!(splits.watermark(), Watermark(95));
}

#[test]
fn the_slowest_active_split_holds_the_watermark() {
    let mut splits = fresh(2);
    splits.observe(A, 100);
    assert_eq!(splits.advance(), None, "the other split has not spoken");
    assert_eq!(splits.furthest_behind(), Some(B));
    splits.observe(B, 50);
    assert_eq!(splits.advance(), Some(Watermark(45)));
    splits.observe(B, 200);
    assert_eq!(splits.advance(), Some(Watermark(95)));
    assert_eq!(splits.furthest_behind(), Some(A));
}

#[test]
fn extreme_timestamps_neither_overflow_nor_end_the_input() {
    let mut splits = fresh(1);
    splits.observe(A, i64::MIN);
    assert_eq!(splits.advance(), None);
    let no_delay = WatermarkPolicy { max_out_of_orderness: Duration::ZERO, ..POLICY };
    let mut splits = SplitWatermarks::new(&no_delay, &[state(i64::MIN, false, false)]);
    splits.observe(A, i64::MAX);
    assert_eq!(splits.advance(), Some(Watermark(i64::MAX - 1)));
    let for_ever = WatermarkPolicy { max_out_of_orderness: Duration::MAX, ..POLICY };
    let mut splits = SplitWatermarks::new(&for_ever, &[state(i64::MIN, false, false)]);
    splits.observe(A, 0);
    assert_eq!(splits.watermark_of(A), Watermark(-i64::MAX));
}

#[test]
fn idleness_counts_only_while_caught_up() {
    let mut splits = fresh(2);
    splits.observe(A, 100);
    splits.caught_up(B, 1_000);
    splits.caught_up(B, 1_029);
    assert_eq!(splits.advance(), None);
    splits.active(B); // its broker went away, so the wait starts again
    splits.caught_up(B, 1_040);
    splits.caught_up(B, 1_069);
    assert_eq!(splits.advance(), None);
    splits.caught_up(B, 1_070);
    assert!(splits.is_idle(B));
    assert_eq!(splits.advance(), Some(Watermark(95)));
    splits.observe(B, 80); // it comes back behind the others: held, not lowered
    assert!(!splits.is_idle(B));
    splits.observe(A, 500);
    assert_eq!(splits.advance(), None);
    splits.observe(B, 300);
    assert_eq!(splits.advance(), Some(Watermark(295)));
}

#[test]
fn all_idle_goes_to_the_furthest_and_stays_there() {
    let mut splits = fresh(2);
    splits.observe(A, 100);
    splits.observe(B, 50);
    for split in [A, B] {
        splits.caught_up(split, 0);
        splits.caught_up(split, 30);
    }
    assert_eq!(splits.activity(), Activity::Idle);
    assert_eq!(splits.advance(), Some(Watermark(95)));
    assert_eq!(splits.furthest_behind(), None);
}

#[test]
fn finished_splits_do_not_hold_and_all_finished_is_the_end() {
    let mut splits = fresh(2);
    splits.observe(A, 100);
    splits.finish(B);
    assert_eq!(splits.advance(), Some(Watermark(95)));
    assert_eq!(splits.activity(), Activity::Active);
    splits.finish(A);
    assert_eq!(splits.activity(), Activity::Finished);
    assert_eq!(splits.advance(), Some(Watermark::END));
    assert_eq!(splits.advance(), None);
}

#[test]
fn a_finished_and_an_idle_split_are_not_the_end() {
    let mut splits = fresh(2);
    splits.finish(A);
    splits.observe(B, 50);
    splits.caught_up(B, 0);
    splits.caught_up(B, 30);
    assert_eq!(splits.activity(), Activity::Idle);
    assert_eq!(splits.advance(), Some(Watermark(45)));
}

#[test]
fn a_new_split_holds_the_watermark_but_never_lowers_it() {
    let mut splits = fresh(1);
    splits.observe(A, 100);
    assert_eq!(splits.advance(), Some(Watermark(95)));
    assert_eq!(splits.add(), B);
    splits.observe(A, 200);
    assert_eq!(splits.advance(), None);
    splits.observe(B, 10);
    assert_eq!(splits.advance(), None);
    assert_eq!(splits.watermark(), Watermark(95));
    splits.observe(B, 300);
    assert_eq!(splits.advance(), Some(Watermark(195)));
}

#[test]
fn no_splits_hold_at_the_start() {
    let mut splits = fresh(0);
    assert!(splits.is_empty());
    assert_eq!(splits.advance(), None);
    assert_eq!((splits.watermark(), splits.activity()), (Watermark::START, Activity::Idle));
}

#[test]
fn a_restored_idle_split_is_active_until_it_first_gets_to_the_high_watermark() {
    let mut splits = SplitWatermarks::new(&POLICY, &[state(95, false, false), state(40, true, false)]);
    assert_eq!(splits.advance(), Some(Watermark(95)), "the checkpoint's own watermark is announced first");
    splits.observe(A, 500);
    assert_eq!(splits.advance(), None, "what arrived meanwhile in the other split comes first");
    splits.caught_up(B, 7);
    assert!(splits.is_idle(B), "it was idle before and nothing came, so it need not wait again");
    assert_eq!(splits.advance(), Some(Watermark(495)));
    splits.observe(B, 600);
    splits.caught_up(B, 8);
    assert!(!splits.is_idle(B), "only the first time");
}

#[test]
fn a_restored_idle_split_that_has_records_waits_like_any_other() {
    let mut splits = SplitWatermarks::new(&POLICY, &[state(95, false, false), state(40, true, false)]);
    splits.observe(A, 500);
    splits.observe(B, 200);
    splits.caught_up(B, 7);
    assert!(!splits.is_idle(B), "it woke up while nobody read it, so its next record may be on its way");
    assert_eq!(splits.advance(), Some(Watermark(195)), "which must not be late");
}

#[test]
fn a_snapshot_says_what_was_seen() {
    let mut splits = fresh(2);
    splits.observe(A, 100);
    splits.caught_up(A, 0);
    splits.caught_up(A, 30);
    splits.finish(B);
    assert_eq!(splits.snapshot(A, position()), state(95, true, false));
    assert_eq!(splits.snapshot(B, position()), state(i64::MIN, false, true));
    assert!(splits.is_finished(B) && splits.len() == 2);
    let again = SplitWatermarks::new(&POLICY, &[state(95, false, true), state(10, false, true)]).advance();
    assert_eq!(again, Some(Watermark::END), "a finished source says so again");
}

/// Random histories: the combined watermark never falls, is never above an active split that was there all along, and a
/// restore from a snapshot goes on where the old one stood.
#[test]
fn random_histories_keep_the_rules() {
    for seed in 0..300 {
        let mut random = Random(seed);
        let count = 1 + random.below(4) as usize;
        let mut splits = fresh(count);
        let (mut now, mut last) = (0, Watermark::START);
        for step in 0..200 {
            let split = SplitIndex(random.below(splits.len() as u64) as u32);
            now += random.below(20);
            let observed = match random.below(20) {
                0..10 if !splits.is_finished(split) => {
                    splits.observe(split, (step * 10 + random.below(60)) as i64);
                    true
                }
                10..15 => {
                    splits.caught_up(split, now);
                    false
                }
                15 | 16 => {
                    splits.active(split);
                    false
                }
                17 if splits.len() < 6 => {
                    splits.add();
                    false
                }
                18 if random.below(8) == 0 => {
                    splits.finish(split);
                    false
                }
                _ => false,
            };
            let risen = splits.advance();
            assert!(risen.is_none_or(|risen| risen > last), "seed {seed} step {step}: {risen:?} after {last:?}");
            if let Some(risen) = risen {
                let active = (0..splits.len() as u32).map(SplitIndex);
                let slowest = active.filter(|s| !splits.is_idle(*s) && !splits.is_finished(*s));
                let slowest = slowest.map(|s| splits.watermark_of(s)).min();
                assert!(slowest.is_none_or(|slowest| slowest == risen), "seed {seed} step {step}");
                last = risen;
            }
            assert!(!(observed && splits.is_idle(split)), "seed {seed} step {step}: a record ends idleness");
            assert_eq!(
                splits.watermark() == Watermark::END,
                splits.activity() == Activity::Finished || last == Watermark::END
            );
        }
        let states: Vec<_> = (0..splits.len() as u32).map(|s| splits.snapshot(SplitIndex(s), position())).collect();
        let restored = SplitWatermarks::new(&POLICY, &states);
        assert!(restored.watermark() <= splits.watermark(), "seed {seed}: a restore is never ahead");
    }
}

#[test]
fn a_port_is_its_slowest_sender_and_the_operator_its_slowest_port() {
    let mut inputs = InputWatermarks::new(&[2, 1]);
    assert_eq!(inputs.update(0, 0, Watermark(10)), None);
    assert_eq!(inputs.update(0, 1, Watermark(20)), None);
    assert_eq!(inputs.port(0), Watermark(10));
    assert_eq!(inputs.holder(), Some((1, 0)));
    assert_eq!(inputs.update(1, 0, Watermark(15)), Some(Watermark(10)));
    assert_eq!(inputs.update(0, 0, Watermark(30)), Some(Watermark(15)));
    assert_eq!(inputs.update(0, 0, Watermark(5)), None, "a sender never takes back");
    assert_eq!(inputs.ports(), [Watermark(20), Watermark(15)]);
    assert_eq!(inputs.watermark(), Watermark(15));
    for (port, sender) in [(0, 0), (0, 1)] {
        assert_eq!(inputs.update(port, sender, Watermark::END), None);
    }
    assert_eq!(inputs.update(1, 0, Watermark::END), Some(Watermark::END));
    assert_eq!(inputs.holder(), None);
}

#[test]
fn restored_ports_are_never_lowered() {
    let mut inputs = InputWatermarks::restored(&[2, 1], &[Watermark(100), Watermark(80)]);
    assert_eq!(inputs.watermark(), Watermark(80));
    assert_eq!(inputs.update(0, 0, Watermark(50)), None);
    assert_eq!(inputs.update(0, 1, Watermark(120)), None);
    assert_eq!(inputs.update(1, 0, Watermark(70)), None);
    assert_eq!(inputs.ports(), [Watermark(100), Watermark(80)]);
    assert_eq!(inputs.update(1, 0, Watermark(110)), Some(Watermark(100)), "the other port's floor holds");
    assert_eq!(inputs.update(0, 0, Watermark(115)), Some(Watermark(110)));
}

#[test]
fn a_port_without_senders_holds_nothing() {
    let mut inputs = InputWatermarks::new(&[1, 0]);
    assert_eq!(inputs.update(0, 0, Watermark(3)), Some(Watermark(3)));
    assert_eq!(InputWatermarks::new(&[]).watermark(), Watermark::END);
}

/// Random updates against the definition computed anew each time.
#[test]
fn random_updates_equal_the_definition() {
    for seed in 0..300 {
        let mut random = Random(seed);
        let senders: Vec<usize> = (0..=random.below(2)).map(|_| 1 + random.below(4) as usize).collect();
        let floors: Vec<_> = senders.iter().map(|_| Watermark(random.below(50) as i64)).collect();
        let mut inputs = InputWatermarks::restored(&senders, &floors);
        let mut model: Vec<Vec<i64>> = senders.iter().map(|count| vec![i64::MIN; *count]).collect();
        let mut last = inputs.watermark();
        for step in 0..300 {
            let port = random.below(senders.len() as u64) as usize;
            let sender = random.below(senders[port] as u64) as usize;
            let sent = (step / 2 + random.below(40)) as i64;
            let risen = inputs.update(port, sender, Watermark(sent));
            model[port][sender] = model[port][sender].max(sent);
            let ports: Vec<_> = model
                .iter()
                .zip(&floors)
                .map(|(senders, floor)| Watermark(*senders.iter().min().expect("a sender")).max(*floor))
                .collect();
            let expected = *ports.iter().min().expect("a port");
            assert_eq!(inputs.ports(), ports, "seed {seed} step {step}");
            assert_eq!(inputs.watermark(), expected, "seed {seed} step {step}");
            assert_eq!(risen, (expected > last).then_some(expected), "seed {seed} step {step}");
            last = expected;
        }
    }
}
