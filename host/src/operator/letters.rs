//! What becomes of a row that an operator does not take: a dead letter, or the end of the job; and a batch in words.
//!
//! Next rooms: [`crate::dead_letter`], what such a row looks like; `undo`, how a record on which the plugin fails is found.

use super::Operator;
use super::search::Poison;
use crate::columns::Batch;
use crate::config::model::OnRejected;
use crate::dead_letter::DeadLetters;
use crate::error::JobError;
use crate::ids::{ShardId, Watermark};
use crate::message::{Message, Rows, Target};
use crate::outlet::{RowsOf, copied};
use crate::plugin::{PluginError, Rejection};
use std::sync::Arc;

impl Operator {
    /// Rows that the plugin rejected, or that it cannot be given.
    pub(super) fn refuse(&mut self, rows: &Rows, rejections: &[Rejection]) -> Result<(), JobError> {
        if let (OnRejected::Fail, Some(first)) = (self.on_rejected, rejections.first()) {
            return Err(self.rejected(&rows.batch, first));
        }
        let reason = |rejection: &Rejection| format!("{}: {}", rejection.code, rejection.reason);
        self.bury(&rows.batch, rejections.iter().map(|rejection| (rejection.row, reason(rejection))));
        Ok(())
    }

    /// Sends rows to the dead-letter sink, each with its reason.
    pub(super) fn bury(&mut self, batch: &Arc<Batch>, rows: impl Iterator<Item = (u32, String)>) {
        let mut letters = DeadLetters::default();
        for (row, reason) in rows {
            let only = Rows { batch: Arc::clone(batch), selection: Some(Arc::from([row])) };
            let mut headers = Vec::new();
            for row in RowsOf::new(&only) {
                letters.push(row.record(&mut headers), &self.name, &reason);
            }
        }
        if let (Some(lane), Some(rows)) = (&self.dead_letters, letters.take()) {
            let shard = Target::Shard(ShardId(0));
            self.outbox.push(lane, Message::Rows { shard, rows, watermark: self.watermark });
        }
    }

    fn rejected(&self, batch: &Batch, rejection: &Rejection) -> JobError {
        JobError::Rejected {
            operator: self.name.to_string(),
            position: position_of(batch, rejection.row),
            code: rejection.code.clone(),
            reason: rejection.reason.clone(),
        }
    }
}

impl Poison {
    /// Why the record is a dead letter, in the form that rejected rows have: a code, then the text.
    pub(super) fn reason(&self) -> String {
        match &self.cause {
            PluginError::Call { what, .. } => format!("error: {what}"),
            other => format!("error: {other}"),
        }
    }
}

/// Where a record was read.
pub(super) fn position_of(batch: &Batch, row: u32) -> String {
    match &batch.origins {
        None => format!("row {row} of a batch that another operator emitted"),
        Some(origins) => {
            let (split, offset) = origins.get(row as usize);
            split.position(offset)
        }
    }
}

/// A batch in words: where its first and its last record were read.
#[cold]
pub(super) fn range_of(batch: &Batch) -> String {
    let rows = batch.rows();
    let Some(origins) = batch.origins.as_ref().filter(|_| rows > 0) else {
        return format!("a batch of `{rows}` records that another operator emitted");
    };
    let position = |row| {
        let (split, offset) = origins.get(row);
        split.position(offset)
    };
    match rows {
        1 => format!("the record at `{}`", position(0)),
        _ => format!("one of `{rows}` records, the first at `{}`, the last at `{}`", position(0), position(rows - 1)),
    }
}

#[cold]
pub(super) fn time_of(watermark: Watermark) -> String {
    if watermark == Watermark::END { "the end of the input".to_owned() } else { format!("watermark `{}`", watermark.0) }
}

/// The rows that were not rejected, copied: for the rare batch with a row whose columns cannot be decoded.
pub(super) fn without(rows: &Rows, rejections: &[Rejection]) -> Rows {
    let is_kept = |row: &u32| rejections.binary_search_by_key(row, |rejection| rejection.row).is_err();
    let keep: Arc<[u32]> = (0..rows.batch.rows() as u32).filter(is_kept).collect();
    copied(&Rows { batch: Arc::clone(&rows.batch), selection: Some(keep) })
}
