//! Opens the redb file, and makes a new one so that a half-made store never stands under its name.
//!
//! A new store is made under `<path>.new`, gets its identity, and only then its name. So an empty or truncated file under
//! the store's own name is always damage, never a first start: taking it for one would begin the job anew.

use super::super::error::StoreError;
use super::super::format::rows::{Identity, Ledger};
use super::{begin, tables};
use crate::guarded;
use crate::ids::StoreId;
use crate::probe;
use redb::{Database, ReadableTable};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// What redb may keep in memory, in bytes: half of it for pages not yet written. Checkpoints are written once and read at
/// a start, so a larger cache gains nothing.
pub(super) const CACHE_BYTES: usize = 64 << 20;

/// Opens a store's file that exists.
pub(super) fn open_existing(path: &Path) -> Result<Database, StoreError> {
    quietly(path, || {
        redb::Builder::new()
            .set_cache_size(CACHE_BYTES)
            .open(path)
            .map_err(|error| StoreError::engine(path, "opening the file", error))
    })
}

/// Runs what reads redb's own structures. redb may panic on a file that was altered (its documentation says so); for us
/// that is damage like any other.
pub(super) fn quietly<T>(path: &Path, read: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    guarded::catch(read).unwrap_or_else(|| Err(StoreError::damaged(path, "its inner structure does not hold together")))
}

/// Makes a store, durable under its name when this returns.
pub(super) fn create(path: &Path, job: &str) -> Result<Database, StoreError> {
    let fresh_path = fresh_path(path);
    let database = match create_file(&fresh_path) {
        // What a crash in here left behind: it has never been under the store's name, so nothing depends on it.
        Err(StoreError::Damaged { .. }) => {
            fs::remove_file(&fresh_path).map_err(|error| failed(path, error))?;
            create_file(&fresh_path)?
        }
        result => result?,
    };
    initialize(path, &database, job)?;
    probe::reached("store-made");
    // A link, unlike a rename, never replaces a store that another process made meanwhile.
    match fs::hard_link(&fresh_path, path) {
        Ok(()) => {
            probe::reached("store-named");
            fs::remove_file(&fresh_path).map_err(|error| failed(path, error))?;
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(StoreError::Locked { path: path.to_owned() });
        }
        // A file system without links.
        Err(_) => fs::rename(&fresh_path, path).map_err(|error| failed(path, error))?,
    }
    sync_folder(path).map_err(|error| failed(path, error))?;
    probe::reached("store-durable");
    Ok(database)
}

fn create_file(path: &Path) -> Result<Database, StoreError> {
    quietly(path, || {
        redb::Builder::new().set_cache_size(CACHE_BYTES).create(path).map_err(|error| {
            match StoreError::engine(path, "making the file", error) {
                StoreError::Missing { path } => StoreError::Io {
                    doing: "making the file (does its folder exist?)",
                    path,
                    cause: ErrorKind::NotFound.into(),
                },
                error => error,
            }
        })
    })
}

/// Gives a new database its tables, identity and ledger; leaves one that has them alone.
pub(super) fn initialize(path: &Path, database: &Database, job: &str) -> Result<(), StoreError> {
    let doing = "making the store";
    let transaction = begin(path, database)?;
    for table in tables::ALL {
        transaction.open_table(table).map_err(|error| StoreError::engine(path, doing, error))?;
    }
    let known = transaction
        .open_table(tables::META)
        .map_err(|error| StoreError::engine(path, doing, error))?
        .get(tables::IDENTITY)
        .map_err(|error| StoreError::engine(path, doing, error))?
        .is_some();
    if !known {
        let identity = Identity { store: StoreId(Uuid::new_v4()), job: job.to_owned() };
        tables::put_identity(&transaction, path, &identity)?;
        tables::put_ledger(&transaction, path, &Ledger::default())?;
    }
    transaction.commit().map_err(|error| StoreError::engine(path, doing, error))
}

fn fresh_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".new");
    PathBuf::from(name)
}

/// Makes the name durable, not only the file.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn failed(path: &Path, error: std::io::Error) -> StoreError {
    StoreError::io(path, "making the store", error)
}
