//! Raises an alert when one user makes more than a threshold of transactions within a window of event time.
//!
//! The reference operator: read it before you write your own. The record's key is the user. Values are never read, so
//! the host neither parses nor copies them. Next room: `tests` for how it is tested natively, without Wasm or a host.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use tidegate_sdk::{
    Batch, Context, Description, Error, InputPort, Operator, Output, Period, TumblingWindows, Watermark, Window,
};

const ALERTS: u32 = 0;
const LATE: u32 = 1;

/// The operator's `config` table. Every key has a default.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// A user may make so many transactions in a window; one more raises the alert.
    pub threshold: u64,
    /// The size of the windows, which begin at its multiples since the Unix epoch: milliseconds, or a text like "1m".
    pub window: Period,
    /// When the alert goes out.
    pub alert: AlertAt,
}

impl Default for Config {
    fn default() -> Config {
        Config { threshold: 10, window: Period::MINUTE, alert: AlertAt::Close }
    }
}

/// When an alert goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertAt {
    /// When the window closes, with the final count.
    Close,
    /// As soon as the threshold is crossed, with the count at that moment, which is the threshold and one.
    Crossing,
}

impl Config {
    fn alerts_at_crossing(&self, count: u64) -> bool {
        // The count that crosses is the threshold and one, and comes once in a window.
        self.alert == AlertAt::Crossing && count.checked_sub(1) == Some(self.threshold)
    }

    fn alerts_at_close(&self, count: u64) -> bool {
        self.alert == AlertAt::Close && count > self.threshold
    }
}

/// Transactions by user, in the windows that are open.
#[derive(Debug)]
pub struct FraudDetector {
    config: Config,
    counts: TumblingWindows<u64>,
}

impl Operator for FraudDetector {
    type Config = Config;

    fn describe(_: &Config) -> Result<Description, Error> {
        Ok(Description::new().input(InputPort::new("main").key()).output("alerts").output("late"))
    }

    fn open(config: Config, _: &Context) -> Result<FraudDetector, Error> {
        let counts = TumblingWindows::new(config.window);
        Ok(FraudDetector { config, counts })
    }

    // demo:begin
    fn process(&mut self, _: u32, watermark: Watermark, batch: Batch<'_>, out: &mut Output) -> Result<(), Error> {
        for row in batch.rows() {
            let Some(user) = row.key() else {
                out.reject(row, "no-key", "the record has no key, so it belongs to no user");
                continue;
            };
            match self.counts.value(watermark, row.timestamp(), user) {
                Some(count) => {
                    *count += 1;
                    if self.config.alerts_at_crossing(*count) {
                        let window = Window::of(row.timestamp(), self.config.window);
                        emit_alert(out, user, window, *count)?;
                    }
                }
                None => out.port(LATE).forward(row),
            }
        }
        out.next_advance(self.counts.next_advance());
        Ok(())
    }

    fn advance(&mut self, watermark: Watermark, out: &mut Output) -> Result<(), Error> {
        self.counts.close(watermark, out, |closed, out| {
            if self.config.alerts_at_close(*closed.value) {
                emit_alert(out, closed.key, closed.window, *closed.value)?;
            }
            Ok(())
        })?;
        out.next_advance(self.counts.next_advance());
        Ok(())
    }
    // demo:end
}

/// An alert's value, in the order in which it is written.
#[derive(Debug, Serialize)]
struct Alert<'a> {
    user_id: Cow<'a, str>,
    window_start: i64,
    window_end: i64,
    count: u64,
}

/// Emits an alert: its key is the user, its timestamp the window's last millisecond.
fn emit_alert(out: &mut Output, user: &[u8], window: Window, count: u64) -> Result<(), Error> {
    // JSON must be UTF-8; the record's key has the user's own bytes in any case.
    let user_id = String::from_utf8_lossy(user);
    let alert = Alert { user_id, window_start: window.start, window_end: window.end, count };
    out.port(ALERTS).emit_json(user, &alert, window.last())?;
    Ok(())
}

tidegate_sdk::export!(FraudDetector);

#[cfg(test)]
mod tests;
