//! First positions: what `start` and `until` mean in offsets, asked once and recorded in checkpoint 0.
//!
//! Reads nothing. Next room: the parent, which reads from there.

use super::split::Split;
use super::{START_TIMEOUT, earliest, failed, partitions_of, refused};
use crate::checkpoint::record::{SourceState, SplitState};
use crate::config::model::{Source, SourceKind, Start, Until};
use crate::ids::Watermark;
use crate::kafka::{KafkaAdmin, KafkaError, OffsetAt, TopicPartition};
use crate::source::SourceError;

/// Resolves start and end offsets of every partition of a source's topics.
///
/// `latest` as a start is the last stable offset: records of transactions that are open now come later and are read.
/// `latest` as an end is the high watermark: they belong to what is there now, so the read waits for their outcome.
pub fn resolve(source: &Source) -> Result<SourceState, SourceError> {
    let SourceKind::Kafka { connection, topics, start, until, group } = &source.kind else {
        return Err(failed(&source.name, "is not a Kafka source".to_owned()));
    };
    let refuse = |error: KafkaError| refused(&source.name, error);
    let admin = KafkaAdmin::new(connection, START_TIMEOUT).map_err(refuse)?;
    let cluster_id = admin.cluster_id().map_err(refuse)?;
    let infos = admin.topics(topics).map_err(refuse)?;
    let partitions: Vec<TopicPartition> =
        infos.iter().flat_map(|info| partitions_of(&info.name, info.leaders.len())).collect();
    let offsets = match start {
        Start::Group => group_start(source, &admin, group, &partitions)?,
        _ => start_offsets(&admin, &partitions, *start).map_err(refuse)?,
    };
    let ends = end_offsets(&admin, &partitions, *until).map_err(refuse)?;
    let splits = partitions.iter().zip(offsets).zip(ends).map(|((at, offset), until)| {
        let topic_id = infos.iter().find(|info| info.name == at.topic).map_or("", |info| info.id.as_str());
        let split = Split::new(at, &cluster_id, topic_id, offset, until);
        SplitState {
            position: split.position(),
            watermark: Watermark::START,
            idle: false,
            finished: split.is_finished(),
        }
    });
    Ok(SourceState { source: source.name.clone(), splits: splits.collect() })
}

fn start_offsets(admin: &KafkaAdmin, partitions: &[TopicPartition], start: Start) -> Result<Vec<i64>, KafkaError> {
    let at_end = |admin: &KafkaAdmin| -> Result<Vec<i64>, KafkaError> {
        let ends = admin.offsets(partitions, OffsetAt::Stable)?;
        Ok(ends.into_iter().map(|offset| offset.unwrap_or(0)).collect())
    };
    match start {
        Start::Earliest | Start::Group => earliest(admin, partitions),
        Start::Latest => at_end(admin),
        Start::Time(time) => {
            // The ends first: what arrives between the two questions is at or behind them, so it is read.
            let ends = at_end(admin)?;
            let found = admin.offsets(partitions, OffsetAt::StableTime(time))?;
            Ok(found.into_iter().zip(ends).map(|(offset, end)| offset.unwrap_or(end)).collect())
        }
    }
}

/// The group's committed offsets. A partition without one is new to the group and starts at its earliest; a group
/// without any is a mistake in its name.
fn group_start(
    source: &Source,
    admin: &KafkaAdmin,
    group: &str,
    partitions: &[TopicPartition],
) -> Result<Vec<i64>, SourceError> {
    let refuse = |error: KafkaError| refused(&source.name, error);
    let committed = admin.group_offsets(group, partitions).map_err(refuse)?;
    if committed.iter().all(Option::is_none) {
        return Err(SourceError::Changed {
            source_name: source.name.clone(),
            what: format!(
                "group `{group}` has no committed offset for any partition of the source's topics (they may have \
                 expired); correct `group`, or choose another `start` (stop: group-empty)"
            ),
        });
    }
    let first = earliest(admin, partitions).map_err(refuse)?;
    Ok(committed.into_iter().zip(first).map(|(offset, first)| offset.unwrap_or(first)).collect())
}

fn end_offsets(
    admin: &KafkaAdmin,
    partitions: &[TopicPartition],
    until: Option<Until>,
) -> Result<Vec<Option<i64>>, KafkaError> {
    let Some(until) = until else {
        return Ok(vec![None; partitions.len()]);
    };
    let ends = admin.offsets(partitions, OffsetAt::HighWatermark)?;
    match until {
        Until::Latest => Ok(ends),
        Until::Time(time) => {
            let found = admin.offsets(partitions, OffsetAt::Time(time))?;
            // A record that is found behind the ends came after they were asked for.
            Ok(found.into_iter().zip(ends).map(|(offset, end)| offset.or(end).min(end)).collect())
        }
    }
}
