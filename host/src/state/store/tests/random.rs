//! A long random life of a store, against a model: prepares, commits, rollbacks, folds, opens.

use super::support::{Model, Random, load, prepare};
use crate::ids::CheckpointId;
use crate::state::store::Store;
use std::collections::BTreeMap;

const SHARDS: u16 = 4;

#[test]
fn restored_images_equal_the_model_over_300_checkpoints() {
    for seed in 0..2 {
        run(seed);
    }
}

fn run(seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.redb");
    let mut store = Store::open(&path, "job").unwrap();
    let mut random = Random(seed);
    let mut committed: BTreeMap<u16, Model> = BTreeMap::new();
    let mut prepared: Option<(u64, BTreeMap<u16, Model>)> = None;
    let (mut folds, mut rollbacks) = (0, 0);
    for id in 0..300 {
        let mut current = prepared.as_ref().map_or(&committed, |(_, models)| models).clone();
        let mut deltas = Vec::new();
        for shard in 0..SHARDS {
            // A shard that nothing happened to may have no snapshot.
            if random.below(4) > 0 {
                deltas.push((shard, current.entry(shard).or_default().change(&mut random, 24)));
            }
        }
        let commits = prepared.as_ref().map(|(id, _)| *id);
        prepare(&mut store, id, commits, &deltas).unwrap();
        if let Some((_, models)) = prepared.replace((id, current)) {
            committed = models;
        }
        match random.below(8) {
            0 => {
                store.roll_back(CheckpointId(id)).unwrap();
                prepared = None;
                rollbacks += 1;
            }
            1 => {
                store.commit(CheckpointId(id)).unwrap();
                committed = prepared.take().unwrap().1;
            }
            2 => {
                drop(store);
                store = Store::open(&path, "job").unwrap();
            }
            _ => {}
        }
        if random.below(3) == 0 {
            folds += store.fold(random.below(4 << 20)).unwrap().shards;
        }
        if random.below(5) == 0 {
            check(&store, &committed, seed, id);
        }
    }
    check(&store, &committed, seed, 300);
    assert!(folds > 5 && rollbacks > 5, "seed {seed}: {folds} folds, {rollbacks} rollbacks");
}

fn check(store: &Store, committed: &BTreeMap<u16, Model>, seed: u64, id: u64) {
    for shard in 0..SHARDS {
        let expected = committed.get(&shard).map(Model::image);
        assert!(load(store, shard) == expected, "seed {seed}, checkpoint {id}, shard {shard}");
    }
}
