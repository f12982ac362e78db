//! Rows of the fault matrix about the store's file and the disk under it, and the files beside it.
//!
//! Each row takes the fault away in the end, starts the job once more, and has every count once. Next room: `disk`.

use crate::matrix::Row;
use crate::{PROGRAM, disk};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tidegate_tests::scene::Scene;
use tidegate_tests::small_disk::is_root;
use tidegate_tests::tally::{Shape, Tally};

pub(crate) const ROWS: &[Row] = &[
    Row::quick(
        "disk of the store full",
        "the tmpfs that the store is on fills up while the job runs; started again while it is full; then there is room",
        "75 and what to do, twice; what was committed stays; then exact. Needs root or user namespaces, and fails by name without",
        disk::store_disk_full,
    ),
    Row::quick(
        "disk of the output full",
        "the same with the disk of output and staging files",
        "the same",
        disk::sink_disk_full,
    ),
    Row::elsewhere(
        "disk full at any sync of the store",
        "a fake disk says ENOSPC",
        "says so, and the last checkpoint is intact",
        ("host/src/state/store/tests/crash.rs", "a_full_disk_says_so_and_leaves_the_last_checkpoint_intact"),
    ),
    Row::quick(
        "EIO from the store",
        "fsync, pwrite or ftruncate of the store fails once with EIO, at several places of a run; restart",
        "STOP that names the disk: after EIO nobody goes on by himself; then exact",
        disk::store_io_error,
    ),
    Row::quick(
        "EIO from the output",
        "fsync or pwrite of staging file or output fails once with EIO; restart",
        "the same",
        disk::sink_io_error,
    ),
    Row::quick(
        "pages that could not be written back",
        "a write to store or staging file is lost without a word, the next fsync fails once, the one after it says that all is well",
        "STOP at the fsync that fails, the clean one is not believed; then exact",
        disk::lost_pages,
    ),
    Row::elsewhere(
        "EIO at any sync of the store",
        "a fake disk fails at each sync of a checkpoint in turn",
        "every later call refuses; a new open finds the checkpoint before or after",
        ("host/src/state/store/tests/crash.rs", "after_a_failed_sync_every_call_refuses_until_the_next_open"),
    ),
    Row::elsewhere(
        "EIO in the file sink",
        "a call of the file sink fails",
        "nothing is tried again",
        ("host/src/sink/file/tests.rs", "after_a_failed_sync_nothing_is_tried_again"),
    ),
    Row::quick(
        "short writes",
        "pwrite to store, staging file or output writes half and says so",
        "no effect: exact",
        disk::short_writes,
    ),
    Row::quick(
        "torn last write",
        "half of a write to store, staging file or output is done, and the process is killed; restart",
        "exact",
        disk::torn_write,
    ),
    Row::elsewhere(
        "power cut at any sync",
        "a fake disk keeps all, nothing, or some of what was on its way at each sync in turn",
        "the store is as before or after the call",
        ("host/src/state/store/tests/crash.rs", "a_power_cut_at_any_sync_leaves_the_state_before_or_after_the_call"),
    ),
    Row::elsewhere(
        "end between any two calls of the file sink",
        "the process ends before each system call in turn, twice, the last write torn",
        "nothing lost, nothing doubled, nothing left behind",
        ("host/src/sink/file/tests.rs", "a_process_that_ends_between_any_two_calls_loses_and_doubles_nothing"),
    ),
    Row::quick(
        "fsync that never returns",
        "the sync of staging file or store hangs before PREPARED",
        "75 after `checkpoint.timeout`; then exact",
        disk::sync_hangs_before_prepared,
    ),
    Row::slow(
        "fsync that never returns, after the decision",
        "the sync of the output hangs",
        "the watchdog ends the process (75); then exact",
        disk::sync_hangs_after_the_decision,
    ),
    Row::elsewhere(
        "flipped bit, all through the job",
        "a bit is flipped in 24 pages all over the store, and the job started",
        "exact where nobody needs the byte, else STOP; never a panic",
        ("tests/tests/bad_input/stores.rs", "a_flipped_byte_anywhere_is_refused_or_harmless"),
    ),
    Row::elsewhere(
        "flipped bit in every region",
        "700 random flips, and each byte of the dense head",
        "an error that stops, or the very image; never a panic",
        ("host/src/state/store/tests/damage.rs", "flipped_bytes_anywhere_are_never_a_panic_nor_a_wrong_image"),
    ),
    Row::quick(
        "flipped bit, and the job writes on",
        "a bit is flipped at the head of 8 pages in use, one after the other; the job reads, writes and folds",
        "exact where nobody needs the bit, else STOP that says that the store is damaged; whole again exact",
        disk::flipped_bits,
    ),
    Row::slow("flipped bit in many pages", "the same with 100 pages in use", "the same", disk::flipped_bits_everywhere),
    Row::elsewhere(
        "flipped bit in a snapshot",
        "in the memory of a shard",
        "STOP that names operator and shard; `--fresh` goes on, exact",
        ("tests/tests/bad_input/stores.rs", "a_flipped_byte_in_a_snapshot_is_refused_by_name_and_fresh_goes_on"),
    ),
    Row::elsewhere(
        "truncated",
        "the store is cut at several places",
        "STOP; whole again it is exact",
        ("tests/tests/bad_input/stores.rs", "a_truncated_store_is_refused_and_whole_again_it_goes_on"),
    ),
    Row::quick(
        "permission gone",
        "store, output or input may not be read any more, one after the other",
        "STOP that names file and cause; with the permission exact",
        permission_gone,
    ),
    Row::elsewhere(
        "older version of the format",
        "values that version 1 wrote",
        "are read",
        ("host/src/state/format/golden.rs", "a_checkpoint_of_version_1_is_read"),
    ),
    Row::elsewhere(
        "newer version of the format",
        "a frame of a later version",
        "STOP that names both versions",
        ("host/src/state/format/mod.rs", "a_later_version_is_named"),
    ),
    Row::quick(
        "old copy put back, Kafka",
        "the store as it was some checkpoints ago",
        "STOP before anything is fenced; with the newest one exact",
        old_copy_kafka,
    ),
    Row::quick(
        "old copy put back, files only",
        "the same",
        "STOP that names both ways on; each is exact",
        old_copy_files,
    ),
    Row::quick(
        "copy on a second machine, Kafka",
        "store and job file are copied, and both run under a supervisor",
        "one is exact, the other stops for a person",
        copy_runs_elsewhere,
    ),
    Row::quick(
        "copy on a second machine, files only",
        "the folder is copied while the job runs, and the copy started: with files of its own, then with those of the first",
        "STOP, and the first is not harmed: exact",
        copy_of_files_runs_elsewhere,
    ),
];

/// Takes every right on a file away, for one run. Root needs none, so the host runs without root's power over files.
fn without_permission(tally: &mut Tally, path: &Path, said: &[&str]) {
    let what = format!("no permission for `{}`", path.display());
    if is_root() {
        let launcher = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"];
        tally.scene.launch_through(launcher.map(str::to_owned).to_vec());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o000)).expect("the file is ours");
    let run = tally.scene.run();
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("the file is ours");
    run.expect_refusal(&what, 78, said);
    tally.expect_nothing_wrong(&what);
}

/// Store, output and input that may not be opened any more.
fn permission_gone() {
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
fn old_copy_kafka() {
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
fn old_copy_files() {
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
fn copy_runs_elsewhere() {
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
    codes[1].expect_refusal("the one that stops", 78, &["the marker"]);
    let said = ["two processes worked on copies of one store", "the store is an older copy"];
    assert!(said.iter().any(|words| codes[1].log.contains(words)), "{}", codes[1].log);
    tally.expect_exact("one of two copies");
}

/// A copy of a folder with files only: its files are not those of the checkpoint, and the first one is not harmed.
fn copy_of_files_runs_elsewhere() {
    let slow = Shape { rounds: 200_000, ..Shape::FILES };
    let tally = Tally::new(PROGRAM, slow);
    tally.kill("committed:3");
    let copy = Tally::new(PROGRAM, slow);
    fs::copy(tally.store(), copy.store()).expect("the store is copied");
    fs::copy(tally.output(), copy.output()).expect("the output is copied");
    let job = tally.job();
    copy.scene.write_job(&job);
    let mut running = tally.scene.start(None, &[]);
    running.wait_until("its start", |running| running.log().contains("running from checkpoint"));
    copy.scene.run().expect_refusal("a copy elsewhere", 78, &["source `lines`", "names none of the files"]);
    // With the first one's own files it is kept away by their lock.
    let job = job.replace("lines.jsonl", &tally.input().display().to_string());
    copy.scene.write_job(&job.replace("out/counts.jsonl", &tally.output().display().to_string()));
    copy.scene.run().expect_refusal("a copy with the same files", 78, &["sink `counts`", "another process writes"]);
    running.wait().expect_success("the first one");
    tally.expect_exact("the first one");
}
