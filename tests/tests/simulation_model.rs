//! The model cluster of the simulation against a real broker: the same scripts must end alike and leave the same topics.
//!
//! Next room: `tests/simulation/scripts.txt`.

use std::sync::Arc;
use std::thread;
use tidegate_tests::broker::{Broker, Options, TransactionVersion};
use tidegate_tests::cluster::{self, Cluster};
use tidegate_tests::simulation::{Script, Step, on_broker, on_cluster, on_model, scripts};

fn all() -> Vec<Script> {
    scripts(include_str!("../simulation/scripts.txt"))
}

/// The broker is the test's own, because scripts restart it: these run alone, the others by twos.
fn run_all_on(transaction_version: TransactionVersion) {
    let often = ("transaction.abort.timed.out.transaction.cleanup.interval.ms".to_owned(), "500".to_owned());
    let broker = Broker::start(&Options { transaction_version, config: vec![often], ..Options::default() });
    let scripts = all().into_iter().enumerate().filter(|(_, script)| script.stranded().is_none());
    let (alone, others): (Vec<_>, Vec<_>) = scripts.partition(|(_, script)| restarts(script));
    let run = |numbered: &[(usize, Script)]| {
        let run = |(number, script): &(usize, Script)| on_broker(script, &broker, &format!("script-{number}")).err();
        numbered.iter().filter_map(run).collect::<Vec<String>>()
    };
    let (first, second) = others.split_at(others.len() / 2);
    let mut failures = thread::scope(|scope| {
        let second = scope.spawn(|| run(second));
        [run(first), second.join().expect("no script's step is impossible")].concat()
    });
    failures.extend(run(&alone));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn restarts(script: &Script) -> bool {
    script.steps.iter().any(|(step, _)| *step == Step::Restart)
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

/// What the protocol does about KAFKA-20734 rests on these: they show the damage.
#[test]
fn two_brokers_do_what_the_scripts_say() {
    let cluster = Arc::new(Cluster::start(&cluster::Options::default()));
    let scripts: Vec<Script> = all().into_iter().filter(|script| script.stranded().is_some()).collect();
    assert!(scripts.len() >= 5, "only {} scripts", scripts.len());
    let run = |(number, script): (usize, &Script)| on_cluster(script, &cluster, &format!("stranded-{number}")).err();
    let failures: Vec<String> = scripts.iter().enumerate().filter_map(run).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
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
