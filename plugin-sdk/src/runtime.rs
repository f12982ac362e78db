//! Between the contract and an [`Operator`]: parses configurations, wraps batches, collects outcomes.
//!
//! Used by [`crate::export!`] in a plugin and by [`crate::testing`] natively, so a unit test runs the very code that a
//! plugin runs. Not meant to be called by authors. Next room: [`crate::bindings`].

use crate::batch::Batch;
use crate::bindings::tidegate::plugin::types as wit;
use crate::configuration::parse_configuration;
use crate::operator::{Context, Operator, Watermark};
use crate::output::Output;

/// An operator at work, behind the contract's functions.
#[derive(Debug)]
pub struct Instance<O> {
    operator: O,
    outputs: usize,
}

/// Answers the contract's `describe`.
pub fn describe<O: Operator>(config: &str) -> Result<wit::Description, String> {
    report_panics();
    let config = parse_configuration(config).map_err(|error| error.to_string())?;
    let description = O::describe(&config).map_err(|error| error.to_string())?;
    Ok(description.into_contract())
}

impl<O: Operator> Instance<O> {
    /// Answers the contract's `open`.
    pub fn open(config: &str, context: wit::Context) -> Result<Instance<O>, String> {
        report_panics();
        let config = parse_configuration(config).map_err(|error| error.to_string())?;
        let outputs = O::describe(&config).map_err(|error| error.to_string())?.outputs();
        let operator = O::open(config, &Context::from_contract(context)).map_err(|error| error.to_string())?;
        Ok(Instance { operator, outputs })
    }

    /// Answers the contract's `process`.
    pub fn process(&mut self, port: u32, watermark: i64, batch: &wit::Batch) -> Result<wit::Outcome, String> {
        let mut output = Output::new(self.outputs);
        self.operator
            .process(port, Watermark::at(watermark), Batch::new(batch), &mut output)
            .map_err(|error| error.to_string())?;
        Ok(output.into_contract())
    }

    /// Answers the contract's `advance`.
    pub fn advance(&mut self, watermark: i64) -> Result<wit::Outcome, String> {
        let mut output = Output::new(self.outputs);
        self.operator.advance(Watermark::at(watermark), &mut output).map_err(|error| error.to_string())?;
        let mut outcome = output.into_contract();
        // At the end of the input nothing can be wanted at its end only; a host must not take it for "call again".
        if watermark == i64::MAX {
            outcome.next_advance = outcome.next_advance.filter(|at| *at < i64::MAX);
        }
        Ok(outcome)
    }
}

/// A panic becomes a trap, which carries no text: the text goes to the host before, into its log, its error and dead letters.
fn report_panics() {
    #[cfg(target_arch = "wasm32")]
    std::panic::set_hook(Box::new(|panic| crate::host::log(crate::host::Level::Error, &panic.to_string())));
}

/// Lets [`crate::export!`] check the type of an operator natively too.
pub const fn is_operator<O: Operator>() {}

/// Makes a plugin of an [`Operator`](crate::Operator): exports the contract's functions, and keeps the one instance in
/// a static, where snapshots find it. Once a crate, whose `crate-type` has `cdylib`. On targets other than Wasm it only
/// checks the type, so that unit tests can link several operators.
///
/// ```
/// use tidegate_sdk::*;
///
/// struct Nothing;
///
/// impl Operator for Nothing {
///     type Config = NoConfig;
///
///     fn describe(_: &NoConfig) -> Result<Description, Error> {
///         Ok(Description::new().input(InputPort::new("main")))
///     }
///
///     fn open(_: NoConfig, _: &Context) -> Result<Nothing, Error> {
///         Ok(Nothing)
///     }
///
///     fn process(&mut self, _: u32, _: Watermark, _: Batch<'_>, _: &mut Output) -> Result<(), Error> {
///         Ok(())
///     }
/// }
///
/// tidegate_sdk::export!(Nothing);
/// ```
#[macro_export]
macro_rules! export {
    ($operator:ty) => {
        const _: () = $crate::runtime::is_operator::<$operator>();

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::bindings::exports::tidegate::plugin::operator::Guest;
            use $crate::bindings::tidegate::plugin::types;
            use $crate::runtime::Instance;

            ::std::thread_local! {
                static INSTANCE: ::std::cell::RefCell<Option<Instance<$operator>>> =
                    const { ::std::cell::RefCell::new(None) };
            }

            fn with_instance<T>(call: impl FnOnce(&mut Instance<$operator>) -> T) -> T {
                INSTANCE.with_borrow_mut(|instance| call(instance.as_mut().expect("the host calls `open` first")))
            }

            struct Exported;

            impl Guest for Exported {
                fn describe(config: String) -> Result<types::Description, String> {
                    $crate::runtime::describe::<$operator>(&config)
                }

                fn open(config: String, context: types::Context) -> Result<(), String> {
                    let instance = Instance::open(&config, context)?;
                    INSTANCE.set(Some(instance));
                    Ok(())
                }

                fn process(port: u32, watermark: i64, batch: types::Batch) -> Result<types::Outcome, String> {
                    with_instance(|instance| instance.process(port, watermark, &batch))
                }

                fn advance(watermark: i64) -> Result<types::Outcome, String> {
                    with_instance(|instance| instance.advance(watermark))
                }
            }

    $crate::bindings::export!(Exported with_types_in $crate::bindings);
        };
    };
}
