//! Bugs put in on purpose, to see that the tests find them: the checker is checked (`cargo xtask bugs`).
//!
//! They exist in builds with the feature `seeded-bugs` only, and there one at most is active: the one that
//! `TIDEGATE_BUG` names when the process starts. Without the feature [`is`] is the constant `false`. Where a step is taken
//! by thin code that a simulation models (a worker's capture, the writer's order), the model asks the same question.

/// A bug. Each is a mistake that somebody could make here, and loses, doubles or reorders records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// The checkpoint is decided when its parts are collected; PREPARED is written at the same time.
    CommitBeforePrepared,
    /// The transaction is committed without a marker.
    MarkerLeftOut,
    /// The marker goes into the transaction when the output is flushed, before PREPARED.
    MarkerBeforePrepared,
    /// An OK from the coordinator is taken for a commit in every partition.
    NoConfirm,
    /// A doubtful producer is used again.
    NoRotation,
    /// A source reports the position of its last record instead of the next one's.
    OffsetsOneShort,
    /// A source reports the positions it has when somebody asks, not those at the barrier.
    PositionsAfterBarrier,
    /// A receiver takes its snapshot at the first barrier that arrives.
    SnapshotBeforeAlignment,
    /// A receiver reads on in a lane whose barrier arrived, and takes its snapshot after the others'.
    LanesNotBlocked,
    /// A barrier overtakes rows that wait in a batch that is not full.
    BarrierOvertakesRows,
    /// The sink thread reads on between the cut and the decision: output of n+1 enters the transaction of n.
    SinkReadsOn,
    /// Recovery compares a marker's number only, not its attempt.
    OldAttemptAccepted,
    /// Recovery does not compare the marker's digest.
    DigestIgnored,
    /// Recovery does not compare the marker's store.
    ForeignStoreAccepted,
    /// Recovery takes the marker's absence for "nothing was ever committed".
    LostMarkerAccepted,
    /// A producer whose commit failed aborts, and the process goes on.
    AbortByOldProducer,
    /// A commit whose outcome is unknown is done again in a new transaction.
    RetryAfterUnknownCommit,
    /// The next number follows the last COMMITTED one, not the highest ever prepared.
    NumbersReused,
    /// A rollback forgets the record and leaves the snapshots' parts.
    StalePartsLeft,
    /// Deltas of the checkpoint that is not decided are folded into the base.
    FoldPastCommitted,
    /// What the last COMMITTED checkpoint needs is dropped when the next one is prepared.
    GarbageTakenTooEarly,
    /// A checkpoint that takes too long is forgotten, and the next one begins.
    CheckpointDropped,
    /// A shard's watermarks are not restored.
    WatermarkNotRestored,
    /// A watermark is taken as it comes, even if it is lower.
    WatermarkLowered,
    /// A split that was idle at the checkpoint is idle after the restore.
    IdleRestored,
    /// Whether the plugin waits for `advance` is not restored.
    AdvanceMissedAfterRestore,
    /// Deltas are applied newest first.
    DeltasInWrongOrder,
    /// The last dirty page is not captured.
    DirtyPageMissed,
    /// Mutable globals are not captured.
    GlobalsNotCaptured,
    /// The producer is initialised before the marker is looked at.
    InitBeforeMarker,
    /// Recovery decides by the marker it saw before the producer was initialised.
    MarkerNotReadAgain,
    /// Recovery does not wait until what an earlier life left open is decided.
    NoSettle,
    /// The marker is read uncommitted.
    MarkerReadUncommitted,
    /// A marker that was written and that readers do not get is not held against the store's numbers.
    WrittenMarkerIgnored,
    /// Records are read before a first checkpoint is decided.
    NoCheckpointZero,
    /// A file sink appends at the end of the file, wherever that is.
    AppendWithoutLooking,
    /// A file sink repeats an fsync that failed and believes the second answer.
    CleanCacheTrusted,
    /// A file sink applies its staging file when it is staged.
    ApplyBeforeDecided,
    /// A staging file is not made durable before PREPARED.
    StagingNotSynced,
}

impl Bug {
    /// All of them.
    pub const ALL: &[Bug] = &[
        Bug::CommitBeforePrepared,
        Bug::MarkerLeftOut,
        Bug::MarkerBeforePrepared,
        Bug::NoConfirm,
        Bug::NoRotation,
        Bug::OffsetsOneShort,
        Bug::PositionsAfterBarrier,
        Bug::SnapshotBeforeAlignment,
        Bug::LanesNotBlocked,
        Bug::BarrierOvertakesRows,
        Bug::SinkReadsOn,
        Bug::OldAttemptAccepted,
        Bug::DigestIgnored,
        Bug::ForeignStoreAccepted,
        Bug::LostMarkerAccepted,
        Bug::AbortByOldProducer,
        Bug::RetryAfterUnknownCommit,
        Bug::NumbersReused,
        Bug::StalePartsLeft,
        Bug::FoldPastCommitted,
        Bug::GarbageTakenTooEarly,
        Bug::CheckpointDropped,
        Bug::WatermarkNotRestored,
        Bug::WatermarkLowered,
        Bug::IdleRestored,
        Bug::AdvanceMissedAfterRestore,
        Bug::DeltasInWrongOrder,
        Bug::DirtyPageMissed,
        Bug::GlobalsNotCaptured,
        Bug::InitBeforeMarker,
        Bug::MarkerNotReadAgain,
        Bug::NoSettle,
        Bug::MarkerReadUncommitted,
        Bug::WrittenMarkerIgnored,
        Bug::NoCheckpointZero,
        Bug::AppendWithoutLooking,
        Bug::CleanCacheTrusted,
        Bug::ApplyBeforeDecided,
        Bug::StagingNotSynced,
    ];
}

#[cfg(feature = "seeded-bugs")]
static ACTIVE: std::sync::OnceLock<Option<Bug>> = std::sync::OnceLock::new();

/// Whether this process has the bug.
#[cfg(feature = "seeded-bugs")]
pub fn is(bug: Bug) -> bool {
    *ACTIVE.get_or_init(|| {
        let name = std::env::var("TIDEGATE_BUG").ok()?;
        let bug = Bug::ALL.iter().find(|bug| format!("{bug:?}") == name);
        Some(*bug.unwrap_or_else(|| panic!("there is no seeded bug `{name}`; `cargo xtask bugs` lists them")))
    }) == Some(bug)
}

/// Whether this process has the bug: never.
#[cfg(not(feature = "seeded-bugs"))]
#[inline]
pub const fn is(_bug: Bug) -> bool {
    false
}
