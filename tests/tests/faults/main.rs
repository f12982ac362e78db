//! The fault matrix: one table of what is done to a job and what must happen; each row is a test.
//!
//! A harness of its own, because rows that take long run with `cargo xtask test --faults` only, and a run says which it left
//! out. `tests/FAULT_MATRIX.md` is made from the same rows. Each module below declares the rows of one group beside the
//! functions that prove them. Next rooms: `matrix` (a row, the table), `harness` (running them).

mod broker;
mod changes;
mod checkpoints;
mod cluster;
mod disk;
mod event_time;
mod harness;
mod machine;
mod matrix;
mod network;
mod plugin;
mod process;
mod source;
mod store;
mod topics;

use matrix::Group;
use std::process::ExitCode;
use tidegate_tests::broker::{Broker, Options as BrokerOptions, TransactionVersion, shared_with};
use tidegate_tests::payments::{Options, Payments};

/// The host with fail points.
const PROGRAM: &str = env!("CARGO_BIN_EXE_tidegate-probed");

/// The whole table, in its order.
const MATRIX: &[Group] = &[
    Group { name: "process", about: "The host's own process.", rows: process::ROWS },
    Group { name: "broker", about: "One broker's process.", rows: broker::ROWS },
    Group { name: "network", about: "The network to a broker.", rows: network::ROWS },
    Group { name: "topics", about: "What others do to topics and transactions.", rows: topics::ROWS },
    Group { name: "cluster", about: "Two or three brokers.", rows: cluster::ROWS },
    Group { name: "store", about: "The store's file, the disk under it, and the files beside it.", rows: store::ROWS },
    Group {
        name: "changes",
        about: "The job file is changed while a checkpoint is prepared and not decided; each row does it twice: when it did not \
                happen, and when it did without the store knowing.",
        rows: changes::ROWS,
    },
    Group { name: "plugin", about: "Plugins that break.", rows: plugin::ROWS },
    Group { name: "checkpoints", about: "What a checkpoint keeps, and how long it may take.", rows: checkpoints::ROWS },
    Group {
        name: "source",
        about: "Input that changes, stalls or runs ahead, and sinks that are away.",
        rows: source::ROWS,
    },
];

fn main() -> ExitCode {
    harness::run(MATRIX)
}

/// A job on the shared broker whose payments are fed in pieces.
fn fed(broker: &'static Broker) -> Payments<'static> {
    Payments::new(broker, &Options::fed(PROGRAM, broker.address()))
}

/// A broker with `transaction.version=0`.
fn old_broker() -> &'static Broker {
    shared_with("old", || BrokerOptions { transaction_version: TransactionVersion::V0, ..BrokerOptions::default() })
}
