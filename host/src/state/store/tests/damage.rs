//! Files that are not what was written: flipped bytes, truncation, other jobs, other processes.

use super::disk::FakeDisk;
use super::support::{Model, Random, load, page, plugin, prepare};
use crate::ids::{CheckpointId, ShardId};
use crate::state::store::{Store, create, tables};
use crate::state::{FailureClass, StoreError};
use redb::ReadableTable;
use std::fs;
use std::path::{Path, PathBuf};

/// A store with two shards of some deltas, closed.
fn filled(folder: &Path) -> PathBuf {
    let path = folder.join("s.redb");
    let mut store = Store::open(&path, "job").unwrap();
    let mut random = Random(5);
    let mut models = [Model::default(), Model::default()];
    for id in 0..4u64 {
        let deltas: Vec<_> =
            models.iter_mut().enumerate().map(|(i, m)| (i as u16, m.change(&mut random, 300))).collect();
        prepare(&mut store, id, id.checked_sub(1), &deltas).unwrap();
    }
    store.commit(CheckpointId(3)).unwrap();
    path
}

#[test]
fn a_second_open_names_the_lock_and_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path());
    let held = Store::open(&path, "job").unwrap();
    let error = Store::open(&path, "job").unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    assert!(error.to_string().contains("s.redb") && error.to_string().contains("stop the job"), "{error}");
    assert_eq!(error.class(), FailureClass::Restart);
    drop(held);
    Store::open(&path, "job").unwrap();
}

#[test]
fn another_jobs_store_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path());
    let error = Store::open(&path, "other").unwrap_err();
    assert!(matches!(&error, StoreError::ForeignJob { found, .. } if found == "job"), "{error}");
    assert_eq!(error.class(), FailureClass::Stop);
}

#[test]
fn a_missing_folder_is_named() {
    let error = Store::open(Path::new("/no/such/folder/s.redb"), "job").unwrap_err();
    assert!(error.to_string().contains("does its folder exist"), "{error}");
    assert_eq!(error.class(), FailureClass::Stop);
    let error = Store::open(Path::new("/"), "job").unwrap_err();
    assert_eq!(error.class(), FailureClass::Stop, "{error}");
}

#[test]
fn a_truncated_file_stops_and_never_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path());
    let bytes = fs::read(&path).unwrap();
    for length in [0, 1, 100, 4096, 5000, bytes.len() / 2, bytes.len() - 4096, bytes.len() - 1] {
        fs::write(&path, &bytes[..length]).unwrap();
        match Store::open(&path, "job") {
            Err(error) => {
                assert!(matches!(error, StoreError::Damaged { .. }), "{length}: {error}");
                assert_eq!(error.class(), FailureClass::Stop);
            }
            Ok(_) => panic!("a store cut at {length} of {} bytes was opened", bytes.len()),
        }
        assert_eq!(fs::read(&path).unwrap().len(), length, "a damaged file is left as it is");
    }
    fs::write(&path, b"not a store at all, but a text of some length").unwrap();
    assert!(matches!(Store::open(&path, "job"), Err(StoreError::Damaged { .. })));
}

#[test]
fn a_flipped_byte_in_a_snapshot_names_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path());
    let database = create::open_existing(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut table = transaction.open_table(tables::SNAPSHOT_PARTS).unwrap();
        let key = crate::state::format::rows::SnapshotKey {
            operator: "detector".into(),
            shard: ShardId(1),
            checkpoint: CheckpointId(2),
        }
        .part(1);
        let mut value = table.get(key.as_slice()).unwrap().expect("the delta has two parts").value().to_vec();
        let middle = value.len() / 2;
        value[middle] ^= 1;
        table.insert(key.as_slice(), value.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
    drop(database);

    let store = Store::open(&path, "job").unwrap();
    assert!(load(&store, 0).is_some());
    let error = store.load("detector", ShardId(1), &plugin("a")).unwrap_err();
    assert_eq!(error.class(), FailureClass::Stop);
    let text = error.to_string();
    for word in ["`detector`", "shard `1`", "checkpoint `2`", "part `1`", "checksum", "--fresh detector"] {
        assert!(text.contains(word), "`{word}` is missing in: {text}");
    }
}

#[test]
fn a_missing_row_is_noticed() {
    let remove = |table, key: Vec<u8>| {
        let folder = tempfile::tempdir().unwrap();
        let path = filled(folder.path());
        let database = create::open_existing(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(table).unwrap().remove(key.as_slice()).unwrap().expect("the row exists");
        transaction.commit().unwrap();
        drop(database);
        Store::open(&path, "job").unwrap_err()
    };
    let head = |checkpoint| {
        crate::state::format::rows::SnapshotKey {
            operator: "detector".into(),
            shard: ShardId(0),
            checkpoint: CheckpointId(checkpoint),
        }
        .head()
    };
    for checkpoint in 0..4 {
        let error = remove(tables::SNAPSHOT_HEADS, head(checkpoint));
        assert_eq!(error.class(), FailureClass::Stop, "{error}");
    }
    for (table, key) in [
        (tables::META, tables::LEDGER.to_vec()),
        (tables::META, tables::IDENTITY.to_vec()),
        (tables::CHECKPOINTS, 3u64.to_be_bytes().to_vec()),
    ] {
        assert!(matches!(remove(table, key), StoreError::Damaged { .. }));
    }
}

#[test]
fn flipped_bytes_anywhere_are_never_a_panic_nor_a_wrong_image() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path());
    let expected = {
        let store = Store::open(&path, "job").unwrap();
        [load(&store, 0), load(&store, 1)]
    };
    let bytes = fs::read(&path).unwrap();
    let mut random = Random(3);
    let mut noticed = 0;
    for _ in 0..700 {
        let mut flipped = bytes.clone();
        // Half of the flips go to the first 64 KiB, where the structure is dense.
        let range = if random.below(2) == 0 { bytes.len().min(65536) } else { bytes.len() };
        let at = random.below(range as u64) as usize;
        flipped[at] ^= 1 << random.below(8);
        let disk = FakeDisk::with(flipped);
        let path = Path::new("fake.redb");
        let opened = create::quietly(path, || {
            redb::Builder::new().create_with_backend(disk).map_err(|error| StoreError::engine(path, "opening", error))
        });
        let Ok(store) = opened.and_then(|database| Store::with_database(path, database, "job")) else {
            noticed += 1;
            continue;
        };
        for (shard, expected) in expected.iter().enumerate() {
            match store.load("detector", ShardId(shard as u16), &plugin("a")) {
                Ok(found) => assert!(found == *expected, "a flip at byte {at} gave another image"),
                Err(error) => {
                    assert_eq!(error.class(), FailureClass::Stop, "byte {at}: {error}");
                    noticed += 1;
                }
            }
        }
    }
    assert!(noticed > 50, "only {noticed} flips were noticed");
}

#[test]
fn a_half_made_store_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.redb");
    fs::write(folder.path().join("s.redb.new"), b"half").unwrap();
    let mut store = Store::open(&path, "job").unwrap();
    prepare(&mut store, 0, None, &[(0, page(0, 1))]).unwrap();
    assert!(!folder.path().join("s.redb.new").exists());
}
