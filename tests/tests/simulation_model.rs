//! The model cluster of the simulation against a real broker: the same scripts must end alike and leave the same topics.
//!
//! Next room: `tests/simulation/scripts.txt`.

use tidegate_tests::broker::{Broker, Options, TransactionVersion};
use tidegate_tests::simulation::{Script, Step, on_broker, on_model, scripts};

fn all() -> Vec<Script> {
    scripts(include_str!("../simulation/scripts.txt"))
}

/// The broker is the test's own, because scripts restart it.
fn run_all_on(transaction_version: TransactionVersion) {
    let broker = Broker::start(&Options { transaction_version, ..Options::default() });
    let run = |(number, script): (usize, &Script)| on_broker(script, &broker, &format!("script-{number}")).err();
    let failures: Vec<String> = all().iter().enumerate().filter_map(run).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_model_does_what_the_scripts_say() {
    let scripts = all();
    assert!(scripts.len() >= 20, "only {} scripts", scripts.len());
    let failures: Vec<String> = scripts.iter().filter_map(|script| on_model(script).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_broker_does_what_the_scripts_say() {
    run_all_on(TransactionVersion::V2);
}

#[test]
fn a_broker_with_the_old_transactions_does_what_the_scripts_say() {
    run_all_on(TransactionVersion::V0);
}

/// A comparison that finds no difference anywhere would prove nothing: without its late request, the damage is missing.
#[test]
fn a_script_that_is_altered_fails_on_both_sides() {
    let mut script = all()
        .into_iter()
        .find(|script| script.name.starts_with("without rotation a late EndTxn"))
        .expect("it is there");
    script.steps.retain(|(step, _)| !matches!(step, Step::Deliver(_)));
    let broker = Broker::start(&Options::default());
    for failure in [on_model(&script), on_broker(&script, &broker, "altered")] {
        let failure = failure.expect_err("half of a transaction became visible without the request that ends it");
        assert!(failure.contains(" left "), "{failure}");
    }
}
