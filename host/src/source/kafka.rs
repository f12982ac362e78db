//! Kafka partitions as splits. (stub)
use super::{Discover, Polled, RawRecord, Reader, SourceError};
use crate::checkpoint::record::{Position, SourceState, SplitState};
use crate::columns::SplitName;
use crate::config::model::Source;
use crate::ids::SplitIndex;

use std::sync::Arc;
use std::time::Duration;

/// Resolves start offsets.
pub fn resolve(_source: &Source) -> Result<SourceState, SourceError> {
    unimplemented!()
}

/// Reads partitions.
pub struct KafkaReader;

impl KafkaReader {
    /// Opens partitions at their positions.
    pub fn open(_source: &Source, _splits: &[SplitState], _discover: Discover) -> Result<KafkaReader, SourceError> {
        unimplemented!()
    }
}

impl Reader for KafkaReader {
    fn splits(&self) -> &[Arc<SplitName>] {
        unimplemented!()
    }
    fn poll(&mut self, _: SplitIndex, _: usize, _: &mut dyn FnMut(RawRecord<'_>)) -> Result<Polled, SourceError> {
        unimplemented!()
    }
    fn position(&self, _: SplitIndex) -> Position {
        unimplemented!()
    }
    fn wait(&mut self, _: Duration) {}
    fn verify(&mut self) -> Result<(), SourceError> {
        unimplemented!()
    }
    fn publish(&mut self, _: &[Position]) {}
    fn lag(&self) -> Option<u64> {
        None
    }
}
