//! `tidegate plugin`: build a Rust plugin to a checked component, and check any artifact.
//!
//! Both run the same check as a job's start does, and print what the plugin says of itself. Next room: `toolchain`, which
//! finds a compiler for WebAssembly.

mod cargo;
mod toolchain;

use super::{plugin_cache, say};
use crate::columns::ColumnKind;
use crate::plugin::{Description, Engine, Plugin, PluginError, Port, to_component};
use bytesize::ByteSize;
use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use toolchain::Choice;

/// What `tidegate plugin build` takes.
#[derive(Debug, clap::Args)]
pub struct BuildArguments {
    /// The plugin's folder, with its Cargo.toml
    pub folder: PathBuf,
    /// Where the component goes [default: `plugins/<crate>.wasm` in the workspace's target folder]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// The configuration for which the plugin is asked to describe itself
    #[arg(long, value_name = "JSON")]
    pub config: Option<String>,
    /// Which compiler is used
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    pub toolchain: Choice,
}

/// What `tidegate plugin check` takes.
#[derive(Debug, clap::Args)]
pub struct CheckArguments {
    /// The artifact
    pub artifact: PathBuf,
    /// The configuration for which the plugin is asked to describe itself
    #[arg(long, value_name = "JSON")]
    pub config: Option<String>,
}

/// Why a plugin was not built or an artifact not checked.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error("cannot read `{path}`")]
    Read { path: String, source: std::io::Error },
    #[error("cannot write `{path}`; name another place with `--out`")]
    Write { path: String, source: std::io::Error },
    #[error("`--config` is not a JSON object: {0}")]
    Config(String),
    #[error(transparent)]
    Plugin(#[from] PluginError),
}

/// Builds a Rust plugin's folder to a component, checks it and prints what it is. Nothing that does not pass is written.
///
/// # Errors
///
/// Says what is missing to build it, or why the result is not acceptable.
pub fn build(arguments: &BuildArguments) -> Result<(), Box<dyn Error>> {
    let config = config(arguments.config.as_deref())?;
    let package = cargo::find_package(&arguments.folder)?;
    let toolchain = toolchain::find(arguments.toolchain, &package.folder)?;
    let built = cargo::build(&package, &toolchain)?;
    let name = built.display().to_string();
    let core = std::fs::read(&built).map_err(|source| CommandError::Read { path: name.clone(), source })?;
    let component = to_component(&name, &core)?;
    let plugin = load(&name, &component)?;
    let described = describe(&plugin, config.as_deref())?;

    let out = arguments
        .out
        .clone()
        .unwrap_or_else(|| package.target_folder.join("plugins").join(&package.artifact).with_extension("wasm"));
    write(&out, &component).map_err(|source| CommandError::Write { path: out.display().to_string(), source })?;
    say(&report(&out, component.len(), &plugin, &described));
    Ok(())
}

/// Says whether an artifact is acceptable, and prints what it is.
///
/// # Errors
///
/// Says why it is not acceptable, or does not take the configuration.
pub fn check(arguments: &CheckArguments) -> Result<(), Box<dyn Error>> {
    let config = config(arguments.config.as_deref())?;
    let path = arguments.artifact.display().to_string();
    let bytes =
        std::fs::read(&arguments.artifact).map_err(|source| CommandError::Read { path: path.clone(), source })?;
    let plugin = load(&path, &bytes)?;
    let described = describe(&plugin, config.as_deref())?;
    say(&report(&arguments.artifact, bytes.len(), &plugin, &described));
    Ok(())
}

fn load(name: &str, bytes: &[u8]) -> Result<Plugin, PluginError> {
    Engine::new(plugin_cache().as_deref())?.load(name, bytes)
}

/// The configuration as canonical JSON, as a job would pass it.
fn config(text: Option<&str>) -> Result<Option<String>, CommandError> {
    let Some(text) = text else { return Ok(None) };
    let invalid = |error: serde_json::Error| CommandError::Config(error.to_string());
    let value: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).map_err(invalid)?;
    serde_json_canonicalizer::to_string(&value).map(Some).map_err(invalid)
}

/// What the plugin says of itself. Without a configuration it may refuse the empty one, which says nothing against it.
fn describe(plugin: &Plugin, config: Option<&str>) -> Result<Result<Description, String>, PluginError> {
    match plugin.describe(config.unwrap_or("{}")) {
        Ok(description) => Ok(Ok(description)),
        Err(PluginError::Configuration { what, .. }) if config.is_none() => Ok(Err(what)),
        Err(error) => Err(error),
    }
}

/// Writes a file so that it is there whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> Result<(), std::io::Error> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::Builder::new().permissions(readable()).tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

/// A temporary file is private by default, an artifact is not; the user's umask still applies.
fn readable() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o666)
}

/// The lines that describe an acceptable artifact.
fn report(path: &Path, size: usize, plugin: &Plugin, described: &Result<Description, String>) -> String {
    let mut text = format!("`{}` is acceptable\n", path.display());
    let mut line = |name: &str, value: &str| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {name:<11} {value}");
    };
    line("size", &ByteSize(size as u64).to_string());
    line("hash", &plugin.hash().0);
    let mut interfaces = vec!["operator"];
    interfaces.extend(plugin.can_migrate().then_some("migration"));
    interfaces.extend(plugin.can_query().then_some("query"));
    line("interfaces", &interfaces.join(", "));
    match described {
        Ok(description) => {
            line("state", &format!("version {}", description.state_version));
            for port in &description.inputs {
                line("input", &input(port));
            }
            for port in &description.outputs {
                line("output", &port.name);
            }
        }
        Err(refusal) => {
            line("ports", "not known without a configuration: try `tidegate plugin check` with `--config JSON`");
            line("", &format!("it says to an empty one: {refusal}"));
        }
    }
    text
}

fn input(port: &Port) -> String {
    if port.columns.is_empty() {
        return format!("{}, wants timestamps only", port.name);
    }
    let columns: Vec<String> = port.columns.iter().map(|spec| format!("{} ({})", spec.name, kind(spec.kind))).collect();
    format!("{}, wants {}", port.name, columns.join(", "))
}

fn kind(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Bytes => "bytes",
        ColumnKind::Int => "int",
        ColumnKind::Float => "float",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_becomes_canonical_and_must_be_an_object() {
        assert_eq!(config(Some(r#"{ "b": 1.0, "a": [] }"#)).unwrap().unwrap(), r#"{"a":[],"b":1}"#);
        assert!(config(None).unwrap().is_none());
        let error = config(Some("7")).unwrap_err().to_string();
        assert!(error.starts_with("`--config` is not a JSON object"), "{error}");
    }

    #[test]
    fn a_written_artifact_replaces_the_old_one_and_its_folder_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/plugin.wasm");
        write(&path, b"old").unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn an_artifact_that_is_none_is_refused_by_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let artifact = folder.path().join("x.wasm");
        std::fs::write(&artifact, "text").unwrap();
        let error = check(&CheckArguments { artifact: artifact.clone(), config: None }).unwrap_err().to_string();
        assert!(error.contains("x.wasm` is not acceptable: it is not a WebAssembly file"), "{error}");
        std::fs::remove_file(&artifact).unwrap();
        let error = check(&CheckArguments { artifact, config: None }).unwrap_err();
        assert!(error.to_string().starts_with("cannot read `"), "{error}");
    }
}
