//! Rows of the fault matrix about the store's file and the disk under it, and the files beside it.
//!
//! Each row takes the fault away in the end, starts the job once more, and has every count once. Next rooms: `disk` (a small
//! tmpfs), `tidegate_tests::faulty_disk` (calls that fail).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tidegate_tests::faulty_disk::{Call, FaultyDisk, Wrong};
use tidegate_tests::scene::{Run, Scene};
use tidegate_tests::small_disk::SmallDisk;
use tidegate_tests::tally::{Shape, Tally, wait_for_output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tidegate-probed");

/// Which of a run's calls fail: spread over all of them, the first and the last ones among them.
const PLACES: usize = 4;

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
        each_place(Call::Write, path, Wrong::Short, |run, what| run.expect_success(what));
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

/// Takes every right on a file away, for one run. Root needs none, so the host runs without root's power over files.
fn without_permission(tally: &mut Tally, path: &Path, said: &[&str]) {
    let what = format!("no permission for `{}`", path.display());
    // SAFETY: a system call without arguments that always succeeds.
    if unsafe { libc::geteuid() } == 0 {
        let launcher = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"];
        tally.scene.launch_through(launcher.map(str::to_owned).to_vec());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0)).expect("the file is ours");
    let run = tally.scene.run();
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("the file is ours");
    run.expect_refusal(&what, 78, said);
    tally.expect_nothing_wrong(&what);
}

/// Store, output and input that may not be opened any more.
pub(crate) fn permission_gone() {
    let mut tally = Tally::new(PROGRAM, Shape::FILES);
    tally.kill("committed:3");
    let (store, output, input) = (tally.store(), tally.output(), tally.input());
    without_permission(&mut tally, &store, &["tally.redb", "Permission denied"]);
    without_permission(&mut tally, &output, &["sink `counts`", "counts.jsonl", "Permission denied"]);
    without_permission(&mut tally, &input, &["source `lines`", "lines.jsonl", "permission"]);
    tally.finish("with all permissions");
}

/// A job that was killed twice, and its store as it was at the first time.
fn with_old_copy(shape: Shape) -> (Tally, Vec<u8>) {
    let tally = Tally::new(PROGRAM, shape);
    tally.kill("committed:2");
    let old = fs::read(tally.store()).expect("the store is read");
    let before = tally.expect_nothing_wrong("the first kill");
    tally.kill("committed:3");
    assert!(tally.expect_nothing_wrong("the second kill") > before, "nothing came out in between: this tests nothing");
    (tally, old)
}

/// A copy of the store from before the last checkpoints, with a Kafka sink: the marker knows better.
pub(crate) fn old_copy_kafka() {
    let (tally, old) = with_old_copy(Shape::TO_KAFKA);
    let newest = fs::read(tally.store()).expect("the store is read");
    fs::write(tally.store(), &old).expect("the old copy is put back");
    let said = ["the store is an older copy", "Put the newer store back"];
    tally.scene.run().expect_refusal("an old copy", 78, &said);
    tally.expect_nothing_wrong("an old copy");
    fs::write(tally.store(), &newest).expect("the newest one is put back");
    tally.finish("the newest store");
}

/// The same with files only: the output knows better, and either way on that the message names is exact.
pub(crate) fn old_copy_files() {
    for way in ["the newest store", "an output as old as its store"] {
        let (tally, old) = with_old_copy(Shape::FILES);
        let newest = fs::read(tally.store()).expect("the store is read");
        let output = fs::read(tally.output()).expect("the output is read");
        fs::write(tally.store(), &old).expect("the old copy is put back");
        let run = tally.scene.run();
        run.expect_refusal(way, 78, &["sink `counts`", "counts.jsonl", "the store is an older copy"]);
        assert_eq!(fs::read(tally.output()).expect("the output is read"), output, "{way}: nothing was changed");
        if way == "the newest store" {
            fs::write(tally.store(), &newest).expect("the newest one is put back");
        } else {
            let accounted = run.log.split("accounts for `").nth(1).and_then(|rest| rest.split('`').next());
            let bytes = accounted.and_then(|digits| digits.parse().ok()).expect("the message says how many bytes");
            let file = fs::OpenOptions::new().write(true).open(tally.output()).expect("the output is opened");
            file.set_len(bytes).expect("the output is cut");
        }
        tally.finish(way);
    }
}

/// A copy of the folder is started on a second machine, and both run: one goes on, the other stops.
pub(crate) fn copy_runs_elsewhere() {
    let tally = Tally::new(PROGRAM, Shape { lines: 16_000, ..Shape::KAFKA });
    tally.kill("committed:3");
    let copy = Scene::new(PROGRAM);
    fs::copy(tally.store(), copy.path("tally.redb")).expect("the store is copied");
    copy.write_job(&tally.job());
    let mut codes = Vec::new();
    std::thread::scope(|scope| {
        let lives = [&tally.scene, &copy].map(|scene| {
            scope.spawn(move || {
                for _ in 0..50 {
                    let run = scene.run();
                    if run.status.code() != Some(75) {
                        return run;
                    }
                }
                panic!("neither ends nor stops")
            })
        });
        for life in lives {
            codes.push(life.join().expect("a life is no panic"));
        }
    });
    codes.sort_by_key(|run| run.status.code());
    codes[0].expect_success("the one that goes on");
    // Which of the two it says depends on how far the other one came.
    codes[1].expect_refusal("the one that stops", 78, &["the marker says"]);
    let said = ["two processes worked on copies of one store", "the store is an older copy"];
    assert!(said.iter().any(|words| codes[1].log.contains(words)), "{}", codes[1].log);
    tally.expect_exact("one of two copies");
}

/// A copy of a folder with files only: its files are not those of the checkpoint, and the first one is not harmed.
pub(crate) fn copy_of_files_runs_elsewhere() {
    let tally = Tally::new(PROGRAM, Shape::FILES);
    tally.kill("committed:3");
    let copy = Tally::new(PROGRAM, Shape::FILES);
    fs::copy(tally.store(), copy.store()).expect("the store is copied");
    fs::copy(tally.output(), copy.output()).expect("the output is copied");
    let job = tally.job();
    copy.scene.write_job(&job);
    let mut running = tally.scene.start(None, &[]);
    wait_for_output(&mut running, &tally);
    copy.scene.run().expect_refusal("a copy elsewhere", 78, &["source `lines`", "names none of the files"]);
    // With the first one's own files it is kept away by their lock.
    let job = job.replace("lines.jsonl", &tally.input().display().to_string());
    copy.scene.write_job(&job.replace("out/counts.jsonl", &tally.output().display().to_string()));
    copy.scene.run().expect_refusal("a copy with the same files", 78, &["sink `counts`", "another process writes"]);
    running.wait().expect_success("the first one");
    tally.expect_exact("the first one");
}
