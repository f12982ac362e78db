//! The transactional producer against a real broker: what becomes visible, when, and what a fault in between does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tidegate::checkpoint::record::{Marker, PartitionEnd};
use tidegate::config::model::{KafkaConnection, Secret};
use tidegate::ids::{AttemptId, CheckpointId, StoreId};
use tidegate::kafka::look::{Confirmation, Patience};
use tidegate::kafka::transaction::{CommitOutcome, Doubt, Options, ProduceError, Rotation, Soundness};
use tidegate::kafka::{
    Drained, KafkaError, Look, MarkerPlace, NewRecord, TopicPartition, TransactionalProducer, marker,
};
use tidegate_tests::broker::{self, Broker, TransactionVersion};
use tidegate_tests::judge::{self, Isolation, wait_until};
use tidegate_tests::proxy::{ApiKey, Fault};
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(30);
const TIME: i64 = 1_700_000_000_000;
/// The broker's words for a request of a producer that was replaced.
const INVALID_PRODUCER_EPOCH: i16 = 47;
const PRODUCER_FENCED: i16 = 90;

/// A job's topics on a broker, and the ways to them.
struct Setting<'a> {
    broker: &'a Broker,
    job: String,
    topic: String,
}

impl<'a> Setting<'a> {
    fn new(broker: &'a Broker, job: &str) -> Setting<'a> {
        let topic = format!("{job}.out");
        broker.create_topic(&topic, 3, &[]);
        broker.create_topic(&format!("tidegate.{job}"), 1, &[("cleanup.policy", "compact")]);
        Setting { broker, job: job.to_owned(), topic }
    }

    fn place(&self) -> MarkerPlace {
        MarkerPlace::of_job(&self.job)
    }

    fn look(&self) -> Look {
        Look::connect(&connection(&self.broker.address())).expect("a client can be made")
    }

    /// What a start does: takes the transactional id over, and waits until what was open is ended.
    fn start(&self) -> TransactionalProducer {
        self.start_at(&self.broker.address(), Rotation::WhenDoubtful)
    }

    fn start_at(&self, address: &str, rotation: Rotation) -> TransactionalProducer {
        self.start_with(address, rotation, SOON)
    }

    fn start_with(&self, address: &str, rotation: Rotation, commit_max: Duration) -> TransactionalProducer {
        let options = Options {
            transactional_id: format!("tidegate.{}", self.job),
            transaction_timeout: None,
            commit_max,
            marker: self.place(),
            rotation,
        };
        let connection = connection(address);
        let look = Look::connect(&connection).expect("a client can be made");
        let producer = TransactionalProducer::init(&connection, options, look, SOON).expect("the broker gives an id");
        let ends = self.ends(producer.look());
        let settled = producer.look().confirm(&ends, &mut |_| Patience::GiveUp);
        assert!(matches!(settled, Confirmation::Decided), "the earlier life is not ended: {settled:?}");
        producer
    }

    fn ends(&self, look: &Look) -> Vec<PartitionEnd> {
        let place = |partition| TopicPartition { topic: self.topic.clone(), partition };
        let places: Vec<TopicPartition> = (0..3).map(place).collect();
        look.ends(&places, SOON).expect("the broker answers")
    }

    /// Writes a value to each partition.
    fn write(&self, producer: &mut TransactionalProducer, value: &str) {
        let (topic, partitions) = producer.open_topic(&self.topic, SOON).expect("the topic exists");
        for partition in 0..partitions as i32 {
            let record = NewRecord { partition, key: Some(b"key"), value: Some(value.as_bytes()), timestamp: TIME };
            producer.produce(topic, &record, []).expect("the queue has room");
        }
    }

    /// The values that a reader of committed records sees, each as often as it sees it.
    fn visible(&self) -> Vec<String> {
        let mut values: Vec<String> =
            self.broker.read_committed(&self.topic).iter().map(|record| record.text().to_owned()).collect();
        values.sort();
        values
    }

    fn marker(&self) -> Option<CheckpointId> {
        let value = self.look().read_marker(&self.place(), SOON).expect("the broker answers");
        value.map(|value| marker::decode(&value).expect("the marker is ours").id)
    }
}

fn connection(address: &str) -> KafkaConnection {
    let property = |name: &str, value: &str| (name.to_owned(), Secret::new(value.to_owned()));
    KafkaConnection {
        name: "main".to_owned(),
        brokers: vec![address.to_owned()],
        properties: vec![property("socket.timeout.ms", "3000"), property("reconnect.backoff.ms", "20")],
    }
}

fn marker_of(checkpoint: u64) -> Marker {
    Marker {
        id: CheckpointId(checkpoint),
        attempt: AttemptId(Uuid::from_u128(7)),
        store: StoreId(Uuid::from_u128(8)),
        digest: 9,
    }
}

fn drain(producer: TransactionalProducer) -> Drained {
    producer.drain(SOON).expect("the broker takes the records")
}

/// Commits, confirms and goes on; also says whether the producer was sound.
fn commit(drained: Drained, checkpoint: u64) -> (TransactionalProducer, Soundness) {
    let unconfirmed = match drained.commit(&marker_of(checkpoint)) {
        CommitOutcome::Committed(unconfirmed) => unconfirmed,
        CommitOutcome::Unknown(error) => panic!("the commit is unknown: {error}"),
    };
    let soundness = unconfirmed.soundness().clone();
    let confirmed = unconfirmed.confirm(&mut |_| Patience::Wait).expect("the commit is confirmed");
    (confirmed.resume(SOON).expect("the producer goes on"), soundness)
}

fn on_both_versions(test: impl Fn(&Broker)) {
    test(broker::shared());
    test(old_broker());
}

/// A broker with `transaction.version=0` that allows transactions of one minute.
fn old_broker() -> &'static Broker {
    broker::shared_with("old", || broker::Options {
        transaction_version: TransactionVersion::V0,
        config: vec![("transaction.max.timeout.ms".to_owned(), "60000".to_owned())],
        ..broker::Options::default()
    })
}

#[test]
fn a_commit_makes_records_and_marker_visible_and_nothing_before_does() {
    on_both_versions(|broker| {
        let setting = Setting::new(broker, "visible");
        let mut producer = setting.start();
        assert_eq!(setting.marker(), None);
        setting.write(&mut producer, "one");
        let drained = drain(producer);
        let ends: Vec<_> = drained.ends().iter().map(|end| (end.partition, end.end_offset)).collect();
        assert_eq!(ends, [(0, 1), (1, 1), (2, 1)]);
        assert_eq!((setting.visible(), setting.marker()), (vec![], None));
        let (mut producer, soundness) = commit(drained, 1);
        assert_eq!(soundness, Soundness::Sound);
        assert_eq!((setting.visible(), setting.marker()), (vec!["one".to_owned(); 3], Some(CheckpointId(1))));

        // A life that ends before its commit leaves nothing that a reader sees.
        setting.write(&mut producer, "two");
        drop(drain(producer));
        let producer = setting.start();
        assert_eq!((setting.visible(), setting.marker()), (vec!["one".to_owned(); 3], Some(CheckpointId(1))));
        assert_eq!(setting.broker.read(&setting.topic, Isolation::Uncommitted).len(), 6);

        // A checkpoint without output is a marker alone.
        let (_, soundness) = commit(drain(producer), 2);
        assert_eq!((soundness, setting.marker()), (Soundness::Sound, Some(CheckpointId(2))));
    });
}

#[test]
fn a_record_arrives_as_it_was_written() {
    let setting = Setting::new(broker::shared(), "record");
    let mut producer = setting.start();
    let (topic, _) = producer.open_topic(&setting.topic, SOON).expect("the topic exists");
    let headers: [(&[u8], Option<&[u8]>); 3] = [(b"a", Some(b"1")), (b"a", None), (b"b", Some(b""))];
    let record = NewRecord { partition: 2, key: Some(b""), value: None, timestamp: 1 };
    producer.produce(topic, &record, headers).expect("the queue has room");
    let record = NewRecord { partition: 2, key: None, value: Some(b""), timestamp: TIME };
    producer.produce(topic, &record, []).expect("the queue has room");
    commit(drain(producer), 1);
    let seen = setting.broker.read_committed(&setting.topic);
    let header = |name: &str, value: Option<&str>| (name.to_owned(), value.map(|value| value.as_bytes().to_vec()));
    assert_eq!(seen[0].headers, [header("a", Some("1")), header("a", None), header("b", Some(""))]);
    let plain: Vec<_> = seen.iter().map(|seen| (seen.key.as_deref(), seen.value.as_deref(), seen.timestamp)).collect();
    assert_eq!(plain, [(Some(&b""[..]), None, 1), (None, Some(&b""[..]), TIME)]);
}

#[test]
fn a_transaction_that_nobody_decides_is_seen_as_undecided() {
    let setting = Setting::new(broker::shared(), "undecided");
    let mut producer = setting.start();
    setting.write(&mut producer, "open");
    let drained = drain(producer);
    let needed: Vec<PartitionEnd> =
        drained.ends().iter().map(|end| PartitionEnd { end_offset: end.end_offset + 1, ..end.clone() }).collect();
    let Confirmation::Undecided(behind) = setting.look().confirm(&needed, &mut |_| Patience::GiveUp) else {
        panic!("an open transaction was taken for decided");
    };
    assert_eq!(behind.len(), 3);
    assert_eq!(behind[0].to_string(), format!("`{}` partition `0` is stable to `0` of `2`", setting.topic));
    commit(drained, 1);
    assert!(matches!(setting.look().confirm(&needed, &mut |_| Patience::GiveUp), Confirmation::Decided));
}

/// Holds the first `EndTxn` of a commit back until the next transaction is open, and ends the process there. Returns what
/// the commit said of the producer and what the broker said to the late request.
fn late_end_of_transaction(setting: &Setting<'_>, rotation: Rotation) -> (Soundness, i16) {
    let proxy = setting.broker.proxy();
    let mut producer = setting.start_at(&proxy.address(), rotation);
    setting.write(&mut producer, "one");
    proxy.next(ApiKey::END_TXN, Fault::HoldAndCut);
    let (mut producer, soundness) = commit(drain(producer), 1);
    assert!(proxy.wait_held(SOON), "the request did not go through the proxy");
    setting.write(&mut producer, "two");
    let unfinished = drain(producer);
    let answer = proxy.deliver().end_txn_error();
    drop(unfinished);
    (soundness, answer)
}

/// What recovery does next: the marker says that `two` was not committed, so it is written again.
fn write_two_again(setting: &Setting<'_>) -> Vec<String> {
    let mut producer = setting.start();
    assert_eq!(setting.marker(), Some(CheckpointId(1)));
    setting.write(&mut producer, "two");
    commit(drain(producer), 3);
    setting.visible()
}

#[test]
fn a_late_end_of_transaction_finds_the_producer_replaced() {
    on_both_versions(|broker| {
        let setting = Setting::new(broker, "late");
        let (soundness, answer) = late_end_of_transaction(&setting, Rotation::WhenDoubtful);
        assert!(matches!(soundness, Soundness::Doubtful(Doubt::UnansweredRequests(1..))), "{soundness:?}");
        assert!([INVALID_PRODUCER_EPOCH, PRODUCER_FENCED].contains(&answer), "the broker answered {answer}");
        let expected: Vec<&str> = ["one"; 3].into_iter().chain(["two"; 3]).collect();
        assert_eq!(write_two_again(&setting), expected);
    });
}

/// The counter-proof: the same fault without rotation doubles every record, so the test above can fail.
#[test]
fn without_rotation_a_late_end_of_transaction_doubles_records() {
    on_both_versions(|broker| {
        let setting = Setting::new(broker, "late-kept");
        let (soundness, answer) = late_end_of_transaction(&setting, Rotation::Never);
        assert_eq!((soundness, answer), (Soundness::Sound, 0));
        let expected: Vec<&str> = ["one"; 3].into_iter().chain(["two"; 6]).collect();
        assert_eq!(write_two_again(&setting), expected);
    });
}

#[test]
fn lost_answers_and_cut_connections_commit_once_and_leave_a_doubt() {
    let setting = Setting::new(broker::shared(), "lost");
    let proxy = setting.broker.proxy();
    let mut producer = setting.start_at(&proxy.address(), Rotation::WhenDoubtful);
    let faults = [
        (ApiKey::END_TXN, Fault::CutBefore),
        (ApiKey::END_TXN, Fault::CutAfter),
        (ApiKey::END_TXN, Fault::DropReply),
        (ApiKey::ADD_PARTITIONS_TO_TXN, Fault::CutAfter),
        (ApiKey::PRODUCE, Fault::CutAfter),
    ];
    let mut expected = Vec::new();
    for (number, (api, fault)) in faults.into_iter().enumerate() {
        let value = format!("value-{number}");
        proxy.next(api, fault);
        setting.write(&mut producer, &value);
        let (next, soundness) = commit(drain(producer), number as u64);
        producer = next;
        let is_doubtful = matches!(soundness, Soundness::Doubtful(_));
        assert_eq!(is_doubtful, api != ApiKey::PRODUCE, "fault {number} at {api:?}: {soundness:?}");
        expected.extend(std::iter::repeat_n(value, 3));
    }
    assert_eq!(proxy.hits().len(), 5);
    assert_eq!(setting.visible(), expected);
}

#[test]
fn a_fenced_producer_never_commits() {
    let setting = Setting::new(broker::shared(), "fenced");
    let mut zombie = setting.start();
    setting.write(&mut zombie, "zombie");
    let zombie = drain(zombie);
    let mut healthy = setting.start();
    setting.write(&mut healthy, "healthy");
    match zombie.commit(&marker_of(1)) {
        CommitOutcome::Unknown(error @ KafkaError::Fenced { .. }) => {
            let text = error.to_string();
            assert!(text.contains("transactional id") && text.contains("transaction.timeout.ms"), "{text}");
        }
        outcome => panic!("a fenced producer's commit came to {outcome:?}"),
    }
    commit(drain(healthy), 2);
    assert_eq!((setting.visible(), setting.marker()), (vec!["healthy".to_owned(); 3], Some(CheckpointId(2))));
}

#[test]
fn a_broker_that_dies_in_a_commit_leaves_it_unknown_or_commits_once_when_it_is_back() {
    let broker = Arc::new(Broker::start(&broker::Options::default()));
    let setting = Setting::new(&broker, "killed");
    let proxy = broker.proxy();
    let kill_at_commit = |broker: &Arc<Broker>| {
        let killed = Arc::clone(broker);
        proxy.next(ApiKey::END_TXN, Fault::Hook(Arc::new(move || killed.kill())));
    };

    let mut producer = setting.start_at(&proxy.address(), Rotation::WhenDoubtful);
    setting.write(&mut producer, "one");
    kill_at_commit(&broker);
    let back = Arc::clone(&broker);
    let is_back = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&is_back);
    let restarter = thread::spawn(move || {
        wait_until("the broker is killed", || !back.is_running());
        back.restart();
        told.store(true, Ordering::Release);
    });
    let (producer, soundness) = commit(drain(producer), 1);
    assert!(is_back.load(Ordering::Acquire), "committed without a broker");
    restarter.join().expect("the broker came back");
    assert!(matches!(soundness, Soundness::Doubtful(_)), "{soundness:?}");
    assert_eq!((setting.visible(), setting.marker()), (vec!["one".to_owned(); 3], Some(CheckpointId(1))));

    drop(producer);
    let mut producer = setting.start_with(&proxy.address(), Rotation::WhenDoubtful, Duration::from_secs(2));
    setting.write(&mut producer, "two");
    kill_at_commit(&broker);
    let outcome = drain(producer).commit(&marker_of(2));
    assert!(matches!(outcome, CommitOutcome::Unknown(_)), "{outcome:?}");
    drop(outcome);
    broker.restart();
    // Only the marker knows now, and it agrees with what readers see.
    drop(setting.start());
    let committed = setting.marker() == Some(CheckpointId(2));
    assert_eq!(setting.visible().len(), if committed { 6 } else { 3 });
}

#[test]
fn a_full_queue_is_waited_for_and_memory_stays_bounded() {
    const RECORDS: usize = 300_000;
    let broker = Broker::start(&broker::Options::default());
    let setting = Setting::new(&broker, "full");
    let mut producer = setting.start();
    let (topic, _) = producer.open_topic(&setting.topic, SOON).expect("the topic exists");
    setting.write(&mut producer, "first");
    broker.pause();
    let before = resident_kib();
    let value = vec![b'x'; 1024];
    let writer = thread::spawn(move || {
        for number in 0..RECORDS {
            let record = NewRecord { partition: number as i32 % 3, key: None, value: Some(&value), timestamp: TIME };
            producer.produce(topic, &record, []).expect("a full queue is not an error");
        }
        producer
    });
    // Long enough to queue everything, if nothing held it back: a million records a second is usual.
    thread::sleep(Duration::from_secs(2));
    assert!(!writer.is_finished(), "300 MB were taken while the broker stood still");
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 150 * 1024, "the queue grew by {grown} KiB");
    broker.resume();
    let producer = writer.join().expect("the records are taken when the broker goes on");
    commit(drain(producer), 1);
    assert_eq!(broker.read_committed(&setting.topic).len(), RECORDS + 3);
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux says");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("every process has one");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number of KiB")
}

#[test]
fn records_that_cannot_be_written_are_refused_with_the_way_out() {
    let setting = Setting::new(broker::shared(), "refused");
    let mut producer = setting.start();
    let (topic, _) = producer.open_topic(&setting.topic, SOON).expect("the topic exists");
    let record = NewRecord { partition: 0, key: None, value: Some(b"x"), timestamp: TIME };
    for timestamp in [0, -1, i64::MIN] {
        let error = producer.produce(topic, &NewRecord { timestamp, ..record }, []).expect_err("it has no time");
        assert!(matches!(error, ProduceError::Timestamp { timestamp: found, .. } if found == timestamp), "{error}");
    }
    let large = vec![b'x'; 2 << 20];
    let error = producer.produce(topic, &NewRecord { value: Some(&large), ..record }, []).expect_err("it is too large");
    assert!(matches!(error, ProduceError::TooLarge { bytes: 2_097_152, .. }), "{error}");
    // What was refused left nothing behind.
    setting.write(&mut producer, "fits");
    commit(drain(producer), 1);
    assert_eq!(setting.visible(), ["fits"; 3]);
}

#[test]
fn what_the_broker_refuses_fails_the_drain_with_the_way_out() {
    let broker = broker::shared();
    let setting = Setting::new(broker, "broker-refuses");
    broker.create_topic("broker-refuses.small", 1, &[("max.message.bytes", "1000")]);
    broker.create_topic("broker-refuses.strict", 1, &[("message.timestamp.before.max.ms", "1000")]);
    let large = vec![b'x'; 5000];
    for (name, value, way_out) in
        [("broker-refuses.small", &large[..], "max.message.bytes"), ("broker-refuses.strict", b"x", "timestamp")]
    {
        let mut producer = setting.start();
        let (topic, _) = producer.open_topic(name, SOON).expect("the topic exists");
        let record = NewRecord { partition: 0, key: None, value: Some(value), timestamp: TIME };
        producer.produce(topic, &record, []).expect("the queue has room");
        let error = producer.drain(SOON).expect_err("the broker refuses it").to_string();
        assert!(error.contains(name) && error.contains(way_out), "{error}");
    }
    drop(setting.start());
    assert_eq!(broker.read_committed("broker-refuses.small"), []);
}

#[test]
fn the_marker_is_found_behind_anything_else_in_its_topic() {
    let setting = Setting::new(broker::shared(), "tail");
    let other = |key: &'static [u8], count: usize| {
        let record = judge::NewRecord { partition: 0, key: Some(key), value: Some(b"not ours"), timestamp: TIME };
        setting.broker.produce("tidegate.tail", std::iter::repeat_n(record, count));
    };
    assert_eq!(setting.marker(), None);
    other(b"tail/other", 300);
    assert_eq!(setting.marker(), None);
    let mut producer = setting.start();
    for checkpoint in 1..=3 {
        (producer, _) = commit(drain(producer), checkpoint);
    }
    assert_eq!(setting.marker(), Some(CheckpointId(3)));
    other(b"tai", 500);
    assert_eq!(setting.marker(), Some(CheckpointId(3)));
    // An open transaction of the marker's partition hides nothing and shows nothing.
    setting.write(&mut producer, "open");
    let _open = drain(producer);
    assert_eq!(setting.marker(), Some(CheckpointId(3)));
}

#[test]
fn without_a_broker_or_a_topic_the_error_says_so() {
    let setting = Setting::new(broker::shared(), "missing");
    let place = MarkerPlace::of_job("nobody");
    let began = Instant::now();
    let error = setting.look().read_marker(&place, SOON).expect_err("there is no such topic");
    assert!(matches!(&error, KafkaError::TopicMissing { topic, .. } if topic == "tidegate.nobody"), "{error}");
    assert!(began.elapsed() < SOON, "it waited for a topic that is not there");
    let look = Look::connect(&connection("127.0.0.1:1")).expect("a client can be made");
    let error = look
        .ends(&[TopicPartition { topic: "topic".to_owned(), partition: 0 }], Duration::from_secs(1))
        .expect_err("nobody listens");
    assert!(matches!(error, KafkaError::Unreachable { .. }), "{error}");
}
