//! Starts of a Kafka source that cannot succeed: each is refused in bounded time, by name, and shows no secret.

#[path = "kafka_source/reading.rs"]
#[expect(dead_code, reason = "nothing is read here")]
mod reading;

use reading::source;
use std::time::{Duration, Instant};
use tidegate::config::model::{KafkaConnection, Secret, Source, SourceKind};
use tidegate::source::{self, SourceError};
use tidegate_tests::broker::{self, SASL_USER};

#[test]
fn a_missing_topic_is_named() {
    let source = source(broker::shared(), "source.nowhere");
    let error = source::resolve(&source).expect_err("there is no such topic");
    assert!(matches!(error, SourceError::Changed { .. }), "{error:?}");
    assert!(error.to_string().contains("topic `source.nowhere` does not exist"), "{error}");
}

fn connection(source: &mut Source) -> &mut KafkaConnection {
    match &mut source.kind {
        SourceKind::Kafka { connection, .. } => connection,
        SourceKind::File { .. } => panic!("a Kafka source"),
    }
}

/// The error of a start, in bounded time, with its causes.
fn start_error(source: &Source) -> (SourceError, String) {
    let began = Instant::now();
    let error = source::resolve(source).expect_err("the cluster cannot be used");
    assert!(began.elapsed() < Duration::from_secs(20), "it took {:?}", began.elapsed());
    let cause = std::error::Error::source(&error).map_or_else(String::new, ToString::to_string);
    let text = format!("{error}: {cause}");
    (error, text)
}

#[test]
fn a_broker_that_is_down_is_named() {
    let mut source = source(broker::shared(), "source.down");
    connection(&mut source).brokers = vec!["127.0.0.1:9".to_owned()];
    let (error, text) = start_error(&source);
    assert!(matches!(error, SourceError::Failed { .. }), "{error:?}");
    assert!(text.contains("no broker of connection `main` can be reached (`127.0.0.1:9`)"), "{text}");
    assert!(text.contains("Connection refused"), "{text}");
}

#[test]
fn an_advertised_address_that_leads_nowhere_is_named() {
    let broker = broker::shared();
    let misadvertised = broker.misadvertised();
    let mut source = source(broker, "source.misadvertised");
    connection(&mut source).brokers = vec![misadvertised.address().to_owned()];
    let (error, text) = start_error(&source);
    assert!(matches!(error, SourceError::Failed { .. }), "{error:?}");
    assert!(text.contains("`advertised.listeners`"), "{text}");
}

fn with_properties(topic: &str, brokers: String, properties: &[(&str, &str)]) -> Source {
    let mut source = source(broker::shared(), topic);
    let connection = connection(&mut source);
    connection.brokers = vec![brokers];
    connection.properties =
        properties.iter().map(|(name, value)| ((*name).to_owned(), Secret::new((*value).to_owned()))).collect();
    source
}

#[test]
fn wrong_credentials_are_named_and_not_shown() {
    let properties = [
        ("security.protocol", "sasl_plaintext"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", SASL_USER),
        ("sasl.password", "surely wrong"),
    ];
    let (error, text) = start_error(&with_properties("source.sasl", broker::shared().sasl_address(), &properties));
    assert!(matches!(error, SourceError::Changed { .. }), "{error:?}");
    assert!(text.contains("refuse its credentials"), "{text}");
    assert!(!text.contains("surely wrong"), "{text}");
}

#[test]
fn tls_with_a_plain_port_is_named() {
    let properties = [("security.protocol", "ssl")];
    let (_, text) = start_error(&with_properties("source.tls", broker::shared().address(), &properties));
    assert!(text.contains("TLS with the brokers of connection `main` fails"), "{text}");
}

#[test]
fn a_certificate_that_cannot_be_read_is_an_error_of_the_configuration() {
    let properties = [("security.protocol", "ssl"), ("ssl.ca.location", "/nowhere/ca.pem")];
    let (error, text) = start_error(&with_properties("source.ca", broker::shared().address(), &properties));
    assert!(matches!(error, SourceError::Changed { .. }), "{error:?}");
    assert!(text.contains("cannot make a Kafka client"), "{text}");
}
