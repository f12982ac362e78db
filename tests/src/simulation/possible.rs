//! Which faults strike at which moments, each exclusion with its reason. Next room: `coverage`.

use super::coverage::{Fault, Moment};

/// Whether many runs must meet this pair.
pub(super) fn pair(fault: Fault, moment: Moment) -> bool {
    use Fault as F;
    use Moment as M;
    match fault {
        // A request must be on its way.
        F::RequestLost | F::RequestHeld | F::AnswerLost => matches!(
            moment,
            M::Initialise
                | M::StartCommit
                | M::Idle
                | M::Collecting
                | M::Flushing
                | M::BeforeMarker
                | M::Commit
                | M::Replace
        ),
        // The store must be writing. (It also folds while something else goes on; that is met by chance.)
        F::StoreErrorDurable | F::StoreErrorLost => {
            matches!(moment, M::RollBack | M::StartPrepare | M::RecordAtStart | M::Preparing | M::Recording)
        }
        // A file must be synced.
        F::DiskError => matches!(moment, M::Flushing | M::ApplyDecided | M::ApplyAtStart),
        // A control record must be pending: after a commit, or after the end of a transaction by an initialisation.
        F::ControlLost => {
            matches!(moment, M::Look | M::SettlePrepared | M::Initialise | M::StartConfirm | M::Confirm)
        }
        // A transaction must be open.
        F::TransactionExpired => matches!(
            moment,
            M::Look
                | M::Initialise
                | M::StartCommit
                | M::Idle
                | M::Collecting
                | M::Flushing
                | M::Preparing
                | M::Deciding
                | M::BeforeMarker
                | M::Commit
        ),
        // Only a job that runs can be asked.
        F::StopAsked => is_running(moment),
        // There is no copy of a store before its first checkpoint.
        F::OldCopy => !matches!(moment, M::StartPrepare | M::StartCommit | M::StartConfirm),
        // Before checkpoint 0 is decided a topic that was made anew is simply the topic.
        F::SourceRecreated => !matches!(moment, M::StartPrepare | M::StartCommit | M::StartConfirm),
        _ => true,
    }
}

fn is_running(moment: Moment) -> bool {
    use Moment as M;
    matches!(
        moment,
        M::Idle
            | M::Collecting
            | M::Flushing
            | M::Preparing
            | M::Deciding
            | M::BeforeMarker
            | M::Commit
            | M::Confirm
            | M::Succeed
            | M::RotationMarker
            | M::Replace
            | M::ApplyDecided
            | M::Recording
    )
}
