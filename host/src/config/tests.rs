//! Reading whole job files: the examples of the reference, defaults, and what errors look like.

use super::model::{
    OnBadRecord, OnError, OnRejected, Origin, Route, SinkInput, SinkKey, SinkKind, SourceKind, Start, Until,
};
use super::*;
use crate::ids::{OperatorIndex, PortIndex, SinkIndex, SourceIndex};
use crate::plugin::{Description, Port};
use resolve::{Edge, EdgeFrom, EdgeTo, resolve};
use std::time::Duration;
use tempfile::TempDir;

pub(super) const MINIMAL: &str = include_str!("minimal.toml");
pub(super) const COMPLETE: &str = include_str!("complete.toml");

pub(super) fn environment() -> Environment {
    Environment { variable: |name| (name == "KAFKA_USER").then(|| "ada".to_owned()), cores: 64 }
}

/// A folder with what the examples name.
pub(super) fn folder() -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    for file in ["fraud_detector.wasm", "screen.wasm", "ca.pem"] {
        std::fs::write(folder.path().join(file), "content").expect("a file can be written");
    }
    std::fs::write(folder.path().join("kafka-password"), "tops3cret\n").expect("a file can be written");
    folder
}

fn parse_in(folder: &TempDir, text: &str) -> Result<Job, ConfigErrors> {
    let file = folder.path().join("job.toml");
    std::fs::write(&file, text).expect("a file can be written");
    load_in(&file, &environment())
}

/// The errors of a text, without the folder.
fn errors(text: &str) -> Vec<String> {
    let folder = folder();
    let errors = parse_in(&folder, text).expect_err("the job file is wrong");
    let prefix = format!("{}/", folder.path().display());
    let mut lines: Vec<String> = errors.to_string().lines().map(|line| line.replace(&prefix, "")).collect();
    lines.remove(0);
    lines
}

fn error(text: &str) -> String {
    let mut errors = errors(text);
    assert_eq!(errors.len(), 1, "{errors:#?}");
    errors.remove(0)
}

fn minimal_with(from: &str, to: &str) -> String {
    assert!(MINIMAL.contains(from), "`{from}` is not in the minimal job");
    MINIMAL.replacen(from, to, 1)
}

fn complete_with(from: &str, to: &str) -> String {
    assert!(COMPLETE.contains(from), "`{from}` is not in the complete job");
    COMPLETE.replacen(from, to, 1)
}

#[test]
fn the_minimal_job_gets_the_documented_defaults() {
    let folder = folder();
    let job = parse_in(&folder, MINIMAL).expect("the minimal job is right");
    assert_eq!((job.name.as_str(), job.shards, job.workers), ("fraud", 16, 16));
    assert_eq!(job.store, folder.path().join("fraud.redb"));
    assert_eq!(job.checkpoint.interval, Duration::from_secs(1));
    assert_eq!(job.checkpoint.timeout, Duration::from_mins(1));
    assert_eq!((job.batch.rows, job.batch.bytes, job.batch.linger), (1024, 256 << 10, Duration::from_millis(5)));
    assert_eq!(job.channel_bytes, 4 << 20);
    let source = &job.sources[0];
    assert!(matches!(&source.kind, SourceKind::File { pattern } if *pattern == folder.path().join("payments/*.jsonl")));
    assert_eq!((source.decode.key.as_slice(), source.threads), (["/user_id".to_owned()].as_slice(), 1));
    assert_eq!(source.decode.min_time_ms, 100_000_000_000);
    assert_eq!(source.decode.max_ahead, Duration::from_hours(1));
    assert_eq!(source.watermark.max_out_of_orderness, Duration::from_secs(5));
    assert_eq!((source.on_bad_record, source.max_record_bytes), (OnBadRecord::Fail, 1 << 20));
    let operator = &job.operators[0];
    assert_eq!((operator.config.as_str(), operator.memory_bytes), ("{}", 64 << 20));
    assert_eq!((operator.call_timeout, operator.on_rejected), (Duration::from_secs(5), OnRejected::Fail));
    assert_eq!((operator.on_error, operator.dead_letters_max, job.undo_bytes), (OnError::Fail, 100, 256 << 20));
    assert_eq!(operator.inputs[0].from, Origin::Source(SourceIndex(0)));
}

#[test]
fn the_complete_job_is_read_as_it_is_written() {
    let folder = folder();
    let job = parse_in(&folder, COMPLETE).expect("the complete job is right");
    let SourceKind::Kafka { connection, topics, start, until, group } = &job.sources[0].kind else {
        panic!("`payments` is Kafka")
    };
    assert_eq!(
        (topics.as_slice(), *start, *until, group.as_str()),
        (["payments".to_owned()].as_slice(), Start::Earliest, None, "fraud")
    );
    let property = |name: &str| {
        let found = connection.properties.iter().find(|(property, _)| property == name);
        found.map(|(_, value)| value.reveal().to_owned())
    };
    assert_eq!(property("sasl.username").as_deref(), Some("ada"));
    assert_eq!(property("sasl.password").as_deref(), Some("tops3cret"));
    assert_eq!(property("security.protocol").as_deref(), Some("sasl_ssl"));
    assert_eq!(property("socket.timeout.ms").as_deref(), Some("10000"));
    assert_eq!(property("ssl.ca.location"), Some(folder.path().join("ca.pem").display().to_string()));
    assert!(!format!("{job:?}").contains("tops3cret"));
    assert_eq!(job.sources[0].decode.min_time_ms, 1_577_836_800_000);
    assert_eq!(job.operators[1].config, r#"{"threshold":10,"window":"1m"}"#);
    assert_eq!(job.operators.iter().map(|it| it.on_error).collect::<Vec<_>>(), [OnError::Fail, OnError::DeadLetter]);
    let routes: Vec<Route> = job.operators[0].inputs.iter().map(|input| input.route).collect();
    assert_eq!(routes, [Route::SameShard, Route::Broadcast]);
    assert_eq!(job.operators[1].inputs[0].from, Origin::Operator(OperatorIndex(0), "passed".to_owned()));
    let SinkKind::Kafka { key, transaction_timeout, .. } = &job.sinks[0].kind else { panic!("`alerts` is Kafka") };
    assert_eq!((key, *transaction_timeout), (&SinkKey::Record, Some(Duration::from_mins(10))));
    assert_eq!(job.dead_letter_sink(), Some(SinkIndex(1)));
}

#[test]
fn errors_name_the_place_the_key_the_value_and_the_way_out() {
    assert_eq!(
        error(&minimal_with("discard =", "discrad =")),
        "job.toml:12:1: `operator.detector.discrad`: unknown key; the nearest known is `discard`"
    );
    assert_eq!(
        error(&minimal_with("[source", "[checkpoint]\ninterval = 1\n[source")),
        "job.toml:4:12: `checkpoint.interval`: found the integer `1`, wanted a duration: a string with a unit, like `\"1s\"`"
    );
}

#[test]
fn all_errors_are_reported_together_and_in_order() {
    let text = minimal_with("name = \"fraud\"", "name = \"fraud\"\nshards = 0\nworker = 2")
        .replace("\"payments\" }", "\"payment\" }");
    let errors = errors(&text);
    let starts: Vec<&str> = errors.iter().filter_map(|error| error.split(": ").next()).collect();
    assert_eq!(starts, ["job.toml:2:10", "job.toml:3:1", "job.toml:13:19"], "{errors:#?}");
}

#[test]
fn operators_come_in_topological_order() {
    let folder = folder();
    let swapped = {
        let (before, rest) = COMPLETE.split_once("[operator.screen]").expect("there is a screen");
        let (screen, rest) = rest.split_once("[operator.detector]").expect("there is a detector");
        let (detector, after) = rest.split_once("[sink.alerts]").expect("there are alerts");
        format!("{before}[operator.detector]{detector}[operator.screen]{screen}[sink.alerts]{after}")
    };
    let job = parse_in(&folder, &swapped).expect("the order in the file does not matter");
    let names: Vec<&str> = job.operators.iter().map(|operator| operator.name.as_str()).collect();
    assert_eq!(names, ["screen", "detector"]);
    assert_eq!(job.operators[1].inputs[0].from, Origin::Operator(OperatorIndex(0), "passed".to_owned()));
    assert_eq!(job.sinks[0].from, [SinkInput::Records(Origin::Operator(OperatorIndex(1), "alerts".to_owned()))]);
}

#[test]
fn a_cycle_is_shown_in_the_direction_of_the_records() {
    let text = complete_with(
        "main = { from = \"payments\", route = \"same-shard\" }",
        "main = [\"payments\", \"detector.alerts\"]",
    );
    assert!(error(&text).contains("`screen -> detector -> screen`"), "{}", error(&text));
    let own = minimal_with("main = \"payments\"", "main = [\"payments\", \"detector.late\"]");
    assert!(error(&own).contains("`detector -> detector`"));
}

#[test]
fn a_configuration_becomes_canonical_json() {
    let folder = folder();
    let text = minimal_with(
        "discard",
        "config = { b = 10.0, a = [1, true, \"x\"], c = { z = 0.5, y = 9007199254740991 } }\ndiscard",
    );
    let job = parse_in(&folder, &text).expect("the configuration is right");
    assert_eq!(job.operators[0].config, r#"{"a":[1,true,"x"],"b":10,"c":{"y":9007199254740991,"z":0.5}}"#);
    for wrong in
        ["nan", "inf", "9007199254740992", "-9007199254740992", "99999999999999999999", "2026-01-31", "[[1e999]]"]
    {
        let error = error(&minimal_with("discard", &format!("config = {{ value = {wrong} }}\ndiscard")));
        assert!(error.contains("operator.detector.config.value"), "{error}");
    }
}

#[test]
fn start_and_until_take_words_and_times() {
    let folder = folder();
    let text =
        complete_with("\"earliest\"", "2026-01-31T12:00:00Z").replace("\"none\"", "\"2026-01-31T13:00:00+00:00\"");
    let job = parse_in(&folder, &text).expect("times are right");
    let SourceKind::Kafka { start, until, .. } = &job.sources[0].kind else { panic!("`payments` is Kafka") };
    assert_eq!((*start, *until), (Start::Time(1_769_860_800_000), Some(Until::Time(1_769_864_400_000))));
    assert!(error(&complete_with("\"earliest\"", "\"erliest\"")).contains("`earliest`, `latest`, `group`"));
    assert!(error(&complete_with("\"earliest\"", "2026-01-31")).contains("offset"));
}

#[test]
fn no_secret_appears_in_an_error() {
    let text = complete_with("password = { file = \"kafka-password\" }", "password = \"hunter2\"")
        .replace("\"socket.timeout.ms\" = 10000", "\"ssl.key.password\" = \"hunter2\", \"linger.ms\" = \"hunter2\"");
    let errors = errors(&text);
    assert_eq!(errors.len(), 3, "{errors:#?}");
    assert!(errors.iter().all(|error| !error.contains("hunter2")), "{errors:#?}");
}

#[test]
fn any_text_gives_errors_and_no_panic() {
    for text in [
        "",
        "[",
        "a = ",
        "source = 1",
        "[[source]]",
        "[source]\na = 1",
        "\u{feff}name = 1",
        "[operator.a]\ninputs = 3",
        "[source.\"\"]\n",
    ] {
        assert!(!errors(text).is_empty(), "{text:?}");
    }
    // Each prefix of a right file, too: it ends in the middle of a token sooner or later.
    let folder = folder();
    for (at, _) in COMPLETE.char_indices().step_by(7) {
        let _ = parse_in(&folder, &COMPLETE[..at]);
    }
}

fn describe(inputs: &[&str], outputs: &[&str]) -> Description {
    let ports =
        |names: &[&str]| names.iter().map(|name| Port { name: (*name).to_owned(), columns: Vec::new() }).collect();
    Description { inputs: ports(inputs), outputs: ports(outputs), state_version: 1 }
}

#[test]
fn ports_become_numbers_and_edges_a_list() {
    let folder = folder();
    let job = parse_in(&folder, COMPLETE).expect("the complete job is right");
    let descriptions = [describe(&["rules", "main"], &["passed"]), describe(&["main"], &["late", "alerts"])];
    let plan = resolve(&job, &descriptions).expect("the ports fit");
    let (screen, detector) = (OperatorIndex(0), OperatorIndex(1));
    let expected = [
        Edge { from: EdgeFrom::Source(SourceIndex(0)), to: EdgeTo::Operator(screen, PortIndex(1), Route::SameShard) },
        Edge { from: EdgeFrom::Source(SourceIndex(1)), to: EdgeTo::Operator(screen, PortIndex(0), Route::Broadcast) },
        Edge {
            from: EdgeFrom::Operator(screen, PortIndex(0)),
            to: EdgeTo::Operator(detector, PortIndex(0), Route::Key),
        },
        Edge { from: EdgeFrom::Operator(detector, PortIndex(1)), to: EdgeTo::Sink(SinkIndex(0)) },
    ];
    assert_eq!(plan.edges, expected);
}

#[test]
fn ports_that_do_not_fit_are_reported_where_the_job_names_them() {
    let folder = folder();
    let job = parse_in(&folder, MINIMAL).expect("the minimal job is right");
    let lines = |description: Description| {
        let errors = resolve(&job, &[description]).expect_err("the ports do not fit");
        let prefix = format!("{}/", folder.path().display());
        errors.to_string().replace(&prefix, "")
    };
    let unfed = lines(describe(&["main", "rules"], &["alerts", "late"]));
    assert!(unfed.contains("job.toml:11:10: `operator.detector.inputs`: nothing feeds input port `rules`"), "{unfed}");
    let renamed = lines(describe(&["mian"], &["alerts", "late"]));
    assert!(renamed.contains("job.toml:11:12: `operator.detector.inputs.main`: the plugin has no input port `main`; the nearest is `mian`"), "{renamed}");
    let nowhere = lines(describe(&["main"], &["alerts", "late", "audit"]));
    assert!(nowhere.contains("job.toml:9:11: `operator.detector`: output port `audit` goes nowhere"), "{nowhere}");
    let wrong_discard = lines(describe(&["main"], &["alerts"]));
    assert!(
        wrong_discard.contains("`operator.detector.discard`: the plugin has no output port `late`"),
        "{wrong_discard}"
    );
    let wrong_origin = lines(describe(&["main"], &["alert", "late"]));
    assert!(
        wrong_origin
            .contains("`sink.alerts.from`: operator `detector` has no output port `alerts`; the nearest is `alert`"),
        "{wrong_origin}"
    );
}

#[test]
fn a_pointer_deeper_than_the_decoder_goes_is_refused_before_the_job_starts() {
    let deep = |parts: usize| minimal_with("key = \"user_id\"", &format!("key = \"{}\"", "/a".repeat(parts)));
    parse_in(&folder(), &deep(crate::decode::DEPTH_MAX)).expect("as deep as it may be");
    let error = error(&deep(crate::decode::DEPTH_MAX + 1));
    assert!(error.starts_with("job.toml:6:7: `source.payments.key`: `/a/a"), "{error}");
    assert!(error.ends_with("has more than 32 parts; take the value of an outer field instead"), "{error}");
}

#[test]
fn a_name_cannot_command_the_terminal_or_break_an_error_in_two() {
    let text = minimal_with("[operator.detector]", "[operator.\"a\\n\\u001b[2J\"]");
    let found = errors(&text);
    assert!(found.iter().all(|line| line.starts_with("job.toml:") && !line.contains('\x1b')), "{found:#?}");
    assert!(found.iter().any(|line| line.contains(r"`operator.a\n\u{1b}[2J`: the name")), "{found:#?}");
}

#[test]
fn a_hundred_errors_are_printed_and_the_others_counted() {
    let text: String = (0..250).fold(String::new(), |text, number| text + &format!("a{number} = 1\n"));
    let found = errors(&text);
    assert_eq!(found.len(), 101);
    let more: usize =
        found[100].strip_prefix("job.toml: and ").and_then(|rest| rest.strip_suffix(" more")).unwrap().parse().unwrap();
    assert!(more >= 150, "{more}");
}

#[test]
fn a_job_of_far_too_many_parts_is_refused_by_their_number_alone() {
    let text = (0..50_000).fold(String::new(), |text, number| text + &format!("[source.a{number}]\n"));
    let began = std::time::Instant::now();
    let found = errors(&text);
    assert!(found.iter().any(|line| line.contains("the job has 50000 sources, operators and sinks; use at most 200")));
    assert!(began.elapsed() < Duration::from_secs(20), "comparing all names with each other takes minutes");
}
