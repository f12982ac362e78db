//! Makes a failing run simpler: the same rule must still be broken after choices are taken out or made dull.
//!
//! Next room: `choices`, where 0 is the dull answer.

use super::judge::Rule;
use super::world::Run;

/// Runs that shrinking may take.
const TRIES_MAX: usize = 4_000;

/// The shortest list of choices found that breaks the rule.
pub(super) fn shrink(made: Vec<u8>, rule: Rule, run: impl Fn(Vec<u8>) -> Run) -> Vec<u8> {
    let mut best = made;
    let mut tries = 0;
    let mut is_broken = |candidate: &Vec<u8>| {
        tries += 1;
        let breaks = run(candidate.clone()).complaint.is_some_and(|complaint| complaint.rule == rule);
        (breaks, tries >= TRIES_MAX)
    };
    let mut piece = best.len().next_power_of_two() / 2;
    while piece > 0 {
        let mut at = 0;
        while at < best.len() {
            let end = (at + piece).min(best.len());
            let mut without = best.clone();
            without.drain(at..end);
            let mut dull = best.clone();
            dull[at..end].fill(0);
            let is_dull_already = dull == best;
            let (shorter, is_over) = is_broken(&without);
            if shorter {
                best = without;
            } else {
                if !is_dull_already && is_broken(&dull).0 {
                    best = dull;
                }
                at = end;
            }
            if is_over {
                return best;
            }
        }
        piece /= 2;
    }
    while best.last() == Some(&0) {
        best.pop();
    }
    best
}
