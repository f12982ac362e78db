//! Listeners of a broker that a proxy can stand in front of, because the broker tells its clients the proxy's address.
//!
//! A proxy is the caller's alone until it is dropped. Next rooms: [`crate::proxy`], [`crate::broker`], [`crate::cluster`].

use crate::node::free_port;
use crate::proxy::Proxy;
use std::ops::Deref;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// How many proxied listeners a broker has; a test that wants one more waits until another gives its own back.
pub(crate) const PROXIES: usize = 4;

/// Where one listener is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listener {
    /// Where the broker listens.
    pub(crate) upstream: u16,
    /// Where it tells its clients that it listens.
    pub(crate) front: u16,
}

/// The proxied listeners of a broker.
#[derive(Debug)]
pub struct Proxies {
    listeners: [Listener; PROXIES],
    free: Mutex<Vec<usize>>,
    freed: Condvar,
}

impl Proxies {
    pub(crate) fn new() -> Arc<Proxies> {
        let listeners = std::array::from_fn(|_| Listener { upstream: free_port(), front: free_port() });
        Arc::new(Proxies { listeners, free: Mutex::new((0..PROXIES).collect()), freed: Condvar::new() })
    }

    pub(crate) fn listeners(&self) -> [Listener; PROXIES] {
        self.listeners
    }

    /// A proxy in front of the broker, for the caller alone. Clients that start at its address stay behind it.
    ///
    /// # Panics
    ///
    /// When it cannot listen.
    pub fn proxy(self: &Arc<Self>) -> ProxyLease {
        let place = self.take();
        let Listener { upstream, front } = place.listener();
        let proxy = Proxy::start(&format!("127.0.0.1:{front}"), &format!("127.0.0.1:{upstream}"))
            .unwrap_or_else(|error| panic!("the proxy cannot listen on port {front}: {error}"));
        ProxyLease { proxy, _place: place }
    }

    /// A listener that answers, and then sends its clients to an address where nobody listens.
    pub(crate) fn misadvertised(self: &Arc<Self>) -> Misadvertised {
        let place = self.take();
        let address = format!("127.0.0.1:{}", place.listener().upstream);
        Misadvertised { address, _place: place }
    }

    fn take(self: &Arc<Self>) -> Place {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(index) = free.pop() {
                return Place { proxies: Arc::clone(self), index };
            }
            free = self.freed.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// One of the listeners, taken until it is dropped.
struct Place {
    proxies: Arc<Proxies>,
    index: usize,
}

impl Place {
    fn listener(&self) -> Listener {
        self.proxies.listeners[self.index]
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.proxies.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.index);
        self.proxies.freed.notify_one();
    }
}

/// A proxy that is the caller's until it is dropped.
pub struct ProxyLease {
    // Dropped first: the port must be free before the next one may ask for it.
    proxy: Proxy,
    _place: Place,
}

impl Deref for ProxyLease {
    type Target = Proxy;

    fn deref(&self) -> &Proxy {
        &self.proxy
    }
}

/// A listener whose advertised address is dead.
pub struct Misadvertised {
    address: String,
    _place: Place,
}

impl Misadvertised {
    /// Where a client can start.
    pub fn address(&self) -> &str {
        &self.address
    }
}
