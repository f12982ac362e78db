//! `tidegate state`: a person's look into a store. (stub)

use std::error::Error;
use std::path::PathBuf;

/// What `tidegate state inspect` takes.
#[derive(Debug, clap::Args)]
pub struct InspectArguments {
    /// The store's file
    pub store: PathBuf,
}

/// Prints what is in a store.
pub fn inspect(arguments: &InspectArguments) -> Result<(), Box<dyn Error>> {
    Err(format!("`{}` cannot be inspected by this build", arguments.store.display()).into())
}
