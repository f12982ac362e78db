//! `tidegate state`: looking into a store, and mending what stops a job.
//!
//! Only parses and prints. Next rooms: [`crate::state::inspect`], [`crate::repair`].

mod inspect;
mod repair;

pub use inspect::{InspectArguments, inspect};
pub use repair::{RepairArguments, repair};
