//! The engine: how plugins are compiled, and the clock that ends calls that take too long.
//!
//! Settings stand here and nowhere else, because a snapshot depends on some of them (where memory lives) and replay on
//! others (one result for one input, whatever the processor). Next room: `contract`, what an artifact must be.

use super::memory::Creator;
use super::{Plugin, PluginError, artifact};
use std::fs::Permissions;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::{Cache, CacheConfig, Config, OptLevel, WasmBacktraceDetails};

/// How often the ticker raises the epoch: the resolution of call timeouts.
const TICK: Duration = Duration::from_millis(10);
/// The longest deadline, in ticks: the epoch plus this never overflows.
const TICKS_MAX: u64 = u64::MAX / 2;
/// Stack that guest code may use, in bytes. Threads that call plugins have 2 MiB, the default of Rust's standard library.
const WASM_STACK_BYTES: usize = 1024 * 1024;

/// Compiles artifacts and ends calls that take too long. One a process.
#[derive(Clone)]
pub struct Engine {
    inner: wasmtime::Engine,
}

impl Engine {
    /// Makes the engine. `cache` is a private folder for compiled code, made if it is missing; `None`: nothing is kept.
    ///
    /// # Errors
    ///
    /// [`PluginError::Host`] if the folder is open to others (who could plant machine code in it), or the ticker cannot
    /// start.
    pub fn new(cache: Option<&Path>) -> Result<Engine, PluginError> {
        let mut config = config();
        if let Some(folder) = cache {
            config.cache(Some(open_cache(folder)?));
        }
        let inner = wasmtime::Engine::new(&config).map_err(|error| host_error(format!("{error:#}")))?;
        start_ticker(&inner)?;
        Ok(Engine { inner })
    }

    /// Checks and compiles an artifact: a component, or a core module that carries its component type. `name` is what
    /// errors call it (its path).
    ///
    /// # Errors
    ///
    /// [`PluginError::Refused`] names what is wrong with it and the way out.
    pub fn load(&self, name: &str, bytes: &[u8]) -> Result<Plugin, PluginError> {
        let prepared = artifact::prepare(bytes).map_err(|what| PluginError::Refused { path: name.to_owned(), what })?;
        Plugin::compile(&self.inner, name, prepared)
    }
}

/// The number of ticks after which a call has surely had its time.
pub(super) fn ticks(timeout: Duration) -> u64 {
    // One more, because the tick under way may end at once.
    u64::try_from(timeout.as_millis().div_ceil(TICK.as_millis())).unwrap_or(TICKS_MAX).min(TICKS_MAX - 1) + 1
}

/// Everything that is not default and why.
fn config() -> Config {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        // Memory belongs to the host. Copy-on-write images of it would panic together with that.
        .with_host_memory(Arc::new(Creator))
        .memory_init_cow(false)
        // Calls are synchronous; this takes the bookkeeping of asynchronous tasks off the hot path.
        .concurrency_support(false)
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        // Replay after a crash must give the same bytes on any machine.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        // File and line in a backtrace, where the author kept the debug information.
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        // What a snapshot could not hold, or the contract does not need; `contract` refuses it with a better text.
        .wasm_memory64(false)
        .wasm_custom_page_sizes(false)
        .shared_memory(false)
        .gc_support(false);
    config
}

/// Opens the compile cache in a folder that only this user can reach.
fn open_cache(folder: &Path) -> Result<Cache, PluginError> {
    let fail = |what: String| host_error(format!("the compile cache `{}` {what}", folder.display()));
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| fail(format!("cannot be made: {error}")))?;
    let metadata = std::fs::metadata(folder).map_err(|error| fail(format!("cannot be read: {error}")))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o022 != 0 {
        return Err(fail(format!(
            "can be written by other users (mode {mode:o}), who could have planted code in it; empty it and run \
             `chmod 700` on it, or name another one"
        )));
    }
    if mode != 0o700 {
        std::fs::set_permissions(folder, Permissions::from_mode(0o700))
            .map_err(|error| fail(format!("cannot be made private: {error}; name another one")))?;
    }
    let folder = folder.canonicalize().map_err(|error| fail(format!("cannot be read: {error}")))?;
    let mut config = CacheConfig::new();
    config.with_directory(folder);
    Cache::new(config).map_err(|error| fail(format!("cannot be used: {error:#}")))
}

/// Starts the thread that raises the epoch. It ends with the last user of the engine.
fn start_ticker(engine: &wasmtime::Engine) -> Result<(), PluginError> {
    let engine = engine.weak();
    std::thread::Builder::new()
        .name("plugin-ticker".to_owned())
        .spawn(move || {
            while let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
                drop(engine);
                std::thread::sleep(TICK);
            }
        })
        .map_err(|error| host_error(format!("the thread that ends slow calls does not start: {error}")))?;
    Ok(())
}

fn host_error(what: String) -> PluginError {
    PluginError::Host { what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_never_shorter_than_asked() {
        assert_eq!(ticks(Duration::from_millis(1)), 2);
        assert_eq!(ticks(Duration::from_millis(10)), 2);
        assert_eq!(ticks(Duration::from_secs(1)), 101);
        assert_eq!(ticks(Duration::MAX), TICKS_MAX);
    }

    fn mode(folder: &Path) -> u32 {
        std::fs::metadata(folder).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_cache_folder_that_others_can_write_is_refused_with_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o775)).unwrap();
        let error = Engine::new(Some(folder.path())).err().unwrap().to_string();
        assert!(error.contains("mode 775") && error.contains("chmod 700"), "{error}");
    }

    #[test]
    fn a_cache_folder_that_others_can_read_becomes_private() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        Engine::new(Some(folder.path())).unwrap();
        assert_eq!(mode(folder.path()), 0o700);
    }

    #[test]
    fn a_missing_cache_folder_is_made_private() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("a/cache");
        Engine::new(Some(&cache)).unwrap();
        assert_eq!(mode(&cache), 0o700);
    }
}
