//! The command line: parse, call, print. It decides nothing about a job; it turns outcomes into text and exit codes.
//!
//! Next rooms: [`run`] (a job in the foreground), [`check`] (what can be known before), [`state`] and [`plugin`].

pub mod check;
pub mod logging;
pub mod meter;
pub mod panics;
pub mod plugin;
pub mod progress;
pub mod run;
pub mod signals;
pub mod state;

use crate::error::{EXIT_DONE, EXIT_FAILED, EXIT_USAGE};
use crate::printable::printable_lines;
use clap::{Parser, Subcommand};
use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

const EXIT_CODES: &str = "\
Exit codes:
  0    the job ended or was stopped with a last checkpoint; nothing was found to be wrong
  1    failed for a reason that a new start does not mend: a bad record, a plugin's error
  2    the command line or the job file is wrong
  75   a new start may help: it recovers from the last checkpoint
  78   a person must look: a new start would meet the same conflict
  130  interrupted at once, by a second signal; the next start recovers from the last checkpoint

Environment:
  TIDEGATE_LOG    which log events are shown, like `info` or `tidegate=debug`
  TIDEGATE_CACHE  where compiled plugins are kept; default: `tidegate` in the user's cache folder";

/// Exactly-once stream processing with WebAssembly operators.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a job in the foreground; Ctrl-C takes a last checkpoint and ends, a second one ends at once
    #[command(after_help = EXIT_CODES)]
    Run(run::RunArguments),
    /// Say what is wrong with a job, as far as that can be known without running it
    #[command(after_help = EXIT_CODES)]
    Check(check::CheckArguments),
    /// Look into a job's store, and mend what stops the job
    #[command(subcommand)]
    State(StateCommand),
    /// Make and check plugins
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Print the reference of the job file
    #[command(hide = true)]
    Reference,
}

#[derive(Debug, Subcommand)]
enum StateCommand {
    /// Print what is in a store: checkpoints, operators, shards, sizes
    Inspect(state::InspectArguments),
    /// Say what stops a job and what may be done about it; with `--do`, do it
    #[command(after_help = EXIT_CODES)]
    Repair(state::RepairArguments),
}

#[derive(Debug, Subcommand)]
enum PluginCommand {
    /// Build a Rust plugin's folder to a checked component
    Build(plugin::BuildArguments),
    /// Say whether an artifact is acceptable, and why not
    Check(plugin::CheckArguments),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version arrive here too, and are no failure. A closed pipe leaves nobody to tell.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { EXIT_USAGE } else { EXIT_DONE });
        }
    };
    let code = match arguments.command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Check(arguments) => check::check(&arguments),
        Command::State(StateCommand::Inspect(arguments)) => code_of(state::inspect(&arguments)),
        Command::State(StateCommand::Repair(arguments)) => state::repair(&arguments),
        Command::Plugin(PluginCommand::Build(arguments)) => code_of(plugin::build(&arguments)),
        Command::Plugin(PluginCommand::Check(arguments)) => code_of(plugin::check(&arguments)),
        Command::Reference => {
            say(&crate::config::reference());
            EXIT_DONE
        }
    };
    ExitCode::from(code)
}

fn code_of(outcome: Result<(), Box<dyn Error>>) -> u8 {
    match outcome {
        Ok(()) => EXIT_DONE,
        Err(error) => {
            report(error.as_ref());
            EXIT_FAILED
        }
    }
}

/// Prints an error with its causes, each on its line, on standard error; as one log event if the log is JSON.
pub fn report(error: &dyn Error) {
    let mut causes = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    if logging::is_json() {
        tracing::error!(because = causes.join("; "), "{error}");
        return;
    }
    let mut text = format!("error: {error}");
    for cause in causes {
        text.push_str("\n  because: ");
        text.push_str(&cause);
    }
    logging::above_progress(|| {
        // Standard error may be gone; the exit code still says it.
        let _ = writeln!(std::io::stderr(), "{}", printable_lines(&text));
    });
}

/// Prints a result on standard output. A reader that went away is no failure.
fn say(text: &str) {
    let _ = write!(std::io::stdout(), "{}", printable_lines(text));
}

/// Where compiled plugins are kept: a private folder of the user's; `None`: there is no such place.
fn plugin_cache() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder("TIDEGATE_CACHE")
        .or_else(|| folder("XDG_CACHE_HOME").map(|cache| cache.join("tidegate")))
        .or_else(|| folder("HOME").map(|home| home.join(".cache").join("tidegate")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn options_of_run_are_read() {
        let line = ["tidegate", "run", "job.toml", "--fresh", "a", "--fresh", "b", "--log", "json", "--quiet"];
        let arguments = Arguments::try_parse_from(line).expect("the line is right");
        let Command::Run(run) = arguments.command else { panic!("the command is `run`") };
        assert_eq!(
            (run.fresh, run.log, run.quiet),
            (vec!["a".to_owned(), "b".to_owned()], logging::Format::Json, true)
        );
    }
}
