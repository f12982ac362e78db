//! Guests for the fuzz targets: the counting guest with other instructions, built plugins, and a life for each.
//!
//! Next room: [`super`], the targets.

use super::super::super::{Instance, InstanceOptions, Outcome, Plugin, PluginError};
use super::super::{MIB, options, process};
use crate::ids::Watermark;
use crate::state::snapshot::{InstanceDelta, InstanceImage, MemoryDelta, PAGE_BYTES};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestCaseResult;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Configurations: the guest's modes are their first characters. (`l` never ends and `h` returns too much: tested apart.)
const MODES: [&str; 7] = ["c", "p", "k", "f", "g", "n", "{}"];

/// Instructions that can stand for each other.
const ALIKE: [&[&str]; 9] = [
    &[
        "i32.add",
        "i32.sub",
        "i32.mul",
        "i32.and",
        "i32.or",
        "i32.xor",
        "i32.shl",
        "i32.shr_u",
        "i32.div_u",
        "i32.rem_s",
        "i32.eq",
        "i32.ne",
        "i32.le_u",
        "i32.gt_u",
        "i32.lt_s",
        "i32.rotl",
    ],
    &["i64.add", "i64.sub", "i64.mul", "i64.and", "i64.xor", "i64.shl", "i64.div_s", "i64.rem_u"],
    &["f32.add", "f32.sub", "f32.mul", "f32.div", "f32.min", "f32.copysign"],
    &["f64.add", "f64.sub", "f64.mul", "f64.div", "f64.max", "f64.copysign"],
    &["i32.store", "i32.store8", "i32.store16"],
    &["i32.load", "i32.load8_u", "i32.load8_s", "i32.load16_u"],
    &["i64.store", "i64.store8", "i64.store16", "i64.store32"],
    &["i64.load", "i64.load8_u", "i64.load16_s", "i64.load32_u"],
    &["memory.fill", "memory.copy"],
];

/// Numbers that are seldom right.
const NUMBERS: [i64; 16] =
    [0, 1, -1, 2, 3, 4, 7, 8, 255, 4095, 4096, 65_535, 65_536, 1 << 20, i32::MAX as i64, i32::MIN as i64];

/// A guest's text with a few numbers and instructions changed. The allocator stays: it would loop for the longest time
/// that `describe` has.
pub(super) fn changed_text(guest: &'static str) -> impl Strategy<Value = String> {
    let begins = guest.find("(func $realloc").expect("the guest has an allocator");
    let ends = begins + guest[begins..].find("\n\n").expect("it ends");
    let places: Vec<(usize, usize)> = words(guest)
        .filter(|(start, end)| !(begins..ends).contains(start) && !choices(guest, *start, *end).is_empty())
        .collect();
    vec((any::<Index>(), any::<Index>()), 1..5).prop_map(move |changes| {
        let mut chosen: Vec<(usize, usize, String)> = changes
            .iter()
            .map(|(place, choice)| {
                let (start, end) = *place.get(&places);
                (start, end, choice.get(&choices(guest, start, end)).clone())
            })
            .collect();
        chosen.sort();
        chosen.dedup_by_key(|(start, ..)| *start);
        let mut text = guest.to_owned();
        for (start, end, word) in chosen.iter().rev() {
            text.replace_range(*start..*end, word);
        }
        text
    })
}

/// Where the words of a text in S-expressions are.
fn words(text: &str) -> impl Iterator<Item = (usize, usize)> + '_ {
    let is_word = |byte: u8| !byte.is_ascii_whitespace() && byte != b'(' && byte != b')';
    let bytes = text.as_bytes();
    let starts = (1..bytes.len()).filter(move |at| is_word(bytes[*at]) && !is_word(bytes[at - 1]));
    starts.map(move |start| {
        let end = bytes[start..].iter().position(|byte| !is_word(*byte)).map_or(bytes.len(), |at| start + at);
        (start, end)
    })
}

/// What may stand instead of a word.
fn choices(text: &str, start: usize, end: usize) -> Vec<String> {
    let word = &text[start..end];
    if let Some(alike) = ALIKE.iter().find(|alike| alike.contains(&word)) {
        return alike.iter().map(|word| (*word).to_owned()).collect();
    }
    if word.starts_with("offset=") {
        return NUMBERS.iter().filter(|number| **number >= 0).map(|number| format!("offset={number}")).collect();
    }
    let is_constant = [".const ", "memory "].iter().any(|before| text[..start].ends_with(before));
    match word.parse::<i64>() {
        Ok(number) if is_constant => NUMBERS
            .iter()
            .copied()
            .chain([number + 1, number - 1, number + 4, number * 2])
            .map(|number| number.to_string())
            .collect(),
        _ => Vec::new(),
    }
}

/// The plugins that `cargo xtask test` builds.
pub(super) fn artifacts() -> Vec<Vec<u8>> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/plugins");
    let folder = std::env::var_os("TIDEGATE_TEST_PLUGINS").map_or(target, PathBuf::from);
    let names = ["fraud_detector.wasm", "misbehave.wasm", "steps.wasm"];
    let read = |name: &&str| {
        let path = folder.join(name);
        std::fs::read(&path)
            .unwrap_or_else(|error| panic!("{}: {error}; `cargo xtask test` builds the plugins", path.display()))
    };
    names.iter().map(read).collect()
}

/// A whole life in each mode: whatever the guest does, each step is an outcome or an error in words; and one that was
/// restored goes on exactly as the one it was taken from, or else there is state that the check should have found.
pub(super) fn exercise(plugin: &Plugin) -> TestCaseResult {
    for mode in MODES {
        if let Err(error) = plugin.describe(mode) {
            is_sound(&error)?;
            continue;
        }
        let options =
            InstanceOptions { memory_bytes: 16 * MIB, call_timeout: Duration::from_millis(300), ..options(mode) };
        match plugin.open(&options) {
            Ok(instance) => live(plugin, &options, instance)?,
            Err(error) => is_sound(&error)?,
        }
    }
    Ok(())
}

/// An error is of a class that says whose fault it is, and its text is bounded.
fn is_sound(error: &PluginError) -> TestCaseResult {
    let words = error.to_string();
    prop_assert!(!words.is_empty() && words.len() < 20_000, "{}", words);
    prop_assert!(!matches!(error, PluginError::Host { .. }), "the host is blamed: {}", words);
    prop_assert!(!words.contains("please report"), "a promise of the check was broken: {}", words);
    Ok(())
}

fn live(plugin: &Plugin, options: &InstanceOptions, instance: Instance) -> TestCaseResult {
    let mut instance = match calls(instance, 0) {
        Ok((instance, _)) => instance,
        Err(error) => return is_sound(&error),
    };
    let image = image(instance.capture().map_err(|error| TestCaseError::fail(error.to_string()))?);
    let restored = match plugin.restore(options, &image) {
        Ok(restored) => restored,
        // The start function ran out of its limits this time; everything else is for us to explain.
        Err(error @ PluginError::Call { .. }) => return is_sound(&error),
        Err(error) => return Err(TestCaseError::fail(format!("a captured state cannot be restored: {error}"))),
    };
    match (calls(instance, 1), calls(restored, 1)) {
        (Ok((mut left, expected)), Ok((mut right, outcomes))) => {
            prop_assert_eq!(format!("{expected:?}"), format!("{outcomes:?}"), "a restored instance went another way");
            let deltas = (left.capture(), right.capture());
            let (Ok(left), Ok(right)) = deltas else { return Err(TestCaseError::fail("globals cannot be read")) };
            prop_assert!(left == right, "a restored instance changed other memory");
        }
        (Err(left), Err(right)) => {
            is_sound(&left)?;
            is_sound(&right)?;
        }
        (Ok(_), Err(error)) | (Err(error), Ok(_)) => {
            let late = error.to_string().contains("took longer");
            prop_assert!(late, "only one of an instance and its restored self failed: {error}");
        }
    }
    Ok(())
}

fn calls(mut instance: Instance, round: i64) -> Result<(Instance, Vec<Outcome>), PluginError> {
    let mut outcomes = Vec::new();
    for (rows, time) in [(3, 1000), (0, 2000), (100, 3000)] {
        let (next, outcome) = process(instance, rows, round * 10_000 + time)?;
        outcomes.push(outcome);
        let (next, outcome) = next.advance(Watermark(round * 10_000 + time))?;
        outcomes.push(outcome);
        instance = next;
    }
    Ok((instance, outcomes))
}

/// A first capture as the image that the store makes of it.
fn image(delta: InstanceDelta) -> InstanceImage {
    let kept = |memory: MemoryDelta| {
        let pages = memory.pages.iter().zip(memory.data.chunks_exact(PAGE_BYTES));
        let (pages, data): (Vec<u32>, Vec<&[u8]>) =
            pages.filter(|(_, bytes)| bytes.iter().any(|byte| *byte != 0)).map(|(page, bytes)| (*page, bytes)).unzip();
        MemoryDelta { size_bytes: memory.size_bytes, data: data.concat(), pages }
    };
    InstanceImage { memories: delta.memories.into_iter().map(kept).collect(), globals: delta.globals }
}
