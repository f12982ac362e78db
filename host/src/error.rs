//! Why a job ended other than as asked, and what its supervisor should do about it.
//!
//! Each door has its own errors; this enum only gathers them and gives each class its exit code.

use crate::checkpoint::recovery::Conflict;
use crate::config::ConfigErrors;
use crate::config::model::Job;
use crate::exchange::Closed;
use crate::ids::{CheckpointId, ShardId};
use crate::kafka::transaction::SettleError;
use crate::kafka::{Class, KafkaError};
use crate::plugin::PluginError;
use crate::sink::SinkError;
use crate::source::SourceError;
use crate::state::{FailureClass, StoreError};
use crate::stops::Stop;

/// The job did what was asked.
pub const EXIT_DONE: u8 = 0;
/// The job failed for a reason that a restart does not mend: a bad record, a plugin's error.
pub const EXIT_FAILED: u8 = 1;
/// The command line or the job file is wrong.
pub const EXIT_USAGE: u8 = 2;
/// A new start may help: it recovers from the last checkpoint.
pub const EXIT_RESTART: u8 = 75;
/// A person must look: a start would meet the same conflict.
pub const EXIT_STOP: u8 = 78;
/// The job was interrupted at once, without a last checkpoint.
pub const EXIT_INTERRUPTED: u8 = 130;

/// Why a job ended.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The job file does not fit the plugins.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// A plugin could not be used or a call failed.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// A plugin does not suit its operator.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// A plugin failed while it ran.
    #[error(
        "operator `{operator}` failed on {input}; the last checkpoint is intact. Mend the input or the configuration and \
         start again, or mend the plugin and start it with empty state (`--fresh {operator}`)"
    )]
    OperatorFailed {
        /// The operator's name.
        operator: String,
        /// What it was given: which records, or which watermark.
        input: String,
        /// What happened.
        #[source]
        cause: PluginError,
    },
    /// Calls that were repeated to undo a failed one gave something else.
    #[error(
        "operator `{operator}` shard `{shard}` is not deterministic: a call failed, so those since the last checkpoint were \
         repeated, and of {call}, {what}. The last checkpoint is intact. The same calls must give the same results: look for \
         anything random, for addresses and for tables without an order in what it emits; until it is mended use \
         `on_error = \"fail\"`"
    )]
    Nondeterministic {
        /// The operator's name.
        operator: String,
        /// The shard.
        shard: ShardId,
        /// Which call.
        call: String,
        /// What was different.
        what: String,
    },
    /// More records than allowed made the plugin fail.
    #[error(
        "operator `{operator}` failed again on {input}; the last checkpoint is intact. So many \
         failures are a bug of the plugin, or input that it was not written for: mend one of them, or raise the limit"
    )]
    TooManyFailures {
        /// The operator's name.
        operator: String,
        /// What it was given: which record; then the limit and its setting.
        input: String,
        /// What happened.
        #[source]
        cause: PluginError,
    },
    /// A source cannot go on.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A sink cannot go on.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The store cannot go on.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Kafka refused or did not answer.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// Store and marker contradict each other.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// A start that needs a decision of a person.
    #[error("{0}")]
    Stop(String),
    /// An operator rejected a row and the policy is `fail`.
    #[error(
        "operator `{operator}` rejected the record at `{position}`: {reason} (code `{code}`); mend the input, or set \
         `on_rejected = \"dead-letter\"` for the operator and a sink with `from = [\"dead-letters\"]`"
    )]
    Rejected {
        /// The operator's name.
        operator: String,
        /// Where the record was read.
        position: String,
        /// The plugin's code.
        code: String,
        /// The plugin's reason.
        reason: String,
    },
    /// A checkpoint was not prepared in time.
    #[error(
        "checkpoint `{id}` was not prepared within `checkpoint.timeout`; the one before it is intact and the next start \
         goes on from there. If this comes again: a barrier waits behind the records before it, so raise `timeout` of \
         `[checkpoint]`, lower `channel` of `[limits]`, or make the slowest operator or sink faster"
    )]
    CheckpointTimeout {
        /// The checkpoint.
        id: CheckpointId,
    },
    /// The outcome of a commit is not known; only a new process may look.
    #[error("whether checkpoint `{id}` was committed is not known; the next start asks Kafka and goes on from there")]
    CommitUnknown {
        /// The checkpoint.
        id: CheckpointId,
        /// What the commit said.
        #[source]
        cause: KafkaError,
    },
    /// A thread ended without a word.
    #[error("thread `{thread}` ended unexpectedly; the last checkpoint is intact")]
    ThreadDied {
        /// The thread's name.
        thread: String,
    },
    /// The operating system refused a thread.
    #[error("cannot start thread `{thread}`")]
    Spawn {
        /// The thread's name.
        thread: String,
        /// The cause.
        #[source]
        cause: std::io::Error,
    },
    /// A stop did not get its last checkpoint in time.
    #[error(
        "the job was asked to stop, but its last checkpoint was not decided within `checkpoint.timeout`; the one before it \
         is intact and the next start goes on from there"
    )]
    StopTimeout,
    /// The receiver of a lane is gone: its thread has said why.
    #[error("another thread of the job ended first")]
    Closed,
    /// A commit was acknowledged, but not what follows it.
    #[error("after the commit")]
    Settle(#[from] SettleError),
    /// Asked to end at once.
    #[error("the job was interrupted; the next start goes on from the last checkpoint")]
    StoppedAtOnce,
}

impl JobError {
    /// What the process should exit with, so that its supervisor knows whether to start it again.
    pub fn exit_code(&self) -> u8 {
        match self {
            JobError::Config(_) => EXIT_USAGE,
            JobError::Plugin(_)
            | JobError::Operator(_)
            | JobError::OperatorFailed { .. }
            | JobError::Nondeterministic { .. }
            | JobError::TooManyFailures { .. }
            | JobError::Rejected { .. }
            | JobError::Source(SourceError::BadRecord { .. })
            | JobError::Sink(SinkError::Refused { .. }) => EXIT_FAILED,
            JobError::Source(SourceError::Changed { .. })
            | JobError::Sink(SinkError::Stop { .. })
            | JobError::Conflict(_)
            | JobError::Stop(_) => EXIT_STOP,
            JobError::Store(error) => match error.class() {
                FailureClass::Restart => EXIT_RESTART,
                FailureClass::Stop => EXIT_STOP,
            },
            JobError::Kafka(error) => match error.class() {
                Class::Retry | Class::Unknown => EXIT_RESTART,
                Class::Fatal => EXIT_STOP,
            },
            JobError::Settle(error) => match error {
                SettleError::Undecided(_) | SettleError::OtherMarker { .. } | SettleError::Malformed(_) => EXIT_STOP,
                SettleError::NoAnswer(_) | SettleError::Kafka(_) => EXIT_RESTART,
            },
            JobError::Source(SourceError::Failed { .. })
            | JobError::Sink(SinkError::Failed { .. })
            | JobError::CheckpointTimeout { .. }
            | JobError::StopTimeout
            | JobError::CommitUnknown { .. }
            | JobError::ThreadDied { .. }
            | JobError::Spawn { .. }
            | JobError::Closed => EXIT_RESTART,
            JobError::StoppedAtOnce => EXIT_INTERRUPTED,
        }
    }
}

impl JobError {
    /// The reason to stop for a person, if it is one: what `STOPS.md` has a chapter about.
    pub fn stop(&self) -> Option<Stop> {
        match self {
            _ if self.exit_code() != EXIT_STOP => None,
            JobError::Conflict(conflict) => Some(conflict.stop()),
            JobError::Store(error) => Some(error.stop()),
            JobError::Kafka(_) => Some(Stop::KafkaRefused),
            JobError::Settle(error) => error.stop(),
            // Rooms with many reasons say which one it is at the end of the text.
            error => Stop::in_text(&error.to_string()),
        }
    }
}

/// A plugin that does not suit its operator.
#[derive(Debug, thiserror::Error)]
#[error("{place}: operator `{operator}` cannot use its plugin")]
pub struct OperatorError {
    /// The job file, the line and the column of the key that is to blame.
    pub place: String,
    /// The operator's name.
    pub operator: String,
    /// Why.
    #[source]
    pub cause: PluginProblem,
}

/// What is wrong with an operator's plugin.
#[derive(Debug, thiserror::Error)]
pub enum PluginProblem {
    /// There is no such file, or it may not be read.
    #[error("the artifact cannot be read")]
    Unreadable(#[source] std::io::Error),
    /// The host refuses it, or it refuses its configuration.
    #[error(transparent)]
    Refused(#[from] PluginError),
}

impl OperatorError {
    /// Finds the place in the job file.
    pub fn new(job: &Job, operator: &str, cause: impl Into<PluginProblem>) -> OperatorError {
        let cause = cause.into();
        let key = match &cause {
            PluginProblem::Refused(PluginError::Configuration { .. }) => "config",
            PluginProblem::Refused(_) | PluginProblem::Unreadable(_) => "plugin",
        };
        let keys = [format!("operator.{operator}.{key}"), format!("operator.{operator}")];
        let place = keys.iter().find_map(|key| job.places.keys.get(key));
        let file = job.places.file.display();
        let place = place.map_or_else(|| file.to_string(), |place| format!("{file}:{}:{}", place.line, place.column));
        OperatorError { place, operator: operator.to_owned(), cause }
    }
}

impl From<Closed> for JobError {
    fn from(_: Closed) -> JobError {
        JobError::Closed
    }
}
