//! What a campaign has come to so far, scenario by scenario, in a file that a later piece goes on from.
//!
//! Only what was judged is added: the lives up to a look at the whole. Next room: [`super::campaign`].

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

/// What one scenario has come to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Lives that SIGKILL ended, each followed by a restart on the same store.
    pub kills: u64,
    /// Of these, at a fail point.
    pub at_points: u64,
    /// Lives that ended with a last checkpoint.
    pub stops: u64,
    /// Lives that ended by themselves to start again (75), as they must after a commit without an answer.
    pub restarts: u64,
    /// Times that a producer was replaced.
    pub rotations: u64,
    /// Records that became visible.
    pub visible: u64,
    /// Records that were lost.
    pub lost: u64,
    /// Records that were doubled, or were not to be there.
    pub duplicated: u64,
    /// Milliseconds from SIGKILL to the first commit afterwards: how often each.
    pub recovery_ms: BTreeMap<u64, u64>,
    /// How often a life was ended at each fail point.
    pub hit: BTreeMap<String, u64>,
    /// In how many lives each fail point was reached.
    pub reached: BTreeMap<String, u64>,
}

/// The state of a campaign.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// By scenario.
    pub scenarios: BTreeMap<String, Tally>,
    /// The seed of each piece.
    pub seeds: Vec<u64>,
}

impl Tally {
    /// Adds what came since.
    pub fn add(&mut self, other: &Tally) {
        self.kills += other.kills;
        self.at_points += other.at_points;
        self.stops += other.stops;
        self.restarts += other.restarts;
        self.rotations += other.rotations;
        self.visible += other.visible;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        for (millis, times) in &other.recovery_ms {
            *self.recovery_ms.entry(*millis).or_default() += times;
        }
        for (mine, theirs) in [(&mut self.hit, &other.hit), (&mut self.reached, &other.reached)] {
            for (point, times) in theirs {
                *mine.entry(point.clone()).or_default() += times;
            }
        }
    }

    /// Notes a recovery.
    pub fn recovered(&mut self, after: Duration) {
        *self.recovery_ms.entry(after.as_millis() as u64).or_default() += 1;
    }

    /// The time within which so many of a thousand recoveries were done, in seconds; 0 without one.
    pub fn recovery_seconds(&self, per_thousand: u64) -> f64 {
        let all: u64 = self.recovery_ms.values().sum();
        let mut left = (all * per_thousand).div_ceil(1000);
        for (millis, times) in &self.recovery_ms {
            left = left.saturating_sub(*times);
            if left == 0 {
                return *millis as f64 / 1e3;
            }
        }
        0.0
    }

    /// One line: what a campaign ends with.
    pub fn line(&self) -> String {
        format!(
            "cycles {}  lost {}  duplicated {}  recovery p50 {:.2} s  p99 {:.2} s",
            self.kills,
            self.lost,
            self.duplicated,
            self.recovery_seconds(500),
            self.recovery_seconds(990)
        )
    }

    /// Whether nothing was lost and nothing doubled.
    pub fn is_exact(&self) -> bool {
        self.lost == 0 && self.duplicated == 0
    }
}

impl State {
    /// Reads a state; there is none before the first piece.
    ///
    /// # Errors
    /// Those of the file system, and a file that is no state.
    pub fn read(path: &Path) -> io::Result<State> {
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(State::default()),
            Err(error) => Err(error),
        }
    }

    /// Writes the state, whole or not at all.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let fresh = path.with_extension("new");
        fs::write(&fresh, serde_json::to_vec_pretty(self)?)?;
        fs::rename(&fresh, path)
    }

    /// All scenarios together.
    pub fn total(&self) -> Tally {
        let mut total = Tally::default();
        self.scenarios.values().for_each(|tally| total.add(tally));
        total
    }

    /// A line a scenario, then how often each fail point ended a life, then those that never did.
    pub fn report(&self, points: &[&str]) -> String {
        let mut text = String::new();
        for (name, tally) in &self.scenarios {
            let Tally { at_points, stops, restarts, rotations, visible, .. } = tally;
            let _ = writeln!(
                text,
                "{name:<12} {}  (at fail points {at_points}, stops {stops}, restarts {restarts}, rotations {rotations}, \
                 records {visible})",
                tally.line()
            );
        }
        let hit = self.total().hit;
        let listed: Vec<String> = hit.iter().map(|(point, times)| format!("{point} {times}")).collect();
        let never: Vec<&str> = points.iter().filter(|point| !hit.contains_key(**point)).copied().collect();
        let _ = writeln!(text, "kills by fail point: {}", listed.join(", "));
        let _ = writeln!(
            text,
            "fail points without a kill: {}",
            if never.is_empty() { "none".into() } else { never.join(", ") }
        );
        text
    }
}
