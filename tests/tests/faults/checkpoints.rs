//! Rows of the fault matrix about what a checkpoint keeps: a real plugin, a real store, a thousand checkpoints.
//!
//! What must be there is worked out beside it, from the deltas as they were captured and, now and then, from a fresh instance
//! that is given the whole history again. Next rooms: `tidegate::state::store`, `tidegate::plugin`.

use crate::matrix::Row;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;
use tidegate::checkpoint::record::{CheckpointKind, CheckpointRecord, Decider};
use tidegate::columns::BytesColumn;
use tidegate::ids::{AttemptId, CheckpointId, PortIndex, ShardId, Watermark};
use tidegate::plugin::{Engine, Input, Instance, InstanceOptions, Plugin};
use tidegate::state::snapshot::{InstanceDelta, InstanceImage, MemoryDelta, PAGE_BYTES};
use tidegate::state::store::Store;
use tidegate_tests::scene::plugin;
use uuid::Uuid;
use xtask::random::Random;

pub(crate) const ROWS: &[Row] = &[
    Row::elsewhere(
        "a worker slower than the timeout",
        "an operator is busy for longer than `checkpoint.timeout`",
        "75 that says what to change; changed it is exact",
        ("tests/tests/bad_input/stops.rs", "a_checkpoint_that_takes_too_long_ends_the_process_and_says_what_to_change"),
    ),
    Row::quick(
        "restored equals saved",
        "1,000 random checkpoints of a real plugin in a real store: deltas, folds, rollbacks, promotes, restarts",
        "memory and globals of every shard are byte for byte what was saved, and what a replay of the whole history gives",
        restored_equals_saved,
    ),
    Row::elsewhere(
        "restored equals saved, any pages",
        "300 random checkpoints of made-up memories, twice",
        "the images are the model's",
        ("host/src/state/store/tests/random.rs", "restored_images_equal_the_model_over_300_checkpoints"),
    ),
];

const CHECKPOINTS: u64 = 1000;
const SHARDS: u16 = 3;
/// So many different keys come, so state grows and is changed in place too.
const KEYS: u64 = 4000;
/// Every record's time, in milliseconds since the Unix epoch.
const TIME: i64 = 1_767_225_600_000;

/// One call of an instance: the keys it is given.
type Call = Vec<u64>;

/// A shard: its instance, and what its state must be.
struct Shard {
    instance: Option<Instance>,
    /// Every call since the beginning that counts.
    history: Vec<Call>,
    image: InstanceImage,
}

/// What a checkpoint holds of a shard.
#[derive(Clone, Default)]
struct Saved {
    calls: usize,
    image: InstanceImage,
}

struct Life {
    plugin: Plugin,
    store: Option<Store>,
    shards: Vec<Shard>,
    random: Random,
    /// By shard: what the last COMMITTED checkpoint holds, and the PREPARED one.
    committed: Vec<Saved>,
    prepared: Option<(u64, Vec<Saved>)>,
    counts: Counts,
}

/// How often what was done.
#[derive(Debug, Default)]
struct Counts {
    deltas: usize,
    folds: usize,
    rollbacks: usize,
    promotes: usize,
    replays: usize,
}

/// State restored equals state saved, over a thousand random checkpoints.
fn restored_equals_saved() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("s.redb");
    let bytes = fs::read(plugin("steps")).expect("the plugin is read");
    let engine = Engine::new(None).expect("an engine");
    let plugin = engine.load("steps.wasm", &bytes).expect("the plugin loads");
    plugin.describe(&options(0).config).expect("the plugin describes itself");
    let shards = (0..SHARDS).map(|shard| fresh(&plugin, shard)).collect();
    let store = Some(Store::open(&path, "job").expect("the store is made"));
    let committed = vec![Saved::default(); SHARDS as usize];
    let mut life =
        Life { plugin, store, shards, random: Random::new(7), committed, prepared: None, counts: Counts::default() };
    for id in 0..CHECKPOINTS {
        life.work();
        life.checkpoint(id);
        if id % 200 == 199 {
            life.replay(id);
        }
        match life.random.below(10) {
            // The process ends before the checkpoint is decided, and it did not happen.
            0 => life.restart(&path, false),
            // It ends, and the checkpoint happened.
            1 => life.restart(&path, true),
            _ => {}
        }
        if life.random.below(4) == 0 {
            let budget = life.random.below(2 << 20);
            life.counts.folds += life.store().fold(budget).expect("deltas are folded").shards;
        }
    }
    let counts = &life.counts;
    assert!(
        counts.deltas > 500 && counts.folds > 10 && counts.rollbacks > 50 && counts.promotes > 50 && counts.replays > 0,
        "this tests too little: {counts:?}"
    );
}

impl Life {
    fn store(&mut self) -> &mut Store {
        self.store.as_mut().expect("it is closed only during a restart")
    }

    /// Gives some shards some batches.
    fn work(&mut self) {
        for shard in &mut self.shards {
            for _ in 0..self.random.below(3) {
                let rows = 1 + self.random.below(40);
                let call: Call = (0..rows).map(|_| self.random.below(KEYS)).collect();
                shard.take(&call);
                shard.history.push(call);
            }
        }
    }

    /// Captures every shard and prepares the checkpoint, which commits the one before.
    fn checkpoint(&mut self, id: u64) {
        let hash = self.plugin.hash().clone();
        let commits = self.prepared.as_ref().map(|(id, _)| CheckpointId(*id));
        let attempt = AttemptId(Uuid::from_u128(7));
        let mut saved = Vec::new();
        let store = self.store.as_mut().expect("it is open");
        let mut preparing = store.prepare(CheckpointId(id), attempt).expect("numbers ascend");
        for (number, shard) in self.shards.iter_mut().enumerate() {
            let delta = shard.instance().capture().expect("an instance that lives can be captured");
            self.counts.deltas += usize::from(delta.memories.iter().any(|memory| !memory.pages.is_empty()));
            apply(&mut shard.image, &delta);
            preparing.add("count", ShardId(number as u16), &hash, &delta).expect("the snapshot is written");
            saved.push(Saved { calls: shard.history.len(), image: shard.image.clone() });
        }
        let kind = if id == 0 { CheckpointKind::Start } else { CheckpointKind::Periodic };
        let (sources, shards, sinks) = (Vec::new(), Vec::new(), Vec::new());
        let record = CheckpointRecord { id: CheckpointId(id), attempt, kind, sources, shards, sinks };
        preparing.finish(&record, &Decider::Store, commits).expect("the checkpoint is prepared");
        if let Some((_, before)) = self.prepared.replace((id, saved)) {
            self.committed = before;
        }
    }

    /// Loses every instance, opens the store again, decides what was prepared, and restores all shards.
    fn restart(&mut self, path: &Path, happened: bool) {
        self.store = None;
        let mut store = Store::open(path, "job").expect("the store opens again");
        let (id, saved) = self.prepared.take().expect("a checkpoint was just prepared");
        if happened {
            store.commit(CheckpointId(id)).expect("it is committed");
            self.committed = saved;
            self.counts.promotes += 1;
        } else {
            store.roll_back(CheckpointId(id)).expect("it is rolled back");
            self.counts.rollbacks += 1;
        }
        for (number, shard) in self.shards.iter_mut().enumerate() {
            let number = number as u16;
            let Saved { calls, image: expected } = &self.committed[number as usize];
            let found = store.load("count", ShardId(number), self.plugin.hash()).expect("the snapshot is read");
            let Some(image) = found else {
                assert!(
                    *calls == 0 && expected.memories.is_empty(),
                    "checkpoint {id}, shard {number}: nothing is kept"
                );
                *shard = fresh(&self.plugin, number);
                continue;
            };
            assert!(image == *expected, "checkpoint {id}, shard {number}: what is restored is not what was saved");
            let mut instance = self.plugin.restore(&options(number), &image).expect("the image fits");
            let changed = instance.capture().expect("it can be captured");
            assert!(changed.memories.iter().all(|memory| memory.pages.is_empty()), "a restore changes nothing");
            assert_eq!(changed.globals, image.globals, "checkpoint {id}, shard {number}: globals");
            shard.history.truncate(*calls);
            (shard.instance, shard.image) = (Some(instance), image);
        }
        self.store = Some(store);
    }

    /// A fresh instance that is given all that counts has the same memory and globals, byte for byte.
    fn replay(&mut self, id: u64) {
        for (number, shard) in self.shards.iter().enumerate() {
            let mut again = fresh(&self.plugin, number as u16);
            shard.history.iter().for_each(|call| again.take(call));
            let whole = again.instance().capture().expect("it can be captured");
            apply(&mut again.image, &whole);
            assert!(again.image == shard.image, "checkpoint {id}, shard {number}: the replayed state is another one");
            self.counts.replays += 1;
        }
    }
}

impl Shard {
    fn instance(&mut self) -> &mut Instance {
        self.instance.as_mut().expect("it is missing only during a call")
    }

    /// Gives the instance a batch of keys.
    fn take(&mut self, call: &Call) {
        let mut keys = BytesColumn::default();
        for key in call {
            keys.push(Some(format!("key-{key}").as_bytes()));
        }
        let timestamps = vec![TIME; call.len()];
        let (rows, timestamps) = (call.len(), timestamps.as_slice());
        let input = Input { rows, keys: Some(&keys), values: None, timestamps, headers: None, columns: &[] };
        let instance = self.instance.take().expect("it is missing only during a call");
        let (instance, _) = instance.process(PortIndex(0), Watermark::START, &input).expect("the plugin counts");
        self.instance = Some(instance);
    }
}

fn options(shard: u16) -> InstanceOptions {
    InstanceOptions {
        job: "job".to_owned(),
        operator: "count".to_owned(),
        shard,
        shards: SHARDS,
        seed: 42,
        config: r#"{"role":"count"}"#.to_owned(),
        memory_bytes: 64 << 20,
        call_timeout: Duration::from_secs(30),
    }
}

fn fresh(plugin: &Plugin, shard: u16) -> Shard {
    let instance = Some(plugin.open(&options(shard)).expect("the plugin opens"));
    Shard { instance, history: Vec::new(), image: InstanceImage::default() }
}

/// The image after another delta.
fn apply(image: &mut InstanceImage, delta: &InstanceDelta) {
    image.memories.resize_with(delta.memories.len(), MemoryDelta::default);
    for (memory, delta) in image.memories.iter_mut().zip(&delta.memories) {
        let mut pages: BTreeMap<u32, &[u8]> =
            memory.pages.iter().copied().zip(memory.data.chunks_exact(PAGE_BYTES)).collect();
        pages.extend(delta.pages.iter().copied().zip(delta.data.chunks_exact(PAGE_BYTES)));
        pages.retain(|_, bytes| bytes.iter().any(|byte| *byte != 0));
        let (numbers, data): (Vec<u32>, Vec<&[u8]>) = pages.into_iter().unzip();
        *memory = MemoryDelta { size_bytes: delta.size_bytes, pages: numbers, data: data.concat() };
    }
    image.globals.clone_from(&delta.globals);
}
