//! Alignment: which lanes of one receiver wait for a barrier, and when the checkpoint's cut is complete. Pure.
//!
//! Knows nothing of channels, threads or snapshots: the receiver stops to read a blocked lane, acts when told that the cut is
//! complete, and says when the lanes may go on. A wrong order is a bug of ours, so it is an assertion that stops the
//! process: an error would let a torn checkpoint be prepared. Next room: `worker`, which reads lanes by this.

use crate::ids::CheckpointId;
use crate::seeded::{self, Bug};

/// What a barrier brought about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Aligned {
    /// Other lanes have yet to deliver it; the lane is blocked.
    Waiting,
    /// Every lane delivered it: take the snapshot, pass the barrier on, then [`Alignment::release`].
    Complete(CheckpointId),
}

/// The barriers of one receiver with a fixed number of lanes. One checkpoint is in flight at a time.
#[derive(Debug, Clone)]
pub struct Alignment {
    /// Per lane: its barrier arrived and was not released.
    blocked: Vec<bool>,
    /// How many lanes are blocked.
    arrived: usize,
    /// The checkpoint that is being aligned.
    current: Option<CheckpointId>,
    /// The last one released: numbers rise.
    released: Option<CheckpointId>,
}

impl Alignment {
    /// An alignment of `lanes` lanes (at least one), none of them blocked.
    pub fn new(lanes: usize) -> Alignment {
        assert!(lanes > 0, "a receiver without lanes never completes a checkpoint");
        Alignment { blocked: vec![false; lanes], arrived: 0, current: None, released: None }
    }

    /// A barrier arrived on a lane. The lane is blocked from here until the release.
    ///
    /// # Panics
    /// If the lane does not exist or is blocked already, if another checkpoint is being aligned, or if the number does not
    /// rise: each means that a sender or a receiver broke the order of the lanes.
    pub fn barrier(&mut self, lane: usize, id: CheckpointId) -> Aligned {
        assert!(lane < self.blocked.len(), "barrier {id} on lane {lane} of {}", self.blocked.len());
        assert!(!self.blocked[lane], "barrier {id} on lane {lane}, which already delivered {:?}", self.current);
        assert!(
            self.released.is_none_or(|released| id > released),
            "barrier {id} on lane {lane} after checkpoint {:?} was released",
            self.released
        );
        let current = *self.current.get_or_insert(id);
        assert!(current == id, "barrier {id} on lane {lane} while checkpoint {current} is being aligned");
        self.blocked[lane] = true;
        self.arrived += 1;
        if self.arrived == self.blocked.len() { Aligned::Complete(id) } else { Aligned::Waiting }
    }

    /// Whether the lane must not be read: its barrier arrived, and the cut is not released.
    #[inline]
    pub fn blocked(&self, lane: usize) -> bool {
        self.blocked[lane] && (self.is_complete() || !seeded::is(Bug::LanesNotBlocked))
    }

    /// The checkpoint that is being aligned, from its first barrier to its release.
    pub fn current(&self) -> Option<CheckpointId> {
        self.current
    }

    /// Whether every lane is blocked, so that the release is due.
    pub fn is_complete(&self) -> bool {
        self.arrived == self.blocked.len()
    }

    /// The lanes whose barrier is still missing while a checkpoint is being aligned: what an overdue checkpoint waits for.
    pub fn missing(&self) -> impl Iterator<Item = usize> + '_ {
        let aligning = self.current.is_some();
        self.blocked.iter().enumerate().filter(move |(_, blocked)| aligning && !**blocked).map(|(lane, _)| lane)
    }

    /// Unblocks all lanes after the cut was taken.
    ///
    /// # Panics
    /// If the checkpoint is not the one being aligned, or is not complete.
    pub fn release(&mut self, id: CheckpointId) {
        assert!(self.current == Some(id), "release of checkpoint {id} while {:?} is being aligned", self.current);
        assert!(self.is_complete(), "release of checkpoint {id} with {} of {} lanes", self.arrived, self.blocked.len());
        self.blocked.fill(false);
        self.arrived = 0;
        self.current = None;
        self.released = Some(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    const ONE: CheckpointId = CheckpointId(1);
    const TWO: CheckpointId = CheckpointId(2);

    /// Whether an assertion stopped it.
    fn refused<T>(act: impl FnOnce() -> T) -> bool {
        catch_unwind(AssertUnwindSafe(act)).is_err()
    }

    #[test]
    fn a_lane_is_blocked_from_its_barrier_to_the_release() {
        let mut alignment = Alignment::new(3);
        assert_eq!(alignment.barrier(1, ONE), Aligned::Waiting);
        assert_eq!([0, 1, 2].map(|lane| alignment.blocked(lane)), [false, true, false]);
        assert_eq!(alignment.missing().collect::<Vec<_>>(), [0, 2]);
        assert_eq!(alignment.barrier(0, ONE), Aligned::Waiting);
        assert!(!alignment.is_complete());
        assert_eq!(alignment.barrier(2, ONE), Aligned::Complete(ONE));
        assert!(alignment.is_complete());
        assert_eq!([0, 1, 2].map(|lane| alignment.blocked(lane)), [true; 3]);
        alignment.release(ONE);
        assert_eq!([0, 1, 2].map(|lane| alignment.blocked(lane)), [false; 3]);
        assert_eq!(alignment.current(), None);
        assert_eq!(alignment.missing().count(), 0);
    }

    #[test]
    fn one_lane_completes_at_once_and_numbers_may_have_gaps() {
        let mut alignment = Alignment::new(1);
        for id in [1, 2, 7].map(CheckpointId) {
            assert_eq!(alignment.barrier(0, id), Aligned::Complete(id));
            alignment.release(id);
        }
    }

    #[test]
    fn our_own_mistakes_stop_the_process() {
        let mut twice = Alignment::new(2);
        let _ = twice.barrier(0, ONE);
        assert!(refused(|| twice.clone().barrier(0, ONE)), "a second barrier on a lane");
        assert!(refused(|| twice.clone().barrier(1, TWO)), "another number");
        assert!(refused(|| twice.clone().barrier(2, ONE)), "a lane that does not exist");
        assert!(refused(|| twice.clone().release(ONE)), "a release before the cut is complete");
        let _ = twice.barrier(1, ONE);
        assert!(refused(|| twice.clone().release(TWO)), "a release of another checkpoint");
        assert!(refused(|| twice.clone().barrier(0, TWO)), "a barrier before the release");
        twice.release(ONE);
        assert!(refused(|| twice.clone().barrier(0, ONE)), "an old barrier after the release");
        assert!(refused(|| twice.clone().release(ONE)), "a second release");
        assert!(refused(|| Alignment::new(0)), "no lanes");
    }

    /// Whatever the order in which lanes deliver, each checkpoint completes exactly once, with its last barrier.
    #[test]
    fn every_order_of_arrival_completes_each_checkpoint_once() {
        for seed in 0..200_u64 {
            let lanes = 1 + (seed % 7) as usize;
            let mut alignment = Alignment::new(lanes);
            let mut random = seed;
            for id in (1..20).map(CheckpointId) {
                let mut open: Vec<usize> = (0..lanes).collect();
                while !open.is_empty() {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let lane = open.swap_remove((random >> 33) as usize % open.len());
                    assert!(!alignment.blocked(lane));
                    let expected = if open.is_empty() { Aligned::Complete(id) } else { Aligned::Waiting };
                    assert_eq!(alignment.barrier(lane, id), expected, "seed {seed}");
                }
                alignment.release(id);
            }
        }
    }
}
