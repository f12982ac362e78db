//! A fake disk: what was written, what a sync made durable, and what a crash would leave.

use super::support::Random;
use redb::StorageBackend;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex};

/// A disk in memory. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct FakeDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    live: Vec<u8>,
    /// What is on the disk for sure.
    durable: Vec<u8>,
    /// What was done since the last sync, in order.
    unsynced: Vec<Change>,
    syncs: usize,
    /// The state at the sync where the disk stopped: what was durable, and what was on its way.
    frozen: Option<(Vec<u8>, Vec<Change>)>,
    freeze_at: Option<usize>,
    /// The sync that fails, and its error number.
    fail_at: Option<(usize, i32)>,
}

#[derive(Debug, Clone)]
enum Change {
    SetLength(usize),
    Write(usize, Vec<u8>),
}

/// What of the changes that were on their way reached the disk.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reached {
    None,
    All,
    /// The file's head alone.
    Head,
    /// Some, by a seed.
    Some(u64),
}

impl FakeDisk {
    /// A disk that holds these bytes.
    pub(super) fn with(image: Vec<u8>) -> FakeDisk {
        let disk = FakeDisk::default();
        {
            let mut state = disk.state.lock().unwrap();
            state.durable.clone_from(&image);
            state.live = image;
        }
        disk
    }

    /// Loses everything from sync `sync` (counted from 1) on, without telling.
    pub(super) fn freeze_at(&self, sync: usize) {
        self.state.lock().unwrap().freeze_at = Some(sync);
    }

    /// Gives an error at sync `sync` and no other.
    pub(super) fn fail_at(&self, sync: usize, error: i32) {
        self.state.lock().unwrap().fail_at = Some((sync, error));
    }

    pub(super) fn syncs(&self) -> usize {
        self.state.lock().unwrap().syncs
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.state.lock().unwrap().live.clone()
    }

    /// What a power cut at the frozen sync leaves.
    pub(super) fn after_crash(&self, reached: Reached) -> Option<Vec<u8>> {
        let state = self.state.lock().unwrap();
        let (durable, unsynced) = state.frozen.as_ref()?;
        let mut image = durable.clone();
        let mut random = Random(match reached {
            Reached::Some(seed) => seed,
            _ => 0,
        });
        for change in unsynced {
            let takes = match reached {
                Reached::None => false,
                Reached::All => true,
                Reached::Head => matches!(change, Change::Write(0, _)),
                Reached::Some(_) => random.below(2) == 0,
            };
            if takes {
                change.apply(&mut image);
            }
        }
        Some(image)
    }
}

impl Change {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Change::SetLength(length) => image.resize(*length, 0),
            Change::Write(offset, bytes) => {
                let end = offset + bytes.len();
                if image.len() < end {
                    image.resize(end, 0);
                }
                image[*offset..end].copy_from_slice(bytes);
            }
        }
    }
}

impl StorageBackend for FakeDisk {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.state.lock().unwrap().live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let state = self.state.lock().unwrap();
        let offset = offset as usize;
        let bytes = state.live.get(offset..offset + out.len()).ok_or(ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<(), io::Error> {
        self.change(Change::SetLength(length as usize));
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.change(Change::Write(offset as usize, data.to_vec()));
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let mut state = self.state.lock().unwrap();
        state.syncs += 1;
        if let Some((sync, error)) = state.fail_at
            && sync == state.syncs
        {
            return Err(io::Error::from_raw_os_error(error));
        }
        if state.freeze_at == Some(state.syncs) {
            state.frozen = Some((state.durable.clone(), state.unsynced.clone()));
        }
        state.durable = state.live.clone();
        state.unsynced.clear();
        Ok(())
    }
}

impl FakeDisk {
    fn change(&self, change: Change) {
        let mut state = self.state.lock().unwrap();
        change.apply(&mut state.live);
        state.unsynced.push(change);
    }
}
