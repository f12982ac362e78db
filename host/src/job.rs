//! A job: builds the threads of one run from its parts. The only place that spawns them.
//!
//! Lanes first: every edge gets one lane for each pair of a sending and a receiving thread. Then the threads, then the
//! coordinator on the calling thread until the job ends. After a failure nothing is joined for long: a thread can be stuck
//! in a library for ever, and the last checkpoint is safe. Next rooms: [`crate::start`], [`crate::checkpoint::coordinator`].

use crate::checkpoint::coordinator::{Collected, Coordinator};
use crate::checkpoint::early::EarlyBarrier;
use crate::checkpoint::messages::{Report, SourceCommand, Task};
use crate::checkpoint::protocol::{Parts as CheckpointParts, Protocol, Schedule};
use crate::checkpoint::record::{CheckpointKind, CheckpointRecord, SplitState};
use crate::config::model::{self, Job, OnBadRecord, OnError};
use crate::decode::Decoder;
use crate::decode::columns::ColumnDecoder;
use crate::error::{JobError, OperatorError, PluginProblem};
use crate::exchange::{Command, Commands, QueuedBytes};
use crate::ids::{OperatorIndex, ShardId, SourceIndex, Watermark, WorkerId};
use crate::operator::{self, Operator, Outputs, Shard, Undo, UndoLimits};
use crate::outlet::Outlet;
use crate::plugin::InstanceOptions;
use crate::probe;
use crate::seeded::{self, Bug};
use crate::sink::task::SinkTask;
use crate::source::clock::SourceClock;
use crate::source::driver::Driver;
use crate::source::{self, Discover};
use crate::start::{Plugins, StartOptions, Started, load_plugins, start};
use crate::status::{Control, Status};
use crate::watchdog::Heartbeat;
use crate::watermark::{InputWatermarks, SplitWatermarks};
use crate::wiring::{Sender, Wiring};
use crate::worker::Worker;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use crate::checkpoint::coordinator::Ended;

/// Reports that may wait for the coordinator.
const REPORTS_MAX: usize = 1024;

/// Snapshots that may wait for the writer; each is memory of its own.
const WRITER_TASKS_MAX: usize = 64;

/// Commands that may wait for a source: a barrier and a publication at most, since one checkpoint is in flight.
const SOURCE_COMMANDS_MAX: usize = 8;

/// Checkpoints are left out for at most this long while nothing arrives.
const IDLE_MAX: Duration = Duration::from_mins(1);

/// The coordinator may stand still for the checkpoint's timeout, but for this long in any case.
const SILENCE_MIN: Duration = Duration::from_secs(10);

/// The sink thread may be without a word for the checkpoint's timeout, but for this long in any case: a commit is repeated
/// for half a minute before its outcome is left to recovery.
const SINK_SILENCE_MIN: Duration = Duration::from_mins(2);

/// How long threads get to end by themselves.
const JOIN_MAX: Duration = Duration::from_secs(5);

/// Runs a job until it ends, is stopped or fails.
pub fn run(job: &Job, options: &StartOptions, control: &Control, status: &Arc<Status>) -> Result<Ended, JobError> {
    let began = Instant::now();
    let plugins = load_plugins(job, options.cache.as_deref())?;
    let started = start(job, &plugins, options)?;
    if started.record.kind == CheckpointKind::Finished {
        tracing::info!(checkpoint = started.record.id.0, "the job's bounded input was already read to the end");
        return Ok(Ended::Finished(started.record.id));
    }
    let resumed = started.record.id;
    status.checkpoint_id.store(resumed.0, Relaxed);
    probe::reached("restoring");
    let running = Build { job, plugins: &plugins, status, early: Arc::default() }.threads(started)?;
    tracing::info!(
        job = job.name,
        checkpoint = resumed.0,
        start_ms = began.elapsed().as_secs_f64() * 1e3,
        "running from checkpoint"
    );
    probe::reached("running");
    let Running { coordinator, reports, threads, ends, queued } = running;
    let heartbeat = Heartbeat::start(job.checkpoint.timeout.max(SILENCE_MIN))
        .map_err(|cause| JobError::Spawn { thread: "watchdog".into(), cause })?;
    let outcome = coordinator.run(&reports, control, &heartbeat);
    for end in &ends {
        end.end();
    }
    drop(ends);
    drain(&reports, threads);
    tracing::debug!(queued_bytes_peak = queued.peak(), "all threads told to end");
    outcome
}

/// Threads of a job and the ways to them.
struct Running {
    coordinator: Coordinator,
    reports: Receiver<Report>,
    threads: Vec<JoinHandle<()>>,
    ends: Vec<End>,
    queued: Arc<QueuedBytes>,
}

/// A way to end a thread.
enum End {
    Inbox(Commands),
    Source(SyncSender<SourceCommand>),
}

impl End {
    fn end(&self) {
        match self {
            End::Inbox(commands) => commands.send(Command::Shutdown),
            End::Source(commands) => {
                let _ = commands.try_send(SourceCommand::Shutdown);
            }
        }
    }
}

/// Waits for the threads, taking late reports away so that none of them waits for room.
fn drain(reports: &Receiver<Report>, threads: Vec<JoinHandle<()>>) {
    let until = Instant::now() + JOIN_MAX;
    for thread in threads {
        while !thread.is_finished() && Instant::now() < until {
            let _ = reports.recv_timeout(Duration::from_millis(5));
        }
        if thread.is_finished() {
            let _ = thread.join();
        } else {
            tracing::warn!(thread = thread.thread().name(), "a thread does not end; the process will");
        }
    }
}

struct Build<'a> {
    job: &'a Job,
    plugins: &'a Plugins,
    status: &'a Arc<Status>,
    early: Arc<EarlyBarrier>,
}

impl Build<'_> {
    fn threads(&self, started: Started) -> Result<Running, JobError> {
        let Started { writer, record, next, sinks, output } = started;
        let job = self.job;
        let shares = self.shares(&record);
        let queued = Arc::new(QueuedBytes::default());
        let threads_of: Vec<usize> = shares.iter().map(Vec::len).collect();
        let ports: Vec<usize> = self.plugins.descriptions.iter().map(|description| description.inputs.len()).collect();
        let mut wiring = Wiring::new(job, &self.plugins.plan, &ports, &threads_of, &queued);
        let (report, reports) = sync_channel(REPORTS_MAX);
        let (task, tasks) = sync_channel(WRITER_TASKS_MAX);
        let mut threads = Vec::new();
        let mut ends = Vec::new();

        let workers = self.workers(&mut wiring, &writer.store, &record, &report, &task)?;
        probe::reached("restored");
        let drivers = self.drivers(&mut wiring, shares, &report)?;
        let (inbox, lanes) = wiring.sink_inbox();
        let sink_commands = inbox.commands();
        let heartbeat = Heartbeat::start(job.checkpoint.timeout.max(SINK_SILENCE_MIN))
            .map_err(|cause| JobError::Spawn { thread: "watchdog".into(), cause })?;
        let status = Arc::clone(self.status);
        let sink = SinkTask { inbox, lanes, sinks, output, reports: report.clone(), status, heartbeat };

        let coordinator = Coordinator {
            protocol: Protocol::new(
                self.schedule(),
                CheckpointParts { sources: drivers.len(), snapshots: job.operators.len() * workers.len() },
                next,
                0,
            ),
            attempt: writer.attempt,
            source_names: job.sources.iter().map(|source| source.name.clone()).collect(),
            sources: drivers.iter().map(|(source, commands, _)| (*source, commands.clone())).collect(),
            writer: task,
            sink: sink_commands.clone(),
            early: Arc::clone(&self.early),
            status: Arc::clone(self.status),
            parts: Collected::default(),
            reading: drivers.len(),
            records_out: 0,
            stop_max: job.checkpoint.timeout,
        };

        let spawner = Spawner { reports: report };
        let writer_reports = spawner.reports.clone();
        threads.push(spawner.spawn("writer", move || Ok(writer.run(&tasks, &writer_reports)?))?);
        threads.push(spawner.spawn("sink", move || sink.run())?);
        ends.push(End::Inbox(sink_commands));
        for (at, worker) in workers.into_iter().enumerate() {
            ends.push(End::Inbox(worker.inbox.commands()));
            threads.push(spawner.spawn(&format!("worker-{at}"), move || worker.run())?);
        }
        for (at, (_, commands, driver)) in drivers.into_iter().enumerate() {
            ends.push(End::Source(commands));
            threads.push(spawner.spawn(&format!("source-{at}"), move || driver.run())?);
        }
        Ok(Running { coordinator, reports, threads, ends, queued })
    }

    fn schedule(&self) -> Schedule {
        let checkpoint = &self.job.checkpoint;
        Schedule {
            interval_ms: checkpoint.interval.as_millis() as u64,
            min_pause_ms: checkpoint.min_pause.as_millis() as u64,
            timeout_ms: checkpoint.timeout.as_millis() as u64,
            idle_max_ms: IDLE_MAX.max(checkpoint.interval).as_millis() as u64,
        }
    }

    /// Each source's splits, shared out among its threads.
    fn shares(&self, record: &CheckpointRecord) -> Vec<Vec<Vec<SplitState>>> {
        let shares = self.job.sources.iter().map(|source| {
            let splits = record
                .sources
                .iter()
                .find(|state| state.source == source.name)
                .map_or_else(Vec::new, |state| state.splits.clone());
            let threads = (source.threads as usize).clamp(1, splits.len().max(1));
            let mut shares = vec![Vec::new(); threads];
            for (at, split) in splits.into_iter().enumerate() {
                shares[at % threads].push(split);
            }
            shares
        });
        shares.collect()
    }

    fn drivers(
        &self,
        wiring: &mut Wiring,
        shares: Vec<Vec<Vec<SplitState>>>,
        reports: &SyncSender<Report>,
    ) -> Result<Vec<(SourceIndex, SyncSender<SourceCommand>, Driver)>, JobError> {
        let mut drivers = Vec::new();
        for (at, (source, shares)) in self.job.sources.iter().zip(shares).enumerate() {
            let index = SourceIndex(at as u16);
            let all: Vec<SplitState> = shares.iter().flatten().cloned().collect();
            let clock = Arc::new(SourceClock::new(shares.len()));
            for (thread, splits) in shares.into_iter().enumerate() {
                let discover = if thread == 0 { Discover::Yes(&all) } else { Discover::No };
                let (commands, receiver) = sync_channel(SOURCE_COMMANDS_MAX);
                let sender = Sender::Source(index, thread);
                let reader = source::open(source, &splits, discover)?;
                if let Some((_, total)) = reader.progress() {
                    self.status.input_bytes_total.fetch_add(total, Relaxed);
                }
                let driver = Driver {
                    source: index,
                    name: source.name.clone(),
                    reader,
                    decoder: decoder(source)?,
                    watermarks: SplitWatermarks::new(&source.watermark, &splits),
                    clock: Arc::clone(&clock),
                    thread,
                    outlet: Outlet::new(wiring.readers(sender, None), self.job.batch, self.job.shards),
                    dead_letters: match source.on_bad_record {
                        OnBadRecord::DeadLetter => wiring.dead_letters(sender),
                        OnBadRecord::Fail | OnBadRecord::Skip => None,
                    },
                    on_bad_record: source.on_bad_record,
                    shards: self.job.shards,
                    commands: receiver,
                    reports: reports.clone(),
                    status: Arc::clone(self.status),
                };
                drivers.push((index, commands, driver));
            }
        }
        Ok(drivers)
    }

    fn workers(
        &self,
        wiring: &mut Wiring,
        store: &crate::state::store::Store,
        record: &CheckpointRecord,
        reports: &SyncSender<Report>,
        writer: &SyncSender<Task>,
    ) -> Result<Vec<Worker>, JobError> {
        let mut workers = Vec::new();
        for (worker, shards) in self.shards(wiring, store, record)?.into_iter().enumerate() {
            let worker = WorkerId(worker as u16);
            let mut operators = Vec::new();
            for (at, (operator, shards)) in self.job.operators.iter().zip(shards).enumerate() {
                operators.push(self.operator(wiring, worker, OperatorIndex(at as u16), operator, shards)?);
            }
            let inbox = wiring.worker_inbox(worker);
            workers.push(Worker { inbox, operators, reports: reports.clone(), writer: writer.clone() });
        }
        Ok(workers)
    }

    /// The shards, by worker and operator. Each worker's are opened on a thread of their own: with much state most of a start
    /// is spent in filling their memory.
    fn shards(
        &self,
        wiring: &Wiring,
        store: &crate::state::store::Store,
        record: &CheckpointRecord,
    ) -> Result<Vec<Vec<Vec<Shard>>>, JobError> {
        let operators = (0..self.job.operators.len()).map(|at| OperatorIndex(at as u16));
        let senders: Vec<Vec<usize>> = operators.map(|index| wiring.senders_of(index)).collect();
        let (senders, workers) = (&senders, wiring.workers());
        let of_worker = |worker: u16| {
            let of_operator = |(at, operator): (usize, &model::Operator)| {
                let shards = (worker..self.job.shards).step_by(workers as usize).map(ShardId);
                let (index, senders) = (OperatorIndex(at as u16), senders[at].as_slice());
                let open = |shard| self.shard(operator, index, shard, senders, store, record);
                shards.map(open).collect::<Result<Vec<Shard>, JobError>>()
            };
            self.job.operators.iter().enumerate().map(of_operator).collect::<Result<Vec<_>, JobError>>()
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..workers).map(|worker| scope.spawn(move || of_worker(worker))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        })
    }

    fn operator(
        &self,
        wiring: &mut Wiring,
        worker: WorkerId,
        index: OperatorIndex,
        operator: &model::Operator,
        shards: Vec<Shard>,
    ) -> Result<Operator, JobError> {
        let description = &self.plugins.descriptions[index.index()];
        let sender = Sender::Operator(index, worker);
        let decoders = description
            .inputs
            .iter()
            .map(|port| {
                ColumnDecoder::new(&port.columns).map_err(|error| {
                    let (operator, port) = (&operator.name, &port.name);
                    JobError::Stop(format!("operator `{operator}`, input port `{port}`: {error} (stop: job-changed)"))
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let outlets = (0..description.outputs.len() as u16)
            .map(crate::ids::PortIndex)
            .map(|port| Outlet::new(wiring.readers(sender, Some(port)), self.job.batch, self.job.shards))
            .collect();
        let dead_letters = if operator.sends_dead_letters() { wiring.dead_letters(sender) } else { None };
        let undo =
            (operator.on_error == OnError::DeadLetter).then(|| self.undo(operator, shards.len(), wiring.workers()));
        Ok(Operator::new(operator::Parts {
            index,
            name: operator.name.as_str().into(),
            lanes: wiring.lanes_of(worker, index),
            decoders,
            shards,
            workers: wiring.workers(),
            outputs: Outputs { outlets, dead_letters },
            on_rejected: operator.on_rejected,
            undo,
        }))
    }

    fn undo(&self, operator: &model::Operator, shards: usize, workers: u16) -> Undo {
        let limits = UndoLimits {
            kept_bytes: self.job.undo_bytes / usize::from(workers),
            failures: operator.dead_letters_max,
            // The other half is for the calls themselves: a checkpoint waits for both.
            time: self.job.checkpoint.timeout / 2,
            call_timeout: operator.call_timeout,
        };
        Undo::new(limits, shards, Arc::clone(&self.early))
    }

    fn shard(
        &self,
        operator: &model::Operator,
        index: OperatorIndex,
        shard: ShardId,
        senders: &[usize],
        store: &crate::state::store::Store,
        record: &CheckpointRecord,
    ) -> Result<Shard, JobError> {
        let plugin = &self.plugins.plugins[index.index()];
        let refused = |cause| OperatorError::new(self.job, &operator.name, PluginProblem::Refused(cause));
        let options = InstanceOptions {
            job: self.job.name.clone(),
            operator: operator.name.clone(),
            shard: shard.0,
            shards: self.job.shards,
            seed: crate::hash::digest(format!("{}/{}/{shard}", self.job.name, operator.name).as_bytes()),
            config: operator.config.clone(),
            memory_bytes: operator.memory_bytes,
            call_timeout: operator.call_timeout,
        };
        let image = store.load(&operator.name, shard, plugin.hash())?;
        let state = record.shards.iter().find(|state| state.operator == operator.name && state.shard == shard.0);
        let Some((image, state)) = image.zip(state) else {
            return Ok(Shard {
                id: shard,
                instance: Some(plugin.open(&options).map_err(refused)?),
                watermarks: InputWatermarks::new(senders),
                advanced: Watermark::START,
                next_advance: None,
                fruitless: 0,
            });
        };
        let forgets = seeded::is(Bug::WatermarkNotRestored);
        Ok(Shard {
            id: shard,
            instance: Some(plugin.restore(&options, &image).map_err(refused)?),
            watermarks: if forgets {
                InputWatermarks::new(senders)
            } else {
                InputWatermarks::restored(senders, &state.watermarks)
            },
            advanced: if forgets { Watermark::START } else { state.advanced },
            next_advance: if seeded::is(Bug::AdvanceMissedAfterRestore) { Some(i64::MAX) } else { state.next_advance },
            fruitless: 0,
        })
    }
}

fn decoder(source: &model::Source) -> Result<Decoder, JobError> {
    Decoder::new(&source.decode, source.max_record_bytes)
        .map_err(|error| JobError::Stop(format!("source `{}`: {error} (stop: job-changed)", source.name)))
}

/// Starts threads that report how they ended.
struct Spawner {
    reports: SyncSender<Report>,
}

impl Spawner {
    fn spawn(
        &self,
        name: &str,
        body: impl FnOnce() -> Result<(), JobError> + Send + 'static,
    ) -> Result<JoinHandle<()>, JobError> {
        let reports = self.reports.clone();
        let thread = name.to_owned();
        let run = move || {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            match outcome {
                // Another thread went away and has said why.
                Ok(Ok(()) | Err(JobError::Closed)) => {}
                Ok(Err(error)) => drop(reports.send(Report::Failed(error))),
                Err(_) => drop(reports.send(Report::Failed(JobError::ThreadDied { thread }))),
            }
        };
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(run)
            .map_err(|cause| JobError::Spawn { thread: name.to_owned(), cause })
    }
}
