//! `tidegate plugin`: build and check artifacts. (stub)

use std::error::Error;
use std::path::PathBuf;

/// What `tidegate plugin build` takes.
#[derive(Debug, clap::Args)]
pub struct BuildArguments {
    /// The plugin's folder
    pub folder: PathBuf,
}

/// What `tidegate plugin check` takes.
#[derive(Debug, clap::Args)]
pub struct CheckArguments {
    /// The artifact
    pub artifact: PathBuf,
}

/// Builds a plugin.
pub fn build(arguments: &BuildArguments) -> Result<(), Box<dyn Error>> {
    Err(format!("`{}` cannot be built by this build", arguments.folder.display()).into())
}

/// Checks an artifact.
pub fn check(arguments: &CheckArguments) -> Result<(), Box<dyn Error>> {
    Err(format!("`{}` cannot be checked by this build", arguments.artifact.display()).into())
}
