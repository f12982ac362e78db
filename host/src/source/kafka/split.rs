//! One partition's place: the next offset, what is known of its end, and its identity. Pure.
//!
//! Next room: the parent, which moves it.

use crate::checkpoint::record::{Position, SplitState};
use crate::columns::SplitName;
use crate::kafka::{EndSeen, Round, StartAt, TopicPartition};
use crate::source::SourceError;
use std::sync::Arc;

/// A partition and where it goes on.
#[derive(Debug, Clone)]
pub(super) struct Split {
    pub(super) name: Arc<SplitName>,
    pub(super) cluster_id: String,
    pub(super) topic_id: String,
    /// The next offset to read.
    pub(super) offset: i64,
    /// The epoch of the record just before `offset`, -1 when that was not a record that was read.
    leader_epoch: i32,
    /// Where a bounded read ends.
    pub(super) until: Option<i64>,
    /// The end of the partition, while nothing was found behind it.
    pub(super) end: Option<EndSeen>,
    is_finished: bool,
}

impl Split {
    /// A split that starts here.
    pub(super) fn new(at: &TopicPartition, cluster_id: &str, topic_id: &str, offset: i64, until: Option<i64>) -> Split {
        Split {
            name: Arc::new(SplitName { topic: at.topic.clone(), partition: at.partition }),
            cluster_id: cluster_id.to_owned(),
            topic_id: topic_id.to_owned(),
            offset,
            leader_epoch: -1,
            until,
            end: None,
            is_finished: until.is_some_and(|until| offset >= until),
        }
    }

    /// A split that goes on.
    pub(super) fn open(source: &str, state: &SplitState) -> Result<Split, SourceError> {
        let Position::Kafka { cluster_id, topic, topic_id, partition, offset, leader_epoch, until } = &state.position
        else {
            return Err(SourceError::Changed {
                source_name: source.to_owned(),
                what:
                    "the checkpoint holds positions in files, but the job file names topics; give the source its old \
                       kind back, or another name (stop: job-changed)"
                        .to_owned(),
            });
        };
        let at = TopicPartition { topic: topic.clone(), partition: *partition };
        let mut split = Split::new(&at, cluster_id, topic_id, *offset, *until);
        split.leader_epoch = *leader_epoch;
        split.is_finished |= state.finished;
        Ok(split)
    }

    /// Takes over what a round found.
    pub(super) fn advance(&mut self, round: &Round) {
        if let Some((offset, epoch)) = round.last {
            self.offset = offset + 1;
            self.leader_epoch = epoch;
            self.end = None;
        }
        if let Some(end) = round.end {
            // Control records and aborted ones take offsets too. Their epoch is not known, and the last record's would
            // make the library take the offset for one that its log has lost.
            if end.offset > self.offset {
                self.offset = end.offset;
                self.leader_epoch = -1;
            }
            self.end = Some(end);
        }
        self.is_finished |= round.limit_reached || self.until.is_some_and(|until| self.offset >= until);
    }

    /// Nothing more will be read.
    pub(super) fn finish(&mut self) {
        self.is_finished = true;
    }

    /// Whether a bounded read has reached its end.
    pub(super) fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// Where the consumer is to start.
    pub(super) fn start(&self) -> StartAt {
        let leader_epoch = (self.leader_epoch >= 0).then_some(self.leader_epoch);
        StartAt { at: self.at(), offset: self.offset, leader_epoch }
    }

    /// The partition by name.
    pub(super) fn at(&self) -> TopicPartition {
        TopicPartition { topic: self.name.topic.clone(), partition: self.name.partition }
    }

    /// The position for a checkpoint.
    pub(super) fn position(&self) -> Position {
        Position::Kafka {
            cluster_id: self.cluster_id.clone(),
            topic: self.name.topic.clone(),
            topic_id: self.topic_id.clone(),
            partition: self.name.partition,
            offset: self.offset,
            leader_epoch: self.leader_epoch,
            until: self.until,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Split;
    use crate::kafka::{EndSeen, Round, TopicPartition};

    fn split(until: Option<i64>) -> Split {
        let at = TopicPartition { topic: "payments".to_owned(), partition: 3 };
        Split::new(&at, "cluster", "topic-id", 10, until)
    }

    fn records(last: i64, epoch: i32) -> Round {
        Round { records: 1, last: Some((last, epoch)), ..Round::default() }
    }

    fn end(offset: i64) -> Round {
        Round { end: Some(EndSeen { offset, broker: 1 }), ..Round::default() }
    }

    #[test]
    fn the_next_offset_follows_the_last_record_and_keeps_its_epoch() {
        let mut split = split(None);
        split.advance(&records(14, 2));
        assert_eq!((split.offset, split.start().leader_epoch), (15, Some(2)));
    }

    #[test]
    fn an_end_behind_control_records_moves_the_offset_and_forgets_the_epoch() {
        let mut split = split(None);
        split.advance(&records(14, 2));
        split.advance(&end(17));
        assert_eq!((split.offset, split.start().leader_epoch), (17, None));
    }

    #[test]
    fn an_end_right_behind_the_last_record_keeps_its_epoch() {
        let mut split = split(None);
        split.advance(&records(14, 2));
        split.advance(&end(15));
        assert_eq!((split.offset, split.start().leader_epoch), (15, Some(2)));
    }

    #[test]
    fn a_record_after_the_end_means_that_it_is_the_end_no_more() {
        let mut split = split(None);
        split.advance(&end(10));
        assert!(split.end.is_some());
        split.advance(&records(10, 0));
        assert!(split.end.is_none());
    }

    #[test]
    fn a_bounded_read_ends_at_its_last_offset_or_at_an_end_behind_it() {
        for (round, is_finished) in [(records(18, 0), false), (records(19, 0), true), (end(19), false), (end(20), true)]
        {
            let mut split = split(Some(20));
            split.advance(&round);
            assert_eq!(split.is_finished(), is_finished, "{round:?}");
        }
        assert!(split(Some(10)).is_finished(), "nothing to read at all");
    }
}
