//! Every reason for which the host stops for a person (exit 78), each with a short code that is stable.
//!
//! `host/STOPS.md` has a heading for each code: what happened, what is safe, the way on. A test holds the two together. Pure;
//! next rooms: [`crate::error`] (which error is which), [`crate::repair`] (what can be done).

/// Declares the codes once.
macro_rules! stops {
    ($($(#[$doc:meta])* $name:ident $code:literal,)*) => {
        /// A reason to stop for a person.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Stop {
            $($(#[$doc])* $name,)*
        }

        impl Stop {
            /// All of them, in the order of `STOPS.md`.
            pub const ALL: &[Stop] = &[$(Stop::$name),*];

            /// The code, as it stands in messages and in `STOPS.md`.
            pub fn code(self) -> &'static str {
                match self {
                    $(Stop::$name => $code,)*
                }
            }
        }
    };
}

stops! {
    /// A transaction from before the start is still open.
    HangingTransaction "hanging-transaction",
    /// A committed transaction stays undecided in a partition.
    CommitUndecided "commit-undecided",
    /// Commit was acknowledged and the marker says otherwise.
    MarkerContradicts "marker-contradicts",
    /// The marker's topic holds something that is no marker.
    MarkerUnreadable "marker-unreadable",
    /// The store committed something that the marker does not know.
    MarkerLost "marker-lost",
    /// The store lags behind the marker.
    StoreBehind "store-behind",
    /// The marker is of an attempt that this store did not prepare.
    UnknownAttempt "unknown-attempt",
    /// The marker names another store.
    ForeignStore "foreign-store",
    /// The job's sinks would decide elsewhere than the store's checkpoints were.
    DeciderChanged "decider-changed",
    /// The output holds bytes that are not this job's.
    OutputForeign "output-foreign",
    /// The output is shorter than the job left it.
    OutputShort "output-short",
    /// The output is another file than the one that the job wrote.
    OutputReplaced "output-replaced",
    /// The output is gone.
    OutputGone "output-gone",
    /// A staging file with decided lines is gone.
    StagingGone "staging-gone",
    /// Another process writes the output.
    OutputLocked "output-locked",
    /// The output cannot be written, or its last line has no end.
    OutputUnusable "output-unusable",
    /// A disk answered with an error after which its cache cannot be believed.
    DiskError "disk-error",
    /// Records of a topic were deleted before they were read.
    OffsetsGone "offsets-gone",
    /// A topic was deleted and made again.
    TopicRecreated "topic-recreated",
    /// A topic has fewer partitions than the checkpoint.
    PartitionsGone "partitions-gone",
    /// The brokers belong to another cluster.
    ClusterChanged "cluster-changed",
    /// The consumer group to start from has no offsets.
    GroupEmpty "group-empty",
    /// An input file is not the one that was read.
    FileChanged "file-changed",
    /// There is nothing to read.
    NothingToRead "nothing-to-read",
    /// Sources, sinks or shards of the job file are not those of the checkpoint.
    JobChanged "job-changed",
    /// State was written by other code or another configuration.
    OperatorChanged "operator-changed",
    /// The cluster refuses for good.
    KafkaRefused "kafka-refused",
    /// The store's file is not what was written.
    StoreDamaged "store-damaged",
    /// The store belongs to another job.
    StoreOfAnotherJob "store-of-another-job",
    /// The store was written by a newer build.
    StoreVersion "store-version",
    /// The store's file cannot be reached.
    StoreUnreachable "store-unreachable",
    /// A bug in the host, caught before anything was written.
    HostBug "host-bug",
}

impl Stop {
    /// The reason that a text names at its end: `… (stop: marker-lost)`.
    pub fn in_text(text: &str) -> Option<Stop> {
        let (_, rest) = text.rsplit_once("(stop: ")?;
        let (code, _) = rest.split_once(')')?;
        Stop::ALL.iter().copied().find(|stop| stop.code() == code)
    }
}

#[cfg(test)]
mod tests {
    use super::Stop;
    use std::collections::BTreeSet;

    const DOCUMENT: &str = include_str!("../STOPS.md");

    /// The codes in the document's headings.
    fn headings() -> Vec<&'static str> {
        let heading = |line: &'static str| line.strip_prefix("### stop: ");
        DOCUMENT.lines().filter_map(heading).collect()
    }

    #[test]
    fn the_document_has_each_stop_once_and_nothing_else() {
        let codes: Vec<&str> = Stop::ALL.iter().map(|stop| stop.code()).collect();
        assert_eq!(headings(), codes, "`host/STOPS.md` and `stops.rs` differ");
        assert_eq!(codes.iter().collect::<BTreeSet<_>>().len(), codes.len(), "a code stands twice");
    }

    #[test]
    fn each_chapter_says_what_happened_what_is_safe_and_the_way_on() {
        for chapter in DOCUMENT.split("### stop: ").skip(1) {
            let code = chapter.lines().next().unwrap_or_default();
            for part in ["**What happened.**", "**What is safe.**", "**The way on.**"] {
                assert!(chapter.contains(part), "`{code}` does not say: {part}");
            }
        }
    }

    #[test]
    fn a_code_is_found_at_the_end_of_a_text() {
        assert_eq!(Stop::in_text("topic `a` was made again (stop: topic-recreated)"), Some(Stop::TopicRecreated));
        assert_eq!(Stop::in_text("sink `a`: (stop: nonsense)"), None);
        assert_eq!(Stop::in_text("nothing"), None);
    }
}
