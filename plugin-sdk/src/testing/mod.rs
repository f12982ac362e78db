//! Runs an operator natively, in a unit test: no Wasm, no host, no build step.
//!
//! It calls the operator through the same code as a plugin does, passes only the columns that it asked for, and keeps
//! the host's rules on `next_advance`. Next rooms: `record` for what goes in and comes out, `columns` for how it is
//! passed, `script` for the same input in batches of several sizes.

mod columns;
mod record;
mod script;

pub use record::{Record, Rejected, Results};
pub use script::{Step, same_at_every_batch_size};

use crate::bindings::tidegate::plugin::types as wit;
use crate::error::Error;
use crate::operator::{Context, Operator, Watermark};
use crate::runtime::{self, Instance};

/// Calls of `advance` at one watermark after which an operator is taken to ask for ever.
const ADVANCES_MAX: usize = 1_000_000;

/// An operator under test, and everything that it gave back so far.
///
/// ```
/// use tidegate_sdk::*;
/// use tidegate_sdk::testing::{Harness, Record};
///
/// struct Upper;
///
/// impl Operator for Upper {
///     type Config = NoConfig;
///     fn describe(_: &NoConfig) -> Result<Description, Error> {
///         Ok(Description::new().input(InputPort::new("main").value()).output("upper"))
///     }
///     fn open(_: NoConfig, _: &Context) -> Result<Upper, Error> {
///         Ok(Upper)
///     }
///     fn process(&mut self, _: u32, _: Watermark, batch: Batch<'_>, out: &mut Output) -> Result<(), Error> {
///         for row in batch.rows() {
///             let upper = row.value().unwrap_or_default().to_ascii_uppercase();
///             out.port(0).emit(None, upper.as_slice(), row.timestamp());
///         }
///         Ok(())
///     }
/// }
///
/// let mut test = Harness::<Upper>::open("{}").unwrap();
/// test.process(0, &[Record::at(7).value("hello")]).unwrap();
/// assert_eq!(test.results().emitted(0), [Record::at(7).value("HELLO")]);
/// ```
#[derive(Debug)]
pub struct Harness<O> {
    instance: Instance<O>,
    description: wit::Description,
    watermark: Watermark,
    next_advance: Option<i64>,
    results: Results,
}

impl<O: Operator> Harness<O> {
    /// Describes and opens the operator for a configuration (JSON), as shard 0 of 1.
    ///
    /// # Errors
    ///
    /// What the operator says against the configuration.
    ///
    /// ```
    /// # use tidegate_sdk::*;
    /// fn open<O: Operator>() -> Result<tidegate_sdk::testing::Harness<O>, Error> {
    ///     tidegate_sdk::testing::Harness::open(r#"{"threshold":10}"#)
    /// }
    /// ```
    pub fn open(config: &str) -> Result<Harness<O>, Error> {
        Harness::open_in(config, &Context::new("test", "operator"))
    }

    /// Describes and opens the operator in a context of your own.
    ///
    /// # Errors
    ///
    /// What the operator says against the configuration.
    ///
    /// ```
    /// # use tidegate_sdk::*;
    /// fn second_shard<O: Operator>() -> Result<tidegate_sdk::testing::Harness<O>, Error> {
    ///     let context = Context::new("fraud", "detector").at_shard(1, 2);
    ///     tidegate_sdk::testing::Harness::open_in("{}", &context)
    /// }
    /// ```
    pub fn open_in(config: &str, context: &Context) -> Result<Harness<O>, Error> {
        let description = runtime::describe::<O>(config).map_err(Error::new)?;
        let instance = Instance::open(config, context.as_contract().clone()).map_err(Error::new)?;
        let results = Results::new(description.outputs.len());
        Ok(Harness { instance, description, watermark: Watermark::NONE, next_advance: None, results })
    }

    /// Gives the operator one batch on an input port, at the watermark reached so far.
    ///
    /// # Errors
    ///
    /// What the operator returns; a port that does not exist; a record whose column the host would not have let
    /// through.
    ///
    /// ```
    /// # use tidegate_sdk::{Error, Operator, testing::{Harness, Record}};
    /// # fn example<O: Operator>(test: &mut Harness<O>) -> Result<(), Error> {
    /// test.process(0, &[Record::at(1_000).key("alice"), Record::at(2_000).key("bob")])?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn process(&mut self, port: u32, records: &[Record]) -> Result<(), Error> {
        if records.is_empty() {
            return Ok(());
        }
        let input = self.description.inputs.get(port as usize);
        let input = input.ok_or_else(|| Error::new(format!("input port `{port}` does not exist")))?;
        let batch = columns::batch(&input.columns, records)?;
        let outcome = self.instance.process(port, self.watermark.millis(), &batch).map_err(Error::new)?;
        self.take(outcome, port, records);
        if self.next_advance.is_some_and(|at| at <= self.watermark.millis()) {
            self.advance_while_wanted()?;
        }
        Ok(())
    }

    /// Moves the watermark, and calls the operator's `advance` where a host would: if it is wanted, and as often as it
    /// is.
    ///
    /// # Errors
    ///
    /// What the operator returns; a watermark that falls; an operator that asks to be called for ever.
    ///
    /// ```
    /// # use tidegate_sdk::{Error, Operator, Watermark, testing::Harness};
    /// # fn example<O: Operator>(test: &mut Harness<O>) -> Result<(), Error> {
    /// test.advance(Watermark::at(60_000))?;
    /// test.advance(Watermark::END)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn advance(&mut self, watermark: Watermark) -> Result<(), Error> {
        if watermark < self.watermark {
            let (to, from) = (watermark.millis(), self.watermark.millis());
            return Err(Error::new(format!("a watermark never falls, but this one goes from `{from}` to `{to}`")));
        }
        self.watermark = watermark;
        if self.next_advance.is_none_or(|at| at <= watermark.millis()) {
            self.advance_while_wanted()?;
        }
        Ok(())
    }

    /// What the operator gave back since it was opened.
    ///
    /// ```
    /// # use tidegate_sdk::{Operator, testing::Harness};
    /// # fn example<O: Operator>(test: &Harness<O>) {
    /// assert!(test.results().rejected().is_empty());
    /// # }
    /// ```
    pub fn results(&self) -> &Results {
        &self.results
    }

    /// Ends the test, and gives the results away.
    ///
    /// ```
    /// # use tidegate_sdk::{Operator, testing::{Harness, Results}};
    /// # fn example<O: Operator>(test: Harness<O>) -> Results {
    /// test.into_results()
    /// # }
    /// ```
    pub fn into_results(self) -> Results {
        self.results
    }

    fn advance_while_wanted(&mut self) -> Result<(), Error> {
        for _ in 0..ADVANCES_MAX {
            let outcome = self.instance.advance(self.watermark.millis()).map_err(Error::new)?;
            self.take(outcome, 0, &[]);
            if self.next_advance.is_none_or(|at| at > self.watermark.millis()) {
                return Ok(());
            }
        }
        Err(Error::new(format!("the operator asked for `advance` {ADVANCES_MAX} times at one watermark")))
    }

    fn take(&mut self, outcome: wit::Outcome, port: u32, records: &[Record]) {
        self.next_advance = outcome.next_advance;
        self.results.take(outcome, port, records);
    }
}

#[cfg(test)]
mod tests;
