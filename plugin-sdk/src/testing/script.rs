//! The same input in batches of several sizes, which must all give the same.
//!
//! Next room: [`super::Harness`].

use super::{Harness, Record, Results};
use crate::error::Error;
use crate::operator::{Operator, Watermark};

/// A step of a test's input.
///
/// ```
/// use tidegate_sdk::Watermark;
/// use tidegate_sdk::testing::{Record, Step};
///
/// let steps = [Step::Records(0, vec![Record::at(1_000).key("alice")]), Step::Watermark(Watermark::END)];
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Records for an input port, which are cut into batches.
    Records(u32, Vec<Record>),
    /// The watermark reaches this.
    Watermark(Watermark),
}

/// Runs the same steps with batches of one row, of seven, and as large as they are, and gives the results, which must
/// be the same. How records are cut into batches is the host's affair and never the same twice, so this belongs into
/// every operator's tests.
///
/// # Errors
///
/// What the operator returns, at any size.
///
/// # Panics
///
/// If the results differ: the message shows the first difference.
///
/// ```
/// use tidegate_sdk::*;
/// use tidegate_sdk::testing::{Record, Step, same_at_every_batch_size};
///
/// # struct Pass;
/// # impl Operator for Pass {
/// #     type Config = NoConfig;
/// #     fn describe(_: &NoConfig) -> Result<Description, Error> {
/// #         Ok(Description::new().input(InputPort::new("main")).output("all"))
/// #     }
/// #     fn open(_: NoConfig, _: &Context) -> Result<Pass, Error> { Ok(Pass) }
/// #     fn process(&mut self, _: u32, _: Watermark, batch: Batch<'_>, out: &mut Output) -> Result<(), Error> {
/// #         batch.rows().for_each(|row| out.port(0).forward(row));
/// #         Ok(())
/// #     }
/// # }
/// let records = (0..100).map(|second| Record::at(second * 1_000).key("alice")).collect();
/// let steps = [Step::Records(0, records), Step::Watermark(Watermark::END)];
/// let results = same_at_every_batch_size::<Pass>("{}", &steps).unwrap();
/// assert_eq!(results.forwarded(0).len(), 100);
/// ```
pub fn same_at_every_batch_size<O: Operator>(config: &str, steps: &[Step]) -> Result<Results, Error> {
    let whole = run::<O>(config, steps, usize::MAX)?;
    for rows in [1, 7] {
        let cut = run::<O>(config, steps, rows)?;
        if let Some(difference) = whole.difference(&cut) {
            panic!("batches of {rows} rows give another result than whole ones: {difference}");
        }
    }
    Ok(whole)
}

fn run<O: Operator>(config: &str, steps: &[Step], rows: usize) -> Result<Results, Error> {
    let mut harness = Harness::<O>::open(config)?;
    for step in steps {
        match step {
            Step::Records(port, records) => {
                records.chunks(rows).try_for_each(|batch| harness.process(*port, batch))?;
            }
            Step::Watermark(watermark) => harness.advance(*watermark)?,
        }
    }
    Ok(harness.into_results())
}
