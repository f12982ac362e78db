//! Lanes: the bounded channels between the threads of a job.
//!
//! Every receiver has one inbox; every (edge, sender) pair has a lane of its own in it, bounded in bytes. A receiver that
//! waits for a barrier on one lane simply leaves another lane unread, so a barrier is never stuck behind data of another edge
//! on a shared channel: that is what keeps a DAG with joins free of deadlocks. Sources may wait for room; workers never do
//! ([`LaneSender::try_send`] gives the message back and they park it). One lock and at most one wake-up a message, and a
//! message is a batch: nothing here is paid per record.
//!
//! Knows nothing of operators or checkpoints. Next room: [`crate::outlet`], which cuts the batches that travel here.

use crate::checkpoint::PreparedCheckpoint;
use crate::message::Message;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::thread::Thread;
use std::time::Duration;

/// A lane's place in its inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneIndex(pub usize);

/// What the job's other threads want of a receiver, beside the data.
#[derive(Debug)]
pub enum Command {
    /// Let the decider decide this checkpoint, which is durably prepared (to the sink thread).
    Decide(PreparedCheckpoint),
    /// End the thread.
    Shutdown,
}

/// Bytes that wait between threads, on all lanes of a job or parked before them, and the most there ever were. For the page, and for the test
/// that a slow sink does not grow memory.
#[derive(Debug, Default)]
pub struct QueuedBytes {
    now: AtomicUsize,
    peak: AtomicUsize,
}

impl QueuedBytes {
    /// Adds bytes that now wait.
    pub fn add(&self, bytes: usize) {
        let now = self.now.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(now, Ordering::Relaxed);
    }

    /// Takes away bytes that no longer wait.
    pub fn sub(&self, bytes: usize) {
        self.now.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// The most bytes that ever waited at once.
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }
}

/// The receiving end of all lanes of one thread.
pub struct Inbox {
    shared: Arc<Shared>,
}

/// The sending end of one lane.
#[derive(Clone)]
pub struct LaneSender {
    shared: Arc<Shared>,
    lane: LaneIndex,
}

/// The way to tell a receiver something beside its lanes.
#[derive(Clone)]
pub struct Commands {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    receiver: OnceLock<Thread>,
    closed: AtomicBool,
    queued: Arc<QueuedBytes>,
    bytes_max: usize,
}

#[derive(Default)]
struct State {
    lanes: Vec<Lane>,
    commands: VecDeque<Command>,
}

#[derive(Default)]
struct Lane {
    queue: VecDeque<Message>,
    bytes: usize,
    /// The sender that found the lane full; woken when there is room.
    waiting: Option<Thread>,
}

/// The receiver is gone: the job is ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

/// What became of a message that was offered.
#[derive(Debug)]
pub enum Offered {
    /// It is on the lane.
    Taken,
    /// The lane is full; the calling thread is unparked when there is room.
    Full(Message),
}

impl Inbox {
    /// Makes an inbox whose lanes hold `bytes_max` bytes each. An empty lane takes any one message.
    pub fn new(bytes_max: usize, queued: Arc<QueuedBytes>) -> Inbox {
        let shared = Shared {
            state: Mutex::default(),
            receiver: OnceLock::new(),
            closed: AtomicBool::new(false),
            queued,
            bytes_max,
        };
        Inbox { shared: Arc::new(shared) }
    }

    /// Adds a lane.
    pub fn lane(&mut self) -> (LaneIndex, LaneSender) {
        let mut state = self.shared.lock();
        let lane = LaneIndex(state.lanes.len());
        state.lanes.push(Lane::default());
        (lane, LaneSender { shared: Arc::clone(&self.shared), lane })
    }

    /// The way to send commands here.
    pub fn commands(&self) -> Commands {
        Commands { shared: Arc::clone(&self.shared) }
    }

    /// Says that the calling thread receives here from now on. To be called once, first.
    pub fn attach(&self) {
        let _ = self.shared.receiver.set(std::thread::current());
    }

    /// The next command, if there is one.
    pub fn command(&self) -> Option<Command> {
        self.shared.lock().commands.pop_front()
    }

    /// Takes the next message of the first of `lanes` (from `start` on, round about) that is open and has one.
    pub fn receive(
        &self,
        lanes: &[LaneIndex],
        start: usize,
        mut is_open: impl FnMut(usize) -> bool,
    ) -> Option<(usize, Message)> {
        let mut state = self.shared.lock();
        for step in 0..lanes.len() {
            let at = (start + step) % lanes.len();
            let lane = &mut state.lanes[lanes[at].0];
            if lane.queue.is_empty() || !is_open(at) {
                continue;
            }
            let message = lane.queue.pop_front()?;
            let bytes = message.size_bytes();
            lane.bytes -= bytes;
            let waiting = lane.waiting.take();
            drop(state);
            self.shared.queued.sub(bytes);
            if let Some(sender) = waiting {
                sender.unpark();
            }
            return Some((at, message));
        }
        None
    }

    /// Sleeps until something is sent here, a lane that was full has room, or `at_most` has passed.
    pub fn wait(&self, at_most: Duration) {
        std::thread::park_timeout(at_most);
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        let mut state = self.shared.lock();
        for lane in &mut state.lanes {
            if let Some(sender) = lane.waiting.take() {
                sender.unpark();
            }
        }
    }
}

impl LaneSender {
    /// Puts a message on the lane, or gives it back when the lane is full. Watermarks and barriers always fit: a watermark
    /// replaces the one before it, and there is one barrier at a time.
    pub fn try_send(&self, message: Message) -> Result<Offered, Closed> {
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(Closed);
        }
        let bytes = message.size_bytes();
        let mut state = self.shared.lock();
        let lane = &mut state.lanes[self.lane.0];
        if bytes > 0 && !lane.queue.is_empty() && lane.bytes + bytes > self.shared.bytes_max {
            lane.waiting = Some(std::thread::current());
            return Ok(Offered::Full(message));
        }
        match (&message, lane.queue.back_mut()) {
            (Message::Watermark(new), Some(Message::Watermark(old))) => *old = *new,
            _ => lane.queue.push_back(message),
        }
        lane.bytes += bytes;
        drop(state);
        self.shared.queued.add(bytes);
        self.shared.wake();
        Ok(Offered::Taken)
    }

    /// Counts bytes that are parked at the sender until this lane has room.
    pub fn park(&self, bytes: usize) {
        self.shared.queued.add(bytes);
    }

    /// Counts bytes that are parked no longer.
    pub fn unpark(&self, bytes: usize) {
        self.shared.queued.sub(bytes);
    }

    /// Puts a message on the lane, waiting for room. For sources only: a worker that waited here could wait for itself.
    pub fn send(&self, mut message: Message) -> Result<(), Closed> {
        loop {
            match self.try_send(message)? {
                Offered::Taken => return Ok(()),
                Offered::Full(back) => message = back,
            }
            // The time-out is for a receiver that went away between the check and the park.
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }
}

impl Commands {
    /// Sends a command.
    pub fn send(&self, command: Command) {
        self.shared.lock().commands.push_back(command);
        self.shared.wake();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds a lane lock")
    }

    fn wake(&self) {
        if let Some(receiver) = self.receiver.get() {
            receiver.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::Batch;
    use crate::ids::{CheckpointId, ShardId, Watermark};
    use crate::message::{Rows, Target};

    fn rows(bytes: usize) -> Message {
        let mut batch = Batch::default();
        batch.keys.push(None);
        batch.values.push(Some(&vec![b'x'; bytes]));
        batch.timestamps.push(0);
        Message::Rows { shard: Target::Shard(ShardId(0)), rows: Rows::all(batch), watermark: Watermark::START }
    }

    fn inbox(bytes_max: usize) -> (Inbox, Vec<LaneIndex>, LaneSender, Arc<QueuedBytes>) {
        let queued = Arc::new(QueuedBytes::default());
        let mut inbox = Inbox::new(bytes_max, Arc::clone(&queued));
        let (lane, sender) = inbox.lane();
        (inbox, vec![lane], sender, queued)
    }

    #[test]
    fn an_empty_lane_takes_any_one_message_and_a_full_one_gives_it_back() {
        let (inbox, lanes, sender, queued) = inbox(100);
        assert!(matches!(sender.try_send(rows(1000)), Ok(Offered::Taken)));
        assert!(matches!(sender.try_send(rows(1)), Ok(Offered::Full(_))));
        assert!(matches!(sender.try_send(Message::Barrier(CheckpointId(1))), Ok(Offered::Taken)));
        assert!(matches!(inbox.receive(&lanes, 0, |_| true), Some((0, Message::Rows { .. }))));
        assert!(matches!(inbox.receive(&lanes, 0, |_| true), Some((0, Message::Barrier(_)))));
        assert!(matches!(sender.try_send(rows(1)), Ok(Offered::Taken)));
        assert!(queued.peak() > 1000);
    }

    #[test]
    fn watermarks_on_a_lane_that_nobody_reads_do_not_pile_up() {
        let (inbox, lanes, sender, _) = inbox(100);
        for time in 0..1000 {
            assert!(matches!(sender.try_send(Message::Watermark(Watermark(time))), Ok(Offered::Taken)));
        }
        assert!(matches!(inbox.receive(&lanes, 0, |_| true), Some((0, Message::Watermark(Watermark(999))))));
        assert!(inbox.receive(&lanes, 0, |_| true).is_none());
    }

    #[test]
    fn a_closed_lane_is_left_alone_and_a_dropped_inbox_frees_a_waiting_sender() {
        let (inbox, lanes, sender, _) = inbox(10);
        assert!(matches!(sender.try_send(rows(50)), Ok(Offered::Taken)));
        assert!(inbox.receive(&lanes, 0, |_| false).is_none());
        let waiting = std::thread::spawn(move || sender.send(rows(50)));
        std::thread::yield_now();
        drop(inbox);
        assert_eq!(waiting.join().expect("the sender ends"), Err(Closed));
    }
}
