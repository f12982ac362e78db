//! Reads and sets an instance's mutable globals, and grows its memories, through the accessors.
//!
//! Next room: `accessors`, which adds them to the artifact.

use super::accessors::{GET_GLOBAL, GROW_MEMORY, GlobalKind, INSTANCE, Layout, SET_GLOBAL};
use crate::state::snapshot::GlobalValue;
use wasmtime::component::{ComponentExportIndex, Instance, InstancePre, TypedFunc};
use wasmtime::{AsContextMut, format_err};

/// The size of a Wasm page, in bytes.
const WASM_PAGE_BYTES: u64 = 64 * 1024;

/// Where the accessors stand in a component: looked up once.
#[derive(Clone)]
pub(super) struct AccessorIndices {
    get: ComponentExportIndex,
    set: ComponentExportIndex,
    grow: ComponentExportIndex,
}

/// One instance's accessors.
pub(super) struct Accessors {
    get: TypedFunc<(u32,), (u64,)>,
    set: TypedFunc<(u32, u64), ()>,
    grow: TypedFunc<(u32, u32), (u32,)>,
}

impl AccessorIndices {
    pub(super) fn new<T>(pre: &InstancePre<T>) -> wasmtime::Result<AccessorIndices> {
        let component = pre.component();
        let instance = component.get_export_index(None, INSTANCE).ok_or_else(|| format_err!("no accessors"))?;
        let find = |name: &str| {
            component.get_export_index(Some(&instance), name).ok_or_else(|| format_err!("no accessor `{name}`"))
        };
        Ok(AccessorIndices { get: find(GET_GLOBAL)?, set: find(SET_GLOBAL)?, grow: find(GROW_MEMORY)? })
    }

    pub(super) fn load(&self, mut store: impl AsContextMut, instance: &Instance) -> wasmtime::Result<Accessors> {
        Ok(Accessors {
            get: instance.get_typed_func(&mut store, self.get)?,
            set: instance.get_typed_func(&mut store, self.set)?,
            grow: instance.get_typed_func(&mut store, self.grow)?,
        })
    }
}

impl Accessors {
    /// All mutable globals, in the layout's order.
    pub(super) fn read(&self, mut store: impl AsContextMut, layout: &Layout) -> wasmtime::Result<Vec<GlobalValue>> {
        let mut values = Vec::with_capacity(layout.globals.len());
        for (index, kind) in (0_u32..).zip(&layout.globals) {
            let (bits,) = self.get.call(&mut store, (index,))?;
            values.push(match kind {
                GlobalKind::I32 => GlobalValue::I32(bits as u32 as i32),
                GlobalKind::I64 => GlobalValue::I64(bits as i64),
                GlobalKind::F32 => GlobalValue::F32(bits as u32),
                GlobalKind::F64 => GlobalValue::F64(bits),
            });
        }
        Ok(values)
    }

    /// Sets all mutable globals. The values must be those of the same layout.
    pub(super) fn write(
        &self,
        mut store: impl AsContextMut,
        layout: &Layout,
        values: &[GlobalValue],
    ) -> wasmtime::Result<()> {
        if values.len() != layout.globals.len() {
            return Err(format_err!("the image has {} globals, the plugin {}", values.len(), layout.globals.len()));
        }
        for (index, (kind, value)) in (0_u32..).zip(layout.globals.iter().zip(values)) {
            let bits = match (kind, value) {
                (GlobalKind::I32, GlobalValue::I32(value)) => u64::from(*value as u32),
                (GlobalKind::I64, GlobalValue::I64(value)) => *value as u64,
                (GlobalKind::F32, GlobalValue::F32(bits)) => u64::from(*bits),
                (GlobalKind::F64, GlobalValue::F64(bits)) => *bits,
                _ => return Err(format_err!("global {index} of the image is {value:?}, the plugin's is {kind:?}")),
            };
            self.set.call(&mut store, (index, bits))?;
        }
        Ok(())
    }

    /// Grows a memory from one size to another, in bytes. The guest's own `memory.grow`, so limits hold.
    pub(super) fn grow(&self, store: impl AsContextMut, memory: usize, from: u64, to: u64) -> wasmtime::Result<()> {
        if to < from || !to.is_multiple_of(WASM_PAGE_BYTES) {
            return Err(format_err!("memory {memory} has {from} bytes at start, the image {to}"));
        }
        let pages = u32::try_from((to - from) / WASM_PAGE_BYTES)?;
        let (old,) = self.grow.call(store, (u32::try_from(memory)?, pages))?;
        if old == u32::MAX {
            return Err(format_err!("memory {memory} cannot grow from {from} to the image's {to} bytes"));
        }
        Ok(())
    }
}
