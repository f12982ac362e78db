//! The harness itself: a broker that starts, dies, pauses and comes back, and a proxy that loses what it is told to.

use std::time::Duration;
use tidegate_tests::broker::{self, Broker, Options};
use tidegate_tests::judge::NewRecord;
use tidegate_tests::proxy::{ApiKey, Fault};

fn record(partition: i32, value: &str) -> NewRecord<'_> {
    NewRecord { partition, key: Some(b"key"), value: Some(value.as_bytes()), timestamp: 1_700_000_000_000 }
}

#[test]
fn records_are_read_back_as_they_were_written() {
    let broker = broker::shared();
    broker.create_topic("harness.back", 2, &[]);
    broker.produce("harness.back", [record(1, "one"), record(0, "zero"), NewRecord { value: None, ..record(1, "") }]);
    let records = broker.read_committed("harness.back");
    let seen: Vec<_> =
        records.iter().map(|record| (record.partition, record.offset, record.value.as_deref())).collect();
    assert_eq!(seen, [(0, 0, Some(&b"zero"[..])), (1, 0, Some(&b"one"[..])), (1, 1, None)]);
    assert_eq!((records[0].key.as_deref(), records[0].timestamp), (Some(&b"key"[..]), 1_700_000_000_000));
}

#[test]
fn a_killed_broker_comes_back_with_its_records() {
    let broker = Broker::start(&Options::default());
    broker.create_topic("harness.kill", 1, &[]);
    broker.produce("harness.kill", [record(0, "before")]);
    broker.kill();
    broker.restart();
    broker.pause();
    broker.resume();
    broker.produce("harness.kill", [record(0, "after")]);
    let values: Vec<_> = broker.read_committed("harness.kill").iter().map(|record| record.text().to_owned()).collect();
    assert_eq!(values, ["before", "after"]);
}

#[test]
fn a_client_behind_the_proxy_stays_behind_it() {
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    let broker = broker::shared();
    broker.create_topic("harness.proxy", 1, &[]);
    let proxy = broker.proxy();
    proxy.next(ApiKey::PRODUCE, Fault::HoldAndCut);
    let producer: BaseProducer = broker
        .client()
        .set("bootstrap.servers", proxy.address())
        .set("message.send.max.retries", "0")
        .create()
        .expect("a producer");
    producer.send(BaseRecord::<(), str>::to("harness.proxy").payload("held")).expect("the queue is empty");
    // Its only try is lost on the way, so it fails, and the broker has nothing.
    let _ = producer.flush(Duration::from_secs(10));
    assert!(proxy.wait_held(Duration::from_secs(10)), "the client did not go through the proxy");
    assert_eq!(broker.read_committed("harness.proxy"), []);
    proxy.deliver();
    assert_eq!(broker.read_committed("harness.proxy")[0].text(), "held");
}
