//! An outlet is where the records of one source thread, or of one operator's output port on one worker, leave for their
//! readers. It routes, cuts batches per shard and carries the sender's watermark along.
//!
//! A batch ends at the first of three limits (rows, bytes, time) and at a barrier. A watermark rides on a batch only when
//! nothing older for the same shard is left behind in a half-filled one, so it never overtakes a record. Nothing here
//! blocks: what is cut goes into an [`Outbox`], and the owner sends it. Next room: [`crate::exchange`].

use crate::columns::{Batch, Headers, Origins, SplitName};
use crate::config::model::BatchLimits;
use crate::exchange::{Closed, LaneSender, Offered};
use crate::hash::shard_of;
use crate::ids::{CheckpointId, ShardId, Watermark};
use crate::message::{Message, Rows, Target};
use crate::seeded::{self, Bug};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// What was cut and waits for room on its lanes, in order.
#[derive(Default)]
pub struct Outbox {
    queue: VecDeque<(LaneSender, Message)>,
}

/// Where one port's records leave.
pub struct Outlet {
    limits: BatchLimits,
    shards: u16,
    keyed: Option<Cut>,
    same_shard: Option<Cut>,
    broadcast: Option<Cut>,
    /// A source's records for its sinks, in batches; what an operator passes on goes to sinks as it is.
    sinks: Option<Cut>,
}

/// The readers of an outlet, by how records reach them. An edge has one lane to each worker, in order of workers.
#[derive(Default)]
pub struct Readers {
    /// Edges on which hash(key) mod shards says where a record goes.
    pub keyed: Vec<Vec<LaneSender>>,
    /// Edges on which a record stays on its shard.
    pub same_shard: Vec<Vec<LaneSender>>,
    /// Edges on which each shard gets all records.
    pub broadcast: Vec<Vec<LaneSender>>,
    /// Sinks.
    pub sinks: Vec<LaneSender>,
}

/// One record on its way into a batch.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    /// The routing key.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Milliseconds since the Unix epoch.
    pub timestamp: i64,
    /// Name and value of each header.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
    /// Split and offset, for what comes from a source.
    pub origin: Option<(&'a Arc<SplitName>, i64)>,
}

/// Half-filled batches of one way of routing: one a shard, or a single one for a broadcast.
struct Cut {
    lanes: Vec<Vec<LaneSender>>,
    open: Vec<Open>,
    /// Whether any batch has rows: saves walking them all.
    rows: usize,
}

#[derive(Default)]
struct Open {
    batch: Batch,
    bytes: usize,
    since: Option<Instant>,
    /// Rows, bytes of keys and bytes of values of the batch before: what this one is likely to need.
    last: (usize, usize, usize),
}

impl Outbox {
    /// Sends what fits. `true`: everything is out; `false`: a lane is full, and the thread is unparked when it has room.
    pub fn send(&mut self) -> Result<bool, Closed> {
        while let Some((lane, message)) = self.queue.pop_front() {
            let bytes = message.size_bytes();
            match lane.try_send(message)? {
                Offered::Taken => lane.unpark(bytes),
                Offered::Full(message) => {
                    self.queue.push_front((lane, message));
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Sends everything, waiting for room. For sources only.
    pub fn send_all(&mut self) -> Result<(), Closed> {
        while let Some((lane, message)) = self.queue.pop_front() {
            let bytes = message.size_bytes();
            lane.send(message)?;
            lane.unpark(bytes);
        }
        Ok(())
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Adds a message to the end.
    pub fn push(&mut self, lane: &LaneSender, message: Message) {
        lane.park(message.size_bytes());
        self.queue.push_back((lane.clone(), message));
    }
}

impl Outlet {
    /// Makes an outlet.
    pub fn new(readers: Readers, limits: BatchLimits, shards: u16) -> Outlet {
        let cut = |lanes: Vec<Vec<LaneSender>>, batches: usize| {
            (!lanes.is_empty()).then(|| Cut { lanes, open: (0..batches).map(|_| Open::default()).collect(), rows: 0 })
        };
        Outlet {
            limits,
            shards,
            keyed: cut(readers.keyed, shards.into()),
            same_shard: cut(readers.same_shard, shards.into()),
            broadcast: cut(readers.broadcast, 1),
            sinks: cut(readers.sinks.into_iter().map(|lane| vec![lane]).collect(), 1),
        }
    }

    /// Whether nobody reads here (a discarded port).
    pub fn is_unread(&self) -> bool {
        self.sinks.is_none() && self.keyed.is_none() && self.same_shard.is_none() && self.broadcast.is_none()
    }

    /// Adds one record of a source. `home` is the shard of its split.
    #[inline]
    pub fn push(&mut self, record: Record<'_>, home: ShardId, watermark: Watermark, outbox: &mut Outbox) {
        let limits = self.limits;
        if let Some(cut) = &mut self.keyed {
            let shard = record.key.map_or(home, |key| shard_of(key, self.shards));
            cut.push(record, shard, limits, watermark, outbox);
        }
        if let Some(cut) = &mut self.same_shard {
            cut.push(record, home, limits, watermark, outbox);
        }
        for cut in [&mut self.broadcast, &mut self.sinks].into_iter().flatten() {
            cut.push(record, ShardId(0), limits, watermark, outbox);
        }
    }

    /// Passes on rows that an operator forwarded or emitted on shard `home`. Sinks share them as they are.
    pub fn pass(&mut self, rows: &Rows, home: ShardId, watermark: Watermark, outbox: &mut Outbox) {
        if let Some(cut) = &self.sinks {
            cut.send(0, rows, watermark, outbox);
        }
        let limits = self.limits;
        if let Some(cut) = &mut self.same_shard {
            cut.pass(rows, home, limits, watermark, outbox);
        }
        if let Some(cut) = &mut self.broadcast {
            cut.pass(rows, ShardId(0), limits, watermark, outbox);
        }
        if let Some(cut) = &mut self.keyed {
            let mut headers = Vec::new();
            for row in RowsOf::new(rows) {
                let record = row.record(&mut headers);
                let shard = record.key.map_or(home, |key| shard_of(key, self.shards));
                cut.push(record, shard, limits, watermark, outbox);
            }
        }
    }

    /// Cuts every batch that has lingered long enough.
    pub fn linger(&mut self, now: Instant, watermark: Watermark, outbox: &mut Outbox) {
        let linger = self.limits.linger;
        for cut in self.cuts() {
            cut.flush(watermark, outbox, |open| open.since.is_some_and(|since| now.duration_since(since) >= linger));
        }
    }

    /// Cuts every batch and tells every operator that reads here the watermark.
    pub fn announce(&mut self, watermark: Watermark, outbox: &mut Outbox) {
        for cut in self.cuts() {
            cut.flush(watermark, outbox, |_| true);
        }
        for cut in [&self.keyed, &self.same_shard, &self.broadcast].into_iter().flatten() {
            for lane in cut.lanes.iter().flatten() {
                outbox.push(lane, Message::Watermark(watermark));
            }
        }
    }

    /// Cuts every batch and puts watermark and barrier behind it, for every reader. The watermark must not come after the
    /// barrier: behind the last barrier of a bounded job nobody reads any more, and windows would stay open.
    pub fn barrier(&mut self, id: CheckpointId, watermark: Watermark, outbox: &mut Outbox) {
        if !seeded::is(Bug::BarrierOvertakesRows) {
            self.announce(watermark, outbox);
        }
        for cut in self.cuts() {
            for lane in cut.lanes.iter().flatten() {
                outbox.push(lane, Message::Barrier(id));
            }
        }
    }

    /// Whether a half-filled batch waits, so that the owner must come back within the linger time.
    pub fn is_waiting(&self) -> bool {
        [&self.keyed, &self.same_shard, &self.broadcast, &self.sinks].into_iter().flatten().any(|cut| cut.rows > 0)
    }

    fn cuts(&mut self) -> impl Iterator<Item = &mut Cut> {
        [&mut self.keyed, &mut self.same_shard, &mut self.broadcast, &mut self.sinks].into_iter().flatten()
    }
}

impl Cut {
    #[inline]
    fn push(
        &mut self,
        record: Record<'_>,
        shard: ShardId,
        limits: BatchLimits,
        watermark: Watermark,
        outbox: &mut Outbox,
    ) {
        let bytes = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        let at = shard.index();
        // What was forwarded has an origin, what was emitted has none: a batch has one for each row or for none.
        let batch = &self.open[at].batch;
        let is_mixed = batch.origins.is_some() != record.origin.is_some();
        if !batch.is_empty() && (is_mixed || self.open[at].bytes + bytes > limits.bytes) {
            self.cut(at, watermark, outbox);
        }
        let open = &mut self.open[at];
        if open.batch.is_empty() {
            open.since = Some(Instant::now());
            open.reserve();
        }
        open.push(record);
        open.bytes += bytes;
        self.rows += 1;
        if open.batch.rows() >= limits.rows || open.bytes >= limits.bytes {
            self.cut(at, watermark, outbox);
        }
    }

    /// Hands rows over whole where they make a batch of their own, else row by row.
    fn pass(&mut self, rows: &Rows, shard: ShardId, limits: BatchLimits, watermark: Watermark, outbox: &mut Outbox) {
        let whole = rows.selection.is_none() && rows.len() <= limits.rows && rows.batch.size_bytes() <= limits.bytes;
        if whole && rows.len() * 4 >= limits.rows {
            self.cut(shard.index(), watermark, outbox);
            self.send(shard.index(), rows, watermark, outbox);
            return;
        }
        let mut headers = Vec::new();
        for row in RowsOf::new(rows) {
            self.push(row.record(&mut headers), shard, limits, watermark, outbox);
        }
    }

    fn flush(&mut self, watermark: Watermark, outbox: &mut Outbox, mut due: impl FnMut(&Open) -> bool) {
        if self.rows == 0 {
            return;
        }
        for at in 0..self.open.len() {
            if due(&self.open[at]) {
                self.cut(at, watermark, outbox);
            }
        }
    }

    fn cut(&mut self, at: usize, watermark: Watermark, outbox: &mut Outbox) {
        if self.open[at].batch.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.open[at].batch);
        self.open[at] =
            Open { last: (batch.rows(), batch.keys.arena.len(), batch.values.arena.len()), ..Open::default() };
        self.rows -= batch.rows();
        self.send(at, &Rows::all(batch), watermark, outbox);
    }

    fn send(&self, at: usize, rows: &Rows, watermark: Watermark, outbox: &mut Outbox) {
        let broadcast = self.open.len() == 1 && self.is_broadcast();
        for lanes in &self.lanes {
            if broadcast {
                for lane in lanes {
                    outbox.push(lane, Message::Rows { shard: Target::All, rows: rows.clone(), watermark });
                }
            } else {
                let shard = Target::Shard(ShardId(at as u16));
                outbox.push(&lanes[at % lanes.len()], Message::Rows { shard, rows: rows.clone(), watermark });
            }
        }
    }

    /// A job of one shard needs no difference: its only shard is all shards.
    fn is_broadcast(&self) -> bool {
        self.open.len() == 1
    }
}

impl Open {
    /// Makes room for a batch like the one before, once a batch instead of by doubling.
    fn reserve(&mut self) {
        let (rows, key_bytes, value_bytes) = self.last;
        let batch = &mut self.batch;
        batch.timestamps.reserve(rows);
        batch.keys.ends.reserve(rows);
        batch.keys.arena.reserve(key_bytes);
        batch.values.ends.reserve(rows);
        batch.values.arena.reserve(value_bytes);
    }

    #[inline]
    fn push(&mut self, record: Record<'_>) {
        let batch = &mut self.batch;
        let row = batch.timestamps.len() as u32;
        batch.keys.push(record.key);
        batch.values.push(record.value);
        batch.timestamps.push(record.timestamp);
        for (name, value) in record.headers {
            let headers = batch.headers.get_or_insert_with(Headers::default);
            headers.rows.push(row);
            headers.names.push(Some(name.as_bytes()));
            headers.values.push(*value);
        }
        if let Some((split, offset)) = record.origin {
            batch.origins.get_or_insert_with(Origins::default).push(split, offset);
        }
    }
}

/// The rows of a message as a batch of their own.
pub fn copied(rows: &Rows) -> Rows {
    let mut open = Open::default();
    let mut headers = Vec::new();
    for row in RowsOf::new(rows) {
        open.push(row.record(&mut headers));
    }
    Rows::all(open.batch)
}

/// Walks the rows of a message as records.
pub struct RowsOf<'a> {
    rows: &'a Rows,
    next: usize,
    header: usize,
}

/// One row of a message.
pub struct RowOf<'a> {
    batch: &'a Batch,
    row: usize,
    headers: std::ops::Range<usize>,
}

impl<'a> RowsOf<'a> {
    /// From the first row on.
    pub fn new(rows: &'a Rows) -> RowsOf<'a> {
        RowsOf { rows, next: 0, header: 0 }
    }
}

impl<'a> Iterator for RowsOf<'a> {
    type Item = RowOf<'a>;

    #[inline]
    fn next(&mut self) -> Option<RowOf<'a>> {
        if self.next == self.rows.len() {
            return None;
        }
        let row = self.rows.selection.as_ref().map_or(self.next, |rows| rows[self.next] as usize);
        self.next += 1;
        let batch = &*self.rows.batch;
        let headers = batch.headers.as_ref().map_or(0..0, |headers| {
            let skip = headers.rows[self.header..].partition_point(|entry| (*entry as usize) < row);
            let first = self.header + skip;
            let count = headers.rows[first..].partition_point(|entry| *entry as usize == row);
            self.header = first + count;
            first..first + count
        });
        Some(RowOf { batch, row, headers })
    }
}

impl<'a> RowOf<'a> {
    /// The row as a record; `headers` is room for its headers, used again from row to row.
    #[inline]
    pub fn record<'h>(&self, headers: &'h mut Vec<(&'a str, Option<&'a [u8]>)>) -> Record<'h>
    where
        'a: 'h,
    {
        headers.clear();
        if let Some(all) = &self.batch.headers {
            for entry in self.headers.clone() {
                let name = std::str::from_utf8(all.names.bytes(entry)).unwrap_or_default();
                headers.push((name, all.values.get(entry)));
            }
        }
        Record {
            key: self.batch.keys.get(self.row),
            value: self.batch.values.get(self.row),
            timestamp: self.batch.timestamps[self.row],
            headers,
            origin: self.batch.origins.as_ref().map(|origins| origins.get(self.row)),
        }
    }
}

#[cfg(test)]
mod tests;
