//! Adds to a component what the host needs to read and set its mutable globals and to grow its memories.
//!
//! A component gives no access to its core instances. So every core module exports its own mutable globals and memories
//! too, and one more core module imports them all and is lifted as an exported instance with three functions:
//!
//! ```text
//! get-global:  func(index: u32) -> u64               the bits, zero-extended
//! set-global:  func(index: u32, bits: u64)
//! grow-memory: func(index: u32, pages: u32) -> u32   memory.grow's result: the old size, or 0xffff_ffff
//! ```
//!
//! The author is never asked for any of it. It relies on the check in `contract`. Next room: `globals`, which calls them.

use super::contract::{broken, top_level};
use std::ops::Range;
use wasm_encoder as enc;
use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasmparser::{
    CanonicalFunction, ComponentAlias, ComponentExternalKind, ComponentOuterAliasKind, ExternalKind, Instance,
    MemoryType, Payload, TypeRef, ValType,
};

/// The exported instance with the accessors.
pub(super) const INSTANCE: &str = "tidegate:host/accessors";
/// Reads a global.
pub(super) const GET_GLOBAL: &str = "get-global";
/// Writes a global.
pub(super) const SET_GLOBAL: &str = "set-global";
/// Grows a memory.
pub(super) const GROW_MEMORY: &str = "grow-memory";

/// The type of a mutable global.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GlobalKind {
    I32,
    I64,
    F32,
    F64,
}

/// What the accessors reach, in their order: core instances as they are made, then by index.
#[derive(Debug, Clone, Default)]
pub(super) struct Layout {
    pub(super) globals: Vec<GlobalKind>,
    pub(super) memories: usize,
}

/// Returns the component with the accessors, and what they reach.
pub(super) fn add(component: &[u8]) -> Result<(Vec<u8>, Layout), String> {
    let mut output = enc::Component::new();
    let mut indices = Indices::default();
    let mut modules = Vec::new();
    let mut order = Vec::new();
    for payload in top_level(component) {
        let payload = payload.map_err(broken)?;
        if let Payload::ModuleSection { unchecked_range, .. } = &payload {
            let (module, found) = open_up(&component[unchecked_range.clone()])?;
            output.section(&enc::RawSection { id: enc::ComponentSectionId::CoreModule as u8, data: &module });
            modules.push(found);
        } else if let Some((id, Range { start, end })) = payload.as_section() {
            output.section(&enc::RawSection { id, data: &component[start..end] });
        }
        indices.advance(payload, &mut order)?;
    }
    let mut targets = Targets::default();
    for (module, instance) in order {
        let found = modules.get(module as usize).ok_or("a core module that does not exist is instantiated")?;
        targets.globals.extend(found.globals.iter().map(|(index, kind)| (instance, *index, *kind)));
        targets.memories.extend(found.memories.iter().map(|(index, kind)| (instance, *index, *kind)));
    }
    append(&mut output, &indices, modules.len(), &targets)?;
    let layout = Layout {
        globals: targets.globals.iter().map(|(_, _, kind)| kind.kind()).collect::<Result<_, _>>()?,
        memories: targets.memories.len(),
    };
    Ok((output.finish(), layout))
}

/// A defined mutable global or memory of a core instance: `(core instance, index in its module, type)`.
#[derive(Default)]
struct Targets {
    globals: Vec<(u32, u32, ValType)>,
    memories: Vec<(u32, u32, MemoryType)>,
}

trait Kind {
    fn kind(self) -> Result<GlobalKind, String>;
}

impl Kind for ValType {
    fn kind(self) -> Result<GlobalKind, String> {
        match self {
            ValType::I32 => Ok(GlobalKind::I32),
            ValType::I64 => Ok(GlobalKind::I64),
            ValType::F32 => Ok(GlobalKind::F32),
            ValType::F64 => Ok(GlobalKind::F64),
            other => Err(format!("a mutable global has type `{other}`")),
        }
    }
}

/// What one core module defines.
#[derive(Default)]
struct Defined {
    globals: Vec<(u32, ValType)>,
    memories: Vec<(u32, MemoryType)>,
}

fn global_name(index: u32) -> String {
    format!("tidegate:global:{index}")
}

fn memory_name(index: u32) -> String {
    format!("tidegate:memory:{index}")
}

/// Copies a core module with exports for its mutable globals and memories.
fn open_up(module: &[u8]) -> Result<(Vec<u8>, Defined), String> {
    let (mut globals, mut memories) = (0, 0);
    let mut defined = Defined::default();
    let mut output = enc::Module::new();
    let mut exported = false;
    for payload in top_level(module) {
        let payload = payload.map_err(broken)?;
        match &payload {
            Payload::ImportSection(section) => {
                for import in section.clone().into_imports() {
                    match import.map_err(broken)?.ty {
                        TypeRef::Global(_) => globals += 1,
                        TypeRef::Memory(_) => memories += 1,
                        _ => {}
                    }
                }
            }
            Payload::MemorySection(section) => {
                for memory in section.clone() {
                    defined.memories.push((memories, memory.map_err(broken)?));
                    memories += 1;
                }
            }
            Payload::GlobalSection(section) => {
                for global in section.clone() {
                    let kind = global.map_err(broken)?.ty;
                    if kind.mutable {
                        defined.globals.push((globals, kind.content_type));
                    }
                    globals += 1;
                }
            }
            _ => {}
        }
        if let Payload::ExportSection(section) = payload {
            output.section(&exports(Some(section), &defined)?);
            exported = true;
        } else if let Some((id, range)) = payload.as_section() {
            if !exported && comes_after_exports(id) {
                output.section(&exports(None, &defined)?);
                exported = true;
            }
            output.section(&enc::RawSection { id, data: &module[range] });
        }
    }
    if !exported {
        output.section(&exports(None, &defined)?);
    }
    Ok((output.finish(), defined))
}

/// Custom sections may stand anywhere, the others have a fixed order, in which not the numbers count.
fn comes_after_exports(id: u8) -> bool {
    [
        enc::SectionId::Start,
        enc::SectionId::Element,
        enc::SectionId::DataCount,
        enc::SectionId::Code,
        enc::SectionId::Data,
    ]
    .into_iter()
    .any(|section| section as u8 == id)
}

fn exports(own: Option<wasmparser::ExportSectionReader<'_>>, defined: &Defined) -> Result<enc::ExportSection, String> {
    let mut section = enc::ExportSection::new();
    if let Some(own) = own {
        RoundtripReencoder.parse_export_section(&mut section, own).map_err(|error| error.to_string())?;
    }
    for (index, _) in &defined.globals {
        section.export(&global_name(*index), enc::ExportKind::Global, *index);
    }
    for (index, _) in &defined.memories {
        section.export(&memory_name(*index), enc::ExportKind::Memory, *index);
    }
    Ok(section)
}

/// How many entries the component's index spaces have so far.
#[derive(Default)]
struct Indices {
    core_instances: u32,
    core_functions: u32,
    types: u32,
    functions: u32,
    instances: u32,
}

impl Indices {
    /// Counts what a section defines. `order` gets `(module, core instance)` for each instantiation.
    fn advance(&mut self, payload: Payload<'_>, order: &mut Vec<(u32, u32)>) -> Result<(), String> {
        match payload {
            Payload::InstanceSection(section) => {
                for instance in section {
                    if let Instance::Instantiate { module_index, .. } = instance.map_err(broken)? {
                        order.push((module_index, self.core_instances));
                    }
                    self.core_instances += 1;
                }
            }
            Payload::ComponentInstanceSection(section) => self.instances += section.count(),
            Payload::ComponentTypeSection(section) => self.types += section.count(),
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    match alias.map_err(broken)? {
                        ComponentAlias::CoreInstanceExport { kind: ExternalKind::Func, .. } => self.core_functions += 1,
                        ComponentAlias::InstanceExport { kind, .. } => self.count(kind),
                        ComponentAlias::Outer { kind: ComponentOuterAliasKind::Type, .. } => self.types += 1,
                        _ => {}
                    }
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section {
                    match function.map_err(broken)? {
                        CanonicalFunction::Lift { .. } => self.functions += 1,
                        _ => self.core_functions += 1,
                    }
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section {
                    self.count(import.map_err(broken)?.ty.kind());
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    self.count(export.map_err(broken)?.kind);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn count(&mut self, kind: ComponentExternalKind) {
        match kind {
            ComponentExternalKind::Func => self.functions += 1,
            ComponentExternalKind::Type => self.types += 1,
            ComponentExternalKind::Instance => self.instances += 1,
            _ => {}
        }
    }
}

/// Appends the accessor module, its instance, and the lifted functions.
fn append(output: &mut enc::Component, indices: &Indices, modules: usize, targets: &Targets) -> Result<(), String> {
    use enc::ComponentValType::Primitive;
    use enc::PrimitiveValType::{U32, U64};
    output.section(&enc::ModuleSection(&accessor_module(targets)?));

    let mut used: Vec<u32> = targets.globals.iter().map(|target| target.0).collect();
    used.extend(targets.memories.iter().map(|target| target.0));
    used.sort_unstable();
    used.dedup();
    let names: Vec<String> = used.iter().map(u32::to_string).collect();
    let arguments = names.iter().zip(&used).map(|(name, index)| (name.as_str(), enc::ModuleArg::Instance(*index)));
    let mut instances = enc::InstanceSection::new();
    instances.instantiate(u32::try_from(modules).expect("an artifact has few modules"), arguments);
    output.section(&instances);

    let mut aliases = enc::ComponentAliasSection::new();
    let mut types = enc::ComponentTypeSection::new();
    let mut canonical = enc::CanonicalFunctionSection::new();
    let mut exports = Vec::new();
    let index = ("index", Primitive(U32));
    let signatures = [
        (GET_GLOBAL, vec![index], Some(Primitive(U64))),
        (SET_GLOBAL, vec![index, ("bits", Primitive(U64))], None),
        (GROW_MEMORY, vec![index, ("pages", Primitive(U32))], Some(Primitive(U32))),
    ];
    for (offset, (name, parameters, result)) in (0_u32..).zip(signatures) {
        aliases.alias(enc::Alias::CoreInstanceExport {
            instance: indices.core_instances,
            kind: enc::ExportKind::Func,
            name,
        });
        types.function().params(parameters).result(result);
        canonical.lift(indices.core_functions + offset, indices.types + offset, []);
        exports.push((name, enc::ComponentExportKind::Func, indices.functions + offset));
    }
    output.section(&aliases).section(&types).section(&canonical);

    let mut component_instances = enc::ComponentInstanceSection::new();
    component_instances.export_items(exports);
    output.section(&component_instances);
    let mut component_exports = enc::ComponentExportSection::new();
    component_exports.export(INSTANCE, enc::ComponentExportKind::Instance, indices.instances, None);
    output.section(&component_exports);
    Ok(())
}

/// A core module that imports all targets and has the three functions.
fn accessor_module(targets: &Targets) -> Result<enc::Module, String> {
    use enc::ValType::{I32, I64};
    let mut types = enc::TypeSection::new();
    types.ty().function([I32], [I64]);
    types.ty().function([I32, I64], []);
    types.ty().function([I32, I32], [I32]);

    let mut imports = enc::ImportSection::new();
    for (instance, index, kind) in &targets.memories {
        let kind = RoundtripReencoder.memory_type(*kind).map_err(|error| error.to_string())?;
        imports.import(&instance.to_string(), &memory_name(*index), kind);
    }
    for (instance, index, kind) in &targets.globals {
        let val_type = RoundtripReencoder.val_type(*kind).map_err(|error| error.to_string())?;
        let kind = enc::GlobalType { val_type, mutable: true, shared: false };
        imports.import(&instance.to_string(), &global_name(*index), kind);
    }

    let kinds: Vec<GlobalKind> = targets.globals.iter().map(|target| target.2.kind()).collect::<Result<_, _>>()?;
    let mut functions = enc::FunctionSection::new();
    let mut exports = enc::ExportSection::new();
    let mut code = enc::CodeSection::new();
    let bodies = [
        (GET_GLOBAL, switch(kinds.len(), |body, case| get_global(body, case, kinds[case as usize]))),
        (SET_GLOBAL, switch(kinds.len(), |body, case| set_global(body, case, kinds[case as usize]))),
        (GROW_MEMORY, switch(targets.memories.len(), grow_memory)),
    ];
    for (index, (name, body)) in (0_u32..).zip(bodies) {
        functions.function(index);
        exports.export(name, enc::ExportKind::Func, index);
        code.function(&body);
    }
    let mut module = enc::Module::new();
    module.section(&types).section(&imports).section(&functions).section(&exports).section(&code);
    Ok(module)
}

/// A function that jumps on its first parameter to one of `cases` bodies; another number traps.
fn switch(cases: usize, mut emit: impl FnMut(&mut enc::InstructionSink<'_>, u32)) -> enc::Function {
    let cases = u32::try_from(cases).expect("an artifact has fewer than 4 billion globals");
    let mut function = enc::Function::new([]);
    let mut body = function.instructions();
    for _ in 0..=cases {
        body.block(enc::BlockType::Empty);
    }
    body.local_get(0).br_table(0..cases, cases);
    for case in 0..cases {
        body.end();
        emit(&mut body, case);
        body.return_();
    }
    body.end().unreachable().end();
    function
}

fn get_global(body: &mut enc::InstructionSink<'_>, global: u32, kind: GlobalKind) {
    body.global_get(global);
    match kind {
        GlobalKind::I32 => body.i64_extend_i32_u(),
        GlobalKind::I64 => body,
        GlobalKind::F32 => body.i32_reinterpret_f32().i64_extend_i32_u(),
        GlobalKind::F64 => body.i64_reinterpret_f64(),
    };
}

fn set_global(body: &mut enc::InstructionSink<'_>, global: u32, kind: GlobalKind) {
    body.local_get(1);
    match kind {
        GlobalKind::I32 => body.i32_wrap_i64(),
        GlobalKind::I64 => body,
        GlobalKind::F32 => body.i32_wrap_i64().f32_reinterpret_i32(),
        GlobalKind::F64 => body.f64_reinterpret_i64(),
    };
    body.global_set(global);
}

fn grow_memory(body: &mut enc::InstructionSink<'_>, memory: u32) {
    body.local_get(1).memory_grow(memory);
}
