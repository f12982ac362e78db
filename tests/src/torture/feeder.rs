//! Hands the payments to the job, in order: to a topic at a steady rate while the job runs, or to files well ahead of it.
//!
//! A payment's content and its split follow from its number, so a feeder remembers one number. Next room: `payment`.

use super::payment::{SPLITS, payment};
use super::scenario::Scenario;
use crate::broker::Broker;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Payments a second to a topic.
const RATE: f64 = 5_000.0;
/// Payments at once, if the feeder was kept from its work.
const BURST_MAX: u64 = 2_000;
/// Files are so many payments ahead of what the job is known to have read: more than it reads in one life at its pace. Input
/// in files ends for good where a file ends, so it must not come there.
const AHEAD: u64 = 200_000;
/// What was read is freed in pieces of this many bytes, and so many are left before what is still looked at.
const FREED_BYTES_MIN: u64 = 32 << 20;

/// Feeds one store's job.
pub(super) enum Feeder {
    /// To a topic.
    Topic(TopicFeeder),
    /// To files.
    Files(FileFeeder),
}

impl Feeder {
    /// Does what is due. `read_to` is how far the job is known to have read.
    pub(super) fn feed(&mut self, read_to: u64) -> io::Result<()> {
        match self {
            Feeder::Topic(topic) => topic.feed(),
            Feeder::Files(files) => files.feed(read_to + AHEAD),
        }
    }

    /// Begins to count time anew: what was not fed meanwhile is not fed at once.
    pub(super) fn resume(&mut self) {
        if let Feeder::Topic(topic) = self {
            topic.fed_at = Instant::now();
        }
    }

    /// Waits until everything is where the job finds it, and gives the number of the next payment.
    pub(super) fn settle(&mut self) -> u64 {
        match self {
            Feeder::Topic(topic) => {
                topic.producer.flush(Duration::from_mins(1)).expect("the broker takes payments");
                topic.next
            }
            Feeder::Files(files) => files.next,
        }
    }
}

/// To the partitions of a topic.
pub(super) struct TopicFeeder {
    producer: BaseProducer,
    topic: String,
    next: u64,
    fed_at: Instant,
}

impl TopicFeeder {
    pub(super) fn new(broker: &Broker, scenario: Scenario) -> TopicFeeder {
        let mut client = broker.client();
        client.set("linger.ms", "2").set("enable.idempotence", "true").set("compression.type", "lz4");
        let producer = client.create().expect("a producer can be made");
        TopicFeeder { producer, topic: scenario.input_topic(), next: 0, fed_at: Instant::now() }
    }

    fn feed(&mut self) -> io::Result<()> {
        let due = (self.fed_at.elapsed().as_secs_f64() * RATE) as u64;
        if due == 0 {
            return Ok(());
        }
        self.fed_at = Instant::now();
        for number in self.next..self.next + due.min(BURST_MAX) {
            let payment = payment(number);
            let partition = (number % SPLITS as u64) as i32;
            let record = BaseRecord::<[u8], [u8]>::to(&self.topic).partition(partition).payload(&payment.json);
            match self.producer.send(record.timestamp(payment.time_ms)) {
                Ok(()) => self.next = number + 1,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => break,
                Err((error, _)) => return Err(io::Error::other(error)),
            }
        }
        self.producer.poll(Duration::ZERO);
        Ok(())
    }
}

/// To files, a line each.
pub(super) struct FileFeeder {
    files: Vec<BufWriter<File>>,
    next: u64,
}

impl FileFeeder {
    pub(super) fn new(folder: &Path) -> io::Result<FileFeeder> {
        std::fs::create_dir(folder.join("payments"))?;
        let file = |path| File::create(folder.join(path)).map(BufWriter::new);
        let files = Scenario::input_files().into_iter().map(file).collect::<io::Result<_>>()?;
        Ok(FileFeeder { files, next: 0 })
    }

    fn feed(&mut self, to: u64) -> io::Result<()> {
        // Rarely, and then much at once.
        if to < self.next + AHEAD / 10 {
            return Ok(());
        }
        for number in self.next..to {
            let file = &mut self.files[(number % SPLITS as u64) as usize];
            file.write_all(&payment(number).json)?;
            file.write_all(b"\n")?;
        }
        self.next = to;
        self.files.iter_mut().try_for_each(Write::flush)
    }
}

/// Frees the room of a file's bytes before an offset; its length stays, and so do its first bytes, by which the job knows
/// it. `freed` is what was freed before.
pub(super) fn free(path: &Path, freed: &mut u64, before: u64) -> io::Result<()> {
    let before = before.saturating_sub(FREED_BYTES_MIN);
    let from = (*freed).max(FREED_BYTES_MIN / 32);
    if before < from + FREED_BYTES_MIN {
        return Ok(());
    }
    let mut command = Command::new("fallocate");
    command.args(["--punch-hole", "--offset", &from.to_string(), "--length", &(before - from).to_string()]);
    let status = command.arg(path).status()?;
    if !status.success() {
        return Err(io::Error::other(format!("`fallocate` cannot free room in `{}`: {status}", path.display())));
    }
    *freed = before;
    Ok(())
}
