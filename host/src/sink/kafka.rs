//! A topic as a sink: which key, partition, timestamp and headers a row gets.
//!
//! Writes into the open transaction of the one producer and knows nothing of commits. The good path allocates nothing per
//! record. Next rooms: [`crate::kafka::partitioner`], [`crate::kafka::transaction`].

use super::SinkError;
use crate::checkpoint::record::{PartitionEnd, SinkState};
use crate::columns::Headers;
use crate::config::model::{Decode, SinkKey};
use crate::decode::Decoder;
use crate::kafka::output::KafkaOutput;
use crate::kafka::partitioner::Partitioner;
use crate::kafka::transaction::ProduceError;
use crate::kafka::{Class, KafkaError, NewRecord, TransactionalProducer};
use crate::message::Rows;
use crate::source::{RawHeaders, RawRecord};
use std::time::Duration;

/// How long the producer may ask for the topic when it meets it first; the start asked already.
const OPEN_MAX: Duration = Duration::from_secs(30);

/// One Kafka sink.
#[derive(Debug)]
pub struct KafkaSink {
    name: String,
    topic: String,
    partitioner: Partitioner,
    key: Key,
    key_bytes: Vec<u8>,
}

/// Where a record's key comes from.
#[derive(Debug)]
enum Key {
    Record,
    Null,
    Pointer(Box<Decoder>),
}

impl KafkaSink {
    /// A sink for a topic that exists.
    pub fn open(name: &str, topic: &str, key: &SinkKey, output: &KafkaOutput) -> Result<KafkaSink, SinkError> {
        let partitions = output.partition_count(topic).map_err(|error| failed(name, "cannot use its topic", error))?;
        KafkaSink::with_partitions(name, topic, key, partitions)
    }

    /// A sink for a topic of which the number of partitions is known.
    pub fn with_partitions(name: &str, topic: &str, key: &SinkKey, partitions: u32) -> Result<KafkaSink, SinkError> {
        let key = match key {
            SinkKey::Record => Key::Record,
            SinkKey::Null => Key::Null,
            SinkKey::Pointer(pointer) => {
                let decode = Decode {
                    key: vec![pointer.clone()],
                    timestamp: None,
                    max_ahead: Duration::MAX,
                    min_time_ms: i64::MIN,
                };
                let decoder = Decoder::new(&decode, usize::MAX)
                    .map_err(|error| SinkError::Refused { sink: name.to_owned(), what: error.to_string() })?;
                Key::Pointer(Box::new(decoder))
            }
        };
        Ok(KafkaSink {
            name: name.to_owned(),
            topic: topic.to_owned(),
            partitioner: Partitioner::new(partitions),
            key,
            key_bytes: Vec::new(),
        })
    }

    /// Hands rows over to the producer. A full queue is waited for.
    pub fn write(&mut self, producer: &mut TransactionalProducer, rows: &Rows) -> Result<(), SinkError> {
        let (topic, _) = producer
            .open_topic(&self.topic, OPEN_MAX)
            .map_err(|error| failed(&self.name, "cannot use its topic", error))?;
        let batch = &*rows.batch;
        let mut headers = HeadersOf::new(batch.headers.as_ref());
        for row in rows.iter() {
            let (value, timestamp) = (batch.values.get(row), batch.timestamps[row]);
            let key = match &mut self.key {
                Key::Record => batch.keys.get(row),
                Key::Null => None,
                Key::Pointer(decoder) => {
                    let record = RawRecord {
                        key: None,
                        value,
                        timestamp: Some(timestamp),
                        offset: 0,
                        headers: RawHeaders::default(),
                    };
                    decoder.decode(&record, timestamp, &mut self.key_bytes).map_err(|error| SinkError::Refused {
                        sink: self.name.clone(),
                        what: format!("a record for topic `{}` has no key: {error}", self.topic),
                    })?;
                    Some(self.key_bytes.as_slice())
                }
            };
            let partition = self.partitioner.partition(key, value.map_or(0, <[u8]>::len));
            let record = NewRecord { partition, key, value, timestamp };
            producer.produce(topic, &record, headers.row(row)).map_err(|error| refused(&self.name, error))?;
        }
        Ok(())
    }

    /// What this sink contributes to a checkpoint: the ends of its partitions, among those of all sinks.
    pub fn state(&self, ends: &[PartitionEnd]) -> SinkState {
        let own = ends.iter().filter(|end| end.topic == self.topic);
        SinkState::Kafka { sink: self.name.clone(), ends: own.cloned().collect() }
    }
}

/// Walks along a batch's sparse headers; rows are asked for in ascending order.
struct HeadersOf<'a> {
    headers: Option<&'a Headers>,
    next: usize,
}

impl<'a> HeadersOf<'a> {
    fn new(headers: Option<&'a Headers>) -> HeadersOf<'a> {
        HeadersOf { headers, next: 0 }
    }

    /// The headers of a row, name and value each.
    fn row(&mut self, row: usize) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + Clone + use<'a> {
        let (mut first, mut end) = (self.next, self.next);
        if let Some(headers) = self.headers {
            let belongs_before = |entry: usize| headers.rows.get(entry).is_some_and(|of| (*of as usize) < row);
            while belongs_before(first) {
                first += 1;
            }
            end = first;
            while headers.rows.get(end).is_some_and(|of| *of as usize == row) {
                end += 1;
            }
            self.next = end;
        }
        let headers = self.headers;
        (first..end).filter_map(move |entry| headers.map(|all| (all.names.bytes(entry), all.values.get(entry))))
    }
}

fn failed(sink: &str, what: &str, error: KafkaError) -> SinkError {
    SinkError::Failed { sink: sink.to_owned(), what: what.to_owned(), cause: Some(Box::new(error)) }
}

/// A record that no restart will make writable is refused; lost transactions are for a new start.
fn refused(sink: &str, error: ProduceError) -> SinkError {
    match error {
        ProduceError::Timestamp { .. } | ProduceError::TooLarge { .. } => {
            SinkError::Refused { sink: sink.to_owned(), what: error.to_string() }
        }
        ProduceError::Kafka(error) if error.class() == Class::Fatal => {
            SinkError::Refused { sink: sink.to_owned(), what: error.to_string() }
        }
        ProduceError::Kafka(error) => failed(sink, "a record could not be written", error),
    }
}

#[cfg(test)]
mod tests {
    use super::HeadersOf;
    use crate::columns::{BytesColumn, Headers};

    fn headers(entries: &[(u32, &str, Option<&str>)]) -> Headers {
        let (mut names, mut values) = (BytesColumn::default(), BytesColumn::default());
        for (_, name, value) in entries {
            names.push(Some(name.as_bytes()));
            values.push(value.map(str::as_bytes));
        }
        Headers { rows: entries.iter().map(|(row, ..)| *row).collect(), names, values }
    }

    #[test]
    fn a_row_gets_its_own_headers_also_when_rows_are_left_out() {
        let all = headers(&[(1, "a", Some("1")), (1, "b", None), (3, "c", Some("3")), (4, "d", Some("4"))]);
        let mut walk = HeadersOf::new(Some(&all));
        let mut names =
            |row| walk.row(row).map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect::<Vec<_>>();
        assert_eq!(names(0), Vec::<String>::new());
        assert_eq!(names(1), ["a", "b"]);
        assert_eq!(names(4), ["d"]);
        assert_eq!(names(5), Vec::<String>::new());
        assert_eq!(HeadersOf::new(None).row(0).count(), 0);
    }
}
