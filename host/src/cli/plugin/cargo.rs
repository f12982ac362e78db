//! Asks cargo what a folder holds, and has it built.
//!
//! Cargo's own lines go to standard error as they are. Next room: `toolchain`.

use super::toolchain::Toolchain;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The target of every plugin: no operating system, so no WASI.
pub(super) const TARGET: &str = "wasm32-unknown-unknown";

/// A crate that makes a plugin.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Package {
    /// The folder with its manifest.
    pub(super) folder: PathBuf,
    /// Its name in its workspace.
    pub(super) name: String,
    /// The artifact's file name without extension.
    pub(super) artifact: String,
    /// The workspace's target folder.
    pub(super) target_folder: PathBuf,
}

/// Why a folder was not built.
#[derive(Debug, thiserror::Error)]
pub(super) enum CargoError {
    #[error(
        "`{folder}` has no Cargo.toml; name a Rust plugin's folder (check other languages' artifacts with `tidegate plugin check`)"
    )]
    NoManifest { folder: String },
    #[error(
        "cannot run `cargo`; install Rust with rustup, or on Debian run `apt install rustc-web cargo-web rust-web-src lld`"
    )]
    NoCargo(#[source] std::io::Error),
    #[error("cargo cannot read `{manifest}`: {text}")]
    Manifest { manifest: String, text: String },
    #[error("cargo described `{manifest}` in a way that is not understood")]
    Metadata { manifest: String, source: serde_json::Error },
    #[error("`{manifest}` has no package; name the folder of one member of the workspace")]
    NoPackage { manifest: String },
    #[error("`{manifest}` builds no artifact; add `crate-type = [\"cdylib\"]` to its `[lib]`")]
    NoArtifact { manifest: String },
    #[error("cargo did not build `{package}` ({status}); its messages stand above")]
    Build { package: String, status: std::process::ExitStatus },
    #[error("cannot run `{program}`")]
    Run { program: String, source: std::io::Error },
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<MetadataPackage>,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct MetadataPackage {
    name: String,
    manifest_path: PathBuf,
    targets: Vec<MetadataTarget>,
}

#[derive(Deserialize)]
struct MetadataTarget {
    name: String,
    crate_types: Vec<String>,
}

/// Finds the package of a folder.
pub(super) fn find_package(folder: &Path) -> Result<Package, CargoError> {
    let manifest = folder.join("Cargo.toml");
    let manifest =
        manifest.canonicalize().map_err(|_| CargoError::NoManifest { folder: folder.display().to_string() })?;
    let output = Command::new("cargo")
        .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"])
        .arg(&manifest)
        .stdin(Stdio::null())
        .output()
        .map_err(CargoError::NoCargo)?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).trim().trim_start_matches("error: ").to_owned();
        return Err(CargoError::Manifest { manifest: manifest.display().to_string(), text });
    }
    read_metadata(&output.stdout, &manifest)
}

fn read_metadata(json: &[u8], manifest: &Path) -> Result<Package, CargoError> {
    let name = || manifest.display().to_string();
    let metadata: Metadata =
        serde_json::from_slice(json).map_err(|source| CargoError::Metadata { manifest: name(), source })?;
    let package = metadata
        .packages
        .into_iter()
        .find(|package| package.manifest_path == manifest)
        .ok_or_else(|| CargoError::NoPackage { manifest: name() })?;
    let library = package
        .targets
        .iter()
        .find(|target| target.crate_types.iter().any(|kind| kind == "cdylib"))
        .ok_or_else(|| CargoError::NoArtifact { manifest: name() })?;
    Ok(Package {
        folder: manifest.parent().unwrap_or(Path::new("/")).to_owned(),
        artifact: library.name.replace('-', "_"),
        name: package.name,
        target_folder: metadata.target_directory,
    })
}

/// Builds a package and returns the core module's path.
pub(super) fn build(package: &Package, toolchain: &Toolchain) -> Result<PathBuf, CargoError> {
    let (mut command, target_folder) = toolchain.cargo(&package.target_folder);
    command.args(["build", "--release", "--target", TARGET, "--package", &package.name, "--target-dir"]);
    command.arg(&target_folder).current_dir(&package.folder).stdin(Stdio::null());
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().map_err(|source| CargoError::Run { program, source })?;
    if !status.success() {
        return Err(CargoError::Build { package: package.name.clone(), status });
    }
    Ok(target_folder.join(TARGET).join("release").join(&package.artifact).with_extension("wasm"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"packages":[
        {"name":"host","manifest_path":"/w/host/Cargo.toml","targets":[{"name":"host","crate_types":["lib"]}]},
        {"name":"my-plugin","manifest_path":"/w/my/Cargo.toml","targets":[{"name":"my-plugin","crate_types":["cdylib","rlib"]}]}
        ],"target_directory":"/w/target","version":1}"#;

    #[test]
    fn the_package_of_a_folder_is_found_in_its_workspace() {
        let package = read_metadata(JSON.as_bytes(), Path::new("/w/my/Cargo.toml")).unwrap();
        let wanted = Package {
            folder: "/w/my".into(),
            name: "my-plugin".to_owned(),
            artifact: "my_plugin".to_owned(),
            target_folder: "/w/target".into(),
        };
        assert_eq!(package, wanted);
    }

    #[test]
    fn what_makes_no_artifact_is_refused_with_the_way_out() {
        let error = read_metadata(JSON.as_bytes(), Path::new("/w/host/Cargo.toml")).unwrap_err().to_string();
        assert!(error.contains("`crate-type = [\"cdylib\"]`"), "{error}");
        let error = read_metadata(JSON.as_bytes(), Path::new("/w/Cargo.toml")).unwrap_err().to_string();
        assert!(error.contains("has no package"), "{error}");
        assert!(matches!(read_metadata(b"{}", Path::new("/x")), Err(CargoError::Metadata { .. })));
        let folder = tempfile::tempdir().unwrap();
        assert!(find_package(folder.path()).unwrap_err().to_string().contains("has no Cargo.toml"));
    }
}
