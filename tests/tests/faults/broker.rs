//! Rows about one broker and the network to it.
//!
//! Next room: `process`.

use crate::matrix::Row;

pub(crate) const ROWS: &[Row] = &[Row::elsewhere(
    "SIGKILL in a commit",
    "the broker is killed when it has the request to commit, and comes back while the commit is repeated, or after",
    "the commit happens once, or the process ends (75) and the marker decides",
    (
        "tests/tests/kafka_transaction.rs",
        "a_broker_that_dies_in_a_commit_leaves_it_unknown_or_commits_once_when_it_is_back",
    ),
)];
