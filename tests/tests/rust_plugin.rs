//! The reference operator, built as an author builds it: described, run, captured and restored in another engine.
//!
//! Needs what `tidegate plugin build` needs; without it the test fails with the line that installs it.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tidegate::cli::plugin::{BuildArguments, build};
use tidegate::columns::{Batch, BytesColumn};
use tidegate::ids::{PortIndex, Watermark};
use tidegate::plugin::{Engine, Input, Instance, InstanceOptions, Plugin};
use tidegate::state::snapshot::{InstanceImage, MemoryDelta};

const MINUTE: i64 = 60_000;
const ROWS: usize = 1024;

/// The artifact, built once for all tests.
fn artifact() -> &'static Path {
    static BUILT: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = BUILT.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let out = folder.path().join("fraud.wasm");
        let plugin = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/fraud-detector");
        let arguments =
            clap::Parser::try_parse_from(["build".as_ref(), plugin.as_os_str(), "--out".as_ref(), out.as_os_str()]);
        let Line { arguments } = arguments.expect("the line is right");
        if let Err(error) = build(&arguments) {
            panic!("the plugin was not built: {error}");
        }
        (folder, out)
    });
    path
}

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    arguments: BuildArguments,
}

/// The plugin in an engine of its own.
fn load() -> Plugin {
    let bytes = std::fs::read(artifact()).expect("the artifact was written");
    Engine::new(None).and_then(|engine| engine.load("fraud.wasm", &bytes)).expect("the artifact is acceptable")
}

fn options() -> InstanceOptions {
    InstanceOptions {
        job: "payments".to_owned(),
        operator: "fraud".to_owned(),
        shard: 0,
        shards: 16,
        seed: 7,
        config: r#"{"threshold":5}"#.to_owned(),
        memory_bytes: 64 << 20,
        call_timeout: Duration::from_secs(10),
    }
}

/// Rows of 1,000 users in a fixed order, over half a minute a batch.
fn rows(batch: i64) -> (BytesColumn, Vec<i64>) {
    let mut keys = BytesColumn::default();
    let mut timestamps = Vec::with_capacity(ROWS);
    for row in 0..ROWS as i64 {
        let user = (row * 7919 + batch * 104_729) % 97 * 10 + row % 3;
        keys.push(Some(format!("user-{user:06}").as_bytes()));
        timestamps.push(batch * MINUTE / 2 + row * 29);
    }
    (keys, timestamps)
}

/// Runs batches with a watermark two batches behind, as a job does; returns what was emitted.
fn run(mut instance: Instance, batches: std::ops::Range<i64>) -> (Instance, Vec<(PortIndex, Batch)>) {
    let mut emitted = Vec::new();
    for batch in batches {
        let (keys, timestamps) = rows(batch);
        let input =
            Input { rows: ROWS, keys: Some(&keys), values: None, timestamps: &timestamps, headers: None, columns: &[] };
        let watermark = Watermark((batch - 2) * MINUTE / 2);
        let (next, outcome) = instance.process(PortIndex(0), watermark, &input).expect("the batch is processed");
        emitted.extend(outcome.outputs);
        let (next, outcome) = next.advance(watermark).expect("the watermark is taken");
        emitted.extend(outcome.outputs);
        instance = next;
    }
    (instance, emitted)
}

fn assert_same(left: &[(PortIndex, Batch)], right: &[(PortIndex, Batch)]) {
    assert_eq!(left.len(), right.len());
    for ((left_port, left), (right_port, right)) in left.iter().zip(right) {
        assert_eq!((left_port, &left.keys, &left.values), (right_port, &right.keys, &right.values));
        assert_eq!(left.timestamps, right.timestamps);
    }
}

#[test]
fn the_reference_operator_goes_on_after_a_restore_in_another_engine() {
    let instance = load().open(&options()).expect("it opens");
    let (mut instance, _) = run(instance, 0..9);
    let first = instance.capture().expect("it is captured");
    let image = InstanceImage { memories: first.memories, globals: first.globals };
    let restored = load().restore(&options(), &image).expect("it is restored");
    let (mut instance, expected) = run(instance, 9..20);
    let (mut restored, emitted) = run(restored, 9..20);
    assert!(expected.iter().map(|(_, batch)| batch.rows()).sum::<usize>() > 100, "there are alerts");
    assert_same(&expected, &emitted);
    let (left, right) = (instance.capture().expect("captured"), restored.capture().expect("captured"));
    assert_eq!(left.globals, right.globals);
    let pages = |memories: &[MemoryDelta]| memories.iter().map(|memory| memory.pages.clone()).collect::<Vec<_>>();
    assert_eq!(pages(&left.memories), pages(&right.memories));
    assert!(left == right, "the same pages changed, to the same bytes");
}

#[test]
fn two_runs_of_the_reference_operator_are_the_same() {
    let runs = || run(load().open(&options()).expect("it opens"), 0..12).1;
    assert_same(&runs(), &runs());
}

#[test]
fn a_record_costs_nanoseconds() {
    let mut instance = load().open(&options()).expect("it opens");
    let (keys, mut timestamps) = rows(0);
    timestamps.fill(MINUTE);
    let input =
        Input { rows: ROWS, keys: Some(&keys), values: None, timestamps: &timestamps, headers: None, columns: &[] };
    let mut best = f64::MAX;
    for _ in 0..20 {
        let start = Instant::now();
        for _ in 0..100 {
            instance = instance.process(PortIndex(0), Watermark::START, &input).expect("the batch is processed").0;
        }
        best = best.min(start.elapsed().as_nanos() as f64 / (100.0 * ROWS as f64));
    }
    println!("{best:.1} ns a record, 1,024 a call, keys and timestamps");
    assert!(best < 1000.0, "a call per record would cost as much: {best} ns a record");
}
