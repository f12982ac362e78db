//! What a panic inside redb means: it panics where a file was altered (its documentation says so), and for a person that is
//! damage like any other.
//!
//! Where a file is only read, [`crate::guarded`] catches the panic. Where it is written nobody can: redb's transactions may
//! panic again while they are dropped, which aborts the process. So the hook that sees a panic first asks here. Next room:
//! [`crate::cli`], whose hook it is.

use super::error::StoreError;
use std::path::{Component, Path, PathBuf};
use std::sync::Mutex;

/// The store that this process opened last.
static OPENED: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Remembers a store, so that a panic can name it.
pub(super) fn opened(path: &Path) {
    if let Ok(mut opened) = OPENED.lock() {
        *opened = Some(path.to_owned());
    }
}

/// The error that a panic in this source file stands for; `None`: it is a bug of ours.
pub fn of_panic(file: &str) -> Option<StoreError> {
    if !is_of_engine(Path::new(file)) {
        return None;
    }
    let path = OPENED.lock().ok().and_then(|opened| opened.clone()).unwrap_or_default();
    Some(StoreError::damaged(&path, "its inner structure does not hold together"))
}

/// Whether a source file is redb's: `.../redb-4.6.0/src/...`, or `.../redb/src/...` where it is kept beside the host.
fn is_of_engine(file: &Path) -> bool {
    let folders: Vec<&str> = file
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect();
    folders.windows(2).any(|pair| {
        let version = pair[0].strip_prefix("redb").map(|rest| rest.strip_prefix('-').unwrap_or(rest));
        pair[1] == "src" && version.is_some_and(|version| version.chars().all(|c| c.is_ascii_digit() || c == '.'))
    })
}

#[cfg(test)]
mod tests {
    use super::of_panic;

    #[test]
    fn a_panic_is_damage_where_it_is_the_engines() {
        for file in ["/registry/src/index/redb-4.6.0/src/tree_store/btree_base.rs", "vendor/redb/src/db.rs"] {
            assert!(of_panic(file).is_some(), "{file}");
        }
        for file in ["host/src/state/store.rs", "redb-lover/src/main.rs", "src/redb.rs", ""] {
            assert!(of_panic(file).is_none(), "{file}");
        }
    }
}
