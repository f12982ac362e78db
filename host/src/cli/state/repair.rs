//! `tidegate state repair JOB`: says what stops a job and what may be done, asks for the words, and has it done.
//!
//! Without `--do` it only looks. It never goes on without the words of the choice: typed, or given with `--yes` by a script.
//! Next room: [`crate::repair`], which knows what may be done.

use crate::cli::{logging, panics, report, say};
use crate::config::{self, model::Job};
use crate::error::{EXIT_DONE, EXIT_FAILED, EXIT_STOP, EXIT_USAGE, JobError};
use crate::repair::{Choice, Diagnosis, Given, Repair};
use std::fmt::Write;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

/// What `tidegate state repair` takes.
#[derive(Debug, clap::Args)]
pub struct RepairArguments {
    /// The job file
    pub job: PathBuf,
    /// Do what is printed under this name; without it nothing is changed
    #[arg(long = "do", value_name = "NAME")]
    pub choice: Option<String>,
    /// The words that the choice asks for, for scripts; without it they are read from standard input
    #[arg(long, value_name = "WORDS")]
    pub yes: Option<String>,
    /// Where a split goes on, like `payments[3]=1700` or `/data/payments.jsonl=0`; may be repeated
    #[arg(long = "at", value_name = "SPLIT=OFFSET", value_parser = given)]
    pub at: Vec<Given>,
}

fn given(text: &str) -> Result<Given, String> {
    let wanted = || "wanted `SPLIT=OFFSET`, like `payments[3]=1700`".to_owned();
    let (split, offset) = text.rsplit_once('=').ok_or_else(wanted)?;
    Ok(Given { split: split.to_owned(), offset: offset.parse().map_err(|_| wanted())? })
}

/// Looks, and does what is chosen. Gives the exit code: 0 when nothing stops the job or a choice was carried out, 78 when
/// something stops it and nothing was done.
pub fn repair(arguments: &RepairArguments) -> u8 {
    logging::start(logging::Format::Text, true);
    panics::end_the_process(&arguments.job);
    let job = match config::load(&arguments.job) {
        Ok(job) => job,
        Err(errors) => {
            report(&errors);
            return EXIT_USAGE;
        }
    };
    repair_job(&job, arguments).unwrap_or_else(|error| {
        report(&error);
        error.exit_code()
    })
}

fn repair_job(job: &Job, arguments: &RepairArguments) -> Result<u8, JobError> {
    let mut repair = Repair::open(job)?;
    let diagnosis = repair.diagnose(&arguments.at)?;
    let Some(name) = &arguments.choice else {
        say(&text(&diagnosis, &arguments.job));
        return Ok(if diagnosis.found.is_empty() { EXIT_DONE } else { EXIT_STOP });
    };
    let Some(choice) = diagnosis.choices.iter().find(|choice| choice.name == *name) else {
        say(&text(&diagnosis, &arguments.job));
        report(&Refused(format!("`--do {name}`: there is no such choice now; nothing was changed")));
        return Ok(EXIT_USAGE);
    };
    say(&choice_text(choice));
    if !is_agreed(choice, arguments.yes.as_deref()) {
        report(&Refused(format!("these were not the words `{}`; nothing was changed", choice.words)));
        return Ok(EXIT_FAILED);
    }
    for line in repair.carry_out(choice)? {
        say(&format!("done: {line}\n"));
    }
    say("Look again before the next start: run the same command without `--do`.\n");
    Ok(EXIT_DONE)
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

/// Whether the words were given or are typed now.
fn is_agreed(choice: &Choice, given: Option<&str>) -> bool {
    if let Some(given) = given {
        return given.trim() == choice.words;
    }
    say(&format!("Type `{}` to have it done: ", choice.words));
    // Without a line break the prompt would wait in the buffer.
    let _ = io::Write::flush(&mut io::stdout());
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).is_ok() && line.trim() == choice.words
}

/// What was found and what may be done, as a person reads it.
fn text(diagnosis: &Diagnosis, job: &Path) -> String {
    let mut out = String::new();
    // Writing to a `String` cannot fail.
    for line in &diagnosis.known {
        let _ = writeln!(out, "{line}");
    }
    if diagnosis.found.is_empty() {
        out.push_str("nothing stops the job that a repair could mend; start it\n");
        return out;
    }
    for finding in &diagnosis.found {
        let _ = writeln!(out, "stop {}: {}", finding.stop.code(), finding.what);
    }
    if diagnosis.choices.is_empty() {
        out.push_str("nothing is to be done here now\n");
    }
    for choice in &diagnosis.choices {
        let _ = write!(out, "\n{}", choice_text(choice));
        let _ =
            writeln!(out, "  tidegate state repair {} --do {} --yes \"{}\"", job.display(), choice.name, choice.words);
    }
    out.push_str("\nNothing was changed. The store is copied before a choice is carried out.\n");
    out
}

fn choice_text(choice: &Choice) -> String {
    let mut out = format!("{}\n", choice.name);
    for step in &choice.steps {
        let _ = writeln!(out, "  - {step}");
    }
    if choice.price.is_empty() {
        out.push_str("  loses and doubles nothing\n");
    }
    for price in &choice.price {
        let _ = writeln!(out, "  ! {price}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::given;
    use crate::repair::Given;

    #[test]
    fn a_split_and_its_offset_are_read() {
        let read = |text| given(text).map(|Given { split, offset }| (split, offset));
        assert_eq!(read("payments[3]=1700"), Ok(("payments[3]".to_owned(), 1700)));
        assert_eq!(read("/a=b/c.jsonl=0"), Ok(("/a=b/c.jsonl".to_owned(), 0)));
        for wrong in ["payments", "payments=", "payments=-1", "payments=many"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
