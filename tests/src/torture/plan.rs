//! Chooses how each life of the host ends: at a random time or at a fail point, by a seed, the points that were hit least
//! often first.
//!
//! Knows which points a scenario has and what has to go before so that a life comes by one. Next room: [`super::siege`].

use super::scenario::{Ends, Job, Scenario};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tidegate::probe::POINTS;
use xtask::random::Random;

/// How a life ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// SIGKILL so long after the process was started.
    AfterStart(Duration),
    /// SIGKILL so long after its first commit.
    AfterCommit(Duration),
    /// SIGKILL when a fail point is reached for the n-th time.
    At {
        /// The point.
        point: &'static str,
        /// n, from 1.
        times: u64,
    },
    /// SIGTERM, and a last checkpoint.
    Stop,
}

/// A life to live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// How it ends.
    pub end: End,
    /// Whether ends of transactions come late, so that the producer is replaced.
    pub late_ends: bool,
}

/// Points that only the first start of a store comes by, in order. Of those in one line a store can be killed at one only:
/// the next life finds the store, or its first checkpoint, there.
const FIRST_START: [&[&str]; 8] = [
    &["store-made"],
    &["store-named", "store-durable"],
    &["marker-topic-making"],
    &["marker-topic-made"],
    &["output-beginning"],
    &["output-begun"],
    &["start-resolved"],
    &["start-prepared", "start-decided", "started"],
];
/// Only where a checkpoint is promoted, or rolled back, or the producer is replaced.
const PROMOTE: [&str; 2] = ["promote-applied", "promoted"];
const ROLL_BACK: [&str; 5] = ["rolling-back", "discarded", "store-rolling-back", "store-rolled-back", "rolled-back"];
const ROTATION: [&str; 5] = ["rotating", "rotation-marker-read", "producer-destroyed", "producer-replaced", "rotated"];
/// Only with `--fresh`, which empties state: no matter for a campaign, and tested by itself.
const FRESH: [&str; 2] = ["operator-dropping", "operator-dropped"];
/// Only where Kafka decides.
const KAFKA: [&str; 11] = [
    "marker-topic-making",
    "marker-topic-made",
    "looked",
    "initialized",
    "settled",
    "transaction-beginning",
    "transaction-begun",
    "marking",
    "marked",
    "unconfirmed",
    "confirmed",
];
/// Once a life at most.
const ONCE: [&str; 14] = [
    "store-opened",
    "looked",
    "initialized",
    "settled",
    "recovery",
    "sinks-opened",
    "staging-resetting",
    "staging-reset",
    "restoring",
    "restored",
    "running",
    "staging-sweeping",
    "staging-swept",
    "store-committing",
];

/// Chooses lives, for ever.
#[derive(Debug)]
pub struct Planner {
    scenario: Scenario,
    random: Random,
    points: Vec<&'static str>,
    /// Lives that were decided on already.
    next: VecDeque<Plan>,
}

impl Planner {
    /// A planner that first goes through the points of a store's first start.
    pub fn new(scenario: Scenario, seed: u64) -> Planner {
        let points = points(scenario);
        let mut random = Random::new(seed);
        let one_of = |line: &&[&'static str]| line[random.below(line.len() as u64) as usize];
        let first = FIRST_START.iter().map(one_of).filter(|point| points.contains(point));
        let next = first.map(|point| Plan::at(point, 1)).collect();
        Planner { scenario, random, points, next }
    }

    /// A planner that begins with certain lives.
    pub fn beginning(scenario: Scenario, seed: u64, plans: impl IntoIterator<Item = Plan>) -> Planner {
        Planner { next: plans.into_iter().collect(), ..Planner::new(scenario, seed) }
    }

    /// The next life. `hit` says how often the campaign ended one at each point.
    pub fn choose(&mut self, hit: &BTreeMap<String, u64>) -> Plan {
        if let Some(plan) = self.next.pop_front() {
            return plan;
        }
        let chance = self.random.below(100);
        let millis = |random: &mut Random, below| Duration::from_millis(random.below(below));
        let end = match chance {
            0..=14 => End::AfterStart(millis(&mut self.random, 400)),
            15..=44 => End::AfterCommit(millis(&mut self.random, 80)),
            45..=46 => End::Stop,
            _ => return self.at_least_hit(hit),
        };
        Plan { end, late_ends: self.scenario.ends == Ends::Kafka && self.random.below(20) == 0 }
    }

    /// One of the points that were hit least often, and before it what leads there.
    fn at_least_hit(&mut self, hit: &BTreeMap<String, u64>) -> Plan {
        let hits = |point: &&str| hit.get(*point).copied().unwrap_or_default();
        let reachable = self.points.iter().filter(|point| !FIRST_START.iter().any(|line| line.contains(point)));
        let fewest = reachable.clone().map(hits).min().unwrap_or_default();
        // Not the very least one alone: a point that is hard to hit would be tried for ever.
        let candidates: Vec<&'static str> = reachable.filter(|point| hits(point) <= fewest + 3).copied().collect();
        let point = candidates[self.random.below(candidates.len() as u64) as usize];
        let times = if ONCE.contains(&point) { 1 } else { 1 + self.random.below(4) };
        let target = Plan { end: End::At { point, times }, late_ends: ROTATION.contains(&point) };
        let before = if ROLL_BACK.contains(&point) {
            Some("marked")
        } else if PROMOTE.contains(&point) || point == "store-committing" || point == "store-committed" {
            Some(if self.scenario.ends == Ends::Kafka { "unconfirmed" } else { "prepared" })
        } else {
            None
        };
        let Some(before) = before else { return target };
        self.next.push_back(Plan { end: End::At { point, times: 1 }, ..target });
        Plan::at(before, 1 + self.random.below(4))
    }
}

impl Plan {
    /// A life that ends at a point, without faults.
    pub fn at(point: &'static str, times: u64) -> Plan {
        Plan { end: End::At { point, times }, late_ends: false }
    }
}

/// The points that lives of a scenario come by.
pub fn points(scenario: Scenario) -> Vec<&'static str> {
    let has_file = scenario.ends == Ends::Files || scenario.job == Job::Dag;
    let is_file = |point: &str| ["staging-", "append", "output-"].iter().any(|prefix| point.starts_with(prefix));
    let comes_by = |point: &&&'static str| {
        let point = *point;
        let is_kafka = KAFKA.contains(point) || ROLL_BACK.contains(point) || ROTATION.contains(point);
        !FRESH.contains(point) && (has_file || !is_file(point)) && (scenario.ends == Ends::Kafka || !is_kafka)
    };
    POINTS.iter().filter(comes_by).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::super::scenario::SCENARIOS;
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_fail_point_is_aimed_at_in_a_few_stores_lives() {
        let mut aimed: BTreeSet<&str> = FRESH.into_iter().collect();
        for (scenario, seed) in SCENARIOS.into_iter().flat_map(|scenario| (0..8).map(move |seed| (scenario, seed))) {
            let mut planner = Planner::new(scenario, seed);
            let mut hit = BTreeMap::new();
            for _ in 0..400 {
                if let End::At { point, .. } = planner.choose(&hit).end {
                    assert!(points(scenario).contains(&point), "{scenario} has no `{point}`");
                    *hit.entry(point.to_owned()).or_default() += 1;
                    aimed.insert(point);
                }
            }
        }
        let never: Vec<&&str> = POINTS.iter().filter(|point| !aimed.contains(**point)).collect();
        assert!(never.is_empty(), "never aimed at: {never:?}");
    }

    #[test]
    fn a_seed_gives_the_same_lives() {
        let lives = |seed| {
            let mut planner = Planner::new(SCENARIOS[1], seed);
            (0..100).map(|_| planner.choose(&BTreeMap::new())).collect::<Vec<_>>()
        };
        assert_eq!(lives(3), lives(3));
        assert_ne!(lives(3), lives(4));
    }
}
