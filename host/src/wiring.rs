//! The lanes of a job, made from its plan before any thread exists: who sends to whom, and under which port.
//!
//! Every edge gets one lane for each pair of a sending and a receiving thread, so alignment and back-pressure are each
//! edge's own. Knows no plugin and no sink. Next room: [`crate::job`].

use crate::config::model::{Job, OnBadRecord, Route};
use crate::config::resolve::{EdgeFrom, EdgeTo, Plan};
use crate::exchange::{Inbox, LaneIndex, LaneSender, QueuedBytes};
use crate::ids::{OperatorIndex, PortIndex, SinkIndex, SourceIndex, WorkerId};
use crate::operator::LaneInput;
use crate::outlet::Readers;
use crate::sink::task::Content;
use std::collections::HashMap;
use std::sync::Arc;

/// A thread's part that sends: a source thread, or an operator on one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sender {
    /// A thread of a source.
    Source(SourceIndex, usize),
    /// An operator's shards on a worker.
    Operator(OperatorIndex, WorkerId),
}

/// All lanes of a job, handed out once each.
pub struct Wiring {
    workers: Vec<Option<Inbox>>,
    sink: Option<Inbox>,
    sink_lanes: Vec<(LaneIndex, SinkIndex, Content)>,
    readers: HashMap<(Sender, Option<PortIndex>), Readers>,
    lanes: HashMap<(WorkerId, OperatorIndex), Vec<(LaneIndex, LaneInput)>>,
    senders: Vec<Vec<usize>>,
    dead_letters: HashMap<Sender, LaneSender>,
    threads_of: Vec<usize>,
}

impl Wiring {
    /// Makes every lane. `threads_of` is the number of threads of each source, `ports` the number of input ports of each
    /// operator. A worker without a shard would only be in the way: there are never more workers than shards.
    pub fn new(job: &Job, plan: &Plan, ports: &[usize], threads_of: &[usize], queued: &Arc<QueuedBytes>) -> Wiring {
        let inbox = || Inbox::new(job.channel_bytes, Arc::clone(queued));
        let workers = job.workers.min(job.shards).max(1);
        let mut wiring = Wiring {
            workers: (0..workers).map(|_| Some(inbox())).collect(),
            sink: Some(inbox()),
            sink_lanes: Vec::new(),
            readers: HashMap::new(),
            lanes: HashMap::new(),
            senders: ports.iter().map(|ports| vec![0; *ports]).collect(),
            dead_letters: HashMap::new(),
            threads_of: threads_of.to_vec(),
        };
        for edge in &plan.edges {
            wiring.edge(edge.from, edge.to);
        }
        wiring.dead_letter_lanes(job);
        wiring
    }

    /// How many workers there are.
    pub fn workers(&self) -> u16 {
        self.workers.len() as u16
    }

    /// Who reads what a sender emits on a port (`None` for a source). To be taken once.
    pub fn readers(&mut self, sender: Sender, port: Option<PortIndex>) -> Readers {
        self.readers.remove(&(sender, port)).unwrap_or_default()
    }

    /// The lane of a sender to the dead-letter sink, if the job has one and the sender's policy uses it.
    pub fn dead_letters(&mut self, sender: Sender) -> Option<LaneSender> {
        self.dead_letters.remove(&sender)
    }

    /// The lanes into an operator on a worker. To be taken once.
    pub fn lanes_of(&mut self, worker: WorkerId, operator: OperatorIndex) -> Vec<(LaneIndex, LaneInput)> {
        self.lanes.remove(&(worker, operator)).unwrap_or_default()
    }

    /// How many senders each input port of an operator has.
    pub fn senders_of(&self, operator: OperatorIndex) -> Vec<usize> {
        self.senders[operator.index()].clone()
    }

    /// A worker's inbox. To be taken once.
    pub fn worker_inbox(&mut self, worker: WorkerId) -> Inbox {
        self.workers[worker.index()].take().expect("an inbox is taken once")
    }

    /// The sink thread's inbox and what its lanes carry. To be taken once.
    pub fn sink_inbox(&mut self) -> (Inbox, Vec<(LaneIndex, SinkIndex, Content)>) {
        let inbox = self.sink.take().expect("an inbox is taken once");
        (inbox, std::mem::take(&mut self.sink_lanes))
    }

    fn edge(&mut self, from: EdgeFrom, to: EdgeTo) {
        let (senders, port) = self.senders_from(from);
        match to {
            EdgeTo::Sink(sink) => {
                for sender in senders {
                    let lane = self.sink_lane(sink, Content::Records);
                    self.readers.entry((sender, port)).or_default().sinks.push(lane);
                }
            }
            EdgeTo::Operator(operator, input, route) => {
                let first = self.senders[operator.index()][input.index()];
                self.senders[operator.index()][input.index()] += senders.len();
                for (at, sender) in senders.into_iter().enumerate() {
                    let lanes = self.operator_lanes(operator, LaneInput { port: input, sender: first + at });
                    let readers = self.readers.entry((sender, port)).or_default();
                    match route {
                        Route::Key => readers.keyed.push(lanes),
                        Route::SameShard => readers.same_shard.push(lanes),
                        Route::Broadcast => readers.broadcast.push(lanes),
                    }
                }
            }
        }
    }

    fn senders_from(&self, from: EdgeFrom) -> (Vec<Sender>, Option<PortIndex>) {
        match from {
            EdgeFrom::Source(source) => {
                let threads = self.threads_of[source.index()];
                ((0..threads).map(|thread| Sender::Source(source, thread)).collect(), None)
            }
            EdgeFrom::Operator(operator, port) => {
                let workers = (0..self.workers()).map(WorkerId);
                (workers.map(|worker| Sender::Operator(operator, worker)).collect(), Some(port))
            }
        }
    }

    /// One lane to an operator on every worker.
    fn operator_lanes(&mut self, operator: OperatorIndex, input: LaneInput) -> Vec<LaneSender> {
        let mut senders = Vec::with_capacity(self.workers.len());
        for (worker, inbox) in self.workers.iter_mut().enumerate() {
            let (lane, sender) = inbox.as_mut().expect("lanes are made before inboxes are taken").lane();
            self.lanes.entry((WorkerId(worker as u16), operator)).or_default().push((lane, input));
            senders.push(sender);
        }
        senders
    }

    fn sink_lane(&mut self, sink: SinkIndex, content: Content) -> LaneSender {
        let (lane, sender) = self.sink.as_mut().expect("lanes are made before inboxes are taken").lane();
        self.sink_lanes.push((lane, sink, content));
        sender
    }

    fn dead_letter_lanes(&mut self, job: &Job) {
        let Some(sink) = job.dead_letter_sink() else { return };
        let mut senders = Vec::new();
        for (at, source) in job.sources.iter().enumerate() {
            if source.on_bad_record == OnBadRecord::DeadLetter {
                senders.extend((0..self.threads_of[at]).map(|thread| Sender::Source(SourceIndex(at as u16), thread)));
            }
        }
        for (at, operator) in job.operators.iter().enumerate() {
            if operator.sends_dead_letters() {
                let workers = (0..self.workers()).map(WorkerId);
                senders.extend(workers.map(|worker| Sender::Operator(OperatorIndex(at as u16), worker)));
            }
        }
        for sender in senders {
            let lane = self.sink_lane(sink, Content::DeadLetters);
            self.dead_letters.insert(sender, lane);
        }
    }
}
