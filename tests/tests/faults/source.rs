//! Rows of the fault matrix about input that changes, stalls or runs ahead, and about sinks that are away.
//!
//! Event time has rows in `event_time`. Next room: `tidegate_tests::tally`.

use crate::matrix::Row;
use crate::{PROGRAM, event_time};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};
use tidegate_tests::broker::{self, Broker, Options};
use tidegate_tests::judge::wait_until;
use tidegate_tests::scene::Running;
use tidegate_tests::tally::{Shape, Tally, line, wait_for_output};

pub(crate) const ROWS: &[Row] = &[
    Row::quick(
        "file truncated",
        "the input is cut while it is read",
        "STOP, again at the next start; as it was exact",
        file_truncated,
    ),
    Row::elsewhere(
        "file truncated before a start",
        "the input is shorter than what was read",
        "STOP; as it was exact",
        ("tests/tests/bad_input/files.rs", "a_file_that_shrank_since_the_checkpoint_is_refused"),
    ),
    Row::quick(
        "file replaced",
        "another file takes the input's name while it is read",
        "STOP, again at the next start; as it was exact",
        file_replaced,
    ),
    Row::elsewhere(
        "file replaced before a start",
        "another file has the input's name, or none",
        "STOP; as it was exact",
        ("tests/tests/bad_input/files.rs", "a_file_that_was_replaced_since_the_checkpoint_is_refused"),
    ),
    Row::elsewhere(
        "file rewritten in place",
        "the same file with other first bytes",
        "STOP",
        ("tests/tests/bad_input/files.rs", "a_file_that_was_rewritten_in_place_is_refused"),
    ),
    Row::quick(
        "file appended in the middle of a line",
        "a line is written half, and the rest after the job came to it",
        "a bad record with its place (1); whole exact",
        line_appended_in_two_halves,
    ),
    Row::elsewhere(
        "last line goes on",
        "a last line without a line end was read, and goes on",
        "STOP",
        ("host/src/source/file/tests.rs", "a_last_line_that_went_on_after_it_was_read_is_refused"),
    ),
    Row::quick(
        "end, pause, one more record, resume",
        "a stop or a SIGSTOP at the end of a partition, one more record, on",
        "exact: librdkafka can skip the record",
        one_more_record_after_the_end,
    ),
    Row::quick(
        "upstream transaction open past `idle_after`",
        "somebody's transaction stays open in one partition, the other is ten minutes ahead",
        "the partition is not idle: its records are not late when they come",
        event_time::upstream_transaction_stays_open,
    ),
    Row::elsewhere(
        "a quiet split",
        "one partition has nothing more",
        "it is idle after `idle_after`, and the windows of the others close",
        ("tests/tests/exactly_once_kafka.rs", "a_window_that_closes_while_nothing_arrives_becomes_visible_soon"),
    ),
    Row::quick(
        "a split far ahead",
        "one of two partitions is a day ahead, for 100,000 records and for 300,000",
        "exact, nothing late, and memory (VmHWM) does not grow with three times the records",
        event_time::split_far_ahead,
    ),
    Row::quick(
        "sink down for a while",
        "the sink's broker stands still for longer than `checkpoint.timeout`, under a supervisor",
        "it waits, or ends with 75 as long as the broker is away; then exact",
        sink_down_for_a_while,
    ),
    Row::slow(
        "sink down for five minutes",
        "the same with the default timeout",
        "the same",
        sink_down_for_five_minutes,
    ),
    Row::quick(
        "sink directory removed",
        "the output's folder goes while the job runs",
        "STOP, again at the next start; put back exact; gone for good a new store is exact",
        sink_folder_removed,
    ),
];

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
fn file_truncated() {
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
fn file_replaced() {
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
fn line_appended_in_two_halves() {
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
fn one_more_record_after_the_end() {
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
fn sink_folder_removed() {
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
    let said = ["sink `counts`", "is gone", "begin a new file"];
    tally.scene.run().expect_refusal("gone for good", 78, &said);
    let anew = [("path = \"tally.redb\"", "path = \"anew.redb\"")];
    tally.change_job(&anew);
    tally.scene.run().expect_refusal(
        "no folder",
        78,
        &["sink `counts`", "its folder does not exist", "make the folder"],
    );
    fs::create_dir(&folder).expect("the folder is made");
    tally.finish("all over again");
}

/// The broker of the sink is away for a while, under a job with a supervisor that starts it again on 75.
fn sink_down(name: &'static str, away: Duration, timeout: &str) {
    let broker: &'static Broker = broker::shared_with(name, Options::default);
    let tally = Tally::on(broker, PROGRAM, Shape { rounds: 1_200_000, ..Shape::TO_KAFKA });
    tally.change_job(&[("interval = \"10ms\"", &format!("interval = \"100ms\"\ntimeout = \"{timeout}\""))]);
    let runs = std::thread::scope(|scope| {
        let outage = scope.spawn(|| {
            wait_until("its first output", || tally.verdict().found > 0);
            broker.pause();
            std::thread::sleep(away);
            broker.resume();
        });
        let began = Instant::now();
        let runs = tally.supervise("the sink is away", away + Duration::from_mins(3));
        assert!(began.elapsed() > away, "the job ended while its sink was away: this tests nothing");
        outage.join().expect("the broker goes on");
        runs
    });
    tally.expect_exact("the sink is back");
    for run in &runs[..runs.len() - 1] {
        run.expect_refusal("while the sink is away", 75, &["error: "]);
    }
}

/// The sink is away for longer than a checkpoint may take.
fn sink_down_for_a_while() {
    sink_down("down-shortly", Duration::from_secs(8), "6s");
}

/// The sink is away for five minutes.
fn sink_down_for_five_minutes() {
    sink_down("down-long", Duration::from_mins(5), "60s");
}
