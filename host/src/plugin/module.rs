//! The load-time check of one core module: no state in tables, dropped segments or globals that a snapshot cannot hold.
//!
//! Reads code, runs nothing. Next room: `accessors`, which makes the globals that pass reachable.

use super::contract::{broken, top_level};
use wasmparser::{KnownCustom, Name, Operator, Payload, TypeRef, ValType};

/// Checks the module with this number in its component.
pub(super) fn check(number: u32, module: &[u8]) -> Result<(), String> {
    let mut functions = 0_u32;
    for payload in top_level(module) {
        match payload.map_err(broken)? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    if let TypeRef::Func(_) | TypeRef::FuncExact(_) = import.map_err(broken)?.ty {
                        functions += 1;
                    }
                }
            }
            Payload::GlobalSection(section) => {
                for (index, global) in section.into_iter().enumerate() {
                    let kind = global.map_err(broken)?.ty;
                    if kind.mutable && !is_number(kind.content_type) {
                        return Err(format!(
                            "its core module {number} keeps state in a mutable global of type `{}` (defined global {index}), \
                             which a snapshot cannot hold; keep it in memory",
                            kind.content_type,
                        ));
                    }
                }
            }
            Payload::CodeSectionEntry(body) => {
                for operator in body.get_operators_reader().map_err(broken)? {
                    if let Some(what) = refused(&operator.map_err(broken)?) {
                        let name = function_name(module, functions);
                        return Err(format!(
                            "its core module {number} {what} in function {name}, which a snapshot does not hold; link it \
                             statically, without `dlopen` or passive segments"
                        ));
                    }
                }
                functions += 1;
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_number(kind: ValType) -> bool {
    matches!(kind, ValType::I32 | ValType::I64 | ValType::F32 | ValType::F64)
}

/// What an instruction does that a restored instance would not have. Element segments fill tables at instantiation, and
/// so do they again at a restore: only code can make a difference.
fn refused(operator: &Operator<'_>) -> Option<&'static str> {
    match operator {
        Operator::TableSet { .. } => Some("changes a table (`table.set`)"),
        Operator::TableGrow { .. } => Some("changes a table (`table.grow`)"),
        Operator::TableFill { .. } => Some("changes a table (`table.fill`)"),
        Operator::TableCopy { .. } => Some("changes a table (`table.copy`)"),
        Operator::TableInit { .. } => Some("changes a table (`table.init`)"),
        Operator::ElemDrop { .. } => Some("drops a segment (`elem.drop`)"),
        Operator::DataDrop { .. } => Some("drops a segment (`data.drop`)"),
        _ => None,
    }
}

/// The function's name from the name section, or its number.
fn function_name(module: &[u8], function: u32) -> String {
    let found = top_level(module).flatten().find_map(|payload| {
        let Payload::CustomSection(section) = payload else { return None };
        let KnownCustom::Name(names) = section.as_known() else { return None };
        names.into_iter().flatten().find_map(|subsection| {
            let Name::Function(map) = subsection else { return None };
            map.into_iter().flatten().find(|naming| naming.index == function).map(|naming| naming.name.to_owned())
        })
    });
    found.map_or_else(|| function.to_string(), |name| format!("`{name}`"))
}
