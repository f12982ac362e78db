//! State: what instances keep, how it is found, written and read back. `store` is the only door to redb.

pub mod snapshot;
pub mod store;
pub mod tracker;
