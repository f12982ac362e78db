//! The trait that an author implements, and what it is told.
//!
//! Next rooms: [`crate::batch`] for what comes in, [`crate::output`] for what goes out.

use crate::batch::Batch;
use crate::bindings::tidegate::plugin::types as wit;
use crate::description::Description;
use crate::error::Error;
use crate::output::Output;
use serde::de::DeserializeOwned;

/// An operator: a struct that holds its state in plain fields, and these four functions. [`crate::export!`] makes a
/// plugin of it.
///
/// One instance serves one shard: it sees all records of its keys. The host snapshots the instance's memory at every
/// checkpoint and puts it back after a crash, so there is nothing to save or load here. Two rules keep that exact: use
/// no clock and no randomness (time comes with the records), and let the way in which records are cut into batches
/// change nothing, which [`crate::testing::same_at_every_batch_size`] tests.
///
/// ```
/// use tidegate_sdk::*;
///
/// /// Counts records, and says the count of each batch's last row.
/// struct Counter { seen: u64 }
///
/// impl Operator for Counter {
///     type Config = NoConfig;
///
///     fn describe(_: &NoConfig) -> Result<Description, Error> {
///         Ok(Description::new().input(InputPort::new("main").key()).output("counts"))
///     }
///
///     fn open(_: NoConfig, _: &Context) -> Result<Counter, Error> {
///         Ok(Counter { seen: 0 })
///     }
///
///     fn process(&mut self, _: u32, _: Watermark, batch: Batch<'_>, out: &mut Output) -> Result<(), Error> {
///         for row in batch.rows() {
///             self.seen += 1;
///             out.port(0).emit_json(row.key(), &self.seen, row.timestamp())?;
///         }
///         Ok(())
///     }
/// }
///
/// tidegate_sdk::export!(Counter);
/// ```
pub trait Operator: Sized {
    /// The operator's `config` table in the job file. Add `#[serde(deny_unknown_fields)]`, so that a typing error is
    /// found.
    type Config: DeserializeOwned;

    /// Says which ports the operator has under a configuration, and refuses a configuration that cannot work
    /// ([`Error::configuration`]). Runs before anything else and depends on `config` alone, so `tidegate check` can
    /// call it.
    fn describe(config: &Self::Config) -> Result<Description, Error>;

    /// Begins the life of an instance, once. Not called when an instance is restored.
    fn open(config: Self::Config, context: &Context) -> Result<Self, Error>;

    /// Takes rows of the input port number `port`. A row is late for whatever ended at or before `watermark`.
    ///
    /// End with [`Output::next_advance`] if you know when [`advance`](Operator::advance) is wanted; without it, it is
    /// called at every watermark.
    fn process(&mut self, port: u32, watermark: Watermark, batch: Batch<'_>, out: &mut Output) -> Result<(), Error>;

    /// Event time has reached `watermark`: close windows and fire timers here. Does nothing unless it is written.
    fn advance(&mut self, watermark: Watermark, out: &mut Output) -> Result<(), Error> {
        let _ = watermark;
        out.next_advance(i64::MAX);
        Ok(())
    }
}

/// How far event time has come: no timestamp below it is expected any more. In milliseconds since the Unix epoch.
///
/// ```
/// use tidegate_sdk::Watermark;
///
/// assert!(Watermark::NONE < Watermark::at(-5) && Watermark::at(-5) < Watermark::END);
/// assert_eq!(Watermark::at(1_000).millis(), 1_000);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Watermark(i64);

impl Watermark {
    /// Before the first watermark: nothing is late.
    ///
    /// ```
    /// assert_eq!(tidegate_sdk::Watermark::NONE.millis(), i64::MIN);
    /// ```
    pub const NONE: Watermark = Watermark(i64::MIN);

    /// The end of the input. It is no time: do not stamp records with it.
    ///
    /// ```
    /// assert_eq!(tidegate_sdk::Watermark::END.millis(), i64::MAX);
    /// ```
    pub const END: Watermark = Watermark(i64::MAX);

    /// Makes the watermark at `millis`, in milliseconds since the Unix epoch.
    ///
    /// ```
    /// assert_eq!(tidegate_sdk::Watermark::at(60_000).millis(), 60_000);
    /// ```
    pub const fn at(millis: i64) -> Watermark {
        Watermark(millis)
    }

    /// Milliseconds since the Unix epoch.
    ///
    /// ```
    /// assert_eq!(tidegate_sdk::Watermark::at(60_000).millis(), 60_000);
    /// ```
    pub const fn millis(self) -> i64 {
        self.0
    }
}

/// Where an instance stands: which job and operator, and which slice of the keys.
///
/// ```
/// use tidegate_sdk::Context;
///
/// let context = Context::new("fraud", "detector").at_shard(3, 16).with_seed(7);
/// assert_eq!((context.job(), context.shard(), context.shards()), ("fraud", 3, 16));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Context {
    inner: wit::Context,
}

impl Context {
    /// Makes the context of shard 0 of 1 with seed 0, for tests.
    ///
    /// ```
    /// assert_eq!(tidegate_sdk::Context::new("job", "operator").operator(), "operator");
    /// ```
    #[must_use]
    pub fn new(job: &str, operator: &str) -> Context {
        Context {
            inner: wit::Context {
                job: job.to_owned(),
                operator: operator.to_owned(),
                shard: 0,
                shards: 1,
                seed: 0,
                settings: Vec::new(),
            },
        }
    }

    /// The same context for another shard, for tests.
    ///
    /// ```
    /// assert_eq!(tidegate_sdk::Context::new("job", "operator").at_shard(1, 4).shards(), 4);
    /// ```
    #[must_use]
    pub fn at_shard(mut self, number: u32, shards: u32) -> Context {
        self.inner.shard = number;
        self.inner.shards = shards;
        self
    }

    /// The same context with another seed, for tests.
    ///
    /// ```
    /// assert_eq!(tidegate_sdk::Context::new("job", "operator").with_seed(9).seed(), 9);
    /// ```
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Context {
        self.inner.seed = seed;
        self
    }

    /// The job's name.
    ///
    /// ```
    /// assert_eq!(tidegate_sdk::Context::new("fraud", "detector").job(), "fraud");
    /// ```
    pub fn job(&self) -> &str {
        &self.inner.job
    }

    /// The operator's name in the job.
    ///
    /// ```
    /// assert_eq!(tidegate_sdk::Context::new("fraud", "detector").operator(), "detector");
    /// ```
    pub fn operator(&self) -> &str {
        &self.inner.operator
    }

    /// This instance's shard, from 0.
    ///
    /// ```
    /// assert_eq!(tidegate_sdk::Context::new("fraud", "detector").shard(), 0);
    /// ```
    pub fn shard(&self) -> u32 {
        self.inner.shard
    }

    /// How many shards the operator has.
    ///
    /// ```
    /// assert_eq!(tidegate_sdk::Context::new("fraud", "detector").shards(), 1);
    /// ```
    pub fn shards(&self) -> u32 {
        self.inner.shards
    }

    /// A number to seed your own random generator with: the same in every life of this shard, another in other shards.
    ///
    /// ```
    /// assert_eq!(tidegate_sdk::Context::new("fraud", "detector").seed(), 0);
    /// ```
    pub fn seed(&self) -> u64 {
        self.inner.seed
    }

    pub(crate) fn as_contract(&self) -> &wit::Context {
        &self.inner
    }

    pub(crate) fn from_contract(inner: wit::Context) -> Context {
        Context { inner }
    }
}
