//! Values for the fuzz targets of the stored format: rows of every shape, and memories that grow and change.
//!
//! Next room: [`super`], the targets.

use super::super::super::snapshot::{GlobalValue, MemoryDelta, PAGE_BYTES};
use super::super::super::store::OperatorIdentity;
use super::super::rows::{CheckpointRow, Ledger, SnapshotHead, SnapshotKind};
use crate::checkpoint::record::{
    CheckpointKind, CheckpointRecord, Decider, PartitionEnd, Position, ShardState, SinkState, SourceState, SplitState,
};
use crate::ids::{AttemptId, CheckpointId, PluginHash, Watermark};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::BTreeMap;
use uuid::Uuid;

fn text() -> impl Strategy<Value = String> {
    "[a-z.\u{0}é日😀]{0,12}"
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0_u64..10, Just(u64::MAX), any::<u64>()]
}

fn checkpoint() -> impl Strategy<Value = CheckpointId> {
    number().prop_map(CheckpointId)
}

fn watermark() -> impl Strategy<Value = Watermark> {
    prop_oneof![Just(Watermark::START), Just(Watermark::END), any::<i64>().prop_map(Watermark)]
}

pub(super) fn ledger() -> impl Strategy<Value = Ledger> {
    (option::of(checkpoint()), option::of(checkpoint()), option::of(checkpoint()))
        .prop_map(|(highest, committed, prepared)| Ledger { highest, committed, prepared })
}

pub(super) fn decider() -> impl Strategy<Value = Decider> {
    let kafka = (text(), text(), text(), text()).prop_map(|(cluster_id, marker_topic, marker_topic_id, id)| {
        Decider::Kafka { cluster_id, marker_topic, marker_topic_id, transactional_id: id }
    });
    prop_oneof![Just(Decider::Store), kafka]
}

fn plugin() -> impl Strategy<Value = PluginHash> {
    prop_oneof!["[0-9a-f]{64}", text()].prop_map(PluginHash)
}

pub(super) fn checkpoint_row() -> impl Strategy<Value = CheckpointRow> {
    let operator =
        (text(), plugin(), text()).prop_map(|(operator, plugin, config)| OperatorIdentity { operator, plugin, config });
    let record =
        checkpoint_record().prop_map(|record| postcard::to_stdvec(&record).expect("plain data always encodes"));
    (number(), number(), vec(operator, 0..4), record).prop_map(
        |(prepared_at_ms, snapshots_digest, operators, record)| CheckpointRow {
            prepared_at_ms,
            snapshots_digest,
            operators,
            record,
        },
    )
}

fn position() -> impl Strategy<Value = Position> {
    let kafka = (text(), text(), text(), any::<i32>(), any::<i64>(), any::<i32>(), option::of(any::<i64>())).prop_map(
        |(cluster_id, topic, topic_id, partition, offset, leader_epoch, until)| Position::Kafka {
            cluster_id,
            topic,
            topic_id,
            partition,
            offset,
            leader_epoch,
            until,
        },
    );
    let file = (text(), number(), number(), number(), any::<u32>(), number()).prop_map(
        |(path, device, inode, head_digest, head_bytes, offset)| Position::File {
            path,
            device,
            inode,
            head_digest,
            head_bytes,
            offset,
        },
    );
    prop_oneof![kafka, file]
}

fn source_state() -> impl Strategy<Value = SourceState> {
    let split = (position(), watermark(), any::<bool>(), any::<bool>())
        .prop_map(|(position, watermark, idle, finished)| SplitState { position, watermark, idle, finished });
    (text(), vec(split, 0..4)).prop_map(|(source, splits)| SourceState { source, splits })
}

fn shard_state() -> impl Strategy<Value = ShardState> {
    (text(), any::<u16>(), vec(watermark(), 0..3), watermark(), option::of(any::<i64>())).prop_map(
        |(operator, shard, watermarks, advanced, next_advance)| ShardState {
            operator,
            shard,
            watermarks,
            advanced,
            next_advance,
        },
    )
}

fn sink_state() -> impl Strategy<Value = SinkState> {
    let end = (text(), any::<i32>(), any::<i64>()).prop_map(|(topic, partition, end_offset)| PartitionEnd {
        topic,
        partition,
        end_offset,
    });
    let kafka = (text(), vec(end, 0..4)).prop_map(|(sink, ends)| SinkState::Kafka { sink, ends });
    let file = (text(), text(), number(), number(), number(), number(), number()).prop_map(
        |(sink, path, device, inode, committed_bytes, staged_bytes, staged_digest)| SinkState::File {
            sink,
            path,
            device,
            inode,
            committed_bytes,
            staged_bytes,
            staged_digest,
        },
    );
    prop_oneof![kafka, file]
}

pub(super) fn checkpoint_record() -> impl Strategy<Value = CheckpointRecord> {
    use CheckpointKind::{Finished, Periodic, Start, Stop};
    let kind = select(vec![Start, Periodic, Stop, Finished]);
    let lists = (vec(source_state(), 0..3), vec(shard_state(), 0..4), vec(sink_state(), 0..3));
    (checkpoint(), any::<u128>(), kind, lists).prop_map(|(id, attempt, kind, (sources, shards, sinks))| {
        CheckpointRecord { id, attempt: AttemptId(Uuid::from_u128(attempt)), kind, sources, shards, sinks }
    })
}

pub(super) fn snapshot_head() -> impl Strategy<Value = SnapshotHead> {
    let global = prop_oneof![
        any::<i32>().prop_map(GlobalValue::I32),
        any::<i64>().prop_map(GlobalValue::I64),
        any::<u32>().prop_map(GlobalValue::F32),
        any::<u64>().prop_map(GlobalValue::F64),
    ];
    let kind = select(vec![SnapshotKind::Base, SnapshotKind::Delta]);
    (kind, option::of(checkpoint()), plugin(), vec(number(), 0..4), vec(global, 0..8), any::<u32>(), number()).prop_map(
        |(kind, previous, plugin, memory_bytes, globals, parts, bytes)| SnapshotHead {
            kind,
            previous,
            plugin,
            memory_bytes,
            globals,
            parts,
            stored_bytes: bytes,
            page_bytes: bytes / 2,
        },
    )
}

/// What a page holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    Zero,
    /// One byte over and over: compresses.
    Filled(u8),
    /// Noise from a seed: does not.
    Noise(u64),
}

/// A memory's life: pages in its first snapshot and in the three that follow, and how much it grows before each.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    rounds: [(u32, BTreeMap<u32, Page>); 4],
}

/// Pages a memory may have.
const PAGES_MAX: u32 = 200;

/// A memory's life; see [`Memory`].
pub(super) fn memory() -> impl Strategy<Value = Memory> {
    let page = prop_oneof![
        1 => Just(Page::Zero),
        2 => any::<u8>().prop_map(Page::Filled),
        1 => any::<u64>().prop_map(Page::Noise),
    ];
    let round = (0..PAGES_MAX / 4, btree_map(0..PAGES_MAX, page, 0..90));
    [round.clone(), round.clone(), round.clone(), round].prop_map(|mut rounds| {
        let mut pages = 0;
        for (grown, changed) in &mut rounds {
            pages += *grown;
            changed.retain(|page, _| *page < pages);
        }
        Memory { rounds }
    })
}

impl Memory {
    /// The base and its deltas.
    pub(super) fn deltas(&self) -> Vec<MemoryDelta> {
        let mut pages = 0;
        let delta = |(grown, changed): &(u32, BTreeMap<u32, Page>)| {
            pages += grown;
            delta(pages, changed)
        };
        self.rounds.iter().map(delta).collect()
    }

    /// The memory as it is in the end.
    pub(super) fn whole(&self) -> MemoryDelta {
        let mut all = BTreeMap::new();
        for (_, changed) in &self.rounds {
            all.extend(changed.iter().map(|(page, content)| (*page, *content)));
        }
        all.retain(|_, content| !matches!(content, Page::Zero | Page::Filled(0)));
        delta(self.rounds.iter().map(|(grown, _)| grown).sum(), &all)
    }
}

fn delta(pages: u32, changed: &BTreeMap<u32, Page>) -> MemoryDelta {
    MemoryDelta {
        size_bytes: u64::from(pages) * PAGE_BYTES as u64,
        pages: changed.keys().copied().collect(),
        data: changed.values().flat_map(|page| page.bytes()).collect(),
    }
}

impl Page {
    fn bytes(self) -> Vec<u8> {
        match self {
            Page::Zero => vec![0; PAGE_BYTES],
            Page::Filled(byte) => vec![byte; PAGE_BYTES],
            Page::Noise(mut state) => (0..PAGE_BYTES)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (state >> 56) as u8
                })
                .collect(),
        }
    }
}
