//! Capture and restore: an instance goes on where it was, in another engine, with the same bytes.

use super::super::{Engine, Instance, PluginError};
use super::{GUEST, MIB, core_module, guest, mode, options, process};
use crate::columns::Batch;
use crate::ids::Watermark;
use crate::state::snapshot::{GlobalValue, InstanceDelta, InstanceImage, MemoryDelta, PAGE_BYTES};
use std::collections::BTreeMap;

/// The image after another delta, as the store folds it.
pub(super) fn fold(image: &mut InstanceImage, delta: &InstanceDelta) {
    image.memories.resize_with(delta.memories.len(), MemoryDelta::default);
    for (memory, delta) in image.memories.iter_mut().zip(&delta.memories) {
        let mut pages: BTreeMap<u32, &[u8]> =
            memory.pages.iter().copied().zip(memory.data.chunks_exact(PAGE_BYTES)).collect();
        pages.extend(delta.pages.iter().copied().zip(delta.data.chunks_exact(PAGE_BYTES)));
        pages.retain(|_, bytes| bytes.iter().any(|byte| *byte != 0));
        let (numbers, data): (Vec<u32>, Vec<&[u8]>) = pages.into_iter().unzip();
        *memory = MemoryDelta { size_bytes: delta.size_bytes, pages: numbers, data: data.concat() };
    }
    image.globals.clone_from(&delta.globals);
}

/// Calls with batches of several sizes and an advance; returns what came out.
pub(super) fn run(mut instance: Instance, calls: std::ops::Range<i64>) -> (Instance, Vec<Batch>) {
    let mut outputs = Vec::new();
    for call in calls {
        let rows = usize::try_from(call % 7).unwrap() * 100 + 1;
        let (next, outcome) = process(instance, rows, call * 1000).unwrap();
        outputs.extend(outcome.outputs.into_iter().map(|(_, batch)| batch));
        let (next, outcome) = next.advance(Watermark(call * 1000)).unwrap();
        outputs.extend(outcome.outputs.into_iter().map(|(_, batch)| batch));
        instance = next;
    }
    (instance, outputs)
}

pub(super) fn assert_same(left: &[Batch], right: &[Batch]) {
    assert_eq!(left.len(), right.len());
    for (left, right) in left.iter().zip(right) {
        assert_eq!(left.values, right.values);
        assert_eq!(left.timestamps, right.timestamps);
    }
}

#[test]
fn a_restored_instance_goes_on_with_the_same_bytes_in_another_engine() {
    let mut image = InstanceImage::default();
    let mut instance = guest().open(&options(mode::COUNT)).unwrap();
    fold(&mut image, &instance.capture().unwrap());
    for part in 0..4 {
        instance = run(instance, part * 5..part * 5 + 5).0;
        fold(&mut image, &instance.capture().unwrap());
    }
    let mut restored = guest().restore(&options(mode::COUNT), &image).unwrap();
    assert_eq!(restored.memory_bytes(), instance.memory_bytes());
    assert!(restored.memory_bytes() > MIB, "the guest grew its memory");
    let untouched = restored.capture().unwrap();
    assert!(untouched.memories[0].pages.is_empty(), "nothing changed since the image");
    assert_eq!(untouched.globals, image.globals);

    let (mut instance, expected) = run(instance, 20..30);
    let (mut restored, outputs) = run(restored, 20..30);
    assert_eq!(expected.len(), 20);
    assert_same(&expected, &outputs);
    let (mut left, mut right) = (image.clone(), image);
    fold(&mut left, &instance.capture().unwrap());
    fold(&mut right, &restored.capture().unwrap());
    assert!(left == right, "both instances hold the same memory and globals");
}

#[test]
fn the_first_capture_is_all_and_the_next_ones_are_what_changed() {
    let mut instance = guest().open(&options(mode::COUNT)).unwrap();
    let first = instance.capture().unwrap();
    assert!(first.memories[0].pages.contains(&2), "the data segment's page");
    assert_eq!(first.memories[0].size_bytes, 2 * 64 * 1024);
    let untouched = instance.capture().unwrap();
    assert!(untouched.memories[0].pages.is_empty());
    let (mut instance, _) = run(instance, 1..2);
    let changed = instance.capture().unwrap();
    assert!(changed.memories[0].pages.contains(&2), "the page became all zero");
    assert!(changed.memories[0].pages.len() < first.memories[0].pages.len() + 8);
}

#[test]
fn mutable_globals_are_captured_exported_or_not_and_floats_by_their_bits() {
    let mut instance = run(guest().open(&options(mode::COUNT)).unwrap(), 0..3).0;
    let globals = instance.capture().unwrap().globals;
    let grown = [1.5_f32 * 1.25 * 1.25 * 1.25, 0.0][0];
    let wanted = [
        GlobalValue::I32(65536),
        GlobalValue::I32(i32::from(b'c')),
        GlobalValue::I64(3),
        GlobalValue::F32(grown.to_bits()),
        GlobalValue::F64((2.5_f64 * 1.25 * 1.25 * 1.25).to_bits()),
    ];
    assert_eq!(globals, wanted);
}

#[test]
fn nan_payloads_of_globals_survive() {
    let mut image = InstanceImage::default();
    let mut instance = guest().open(&options(mode::COUNT)).unwrap();
    fold(&mut image, &instance.capture().unwrap());
    image.globals[3] = GlobalValue::F32(0x7fa0_1234);
    image.globals[4] = GlobalValue::F64(0x7ff4_0000_dead_beef);
    let mut restored = guest().restore(&options(mode::COUNT), &image).unwrap();
    assert_eq!(restored.capture().unwrap().globals, image.globals);
}

#[test]
fn an_image_that_does_not_fit_is_refused() {
    let mut image = InstanceImage::default();
    fold(&mut image, &guest().open(&options(mode::COUNT)).unwrap().capture().unwrap());
    let plugin = guest();
    let refusal = |change: fn(&mut InstanceImage)| {
        let mut image = image.clone();
        change(&mut image);
        match plugin.restore(&options(mode::COUNT), &image) {
            Err(PluginError::Host { what }) => what,
            other => panic!("an image that does not fit was taken: {:?}", other.err()),
        }
    };
    assert!(refusal(|image| image.memories.clear()).contains("0 memories, the plugin 1"));
    assert!(refusal(|image| image.memories[0].size_bytes = 65536).contains("has 131072 bytes at start"));
    assert!(refusal(|image| image.memories[0].pages[0] = 1 << 20).contains("comes before"));
    assert!(refusal(|image| *image.memories[0].pages.last_mut().unwrap() = 1 << 20).contains("it has a page 1048576"));
    assert!(refusal(|image| image.memories[0].data.truncate(7)).contains("7 bytes for"));
    assert!(refusal(|image| image.globals.truncate(1)).contains("1 globals, the plugin 5"));
    assert!(refusal(|image| image.globals[2] = GlobalValue::I32(0)).contains("global 2"));
    assert!(refusal(|image| image.memories[0].size_bytes = 1 << 30).contains("the limit is 67108864 bytes"));
}

#[test]
fn an_instance_moves_between_threads() {
    let instance = guest().open(&options(mode::COUNT)).unwrap();
    let (instance, _) = std::thread::spawn(move || run(instance, 0..3)).join().unwrap();
    let (mut instance, outputs) = run(instance, 3..4);
    assert_eq!(outputs.len(), 2);
    assert!(!instance.capture().unwrap().memories[0].pages.is_empty());
}

#[test]
fn instances_of_one_plugin_share_nothing() {
    let plugin = guest();
    let (_, left) = run(plugin.open(&options(mode::COUNT)).unwrap(), 0..3);
    let (_, right) = run(plugin.open(&options(mode::COUNT)).unwrap(), 0..3);
    assert_same(&left, &right);
}

#[test]
fn a_cached_artifact_loads_again() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = core_module(GUEST, "plain");
    for _ in 0..2 {
        let plugin = Engine::new(Some(folder.path())).unwrap().load("guest.wasm", &bytes).unwrap();
        let (_, outputs) = run(plugin.open(&options(mode::COUNT)).unwrap(), 0..2);
        assert_eq!(outputs.len(), 4);
    }
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_some(), "compiled code was kept");
}
