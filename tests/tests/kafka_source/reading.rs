//! A reader under test, with deadlines: what it hands out, copied.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};
use tidegate::checkpoint::record::SplitState;
use tidegate::config::model::{
    Decode, KafkaConnection, OnBadRecord, Source, SourceKind, Start, Until, WatermarkPolicy,
};
use tidegate::ids::{SplitIndex, Watermark};
use tidegate::source::{self, Discover, Polled, RawRecord, Reader, SourceError};
use tidegate_tests::broker::Broker;
use tidegate_tests::judge::NewRecord;

/// How long a reader may take for what a test waits for.
const DEADLINE: Duration = Duration::from_mins(1);

/// A record as it was handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The split's number.
    pub(crate) split: u32,
    /// The offset.
    pub(crate) offset: i64,
    /// The key.
    pub(crate) key: Option<Vec<u8>>,
    /// The value.
    pub(crate) value: Option<Vec<u8>>,
    /// The timestamp.
    pub(crate) timestamp: Option<i64>,
    /// Name and value of each header.
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

/// A reader and what tests do with it.
pub(crate) struct Reading {
    /// The reader.
    pub(crate) reader: Box<dyn Reader>,
}

impl Reading {
    /// Resolves a source's start and reads from there.
    pub(crate) fn start(source: &Source) -> Reading {
        let state = source::resolve(source).expect("the start is found");
        Reading::open(source, &state.splits)
    }

    /// Reads on from positions, looking for new splits.
    pub(crate) fn open(source: &Source, splits: &[SplitState]) -> Reading {
        Reading::open_share(source, splits, Discover::Yes(splits))
    }

    /// Reads a share of the splits.
    pub(crate) fn open_share(source: &Source, splits: &[SplitState], discover: Discover<'_>) -> Reading {
        Reading { reader: source::open(source, splits, discover).expect("the positions can be read from") }
    }

    /// One poll of the first split.
    pub(crate) fn poll(&mut self) -> (Vec<Seen>, Polled) {
        let mut seen = Vec::new();
        let polled = self.poll_split(SplitIndex(0), 1000, &mut seen);
        (seen, polled.expect("the split can be read"))
    }

    /// Records from all splits, until there are this many.
    pub(crate) fn take(&mut self, count: usize) -> Vec<Seen> {
        let mut seen = Vec::new();
        self.drive(|reading| {
            for split in 0..reading.reader.splits().len() as u32 {
                reading.poll_split(SplitIndex(split), 1000, &mut seen).expect("the split can be read");
            }
            assert!(seen.len() <= count, "more than {count} records came: {seen:?}");
            seen.len() == count
        });
        seen
    }

    /// Exactly this many records of one split.
    pub(crate) fn take_from(&mut self, split: SplitIndex, count: usize) -> Vec<Seen> {
        let mut seen = Vec::new();
        self.drive(|reading| {
            let left = count - seen.len();
            reading.poll_split(split, left, &mut seen).expect("the split can be read");
            seen.len() == count
        });
        seen
    }

    /// Reads the first split until a poll says this; returns the records that came before.
    pub(crate) fn until(&mut self, polled: Polled) -> Vec<Seen> {
        let mut seen = Vec::new();
        self.drive(|reading| reading.poll_split(SplitIndex(0), 1000, &mut seen).expect("it can be read") == polled);
        seen
    }

    /// Polls the first split until it fails.
    pub(crate) fn until_error(&mut self) -> SourceError {
        let mut error = None;
        self.drive(|reading| {
            error = reading.poll_split(SplitIndex(0), 1000, &mut Vec::new()).err();
            error.is_some()
        });
        error.expect("the loop ends with an error")
    }

    /// The positions as a checkpoint would hold them.
    pub(crate) fn states(&self) -> Vec<SplitState> {
        (0..self.reader.splits().len() as u32)
            .map(|split| SplitState {
                position: self.reader.position(SplitIndex(split)),
                watermark: Watermark::START,
                idle: false,
                finished: false,
            })
            .collect()
    }

    fn drive(&mut self, mut step: impl FnMut(&mut Reading) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !step(self) {
            assert!(Instant::now() < deadline, "waited {DEADLINE:?} in vain");
            self.reader.wait(Duration::from_millis(20));
        }
    }

    fn poll_split(&mut self, split: SplitIndex, max: usize, seen: &mut Vec<Seen>) -> Result<Polled, SourceError> {
        self.reader.poll(split, max, &mut |record: RawRecord<'_>| {
            let copy = |bytes: &[u8]| bytes.to_vec();
            seen.push(Seen {
                split: split.0,
                offset: record.offset,
                key: record.key.map(copy),
                value: record.value.map(copy),
                timestamp: record.timestamp,
                headers: record
                    .headers
                    .entries
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), value.map(copy)))
                    .collect(),
            });
        })
    }
}

/// The error of opening a reader at positions.
pub(crate) fn open_error(source: &Source, splits: &[SplitState]) -> SourceError {
    match source::open(source, splits, Discover::No) {
        Ok(_) => panic!("the positions were taken"),
        Err(error) => error,
    }
}

/// Values as text.
pub(crate) fn values(seen: &[Seen]) -> Vec<String> {
    seen.iter()
        .map(|seen| String::from_utf8(seen.value.clone().unwrap_or_default()).expect("the value is UTF-8"))
        .collect()
}

/// A record to write.
pub(crate) fn record(partition: i32, value: &str, timestamp: i64) -> NewRecord<'_> {
    NewRecord { partition, key: None, value: Some(value.as_bytes()), timestamp }
}

/// A source that reads one topic from its earliest record for ever; its group has the topic's name.
pub(crate) fn source(broker: &Broker, topic: &str) -> Source {
    Source {
        name: "payments".to_owned(),
        kind: SourceKind::Kafka {
            connection: KafkaConnection {
                name: "main".to_owned(),
                brokers: vec![broker.address()],
                properties: Vec::new(),
            },
            topics: vec![topic.to_owned()],
            start: Start::Earliest,
            until: None,
            group: topic.to_owned(),
        },
        threads: 1,
        decode: Decode { key: Vec::new(), timestamp: None, max_ahead: Duration::from_hours(1), min_time_ms: 0 },
        watermark: WatermarkPolicy {
            max_out_of_orderness: Duration::from_secs(5),
            idle_after: Duration::from_secs(30),
        },
        on_bad_record: OnBadRecord::Fail,
        max_record_bytes: 1 << 20,
    }
}

/// The parts of a Kafka source that tests change.
pub(crate) struct Kind<'a> {
    /// Where it starts.
    pub(crate) start: &'a mut Start,
    /// Where it ends.
    pub(crate) until: &'a mut Option<Until>,
}

/// The parts of a Kafka source that tests change.
pub(crate) fn kind(source: &mut Source) -> Kind<'_> {
    match &mut source.kind {
        SourceKind::Kafka { start, until, .. } => Kind { start, until },
        SourceKind::File { .. } => panic!("a Kafka source"),
    }
}

/// Runs a future on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        thread::park_timeout(Duration::from_secs(1));
    }
}
