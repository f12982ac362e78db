//! Positions that cannot be gone on from, and where they may be moved to. Pure.
//!
//! What the cluster and the files say comes in as arguments. A new position says what is lost or read again by it; the state
//! and the watermarks stay as they are, so that nothing late becomes early. Next room: the parent.

use crate::checkpoint::record::{Position, SplitState};
use crate::kafka::TopicPartition;

/// A partition as the cluster has it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Partition {
    /// The cluster's id.
    pub(super) cluster_id: String,
    /// The topic's id.
    pub(super) topic_id: String,
    /// The first offset kept and the offset after the last record; `None`: there is no such partition.
    pub(super) range: Option<(i64, i64)>,
}

/// Why a position cannot be gone on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gap {
    /// Records before the first one kept were deleted.
    Deleted,
    /// The log ends before it.
    Cut,
    /// The topic was made again.
    Recreated,
    /// The topic is on another cluster.
    OtherCluster,
    /// The partition is gone.
    Gone,
}

/// A split that is moved, and what that means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Moved {
    /// The split as it goes on; `None`: it is left out.
    pub(super) split: Option<SplitState>,
    /// What is lost or read again, as a sentence.
    pub(super) effect: String,
    /// How many records are lost at most, where that is known.
    pub(super) lost: Option<u64>,
}

/// Whether a position in a partition can be gone on from.
pub(super) fn gap(split: &SplitState, now: &Partition) -> Option<Gap> {
    let Position::Kafka { cluster_id, topic_id, offset, .. } = &split.position else { return None };
    if *cluster_id != now.cluster_id {
        return Some(Gap::OtherCluster);
    }
    let Some((first, end)) = now.range else { return Some(Gap::Gone) };
    if *topic_id != now.topic_id {
        return Some(Gap::Recreated);
    }
    match *offset {
        // A finished split is not read again.
        _ if split.finished => None,
        offset if offset < first => Some(Gap::Deleted),
        offset if offset > end => Some(Gap::Cut),
        _ => None,
    }
}

/// Moves a position to where a person wants it, or to the first record kept.
///
/// # Errors
///
/// An offset that the partition does not have.
pub(super) fn moved(split: &SplitState, gap: Gap, now: &Partition, wanted: Option<i64>) -> Result<Moved, String> {
    let Position::Kafka { topic, partition, offset, until, .. } = &split.position else {
        return Err("the position is not one of Kafka's".to_owned());
    };
    let at = TopicPartition { topic: topic.clone(), partition: *partition };
    let name = format!("`{}` partition `{}`", at.topic, at.partition);
    let Some((first, end)) = now.range else {
        let effect =
            format!("{name} is gone and is left out; what it held from offset `{offset}` on is lost, number unknown");
        return Ok(Moved { split: None, effect, lost: None });
    };
    let to = wanted.unwrap_or(if gap == Gap::Cut { end } else { first });
    if !(first..=end).contains(&to) {
        return Err(format!("{name} has offsets `{first}` to `{end}`, so it cannot go on at `{to}`"));
    }
    let is_other_log = matches!(gap, Gap::Recreated | Gap::OtherCluster);
    let (effect, lost) = match gap {
        Gap::Recreated | Gap::OtherCluster => (
            format!(
                "{name} is another log now: it is read from offset `{to}` of `{first}` to `{end}`; what the old one held from \
                 offset `{offset}` on is lost, number unknown"
            ),
            None,
        ),
        _ if to >= *offset => {
            let lost = (to - offset) as u64;
            (
                format!("{name} goes on at offset `{to}` instead of `{offset}`: up to {lost} records are lost"),
                Some(lost),
            )
        }
        _ => {
            let again = offset - to;
            let effect =
                format!("{name} goes on at offset `{to}` instead of `{offset}`: up to {again} records are read again");
            (effect, Some(0))
        }
    };
    let position = Position::Kafka {
        cluster_id: now.cluster_id.clone(),
        topic: at.topic,
        topic_id: now.topic_id.clone(),
        partition: at.partition,
        offset: to,
        leader_epoch: -1,
        // Where the old log was to end says nothing about the new one.
        until: until.map(|until| if is_other_log { end } else { until }),
    };
    let split = SplitState { position, finished: split.finished && !is_other_log, ..split.clone() };
    Ok(Moved { split: Some(split), effect, lost })
}

#[cfg(test)]
mod tests {
    use super::{Gap, Partition, gap, moved};
    use crate::checkpoint::record::{Position, SplitState};
    use crate::ids::Watermark;

    fn split(offset: i64) -> SplitState {
        let position = Position::Kafka {
            cluster_id: "c".to_owned(),
            topic: "in".to_owned(),
            topic_id: "t".to_owned(),
            partition: 3,
            offset,
            leader_epoch: 4,
            until: Some(100),
        };
        SplitState { position, watermark: Watermark(17), idle: false, finished: false }
    }

    fn partition(range: Option<(i64, i64)>) -> Partition {
        Partition { cluster_id: "c".to_owned(), topic_id: "t".to_owned(), range }
    }

    #[test]
    fn each_gap_is_told_from_a_position_that_is_still_good() {
        for (offset, expected) in [(5, Some(Gap::Deleted)), (10, None), (50, None), (51, Some(Gap::Cut))] {
            assert_eq!(gap(&split(offset), &partition(Some((10, 50)))), expected, "{offset}");
        }
        assert_eq!(gap(&split(10), &partition(None)), Some(Gap::Gone));
        let recreated = Partition { topic_id: "u".to_owned(), ..partition(Some((0, 50))) };
        assert_eq!(gap(&split(10), &recreated), Some(Gap::Recreated));
        let elsewhere = Partition { cluster_id: "d".to_owned(), ..partition(Some((0, 50))) };
        assert_eq!(gap(&split(10), &elsewhere), Some(Gap::OtherCluster));
        let finished = SplitState { finished: true, ..split(5) };
        assert_eq!(gap(&finished, &partition(Some((10, 50)))), None);
    }

    #[test]
    fn a_move_says_what_it_loses_and_keeps_the_watermark() {
        let now = partition(Some((10, 50)));
        let skipped = moved(&split(5), Gap::Deleted, &now, None).expect("it can be moved");
        assert_eq!(skipped.lost, Some(5));
        let on = skipped.split.expect("it goes on");
        assert_eq!(on.watermark, Watermark(17));
        assert!(matches!(on.position, Position::Kafka { offset: 10, leader_epoch: -1, until: Some(100), .. }));
        let cut = moved(&split(60), Gap::Cut, &now, None).expect("it can be moved");
        assert!(cut.effect.contains("10 records are read again"), "{}", cut.effect);
        assert!(moved(&split(5), Gap::Deleted, &now, Some(51)).is_err());
        assert_eq!(moved(&split(5), Gap::Gone, &partition(None), None).expect("it is left out").split, None);
    }

    #[test]
    fn a_new_log_is_read_from_its_beginning_to_its_own_end() {
        let now = Partition { topic_id: "u".to_owned(), ..partition(Some((0, 50))) };
        let moved = moved(&split(20), Gap::Recreated, &now, None).expect("it can be moved");
        assert_eq!(moved.lost, None);
        let on = moved.split.expect("it goes on");
        assert!(
            matches!(&on.position, Position::Kafka { offset: 0, until: Some(50), topic_id, .. } if topic_id == "u")
        );
    }
}
