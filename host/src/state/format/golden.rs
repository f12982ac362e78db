//! Reads values that version 1 wrote, so that a store of yesterday opens tomorrow.
//!
//! The files in `golden/` are never written again. A change of a stored type that fails here needs a new format version,
//! and this module then reads both.

use super::super::image::ImageBuilder;
use super::super::snapshot::{GlobalValue, PAGE_BYTES};
use super::super::store::OperatorIdentity;
use super::blocks::BlockReader;
use super::rows::{CheckpointRow, Identity, Ledger, SnapshotHead, SnapshotKey, SnapshotKind, decode, encode};
use super::{FrameKind, unseal};
use crate::checkpoint::record::{
    CheckpointKind, CheckpointRecord, PartitionEnd, Position, ShardState, SinkState, SourceState, SplitState,
};
use crate::ids::{AttemptId, CheckpointId, PluginHash, ShardId, StoreId, Watermark};
use uuid::Uuid;

/// The key under which version 1 stored the snapshot.
fn key() -> SnapshotKey {
    SnapshotKey { operator: "detector".into(), shard: ShardId(3), checkpoint: CheckpointId(41) }
}

fn head(stored_bytes: u64) -> SnapshotHead {
    SnapshotHead {
        kind: SnapshotKind::Delta,
        previous: Some(CheckpointId(40)),
        plugin: PluginHash("ab".repeat(32)),
        memory_bytes: vec![1 << 20],
        globals: vec![
            GlobalValue::I32(-1),
            GlobalValue::I64(i64::MIN),
            GlobalValue::F32(0x7fc0_0001),
            GlobalValue::F64(1),
        ],
        parts: 1,
        stored_bytes,
        page_bytes: 4 * PAGE_BYTES as u64,
    }
}

/// Pages 2 (compresses), 5 (does not, so the block keeps both), 7 (became zero).
fn pages() -> [(u32, Vec<u8>); 2] {
    let mut state = 1u64;
    let noise = (0..PAGE_BYTES).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    });
    [(2, vec![0x11; PAGE_BYTES]), (5, noise.collect())]
}

fn record() -> CheckpointRecord {
    let kafka = Position::Kafka {
        cluster_id: "cluster".into(),
        topic: "payments".into(),
        topic_id: "AAAAAAAAAAAAAAAAAAAAAA".into(),
        partition: 2,
        offset: 1234,
        leader_epoch: -1,
        until: Some(9999),
    };
    let file = Position::File {
        path: "payments.jsonl".into(),
        device: 1,
        inode: 2,
        head_digest: u64::MAX,
        head_bytes: 4096,
        offset: 77,
    };
    let split = |position| SplitState { position, watermark: Watermark(-5), idle: true, finished: false };
    CheckpointRecord {
        id: CheckpointId(41),
        attempt: AttemptId(Uuid::from_u128(17)),
        kind: CheckpointKind::Stop,
        sources: vec![SourceState { source: "payments".into(), splits: vec![split(kafka), split(file)] }],
        shards: vec![ShardState {
            operator: "detector".into(),
            shard: 3,
            watermarks: vec![Watermark::START, Watermark(6)],
            advanced: Watermark::END,
            next_advance: Some(60_000),
        }],
        sinks: vec![
            SinkState::Kafka {
                sink: "alerts".into(),
                ends: vec![PartitionEnd { topic: "alerts".into(), partition: 0, end_offset: 10 }],
            },
            SinkState::File {
                sink: "dead".into(),
                path: "dead.jsonl".into(),
                device: 1,
                inode: 3,
                committed_bytes: 100,
                staged_bytes: 20,
                staged_digest: 30,
            },
        ],
    }
}

fn row() -> CheckpointRow {
    CheckpointRow {
        prepared_at_ms: 1_700_000_000_000,
        snapshots_digest: 99,
        operators: vec![OperatorIdentity {
            operator: "detector".into(),
            plugin: PluginHash("ab".repeat(32)),
            config: "cd".repeat(32),
        }],
        record: postcard::to_stdvec(&record()).unwrap(),
    }
}

const LEDGER: Ledger =
    Ledger { highest: Some(CheckpointId(41)), committed: Some(CheckpointId(40)), prepared: Some(CheckpointId(41)) };

#[test]
fn a_snapshot_of_version_1_is_read() {
    let frame = include_bytes!("golden/snapshot-part-v1.bin");
    let payload = unseal(FrameKind::SnapshotPart, &key().part(0), frame).unwrap();
    let mut image = ImageBuilder::default();
    image.resize(&[1 << 20]).unwrap();
    let mut blocks = BlockReader::new();
    blocks.read(payload, &mut image).unwrap();
    blocks.finish().unwrap();
    let memory = &image.finish()[0];
    assert_eq!(memory.pages, pages().each_ref().map(|(number, _)| *number));
    let bytes: Vec<u8> = pages().into_iter().flat_map(|(_, bytes)| bytes).collect();
    assert!(memory.data == bytes, "the pages' bytes differ");

    let stored = include_bytes!("golden/snapshot-head-v1.bin");
    let found: SnapshotHead = decode(FrameKind::SnapshotHead, &key().head(), stored).unwrap();
    assert_eq!(found, head(frame.len() as u64));
    assert_eq!(encode(FrameKind::SnapshotHead, &key().head(), &found), stored);
}

#[test]
fn a_checkpoint_of_version_1_is_read() {
    let key = 41u64.to_be_bytes();
    let stored = include_bytes!("golden/checkpoint-v1.bin");
    let found: CheckpointRow = decode(FrameKind::Checkpoint, &key, stored).unwrap();
    assert_eq!(postcard::from_bytes::<CheckpointRecord>(&found.record).unwrap(), record());
    assert_eq!(found, row());
    assert_eq!(encode(FrameKind::Checkpoint, &key, &found), stored);
}

#[test]
fn a_ledger_and_an_identity_of_version_1_are_read() {
    let stored = include_bytes!("golden/ledger-v1.bin");
    assert_eq!(decode::<Ledger>(FrameKind::Meta, b"ledger", stored).unwrap(), LEDGER);
    let stored = include_bytes!("golden/identity-v1.bin");
    let identity = Identity { store: StoreId(Uuid::from_u128(23)), job: "fraud".into() };
    assert_eq!(decode::<Identity>(FrameKind::Meta, b"identity", stored).unwrap(), identity);
}
