//! A TCP proxy in front of a broker that understands Kafka's frames, so a test can lose one certain request or answer.
//!
//! It decides by a request's api key and looks at nothing else of its content. Threads, blocking I/O: one thread a
//! direction. Next room: [`crate::broker`], which hands proxies out.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// A Kafka request's api key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ApiKey(pub i16);

impl ApiKey {
    /// Records to a partition.
    pub const PRODUCE: ApiKey = ApiKey(0);
    /// Records of partitions.
    pub const FETCH: ApiKey = ApiKey(1);
    /// Offsets by time, or the ends.
    pub const LIST_OFFSETS: ApiKey = ApiKey(2);
    /// Brokers, topics, leaders.
    pub const METADATA: ApiKey = ApiKey(3);
    /// A producer id and epoch; fences the earlier holder.
    pub const INIT_PRODUCER_ID: ApiKey = ApiKey(22);
    /// Partitions of a transaction.
    pub const ADD_PARTITIONS_TO_TXN: ApiKey = ApiKey(24);
    /// Commit or abort.
    pub const END_TXN: ApiKey = ApiKey(26);
}

/// What happens to a request.
#[derive(Clone)]
pub enum Fault {
    /// It is forwarded; its answer and all later ones of the connection are lost.
    DropReply,
    /// It is forwarded and answered, and the client is cut off instead of getting the answer.
    CutAfter,
    /// The client is cut off; the broker never sees it.
    CutBefore,
    /// It is kept, and nothing more is read from the connection: the client runs into its own timeout.
    Hold,
    /// It is kept, and the client is cut off at once.
    HoldAndCut,
    /// The client is cut off at once; the broker gets the request when the time is over.
    Late(Duration),
    /// It is forwarded when the time is over, and with it what comes after it on the connection: a slow network.
    Slow(Duration),
    /// It is forwarded, and then the hook runs (to kill somebody).
    Hook(Arc<dyn Fn() + Send + Sync>),
    /// The hook runs, and then it is forwarded.
    HookBefore(Arc<dyn Fn() + Send + Sync>),
}

/// For which requests, and how often.
#[derive(Clone)]
pub struct Rule {
    /// The requests it is for.
    pub api: ApiKey,
    /// How many of them are let through first.
    pub skip: usize,
    /// How many of them are hit after that.
    pub times: usize,
    /// What happens to them.
    pub fault: Fault,
}

/// Chance instead of order: each request of the kind is hit with a probability.
#[derive(Clone)]
pub struct Chance {
    /// The requests it is for.
    pub api: ApiKey,
    /// Out of a million.
    pub per_million: u32,
    /// What happens to them.
    pub fault: Fault,
}

/// What the broker said to a request that was held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// The request's kind.
    pub api: ApiKey,
    /// Its version.
    pub version: i16,
    /// The answer without length and correlation id; `EndTxn` answers carry the error code in bytes 4 and 5.
    pub answer: Vec<u8>,
}

impl Delivered {
    /// The broker's error code, for an `EndTxn` below version 3; 0 is none.
    ///
    /// # Panics
    ///
    /// For other requests, and for an answer that is too short.
    pub fn end_txn_error(&self) -> i16 {
        assert!(self.api == ApiKey::END_TXN && self.version < 3, "no plain EndTxn answer: {self:?}");
        i16::from_be_bytes([self.answer[4], self.answer[5]])
    }
}

/// A running proxy; dropping it cuts all its connections.
pub struct Proxy {
    shared: Arc<State>,
    address: SocketAddr,
    acceptor: Option<thread::JoinHandle<()>>,
}

struct State {
    upstream: String,
    stopping: AtomicBool,
    inner: Mutex<Inner>,
    held_something: Condvar,
}

#[derive(Default)]
struct Inner {
    rules: Vec<Rule>,
    chances: Vec<Chance>,
    random: u64,
    held: Vec<Vec<u8>>,
    hits: Vec<ApiKey>,
    /// Both sides of each connection; gone when its threads ended.
    connections: Vec<Weak<TcpStream>>,
}

impl Proxy {
    /// Listens and forwards to `upstream`.
    pub fn start(listen: &str, upstream: &str) -> io::Result<Proxy> {
        let listener = TcpListener::bind(listen)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(State {
            upstream: upstream.to_owned(),
            stopping: AtomicBool::new(false),
            inner: Mutex::new(Inner { random: 0x9e37_79b9_7f4a_7c15, ..Inner::default() }),
            held_something: Condvar::new(),
        });
        let state = Arc::clone(&shared);
        let acceptor = thread::Builder::new().name("proxy-accept".to_owned()).spawn(move || {
            for client in listener.incoming() {
                if state.stopping.load(Ordering::Acquire) {
                    return;
                }
                // A broker that is away is what the client sees too: its connection closes.
                let _ = client.and_then(|client| state.connect(client));
            }
        })?;
        Ok(Proxy { shared, address, acceptor: Some(acceptor) })
    }

    /// Where clients reach the proxy (`bootstrap.servers`).
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Adds a rule. The first rule that fits a request and is not used up decides.
    pub fn rule(&self, rule: Rule) {
        self.shared.lock().rules.push(rule);
    }

    /// Hits the next request of a kind.
    pub fn next(&self, api: ApiKey, fault: Fault) {
        self.rule(Rule { api, skip: 0, times: 1, fault });
    }

    /// Adds a chance; `seed` makes the same run come again as far as the clients' timing allows.
    pub fn chance(&self, seed: u64, chance: Chance) {
        let mut inner = self.shared.lock();
        inner.random = seed | 1;
        inner.chances.push(chance);
    }

    /// Forgets all rules and chances. What is held stays held.
    pub fn clear(&self) {
        let mut inner = self.shared.lock();
        inner.rules.clear();
        inner.chances.clear();
    }

    /// The requests that a rule or chance hit so far.
    pub fn hits(&self) -> Vec<ApiKey> {
        self.shared.lock().hits.clone()
    }

    /// Waits until a request is held back; whether one is.
    pub fn wait_held(&self, at_most: Duration) -> bool {
        let deadline = Instant::now() + at_most;
        let mut inner = self.shared.lock();
        while inner.held.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            inner = self.shared.held_something.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Sends the oldest held request to the broker, over a connection of its own, and returns the answer.
    ///
    /// # Panics
    ///
    /// When nothing is held, and when the broker does not answer within 20 s.
    pub fn deliver(&self) -> Delivered {
        let frame = {
            let mut inner = self.shared.lock();
            assert!(!inner.held.is_empty(), "no request is held back");
            inner.held.remove(0)
        };
        deliver(&self.shared.upstream, &frame).expect("the broker answers a held request")
    }

    /// Cuts all connections; clients may come again.
    pub fn cut_all(&self) {
        for stream in self.shared.lock().connections.drain(..).filter_map(|stream| stream.upgrade()) {
            // It fails for a connection that is closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        // The acceptor looks at the flag when somebody comes.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        self.cut_all();
    }
}

/// What the thread that reads answers has to do with the answer of a certain request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AnswerFate {
    Drop,
    Cut,
}

type Fates = Arc<Mutex<HashMap<i32, AnswerFate>>>;

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(self: &Arc<Self>, client: TcpStream) -> io::Result<()> {
        let broker = TcpStream::connect(&self.upstream)?;
        client.set_nodelay(true)?;
        broker.set_nodelay(true)?;
        let (client, broker) = (Arc::new(client), Arc::new(broker));
        {
            let mut inner = self.lock();
            inner.connections.retain(|stream| stream.strong_count() > 0);
            inner.connections.extend([Arc::downgrade(&client), Arc::downgrade(&broker)]);
        }
        let fates = Fates::default();
        let (state, from, to, theirs) =
            (Arc::clone(self), Arc::clone(&client), Arc::clone(&broker), Arc::clone(&fates));
        thread::Builder::new().name("proxy-requests".to_owned()).spawn(move || {
            // An I/O error is one side's end, and ends the other.
            let _ = state.forward_requests(&from, &to, &theirs);
            cut(&from, &to);
        })?;
        thread::Builder::new().name("proxy-answers".to_owned()).spawn(move || {
            let _ = forward_answers(&broker, &client, &fates);
            cut(&client, &broker);
        })?;
        Ok(())
    }

    /// Returns when the connection has to be cut.
    fn forward_requests(&self, mut client: &TcpStream, broker: &TcpStream, fates: &Fates) -> io::Result<()> {
        loop {
            let frame = read_frame(client, REQUEST_BYTES_MIN)?;
            let Some(fault) = self.decide(api_of(&frame)) else {
                write_frame(broker, &frame)?;
                continue;
            };
            let correlation = i32::from_be_bytes([frame[4], frame[5], frame[6], frame[7]]);
            let fate = |fate| fates.lock().unwrap_or_else(PoisonError::into_inner).insert(correlation, fate);
            match fault {
                Fault::DropReply => {
                    fate(AnswerFate::Drop);
                    write_frame(broker, &frame)?;
                }
                Fault::CutAfter => {
                    fate(AnswerFate::Cut);
                    write_frame(broker, &frame)?;
                }
                Fault::CutBefore => return Ok(()),
                Fault::Hold => {
                    self.hold(frame);
                    return io::copy(&mut client, &mut io::sink()).map(|_| ());
                }
                Fault::HoldAndCut => {
                    self.hold(frame);
                    return Ok(());
                }
                Fault::Late(after) => {
                    let upstream = self.upstream.clone();
                    thread::Builder::new().name("proxy-late".to_owned()).spawn(move || {
                        thread::sleep(after);
                        // The broker may be away by then; a lost request is a fault like the others.
                        let _ = deliver(&upstream, &frame);
                    })?;
                    return Ok(());
                }
                Fault::Slow(by) => {
                    thread::sleep(by);
                    write_frame(broker, &frame)?;
                }
                Fault::Hook(hook) => {
                    write_frame(broker, &frame)?;
                    hook();
                }
                Fault::HookBefore(hook) => {
                    hook();
                    write_frame(broker, &frame)?;
                }
            }
        }
    }

    fn hold(&self, frame: Vec<u8>) {
        self.lock().held.push(frame);
        self.held_something.notify_all();
    }

    fn decide(&self, api: ApiKey) -> Option<Fault> {
        let mut inner = self.lock();
        let fault = inner.by_rule(api).or_else(|| inner.by_chance(api))?;
        inner.hits.push(api);
        Some(fault)
    }
}

impl Inner {
    fn by_rule(&mut self, api: ApiKey) -> Option<Fault> {
        for rule in self.rules.iter_mut().filter(|rule| rule.api == api) {
            if rule.skip > 0 {
                rule.skip -= 1;
                return None;
            }
            if rule.times > 0 {
                rule.times -= 1;
                return Some(rule.fault.clone());
            }
        }
        None
    }

    fn by_chance(&mut self, api: ApiKey) -> Option<Fault> {
        for index in 0..self.chances.len() {
            if self.chances[index].api != api {
                continue;
            }
            // Xorshift: any spread-out sequence will do, and the seed brings it back.
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            if self.random % 1_000_000 < u64::from(self.chances[index].per_million) {
                return Some(self.chances[index].fault.clone());
            }
        }
        None
    }
}

fn cut(client: &TcpStream, broker: &TcpStream) {
    // It fails for a side that is closed already.
    let _ = client.shutdown(Shutdown::Both);
    let _ = broker.shutdown(Shutdown::Both);
}

fn forward_answers(broker: &TcpStream, client: &TcpStream, fates: &Fates) -> io::Result<()> {
    let mut lost = false;
    loop {
        let frame = read_frame(broker, ANSWER_BYTES_MIN)?;
        let correlation = i32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]);
        match fates.lock().unwrap_or_else(PoisonError::into_inner).remove(&correlation) {
            Some(AnswerFate::Cut) => return Ok(()),
            Some(AnswerFate::Drop) => lost = true,
            None => {}
        }
        if !lost {
            write_frame(client, &frame)?;
        }
    }
}

fn deliver(upstream: &str, frame: &[u8]) -> io::Result<Delivered> {
    let broker = TcpStream::connect(upstream)?;
    broker.set_read_timeout(Some(Duration::from_secs(20)))?;
    write_frame(&broker, frame)?;
    let answer = read_frame(&broker, ANSWER_BYTES_MIN)?;
    Ok(Delivered {
        api: api_of(frame),
        version: i16::from_be_bytes([frame[2], frame[3]]),
        answer: answer[ANSWER_BYTES_MIN..].to_vec(),
    })
}

fn api_of(frame: &[u8]) -> ApiKey {
    ApiKey(i16::from_be_bytes([frame[0], frame[1]]))
}

/// A request's frame starts with api key, version and correlation id.
const REQUEST_BYTES_MIN: usize = 8;
/// An answer's frame starts with the correlation id.
const ANSWER_BYTES_MIN: usize = 4;
const FRAME_BYTES_MAX: usize = 128 << 20;

/// Reads one frame without its length. Shorter than the fixed header cannot be Kafka's.
fn read_frame(mut stream: &TcpStream, bytes_min: usize) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if !(bytes_min..=FRAME_BYTES_MAX).contains(&length) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
    }
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame)?;
    Ok(frame)
}

fn write_frame(mut stream: &TcpStream, frame: &[u8]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(frame.len() + 4);
    bytes.extend_from_slice(&(frame.len() as u32).to_be_bytes());
    bytes.extend_from_slice(frame);
    stream.write_all(&bytes)
}
