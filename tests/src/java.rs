//! Runs `java` with the jars of Apache Kafka, bound to the life of this process.
//!
//! The jars lie in the folder that `TIDEGATE_KAFKA_LIBS` names, else where `cargo xtask test` puts them. Next room:
//! [`crate::broker`].

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::thread;

/// `java` with the broker's jars, writing to `log`, killed when the thread that starts it ends.
pub(crate) fn java(log: &Path) -> Command {
    let jars = std::env::var_os("TIDEGATE_KAFKA_LIBS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/kafka/libs"), PathBuf::from);
    assert!(
        jars.join("slf4j-simple-1.7.36.jar").is_file(),
        "there is no Kafka in `{}`; run `cargo xtask test`, which fetches it, or set TIDEGATE_KAFKA_LIBS",
        jars.display()
    );
    let output = File::options().create(true).append(true).open(log).expect("the temporary folder can be written");
    let errors = output.try_clone().expect("a file handle can be duplicated");
    let mut command = Command::new("java");
    command
        .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=info")
        .arg("-cp")
        .arg(format!("{}/*", jars.display()))
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors);
    end_with_parent(&mut command);
    command
}

/// Has the process killed when the thread that starts it ends.
pub(crate) fn end_with_parent(command: &mut Command) {
    // SAFETY: between fork and exec the closure only calls `prctl`, which is async-signal-safe and touches no memory.
    unsafe { command.pre_exec(die_with_parent) };
}

fn die_with_parent() -> io::Result<()> {
    // SAFETY: PR_SET_PDEATHSIG takes a signal number and no pointer.
    if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Spawns from a thread that lives as long as the process. The death signal comes when the spawning _thread_ ends, and a
/// test's thread ends with its test.
pub(crate) fn spawn_bound_to_this_process(command: Command) -> io::Result<Child> {
    type Order = (Command, mpsc::SyncSender<io::Result<Child>>);
    static SPAWNER: OnceLock<Mutex<mpsc::SyncSender<Order>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, inbox) = mpsc::sync_channel::<Order>(1);
        thread::Builder::new()
            .name("broker-spawner".to_owned())
            .spawn(move || {
                for (mut command, reply) in inbox {
                    // A caller that went away needs no answer.
                    let _ = reply.send(command.spawn());
                }
            })
            .expect("a thread can be started");
        Mutex::new(orders)
    });
    let (reply, answer) = mpsc::sync_channel(1);
    let orders = spawner.lock().unwrap_or_else(PoisonError::into_inner).clone();
    orders.send((command, reply)).expect("the spawner lives as long as the process");
    answer.recv().expect("the spawner answers every order")
}

/// The last lines of a log file, empty when there is none.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
