//! Named moments of a checkpoint, of a recovery and of a file commit: fail points, where a test ends or stops the process.
//!
//! They exist in builds with the feature `fail-points` only, which the tests turn on. Without it [`reached`] is an empty
//! function that is inlined: the product holds neither the names nor a branch for them. [`POINTS`] is the one list of names;
//! each stands at one place of the host.

/// Every fail point, in the order of a job's life. A name in `-ing` comes before its step, the others after it.
pub const POINTS: [&str; 82] = [
    // A start, the first one of a store too.
    "store-made",
    "store-named",
    "store-durable",
    "store-opened",
    "marker-topic-making",
    "marker-topic-made",
    "looked",
    "initialized",
    "settled",
    "recovery",
    // Checkpoint 0.
    "output-beginning",
    "output-begun",
    "start-resolved",
    "start-prepared",
    "start-decided",
    "started",
    // A checkpoint to go on from, to promote, to roll back.
    "sinks-opened",
    "promote-applied",
    "promoted",
    "rolling-back",
    "discarded",
    "store-rolling-back",
    "store-rolled-back",
    "rolled-back",
    "operator-dropping",
    "operator-dropped",
    // The threads.
    "restoring",
    "restored",
    "running",
    // Records.
    "polling",
    "transaction-beginning",
    "transaction-begun",
    "staging-resetting",
    "staging-reset",
    "staging-writing",
    "staging-written",
    // A call that failed.
    "undoing",
    "repeated",
    "undone",
    // A checkpoint, to PREPARED.
    "inject",
    "injected",
    "barrier",
    "barrier-sent",
    "capturing",
    "captured",
    "aligned",
    "drained",
    "staging-sweeping",
    "staging-swept",
    "staging-syncing",
    "staging-synced",
    "staging-renamed",
    "staging-durable",
    "flushed",
    "collected",
    "preparing",
    "store-preparing",
    "store-prepared",
    "prepared",
    // The decision.
    "deciding",
    "marking",
    "marked",
    "unconfirmed",
    "confirmed",
    "rotating",
    "rotation-marker-read",
    "producer-destroyed",
    "producer-replaced",
    "rotated",
    "decided",
    "appending",
    "appended",
    "output-synced",
    "staging-removed",
    "applied",
    "committed",
    // What follows.
    "publishing",
    "published",
    "store-committing",
    "store-committed",
    "folding",
    "folded",
];

#[cfg(feature = "fail-points")]
static OBSERVER: std::sync::OnceLock<fn(&'static str)> = std::sync::OnceLock::new();

/// Installs the observer of this process; later calls change nothing.
#[cfg(feature = "fail-points")]
pub fn observe(observer: fn(&'static str)) {
    let _ = OBSERVER.set(observer);
}

/// Says that a moment is reached.
#[cfg(feature = "fail-points")]
pub fn reached(moment: &'static str) {
    if let Some(observer) = OBSERVER.get() {
        observer(moment);
    }
}

#[cfg(feature = "fail-points")]
static DISTORTED: std::sync::OnceLock<&'static str> = std::sync::OnceLock::new();

/// From now on a value of this name is another than was computed; later calls change nothing.
#[cfg(feature = "fail-points")]
pub fn distort(name: &'static str) {
    let _ = DISTORTED.set(name);
}

/// The value, unless a test wants it to be another: for what no plugin can do by itself.
#[cfg(feature = "fail-points")]
pub fn distorted(name: &'static str, value: u64) -> u64 {
    if DISTORTED.get() == Some(&name) { !value } else { value }
}

/// The value as it is.
#[cfg(not(feature = "fail-points"))]
#[inline]
pub const fn distorted(_name: &'static str, value: u64) -> u64 {
    value
}

/// Says that a moment is reached: here to nobody.
#[cfg(not(feature = "fail-points"))]
#[inline]
pub fn reached(_moment: &'static str) {}

#[cfg(test)]
mod tests {
    use super::POINTS;
    use std::fs;
    use std::path::Path;

    /// The names of the calls in all files below a folder.
    fn named_below(folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                named_below(&path, found);
                continue;
            }
            if path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let calls = text.lines().filter(|line| line.trim_start().starts_with("probe::reached("));
            let names = calls.map(|line| line.split('"').nth(1).expect("a name stands in the call"));
            found.extend(names.map(str::to_owned));
        }
    }

    #[test]
    fn every_point_of_the_list_is_at_one_place_and_none_is_outside_it() {
        let mut found = Vec::new();
        named_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        found.sort();
        let mut listed: Vec<&str> = POINTS.to_vec();
        listed.sort_unstable();
        assert_eq!(found, listed);
    }
}
