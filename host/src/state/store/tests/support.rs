//! What the store's tests share: records, deltas, a seeded generator, a model of an instance.

use crate::checkpoint::record::{CheckpointKind, CheckpointRecord, Decider};
use crate::ids::{AttemptId, CheckpointId, PluginHash, ShardId};
use crate::state::snapshot::{GlobalValue, InstanceDelta, InstanceImage, MemoryDelta, PAGE_BYTES};
use crate::state::store::Store;
use std::collections::BTreeMap;
use uuid::Uuid;

pub(super) const ATTEMPT: AttemptId = AttemptId(Uuid::from_u128(7));

pub(super) fn plugin(name: &str) -> PluginHash {
    PluginHash(format!("{name:0<64}"))
}

pub(super) fn record(id: u64) -> CheckpointRecord {
    CheckpointRecord {
        id: CheckpointId(id),
        attempt: ATTEMPT,
        kind: if id == 0 { CheckpointKind::Start } else { CheckpointKind::Periodic },
        sources: Vec::new(),
        shards: Vec::new(),
        sinks: Vec::new(),
    }
}

/// A generator with a seed (SplitMix64): the same numbers on every machine.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// An instance as it should be: its memory's size and the pages that are not zero, by one byte each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) pages: BTreeMap<u32, Vec<u8>>,
    pub(super) size_pages: u32,
    pub(super) global: i64,
}

impl Model {
    /// Changes some pages at random and gives the delta; the first one of a model is its base.
    pub(super) fn change(&mut self, random: &mut Random, pages_max: u64) -> InstanceDelta {
        if self.size_pages == 0 || random.below(10) == 0 {
            self.size_pages += 16 + random.below(32) as u32;
        }
        self.global = random.next() as i64;
        let mut changed: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        for _ in 0..random.below(pages_max + 1) {
            let page = random.below(u64::from(self.size_pages)) as u32;
            let mut bytes = vec![0; PAGE_BYTES];
            match random.below(4) {
                // All zero.
                0 => {}
                // Compresses well.
                1 => bytes.fill(random.next() as u8),
                // Compresses a little.
                2 => bytes[..1000].fill_with(|| random.next() as u8),
                // Does not.
                _ => bytes.fill_with(|| random.next() as u8),
            }
            changed.insert(page, bytes);
        }
        let delta = self.delta(&changed);
        for (page, bytes) in changed {
            if bytes.iter().all(|byte| *byte == 0) {
                self.pages.remove(&page);
            } else {
                self.pages.insert(page, bytes);
            }
        }
        delta
    }

    /// Everything, as the first capture of a new instance gives it.
    pub(super) fn whole(&self) -> InstanceDelta {
        self.delta(&self.pages)
    }

    pub(super) fn image(&self) -> InstanceImage {
        let InstanceDelta { memories, globals } = self.whole();
        InstanceImage { memories, globals }
    }

    fn delta(&self, pages: &BTreeMap<u32, Vec<u8>>) -> InstanceDelta {
        InstanceDelta {
            memories: vec![MemoryDelta {
                size_bytes: u64::from(self.size_pages) * PAGE_BYTES as u64,
                pages: pages.keys().copied().collect(),
                data: pages.values().flatten().copied().collect(),
            }],
            globals: vec![GlobalValue::I64(self.global), GlobalValue::F32(f32::NAN.to_bits())],
        }
    }
}

/// Prepares a checkpoint with the deltas of some shards of one operator.
pub(super) fn prepare(
    store: &mut Store,
    id: u64,
    commits: Option<u64>,
    deltas: &[(u16, InstanceDelta)],
) -> Result<(), crate::state::StoreError> {
    let mut preparing = store.prepare(CheckpointId(id), ATTEMPT)?;
    for (shard, delta) in deltas {
        preparing.add("detector", ShardId(*shard), &plugin("a"), delta)?;
    }
    preparing.finish(&record(id), &Decider::Store, commits.map(CheckpointId)).map(|_| ())
}

pub(super) fn load(store: &Store, shard: u16) -> Option<InstanceImage> {
    store.load("detector", ShardId(shard), &plugin("a")).unwrap()
}

/// One page of one byte, in a memory of 64 pages.
pub(super) fn page(number: u32, byte: u8) -> InstanceDelta {
    let mut model = Model { size_pages: 64, ..Model::default() };
    model.pages.insert(number, vec![byte; PAGE_BYTES]);
    model.whole()
}
