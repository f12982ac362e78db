//! Every bug that the host can be built with has a check that must find it: `cargo xtask bugs` runs them.

use std::collections::BTreeSet;
use tidegate::seeded::{self, Bug};
use xtask::bugs::table::CAUGHT_BY;

#[test]
fn every_seeded_bug_has_its_check() {
    let seeded: Vec<String> = Bug::ALL.iter().map(|bug| format!("{bug:?}")).collect();
    let listed: Vec<&str> = CAUGHT_BY.iter().map(|(bug, _)| *bug).collect();
    assert_eq!(seeded, listed, "the host's bugs and the table of their checks, in the same order");
    assert_eq!(listed.iter().collect::<BTreeSet<_>>().len(), listed.len(), "each is listed once");
    assert!(listed.len() >= 30, "only {} bugs", listed.len());
    assert!(CAUGHT_BY.iter().all(|(_, checks)| !checks.is_empty()), "a bug without a check");
}

#[test]
fn a_build_without_the_feature_has_no_bug() {
    let bugs = Bug::ALL.iter().filter(|bug| seeded::is(**bug)).count();
    assert_eq!(bugs, 0, "without `TIDEGATE_BUG` there is none either");
}
