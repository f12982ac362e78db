//! The search for the records that make a call fail, in the one batch of that call.
//!
//! The rows are given one by one, since batches never change results: then a failure names its record at once. (Halving the
//! batch again and again would call more seldom, but half of the halves fail, and a failed call is what is dear: it takes a
//! new instance, or the whole `call_timeout`.) A failure must repeat to count, alone: a machine that stands still for a moment
//! can make any call too slow. So before a suspect row gets its second
//! chance an image is taken, and after a second failure everything goes on behind it: all rows are given about twice,
//! however many of them fail. What comes out is one outcome for the batch, as if the records had not been there.
//! Next room: `undo`, which repeats such a batch in the same way.

use super::outcomes::append;
use crate::columns::{Batch, Column};
use crate::decode::columns::ColumnDecoder;
use crate::error::JobError;
use crate::ids::{PortIndex, Watermark};
use crate::message::Rows;
use crate::outlet::copied;
use crate::plugin::{FailedCall, Input, Instance, Outcome, PluginError};
use crate::state::snapshot::InstanceImage;
use std::sync::Arc;

/// Rows for a shard, as one call gets them.
#[derive(Clone)]
pub(super) struct Given {
    /// The input port.
    pub(super) port: PortIndex,
    /// The shard's watermark at the call.
    pub(super) watermark: Watermark,
    /// The rows, all of them.
    pub(super) batch: Arc<Batch>,
}

/// Makes the columns of rows that were decoded before, and gives them to an instance again.
pub(super) struct Caller<'a> {
    decoders: &'a mut [ColumnDecoder],
    columns: Vec<Column>,
}

/// A record that a plugin cannot take.
#[derive(Debug)]
pub(super) struct Poison {
    /// Its row in the batch.
    pub(super) row: u32,
    /// Why the call failed.
    pub(super) cause: PluginError,
}

/// A batch without the records that fail.
pub(super) struct Found {
    /// The instance, after all other rows.
    pub(super) instance: Instance,
    /// The instance as it was before the first row.
    pub(super) before: InstanceImage,
    /// What the other rows gave.
    pub(super) outcome: Outcome,
    /// The records that fail, in the batch's order.
    pub(super) poison: Vec<Poison>,
}

struct Search<'a> {
    given: &'a Given,
    poison: Vec<Poison>,
    /// A row that failed once.
    suspect: Option<u32>,
    /// Where a pass begins.
    from: Point,
}

/// A moment between two rows of the batch.
struct Point {
    /// The next row.
    row: u32,
    /// The instance; `None`: as before the first row.
    image: Option<InstanceImage>,
    /// What the rows before gave.
    outcome: Outcome,
}

/// How far a pass came.
enum Pass {
    /// Behind the last row.
    Through(Instance, Outcome),
    /// This row failed.
    Failed(u32, FailedCall),
}

impl<'a> Caller<'a> {
    /// `decoders` by input port.
    pub(super) fn new(decoders: &'a mut [ColumnDecoder]) -> Caller<'a> {
        Caller { decoders, columns: Vec::new() }
    }

    /// Gives a batch whole.
    pub(super) fn whole(&mut self, instance: Instance, given: &Given) -> Result<(Instance, Outcome), FailedCall> {
        self.call(instance, given, &given.batch)
    }

    /// Gives a batch row by row, without some of its rows.
    pub(super) fn by_row(
        &mut self,
        mut instance: Instance,
        given: &Given,
        without: &[u32],
    ) -> Result<(Instance, Outcome), FailedCall> {
        let mut outcome = Outcome::default();
        for row in (0..given.batch.rows() as u32).filter(|row| without.binary_search(row).is_err()) {
            let (next, one) = self.row(instance, given, row)?;
            append(&mut outcome, row, one);
            instance = next;
        }
        Ok((instance, outcome))
    }

    fn row(&mut self, instance: Instance, given: &Given, row: u32) -> Result<(Instance, Outcome), FailedCall> {
        let one = copied(&Rows { batch: Arc::clone(&given.batch), selection: Some(Arc::from([row])) });
        self.call(instance, given, &one.batch)
    }

    fn call(&mut self, instance: Instance, given: &Given, batch: &Batch) -> Result<(Instance, Outcome), FailedCall> {
        let decoder = &mut self.decoders[given.port.index()];
        let bad = decoder.decode(batch, &mut self.columns);
        debug_assert!(bad.is_empty(), "rows with bad columns were taken out before the first call");
        instance.process(given.port, given.watermark, &input(decoder, batch, &self.columns))
    }
}

/// What a call of `process` gets of a batch.
#[inline]
pub(super) fn input<'a>(decoder: &ColumnDecoder, batch: &'a Batch, columns: &'a [Column]) -> Input<'a> {
    let own = decoder.own();
    Input {
        rows: batch.rows(),
        keys: own.keys.then_some(&batch.keys),
        values: own.values.then_some(&batch.values),
        timestamps: &batch.timestamps,
        headers: if own.headers { batch.headers.as_ref() } else { None },
        columns,
    }
}

/// Finds the records that fail in a batch whose call failed, and gives the instance the others. `instance` is as it was
/// before that call, and `may_go_on` gets each record that was found, to end the search.
pub(super) fn search(
    caller: &mut Caller<'_>,
    mut instance: Instance,
    given: &Given,
    mut may_go_on: impl FnMut(Poison) -> Result<Poison, JobError>,
) -> Result<Found, JobError> {
    let before = instance.image()?;
    let from = Point { row: 0, image: None, outcome: Outcome::default() };
    let mut search = Search { given, poison: Vec::new(), suspect: None, from };
    loop {
        match search.pass(caller, instance)? {
            Pass::Through(instance, outcome) => {
                return Ok(Found { instance, before, outcome, poison: search.poison });
            }
            Pass::Failed(row, FailedCall { error, remains }) => {
                if search.suspect == Some(row) {
                    search.suspect = None;
                    search.poison.push(may_go_on(Poison { row, cause: error })?);
                } else {
                    search.suspect = Some(row);
                }
                instance = remains.at_image(search.from.image.as_ref().unwrap_or(&before))?;
            }
        }
    }
}

impl Search<'_> {
    /// Gives the rows from the last point on, one by one, until one fails.
    fn pass(&mut self, caller: &mut Caller<'_>, mut instance: Instance) -> Result<Pass, PluginError> {
        let mut outcome = self.from.outcome.clone();
        for row in self.from.row..self.given.batch.rows() as u32 {
            if self.poison.binary_search_by_key(&row, |poison| poison.row).is_ok() {
                continue;
            }
            let is_suspect = self.suspect == Some(row);
            if is_suspect {
                self.from = Point { row, image: Some(instance.image()?), outcome: outcome.clone() };
            }
            match caller.row(instance, self.given, row) {
                Ok((next, one)) => {
                    append(&mut outcome, row, one);
                    instance = next;
                }
                Err(failed) => return Ok(Pass::Failed(row, failed)),
            }
            if is_suspect {
                tracing::warn!(row, "a call failed and did not fail again: its second result counts");
                self.suspect = None;
            }
        }
        Ok(Pass::Through(instance, outcome))
    }
}
