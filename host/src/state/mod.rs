//! State: what instances keep, how it is found, written and read back. `store` is the only door to redb.
//!
//! A [`tracker`] finds the pages that changed, a [`snapshot`] holds them, `format` says how they look on disk, the
//! [`store`] keeps them in one file a job and gives them back as an image. Nothing here knows Kafka or Wasm.

mod damage;
mod error;
mod format;
mod image;
pub mod inspect;
pub mod snapshot;
pub mod store;
pub mod tracker;

pub use damage::of_panic;
pub use error::{FailureClass, StoreError};
