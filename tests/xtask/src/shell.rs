//! Runs programs: to the end, with a time limit, or only to see whether they are there.
//!
//! Every program of set-up and build goes through here, so that each failure names its command line. The host under
//! measurement does not: see `host_process`.

use crate::failure::{Doing, Failure, Outcome};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How often a program with a time limit is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Runs a program to its end, with its output on ours.
///
/// # Errors
/// If it cannot be started or does not end with success.
pub fn run(command: &mut Command) -> Outcome<()> {
    let status = command.status().map_err(|error| not_started(command, &error))?;
    success(command, status)
}

/// Runs a program with its output on ours and kills it when the limit has passed.
///
/// # Errors
/// Those of [`run`], and the limit.
pub fn run_within(command: &mut Command, limit: Duration) -> Outcome<()> {
    let mut child = command.stdin(Stdio::null()).spawn().map_err(|error| not_started(command, &error))?;
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().doing("wait for a program")? {
            return success(command, status);
        }
        if Instant::now() >= deadline {
            child.kill().doing("end a program")?;
            child.wait().doing("wait for a program")?;
            let outcome = format!("did not end within {} s", limit.as_secs());
            return Err(Failure::Program { command: line(command), outcome });
        }
        thread::sleep(POLL);
    }
}

/// Runs a program silently and gives back what it printed on both outputs; `None` if it is not there or fails.
pub fn ask(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    if !output.status.success() {
        return None;
    }
    Some(String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
}

/// The command line, as a person would type it.
pub fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The cargo that runs us, to be called again.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(crate::places::root());
    command
}

fn not_started(command: &Command, error: &std::io::Error) -> Failure {
    Failure::Program { command: line(command), outcome: format!("cannot be started: {error}") }
}

fn success(command: &Command, status: ExitStatus) -> Outcome<()> {
    if status.success() {
        return Ok(());
    }
    Err(Failure::Program { command: line(command), outcome: format!("ended with {status}") })
}

#[cfg(test)]
mod tests {
    use super::{ask, run_within};
    use std::process::Command;
    use std::time::{Duration, Instant};

    #[test]
    fn a_program_that_hangs_is_ended_at_its_limit() {
        let began = Instant::now();
        let error = run_within(Command::new("sleep").arg("60"), Duration::from_secs(1)).unwrap_err();
        assert_eq!(error.to_string(), "`sleep 60` did not end within 1 s");
        assert!(began.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_failure_names_its_command_line() {
        let error = run_within(&mut Command::new("false"), Duration::from_mins(1)).unwrap_err();
        assert!(error.to_string().starts_with("`false` ended with"), "{error}");
    }

    #[test]
    fn a_program_that_is_not_there_has_no_answer() {
        assert_eq!(ask("no-such-program-here", &[]), None);
        assert_eq!(ask("echo", &["here"]).as_deref(), Some("here\n"));
    }
}
