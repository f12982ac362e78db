//! Files of JSON lines as splits. (stub)
use super::{Polled, RawRecord, Reader, SourceError};
use crate::checkpoint::record::{Position, SourceState, SplitState};
use crate::columns::SplitName;
use crate::ids::SplitIndex;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Lists the files of a pattern.
pub fn resolve(_source: &str, _pattern: &Path) -> Result<SourceState, SourceError> {
    unimplemented!()
}

/// Reads lines.
pub struct FileReader;

impl FileReader {
    /// Opens files at their positions.
    pub fn open(_source: &str, _splits: &[SplitState], _max_record_bytes: usize) -> Result<FileReader, SourceError> {
        unimplemented!()
    }
}

impl Reader for FileReader {
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
