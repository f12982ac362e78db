//! The contract as Rust types, generated from `wit/tidegate.wit` by wasmtime.
//!
//! Parameters borrow, so a batch is copied once, from the host's columns into linear memory; results are owned.

#![allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "generated code")]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "full",
    ownership: Borrowing { duplicate_if_necessary: true },
});
