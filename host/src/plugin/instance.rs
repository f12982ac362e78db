//! A plugin running for one shard: calls, captures, restores.
//!
//! A call takes the instance and gives it back only if it succeeded, so one that trapped can be neither called nor captured
//! again. One worker thread touches an instance. Next rooms: `outcome`, the check of what calls return; `remains`, the way
//! back from a call that failed.

use super::bindings::exports::tidegate::plugin::operator::{self, Context};
use super::bindings::tidegate::plugin::types;
use super::engine::ticks;
use super::failure;
use super::globals::Accessors;
use super::host::{HostState, cut};
use super::loaded::{Compiled, Started};
use super::memory::Isolated;
use super::outcome::{self, Call};
use super::remains::{Base, FailedCall, Remains};
use super::{Description, Input, InstanceOptions, Outcome, PluginError};
use crate::columns::{BytesColumn, Column, Headers};
use crate::ids::{PortIndex, Watermark};
use crate::seeded::{self, Bug};
use crate::state::snapshot::{GlobalValue, InstanceDelta, InstanceImage, MemoryDelta, PAGE_BYTES};
use crate::state::tracker::{Tracker, TrackerKind, new_tracker};
use std::sync::Arc;
use std::time::Duration;

/// A plugin's own error text is cut after so many bytes.
const ERROR_BYTES_MAX: usize = 4096;
/// How long the start of an instance that takes another one's place may take, at least.
const REVIVE_TIMEOUT_MIN: Duration = Duration::from_secs(10);

/// A plugin running for one shard. A call takes it and gives it back only if it succeeded, so an instance that trapped
/// can be neither called nor captured again.
pub struct Instance(Box<Live>);

struct Live {
    isolated: Isolated<HostState>,
    operator: operator::Guest,
    accessors: Accessors,
    trackers: Vec<Box<dyn Tracker>>,
    base: Base,
    plugin: Arc<Compiled>,
    description: Arc<Description>,
    options: InstanceOptions,
    timeout: Duration,
}

impl Instance {
    /// A fresh instance, after `open`. Its first capture holds all pages that are not zero.
    pub(super) fn open(plugin: &Arc<Compiled>, options: &InstanceOptions) -> Result<Instance, PluginError> {
        let mut live = Live::start(plugin, options)?;
        let context = Context {
            job: &options.job,
            operator: &options.operator,
            shard: u32::from(options.shard),
            shards: u32::from(options.shards),
            seed: options.seed,
            settings: &[],
        };
        live.arm();
        match live.operator.call_open(live.isolated.store(), &options.config, context) {
            Ok(Ok(())) => Ok(Instance(Box::new(live))),
            Ok(Err(error)) => {
                Err(PluginError::Configuration { call: "open", what: cut(&error, ERROR_BYTES_MAX).to_owned() })
            }
            Err(error) => Err(live.trapped("open", &error)),
        }
    }

    /// An instance as it was when the image was taken. Its first capture holds what changed since.
    pub(super) fn restore(
        plugin: &Arc<Compiled>,
        options: &InstanceOptions,
        image: &InstanceImage,
    ) -> Result<Instance, PluginError> {
        let mut live = Live::filled(plugin, options, image)?;
        for (index, tracker) in live.trackers.iter_mut().enumerate() {
            tracker.reset(live.isolated.memory(index));
        }
        live.base = Base::Known(image.globals.clone());
        Ok(Instance(Box::new(live)))
    }

    /// An instance with the memory and globals of an image, whose next capture holds what changed since the last barrier of
    /// another one that failed.
    pub(super) fn revive(
        plugin: &Arc<Compiled>,
        options: &InstanceOptions,
        image: &InstanceImage,
        trackers: Vec<Box<dyn Tracker>>,
        base: Base,
    ) -> Result<Instance, PluginError> {
        // That the plugin starts in time is known from its first start; a busy machine may take longer now.
        let patient = InstanceOptions { call_timeout: options.call_timeout.max(REVIVE_TIMEOUT_MIN), ..options.clone() };
        let mut live = Live::filled(plugin, &patient, image)?;
        live.options = options.clone();
        live.timeout = options.call_timeout;
        live.trackers = trackers;
        live.base = base;
        Ok(Instance(Box::new(live)))
    }

    /// Gives the instance rows. An error undoes nothing by itself: the instance is gone.
    ///
    /// # Errors
    ///
    /// [`PluginError::Call`] if it trapped, took too long, returned an error or nonsense, with what an undo needs.
    ///
    /// # Panics
    ///
    /// If the port is not one of the description's, or the input's columns are not those of the port.
    pub fn process(
        mut self,
        port: PortIndex,
        watermark: Watermark,
        input: &Input<'_>,
    ) -> Result<(Instance, Outcome), FailedCall> {
        let live = &mut *self.0;
        assert!(port.index() < live.description.inputs.len(), "the host knows an operator's input ports");
        debug_assert_eq!(input.timestamps.len(), input.rows, "a batch has a timestamp for each row");
        let columns: Vec<types::ColumnParam<'_>> = input.columns.iter().map(column).collect();
        let batch = types::BatchParam {
            rows: u32::try_from(input.rows).expect("a batch has fewer than 2^32 rows"),
            keys: input.keys.map(bytes),
            values: input.values.map(bytes),
            timestamps: input.timestamps,
            headers: input.headers.map(headers),
            columns: &columns,
        };
        live.arm();
        let returned = live.operator.call_process(live.isolated.store(), u32::from(port.0), watermark.0, batch);
        match live.checked("process", Call::Process(input.rows), returned) {
            Ok(outcome) => Ok((self, outcome)),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Tells the instance that event time moved on. Only outputs may be filled.
    ///
    /// # Errors
    ///
    /// As [`process`](Instance::process).
    pub fn advance(mut self, watermark: Watermark) -> Result<(Instance, Outcome), FailedCall> {
        let live = &mut *self.0;
        live.arm();
        let returned = live.operator.call_advance(live.isolated.store(), watermark.0);
        match live.checked("advance", Call::Advance, returned) {
            Ok(outcome) => Ok((self, outcome)),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Takes what changed since the last capture, and starts a new interval.
    ///
    /// # Errors
    ///
    /// [`PluginError::Host`] if the globals cannot be read, which is a bug of the host.
    pub fn capture(&mut self) -> Result<InstanceDelta, PluginError> {
        let live = &mut *self.0;
        let globals = live.globals()?;
        live.base = Base::Known(globals.clone());
        let isolated = &live.isolated;
        let memories =
            live.trackers.iter_mut().enumerate().map(|(index, tracker)| tracker.take(isolated.memory(index))).collect();
        Ok(InstanceDelta { memories, globals })
    }

    /// A copy of the whole instance as it is now. No barrier: the next capture still holds what changed since the last one.
    ///
    /// # Errors
    ///
    /// As [`capture`](Instance::capture).
    pub fn image(&mut self) -> Result<InstanceImage, PluginError> {
        let live = &mut *self.0;
        let globals = live.globals()?;
        let memories = (0..live.isolated.memory_count()).map(|index| pages_of(live.isolated.memory(index))).collect();
        Ok(InstanceImage { memories, globals })
    }

    /// Gives each call from now on another time than its options say.
    pub fn set_call_timeout(&mut self, timeout: Duration) {
        self.0.timeout = timeout;
    }

    /// The end of an instance: what its failed call leaves.
    #[cold]
    fn failed(self, error: PluginError) -> FailedCall {
        let Live { trackers, base, plugin, options, .. } = *self.0;
        FailedCall { error, remains: Remains::new(trackers, base, plugin, options) }
    }

    /// The linear memories' size, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.0.isolated.memory_sizes().sum()
    }

    /// The increments of the plugin's counters since the last call, by name; at most 64 names.
    pub fn take_counters(&mut self) -> Vec<(String, u64)> {
        self.0.isolated.store().data_mut().take_counters()
    }
}

impl Live {
    /// Makes an instance of which nothing is known and in which nothing was called.
    fn start(plugin: &Arc<Compiled>, options: &InstanceOptions) -> Result<Live, PluginError> {
        let description = plugin.describe(&options.config)?;
        let state = HostState::new(&options.operator, options.shard, options.memory_bytes);
        let Started { isolated, operator, accessors } = plugin.start(state, options.call_timeout).map_err(|what| {
            PluginError::Call { operator: options.operator.clone(), shard: options.shard, call: "start", what }
        })?;
        Ok(Live {
            trackers: (0..isolated.memory_count()).map(|_| new_tracker(TrackerKind::default())).collect(),
            isolated,
            operator,
            accessors,
            base: Base::Opened,
            plugin: Arc::clone(plugin),
            description,
            options: options.clone(),
            timeout: options.call_timeout,
        })
    }

    /// Makes an instance with the memory and globals of an image.
    fn filled(plugin: &Arc<Compiled>, options: &InstanceOptions, image: &InstanceImage) -> Result<Live, PluginError> {
        let mut live = Live::start(plugin, options)?;
        live.arm();
        live.fill(image).map_err(|what| PluginError::Host {
            what: format!(
                "the snapshot of operator `{}` shard {} does not fit: {what}",
                options.operator, options.shard
            ),
        })?;
        Ok(live)
    }

    /// All mutable globals as they are now.
    fn globals(&mut self) -> Result<Vec<GlobalValue>, PluginError> {
        self.arm();
        self.accessors.read(self.isolated.store(), &self.plugin.layout).map_err(|error| {
            let InstanceOptions { operator, shard, .. } = &self.options;
            PluginError::Host {
                what: format!("the globals of operator `{operator}` shard {shard} cannot be read: {error:#}"),
            }
        })
    }

    /// Starts the time that the next call has.
    #[inline]
    fn arm(&mut self) {
        let ticks = ticks(self.timeout);
        let store = self.isolated.store();
        store.set_epoch_deadline(ticks);
        store.data_mut().begin_call();
    }

    /// What a call returned, checked.
    fn checked(
        &mut self,
        name: &'static str,
        call: Call,
        returned: wasmtime::Result<Result<types::Outcome, String>>,
    ) -> Result<Outcome, PluginError> {
        match returned {
            Ok(Ok(raw)) => outcome::check(raw, call, &self.description.outputs)
                .map_err(|what| self.failed(name, format!("it returned nonsense: {what}"))),
            Ok(Err(error)) => Err(self.failed(name, failure::returned(&error))),
            Err(error) => Err(self.trapped(name, &error)),
        }
    }

    fn trapped(&self, call: &'static str, error: &wasmtime::Error) -> PluginError {
        self.failed(call, failure::text(error, self.isolated.data(), self.timeout))
    }

    fn failed(&self, call: &'static str, what: String) -> PluginError {
        PluginError::Call { operator: self.options.operator.clone(), shard: self.options.shard, call, what }
    }

    /// Gives a started instance the memory and globals of an image.
    fn fill(&mut self, image: &InstanceImage) -> Result<(), String> {
        if image.memories.len() != self.isolated.memory_count() {
            return Err(format!(
                "it has {} memories, the plugin {}",
                image.memories.len(),
                self.isolated.memory_count()
            ));
        }
        for (index, memory) in image.memories.iter().enumerate() {
            let size = self.isolated.memory(index).len() as u64;
            self.accessors
                .grow(self.isolated.store(), index, size, memory.size_bytes)
                .map_err(|error| self.with_refusal(&error))?;
            fill_memory(self.isolated.memory_mut(index), memory)?;
        }
        if seeded::is(Bug::GlobalsNotCaptured) {
            return Ok(());
        }
        self.accessors
            .write(self.isolated.store(), &self.plugin.layout, &image.globals)
            .map_err(|error| format!("{error:#}"))
    }

    fn with_refusal(&self, error: &wasmtime::Error) -> String {
        let refusal = self.isolated.data().limits.refusal().map_or_else(String::new, |text| format!("; {text}"));
        format!("{error:#}{refusal}")
    }
}

/// Writes an image's pages, and zeros where it has none: a fresh instance's data segments filled some of them.
fn fill_memory(memory: &mut [u8], image: &MemoryDelta) -> Result<(), String> {
    let page_count = memory.len() / PAGE_BYTES;
    if image.data.len() != image.pages.len() * PAGE_BYTES {
        return Err(format!("{} bytes for {} pages", image.data.len(), image.pages.len()));
    }
    if let Some([before, after]) = image.pages.windows(2).find(|pair| pair[0] >= pair[1]) {
        return Err(format!("page {before} comes before page {after}"));
    }
    if let Some(last) = image.pages.last()
        && *last as usize >= page_count
    {
        return Err(format!("it has a page {last}, the memory {page_count} pages"));
    }
    let mut kept = image.pages.iter().zip(image.data.chunks_exact(PAGE_BYTES)).peekable();
    for (number, page) in (0_u32..).zip(memory.chunks_exact_mut(PAGE_BYTES)) {
        if let Some((_, bytes)) = kept.next_if(|(next, _)| **next == number) {
            page.copy_from_slice(bytes);
        } else if page.iter().any(|byte| *byte != 0) {
            // Reading first keeps a page that was never touched out of physical memory.
            page.fill(0);
        }
    }
    Ok(())
}

/// A memory's pages that are not zero.
fn pages_of(memory: &[u8]) -> MemoryDelta {
    let mut image = MemoryDelta { size_bytes: memory.len() as u64, ..MemoryDelta::default() };
    for (number, page) in (0_u32..).zip(memory.chunks_exact(PAGE_BYTES)) {
        if page.iter().any(|byte| *byte != 0) {
            image.pages.push(number);
            image.data.extend_from_slice(page);
        }
    }
    image
}

fn bytes(column: &BytesColumn) -> types::BytesColumnParam<'_> {
    types::BytesColumnParam { arena: &column.arena, ends: &column.ends, nulls: &column.nulls }
}

fn headers(headers: &Headers) -> types::HeadersParam<'_> {
    types::HeadersParam { rows: &headers.rows, names: bytes(&headers.names), values: bytes(&headers.values) }
}

fn column(column: &Column) -> types::ColumnParam<'_> {
    match column {
        Column::Bytes(column) => types::ColumnParam::Bytes(bytes(column)),
        Column::Int(column) => {
            types::ColumnParam::Int(types::IntColumnParam { values: &column.values, nulls: &column.nulls })
        }
        Column::Float(column) => {
            types::ColumnParam::Float(types::FloatColumnParam { values: &column.values, nulls: &column.nulls })
        }
    }
}
