//! Payments from files, alerts to a file: exactly those of an independent recount, whatever the shape of the job, and
//! whenever it is killed.

use std::path::PathBuf;
use tidegate_tests::scene::{Scene, plugin};
use xtask::generate::{Plan, write_files};
use xtask::recount::{Alert, Found, Recount, Rule};

const RECORDS: u64 = 200_000;

/// What a job is varied in, one factor at a time.
#[derive(Clone, Copy)]
struct Shape {
    files: usize,
    workers: u16,
    shards: u16,
    batch_rows: usize,
}

const USUAL: Shape = Shape { files: 2, workers: 2, shards: 16, batch_rows: 1024 };

struct Payments {
    scene: Scene,
    inputs: Vec<PathBuf>,
}

impl Payments {
    fn new(shape: Shape, records: u64) -> Payments {
        let scene = Scene::new(env!("CARGO_BIN_EXE_tidegate-probed"));
        std::fs::create_dir(scene.path("payments")).expect("the folder is made");
        let inputs: Vec<PathBuf> = (0..shape.files).map(|at| scene.path(&format!("payments/{at}.jsonl"))).collect();
        write_files(Plan::new(records), &inputs).expect("payments are written");
        scene.write_job(&job(shape));
        Payments { scene, inputs }
    }

    /// A reader between two lives: what is there is right and there once, if not yet complete. A kill while lines are
    /// appended can leave the last one cut; a reader goes by line ends.
    fn expect_nothing_wrong(&self, what: &str) {
        let text = std::fs::read_to_string(self.scene.path("alerts.jsonl")).unwrap_or_default();
        let mut found = Found::default();
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            found.add(line.trim_end().as_bytes());
        }
        let verdict = found.compare(&self.expected());
        assert!(verdict.duplicated == 0 && verdict.wrong == 0, "{what}: {verdict:?}");
    }

    fn kill(&self, moment: &str) {
        let run = self.scene.run_and_kill(moment);
        assert!(run.was_killed(), "the kill at {moment} did not hit: {:?}\n{}", run.status, run.log);
        self.expect_nothing_wrong(moment);
    }

    fn expected(&self) -> Vec<Alert> {
        let mut recount = Recount::new(Rule::default());
        for input in &self.inputs {
            recount.add_file(input).expect("the input is read");
        }
        recount.alerts()
    }

    fn expect_exact(&self, what: &str) {
        let expected = self.expected();
        assert!(expected.len() > 100, "only {} alerts are expected: the input tests nothing", expected.len());
        let mut found = Found::default();
        found.add_file(&self.scene.path("alerts.jsonl")).expect("the alerts are read");
        let verdict = found.compare(&expected);
        assert!(verdict.is_exact(), "{what}: {verdict:?}");
    }
}

fn job(shape: Shape) -> String {
    let Shape { workers, shards, batch_rows, .. } = shape;
    let plugin = plugin("fraud_detector");
    format!(
        r#"format = 1
name = "fraud"
shards = {shards}
workers = {workers}

[checkpoint]
interval = "10ms"

[batch]
rows = {batch_rows}

[source.payments]
kind = "file"
path = "payments"
key = "/user_id"
timestamp = {{ field = "/timestamp", format = "unix_ms" }}
watermark = {{ max_out_of_orderness = "5s" }}

[operator.detector]
plugin = "{}"
inputs = {{ main = "payments" }}
config = {{ threshold = 10, window = "1m" }}

[sink.alerts]
kind = "file"
path = "alerts.jsonl"
from = ["detector.alerts"]

[sink.late]
kind = "file"
path = "late.jsonl"
from = ["detector.late"]
"#,
        plugin.display()
    )
}

#[test]
fn every_shape_of_the_job_gives_exactly_the_recounted_alerts() {
    let shapes = [
        USUAL,
        Shape { files: 1, ..USUAL },
        Shape { files: 4, ..USUAL },
        Shape { workers: 1, ..USUAL },
        Shape { workers: 3, ..USUAL },
        Shape { shards: 1, ..USUAL },
        Shape { batch_rows: 1, ..USUAL },
    ];
    for shape in shapes {
        let what = format!(
            "{} files, {} workers, {} shards, {} rows a batch",
            shape.files, shape.workers, shape.shards, shape.batch_rows
        );
        let payments = Payments::new(shape, RECORDS);
        payments.scene.run().expect_success(&what);
        payments.expect_exact(&what);
        let late = std::fs::read(payments.scene.path("late.jsonl")).expect("the late file is there");
        assert!(late.is_empty(), "{what}: nothing is late within the allowed disorder");
    }
}

#[test]
fn a_kill_at_any_moment_of_a_checkpoint_loses_and_doubles_nothing() {
    let moments = [
        "start-prepared:1",
        "started:1",
        "inject:2",
        "aligned:2",
        "flushed:2",
        "collected:2",
        "preparing:2",
        "prepared:2",
        "decided:2",
        "applied:2",
        "committed:2",
    ];
    for moment in moments {
        let payments = Payments::new(USUAL, RECORDS);
        payments.kill(moment);
        payments.scene.run().expect_success(moment);
        payments.expect_exact(moment);
    }
}

#[test]
fn a_kill_in_recovery_loses_and_doubles_nothing() {
    for (first, second) in [("prepared:2", "recovery:1"), ("prepared:2", "promoted:1"), ("preparing:2", "recovery:1")] {
        let payments = Payments::new(USUAL, RECORDS);
        for moment in [first, second] {
            payments.kill(moment);
        }
        payments.scene.run().expect_success(second);
        payments.expect_exact(second);
    }
}

#[test]
fn kills_one_after_the_other_lose_and_double_nothing() {
    let payments = Payments::new(USUAL, RECORDS);
    let mut hits = 0;
    for moment in ["flushed:1", "preparing:1", "prepared:1", "flushed:1", "decided:1", "applied:1"] {
        let run = payments.scene.run_and_kill(moment);
        hits += usize::from(run.was_killed());
    }
    assert!(hits >= 4, "only {hits} kills hit");
    payments.scene.run().expect_success("after six kills");
    payments.expect_exact("after six kills");
}

#[test]
fn a_finished_job_started_again_ends_at_once_and_adds_nothing() {
    let payments = Payments::new(USUAL, RECORDS);
    payments.scene.run().expect_success("the first run");
    let before = std::fs::read(payments.scene.path("alerts.jsonl")).expect("the alerts are read");
    payments.scene.run().expect_success("the second run");
    let after = std::fs::read(payments.scene.path("alerts.jsonl")).expect("the alerts are read");
    assert_eq!(before, after);
}

#[test]
fn a_source_that_feeds_a_sink_directly_is_copied_exactly_under_a_kill() {
    let scene = Scene::new(env!("CARGO_BIN_EXE_tidegate-probed"));
    let input = scene.path("payments.jsonl");
    write_files(Plan::new(RECORDS), std::slice::from_ref(&input)).expect("payments are written");
    scene.write_job(
        r#"format = 1
name = "copy"

[checkpoint]
interval = "10ms"

[source.payments]
kind = "file"
path = "payments.jsonl"
timestamp = { field = "/timestamp", format = "unix_ms" }

[sink.copy]
kind = "file"
path = "copy.jsonl"
from = ["payments"]
"#,
    );
    let run = scene.run_and_kill("prepared:1");
    assert!(run.was_killed(), "the kill did not hit: {:?}\n{}", run.status, run.log);
    scene.run().expect_success("the second run");
    let copy = std::fs::read(scene.path("copy.jsonl")).expect("the copy is read");
    assert!(copy == std::fs::read(&input).expect("the input is read"), "the copy differs from its input");
}

#[test]
fn windows_behind_another_operator_close_at_the_end_of_the_input() {
    let steps = plugin("steps");
    for kill in [None, Some("prepared:1"), Some("decided:1")] {
        let payments = Payments::new(USUAL, RECORDS);
        let first = format!(
            "[operator.first]\nplugin = \"{}\"\nconfig = {{ role = \"pass\" }}\n\
             inputs = {{ main = {{ from = \"payments\", route = \"same-shard\" }} }}\n\n[operator.detector]",
            steps.display()
        );
        let text =
            job(USUAL).replace("[operator.detector]", &first).replace("main = \"payments\"", "main = \"first.out\"");
        payments.scene.write_job(&text);
        if let Some(moment) = kill {
            payments.kill(moment);
        }
        payments.scene.run().expect_success("behind another operator");
        payments.expect_exact("behind another operator");
    }
}
