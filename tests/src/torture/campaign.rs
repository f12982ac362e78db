//! A piece of a campaign: the scenarios in two lanes, those on Kafka beside those on files; what was judged is added to the
//! campaign's state.
//!
//! Stops at the first violation and then keeps everything: store, logs, a dump of the topics. Next rooms: `siege`, `tally`.

use super::plan::{Plan, Planner};
use super::scenario::{Ends, Output, SCENARIOS, Scenario};
use super::siege::{Place, Siege};
use super::tally::{State, Tally};
use super::violation::Violation;
use crate::broker::{Broker, Options as BrokerOptions};
use crate::judge::Isolation;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// After so many kills a scenario is looked at as a whole, and the next one of the lane has its turn.
const TURN: u64 = 50;

/// What a piece is to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many kills, over all scenarios.
    pub kills: u64,
    /// No turn begins after this.
    pub at_most: Duration,
    /// Decides how lives end.
    pub seed: u64,
    /// Where the campaign's state is, and the stores.
    pub folder: PathBuf,
    /// The host with fail points.
    pub program: String,
    /// How each scenario's first lives end; `None`: at the points of a first start.
    pub script: Option<fn(Scenario) -> Vec<Plan>>,
}

/// Where a piece ended early.
#[derive(Debug)]
pub struct Found {
    /// The scenario.
    pub scenario: Scenario,
    /// What was wrong.
    pub violation: Violation,
    /// Where everything is.
    pub folder: PathBuf,
}

/// What a piece came to.
#[derive(Debug)]
pub struct Piece {
    /// The campaign with this piece.
    pub state: State,
    /// Violations: at most one a lane.
    pub found: Vec<Found>,
}

/// What the lanes share.
struct Shared<'a> {
    options: &'a Options,
    state: Mutex<State>,
    found: Mutex<Vec<Found>>,
    stop: AtomicBool,
    until: Instant,
    piece: PathBuf,
}

/// Runs a piece.
///
/// # Errors
/// Those of the file system around it.
pub fn run(options: &Options) -> io::Result<Piece> {
    fs::create_dir_all(&options.folder)?;
    let path = options.folder.join("state.json");
    let mut state = State::read(&path)?;
    let number = state.seeds.len();
    state.seeds.push(options.seed);
    state.write(&path)?;
    let piece = options.folder.join(format!("piece-{number}"));
    if piece.exists() {
        fs::remove_dir_all(&piece)?;
    }
    fs::create_dir(&piece)?;
    let shared = Shared {
        options,
        state: Mutex::new(state),
        found: Mutex::default(),
        stop: AtomicBool::new(false),
        until: Instant::now() + options.at_most,
        piece,
    };
    thread::scope(|scope| {
        for ends in [Ends::Kafka, Ends::Files] {
            let shared = &shared;
            scope.spawn(move || shared.lane(ends));
        }
    });
    let Shared { state, found, piece, .. } = shared;
    let state = state.into_inner().unwrap_or_else(PoisonError::into_inner);
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    if found.is_empty() {
        fs::remove_dir_all(piece)?;
    }
    Ok(Piece { state, found })
}

impl Shared<'_> {
    /// The scenarios with these ends take turns.
    fn lane(&self, ends: Ends) {
        let broker = (ends == Ends::Kafka).then(|| {
            let config = [("log.retention.check.interval.ms", "10000"), ("log.cleaner.backoff.ms", "5000")];
            let config = config.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
            Broker::start(&BrokerOptions { config, ..BrokerOptions::default() })
        });
        let mut sieges: Vec<(Siege, u64)> = Vec::new();
        for (at, scenario) in SCENARIOS.into_iter().enumerate().filter(|(_, scenario)| scenario.ends == ends) {
            let folder = self.piece.join(scenario.name());
            if let Err(error) = fs::create_dir(&folder) {
                return self.found(scenario, Violation::Host(format!("its folder cannot be made: {error}")), None);
            }
            let all = SCENARIOS.len() as u64;
            let kills = self.options.kills / all + u64::from((at as u64) < self.options.kills % all);
            let seed = self.options.seed.wrapping_mul(all).wrapping_add(at as u64);
            let planner = match self.options.script {
                Some(script) => Planner::beginning(scenario, seed, script(scenario)),
                None => Planner::new(scenario, seed),
            };
            let place = Place { program: &self.options.program, folder: &folder, broker: broker.as_ref() };
            sieges.push((Siege::new(scenario, &place, planner), kills));
        }
        while sieges.iter().any(|(_, left)| *left > 0) {
            for (siege, left) in sieges.iter_mut().filter(|(_, left)| *left > 0) {
                if self.stop.load(Ordering::Relaxed) {
                    return;
                }
                if Instant::now() > self.until {
                    *left = 0;
                    continue;
                }
                let kills = TURN.min(*left);
                let outcome = siege.kill(kills, &self.hit(siege.scenario()));
                if !self.judged(siege, outcome, broker.as_ref()) {
                    return;
                }
                *left -= kills;
            }
        }
        for (siege, _) in &mut sieges {
            let outcome = siege.finish();
            if self.stop.load(Ordering::Relaxed) || !self.judged(siege, outcome, broker.as_ref()) {
                return;
            }
        }
    }

    /// Adds a turn to the campaign; whether the lane goes on.
    fn judged(&self, siege: &mut Siege, outcome: Result<(), Violation>, broker: Option<&Broker>) -> bool {
        let scenario = siege.scenario();
        if let Err(violation) = outcome {
            self.found(scenario, violation, broker);
            return false;
        }
        let tally = siege.take_tally();
        if tally == Tally::default() {
            return true;
        }
        let line = self.change(scenario, |mine| mine.add(&tally));
        say(&format!("{scenario:<12} {line}"));
        true
    }

    fn hit(&self, scenario: Scenario) -> BTreeMap<String, u64> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.scenarios.get(scenario.name()).map(|tally| tally.hit.clone()).unwrap_or_default()
    }

    /// Changes a scenario's tally, writes the state, and gives the scenario's line.
    fn change(&self, scenario: Scenario, change: impl FnOnce(&mut Tally)) -> String {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = state.scenarios.entry(scenario.name().to_owned()).or_default();
        change(mine);
        let line = mine.line();
        if let Err(error) = state.write(&self.options.folder.join("state.json")) {
            say(&format!("the state cannot be written: {error}"));
        }
        line
    }

    fn found(&self, scenario: Scenario, violation: Violation, broker: Option<&Broker>) {
        self.stop.store(true, Ordering::Relaxed);
        let folder = self.piece.join(scenario.name());
        self.change(scenario, |mine| match &violation {
            Violation::Lost(_) => mine.lost += 1,
            Violation::Duplicated(_) | Violation::Wrong(_) => mine.duplicated += 1,
            Violation::Host(_) => {}
        });
        say(&format!("{scenario}: {violation}\nseed {}; everything is in `{}`", self.options.seed, folder.display()));
        if let Some(broker) = broker {
            let _ = fs::write(folder.join("broker.log"), broker.log_tail());
            let marker = format!("tidegate.{}", scenario.name());
            let topics = scenario.outputs().into_iter().filter_map(|output| match output {
                Output::Topic(topic) => Some(topic),
                Output::File(_) => None,
            });
            for topic in topics.chain([marker]) {
                if let Err(error) = dump(broker, &topic, &folder) {
                    say(&format!("topic `{topic}` cannot be dumped: {error}"));
                }
            }
        }
        let found = Found { scenario, violation, folder };
        self.found.lock().unwrap_or_else(PoisonError::into_inner).push(found);
    }
}

/// Everything that a topic holds, and what of it readers see.
fn dump(broker: &Broker, topic: &str, folder: &Path) -> io::Result<()> {
    for (isolation, name) in [(Isolation::Committed, "committed"), (Isolation::Uncommitted, "all")] {
        let mut file = io::BufWriter::new(fs::File::create(folder.join(format!("{topic}.{name}")))?);
        for record in broker.read(topic, isolation) {
            writeln!(file, "{}@{} {}", record.partition, record.offset, record.text())?;
        }
        file.flush()?;
    }
    Ok(())
}

/// Progress: a person may not be there to read it.
fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}
