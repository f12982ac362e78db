//! Plugins: the only door to wasmtime.
//!
//! An artifact is checked and compiled once ([`Engine::load`]), described without running anything ([`Plugin::describe`]),
//! and instantiated once a shard. Nothing of wasmtime appears in the public names. Next room: `worker`.

mod accessors;
mod artifact;
mod bindings;
mod contract;
mod description;
mod engine;
mod failure;
mod features;
mod globals;
mod host;
mod instance;
mod loaded;
mod memory;
mod module;
mod outcome;
mod remains;
#[cfg(test)]
mod tests;

pub use engine::Engine;
pub use instance::Instance;
pub use loaded::Plugin;
pub use remains::{FailedCall, Remains};

use crate::columns::{Batch, BytesColumn, Column, ColumnKind, Headers};
use crate::ids::PortIndex;
use std::time::Duration;

/// What a plugin says of itself for one configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// Input ports.
    pub inputs: Vec<Port>,
    /// Output ports.
    pub outputs: Vec<Port>,
    /// The version of the state's layout, for migration.
    pub state_version: u32,
}

/// A port and, for an input, the columns wanted from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Columns in the order in which they are passed. Names begin with `@` or are JSON Pointers.
    pub columns: Vec<ColumnSpec>,
}

/// A column that an operator wants.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnSpec {
    /// `@key @value @headers @topic @partition @offset`, or a JSON Pointer into the value.
    pub name: String,
    /// Its type.
    pub kind: ColumnKind,
}

/// What an instance is told of its place, and its limits.
#[derive(Debug, Clone)]
pub struct InstanceOptions {
    /// The job's name.
    pub job: String,
    /// The operator's name.
    pub operator: String,
    /// The shard's number.
    pub shard: u16,
    /// How many shards there are.
    pub shards: u16,
    /// A seed for what the author wants random: the same for each life of this shard.
    pub seed: u64,
    /// The configuration as canonical JSON.
    pub config: String,
    /// Memory limit in bytes.
    pub memory_bytes: usize,
    /// A call that takes longer traps.
    pub call_timeout: Duration,
}

/// Rows for one input port, in the columns that the port wants. `@key`, `@value` and `@headers` have their own fields.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// Rows.
    pub rows: usize,
    /// If `@key` is wanted.
    pub keys: Option<&'a BytesColumn>,
    /// If `@value` is wanted.
    pub values: Option<&'a BytesColumn>,
    /// Milliseconds since the Unix epoch, always.
    pub timestamps: &'a [i64],
    /// If `@headers` is wanted and there are any.
    pub headers: Option<&'a Headers>,
    /// The other wanted columns, in the port's order.
    pub columns: &'a [Column],
}

/// What a call returned, checked: ports exist, rows are in range, columns are well formed.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Input rows passed on whole; they precede the outputs of their port.
    pub forwards: Vec<(PortIndex, Vec<u32>)>,
    /// New records per port; none is empty.
    pub outputs: Vec<(PortIndex, Batch)>,
    /// Refused input rows, ascending.
    pub rejections: Vec<Rejection>,
    /// When `advance` is wanted next; `None`: at every watermark.
    pub next_advance: Option<i64>,
}

/// An input row that the operator refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The row in the input.
    pub row: u32,
    /// A short word for grouping.
    pub code: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Why an artifact is not acceptable, or a call failed.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// The artifact cannot be used; the text names the place and the way out.
    #[error("plugin `{path}` is not acceptable: {what}")]
    Refused {
        /// The artifact's path.
        path: String,
        /// Why, and the way out.
        what: String,
    },
    /// `describe` or `open` returned an error: the configuration does not suit the plugin.
    #[error("plugin refused its configuration in `{call}`: {what}")]
    Configuration {
        /// `describe` or `open`.
        call: &'static str,
        /// The plugin's own words.
        what: String,
    },
    /// A call trapped, looped, ran out of memory or returned an error or nonsense. The instance is gone.
    #[error("operator `{operator}` shard {shard} failed in `{call}`: {what}")]
    Call {
        /// The operator's name.
        operator: String,
        /// The shard.
        shard: u16,
        /// `start` (before `open`, and at a restore), `open`, `process` or `advance`.
        call: &'static str,
        /// What happened, with the plugin's backtrace if it trapped.
        what: String,
    },
    /// The host's side failed: no memory for a linear memory, no thread.
    #[error("cannot run plugins: {what}")]
    Host {
        /// What failed.
        what: String,
    },
}

/// An artifact as a component: itself, or what its core module encodes. Not checked any further; [`Engine::load`] does.
///
/// # Errors
///
/// [`PluginError::Refused`] if it is neither; `name` is what the error calls it.
pub fn to_component(name: &str, bytes: &[u8]) -> Result<Vec<u8>, PluginError> {
    artifact::to_component(bytes)
        .map(std::borrow::Cow::into_owned)
        .map_err(|what| PluginError::Refused { path: name.to_owned(), what })
}
