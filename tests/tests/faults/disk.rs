//! The disk under a job: calls that fail, writes that are cut, disks that are full, calls that never return.
//!
//! Each fault is taken away in the end, the job is started once more, and has every count once. Next rooms: `store`, which
//! lists these rows; `tidegate_tests::faulty_disk` and `tidegate_tests::small_disk`, which make the faults.

use crate::PROGRAM;
use std::fs;
use std::time::Duration;
use tidegate_tests::faulty_disk::{Call, FaultyDisk, Wrong};
use tidegate_tests::scene::Run;
use tidegate_tests::small_disk::SmallDisk;
use tidegate_tests::tally::{Shape, Tally, wait_for_output};

/// Which of a run's calls fail: spread over all of them, the first and the last ones among them.
const PLACES: usize = 4;

/// redb's pages, in bytes.
const PAGE_BYTES: usize = 4096;

/// Enough lines for some checkpoints: such a job runs often.
const SHORT: Shape = Shape { lines: 4000, rounds: 20_000, ..Shape::FILES };

/// Runs a job whose disk does a call wrong at some places, and again without.
fn each_place(call: Call, path: &'static str, wrong: Wrong, judge: impl Fn(&Run, &str)) {
    let whole = {
        let mut tally = Tally::new(PROGRAM, SHORT);
        let counted = FaultyDisk { call, path, at: 0, times: 0, wrong }.put_into(&mut tally.scene);
        tally.finish("a disk that is well");
        counted.calls()
    };
    assert!(whole >= 2, "{call:?} on `{path}` was called {whole} times");
    let mut failed = 0;
    for place in 0..PLACES.min(whole) {
        // How many calls there are varies a little from run to run: the last tenth may not come.
        let at = 1 + place * (whole * 9 / 10) / PLACES;
        let what = format!("{wrong:?} at call {at} of {whole} of {call:?} on `{path}`");
        let mut tally = Tally::new(PROGRAM, SHORT);
        let counted = FaultyDisk { call, path, at, times: 1, wrong }.put_into(&mut tally.scene);
        let run = tally.scene.run();
        if counted.failed() > 0 {
            failed += 1;
            judge(&run, &what);
        } else {
            run.expect_success(&what);
        }
        tally.expect_nothing_wrong(&what);
        counted.mend(&mut tally.scene);
        tally.finish(&what);
    }
    assert!(failed * 2 > PLACES.min(whole), "only {failed} calls of {call:?} on `{path}` were hit");
}

fn stops_and_names_the_disk(run: &Run, what: &str) {
    run.expect_refusal(what, 78, &["disk"]);
}

/// An error from fsync, pwrite and ftruncate of the store stops the job, and nobody goes on by himself.
pub(crate) fn store_io_error() {
    for call in [Call::Sync, Call::Write, Call::Resize] {
        each_place(call, "tally.redb", Wrong::Error(libc::EIO), stops_and_names_the_disk);
    }
}

/// The same for the output and its staging files.
pub(crate) fn sink_io_error() {
    for path in ["counts.jsonl.staging", "out/counts.jsonl"] {
        for call in [Call::Sync, Call::Write] {
            each_place(call, path, Wrong::Error(libc::EIO), stops_and_names_the_disk);
        }
    }
}

/// Pages that the system could not write back: the sync fails once, and the next one would say that all is well.
pub(crate) fn lost_pages() {
    for path in ["tally.redb", "counts.jsonl.staging"] {
        each_place(Call::Write, path, Wrong::Lost, stops_and_names_the_disk);
    }
}

/// A write of fewer bytes than asked is gone on with.
pub(crate) fn short_writes() {
    for path in ["tally.redb", "counts.jsonl"] {
        each_place(Call::Write, path, Wrong::Short, Run::expect_success);
    }
}

/// The last write of a process that ends in the middle of it.
pub(crate) fn torn_write() {
    for path in ["tally.redb", "counts.jsonl.staging", "out/counts.jsonl"] {
        each_place(Call::Write, path, Wrong::Torn, |run, what| assert!(run.was_killed(), "{what}: {}", run.log));
    }
}

const SMALL_BYTES: usize = 48 << 20;

/// Runs a job whose disk fills up in the middle of its work, starts it once more while it is full, and again with room.
fn fills_up(mut tally: Tally, disk: &SmallDisk, said: &[&str]) {
    tally.scene.launch_through(disk.launcher());
    let mut running = tally.scene.start(None, &[]);
    wait_for_output(&mut running, &tally);
    disk.fill();
    running.wait().expect_refusal("a disk that fills up", 75, said);
    let before = tally.expect_nothing_wrong("a disk that fills up");
    let again = tally.scene.run();
    again.expect_refusal("a disk that is full", 75, said);
    assert!(tally.expect_nothing_wrong("a disk that is full") >= before, "what was committed stays");
    disk.free();
    tally.finish("room on the disk");
}

/// The disk of the store fills up.
pub(crate) fn store_disk_full() {
    let tally = Tally::new(PROGRAM, Shape { lines: 40_000, ..Shape::FILES });
    let folder = tally.scene.path("small");
    fs::create_dir(&folder).expect("the folder is made");
    let disk = SmallDisk::mount(&folder, SMALL_BYTES);
    tally.change_job(&[("path = \"tally.redb\"", "path = \"small/tally.redb\"")]);
    fills_up(tally, &disk, &["tally.redb", "the disk is full", "free some space", "the last checkpoint is intact"]);
}

/// The disk of the output fills up.
pub(crate) fn sink_disk_full() {
    let mut tally = Tally::new(PROGRAM, Shape { lines: 40_000, ..Shape::FILES });
    let disk = SmallDisk::mount(&tally.scene.path("out"), SMALL_BYTES);
    tally.look_for_output_in(disk.path(""));
    fills_up(tally, &disk, &["sink `counts`", "counts.jsonl", "free some space", "nothing committed is lost"]);
}

/// A sync that never returns; the process must end by itself, and a new one goes on.
fn hangs(path: &'static str, at: usize, said: &str) {
    let mut tally = Tally::new(PROGRAM, SHORT);
    tally.change_job(&[("interval = \"10ms\"", "interval = \"10ms\"\ntimeout = \"6s\"")]);
    let disk = FaultyDisk { call: Call::Sync, path, at, times: 1, wrong: Wrong::Hang };
    let counted = disk.put_into(&mut tally.scene);
    let run = tally.scene.start(None, &[]).wait_within(Duration::from_mins(4));
    assert_eq!(counted.failed(), 1, "no sync of `{path}` hung: {}", run.log);
    run.expect_refusal(path, 75, &[said, "is intact"]);
    tally.expect_nothing_wrong(path);
    counted.mend(&mut tally.scene);
    tally.finish(path);
}

/// Before PREPARED the coordinator notices: the sink's staging file, and the store.
pub(crate) fn sync_hangs_before_prepared() {
    hangs("counts.jsonl.staging", 2, "was not prepared within");
    hangs("tally.redb", 14, "was not prepared within");
}

/// After the decision only the watchdog does.
pub(crate) fn sync_hangs_after_the_decision() {
    hangs("out/counts.jsonl", 2, "a thread of the job is stuck");
}

/// Flips a bit in the first bytes of pages of the store and starts the job, which reads, writes and folds: it is exact, or it
/// stops before anything of it is visible.
fn flips(pages_max: usize) {
    let tally = Tally::new(PROGRAM, Shape::FILES);
    tally.kill("committed:3");
    let store = fs::read(tally.store()).expect("the store is read");
    let output = fs::read(tally.output()).expect("the output is read");
    let is_used = |page: &usize| store[*page..].iter().take(PAGE_BYTES).any(|byte| *byte != 0);
    let used: Vec<usize> = (0..store.len()).step_by(PAGE_BYTES).filter(is_used).collect();
    let mut refused = 0;
    for (number, page) in used.iter().step_by(used.len().div_ceil(pages_max)).enumerate() {
        // The structure stands in a page's first bytes.
        let at = page + number * 7 % 64;
        let what = format!("a flipped bit at {at} of {}", store.len());
        let mut damaged = store.clone();
        damaged[at] ^= 1 << (number % 8);
        fs::write(tally.store(), &damaged).expect("the store is damaged");
        // The folder is as it was at the kill: the output of the same file, and what was staged went with it.
        fs::write(tally.output(), &output).expect("the output is as it was");
        let run = tally.scene.run();
        match run.status.code() {
            Some(0) => tally.expect_exact(&what),
            _ if run.log.contains("version") => run.expect_refusal(&what, 78, &["tally.redb"]),
            _ => {
                run.expect_refusal(&what, 78, &["tally.redb` is damaged", "put a copy of the file"]);
                refused += 1;
            }
        }
        tally.expect_nothing_wrong(&what);
    }
    assert!(refused > 0, "no flip was noticed: this tests nothing");
    fs::write(tally.store(), &store).expect("the store is whole again");
    fs::write(tally.output(), &output).expect("the output is as it was");
    tally.finish("the store is whole again");
}

/// Some pages.
pub(crate) fn flipped_bits() {
    flips(8);
}

/// Every page that is in use.
pub(crate) fn flipped_bits_everywhere() {
    flips(100);
}
