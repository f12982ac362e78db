//! Signals: the first takes a last checkpoint and ends with 0, the second ends at once with 130; the next start is exact.

use super::{Copying, expect_beginning, expect_whole, scene, write_lines};
use tidegate_tests::scene::{Running, Scene};

fn has_output(scene: &Scene) -> bool {
    std::fs::metadata(scene.path("out.jsonl")).is_ok_and(|metadata| metadata.len() > 0)
}

fn has_said(running: &Running, words: &str) -> bool {
    running.log().contains(words)
}

#[test]
fn a_signal_takes_a_last_checkpoint_and_the_next_run_goes_on() {
    const LINES: usize = 6000;
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let scene = scene();
        write_lines(&scene.path("lines.jsonl"), LINES, None);
        scene.write_job(&Copying::healthy(300).job());
        let mut running = scene.start(None, &[]);
        running.wait_until("its first output", |_| has_output(&scene));
        running.signal(signal);
        let run = running.wait();
        run.expect_success("a stop");
        assert!(run.log.contains("stopped with a last checkpoint"), "{}", run.log);
        let count = expect_beginning(&scene, "a stop");
        assert!(0 < count && count < LINES, "{count} lines are committed: the test tests nothing");
        let staged = std::fs::read_dir(scene.folder()).expect("the folder is there");
        let staged =
            staged.filter_map(Result::ok).filter(|entry| entry.file_name().to_string_lossy().contains("staging"));
        assert_eq!(staged.count(), 0, "a clean stop leaves no staging file");
        scene.run().expect_success("the next run");
        expect_whole(&scene, "the next run");
    }
}

#[test]
fn a_second_signal_ends_at_once_and_the_next_run_is_exact() {
    const LINES: usize = 300;
    let scene = scene();
    write_lines(&scene.path("lines.jsonl"), LINES, None);
    // So slow that the last checkpoint waits long for the records before it.
    scene.write_job(&Copying::healthy(10_000).job());
    let mut running = scene.start(None, &[]);
    running.wait_until("its start", |running| has_said(running, "running from checkpoint"));
    running.signal(libc::SIGTERM);
    running.wait_until("the stop", |running| has_said(running, "a second signal ends at once"));
    running.signal(libc::SIGTERM);
    let run = running.wait();
    run.expect_refusal("a second signal", 130, &["the next start recovers from the last checkpoint"]);
    let count = expect_beginning(&scene, "a second signal");
    assert!(count < LINES, "all lines are committed: the test tests nothing");
    scene.run().expect_success("the next run");
    expect_whole(&scene, "the next run");
}

#[test]
fn a_checkpoint_that_takes_too_long_ends_the_process_and_says_what_to_change() {
    const LINES: usize = 1000;
    let scene = scene();
    write_lines(&scene.path("lines.jsonl"), LINES, None);
    let slow = Copying { operator_keys: "call_timeout = \"1900ms\"".to_owned(), ..Copying::healthy(5000) };
    // All lines wait before the operator, and a barrier behind them.
    let job = slow.job().replace("channel = \"8KiB\"", "channel = \"4MiB\"");
    scene.write_job(&job.replace("interval = \"10ms\"", "interval = \"10ms\"\ntimeout = \"2s\""));
    let said = ["was not prepared within", "the one before it is intact", "raise `timeout`", "lower `channel`"];
    scene.run().expect_refusal("a slow operator", 75, &said);
    expect_beginning(&scene, "a slow operator");
    // Less waits before the operator, so a barrier passes in time.
    let job = slow.job().replace("channel = \"8KiB\"", "channel = \"1KiB\"");
    scene.write_job(&job.replace("interval = \"10ms\"", "interval = \"10ms\"\ntimeout = \"2s\""));
    scene.run().expect_success("with small channels");
    expect_whole(&scene, "with small channels");
}
