//! Which partition a record goes to: the one that Java's producer would choose, so that topics co-partition.
//!
//! Pure. Next room: [`crate::sink::kafka`], which asks.

/// Keyless records stay with a partition for this many bytes before they move on, as Java's producer does with its
/// `batch.size`: batches stay whole, and partitions fill alike.
const STICKY_BYTES: usize = 16 * 1024;

/// Chooses partitions of one topic. The same records in the same order get the same partitions.
#[derive(Debug, Clone)]
pub struct Partitioner {
    partitions: u32,
    keyless_partition: u32,
    keyless_bytes: usize,
}

impl Partitioner {
    /// For a topic with this many partitions, at least 1.
    ///
    /// # Panics
    ///
    /// Without partitions.
    pub fn new(partitions: u32) -> Partitioner {
        assert!(partitions > 0, "a topic has at least one partition");
        Partitioner { partitions, keyless_partition: 0, keyless_bytes: 0 }
    }

    /// The partition for a record with this key, of which the value takes `value_bytes`.
    #[inline]
    pub fn partition(&mut self, key: Option<&[u8]>, value_bytes: usize) -> i32 {
        match key {
            Some(key) => ((murmur2(key) & 0x7fff_ffff) % self.partitions) as i32,
            None => self.keyless(value_bytes),
        }
    }

    fn keyless(&mut self, value_bytes: usize) -> i32 {
        if self.keyless_bytes >= STICKY_BYTES {
            self.keyless_bytes = 0;
            self.keyless_partition = (self.keyless_partition + 1) % self.partitions;
        }
        self.keyless_bytes += value_bytes.max(1);
        self.keyless_partition as i32
    }
}

/// 32-bit `MurmurHash2` with the seed of Kafka's Java clients (`org.apache.kafka.common.utils.Utils.murmur2`).
#[inline]
pub fn murmur2(data: &[u8]) -> u32 {
    const MIX: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut bits = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(MIX);
        bits ^= bits >> 24;
        hash = hash.wrapping_mul(MIX) ^ bits.wrapping_mul(MIX);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(MIX);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MIX);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::{Partitioner, murmur2};

    // Made with kafka-clients 4.3.1: `Utils.murmur2(key)` and `Utils.toPositive(..) % 12`.
    const JAVA: [(&[u8], i32, i32); 12] = [
        (b"", 275_646_681, 9),
        (b"a", -1_563_381_124, 4),
        (b"ab", 316_155_434, 2),
        (b"abc", 479_470_107, 3),
        (b"abcd", -1_323_649_548, 8),
        (b"user-17", 1_149_718_380, 0),
        (b"user-4711", 7_331_019, 3),
        (b"21", -973_932_308, 0),
        (b"a-little-bit-long-string", -985_981_536, 8),
        (b"Z\xc3\xbcrich", -1_551_140_815, 1),
        (b"\x00\xff\x80\x01\xc8", 936_701_319, 3),
        (b"\xff\xff\xff", 1_548_199_422, 6),
    ];

    #[test]
    fn hashes_and_partitions_are_those_of_the_java_client() {
        let mut partitioner = Partitioner::new(12);
        for (key, hash, partition) in JAVA {
            assert_eq!(murmur2(key) as i32, hash, "{key:?}");
            assert_eq!(partitioner.partition(Some(key), 0), partition, "{key:?}");
        }
    }

    #[test]
    fn keyless_records_fill_the_partitions_in_turn() {
        let mut partitioner = Partitioner::new(3);
        let chosen: Vec<i32> = (0..8).map(|_| partitioner.partition(None, 8 * 1024)).collect();
        assert_eq!(chosen, [0, 0, 1, 1, 2, 2, 0, 0]);
    }
}
