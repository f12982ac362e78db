//! Event-time progress: per split in a source thread, per input port in a shard of an operator. Pure.
//!
//! No clock and no I/O: times come in as arguments. A watermark W says that no further timestamp below W is expected, and a
//! window closes when its end is at or below W. So with an allowed disorder d, the largest timestamp t gives W = t - d: a
//! record at exactly t - d is in time. (Flink's W says that nothing at or below W comes, hence its t - d - 1: the same
//! windows close at the same records.) Watermarks are never lowered. Next room: [`crate::source`].

use crate::checkpoint::record::{Position, SplitState};
use crate::config::model::WatermarkPolicy;
use crate::ids::{SplitIndex, Watermark};
use crate::seeded::{self, Bug};

/// The largest watermark that a record can cause: [`Watermark::END`] is said by the end of the input alone.
const LARGEST_OF_A_RECORD: i64 = i64::MAX - 1;

/// The progress of the splits of one source thread.
#[derive(Debug, Clone)]
pub struct SplitWatermarks {
    out_of_orderness_max_ms: i64,
    idle_after_ms: u64,
    splits: Vec<Split>,
    /// The watermark of the source thread, never lowered.
    combined: Watermark,
    /// What [`SplitWatermarks::advance`] said last.
    announced: Watermark,
}

/// Whether any split of a source thread can move event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// At least one split is neither idle nor finished.
    Active,
    /// No split is active, and not all are finished: other senders should not wait for this one.
    Idle,
    /// Every split was read to its end.
    Finished,
}

#[derive(Debug, Clone)]
struct Split {
    watermark: Watermark,
    idle: bool,
    finished: bool,
    /// Since when the split has been at the high watermark, on the caller's monotonic clock.
    caught_up_since_ms: Option<u64>,
    /// It was idle at the checkpoint it was restored from, and neither had records nor was at the high watermark since.
    idle_at_restore: bool,
}

impl SplitWatermarks {
    /// The splits of a first start or of a restore, in the reader's order. A restored split is active until it first gets
    /// to the high watermark, however idle it was: what arrived meanwhile must not find its windows closed. The combined
    /// watermark goes on from what the checkpoint says.
    pub fn new(policy: &WatermarkPolicy, splits: &[SplitState]) -> SplitWatermarks {
        let restored = splits.iter().map(|state| Split {
            watermark: state.watermark,
            idle: state.idle && !state.finished,
            finished: state.finished,
            caught_up_since_ms: None,
            idle_at_restore: state.idle,
        });
        let mut watermarks = SplitWatermarks {
            out_of_orderness_max_ms: i64::try_from(policy.max_out_of_orderness.as_millis()).unwrap_or(i64::MAX),
            idle_after_ms: u64::try_from(policy.idle_after.as_millis()).unwrap_or(u64::MAX),
            splits: restored.collect(),
            combined: Watermark::START,
            announced: Watermark::START,
        };
        watermarks.combined = watermarks.combine();
        if !seeded::is(Bug::IdleRestored) {
            watermarks.splits.iter_mut().for_each(|split| split.idle = false);
        }
        watermarks
    }

    /// Takes in a split found later. It is active and has no watermark, so the combined one stays where it is until the
    /// split has records or is idle.
    pub fn add(&mut self) -> SplitIndex {
        self.splits.push(Split {
            watermark: Watermark::START,
            idle: false,
            finished: false,
            caught_up_since_ms: None,
            idle_at_restore: false,
        });
        SplitIndex(self.splits.len() as u32 - 1)
    }

    /// Records of a split were read; `timestamp_max` is the largest of them, in milliseconds since the Unix epoch.
    ///
    /// # Panics
    /// If the split is finished: a reader that goes on after the end is a bug of ours.
    pub fn observe(&mut self, split: SplitIndex, timestamp_max: i64) {
        let watermark = timestamp_max.saturating_sub(self.out_of_orderness_max_ms).min(LARGEST_OF_A_RECORD);
        let entry = &mut self.splits[split.index()];
        assert!(!entry.finished, "records of split {split} after its end");
        entry.watermark = entry.watermark.max(Watermark(watermark));
        // Whatever it was at the checkpoint, it is quiet no more.
        entry.idle_at_restore = false;
        entry.wake();
    }

    /// More of the split is on its way, or its broker cannot be reached: neither counts towards idleness.
    pub fn active(&mut self, split: SplitIndex) {
        self.splits[split.index()].wake();
    }

    /// A reachable broker says that there is nothing up to the high watermark. The split is idle once this has been so for
    /// `idle_after` (at once, if it was idle when its checkpoint was taken). `now_ms` is a monotonic clock's, from any zero.
    pub fn caught_up(&mut self, split: SplitIndex, now_ms: u64) {
        let idle_after_ms = self.idle_after_ms;
        let split = &mut self.splits[split.index()];
        let since_ms = *split.caught_up_since_ms.get_or_insert(now_ms);
        let was_idle = std::mem::take(&mut split.idle_at_restore);
        if was_idle || now_ms.saturating_sub(since_ms) >= idle_after_ms {
            split.idle = !split.finished;
        }
    }

    /// A bounded split was read to its end.
    pub fn finish(&mut self, split: SplitIndex) {
        let split = &mut self.splits[split.index()];
        split.finished = true;
        split.idle = false;
    }

    /// The watermark of the source thread if it is higher than what the last call said (the first call after a restore says
    /// where the checkpoint left it): the smallest of the active splits; [`Watermark::END`] when all are finished. While no
    /// split is active it is the largest of the idle ones. Never lowered; without any split it stays where it is.
    pub fn advance(&mut self) -> Option<Watermark> {
        self.combined = self.combined.max(self.combine());
        if self.combined == self.announced {
            return None;
        }
        self.announced = self.combined;
        Some(self.combined)
    }

    /// The watermark of the source thread as [`SplitWatermarks::advance`] or the restore left it.
    pub fn watermark(&self) -> Watermark {
        self.combined
    }

    /// Whether any split can move event time.
    pub fn activity(&self) -> Activity {
        if self.splits.iter().any(Split::is_active) {
            Activity::Active
        } else if !self.splits.is_empty() && self.splits.iter().all(|split| split.finished) {
            Activity::Finished
        } else {
            Activity::Idle
        }
    }

    /// The active split that is furthest behind in event time: the one to read next, and the one that holds the watermark.
    /// Of several, the first.
    pub fn furthest_behind(&self) -> Option<SplitIndex> {
        let active = self.splits.iter().enumerate().filter(|(_, split)| split.is_active());
        active.min_by_key(|(_, split)| split.watermark).map(|(index, _)| SplitIndex(index as u32))
    }

    /// A split's own watermark.
    pub fn watermark_of(&self, split: SplitIndex) -> Watermark {
        self.splits[split.index()].watermark
    }

    /// Whether a split is held idle.
    pub fn is_idle(&self, split: SplitIndex) -> bool {
        self.splits[split.index()].idle
    }

    /// Whether a split was read to its end.
    pub fn is_finished(&self, split: SplitIndex) -> bool {
        self.splits[split.index()].finished
    }

    /// What a checkpoint keeps of a split whose reader is at `position`. A split that was idle at the last checkpoint and
    /// has not been at the high watermark since counts as active.
    pub fn snapshot(&self, split: SplitIndex, position: Position) -> SplitState {
        let split = &self.splits[split.index()];
        SplitState { position, watermark: split.watermark, idle: split.idle, finished: split.finished }
    }

    /// How many splits there are.
    pub fn len(&self) -> usize {
        self.splits.len()
    }

    /// Whether there is no split.
    pub fn is_empty(&self) -> bool {
        self.splits.is_empty()
    }

    /// The combination of the splits as they are, before "never lowered".
    fn combine(&self) -> Watermark {
        let active = self.splits.iter().filter(|split| split.is_active()).map(|split| split.watermark).min();
        match (active, self.activity()) {
            (Some(smallest), _) => smallest,
            (None, Activity::Finished) => Watermark::END,
            (None, _) => {
                let idle = self.splits.iter().filter(|split| split.idle).map(|split| split.watermark);
                idle.max().unwrap_or(Watermark::START)
            }
        }
    }
}

impl Split {
    fn is_active(&self) -> bool {
        !self.idle && !self.finished
    }

    fn wake(&mut self) {
        self.idle = false;
        self.caught_up_since_ms = None;
    }
}

/// The watermarks that one shard of an operator was told, per input port and sender.
#[derive(Debug, Clone)]
pub struct InputWatermarks {
    ports: Vec<InputPort>,
    operator: Watermark,
}

#[derive(Debug, Clone)]
struct InputPort {
    /// Per sender: the highest watermark it sent.
    senders: Vec<Watermark>,
    /// Never below what was restored.
    watermark: Watermark,
}

impl InputWatermarks {
    /// `senders` says per port how many senders it has. A port without senders is at its end: nothing will come.
    pub fn new(senders: &[usize]) -> InputWatermarks {
        InputWatermarks::restored(senders, &vec![Watermark::START; senders.len()])
    }

    /// The same with the ports' watermarks of a checkpoint ([`InputWatermarks::ports`]). Senders begin again at their own
    /// watermarks, which may be lower for a while; what the shard was told before is never taken back.
    ///
    /// # Panics
    /// If the two lists differ in length: the caller compares the plugin's ports with the checkpoint's first.
    pub fn restored(senders: &[usize], port_floors: &[Watermark]) -> InputWatermarks {
        assert!(senders.len() == port_floors.len(), "{} ports, {} restored", senders.len(), port_floors.len());
        let port = |(&senders, &floor): (&usize, &Watermark)| InputPort {
            senders: vec![Watermark::START; senders],
            watermark: if senders == 0 { Watermark::END } else { floor },
        };
        let ports: Vec<InputPort> = senders.iter().zip(port_floors).map(port).collect();
        let operator = smallest(&ports);
        InputWatermarks { ports, operator }
    }

    /// A sender of a port said that its watermark is `watermark`. Gives the operator's watermark if it rose by that.
    ///
    /// # Panics
    /// If the port or the sender does not exist.
    pub fn update(&mut self, port: usize, sender: usize, watermark: Watermark) -> Option<Watermark> {
        let entry = &mut self.ports[port];
        let before = entry.senders[sender];
        if seeded::is(Bug::WatermarkLowered) {
            entry.senders[sender] = watermark;
            entry.watermark = entry.senders.iter().copied().min().expect("the sender itself is in the list");
            self.operator = smallest(&self.ports);
            return Some(self.operator);
        }
        if watermark <= before {
            return None;
        }
        entry.senders[sender] = watermark;
        if before > entry.watermark {
            return None; // another sender holds the port back
        }
        let slowest = entry.senders.iter().copied().min().expect("the sender itself is in the list");
        if slowest <= entry.watermark {
            return None;
        }
        entry.watermark = slowest;
        let operator = smallest(&self.ports);
        (operator > self.operator).then(|| {
            self.operator = operator;
            operator
        })
    }

    /// The operator's watermark: the smallest of its ports, never lowered.
    pub fn watermark(&self) -> Watermark {
        self.operator
    }

    /// A port's watermark: the smallest of its senders, never below what was restored.
    pub fn port(&self, port: usize) -> Watermark {
        self.ports[port].watermark
    }

    /// The ports' watermarks, for the checkpoint.
    pub fn ports(&self) -> Vec<Watermark> {
        self.ports.iter().map(|port| port.watermark).collect()
    }

    /// The `(port, sender)` that holds the operator's watermark; `None` at the end of the input.
    pub fn holder(&self) -> Option<(usize, usize)> {
        let port = (0..self.ports.len()).min_by_key(|port| self.ports[*port].watermark)?;
        let senders = &self.ports[port].senders;
        let sender = (0..senders.len()).min_by_key(|sender| senders[*sender])?;
        (self.operator < Watermark::END).then_some((port, sender))
    }
}

fn smallest(ports: &[InputPort]) -> Watermark {
    ports.iter().map(|port| port.watermark).min().unwrap_or(Watermark::END)
}

#[cfg(test)]
mod tests;
