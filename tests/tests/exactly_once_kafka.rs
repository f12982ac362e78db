//! Payments from a real Kafka, alerts to it: a `read_committed` reader gets exactly those of an independent recount, whatever
//! the shape of the job, and whenever it is killed.

use std::time::{Duration, Instant};
use tidegate_tests::broker;
use tidegate_tests::judge::NewRecord;
use tidegate_tests::payments::{Options, Payments, Shape, USUAL};
use tidegate_tests::proxy::{ApiKey, Fault, Rule};
use tidegate_tests::scene::Scene;

const PROGRAM: &str = env!("CARGO_BIN_EXE_tidegate-probed");

fn bounded(shape: Shape) -> Payments<'static> {
    Payments::new(broker::shared(), &Options { shape, ..Options::bounded(PROGRAM, broker::shared().address()) })
}

fn bounded_through(address: &str) -> Payments<'static> {
    Payments::new(broker::shared(), &Options::bounded(PROGRAM, address.to_owned()))
}

/// All payments are there before the start, and the job does not end with them.
fn endless(shape: Shape) -> Payments<'static> {
    let options = Options { shape, is_bounded: false, ..Options::bounded(PROGRAM, broker::shared().address()) };
    let payments = Payments::new(broker::shared(), &options);
    payments.feed(usize::MAX);
    payments
}

fn kill(payments: &Payments<'_>, moment: &str) {
    let run = payments.scene.run_and_kill(moment);
    assert!(run.was_killed(), "the kill at {moment} did not hit: {:?}\n{}", run.status, run.log);
    payments.expect_nothing_wrong(moment);
}

#[test]
fn every_shape_of_the_job_gives_exactly_the_recounted_alerts() {
    let shapes = [
        USUAL,
        Shape { partitions: 2, ..USUAL },
        Shape { workers: 1, ..USUAL },
        Shape { workers: 3, ..USUAL },
        Shape { shards: 1, ..USUAL },
        Shape { batch_rows: 1, ..USUAL },
    ];
    for shape in shapes {
        let what = format!(
            "{} partitions, {} workers, {} shards, {} rows a batch",
            shape.partitions, shape.workers, shape.shards, shape.batch_rows
        );
        let payments = bounded(shape);
        payments.scene.run().expect_success(&what);
        payments.expect_exact(&what);
    }
}

#[test]
fn a_kill_at_any_moment_of_a_checkpoint_loses_and_doubles_nothing() {
    let moments = [
        "start-prepared:1",
        "marked:1",
        "unconfirmed:1",
        "aligned:2",
        "preparing:2",
        "prepared:2",
        "marked:2",
        "unconfirmed:2",
        "committed:2",
    ];
    for moment in moments {
        let payments = bounded(USUAL);
        kill(&payments, moment);
        payments.scene.run().expect_success(moment);
        payments.expect_exact(moment);
    }
}

#[test]
fn a_kill_in_recovery_loses_and_doubles_nothing() {
    let pairs = [
        ("unconfirmed:2", "looked:1"),
        ("unconfirmed:2", "promoted:1"),
        ("marked:2", "recovery:1"),
        ("marked:2", "rolled-back:1"),
    ];
    for (first, second) in pairs {
        let payments = bounded(USUAL);
        kill(&payments, first);
        kill(&payments, second);
        payments.scene.run().expect_success(second);
        payments.expect_exact(second);
    }
}

#[test]
fn an_instance_with_an_empty_store_beside_a_used_one_stops_and_fences_nobody() {
    let payments = bounded(USUAL);
    kill(&payments, "committed:2");
    let kept = payments.scene.path("kept.redb");
    let store = std::fs::read_dir(payments.scene.folder())
        .expect("the folder is read")
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "redb"))
        .expect("the job has a store");
    std::fs::rename(&store, &kept).expect("the store is put aside");
    let run = payments.scene.run();
    assert_eq!(run.status.code(), Some(78), "a person must look:\n{}", run.log);
    std::fs::rename(&kept, &store).expect("the store is put back");
    payments.scene.run().expect_success("with its own store");
    payments.expect_exact("with its own store");
}

#[test]
fn a_healthy_instance_is_not_harmed_by_one_with_an_empty_store() {
    let payments = endless(USUAL);
    let mut healthy = payments.scene.start(None, &[]);
    healthy.wait_until("its first alerts", |_| payments.alerts_visible() > 0);
    let other = Scene::new(PROGRAM);
    let text = std::fs::read_to_string(payments.scene.path("job.toml")).expect("the job file is read");
    other.write_job(&text);
    for _ in 0..3 {
        let run = other.run();
        assert_eq!(run.status.code(), Some(78), "a person must look:\n{}", run.log);
        assert!(run.log.contains("another instance"), "{}", run.log);
    }
    healthy.signal(libc::SIGTERM);
    healthy.wait().expect_success("the healthy one");
    payments.expect_nothing_wrong("the healthy one");
}

#[test]
fn a_late_end_of_a_transaction_finds_the_producer_replaced() {
    let proxy = broker::shared().proxy();
    let payments = bounded_through(&proxy.address());
    // The request reaches the broker while the next transaction is open; the client is cut off, repeats it and hears OK.
    let fault = Fault::Late(Duration::from_millis(150));
    proxy.rule(Rule { api: ApiKey::END_TXN, skip: 1, times: 2, fault });
    let run = payments.scene.run();
    run.expect_success("with late ends of transactions");
    assert!(run.log.contains("replacing the transactional producer"), "no rotation took place:\n{}", run.log);
    payments.expect_exact("with late ends of transactions");
}

#[test]
fn a_start_that_cannot_succeed_says_why_and_what_to_do() {
    let down = bounded_through("127.0.0.1:9");
    down.scene.run().expect_refusal("a broker that is down", 75, &["no broker of connection `main`", "127.0.0.1:9"]);
    let payments = bounded(USUAL);
    let text = std::fs::read_to_string(payments.scene.path("job.toml")).expect("the job file is read");
    payments.scene.write_job(&text.replace("topic = \"alerts-", "topic = \"no-alerts-"));
    payments.scene.run().expect_refusal(
        "a missing sink topic",
        78,
        &["topic `no-alerts-", "does not exist", "create it"],
    );
    payments.scene.write_job(&text.replace("topics = [\"payments-", "topics = [\"no-payments-"));
    payments.scene.run().expect_refusal("a missing source topic", 78, &["topic `no-payments-", "does not exist"]);
    payments.scene.write_job(&text);
    payments.scene.run().expect_success("with the right topics");
    payments.expect_exact("with the right topics");
}

#[test]
fn a_window_that_closes_while_nothing_arrives_becomes_visible_soon() {
    const START: i64 = 1_767_225_600_000;
    let payments = endless(Shape { partitions: 2, ..USUAL });
    let text = std::fs::read_to_string(payments.scene.path("job.toml")).expect("the job file is read");
    let (source, sink) =
        (payments.alerts_topic.replace("alerts", "quiet"), payments.alerts_topic.replace("alerts", "late"));
    broker::shared().create_topic(&source, 2, &[]);
    broker::shared().create_topic(&sink, 1, &[]);
    // One split stops at the first minute, the other is ten minutes ahead: the window closes when the first one is idle.
    let json = |user: &str, time: i64| format!("{{\"user_id\":\"{user}\",\"timestamp\":{time}}}").into_bytes();
    let mut records: Vec<(i32, Vec<u8>)> = (0..11).map(|at| (0, json("busy", START + at))).collect();
    records.push((1, json("other", START + 600_000)));
    broker::shared().produce(
        &source,
        records.iter().map(|(partition, value)| NewRecord {
            partition: *partition,
            key: None,
            value: Some(value),
            timestamp: START,
        }),
    );
    let (old_source, old_sink) = (payments.alerts_topic.replace("alerts", "payments"), &payments.alerts_topic);
    let text =
        text.replace(&old_source, &source).replace(&format!("topic = \"{old_sink}\""), &format!("topic = \"{sink}\""));
    let text = text.replace("max_out_of_orderness = \"5s\"", "max_out_of_orderness = \"5s\", idle_after = \"1s\"");
    payments.scene.write_job(&text);
    let began = Instant::now();
    let mut running = payments.scene.start(None, &[]);
    running.wait_until("the alert", |_| broker::shared().read_committed(&sink).len() == 1);
    // Checkpoints are left out for a minute while nothing happens; this output must not wait for that.
    assert!(began.elapsed() < Duration::from_secs(40), "the alert came after {:?}", began.elapsed());
    running.signal(libc::SIGTERM);
    running.wait().expect_success("the quiet job");
}
