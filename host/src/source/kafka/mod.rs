//! Kafka partitions as splits: where each one is, when it is at its end, and whether it is still the same partition.
//!
//! Owns the positions. It never lets the library choose an offset: a position that is gone, a topic that was made again
//! under its old name, a log that was cut: all end the job with a clear text. Next rooms: `start`, first positions;
//! `identity`, the checks; [`crate::kafka::Consumer`], the reading itself.

mod identity;
mod split;
mod start;

pub use start::resolve;

use super::{Discover, Polled, RawHeaders, RawRecord, Reader, SourceError, Verified};
use crate::checkpoint::record::{Position, SplitState};
use crate::columns::SplitName;
use crate::config::model::{Source, SourceKind};
use crate::ids::SplitIndex;
use crate::kafka::{Class, Consumer, KafkaAdmin, KafkaError, ReadError, Round, StartAt, TopicPartition};
use identity::Identity;
use split::Split;
use std::sync::Arc;
use std::time::Duration;

/// How long an answer of the cluster is waited for at a start.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads partitions.
#[derive(Debug)]
pub struct KafkaReader {
    source: String,
    consumer: Consumer,
    identity: Identity,
    splits: Vec<Split>,
    names: Vec<Arc<SplitName>>,
    /// Whether records were visited since the topics' identity was asked for last.
    is_unproven: bool,
}

impl KafkaReader {
    /// Opens partitions at their positions. Asks the cluster first, so a broker that is down or a topic that was made
    /// again is noticed here.
    pub fn open(source: &Source, splits: &[SplitState], discover: Discover<'_>) -> Result<KafkaReader, SourceError> {
        let SourceKind::Kafka { connection, topics, until, group, .. } = &source.kind else {
            return Err(failed(&source.name, "is not a Kafka source".to_owned()));
        };
        let name = &source.name;
        let splits: Vec<Split> = splits.iter().map(|state| Split::open(name, state)).collect::<Result<_, _>>()?;
        let consumer = Consumer::new(connection, group).map_err(|error| refused(name, error))?;
        let admin = KafkaAdmin::new(connection, START_TIMEOUT).map_err(|error| refused(name, error))?;
        let known = match discover {
            // A bounded read has no use for partitions that came after its ends were fixed.
            Discover::Yes(all) if until.is_none() => Some(all),
            Discover::Yes(_) | Discover::No => None,
        };
        let identity = Identity::new(name, topics, known, admin);
        let mut reader = KafkaReader {
            source: name.clone(),
            consumer,
            identity,
            splits: Vec::new(),
            names: Vec::new(),
            is_unproven: false,
        };
        reader.identity.check_at_start(&splits, START_TIMEOUT)?;
        reader.add(splits)?;
        reader.discover()?;
        Ok(reader)
    }

    fn add(&mut self, splits: Vec<Split>) -> Result<(), SourceError> {
        let starts: Vec<StartAt> = splits.iter().map(Split::start).collect();
        let first = self.splits.len();
        self.consumer.add(&starts).map_err(|error| refused(&self.source, error))?;
        self.names.extend(splits.iter().map(|split| Arc::clone(&split.name)));
        self.splits.extend(splits);
        for index in first..self.splits.len() {
            if self.splits[index].is_finished() {
                self.finish(index)?;
            }
        }
        Ok(())
    }

    /// Takes over partitions that are new, from their earliest offsets.
    fn discover(&mut self) -> Result<(), SourceError> {
        let found = self.identity.take_new()?;
        if found.is_empty() {
            return Ok(());
        }
        for split in &found {
            tracing::info!(
                source = self.source,
                topic = split.name.topic,
                partition = split.name.partition,
                "new split"
            );
        }
        self.add(found)
    }

    fn finish(&mut self, index: usize) -> Result<Polled, SourceError> {
        self.splits[index].finish();
        self.consumer.release(index).map_err(|error| refused(&self.source, error))?;
        Ok(Polled::Finished)
    }

    /// What a round without records says.
    fn quiet(&mut self, index: usize) -> Polled {
        let split = &self.splits[index];
        let Some(end) = split.end else { return Polled::Pending };
        let broker = self.identity.leader(split).unwrap_or(end.broker);
        if !self.consumer.is_answering(end.broker) && !self.consumer.is_answering(broker) {
            return Polled::Pending;
        }
        // Beyond the last stable offset lie records of somebody's open transaction: that is not idleness.
        match self.consumer.high_watermark(index) {
            Some(high) if high <= split.offset => Polled::CaughtUp,
            _ => Polled::Pending,
        }
    }

    fn unreadable(&self, index: usize, error: ReadError) -> SourceError {
        let split = &self.splits[index];
        match error {
            ReadError::PositionLost(detail) => SourceError::Changed {
                source_name: self.source.clone(),
                what: format!(
                    "topic `{}` partition {} cannot be read on at offset `{}`: {detail}; its records were deleted \
                     (retention) or its log was cut, and going on elsewhere would lose or repeat records; the last \
                     checkpoint is intact: to accept the gap, `tidegate state repair`, or a new store and `start` (stop: offsets-gone)",
                    split.name.topic, split.name.partition, split.offset
                ),
            },
            ReadError::Kafka(error) => refused(&self.source, error),
        }
    }
}

impl Reader for KafkaReader {
    fn splits(&self) -> &[Arc<SplitName>] {
        &self.names
    }

    fn poll(
        &mut self,
        split: SplitIndex,
        records_max: usize,
        visit: &mut dyn FnMut(RawRecord<'_>),
    ) -> Result<Polled, SourceError> {
        let index = split.index();
        let at = &self.splits[index];
        if at.is_finished() {
            return Ok(Polled::Finished);
        }
        let (from, until) = (at.offset, at.until.unwrap_or(i64::MAX));
        let result = self.consumer.read(index, from, until, records_max, &mut |record| {
            visit(RawRecord {
                key: record.key,
                value: record.value,
                timestamp: record.timestamp,
                offset: record.offset,
                headers: RawHeaders { entries: record.headers },
            });
        });
        let round: Round = match result {
            Ok(round) => round,
            Err(ReadError::Kafka(error)) if error.class() == Class::Retry => {
                tracing::debug!(source = self.source, error = %error, "reading goes on");
                return Ok(Polled::Pending);
            }
            Err(error) => return Err(self.unreadable(index, error)),
        };
        self.splits[index].advance(&round);
        self.is_unproven |= round.records > 0;
        let is_over = round.limit_reached || self.splits[index].is_finished();
        match (round.records, is_over) {
            (0, true) => self.finish(index),
            (0, false) => Ok(self.quiet(index)),
            (records, is_over) => {
                if is_over {
                    self.finish(index)?;
                }
                Ok(Polled::Records(records))
            }
        }
    }

    fn position(&self, split: SplitIndex) -> Position {
        self.splits[split.index()].position()
    }

    fn wait(&mut self, at_most: Duration) {
        self.consumer.wait(at_most);
    }

    /// Asks the cluster for the topics' ids if records were visited since the last answer, or it is some time ago. A
    /// topic id is never used again, so an answer that comes after the records were visited proves whose they are. The
    /// wait for it is short and bounded; a checkpoint waits for the next answer.
    fn verify(&mut self) -> Result<Verified, SourceError> {
        if !self.is_unproven && !self.identity.is_due() {
            return Ok(Verified::Proven);
        }
        if self.identity.check(&self.splits)? {
            self.is_unproven = false;
            self.discover()?;
        }
        Ok(if self.is_unproven { Verified::Unanswered } else { Verified::Proven })
    }

    fn publish(&mut self, positions: &[Position]) {
        let offsets = positions.iter().filter_map(|position| match position {
            Position::Kafka { topic, partition, offset, .. } => {
                Some((TopicPartition { topic: topic.clone(), partition: *partition }, *offset))
            }
            Position::File { .. } => None,
        });
        self.consumer.publish(&offsets.collect::<Vec<_>>());
    }

    fn lag(&self) -> Option<u64> {
        let mut lag = 0;
        for (index, split) in self.splits.iter().enumerate() {
            let end = match split.until {
                Some(until) => Some(until),
                None => self.consumer.high_watermark(index),
            };
            lag += end?.saturating_sub(split.offset).max(0) as u64;
        }
        Some(lag)
    }
}

/// An error of the cluster as a source's: what repeating cannot heal, a person must look at.
fn refused(source: &str, error: KafkaError) -> SourceError {
    match error.class() {
        Class::Fatal => {
            SourceError::Changed { source_name: source.to_owned(), what: format!("{error} (stop: kafka-refused)") }
        }
        Class::Retry | Class::Unknown => SourceError::Failed {
            source_name: source.to_owned(),
            what: "the Kafka cluster does not serve the source".to_owned(),
            cause: Some(Box::new(error)),
        },
    }
}

fn failed(source: &str, what: String) -> SourceError {
    SourceError::Failed { source_name: source.to_owned(), what, cause: None }
}

/// Every partition of the topics, as the cluster has them.
fn partitions_of(topic: &str, count: usize) -> impl Iterator<Item = TopicPartition> + '_ {
    (0..count).map(move |partition| TopicPartition { topic: topic.to_owned(), partition: partition as i32 })
}

/// The earliest offset of each partition.
fn earliest(admin: &KafkaAdmin, partitions: &[TopicPartition]) -> Result<Vec<i64>, KafkaError> {
    let offsets = admin.offsets(partitions, crate::kafka::OffsetAt::Earliest)?;
    Ok(offsets.into_iter().map(|offset| offset.unwrap_or(0)).collect())
}
