//! Tumbling event-time windows with a value by key: what most aggregations need.
//!
//! Plain data, no host call, and no clock: the watermark comes as an argument. Finding a window is a comparison for
//! most records; closing costs what closes, in bounded pieces. Next rooms: [`crate::key_map`], [`crate::output`].

use crate::configuration::Period;
use crate::error::Error;
use crate::key_map::KeyMap;
use crate::operator::Watermark;
use crate::output::Output;
use std::collections::BTreeMap;

/// Values that [`TumblingWindows::close`] looks at in one call, whether or not it emits: a few hundred microseconds.
const CLOSED_MAX: usize = 16_384;
/// Emptied windows that are kept for their memory. With a few seconds of disorder about two are open at a time.
const SPARE_MAX: usize = 4;
/// The largest end of a window. One more and `next_advance` could not tell it from "at the end of the input only".
const LAST_END: i64 = i64::MAX - 1;
/// Later timestamps count as this one, so that a window's end is above what it holds.
const LAST_TIMESTAMP: i64 = LAST_END - 1;

/// A slice of event time: `start` is in it, `end` is not. In milliseconds since the Unix epoch.
///
/// Windows begin at multiples of their size, counted from the epoch, before it too. At the two ends of what 64 bits can
/// say they are cut off: no window ends at the largest number, which as a watermark means the end of the input.
///
/// ```
/// use tidegate_sdk::{Period, Window};
///
/// let window = Window::of(-1, Period::MINUTE);
/// assert_eq!((window.start, window.end, window.last()), (-60_000, 0, -1));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window {
    /// The first millisecond of the window.
    pub start: i64,
    /// The first millisecond after it.
    pub end: i64,
}

impl Window {
    /// The window of `size` that a timestamp falls into.
    ///
    /// ```
    /// use tidegate_sdk::{Period, Window};
    ///
    /// assert_eq!(Window::of(60_000, Period::MINUTE), Window { start: 60_000, end: 120_000 });
    /// assert_eq!(Window::of(i64::MAX, Period::MINUTE).end, i64::MAX - 1);
    /// ```
    #[inline]
    pub fn of(timestamp: i64, size: Period) -> Window {
        let timestamp = timestamp.min(LAST_TIMESTAMP);
        let elapsed = timestamp.rem_euclid(size.millis());
        let left = size.millis() - elapsed;
        Window { start: timestamp.saturating_sub(elapsed), end: timestamp.saturating_add(left).min(LAST_END) }
    }

    /// The last millisecond of the window, with which results are stamped: `end - 1`.
    ///
    /// ```
    /// use tidegate_sdk::{Period, Window};
    ///
    /// assert_eq!(Window::of(0, Period::MINUTE).last(), 59_999);
    /// ```
    pub const fn last(self) -> i64 {
        self.end - 1
    }

    /// Whether the window is over at a watermark: `end` at or below it. Records that fall into it are late.
    ///
    /// ```
    /// use tidegate_sdk::{Period, Watermark, Window};
    ///
    /// let window = Window::of(0, Period::MINUTE);
    /// assert!(!window.is_over(Watermark::at(59_999)));
    /// assert!(window.is_over(Watermark::at(60_000)));
    /// ```
    pub const fn is_over(self, watermark: Watermark) -> bool {
        self.end <= watermark.millis()
    }

    #[inline]
    fn holds(self, timestamp: i64) -> bool {
        let timestamp = timestamp.min(LAST_TIMESTAMP);
        self.start <= timestamp && timestamp < self.end
    }
}

/// Tumbling windows of event time, each with a value by byte key.
///
/// What closes comes out in a fixed order: windows by time, keys in the order in which they first came. So results
/// depend neither on how records were cut into batches nor on a hash.
///
/// ```
/// use tidegate_sdk::*;
///
/// struct Counts { windows: TumblingWindows<u64> }
///
/// impl Counts {
///     fn process(&mut self, watermark: Watermark, batch: Batch<'_>, out: &mut Output) -> Result<(), Error> {
///         for row in batch.rows() {
///             match self.windows.value(watermark, row.timestamp(), row.key().unwrap_or_default()) {
///                 Some(count) => *count += 1,
///                 None => out.port(1).forward(row), // late
///             }
///         }
///         out.next_advance(self.windows.next_advance());
///         Ok(())
///     }
///
///     fn advance(&mut self, watermark: Watermark, out: &mut Output) -> Result<(), Error> {
///         self.windows.close(watermark, out, |closed, out| {
///             out.port(0).emit_json(closed.key, closed.value, closed.window.last())?;
///             Ok(())
///         })?;
///         out.next_advance(self.windows.next_advance());
///         Ok(())
///     }
/// }
/// ```
#[derive(Debug, Clone)]
pub struct TumblingWindows<V> {
    size: Period,
    open: Vec<OpenWindow<V>>,
    /// Places in `open` by the window's start.
    by_start: BTreeMap<i64, usize>,
    /// Places in `open` that hold no window now, at most [`SPARE_MAX`] of them with memory.
    free: Vec<usize>,
    /// The last two windows that were met: nearly all records fall into one of them.
    recent: [Option<(Window, usize)>; 2],
}

#[derive(Debug, Clone)]
struct OpenWindow<V> {
    window: Window,
    values: KeyMap<V>,
    /// Values that were given out already, when closing stopped half way.
    closed: usize,
}

/// One key's value in a window that closes.
///
/// ```
/// fn describe(closed: &tidegate_sdk::Closed<'_, u64>) -> String {
///     format!("{} records of {:?} before {}", closed.value, closed.key, closed.window.end)
/// }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Closed<'a, V> {
    /// The window.
    pub window: Window,
    /// The key.
    pub key: &'a [u8],
    /// What was collected for it.
    pub value: &'a V,
}

impl<V> TumblingWindows<V> {
    /// Makes windows of a size, none of them open.
    ///
    /// ```
    /// use tidegate_sdk::{Period, TumblingWindows};
    ///
    /// let windows: TumblingWindows<u64> = TumblingWindows::new(Period::MINUTE);
    /// assert_eq!(windows.next_advance(), i64::MAX);
    /// ```
    pub fn new(size: Period) -> TumblingWindows<V> {
        TumblingWindows { size, open: Vec::new(), by_start: BTreeMap::new(), free: Vec::new(), recent: [None; 2] }
    }

    /// The window that a timestamp falls into, open or not.
    ///
    /// ```
    /// use tidegate_sdk::{Period, TumblingWindows};
    ///
    /// let windows: TumblingWindows<u64> = TumblingWindows::new(Period::MINUTE);
    /// assert_eq!(windows.window(61_000).start, 60_000);
    /// ```
    pub fn window(&self, timestamp: i64) -> Window {
        Window::of(timestamp, self.size)
    }

    /// The value of a key in the window of a timestamp, which begins as the default; `None` if that window is over,
    /// which means that the record is late.
    ///
    /// ```
    /// use tidegate_sdk::{Period, TumblingWindows, Watermark};
    ///
    /// let mut windows: TumblingWindows<u64> = TumblingWindows::new(Period::MINUTE);
    /// *windows.value(Watermark::NONE, 1_000, b"alice").unwrap() += 1;
    /// assert!(windows.value(Watermark::at(60_000), 59_999, b"alice").is_none());
    /// assert!(windows.value(Watermark::at(60_000), 60_000, b"alice").is_some());
    /// ```
    #[inline]
    pub fn value(&mut self, watermark: Watermark, timestamp: i64, key: &[u8]) -> Option<&mut V>
    where
        V: Default,
    {
        let place = match self.recent {
            [Some((window, place)), _] if window.holds(timestamp) && !window.is_over(watermark) => place,
            _ => self.find(watermark, timestamp)?,
        };
        Some(self.open[place].values.get_or_default(key))
    }

    /// Gives out the values of windows that are over, and forgets them. It stops when the output [is
    /// full](Output::is_full), or after some thousands of values; [`next_advance`](TumblingWindows::next_advance) then
    /// asks for another call at once, so a million values that close together come in pieces.
    ///
    /// # Errors
    ///
    /// Whatever `each` returns; the call should return it too.
    ///
    /// ```
    /// use tidegate_sdk::{Error, Output, TumblingWindows, Watermark};
    ///
    /// # fn example(windows: &mut TumblingWindows<u64>, watermark: Watermark, out: &mut Output) -> Result<(), Error> {
    /// windows.close(watermark, out, |closed, out| {
    ///     out.port(0).emit_json(closed.key, closed.value, closed.window.last())?;
    ///     Ok(())
    /// })?;
    /// out.next_advance(windows.next_advance());
    /// # Ok(())
    /// # }
    /// ```
    pub fn close(
        &mut self,
        watermark: Watermark,
        out: &mut Output,
        mut each: impl FnMut(Closed<'_, V>, &mut Output) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut left = CLOSED_MAX;
        while let Some((&start, &place)) = self.by_start.first_key_value() {
            let OpenWindow { window, values, closed } = &mut self.open[place];
            if !window.is_over(watermark) {
                break;
            }
            for (key, value) in values.iter_from(*closed) {
                // At least one a call, or a call whose output was full before would be repeated for ever.
                if left == 0 || (left < CLOSED_MAX && out.is_full()) {
                    return Ok(());
                }
                each(Closed { window: *window, key, value }, out)?;
                *closed += 1;
                left -= 1;
            }
            self.forget(start, place);
        }
        Ok(())
    }

    /// When the first open window is over, for [`Output::next_advance`]; `i64::MAX` if none is open.
    ///
    /// ```
    /// use tidegate_sdk::{Period, TumblingWindows, Watermark};
    ///
    /// let mut windows: TumblingWindows<u64> = TumblingWindows::new(Period::MINUTE);
    /// windows.value(Watermark::NONE, 1_000, b"alice");
    /// assert_eq!(windows.next_advance(), 60_000);
    /// ```
    pub fn next_advance(&self) -> i64 {
        self.by_start.first_key_value().map_or(i64::MAX, |(_, place)| self.open[*place].window.end)
    }

    /// How many windows are open.
    ///
    /// ```
    /// use tidegate_sdk::{Period, TumblingWindows};
    ///
    /// assert_eq!(TumblingWindows::<u64>::new(Period::MINUTE).open_windows(), 0);
    /// ```
    pub fn open_windows(&self) -> usize {
        self.by_start.len()
    }

    /// The place of the window of a timestamp, opened if need be; `None` if it is over. Makes it the most recent one.
    fn find(&mut self, watermark: Watermark, timestamp: i64) -> Option<usize> {
        if let [_, Some((window, place))] = self.recent
            && window.holds(timestamp)
            && !window.is_over(watermark)
        {
            self.recent.swap(0, 1);
            return Some(place);
        }
        let window = self.window(timestamp);
        if window.is_over(watermark) {
            return None;
        }
        let place = match self.by_start.get(&window.start) {
            Some(place) => *place,
            None => self.open_window(window),
        };
        self.recent = [Some((window, place)), self.recent[0]];
        Some(place)
    }

    fn open_window(&mut self, window: Window) -> usize {
        let place = if let Some(place) = self.free.pop() {
            self.open[place].window = window;
            place
        } else {
            self.open.push(OpenWindow { window, values: KeyMap::new(), closed: 0 });
            self.open.len() - 1
        };
        self.by_start.insert(window.start, place);
        place
    }

    fn forget(&mut self, start: i64, place: usize) {
        let window = &mut self.open[place];
        window.closed = 0;
        if self.free.len() < SPARE_MAX {
            window.values.clear();
        } else {
            window.values = KeyMap::new();
        }
        self.by_start.remove(&start);
        self.free.push(place);
        self.recent = [None; 2];
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
