//! The house's own tools: what `cargo xtask` does, and what the integration tests share with it.
//!
//! Never depends on the host crate: it must build in seconds on a fresh machine, and the oracle must share nothing with what
//! it judges. Rooms: [`generate`] and [`recount`] are the input and the oracle; [`setup`] fetches what is missing;
//! [`host_process`] and [`crash`] run a host, watch it and kill it.

pub mod bench;
pub mod bugs;
pub mod building;
pub mod crash;
pub mod demo;
pub mod events;
pub mod failure;
pub mod fuzz;
pub mod generate;
pub mod host_process;
pub mod job_file;
pub mod kafka_session;
pub mod places;
pub mod random;
pub mod recount;
pub mod report;
pub mod sanitize;
pub mod setup;
pub mod shell;
pub mod simulate;
pub mod soak;
pub mod testing;
pub mod torture;
pub mod trial;
pub mod usage;
