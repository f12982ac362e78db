//! The Kafka sink against a real broker: keys, partitions, timestamps and headers of what it writes.

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::sync::Arc;
use std::time::Duration;
use tidegate::checkpoint::record::{Marker, PartitionEnd, SinkState};
use tidegate::columns::{Batch, BytesColumn, Headers};
use tidegate::config::model::{KafkaConnection, SinkKey};
use tidegate::ids::{AttemptId, CheckpointId, StoreId};
use tidegate::kafka::look::Patience;
use tidegate::kafka::transaction::{CommitOutcome, Options, Rotation};
use tidegate::kafka::{Look, MarkerPlace, TransactionalProducer};
use tidegate::message::Rows;
use tidegate::sink::SinkError;
use tidegate::sink::kafka::KafkaSink;
use tidegate_tests::broker::{self, Broker};
use tidegate_tests::judge::Record;
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(30);
const TIME: i64 = 1_700_000_000_000;
const PARTITIONS: i32 = 5;

/// A producer for a job whose topics are made here.
fn start(broker: &Broker, job: &str) -> TransactionalProducer {
    broker.create_topic(&format!("{job}.out"), PARTITIONS, &[]);
    broker.create_topic(&format!("tidegate.{job}"), 1, &[("cleanup.policy", "compact")]);
    let connection =
        KafkaConnection { name: "main".to_owned(), brokers: vec![broker.address()], properties: Vec::new() };
    let options = Options {
        transactional_id: format!("tidegate.{job}"),
        transaction_timeout: None,
        commit_max: SOON,
        marker: MarkerPlace::of_job(job),
        rotation: Rotation::WhenDoubtful,
    };
    let look = Look::connect(&connection).expect("a client can be made");
    TransactionalProducer::init(&connection, options, look, SOON).expect("the broker gives an id")
}

/// Commits and returns what a reader of the job's topic gets, and the ends as the checkpoint has them.
fn finish(broker: &Broker, job: &str, producer: TransactionalProducer) -> (Vec<Record>, Vec<PartitionEnd>) {
    let drained = producer.drain(SOON).expect("the broker takes the records");
    let ends = drained.ends().to_vec();
    let marker = Marker {
        id: CheckpointId(1),
        attempt: AttemptId(Uuid::from_u128(1)),
        store: StoreId(Uuid::from_u128(2)),
        digest: 3,
    };
    let CommitOutcome::Committed(unconfirmed) = drained.commit(&marker) else { panic!("the broker is there") };
    let _ = unconfirmed.confirm(&mut |_| Patience::Wait).expect("the commit is confirmed");
    (broker.read_committed(&format!("{job}.out")), ends)
}

fn batch(rows: &[(Option<&str>, Option<&str>)]) -> Batch {
    let mut batch = Batch::default();
    for (number, (key, value)) in rows.iter().enumerate() {
        batch.keys.push(key.map(str::as_bytes));
        batch.values.push(value.map(str::as_bytes));
        batch.timestamps.push(TIME + number as i64);
    }
    batch
}

#[test]
fn records_go_where_another_murmur2_producer_puts_them() {
    let broker = broker::shared();
    let mut producer = start(broker, "co");
    let keys: Vec<String> = (0..200).map(|number| format!("user-{number}")).collect();
    let rows: Vec<_> = keys.iter().map(|key| (Some(key.as_str()), Some("value"))).collect();
    let mut sink = KafkaSink::with_partitions("sink", "co.out", &SinkKey::Record, PARTITIONS as u32).unwrap();
    sink.write(&mut producer, &Rows::all(batch(&rows))).expect("the records are written");
    let (records, _) = finish(broker, "co", producer);

    broker.create_topic("co.other", PARTITIONS, &[]);
    let other: BaseProducer = broker.client().set("partitioner", "murmur2").create().expect("a producer can be made");
    for key in &keys {
        other.send(BaseRecord::to("co.other").key(key).payload("value")).expect("the queue has room");
    }
    other.flush(SOON).expect("the broker takes them");
    let places = |records: &[Record]| -> Vec<(i32, Vec<u8>)> {
        records.iter().map(|record| (record.partition, record.key.clone().expect("all have keys"))).collect()
    };
    assert_eq!(places(&records), places(&broker.read_committed("co.other")));
}

#[test]
fn selected_rows_are_written_with_their_timestamps_and_headers() {
    let broker = broker::shared();
    let mut producer = start(broker, "rows");
    let mut all = batch(&[(Some("a"), Some("0")), (Some("b"), Some("1")), (None, None), (Some("d"), Some("3"))]);
    let mut headers = Headers { rows: vec![1, 2, 3], names: BytesColumn::default(), values: BytesColumn::default() };
    for name in ["one", "two", "three"] {
        headers.names.push(Some(name.as_bytes()));
        headers.values.push(Some(b"x"));
    }
    all.headers = Some(headers);
    let rows = Rows { batch: Arc::new(all), selection: Some(Arc::from([0, 2, 3])) };
    let mut sink = KafkaSink::with_partitions("sink", "rows.out", &SinkKey::Record, PARTITIONS as u32).unwrap();
    sink.write(&mut producer, &rows).expect("the records are written");
    let (mut records, ends) = finish(broker, "rows", producer);
    records.sort_by_key(|record| record.timestamp);
    let seen: Vec<_> = records
        .iter()
        .map(|record| {
            let names: Vec<&str> = record.headers.iter().map(|(name, _)| name.as_str()).collect();
            (record.key.as_deref(), record.value.as_deref(), record.timestamp, names)
        })
        .collect();
    assert_eq!(
        seen,
        [
            (Some(&b"a"[..]), Some(&b"0"[..]), TIME, vec![]),
            (None, None, TIME + 2, vec!["two"]),
            (Some(&b"d"[..]), Some(&b"3"[..]), TIME + 3, vec!["three"]),
        ]
    );
    let SinkState::Kafka { sink: name, ends: own } = sink.state(&ends) else {
        panic!("a Kafka sink has Kafka's state")
    };
    assert_eq!((name.as_str(), own.iter().map(|end| end.end_offset).sum::<i64>()), ("sink", 3));
}

#[test]
fn a_key_can_come_from_the_value_or_be_left_out() {
    let broker = broker::shared();
    let mut producer = start(broker, "keys");
    let rows = Rows::all(batch(&[
        (Some("emitted"), Some(r#"{"user":{"id":"a\u00e9"}}"#)),
        (Some("emitted"), Some(r#"{"user":{"id":42}}"#)),
    ]));
    let pointer = SinkKey::Pointer("/user/id".to_owned());
    let mut by_pointer = KafkaSink::with_partitions("by-pointer", "keys.out", &pointer, 1).unwrap();
    let mut keyless = KafkaSink::with_partitions("keyless", "keys.out", &SinkKey::Null, 1).unwrap();
    by_pointer.write(&mut producer, &rows).expect("the values have keys");
    keyless.write(&mut producer, &rows).expect("the records are written");

    for value in [Some("[]"), Some(r#"{"user":{"id":1.5}}"#), Some("not JSON"), None] {
        let error = by_pointer.write(&mut producer, &Rows::all(batch(&[(Some("k"), value)]))).expect_err("no key");
        assert!(matches!(&error, SinkError::Refused { sink, .. } if sink == "by-pointer"), "{value:?}: {error}");
    }
    let mut timeless = batch(&[(Some("k"), Some("v"))]);
    timeless.timestamps[0] = 0;
    let error = keyless.write(&mut producer, &Rows::all(timeless)).expect_err("no time");
    assert!(matches!(&error, SinkError::Refused { what, .. } if what.contains("timestamp `0`")), "{error}");

    let (records, _) = finish(broker, "keys", producer);
    let keys: Vec<_> = records.iter().map(|record| record.key.as_deref()).collect();
    assert_eq!(keys, [Some("aé".as_bytes()), Some(b"42"), None, None]);
}
