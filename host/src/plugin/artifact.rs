//! From the author's bytes to a component that the engine can compile, capture and restore.
//!
//! A core module that carries its component type (what wit-bindgen leaves in it) becomes a component, the contract is
//! checked, and accessors for mutable globals are added. Nothing is compiled or run here. Errors are texts that name the
//! place and the way out. Next room: `contract`, the check.

use super::accessors::{self, Layout};
use super::contract::{self, Interfaces};
use super::host::cut;
use crate::ids::PluginHash;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use wasmparser::{Parser, Payload};

/// Module names under which a language's runtime imports WASI, before components.
const WASI_PREVIEW_1: [&str; 2] = ["wasi_snapshot_preview1", "wasi_unstable"];
/// What tells an author that imports WASI what to do.
pub(super) const NO_WASI: &str = "this build of tidegate has no WASI adapter; build for a target without WASI (in Rust \
                                  `wasm32-unknown-unknown`)";
/// A tool's explanation is cut after so many bytes.
const EXPLANATION_BYTES_MAX: usize = 4096;

/// A checked artifact, ready to be compiled.
pub(super) struct Prepared {
    /// Of the author's bytes.
    pub(super) hash: PluginHash,
    /// The component with accessors.
    pub(super) component: Vec<u8>,
    /// What the accessors reach.
    pub(super) layout: Layout,
    /// The optional interfaces that it has.
    pub(super) interfaces: Interfaces,
}

/// Checks an artifact and makes it ready to be compiled.
pub(super) fn prepare(bytes: &[u8]) -> Result<Prepared, String> {
    let component = to_component(bytes)?;
    let interfaces = contract::check(&component)?;
    let (component, layout) = accessors::add(&component).map_err(|error| {
        format!("its globals cannot be made accessible: {error}; please report this with the artifact")
    })?;
    Ok(Prepared { hash: hash(bytes), component, layout, interfaces })
}

/// The artifact as a component: itself, or what its core module encodes.
pub(super) fn to_component(bytes: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    if Parser::is_component(bytes) {
        return Ok(Cow::Borrowed(bytes));
    }
    if !Parser::is_core_wasm(bytes) {
        return Err(not_wasm(bytes));
    }
    check_core_module(bytes)?;
    let encoded = wit_component::ComponentEncoder::default()
        .validate(false) // `contract` validates, with the features that plugins may use
        .module(bytes)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| {
            let explanation = format!("{error:#}");
            format!(
                "its core module does not become a component: {}; build it against world `plain` of `{}`",
                cut(&explanation, EXPLANATION_BYTES_MAX),
                contract::PACKAGE,
            )
        })?;
    Ok(Cow::Owned(encoded))
}

/// SHA-256 as lowercase hexadecimal.
fn hash(bytes: &[u8]) -> PluginHash {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
    }
    PluginHash(text)
}

fn not_wasm(bytes: &[u8]) -> String {
    let start = bytes.trim_ascii_start();
    if start.starts_with(b"(module") || start.starts_with(b"(component") {
        return "it is WebAssembly text, not binary; assemble it first (`wasm-tools parse`)".to_owned();
    }
    "it is not a WebAssembly file; `tidegate plugin build <folder>` makes one from a Rust plugin".to_owned()
}

/// Finds what the encoder would say less clearly: imports of WASI, a missing component type.
fn check_core_module(bytes: &[u8]) -> Result<(), String> {
    let broken = |error: wasmparser::BinaryReaderError| format!("it is not valid WebAssembly: {error}");
    let mut types = Vec::new();
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(broken)? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.map_err(broken)?;
                    if WASI_PREVIEW_1.contains(&import.module) || import.module.starts_with("wasi:") {
                        return Err(format!("it imports `{}` of `{}`, and {NO_WASI}", import.name, import.module));
                    }
                }
            }
            Payload::CustomSection(section) if section.name().starts_with("component-type") => {
                types.push(section.data());
            }
            _ => {}
        }
    }
    if let Some(packages) = package_circle(&types) {
        return Err(format!(
            "the packages {} of its component type depend on each other in a circle; build it against world `plain` of \
             `{}`",
            packages.join(", "),
            contract::PACKAGE,
        ));
    }
    if !types.is_empty() {
        return Ok(());
    }
    Err(format!(
        "it is a core module with no component type in it; build it against world `plain` of `{}` (in Rust: with \
         `tidegate-sdk`, and `crate-type = [\"cdylib\"]`)",
        contract::PACKAGE,
    ))
}

/// Packages that depend on each other in a circle, or on such ones. wit-parser 0.254 follows a circle until the stack ends,
/// and the process with it, so this must be known before the encoder sees the types.
fn package_circle(types: &[&[u8]]) -> Option<Vec<String>> {
    let mut left: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for section in types {
        // What is no component type, the encoder refuses.
        let Ok((resolve, _)) = wit_parser::decoding::decode_world(section) else { continue };
        for (id, package) in &resolve.packages {
            let needed = resolve.package_direct_deps(id).map(|needed| resolve.packages[needed].name.to_string());
            left.entry(package.name.to_string()).or_default().extend(needed);
        }
    }
    loop {
        let before = left.len();
        let known: BTreeSet<String> = left.keys().cloned().collect();
        left.retain(|_, needed| needed.iter().any(|name| known.contains(name)));
        if left.len() == before {
            break;
        }
    }
    (!left.is_empty()).then(|| left.keys().map(|name| format!("`{name}`")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_sha_256_of_the_bytes() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hash(b"").0, empty);
    }
}
