//! Crashes between any two system calls, failed syncs, and files that are not what the checkpoint left.

use super::disk::{Disk, RealDisk};
use super::{FileSink, SinkError};
use crate::checkpoint::record::SinkState;
use crate::columns::Batch;
use crate::ids::CheckpointId;
use crate::message::Rows;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn rows(values: &[String]) -> Rows {
    let mut batch = Batch::default();
    for value in values {
        batch.keys.push(None);
        batch.values.push(Some(value.as_bytes()));
        batch.timestamps.push(0);
    }
    Rows::all(batch)
}

/// Some lines of a checkpoint; every third has none.
fn batch(n: u64) -> Vec<String> {
    let count = if n.is_multiple_of(3) { 0 } else { 40 };
    (0..count).map(|i| format!("{{\"checkpoint\":{n},\"line\":{i}}}")).collect()
}

fn text(lines: &[String]) -> String {
    lines.iter().flat_map(|line| [line, "\n"]).collect()
}

/// A disk that a process can use for so many calls; the last write is torn in the middle.
struct Ending {
    left: Arc<AtomicUsize>,
    /// What the call that is not done any more says.
    error: i32,
}

impl Ending {
    fn step(&self) -> io::Result<()> {
        let left = self.left.load(Ordering::Relaxed);
        if left == 0 {
            return Err(io::Error::from_raw_os_error(self.error));
        }
        self.left.store(left - 1, Ordering::Relaxed);
        Ok(())
    }

    /// A moment between two calls of the sink in which the process may end.
    fn pause(&self, moment: &str) -> Result<(), SinkError> {
        self.step().map_err(|_| SinkError::Stop { sink: String::new(), what: format!("ended {moment}") })
    }
}

impl Disk for Ending {
    fn create(&mut self, path: &Path) -> io::Result<File> {
        self.step()?;
        RealDisk.create(path)
    }

    fn write_at(&mut self, file: &File, bytes: &[u8], offset_bytes: u64) -> io::Result<()> {
        if let Err(error) = self.step() {
            RealDisk.write_at(file, &bytes[..bytes.len() / 2], offset_bytes)?;
            return Err(error);
        }
        RealDisk.write_at(file, bytes, offset_bytes)
    }

    // What ends here is a process, not the machine: what it wrote is there. So nothing waits for a real disk.
    fn sync(&mut self, _: &File) -> io::Result<()> {
        self.step()
    }

    fn sync_folder(&mut self, _: &Path) -> io::Result<()> {
        self.step()
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        RealDisk.rename(from, to)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.step()?;
        RealDisk.remove(path)
    }
}

/// Who decides in a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decides {
    /// PREPARED is the decision.
    Store,
    /// Somebody else, between PREPARED and the application: what is only prepared is rolled back.
    Marker,
}

/// What outlives a process: the store's and the decider's knowledge.
#[derive(Debug, Clone, Default)]
struct Known {
    committed: Option<(u64, SinkState)>,
    prepared: Option<(u64, SinkState)>,
    marker: Option<u64>,
    highest: u64,
    /// Contents of the decided checkpoints.
    expected: String,
    /// Batches decided.
    done: u64,
    rolled_back: usize,
    decides: Option<Decides>,
}

const BATCHES: u64 = 5;

/// One life of a process of so many calls: recovers and goes on, until it is done or ends.
fn live(calls: &Arc<AtomicUsize>, path: &Path, decides: Decides, known: &mut Known) -> Result<(), SinkError> {
    let life = Ending { left: Arc::clone(calls), error: libc::EINTR };
    let disk = Box::new(Ending { left: Arc::clone(calls), error: libc::EINTR });
    if let Some((id, state)) = known.prepared.clone() {
        if decides == Decides::Store || known.marker == Some(id) {
            let mut sink = FileSink::open_on(disk, "alerts", path, Some(&state))?;
            sink.apply(&state)?;
            known.committed = known.prepared.take();
            return go_on(sink, &life, path, known);
        }
        FileSink::discard("alerts", path, CheckpointId(id))?;
        known.prepared = None;
        known.rolled_back += 1;
    }
    let resume = known.committed.clone().map(|(_, state)| state);
    let sink = FileSink::open_on(disk, "alerts", path, resume.as_ref())?;
    if resume.is_none() {
        known.committed = Some((0, sink.initial_state()));
    }
    go_on(sink, &life, path, known)
}

fn go_on(mut sink: FileSink, life: &Ending, path: &Path, known: &mut Known) -> Result<(), SinkError> {
    while known.done < BATCHES {
        let lines = batch(known.done + 1);
        sink.write(&rows(&lines))?;
        let id = known.highest + 1;
        let state = sink.stage(CheckpointId(id))?;
        assert_eq!(fs::read_to_string(path).unwrap(), known.expected, "a reader sees only what is decided");
        life.pause("staged and not prepared")?;
        known.prepared = Some((id, state.clone()));
        known.highest = id;
        if known.decides == Some(Decides::Marker) {
            life.pause("prepared and not decided")?;
        }
        known.marker = Some(id);
        known.expected += &text(&lines);
        known.done += 1;
        sink.apply(&state)?;
        assert_eq!(fs::read_to_string(path).unwrap(), known.expected);
        known.committed = known.prepared.take();
    }
    Ok(())
}

fn staging_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_string_lossy().contains("staging")).collect()
}

#[test]
fn a_process_that_ends_between_any_two_calls_loses_and_doubles_nothing() {
    for decides in [Decides::Store, Decides::Marker] {
        let new = || Known { decides: Some(decides), ..Known::default() };
        let calls = {
            let folder = tempfile::tempdir().unwrap();
            let left = Arc::new(AtomicUsize::new(usize::MAX));
            live(&left, &folder.path().join("out.jsonl"), decides, &mut new()).unwrap();
            assert_eq!(staging_files(folder.path()), [] as [PathBuf; 0]);
            usize::MAX - left.load(Ordering::Relaxed)
        };
        assert!(calls > 30, "{calls}");
        let mut rolled_back = 0;
        // The process ends after `first` calls, the next one after `second`, the third goes on to the end.
        for first in 0..calls {
            for second in [0, 1, 3, 7, 13] {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("out.jsonl");
                let mut known = new();
                for calls in [first, second] {
                    if live(&Arc::new(AtomicUsize::new(calls)), &path, decides, &mut known).is_err() {
                        let found = fs::read_to_string(&path).unwrap_or_default();
                        assert!(known.expected.starts_with(&found), "{decides:?} {first} {second}");
                    }
                }
                live(&Arc::new(AtomicUsize::new(usize::MAX)), &path, decides, &mut known).unwrap();
                let all: String = (1..=BATCHES).map(|n| text(&batch(n))).collect();
                assert_eq!(fs::read_to_string(&path).unwrap(), all, "{decides:?} {first} {second}");
                assert_eq!(staging_files(folder.path()), [] as [PathBuf; 0], "{decides:?} {first} {second}");
                rolled_back += known.rolled_back;
            }
        }
        assert_eq!(rolled_back > 0, decides == Decides::Marker, "{decides:?} rolled back {rolled_back} checkpoints");
    }
}

#[test]
fn a_checkpoint_that_did_not_happen_leaves_no_line_and_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    let mut sink = FileSink::open("alerts", &path, None).unwrap();
    let start = sink.initial_state();
    sink.write(&rows(&batch(1))).unwrap();
    sink.stage(CheckpointId(1)).unwrap();
    drop(sink);
    FileSink::discard("alerts", &path, CheckpointId(1)).unwrap();
    FileSink::discard("alerts", &path, CheckpointId(1)).unwrap();
    assert_eq!(staging_files(folder.path()), [] as [PathBuf; 0]);

    let mut sink = FileSink::open("alerts", &path, Some(&start)).unwrap();
    sink.write(&rows(&batch(2))).unwrap();
    let state = sink.stage(CheckpointId(2)).unwrap();
    sink.apply(&state).unwrap();
    sink.apply(&state).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), text(&batch(2)));
}

#[test]
fn staging_files_of_an_earlier_process_are_swept_when_none_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    for name in [".out.jsonl.staging", ".out.jsonl.staging-7", ".out.jsonl.staging-x", ".other.staging-7"] {
        fs::write(folder.path().join(name), "old").unwrap();
    }
    let mut sink = FileSink::open("alerts", &path, None).unwrap();
    let state = sink.stage(CheckpointId(7)).unwrap();
    assert!(matches!(state, SinkState::File { staged_bytes: 0, staged_digest: 0, .. }));
    let mut names: Vec<_> =
        staging_files(folder.path()).iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    names.sort();
    assert_eq!(names, [".other.staging-7", ".out.jsonl.staging-x"]);
}

#[test]
fn a_file_that_holds_lines_is_appended_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    fs::write(&path, "\"before\"\n").unwrap();
    let mut sink = FileSink::open("alerts", &path, None).unwrap();
    sink.write(&rows(&["1".into()])).unwrap();
    let state = sink.stage(CheckpointId(1)).unwrap();
    sink.apply(&state).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "\"before\"\n1\n");
    drop(sink);

    let torn = folder.path().join("torn.jsonl");
    fs::write(&torn, "{\"half\":").unwrap();
    assert!(stop(FileSink::open("alerts", &torn, None)).contains("does not end with a newline"));
}

fn stop<T>(result: Result<T, SinkError>) -> String {
    match result {
        Err(SinkError::Stop { what, .. }) => what,
        Err(error) => panic!("not a stop: {error}"),
        Ok(_) => panic!("no error"),
    }
}

#[test]
fn a_file_that_is_not_what_the_checkpoint_left_stops() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    let mut sink = FileSink::open("alerts", &path, None).unwrap();
    assert!(stop(FileSink::open("alerts", &path, None)).contains("another process writes"));
    sink.write(&rows(&batch(1))).unwrap();
    let state = sink.stage(CheckpointId(1)).unwrap();
    drop(sink);
    let lines = text(&batch(1));
    let staging = folder.path().join(".out.jsonl.staging-1");
    let open = || FileSink::open("alerts", &path, Some(&state));

    fs::write(&path, &lines[..100]).unwrap();
    open().expect("a crash in the middle of the application is no damage");
    fs::write(&path, format!("{}x", &lines[..100])).unwrap();
    assert!(stop(open()).contains("other bytes"));
    fs::write(&path, format!("{lines}more\n")).unwrap();
    assert!(stop(open()).contains("somebody else wrote"));
    fs::write(&path, "").unwrap();
    let staged = fs::read(&staging).unwrap();
    fs::write(&staging, &staged[..staged.len() - 1]).unwrap();
    assert!(stop(open()).contains("missing or altered"));
    let mut flipped = staged.clone();
    flipped[10] ^= 1;
    fs::write(&staging, &flipped).unwrap();
    assert!(stop(open()).contains("missing or altered"));
    fs::write(&staging, &staged).unwrap();
    let mut sink = open().unwrap();
    sink.apply(&state).unwrap();
    let next = sink.stage(CheckpointId(2)).unwrap();
    drop(sink);

    let reopen = || FileSink::open("alerts", &path, Some(&next));
    reopen().unwrap();
    fs::write(&path, &lines[..lines.len() - 1]).unwrap();
    assert!(stop(reopen()).contains("shortened"));
    fs::rename(&path, folder.path().join("moved")).unwrap();
    assert!(stop(reopen()).contains("is gone"));
    fs::write(&path, &lines).unwrap();
    assert!(stop(reopen()).contains("was replaced"));
}

#[test]
fn a_file_that_changes_while_the_job_runs_stops_before_anything_is_prepared() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    let mut sink = FileSink::open("alerts", &path, None).unwrap();
    fs::write(&path, "not ours\n").unwrap();
    assert!(stop(sink.stage(CheckpointId(1))).contains("somebody else wrote"));
    assert!(stop(sink.stage(CheckpointId(2))).contains("earlier failure"));
}

#[test]
fn after_a_failed_sync_nothing_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    // Two calls at the open, then: create, write, sync.
    let left = Arc::new(AtomicUsize::new(4));
    let disk = Ending { left: Arc::clone(&left), error: libc::EIO };
    let mut sink = FileSink::open_on(Box::new(disk), "alerts", &path, None).unwrap();
    sink.write(&rows(&batch(1))).unwrap();
    let what = stop(sink.stage(CheckpointId(1)));
    assert!(what.contains("making the staging file durable") && what.contains("look at the disk"), "{what}");
    left.store(usize::MAX, Ordering::Relaxed);
    let state = sink.initial_state();
    for error in [
        stop(sink.stage(CheckpointId(1))),
        stop(sink.write(&rows(&batch(1)))),
        stop(sink.write_dead_letters(&rows(&batch(1)))),
        stop(sink.apply(&state)),
    ] {
        assert!(error.contains("after an earlier failure"), "{error}");
    }
}
