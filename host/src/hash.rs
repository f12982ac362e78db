//! Which shard a key belongs to, and how a key of several parts becomes one byte string.
//!
//! Stable for ever: the shard of a key decides which snapshot holds its state, so another hash, seed or part encoding would
//! lose the state of every existing job. The tests compare with fixed values; a change that breaks them is not allowed.
//! Next room: [`crate::decode`], which makes key bytes from a record.

use crate::ids::ShardId;
use xxhash_rust::xxh3::xxh3_64;

/// The shard of a key: XXH3 (64 bits, seed 0, as in xxHash 0.8) of the key's bytes, mod `shards`, which must not be 0.
#[inline]
pub fn shard_of(key: &[u8], shards: u16) -> ShardId {
    debug_assert!(shards > 0, "a job has at least one shard");
    ShardId((xxh3_64(key) % u64::from(shards)) as u16)
}

/// The shard of rows that no key routes: `number` mod `shards`, which must not be 0. The caller says what counts: the
/// split's number for `route = "same-shard"` behind a source, or a running number to spread rows evenly.
#[inline]
pub fn shard_of_keyless(number: u32, shards: u16) -> ShardId {
    debug_assert!(shards > 0, "a job has at least one shard");
    ShardId((number % u32::from(shards)) as u16)
}

/// Appends a part of a composite key: its length in bytes as a little-endian u32, then its bytes, which `write` appends. So
/// `("a", "bc")` and `("ab", "c")` are two keys. A key of one part is the part itself, without a length.
#[inline]
pub fn append_key_part<E>(key: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
    let prefix = key.len();
    let start = prefix + KEY_PART_PREFIX_BYTES;
    key.extend_from_slice(&[0; KEY_PART_PREFIX_BYTES]);
    write(key)?;
    let length = (key.len() - start) as u32;
    key[prefix..start].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

/// The length before each part of a composite key, in bytes.
const KEY_PART_PREFIX_BYTES: usize = 4;

/// Digest of stored or observed bytes (XXH3, 64 bits, seed 0): a file's head, a staging file.
#[inline]
pub fn digest(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fixed values, as the reference implementation of XXH3 publishes them.
    #[test]
    fn the_hash_never_changes() {
        assert_eq!(digest(b""), 0x2d06_8005_38d3_94c2);
        assert_eq!(digest(b"a"), 0xe6c6_32b6_1e96_4e1f);
        assert_eq!(digest(b"abc"), 0x78af_5f94_892f_3950);
    }

    /// If this fails, the code is wrong, not the test: existing jobs keep their state by these numbers.
    #[test]
    fn the_shard_of_a_key_never_changes() {
        let keys = ["", "a", "42", "user-1", "user-2", "user-19999", "日本"];
        let shards = keys.map(|key| shard_of(key.as_bytes(), 16).0);
        assert_eq!(shards, [2, 15, 1, 9, 4, 5, 0]);
        assert_eq!([1, 7, 1000, u16::MAX].map(|shards| shard_of(b"user-1", shards).0), [0, 3, 57, 35_897]);
    }

    #[test]
    fn keys_spread_evenly_over_shards() {
        let mut counts = [0_u32; 16];
        for user in 0..16_000 {
            counts[shard_of(format!("user-{user}").as_bytes(), 16).index()] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }

    #[test]
    fn rows_without_a_key_take_the_callers_number() {
        let shards: Vec<u16> = (0..5).map(|split| shard_of_keyless(split, 3).0).collect();
        assert_eq!(shards, [0, 1, 2, 0, 1]);
    }

    #[test]
    fn parts_of_a_composite_key_do_not_run_together() {
        let join = |parts: &[&str]| {
            let mut key = Vec::new();
            for part in parts {
                let appended: Result<(), ()> = append_key_part(&mut key, |key| {
                    key.extend_from_slice(part.as_bytes());
                    Ok(())
                });
                assert_eq!(appended, Ok(()));
            }
            key
        };
        assert_eq!(join(&["a", "bc"]), b"\x01\0\0\0a\x02\0\0\0bc");
        assert_ne!(join(&["a", "bc"]), join(&["ab", "c"]));
        assert_ne!(join(&["", "a"]), join(&["a", ""]));
    }
}
