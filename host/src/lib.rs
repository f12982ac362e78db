//! Tidegate: a stream processor whose operators are WebAssembly plugins. This crate is the host.
//!
//! `ARCHITECTURE.md` beside this crate's manifest is the map.

pub mod align;
pub mod checkpoint;
pub mod cli;
pub mod columns;
pub mod config;
pub mod dead_letter;
pub mod decode;
pub mod error;
pub mod exchange;
#[cfg(test)]
mod fuzzing;
pub mod guarded;
pub mod hash;
pub mod ids;
pub mod job;
pub mod kafka;
pub mod message;
pub mod operator;
pub mod outlet;
pub mod plugin;
pub mod printable;
pub mod probe;
pub mod repair;
pub mod seeded;
pub mod sink;
pub mod source;
pub mod start;
pub mod state;
pub mod status;
pub mod stops;
pub mod watchdog;
pub mod watermark;
pub mod wiring;
pub mod worker;
