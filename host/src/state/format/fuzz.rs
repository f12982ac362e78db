//! Fuzz targets: frames, rows and blocks of pages, from whole values, mutated ones and any bytes.
//!
//! A checksum stands before everything here, so most targets mutate a payload and seal it again: what is attacked is what
//! a bug of an earlier build, or one flipped bit in memory before the checksum was made, could have left. Next rooms:
//! [`values`], what is generated; [`crate::fuzzing`], how targets run.

mod values;

use self::values::{Memory, checkpoint_record, checkpoint_row, decider, ledger, memory, snapshot_head};
use super::super::image::ImageBuilder;
use super::super::snapshot::{MemoryDelta, PAGE_BYTES};
use super::blocks::{BlockReader, BlockWriter, ZeroPages};
use super::rows::{
    ArtifactHead, CheckpointRow, Identity, Ledger, SnapshotHead, SnapshotKey, artifact_key, decode, encode,
};
use super::{FrameKind, seal, unseal};
use crate::checkpoint::record::{CheckpointRecord, Decider};
use crate::fuzzing::{Bytes, Share, arbitrary_bytes, mutated, mutation, peak_bytes, run};
use crate::ids::{CheckpointId, ShardId};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::convert::Infallible;
use std::fmt::Debug;

const KEY: &[u8] = b"the row's key";

const GOLDEN: [(FrameKind, &[u8]); 5] = [
    (FrameKind::SnapshotPart, include_bytes!("golden/snapshot-part-v1.bin")),
    (FrameKind::SnapshotHead, include_bytes!("golden/snapshot-head-v1.bin")),
    (FrameKind::Checkpoint, include_bytes!("golden/checkpoint-v1.bin")),
    (FrameKind::Meta, include_bytes!("golden/ledger-v1.bin")),
    (FrameKind::Meta, include_bytes!("golden/identity-v1.bin")),
];

const KINDS: [FrameKind; 5] =
    [FrameKind::Meta, FrameKind::Checkpoint, FrameKind::SnapshotHead, FrameKind::SnapshotPart, FrameKind::ArtifactPart];

#[test]
fn a_frame_that_changed_never_passes() {
    let whole: Vec<Vec<u8>> =
        KINDS.iter().map(|kind| seal(*kind, KEY, b"some payload, long enough to be hit")).collect();
    let golden = GOLDEN.iter().map(|(_, frame)| frame.to_vec());
    let frames = prop_oneof![
        4 => mutated(whole.iter().cloned().chain(golden).collect(), &[b"TGMT", b"TGSH", b"\x01\0", b"\0\0\0\0\0\0\0\0"]),
        1 => arbitrary_bytes(100),
    ];
    run("state-frames", 20_000, &frames, |Bytes(frame)| {
        for kind in KINDS {
            let (outcome, peak) = peak_bytes(|| unseal(kind, KEY, &frame).map(<[u8]>::len));
            prop_assert_eq!(outcome.is_ok(), whole.contains(&frame) && frame == seal(kind, KEY, &frame[24..]));
            prop_assert!(peak < 4096, "{} bytes to refuse a frame", peak);
        }
        Ok(())
    });
}

/// What decodes is the same when it is written and read again; what does not is an error; neither takes much memory.
fn decodes_or_not<T: Serialize + DeserializeOwned + PartialEq + Debug>(payload: &[u8]) -> TestCaseResult {
    let frame = seal(FrameKind::Meta, KEY, payload);
    let (outcome, peak) = peak_bytes(|| decode::<T>(FrameKind::Meta, KEY, &frame));
    // A list takes up to 1 MiB before its first element was read, each element more memory than bytes.
    prop_assert!(peak <= (2 << 20) + 256 * payload.len(), "{} bytes for a payload of {}", peak, payload.len());
    if let Ok(value) = outcome {
        let again: T = decode(FrameKind::Meta, KEY, &encode(FrameKind::Meta, KEY, &value)).expect("just written");
        prop_assert_eq!(value, again);
    }
    Ok(())
}

#[test]
fn a_row_of_any_bytes_is_a_row_or_an_error() {
    let payloads: Vec<Vec<u8>> = GOLDEN.iter().map(|(_, frame)| frame[super::FRAME_BYTES..].to_vec()).collect();
    let rows = prop_oneof![3 => mutated(payloads, &[b"\xff\xff\xff\xff\x0f", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"]), 1 => arbitrary_bytes(200)];
    run("state-rows", 20_000, &rows, |Bytes(payload)| {
        decodes_or_not::<Identity>(&payload)?;
        decodes_or_not::<Ledger>(&payload)?;
        decodes_or_not::<Decider>(&payload)?;
        decodes_or_not::<CheckpointRow>(&payload)?;
        decodes_or_not::<CheckpointRecord>(&payload)?;
        decodes_or_not::<SnapshotHead>(&payload)?;
        decodes_or_not::<ArtifactHead>(&payload)
    });
}

fn comes_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(kind: FrameKind, value: &T) -> TestCaseResult {
    let found: T =
        decode(kind, KEY, &encode(kind, KEY, value)).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(&found, value);
    Ok(())
}

#[test]
fn every_row_comes_back_as_it_was_written() {
    let rows = (ledger(), decider(), checkpoint_row(), checkpoint_record(), snapshot_head());
    run("state-round-trip", 2_000, &rows, |(ledger, decider, row, record, head)| {
        comes_back(FrameKind::Meta, &ledger)?;
        comes_back(FrameKind::Meta, &decider)?;
        comes_back(FrameKind::Checkpoint, &row)?;
        comes_back(FrameKind::Checkpoint, &record)?;
        comes_back(FrameKind::SnapshotHead, &head)
    });
}

#[test]
fn a_key_of_any_bytes_is_a_key_or_none() {
    let key = ("[a-z0-9-]{1,64}", any::<u16>(), any::<u64>()).prop_map(|(operator, shard, checkpoint)| {
        let key = SnapshotKey { operator, shard: ShardId(shard), checkpoint: CheckpointId(checkpoint) };
        Bytes(key.head())
    });
    let keys = (prop_oneof![arbitrary_bytes(40), key], any::<u32>());
    run("state-keys", 10_000, &keys, |(Bytes(bytes), part)| {
        if let Some(key) = SnapshotKey::parse(&bytes) {
            prop_assert_eq!(key.head(), &bytes[..]);
            prop_assert!(key.part(part).starts_with(&bytes) && key.part(part).len() == bytes.len() + 4);
            prop_assert!(artifact_key(&key.operator, part).len() == key.operator.len() + 5);
        }
        Ok(())
    });
}

/// Writes memories as one stream of blocks.
fn stream_of(memories: &[MemoryDelta], zero_pages: ZeroPages) -> Vec<u8> {
    let (mut writer, mut stream) = (BlockWriter::new(), Vec::new());
    for (index, memory) in memories.iter().enumerate() {
        let Ok(()) = writer.write(index as u16, memory, zero_pages, &mut stream, |_| Ok::<(), Infallible>(()));
    }
    stream
}

/// Reads a stream, cut in parts of so many bytes, into a builder.
fn read_stream(stream: &[u8], part_bytes: usize, image: &mut ImageBuilder) -> Result<(), super::FormatError> {
    let mut reader = BlockReader::new();
    for part in stream.chunks(part_bytes) {
        reader.read(part, image)?;
    }
    reader.finish()
}

#[test]
fn a_base_and_its_deltas_come_back_however_they_are_cut() {
    let inputs = (vec(memory(), 1..4), 1_usize..5000);
    run("state-blocks", 400, &inputs, |(memories, part_bytes)| {
        let snapshots = memories.iter().map(Memory::deltas).collect::<Vec<_>>();
        let mut image = ImageBuilder::default();
        for round in 0..snapshots[0].len() {
            let deltas: Vec<MemoryDelta> = snapshots.iter().map(|deltas| deltas[round].clone()).collect();
            image.resize(&deltas.iter().map(|delta| delta.size_bytes).collect::<Vec<_>>()).expect("memories grow");
            let zero_pages = if round == 0 { ZeroPages::LeftOut } else { ZeroPages::Named };
            read_stream(&stream_of(&deltas, zero_pages), part_bytes, &mut image).expect("just written");
        }
        for (found, memory) in image.finish().into_iter().zip(&memories) {
            let expected = memory.whole();
            prop_assert_eq!(found.size_bytes, expected.size_bytes);
            prop_assert_eq!(&found.pages, &expected.pages);
            prop_assert!(found.data == expected.data, "the pages' bytes differ");
        }
        Ok(())
    });
}

#[test]
fn a_stream_of_any_bytes_builds_memories_or_is_an_error() {
    let changed = (vec(memory(), 1..3), vec(mutation(&[b"\x02\0\0\0", b"\0\0\0\0\0\x10\0\0\0\0\0\0"]), 0..5)).prop_map(
        |(memories, mutations)| {
            let deltas: Vec<MemoryDelta> = memories.iter().filter_map(|memory| memory.deltas().pop()).collect();
            let mut bytes = stream_of(&deltas, ZeroPages::Named);
            for mutation in mutations {
                mutation.apply(&mut bytes);
            }
            Bytes(bytes)
        },
    );
    let streams = prop_oneof![4 => changed, 1 => arbitrary_bytes(300)];
    let sizes =
        vec(prop_oneof![0_u64..64, Just(1 << 20), any::<u64>()].prop_map(|pages| pages.saturating_mul(4096)), 0..3);
    let accepted = Share::default();
    run("state-streams", 2_000, &(streams, sizes, 1_usize..3000), |(Bytes(stream), sizes, part_bytes)| {
        let (outcome, peak) = peak_bytes(|| {
            let mut image = ImageBuilder::default();
            image.resize(&sizes)?;
            read_stream(&stream, part_bytes, &mut image)?;
            Ok::<_, super::FormatError>(image.finish())
        });
        accepted.count(outcome.is_ok());
        // A slot a page of memory, the buffers of a block, and what 255 to 1 is the best that the compression can do.
        let slots = sizes.iter().filter(|size| **size <= 1 << 32).map(|size| size / 1024).sum::<u64>() as usize;
        prop_assert!(peak <= (1 << 20) + 2 * slots + 1024 * stream.len(), "{} bytes for {}", peak, stream.len());
        for (memory, size) in outcome.into_iter().flatten().zip(sizes) {
            prop_assert_eq!(memory.size_bytes, size);
            prop_assert!(memory.pages.is_sorted_by(|a, b| a < b));
            prop_assert!(memory.pages.last().is_none_or(|page| u64::from(*page) < size / PAGE_BYTES as u64));
            prop_assert_eq!(memory.data.len(), memory.pages.len() * PAGE_BYTES);
        }
        Ok(())
    });
    accepted.assert_both(2);
}
