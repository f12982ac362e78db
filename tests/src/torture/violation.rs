//! What ends a campaign: an output that is not what exactly-once allows, or a host that does not do its work.
//!
//! Words only. Next room: [`super::campaign`], which stops at the first one and keeps everything.

use std::fmt;

/// Why a campaign ended early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// A record that was visible came again.
    Duplicated(String),
    /// A record that must be visible is not, or a later one came first.
    Lost(String),
    /// A record that must not be there at all.
    Wrong(String),
    /// The host ended, hung or went on in a way that it may not.
    Host(String),
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Duplicated(what) => write!(formatter, "duplicated: {what}"),
            Violation::Lost(what) => write!(formatter, "lost: {what}"),
            Violation::Wrong(what) => write!(formatter, "wrong: {what}"),
            Violation::Host(what) => write!(formatter, "the host: {what}"),
        }
    }
}

impl Violation {
    /// The same with its place.
    pub(super) fn at(self, place: impl FnOnce(String) -> String) -> Violation {
        match self {
            Violation::Duplicated(what) => Violation::Duplicated(place(what)),
            Violation::Lost(what) => Violation::Lost(place(what)),
            Violation::Wrong(what) => Violation::Wrong(place(what)),
            Violation::Host(what) => Violation::Host(place(what)),
        }
    }
}

impl std::error::Error for Violation {}
