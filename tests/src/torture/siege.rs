//! One scenario on one store: life after life of the host, each ended as planned, while readers read and a judge judges.
//!
//! Everything that becomes visible is judged as it comes. After each restart's first commit, all that was visible before the
//! kill must be there whole; and at each look at the whole, all that the input must give. Next rooms: `plan` (how a life
//! ends), `judge`, [`super::campaign`].

use super::feeder::{Feeder, FileFeeder, TopicFeeder, free};
use super::judge::{Cut, Judge};
use super::life::Life;
use super::payment::SPLITS;
use super::plan::{End, Plan, Planner};
use super::reader::{FileReader, Reader, TopicReader};
use super::scenario::{Ends, OUTPUT_PARTITIONS, Output, Scenario};
use super::tally::Tally;
use super::violation::Violation;
use crate::broker::Broker;
use crate::proxied::ProxyLease;
use crate::proxy::{ApiKey, Fault, Rule};
use crate::scene::Scene;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::thread;
use std::time::{Duration, Instant};

/// How often the process, its log and the outputs are looked at.
const POLL: Duration = Duration::from_millis(1);
/// A point that is not reached for so long after the first commit is not reached at all: the kill comes anyway.
const PATIENCE: Duration = Duration::from_millis(700);
/// A host that has not committed for so long hangs.
const COMMIT_MAX: Duration = Duration::from_mins(1);
/// What was decided is visible at once, on a busy machine soon.
const VISIBLE_MAX: Duration = Duration::from_secs(15);
/// Nothing came for so long: nothing comes.
const QUIET: Duration = Duration::from_millis(300);
/// How long an end of a transaction is on its way if it comes late.
const LATE: Duration = Duration::from_millis(60);
/// Milliseconds that a source of files waits before each poll.
const PACE_MS: &str = "20";
/// The logs of so many last lives are kept.
const LOGS_MAX: usize = 100;

/// A scenario under siege.
pub(super) struct Siege {
    scenario: Scenario,
    scene: Scene,
    proxy: Option<ProxyLease>,
    planner: Planner,
    feeder: Feeder,
    readers: Vec<Reader>,
    judge: Judge,
    /// What must be visible once the next life has committed.
    owed: Option<Cut>,
    killed_at: Option<Instant>,
    logs: Vec<PathBuf>,
    freed: BTreeMap<PathBuf, u64>,
    /// Whether the input goes on.
    is_fed: bool,
    /// What came since the last look at the whole.
    tally: Tally,
}

/// Where a siege takes place, and how.
pub(super) struct Place<'p> {
    /// The host with fail points.
    pub(super) program: &'p str,
    /// An empty folder for the job.
    pub(super) folder: &'p Path,
    /// A broker, for scenarios on Kafka.
    pub(super) broker: Option<&'p Broker>,
}

impl Siege {
    /// Sets a scenario up: nothing was ever started on its store.
    pub(super) fn new(scenario: Scenario, place: &Place<'_>, planner: Planner) -> Siege {
        let mut scene = Scene::kept(place.program, place.folder);
        scene.set_variable("TIDEGATE_REACHED", Some(scene.path("reached")));
        let (mut proxy, mut feeder) = (None, None);
        if scenario.ends == Ends::Kafka {
            let broker = place.broker.expect("a scenario on Kafka has a broker");
            let limits = [("segment.bytes", "16777216"), ("retention.bytes", "67108864")];
            broker.create_topic(&scenario.input_topic(), SPLITS as i32, &limits);
            for output in scenario.outputs() {
                if let Output::Topic(topic) = output {
                    broker.create_topic(&topic, OUTPUT_PARTITIONS, &limits);
                }
            }
            proxy = Some(broker.proxy());
            feeder = Some(Feeder::Topic(TopicFeeder::new(broker, scenario)));
        } else {
            scene.set_variable("TIDEGATE_PACE", Some(PACE_MS.into()));
        }
        let feeder = feeder.unwrap_or_else(|| {
            Feeder::Files(FileFeeder::new(place.folder).expect("the folder is empty and can be written"))
        });
        let reader = |output| match output {
            Output::File(path) => Reader::File(FileReader::new(&scene.path(path))),
            Output::Topic(topic) => {
                let broker = place.broker.expect("a scenario with a topic has a broker");
                Reader::Topic(TopicReader::new(broker, &topic, OUTPUT_PARTITIONS))
            }
        };
        let readers = scenario.outputs().into_iter().map(reader).collect();
        scene.write_job(&scenario.job_file(&proxy.as_ref().map(|proxy| proxy.address()).unwrap_or_default()));
        Siege {
            scenario,
            scene,
            proxy,
            planner,
            feeder,
            readers,
            judge: Judge::new(scenario.job),
            owed: None,
            killed_at: None,
            logs: Vec::new(),
            freed: BTreeMap::new(),
            is_fed: true,
            tally: Tally::default(),
        }
    }

    /// The scenario.
    pub(super) fn scenario(&self) -> Scenario {
        self.scenario
    }

    /// Takes what came since the last call.
    pub(super) fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// Kills so many lives, and looks at the whole. `hit` says how often each point was hit before.
    pub(super) fn kill(&mut self, kills: u64, hit: &BTreeMap<String, u64>) -> Result<(), Violation> {
        self.feeder.resume();
        let seen = self.judge.visible();
        let mut hit = hit.clone();
        while self.tally.kills < kills {
            let plan = self.planner.choose(&hit);
            if let (true, End::At { point, .. }) = (self.live(&plan)?, &plan.end) {
                *hit.entry((*point).to_owned()).or_default() += 1;
            }
        }
        self.look()?;
        self.tally.visible = self.judge.visible() - seen;
        if self.tally.visible == 0 {
            return Err(Violation::Host(format!("nothing became visible in {kills} lives")));
        }
        Ok(())
    }

    /// Reads the rest of the input, if it has an end, and judges the whole.
    pub(super) fn finish(&mut self) -> Result<(), Violation> {
        if self.scenario.ends == Ends::Kafka {
            return self.look();
        }
        let payments = self.feeder.settle();
        let cut = self.judge.end(payments);
        self.is_fed = false;
        self.scene.set_variable("TIDEGATE_PACE", None);
        let mut life = self.start(None);
        let status = self.follow(&mut life, |_, _| Ok(false))?;
        if !status.success() {
            return Err(life.unexpected(status));
        }
        self.drain()?;
        self.expect_visible(&cut)?;
        self.look_again()
    }

    /// One life as planned; whether it ended at the point that was wanted.
    fn live(&mut self, plan: &Plan) -> Result<bool, Violation> {
        if let Some(proxy) = self.proxy.as_ref().filter(|_| plan.late_ends) {
            proxy.rule(Rule { api: ApiKey::END_TXN, skip: 1, times: 2, fault: Fault::Late(LATE) });
        }
        let at = match &plan.end {
            End::At { point, times } => Some(format!("{point}:{times}")),
            _ => None,
        };
        let mut life = self.start(at.as_deref());
        let mut killed_by_us = false;
        let status = self.follow(&mut life, |siege, life| {
            let committed = life.committed_at.map(|at| at.elapsed());
            let is_due = match &plan.end {
                End::AfterStart(after) => life.began.elapsed() >= *after,
                End::AfterCommit(after) => committed.is_some_and(|since| since >= *after),
                End::At { .. } => committed.is_some_and(|since| since >= PATIENCE),
                End::Stop => committed.is_some() && siege.owed.is_none(),
            };
            if is_due && !killed_by_us {
                life.running.signal(if plan.end == End::Stop { libc::SIGTERM } else { libc::SIGKILL });
                killed_by_us = true;
            }
            Ok(killed_by_us)
        })?;
        if let Some(proxy) = &self.proxy {
            proxy.clear();
        }
        self.note_reached();
        let is_killed = status.signal() == Some(libc::SIGKILL);
        self.killed_at = is_killed.then(Instant::now);
        let mut is_hit = false;
        match &plan.end {
            End::Stop if status.success() => self.tally.stops += 1,
            _ if is_killed => {
                self.tally.kills += 1;
                if let End::At { point, .. } = &plan.end
                    && !killed_by_us
                {
                    is_hit = true;
                    self.tally.at_points += 1;
                    *self.tally.hit.entry((*point).to_owned()).or_default() += 1;
                }
            }
            _ if plan.late_ends && status.code() == Some(75) => self.tally.restarts += 1,
            _ => return Err(life.unexpected(status)),
        }
        self.read()?;
        self.owed = Some(self.judge.cut());
        Ok(is_hit)
    }

    /// A life that ends with a last checkpoint, when everything is visible that must be; then nothing may be missing.
    fn look(&mut self) -> Result<(), Violation> {
        let wanted = match self.scenario.ends {
            Ends::Kafka => {
                let payments = self.feeder.settle();
                Some(self.judge.cut_after(payments))
            }
            // The input goes on behind what was read; the last checkpoint is a cut like any other.
            Ends::Files => None,
        };
        let mut life = self.start(None);
        let mut stopped = false;
        let status = self.follow(&mut life, |siege, life| {
            let is_there = wanted.as_ref().is_none_or(|wanted| siege.judge.missing(wanted).is_none());
            if life.committed_at.is_some() && is_there && siege.owed.is_none() && !stopped {
                life.running.signal(libc::SIGTERM);
                stopped = true;
            }
            if !stopped && life.began.elapsed() > COMMIT_MAX {
                let missing = wanted.as_ref().and_then(|wanted| siege.judge.missing(wanted));
                return Err(Violation::Lost(missing.unwrap_or_else(|| "the first commit".to_owned())));
            }
            Ok(stopped)
        })?;
        self.killed_at = None;
        self.note_reached();
        if !status.success() {
            return Err(life.unexpected(status));
        }
        self.drain()?;
        let cut = self.judge.cut();
        self.expect_visible(&cut)?;
        self.judge.forget(&cut);
        self.look_again()
    }

    fn start(&mut self, at: Option<&str>) -> Life {
        let _ = fs::remove_file(self.scene.path("reached"));
        let life = Life::start(&self.scene, at);
        self.logs.push(life.running.log_path().to_owned());
        if self.logs.len() > LOGS_MAX {
            // A log that is gone is not missed.
            let _ = fs::remove_file(self.logs.remove(0));
        }
        life
    }

    /// Feeds, reads and judges until the process ends. `each` is called in between and says whether the end was ordered.
    fn follow(
        &mut self,
        life: &mut Life,
        mut each: impl FnMut(&mut Siege, &mut Life) -> Result<bool, Violation>,
    ) -> Result<ExitStatus, Violation> {
        let mut ordered_at = None;
        loop {
            if self.is_fed {
                let fed = self.feeder.feed(self.judge.read_to());
                fed.map_err(|error| Violation::Host(format!("the input cannot be fed: {error}")))?;
            }
            self.read()?;
            if life.looks_committed()
                && let Some(killed_at) = self.killed_at.take()
            {
                self.tally.recovered(killed_at.elapsed());
            }
            if let Some(committed_at) = life.committed_at {
                self.expect_owed(committed_at)?;
            }
            if each(self, life)? {
                ordered_at.get_or_insert_with(Instant::now);
            }
            if let Some(status) = life.running.ended() {
                return Ok(status);
            }
            let waits = ordered_at.unwrap_or(life.began);
            if (ordered_at.is_some() || life.committed_at.is_none()) && waits.elapsed() > COMMIT_MAX {
                return Err(Violation::Host(format!("it hangs; see `{}`", life.running.log_path().display())));
            }
            thread::sleep(POLL);
        }
    }

    /// After a commit, all that was visible before the life must be visible whole.
    fn expect_owed(&mut self, committed_at: Instant) -> Result<(), Violation> {
        let Some(owed) = self.owed.take() else { return Ok(()) };
        match self.judge.missing(&owed) {
            None => self.judge.forget(&owed),
            Some(missing) if committed_at.elapsed() > VISIBLE_MAX => return Err(Violation::Lost(missing)),
            Some(_) => self.owed = Some(owed),
        }
        Ok(())
    }

    fn expect_visible(&mut self, cut: &Cut) -> Result<(), Violation> {
        self.judge.missing(cut).map_or(Ok(()), |missing| Err(Violation::Lost(missing)))
    }

    /// Whether something was read.
    fn read(&mut self) -> Result<bool, Violation> {
        let Siege { readers, judge, .. } = self;
        let mut has_read = false;
        for (output, reader) in readers.iter_mut().enumerate() {
            has_read |= reader.read(&mut |record| judge.take(output, record))?;
        }
        Ok(has_read)
    }

    /// Reads until nothing more comes.
    fn drain(&mut self) -> Result<(), Violation> {
        let mut quiet_since = Instant::now();
        while quiet_since.elapsed() < QUIET {
            if self.read()? {
                quiet_since = Instant::now();
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Reads files again, and frees what nobody will look at any more.
    fn look_again(&mut self) -> Result<(), Violation> {
        let failed = |error| Violation::Host(format!("files cannot be freed: {error}"));
        for reader in &mut self.readers {
            if let Some((path, read)) = reader.look_again()? {
                free(&path, self.freed.entry(path.clone()).or_default(), read).map_err(failed)?;
            }
        }
        if self.scenario.ends == Ends::Files {
            // A line has more than a hundred bytes.
            let read = self.judge.read_to() / SPLITS as u64 * 100;
            for path in Scenario::input_files() {
                let path = self.scene.path(&path.display().to_string());
                free(&path, self.freed.entry(path.clone()).or_default(), read).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn note_reached(&mut self) {
        let text = fs::read_to_string(self.scene.path("reached")).unwrap_or_default();
        for point in text.lines() {
            *self.tally.reached.entry(point.to_owned()).or_default() += 1;
        }
        self.tally.rotations += u64::from(text.lines().any(|point| point == "rotated"));
    }
}
