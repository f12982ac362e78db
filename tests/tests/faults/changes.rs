//! Rows of the fault matrix about a job file that was changed while a checkpoint was prepared and not decided.
//!
//! Each row does it twice: when the checkpoint did not happen, and when it did without the store knowing. Either the change is
//! taken and the output is exact, or the start stops, says what to do, and doing it is exact. Next room: `tidegate_tests::tally`.

use crate::PROGRAM;
use crate::matrix::Row;
use std::fs;
use tidegate_tests::broker;
use tidegate_tests::scene::plugin;
use tidegate_tests::tally::{Shape, Tally, judge_end};

pub(crate) const ROWS: &[Row] = &[
    Row::quick(
        "job renamed",
        "another `name` on the same store",
        "STOP, and nothing changed; with its name back exact",
        job_renamed,
    ),
    Row::quick(
        "second sink added",
        "a second Kafka sink and a file",
        "exact, and the new ones have what comes from then on",
        sinks_added,
    ),
    Row::quick(
        "Kafka sink removed",
        "the Kafka sink becomes a file: the store would decide what Kafka decided",
        "STOP that names both deciders; with the sink back exact",
        kafka_sink_removed,
    ),
    Row::elsewhere(
        "file sink removed",
        "the sink that is owed output is taken out",
        "STOP that says how much; with the sink back exact",
        ("tests/tests/bad_input/stores.rs", "a_sink_that_is_still_owed_output_cannot_be_taken_out"),
    ),
    Row::quick("shards changed", "another number of shards", "STOP; as it was exact", shards_changed),
    Row::quick(
        "plugin rebuilt",
        "the same code under another hash, for an operator with state and for one whose state is given up",
        "STOP without a word of a person; with `--fresh` what was prepared is decided first, exact",
        plugin_rebuilt,
    ),
    Row::elsewhere(
        "configuration changed",
        "another `config` of the operator",
        "STOP that shows both",
        ("tests/tests/bad_input/plugins.rs", "state_of_another_plugin_or_configuration_needs_a_word"),
    ),
    Row::elsewhere(
        "operator renamed",
        "another name of the operator",
        "STOP; with its name back exact",
        ("tests/tests/bad_input/stores.rs", "a_renamed_operator_is_refused"),
    ),
    Row::elsewhere(
        "source renamed",
        "another name of the source",
        "STOP; with its name back exact",
        ("tests/tests/bad_input/stores.rs", "a_renamed_source_is_refused_instead_of_reading_nothing"),
    ),
    Row::quick(
        "end of a bounded read changed",
        "`until` becomes a time, or none",
        "STOP that says what was fixed when; as it was exact",
        end_changed,
    ),
    Row::quick(
        "empty state after the end",
        "`--fresh` for a job that has read everything",
        "STOP, the state stays; without it 0",
        fresh_after_the_end,
    ),
];

/// The moments at which a checkpoint is prepared: its transaction is open, and its transaction is committed.
const UNDECIDED: [&str; 2] = ["prepared:3", "unconfirmed:3"];

/// Jobs with an undecided checkpoint.
fn undecided() -> impl Iterator<Item = (Tally, &'static str)> {
    UNDECIDED.into_iter().map(|moment| {
        let tally = Tally::new(PROGRAM, Shape::TO_KAFKA);
        tally.kill(moment);
        (tally, moment)
    })
}

/// The change is refused, nothing is visible that was not, and what the message says is exact.
fn refused(changes: &[(&str, &str)], said: &[&str]) {
    for (tally, moment) in undecided() {
        let before = tally.expect_nothing_wrong(moment);
        tally.change_job(changes);
        tally.scene.run().expect_refusal(moment, 78, said);
        assert_eq!(tally.expect_nothing_wrong(moment), before, "{moment}: the refused start changed something");
        tally.scene.write_job(&tally.job());
        tally.finish(moment);
    }
}

/// Another name on the same store.
fn job_renamed() {
    let said = ["belongs to job `tally-", "not to `other", "give the job its name back"];
    refused(&[("name = \"tally-", "name = \"other-")], &said);
}

/// The Kafka sink becomes a file: the store would decide what Kafka decided.
fn kafka_sink_removed() {
    for (tally, moment) in undecided() {
        let topic = format!("connection = \"main\"\ntopic = \"{}\"", tally.counts_topic());
        tally.change_job(&[(&topic, "kind = \"file\"\npath = \"out/counts.jsonl\"")]);
        let said = ["are decided by topic `tidegate.tally-", "by the store itself", "Put the sinks back as they were"];
        tally.scene.run().expect_refusal(moment, 78, &said);
        assert!(!tally.scene.path("out/counts.jsonl").exists(), "{moment}: a refused start makes no file");
        tally.scene.write_job(&tally.job());
        tally.finish(moment);
    }
}

/// Another number of shards.
fn shards_changed() {
    let said = ["in `4` shards", "`shards = 8`", "Put it back as it was"];
    refused(&[("shards = 4", "shards = 8")], &said);
}

/// The plugin was built anew: other bytes, the same behaviour.
fn plugin_rebuilt() {
    for (tally, moment) in undecided() {
        let before = tally.expect_nothing_wrong(moment);
        for name in ["steps", "misbehave"] {
            let mut bytes = fs::read(plugin(name)).expect("the plugin is there");
            // A custom section without content.
            bytes.extend_from_slice(&[0, 4, 3, b'n', b'e', b'w']);
            fs::write(tally.scene.path(&format!("{name}.wasm")), bytes).expect("the plugin is written");
        }
        let [steps, misbehave] = ["steps", "misbehave"].map(|name| plugin(name).display().to_string());
        tally.change_job(&[(&steps, "steps.wasm")]);
        let said = ["the state of operator `count` was written by plugin", "Nothing was changed", "--fresh count"];
        tally.scene.run().expect_refusal(moment, 78, &said);
        assert_eq!(tally.expect_nothing_wrong(moment), before, "{moment}: the refused start changed something");
        // The one whose state nobody needs is given up by name: what was prepared is decided first.
        tally.change_job(&[(&misbehave, "misbehave.wasm")]);
        tally.scene.run_with(None, &["--fresh", "slow"]).expect_success(moment);
        tally.expect_exact(moment);
    }
}

/// A second Kafka sink and a file beside it: they have what comes from then on.
fn sinks_added() {
    for (tally, moment) in undecided() {
        let more = format!("{}-more", tally.name);
        broker::shared().create_topic(&more, 1, &[]);
        let sinks = format!(
            "[sink.more]\nconnection = \"main\"\ntopic = \"{more}\"\nfrom = [\"count.out\"]\n\n\
             [sink.copy]\nkind = \"file\"\npath = \"out/copy.jsonl\"\nfrom = [\"count.out\"]\n\n[sink.counts]"
        );
        tally.change_job(&[("[sink.counts]", &sinks)]);
        tally.finish(moment);
        let records = broker::shared().read_committed(&more);
        let in_topic: Vec<&str> = records.iter().map(tidegate_tests::judge::Record::text).collect();
        let file = fs::read_to_string(tally.scene.path("out/copy.jsonl")).expect("the file is read");
        let in_file: Vec<&str> = file.lines().collect();
        assert!(!in_file.is_empty(), "{moment}: nothing came after the change: this tests nothing");
        assert_eq!(in_topic.len(), in_file.len(), "{moment}: both got the same");
        judge_end(tally.written(), in_topic.into_iter(), moment);
        judge_end(tally.written(), in_file.into_iter(), moment);
    }
}

/// A bounded read whose end is changed: it was fixed at the first start.
fn end_changed() {
    let tally = Tally::new(PROGRAM, Shape { lines: 8000, ..Shape::KAFKA });
    tally.kill("prepared:3");
    for until in ["none", "2027-01-01T00:00:00Z"] {
        tally.change_job(&[("until = \"latest\"", &format!("until = \"{until}\""))]);
        let said = ["for source `lines`", "was fixed at the first start", "`until = \"latest\"`", "Put it back"];
        tally.scene.run().expect_refusal(until, 78, &said);
    }
    tally.scene.write_job(&tally.job());
    tally.finish("the end is as it was");
}

/// `--fresh` for a job that has read everything: there is nothing to begin anew with.
fn fresh_after_the_end() {
    let tally = Tally::new(PROGRAM, Shape { lines: 2000, ..Shape::FILES });
    tally.finish("the first run");
    let said = ["`--fresh count`", "read to its end", "was not emptied", "a new `name` or `store.path`"];
    tally.scene.run_with(None, &["--fresh", "count"]).expect_refusal("fresh after the end", 78, &said);
    tally.finish("started again without it");
}
