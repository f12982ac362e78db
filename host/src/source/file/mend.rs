//! How an input file differs from what a position says, and positions that a person moved, for `tidegate state repair`.
//!
//! Changes no file. Next rooms: [`super`], which refuses such a file; [`crate::repair`].

use super::identity::{Difference, Identity};
use crate::checkpoint::record::SplitState;
use std::fs;
use std::io;

/// A split whose file is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// How it differs.
    pub what: String,
    /// Where the next byte was to be read.
    pub offset: u64,
    /// The file's length now; `None`: it is gone.
    pub bytes: Option<u64>,
    /// Where to go on unless a person says otherwise.
    pub to: u64,
}

/// What is wrong with the file of a split; `None`: nothing, or it was read to its end, or it is no file.
pub fn look(split: &SplitState) -> io::Result<Option<Changed>> {
    let Some((identity, offset)) = Identity::of(&split.position) else { return Ok(None) };
    if split.finished {
        return Ok(None);
    }
    let Err(difference) = identity.open(offset)? else { return Ok(None) };
    let bytes = match fs::metadata(&identity.path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        metadata => Some(metadata?.len()),
    };
    let to = match difference {
        // What was read is gone from its end: what comes from now on is new.
        Difference::Shrunk { .. } | Difference::Continued { .. } => bytes.unwrap_or(0),
        Difference::Missing { .. } | Difference::Replaced { .. } | Difference::Rewritten { .. } => 0,
    };
    Ok(Some(Changed { what: difference.to_string(), offset, bytes, to }))
}

/// The split in the file as it is now, at a byte; a file that is gone is left out (`None`).
pub fn moved(split: &SplitState, to: u64) -> io::Result<Option<SplitState>> {
    let Some((identity, _)) = Identity::of(&split.position) else { return Ok(Some(split.clone())) };
    match Identity::observe(&identity.path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        observed => Ok(Some(SplitState { position: observed?.at(to), ..split.clone() })),
    }
}

#[cfg(test)]
mod tests {
    use super::{look, moved};
    use crate::checkpoint::record::{Position, SplitState};
    use crate::source::file::identity::Identity;

    #[test]
    fn a_changed_file_is_named_and_can_be_gone_on_in() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("in.jsonl");
        std::fs::write(&path, "one\ntwo\n").expect("it is written");
        let identity = Identity::observe(&path.display().to_string()).expect("it is read");
        let split =
            SplitState { position: identity.at(8), watermark: crate::ids::Watermark(3), idle: false, finished: false };
        assert_eq!(look(&split).expect("it is read"), None);
        std::fs::write(&path, "one\n").expect("it is written");
        let changed = look(&split).expect("it is read").expect("it shrank");
        assert_eq!((changed.offset, changed.bytes, changed.to), (8, Some(4), 4));
        assert!(changed.what.contains("shrank"));
        let on = moved(&split, changed.to).expect("it is read").expect("it is there");
        assert!(matches!(on.position, Position::File { offset: 4, .. }));
        assert_eq!(look(&on).expect("it is read"), None);
        std::fs::remove_file(&path).expect("it is there");
        assert_eq!(look(&split).expect("it is looked for").expect("it is gone").bytes, None);
        assert_eq!(moved(&split, 0).expect("it is looked for"), None);
    }
}
