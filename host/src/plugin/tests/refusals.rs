//! What is not a plugin is refused at load, by name and with the way out.

use super::super::{Engine, contract};
use super::{GUEST, core_module};
use std::sync::OnceLock;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

/// The text with which an artifact is refused.
fn refusal(bytes: &[u8]) -> String {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    let engine = ENGINE.get_or_init(|| Engine::new(None).unwrap());
    let error = engine.load("operator.wasm", bytes).err().expect("it was loaded").to_string();
    let start = "plugin `operator.wasm` is not acceptable: ";
    assert!(error.starts_with(start), "{error}");
    error[start.len()..].to_owned()
}

fn assert_refused(bytes: &[u8], words: &[&str]) {
    let error = refusal(bytes);
    for word in words {
        assert!(error.contains(word), "`{word}` is missing in: {error}");
    }
}

/// The counting guest with more in its module.
fn guest_with(text: &str) -> Vec<u8> {
    let end = GUEST.rfind(')').unwrap();
    core_module(&format!("{}{text})", &GUEST[..end]), "plain")
}

/// A component that has everything that a world of some WIT wants, and does nothing.
fn dummy(wit: &str, world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("test.wit", wit).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    let abi = ManglingAndAbi::Legacy(LiftLowerAbi::Sync);
    let mut module = wit_component::dummy_module(&resolve, world, abi);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
}

#[test]
fn every_world_of_the_contract_passes() {
    let engine = Engine::new(None).unwrap();
    for (world, migration, query) in
        [("plain", false, false), ("migrating", true, false), ("queryable", false, true), ("full", true, true)]
    {
        let plugin = engine.load(world, &dummy(contract::WIT, world)).unwrap();
        assert_eq!((plugin.can_migrate(), plugin.can_query()), (migration, query), "{world}");
        assert_eq!(plugin.hash().0.len(), 64);
    }
}

#[test]
fn what_is_not_wasm_is_refused() {
    assert_refused(b"", &["not a WebAssembly file", "tidegate plugin build"]);
    assert_refused(b"\x7fELF", &["not a WebAssembly file"]);
    assert_refused(b"\n(module)", &["WebAssembly text", "wasm-tools parse"]);
    let whole = dummy(contract::WIT, "plain");
    assert_refused(&whole[..whole.len() - 3], &["not valid WebAssembly"]);
    let module = core_module(GUEST, "plain");
    assert_refused(&module[..module.len() / 2], &["not valid WebAssembly"]);
}

#[test]
fn a_core_module_without_a_component_type_is_refused() {
    let module = wat::parse_str("(module)").unwrap();
    assert_refused(&module, &["no component type", "world `plain` of `tidegate:plugin@0.1.0`", "cdylib"]);
}

/// Without the check, wit-parser follows the circle until the stack ends, and with it the process.
#[test]
fn packages_that_depend_on_each_other_in_a_circle_are_refused() {
    let mut module = core_module(GUEST, "plain");
    let (from, to) = (b"tidegate:plugin/operator", b"tidegate:plugjn/operator");
    let places: Vec<usize> = (0..module.len() - from.len()).filter(|at| module[*at..].starts_with(from)).collect();
    assert!(places.len() > 5, "exports and the component type have the name");
    for at in places {
        module[at..at + to.len()].copy_from_slice(to);
    }
    assert_refused(
        &module,
        &["`tidegate:plugin@0.1.0`, `tidegate:plugjn@0.1.0`", "depend on each other in a circle", "world `plain`"],
    );
}

#[test]
fn wasi_is_refused_by_the_name_of_the_import() {
    let module = wat::parse_str(r#"(module (import "wasi_snapshot_preview1" "fd_write" (func)))"#).unwrap();
    assert_refused(&module, &["`fd_write` of `wasi_snapshot_preview1`", "no WASI adapter", "wasm32-unknown-unknown"]);
    let component = wat::parse_str(r#"(component (import "wasi:cli/environment@0.2.3" (instance)))"#).unwrap();
    assert_refused(&component, &["`wasi:cli/environment@0.2.3`", "no WASI adapter"]);
}

#[test]
fn imports_outside_the_contract_are_refused() {
    let import = |name: &str| wat::parse_str(format!("(component (import \"{name}\" (instance)))")).unwrap();
    assert_refused(
        &import("acme:db/client"),
        &["`acme:db/client`", "not in the contract", "takes everything else as records"],
    );
    assert_refused(&import("tidegate:plugin/host@0.2.0"), &["`tidegate:plugin/host@0.2.0`", "does not have"]);
    assert_refused(&dummy(contract::WIT, "wasi-stub"), &["`tidegate:plugin/stdio@0.1.0`", "WASI adapter"]);
    let function = wat::parse_str(r#"(component (import "tidegate:plugin/host@0.1.0" (func)))"#).unwrap();
    assert_refused(&function, &["`tidegate:plugin/host@0.1.0`"]);
}

#[test]
fn a_missing_operator_is_refused() {
    assert_refused(
        &dummy("package a:b; world w {}", "w"),
        &["does not export `tidegate:plugin/operator@0.1.0`", "nothing"],
    );
    let other = dummy("package a:b; interface i { f: func(); } world w { export i; }", "w");
    assert_refused(&other, &["(it exports `a:b/i`)", "world `plain`"]);
    let newer = contract::WIT.replace("package tidegate:plugin@0.1.0", "package tidegate:plugin@0.2.0");
    let newer = newer.replace("world plain { import host; export operator; }", "world plain { export operator; }");
    // Its import of the newer types comes first.
    assert_refused(
        &dummy(&newer, "plain"),
        &["`tidegate:plugin/types@0.2.0`", "build it against `tidegate:plugin@0.1.0`"],
    );
}

#[test]
fn other_types_under_the_same_name_are_refused() {
    let wit = contract::WIT.replace("advance: func(watermark: s64)", "advance: func(watermark: u64)");
    assert_ne!(wit, contract::WIT);
    assert_refused(
        &dummy(&wit, "plain"),
        &["its types are not those of world `plain`", "tidegate:plugin/operator@0.1.0"],
    );
    let wit = contract::WIT.replace("advance: func(", "later: func(");
    assert_ne!(wit, contract::WIT);
    assert_refused(&dummy(&wit, "plain"), &["its types are not those of world `plain`", "`advance`"]);
}

#[test]
fn resources_are_refused() {
    let wit = contract::WIT.replace("interface host {", "interface host { resource file { read: func(); }");
    assert_ne!(wit, contract::WIT);
    assert_refused(&dummy(&wit, "plain"), &["resource", "live outside linear memory"]);
    let component = wat::parse_str("(component (type (resource (rep i32))))").unwrap();
    assert_refused(&component, &["defines a resource type", "live outside linear memory"]);
}

#[test]
fn state_in_tables_and_segments_is_refused_by_instruction_and_function() {
    let cases = [
        (
            "(table 2 funcref) (func $swap (table.set (i32.const 0) (ref.null func)))",
            "changes a table (`table.set`)",
            "`swap`",
        ),
        (
            "(table 2 funcref) (func $more (drop (table.grow (ref.null func) (i32.const 1))))",
            "changes a table (`table.grow`)",
            "`more`",
        ),
        (
            "(table 2 funcref) (func $fill (table.fill (i32.const 0) (ref.null func) (i32.const 1)))",
            "changes a table (`table.fill`)",
            "`fill`",
        ),
        (
            "(table 2 funcref) (func $copy (table.copy (i32.const 0) (i32.const 0) (i32.const 1)))",
            "changes a table (`table.copy`)",
            "`copy`",
        ),
        (
            "(table 2 funcref) (elem $e func $clear) (func $init (table.init $e (i32.const 0) (i32.const 0) (i32.const 1)))",
            "changes a table (`table.init`)",
            "`init`",
        ),
        ("(elem $e func $clear) (func $drop (elem.drop $e))", "drops a segment (`elem.drop`)", "`drop`"),
        ("(data $d \"x\") (func $drop (data.drop $d))", "drops a segment (`data.drop`)", "`drop`"),
    ];
    for (text, what, function) in cases {
        // The encoder drops what nothing reaches.
        let name = function.trim_matches('`');
        let text = format!("{text} (func (export \"_initialize\") (call ${name}))");
        assert_refused(&guest_with(&text), &[what, function, "link it statically"]);
    }
}

#[test]
fn globals_that_a_snapshot_cannot_hold_are_refused() {
    for kind in ["v128", "funcref"] {
        let init = if kind == "v128" { "v128.const i64x2 0 0" } else { "ref.null func" };
        let text = format!(
            "(global $odd (mut {kind}) ({init})) (func (export \"_initialize\") (global.set $odd (global.get $odd)))"
        );
        assert_refused(&guest_with(&text), &[&format!("mutable global of type `{kind}`"), "keep it in memory"]);
    }
}

/// A component with one core module, for what a guest's language would do.
fn component(module: &str) -> Vec<u8> {
    wat::parse_str(format!("(component (core module $m {module}) (core instance (instantiate $m)))")).unwrap()
}

#[test]
fn features_outside_of_the_contract_are_refused_by_name() {
    let cases = [
        ("(memory 1 2 shared)", "threads (shared memory or atomics)"),
        ("(memory 1) (func (param i32) (drop (i32.atomic.load (local.get 0))))", "threads"),
        ("(memory i64 1)", "64-bit memory"),
        ("(global externref (ref.null extern))", "`externref`"),
        ("(type (struct (field i32)))", "garbage-collected (GC) types"),
        ("(tag) (func (throw 0))", "exceptions"),
    ];
    for (module, feature) in cases {
        assert_refused(&component(module), &["it uses", feature, "which plugins cannot", "build it without"]);
    }
}

#[test]
fn a_module_instantiated_twice_is_refused() {
    let twice = "(component (core module $m) (core instance (instantiate $m)) (core instance (instantiate $m)))";
    assert_refused(&wat::parse_str(twice).unwrap(), &["instantiates its core module 0 twice"]);
}

#[test]
fn nested_code_is_refused() {
    for (inner, what) in [
        ("(core module)", "a core module"),
        ("(core instance)", "a core instance"),
        ("(component (core module))", "a core module"),
    ] {
        let component = wat::parse_str(format!("(component (component {inner}))")).unwrap();
        assert_refused(&component, &[what, "in a nested component", "not a composition"]);
    }
    let outer =
        "(component (core module $m) (component (alias outer 1 $m (core module $n)) (core instance (instantiate $n))))";
    assert_refused(&wat::parse_str(outer).unwrap(), &["a core instance in a nested component"]);
}

#[test]
fn a_name_of_the_host_is_refused() {
    let wit = "package tidegate:host; interface accessors { f: func(); } world w { export accessors; }";
    assert_refused(&dummy(wit, "w"), &["`tidegate:host/accessors`", "belongs to the host"]);
}
