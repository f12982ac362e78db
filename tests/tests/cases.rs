//! Runs the case folders under `tests/cases` through the real binary.
//!
//! A case is a folder with a `job.toml` whose first line is a comment that says why the case exists. It is copied to a
//! temporary folder, `tidegate` runs there, and what it says and writes is compared:
//!
//! - `command.txt`: the arguments; without it `run job.toml --quiet` if there is an `expected` folder, else `check job.toml`.
//! - `environment.txt`: environment variables, `NAME=value` a line.
//! - `expected-error.txt`: standard error from the first `error: ` on; paths below the folder are shown as `<case>`.
//! - `expected-exit.txt`: the exit code; without it 2 if an error is expected, else 0.
//! - `expected/FILE`: what `FILE` must hold afterwards, paths as above; its lines are sorted, because shards write in any
//!   order.
//!
//! Plugins are in `plugins/` beside the job. `TIDEGATE_BLESS=1` rewrites what is expected; `TIDEGATE_CASE=text` runs only the
//! cases with that text in their names. Next room: `tests/cases`.

use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Cases that run at once: each is a process of its own, and the machine has other tests to run.
const AT_ONCE: usize = 4;
/// A case that takes longer hangs.
const CASE_MAX: Duration = Duration::from_mins(1);
/// Files of a case that say what is expected, and are not copied.
const EXPECTATIONS: [&str; 5] =
    ["command.txt", "environment.txt", "expected-error.txt", "expected-exit.txt", "expected"];

type Outcome<T> = Result<T, String>;

/// What a process said and how it ended.
struct Ran {
    error: String,
    exit: String,
}

#[test]
fn every_case_says_and_writes_what_is_expected() {
    let cases = cases();
    assert!(!cases.is_empty(), "there are no cases in {}", folder().display());
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(failure) = run_case(case) {
                        let name = case.file_name().unwrap_or_default().display();
                        failures.lock().expect("no thread panics").push(format!("case `{name}`: {failure}"));
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().expect("no thread panics");
    failures.sort();
    assert!(failures.is_empty(), "{} of {} cases:\n\n{}", failures.len(), cases.len(), failures.join("\n\n"));
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
}

fn cases() -> Vec<PathBuf> {
    let wanted = std::env::var("TIDEGATE_CASE").unwrap_or_default();
    let entries = fs::read_dir(folder()).expect("the case folder can be listed");
    let mut cases: Vec<PathBuf> = entries
        .map(|entry| entry.expect("the case folder can be listed").path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains(&wanted)))
        .collect();
    cases.sort();
    cases
}

fn is_blessing() -> bool {
    std::env::var_os("TIDEGATE_BLESS").is_some()
}

/// The release folder: that of this test's own program, one above `deps`.
fn built() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its program");
    test.ancestors().nth(2).expect("a test lies in `deps` of its target folder").to_owned()
}

fn host() -> Outcome<PathBuf> {
    let host = built().join("tidegate");
    if host.is_file() {
        return Ok(host);
    }
    Err(format!("{} is missing; build it with `cargo build --release -p tidegate`", host.display()))
}

fn plugins() -> PathBuf {
    std::env::var_os("TIDEGATE_TEST_PLUGINS").map_or_else(|| built().with_file_name("plugins"), PathBuf::from)
}

fn run_case(case: &Path) -> Outcome<()> {
    let reason = read_text(&case.join("job.toml"))?;
    if !reason.trim_start_matches('\u{feff}').starts_with("# ") {
        return Err("the first line of job.toml must be a comment that says why the case exists".to_owned());
    }
    let temporary = TempDir::new().map_err(|error| format!("no temporary folder: {error}"))?;
    // What the host resolves and prints is the real path.
    let there = temporary.path().canonicalize().map_err(|error| format!("no temporary folder: {error}"))?;
    copy(case, &there, &EXPECTATIONS)?;
    copy_plugins(&there)?;
    let ran = run_host(case, &there)?;
    if is_blessing() {
        return bless(case, &there, &ran);
    }
    let mut differences = String::new();
    let error_file = case.join("expected-error.txt");
    let expected_error = if error_file.exists() { read_text(&error_file)? } else { String::new() };
    compare("the error", &expected_error, &ran.error, &mut differences);
    let default_exit = if error_file.exists() { "2\n" } else { "0\n" };
    let exit_file = case.join("expected-exit.txt");
    let expected_exit = if exit_file.exists() { read_text(&exit_file)? } else { default_exit.to_owned() };
    compare("the exit code", &expected_exit, &ran.exit, &mut differences);
    for file in files(&case.join("expected"))? {
        let name = file.strip_prefix(case.join("expected")).expect("it was listed there");
        compare(&name.display().to_string(), &read_text(&file)?, &sorted(&there.join(name), &there), &mut differences);
    }
    if differences.is_empty() { Ok(()) } else { Err(differences) }
}

fn run_host(case: &Path, there: &Path) -> Outcome<Ran> {
    let default = if case.join("expected").is_dir() { "run job.toml --quiet" } else { "check job.toml" };
    let command_file = case.join("command.txt");
    let arguments = if command_file.exists() { read_text(&command_file)? } else { default.to_owned() };
    let mut command = Command::new(host()?);
    command.args(arguments.split_whitespace()).current_dir(there);
    // Compiled plugins are shared by the cases; a log filter or a backtrace would change what is printed.
    command.env("TIDEGATE_CACHE", built().with_file_name("plugin-cache"));
    command.env_remove("TIDEGATE_LOG").env_remove("RUST_BACKTRACE");
    let environment_file = case.join("environment.txt");
    if environment_file.exists() {
        let environment = read_text(&environment_file)?;
        command.envs(environment.lines().filter_map(|line| line.split_once('=')));
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("the host cannot be started: {error}"))?;
    let mut output = child.stderr.take().expect("standard error was asked for");
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        output.read_to_end(&mut bytes).map(|_| bytes)
    });
    let exit = wait(&mut child)?;
    let bytes = reader.join().expect("reading does not panic").map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&bytes).replace(&there.display().to_string(), "<case>");
    let error = match text.find("error: ") {
        Some(at) => text[at..].to_owned(),
        // Without an error nothing that is said matters, unless the process failed all the same.
        None if exit == "0\n" => String::new(),
        None => text,
    };
    Ok(Ran { error, exit })
}

fn wait(child: &mut Child) -> Outcome<String> {
    let deadline = Instant::now() + CASE_MAX;
    loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) => return Ok(status.code().map_or("killed\n".to_owned(), |code| format!("{code}\n"))),
            None if Instant::now() >= deadline => {
                // It may have ended by itself just now.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("it does not end within {} s", CASE_MAX.as_secs()));
            }
            None => thread::sleep(Duration::from_millis(2)),
        }
    }
}

fn bless(case: &Path, there: &Path, ran: &Ran) -> Outcome<()> {
    let write =
        |path: PathBuf, text: &str| fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()));
    let remove = |path: PathBuf| {
        if path.exists() { fs::remove_file(&path).map_err(|error| error.to_string()) } else { Ok(()) }
    };
    if ran.error.is_empty() {
        remove(case.join("expected-error.txt"))?;
    } else {
        write(case.join("expected-error.txt"), &ran.error)?;
    }
    let default_exit = if ran.error.is_empty() { "0\n" } else { "2\n" };
    if ran.exit == default_exit {
        remove(case.join("expected-exit.txt"))?;
    } else {
        write(case.join("expected-exit.txt"), &ran.exit)?;
    }
    for file in files(&case.join("expected"))? {
        let name = file.strip_prefix(case.join("expected")).expect("it was listed there");
        write(file.clone(), &sorted(&there.join(name), there))?;
    }
    Ok(())
}

fn compare(what: &str, expected: &str, found: &str, differences: &mut String) {
    if expected != found {
        write!(differences, "{what} differs\n--- expected\n{expected}\n--- found\n{found}\n")
            .expect("a String takes it");
    }
}

/// A file's lines in order, with paths below the folder as `<case>`; words if it cannot be read.
fn sorted(file: &Path, there: &Path) -> String {
    match fs::read_to_string(file) {
        Ok(text) => {
            let text = text.replace(&there.display().to_string(), "<case>");
            let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
            lines.sort_unstable();
            lines.concat()
        }
        Err(error) => format!("cannot be read: {error}\n"),
    }
}

fn read_text(file: &Path) -> Outcome<String> {
    let bytes = fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// All files below a folder; none if there is no such folder.
fn files(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        if !folder.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))? {
            let path = entry.map_err(|error| error.to_string())?.path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    Ok(found)
}

/// Copies a folder's files, but for some at its top.
fn copy(from: &Path, to: &Path, except: &[&str]) -> Outcome<()> {
    for file in files(from)? {
        let name = file.strip_prefix(from).expect("it was listed there");
        let top = name.components().next().map(|part| part.as_os_str().to_owned()).unwrap_or_default();
        if except.iter().any(|except| *except == top) {
            continue;
        }
        let target = to.join(name);
        let parent = target.parent().expect("it lies in the folder");
        fs::create_dir_all(parent).and_then(|()| fs::copy(&file, &target)).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn copy_plugins(there: &Path) -> Outcome<()> {
    let plugins = plugins();
    if !plugins.is_dir() {
        let missing = plugins.display();
        return Err(format!(
            "there are no plugins in {missing}; build them with `cargo xtask test` or `tidegate plugin build`"
        ));
    }
    for file in files(&plugins)?.iter().filter(|file| file.extension().is_some_and(|it| it == "wasm")) {
        let target = there.join("plugins").join(file.file_name().expect("a file has a name"));
        let parent = target.parent().expect("it lies in the folder");
        fs::create_dir_all(parent).and_then(|()| fs::copy(file, &target)).map_err(|error| error.to_string())?;
    }
    Ok(())
}
