//! The four jobs of a campaign: the fraud job and the three-operator DAG, each on a real Kafka and on files.
//!
//! Job files and names, nothing that runs. The DAG on Kafka has a file sink beside its topic, so that a checkpoint that Kafka
//! decides is applied to a file too. Next room: [`super::siege`], which runs one.

use super::alerts::{THRESHOLD, WINDOW_MS};
use super::payment::SPLITS;
use crate::scene::plugin;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// `max_out_of_orderness` of the fraud job: more than payments are ever out of order.
pub(super) const OUT_OF_ORDERNESS_MS: i64 = 500;
/// Partitions of an output topic.
pub(super) const OUTPUT_PARTITIONS: i32 = 3;

/// Which job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Job {
    /// Alerts of windows.
    Fraud,
    /// A map, a count and a join of both: a diamond.
    Dag,
}

/// Where its records come from and go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Ends {
    /// A real Kafka decides.
    Kafka,
    /// The store decides.
    Files,
}

/// A job and its ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Scenario {
    /// The job.
    pub job: Job,
    /// Its ends.
    pub ends: Ends,
}

/// All of them.
pub const SCENARIOS: [Scenario; 4] = [
    Scenario { job: Job::Fraud, ends: Ends::Kafka },
    Scenario { job: Job::Dag, ends: Ends::Kafka },
    Scenario { job: Job::Fraud, ends: Ends::Files },
    Scenario { job: Job::Dag, ends: Ends::Files },
];

/// Where an output can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Output {
    /// A topic.
    Topic(String),
    /// A file in the job's folder.
    File(&'static str),
}

impl fmt::Display for Scenario {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl Scenario {
    /// Its name: that of its folder and, with a piece's number, of its job.
    pub fn name(self) -> &'static str {
        match (self.job, self.ends) {
            (Job::Fraud, Ends::Kafka) => "fraud-kafka",
            (Job::Dag, Ends::Kafka) => "dag-kafka",
            (Job::Fraud, Ends::Files) => "fraud-files",
            (Job::Dag, Ends::Files) => "dag-files",
        }
    }

    /// The topic of its payments.
    pub(super) fn input_topic(self) -> String {
        format!("{}-payments", self.name())
    }

    /// The files of its payments, from the job's folder.
    pub(super) fn input_files() -> [PathBuf; SPLITS] {
        std::array::from_fn(|split| PathBuf::from(format!("payments/{split}.jsonl")))
    }

    /// Its outputs, in the order in which the judge counts them.
    pub(super) fn outputs(self) -> Vec<Output> {
        let topic = || Output::Topic(format!("{}-output", self.name()));
        match (self.job, self.ends) {
            (Job::Fraud, Ends::Kafka) => vec![topic()],
            (Job::Dag, Ends::Kafka) => vec![topic(), Output::File("counts.jsonl")],
            (Job::Fraud, Ends::Files) => vec![Output::File("alerts.jsonl")],
            (Job::Dag, Ends::Files) => vec![Output::File("pairs.jsonl"), Output::File("counts.jsonl")],
        }
    }

    /// The job file. `broker` is where the host reaches Kafka.
    pub(super) fn job_file(self, broker: &str) -> String {
        let head = format!(
            "format = 1\nname = \"{}\"\nshards = 4\nworkers = 2\n\n[checkpoint]\ninterval = \"10ms\"\n\n[batch]\nrows = 128\n",
            self.name()
        );
        [head, self.source(broker), self.operators(), self.sinks()].join("\n")
    }

    fn source(self, broker: &str) -> String {
        let (connection, source) = match self.ends {
            Ends::Kafka => (
                format!("[connection.main]\nkind = \"kafka\"\nbrokers = [\"{broker}\"]\n\n"),
                format!("connection = \"main\"\ntopics = [\"{}\"]", self.input_topic()),
            ),
            Ends::Files => (String::new(), "kind = \"file\"\npath = \"payments\"".to_owned()),
        };
        let key = if self.job == Job::Fraud { "/user_id" } else { "/merchant" };
        format!(
            "{connection}[source.payments]\n{source}\nkey = \"{key}\"\n\
             timestamp = {{ field = \"/timestamp\", format = \"unix_ms\" }}\n\
             watermark = {{ max_out_of_orderness = \"{OUT_OF_ORDERNESS_MS}ms\" }}\n"
        )
    }

    fn operators(self) -> String {
        match self.job {
            Job::Fraud => format!(
                "[operator.detector]\nplugin = \"{}\"\ninputs = {{ main = \"payments\" }}\n\
                 config = {{ threshold = {THRESHOLD}, window = \"{WINDOW_MS}ms\" }}\ndiscard = [\"late\"]\n",
                plugin("fraud_detector").display()
            ),
            Job::Dag => {
                let steps = plugin("steps");
                let steps = steps.display();
                format!(
                    "[operator.tag]\nplugin = \"{steps}\"\nconfig = {{ role = \"map\", field = \"tagged\" }}\n\
                     inputs = {{ main = {{ from = \"payments\", route = \"same-shard\" }} }}\n\n\
                     [operator.count]\nplugin = \"{steps}\"\nconfig = {{ role = \"count\" }}\n\
                     inputs = {{ main = \"tag.out\" }}\n\n\
                     [operator.pair]\nplugin = \"{steps}\"\nconfig = {{ role = \"zip\" }}\n\
                     inputs = {{ left = \"tag.out\", right = \"count.out\" }}\n"
                )
            }
        }
    }

    fn sinks(self) -> String {
        let ports = if self.job == Job::Fraud { vec!["detector.alerts"] } else { vec!["pair.out", "count.out"] };
        let sink = |(at, (output, port)): (usize, (Output, &str))| {
            let to = match output {
                Output::Topic(topic) => format!("connection = \"main\"\ntopic = \"{topic}\""),
                Output::File(path) => format!("kind = \"file\"\npath = \"{path}\""),
            };
            format!("[sink.output-{at}]\n{to}\nfrom = [\"{port}\"]\n")
        };
        let sinks: Vec<String> = self.outputs().into_iter().zip(ports).enumerate().map(sink).collect();
        sinks.join("\n")
    }
}
