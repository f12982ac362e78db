//! Stored formats: every value in the store is a frame with magic, version, length and checksum.
//!
//! Pure: bytes in, bytes out, no storage. Bytes from disk never panic here; every length is checked before it is used.
//! Next rooms: `rows` (what stands in the frames), `blocks` (pages of memory).
//!
//! ```text
//! frame    magic [u8; 4] | version u16 | reserved u16 | payload length u64 | checksum u64 | payload
//! ```
//!
//! All integers are little-endian. The checksum is XXH3 (64 bits) over a context, the first 16 bytes and the payload. The
//! context is the row's key, which is not stored a second time: a value that turns up under another key does not pass.

pub(super) mod blocks;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod golden;
pub(super) mod parts;
pub(super) mod rows;

use xxhash_rust::xxh3::Xxh3;

/// The version that this build writes. It reads every version up to it.
pub(super) const FORMAT_VERSION: u16 = 1;

/// What stands before a payload, in bytes.
pub(super) const FRAME_BYTES: usize = 24;

/// What a frame holds, by its magic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameKind {
    /// The store's identity, ledger and settings.
    Meta,
    /// A checkpoint's record.
    Checkpoint,
    /// What is known of a snapshot before its parts.
    SnapshotHead,
    /// A part of a snapshot's pages.
    SnapshotPart,
    /// A part of a plugin artifact.
    ArtifactPart,
}

impl FrameKind {
    fn magic(self) -> [u8; 4] {
        *match self {
            FrameKind::Meta => b"TGMT",
            FrameKind::Checkpoint => b"TGCP",
            FrameKind::SnapshotHead => b"TGSH",
            FrameKind::SnapshotPart => b"TGSP",
            FrameKind::ArtifactPart => b"TGAP",
        }
    }
}

/// Why stored bytes are not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum FormatError {
    /// A newer build wrote it.
    #[error("format version `{found}` is unknown, this build reads up to `{FORMAT_VERSION}`")]
    Version {
        /// The version in the frame.
        found: u16,
    },
    /// The bytes changed since they were written.
    #[error("{0}")]
    Damaged(String),
}

impl FormatError {
    pub(super) fn damaged(what: impl Into<String>) -> FormatError {
        FormatError::Damaged(what.into())
    }
}

/// Writes a frame into `out`, which is cleared first. The payload is what `fill` appends.
pub(super) fn seal_with(kind: FrameKind, context: &[u8], out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    out.clear();
    out.extend_from_slice(&kind.magic());
    out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    out.extend_from_slice(&[0; FRAME_BYTES - 6]);
    fill(out);
    let payload_bytes = (out.len() - FRAME_BYTES) as u64;
    out[8..16].copy_from_slice(&payload_bytes.to_le_bytes());
    let checksum = checksum(context, &out[..16], &out[FRAME_BYTES..]);
    out[16..24].copy_from_slice(&checksum.to_le_bytes());
}

/// A payload as a frame.
pub(super) fn seal(kind: FrameKind, context: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(FRAME_BYTES + payload.len());
    seal_with(kind, context, &mut out, |out| out.extend_from_slice(payload));
    out
}

/// The payload of a frame, once everything about the frame was found right.
pub(super) fn unseal<'a>(kind: FrameKind, context: &[u8], frame: &'a [u8]) -> Result<&'a [u8], FormatError> {
    let Some((head, payload)) = frame.split_at_checked(FRAME_BYTES) else {
        return Err(FormatError::damaged(format!("`{}` bytes are too few for a frame", frame.len())));
    };
    if head[..4] != kind.magic() {
        return Err(FormatError::damaged(format!("it does not begin with `{}`", kind.magic().escape_ascii())));
    }
    let stored_checksum = u64_at(head, 16);
    let found_checksum = checksum(context, &head[..16], payload);
    let version = u16::from_le_bytes([head[4], head[5]]);
    // A later version may place its checksum elsewhere, so the version is looked at first; a flipped version is then
    // reported as an unknown one, which stops as well.
    if version == 0 || version > FORMAT_VERSION {
        return Err(FormatError::Version { found: version });
    }
    let payload_bytes = u64_at(head, 8);
    if payload_bytes != payload.len() as u64 {
        return Err(FormatError::damaged(format!(
            "the frame says `{payload_bytes}` bytes and has `{}`",
            payload.len()
        )));
    }
    if stored_checksum != found_checksum {
        return Err(FormatError::damaged(format!(
            "checksum `{found_checksum:016x}` is not the stored `{stored_checksum:016x}`"
        )));
    }
    Ok(payload)
}

fn checksum(context: &[u8], head: &[u8], payload: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(context);
    hash.update(head);
    hash.update(payload);
    hash.digest()
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_frame_is_noticed() {
        let frame = seal(FrameKind::SnapshotPart, b"key", b"payload of some bytes");
        assert_eq!(unseal(FrameKind::SnapshotPart, b"key", &frame), Ok(&b"payload of some bytes"[..]));
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal(FrameKind::SnapshotPart, b"key", &flipped).is_err(), "bit {bit}");
        }
        for length in 0..frame.len() {
            assert!(unseal(FrameKind::SnapshotPart, b"key", &frame[..length]).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn a_value_under_another_key_or_of_another_kind_does_not_pass() {
        let frame = seal(FrameKind::SnapshotPart, b"shard 1", b"bytes");
        assert!(unseal(FrameKind::SnapshotPart, b"shard 2", &frame).is_err());
        assert!(unseal(FrameKind::SnapshotHead, b"shard 1", &frame).is_err());
    }

    #[test]
    fn a_later_version_is_named() {
        let mut frame = seal(FrameKind::Meta, b"", b"x");
        frame[4] = 9;
        assert_eq!(unseal(FrameKind::Meta, b"", &frame), Err(FormatError::Version { found: 9 }));
    }
}
