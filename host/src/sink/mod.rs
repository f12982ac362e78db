//! Sinks: where records leave, one file a kind, and the one thread that serves them all.
//!
//! The sink thread aligns barriers, owns the one transactional producer, and shows nothing to a reader before the checkpoint
//! that holds it is decided. Next room: [`crate::checkpoint`].

pub mod file;
pub mod kafka;
pub mod task;

/// Why a sink cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Writing failed; a new start may help (exit 75).
    #[error("sink `{sink}`: {what}")]
    Failed {
        /// The sink's name in the job file.
        sink: String,
        /// What failed, where.
        what: String,
        /// The cause.
        #[source]
        cause: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// A record cannot be written, now or ever (exit 1).
    #[error("sink `{sink}`: {what}")]
    Refused {
        /// The sink's name in the job file.
        sink: String,
        /// The record, the limit and the way out.
        what: String,
    },
    /// What is there is not what this job wrote: a person must look (exit 78).
    #[error("sink `{sink}`: {what}")]
    Stop {
        /// The sink's name in the job file.
        sink: String,
        /// What was found, what is safe, and the way on.
        what: String,
    },
}
