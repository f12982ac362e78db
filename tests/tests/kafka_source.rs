//! The Kafka source against a real broker: where it starts, where it ends, what stops it, and what it survives.
//!
//! Clusters that cannot be used at all are in `kafka_source_refused`.

#[path = "kafka_source/reading.rs"]
mod reading;

use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use reading::{Reading, Seen, block_on, record, source, values};
use std::time::{Duration, Instant};
use tidegate::checkpoint::record::Position;
use tidegate::config::model::{Start, Until};
use tidegate::ids::SplitIndex;
use tidegate::source::{self, Discover, Polled, SourceError, Verified};
use tidegate_tests::broker::{self, Broker, Options};
use tidegate_tests::judge::wait_until;

const ANSWER: Duration = Duration::from_secs(30);

fn transactional(broker: &Broker, id: &str) -> BaseProducer {
    let producer: BaseProducer = broker.client().set("transactional.id", id).create().expect("a producer");
    producer.init_transactions(ANSWER).expect("transactions");
    producer
}

fn send(producer: &BaseProducer, topic: &str, values: &[&str]) {
    for value in values {
        producer.send(BaseRecord::<(), str>::to(topic).partition(0).payload(value)).expect("the queue has room");
    }
    producer.flush(ANSWER).expect("the broker takes the records");
}

fn admin(broker: &Broker) -> AdminClient<DefaultClientContext> {
    broker.client().create().expect("an admin client")
}

#[test]
fn earliest_reads_every_record_as_it_was_written() {
    let broker = broker::shared();
    broker.create_topic("source.earliest", 2, &[]);
    let producer: BaseProducer = broker.client().create().expect("a producer");
    let headers = OwnedHeaders::new()
        .insert(Header { key: "trace", value: Some("abc") })
        .insert(Header::<&str> { key: "empty", value: None });
    let full = BaseRecord::to("source.earliest").partition(0).key("k").payload("v").timestamp(1_700_000_000_123);
    producer.send(full.headers(headers)).expect("the queue has room");
    producer
        .send(BaseRecord::<str, ()>::to("source.earliest").partition(1).key("gone").timestamp(5))
        .expect("the queue has room");
    producer.flush(ANSWER).expect("the broker takes the records");

    let mut reading = Reading::start(&source(broker, "source.earliest"));
    let seen = reading.take(2);
    let mut seen = [seen[0].clone(), seen[1].clone()];
    seen.sort_by_key(|record| record.split);
    let expected = Seen {
        split: 0,
        offset: 0,
        key: Some(b"k".to_vec()),
        value: Some(b"v".to_vec()),
        timestamp: Some(1_700_000_000_123),
        headers: vec![("trace".to_owned(), Some(b"abc".to_vec())), ("empty".to_owned(), None)],
    };
    assert_eq!(seen[0], expected);
    assert_eq!((seen[1].key.as_deref(), seen[1].value.as_deref()), (Some(&b"gone"[..]), None), "a tombstone");
    assert_eq!((seen[1].timestamp, seen[1].headers.len()), (Some(5), 0));
    reading.until(Polled::CaughtUp);
    assert_eq!(reading.reader.lag(), Some(0));
}

#[test]
fn headers_are_found_behind_every_kind_of_value() {
    let broker = broker::shared();
    broker.create_topic("source.headers", 1, &[]);
    let mut expected = Vec::new();
    for codec in ["none", "gzip", "lz4", "zstd", "snappy"] {
        let producer: BaseProducer =
            broker.client().set("compression.type", codec).set("linger.ms", "50").create().expect("a producer");
        for value in [Some(""), Some("short"), Some("\0\0"), None] {
            for count in [0, 1, 70] {
                let mut record = BaseRecord::<str, str>::to("source.headers").partition(0).key(codec);
                record.payload = value;
                let names: Vec<String> = (0..count).map(|number| format!("name-{number}")).collect();
                if count > 0 {
                    let add = |all: OwnedHeaders, name: &String| all.insert(Header { key: name, value: Some(codec) });
                    record = record.headers(names.iter().fold(OwnedHeaders::new(), add));
                }
                producer.send(record).map_err(|(error, _)| error).expect("the queue has room");
                expected.push((value.map(|value| value.as_bytes().to_vec()), codec, names));
            }
        }
        producer.flush(ANSWER).expect("the broker takes the records");
    }
    let seen = Reading::start(&source(broker, "source.headers")).take(expected.len());
    for (seen, (value, codec, names)) in seen.iter().zip(expected) {
        let headers: Vec<_> = names.into_iter().map(|name| (name, Some(codec.as_bytes().to_vec()))).collect();
        assert_eq!((&seen.value, &seen.headers), (&value, &headers), "{codec}");
    }
}

#[test]
fn a_poll_takes_no_more_records_than_asked_and_the_rest_comes_later() {
    let broker = broker::shared();
    broker.create_topic("source.max", 1, &[]);
    let values: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    broker.produce("source.max", values.iter().map(|value| record(0, value, 1)));
    let mut reading = Reading::start(&source(broker, "source.max"));
    let mut offsets = Vec::new();
    while offsets.len() < 100 {
        let before = offsets.len();
        let polled = reading.reader.poll(SplitIndex(0), 7, &mut |record| offsets.push(record.offset));
        assert!(offsets.len() - before <= 7, "{polled:?}");
        reading.reader.wait(Duration::from_millis(1));
    }
    assert_eq!(offsets, (0..100).collect::<Vec<i64>>());
}

#[test]
fn latest_reads_what_comes_after_the_start_was_resolved() {
    let broker = broker::shared();
    broker.create_topic("source.latest", 1, &[]);
    broker.produce("source.latest", [record(0, "before", 1)]);
    let mut source = source(broker, "source.latest");
    *reading::kind(&mut source).start = Start::Latest;
    let state = source::resolve(&source).expect("the start is found");
    broker.produce("source.latest", [record(0, "after", 1)]);
    let mut reading = Reading::open(&source, &state.splits);
    assert_eq!(values(&reading.take(1)), ["after"]);
}

#[test]
fn a_time_starts_and_ends_between_records() {
    let broker = broker::shared();
    broker.create_topic("source.time", 1, &[]);
    let times = [("one", 1000), ("two", 2000), ("three", 3000), ("four", 4000)];
    broker.produce("source.time", times.map(|(value, time)| record(0, value, time)));
    let mut source = source(broker, "source.time");
    *reading::kind(&mut source).start = Start::Time(1500);
    *reading::kind(&mut source).until = Some(Until::Time(3500));
    let mut reading = Reading::start(&source);
    assert_eq!(values(&reading.until(Polled::Finished)), ["two", "three"]);

    *reading::kind(&mut source).until = None;
    *reading::kind(&mut source).start = Start::Time(9000);
    let state = source::resolve(&source).expect("the start is found");
    assert!(matches!(&state.splits[0].position, Position::Kafka { offset: 4, .. }), "no record is as late: the end");
}

#[test]
fn a_group_start_goes_on_where_the_group_is_and_publish_moves_it() {
    let broker = broker::shared();
    broker.create_topic("source.group", 2, &[]);
    broker.produce("source.group", [record(0, "a", 1), record(0, "b", 1), record(0, "c", 1), record(1, "d", 1)]);
    let mut source = source(broker, "source.group");
    *reading::kind(&mut source).start = Start::Group;

    let error = source::resolve(&source).expect_err("the group has no offsets");
    assert!(matches!(error, SourceError::Changed { .. }), "{error:?}");
    assert!(error.to_string().contains("group `source.group` has no committed offset"), "{error}");

    let consumer: BaseConsumer = broker.client().set("group.id", "source.group").create().expect("a consumer");
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset("source.group", 0, rdkafka::Offset::Offset(2)).expect("an offset");
    consumer.commit(&offsets, CommitMode::Sync).expect("the group takes the offset");

    let mut reading = Reading::start(&source);
    let mut seen = values(&reading.take(2));
    seen.sort();
    assert_eq!(seen, ["c", "d"], "the partition without an offset starts at its earliest");

    let positions: Vec<Position> = (0..2).map(|split| reading.reader.position(SplitIndex(split))).collect();
    reading.reader.publish(&positions);
    wait_until("the published offsets are there", || {
        let mut asked = TopicPartitionList::new();
        asked.add_partition("source.group", 0);
        asked.add_partition("source.group", 1);
        let found = consumer.committed_offsets(asked, ANSWER).expect("the group answers");
        found.elements().iter().map(|at| at.offset().to_raw()).collect::<Vec<_>>() == [Some(3), Some(1)]
    });
}

#[test]
fn a_resumed_reader_reads_exactly_the_next_record() {
    let broker = broker::shared();
    broker.create_topic("source.resume", 1, &[]);
    broker.produce("source.resume", ["a", "b", "c", "d"].map(|value| record(0, value, 1)));
    let source = source(broker, "source.resume");
    let mut reading = Reading::start(&source);
    assert_eq!(values(&reading.take_from(SplitIndex(0), 2)), ["a", "b"]);
    let states = reading.states();
    drop(reading);
    let mut reading = Reading::open(&source, &states);
    assert_eq!(values(&reading.take(2)), ["c", "d"]);
    // At the end of the log, too.
    reading.until(Polled::CaughtUp);
    let states = reading.states();
    broker.produce("source.resume", [record(0, "e", 1)]);
    let mut reading = Reading::open(&source, &states);
    assert_eq!(values(&reading.take(1)), ["e"]);
}

#[test]
fn a_bounded_read_ends_behind_aborted_records() {
    let broker = broker::shared();
    broker.create_topic("source.aborted", 1, &[]);
    let producer = transactional(broker, "source.aborted");
    producer.begin_transaction().expect("a transaction");
    send(&producer, "source.aborted", &["kept", "kept too"]);
    producer.commit_transaction(ANSWER).expect("a commit");
    producer.begin_transaction().expect("a transaction");
    send(&producer, "source.aborted", &["aborted", "aborted too"]);
    producer.abort_transaction(ANSWER).expect("an abort");

    let mut source = source(broker, "source.aborted");
    *reading::kind(&mut source).until = Some(Until::Latest);
    let state = source::resolve(&source).expect("the ends are found");
    // Records 0, 1, commit 2, records 3, 4, abort 5.
    assert!(matches!(&state.splits[0].position, Position::Kafka { until: Some(6), .. }), "{state:?}");
    broker.produce("source.aborted", [record(0, "later", 1)]);
    let mut reading = Reading::open(&source, &state.splits);
    assert_eq!(values(&reading.until(Polled::Finished)), ["kept", "kept too"]);
    // A finished split stays so when it is opened again.
    let mut again = Reading::open(&source, &reading.states());
    assert_eq!(values(&again.until(Polled::Finished)), [""; 0]);
}

#[test]
fn an_end_of_aborted_records_alone_is_found_by_the_end_of_the_partition() {
    let broker = broker::shared();
    broker.create_topic("source.tail", 1, &[]);
    let producer = transactional(broker, "source.tail");
    producer.begin_transaction().expect("a transaction");
    send(&producer, "source.tail", &["aborted"]);
    producer.abort_transaction(ANSWER).expect("an abort");
    let mut source = source(broker, "source.tail");
    *reading::kind(&mut source).until = Some(Until::Latest);
    let mut reading = Reading::start(&source);
    assert_eq!(values(&reading.until(Polled::Finished)), [""; 0]);
    let position = reading.reader.position(SplitIndex(0));
    assert!(matches!(position, Position::Kafka { offset: 2, leader_epoch: -1, .. }), "{position:?}");
}

#[test]
fn an_open_transaction_is_neither_idleness_nor_the_end() {
    let broker = broker::shared();
    broker.create_topic("source.open", 1, &[]);
    broker.produce("source.open", [record(0, "before", 1)]);
    let producer = transactional(broker, "source.open");
    producer.begin_transaction().expect("a transaction");
    send(&producer, "source.open", &["pending"]);

    let endless = source(broker, "source.open");
    let mut bounded = endless.clone();
    *reading::kind(&mut bounded).until = Some(Until::Latest);
    let (mut endless, mut bounded) = (Reading::start(&endless), Reading::start(&bounded));
    assert_eq!(values(&endless.take(1)), ["before"]);
    assert_eq!(values(&bounded.take(1)), ["before"]);
    // The end that a reader of committed records sees has come when the offset is known to be 1.
    let until = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < until {
        for reading in [&mut endless, &mut bounded] {
            assert_eq!(reading.poll(), (vec![], Polled::Pending));
            reading.reader.wait(Duration::from_millis(5));
        }
    }
    producer.commit_transaction(ANSWER).expect("a commit");
    assert_eq!(values(&endless.take(1)), ["pending"]);
    endless.until(Polled::CaughtUp);
    assert_eq!(values(&bounded.until(Polled::Finished)), ["pending"]);
}

#[test]
fn an_offset_that_retention_took_stops_the_job() {
    let broker = broker::shared();
    broker.create_topic("source.range", 1, &[]);
    broker.produce("source.range", ["a", "b", "c"].map(|value| record(0, value, 1)));
    let source = source(broker, "source.range");
    let state = source::resolve(&source).expect("the start is found");
    let mut cut = TopicPartitionList::new();
    cut.add_partition_offset("source.range", 0, rdkafka::Offset::Offset(2)).expect("an offset");
    block_on(admin(broker).delete_records(&cut, &AdminOptions::new())).expect("the records are deleted");
    let mut reading = Reading::open(&source, &state.splits);
    let error = reading.until_error();
    assert!(matches!(error, SourceError::Changed { .. }), "{error:?}");
    let text = error.to_string();
    for part in ["`source.range` partition 0", "offset `0`", "new store"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_topic_made_again_under_its_name_stops_the_job() {
    let broker = broker::shared();
    broker.create_topic("source.again", 1, &[]);
    broker.produce("source.again", [record(0, "old", 1), record(0, "old too", 1)]);
    let source = source(broker, "source.again");
    let mut reading = Reading::start(&source);
    assert_eq!(values(&reading.take_from(SplitIndex(0), 1)), ["old"]);
    let states = reading.states();
    reading.take(1);
    broker.delete_topic("source.again");
    broker.create_topic("source.again", 1, &[]);
    broker.produce("source.again", ["new", "new too", "new three"].map(|value| record(0, value, 1)));

    // A record was read since the last check, so the check before a checkpoint asks, and its one answer tells.
    let error = reading.reader.verify().expect_err("the topic is another one");
    assert!(matches!(error, SourceError::Changed { .. }), "{error:?}");
    assert!(error.to_string().contains("topic `source.again` was deleted and made again"), "{error}");

    let error = reading::open_error(&source, &states);
    assert!(error.to_string().contains("topic `source.again` was deleted and made again"), "{error}");
}

#[test]
fn a_topic_that_is_deleted_stops_the_job_after_a_while() {
    let broker = broker::shared();
    broker.create_topic("source.deleted", 1, &[]);
    broker.produce("source.deleted", [record(0, "a", 1), record(0, "b", 1)]);
    let mut reading = Reading::start(&source(broker, "source.deleted"));
    reading.take_from(SplitIndex(0), 1);
    broker.delete_topic("source.deleted");
    // A broker that has just started may not know its topics, so the first such answer says little.
    reading.reader.verify().expect("the topic may come back");
    let mut error = None;
    wait_until("the job is stopped", || {
        error = reading.reader.verify().err();
        error.is_some()
    });
    let error = error.expect("the loop ends with an error");
    assert!(matches!(error, SourceError::Changed { .. }), "{error:?}");
    assert!(error.to_string().contains("topic `source.deleted` does not exist"), "{error}");
}

#[test]
fn a_position_of_another_cluster_is_refused() {
    let broker = broker::shared();
    broker.create_topic("source.cluster", 1, &[]);
    let source = source(broker, "source.cluster");
    let mut states = source::resolve(&source).expect("the start is found").splits;
    let Position::Kafka { cluster_id, .. } = &mut states[0].position else { panic!("a Kafka position") };
    *cluster_id = "elsewhere".to_owned();
    let error = reading::open_error(&source, &states);
    assert!(matches!(error, SourceError::Changed { .. }), "{error:?}");
    assert!(error.to_string().contains("are of cluster `elsewhere`"), "{error}");
}

#[test]
fn new_partitions_are_read_from_their_earliest_record_by_one_reader_only() {
    let broker = broker::shared();
    broker.create_topic("source.grow", 2, &[]);
    broker.produce("source.grow", [record(0, "a", 1), record(1, "b", 1)]);
    let source = source(broker, "source.grow");
    let all = source::resolve(&source).expect("the start is found").splits;
    let mut first = Reading::open_share(&source, &all[..1], Discover::Yes(&all));
    let mut second = Reading::open_share(&source, &all[1..], Discover::No);
    assert_eq!((values(&first.take(1)), values(&second.take(1))), (vec!["a".to_owned()], vec!["b".to_owned()]));
    assert_eq!((first.reader.splits().len(), second.reader.splits().len()), (1, 1));

    let grown = NewPartitions::new("source.grow", 3);
    block_on(admin(broker).create_partitions([&grown], &AdminOptions::new())).expect("the topic grows");
    wait_until("the new partition can be written", || {
        let metadata = first_metadata(broker, "source.grow");
        metadata == 3
    });
    broker.produce("source.grow", [record(2, "c", 1), record(0, "d", 1), record(1, "e", 1)]);
    assert_eq!(values(&first.take(1)), ["d"]);
    wait_until("the new partition is found", || {
        first.reader.verify().expect("the topic is the same");
        second.reader.verify().expect("the topic is the same");
        first.reader.splits().len() == 2
    });
    assert_eq!(first.reader.splits()[1].partition, 2);
    assert_eq!(values(&first.take(1)), ["c"]);
    assert_eq!(values(&second.take(1)), ["e"]);
    assert_eq!(second.reader.splits().len(), 1);
    // A partition that came while the job was down is found at the start.
    let reading = Reading::open_share(&source, &all, Discover::Yes(&all));
    assert_eq!(reading.reader.splits().len(), 3);
}

fn first_metadata(broker: &Broker, topic: &str) -> usize {
    let metadata = admin(broker).inner().fetch_metadata(Some(topic), ANSWER).expect("the broker answers");
    metadata.topics()[0].partitions().iter().filter(|partition| partition.leader() >= 0).count()
}

#[test]
fn a_record_of_ten_megabytes_arrives() {
    const BYTES: usize = 10 * 1024 * 1024;
    let broker = broker::shared();
    broker.create_topic("source.big", 1, &[("max.message.bytes", "12000000")]);
    let producer: BaseProducer = broker.client().set("message.max.bytes", "12000000").create().expect("a producer");
    let value = vec![b'x'; BYTES];
    for value in [&value[..], b"small"] {
        producer.send(BaseRecord::<(), [u8]>::to("source.big").partition(0).payload(value)).expect("room");
    }
    producer.flush(ANSWER).expect("the broker takes the records");
    let mut reading = Reading::start(&source(broker, "source.big"));
    let seen = reading.take(2);
    assert_eq!(seen[0].value.as_ref().map(Vec::len), Some(BYTES));
    assert_eq!(seen[1].value.as_deref(), Some(&b"small"[..]));
}

#[test]
fn waiting_ends_when_a_record_arrives() {
    let broker = broker::shared();
    broker.create_topic("source.wait", 1, &[]);
    let mut reading = Reading::start(&source(broker, "source.wait"));
    reading.until(Polled::CaughtUp);
    // What has arrived until now is taken: the next wait has nothing to end it but the record.
    reading.reader.wait(Duration::from_millis(50));
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(300));
            broker.produce("source.wait", [record(0, "x", 1)]);
        });
        reading.reader.wait(Duration::from_mins(1));
    });
    let waited = began.elapsed();
    assert!(waited > Duration::from_millis(250) && waited < Duration::from_secs(20), "{waited:?}");
    assert_eq!(values(&reading.take(1)), ["x"]);
}

#[test]
fn a_panic_of_the_visitor_crosses_the_library_unharmed() {
    let broker = broker::shared();
    broker.create_topic("source.panic", 1, &[]);
    broker.produce("source.panic", [record(0, "a", 1), record(0, "b", 1)]);
    let mut reading = Reading::start(&source(broker, "source.panic"));
    let deadline = Instant::now() + ANSWER;
    let panic = loop {
        assert!(Instant::now() < deadline, "no record came");
        let reader = &mut reading.reader;
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            reader.poll(SplitIndex(0), 10, &mut |record| panic!("at {}", record.offset))
        }));
        match result {
            Err(panic) => break panic,
            Ok(polled) => assert!(polled.is_ok(), "{polled:?}"),
        }
        reading.reader.wait(Duration::from_millis(5));
    };
    assert_eq!(panic.downcast_ref::<String>().map(String::as_str), Some("at 0"));
    drop(reading);
}

#[test]
fn a_broker_that_does_not_answer_is_not_idleness_and_reading_goes_on_after_it() {
    let broker = Broker::start(&Options::default());
    broker.create_topic("source.outage", 1, &[]);
    broker.produce("source.outage", [record(0, "before", 1)]);
    let mut reading = Reading::start(&source(&broker, "source.outage"));
    assert_eq!(values(&reading.take(1)), ["before"]);
    reading.until(Polled::CaughtUp);
    broker.pause();
    reading.until(Polled::Pending);
    let began = Instant::now();
    assert_eq!(reading.reader.verify().expect("a silent cluster does not end the job"), Verified::Unanswered);
    assert!(began.elapsed() < Duration::from_secs(3), "it took {:?}", began.elapsed());
    assert_eq!(reading.poll().1, Polled::Pending);
    broker.kill();
    broker.restart();
    broker.produce("source.outage", [record(0, "after", 1)]);
    assert_eq!(values(&reading.take(1)), ["after"]);
    reading.until(Polled::CaughtUp);
    reading.reader.verify().expect("the topic is the same");
}

#[test]
fn a_log_that_was_cut_and_written_anew_stops_the_job() {
    let broker = Broker::start(&Options::default());
    broker.create_topic("source.cut", 1, &[]);
    broker.produce("source.cut", ["a", "b", "c"].map(|value| record(0, value, 1)));
    let source = source(&broker, "source.cut");
    let mut reading = Reading::start(&source);
    assert_eq!(values(&reading.take(3)), ["a", "b", "c"]);
    let mut states = reading.states();
    // A new leader epoch begins with the broker's next life.
    broker.restart();
    broker.produce("source.cut", ["d", "e", "f", "g", "h", "i"].map(|value| record(0, value, 1)));
    // The log of a leader that lost what the old one had: the position is behind a record of the old epoch that this
    // log does not have, though it has an offset like it.
    let Position::Kafka { offset, leader_epoch, .. } = &mut states[0].position else { panic!("a Kafka position") };
    assert!(*offset == 3 && *leader_epoch >= 0, "{offset} {leader_epoch}");
    *offset = 7;
    let error = Reading::open(&source, &states).until_error();
    assert!(matches!(error, SourceError::Changed { .. }), "{error:?}");
    assert!(error.to_string().contains("truncation"), "{error}");

    // Where the epoch ends is a good position.
    let mut states = reading.states();
    let Position::Kafka { offset, .. } = &mut states[0].position else { panic!("a Kafka position") };
    *offset = 3;
    assert_eq!(values(&Reading::open(&source, &states).take_from(SplitIndex(0), 1)), ["d"]);
}
