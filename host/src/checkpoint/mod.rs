//! Checkpoints: the record, the pure protocol, the pure recovery, and the thin coordinator that acts.

pub mod record;
