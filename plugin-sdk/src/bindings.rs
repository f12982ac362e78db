//! The contract's own types and exports, generated from `wit/`: what the rest of this crate is built on.
//!
//! For the rare component that must return what the SDK would never let it build. Names and shapes are those of
//! `wit/tidegate.wit`, which also documents them. Next room: [`crate::runtime`].
//!
//! ```
//! use tidegate_sdk::bindings::tidegate::plugin::types::BytesColumn;
//!
//! let column = BytesColumn { arena: b"alicebob".to_vec(), ends: vec![5, 8], nulls: vec![] };
//! assert_eq!(column.ends.len(), 2);
//! ```
#![allow(missing_docs, unreachable_pub, rustdoc::all, clippy::all, clippy::pedantic)]
#![allow(clippy::undocumented_unsafe_blocks, clippy::multiple_unsafe_ops_per_block, rust_2018_idioms)]

wit_bindgen::generate!({
    path: "../wit",
    world: "plain",
    pub_export_macro: true,
    additional_derives: [PartialEq],
});
