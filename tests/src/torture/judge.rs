//! The judge of a scenario: takes every record in as it becomes visible, and says what must be visible by now.
//!
//! Sees outputs only, never the store: what it knows of the input are the payments' numbers. Next rooms: `alerts`, `pairs`.

use super::alerts::Alerts;
use super::pairs::{self, Pairs};
use super::scenario::{Job, OUT_OF_ORDERNESS_MS};
use super::violation::Violation;

/// The judge of one store's whole life.
#[derive(Debug)]
pub(super) enum Judge {
    /// Of the fraud job.
    Alerts(Alerts),
    /// Of the three-operator DAG.
    Pairs(Pairs),
}

/// What was visible at a moment: everything up to it must be, once no checkpoint of that time is undecided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cut {
    /// The window up to which alerts must be visible.
    Alerts(Option<i64>),
    /// Payments and counts that must be visible.
    Pairs(pairs::Cut),
}

impl Judge {
    pub(super) fn new(job: Job) -> Judge {
        match job {
            Job::Fraud => Judge::Alerts(Alerts::default()),
            Job::Dag => Judge::Pairs(Pairs::default()),
        }
    }

    /// Takes a visible record of an output in.
    pub(super) fn take(&mut self, output: usize, record: &[u8]) -> Result<(), Violation> {
        match self {
            Judge::Alerts(alerts) => alerts.take(record),
            Judge::Pairs(pairs) => pairs.take(output, record),
        }
    }

    /// What is visible now.
    pub(super) fn cut(&self) -> Cut {
        match self {
            Judge::Alerts(alerts) => Cut::Alerts(alerts.cut()),
            Judge::Pairs(pairs) => Cut::Pairs(pairs.cut()),
        }
    }

    /// What must be visible when every payment below a number was read and committed, and more may come.
    pub(super) fn cut_after(&self, payments: u64) -> Cut {
        match self {
            Judge::Alerts(_) => Cut::Alerts(Alerts::cut_after(payments, OUT_OF_ORDERNESS_MS)),
            Judge::Pairs(_) => Cut::Pairs(Pairs::cut_after(payments)),
        }
    }

    /// What must be visible when the input ended before a payment.
    pub(super) fn end(&mut self, payments: u64) -> Cut {
        match self {
            Judge::Alerts(alerts) => Cut::Alerts(Some(alerts.end(payments))),
            Judge::Pairs(_) => Cut::Pairs(Pairs::cut_after(payments)),
        }
    }

    /// Something up to the cut that is not visible.
    pub(super) fn missing(&mut self, cut: &Cut) -> Option<String> {
        match (self, cut) {
            (Judge::Alerts(alerts), Cut::Alerts(cut)) => alerts.missing(*cut),
            (Judge::Pairs(pairs), Cut::Pairs(cut)) => pairs.missing(cut),
            _ => unreachable!("a judge makes its own cuts"),
        }
    }

    /// Forgets what is complete up to the cut.
    pub(super) fn forget(&mut self, cut: &Cut) {
        if let (Judge::Alerts(alerts), Cut::Alerts(cut)) = (self, cut) {
            alerts.forget(*cut);
        }
    }

    /// Records that became visible.
    pub(super) fn visible(&self) -> u64 {
        match self {
            Judge::Alerts(alerts) => alerts.visible(),
            Judge::Pairs(pairs) => pairs.visible(),
        }
    }

    /// The number of a payment up to which the job has read at least, as its output says.
    pub(super) fn read_to(&self) -> u64 {
        match self {
            Judge::Alerts(alerts) => alerts.read_to(),
            Judge::Pairs(pairs) => pairs.read_to(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::alerts::{THRESHOLD, WINDOW_MS};
    use super::super::payment::{SPLITS, START_MS, payment};
    use super::*;
    use std::collections::BTreeMap;

    /// What the fraud job writes for the first payments, by window, counted here in another way.
    fn alerts(windows: i64) -> Vec<String> {
        let mut counts: BTreeMap<(i64, String), u64> = BTreeMap::new();
        for payment in (0..(windows * WINDOW_MS) as u64 + 1_000).map(payment) {
            *counts.entry(((payment.time_ms - START_MS).div_euclid(WINDOW_MS), payment.user)).or_default() += 1;
        }
        let alert = |((window, user), count): ((i64, String), u64)| {
            let (start, end) = (START_MS + window * WINDOW_MS, START_MS + (window + 1) * WINDOW_MS);
            format!(r#"{{"user_id":"{user}","window_start":{start},"window_end":{end},"count":{count}}}"#)
        };
        let due = |((window, _), count): &((i64, String), u64)| *window < windows && *count > THRESHOLD;
        counts.into_iter().filter(due).map(alert).collect()
    }

    /// What the DAG writes for the first payments: pairs and counts, as if it had one shard.
    fn pairs(payments: u64) -> Vec<(usize, String)> {
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        let mut records = Vec::new();
        for payment in (0..payments).map(payment) {
            let count = counts.entry(payment.merchant.clone()).or_default();
            *count += 1;
            let counted = format!(r#"{{"key":"{}","count":{count}}}"#, payment.merchant);
            let text = String::from_utf8(payment.json).unwrap().replace('}', ",\"tagged\":true}");
            let quoted = |text: &str| serde_json::to_string(text).unwrap();
            let pair =
                format!(r#"{{"key":"{}","left":{},"right":{}}}"#, payment.merchant, quoted(&text), quoted(&counted));
            records.extend([(0, pair), (1, counted)]);
        }
        records
    }

    fn judged<'a>(job: Job, records: impl IntoIterator<Item = &'a (usize, String)>) -> (Judge, Result<(), Violation>) {
        let mut judge = Judge::new(job);
        let outcome = records.into_iter().try_for_each(|(output, record)| judge.take(*output, record.as_bytes()));
        (judge, outcome)
    }

    #[test]
    fn the_right_alerts_are_complete_and_each_fault_is_found() {
        let right: Vec<(usize, String)> = alerts(6).into_iter().map(|alert| (0, alert)).collect();
        assert!(right.len() > 60, "only {} alerts", right.len());
        let (mut judge, outcome) = judged(Job::Fraud, &right);
        assert_eq!(outcome, Ok(()));
        let cut = judge.cut();
        assert_eq!(judge.missing(&cut), None);
        // Again, before and after what is complete was forgotten.
        assert!(matches!(judge.take(0, right[3].1.as_bytes()), Err(Violation::Duplicated(_))));
        judge.forget(&cut);
        assert!(matches!(judge.take(0, right[3].1.as_bytes()), Err(Violation::Duplicated(_))));
        // One left out is missing at the latest when the whole is looked at.
        for gone in [0, 7, right.len() - 30] {
            let left = right[..gone].iter().chain(&right[gone + 1..]);
            let (mut judge, outcome) = judged(Job::Fraud, left);
            let cut = judge.cut();
            assert!(matches!(outcome, Err(Violation::Lost(_))) || judge.missing(&cut).is_some(), "{gone}");
        }
        let reversed = right.iter().rev();
        assert!(matches!(judged(Job::Fraud, reversed).1, Err(Violation::Lost(_))));
        let wrong = (0, right[0].1.replace("\"count\":", "\"count\":1"));
        assert!(matches!(judged(Job::Fraud, [&wrong]).1, Err(Violation::Wrong(_))));
    }

    #[test]
    fn the_right_pairs_are_complete_and_each_fault_is_found() {
        let right = pairs(400);
        let (mut judge, outcome) = judged(Job::Dag, &right);
        assert_eq!(outcome, Ok(()));
        let (cut, all) = (judge.cut(), judge.cut_after(400));
        assert_eq!((judge.missing(&cut), judge.missing(&all)), (None, None));
        let more = judge.cut_after(400 + SPLITS as u64);
        assert!(judge.missing(&more).is_some());
        for (at, record) in right.iter().enumerate().step_by(13) {
            let (mut judge, _) = judged(Job::Dag, &right);
            let again = judge.take(record.0, record.1.as_bytes());
            assert!(matches!(again, Err(Violation::Duplicated(_))), "{again:?}");
            let left = right[..at].iter().chain(&right[at + 1..]);
            let (mut judge, outcome) = judged(Job::Dag, left);
            let cut = judge.cut();
            assert!(matches!(outcome, Err(Violation::Lost(_))) || judge.missing(&cut).is_some(), "{at}");
        }
        let wrong = (0, right[0].1.replace("user-", "user+"));
        assert!(matches!(judged(Job::Dag, [&wrong]).1, Err(Violation::Wrong(_))));
    }
}
