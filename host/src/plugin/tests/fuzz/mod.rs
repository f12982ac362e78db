//! Fuzz targets: artifacts of any bytes, random Wasm, and guests that were changed, as far as they get.
//!
//! Next rooms: [`guests`], what is run; [`outcome`], what calls return; [`crate::fuzzing`], how targets run.

mod guests;
mod outcome;

use self::guests::{artifacts, changed_text, exercise};
use super::super::{Engine, Plugin, PluginError, artifact};
use super::{GUEST, core_module};
use crate::fuzzing::{Bytes, Share, arbitrary_bytes, mutated, mutation, run};
use arbitrary::Unstructured;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// What a plugin may import, by the contract.
const IMPORTS: [&str; 2] = ["tidegate:plugin/host@0.1.0", "tidegate:plugin/types@0.1.0"];
/// Longer than any load may take, on a machine that does other things as well.
const LOAD_TIME_MAX: Duration = Duration::from_secs(30);

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new(None).expect("an engine"))
}

/// An artifact is refused in words, or loaded: then it imports what the contract has and nothing else.
fn load(bytes: &[u8]) -> Result<Option<Plugin>, TestCaseError> {
    let began = Instant::now();
    let outcome = engine().load("fuzzed.wasm", bytes);
    prop_assert!(began.elapsed() < LOAD_TIME_MAX, "it took {:?} to load", began.elapsed());
    match outcome {
        Ok(plugin) => {
            let imports = plugin.0.import_names();
            prop_assert!(imports.iter().all(|name| IMPORTS.contains(&name.as_str())), "it imports {:?}", imports);
            Ok(Some(plugin))
        }
        Err(PluginError::Refused { path, what }) => {
            prop_assert_eq!(path, "fuzzed.wasm");
            prop_assert!(!what.is_empty() && what.len() < 10_000, "{}", what);
            prop_assert!(!what.contains("please report"), "a promise of the check was broken: {}", what);
            prop_assert!(
                !what.contains("it does not compile"),
                "the check let pass what the engine does not: {}",
                what
            );
            Ok(None)
        }
        Err(other) => Err(TestCaseError::fail(format!("refused as `{other}`"))),
    }
}

/// A random module, with any feature of Wasm.
fn smith_module(bytes: &[u8], features: u32) -> Option<Vec<u8>> {
    let has = |bit: u32| features & (1 << bit) != 0;
    let config = wasm_smith::Config {
        max_imports: if has(0) { 5 } else { 0 },
        min_memories: u32::from(has(1)),
        max_memories: 3,
        max_tables: 3,
        min_globals: usize::from(has(2)),
        gc_enabled: has(3),
        threads_enabled: has(4),
        exceptions_enabled: has(5),
        memory64_enabled: has(6),
        custom_page_sizes_enabled: has(7),
        tail_call_enabled: has(8),
        export_everything: has(9),
        generate_custom_sections: has(10),
        wide_arithmetic_enabled: has(11),
        allow_invalid_funcs: has(12) && has(13),
        ..wasm_smith::Config::default()
    };
    Some(wasm_smith::Module::new(config, &mut Unstructured::new(bytes)).ok()?.to_bytes())
}

/// The module with the component type of world `plain`: what a toolchain would have left in it.
fn with_world(mut module: Vec<u8>) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("tidegate.wit", super::contract::WIT).expect("the contract parses");
    let world = resolve.select_world(&[package], Some("plain")).expect("it has the world");
    // A module whose sections are broken stays as it is.
    let whole = module.clone();
    match embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8) {
        Ok(()) => module,
        Err(_) => whole,
    }
}

#[test]
fn any_bytes_are_refused() {
    let headers = prop_oneof![Just(&b"\0asm\x01\0\0\0"[..]), Just(&b"\0asm\x0d\0\x01\0"[..]), Just(&b""[..])];
    run("plugin-bytes", 3_000, &(headers, arbitrary_bytes(200)), |(header, Bytes(bytes))| {
        prop_assert!(load(&[header, &bytes].concat())?.is_none());
        Ok(())
    });
}

#[test]
fn random_modules_are_refused_or_run() {
    let inputs = (vec(any::<u8>(), 0..3000).prop_map(Bytes), any::<u32>(), any::<bool>());
    run("plugin-modules", 1_000, &inputs, |(Bytes(bytes), features, has_world)| {
        let Some(module) = smith_module(&bytes, features) else { return Ok(()) };
        load(&if has_world { with_world(module) } else { module })?.map_or(Ok(()), |plugin| exercise(&plugin))
    });
}

#[test]
fn random_components_are_refused_or_run() {
    let inputs = vec(any::<u8>(), 0..3000).prop_map(Bytes);
    run("plugin-components", 1_000, &inputs, |Bytes(bytes)| {
        let config = wasm_smith::Config::default();
        let Ok(component) = wasm_smith::Component::new(config, &mut Unstructured::new(&bytes)) else { return Ok(()) };
        load(&component.to_bytes())?.map_or(Ok(()), |plugin| exercise(&plugin))
    });
}

/// Pieces of the binary format and of the contract's names.
const FRAGMENTS: &[&[u8]] = &[
    b"\x00asm",
    b"\x25\x00",     // table.get 0
    b"\x26\x00",     // table.set 0
    b"\xfc\x09\x00", // data.drop 0
    b"\x0b",
    b"\x80\x80\x80\x80\x10",
    b"\xff\xff\xff\xff\x0f",
    b"tidegate:plugin/host@0.1.0",
    b"tidegate:plugin/stdio@0.1.0",
    b"tidegate:host/accessors",
    b"wasi:cli/environment@0.2.3",
];

#[test]
fn a_guest_with_changed_bytes_is_refused_or_runs() {
    let module = core_module(GUEST, "plain");
    let component = artifact::to_component(&module).expect("the guest is one").into_owned();
    let inputs = mutated(vec![module, component], FRAGMENTS);
    let loaded = Share::default();
    run("plugin-guest-bytes", 500, &inputs, |Bytes(bytes)| {
        let plugin = load(&bytes)?;
        loaded.count(plugin.is_some());
        plugin.map_or(Ok(()), |plugin| exercise(&plugin))
    });
    loaded.assert_both(10);
}

#[test]
fn a_guest_with_changed_instructions_harms_only_itself() {
    run("plugin-guest-text", 200, &changed_text(GUEST), |text| {
        let plugin = load(&core_module(&text, "plain"))?;
        prop_assert!(plugin.is_some(), "other numbers make no other plugin");
        plugin.map_or(Ok(()), |plugin| exercise(&plugin))
    });
}

#[test]
fn a_built_plugin_with_changed_bytes_is_refused_in_words_or_passes() {
    let artifacts = artifacts();
    let inputs = (0..artifacts.len(), vec(mutation(FRAGMENTS), 1..4));
    // The check alone: compiling one takes seconds.
    run("plugin-artifacts", 40, &inputs, |(which, mutations)| -> TestCaseResult {
        let mut bytes = artifacts[which].clone();
        for mutation in mutations {
            mutation.apply(&mut bytes);
        }
        let began = Instant::now();
        if let Err(what) = artifact::prepare(&bytes) {
            prop_assert!(!what.is_empty() && what.len() < 10_000 && !what.contains("please report"), "{}", what);
        }
        prop_assert!(began.elapsed() < LOAD_TIME_MAX, "it took {:?} to check", began.elapsed());
        Ok(())
    });
}
