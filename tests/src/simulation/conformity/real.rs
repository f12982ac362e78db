//! The side of a real broker: the product's producers, each behind a proxy of its own.
//!
//! Next room: [`crate::proxy`].

use super::super::broker::{MARKER, PARTITIONS, SINK_PARTITIONS};
use super::{Api, Kind, Manner, Outcome, Side, Step, Visible};
use crate::broker::Broker;
use crate::cluster::Cluster;
use crate::judge::{Judge, wait_until};
use crate::proxied::ProxyLease;
use crate::proxy::{ApiKey, Fault, Rule};
use kafka_protocol::messages::{AddPartitionsToTxnResponse, ProduceResponse};
use kafka_protocol::protocol::Decodable;
use std::collections::BTreeMap;
use std::io::Cursor;
use std::ops::Range;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tidegate::checkpoint::record::Marker;
use tidegate::config::model::{KafkaConnection, Secret};
use tidegate::ids::{AttemptId, CheckpointId, StoreId};
use tidegate::kafka::look::{Confirmation, Patience};
use tidegate::kafka::transaction::{CommitOutcome, Options, ProduceError, Rotation, SettleError};
use tidegate::kafka::{KafkaError, Look, MarkerPlace, NewRecord, TopicPartition, TransactionalProducer, marker};
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(30);
/// A hasty producer gives a commit up before its connection does.
const HASTE: Duration = Duration::from_secs(1);
/// A transaction's time-out that is hardly longer than a connection's, as the client library demands.
const BRIEF: Duration = Duration::from_secs(4);
/// Control records that are on their way arrive within it.
const QUIET: Duration = Duration::from_millis(300);
const TIME: i64 = 1_700_000_000_000;
/// On which broker a partition lies alone.
const FIRST: &[i32] = &[1];
const SECOND: &[i32] = &[2];
/// The broker's words for a write that it has already.
const DUPLICATE_SEQUENCE_NUMBER: i16 = 46;
/// Its words for a request of a producer that was replaced.
const FENCED: [i16; 2] = [47, 90];

/// Who serves a script.
pub(super) enum Brokers<'a> {
    /// One broker, behind the proxies.
    One(&'a Broker),
    /// Two, of which the one with the coordinators is behind the proxies. The stranded partition lies on the other one alone.
    Two(Arc<Cluster>),
}

impl Brokers<'_> {
    fn judge(&self) -> &Judge {
        match self {
            Brokers::One(broker) => broker,
            Brokers::Two(cluster) => cluster,
        }
    }

    fn proxy(&self) -> ProxyLease {
        match self {
            Brokers::One(broker) => broker.proxy(),
            Brokers::Two(cluster) => cluster.proxy(),
        }
    }

    /// Makes a topic for the partitions of these numbers in a script.
    fn create_topic(&self, name: &str, partitions: Range<usize>, stranded: Option<usize>) {
        let place = |partition| if stranded == Some(partition) { SECOND } else { FIRST };
        let places: Vec<&[i32]> = partitions.map(place).collect();
        self.judge().create_topic_on(name, &places, &[]);
    }
}

/// The real side.
pub(super) struct Real<'a> {
    brokers: Brokers<'a>,
    job: String,
    topic: String,
    lives: BTreeMap<String, Life>,
    faults: usize,
    /// The second broker is killed by a fault, or will be.
    is_stranding: bool,
}

/// A producer, or what is left of it: the proxy keeps what it holds.
struct Life {
    proxy: ProxyLease,
    producer: Option<TransactionalProducer>,
    /// The next request that is kept back is its last.
    is_stalling: bool,
    /// Its transaction has begun, and with it the record in the marker's partition.
    is_open: bool,
}

impl<'a> Real<'a> {
    pub(super) fn new(brokers: Brokers<'a>, job: &str, stranded: Option<usize>) -> Real<'a> {
        let topic = format!("{job}.out");
        brokers.create_topic(&topic, 0..SINK_PARTITIONS, stranded);
        brokers.create_topic(&format!("tidegate.{job}"), MARKER..PARTITIONS, stranded);
        Real { brokers, job: job.to_owned(), topic, lives: BTreeMap::new(), faults: 0, is_stranding: false }
    }

    fn life(&mut self, name: &str) -> &mut Life {
        let brokers = &self.brokers;
        let born = || Life { proxy: brokers.proxy(), producer: None, is_stalling: false, is_open: false };
        self.lives.entry(name.to_owned()).or_insert_with(born)
    }

    fn producer(&mut self, name: &str) -> TransactionalProducer {
        self.life(name).producer.take().expect("the producer is there")
    }

    /// What a start does: takes the transactional id over, and waits until what was open is ended.
    fn init(&mut self, name: &str, manner: Manner) -> Outcome {
        let property = |name: &str, value: &str| (name.to_owned(), Secret::new(value.to_owned()));
        // A broker that misses another for a while answers late.
        let timeout = if matches!(self.brokers, Brokers::One(_)) { "3000" } else { "20000" };
        let connection = KafkaConnection {
            name: "main".to_owned(),
            brokers: vec![self.life(name).proxy.address()],
            properties: vec![property("socket.timeout.ms", timeout), property("reconnect.backoff.ms", "20")],
        };
        let options = Options {
            transactional_id: format!("tidegate.{}", self.job),
            transaction_timeout: manner.is_brief.then_some(BRIEF),
            commit_max: if manner.is_hasty { HASTE } else { SOON },
            marker: MarkerPlace::of_job(&self.job),
            rotation: if manner.is_kept { Rotation::Never } else { Rotation::WhenDoubtful },
        };
        let look = Look::connect(&connection).expect("a client can be made");
        let mut producer = match TransactionalProducer::init(&connection, options, look, SOON) {
            Ok(producer) => producer,
            Err(error) => return outcome(&error, Outcome::Unknown),
        };
        self.come_back();
        producer.open_topic(&self.topic, SOON).expect("the topic exists");
        let marker = TopicPartition { topic: format!("tidegate.{}", self.job), partition: 0 };
        let places = [self.places(), vec![marker]].concat();
        let ends = producer.look().ends(&places, SOON).expect("the broker answers");
        let outcome = match producer.look().confirm(&ends, &mut |_| Patience::Wait) {
            Confirmation::Decided => Outcome::Done,
            Confirmation::Undecided(_) => Outcome::Open,
            Confirmation::NoAnswer(error) => panic!("it waits for an answer: {error}"),
        };
        let life = self.life(name);
        (life.producer, life.is_open) = (Some(producer), false);
        outcome
    }

    /// Starts the broker again that a fault has killed.
    fn come_back(&mut self) {
        if let (true, Brokers::Two(cluster)) = (std::mem::take(&mut self.is_stranding), &self.brokers) {
            cluster.restart(2);
        }
    }

    /// Has the second broker die when the request comes.
    fn strand(&mut self) -> Fault {
        let Brokers::Two(cluster) = &self.brokers else { panic!("a partition without a leader takes two brokers") };
        self.is_stranding = true;
        let cluster = Arc::clone(cluster);
        Fault::HookBefore(Arc::new(move || cluster.kill(2)))
    }

    fn place(&self, partition: usize) -> TopicPartition {
        TopicPartition { topic: self.topic.clone(), partition: partition as i32 }
    }

    fn places(&self) -> Vec<TopicPartition> {
        (0..SINK_PARTITIONS).map(|partition| self.place(partition)).collect()
    }

    fn expire(&mut self, name: &str) {
        let places = self.places();
        let look = self.life(name).producer.as_ref().expect("the producer is there").look();
        let open = look.ends(&places, SOON).expect("the broker answers");
        wait_until("the transaction is ended by its time-out", || {
            let ends = look.ends(&places, SOON).expect("the broker answers");
            ends != open && look.stable(&places, SOON).expect("the broker answers") == ends
        });
    }

    fn produce(&mut self, name: &str, partition: usize, value: &str) -> Outcome {
        let marker = TopicPartition { topic: format!("tidegate.{}", self.job), partition: 0 };
        let places = [self.place(partition), marker];
        let mut producer = self.producer(name);
        let (topic, _) = producer.open_topic(&self.topic, SOON).expect("the topic exists");
        let ends = |producer: &TransactionalProducer| {
            let ends = producer.look().ends(&places, SOON).expect("the broker answers");
            (ends[0].end_offset, ends[1].end_offset)
        };
        let before = ends(&producer);
        let record =
            NewRecord { partition: partition as i32, key: None, value: Some(value.as_bytes()), timestamp: TIME };
        let life = self.life(name);
        match producer.produce(topic, &record, []) {
            Ok(()) => {}
            Err(ProduceError::Kafka(error)) => return outcome(&error, Outcome::Refused),
            Err(error) => panic!("the script's value is not taken: {error}"),
        }
        let deadline = Instant::now() + SOON;
        let written = loop {
            if let Err(error) = producer.poll() {
                break outcome(&error, Outcome::Refused);
            }
            let now = ends(&producer);
            if now.0 > before.0 && (life.is_open || now.1 > before.1) {
                break Outcome::Done;
            }
            if life.is_stalling && life.proxy.wait_held(Duration::ZERO) {
                break Outcome::Unknown;
            }
            assert!(Instant::now() < deadline, "a record is neither taken nor refused");
            thread::sleep(Duration::from_millis(2));
        };
        (life.producer, life.is_open) = (Some(producer), true);
        written
    }

    fn commit(&mut self, name: &str, checkpoint: u64) -> Outcome {
        let marker = Marker {
            id: CheckpointId(checkpoint),
            attempt: AttemptId(Uuid::from_u128(1)),
            store: StoreId(Uuid::from_u128(1)),
            digest: 0,
        };
        let drained = match self.producer(name).drain(SOON) {
            Ok(drained) => drained,
            Err(error) => return outcome(&error, Outcome::Refused),
        };
        match drained.commit(&marker) {
            CommitOutcome::Unknown(error) => outcome(&error, Outcome::Unknown),
            CommitOutcome::Committed(unconfirmed) => {
                self.come_back();
                let confirmed = match unconfirmed.confirm(&mut |_| Patience::Wait) {
                    Ok(confirmed) => confirmed,
                    Err(SettleError::Undecided(_)) => return Outcome::Open,
                    Err(error) => panic!("the commit is not confirmed: {error}"),
                };
                let life = self.life(name);
                life.producer = Some(confirmed.resume(SOON).expect("the producer goes on"));
                life.is_open = false;
                Outcome::Done
            }
        }
    }

    /// A process that is gone sends nothing any more; here its client library may go on.
    fn kill(&mut self, name: &str) {
        let life = self.life(name);
        for api in [Api::Init, Api::Add, Api::Produce, Api::End] {
            life.proxy.rule(Rule { api: key(api), skip: 0, times: usize::MAX, fault: Fault::CutBefore });
        }
        drop(life.producer.take());
    }

    fn deliver(&mut self, name: &str) -> Outcome {
        let life = self.life(name);
        assert!(life.proxy.wait_held(SOON), "nothing was kept back");
        // Late enough for the coordinator to be through with the transaction before.
        thread::sleep(QUIET);
        let delivered = life.proxy.deliver();
        let code = match delivered.api {
            ApiKey::END_TXN => delivered.end_txn_error(),
            ApiKey::PRODUCE => {
                // Flexible versions have an empty list of tags before the body.
                let skipped = usize::from(delivered.version >= 9);
                let answer = ProduceResponse::decode(&mut Cursor::new(&delivered.answer[skipped..]), delivered.version);
                answer.expect("the broker's answer can be read").responses[0].partition_responses[0].error_code
            }
            ApiKey::ADD_PARTITIONS_TO_TXN => {
                assert!(delivered.version < 3, "the flexible form of an answer: {delivered:?}");
                let body = &mut Cursor::new(&delivered.answer[..]);
                let answer = AddPartitionsToTxnResponse::decode(body, delivered.version);
                let topics = answer.expect("the broker's answer can be read").results_by_topic_v3_and_below;
                topics[0].results_by_partition[0].partition_error_code
            }
            other => panic!("the answer to {other:?} is not understood"),
        };
        thread::sleep(QUIET);
        match code {
            0 | DUPLICATE_SEQUENCE_NUMBER => Outcome::Done,
            code if FENCED.contains(&code) => Outcome::Fenced,
            _ => Outcome::Refused,
        }
    }

    fn read(&self) -> Visible {
        let mut visible = Visible::default();
        for record in self.brokers.judge().read_committed(&self.topic) {
            visible[record.partition as usize].push(record.text().to_owned());
        }
        let text = |value: &[u8]| format!("marker:{}", marker::decode(value).expect("the marker is ours").id.0);
        let own = self.brokers.judge().read_committed(&format!("tidegate.{}", self.job)).into_iter();
        visible[MARKER] = own.map(|record| record.value.map_or("begin".to_owned(), |value| text(&value))).collect();
        visible
    }
}

impl Side for Real<'_> {
    fn step(&mut self, step: &Step) -> Outcome {
        match step {
            Step::Init(name, manner) => return self.init(name, *manner),
            Step::Produce(name, partition, value) => return self.produce(name, *partition, value),
            Step::Commit(name, checkpoint) => return self.commit(name, *checkpoint),
            Step::Deliver(name) => return self.deliver(name),
            Step::Fault(name, kind, api) => {
                let fault = match kind {
                    Kind::LoseReply => Fault::CutAfter,
                    Kind::DropReplies => Fault::DropReply,
                    Kind::CutBefore => Fault::CutBefore,
                    Kind::Hold => Fault::HoldAndCut,
                    Kind::Stall => Fault::Hold,
                    Kind::Strand(_) => self.strand(),
                };
                self.faults += 1;
                let life = self.life(name);
                life.is_stalling = *kind == Kind::Stall;
                life.proxy.next(key(*api), fault);
            }
            Step::Kill(name) => self.kill(name),
            Step::Expire(name) => self.expire(name),
            Step::Restart => {
                let Brokers::One(broker) = &self.brokers else { panic!("a script restarts its only broker") };
                broker.kill();
                broker.restart();
            }
        }
        Outcome::Done
    }

    fn visible(&mut self) -> Visible {
        let mut before = self.read();
        loop {
            thread::sleep(QUIET);
            let after = self.read();
            if after == before {
                return after;
            }
            before = after;
        }
    }

    fn idle_faults(&self) -> usize {
        self.faults.saturating_sub(self.lives.values().map(|life| life.proxy.hits().len()).sum())
    }
}

fn key(api: Api) -> ApiKey {
    match api {
        Api::Init => ApiKey::INIT_PRODUCER_ID,
        Api::Add => ApiKey::ADD_PARTITIONS_TO_TXN,
        Api::Produce => ApiKey::PRODUCE,
        Api::End => ApiKey::END_TXN,
    }
}

fn outcome(error: &KafkaError, otherwise: Outcome) -> Outcome {
    if matches!(error, KafkaError::Fenced { .. }) { Outcome::Fenced } else { otherwise }
}

const _: () = assert!(MARKER + 1 == PARTITIONS);
