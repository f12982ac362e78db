//! What leaves an outlet: cuts, order, origins, headers.

use super::*;
use crate::exchange::{Inbox, LaneIndex, QueuedBytes};
use std::time::Duration;

const LIMITS: BatchLimits = BatchLimits { rows: 3, bytes: 100, linger: Duration::from_millis(5) };

fn record<'a>(key: &'a [u8], value: &'a [u8]) -> Record<'a> {
    Record { key: Some(key), value: Some(value), timestamp: 7, headers: &[], origin: None }
}

fn inbox(lanes: usize) -> (Inbox, Vec<LaneIndex>, Vec<LaneSender>) {
    let mut inbox = Inbox::new(1 << 20, Arc::new(QueuedBytes::default()));
    let (indexes, senders) = (0..lanes).map(|_| inbox.lane()).unzip();
    (inbox, indexes, senders)
}

fn all(inbox: &Inbox, lanes: &[LaneIndex]) -> Vec<Message> {
    std::iter::from_fn(|| inbox.receive(lanes, 0, |_| true).map(|(_, message)| message)).collect()
}

#[test]
fn the_watermark_stands_before_the_barrier_and_behind_every_row() {
    let (inbox, lanes, senders) = inbox(1);
    let readers = Readers { keyed: vec![senders], ..Readers::default() };
    let (mut outlet, mut outbox) = (Outlet::new(readers, LIMITS, 4), Outbox::default());
    outlet.push(record(b"a", b"1"), ShardId(0), Watermark::START, &mut outbox);
    outlet.barrier(CheckpointId(1), Watermark::END, &mut outbox);
    assert!(outbox.send().expect("the inbox is there"));
    let messages = all(&inbox, &lanes);
    assert!(matches!(
        messages[..],
        [Message::Rows { .. }, Message::Watermark(Watermark::END), Message::Barrier(CheckpointId(1))]
    ));
}

#[test]
fn a_source_feeds_its_sinks_and_a_large_record_travels_alone() {
    let (inbox, lanes, senders) = inbox(1);
    let readers = Readers { sinks: senders, ..Readers::default() };
    let (mut outlet, mut outbox) = (Outlet::new(readers, LIMITS, 4), Outbox::default());
    for value in [&b"1"[..], &[b'x'; 500], b"2", b"3", b"4", b"5"] {
        outlet.push(record(b"a", value), ShardId(0), Watermark::START, &mut outbox);
    }
    outlet.barrier(CheckpointId(1), Watermark::START, &mut outbox);
    assert!(outbox.send().expect("the inbox is there"));
    let rows: Vec<usize> = all(&inbox, &lanes)
        .iter()
        .filter_map(|message| match message {
            Message::Rows { rows, .. } => Some(rows.len()),
            Message::Watermark(_) | Message::Barrier(_) => None,
        })
        .collect();
    assert_eq!(rows, [1, 1, 3, 1]);
}

#[test]
fn forwarded_and_emitted_rows_keep_their_own_origins() {
    let (inbox, lanes, senders) = inbox(1);
    let readers = Readers { keyed: vec![senders], ..Readers::default() };
    let limits = BatchLimits { rows: 100, bytes: 10_000, ..LIMITS };
    let (mut outlet, mut outbox) = (Outlet::new(readers, limits, 1), Outbox::default());
    let split = Arc::new(SplitName { topic: "t".into(), partition: 0 });
    for offset in [None, Some(10), Some(11), None, Some(12)] {
        let mut open = Open::default();
        open.push(Record { origin: offset.map(|offset| (&split, offset)), ..record(b"k", b"v") });
        outlet.pass(&Rows::all(open.batch), ShardId(0), Watermark::START, &mut outbox);
    }
    outlet.barrier(CheckpointId(1), Watermark::START, &mut outbox);
    assert!(outbox.send().expect("the inbox is there"));
    let mut found = Vec::new();
    for message in all(&inbox, &lanes) {
        let Message::Rows { rows, .. } = message else { continue };
        let mut headers = Vec::new();
        for row in RowsOf::new(&rows) {
            found.push(row.record(&mut headers).origin.map(|(_, offset)| offset));
        }
    }
    assert_eq!(found, [None, Some(10), Some(11), None, Some(12)]);
}

#[test]
fn a_forwarded_selection_keeps_headers_and_origins_of_its_rows() {
    let split = Arc::new(SplitName { topic: "t".into(), partition: 3 });
    let mut open = Open::default();
    for (offset, name) in [(10, "zero"), (11, "one"), (12, "two")] {
        let headers = [(name, Some(&b"h"[..]))];
        open.push(Record { headers: &headers, origin: Some((&split, offset)), ..record(b"k", b"v") });
    }
    let rows = Rows { batch: Arc::new(open.batch), selection: Some(Arc::from([0, 2])) };
    let copy = copied(&rows);
    let headers = copy.batch.headers.as_ref().expect("headers are kept");
    assert_eq!(headers.rows, [0, 1]);
    assert_eq!(headers.names.bytes(1), b"two");
    assert_eq!(copy.batch.origins.as_ref().expect("origins are kept").get(1).1, 12);
}
