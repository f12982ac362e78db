//! After a call that failed an instance comes back as it was, byte for byte, and its captures go on as if nothing had been.

use super::super::{FailedCall, Input, Instance, Remains};
use super::restore::{assert_same, fold, run};
use super::{guest, mode, options, rows};
use crate::ids::{PortIndex, Watermark};
use crate::state::snapshot::InstanceImage;

/// Calls with a batch on which the guest traps after it has changed its state.
fn fail(instance: Instance) -> Remains {
    let (keys, timestamps) = rows(13, 99);
    let input =
        Input { rows: 13, keys: Some(&keys), values: None, timestamps: &timestamps, headers: None, columns: &[] };
    let FailedCall { error, remains } =
        instance.process(PortIndex(0), Watermark(99), &input).err().expect("a batch of 13 is a trap");
    assert!(error.to_string().contains("it trapped"), "{error}");
    remains
}

fn opened() -> Instance {
    guest().open(&options(mode::COUNT)).unwrap()
}

fn captured() -> Instance {
    let mut instance = run(opened(), 0..6).0;
    instance.capture().unwrap();
    instance
}

fn restored() -> Instance {
    let mut image = InstanceImage::default();
    fold(&mut image, &run(opened(), 0..6).0.capture().unwrap());
    guest().restore(&options(mode::COUNT), &image).unwrap()
}

#[test]
fn at_the_last_barrier_it_repeats_its_calls_and_captures_what_one_that_never_failed_does() {
    for begin in [opened, captured, restored] {
        let (mut healthy, expected) = run(begin(), 10..16);
        let (failing, first) = run(begin(), 10..13);
        let mut back = fail(failing).at_last_barrier().unwrap();
        back.set_call_timeout(std::time::Duration::from_mins(1));
        let (back, repeated) = run(back, 10..13);
        assert_same(&first, &repeated);
        let (mut back, rest) = run(back, 13..16);
        assert_same(&expected[first.len()..], &rest);
        assert!(back.capture().unwrap() == healthy.capture().unwrap(), "both hold the same changes since the barrier");
        assert!(
            run(back, 16..20).0.capture().unwrap() == run(healthy, 16..20).0.capture().unwrap(),
            "and since the next"
        );
    }
}

#[test]
fn at_an_image_between_two_barriers_it_goes_on_from_there() {
    for begin in [opened, captured, restored] {
        let (mut healthy, _) = run(begin(), 10..16);
        let (mut instance, _) = run(begin(), 10..14);
        let image = instance.image().unwrap();
        let (instance, _) = run(instance, 14..15);
        let back = fail(instance).at_image(&image).unwrap();
        let mut back = fail(back).at_image(&image).unwrap();
        assert!(back.image().unwrap() == image, "an image of the image is the image");
        let (mut back, _) = run(back, 14..16);
        assert!(back.capture().unwrap() == healthy.capture().unwrap(), "both hold the same changes since the barrier");
    }
}
