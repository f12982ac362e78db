//! `tidegate run`: a job in the foreground, with its log, its progress and its signals.
//!
//! Owns the order of these around [`crate::job::run`]; the job itself knows none of them. Next room: [`crate::job`].

use super::logging::{self, Format};
use super::progress::Progress;
use super::{panics, plugin_cache, report, signals};
use crate::config;
use crate::error::{EXIT_DONE, EXIT_RESTART, EXIT_USAGE};
use crate::job::{self, Ended};
use crate::kafka::transaction::Rotation;
use crate::start::StartOptions;
use crate::status::{Control, Status};
use std::path::PathBuf;
use std::sync::Arc;

/// What `tidegate run` takes.
#[derive(Debug, clap::Args)]
pub struct RunArguments {
    /// The job file
    pub job: PathBuf,
    /// Empty this operator's state and go on at the last positions; may be repeated
    #[arg(long, value_name = "OPERATOR")]
    pub fresh: Vec<String>,
    /// How log events are written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub log: Format,
    /// Only warnings and errors, and no progress
    #[arg(long)]
    pub quiet: bool,
}

/// Runs a job until its end, and gives the exit code.
pub fn run(arguments: &RunArguments) -> u8 {
    logging::start(arguments.log, arguments.quiet);
    panics::end_the_process(&arguments.job);
    let job = match config::load(&arguments.job) {
        Ok(job) => job,
        Err(errors) => {
            report(&errors);
            return EXIT_USAGE;
        }
    };
    if let Some(unknown) = arguments.fresh.iter().find(|name| job.operators.iter().all(|known| known.name != **name)) {
        let names: Vec<&str> = job.operators.iter().map(|operator| operator.name.as_str()).collect();
        let hint = config::nearest::hint(unknown, &names);
        report(&UnknownOperator { name: unknown.clone(), hint });
        return EXIT_USAGE;
    }
    let control = Arc::new(Control::default());
    let status = Arc::new(Status::default());
    if let Err(error) = signals::watch(Arc::clone(&control)) {
        report(&error);
        return EXIT_RESTART;
    }
    let progress = Progress::start(&job.name, Arc::clone(&status), arguments.log, arguments.quiet);
    let options = StartOptions { fresh: arguments.fresh.clone(), cache: plugin_cache(), rotation: rotation() };
    let outcome = job::run(&job, &options, &control, &status);
    progress.finish();
    match outcome {
        Ok(Ended::Finished(checkpoint)) => {
            tracing::info!(checkpoint = checkpoint.0, "the input was read to its end; the job is done");
            EXIT_DONE
        }
        Ok(Ended::Stopped(checkpoint)) => {
            tracing::info!(checkpoint = checkpoint.0, "stopped with a last checkpoint; a new start goes on from it");
            EXIT_DONE
        }
        Err(error) => {
            report(&error);
            if let Some(stop) = error.stop() {
                report(&Stopped { code: stop.code(), job: arguments.job.display().to_string() });
            }
            error.exit_code()
        }
    }
}

/// Whether a doubtful producer is replaced: always, but for a test that shows the damage (`TIDEGATE_ROTATION=never`).
fn rotation() -> Rotation {
    #[cfg(feature = "fail-points")]
    if std::env::var_os("TIDEGATE_ROTATION").is_some_and(|word| word == "never") {
        return Rotation::Never;
    }
    Rotation::default()
}

/// What a person does about a stop.
#[derive(Debug, thiserror::Error)]
#[error(
    "stop `{code}` needs a person: `tidegate state repair {job}` looks, changes nothing, and prints the ways on; \
     host/STOPS.md has a chapter about it"
)]
pub(super) struct Stopped {
    /// The stop's code.
    pub(super) code: &'static str,
    /// The job file.
    pub(super) job: String,
}

/// `--fresh` names something that is not there.
#[derive(Debug, thiserror::Error)]
#[error("`--fresh {name}`: the job has no operator `{name}`; {hint}")]
struct UnknownOperator {
    name: String,
    hint: String,
}
