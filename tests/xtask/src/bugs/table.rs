//! Which test has to find which bug. A test of the tests crate keeps the list complete: every bug of the host is here once.

/// A program that must fail when the host has the bug, and pass when it has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// The simulation, over as many seeds as a test run takes.
    Simulation,
    /// A unit test of the host.
    Host(&'static str),
    /// A test of the tests crate: the target and the test.
    Test(&'static str, &'static str),
}

const FILE_KILLS: Check =
    Check::Test("exactly_once_files", "a_kill_at_any_moment_of_a_checkpoint_loses_and_doubles_nothing");
const KAFKA_KILLS: Check =
    Check::Test("exactly_once_kafka", "a_kill_at_any_moment_of_a_checkpoint_loses_and_doubles_nothing");
const COUNTED_KILLS: Check =
    Check::Test("dead_letters", "kills::kafka_gets_each_dead_letter_once_wherever_the_host_is_killed");
const KAFKA_RECOVERY_KILLS: Check = Check::Test("exactly_once_kafka", "a_kill_in_recovery_loses_and_doubles_nothing");
const LATE_END: Check = Check::Test("exactly_once_kafka", "a_late_end_of_a_transaction_finds_the_producer_replaced");
const RANDOM_STORE: Check =
    Check::Host("state::store::tests::random::restored_images_equal_the_model_over_300_checkpoints");

/// Every bug, and what finds it; each check of a bug must.
pub const CAUGHT_BY: &[(&str, &[Check])] = &[
    ("CommitBeforePrepared", &[Check::Simulation]),
    ("MarkerLeftOut", &[Check::Simulation, KAFKA_KILLS]),
    ("MarkerBeforePrepared", &[Check::Simulation]),
    (
        "NoConfirm",
        &[
            Check::Simulation,
            Check::Test(
                "state_repair",
                "hanging::a_committed_checkpoint_that_hangs_in_a_sink_partition_is_committed_there",
            ),
        ],
    ),
    ("NoRotation", &[Check::Simulation, LATE_END]),
    ("OffsetsOneShort", &[Check::Simulation, COUNTED_KILLS]),
    ("PositionsAfterBarrier", &[Check::Simulation, KAFKA_KILLS]),
    ("SnapshotBeforeAlignment", &[Check::Simulation]),
    ("LanesNotBlocked", &[Check::Simulation, COUNTED_KILLS]),
    ("BarrierOvertakesRows", &[Check::Simulation, KAFKA_KILLS]),
    ("SinkReadsOn", &[Check::Simulation]),
    ("OldAttemptAccepted", &[Check::Simulation]),
    ("DigestIgnored", &[Check::Host("checkpoint::recovery::tests::everything_else_stops_and_says_why")]),
    ("ForeignStoreAccepted", &[Check::Simulation]),
    ("LostMarkerAccepted", &[Check::Simulation]),
    ("AbortByOldProducer", &[Check::Simulation]),
    ("RetryAfterUnknownCommit", &[Check::Simulation]),
    ("NumbersReused", &[Check::Simulation]),
    ("StalePartsLeft", &[Check::Simulation, RANDOM_STORE]),
    ("FoldPastCommitted", &[Check::Simulation, RANDOM_STORE]),
    ("GarbageTakenTooEarly", &[Check::Simulation, RANDOM_STORE]),
    ("CheckpointDropped", &[Check::Simulation]),
    ("WatermarkNotRestored", &[Check::Simulation]),
    ("WatermarkLowered", &[Check::Simulation]),
    ("IdleRestored", &[Check::Simulation]),
    ("AdvanceMissedAfterRestore", &[Check::Simulation]),
    ("DeltasInWrongOrder", &[Check::Simulation, RANDOM_STORE]),
    (
        "DirtyPageMissed",
        &[
            Check::Simulation,
            Check::Host("state::tracker::shadow::tests::the_first_take_gives_the_pages_that_are_not_zero"),
        ],
    ),
    (
        "GlobalsNotCaptured",
        &[
            Check::Simulation,
            Check::Host("plugin::tests::restore::a_restored_instance_goes_on_with_the_same_bytes_in_another_engine"),
        ],
    ),
    ("InitBeforeMarker", &[Check::Simulation]),
    ("MarkerNotReadAgain", &[Check::Simulation]),
    ("NoSettle", &[Check::Simulation]),
    ("MarkerReadUncommitted", &[Check::Simulation, KAFKA_RECOVERY_KILLS]),
    (
        "WrittenMarkerIgnored",
        &[
            Check::Host(
                "checkpoint::recovery::tests::a_marker_that_was_written_tells_an_old_copy_although_readers_do_not_get_it",
            ),
            Check::Test("state_repair", "hanging::a_marker_that_hangs_gives_an_old_copy_of_the_store_away"),
        ],
    ),
    ("NoCheckpointZero", &[Check::Simulation]),
    (
        "AppendWithoutLooking",
        &[
            Check::Simulation,
            Check::Host("sink::file::tests::a_process_that_ends_between_any_two_calls_loses_and_doubles_nothing"),
        ],
    ),
    ("CleanCacheTrusted", &[Check::Simulation]),
    ("ApplyBeforeDecided", &[Check::Simulation, FILE_KILLS]),
    ("StagingNotSynced", &[Check::Simulation]),
];
