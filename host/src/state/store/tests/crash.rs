//! Power cuts at every sync, with everything, nothing and parts of what was on its way reaching the disk.

use super::disk::{FakeDisk, Reached};
use super::support::{Model, Random, load, prepare};
use crate::ids::CheckpointId;
use crate::state::snapshot::InstanceImage;
use crate::state::store::{Store, create};
use crate::state::{FailureClass, StoreError};
use std::path::Path;

const SHARDS: u16 = 2;

/// What can be seen of a store from outside.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    committed: Option<u64>,
    prepared: Option<u64>,
    highest: Option<u64>,
    images: Vec<Option<InstanceImage>>,
}

fn see(store: &Store) -> Seen {
    let facts = store.facts().unwrap();
    Seen {
        committed: facts.committed.map(|stored| stored.record.id.0),
        prepared: facts.prepared.map(|stored| stored.record.id.0),
        highest: facts.highest.map(|id| id.0),
        images: (0..SHARDS).map(|shard| load(store, shard)).collect(),
    }
}

fn open(disk: &FakeDisk) -> Result<Store, StoreError> {
    let path = Path::new("fake.redb");
    let database = redb::Builder::new()
        .set_cache_size(1 << 20)
        .create_with_backend(disk.clone())
        .map_err(|error| StoreError::engine(path, "opening", error))?;
    create::initialize(path, &database, "job")?;
    Store::with_database(path, database, "job")
}

/// One call each: all that writes is in it.
#[derive(Debug, Clone, Copy)]
enum Step {
    Prepare { id: u64, commits: Option<u64> },
    Commit(u64),
    RollBack(u64),
    Fold,
    Drop,
}

fn script() -> Vec<Step> {
    let mut steps = vec![Step::Prepare { id: 0, commits: None }, Step::Commit(0)];
    let mut prepared = None;
    for id in 1..16 {
        steps.push(Step::Prepare { id, commits: prepared });
        prepared = Some(id);
        match id {
            3 | 11 => {
                steps.push(Step::RollBack(id));
                prepared = None;
            }
            5 | 10 => {
                steps.push(Step::Commit(id));
                prepared = None;
            }
            _ => {}
        }
        if id % 4 == 1 {
            steps.push(Step::Fold);
        }
    }
    steps.extend([Step::Commit(15), Step::Fold, Step::Drop, Step::Prepare { id: 16, commits: None }]);
    steps
}

/// Runs the script. Gives, per step, the syncs done when it had returned and what could be seen then.
fn run(disk: &FakeDisk) -> Vec<(usize, Seen)> {
    let mut store = open(disk).unwrap();
    let mut seen = vec![(disk.syncs(), see(&store))];
    let mut random = Random(11);
    let mut models = vec![Model::default(); SHARDS as usize];
    let mut last = models.clone();
    let mut folded = 0;
    for step in script() {
        match step {
            Step::Prepare { id, commits } => {
                last.clone_from(&models);
                let deltas: Vec<_> =
                    (0..SHARDS).map(|shard| (shard, models[shard as usize].change(&mut random, 250))).collect();
                prepare(&mut store, id, commits, &deltas).unwrap();
            }
            Step::Commit(id) => store.commit(CheckpointId(id)).unwrap(),
            Step::RollBack(id) => {
                store.roll_back(CheckpointId(id)).unwrap();
                models.clone_from(&last);
            }
            Step::Fold => folded += store.fold(u64::MAX).unwrap().shards,
            Step::Drop => {
                store.drop_operator("detector").unwrap();
                models.fill(Model::default());
            }
        }
        seen.push((disk.syncs(), see(&store)));
    }
    assert!(folded >= 3, "the script folds only {folded} shards");
    seen
}

#[test]
fn a_power_cut_at_any_sync_leaves_the_state_before_or_after_the_call() {
    let disk = FakeDisk::default();
    let seen = run(&disk);
    let total = disk.syncs();
    assert!(total > 40, "the script syncs only {total} times");
    for sync in 1..=total {
        let disk = FakeDisk::default();
        disk.freeze_at(sync);
        run(&disk);
        // The call that the sync belonged to.
        let after = seen.iter().position(|(syncs, _)| *syncs >= sync).unwrap_or(seen.len() - 1);
        let kinds = [Reached::None, Reached::All, Reached::Head, Reached::Some(1), Reached::Some(2), Reached::Some(3)];
        for reached in kinds {
            let image = disk.after_crash(reached).unwrap();
            let store = match open(&FakeDisk::with(image)) {
                Ok(store) => store,
                // Only a file that never got its name may be beyond opening: it is made again.
                Err(error) => {
                    assert_eq!(after, 0, "sync {sync}, {reached:?}: {error}");
                    continue;
                }
            };
            let found = see(&store);
            let before = after.saturating_sub(1);
            assert!(
                found == seen[before].1 || found == seen[after].1,
                "sync {sync}, {reached:?}: {:?} {:?} {:?} is neither before nor after call {after}",
                found.committed,
                found.prepared,
                found.highest
            );
        }
    }
}

#[test]
fn after_a_failed_sync_every_call_refuses_until_the_next_open() {
    let probe = FakeDisk::default();
    let mut store = open(&probe).unwrap();
    prepare(&mut store, 0, None, &[]).unwrap();
    let first = probe.syncs();
    prepare(&mut store, 1, Some(0), &[]).unwrap();
    let last = probe.syncs();
    assert!(last > first);
    for sync in first + 1..=last {
        let disk = FakeDisk::default();
        disk.fail_at(sync, libc::EIO);
        let mut store = open(&disk).unwrap();
        prepare(&mut store, 0, None, &[]).unwrap();
        let error = prepare(&mut store, 1, Some(0), &[]).unwrap_err();
        assert!(matches!(error, StoreError::Io { .. }), "{error}");
        assert_eq!(error.class(), FailureClass::Stop, "nobody goes on by himself after EIO");
        let later = [
            store.facts().map(drop),
            store.commit(CheckpointId(1)),
            store.roll_back(CheckpointId(1)),
            store.fold(u64::MAX).map(drop),
            store.drop_operator("detector"),
            store.operators().map(drop),
            store.load("detector", crate::ids::ShardId(0), &super::support::plugin("a")).map(drop),
            store.prepare(CheckpointId(2), super::support::ATTEMPT).map(drop),
        ];
        for result in later {
            let error = result.unwrap_err();
            assert!(matches!(error, StoreError::Latched { class: FailureClass::Stop, .. }), "{error}");
        }
        drop(store);
        let store = open(&FakeDisk::with(disk.bytes())).unwrap();
        let facts = store.facts().unwrap();
        assert!(facts.highest == Some(CheckpointId(0)) || facts.highest == Some(CheckpointId(1)));
    }
}

#[test]
fn a_full_disk_says_so_and_leaves_the_last_checkpoint_intact() {
    let disk = FakeDisk::default();
    let mut store = open(&disk).unwrap();
    prepare(&mut store, 0, None, &[(0, super::support::page(1, 1))]).unwrap();
    store.commit(CheckpointId(0)).unwrap();
    disk.fail_at(disk.syncs() + 1, libc::ENOSPC);
    let error = prepare(&mut store, 1, None, &[(0, super::support::page(2, 2))]).unwrap_err();
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error}");
    assert_eq!(error.class(), FailureClass::Restart);
    assert!(matches!(store.facts(), Err(StoreError::Latched { class: FailureClass::Restart, .. })));
    drop(store);
    let store = open(&FakeDisk::with(disk.bytes())).unwrap();
    assert_eq!(store.facts().unwrap().committed.unwrap().record.id, CheckpointId(0));
    assert_eq!(load(&store, 0).unwrap().memories[0].pages, [1]);
}
