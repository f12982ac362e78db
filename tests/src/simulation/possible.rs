//! Which faults can strike at which moments, each exclusion with its reason. Next room: `coverage`.

use super::coverage::{Fault, Moment};

/// Whether a fault can strike a process at a moment.
pub(super) fn pair(fault: Fault, moment: Moment) -> bool {
    use Fault as F;
    use Moment as M;
    let _ = M::Idle;
    match fault {
        // They need a request on its way.
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
        _ => true,
    }
}
