//! Changes by a person's word: another decider, a corrected record, numbers that must not be used again.
//!
//! For `tidegate state repair` alone, which asks first and keeps a copy. One transaction; nothing here decides. Next room:
//! [`crate::repair`].

use super::super::error::StoreError;
use super::{Store, StoredCheckpoint, tables};
use crate::checkpoint::record::{CheckpointRecord, Decider};
use crate::ids::CheckpointId;

/// What is to be changed; what is `None` stays.
#[derive(Debug, Clone, Default)]
pub struct Amendment {
    /// The record of the COMMITTED or the PREPARED checkpoint, by its number. It gets a new digest.
    pub record: Option<CheckpointRecord>,
    /// Who decides from now on.
    pub decider: Option<Decider>,
    /// A number that was used elsewhere: the next checkpoint gets a higher one.
    pub used: Option<CheckpointId>,
}

impl Store {
    /// Makes an amendment durable, and gives the amended checkpoint as it is stored now.
    ///
    /// # Errors
    ///
    /// `OutOfOrder` for the record of a checkpoint that is neither COMMITTED nor PREPARED. After any other the outcome is
    /// open.
    pub fn amend(&mut self, amendment: &Amendment) -> Result<Option<StoredCheckpoint>, StoreError> {
        self.latch.check()?;
        let mut ledger = self.contents.ledger;
        ledger.highest = ledger.highest.max(amendment.used);
        let row = match &amendment.record {
            None => None,
            Some(record) if ledger.committed != Some(record.id) && ledger.prepared != Some(record.id) => {
                let what =
                    format!("checkpoint `{}` cannot be amended: it is neither committed nor prepared", record.id);
                return Err(StoreError::out_of_order(&self.path, what));
            }
            Some(record) => {
                let Some(mut row) = self.contents.rows.get(&record.id).cloned() else {
                    return Err(StoreError::damaged(
                        &self.path,
                        format!("the row of checkpoint `{}` is missing", record.id),
                    ));
                };
                row.record = postcard::to_stdvec(record).expect("plain data always encodes");
                Some((record.id, row))
            }
        };
        let written = self.write("amending a checkpoint", |transaction, path| {
            if let Some((id, row)) = &row {
                tables::put_checkpoint(transaction, path, *id, row)?;
            }
            if let Some(decider) = &amendment.decider {
                tables::put_decider(transaction, path, decider)?;
            }
            tables::put_ledger(transaction, path, &ledger)
        });
        self.latch.observe(written)?;
        self.contents.ledger = ledger;
        if let Some(decider) = &amendment.decider {
            self.contents.decider = Some(decider.clone());
        }
        let Some((id, row)) = row else { return Ok(None) };
        self.contents.rows.insert(id, row);
        self.contents.stored(&self.path, id).map(Some)
    }
}
