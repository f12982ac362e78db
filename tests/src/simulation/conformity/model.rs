//! The side of the model: its broker, its client library, its network, and its steps of a decision.
//!
//! Control records are written as soon as they can be, and no fault strikes but the script's. Next room: `real`.

use super::super::broker::{Answer, Payload, Request, TRANSACTION_TIMEOUT_MS};
use super::super::choices::Choices;
use super::super::client::{Aim, Fate};
use super::super::output::Output;
use super::super::row::{Kind as RowKind, Row};
use super::super::shared::{Death, Progress, Shared, Stop};
use super::super::store::{FilePart, Record, SPLITS, SplitPart};
use super::super::world::World;
use super::{Api, Kind, Manner, Outcome, Side, Step, Visible};
use std::collections::BTreeMap;
use std::rc::Rc;
use tidegate::checkpoint::record::CheckpointKind;
use tidegate::ids::{CheckpointId, Watermark};

/// No step of a script needs so many exchanges.
const TURNS_MAX: usize = 100;
/// How long a turn takes that only waits.
const WAIT_MS: u64 = 50;
/// Scripts read no input.
const SPLIT: SplitPart =
    SplitPart { offset: 0, topic: 1, watermark: Watermark::START, is_idle: false, is_finished: false };

/// The model's side.
pub(super) struct Model {
    shared: Shared,
    producers: BTreeMap<String, (Output, Manner)>,
    values: Vec<String>,
    /// The next request that is kept back is its sender's last.
    is_stalling: bool,
    /// The next control record of this partition is lost.
    stranded: Option<usize>,
}

impl Model {
    pub(super) fn new() -> Model {
        // The dull answer to each choice: a sink in Kafka and no file.
        let mut shared = World::new(Choices::from_script(Vec::new()), None).shared;
        shared.faults_left = 0;
        Model { shared, producers: BTreeMap::new(), values: Vec::new(), is_stalling: false, stranded: None }
    }

    /// Has a producer do its turns to the end of what it does.
    fn drive(
        &mut self,
        name: &str,
        mut turn: impl FnMut(&mut Output, &mut Shared) -> Result<Progress, Death>,
    ) -> Outcome {
        for _ in 0..TURNS_MAX {
            let (output, manner) = self.producers.get_mut(name).expect("the producer is there");
            if manner.is_kept {
                output.client.doubtful = 0;
            }
            let progress = turn(output, &mut self.shared);
            self.write_controls();
            if self.is_stalling && !self.shared.network.held.is_empty() {
                self.is_stalling = false;
                return Outcome::Unknown;
            }
            match progress {
                Ok(Progress::Finished) => return Outcome::Done,
                Ok(Progress::Worked) => self.shared.clock_ms += 1,
                Ok(Progress::Waiting) => self.shared.clock_ms += WAIT_MS,
                Err(Death::Stop(Stop::Undecided)) => return Outcome::Open,
                Err(Death::Failed("fenced")) => return Outcome::Fenced,
                Err(Death::CommitUnknown) => return Outcome::Unknown,
                Err(Death::Failed(_)) => return Outcome::Refused,
                Err(Death::Stop(stop)) => panic!("the model's producer stops: {stop:?}"),
            }
        }
        panic!("`{name}` does not get on in the model");
    }

    fn commit(&mut self, name: &str, id: CheckpointId) -> Outcome {
        let mut record = None;
        self.drive(name, |output, shared| {
            if record.is_some() {
                return output.decide(None, shared);
            }
            let ends = match output.flush(id, 1, None, shared)? {
                Ok((_, ends)) => ends,
                Err(progress) => return Ok(progress),
            };
            let made = Rc::new(Record {
                id,
                attempt: 1,
                kind: CheckpointKind::Periodic,
                splits: [SPLIT; SPLITS],
                shards: Vec::new(),
                file: FilePart::default(),
                ends,
            });
            output.begin(&made, 1, shared);
            record = Some(made);
            Ok(Progress::Worked)
        })
    }

    /// What a start does: takes the transactional id over, and looks whether anything is open then.
    fn init(&mut self, name: &str) -> Outcome {
        let outcome = self.drive(name, |output, shared| Ok(output.client.init(shared)));
        let is_open = self.shared.broker.partitions.iter().any(|partition| partition.stable() < partition.log.len());
        if outcome == Outcome::Done && is_open { Outcome::Open } else { outcome }
    }

    fn write_controls(&mut self) {
        while let Some(partition) = self.shared.broker.pending.first().copied() {
            let is_lost = self.stranded == Some(partition);
            self.shared.broker.write_control(0, is_lost);
            if is_lost {
                self.stranded = None;
            }
        }
    }

    fn deliver(&mut self) -> Outcome {
        let request = self.shared.network.held.remove(0);
        let answer = self.shared.broker.take(self.shared.clock_ms, request);
        self.write_controls();
        match answer {
            Answer::Done | Answer::Epoch(_) => Outcome::Done,
            Answer::Fenced => Outcome::Fenced,
            Answer::Refused | Answer::Concurrent => Outcome::Refused,
        }
    }
}

impl Side for Model {
    fn step(&mut self, step: &Step) -> Outcome {
        match step {
            Step::Init(name, manner) => {
                self.producers.insert(name.clone(), (Output::default(), *manner));
                self.init(name)
            }
            Step::Fault(_, kind, api) => {
                let fate = match kind {
                    Kind::LoseReply | Kind::DropReplies => Fate::AnswerLost,
                    Kind::CutBefore => Fate::RequestLost,
                    Kind::Hold | Kind::Stall => Fate::RequestHeld,
                    Kind::Strand(_) => Fate::Answered,
                };
                if let Kind::Strand(partition) = kind {
                    self.stranded = Some(*partition);
                }
                self.is_stalling = *kind == Kind::Stall;
                self.shared.network.scripted.push_back((is_of(*api), fate));
                Outcome::Done
            }
            Step::Produce(name, partition, value) => {
                let (output, _) = self.producers.get_mut(name).expect("the producer is there");
                output.client.produce(*partition, Payload::Row(row(self.values.len())));
                self.values.push(value.clone());
                self.drive(name, |output, shared| output.client.pump(shared))
            }
            Step::Commit(name, checkpoint) => self.commit(name, CheckpointId(*checkpoint)),
            Step::Kill(name) => {
                self.producers.remove(name).expect("the producer is there");
                Outcome::Done
            }
            Step::Expire(_) => {
                self.shared.clock_ms += TRANSACTION_TIMEOUT_MS + 1;
                assert!(self.shared.broker.expire(self.shared.clock_ms), "no transaction is open");
                self.write_controls();
                Outcome::Done
            }
            Step::Deliver(_) => self.deliver(),
            // What the cluster knows is on its disks, and nobody asks it while it is away.
            Step::Restart => Outcome::Done,
        }
    }

    fn visible(&mut self) -> Visible {
        let text = |payload| match payload {
            Payload::Row(row) => self.values[row.number as usize].clone(),
            Payload::Begin => "begin".to_owned(),
            Payload::Marker(marker) => format!("marker:{}", marker.id.0),
        };
        std::array::from_fn(|partition| self.shared.broker.partitions[partition].committed().map(text).collect())
    }

    fn idle_faults(&self) -> usize {
        self.shared.network.scripted.len()
    }
}

fn is_of(api: Api) -> Aim {
    match api {
        Api::Init => |request| matches!(request, Request::Init),
        Api::Add => |request| matches!(request, Request::Add { .. }),
        Api::Produce => |request| matches!(request, Request::Produce { .. }),
        Api::End => |request| matches!(request, Request::End { .. }),
    }
}

/// A row that stands for the script's value of this number.
fn row(number: usize) -> Row {
    let kind = RowKind::Line { is_late: false };
    Row { kind, split: 0, offset: 0, timestamp: 1, key: 0, group: 0, number: number as u32, tag: (1, 1) }
}
