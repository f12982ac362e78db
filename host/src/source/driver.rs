//! The thread of a source: polls its reader, decodes, moves event time, cuts batches, answers barriers.
//!
//! It always reads the split furthest behind in event time first: a skewed topic read blindly keeps many more windows open
//! than it needs. It may block when a lane is full; that is how a slow sink pushes back to the world. Next rooms:
//! [`crate::decode`], [`crate::outlet`].

use super::clock::SourceClock;
use super::{Polled, RawRecord, Reader, SourceError, Verified};
use crate::checkpoint::messages::{Report, SourceCommand};
use crate::checkpoint::record::{Position, SplitState};
use crate::columns::SplitName;
use crate::config::model::OnBadRecord;
use crate::dead_letter::DeadLetters;
use crate::decode::{BadRecord, DecodedKey, Decoder};
use crate::error::JobError;
use crate::exchange::LaneSender;
use crate::hash::shard_of;
use crate::ids::{CheckpointId, ShardId, SourceIndex, SplitIndex, Watermark};
use crate::message::{Message, Target};
use crate::outlet::{Outbox, Outlet, Record};
use crate::probe;
use crate::seeded::{self, Bug};
use crate::status::Status;
use crate::watermark::SplitWatermarks;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Records taken from one split before the next look at the clock and at commands, at most.
const POLL_RECORDS_MAX: usize = 1024;

/// The same, at least, and at the start.
const POLL_RECORDS_MIN: usize = 16;

/// A poll whose records waited longer for room was too large: a barrier waits for it.
const SEND_WAIT_MAX: Duration = Duration::from_millis(50);

/// A split that is further ahead of the one furthest behind than this, in event time, waits while records of that one are on
/// their way: read as they come, the records of the one ahead would only open windows that cannot close.
const AHEAD_MAX_MS: i64 = 60_000;

/// How long it waits for them: a fetch takes a few milliseconds, and a broker that is away must not hold up the others.
const BEHIND_WAIT_MAX: Duration = Duration::from_millis(200);

/// At most this long after it rose, a watermark is told to readers that got no batch to carry it.
const ANNOUNCE_AFTER: Duration = Duration::from_millis(50);

/// How often the reader looks for new splits and at the old ones' identity, beside every barrier.
const VERIFY_EVERY: Duration = Duration::from_secs(10);

/// The longest sleep while nothing arrives, so that a barrier is answered soon.
const NAP_MAX: Duration = Duration::from_millis(5);

/// Dead letters are sent once they take this much, and at every pause and barrier.
const DEAD_LETTERS_BYTES_MAX: usize = 64 * 1024;

/// What a source thread is made of.
pub struct Driver {
    /// The source.
    pub source: SourceIndex,
    /// Its name in the job file.
    pub name: String,
    /// Reads this thread's splits.
    pub reader: Box<dyn Reader>,
    /// Decodes records.
    pub decoder: Decoder,
    /// Event time of the splits.
    pub watermarks: SplitWatermarks,
    /// What the threads of the source tell each other of event time.
    pub clock: Arc<SourceClock>,
    /// This thread's number among them.
    pub thread: usize,
    /// Where records leave.
    pub outlet: Outlet,
    /// To the dead-letter sink, if bad records go there.
    pub dead_letters: Option<LaneSender>,
    /// What happens to a bad record.
    pub on_bad_record: OnBadRecord,
    /// How many shards there are.
    pub shards: u16,
    /// What the thread is told.
    pub commands: Receiver<SourceCommand>,
    /// To the coordinator.
    pub reports: SyncSender<Report>,
    /// The numbers for whoever watches.
    pub status: Arc<Status>,
}

/// What a thread remembers between polls.
struct Progress {
    outbox: Outbox,
    /// Records that the next poll may take.
    poll_records: usize,
    /// By split: when it had records last.
    read_at: Vec<Option<Instant>>,
    letters: DeadLetters,
    /// What readers may rely on: this thread's watermark, or the other threads' while all of its splits are idle.
    watermark: Watermark,
    announced: Watermark,
    announced_at: Instant,
    verified_at: Instant,
    has_finished: bool,
    began: Instant,
    bytes_done: u64,
    lag: u64,
    /// The positions of the last barrier.
    reported: Vec<Position>,
}

/// What the visits of one poll add up to.
#[derive(Default)]
struct Visited {
    timestamp_max: Option<i64>,
    records: u64,
    bytes: u64,
    bad: u64,
    failed: Option<SourceError>,
}

impl Driver {
    /// Reads until told to end.
    pub fn run(mut self) -> Result<(), JobError> {
        let now = Instant::now();
        let mut progress = Progress {
            outbox: Outbox::default(),
            poll_records: POLL_RECORDS_MIN,
            read_at: Vec::new(),
            letters: DeadLetters::default(),
            watermark: Watermark::START,
            announced: Watermark::START,
            announced_at: now,
            verified_at: now,
            has_finished: false,
            began: now,
            bytes_done: 0,
            lag: 0,
            reported: Vec::new(),
        };
        self.watermarks.advance();
        progress.watermark = self.watermarks.watermark();
        loop {
            match self.commands.try_recv() {
                Ok(SourceCommand::Barrier(id)) => self.barrier(id, &mut progress)?,
                Ok(SourceCommand::Publish) => {
                    probe::reached("publishing");
                    self.reader.publish(&progress.reported);
                    probe::reached("published");
                }
                Ok(SourceCommand::Shutdown) | Err(TryRecvError::Disconnected) => return Ok(()),
                Err(TryRecvError::Empty) => {}
            }
            probe::reached("polling");
            let has_read = self.poll(&mut progress)?;
            self.tend(&mut progress)?;
            if !has_read {
                self.reader.wait(NAP_MAX);
            }
        }
    }

    /// Polls the splits, the one furthest behind first, until one has records.
    fn poll(&mut self, progress: &mut Progress) -> Result<bool, JobError> {
        let now_ms = progress.began.elapsed().as_millis() as u64;
        let splits = self.by_event_time();
        progress.read_at.resize(self.watermarks.len(), None);
        for (at, &split) in splits.iter().enumerate() {
            match self.poll_split(split, progress)? {
                Polled::Records(_) => {
                    self.watermarks.active(split);
                    progress.read_at[split.index()] = Some(Instant::now());
                    return Ok(true);
                }
                Polled::Pending => {
                    self.watermarks.active(split);
                    let was_read = progress.read_at[split.index()];
                    let is_on_its_way = was_read.is_some_and(|read| read.elapsed() < BEHIND_WAIT_MAX);
                    if is_on_its_way && splits.get(at + 1).is_some_and(|next| self.is_far_ahead(*next, split)) {
                        return Ok(false);
                    }
                }
                Polled::CaughtUp => self.watermarks.caught_up(split, now_ms),
                Polled::Finished => self.watermarks.finish(split),
            }
        }
        Ok(false)
    }

    fn is_far_ahead(&self, split: SplitIndex, behind: SplitIndex) -> bool {
        let [ahead, behind] = [split, behind].map(|split| self.watermarks.watermark_of(split).0);
        ahead.saturating_sub(behind) > AHEAD_MAX_MS
    }

    /// The splits that are not finished, by their watermarks.
    fn by_event_time(&mut self) -> Vec<SplitIndex> {
        while self.watermarks.len() < self.reader.splits().len() {
            self.watermarks.add();
        }
        let mut splits: Vec<_> = (0..self.watermarks.len() as u32)
            .map(SplitIndex)
            .filter(|split| !self.watermarks.is_finished(*split))
            .collect();
        splits.sort_by_key(|split| self.watermarks.watermark_of(*split));
        splits
    }

    fn poll_split(&mut self, split: SplitIndex, progress: &mut Progress) -> Result<Polled, JobError> {
        let Driver { name, reader, decoder, outlet, on_bad_record, shards, .. } = self;
        let split_name = Arc::clone(&reader.splits()[split.index()]);
        let home = home_shard(&split_name, *shards);
        let watermark = progress.watermark;
        let now_ms = wall_clock_ms();
        let mut key = Vec::new();
        let mut visited = Visited::default();
        let Progress { outbox, letters, poll_records, .. } = progress;
        let polled = reader.poll(split, *poll_records, &mut |raw: RawRecord<'_>| {
            visited.records += 1;
            visited.bytes += (raw.value.map_or(0, <[u8]>::len) + raw.key.map_or(0, <[u8]>::len)) as u64;
            let origin = Some((&split_name, raw.offset));
            let headers = raw.headers.entries;
            match decoder.decode(&raw, now_ms, &mut key) {
                Ok(decoded) => {
                    let timestamp = decoded.timestamp_ms;
                    visited.timestamp_max = visited.timestamp_max.max(Some(timestamp));
                    let key = (decoded.key == DecodedKey::Present).then_some(key.as_slice());
                    let record = Record { key, value: raw.value, timestamp, headers, origin };
                    outlet.push(record, home, watermark, outbox);
                }
                Err(bad) => {
                    visited.bad += 1;
                    match on_bad_record {
                        OnBadRecord::Skip => {}
                        OnBadRecord::DeadLetter => {
                            let timestamp = raw.timestamp.filter(|time| *time > 0).unwrap_or(now_ms);
                            let record = Record { key: raw.key, value: raw.value, timestamp, headers, origin };
                            letters.push(record, name, &reason_of(&bad, &raw));
                        }
                        OnBadRecord::Fail => {
                            visited.failed.get_or_insert_with(|| SourceError::BadRecord {
                                source_name: name.clone(),
                                what: format!(
                                    "the record at `{}` cannot be taken in: {bad}. Mend the input, or set \
                                     `on_bad_record` of the source to \"skip\" or \"dead-letter\"",
                                    split_name.position(raw.offset)
                                ),
                            });
                        }
                    }
                }
            }
        })?;
        self.account(split, visited, progress)?;
        Ok(polled)
    }

    fn account(&mut self, split: SplitIndex, visited: Visited, progress: &mut Progress) -> Result<(), JobError> {
        if let Some(error) = visited.failed {
            return Err(error.into());
        }
        if let Some(timestamp) = visited.timestamp_max {
            self.watermarks.observe(split, timestamp);
        }
        let status = &self.status;
        status.records_in.fetch_add(visited.records, Relaxed);
        status.bytes_in.fetch_add(visited.bytes, Relaxed);
        if visited.bad > 0 {
            status.records_bad.fetch_add(visited.bad, Relaxed);
        }
        if progress.letters.size_bytes() > DEAD_LETTERS_BYTES_MAX {
            self.post(progress)?;
        }
        let began = Instant::now();
        progress.outbox.send_all()?;
        let next = if began.elapsed() > SEND_WAIT_MAX { progress.poll_records / 2 } else { progress.poll_records * 2 };
        progress.poll_records = next.clamp(POLL_RECORDS_MIN, POLL_RECORDS_MAX);
        Ok(())
    }

    /// Sends what dead letters there are.
    fn post(&mut self, progress: &mut Progress) -> Result<(), JobError> {
        if let (Some(lane), Some(rows)) = (&self.dead_letters, progress.letters.take()) {
            lane.send(Message::Rows { shard: Target::Shard(ShardId(0)), rows, watermark: progress.announced })?;
        }
        Ok(())
    }

    /// What time brings: lingering batches, watermarks, new splits, the end.
    fn tend(&mut self, progress: &mut Progress) -> Result<(), JobError> {
        let now = Instant::now();
        self.watermarks.advance();
        let own = self.watermarks.watermark();
        let watermark = self.clock.combine(self.thread, own, self.watermarks.activity()).max(progress.watermark);
        progress.watermark = watermark;
        self.outlet.linger(now, watermark, &mut progress.outbox);
        let is_due = watermark == Watermark::END || now.duration_since(progress.announced_at) >= ANNOUNCE_AFTER;
        if is_due {
            self.post(progress)?;
            self.show(watermark, progress);
            progress.announced_at = now;
            if watermark > progress.announced {
                progress.announced = watermark;
                self.outlet.announce(watermark, &mut progress.outbox);
            }
        }
        progress.outbox.send_all()?;
        if now.duration_since(progress.verified_at) >= VERIFY_EVERY {
            progress.verified_at = now;
            self.reader.verify()?;
        }
        if watermark == Watermark::END && !progress.has_finished {
            progress.has_finished = true;
            let _ = self.reports.send(Report::InputFinished);
        }
        Ok(())
    }

    /// Brings the numbers for whoever watches up to date.
    fn show(&mut self, watermark: Watermark, progress: &mut Progress) {
        let status = &self.status;
        if watermark < Watermark::END {
            status.watermark_ms.store(watermark.0, Relaxed);
        }
        if let Some((done, _)) = self.reader.progress() {
            status.input_bytes_done.fetch_add(done - progress.bytes_done.min(done), Relaxed);
            progress.bytes_done = done;
        }
        if let Some(lag) = self.reader.lag() {
            status.change_lag(progress.lag, lag);
            progress.lag = lag;
        }
        let holder = self.watermarks.furthest_behind().map(|split| {
            let split = &self.reader.splits()[split.index()];
            format!("split `{split}` of source `{}`", self.name)
        });
        status.set_watermark_holder(holder);
    }

    fn position(&self, split: SplitIndex) -> Position {
        let mut position = self.reader.position(split);
        if seeded::is(Bug::OffsetsOneShort)
            && let Position::Kafka { offset, .. } = &mut position
        {
            *offset = (*offset - 1).max(0);
        }
        position
    }

    fn barrier(&mut self, id: CheckpointId, progress: &mut Progress) -> Result<(), JobError> {
        probe::reached("barrier");
        // Positions in a topic that was made anew meanwhile must not be prepared. A cluster that does not answer holds the
        // checkpoint up, and the checkpoint's time-out ends the process.
        while self.reader.verify()? == Verified::Unanswered {
            self.reader.wait(NAP_MAX);
        }
        progress.verified_at = Instant::now();
        self.post(progress)?;
        self.outlet.barrier(id, progress.watermark, &mut progress.outbox);
        if let Some(lane) = &self.dead_letters {
            progress.outbox.push(lane, Message::Barrier(id));
        }
        if seeded::is(Bug::PositionsAfterBarrier) {
            self.poll(progress)?;
        }
        let splits: Vec<SplitState> = (0..self.watermarks.len() as u32)
            .map(SplitIndex)
            .map(|split| self.watermarks.snapshot(split, self.position(split)))
            .collect();
        progress.reported = splits.iter().map(|split| split.position.clone()).collect();
        progress.outbox.send_all()?;
        probe::reached("barrier-sent");
        let _ = self.reports.send(Report::Positions { id, source: self.source, splits });
        Ok(())
    }
}

/// Why a record is a dead letter. A line that is too long was not read whole, so the letter says that it is cut.
fn reason_of(bad: &BadRecord, raw: &RawRecord<'_>) -> String {
    match (bad, raw.value) {
        (BadRecord::TooLarge { .. }, Some(value)) => {
            format!("{bad}; its first {} bytes are here, the whole of it is at the position", value.len())
        }
        _ => bad.to_string(),
    }
}

/// The shard that records without a key, and those that stay on their shard, go to: fixed for a split.
fn home_shard(split: &SplitName, shards: u16) -> ShardId {
    let first = shard_of(split.topic.as_bytes(), shards).0 as u64;
    ShardId(((first + split.partition.max(0) as u64) % shards as u64) as u16)
}

fn wall_clock_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
