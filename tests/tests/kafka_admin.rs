//! Questions to a real cluster, and the marker's topic.

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use std::time::Duration;
use tidegate::config::model::KafkaConnection;
use tidegate::kafka::{Class, KafkaAdmin, KafkaError, OffsetAt, TopicPartition};
use tidegate_tests::broker::{self, Broker};
use tidegate_tests::judge::NewRecord;

#[path = "kafka_source/reading.rs"]
#[expect(dead_code, reason = "only the executor of futures is needed here")]
mod reading;

fn admin(broker: &Broker) -> KafkaAdmin {
    let connection =
        KafkaConnection { name: "main".to_owned(), brokers: vec![broker.address()], properties: Vec::new() };
    KafkaAdmin::new(&connection, Duration::from_secs(10)).expect("a client")
}

fn partition(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition { topic: topic.to_owned(), partition }
}

fn record(partition: i32, timestamp: i64) -> NewRecord<'static> {
    NewRecord { partition, key: None, value: Some(b"value"), timestamp }
}

#[test]
fn a_topic_made_again_has_another_id_and_the_cluster_the_same() {
    let broker = broker::shared();
    let admin = admin(broker);
    broker.create_topic("admin.again", 3, &[]);
    let first = admin.topic("admin.again").expect("the topic is there");
    assert_eq!((first.name.as_str(), first.leaders.as_slice()), ("admin.again", &[1, 1, 1][..]));
    assert_eq!(first.id.len(), 22, "128 bits in base64: `{}`", first.id);
    broker.delete_topic("admin.again");
    let error = admin.topic("admin.again").expect_err("the topic is gone");
    assert!(matches!(&error, KafkaError::TopicMissing { topic, .. } if topic == "admin.again"), "{error:?}");
    assert_eq!(error.class(), Class::Fatal);
    broker.create_topic("admin.again", 1, &[]);
    let second = admin.topic("admin.again").expect("the topic is there");
    assert_ne!(first.id, second.id);
    assert_eq!(admin.cluster_id(), admin.cluster_id());
}

#[test]
fn offsets_are_answered_in_the_order_asked() {
    let broker = broker::shared();
    let admin = admin(broker);
    broker.create_topic("admin.offsets", 2, &[]);
    broker.produce("admin.offsets", [record(1, 1000), record(1, 2000), record(0, 3000)]);
    let asked = [partition("admin.offsets", 1), partition("admin.offsets", 0)];
    let offsets = |at| admin.offsets(&asked, at).expect("the broker answers");
    assert_eq!(offsets(OffsetAt::Earliest), [Some(0), Some(0)]);
    assert_eq!(offsets(OffsetAt::Stable), [Some(2), Some(1)]);
    assert_eq!(offsets(OffsetAt::HighWatermark), [Some(2), Some(1)]);
    assert_eq!(offsets(OffsetAt::Time(1500)), [Some(1), Some(0)]);
    assert_eq!(offsets(OffsetAt::StableTime(2500)), [None, Some(0)]);
    let hasty = admin.within(Duration::from_secs(2));
    let error = hasty.offsets(&[partition("admin.offsets", 7)], OffsetAt::Earliest).expect_err("no such partition");
    assert!(error.to_string().contains("offsets of topic `admin.offsets`"), "{error}");
    assert_eq!(admin.group_offsets("admin.nobody", &asked), Ok(vec![None, None]));
}

#[test]
fn the_marker_topic_is_compacted_and_made_once() {
    let broker = broker::shared();
    let admin = admin(broker);
    admin.create_marker_topic("admin.marker").expect("the topic is made");
    let error = admin.create_marker_topic("admin.marker").expect_err("it is there");
    assert!(matches!(error, KafkaError::TopicExists { .. }), "{error:?}");
    assert_eq!(admin.topic("admin.marker").expect("the topic is there").leaders.len(), 1);

    let judge: AdminClient<DefaultClientContext> = broker.client().create().expect("an admin client");
    let asked = [ResourceSpecifier::Topic("admin.marker")];
    let described = reading::block_on(judge.describe_configs(&asked, &AdminOptions::new())).expect("an answer");
    let settings = described[0].as_ref().expect("the topic's settings").entry_map();
    let value = |name: &str| settings[name].value.clone();
    assert_eq!(value("cleanup.policy").as_deref(), Some("compact"));
    assert_eq!(value("segment.ms").as_deref(), Some("600000"));
    assert_eq!(value("message.timestamp.type").as_deref(), Some("LogAppendTime"));
}
