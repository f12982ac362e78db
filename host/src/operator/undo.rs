//! Undo: what an operator with `on_error = "dead-letter"` needs to take a failed call back, and how it does.
//!
//! A call that trapped leaves nothing to go on from. So for each shard the calls since the last barrier are kept, with the
//! digests of what they gave: batches are shared and not copied, so this costs their memory for a little longer. After a
//! failure the shard goes back to the barrier, and the calls are repeated with the same boundaries. Their output has left
//! long ago, in the open transaction; it is compared and dropped, and a difference ends the job, because nothing that such a
//! plugin does could be repeated after a crash either. Then [`search`](super::search) takes the poison records out of the
//! one batch. The image it took on the way becomes the place to which the next undo of the same interval goes back, so that
//! many poison records do not repeat the whole interval each.
//!
//! What is kept is bounded: at half of the bound a checkpoint is asked for, since it empties everything; at the bound the
//! operator takes nothing in until the checkpoint's barrier is on its way. It cannot wait for the barrier itself, which
//! stands behind records on its lanes, so the bound may be passed by what these hold. No deadlock: an operator that waits
//! here has captured and passed on all barriers there are, so the checkpoint in flight needs it no more.
//!
//! It knows no lanes and no sinks. Next rooms: [`super::search`], [`super::letters`].

use super::letters::{position_of, range_of, time_of};
use super::outcomes::digest;
use super::search::{Caller, Found, Given, Poison, search};
use crate::checkpoint::early::EarlyBarrier;
use crate::columns::Batch;
use crate::error::JobError;
use crate::ids::{CheckpointId, ShardId, Watermark};
use crate::plugin::{FailedCall, Instance, Outcome, PluginError};
use crate::probe;
use crate::state::snapshot::InstanceImage;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A repeated call may take so many times its `call_timeout`, and [`PATIENCE_MIN`] in any case: that it ends is known.
const PATIENCE: u32 = 4;
/// What a machine that stands still for a moment may take from a call.
const PATIENCE_MIN: Duration = Duration::from_secs(5);

/// What bounds an operator's undo on one worker.
#[derive(Debug, Clone)]
pub struct UndoLimits {
    /// Bytes of records that are kept, on this worker.
    pub kept_bytes: usize,
    /// Records of one shard that may fail between two barriers.
    pub failures: u32,
    /// How long all undoing between two barriers may take.
    pub time: Duration,
    /// The time that a call has.
    pub call_timeout: Duration,
}

/// The calls of an operator's shards on one worker since the last barrier.
pub struct Undo {
    limits: UndoLimits,
    early: Arc<EarlyBarrier>,
    histories: Vec<History>,
    /// What all histories take.
    kept_bytes: usize,
    /// The last barrier.
    barrier: CheckpointId,
    /// Time spent on undoing since then.
    spent: Duration,
}

/// One shard's calls.
#[derive(Default)]
struct History {
    /// Where they begin; `None`: at the last barrier.
    begin: Option<InstanceImage>,
    calls: Vec<Kept>,
    /// Records that failed since the last barrier.
    failures: u32,
}

struct Kept {
    call: Call,
    /// Of its outcome.
    digest: u64,
}

/// A call that succeeded.
enum Call {
    Process(Given),
    /// Row by row, without the rows that fail.
    ByRow(Given, Vec<u32>),
    Advance(Watermark),
}

/// A failed call undone: as if the poison records had not been in its batch.
pub(super) struct Undone {
    /// The instance, after the others.
    pub(super) instance: Instance,
    /// What the others gave.
    pub(super) outcome: Outcome,
    /// The poison records.
    pub(super) poison: Vec<Poison>,
}

/// Whose call failed.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// The operator.
    pub(super) operator: &'a str,
    /// The shard.
    pub(super) shard: ShardId,
    /// The shard's place on its worker.
    pub(super) local: usize,
}

impl Undo {
    /// For so many shards, at a barrier or a start.
    pub fn new(limits: UndoLimits, shards: usize, early: Arc<EarlyBarrier>) -> Undo {
        Undo {
            limits,
            early,
            histories: (0..shards).map(|_| History::default()).collect(),
            kept_bytes: 0,
            barrier: CheckpointId(0),
            spent: Duration::ZERO,
        }
    }

    /// Keeps a call of `process` that succeeded. The batch's bytes are counted by [`count`](Undo::count).
    pub(super) fn keep(&mut self, local: usize, given: Given, outcome: &Outcome) {
        self.push(local, Call::Process(given), outcome);
    }

    /// Keeps a call of `advance` that succeeded.
    pub(super) fn keep_advance(&mut self, local: usize, watermark: Watermark, outcome: &Outcome) {
        self.push(local, Call::Advance(watermark), outcome);
    }

    fn push(&mut self, local: usize, call: Call, outcome: &Outcome) {
        self.kept_bytes += size_of::<Kept>();
        self.histories[local].calls.push(Kept { call, digest: digest(outcome) });
    }

    /// Counts the bytes of a batch that is kept, once for all shards that got it.
    pub(super) fn count(&mut self, batch: &Batch) {
        self.kept_bytes += batch.size_bytes();
    }

    /// Whether nothing more can be kept until the next barrier is on its way. Asks for one long before.
    pub(super) fn is_full(&self) -> bool {
        if self.kept_bytes <= self.limits.kept_bytes / 2 || self.early.is_on_its_way_after(self.barrier) {
            return false;
        }
        self.early.ask();
        self.kept_bytes >= self.limits.kept_bytes
    }

    /// Says that the shards were captured for a checkpoint: nothing before it is ever undone.
    pub(super) fn captured(&mut self, id: CheckpointId) {
        for history in &mut self.histories {
            history.begin = None;
            history.calls.clear();
            history.failures = 0;
        }
        self.kept_bytes = 0;
        self.spent = Duration::ZERO;
        self.barrier = id;
    }

    /// Takes a failed call of `process` back and gives the shard its batch without the poison records.
    pub(super) fn undo(
        &mut self,
        caller: &mut Caller<'_>,
        place: Place<'_>,
        given: Given,
        failed: FailedCall,
    ) -> Result<Undone, JobError> {
        let began = Instant::now();
        let FailedCall { error, remains } = failed;
        // The words name operator and shard; the backtrace goes with the dead letter.
        let input = range_of(&given.batch);
        tracing::warn!(input, error = headline(&error), "a call failed; looking for the record");
        probe::reached("undoing");
        let history = &mut self.histories[place.local];
        let mut instance = match &history.begin {
            None => remains.at_last_barrier()?,
            Some(image) => remains.at_image(image)?,
        };
        instance.set_call_timeout((self.limits.call_timeout * PATIENCE).max(PATIENCE_MIN));
        let mut instance = history.repeat(caller, place, instance)?;
        instance.set_call_timeout(self.limits.call_timeout);
        probe::reached("repeated");

        let (limits, spent) = (&self.limits, self.spent);
        let found = search(caller, instance, &given, |poison| {
            history.failures += 1;
            let limit = if history.failures > limits.failures {
                format!("`{}` records of a shard between two checkpoints (`max_dead_letters`)", limits.failures)
            } else if spent + began.elapsed() > limits.time {
                format!("`{:?}` of repeated calls between two checkpoints (half of `checkpoint.timeout`)", limits.time)
            } else {
                return Ok(poison);
            };
            let position = position_of(&given.batch, poison.row);
            let input = format!("the record at `{position}`, past its limit of {limit}");
            Err(JobError::TooManyFailures { operator: place.operator.to_owned(), input, cause: poison.cause })
        })?;
        self.spent += began.elapsed();
        probe::reached("undone");
        Ok(self.undone(place, given, found))
    }

    /// Begins the shard's history anew, before the batch from which the poison was taken.
    fn undone(&mut self, place: Place<'_>, given: Given, found: Found) -> Undone {
        let Found { instance, before, outcome, poison } = found;
        if poison.is_empty() {
            let Place { operator, shard, .. } = place;
            tracing::warn!(
                operator,
                shard = shard.0,
                "the call did not fail again, record by record: its result counts"
            );
        }
        self.kept_bytes += before.memories.iter().map(|memory| memory.data.len()).sum::<usize>();
        let without = poison.iter().map(|poison| poison.row).collect();
        let history = &mut self.histories[place.local];
        history.begin = Some(before);
        history.calls.clear();
        self.push(place.local, Call::ByRow(given, without), &outcome);
        Undone { instance, outcome, poison }
    }
}

impl History {
    /// Repeats the calls and compares what they give.
    fn repeat(&self, caller: &mut Caller<'_>, place: Place<'_>, mut instance: Instance) -> Result<Instance, JobError> {
        for (at, kept) in self.calls.iter().enumerate() {
            let repeated = match &kept.call {
                Call::Process(given) => caller.whole(instance, given),
                Call::ByRow(given, without) => caller.by_row(instance, given, without),
                Call::Advance(watermark) => instance.advance(*watermark),
            };
            let what = match repeated {
                Ok((next, outcome)) if digest(&outcome) == probe::distorted("repeat", kept.digest) => {
                    instance = next;
                    continue;
                }
                Ok(_) => "its output was another".to_owned(),
                Err(FailedCall { error, .. }) => format!("it failed: {error}"),
            };
            return Err(JobError::Nondeterministic {
                operator: place.operator.to_owned(),
                shard: place.shard,
                call: format!("call {} of {}, {}", at + 1, self.calls.len(), kept.call.shown()),
                what,
            });
        }
        Ok(instance)
    }
}

impl Call {
    fn shown(&self) -> String {
        match self {
            Call::Process(given) | Call::ByRow(given, _) => format!("`process` with {}", range_of(&given.batch)),
            Call::Advance(watermark) => format!("`advance` to {}", time_of(*watermark)),
        }
    }
}

/// What happened, without the backtrace.
fn headline(error: &PluginError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
