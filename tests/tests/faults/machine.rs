//! What a machine does to a process: takes its memory away, and sets its clock.
//!
//! Next room: `process`, whose rows use it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tidegate_tests::scene::{Running, Scene};

/// How much more memory a squeezed process may take.
const ROOM: u64 = 8 << 20;

/// A running process with a limit on its memory, which it is about to hit.
pub(crate) struct Squeezed {
    /// How it will end.
    pub signal: libc::c_int,
    group: Option<PathBuf>,
}

impl Squeezed {
    /// Has the kernel kill the process when it takes a few MiB more, by a control group. Where none can be made, the process
    /// is refused more memory instead, and ends itself.
    pub(crate) fn new(running: &Running) -> Squeezed {
        let name = format!("tidegate-test-{}", running.process());
        let kinds = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
        for (root, limit) in kinds {
            let group = Path::new(root).join(&name);
            if fs::create_dir(&group).is_err() {
                continue;
            }
            let limited = fs::write(group.join(limit), ROOM.to_string());
            let moved = limited.and_then(|()| fs::write(group.join("cgroup.procs"), running.process().to_string()));
            if moved.is_ok() {
                return Squeezed { signal: libc::SIGKILL, group: Some(group) };
            }
            // What cannot be removed is an empty group.
            let _ = fs::remove_dir(&group);
        }
        eprintln!("no memory control group can be made here: memory is refused instead");
        refuse_memory(running.process());
        Squeezed { signal: libc::SIGABRT, group: None }
    }
}

impl Drop for Squeezed {
    fn drop(&mut self) {
        if let Some(group) = &self.group {
            // The process has ended; if not, the group stays, and so does its limit.
            let _ = fs::remove_dir(group);
        }
    }
}

fn refuse_memory(process: u32) {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the process is there");
    let line = status.lines().find(|line| line.starts_with("VmData:")).expect("every process has one");
    let kibibytes: u64 = line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a number of KiB");
    let bytes = kibibytes * 1024 + ROOM;
    let arguments = [format!("--pid={process}"), format!("--data={bytes}:{bytes}")];
    let status = Command::new("prlimit").args(arguments).status().expect("`prlimit` of util-linux can be run");
    assert!(status.success(), "prlimit: {status}");
}

/// The wall clock of a scene's hosts.
pub(crate) struct Clock {
    file: PathBuf,
}

impl Clock {
    /// Hosts that are started in the scene from now on go by a clock that can be set. Builds a library with the system's C
    /// compiler for that.
    pub(crate) fn of(scene: &mut Scene) -> Clock {
        let (source, library, file) = (scene.path("clock.c"), scene.path("clock.so"), scene.path("clock-shift"));
        fs::write(&source, include_str!("clock.c")).expect("the folder can be written");
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .arg(&library)
            .arg(&source)
            .args(["-ldl", "-lpthread"])
            .status();
        assert!(status.expect("`cc` can be run").success(), "the clock does not compile");
        let clock = Clock { file };
        clock.jump(0);
        scene.set_variable("LD_PRELOAD", Some(library));
        scene.set_variable("CLOCK_SHIFT", Some(clock.file.clone()));
        clock
    }

    /// Sets the clock to the true time plus so many seconds.
    pub(crate) fn jump(&self, seconds: i64) {
        // Written in place: the hosts have mapped the file.
        let mut file = fs::File::options().create(true).write(true).truncate(false).open(&self.file);
        let file = file.as_mut().expect("the folder can be written");
        std::io::Write::write_all(file, &seconds.to_ne_bytes()).expect("eight bytes are written");
    }
}
