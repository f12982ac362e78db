//! Rows of the fault matrix about input that changes, stalls or runs ahead, and about sinks that are away.
//!
//! Event time has rows in `event_time`. Next room: `tidegate_tests::tally`.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tidegate_tests::broker::{self, Broker, Options};
use tidegate_tests::scene::Running;
use tidegate_tests::tally::{Shape, Tally, line, wait_for_output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tidegate-probed");

/// Does something to the input while the job is in the middle of it: it stops, and as it was before it is exact.
fn changed_while_running(change: impl Fn(&Path), said: &[&str], back: impl Fn(&Path, &[u8])) {
    let tally = Tally::new(PROGRAM, Shape { rounds: 100_000, ..Shape::FILES });
    let before = fs::read(tally.input()).expect("the input is read");
    let mut running = tally.scene.start(None, &[]);
    wait_for_output(&mut running, &tally);
    change(&tally.input());
    running.wait().expect_refusal("while it runs", 78, said);
    let found = tally.expect_nothing_wrong("while it runs");
    assert!(found < tally.written(), "all is out: this tests nothing");
    tally.scene.run().expect_refusal("started again", 78, said);
    assert_eq!(tally.expect_nothing_wrong("started again"), found);
    back(&tally.input(), &before);
    tally.finish("the input is as it was");
}

/// A file that is cut while it is read.
pub(crate) fn file_truncated() {
    changed_while_running(
        |input| {
            let file = fs::OpenOptions::new().write(true).open(input).expect("the input is opened");
            file.set_len(100).expect("the input is cut");
        },
        &["source `lines`", "lines.jsonl` shrank", "put the file back"],
        |input, before| {
            let file = fs::OpenOptions::new().write(true).open(input).expect("the input is opened");
            file.write_all_at(before, 0).expect("the input is written back");
        },
    );
}

/// A file that is replaced while it is read.
pub(crate) fn file_replaced() {
    changed_while_running(
        |input| {
            fs::rename(input, input.with_extension("kept")).expect("the input is moved");
            fs::copy(input.with_extension("kept"), input).expect("another one takes its place");
        },
        &["source `lines`", "lines.jsonl` was replaced", "put the file back"],
        |input, _| fs::rename(input.with_extension("kept"), input).expect("the input comes back"),
    );
}

/// A line that was written half when the job came to it: a bad record, with its place; whole, it is read once.
pub(crate) fn line_appended_in_two_halves() {
    let tally = Tally::new(PROGRAM, Shape { lines: 3000, ..Shape::FILES });
    let whole = line(tally.written());
    let (first, second) = whole.split_at(whole.len() / 2);
    let append = |text: &str| {
        let mut file = fs::OpenOptions::new().append(true).open(tally.input()).expect("the input is opened");
        file.write_all(text.as_bytes()).expect("the input is written");
    };
    let at = fs::metadata(tally.input()).expect("the input is there").len();
    append(first);
    let position = format!("lines.jsonl@{at}`");
    let said = ["source `lines`", &position, "cannot be taken in", "Mend the input"];
    tally.scene.run().expect_refusal("half a line", 1, &said);
    tally.expect_nothing_wrong("half a line");
    append(&format!("{second}\n"));
    tally.count_line();
    tally.finish("the whole line");
}

/// Runs an unbounded job until so many counts are out, and stops it.
fn run_until_all_is_out(tally: &Tally, what: &str, pause: impl Fn(&Running)) {
    let mut running = tally.scene.start(None, &[]);
    running.wait_until("all counts", |_| tally.verdict().found >= tally.written());
    pause(&running);
    running.signal(libc::SIGTERM);
    running.wait().expect_success(what);
    tally.expect_exact(what);
}

/// The end of a partition, a pause, one more record, and on: with a stop in between, and with the process stopped in its
/// tracks. librdkafka can skip a record here.
pub(crate) fn one_more_record_after_the_end() {
    let tally = Tally::new(PROGRAM, Shape { lines: 500, rounds: 1, ..Shape::KAFKA });
    tally.change_job(&[("\nuntil = \"latest\"", "")]);
    run_until_all_is_out(&tally, "the first run", |_| {});
    for round in 0..3 {
        tally.append(1);
        run_until_all_is_out(&tally, &format!("one more record, round {round}"), |running| {
            std::thread::sleep(Duration::from_millis(300));
            running.signal(libc::SIGSTOP);
            tally.append(1);
            std::thread::sleep(Duration::from_millis(300));
            running.signal(libc::SIGCONT);
            let until = Instant::now() + Duration::from_mins(1);
            while tally.verdict().found < tally.written() {
                assert!(Instant::now() < until, "the record after the pause never came");
                std::thread::sleep(Duration::from_millis(20));
            }
        });
    }
}

/// The folder of the output goes while the job runs, and comes back.
pub(crate) fn sink_folder_removed() {
    let tally = Tally::new(PROGRAM, Shape { rounds: 100_000, ..Shape::FILES });
    let (folder, away) = (tally.scene.path("out"), tally.scene.path("away"));
    let mut running = tally.scene.start(None, &[]);
    wait_for_output(&mut running, &tally);
    fs::rename(&folder, &away).expect("the folder goes");
    running.wait().expect_refusal("while it runs", 78, &["sink `counts`", "counts.jsonl", "put it back"]);
    tally.scene.run().expect_refusal("started again", 78, &["sink `counts`", "counts.jsonl", "is gone", "put it back"]);
    fs::rename(&away, &folder).expect("the folder comes back");
    tally.finish("the folder is back");
    // Gone for good: what was committed is lost with it, and only a job with another store can make it again.
    fs::remove_dir_all(&folder).expect("the folder goes");
    let said = ["sink `counts`", "is gone", "start the job anew with another `path`"];
    tally.scene.run().expect_refusal("gone for good", 78, &said);
    let anew = [("path = \"tally.redb\"", "path = \"anew.redb\"")];
    tally.change_job(&anew);
    tally.scene.run().expect_refusal("no folder", 78, &["sink `counts`", "its folder does not exist", "make the folder"]);
    fs::create_dir(&folder).expect("the folder is made");
    tally.finish("all over again");
}

/// The broker of the sink is away for a while, under a job with a supervisor that starts it again on 75.
fn sink_down(name: &'static str, away: Duration, timeout: &str) {
    let broker: &'static Broker = broker::shared_with(name, Options::default);
    let lines = 30_000;
    let tally = Tally::on(broker, PROGRAM, Shape { lines, rounds: 300_000, ..Shape::TO_KAFKA });
    tally.change_job(&[("interval = \"10ms\"", &format!("interval = \"100ms\"\ntimeout = \"{timeout}\""))]);
    let is_done = AtomicBool::new(false);
    let runs = std::thread::scope(|scope| {
        let outage = scope.spawn(|| {
            while tally.verdict().found == 0 {
                assert!(!is_done.load(Ordering::Relaxed), "the job ended before its first output");
                std::thread::sleep(Duration::from_millis(20));
            }
            broker.pause();
            std::thread::sleep(away);
            broker.resume();
        });
        let runs = tally.supervise("the sink is away", away + Duration::from_mins(3));
        is_done.store(true, Ordering::Relaxed);
        outage.join().expect("the broker goes on");
        runs
    });
    tally.expect_exact("the sink is back");
    assert!(runs.len() > 1, "the job never noticed: this tests nothing");
    for run in &runs[..runs.len() - 1] {
        run.expect_refusal("while the sink is away", 75, &["error: "]);
    }
}

/// The sink is away for some checkpoints' time.
pub(crate) fn sink_down_for_some_checkpoints() {
    sink_down("down-shortly", Duration::from_secs(12), "2s");
}

/// The sink is away for five minutes.
pub(crate) fn sink_down_for_five_minutes() {
    sink_down("down-long", Duration::from_mins(5), "60s");
}
