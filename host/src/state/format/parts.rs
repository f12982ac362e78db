//! How long the stored parts of a byte stream are.
//!
//! redb gives a large value a power of two of space. So a part's stored length stays [`SLACK_BYTES`] under one: with full
//! 1 MiB values a store takes twice the bytes in it (measured: 1 GiB took 2.18 GB, and 1.11 GB with this slack).

use super::FRAME_BYTES;

/// What redb adds to a value in its page, with room to spare: key, lengths, page header.
const SLACK_BYTES: usize = 256;

/// The space of the largest part, in bytes. Parts of 1 MiB write at full disk speed; more gain nothing.
const SPACE_BYTES_MAX: usize = 1 << 20;

/// The space of the smallest part that is worth a row of its own, in bytes.
const SPACE_BYTES_MIN: usize = 8 << 10;

/// The longest payload of a part, in bytes: its frame and the slack fill the space.
pub(in super::super) const PART_BYTES_MAX: usize = SPACE_BYTES_MAX - SLACK_BYTES - FRAME_BYTES;

/// The length of the next part of `remaining_bytes`, which must not be 0: at most all of them, never 0.
pub(in super::super) fn next_part_bytes(remaining_bytes: usize) -> usize {
    if remaining_bytes >= PART_BYTES_MAX {
        return PART_BYTES_MAX;
    }
    let overhead = SLACK_BYTES + FRAME_BYTES;
    let space = (remaining_bytes + overhead).next_power_of_two();
    // One part wastes at most an eighth of its space, or it is small: no second row for that.
    if space <= SPACE_BYTES_MIN || space - (remaining_bytes + overhead) <= space / 8 {
        return remaining_bytes;
    }
    space / 2 - overhead
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_stream_and_waste_little() {
        for total in (1..6_000_000).step_by(4999) {
            let (mut left, mut space, mut parts) = (total, 0, 0);
            while left > 0 {
                let part = next_part_bytes(left);
                assert!(part > 0 && part <= left && part <= PART_BYTES_MAX);
                space += (part + SLACK_BYTES + FRAME_BYTES).next_power_of_two().max(4096);
                left -= part;
                parts += 1;
            }
            assert!(space <= total + total / 6 + 16 * 1024, "{total} bytes take {space}");
            assert!(parts <= total / PART_BYTES_MAX + 8);
        }
    }
}
