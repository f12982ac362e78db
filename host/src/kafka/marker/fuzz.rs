//! Fuzz target: a marker's value of any bytes. Next rooms: [`super`]; [`crate::fuzzing`], how targets run.

use super::{Marker, MarkerError, decode, encode};
use crate::fuzzing::{Bytes, arbitrary_bytes, mutated, peak_bytes, run};
use crate::ids::{AttemptId, CheckpointId, StoreId};
use proptest::prelude::*;
use uuid::Uuid;

fn marker() -> impl Strategy<Value = Marker> {
    (any::<u64>(), any::<u128>(), any::<u128>(), any::<u64>()).prop_map(|(id, attempt, store, digest)| Marker {
        id: CheckpointId(id),
        attempt: AttemptId(Uuid::from_u128(attempt)),
        store: StoreId(Uuid::from_u128(store)),
        digest,
    })
}

#[test]
fn a_marker_comes_back_and_any_other_value_is_refused_with_its_beginning() {
    let base = encode(&Marker {
        id: CheckpointId(u64::MAX),
        attempt: AttemptId(Uuid::from_u128(1)),
        store: StoreId(Uuid::from_u128(2)),
        digest: 3,
    });
    let fragments: &[&[u8]] = &[
        b"\"version\":1,",
        b"\"version\":2,",
        b"\"checkpoint\":-1,",
        b"\"checkpoint\":1e3,",
        b",\"digest\":\"+1\"",
        b"\"digest\":1,",
        b"\"other\":[[[[[[[[[[",
        b"\\u0000",
        b"\xff",
        b"[",
        b"{",
    ];
    let values = prop_oneof![
        2 => marker().prop_map(|marker| (Bytes(encode(&marker)), Some(marker))),
        5 => mutated(vec![base], fragments).prop_map(|value| (value, None)),
        1 => arbitrary_bytes(300).prop_map(|value| (value, None)),
        1 => (1_usize..5000).prop_map(|depth| (Bytes(b"{\"version\":1,\"a\":".iter().copied().chain([b'['].repeat(depth)).collect()), None)),
    ];
    run("marker", 20_000, &values, |(Bytes(value), expected)| {
        let (outcome, peak) = peak_bytes(|| decode(&value));
        prop_assert!(peak <= 16 * 1024 + 4 * value.len(), "{} bytes for {}", peak, value.len());
        match outcome {
            Ok(marker) => {
                prop_assert!(expected.is_none_or(|expected| expected == marker));
                prop_assert_eq!(decode(&encode(&marker)), Ok(marker));
                let json: serde_json::Value = serde_json::from_slice(&value).expect("it was read");
                let digest = json["digest"].as_str().expect("it was read");
                prop_assert_eq!(digest, format!("{:016x}", marker.digest), "two texts for one digest");
            }
            Err(error) => {
                prop_assert_eq!(expected, None);
                let words = error.to_string();
                prop_assert!(words.len() < 4000 && !words.chars().any(char::is_control), "{:?}", words);
                prop_assert_ne!(error, MarkerError::Version { version: 1 });
            }
        }
        Ok(())
    });
}
