//! A model of the producer's client library, and of the network in between.
//!
//! The library repeats requests that got no answer by itself and says OK in the end; it counts those that end or extend a
//! transaction, and the product looks at that number. The network answers, or loses the request, or loses the answer, or
//! holds the request back and delivers it at any later time, when its sender may be dead. Next rooms: `broker`, `output`.

use super::broker::{Answer, MARKER, PARTITIONS, Payload, Request};
use super::coverage::{Fault, Moment};
use super::shared::{Death, Progress, Shared};
use std::collections::VecDeque;

/// So often the library asks in one commit before the product gives up: its outcome is unknown then.
const COMMIT_TRIES_MAX: u32 = 3;

/// A native producer.
#[derive(Debug, Default)]
pub(super) struct Client {
    /// `None` before the initialisation.
    epoch: Option<u32>,
    sequences: [u32; PARTITIONS],
    /// Partitions that were added to the open transaction.
    pub(super) added: [bool; PARTITIONS],
    queue: VecDeque<(usize, Payload)>,
    /// Requests that end or extend a transaction and got no answer.
    pub(super) doubtful: u32,
    tries: u32,
    is_open: bool,
}

impl Client {
    /// Asks for the id. True: the producer has it.
    pub(super) fn init(&mut self, shared: &mut Shared) -> Progress {
        match shared.exchange(Request::Init) {
            Some(Answer::Epoch(epoch)) => {
                *self = Client { epoch: Some(epoch), ..Client::default() };
                Progress::Finished
            }
            Some(Answer::Concurrent) => Progress::Waiting,
            _ => Progress::Worked,
        }
    }

    /// Takes a record; the first one begins the transaction.
    pub(super) fn produce(&mut self, partition: usize, payload: Payload) {
        if !self.is_open {
            self.is_open = true;
            if partition != MARKER {
                self.queue.push_back((MARKER, Payload::Begin));
            }
        }
        self.queue.push_back((partition, payload));
    }

    /// Whether brokers have every record.
    pub(super) fn is_drained(&self) -> bool {
        self.queue.is_empty()
    }

    /// Does one exchange for the record that is next.
    pub(super) fn pump(&mut self, shared: &mut Shared) -> Result<Progress, Death> {
        let Some(&(partition, payload)) = self.queue.front() else { return Ok(Progress::Finished) };
        let epoch = self.epoch.expect("a producer writes after its initialisation");
        let request = if self.added[partition] {
            Request::Produce { epoch, partition, sequence: self.sequences[partition], payload }
        } else {
            Request::Add { epoch, partition }
        };
        let is_adding = !self.added[partition];
        match shared.exchange(request) {
            None => {
                self.doubtful += u32::from(is_adding);
                Ok(Progress::Waiting)
            }
            Some(Answer::Done) if is_adding => {
                self.added[partition] = true;
                Ok(Progress::Worked)
            }
            Some(Answer::Done) => {
                self.sequences[partition] += 1;
                self.queue.pop_front();
                Ok(Progress::Worked)
            }
            Some(Answer::Concurrent) => Ok(Progress::Waiting),
            Some(Answer::Fenced) => Err(Death::Failed("fenced")),
            Some(Answer::Refused | Answer::Epoch(_)) => Err(Death::Failed("a record was refused")),
        }
    }

    /// Does one exchange of an end.
    pub(super) fn end(&mut self, shared: &mut Shared, is_commit: bool) -> Result<Progress, Death> {
        let epoch = self.epoch.expect("a producer commits after its initialisation");
        self.tries += 1;
        match shared.exchange(Request::End { epoch, is_commit }) {
            Some(Answer::Done) => {
                self.tries = 0;
                self.is_open = false;
                self.added = [false; PARTITIONS];
                Ok(Progress::Finished)
            }
            Some(Answer::Concurrent) => Ok(Progress::Waiting),
            None if self.tries < COMMIT_TRIES_MAX || !is_commit => {
                self.doubtful += 1;
                Ok(Progress::Waiting)
            }
            None | Some(Answer::Fenced | Answer::Refused | Answer::Epoch(_)) => {
                self.tries = 0;
                Err(Death::CommitUnknown)
            }
        }
    }
}

/// Requests that are on their way for longer than their senders waited.
#[derive(Debug, Default)]
pub(super) struct Network {
    pub(super) held: Vec<Request>,
    /// What a script has happen to the next request of a kind, whatever is chosen.
    pub(super) scripted: VecDeque<(Aim, Fate)>,
}

/// Whether a script means a request.
pub(super) type Aim = fn(&Request) -> bool;

/// What the network does to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Answered,
    RequestLost,
    RequestHeld,
    AnswerLost,
}

impl Shared {
    /// Sends a request and waits for its answer; `None`: there is none.
    pub(super) fn exchange(&mut self, request: Request) -> Option<Answer> {
        if self.is_away() {
            return None;
        }
        let fate = self.fate(request);
        match fate {
            Fate::RequestLost => {
                self.struck(Fault::RequestLost);
                self.note(|| format!("{request:?}: lost on the way"));
                return None;
            }
            Fate::RequestHeld => {
                self.struck(Fault::RequestHeld);
                self.note(|| format!("{request:?}: held back"));
                self.network.held.push(request);
                return None;
            }
            Fate::Answered | Fate::AnswerLost => {}
        }
        let answer = self.broker.take(self.clock_ms, request);
        if fate == Fate::AnswerLost {
            self.struck(Fault::AnswerLost);
            self.note(|| format!("{request:?}: {answer:?}, and the answer is lost"));
            return None;
        }
        self.note(|| format!("{request:?}: {answer:?}"));
        Some(answer)
    }

    fn fate(&mut self, request: Request) -> Fate {
        if let Some(at) = self.network.scripted.iter().position(|(is_meant, _)| is_meant(&request)) {
            return self.network.scripted.remove(at).expect("it was found there").1;
        }
        let network = [Fault::RequestLost, Fault::RequestHeld, Fault::AnswerLost];
        // What waits for a commit waits for the end of a transaction.
        let is_dull = self.moment == Moment::Commit && matches!(request, Request::Produce { .. });
        let waiting = if is_dull { &[] } else { &network[..] };
        let has_struck = self.strikes(waiting, self.shape.network_faults_per_mille);
        match self.ambush.last() {
            _ if !has_struck => Fate::Answered,
            Some((Fault::AnswerLost, moment)) if *moment == self.moment => Fate::AnswerLost,
            Some((Fault::RequestHeld, moment)) if *moment == self.moment => Fate::RequestHeld,
            _ => [Fate::RequestLost, Fate::RequestHeld, Fate::AnswerLost][self.choices.below(3)],
        }
    }
}
