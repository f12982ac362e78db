//! Timers: values that become due when event time reaches a moment.
//!
//! Plain data, no host call. Next room: [`crate::output`], for [`Output::next_advance`].

use crate::operator::Watermark;
use crate::output::Output;
use std::collections::BTreeMap;

/// Values that become due at a moment of event time, in order of that moment, and of setting where moments are equal.
/// Setting and firing cost the logarithm of what is set; nothing is scanned.
///
/// ```
/// use tidegate_sdk::{Error, Output, Timers, Watermark};
///
/// struct Reminder { timers: Timers<String> }
///
/// impl Reminder {
///     fn advance(&mut self, watermark: Watermark, out: &mut Output) -> Result<(), Error> {
///         while let Some((at, user)) = self.timers.pop_due(watermark, out) {
///             out.port(0).emit(user.as_bytes(), b"time is up".as_slice(), at);
///         }
///         out.next_advance(self.timers.next_advance());
///         Ok(())
///     }
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Timers<T> {
    /// By moment, then by number, which rises with every timer that is set.
    waiting: BTreeMap<(i64, u64), T>,
    next_number: u64,
}

/// Names a timer that was set, to cancel it.
///
/// ```
/// let mut timers = tidegate_sdk::Timers::new();
/// let timer: tidegate_sdk::TimerId = timers.set(1_000, "alice");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerId {
    at: i64,
    number: u64,
}

impl<T> Default for Timers<T> {
    fn default() -> Timers<T> {
        Timers::new()
    }
}

impl<T> Timers<T> {
    /// Makes an empty set of timers.
    ///
    /// ```
    /// assert!(tidegate_sdk::Timers::<()>::new().is_empty());
    /// ```
    pub const fn new() -> Timers<T> {
        Timers { waiting: BTreeMap::new(), next_number: 0 }
    }

    /// Sets a timer for `at`, in milliseconds since the Unix epoch. It becomes due when the watermark reaches `at`; in
    /// the past, at the next chance. `i64::MAX`, which as a watermark is the end of the input, counts as one less.
    /// Follow it with [`Output::next_advance`].
    ///
    /// ```
    /// let mut timers = tidegate_sdk::Timers::new();
    /// timers.set(60_000, "alice");
    /// assert_eq!(timers.next_advance(), 60_000);
    /// ```
    pub fn set(&mut self, at: i64, value: T) -> TimerId {
        let at = at.min(i64::MAX - 1);
        let number = self.next_number;
        self.next_number += 1;
        self.waiting.insert((at, number), value);
        TimerId { at, number }
    }

    /// Cancels a timer and gives its value back; `None` if it has fired or was cancelled.
    ///
    /// ```
    /// let mut timers = tidegate_sdk::Timers::new();
    /// let timer = timers.set(60_000, "alice");
    /// assert_eq!(timers.cancel(timer), Some("alice"));
    /// assert_eq!(timers.cancel(timer), None);
    /// ```
    pub fn cancel(&mut self, timer: TimerId) -> Option<T> {
        self.waiting.remove(&(timer.at, timer.number))
    }

    /// Takes the next timer that is due at `watermark`, with its moment. `None` when none is due, and also when this
    /// call's output [is full](Output::is_full): [`next_advance`](Timers::next_advance) then asks for another call at
    /// once.
    ///
    /// ```
    /// # use tidegate_sdk::{Output, Timers, Watermark};
    /// # fn example(timers: &mut Timers<u8>, watermark: Watermark, out: &mut Output) {
    /// while let Some((at, code)) = timers.pop_due(watermark, out) {
    ///     out.port(0).emit(None, [code].as_slice(), at);
    /// }
    /// # }
    /// ```
    pub fn pop_due(&mut self, watermark: Watermark, out: &Output) -> Option<(i64, T)> {
        let first = self.waiting.first_entry()?;
        let (at, _) = *first.key();
        if at > watermark.millis() || out.is_full() {
            return None;
        }
        Some((at, first.remove()))
    }

    /// The moment of the earliest timer, for [`Output::next_advance`]; `i64::MAX` if none is set.
    ///
    /// ```
    /// assert_eq!(tidegate_sdk::Timers::<()>::new().next_advance(), i64::MAX);
    /// ```
    pub fn next_advance(&self) -> i64 {
        self.waiting.first_key_value().map_or(i64::MAX, |((at, _), _)| *at)
    }

    /// How many timers are set.
    ///
    /// ```
    /// assert_eq!(tidegate_sdk::Timers::<()>::new().len(), 0);
    /// ```
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether no timer is set.
    ///
    /// ```
    /// assert!(tidegate_sdk::Timers::<()>::new().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_by_moment_then_by_order_of_setting() {
        let mut timers = Timers::new();
        timers.set(20, "c");
        timers.set(-5, "a");
        timers.set(20, "d");
        timers.set(i64::MIN, "first");
        timers.set(0, "b");
        let out = Output::new(1);
        let fired = |timers: &mut Timers<&'static str>, watermark: i64| {
            std::iter::from_fn(|| timers.pop_due(Watermark::at(watermark), &out)).collect::<Vec<_>>()
        };
        assert_eq!(fired(&mut timers, -6), [(i64::MIN, "first")]);
        assert_eq!(timers.next_advance(), -5);
        assert_eq!(fired(&mut timers, 19), [(-5, "a"), (0, "b")]);
        assert_eq!(fired(&mut timers, 20), [(20, "c"), (20, "d")]);
        assert_eq!(timers.next_advance(), i64::MAX);
    }

    #[test]
    fn firing_stops_when_the_output_is_full() {
        let mut timers = Timers::new();
        for number in 0..3_000 {
            timers.set(number % 7, number);
        }
        let mut pieces = Vec::new();
        while !timers.is_empty() {
            let mut out = Output::new(1);
            let before = timers.len();
            while let Some((at, _)) = timers.pop_due(Watermark::at(100), &out) {
                out.port(0).emit(None, b"x".as_slice(), at);
            }
            pieces.push(before - timers.len());
            assert!(timers.is_empty() || timers.next_advance() <= 100, "another call is asked for");
        }
        assert_eq!(pieces, [1024, 1024, 952]);
    }
}
