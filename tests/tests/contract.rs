//! Freezes the plugin contract: a plugin built against `tests/contract/tidegate-0.1.0.wit` must load for ever.
//!
//! Each world is checked in both directions, because one alone accepts removals: the frozen world must stand in for
//! today's (a plugin of then satisfies the host of today), and today's for the frozen one (the host of today still
//! offers what a plugin of then imports). What was added on purpose is listed in [`ADDITIONS`]. Next room:
//! `wit/tidegate.wit`.

use wit_parser::{PackageId, Resolve, WorldItem};

const FROZEN: &str = include_str!("../contract/tidegate-0.1.0.wit");
const CURRENT: &str = include_str!("../../wit/tidegate.wit");

/// What today's contract may have beyond the frozen one, in the words of [`names`]. Only host functions, interfaces and
/// worlds can be added; anything else breaks plugins that exist, and the check below refuses it even if it is listed.
const ADDITIONS: &[&str] = &[];

#[test]
fn the_contract_is_as_it_was_frozen() {
    let parsed = names(&parse(CURRENT).expect("wit/tidegate.wit parses"));
    assert!(parsed.len() > 30, "the list of names is suspiciously short: {parsed:?}");
    if let Err(reason) = compare(FROZEN, CURRENT, ADDITIONS) {
        panic!(
            "the plugin contract changed: {reason}\nPlugins that exist would no longer load. Undo the change in \
             wit/tidegate.wit; let the contract grow by named columns, settings, optional interfaces and host \
             functions only, and list these in ADDITIONS."
        );
    }
}

/// Edits of the contract, `(what is done, text, replacement)`, each of which would break plugins that exist.
const BREAKING_EDITS: &[(&str, &str, &str)] = &[
    ("removes a host function", "count: func(metric: string, delta: u64);", ""),
    ("removes an exported function", "advance: func(watermark: s64) -> result<outcome, string>;", ""),
    ("removes an optional function", "import-done: func() -> result<_, string>;", ""),
    ("adds an exported function", "interface operator {", "interface operator {\n  close: func();"),
    ("adds a field", "seed: u64,", "seed: u64, attempt: u64,"),
    ("removes a field", "seed: u64,", ""),
    ("renames a field", "next-advance: option<s64>", "next-call: option<s64>"),
    ("widens a number", "record rejection { row: u32,", "record rejection { row: u64,"),
    ("makes a field optional", "timestamps: list<s64>,", "timestamps: option<list<s64>>,"),
    ("swaps two fields", "job: string, operator: string,", "operator: string, job: string,"),
    ("adds a case to a variant", "int(int-column),", "int(int-column), text(bytes-column),"),
    ("swaps two cases of an enum", "enum column-kind { bytes, int, float }", "enum column-kind { int, bytes, float }"),
    ("renames a parameter", "(port: u32, watermark: s64,", "(input: u32, watermark: s64,"),
    ("changes a parameter", "log: func(level: level, message: string);", "log: func(level: level, message: list<u8>);"),
    (
        "changes a result",
        "open: func(config: string, context: context) -> result<_, string>;",
        "open: func(config: string, context: context);",
    ),
    (
        "removes an interface from a world",
        "world plain { import host; export operator; }",
        "world plain { export operator; }",
    ),
    (
        "requires an interface",
        "world plain { import host; export operator; }",
        "world plain { import host; export operator; export query; }",
    ),
    ("removes a world", "world full { include migrating; include queryable; }", ""),
    ("renames the package", "package tidegate:plugin@", "package tidegate:operators@"),
];

#[test]
fn every_breaking_edit_is_refused() {
    for (what, from, to) in BREAKING_EDITS {
        let edited = edit(what, from, to);
        assert!(parse(&edited).is_ok(), "the edit that {what} must leave a contract that parses");
        let verdict = compare(FROZEN, &edited, ADDITIONS);
        assert!(verdict.is_err(), "an edit that {what} was accepted");
    }
}

#[test]
fn breaking_edits_are_refused_even_when_listed_as_additions() {
    let edited = edit("adds an exported function", "interface operator {", "interface operator {\n  close: func();");
    let verdict = compare(FROZEN, &edited, &["interface operator: func close"]);
    assert!(
        verdict.is_err_and(|reason| reason.contains("a plugin of then")),
        "a new duty of plugins is not an addition"
    );
}

#[test]
fn an_addition_is_accepted_only_when_it_is_listed() {
    let function = edit("adds a host function", "interface host {", "interface host {\n  gauge: func(value: u64);");
    let refused = compare(FROZEN, &function, &[]).expect_err("a host function that is not listed");
    assert!(refused.contains("`interface host: func gauge`"), "{refused}");
    assert_eq!(compare(FROZEN, &function, &["interface host: func gauge"]), Ok(()));

    let world =
        format!("{CURRENT}\ninterface extra {{ run: func(); }}\nworld more {{ include plain; export extra; }}\n");
    assert!(compare(FROZEN, &world, &[]).is_err());
    let listed = [
        "interface extra",
        "interface extra: func run",
        "world more",
        "world more: import types",
        "world more: import host",
        "world more: export operator",
        "world more: export extra",
    ];
    assert_eq!(compare(FROZEN, &world, &listed), Ok(()));
}

#[test]
fn an_addition_that_does_not_exist_is_refused() {
    let verdict = compare(FROZEN, CURRENT, &["interface host: func gauge"]);
    assert!(verdict.is_err_and(|reason| reason.contains("listed")));
}

/// Today's contract with one edit in it. The text to replace must be there once.
fn edit(what: &str, from: &str, to: &str) -> String {
    assert_eq!(CURRENT.matches(from).count(), 1, "the edit that {what} must meet its text once: {from}");
    CURRENT.replace(from, to)
}

/// Says why a plugin built against `frozen` would not load under `current`, or that nothing stands against it.
fn compare(frozen: &str, current: &str, additions: &[&str]) -> Result<(), String> {
    compare_names(&names(&parse(frozen)?), &names(&parse(current)?), additions)?;
    for world in world_names(&parse(frozen)?) {
        semver_check(frozen, current, additions, &world, Direction::PluginOfThen)?;
        semver_check(frozen, current, additions, &world, Direction::HostOfToday)?;
    }
    Ok(())
}

fn compare_names(frozen: &[String], current: &[String], additions: &[&str]) -> Result<(), String> {
    if let Some(gone) = frozen.iter().find(|name| !current.contains(name)) {
        return Err(format!("`{gone}` is gone"));
    }
    if let Some(new) = current.iter().find(|name| !frozen.contains(name) && !additions.contains(&name.as_str())) {
        return Err(format!("`{new}` is new and not listed as an addition"));
    }
    if let Some(unknown) = additions.iter().find(|name| !current.iter().any(|known| known == *name)) {
        return Err(format!("`{unknown}` is listed as an addition and does not exist"));
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Direction {
    /// The frozen world stands in for today's: a plugin of then satisfies the host of today.
    PluginOfThen,
    /// Today's world, less its additions, stands in for the frozen one: nothing of then is gone.
    HostOfToday,
}

fn semver_check(
    frozen: &str,
    current: &str,
    additions: &[&str],
    world: &str,
    direction: Direction,
) -> Result<(), String> {
    let mut resolve = Resolve::default();
    let then = resolve.push_str("frozen.wit", frozen).map_err(|error| format!("{error:#}"))?;
    let today = resolve.push_str("current.wit", current).map_err(|error| format!("{error:#}"))?;
    let then = resolve.packages[then].worlds[world];
    let world_today = resolve.packages[today].worlds[world];
    let (previous, new, meaning) = match direction {
        Direction::PluginOfThen => (then, world_today, "a plugin of then does not satisfy the host of today"),
        Direction::HostOfToday => (world_today, then, "the host of today lacks what a plugin of then knows"),
    };
    if direction == Direction::HostOfToday {
        remove_additions(&mut resolve, today, additions);
    }
    wit_component::semver_check(resolve, previous, new)
        .map_err(|error| format!("world `{world}`: {meaning}: {error:#}"))
}

/// Takes listed host functions out again, so that the rest can be compared. Listed interfaces and worlds are in no
/// world that is compared.
fn remove_additions(resolve: &mut Resolve, package: PackageId, additions: &[&str]) {
    for (name, interface) in resolve.packages[package].interfaces.clone() {
        resolve.interfaces[interface]
            .functions
            .retain(|function, _| !additions.contains(&format!("interface {name}: func {function}").as_str()));
    }
}

fn parse(text: &str) -> Result<(Resolve, PackageId), String> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("contract.wit", text).map_err(|error| format!("{error:#}"))?;
    Ok((resolve, package))
}

fn world_names((resolve, package): &(Resolve, PackageId)) -> Vec<String> {
    resolve.packages[*package].worlds.keys().cloned().collect()
}

/// Everything in a contract that has a name.
fn names((resolve, package): &(Resolve, PackageId)) -> Vec<String> {
    let package = &resolve.packages[*package];
    let mut names = vec![format!("package {}:{}", package.name.namespace, package.name.name)];
    for (name, id) in &package.interfaces {
        names.push(format!("interface {name}"));
        let interface = &resolve.interfaces[*id];
        names.extend(interface.functions.keys().map(|function| format!("interface {name}: func {function}")));
        names.extend(interface.types.keys().map(|kind| format!("interface {name}: type {kind}")));
    }
    for (name, id) in &package.worlds {
        names.push(format!("world {name}"));
        let world = &resolve.worlds[*id];
        names.extend(world.imports.values().map(|item| format!("world {name}: import {}", item_name(resolve, item))));
        names.extend(world.exports.values().map(|item| format!("world {name}: export {}", item_name(resolve, item))));
    }
    names
}

fn item_name(resolve: &Resolve, item: &WorldItem) -> String {
    match item {
        WorldItem::Interface { id, .. } => resolve.interfaces[*id].name.clone().unwrap_or_default(),
        WorldItem::Function(function) => format!("func {}", function.name),
        WorldItem::Type { id, .. } => format!("type {}", resolve.types[*id].name.clone().unwrap_or_default()),
    }
}
