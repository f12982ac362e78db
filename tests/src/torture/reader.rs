//! Readers of the outputs that run all along, as a user's would: a `read_committed` consumer, and a reader of a growing file.
//!
//! They hand every record out once, in the order in which it stands there. Next room: [`super::judge`].

use super::violation::Violation;
use crate::broker::Broker;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Records read at once, before the caller looks at something else.
const RECORDS_MAX: usize = 5_000;
/// Bytes of a file read at once.
const BYTES_MAX: u64 = 4 << 20;

/// A reader of one output.
pub(super) enum Reader {
    /// Of a topic.
    Topic(TopicReader),
    /// Of a file.
    File(FileReader),
}

impl Reader {
    /// Hands out what is new, and says whether there was something.
    pub(super) fn read(&mut self, take: &mut dyn FnMut(&[u8]) -> Result<(), Violation>) -> Result<bool, Violation> {
        match self {
            Reader::Topic(topic) => topic.read(take),
            Reader::File(file) => file.read(take),
        }
    }

    /// Looks whether a reader that came later would have seen the same since the last call, and how far everybody has read.
    pub(super) fn look_again(&mut self) -> Result<Option<(PathBuf, u64)>, Violation> {
        match self {
            // Kafka's log is never written twice.
            Reader::Topic(_) => Ok(None),
            Reader::File(file) => file.look_again().map(Some),
        }
    }
}

/// A consumer of all partitions, from the beginning.
pub(super) struct TopicReader {
    consumer: BaseConsumer,
    topic: String,
    /// By partition: the next offset that may come.
    next: Vec<i64>,
}

impl TopicReader {
    pub(super) fn new(broker: &Broker, topic: &str, partitions: i32) -> TopicReader {
        let consumer: BaseConsumer = broker
            .client()
            .set("group.id", "torture")
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            .set("fetch.wait.max.ms", "10")
            .create()
            .expect("a consumer can be made");
        let mut assignment = TopicPartitionList::new();
        for partition in 0..partitions {
            assignment.add_partition_offset(topic, partition, Offset::Offset(0)).expect("an offset is one");
        }
        consumer.assign(&assignment).expect("the partitions can be assigned");
        TopicReader { consumer, topic: topic.to_owned(), next: vec![0; partitions as usize] }
    }

    fn read(&mut self, take: &mut dyn FnMut(&[u8]) -> Result<(), Violation>) -> Result<bool, Violation> {
        for count in 0..RECORDS_MAX {
            match self.consumer.poll(Duration::ZERO) {
                None => return Ok(count > 0),
                Some(Ok(message)) => {
                    let next = &mut self.next[message.partition() as usize];
                    let (partition, offset) = (message.partition(), message.offset());
                    if offset < *next {
                        return Err(Violation::Host(format!("the consumer went back to {partition}@{offset}")));
                    }
                    *next = offset + 1;
                    let place = |what: String| format!("{what} ({} {partition}@{offset})", self.topic);
                    take(message.payload().unwrap_or_default()).map_err(|violation| violation.at(place))?;
                }
                // The broker is asked again.
                Some(Err(KafkaError::MessageConsumption(
                    RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown,
                ))) => {}
                Some(Err(error)) => return Err(Violation::Host(format!("`{}` cannot be read: {error}", self.topic))),
            }
        }
        Ok(true)
    }
}

/// A reader of a growing file, by lines.
pub(super) struct FileReader {
    path: PathBuf,
    file: Option<File>,
    /// After the last whole line.
    offset: u64,
    digest: DefaultHasher,
    /// Where the digest begins.
    digest_from: u64,
}

impl FileReader {
    pub(super) fn new(path: &Path) -> FileReader {
        FileReader { path: path.to_owned(), file: None, offset: 0, digest: DefaultHasher::new(), digest_from: 0 }
    }

    fn read(&mut self, take: &mut dyn FnMut(&[u8]) -> Result<(), Violation>) -> Result<bool, Violation> {
        let failed =
            |error: std::io::Error| Violation::Host(format!("`{}` cannot be read: {error}", self.path.display()));
        let file = match &mut self.file {
            Some(file) => file,
            none => match File::open(&self.path) {
                Ok(file) => none.insert(file),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(failed(error)),
            },
        };
        if file.metadata().map_err(failed)?.len() < self.offset {
            return Err(Violation::Lost(format!("`{}` became shorter than what was read", self.path.display())));
        }
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(self.offset)).map_err(failed)?;
        file.take(BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
        // A line that is being appended is not there yet: a reader goes by line ends.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        for line in bytes[..whole].split_inclusive(|byte| *byte == b'\n') {
            let (path, offset) = (self.path.display(), self.offset);
            let place = |what: String| format!("{what} (`{path}` at byte {offset})");
            take(&line[..line.len() - 1]).map_err(|violation| violation.at(place))?;
            self.digest.write(line);
            self.offset += line.len() as u64;
        }
        Ok(whole > 0)
    }

    /// What was read since the last call, read again, must be the same bytes.
    fn look_again(&mut self) -> Result<(PathBuf, u64), Violation> {
        let Some(file) = &mut self.file else { return Ok((self.path.clone(), 0)) };
        let failed =
            |error: std::io::Error| Violation::Host(format!("`{}` cannot be read: {error}", self.path.display()));
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(self.digest_from)).map_err(failed)?;
        file.take(self.offset - self.digest_from).read_to_end(&mut bytes).map_err(failed)?;
        let mut digest = DefaultHasher::new();
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            digest.write(line);
        }
        if digest.finish() != self.digest.finish() {
            let (path, from) = (self.path.display(), self.digest_from);
            return Err(Violation::Wrong(format!("`{path}` was rewritten behind byte {from} after it was read")));
        }
        (self.digest, self.digest_from) = (DefaultHasher::new(), self.offset);
        Ok((self.path.clone(), self.offset))
    }
}
