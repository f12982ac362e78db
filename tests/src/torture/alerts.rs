//! Judges the fraud job's alerts as they become visible: each one that the payments must raise, once, with the right count,
//! each user's in the order of their windows, and none missing below one that is there.
//!
//! Recounts the payments by itself from their numbers and shares no code with the plugin; it forgets windows that are
//! complete, so it stays small however long a campaign is. Knows no checkpoints. Next room: [`super::judge`].

use super::payment::{DISORDER_MS, SPLITS, START_MS, payment};
use super::violation::Violation;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use xtask::recount::Alert;

/// The job's configuration.
pub(super) const THRESHOLD: u64 = 12;
pub(super) const WINDOW_MS: i64 = 500;

/// The judge of alerts.
#[derive(Debug, Default)]
pub(super) struct Alerts {
    /// Payments below this number were counted.
    counted: u64,
    /// By window and user: the number of payments, of windows that are still being counted or looked at.
    windows: BTreeMap<i64, HashMap<String, Window>>,
    /// Windows that begin before this are complete and forgotten.
    forgotten_before: i64,
    /// By user: the window of the last alert.
    last: HashMap<String, i64>,
    newest: Option<i64>,
    visible: u64,
    /// The input ends before this payment, once it ends.
    end: Option<u64>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Window {
    count: u64,
    is_seen: bool,
}

#[derive(Deserialize)]
struct Counted<'a> {
    user_id: &'a str,
    timestamp: i64,
}

impl Alerts {
    /// Takes a visible record in.
    pub(super) fn take(&mut self, record: &[u8]) -> Result<(), Violation> {
        let text = String::from_utf8_lossy(record).into_owned();
        let alert: Alert =
            serde_json::from_slice(record).map_err(|error| Violation::Wrong(format!("{text} ({error})")))?;
        let Alert { user_id, window_start, window_end, count } = alert;
        if window_end - window_start != WINDOW_MS || window_start % WINDOW_MS != 0 {
            return Err(Violation::Wrong(text));
        }
        if window_start < self.forgotten_before {
            return Err(Violation::Duplicated(text));
        }
        self.count_to(window_end);
        // What this user's earlier windows raise must be there: a key's records stand in one partition, in order.
        let earlier = self.windows.range(..window_start).find_map(|(start, users)| {
            users.get(&user_id).filter(|window| window.is_due()).map(|window| (*start, window.count))
        });
        if let Some((start, count)) = earlier {
            return Err(Violation::Lost(format!("{text} is visible, and of window {start} the {count} are not")));
        }
        let window = self.windows.get_mut(&window_start).and_then(|users| users.get_mut(&user_id));
        match window {
            Some(window) if window.is_seen => return Err(Violation::Duplicated(text)),
            Some(window) if window.count == count && count > THRESHOLD => window.is_seen = true,
            other => {
                let counted = other.map_or(0, |window| window.count);
                return Err(Violation::Wrong(format!("{text}, and {counted} were counted")));
            }
        }
        if self.last.insert(user_id, window_start).is_some_and(|last| last >= window_start) {
            return Err(Violation::Lost(format!("{text} came out of order")));
        }
        self.newest = self.newest.max(Some(window_start));
        self.visible += 1;
        Ok(())
    }

    /// The newest window of which something is visible. A checkpoint closes a window for all users, so all older ones must
    /// be visible as well, and this one too.
    pub(super) fn cut(&self) -> Option<i64> {
        self.newest
    }

    /// The window that must be visible when every payment below a number was read, and no checkpoint is undecided.
    pub(super) fn cut_after(payments: u64, out_of_orderness_ms: i64) -> Option<i64> {
        let watermark = START_MS + payments as i64 - 1 - DISORDER_MS - SPLITS as i64 - out_of_orderness_ms;
        Some((watermark.div_euclid(WINDOW_MS) - 1) * WINDOW_MS).filter(|start| *start >= START_MS)
    }

    /// Says that the input ended before a payment. All windows close then; the cut is the last one.
    pub(super) fn end(&mut self, payments: u64) -> i64 {
        self.end = Some(payments);
        (START_MS + payments as i64).div_euclid(WINDOW_MS) * WINDOW_MS
    }

    /// An alert up to the cut that is not visible.
    pub(super) fn missing(&mut self, cut: Option<i64>) -> Option<String> {
        let cut = cut?;
        self.count_to(cut + WINDOW_MS);
        self.windows.range(..=cut).find_map(|(start, users)| {
            let (user, window) = users.iter().find(|(_, window)| window.is_due())?;
            Some(format!("window {start} of `{user}` with {} payments", window.count))
        })
    }

    /// Forgets windows up to the cut, all of which are visible.
    pub(super) fn forget(&mut self, cut: Option<i64>) {
        let Some(cut) = cut else { return };
        self.forgotten_before = cut + WINDOW_MS;
        self.windows = self.windows.split_off(&self.forgotten_before);
    }

    /// Records that became visible.
    pub(super) fn visible(&self) -> u64 {
        self.visible
    }

    /// The number of a payment below which all were read, as far as the output says.
    pub(super) fn read_to(&self) -> u64 {
        self.newest.map_or(0, |start| (start + WINDOW_MS - START_MS).max(0) as u64)
    }

    /// Counts until no payment can be missing in windows that end by a time.
    fn count_to(&mut self, end_ms: i64) {
        while START_MS + self.counted as i64 - DISORDER_MS < end_ms && self.end.is_none_or(|end| self.counted < end) {
            let payment = payment(self.counted);
            let counted: Counted<'_> = serde_json::from_slice(&payment.json).expect("payments are JSON");
            let start = counted.timestamp.div_euclid(WINDOW_MS) * WINDOW_MS;
            let users = self.windows.entry(start).or_default();
            users.entry(counted.user_id.to_owned()).or_default().count += 1;
            self.counted += 1;
        }
    }
}

impl Window {
    fn is_due(&self) -> bool {
        self.count > THRESHOLD && !self.is_seen
    }
}
