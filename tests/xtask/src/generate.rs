//! Makes payments from a seed: the same ones every time, on every machine.
//!
//! Owns the shape of the demo's and the tests' input and nothing else: it counts no window and knows no alert, so that
//! `recount` shares no code with it. Next room: `recount`, which says what alerts the payments must give.
//!
//! Most payments are those of ordinary users, far below any threshold. A small share belongs to bursts: one user pays 8 to
//! 30 times in about twenty seconds, so that some bursts stay just below ten a minute, some are cut by a window's end, and
//! about two thousand in a million payments must raise an alert.

use crate::random::Random;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

/// First event time: 2026-01-01T00:00:00Z, in milliseconds since the Unix epoch.
pub const START_MS: i64 = 1_767_225_600_000;
/// Event time between two payments. A million of them span two hours: 120 one-minute windows.
const STEP_MICROS: u64 = 7_200;
/// A payment is at most this much older than the newest before it.
pub const DISORDER_MS: u64 = 3_000;
/// One payment in a hundred, times this, belongs to a burst.
const BURST_PERCENT: u64 = 6;
/// Bursts under way at one time. At 8 payments a second in bursts, each gets one a second.
const BURSTS_ACTIVE: usize = 8;
/// A burst's smallest and largest number of payments.
const BURST_PAYMENTS: (u64, u64) = (8, 30);
/// One file's buffer, in bytes: few enough system calls that the disk is the limit.
const BUFFER_BYTES: usize = 1 << 20;

const CURRENCIES: [&str; 4] = ["EUR", "USD", "GBP", "JPY"];
const MERCHANTS: [&str; 8] = ["grocer", "bakery", "cinema", "florist", "airline", "jeweller", "bookshop", "pharmacy"];

/// What to generate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The same seed gives the same payments.
    pub seed: u64,
    /// How many.
    pub records: u64,
    /// How many different users pay.
    pub users: u64,
}

impl Plan {
    /// The demo's plan for a number of records: seed 1, 20,000 users.
    pub fn new(records: u64) -> Plan {
        Plan { seed: 1, records, users: 20_000 }
    }
}

/// One payment, borrowed from the generator until the next.
#[derive(Debug, Clone, Copy)]
pub struct Payment<'a> {
    /// Its number, from 0.
    pub index: u64,
    /// Who pays; the key.
    pub user_id: &'a str,
    /// Event time, in milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// The whole record as one JSON object, about 130 bytes, without a line end.
    pub json: &'a [u8],
}

/// Makes the plan's payments, in order, and gives each to `take`; stops at its first error.
///
/// # Errors
/// Only those of `take`.
pub fn generate<E>(plan: Plan, mut take: impl FnMut(Payment<'_>) -> Result<(), E>) -> Result<(), E> {
    let mut random = Random::new(plan.seed);
    let mut bursts = Bursts::default();
    let mut json = Vec::with_capacity(256);
    let mut user_id = String::with_capacity(16);
    for index in 0..plan.records {
        let user = bursts.next_user(&mut random, plan.users);
        let newest_ms = START_MS + (index * STEP_MICROS / 1000) as i64;
        let timestamp_ms = newest_ms - random.below(DISORDER_MS + 1) as i64;
        user_id.clear();
        push_padded(&mut user_id, "user-", user, 5);
        json.clear();
        write_json(&mut json, index, &user_id, timestamp_ms, random.next_u64()).expect("a Vec takes every byte");
        take(Payment { index, user_id: &user_id, timestamp_ms, json: &json })?;
    }
    Ok(())
}

/// Writes the plan's payments as JSON lines, payment i to file i mod the number of files, so that every file spans the whole
/// time. Files that exist are replaced. Gives back the number of bytes written.
///
/// # Errors
/// Those of the file system.
pub fn write_files(plan: Plan, paths: &[PathBuf]) -> io::Result<u64> {
    assert!(!paths.is_empty(), "payments need a file to go to");
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        files.push(BufWriter::with_capacity(BUFFER_BYTES, File::create(path)?));
    }
    let mut bytes = 0;
    generate(plan, |payment| {
        let file = &mut files[payment.index as usize % paths.len()];
        bytes += payment.json.len() as u64 + 1;
        file.write_all(payment.json)?;
        file.write_all(b"\n")
    })?;
    for file in &mut files {
        file.flush()?;
    }
    Ok(bytes)
}

/// The bursts under way, each a user and how many payments are left.
#[derive(Debug, Default)]
struct Bursts {
    active: [(u64, u64); BURSTS_ACTIVE],
}

impl Bursts {
    fn next_user(&mut self, random: &mut Random, users: u64) -> u64 {
        if random.below(100) >= BURST_PERCENT {
            return random.below(users);
        }
        let burst = &mut self.active[random.below(BURSTS_ACTIVE as u64) as usize];
        if burst.1 == 0 {
            let (fewest, most) = BURST_PAYMENTS;
            *burst = (random.below(users), fewest + random.below(most - fewest + 1));
        }
        burst.1 -= 1;
        burst.0
    }
}

fn push_padded(text: &mut String, prefix: &str, number: u64, digits: usize) {
    use std::fmt::Write as _;
    write!(text, "{prefix}{number:0digits$}").expect("a String takes every character");
}

fn write_json(json: &mut Vec<u8>, index: u64, user_id: &str, timestamp_ms: i64, bits: u64) -> io::Result<()> {
    let euros = bits % 500;
    let cents = (bits >> 16) % 100;
    let currency = CURRENCIES[(bits >> 32) as usize % CURRENCIES.len()];
    let merchant = MERCHANTS[(bits >> 40) as usize % MERCHANTS.len()];
    write!(
        json,
        "{{\"transaction_id\":\"t-{index:09}\",\"user_id\":\"{user_id}\",\"amount\":{euros}.{cents:02},\
         \"currency\":\"{currency}\",\"merchant\":\"{merchant}\",\"timestamp\":{timestamp_ms}}}"
    )
}

#[cfg(test)]
mod tests {
    use super::{DISORDER_MS, Plan, START_MS, generate, write_files};
    use std::collections::HashMap;
    use std::convert::Infallible;

    fn all(plan: Plan) -> Vec<(String, i64, Vec<u8>)> {
        let mut payments = Vec::new();
        generate(plan, |payment| {
            payments.push((payment.user_id.to_owned(), payment.timestamp_ms, payment.json.to_vec()));
            Ok::<(), Infallible>(())
        })
        .unwrap();
        payments
    }

    #[test]
    fn a_seed_gives_the_same_payments_and_another_seed_others() {
        let plan = Plan::new(5_000);
        assert_eq!(all(plan), all(plan));
        assert_ne!(all(plan), all(Plan { seed: 2, ..plan }));
    }

    #[test]
    fn the_first_payment_never_changes() {
        let first = &all(Plan::new(1))[0];
        assert_eq!(
            String::from_utf8_lossy(&first.2),
            "{\"transaction_id\":\"t-000000000\",\"user_id\":\"user-14915\",\"amount\":235.38,\"currency\":\"EUR\",\
             \"merchant\":\"bookshop\",\"timestamp\":1767225597087}"
        );
    }

    #[test]
    fn a_record_is_json_with_the_fields_of_its_payment() {
        for (user_id, timestamp_ms, json) in all(Plan::new(1_000)) {
            let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
            assert_eq!(value["user_id"], user_id.as_str());
            assert_eq!(value["timestamp"], timestamp_ms);
            for field in ["transaction_id", "currency", "merchant"] {
                assert!(value[field].is_string(), "{field} in {value}");
            }
            assert!(value["amount"].is_number());
            assert!((110..150).contains(&json.len()), "{} bytes", json.len());
        }
    }

    #[test]
    fn disorder_is_there_and_within_its_bound() {
        let mut newest = i64::MIN;
        let mut worst = 0;
        for (_, timestamp_ms, _) in all(Plan::new(20_000)) {
            worst = worst.max(newest.saturating_sub(timestamp_ms));
            newest = newest.max(timestamp_ms);
        }
        assert!((2_000..=DISORDER_MS as i64).contains(&worst), "the worst is {worst} ms");
        assert!(newest >= START_MS);
    }

    #[test]
    fn bursts_reach_ten_a_minute_and_ordinary_users_do_not() {
        let mut counts: HashMap<(String, i64), u64> = HashMap::new();
        for (user_id, timestamp_ms, _) in all(Plan::new(100_000)) {
            *counts.entry((user_id, timestamp_ms / 60_000)).or_default() += 1;
        }
        let above = counts.values().filter(|count| **count > 10).count();
        let just_below = counts.values().filter(|count| **count == 10).count();
        assert!((100..400).contains(&above), "{above} windows above the threshold");
        assert!(just_below > 0, "no window exactly at the threshold");
    }

    #[test]
    fn split_files_hold_every_payment_once() {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..3).map(|split| folder.path().join(format!("{split}.jsonl"))).collect();
        let bytes = write_files(Plan::new(1_000), &paths).unwrap();
        let texts: Vec<String> = paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
        assert_eq!(bytes as usize, texts.iter().map(String::len).sum::<usize>());
        let mut lines: Vec<&str> = texts.iter().flat_map(|text| text.lines()).collect();
        lines.sort_unstable();
        lines.dedup();
        assert_eq!(lines.len(), 1_000);
    }
}
