//! What each call does while nothing goes wrong, and which orders are refused.

use super::support::{ATTEMPT, Model, load, page, plugin, prepare, record};
use crate::checkpoint::record::Decider;
use crate::ids::{CheckpointId, ShardId};
use crate::state::store::{OperatorIdentity, Store};
use crate::state::{FailureClass, StoreError};

fn numbers(store: &Store) -> [Option<u64>; 3] {
    let facts = store.facts().unwrap();
    [
        facts.committed.map(|stored| stored.record.id.0),
        facts.prepared.map(|stored| stored.record.id.0),
        facts.highest.map(|id| id.0),
    ]
}

#[test]
fn a_store_keeps_its_identity_and_its_checkpoints_over_an_open() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fraud.redb");
    let mut store = Store::open(&path, "fraud").unwrap();
    let id = store.facts().unwrap().id;
    assert_eq!(numbers(&store), [None, None, None]);
    assert!(!folder.path().join("fraud.redb.new").exists());

    prepare(&mut store, 0, None, &[]).unwrap();
    assert_eq!(numbers(&store), [None, Some(0), Some(0)]);
    store.commit(CheckpointId(0)).unwrap();
    prepare(&mut store, 1, None, &[(3, page(5, 1))]).unwrap();
    assert_eq!(load(&store, 3), None, "what is only prepared is not loaded");
    prepare(&mut store, 2, Some(1), &[(3, page(6, 2))]).unwrap();
    let digest = store.facts().unwrap().prepared.unwrap().digest;
    drop(store);

    let store = Store::open(&path, "fraud").unwrap();
    assert_eq!(store.facts().unwrap().id, id);
    assert_eq!(numbers(&store), [Some(1), Some(2), Some(2)]);
    assert_eq!(store.facts().unwrap().prepared.unwrap().digest, digest);
    assert_eq!(store.facts().unwrap().decider, Some(Decider::Store));
    let image = load(&store, 3).unwrap();
    assert_eq!(image.memories[0].pages, [5]);
    assert_eq!(load(&store, 4), None);
}

#[test]
fn a_rolled_back_checkpoint_leaves_nothing_but_its_number() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.redb");
    let mut store = Store::open(&path, "job").unwrap();
    prepare(&mut store, 0, None, &[(0, page(1, 1))]).unwrap();
    store.commit(CheckpointId(0)).unwrap();
    let bytes = store.sizes().snapshot_bytes;
    prepare(&mut store, 1, None, &[(0, page(1, 2)), (1, page(9, 9))]).unwrap();
    store.roll_back(CheckpointId(1)).unwrap();
    assert_eq!(numbers(&store), [Some(0), None, Some(1)]);
    assert_eq!(store.sizes().snapshot_bytes, bytes);
    drop(store);

    let mut store = Store::open(&path, "job").unwrap();
    assert_eq!(numbers(&store), [Some(0), None, Some(1)]);
    let error = prepare(&mut store, 1, None, &[]).unwrap_err();
    assert!(matches!(error, StoreError::OutOfOrder { .. }), "{error}");
    assert_eq!(error.class(), FailureClass::Stop);
    prepare(&mut store, 2, None, &[(0, page(1, 3)), (1, page(8, 8))]).unwrap();
    store.commit(CheckpointId(2)).unwrap();
    assert_eq!(load(&store, 0).unwrap().memories[0].data[0], 3);
    assert_eq!(load(&store, 1).unwrap().memories[0].pages, [8]);
}

#[test]
fn wrong_orders_are_refused_and_write_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(&folder.path().join("s.redb"), "job").unwrap();
    assert!(matches!(store.commit(CheckpointId(0)), Err(StoreError::OutOfOrder { .. })));
    assert!(matches!(store.roll_back(CheckpointId(0)), Err(StoreError::OutOfOrder { .. })));
    prepare(&mut store, 4, None, &[]).unwrap();
    assert!(matches!(store.drop_operator("detector"), Err(StoreError::OutOfOrder { .. })));
    // A checkpoint is decided before the next one is prepared.
    assert!(matches!(prepare(&mut store, 5, None, &[]), Err(StoreError::OutOfOrder { .. })));
    assert!(matches!(prepare(&mut store, 5, Some(3), &[]), Err(StoreError::OutOfOrder { .. })));
    // The record must be the one that was announced.
    let preparing = store.prepare(CheckpointId(6), ATTEMPT).unwrap();
    let error = preparing.finish(&record(7), &Decider::Store, Some(CheckpointId(4))).unwrap_err();
    assert!(matches!(error, StoreError::OutOfOrder { .. }), "{error}");
    // A shard has one snapshot a checkpoint, and its pages lie in its memory.
    let mut preparing = store.prepare(CheckpointId(6), ATTEMPT).unwrap();
    preparing.add("detector", ShardId(0), &plugin("a"), &page(0, 1)).unwrap();
    assert!(preparing.add("detector", ShardId(0), &plugin("a"), &page(0, 1)).is_err());
    let mut outside = page(0, 1);
    outside.memories[0].pages[0] = 64;
    assert!(preparing.add("detector", ShardId(1), &plugin("a"), &outside).is_err());
    drop(preparing);
    assert_eq!(numbers(&store), [None, Some(4), Some(4)]);
    store.commit(CheckpointId(4)).unwrap();
    store.commit(CheckpointId(4)).unwrap();
}

#[test]
fn another_plugins_first_snapshot_is_a_base_and_its_memory_is_restored_under_it_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.redb");
    let mut store = Store::open(&path, "job").unwrap();
    prepare(&mut store, 0, None, &[(0, page(1, 1))]).unwrap();
    store.commit(CheckpointId(0)).unwrap();
    let mut preparing = store.prepare(CheckpointId(1), ATTEMPT).unwrap();
    preparing.add("detector", ShardId(0), &plugin("b"), &page(2, 2)).unwrap();
    preparing.finish(&record(1), &Decider::Store, None).unwrap();
    assert_eq!(load(&store, 0).unwrap().memories[0].pages, [1], "until 1 is committed, the old plugin's memory counts");
    store.commit(CheckpointId(1)).unwrap();

    let error = store.load("detector", ShardId(0), &plugin("a")).unwrap_err();
    assert!(matches!(&error, StoreError::ForeignPlugin { found, .. } if *found == plugin("b")), "{error}");
    let image = store.load("detector", ShardId(0), &plugin("b")).unwrap().unwrap();
    assert_eq!(image.memories[0].pages, [2]);
    prepare(&mut store, 2, None, &[]).unwrap();
    drop(store);
    let store = Store::open(&path, "job").unwrap();
    assert_eq!(store.load("detector", ShardId(0), &plugin("b")).unwrap(), Some(image));
}

#[test]
fn a_dropped_operator_is_gone_and_the_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.redb");
    let mut store = Store::open(&path, "job").unwrap();
    let identity = |operator: &str| OperatorIdentity {
        operator: operator.to_owned(),
        plugin: plugin("a"),
        config: "c".repeat(64),
    };
    let mut preparing = store.prepare(CheckpointId(0), ATTEMPT).unwrap();
    preparing.add("detector", ShardId(0), &plugin("a"), &page(1, 1)).unwrap();
    preparing.add("enrich", ShardId(0), &plugin("a"), &page(2, 2)).unwrap();
    preparing.identify(&[identity("detector"), identity("enrich")], "format = 1");
    preparing.finish(&record(0), &Decider::Store, None).unwrap();
    store.commit(CheckpointId(0)).unwrap();
    store.drop_operator("detector").unwrap();
    drop(store);

    let mut store = Store::open(&path, "job").unwrap();
    assert_eq!(load(&store, 0), None);
    assert!(store.load("enrich", ShardId(0), &plugin("a")).unwrap().is_some());
    assert_eq!(store.operators().unwrap(), [identity("enrich")]);
    assert_eq!(store.job_file().unwrap(), Some("format = 1"));
    prepare(&mut store, 1, None, &[(0, page(7, 7))]).unwrap();
    store.commit(CheckpointId(1)).unwrap();
    assert_eq!(load(&store, 0).unwrap().memories[0].pages, [7]);
    assert_eq!(store.operators().unwrap(), [identity("enrich")], "identities go on until others are given");
}

#[test]
fn artifacts_are_kept_while_an_operator_of_a_kept_checkpoint_names_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.redb");
    let mut store = Store::open(&path, "job").unwrap();
    let bytes: Vec<u8> = (0..3_000_000u32).map(|i| (i >> 7) as u8).collect();
    let identity =
        |hash: &str| [OperatorIdentity { operator: "o".into(), plugin: plugin(hash), config: String::new() }];
    let with_artifact = |store: &mut Store, id: u64, commits: Option<u64>, hash: &str| {
        let mut preparing = store.prepare(CheckpointId(id), ATTEMPT).unwrap();
        preparing.put_artifact(&plugin(hash), &bytes).unwrap();
        preparing.identify(&identity(hash), "");
        preparing.finish(&record(id), &Decider::Store, commits.map(CheckpointId)).unwrap();
    };
    with_artifact(&mut store, 0, None, "a");
    with_artifact(&mut store, 1, Some(0), "b");
    assert_eq!(store.artifact(&plugin("a")).unwrap().as_deref(), Some(&bytes[..]));
    assert_eq!(store.sizes().artifact_bytes, 2 * bytes.len() as u64);
    with_artifact(&mut store, 2, Some(1), "b");
    drop(store);
    let store = Store::open(&path, "job").unwrap();
    assert_eq!(store.artifact(&plugin("a")).unwrap(), None);
    assert_eq!(store.artifact(&plugin("b")).unwrap(), Some(bytes));
}

#[test]
fn folding_changes_no_image_and_takes_less_space() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.redb");
    let mut store = Store::open(&path, "job").unwrap();
    let mut random = super::support::Random(1);
    let mut model = Model::default();
    prepare(&mut store, 0, None, &[(0, model.change(&mut random, 30))]).unwrap();
    for id in 1..70 {
        prepare(&mut store, id, Some(id - 1), &[(0, model.change(&mut random, 30))]).unwrap();
    }
    let committed_only = {
        assert_eq!(store.fold(0).unwrap().shards, 1, "one shard is folded whatever the budget");
        load(&store, 0).unwrap()
    };
    let before = store.sizes().snapshot_bytes;
    store.commit(CheckpointId(69)).unwrap();
    assert_ne!(load(&store, 0).unwrap(), committed_only);
    assert_eq!(load(&store, 0).unwrap(), model.image());
    assert_eq!(store.fold(u64::MAX).unwrap().shards, 0, "nothing is left to fold");
    assert!(before < 2_000_000, "{before}");
    drop(store);
    let store = Store::open(&path, "job").unwrap();
    assert_eq!(load(&store, 0).unwrap(), model.image());
}
