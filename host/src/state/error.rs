//! Why the store cannot be used, and whether a new start may help.
//!
//! The only place where redb's errors become ours. Next room: [`super::store`].

use super::format::FormatError;
use super::format::rows::SnapshotKey;
use crate::ids::{CheckpointId, PluginHash, ShardId};
use crate::stops::Stop;
use std::io;
use std::path::{Path, PathBuf};

/// What a failure asks of whoever started the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureClass {
    /// A new start may help: exit 75.
    Restart,
    /// A person must look: exit 78.
    Stop,
}

/// Why the store cannot be used. After an I/O error every later call gives [`StoreError::Latched`]: only a new open, with
/// recovery, clears it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the store open.
    #[error("store `{path}` is in use by another process; stop the job that runs on it, or wait until it has ended")]
    Locked {
        /// The store's path.
        path: PathBuf,
    },
    /// There is no store at the path, and none may be made there.
    #[error("store `{path}` does not exist; check the path, or run the job once to make it")]
    Missing {
        /// The store's path.
        path: PathBuf,
    },
    /// The file is not what was written: truncated, altered, or no store at all.
    #[error(
        "store `{path}` is damaged: {what}; put a copy of the file from before the damage in its place, or move it away and \
         start the job anew"
    )]
    Damaged {
        /// The store's path.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// A shard's snapshot is not what was written.
    #[error(
        "store `{path}` is damaged in the snapshot of operator `{operator}`, shard `{shard}`, checkpoint `{checkpoint}`{}: \
         {what}; put a copy of the file from before the damage in its place, or give up the operator's state with \
         `--fresh {operator}`",
        part.map(|part| format!(", part `{part}`")).unwrap_or_default()
    )]
    DamagedSnapshot {
        /// The store's path.
        path: PathBuf,
        /// The operator's name.
        operator: String,
        /// The shard.
        shard: ShardId,
        /// The checkpoint that wrote the snapshot.
        checkpoint: CheckpointId,
        /// The part of it; `None`: its head.
        part: Option<u32>,
        /// What was found.
        what: String,
    },
    /// The store belongs to another job.
    #[error(
        "store `{path}` belongs to job `{found}`, not to `{wanted}`; set another `store.path`, or give the job its name back"
    )]
    ForeignJob {
        /// The store's path.
        path: PathBuf,
        /// The job in the store.
        found: String,
        /// The job that was to be opened.
        wanted: String,
    },
    /// The memory was written by another artifact.
    #[error(
        "operator `{operator}` shard `{shard}` has state of plugin `{found}`, which plugin `{wanted}` cannot take over; run \
         the stored plugin, or give up the operator's state with `--fresh {operator}`"
    )]
    ForeignPlugin {
        /// The operator's name.
        operator: String,
        /// The shard.
        shard: ShardId,
        /// The plugin that wrote the state.
        found: PluginHash,
        /// The plugin that was to be restored.
        wanted: PluginHash,
    },
    /// The store was written by a newer build.
    #[error("store `{path}`: {what}; use the build that wrote it, or a newer one")]
    UnknownVersion {
        /// The store's path.
        path: PathBuf,
        /// What was found where.
        what: String,
    },
    /// A call came in an order that must not be: a bug in the host, caught before anything was written.
    #[error("store `{path}`: {what}; nothing was written, please report this")]
    OutOfOrder {
        /// The store's path.
        path: PathBuf,
        /// Which call, and why not.
        what: String,
    },
    /// The disk is full. What was committed before is intact.
    #[error("store `{path}`: the disk is full ({doing}); free some space, the last checkpoint is intact")]
    DiskFull {
        /// The store's path.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// The system's error.
        #[source]
        cause: io::Error,
    },
    /// Reading or writing failed. Whether the change is durable is not known: reopen and look.
    #[error("store `{path}`: {doing} failed; mend what is wrong with the disk or the path, then start again")]
    Io {
        /// The store's path.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// The system's error.
        #[source]
        cause: io::Error,
    },
    /// redb answered in a way that no use of it explains.
    #[error("store `{path}`: {doing} failed: {what}; start again, recovery will look at what is durable")]
    Engine {
        /// The store's path.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// redb's words.
        what: String,
    },
    /// An earlier call failed; this one was not tried.
    #[error("store `{path}` is not used any more after an earlier failure ({first}); start again")]
    Latched {
        /// The store's path.
        path: PathBuf,
        /// The first failure.
        first: String,
        /// Its class.
        class: FailureClass,
    },
}

impl StoreError {
    /// Whether a new start may help.
    pub fn class(&self) -> FailureClass {
        match self {
            StoreError::Locked { .. } | StoreError::DiskFull { .. } | StoreError::Engine { .. } => {
                FailureClass::Restart
            }
            // After EIO the cache may claim what the disk does not have, so nobody may go on by himself.
            StoreError::Io { cause, .. } if cause.raw_os_error() == Some(libc::EIO) => FailureClass::Stop,
            // A path that is wrong stays wrong.
            StoreError::Io { cause, .. }
                if matches!(
                    cause.kind(),
                    io::ErrorKind::NotFound
                        | io::ErrorKind::PermissionDenied
                        | io::ErrorKind::IsADirectory
                        | io::ErrorKind::NotADirectory
                        | io::ErrorKind::ReadOnlyFilesystem
                ) =>
            {
                FailureClass::Stop
            }
            StoreError::Io { .. } => FailureClass::Restart,
            StoreError::Missing { .. }
            | StoreError::Damaged { .. }
            | StoreError::DamagedSnapshot { .. }
            | StoreError::ForeignJob { .. }
            | StoreError::ForeignPlugin { .. }
            | StoreError::UnknownVersion { .. }
            | StoreError::OutOfOrder { .. } => FailureClass::Stop,
            StoreError::Latched { class, .. } => *class,
        }
    }

    /// Which reason to stop for a person it is, where it is one.
    pub fn stop(&self) -> Stop {
        match self {
            StoreError::Damaged { .. } | StoreError::DamagedSnapshot { .. } => Stop::StoreDamaged,
            StoreError::ForeignJob { .. } => Stop::StoreOfAnotherJob,
            StoreError::ForeignPlugin { .. } => Stop::OperatorChanged,
            StoreError::UnknownVersion { .. } => Stop::StoreVersion,
            StoreError::OutOfOrder { .. } => Stop::HostBug,
            StoreError::Io { cause, .. } if cause.raw_os_error() == Some(libc::EIO) => Stop::DiskError,
            StoreError::Missing { .. }
            | StoreError::Locked { .. }
            | StoreError::DiskFull { .. }
            | StoreError::Io { .. }
            | StoreError::Engine { .. }
            | StoreError::Latched { .. } => Stop::StoreUnreachable,
        }
    }

    /// Whether the handle is worth nothing after it.
    pub(super) fn latches(&self) -> bool {
        match self {
            StoreError::Locked { .. }
            | StoreError::Missing { .. }
            | StoreError::ForeignJob { .. }
            | StoreError::ForeignPlugin { .. }
            | StoreError::OutOfOrder { .. }
            | StoreError::UnknownVersion { .. }
            | StoreError::Latched { .. } => false,
            StoreError::Damaged { .. }
            | StoreError::DamagedSnapshot { .. }
            | StoreError::DiskFull { .. }
            | StoreError::Io { .. }
            | StoreError::Engine { .. } => true,
        }
    }

    pub(super) fn io(path: &Path, doing: &'static str, cause: io::Error) -> StoreError {
        let path = path.to_owned();
        if matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return StoreError::DiskFull { path, doing, cause };
        }
        StoreError::Io { path, doing, cause }
    }

    pub(super) fn damaged(path: &Path, what: impl Into<String>) -> StoreError {
        StoreError::Damaged { path: path.to_owned(), what: what.into() }
    }

    pub(super) fn out_of_order(path: &Path, what: impl Into<String>) -> StoreError {
        StoreError::OutOfOrder { path: path.to_owned(), what: what.into() }
    }

    /// An error of redb, from any of its calls.
    pub(super) fn engine(path: &Path, doing: &'static str, error: impl Into<redb::Error>) -> StoreError {
        use redb::Error;
        let owned = path.to_owned();
        match error.into() {
            Error::DatabaseAlreadyOpen | Error::LockProtocolMismatch => StoreError::Locked { path: owned },
            Error::Corrupted(what) => StoreError::damaged(path, what),
            Error::TableDoesNotExist(table) => StoreError::damaged(path, format!("it has no table `{table}`")),
            error @ (Error::TableTypeMismatch { .. }
            | Error::TypeDefinitionChanged { .. }
            | Error::TableIsMultimap(_)
            | Error::TableIsNotMultimap(_)) => StoreError::damaged(path, error.to_string()),
            Error::UpgradeRequired(version) => {
                StoreError::UnknownVersion { path: owned, what: format!("file format version `{version}` is too old") }
            }
            Error::Io(cause) if cause.kind() == io::ErrorKind::NotFound => StoreError::Missing { path: owned },
            // What redb says of a file that does not begin like one of its own, or ends too early.
            Error::Io(cause) if matches!(cause.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => {
                StoreError::damaged(path, cause.to_string())
            }
            Error::Io(cause) => StoreError::io(path, doing, cause),
            error => StoreError::Engine { path: owned, doing, what: error.to_string() },
        }
    }

    /// A row that is not a snapshot's.
    pub(super) fn row(path: &Path, row: &str, error: &FormatError) -> StoreError {
        match error {
            FormatError::Version { .. } => {
                StoreError::UnknownVersion { path: path.to_owned(), what: format!("{row}: {error}") }
            }
            FormatError::Damaged(what) => StoreError::damaged(path, format!("{row}: {what}")),
        }
    }

    /// A snapshot's head (`part` is `None`) or part.
    pub(super) fn snapshot(path: &Path, key: &SnapshotKey, part: Option<u32>, error: &FormatError) -> StoreError {
        match error {
            FormatError::Version { .. } => StoreError::UnknownVersion {
                path: path.to_owned(),
                what: format!(
                    "the snapshot of operator `{}`, shard `{}`, checkpoint `{}`: {error}",
                    key.operator, key.shard, key.checkpoint
                ),
            },
            FormatError::Damaged(what) => StoreError::DamagedSnapshot {
                path: path.to_owned(),
                operator: key.operator.clone(),
                shard: key.shard,
                checkpoint: key.checkpoint,
                part,
                what: what.clone(),
            },
        }
    }
}
