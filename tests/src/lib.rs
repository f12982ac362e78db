//! What the tests share: a real broker, a proxy that makes its network fail, and plain clients to judge with.
//!
//! Nothing here is used by the product. Next room: the files under `tests/`.

/// The README's Rust, compiled as a doc test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

pub mod broker;
pub mod cluster;
pub mod faulty_disk;
pub mod hanging;
mod java;
pub mod judge;
mod node;
pub mod payments;
pub mod proxied;
pub mod proxy;
pub mod scene;
pub mod simulation;
pub mod small_disk;
pub mod tally;
#[cfg(feature = "fail-points")]
pub mod torture;
