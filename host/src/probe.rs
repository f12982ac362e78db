//! Named moments of a checkpoint, of a recovery and of a file commit: fail points, where a test ends or stops the process.
//!
//! They exist in builds with the feature `fail-points` only, which the tests turn on. Without it [`reached`] is an empty
//! function that is inlined: the product holds neither the names nor a branch for them.

#[cfg(feature = "fail-points")]
static OBSERVER: std::sync::OnceLock<fn(&'static str)> = std::sync::OnceLock::new();

/// Installs the observer of this process; later calls change nothing.
#[cfg(feature = "fail-points")]
pub fn observe(observer: fn(&'static str)) {
    let _ = OBSERVER.set(observer);
}

/// Says that a moment is reached.
#[cfg(feature = "fail-points")]
pub fn reached(moment: &'static str) {
    if let Some(observer) = OBSERVER.get() {
        observer(moment);
    }
}

#[cfg(feature = "fail-points")]
static DISTORTED: std::sync::OnceLock<&'static str> = std::sync::OnceLock::new();

/// From now on a value of this name is another than was computed; later calls change nothing.
#[cfg(feature = "fail-points")]
pub fn distort(name: &'static str) {
    let _ = DISTORTED.set(name);
}

/// The value, unless a test wants it to be another: for what no plugin can do by itself.
#[cfg(feature = "fail-points")]
pub fn distorted(name: &'static str, value: u64) -> u64 {
    if DISTORTED.get() == Some(&name) { !value } else { value }
}

/// The value as it is.
#[cfg(not(feature = "fail-points"))]
#[inline(always)]
pub fn distorted(_name: &'static str, value: u64) -> u64 {
    value
}

/// Says that a moment is reached: here to nobody.
#[cfg(not(feature = "fail-points"))]
#[inline(always)]
pub fn reached(_moment: &'static str) {}
