//! The simulation: every interleaving of a job, its cluster, its disk and its people, from one seed.
//!
//! One run is one thread without real time. The product's pure machines are driven as they are (`protocol`, `recovery`,
//! `startup`, `deciding`, `align`, `watermark`); what they stand on is modelled: a Kafka cluster with its transaction
//! coordinator (`broker`), the client library and the network (`client`), a store (`store`), a file sink on a disk that
//! loses what was not synced (`files`), two stages on two workers (`stage`, `lane`), source threads (`source`), the thin
//! shells (`output`, `job`, `process`), and a person who goes by the runbook (`faults`). Every order of events, every fault and
//! every crash point is a choice (`choices`) that follows from the seed. The judge (`judge`) compares what readers see with
//! what was put in. What was gone through is counted (`coverage`), and an arm that is never taken is a failure.
//! `conformity` runs scripts on the model cluster and on a real broker, which must do the same.
//!
//! `cargo xtask simulate --seeds 1000000` runs many; `tests/tests/simulation.rs` runs 10,000 and the cases that once failed.

mod broker;
mod campaign;
mod choices;
mod client;
mod conformity;
mod coverage;
mod faults;
mod files;
mod job;
mod judge;
mod lane;
mod output;
mod possible;
mod process;
mod row;
mod shared;
mod shrink;
mod source;
mod stage;
mod store;
mod world;

pub use campaign::{Failure, Summary, Trace, replay, run, starve, trace};
pub use conformity::{Script, Step, on_broker, on_cluster, on_model, scripts};
pub use judge::{Complaint, Rule};
