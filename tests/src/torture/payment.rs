//! The input of a campaign: payments whose content follows from their number alone.
//!
//! So whoever judges makes them again from the number, however long the campaign is, and keeps none. Event time goes on by a
//! millisecond a payment. Next rooms: `feeder`, which hands them to the job; `alerts` and `pairs`, which judge what comes out.

use std::io::Write as _;

/// The time of payment 0, in milliseconds since the Unix epoch: 2026-01-01T00:00:00Z.
pub(super) const START_MS: i64 = 1_767_225_600_000;
/// A payment is at most this much older than its number says.
pub(super) const DISORDER_MS: i64 = 200;
/// Payment i goes to split i mod this, where it is number i div this.
pub(super) const SPLITS: usize = 2;

const USERS: u64 = 40;
const MERCHANTS: u64 = 23;

/// One payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Payment {
    pub(super) user: String,
    pub(super) merchant: String,
    pub(super) time_ms: i64,
    /// The record: one JSON object without a line end.
    pub(super) json: Vec<u8>,
}

/// Makes a payment.
pub(super) fn payment(number: u64) -> Payment {
    let bits = mixed(number);
    let user = format!("user-{:02}", bits % USERS);
    let merchant = format!("merchant-{:02}", (bits >> 16) % MERCHANTS);
    let time_ms = START_MS + number as i64 - ((bits >> 32) as i64 % (DISORDER_MS + 1));
    let mut json = Vec::with_capacity(112);
    write!(
        json,
        "{{\"transaction_id\":\"{}\",\"user_id\":\"{user}\",\"merchant\":\"{merchant}\",\"timestamp\":{time_ms}}}",
        name(number)
    )
    .expect("a Vec takes every byte");
    Payment { user, merchant, time_ms, json }
}

/// A payment's `transaction_id`.
pub(super) fn name(number: u64) -> String {
    format!("t-{number:010}")
}

/// The number in a `transaction_id`; `None` if it is none.
pub(super) fn number(name: &str) -> Option<u64> {
    name.strip_prefix("t-")?.parse().ok()
}

/// The finalizer of `SplitMix64`: neighbours share no bits.
fn mixed(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
