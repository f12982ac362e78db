//! The way out of a model process: its producer, its file, and the steps of a decision.
//!
//! The order is the product's `deciding.rs`; here is what the thin code below it does, an exchange or a disk operation a
//! step, so that a process can be paused or killed between any two. Next rooms: `client`, `files`.

use super::broker::{MARKER, PARTITIONS, Payload, SINK_PARTITIONS};
use super::client::Client;
use super::coverage::Moment;
use super::row::Row;
use super::shared::{Death, Progress, Shared, Stop};
use super::store::{FilePart, Record, attempt_id, store_id};
use std::rc::Rc;
use tidegate::checkpoint::deciding::{Deciding, Found, Next, Step, Succession};
use tidegate::checkpoint::record::Marker;
use tidegate::checkpoint::startup::DecidedBy;
use tidegate::ids::CheckpointId;
use tidegate::seeded::{self, Bug};

/// Answers that say "undecided" for so long mean that nobody is about to decide.
pub(super) const UNDECIDED_MAX_MS: u64 = 1_000;

/// What a flush leaves in the checkpoint's record.
pub(super) type Flushed = (FilePart, [usize; SINK_PARTITIONS]);

/// The sinks of a process.
#[derive(Debug, Default)]
pub(super) struct Output {
    pub(super) client: Client,
    /// How far partitions must be stable before the next transaction.
    needed: [usize; PARTITIONS],
    has_ends: bool,
    decision: Option<Decision>,
    /// What the open transaction holds, kept only by a bug that writes it again.
    written: Vec<(usize, Payload)>,
}

#[derive(Debug)]
struct Decision {
    steps: Deciding,
    step: Option<Step>,
    record: Rc<Record>,
    marker: Marker,
    is_marked: bool,
    /// Only a seeded bug does these.
    is_retried: bool,
    is_aborting: bool,
    undecided_since_ms: Option<u64>,
    settling_since_ms: Option<u64>,
    /// The ends read after a rotation's initialisation.
    ends: Option<[usize; PARTITIONS]>,
    succession: Option<(Succession, Next)>,
}

impl Output {
    /// Takes a row of a checkpoint that is being collected.
    pub(super) fn write(&mut self, row: Row, volume: Option<usize>, shared: &mut Shared) -> Result<(), Death> {
        if shared.shape.kafka {
            let (partition, payload) = (row.group as usize % SINK_PARTITIONS, Payload::Row(row));
            self.client.produce(partition, payload);
            if seeded::is(Bug::RetryAfterUnknownCommit) {
                self.written.push((partition, payload));
            }
        }
        if shared.shape.file {
            shared.files(volume)?.write(row);
        }
        Ok(())
    }

    /// Does one exchange for what waits in the producer.
    pub(super) fn pump(&mut self, shared: &mut Shared) -> Result<Progress, Death> {
        if !shared.shape.kafka || self.client.is_drained() {
            return Ok(Progress::Waiting);
        }
        self.client.pump(shared)
    }

    /// Brings everything written so far to the brokers and to the disk; `None`: not yet.
    pub(super) fn flush(
        &mut self,
        id: CheckpointId,
        attempt: u32,
        volume: Option<usize>,
        shared: &mut Shared,
    ) -> Result<Result<Flushed, Progress>, Death> {
        if shared.shape.kafka {
            if seeded::is(Bug::MarkerBeforePrepared) && !self.has_ends {
                self.has_ends = true;
                let store = shared.store(volume)?.id;
                let marker = Marker { id, attempt: attempt_id(attempt), store: store_id(store), digest: 0 };
                self.client.produce(MARKER, Payload::Marker(marker));
            }
            if !self.client.is_drained() {
                return Ok(Err(self.client.pump(shared)?));
            }
            if shared.is_away() {
                return Ok(Err(Progress::Waiting));
            }
            self.look_at_ends(shared);
        }
        // Where nothing was written nothing is needed.
        let ends = std::array::from_fn(|partition| self.needed[partition].saturating_sub(1));
        if !shared.shape.file {
            return Ok(Ok((FilePart::default(), ends)));
        }
        let fails = shared.sync_fails();
        Ok(Ok((shared.files(volume)?.stage(id, fails)?, ends)))
    }

    fn look_at_ends(&mut self, shared: &Shared) {
        for partition in 0..PARTITIONS {
            let end = shared.broker.partitions[partition].log.len();
            // A control record follows the records of each partition; in the marker's, the marker comes before it.
            let behind = if partition == MARKER { 2 } else { 1 };
            let is_written = self.client.added[partition] || partition == MARKER;
            self.needed[partition] = if is_written { end + behind } else { 0 };
        }
    }

    /// Begins to decide what is PREPARED.
    pub(super) fn begin(&mut self, record: &Rc<Record>, store: u32, shared: &Shared) {
        let marker = Marker {
            id: record.id,
            attempt: attempt_id(record.attempt),
            store: store_id(store),
            digest: record.digest(),
        };
        let decided_by = if shared.shape.kafka { DecidedBy::Kafka } else { DecidedBy::Store };
        let mut steps = Deciding::new(decided_by);
        let step = steps.next();
        if record.kind == tidegate::checkpoint::record::CheckpointKind::Start {
            self.look_at_ends(shared);
        }
        self.decision = Some(Decision {
            steps,
            step,
            record: Rc::clone(record),
            marker,
            is_marked: seeded::is(Bug::MarkerLeftOut) || (seeded::is(Bug::MarkerBeforePrepared) && self.has_ends),
            is_retried: false,
            is_aborting: false,
            undecided_since_ms: None,
            settling_since_ms: None,
            ends: None,
            succession: None,
        });
    }

    /// Where in a decision this is.
    pub(super) fn moment(&self) -> Option<Moment> {
        let decision = self.decision.as_ref()?;
        Some(match (decision.step?, &decision.succession) {
            (Step::Commit, _) if !decision.is_marked => Moment::BeforeMarker,
            (Step::Commit, _) => Moment::Commit,
            (Step::Confirm, _) => Moment::Confirm,
            (Step::Succeed, Some((_, Next::ReadMarker))) => Moment::RotationMarker,
            (Step::Succeed, Some((_, Next::Replace | Next::Settle))) => Moment::Replace,
            (Step::Succeed, _) => Moment::Succeed,
            (Step::Apply, _) => Moment::ApplyDecided,
        })
    }

    /// Does a part of the step that is due.
    pub(super) fn decide(&mut self, volume: Option<usize>, shared: &mut Shared) -> Result<Progress, Death> {
        let Some(decision) = &mut self.decision else { return Ok(Progress::Waiting) };
        let Some(step) = decision.step else {
            self.decision = None;
            self.has_ends = false;
            self.written.clear();
            return Ok(Progress::Finished);
        };
        let progress = match step {
            Step::Commit => self.commit(shared)?,
            Step::Confirm => self.confirm(shared)?,
            Step::Succeed => self.succeed(shared)?,
            Step::Apply => {
                let file = decision.record.file;
                if shared.shape.file {
                    let fails = shared.sync_fails();
                    shared.files(volume)?.apply(&file, fails)?;
                }
                Progress::Finished
            }
        };
        if progress == Progress::Finished {
            shared.note(|| format!("{step:?} is done"));
            shared.coverage.decided(step);
            let decision = self.decision.as_mut().expect("it is being decided");
            decision.step = decision.steps.next();
            return Ok(Progress::Worked);
        }
        Ok(progress)
    }

    fn commit(&mut self, shared: &mut Shared) -> Result<Progress, Death> {
        let decision = self.decision.as_mut().expect("it is being decided");
        if !decision.is_marked {
            decision.is_marked = true;
            self.client.produce(MARKER, Payload::Marker(decision.marker));
        }
        if !self.client.is_drained() {
            return self.client.pump(shared);
        }
        let is_commit = !decision.is_aborting;
        match self.client.end(shared, is_commit) {
            Err(Death::CommitUnknown) if seeded::is(Bug::AbortByOldProducer) && !decision.is_aborting => {
                decision.is_aborting = true;
                shared.note(|| "the old producer aborts".to_owned());
                Ok(Progress::Worked)
            }
            Err(Death::CommitUnknown) if seeded::is(Bug::RetryAfterUnknownCommit) => self.retry(shared),
            outcome => outcome,
        }
    }

    /// A seeded bug: the same transaction again, by a new producer.
    fn retry(&mut self, shared: &mut Shared) -> Result<Progress, Death> {
        let decision = self.decision.as_mut().expect("it is being decided");
        if decision.is_retried {
            return Err(Death::CommitUnknown);
        }
        decision.is_retried = true;
        for _ in 0..20 {
            if self.client.init(shared) == Progress::Finished {
                decision.is_marked = false;
                for (partition, payload) in &self.written {
                    self.client.produce(*partition, *payload);
                }
                return Ok(Progress::Worked);
            }
            while !shared.broker.pending.is_empty() {
                shared.broker.write_control(0, false);
            }
        }
        Err(Death::CommitUnknown)
    }

    fn confirm(&mut self, shared: &mut Shared) -> Result<Progress, Death> {
        let decision = self.decision.as_mut().expect("it is being decided");
        if shared.is_away() {
            decision.undecided_since_ms = None;
            return Ok(Progress::Waiting);
        }
        let is_stable = |(partition, needed): (usize, &usize)| shared.broker.partitions[partition].stable() >= *needed;
        if self.needed.iter().enumerate().all(is_stable) {
            return Ok(Progress::Finished);
        }
        let since_ms = *decision.undecided_since_ms.get_or_insert(shared.clock_ms);
        if shared.clock_ms - since_ms > UNDECIDED_MAX_MS {
            return Err(Death::Stop(Stop::Undecided));
        }
        Ok(Progress::Waiting)
    }

    fn succeed(&mut self, shared: &mut Shared) -> Result<Progress, Death> {
        let decision = self.decision.as_mut().expect("it is being decided");
        let Some((succession, next)) = &mut decision.succession else {
            let begun = Succession::begin(decision.marker, self.client.doubtful > 0);
            shared.coverage.succession(begun.1);
            decision.succession = Some(begun);
            return Ok(Progress::Worked);
        };
        let found = match next {
            Next::GoOn => return Ok(Progress::Finished),
            Next::Contradiction(_) => return Err(Death::Stop(Stop::OtherMarker)),
            Next::ReadMarker | Next::Settle if shared.is_away() => return Ok(Progress::Waiting),
            Next::Settle => {
                let partitions = &shared.broker.partitions;
                let ends = *decision.ends.get_or_insert_with(|| std::array::from_fn(|at| partitions[at].log.len()));
                if !partitions.iter().zip(ends).all(|(partition, end)| partition.stable() >= end) {
                    let since_ms = *decision.settling_since_ms.get_or_insert(shared.clock_ms);
                    let is_hanging = shared.clock_ms - since_ms > UNDECIDED_MAX_MS;
                    return if is_hanging { Err(Death::Stop(Stop::Undecided)) } else { Ok(Progress::Waiting) };
                }
                Found::Settled
            }
            Next::ReadMarker => Found::Marker(shared.broker.marker(seeded::is(Bug::MarkerReadUncommitted))),
            Next::Replace => match self.client.init(shared) {
                Progress::Finished => Found::Replaced,
                progress => return Ok(progress),
            },
        };
        *next = succession.on(found);
        shared.coverage.succession(*next);
        Ok(Progress::Worked)
    }
}
