//! The fraud job set up in a folder, on files or on Kafka, with payments and the alerts they must give.
//!
//! Owns the folder: what lies there is replaced. Sets up and collects; `crash` and `bench` run. Next room: `job_file`.

use crate::failure::{Doing, Failure, Outcome};
use crate::generate::{Plan, write_files};
use crate::host_process::Launch;
use crate::job_file::{Ends, fraud};
use crate::kafka_session::KafkaSession;
use crate::places;
use crate::recount::{Alert, Found, Recount, Rule, Verdict};
use std::fs;
use std::path::{Path, PathBuf};

/// Generated payments in files, one a split.
#[derive(Debug)]
pub struct Payments {
    /// The files.
    pub files: Vec<PathBuf>,
    /// How many records.
    pub records: u64,
    /// Their size with line ends, in bytes.
    pub bytes: u64,
}

impl Payments {
    /// Makes the payments in the folder `payments` of a folder, which is emptied first.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn generate(folder: &Path, plan: Plan, splits: usize) -> Outcome<Payments> {
        if folder.exists() {
            fs::remove_dir_all(folder).at("empty", folder)?;
        }
        let inner = folder.join("payments");
        fs::create_dir_all(&inner).at("create", &inner)?;
        let files: Vec<PathBuf> = (0..splits).map(|split| inner.join(format!("{split}.jsonl"))).collect();
        let bytes = write_files(plan, &files).at("write payments to", &inner)?;
        Ok(Payments { files, records: plan.records, bytes })
    }

    /// Counts them anew from the files: the alerts that a job must write.
    ///
    /// # Errors
    /// If a file cannot be read or is not what was generated.
    pub fn recount(&self) -> Outcome<Vec<Alert>> {
        let mut recount = Recount::new(Rule::default());
        for file in &self.files {
            recount.add_file(file).doing("recount the payments")?;
        }
        if recount.records() != self.records {
            let counted = recount.records();
            return Err(Failure::Job(format!("{counted} payments were counted and {} generated", self.records)));
        }
        Ok(recount.alerts())
    }
}

/// What the job reads from and writes to.
#[derive(Debug)]
pub enum Transport {
    /// Files in the trial's folder.
    Files,
    /// Topics of a broker of our own.
    Kafka(KafkaSession),
}

/// One job, ready to run.
#[derive(Debug)]
pub struct Trial {
    folder: PathBuf,
    round: u32,
    /// What it reads and writes.
    pub transport: Transport,
}

/// The plugin, seen from a folder in the target folder.
const PLUGIN: &str = "../plugins/fraud_detector.wasm";
/// The topic that is loaded once and read by every round.
const PAYMENTS_TOPIC: &str = "payments";

impl Trial {
    /// A trial in the folder that holds the payments.
    pub fn new(folder: &Path, transport: Transport) -> Trial {
        Trial { folder: folder.to_owned(), round: 0, transport }
    }

    /// Puts the payments where the job will read them. Files lie there already.
    ///
    /// # Errors
    /// Those of the broker.
    pub fn load(&mut self, payments: &Payments) -> Outcome<()> {
        match &mut self.transport {
            Transport::Files => Ok(()),
            Transport::Kafka(session) => session.load(PAYMENTS_TOPIC, &payments.files),
        }
    }

    /// Writes the job file of a new round: a job that was never started, with nothing written yet.
    ///
    /// # Errors
    /// Those of the file system and the broker.
    pub fn new_round(&mut self, partitions: usize, interval: Option<&str>) -> Outcome<Launch> {
        self.round += 1;
        // Beside the files of the last round, so that nothing of it can be taken for this one's. On Kafka the name is
        // new as well: marker, transactional id and topic belong to it.
        let name = match (&self.transport, self.round) {
            (Transport::Files, 1) => "fraud".to_owned(),
            (Transport::Files, round) => format!("fraud-{round}"),
            (Transport::Kafka(_), round) => format!("fraud-kafka-{round}"),
        };
        let alerts = self.alerts();
        if let Transport::Kafka(session) = &mut self.transport {
            session.create(&alerts, partitions as u32)?;
        }
        let ends = match &self.transport {
            Transport::Files => Ends::Files { payments: "payments/*.jsonl", alerts: &alerts },
            Transport::Kafka(session) => {
                Ends::Kafka { broker: session.address(), payments: PAYMENTS_TOPIC, alerts: &alerts }
            }
        };
        let job = self.folder.join(format!("{name}.toml"));
        fs::write(&job, fraud(&name, ends, PLUGIN, interval)).at("write", &job)?;
        let log = self.folder.join(format!("{name}.log"));
        Ok(Launch { program: places::host(), job, log })
    }

    /// Where this round's alerts go: a file's name or a topic's.
    pub fn alerts(&self) -> String {
        match (&self.transport, self.round) {
            (Transport::Files, 1) => "alerts.jsonl".to_owned(),
            (Transport::Files, round) => format!("alerts-{round}.jsonl"),
            (Transport::Kafka(_), round) => format!("alerts-{round}"),
        }
    }

    /// Reads this round's alerts as a user would, and compares them with the expected ones.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn verdict(&mut self, expected: &[Alert]) -> Outcome<Verdict> {
        let alerts = self.alerts();
        let file = match &mut self.transport {
            Transport::Files => self.folder.join(alerts),
            Transport::Kafka(session) => {
                let file = self.folder.join(format!("{alerts}.read.jsonl"));
                session.read_committed(&alerts, &file)?;
                file
            }
        };
        let mut found = Found::default();
        found.add_file(&file).doing("read the alerts")?;
        Ok(found.compare(expected))
    }
}

/// Turns a verdict that is not exact into a failure that shows what differs.
///
/// # Errors
/// If anything was lost, duplicated or wrong.
pub fn insist(verdict: &Verdict) -> Outcome<()> {
    if verdict.is_exact() {
        return Ok(());
    }
    Err(Failure::Job(format!(
        "not exactly once: {} expected, {} found, {} lost, {} duplicated, {} wrong\n{}",
        verdict.expected,
        verdict.found,
        verdict.lost,
        verdict.duplicated,
        verdict.wrong,
        verdict.examples.join("\n")
    )))
}

#[cfg(test)]
mod tests {
    use super::{Payments, Transport, Trial, insist};
    use crate::generate::Plan;
    use std::fs;

    #[test]
    fn a_round_on_files_finds_what_its_job_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let payments = Payments::generate(&folder.path().join("trial"), Plan::new(30_000), 2).unwrap();
        let expected = payments.recount().unwrap();
        assert!(expected.len() > 10, "{} alerts", expected.len());

        let mut trial = Trial::new(&folder.path().join("trial"), Transport::Files);
        let launch = trial.new_round(2, None).unwrap();
        assert!(fs::read_to_string(&launch.job).unwrap().contains("path = \"alerts.jsonl\""));
        let lines: Vec<String> = expected.iter().map(|alert| serde_json::to_string(alert).unwrap()).collect();
        fs::write(folder.path().join("trial/alerts.jsonl"), lines.join("\n")).unwrap();
        insist(&trial.verdict(&expected).unwrap()).unwrap();

        let launch = trial.new_round(2, None).unwrap();
        assert!(launch.job.ends_with("fraud-2.toml"));
        fs::write(folder.path().join("trial/alerts-2.jsonl"), lines[1..].join("\n")).unwrap();
        let error = insist(&trial.verdict(&expected).unwrap()).unwrap_err().to_string();
        assert!(error.contains("1 lost, 0 duplicated, 0 wrong"), "{error}");
    }
}
