//! A model of a Kafka cluster as a transactional producer meets it: one coordinator, the sink's partitions, the marker's.
//!
//! What it keeps of the real one: `EndTxn` is answered when the intent is logged, before any partition has its control record;
//! each partition's control record is written by itself, later, or is lost for good (KAFKA-20734); records that miss theirs
//! stay open in the partition, and the next control record of the same producer decides them too; a new epoch fences; a
//! transaction that is open for too long is aborted with a new epoch; a partition takes a record only from a producer whose
//! transaction the coordinator knows to include it. It knows no process and no network. Next room: `client`.

use super::row::Row;
use tidegate::checkpoint::record::Marker;

/// Partitions of the sink's topic.
pub(super) const SINK_PARTITIONS: usize = 2;
/// The marker's partition stands behind the sink's.
pub(super) const MARKER: usize = SINK_PARTITIONS;
/// All of them.
pub(super) const PARTITIONS: usize = SINK_PARTITIONS + 1;
/// `transaction.timeout.ms`.
pub(super) const TRANSACTION_TIMEOUT_MS: u64 = 20_000;

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Payload {
    /// Output.
    Row(Row),
    /// The record in the marker's partition that begins a transaction.
    Begin,
    /// A marker.
    Marker(Marker),
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Open,
    Committed,
    Aborted,
}

/// One offset of a partition; a control record has no payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) payload: Option<Payload>,
    pub(super) fate: Fate,
}

/// A partition. All records are of one producer id, since a transactional id keeps its own over every epoch.
#[derive(Debug, Default)]
pub(super) struct Partition {
    pub(super) log: Vec<Entry>,
    /// The first offset that is not decided.
    first_open: Option<usize>,
    epoch: u32,
    /// Next sequence number of the producer's epoch.
    sequence: u32,
    /// What is open missed its control record.
    is_hanging: bool,
}

impl Partition {
    /// The last stable offset.
    pub(super) fn stable(&self) -> usize {
        self.first_open.unwrap_or(self.log.len())
    }

    /// What `read_committed` readers get.
    pub(super) fn committed(&self) -> impl DoubleEndedIterator<Item = Payload> + '_ {
        let seen = &self.log[..self.stable()];
        seen.iter().filter(|entry| entry.fate == Fate::Committed).filter_map(|entry| entry.payload)
    }

    /// Records of one fate.
    pub(super) fn of_fate(&self, fate: Fate) -> impl Iterator<Item = Payload> + '_ {
        self.log.iter().filter(move |entry| entry.fate == fate).filter_map(|entry| entry.payload)
    }

    /// Writes a control record: it decides whatever is open.
    pub(super) fn control(&mut self, epoch: u32, is_commit: bool) {
        if epoch > self.epoch {
            self.epoch = epoch;
            self.sequence = 0;
        }
        let fate = if is_commit { Fate::Committed } else { Fate::Aborted };
        self.is_hanging = false;
        if let Some(first) = self.first_open.take() {
            self.log[first..].iter_mut().for_each(|entry| entry.fate = fate);
        }
        self.log.push(Entry { payload: None, fate });
    }
}

/// A request of a transactional producer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Request {
    Init,
    Add { epoch: u32, partition: usize },
    Produce { epoch: u32, partition: usize, sequence: u32, payload: Payload },
    End { epoch: u32, is_commit: bool },
}

/// What the cluster says to a request that it got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Done,
    Epoch(u32),
    /// Try again: the transaction before is still being ended.
    Concurrent,
    /// A newer epoch is known.
    Fenced,
    /// Not what the coordinator's transaction allows.
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Empty,
    Ongoing { began_ms: u64 },
    Ending { is_commit: bool },
    Ended { is_commit: bool },
}

/// The cluster.
#[derive(Debug)]
pub(super) struct Broker {
    pub(super) partitions: [Partition; PARTITIONS],
    /// Changes when somebody makes the marker's topic anew.
    pub(super) marker_topic: u32,
    /// No broker answers before this time.
    pub(super) away_until_ms: u64,
    epoch: u32,
    state: State,
    included: [bool; PARTITIONS],
    /// Control records to be written.
    pub(super) pending: Vec<usize>,
}

impl Broker {
    pub(super) fn new() -> Broker {
        Broker {
            partitions: std::array::from_fn(|_| Partition::default()),
            marker_topic: 1,
            away_until_ms: 0,
            epoch: 0,
            state: State::Empty,
            included: [false; PARTITIONS],
            pending: Vec::new(),
        }
    }

    /// Takes a request in.
    pub(super) fn take(&mut self, now_ms: u64, request: Request) -> Answer {
        match request {
            Request::Init => self.init(),
            Request::Add { epoch, .. } | Request::End { epoch, .. } if epoch != self.epoch => Answer::Fenced,
            Request::Add { partition, .. } => self.add(now_ms, partition),
            Request::End { is_commit, .. } => self.end(is_commit),
            Request::Produce { epoch, partition, sequence, payload } => {
                self.produce(epoch, partition, sequence, payload)
            }
        }
    }

    fn init(&mut self) -> Answer {
        match self.state {
            State::Ongoing { .. } => {
                self.abort();
                Answer::Concurrent
            }
            State::Ending { .. } => Answer::Concurrent,
            State::Empty | State::Ended { .. } => {
                self.epoch += 1;
                self.state = State::Empty;
                Answer::Epoch(self.epoch)
            }
        }
    }

    fn add(&mut self, now_ms: u64, partition: usize) -> Answer {
        match self.state {
            State::Ending { .. } => return Answer::Concurrent,
            State::Empty | State::Ended { .. } => {
                self.included = [false; PARTITIONS];
                self.state = State::Ongoing { began_ms: now_ms };
            }
            State::Ongoing { .. } => {}
        }
        self.included[partition] = true;
        Answer::Done
    }

    fn end(&mut self, is_commit: bool) -> Answer {
        match self.state {
            State::Ongoing { .. } => {
                self.begin_ending(is_commit);
                Answer::Done
            }
            State::Ending { .. } => Answer::Concurrent,
            State::Ended { is_commit: was } if was == is_commit => Answer::Done,
            State::Ended { .. } | State::Empty => Answer::Refused,
        }
    }

    fn produce(&mut self, epoch: u32, partition: usize, sequence: u32, payload: Payload) -> Answer {
        let is_included = matches!(self.state, State::Ongoing { .. }) && self.included[partition];
        let log = &mut self.partitions[partition];
        if epoch < log.epoch {
            return Answer::Fenced;
        }
        if log.first_open.is_none() && !(is_included && epoch == self.epoch) {
            return Answer::Refused;
        }
        if epoch > log.epoch {
            log.epoch = epoch;
            log.sequence = 0;
        }
        if sequence < log.sequence {
            return Answer::Done;
        }
        if sequence > log.sequence {
            return Answer::Refused;
        }
        log.sequence += 1;
        log.first_open.get_or_insert(log.log.len());
        log.log.push(Entry { payload: Some(payload), fate: Fate::Open });
        Answer::Done
    }

    /// Fences the producer and ends its transaction.
    fn abort(&mut self) {
        self.epoch += 1;
        self.begin_ending(false);
    }

    fn begin_ending(&mut self, is_commit: bool) {
        self.pending = (0..PARTITIONS).filter(|partition| self.included[*partition]).collect();
        self.state = if self.pending.is_empty() { State::Ended { is_commit } } else { State::Ending { is_commit } };
    }

    /// Writes the control record at this place in the list of those pending, or loses it.
    pub(super) fn write_control(&mut self, at: usize, is_lost: bool) {
        let State::Ending { is_commit } = self.state else { return };
        let partition = self.pending.remove(at);
        if is_lost {
            self.partitions[partition].is_hanging = self.partitions[partition].first_open.is_some();
        } else {
            self.partitions[partition].control(self.epoch, is_commit);
        }
        if self.pending.is_empty() {
            self.state = State::Ended { is_commit };
        }
    }

    /// What time does to a transaction that is open for too long. Says whether it did.
    pub(super) fn expire(&mut self, now_ms: u64) -> bool {
        let State::Ongoing { began_ms } = self.state else { return false };
        let is_late = now_ms.saturating_sub(began_ms) > TRANSACTION_TIMEOUT_MS;
        if is_late {
            self.abort();
        }
        is_late
    }

    /// What a person with the right to do it does to a partition that hangs.
    pub(super) fn repair(&mut self, partition: usize, is_commit: bool) {
        let epoch = self.partitions[partition].epoch;
        self.partitions[partition].control(epoch, is_commit);
    }

    /// Whether a transaction that goes on includes a partition where an earlier one hangs: its end decides both.
    pub(super) fn hangs_in_next_transaction(&self) -> bool {
        let both = |(partition, included): (&Partition, &bool)| *included && partition.is_hanging;
        matches!(self.state, State::Ongoing { .. }) && self.partitions.iter().zip(&self.included).any(both)
    }

    /// Whether the coordinator has nothing open and nothing to write: what is open in a partition now hangs.
    pub(super) fn is_at_rest(&self) -> bool {
        matches!(self.state, State::Empty | State::Ended { .. })
    }

    /// The last marker that readers get; `everything`: open and aborted ones too.
    pub(super) fn marker(&self, everything: bool) -> Option<Marker> {
        let marker = |payload| if let Payload::Marker(marker) = payload { Some(marker) } else { None };
        if everything {
            return self.partitions[MARKER].log.iter().rev().filter_map(|entry| entry.payload).find_map(marker);
        }
        self.partitions[MARKER].committed().rev().find_map(marker)
    }

    /// Somebody removed every record of the marker's topic (`is_new`: and made it anew).
    pub(super) fn purge_marker(&mut self, is_new: bool) {
        let epoch = self.partitions[MARKER].epoch;
        let sequence = self.partitions[MARKER].sequence;
        let old = std::mem::take(&mut self.partitions[MARKER]);
        if is_new {
            self.marker_topic += 1;
        } else {
            // Offsets go on: records are gone, places are not.
            self.partitions[MARKER] = Partition { epoch, sequence, ..Partition::default() };
            let gone = Entry { payload: None, fate: Fate::Aborted };
            self.partitions[MARKER].log = vec![gone; old.log.len()];
        }
    }
}
