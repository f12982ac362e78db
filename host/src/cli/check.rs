//! `tidegate check`: everything that can be known about a job before it runs.
//!
//! Reads the job file, loads and describes every plugin, finds every port. Touches neither store nor Kafka. Next rooms:
//! [`crate::config`], [`crate::plugin`].

use super::{plugin_cache, report, say};
use crate::config::model::{Job, SinkKind, SourceKind};
use crate::config::{self, resolve};
use crate::error::{EXIT_DONE, EXIT_FAILED, EXIT_USAGE, OperatorError, PluginProblem};
use crate::kafka::MarkerPlace;
use crate::plugin::{Description, Engine};
use std::collections::HashMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// What `tidegate check` takes.
#[derive(Debug, clap::Args)]
pub struct CheckArguments {
    /// The job file
    pub job: PathBuf,
}

/// Checks a job, prints what was found, and gives the exit code.
pub fn check(arguments: &CheckArguments) -> u8 {
    super::logging::start(super::logging::Format::Text, true);
    super::panics::end_the_process(&arguments.job);
    let job = match config::load(&arguments.job) {
        Ok(job) => job,
        Err(errors) => {
            report(&errors);
            return EXIT_USAGE;
        }
    };
    let descriptions = match describe(&job) {
        Ok(descriptions) => descriptions,
        Err(code) => return code,
    };
    match resolve::resolve(&job, &descriptions) {
        Ok(plan) => {
            say(&summary(&job, plan.edges.len()));
            EXIT_DONE
        }
        Err(errors) => {
            report(&errors);
            EXIT_USAGE
        }
    }
}

/// Asks every plugin what it is; reports each one that cannot be used.
fn describe(job: &Job) -> Result<Vec<Description>, u8> {
    let engine = Engine::new(plugin_cache().as_deref()).map_err(|error| {
        report(&error);
        EXIT_FAILED
    })?;
    // Operators often share an artifact, and compiling is what takes time.
    let mut loaded = HashMap::new();
    let mut descriptions = Vec::with_capacity(job.operators.len());
    for operator in &job.operators {
        let path: &Path = &operator.plugin;
        let described = match loaded.get(path) {
            Some(plugin) => Ok(plugin),
            None => load(&engine, path).map(|plugin| &*loaded.entry(path).or_insert(plugin)),
        }
        .and_then(|plugin| Ok(plugin.describe(&operator.config)?));
        match described {
            Ok(description) => descriptions.push(description),
            Err(cause) => report(&OperatorError::new(job, &operator.name, cause)),
        }
    }
    if descriptions.len() == job.operators.len() { Ok(descriptions) } else { Err(EXIT_FAILED) }
}

fn load(engine: &Engine, path: &Path) -> Result<crate::plugin::Plugin, PluginProblem> {
    let bytes = std::fs::read(path).map_err(PluginProblem::Unreadable)?;
    Ok(engine.load(&path.display().to_string(), &bytes)?)
}

/// What the job is, in a few lines.
fn summary(job: &Job, edges: usize) -> String {
    let mut text = format!(
        "job `{}` is right: {} shards on {} workers, {edges} edges, checkpoints every {:?}, state in `{}`\n",
        job.name,
        job.shards,
        job.workers.min(job.shards),
        job.checkpoint.interval,
        job.store.display()
    );
    // Writing to a `String` cannot fail.
    for source in &job.sources {
        let what = match &source.kind {
            SourceKind::File { pattern } => format!("reads `{}`", pattern.display()),
            SourceKind::Kafka { topics, connection, .. } => {
                format!("reads topics `{}` of `{}`", topics.join("`, `"), connection.name)
            }
        };
        let _ = writeln!(text, "  source `{}` {what}", source.name);
    }
    for operator in &job.operators {
        let _ = writeln!(text, "  operator `{}` runs `{}`", operator.name, operator.plugin.display());
    }
    for sink in &job.sinks {
        let what = match &sink.kind {
            SinkKind::File { path } => format!("writes `{}`", path.display()),
            SinkKind::Kafka { topic, connection, .. } => format!("writes topic `{topic}` of `{}`", connection.name),
        };
        let _ = writeln!(text, "  sink `{}` {what}", sink.name);
    }
    let brokers = job.sinks.iter().find_map(|sink| match &sink.kind {
        SinkKind::Kafka { connection, .. } => Some(&connection.brokers),
        SinkKind::File { .. } => None,
    });
    if let Some(brokers) = brokers {
        let command = MarkerPlace::of_job(&job.name).command(brokers);
        let _ =
            writeln!(text, "  the marker topic is made by the first start, or by an administrator with\n    {command}");
    }
    text
}
