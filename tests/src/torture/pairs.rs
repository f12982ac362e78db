//! Judges the outputs of the three-operator DAG as they become visible.
//!
//! It sends each payment two ways: straight, and through a count by merchant; then it pairs the n-th of the one with the n-th
//! of the other. So each payment must be in one pair, as it was read; each merchant's counts must be 1, 2, 3 … on both
//! outputs, in this order; and the payments of a split and a merchant keep their order. Remembers a prefix a split and a
//! number a merchant, so it stays small. Next room: [`super::judge`].

use super::payment::{self, SPLITS, payment};
use super::violation::Violation;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The output with the counts; the other one has the pairs.
pub(super) const COUNTS: usize = 1;

/// The judge of counts and pairs.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    /// By output and merchant: the last count.
    counts: [BTreeMap<String, u64>; 2],
    splits: [Seen; SPLITS],
    /// By split and merchant: the last payment's number.
    last: HashMap<(usize, String), u64>,
    visible: u64,
}

/// Which payments of a split are in a pair, by their number in it.
#[derive(Debug, Default)]
struct Seen {
    /// All below this.
    prefix: u64,
    /// And these.
    later: BTreeSet<u64>,
}

/// What was visible at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cut {
    /// By split: all payments below this must be visible.
    payments: [u64; SPLITS],
    /// By merchant: counts up to this must be visible on both outputs.
    counts: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct Counted {
    key: String,
    count: u64,
}

#[derive(Deserialize)]
struct Pair {
    key: String,
    left: String,
    right: String,
}

impl Pairs {
    /// Takes a visible record of an output in.
    pub(super) fn take(&mut self, output: usize, record: &[u8]) -> Result<(), Violation> {
        let text = String::from_utf8_lossy(record);
        let wrong = |error: serde_json::Error| Violation::Wrong(format!("{text} ({error})"));
        if output == COUNTS {
            let counted: Counted = serde_json::from_slice(record).map_err(wrong)?;
            self.count(COUNTS, &counted)?;
        } else {
            let pair: Pair = serde_json::from_slice(record).map_err(wrong)?;
            let counted: Counted = serde_json::from_str(&pair.right).map_err(wrong)?;
            if counted.key != pair.key {
                return Err(Violation::Wrong(text.into_owned()));
            }
            self.count(output, &counted)?;
            self.payment(&pair)?;
        }
        self.visible += 1;
        Ok(())
    }

    /// What must be visible because something later is, or its twin on the other output.
    pub(super) fn cut(&self) -> Cut {
        let mut counts = self.counts[0].clone();
        for (merchant, count) in &self.counts[1] {
            let known = counts.entry(merchant.clone()).or_default();
            *known = (*known).max(*count);
        }
        Cut { payments: self.splits.each_ref().map(Seen::end), counts }
    }

    /// The cut at which every payment below a number was read.
    pub(super) fn cut_after(payments: u64) -> Cut {
        let in_split = |split: usize| (payments + (SPLITS - 1 - split) as u64) / SPLITS as u64;
        Cut { payments: std::array::from_fn(in_split), counts: BTreeMap::new() }
    }

    /// Something below the cut that is not visible.
    pub(super) fn missing(&self, cut: &Cut) -> Option<String> {
        for (split, seen) in self.splits.iter().enumerate() {
            if seen.prefix < cut.payments[split] {
                return Some(format!("payment {} of split {split}, of {}", seen.prefix, cut.payments[split]));
            }
        }
        for (output, counts) in self.counts.iter().enumerate() {
            for (merchant, wanted) in &cut.counts {
                let count = counts.get(merchant).copied().unwrap_or_default();
                if count < *wanted {
                    return Some(format!("count {} of `{merchant}` in output {output}, of {wanted}", count + 1));
                }
            }
        }
        None
    }

    /// Records that became visible.
    pub(super) fn visible(&self) -> u64 {
        self.visible
    }

    /// The number of a payment below which all were read, as far as the output says.
    pub(super) fn read_to(&self) -> u64 {
        self.splits.iter().map(Seen::end).max().unwrap_or_default() * SPLITS as u64
    }

    fn count(&mut self, output: usize, counted: &Counted) -> Result<(), Violation> {
        let Counted { key, count } = counted;
        let last = self.counts[output].entry(key.clone()).or_default();
        let what = || format!("count {count} of `{key}` in output {output} after {last}");
        match *count {
            count if count <= *last => Err(Violation::Duplicated(what())),
            count if count > *last + 1 => Err(Violation::Lost(what())),
            count => {
                *last = count;
                Ok(())
            }
        }
    }

    fn payment(&mut self, pair: &Pair) -> Result<(), Violation> {
        let value: Value = serde_json::from_str(&pair.left)
            .map_err(|error| Violation::Wrong(format!("{} is no payment ({error})", pair.left)))?;
        let number = value["transaction_id"].as_str().and_then(payment::number);
        let number = number.ok_or_else(|| Violation::Wrong(pair.left.clone()))?;
        let payment = payment(number);
        let mut expected = String::from_utf8(payment.json).expect("a payment is text");
        expected.truncate(expected.len() - 1);
        expected.push_str(",\"tagged\":true}");
        if pair.left != expected || pair.key != payment.merchant {
            return Err(Violation::Wrong(format!("{} with {} instead of {expected}", pair.left, pair.key)));
        }
        let (split, at) = ((number % SPLITS as u64) as usize, number / SPLITS as u64);
        if !self.splits[split].insert(at) {
            return Err(Violation::Duplicated(format!("payment {number}: {}", pair.left)));
        }
        match self.last.insert((split, payment.merchant), number) {
            Some(last) if last >= number => {
                Err(Violation::Lost(format!("payment {number} came after {last}, out of order")))
            }
            _ => Ok(()),
        }
    }
}

impl Seen {
    /// Whether it is new.
    fn insert(&mut self, at: u64) -> bool {
        if at < self.prefix || !self.later.insert(at) {
            return false;
        }
        while self.later.remove(&self.prefix) {
            self.prefix += 1;
        }
        true
    }

    /// One more than the largest.
    fn end(&self) -> u64 {
        self.later.last().map_or(self.prefix, |last| last + 1)
    }
}
