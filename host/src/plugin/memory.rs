//! Linear memories whose mappings the host owns, so that a barrier can read them and a restore can fill them.
//!
//! The only file of the plugin room with unsafe code: [`Creator`] and [`Mapping`] sign wasmtime's contracts for
//! `MemoryCreator` and `LinearMemory`, and [`Isolated`] gives safe access to the bytes. It knows no page numbers and no
//! snapshots. Next room: `instance`, which captures and restores.

use std::cell::RefCell;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use wasmtime::{LinearMemory, MemoryCreator, MemoryType, Store};

thread_local! {
    /// Where [`Creator`] notes the mappings of the instantiation that runs on this thread; `None` outside of one.
    static CAPTURED: RefCell<Option<Vec<Arc<Mapping>>>> = const { RefCell::new(None) };
}

/// One linear memory's address space: accessible bytes, then reserved ones, then the guard. Unmapped with its last owner.
pub(super) struct Mapping {
    base: NonNull<u8>,
    /// Bytes that the memory may grow to.
    reserved: usize,
    /// Reserved bytes and guard.
    total: usize,
    /// Bytes that are accessible now.
    size: AtomicUsize,
}

// SAFETY: the mapping is plain memory that no thread owns; what reads and writes it goes through `Isolated` (which needs
// the store) or through guest code (which needs the store mutably), so moving it to another thread breaks nothing.
unsafe impl Send for Mapping {}
// SAFETY: through a shared `Mapping` only its numbers and its address can be read, and `size` is atomic.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Reserves `reserved + guard` bytes and makes the first `size` of them accessible and zero.
    fn new(size: usize, reserved: usize, guard: usize) -> Result<Mapping, String> {
        let total = reserved.checked_add(guard).ok_or("the reservation overflows the address space")?;
        // SAFETY: a null hint with MAP_ANONYMOUS makes a new mapping somewhere free and touches no existing one.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                total,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            let error = std::io::Error::last_os_error();
            return Err(format!("cannot reserve {total} bytes of address space for a linear memory: {error}"));
        }
        let base = NonNull::new(base.cast::<u8>()).ok_or("the system mapped a linear memory at address 0")?;
        let mapping = Mapping { base, reserved, total, size: AtomicUsize::new(0) };
        mapping.make_accessible(size).map_err(|error| error.to_string())?;
        Ok(mapping)
    }

    /// The accessible bytes.
    pub(super) fn size(&self) -> usize {
        self.size.load(Ordering::Relaxed)
    }

    /// Makes the first `size` bytes accessible. The new ones are zero: private anonymous memory nobody wrote.
    fn make_accessible(&self, size: usize) -> Result<(), std::io::Error> {
        let old = self.size();
        assert!(size >= old && size <= self.reserved, "a linear memory grows, and inside its reservation");
        if size > old {
            // SAFETY: `old` is at most `reserved`, so the address is inside the mapping (or one past its end).
            let start = unsafe { self.base.add(old) };
            // SAFETY: the range lies inside this mapping, which this value owns; nobody has a reference to it, since it
            // was inaccessible until now.
            let code = unsafe { libc::mprotect(start.as_ptr().cast(), size - old, libc::PROT_READ | libc::PROT_WRITE) };
            if code != 0 {
                return Err(std::io::Error::last_os_error());
            }
        }
        self.size.store(size, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `base` and `total` are what mmap returned and was given; wasmtime's handle and `Isolated` share the value
        // by `Arc`, so at the last drop neither guest code nor a slice can reach it.
        let code = unsafe { libc::munmap(self.base.as_ptr().cast(), self.total) };
        debug_assert_eq!(code, 0, "a mapping that we own can be unmapped");
    }
}

/// Wasmtime's handle to a mapping.
struct HostMemory(Arc<Mapping>);

// SAFETY: the base is page aligned (mmap), never moves, and stays mapped for as long as this handle lives. Sizes are
// multiples of the Wasm page size (custom page sizes are off), so of the system's page size. All bytes from `byte_size` to
// the end of the guard are inaccessible: a guest that goes out of bounds faults and cannot reach other memory.
unsafe impl LinearMemory for HostMemory {
    fn byte_size(&self) -> usize {
        self.0.size()
    }

    fn byte_capacity(&self) -> usize {
        self.0.reserved
    }

    fn grow_to(&mut self, new_size: usize) -> wasmtime::Result<()> {
        if new_size < self.0.size() || new_size > self.0.reserved {
            wasmtime::bail!("a linear memory of {} bytes cannot become {new_size} bytes", self.0.size());
        }
        Ok(self.0.make_accessible(new_size)?)
    }

    fn as_ptr(&self) -> *mut u8 {
        self.0.base.as_ptr()
    }
}

/// Makes the linear memories of an engine and notes those of the instantiation that runs on the calling thread.
#[derive(Debug)]
pub(super) struct Creator;

// SAFETY: a new memory has `minimum` accessible bytes, zero filled (fresh private anonymous pages), then address space up
// to `reserved_size_in_bytes` for growth in place, then `guard_size_in_bytes` that are never made accessible. A request
// without a reservation, whose memory could move, is refused. The host touches the bytes only through `Isolated`, while
// it holds the store and so while no guest code of that store runs.
unsafe impl MemoryCreator for Creator {
    fn new_memory(
        &self,
        _ty: MemoryType,
        minimum: usize,
        _maximum: Option<usize>,
        reserved_size_in_bytes: Option<usize>,
        guard_size_in_bytes: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        let reserved = reserved_size_in_bytes.ok_or("only memories with a fixed reservation are supported")?;
        let mapping = Arc::new(Mapping::new(minimum, reserved.max(minimum), guard_size_in_bytes)?);
        CAPTURED.with_borrow_mut(|captured| {
            if let Some(list) = captured {
                list.push(Arc::clone(&mapping));
            }
        });
        Ok(Box::new(HostMemory(mapping)))
    }
}

/// A store and the linear memories of the one instance in it, in the order in which they were made.
///
/// Guest code runs only with the store borrowed mutably and never on another thread (no shared memories), so a slice that
/// borrows this value is never read or written behind its back.
pub(super) struct Isolated<T: 'static> {
    store: Store<T>,
    memories: Vec<Arc<Mapping>>,
}

impl<T> Isolated<T> {
    /// Runs an instantiation in the store and keeps the memories that it made, whatever its result. The engine must have
    /// [`Creator`].
    pub(super) fn new<R>(
        mut store: Store<T>,
        instantiate: impl FnOnce(&mut Store<T>) -> wasmtime::Result<R>,
    ) -> (Isolated<T>, wasmtime::Result<R>) {
        CAPTURED.set(Some(Vec::new()));
        let result = instantiate(&mut store);
        let memories = CAPTURED.take().unwrap_or_default();
        (Isolated { store, memories }, result)
    }

    /// The store, to call into.
    pub(super) fn store(&mut self) -> &mut Store<T> {
        &mut self.store
    }

    /// What the store carries for the host's own functions.
    pub(super) fn data(&self) -> &T {
        self.store.data()
    }

    /// The number of linear memories.
    pub(super) fn memory_count(&self) -> usize {
        self.memories.len()
    }

    /// The memories' sizes, in bytes.
    pub(super) fn memory_sizes(&self) -> impl Iterator<Item = usize> + '_ {
        self.memories.iter().map(|mapping| mapping.size())
    }

    /// The bytes of a memory, at the same address for the instance's whole life. The memory must exist.
    pub(super) fn memory(&self, index: usize) -> &[u8] {
        let mapping = &self.memories[index];
        // SAFETY: the first `size` bytes are mapped and readable for as long as `self` holds the mapping; they never move;
        // and nothing writes them while `self` is borrowed, because guest code needs `self.store` mutably.
        unsafe { std::slice::from_raw_parts(mapping.base.as_ptr(), mapping.size()) }
    }

    /// The bytes of a memory, to write. The memory must exist.
    pub(super) fn memory_mut(&mut self, index: usize) -> &mut [u8] {
        let mapping = &self.memories[index];
        // SAFETY: as in `memory`; and nothing reads them either, because `self` is borrowed mutably and wasmtime turns its
        // own pointer to the mapping into a reference only while the store is in use.
        unsafe { std::slice::from_raw_parts_mut(mapping.base.as_ptr(), mapping.size()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WASM_PAGE: usize = 64 * 1024;

    #[test]
    fn a_mapping_grows_in_place_and_new_bytes_are_zero() {
        let mapping = Mapping::new(WASM_PAGE, 16 * WASM_PAGE, WASM_PAGE).unwrap();
        let base = mapping.base;
        mapping.make_accessible(3 * WASM_PAGE).unwrap();
        assert_eq!(mapping.size(), 3 * WASM_PAGE);
        assert_eq!(mapping.base, base);
        let mut memory = HostMemory(Arc::new(mapping));
        memory.grow_to(16 * WASM_PAGE).unwrap();
        // SAFETY: 16 pages were made accessible above, and nothing else uses this mapping.
        let bytes = unsafe { std::slice::from_raw_parts(memory.as_ptr(), memory.byte_size()) };
        assert!(bytes.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn growth_past_the_reservation_is_refused() {
        let mut memory = HostMemory(Arc::new(Mapping::new(0, WASM_PAGE, WASM_PAGE).unwrap()));
        assert!(memory.grow_to(2 * WASM_PAGE).is_err());
        assert_eq!(memory.byte_size(), 0);
    }

    #[test]
    fn the_guard_and_the_reservation_are_inaccessible() {
        let mapping = Mapping::new(WASM_PAGE, 4 * WASM_PAGE, WASM_PAGE).unwrap();
        let start = format!("{:x}-", mapping.base.as_ptr() as usize + WASM_PAGE);
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let line = maps.lines().find(|line| line.starts_with(&start)).expect("the reservation is a mapping of its own");
        assert!(line.contains("---p"), "{line}");
        let end = format!("-{:x} ", mapping.base.as_ptr() as usize + 5 * WASM_PAGE);
        assert!(line.contains(&end), "the reservation and the guard are inaccessible to their end: {line}");
    }
}
