//! The records of the model job, small enough to be copied everywhere.
//!
//! A record is read from a split, gets its number among its key's from the first stage, goes on by its group to the second,
//! which counts it in its window, writes a line for it, and another one when the window closes. Next room: `stage`.

/// Window length in event time.
pub(super) const WINDOW_MS: i64 = 100;
/// Windows there can be.
pub(super) const WINDOWS: usize = 8;
/// Keys of the first stage.
pub(super) const KEYS: u8 = 6;

/// What a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// On its way through the stages.
    Record,
    /// What the second stage writes for it.
    Line { is_late: bool },
    /// A window closed.
    Closed { window: u8, count: u8, sequence: u32 },
}

/// A row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) kind: Kind,
    pub(super) split: u8,
    pub(super) offset: u16,
    pub(super) timestamp: i64,
    pub(super) key: u8,
    pub(super) group: u8,
    /// The key's n-th record, counted by the first stage.
    pub(super) number: u32,
    /// The life and the checkpoint whose output it is.
    pub(super) tag: (u32, u64),
}

impl Row {
    /// The window that its time falls into.
    pub(super) fn window(&self) -> usize {
        (self.timestamp / WINDOW_MS) as usize
    }
}

/// A window's end: it closes when the watermark is there.
pub(super) fn window_end(window: usize) -> i64 {
    (window as i64 + 1) * WINDOW_MS
}

/// The group that a key's records are counted in.
pub(super) fn group_of(key: u8) -> u8 {
    key / 2
}
