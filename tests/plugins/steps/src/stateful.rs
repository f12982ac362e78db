//! The roles that remember: a count, two joins, rules.
//!
//! Next room: `stateless`.

use crate::When;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use tidegate_sdk::{Error, KeyMap, Output, Row, Timers, Watermark};

/// Counts records by key.
#[derive(Debug, Default)]
pub(crate) struct Count {
    counts: KeyMap<u64>,
}

#[derive(Debug, Serialize)]
struct Counted<'a> {
    key: Cow<'a, str>,
    count: u64,
}

impl Count {
    pub(crate) fn process(&mut self, row: Row<'_>, out: &mut Output) -> Result<(), Error> {
        let Some(key) = row.key() else {
            out.reject(row, "no-key", "the record has no key");
            return Ok(());
        };
        let count = self.counts.get_or_default(key);
        *count += 1;
        let counted = Counted { key: String::from_utf8_lossy(key), count: *count };
        out.port(0).emit_json(key, &counted, row.timestamp())?;
        Ok(())
    }
}

/// Joins the first records that a key has on either input.
#[derive(Debug, Default)]
pub(crate) struct Join {
    /// By key: what the left and the right input had of it first.
    seen: KeyMap<[Option<First>; 2]>,
}

#[derive(Debug)]
struct First {
    timestamp: i64,
    value: Vec<u8>,
}

#[derive(Debug, Serialize)]
struct Joined<'a> {
    key: Cow<'a, str>,
    left: Cow<'a, str>,
    right: Cow<'a, str>,
}

impl Join {
    pub(crate) fn process(&mut self, port: u32, row: Row<'_>, out: &mut Output) -> Result<(), Error> {
        let Some(key) = row.key() else {
            out.reject(row, "no-key", "the record has no key");
            return Ok(());
        };
        let sides = self.seen.get_or_default(key);
        let side = &mut sides[port as usize];
        if side.is_some() {
            return Ok(());
        }
        *side = Some(First { timestamp: row.timestamp(), value: row.value().unwrap_or_default().to_vec() });
        if let [Some(left), Some(right)] = sides {
            let joined = Joined {
                key: String::from_utf8_lossy(key),
                left: String::from_utf8_lossy(&left.value),
                right: String::from_utf8_lossy(&right.value),
            };
            out.port(0).emit_json(key, &joined, left.timestamp.max(right.timestamp))?;
        }
        Ok(())
    }
}

/// Pairs the records that a key has on either input, in order.
#[derive(Debug, Default)]
pub(crate) struct Zip {
    /// By key: what came on the left and on the right and has no partner yet. One of the two is empty.
    waiting: KeyMap<[VecDeque<First>; 2]>,
}

impl Zip {
    pub(crate) fn process(&mut self, port: u32, row: Row<'_>, out: &mut Output) -> Result<(), Error> {
        let Some(key) = row.key() else {
            out.reject(row, "no-key", "the record has no key");
            return Ok(());
        };
        let sides = self.waiting.get_or_default(key);
        let own = First { timestamp: row.timestamp(), value: row.value().unwrap_or_default().to_vec() };
        let Some(other) = sides[1 - port as usize].pop_front() else {
            sides[port as usize].push_back(own);
            return Ok(());
        };
        let (left, right) = if port == 0 { (&own, &other) } else { (&other, &own) };
        let joined = Joined {
            key: String::from_utf8_lossy(key),
            left: String::from_utf8_lossy(&left.value),
            right: String::from_utf8_lossy(&right.value),
        };
        out.port(0).emit_json(key, &joined, left.timestamp.max(right.timestamp))?;
        Ok(())
    }
}

/// Memory that cannot be compressed, touched page by page.
#[derive(Debug)]
pub(crate) struct Held {
    words: Vec<u64>,
    next: usize,
}

/// Words of a page.
const PAGE_WORDS: usize = 512;

impl Held {
    pub(crate) fn new(bytes: usize) -> Held {
        let mut word = 1_u64;
        let noise = || {
            // Xorshift: no two words alike.
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            word
        };
        Held { words: std::iter::repeat_with(noise).take(bytes / size_of::<u64>()).collect(), next: 0 }
    }

    pub(crate) fn touch(&mut self) {
        if let Some(word) = self.words.get_mut(self.next) {
            *word = word.wrapping_add(1);
        }
        self.next = if self.next < self.words.len() { self.next + PAGE_WORDS } else { 0 };
    }
}

const PASSED: u32 = 0;
const BLOCKED: u32 = 1;
const RULES: u32 = 1;

/// Parts records by rules that come on an input of their own.
#[derive(Debug)]
pub(crate) struct Rules {
    when: When,
    /// By user: since when it is blocked or not.
    blocked_since: KeyMap<BTreeMap<i64, bool>>,
    /// The records that wait for their rules.
    waiting: Timers<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    timestamp: i64,
}

#[derive(Debug, Deserialize)]
struct Rule<'a> {
    #[serde(borrow)]
    user_id: Cow<'a, str>,
    blocked: bool,
}

impl Rules {
    pub(crate) fn new(when: When) -> Rules {
        Rules { when, blocked_since: KeyMap::new(), waiting: Timers::new() }
    }

    pub(crate) fn process(&mut self, port: u32, row: Row<'_>, out: &mut Output) {
        if port == RULES {
            match row.json::<Rule<'_>>() {
                Ok(rule) => {
                    self.blocked_since.get_or_default(rule.user_id.as_bytes()).insert(row.timestamp(), rule.blocked);
                }
                Err(error) => out.reject(row, "bad-rule", error),
            }
            return;
        }
        match self.when {
            When::Arrival => {
                let side = self.side(row.key(), i64::MAX);
                out.port(side).forward(row);
            }
            When::EventTime => {
                let (key, value) = (row.key().map(<[u8]>::to_vec), row.value().map(<[u8]>::to_vec));
                let timestamp = row.timestamp();
                // No timestamp below the watermark comes any more: at one more than its own, all its rules are here.
                self.waiting.set(timestamp.saturating_add(1), Waiting { key, value, timestamp });
            }
        }
    }

    pub(crate) fn advance(&mut self, watermark: Watermark, out: &mut Output) {
        while let Some((_, record)) = self.waiting.pop_due(watermark, out) {
            let side = self.side(record.key.as_deref(), record.timestamp);
            out.port(side).emit(record.key.as_deref(), record.value.as_deref(), record.timestamp);
        }
    }

    pub(crate) fn next_advance(&self) -> i64 {
        self.waiting.next_advance()
    }

    fn side(&self, key: Option<&[u8]>, timestamp: i64) -> u32 {
        let rules = key.and_then(|key| self.blocked_since.get(key));
        let blocked =
            rules.and_then(|rules| rules.range(..=timestamp).next_back()).is_some_and(|(_, blocked)| *blocked);
        if blocked { BLOCKED } else { PASSED }
    }
}
