//! Fuzz targets: job files that somebody mistyped, cut, pasted twice or made by a program that went wrong.
//!
//! Next rooms: [`super`]; [`crate::fuzzing`], how targets run.

use super::tests::{COMPLETE, MINIMAL, environment, folder};
use super::*;
use crate::decode::Decoder;
use crate::fuzzing::{Bytes, Share, arbitrary_bytes, mutation, peak_bytes, run};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::TestCaseResult;
use std::time::{Duration, Instant};

/// What the folder's password file holds; see [`folder`].
const PASSWORD: &str = "tops3cret";

/// Errors that are printed.
const SHOWN_ERRORS: usize = 100;

/// What a change of bytes puts in.
const FRAGMENTS: [&[u8]; 14] =
    [b"\"", b"'", b"\"\"\"", b"[", b"]]", b"{", b"}", b"=", b".", b",", b"#", b"\\u0000", "é".as_bytes(), b"\r\n"];

/// A change of whole lines or of what stands behind an equals sign.
#[derive(Debug, Clone)]
enum Edit {
    Delete(Index),
    Duplicate(Index, Index),
    Swap(Index, Index),
    Value(Index, String),
    Key(Index, &'static str),
    Insert(Index, String),
}

/// A TOML value, of the right kind or another.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        4 => select(&["fraud", "payments", "detector.alerts", "dead-letters", "screen.passed", "late", "main", "alerts",
            "file", "kafka", "earliest", "latest", "group", "none", "dead-letter", "skip", "record", "broadcast", "a/b",
            "/user_id", "/a~2", "", "2020-01-01T00:00:00Z", "k1:9093", "SCRAM-SHA-512", "\\u0000", "\\n", "\\u001b[2J",
            "kafka-password", "ca.pem", "no-such-file", "..", "/", "rfc3339", "unix_ns", "x\\ty"][..])
            .prop_map(|text| format!("\"{text}\"")),
        2 => (0_u64..2_000_000, select(&["ms", "s", "m", "h", "d", "B", "KiB", "MiB", "GiB", "PiB", "EiB", ""][..]))
            .prop_map(|(number, unit)| format!("\"{number}{unit}\"")),
        1 => "[ -!#-\\[\\]-~é日]{0,20}".prop_map(|text| format!("\"{text}\"")),
        2 => (28_usize..40).prop_map(|depth| format!("\"{}\"", "/a".repeat(depth))),
        2 => any::<i64>().prop_map(|number| number.to_string()),
        2 => (-2_i64..70_000).prop_map(|number| number.to_string()),
        1 => select(&["true", "1.5", "nan", "-inf", "1e400", "0x7fffffffffffffff", "99999999999999999999", "1979-05-27",
            "1979-05-27T07:32:00Z", "'\\'", "\"\"\"\n\n\"\"\"", "0o7", "1_000"][..]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let member = (key(), inner.clone()).prop_map(|(key, value)| format!("{key} = {value}"));
        prop_oneof![
            vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(", "))),
            vec(member, 0..4).prop_map(|members| format!("{{ {} }}", members.join(", "))),
        ]
    })
}

fn key() -> impl Strategy<Value = &'static str> {
    select(
        &[
            "name",
            "kind",
            "path",
            "key",
            "from",
            "route",
            "field",
            "format",
            "env",
            "file",
            "config",
            "inputs",
            "main",
            "memory",
            "shards",
            "workers",
            "timeout",
            "sasl",
            "properties",
            "\"a b\"",
            "\"\"",
            "\"\\u001b[2J\"",
            "a.b.c",
            "inputs.main.from",
            "x",
            "security",
            "brokers",
            "topics",
            "username",
            "mechanism",
        ][..],
    )
}

fn edit() -> impl Strategy<Value = Edit> {
    let line = any::<Index>;
    let headers = select(
        &[
            "[source.two]",
            "[operator.two]",
            "[sink.two]",
            "[connection.two]",
            "[limits]",
            "[[source]]",
            "[source]",
            "[operator.\"a\\nb\"]",
            "[source.payments.timestamp]",
            "[operator.detector.config]",
            "[a.b.c.d]",
        ][..],
    );
    prop_oneof![
        2 => line().prop_map(Edit::Delete),
        1 => (line(), line()).prop_map(|(from, to)| Edit::Duplicate(from, to)),
        1 => (line(), line()).prop_map(|(a, b)| Edit::Swap(a, b)),
        5 => (line(), value()).prop_map(|(at, value)| Edit::Value(at, value)),
        2 => (line(), key()).prop_map(|(at, key)| Edit::Key(at, key)),
        1 => (line(), headers).prop_map(|(at, header)| Edit::Insert(at, header.to_owned())),
        1 => (line(), key(), value()).prop_map(|(at, key, value)| Edit::Insert(at, format!("{key} = {value}"))),
    ]
}

fn apply(lines: &mut Vec<String>, edit: Edit) {
    let count = lines.len();
    if count == 0 {
        return;
    }
    match edit {
        Edit::Delete(at) => _ = lines.remove(at.index(count)),
        Edit::Duplicate(from, to) => lines.insert(to.index(count), lines[from.index(count)].clone()),
        Edit::Swap(a, b) => lines.swap(a.index(count), b.index(count)),
        Edit::Insert(at, line) => lines.insert(at.index(count), line),
        Edit::Value(at, value) => {
            let line = &mut lines[at.index(count)];
            if let Some((key, _)) = line.split_once('=') {
                *line = format!("{key}= {value}");
            }
        }
        Edit::Key(at, key) => {
            let line = &mut lines[at.index(count)];
            if let Some((_, value)) = line.split_once('=') {
                *line = format!("{key} ={value}");
            }
        }
    }
}

/// A job file after a few edits and, at times, a few bytes changed.
fn job_file() -> impl Strategy<Value = String> {
    let bytes = prop_oneof![3 => Just(vec![]).boxed(), 1 => vec(mutation(&FRAGMENTS), 1..3).boxed()];
    (select(&[MINIMAL, COMPLETE][..]), vec(edit(), 0..5), bytes).prop_map(|(text, edits, changes)| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for edit in edits {
            apply(&mut lines, edit);
        }
        let mut bytes = lines.join("\n").into_bytes();
        for change in changes {
            change.apply(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// An outcome that a person can use: a job that fits together, or errors that each name a place in the text.
fn check(text: &str, path: &Path, outcome: Result<Job, ConfigErrors>) -> TestCaseResult {
    let job = match outcome {
        Ok(job) => job,
        Err(errors) => return check_errors(text, path, &errors),
    };
    prop_assert!(!format!("{job:?}").contains(PASSWORD), "the job shows a secret");
    for source in &job.sources {
        let decoder = Decoder::new(&source.decode, source.max_record_bytes);
        prop_assert!(decoder.is_ok(), "`{}` passed the check and cannot be decoded: {:?}", source.name, decoder.err());
    }
    for operator in &job.operators {
        let json: serde_json::Value = serde_json::from_str(&operator.config).expect("a configuration is JSON");
        prop_assert_eq!(&serde_json_canonicalizer::to_string(&json).expect("JSON"), &operator.config);
        prop_assert!(!operator.inputs.is_empty(), "an operator without input");
    }
    let nodes = job.sources.len() + job.operators.len() + job.sinks.len();
    prop_assert!((1..=NODES_MAX).contains(&nodes) && job.shards > 0 && job.workers > 0 && job.workers <= job.shards);
    Ok(())
}

fn check_errors(text: &str, path: &Path, errors: &ConfigErrors) -> TestCaseResult {
    let words = errors.to_string();
    prop_assert!(!words.contains(PASSWORD), "an error shows a secret: {}", words);
    prop_assert!(!errors.errors.is_empty());
    prop_assert!(!words.chars().any(|c| c.is_control() && c != '\n'), "a control character in {:?}", words);
    let mut lines = words.lines().skip(1);
    for (at, error) in errors.errors.iter().enumerate() {
        let Some(place) = error.place else {
            return Err(TestCaseError::fail(format!("no place: {error:?}")));
        };
        if at >= SHOWN_ERRORS {
            continue;
        }
        let line = text.split('\n').nth(place.line.wrapping_sub(1));
        let in_line = line.is_some_and(|line| (1..=line.chars().count() + 1).contains(&place.column));
        prop_assert!(in_line, "{:?} is not in the text", error);
        let start = format!("{}:{}:{}: ", path.display(), place.line, place.column);
        prop_assert!(lines.next().is_some_and(|line| line.starts_with(&start)), "not one line an error: {}", words);
    }
    prop_assert_eq!(lines.next().is_some(), errors.errors.len() > SHOWN_ERRORS);
    Ok(())
}

#[test]
fn every_job_file_is_a_job_or_errors_with_a_place() {
    let (folder, environment) = (folder(), environment());
    let path = folder.path().join("job.toml");
    let accepted = Share::default();
    run("job-file", 5_000, &job_file(), |text| {
        let outcome = parse(&path, &text, &environment);
        if let (Err(first), Err(second)) = (&outcome, parse(&path, &text, &environment)) {
            prop_assert_eq!(first, &second, "read twice");
        }
        accepted.count(outcome.is_ok());
        check(&text, &path, outcome)
    });
    accepted.assert_both(5);
}

#[test]
fn any_text_is_refused_with_a_place() {
    let (folder, environment) = (folder(), environment());
    let path = folder.path().join("job.toml");
    let texts = prop_oneof![
        arbitrary_bytes(200).prop_map(|Bytes(bytes)| String::from_utf8_lossy(&bytes).into_owned()),
        "[a-z\\[\\]{}=\".,'# \n\\\\]{0,80}",
    ];
    run("job-file-text", 10_000, &texts, |text| check(&text, &path, parse(&path, &text, &environment)));
}

#[test]
fn a_file_of_the_largest_size_is_read_in_time_and_space() {
    let (folder, environment) = (folder(), environment());
    let path = folder.path().join("job.toml");
    let starts =
        select(&["", "a", "name = ", "[operator.detector.config]\nx = ", "[operator.detector.config]\nx", MINIMAL][..]);
    let pieces = select(
        &[
            "[",
            "{a=",
            "[{a=",
            ".a",
            "a=1\n",
            "a@=1\n",
            "[source.a@]\n",
            "[sink.a@]\nfrom = [\"a@\"]\n",
            "\"",
            "\\",
            "\"a\", ",
            "#",
            "\n",
            "x",
            "é",
            "[[a]]\n",
            "a.b@.c = 1\n",
            "name = \"x\"\n",
            "\"@\", ",
            "1, ",
            "[a@]\n",
            "'''",
            "\u{feff}",
        ][..],
    );
    let inputs = (starts, pieces, any::<Index>());
    run("job-file-size", 30, &inputs, |(start, piece, size)| {
        let times = size.index((FILE_BYTES_MAX as usize - start.len()) / (piece.len() + 4)) + 1;
        let repeated: String = (0..times).map(|at| piece.replace('@', &at.to_string())).collect();
        let text = format!("{start}{repeated}");
        let began = Instant::now();
        let (outcome, peak) = peak_bytes(|| parse(&path, &text, &environment));
        let took = began.elapsed();
        prop_assert!(took < Duration::from_secs(20), "{:?} for {} times {:?} behind {:?}", took, times, piece, start);
        prop_assert!(peak <= 500 * text.len() + (1 << 20), "{} bytes for {} times {:?}", peak, times, piece);
        check(&text, &path, outcome)
    });
}
