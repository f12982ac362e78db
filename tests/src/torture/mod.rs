//! `cargo xtask torture`: the host killed again and again on one store, at random times and at every fail point, while it
//! works; what becomes visible is judged all along.
//!
//! A campaign has four scenarios ([`scenario`]) and comes in pieces, which add up ([`tally`]). A piece is a store, and a
//! broker, of its own: so many kills as the piece has are on one store, and a later piece begins with a new one. Rooms:
//! `payment` and `feeder` (the input), `plan` (how a life ends), `siege` and `life` (the lives), `reader`,
//! `judge`, `alerts` and `pairs` (the output), [`campaign`] (pieces, lanes, the report). [`recovery`] measures how long a
//! start with much state takes.

mod alerts;
pub mod campaign;
mod feeder;
mod judge;
mod life;
mod pairs;
mod payment;
pub mod plan;
mod reader;
pub mod recovery;
pub mod scenario;
mod siege;
pub mod tally;
mod violation;

pub use violation::Violation;
