//! Values by byte key, in the order in which keys came: one arena for all keys, one table, no allocation per key.
//!
//! Plain data: no host call, no random seed. Next room: [`crate::window`], which keeps one of these a window.

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as TableEntry;
use std::hash::{BuildHasher, Hasher};

/// The seed is fixed, so that two runs do the same. What hostile keys can reach is slowness, within the limits of a
/// call.
const HASH_SEED: u64 = 0x7469_6465_6761_7465;

/// A hash map of the standard library with a fixed seed: two runs iterate in the same order. Use it instead of one with
/// the default hasher, whose seed a plugin must not depend on.
///
/// ```
/// use tidegate_sdk::HashMap;
///
/// let mut limits: HashMap<String, i64> = HashMap::default();
/// limits.insert("alice".to_owned(), 100);
/// assert_eq!(limits["alice"], 100);
/// ```
pub type HashMap<K, V> = std::collections::HashMap<K, V, FixedState>;

/// Values by byte key, iterated in the order in which the keys first came. Keys cannot be removed one by one. It is
/// faster than a map of strings, because a key costs no allocation, and has the same order whatever the batches were.
///
/// Holds up to 4 GiB of keys, which is all that a plugin's memory holds.
///
/// ```
/// use tidegate_sdk::KeyMap;
///
/// let mut counts: KeyMap<u64> = KeyMap::new();
/// for user in ["bob", "alice", "bob"] {
///     *counts.get_or_default(user.as_bytes()) += 1;
/// }
/// let seen: Vec<_> = counts.iter().collect();
/// assert_eq!(seen, [(b"bob".as_slice(), &2), (b"alice".as_slice(), &1)]);
/// ```
#[derive(Debug, Clone)]
pub struct KeyMap<V> {
    arena: Vec<u8>,
    entries: Vec<Entry<V>>,
    table: HashTable<Slot>,
}

#[derive(Debug, Clone)]
struct Entry<V> {
    start: u32,
    length: u32,
    value: V,
}

/// 32 bits of the key's hash beside the entry's number: growing the table reads no key, and a wrong match is rare.
#[derive(Debug, Clone, Copy)]
struct Slot {
    hash: u32,
    entry: u32,
}

impl<V> Default for KeyMap<V> {
    fn default() -> KeyMap<V> {
        KeyMap::new()
    }
}

impl<V> KeyMap<V> {
    /// Makes an empty map, without allocating.
    ///
    /// ```
    /// assert!(tidegate_sdk::KeyMap::<u64>::new().is_empty());
    /// ```
    pub const fn new() -> KeyMap<V> {
        KeyMap { arena: Vec::new(), entries: Vec::new(), table: HashTable::new() }
    }

    /// How many keys there are.
    ///
    /// ```
    /// assert_eq!(tidegate_sdk::KeyMap::<u64>::new().len(), 0);
    /// ```
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no key.
    ///
    /// ```
    /// assert!(tidegate_sdk::KeyMap::<u64>::new().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value of a key.
    ///
    /// ```
    /// let mut map = tidegate_sdk::KeyMap::new();
    /// *map.get_or_default(b"a") = 3;
    /// assert_eq!(map.get(b"a"), Some(&3));
    /// assert_eq!(map.get(b"b"), None);
    /// ```
    pub fn get(&self, key: &[u8]) -> Option<&V> {
        let hash = hash(key);
        let slot = self.table.find(spread(hash), |slot| slot.hash == hash && self.key(slot.entry) == key)?;
        Some(&self.entries[slot.entry as usize].value)
    }

    /// The value of a key, which begins as the default.
    ///
    /// ```
    /// let mut map = tidegate_sdk::KeyMap::<Vec<i64>>::new();
    /// map.get_or_default(b"a").push(1);
    /// ```
    #[inline]
    pub fn get_or_default(&mut self, key: &[u8]) -> &mut V
    where
        V: Default,
    {
        let hash = hash(key);
        let KeyMap { arena, entries, table } = self;
        let is_key = |slot: &Slot| slot.hash == hash && entry_key(arena, &entries[slot.entry as usize]) == key;
        let entry = match table.entry(spread(hash), is_key, |slot| spread(slot.hash)) {
            TableEntry::Occupied(slot) => slot.get().entry as usize,
            TableEntry::Vacant(vacant) => {
                let entry = entries.len();
                let end = u32::try_from(arena.len() + key.len()).expect("a map holds less than 4 GiB of keys");
                vacant.insert(Slot { hash, entry: entry as u32 });
                arena.extend_from_slice(key);
                let length = key.len() as u32;
                entries.push(Entry { start: end - length, length, value: V::default() });
                entry
            }
        };
        &mut entries[entry].value
    }

    /// Keys and values in the order in which the keys first came.
    ///
    /// ```
    /// let mut map = tidegate_sdk::KeyMap::<u8>::new();
    /// map.get_or_default(b"z");
    /// map.get_or_default(b"a");
    /// assert_eq!(map.iter().map(|(key, _)| key).collect::<Vec<_>>(), [b"z", b"a"]);
    /// ```
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &V)> {
        self.iter_from(0)
    }

    /// Forgets all keys. Keeps the memory, unless the map used little of it: clearing a table costs its size, and that
    /// must stay in proportion to what was in it.
    ///
    /// ```
    /// let mut map = tidegate_sdk::KeyMap::<u8>::new();
    /// map.get_or_default(b"a");
    /// map.clear();
    /// assert!(map.is_empty());
    /// ```
    pub fn clear(&mut self) {
        if self.table.capacity() > 64 && self.table.capacity() / 4 > self.entries.len() {
            *self = KeyMap::new();
            return;
        }
        self.arena.clear();
        self.entries.clear();
        self.table.clear();
    }

    pub(crate) fn iter_from(&self, first: usize) -> impl ExactSizeIterator<Item = (&[u8], &V)> {
        self.entries[first..].iter().map(|entry| (entry_key(&self.arena, entry), &entry.value))
    }

    fn key(&self, entry: u32) -> &[u8] {
        entry_key(&self.arena, &self.entries[entry as usize])
    }
}

#[inline]
fn entry_key<'a, V>(arena: &'a [u8], entry: &Entry<V>) -> &'a [u8] {
    &arena[entry.start as usize..][..entry.length as usize]
}

#[inline]
fn hash(key: &[u8]) -> u32 {
    let mut hasher = FixedState::with_seed(HASH_SEED).build_hasher();
    hasher.write(key);
    hasher.finish() as u32
}

/// The table takes its position from the low bits and its tag from the high ones: 32 bits are spread over 64.
#[inline]
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_keys_are_found_again_and_come_in_order() {
        let mut map: KeyMap<u32> = KeyMap::new();
        for number in 0..50_000_u32 {
            *map.get_or_default(format!("user-{}", number % 20_000).as_bytes()) += 1;
        }
        assert_eq!(map.len(), 20_000);
        for (number, (key, count)) in map.iter().enumerate() {
            assert_eq!(key, format!("user-{number}").as_bytes());
            assert_eq!(*count, if number < 10_000 { 3 } else { 2 });
        }
        assert_eq!(map.get(b"user-20000"), None);
    }

    #[test]
    fn an_empty_key_is_a_key() {
        let mut map: KeyMap<u32> = KeyMap::new();
        *map.get_or_default(b"") += 1;
        *map.get_or_default(b"") += 1;
        assert_eq!(map.iter().collect::<Vec<_>>(), [(b"".as_slice(), &2)]);
    }

    #[test]
    fn clearing_gives_up_memory_that_was_hardly_used() {
        let mut map: KeyMap<u32> = KeyMap::new();
        for number in 0..10_000_u32 {
            map.get_or_default(&number.to_le_bytes());
        }
        map.clear();
        assert!(map.table.capacity() >= 10_000, "a map that was full keeps its table");
        map.get_or_default(b"alone");
        map.clear();
        assert_eq!(map.table.capacity(), 0);
        assert_eq!(map.get(b"alone"), None);
    }
}
