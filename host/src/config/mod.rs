//! Job files: text to checked values. Nothing else reads TOML. (stub)

pub mod model;
