//! Write Tidegate operators in Rust: a struct, a trait, one macro.
//!
//! An operator is a struct whose fields are its state, with [`Operator`] implemented for it; [`export!`] makes a
//! WebAssembly plugin of it. The host calls it with rows in columns and snapshots its memory, so there is no state API
//! and nothing to serialize. The same code runs natively in unit tests: [`testing`].
//!
//! ```
//! use tidegate_sdk::*;
//!
//! /// Adds up amounts by user, and emits each new sum.
//! struct Sums {
//!     sums: KeyMap<i64>,
//! }
//!
//! impl Operator for Sums {
//!     type Config = NoConfig;
//!
//!     fn describe(_: &NoConfig) -> Result<Description, Error> {
//!         Ok(Description::new().input(InputPort::new("main").key().int("/amount")).output("sums"))
//!     }
//!
//!     fn open(_: NoConfig, _: &Context) -> Result<Sums, Error> {
//!         Ok(Sums { sums: KeyMap::new() })
//!     }
//!
//!     fn process(&mut self, _: u32, _: Watermark, batch: Batch<'_>, out: &mut Output) -> Result<(), Error> {
//!         for row in batch.rows() {
//!             let (Some(user), Some(amount)) = (row.key(), row.int(0)) else {
//!                 out.reject(row, "incomplete", "the record has no key or no amount");
//!                 continue;
//!             };
//!             let sum = self.sums.get_or_default(user);
//!             *sum += amount;
//!             out.port(0).emit_json(user, sum, row.timestamp())?;
//!         }
//!         Ok(())
//!     }
//! }
//!
//! tidegate_sdk::export!(Sums);
//!
//! // A unit test needs neither Wasm nor a host.
//! use tidegate_sdk::testing::{Harness, Record};
//! let mut test = Harness::<Sums>::open("{}").unwrap();
//! let payment = |at, amount| Record::at(at).key("alice").value(format!(r#"{{"amount":{amount}}}"#));
//! test.process(0, &[payment(1, 5), payment(2, 2)]).unwrap();
//! let sum = |at, sum| Record::at(at).key("alice").value(sum);
//! assert_eq!(test.results().emitted(0), [sum(1, "5"), sum(2, "7")]);
//! ```
//!
//! What the SDK may not do: read a clock, draw a random number, seed a hash by chance. Next room: [`operator`].

pub mod batch;
pub mod bindings;
pub mod configuration;
pub mod description;
pub mod error;
pub mod host;
pub mod key_map;
pub mod operator;
pub mod output;
pub mod runtime;
pub mod testing;
pub mod timer;
pub mod window;

pub use batch::{Batch, Row};
pub use configuration::{NoConfig, Period, parse_configuration};
pub use description::{Description, InputPort};
pub use error::Error;
pub use host::{Level, count, log};
pub use key_map::{HashMap, KeyMap};
pub use operator::{Context, Operator, Watermark};
pub use output::{Emitted, Output, PortOutput};
pub use timer::{TimerId, Timers};
pub use window::{Closed, TumblingWindows, Window};
