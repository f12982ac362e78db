//! Tests of the plugin room: a guest whose every byte is known, and what it does to the host.

mod calls;
mod fuzz;
mod outcome;
mod refusals;
mod restore;
mod undo;

use super::{Engine, Input, Instance, InstanceOptions, Outcome, Plugin, contract};
use crate::columns::BytesColumn;
use crate::ids::{PortIndex, Watermark};
use std::time::Duration;
use wit_parser::Resolve;

/// The guest's source; its modes are the first character of the configuration.
const GUEST: &str = include_str!("guest.wat");

/// A megabyte.
const MIB: usize = 1024 * 1024;

/// What the guest does.
mod mode {
    /// Counts and emits one record a call.
    pub(super) const COUNT: &str = "c";
    /// Counts and emits nothing.
    pub(super) const PLAIN: &str = "p";
    /// Counts, calls `count` and `log`.
    pub(super) const COUNTERS: &str = "k";
    /// Forwards row 0 and rejects row 1.
    pub(super) const FORWARD: &str = "f";
    /// Traps in `process`, `open`, `describe` or `advance`.
    pub(super) const TRAP: &str = "t";
    pub(super) const TRAP_IN_OPEN: &str = "o";
    pub(super) const TRAP_IN_DESCRIBE: &str = "d";
    pub(super) const TRAP_IN_ADVANCE: &str = "a";
    /// Returns an error from `process`, `open` or `describe`.
    pub(super) const ERROR: &str = "e";
    pub(super) const ERROR_IN_OPEN: &str = "x";
    pub(super) const ERROR_IN_DESCRIBE: &str = "r";
    /// Never returns; grows memory; recurses.
    pub(super) const LOOP: &str = "l";
    pub(super) const BOMB: &str = "b";
    pub(super) const RECURSE: &str = "s";
    /// Emits for a port that does not exist; too much; forwards in `advance`.
    pub(super) const NO_SUCH_PORT: &str = "n";
    pub(super) const TOO_MUCH: &str = "h";
    pub(super) const FORWARD_IN_ADVANCE: &str = "g";
}

/// A core module in text with the component type of a world of the contract.
fn core_module(text: &str, world: &str) -> Vec<u8> {
    let mut module = wat::parse_str(text).unwrap();
    let mut resolve = Resolve::default();
    let package = resolve.push_str("tidegate.wit", contract::WIT).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    wit_component::embed_component_metadata(&mut module, &resolve, world, wit_component::StringEncoding::UTF8).unwrap();
    module
}

fn guest() -> Plugin {
    Engine::new(None).unwrap().load("guest.wasm", &core_module(GUEST, "plain")).unwrap()
}

fn options(mode: &str) -> InstanceOptions {
    InstanceOptions {
        job: "payments".to_owned(),
        operator: "counter".to_owned(),
        shard: 3,
        shards: 16,
        seed: 42,
        config: mode.to_owned(),
        memory_bytes: 64 * MIB,
        call_timeout: Duration::from_secs(5),
    }
}

/// Rows with keys `key-0`, `key-1`, ... and rising timestamps.
fn rows(count: usize, first_time: i64) -> (BytesColumn, Vec<i64>) {
    let mut keys = BytesColumn::default();
    for row in 0..count {
        keys.push(Some(format!("key-{row}").as_bytes()));
    }
    (keys, (0_i64..).take(count).map(|row| first_time + row).collect())
}

fn process(instance: Instance, count: usize, first_time: i64) -> Result<(Instance, Outcome), super::PluginError> {
    let (keys, timestamps) = rows(count, first_time);
    let input =
        Input { rows: count, keys: Some(&keys), values: None, timestamps: &timestamps, headers: None, columns: &[] };
    Ok(instance.process(PortIndex(0), Watermark(first_time), &input)?)
}
