//! The load-time check: what passes has all its state in linear memory and mutable globals.
//!
//! It refuses by name and with the way out, and reads the artifact only: nothing is compiled or run. State that no
//! snapshot holds would be resource handles, tables, dropped segments, a second instance of a module. Next room:
//! `features`, the Wasm features that plugins may use, and `module`, the check of one core module.

use super::artifact::NO_WASI;
use super::host::cut;
use super::{features, module};
use std::collections::HashSet;
use wasmparser::{
    BinaryReaderError, CanonicalFunction, ComponentAlias, ComponentExternalKind, ComponentType, ComponentTypeRef,
    ExternalKind, Instance, InstanceTypeDeclaration, Parser, Payload, TypeBounds,
};
use wit_parser::Resolve;

/// The contract's package.
pub(super) const PACKAGE: &str = "tidegate:plugin@0.1.0";
/// The interface that every plugin exports.
pub(super) const OPERATOR: &str = "tidegate:plugin/operator@0.1.0";
/// State as keyed entries: optional.
const MIGRATION: &str = "tidegate:plugin/migration@0.1.0";
/// Reading state from outside: optional.
const QUERY: &str = "tidegate:plugin/query@0.1.0";
/// What a plugin may import: functions, and the types that they and the exports share.
const IMPORTS: [&str; 2] = ["tidegate:plugin/host@0.1.0", "tidegate:plugin/types@0.1.0"];
/// Meant for the host's own adapter.
const STDIO: &str = "tidegate:plugin/stdio@0.1.0";
/// Exports that the host adds itself begin with this.
pub(super) const RESERVED: &str = "tidegate:host/";
/// The contract itself.
pub(super) const WIT: &str = include_str!("../../../wit/tidegate.wit");
/// A validator's explanation is cut after so many bytes.
const EXPLANATION_BYTES_MAX: usize = 4096;

/// The optional interfaces of a plugin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Interfaces {
    pub(super) migration: bool,
    pub(super) query: bool,
}

/// Checks a component against the contract.
pub(super) fn check(component: &[u8]) -> Result<Interfaces, String> {
    // Imports come before validation: a component of an asynchronous world is better told about its imports.
    let surface = Surface::read(component)?;
    surface.check_imports()?;
    features::check(component)?;
    check_structure(component)?;
    let interfaces = surface.check_exports()?;
    check_types(component, interfaces)?;
    Ok(interfaces)
}

/// The payloads of a component or module itself, without those of what is nested in it.
pub(super) fn top_level(bytes: &[u8]) -> impl Iterator<Item = Result<Payload<'_>, BinaryReaderError>> {
    let mut depth = 0_usize;
    Parser::new(0).parse_all(bytes).filter(move |payload| {
        let at_top = depth == 0;
        match payload {
            Ok(Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) => depth += 1,
            Ok(Payload::End(_)) => depth = depth.saturating_sub(1),
            _ => {}
        }
        at_top
    })
}

#[allow(clippy::needless_pass_by_value, reason = "the form that `map_err` takes")]
pub(super) fn broken(error: BinaryReaderError) -> String {
    format!("it is not valid WebAssembly: {error}; build it again")
}

/// A component's imports and exports by name.
#[derive(Default)]
struct Surface<'a> {
    imports: Vec<(&'a str, ComponentExternalKind)>,
    exports: Vec<(&'a str, ComponentExternalKind)>,
}

impl<'a> Surface<'a> {
    fn read(component: &'a [u8]) -> Result<Surface<'a>, String> {
        let mut surface = Surface::default();
        for payload in top_level(component) {
            match payload.map_err(broken)? {
                Payload::ComponentImportSection(section) => {
                    for import in section {
                        let import = import.map_err(broken)?;
                        surface.imports.push((import.name.name, ComponentTypeRef::kind(&import.ty)));
                    }
                }
                Payload::ComponentExportSection(section) => {
                    for export in section {
                        let export = export.map_err(broken)?;
                        surface.exports.push((export.name.name, export.kind));
                    }
                }
                _ => {}
            }
        }
        Ok(surface)
    }

    fn check_imports(&self) -> Result<(), String> {
        for (name, kind) in &self.imports {
            if IMPORTS.contains(name) && *kind == ComponentExternalKind::Instance {
                continue;
            }
            return Err(if name.starts_with("wasi:") {
                format!("it imports `{name}`, and {NO_WASI}")
            } else if *name == STDIO {
                format!("it imports `{name}`, which is for the host's own WASI adapter; log with `{}`", IMPORTS[0])
            } else if name.starts_with("tidegate:plugin/") {
                format!("it imports `{name}`, which this tidegate does not have; build it against `{PACKAGE}`")
            } else {
                format!(
                    "it imports `{name}`, which is not in the contract; a plugin may import `{}` and `{}`, and takes \
                     everything else as records",
                    IMPORTS[0], IMPORTS[1],
                )
            });
        }
        Ok(())
    }

    fn check_exports(&self) -> Result<Interfaces, String> {
        let has = |wanted: &str| {
            self.exports.iter().any(|(name, kind)| *name == wanted && *kind == ComponentExternalKind::Instance)
        };
        if let Some((name, _)) = self.exports.iter().find(|(name, _)| name.starts_with(RESERVED)) {
            return Err(format!("it exports `{name}`, a name that belongs to the host; leave it out"));
        }
        if has(OPERATOR) {
            return Ok(Interfaces { migration: has(MIGRATION), query: has(QUERY) });
        }
        let names: Vec<String> = self.exports.iter().take(8).map(|(name, _)| format!("`{name}`")).collect();
        let found =
            if names.is_empty() { "it exports nothing".to_owned() } else { format!("it exports {}", names.join(", ")) };
        let older = self.exports.iter().any(|(name, _)| name.starts_with("tidegate:plugin/operator"));
        let way_out =
            if older { "build it against this version of the contract" } else { "build it against world `plain`" };
        Err(format!("it does not export `{OPERATOR}` ({found}); {way_out} of `{PACKAGE}`"))
    }
}

/// Refuses state outside of linear memories and globals. Types are checked elsewhere.
fn check_structure(component: &[u8]) -> Result<(), String> {
    let mut instantiated = HashSet::new();
    let mut modules = 0_u32;
    for payload in top_level(component) {
        match payload.map_err(broken)? {
            Payload::ModuleSection { unchecked_range, .. } => {
                module::check(modules, &component[unchecked_range])?;
                modules += 1;
            }
            Payload::ComponentSection { unchecked_range, .. } => check_nested(&component[unchecked_range])?,
            Payload::InstanceSection(section) => {
                for instance in section {
                    if let Instance::Instantiate { module_index, .. } = instance.map_err(broken)?
                        && !instantiated.insert(module_index)
                    {
                        return Err(format!(
                            "it instantiates its core module {module_index} twice, and a snapshot could not tell the two \
                             apart; link it into one instance"
                        ));
                    }
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    check_alias(&alias.map_err(broken)?)?;
                }
            }
            Payload::ComponentTypeSection(section) => {
                for kind in section {
                    match kind.map_err(broken)? {
                        ComponentType::Resource { .. } => return Err(resource("defines a resource type")),
                        ComponentType::Instance(items) => check_instance_type(&items)?,
                        _ => {}
                    }
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section {
                    check_canonical(&function.map_err(broken)?)?;
                }
            }
            Payload::ComponentStartSection { .. } => {
                return Err("it has a component start function, which is not supported; use `open`".to_owned());
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_instance_type(items: &[InstanceTypeDeclaration<'_>]) -> Result<(), String> {
    for item in items {
        if let InstanceTypeDeclaration::Export { name, ty: ComponentTypeRef::Type(TypeBounds::SubResource) } = item {
            return Err(resource(&format!("imports or exports the resource `{}`", name.name)));
        }
    }
    Ok(())
}

/// What wit-component nests holds types and names only. Code in it would be out of the accessors' reach.
fn check_nested(component: &[u8]) -> Result<(), String> {
    let refuse = |what: &str| {
        Err(format!(
            "it has {what} in a nested component, whose state a snapshot could not reach; build one component, not a \
             composition of several"
        ))
    };
    for payload in top_level(component) {
        match payload.map_err(broken)? {
            Payload::ModuleSection { .. } => return refuse("a core module"),
            Payload::InstanceSection(_) => return refuse("a core instance"),
            Payload::ComponentCanonicalSection(_) => return refuse("a canonical function"),
            Payload::ComponentSection { unchecked_range, .. } => check_nested(&component[unchecked_range])?,
            _ => {}
        }
    }
    Ok(())
}

fn check_alias(alias: &ComponentAlias<'_>) -> Result<(), String> {
    use wasmparser::ComponentOuterAliasKind as Outer;
    let what = match alias {
        ComponentAlias::InstanceExport { kind: ComponentExternalKind::Module, name, .. } => {
            format!("a module `{name}`")
        }
        ComponentAlias::InstanceExport { kind: ComponentExternalKind::Component, name, .. } => {
            format!("a component `{name}`")
        }
        ComponentAlias::CoreInstanceExport { kind: ExternalKind::Tag, name, .. } => {
            format!("an exception tag `{name}`")
        }
        ComponentAlias::Outer { kind: Outer::CoreModule | Outer::Component, .. } => "an outer module".to_owned(),
        _ => return Ok(()),
    };
    Err(format!("it takes {what} from elsewhere, which a snapshot could not reach; link it statically"))
}

fn check_canonical(function: &CanonicalFunction) -> Result<(), String> {
    match function {
        CanonicalFunction::Lift { .. } | CanonicalFunction::Lower { .. } => Ok(()),
        CanonicalFunction::ResourceNew { .. }
        | CanonicalFunction::ResourceDrop { .. }
        | CanonicalFunction::ResourceRep { .. } => Err(resource("handles resources")),
        other => {
            let name = format!("{other:?}");
            let name = name.split([' ', '(', '{']).next().unwrap_or_default();
            Err(format!(
                "it uses the canonical function `{name}`, which plugins cannot; build it without async and threads"
            ))
        }
    }
}

fn resource(what: &str) -> String {
    format!(
        "it {what}, and handles live outside linear memory, so a restored instance would not have them; use plain functions"
    )
}

/// Compares the types of imports and exports with the contract's.
fn check_types(component: &[u8], interfaces: Interfaces) -> Result<(), String> {
    let name = match (interfaces.migration, interfaces.query) {
        (false, false) => "plain",
        (true, false) => "migrating",
        (false, true) => "queryable",
        (true, true) => "full",
    };
    let mut resolve = Resolve::default();
    let package = resolve.push_str("tidegate.wit", WIT).expect("the contract parses, a test compiles it");
    let world = resolve.select_world(&[package], Some(name)).expect("the contract has the world");
    wit_component::targets(&resolve, world, component).map_err(|error| {
        let explanation = format!("{error:#}");
        format!(
            "its types are not those of world `{name}` of `{PACKAGE}`: {}; build it against this tidegate's \
             `tidegate.wit`",
            cut(&explanation, EXPLANATION_BYTES_MAX),
        )
    })
}
