//! Whether the topics are still those that the positions were taken in, and which partitions are new.
//!
//! Asks the cluster, bounded in time; decides by ids, never by names. Next room: the parent, which calls it before each
//! checkpoint.

use super::split::Split;
use super::{earliest, partitions_of, refused};
use crate::checkpoint::record::{Position, SplitState};
use crate::kafka::{Class, KafkaAdmin, KafkaError, TopicInfo, TopicPartition};
use crate::source::SourceError;
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// How long a running job waits for an answer before it goes on without one.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// The same while the cluster did not answer the last time.
const ANSWER_TIMEOUT_SILENT: Duration = Duration::from_millis(100);

/// An answer is asked for at least this often, for new partitions and new leaders.
const ASK_EVERY: Duration = Duration::from_secs(10);

/// A topic that the cluster does not know is missing after this long: a broker that has just started may not know it yet.
const MISSING_AFTER: Duration = Duration::from_secs(10);

/// Other refusals (credentials, for example) end a running job after this long: brokers that restart may refuse for a
/// moment what they take later.
const REFUSED_AFTER: Duration = Duration::from_mins(1);

/// What is known of the source's topics.
#[derive(Debug)]
pub(super) struct Identity {
    source: String,
    topics: Vec<String>,
    admin: KafkaAdmin,
    cluster_id: String,
    infos: Vec<TopicInfo>,
    /// Partitions that some thread of the source reads; `None`: another thread looks for new ones.
    known: Option<HashSet<TopicPartition>>,
    asked: Instant,
    is_silent: bool,
    refused_since: Option<Instant>,
}

impl Identity {
    /// `known` is every split of the source, if this reader takes over new ones.
    pub(super) fn new(source: &str, topics: &[String], known: Option<&[SplitState]>, admin: KafkaAdmin) -> Identity {
        let partition = |state: &SplitState| match &state.position {
            Position::Kafka { topic, partition, .. } => {
                Some(TopicPartition { topic: topic.clone(), partition: *partition })
            }
            Position::File { .. } => None,
        };
        Identity {
            source: source.to_owned(),
            topics: topics.to_vec(),
            admin,
            cluster_id: String::new(),
            infos: Vec::new(),
            known: known.map(|all| all.iter().filter_map(partition).collect()),
            asked: Instant::now(),
            is_silent: false,
            refused_since: None,
        }
    }

    /// The check of a start: the cluster must answer, and every position must be of a topic that it has.
    pub(super) fn check_at_start(&mut self, splits: &[Split], timeout: Duration) -> Result<(), SourceError> {
        self.asked = Instant::now();
        let admin = self.admin.within(timeout);
        self.cluster_id = admin.cluster_id().map_err(|error| refused(&self.source, error))?;
        self.infos = admin.topics(&self.topics).map_err(|error| refused(&self.source, error))?;
        self.compare(splits)
    }

    /// Whether the last answer is so old that one should be asked for anyway.
    pub(super) fn is_due(&self) -> bool {
        self.asked.elapsed() >= ASK_EVERY
    }

    /// The check of a running job: `false` if the cluster did not answer in time.
    pub(super) fn check(&mut self, splits: &[Split]) -> Result<bool, SourceError> {
        self.asked = Instant::now();
        let timeout = if self.is_silent { ANSWER_TIMEOUT_SILENT } else { ANSWER_TIMEOUT };
        match self.admin.within(timeout).topics(&self.topics) {
            Ok(infos) => {
                self.is_silent = false;
                self.refused_since = None;
                self.infos = infos;
                self.compare(splits)?;
                Ok(true)
            }
            Err(error) if error.class() == Class::Fatal => {
                let since = self.refused_since.get_or_insert_with(Instant::now).elapsed();
                let is_missing = matches!(error, KafkaError::TopicMissing { .. });
                if since >= if is_missing { MISSING_AFTER } else { REFUSED_AFTER } {
                    return Err(refused(&self.source, error));
                }
                tracing::warn!(source = self.source, error = %error, "topics cannot be checked now");
                Ok(false)
            }
            Err(error) => {
                if !self.is_silent {
                    tracing::warn!(source = self.source, error = %error, "topics cannot be checked now");
                }
                self.is_silent = true;
                Ok(false)
            }
        }
    }

    /// Partitions that nobody reads yet, from their earliest offsets. Empty when another thread looks for them, or when
    /// the cluster does not say the offsets now (the next answer brings them again).
    pub(super) fn take_new(&mut self) -> Result<Vec<Split>, SourceError> {
        let Some(known) = &mut self.known else {
            return Ok(Vec::new());
        };
        let all = self.infos.iter().flat_map(|info| partitions_of(&info.name, info.leaders.len()));
        let new: Vec<TopicPartition> = all.filter(|partition| !known.contains(partition)).collect();
        if new.is_empty() {
            return Ok(Vec::new());
        }
        let offsets = match earliest(&self.admin.within(ANSWER_TIMEOUT), &new) {
            Ok(offsets) => offsets,
            Err(error) if error.class() == Class::Fatal => return Err(refused(&self.source, error)),
            Err(error) => {
                tracing::warn!(source = self.source, error = %error, "new partitions cannot be read yet");
                return Ok(Vec::new());
            }
        };
        known.extend(new.iter().cloned());
        let splits = new.iter().zip(offsets).map(|(at, offset)| {
            let topic_id = self.infos.iter().find(|info| info.name == at.topic).map_or("", |info| info.id.as_str());
            Split::new(at, &self.cluster_id, topic_id, offset, None)
        });
        Ok(splits.collect())
    }

    /// The broker that leads a split's partition, as of the last answer.
    pub(super) fn leader(&self, split: &Split) -> Option<i32> {
        let info = self.infos.iter().find(|info| info.name == split.name.topic)?;
        info.leaders.get(split.name.partition as usize).copied().filter(|broker| *broker >= 0)
    }

    fn compare(&self, splits: &[Split]) -> Result<(), SourceError> {
        for split in splits {
            let topic = &split.name.topic;
            let Some(info) = self.infos.iter().find(|info| info.name == *topic) else {
                return Err(self.changed(format!(
                    "the checkpoint has a position in topic `{topic}`, which the job file does not name any more; name \
                     it again, or start with a new store (stop: job-changed)"
                )));
            };
            if split.cluster_id != self.cluster_id {
                return Err(self.changed(format!(
                    "the positions in topic `{topic}` are of cluster `{}`, but the brokers belong to cluster `{}`; \
                     correct the connection, or start with a new store (stop: cluster-changed)",
                    split.cluster_id, self.cluster_id
                )));
            }
            if split.topic_id != info.id {
                return Err(self.changed(format!(
                    "topic `{topic}` was deleted and made again: the positions are of topic id `{}`, it is `{}` now, \
                     so offset `{}` of partition {} means another record; the last checkpoint is intact: \
                     `tidegate state repair` goes on in the new topic (stop: topic-recreated)",
                    split.topic_id, info.id, split.offset, split.name.partition
                )));
            }
            if split.name.partition as usize >= info.leaders.len() {
                return Err(self.changed(format!(
                    "topic `{topic}` has {} partitions, but the checkpoint has a position in partition {}; \
                     `tidegate state repair` leaves it out (stop: partitions-gone)",
                    info.leaders.len(),
                    split.name.partition
                )));
            }
        }
        Ok(())
    }

    fn changed(&self, what: String) -> SourceError {
        SourceError::Changed { source_name: self.source.clone(), what }
    }
}
