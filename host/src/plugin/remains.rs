//! What is left of an instance whose call failed: nothing that can be called or captured, and enough to go back.
//!
//! A component that trapped is not entered again, and its memory may be half changed. So an undo makes a new instance and
//! gives it the memory and globals of an earlier moment: of the last barrier, which the trackers still know, or of an image
//! that the caller took. The trackers move along, so that the next capture holds what changed since the last barrier however
//! the instance came there. Next room: `crate::operator`, which repeats the calls since then.

use super::instance::Instance;
use super::loaded::Compiled;
use super::{InstanceOptions, PluginError};
use crate::state::snapshot::{GlobalValue, InstanceImage};
use crate::state::tracker::Tracker;
use std::fmt;
use std::sync::Arc;

/// A call that failed.
pub struct FailedCall {
    /// Why.
    pub error: PluginError,
    /// What is left of the instance.
    pub remains: Remains,
}

/// What is left of an instance whose call failed.
pub struct Remains(Box<Parts>);

struct Parts {
    trackers: Vec<Box<dyn Tracker>>,
    base: Base,
    plugin: Arc<Compiled>,
    options: InstanceOptions,
}

/// Where an instance's trackers began, beside the memory that they know.
#[derive(Debug)]
pub(super) enum Base {
    /// At `open`: there was no barrier yet.
    Opened,
    /// At a barrier or a restore, when the globals were these.
    Known(Vec<GlobalValue>),
}

impl Remains {
    pub(super) fn new(
        trackers: Vec<Box<dyn Tracker>>,
        base: Base,
        plugin: Arc<Compiled>,
        options: InstanceOptions,
    ) -> Remains {
        Remains(Box::new(Parts { trackers, base, plugin, options }))
    }

    /// The instance as it was at its last barrier: captured, restored or, before the first one, opened.
    ///
    /// # Errors
    ///
    /// As [`Plugin::open`](super::Plugin::open) and [`Plugin::restore`](super::Plugin::restore).
    pub fn at_last_barrier(self) -> Result<Instance, PluginError> {
        let Parts { trackers, base, plugin, options } = *self.0;
        // `open` knows nothing but its arguments, so opening again gives the same bytes.
        let Base::Known(globals) = &base else { return Instance::open(&plugin, &options) };
        let memories = trackers.iter().map(|tracker| tracker.at_last_barrier()).collect();
        let image = InstanceImage { memories, globals: globals.clone() };
        Instance::revive(&plugin, &options, &image, trackers, base)
    }

    /// The instance as it was when an image of it was taken, since its last barrier.
    ///
    /// # Errors
    ///
    /// As [`Plugin::restore`](super::Plugin::restore).
    pub fn at_image(self, image: &InstanceImage) -> Result<Instance, PluginError> {
        let Parts { trackers, base, plugin, options } = *self.0;
        Instance::revive(&plugin, &options, image, trackers, base)
    }
}

impl fmt::Debug for FailedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl fmt::Display for FailedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl From<FailedCall> for PluginError {
    fn from(failed: FailedCall) -> PluginError {
        failed.error
    }
}
