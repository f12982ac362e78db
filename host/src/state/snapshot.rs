//! What a barrier takes from an instance and what a restore gives back: pages of linear memory and mutable globals.
//!
//! Plain data: no Wasm engine, no storage. The tracker ([`super::tracker`]) finds the pages, the store keeps them, the
//! plugin room reads and writes the memory. Next room: `format`, how a snapshot looks on disk.

use serde::{Deserialize, Serialize};

/// The unit of tracking, in bytes.
pub const PAGE_BYTES: usize = 4096;

/// The bits of a mutable global.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GlobalValue {
    /// A 32-bit integer.
    I32(i32),
    /// A 64-bit integer.
    I64(i64),
    /// The bits of a 32-bit float (NaN payloads survive).
    F32(u32),
    /// The bits of a 64-bit float.
    F64(u64),
}

/// The pages of one linear memory that changed since the last barrier (all that are not zero, the first time).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryDelta {
    /// The memory's size at the barrier, in bytes. Memories only grow.
    pub size_bytes: u64,
    /// Page numbers, ascending.
    pub pages: Vec<u32>,
    /// The pages' bytes in the order of `pages`, [`PAGE_BYTES`] each. A page may have become all zero.
    pub data: Vec<u8>,
}

/// One shard's part of a checkpoint: what changed since the one before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstanceDelta {
    /// In the order of the component's memories.
    pub memories: Vec<MemoryDelta>,
    /// All mutable globals, always whole, in the order in which the plugin room lists them.
    pub globals: Vec<GlobalValue>,
}

/// A whole instance, folded from a base and its deltas: what a restore needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstanceImage {
    /// `(size in bytes, pages that are not zero)`, a memory each; pages ascend and are [`PAGE_BYTES`] long.
    pub memories: Vec<MemoryDelta>,
    /// All mutable globals.
    pub globals: Vec<GlobalValue>,
}
