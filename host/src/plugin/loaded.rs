//! A checked, compiled artifact: what it is, and new instances of it.
//!
//! An instance is made in the same way for a fresh start, a restore and a description: limits first, then start functions.
//! Next room: `instance`, what can be done with one.

use super::accessors::Layout;
use super::artifact::Prepared;
use super::bindings::exports::tidegate::plugin::operator;
use super::bindings::tidegate::plugin::{host, types};
use super::contract::Interfaces;
use super::engine::ticks;
use super::failure::{self, CALL_RESULT_BYTES_MAX};
use super::globals::{AccessorIndices, Accessors};
use super::host::HostState;
use super::memory::Isolated;
use super::{Description, Instance, InstanceOptions, PluginError, description};
use crate::ids::PluginHash;
use crate::state::snapshot::InstanceImage;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use wasmtime::component::{Component, HasSelf, InstancePre, Linker};
use wasmtime::{Engine, Store};

/// How long `describe` may take, with the plugin's start. Python needs a fraction of a second.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(10);
/// Memory for `describe`, in bytes.
const DESCRIBE_MEMORY_BYTES: usize = 1 << 30;
/// Descriptions that are remembered; a plugin seldom runs with more than one configuration.
const DESCRIPTIONS_MAX: usize = 8;

/// A checked, compiled artifact.
#[derive(Clone)]
pub struct Plugin(pub(super) Arc<Compiled>);

/// What all instances of an artifact share.
pub(super) struct Compiled {
    name: String,
    hash: PluginHash,
    interfaces: Interfaces,
    pub(super) layout: Layout,
    pre: InstancePre<HostState>,
    operator: operator::GuestIndices,
    accessors: AccessorIndices,
    described: Mutex<Vec<(String, Arc<Description>)>>,
}

/// A new instance, before anything was called.
pub(super) struct Started {
    pub(super) isolated: Isolated<HostState>,
    pub(super) operator: operator::Guest,
    pub(super) accessors: Accessors,
}

impl Plugin {
    /// Compiles what passed the check.
    pub(super) fn compile(engine: &Engine, name: &str, prepared: Prepared) -> Result<Plugin, PluginError> {
        let refused = |what: String| PluginError::Refused { path: name.to_owned(), what };
        let component = Component::new(engine, &prepared.component)
            .map_err(|error| refused(format!("it does not compile: {error:#}")))?;
        let link = || -> wasmtime::Result<_> {
            let mut linker = Linker::new(engine);
            types::add_to_linker::<HostState, HasSelf<HostState>>(&mut linker, |state| state)?;
            host::add_to_linker::<HostState, HasSelf<HostState>>(&mut linker, |state| state)?;
            let pre = linker.instantiate_pre(&component)?;
            Ok((operator::GuestIndices::new(&pre)?, AccessorIndices::new(&pre)?, pre))
        };
        let (operator, accessors, pre) =
            link().map_err(|error| refused(format!("it does not fit the contract: {error:#}")))?;
        Ok(Plugin(Arc::new(Compiled {
            name: name.to_owned(),
            hash: prepared.hash,
            interfaces: prepared.interfaces,
            layout: prepared.layout,
            pre,
            operator,
            accessors,
            described: Mutex::default(),
        })))
    }

    /// The artifact's hash.
    pub fn hash(&self) -> &PluginHash {
        &self.0.hash
    }

    /// Whether it can give its state out as entries and take entries in.
    pub fn can_migrate(&self) -> bool {
        self.0.interfaces.migration
    }

    /// Whether its state can be read from outside.
    pub fn can_query(&self) -> bool {
        self.0.interfaces.query
    }

    /// Asks the plugin what it is for a configuration, in an instance that is thrown away. The answer is remembered.
    ///
    /// # Errors
    ///
    /// [`PluginError::Configuration`] in the plugin's own words; [`PluginError::Refused`] if it failed, or described what
    /// the host cannot give.
    pub fn describe(&self, config: &str) -> Result<Description, PluginError> {
        self.0.describe(config).map(|description| (*description).clone())
    }

    /// Makes a fresh instance and calls `open`.
    ///
    /// # Errors
    ///
    /// As [`describe`](Plugin::describe), and [`PluginError::Call`] if `open` or a start function failed.
    pub fn open(&self, options: &InstanceOptions) -> Result<Instance, PluginError> {
        Instance::open(&self.0, options)
    }

    /// Makes an instance with the memory and globals of an image. `open` is not called. The next capture holds what
    /// changed since the image.
    ///
    /// # Errors
    ///
    /// As [`open`](Plugin::open), and [`PluginError::Host`] if the image is not one of this plugin's.
    pub fn restore(&self, options: &InstanceOptions, image: &InstanceImage) -> Result<Instance, PluginError> {
        Instance::restore(&self.0, options, image)
    }
}

impl Compiled {
    /// Makes an instance: memories, start functions. The error is a text.
    pub(super) fn start(&self, state: HostState, timeout: Duration) -> Result<Started, String> {
        let mut store = Store::new(self.pre.engine(), state);
        store.limiter(|state| &mut state.limits);
        store.set_epoch_deadline(ticks(timeout));
        store.set_hostcall_fuel(CALL_RESULT_BYTES_MAX);
        let (isolated, made) = Isolated::new(store, |store| {
            let instance = self.pre.instantiate(&mut *store)?;
            let operator = self.operator.load(&mut *store, &instance)?;
            let accessors = self.accessors.load(&mut *store, &instance)?;
            Ok((operator, accessors))
        });
        match made {
            Ok(_) if isolated.memory_count() != self.layout.memories => Err(format!(
                "it made {} linear memories, and {} were expected; please report this with the artifact",
                isolated.memory_count(),
                self.layout.memories,
            )),
            Ok((operator, accessors)) => Ok(Started { isolated, operator, accessors }),
            Err(error) => Err(failure::text(&error, isolated.data(), timeout)),
        }
    }

    /// What it imports, as the engine sees it.
    #[cfg(test)]
    pub(super) fn import_names(&self) -> Vec<String> {
        let component = self.pre.component();
        component.component_type().imports(component.engine()).map(|(name, _)| name.to_owned()).collect()
    }

    /// The checked description for a configuration.
    pub(super) fn describe(&self, config: &str) -> Result<Arc<Description>, PluginError> {
        // A panic elsewhere leaves the list whole: it is only pushed to and drained.
        let known = |list: &[(String, Arc<Description>)]| {
            list.iter().find(|(text, _)| text == config).map(|(_, description)| Arc::clone(description))
        };
        if let Some(description) = known(&self.described.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(description);
        }
        let description = Arc::new(self.ask(config)?);
        let mut described = self.described.lock().unwrap_or_else(PoisonError::into_inner);
        if described.len() == DESCRIPTIONS_MAX {
            described.remove(0);
        }
        described.push((config.to_owned(), Arc::clone(&description)));
        Ok(description)
    }

    fn ask(&self, config: &str) -> Result<Description, PluginError> {
        let refused = |what: String| PluginError::Refused { path: self.name.clone(), what };
        let state = HostState::new("describe", 0, DESCRIBE_MEMORY_BYTES);
        let mut started =
            self.start(state, DESCRIBE_TIMEOUT).map_err(|what| refused(format!("it does not start: {what}")))?;
        match started.operator.call_describe(started.isolated.store(), config) {
            Ok(Ok(raw)) => description::check(raw).map_err(refused),
            Ok(Err(error)) => {
                Err(PluginError::Configuration { call: "describe", what: super::host::cut(&error, 4096).to_owned() })
            }
            Err(error) => {
                let what = failure::text(&error, started.isolated.data(), DESCRIBE_TIMEOUT);
                Err(refused(format!("`describe` failed: {what}")))
            }
        }
    }
}
