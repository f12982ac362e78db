//! The Wasm features that plugins may use, and a clear word for those that they may not.
//!
//! Excluded is what has state that a snapshot does not hold (garbage collection, exceptions in flight, other threads), what
//! may differ between two runs, and what the contract does not need. Next room: `module`.

use wasmparser::{Validator, WasmFeatures};

/// What plugins may use. The engine's configuration allows at least this.
const ALLOWED: WasmFeatures = WasmFeatures::MUTABLE_GLOBAL
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::REFERENCE_TYPES)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::SIMD)
    .union(WasmFeatures::RELAXED_SIMD)
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::FLOATS)
    .union(WasmFeatures::MULTI_MEMORY)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::COMPONENT_MODEL);

/// What they may not, in an author's words.
const REFUSED: [(WasmFeatures, &str); 9] = [
    (WasmFeatures::THREADS, "threads (shared memory or atomics)"),
    (WasmFeatures::MEMORY64, "64-bit memory"),
    (WasmFeatures::GC_TYPES, "references to host values (`externref`)"),
    (WasmFeatures::FUNCTION_REFERENCES.union(WasmFeatures::GC_TYPES), "typed function references"),
    (
        WasmFeatures::GC.union(WasmFeatures::GC_TYPES).union(WasmFeatures::FUNCTION_REFERENCES),
        "garbage-collected (GC) types",
    ),
    (WasmFeatures::EXCEPTIONS.union(WasmFeatures::GC_TYPES), "exceptions"),
    (WasmFeatures::LEGACY_EXCEPTIONS.union(WasmFeatures::GC_TYPES), "legacy exceptions"),
    (WasmFeatures::WIDE_ARITHMETIC, "wide arithmetic"),
    (
        WasmFeatures::CM_ASYNC.union(WasmFeatures::CM_ASYNC_STACKFUL).union(WasmFeatures::CM_MORE_ASYNC_BUILTINS),
        "asynchronous component functions",
    ),
];

/// Validates a component with the allowed features.
pub(super) fn check(component: &[u8]) -> Result<(), String> {
    let Err(error) = Validator::new_with_features(ALLOWED).validate_all(component) else { return Ok(()) };
    let validates = |features| Validator::new_with_features(features).validate_all(component).is_ok();
    for (features, words) in REFUSED {
        if validates(ALLOWED.union(features)) {
            return Err(format!("it uses {words}, which plugins cannot ({error}); build it without"));
        }
    }
    if validates(WasmFeatures::all()) {
        return Err(format!("it uses Wasm features that plugins cannot ({error}); build it without"));
    }
    Err(format!("it is not valid WebAssembly: {error}; build it again"))
}
