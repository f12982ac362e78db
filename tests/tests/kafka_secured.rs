//! A job through a cluster that asks for TLS and a password: it ends exactly, refuses what is wrong, and tells nobody.
//!
//! The host is the one that everybody builds: this is also the proof that its library has TLS and SCRAM.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tidegate_tests::broker::{self, Broker, SCRAM_MECHANISMS, SCRAM_PASSWORD, SCRAM_USER};
use tidegate_tests::judge::NewRecord;
use tidegate_tests::scene::{Run, Scene, plugin};
use xtask::generate::{Payment, Plan, generate};
use xtask::recount::{Alert, BadLine, Found, Recount, Rule};

const RECORDS: u64 = 60_000;
const PARTITIONS: i32 = 2;
/// What is wrong stays wrong, so a start says so at once; this leaves room for a loaded machine.
const REFUSAL_MAX: Duration = Duration::from_secs(20);
/// Where the job finds its password, in the job's folder.
const PASSWORD_FILE: &str = "kafka-password";

/// Jobs and topics of this file share a broker, so each has a number of its own.
static NEXT: AtomicU32 = AtomicU32::new(0);

fn secured() -> &'static Broker {
    broker::shared_with("secured", || broker::Options { secured: true, ..broker::Options::default() })
}

/// A job from and to topics of its own.
struct Payments {
    scene: Scene,
    alerts_topic: String,
    expected: Vec<Alert>,
}

impl Payments {
    fn new(records: u64, mechanism: &str, password: &str, authority: Option<&Path>) -> Payments {
        let address = secured().secured_address();
        Payments::through(&address, records, mechanism, password, authority)
    }

    fn through(address: &str, records: u64, mechanism: &str, password: &str, authority: Option<&Path>) -> Payments {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let (payments, alerts) = (format!("payments-{number}"), format!("alerts-{number}"));
        secured().create_topic(&payments, PARTITIONS, &[]);
        secured().create_topic(&alerts, 1, &[]);
        let expected = produce(&payments, records);
        let scene = Scene::new(env!("CARGO_BIN_EXE_tidegate-probed"));
        // An editor ends a file with a line feed, which is not part of the password.
        fs::write(scene.path(PASSWORD_FILE), format!("{password}\n")).expect("the password is written");
        scene.write_job(&job(number, address, mechanism, authority));
        Payments { scene, alerts_topic: alerts, expected }
    }

    fn expect_exact(&self, what: &str) {
        assert!(self.expected.len() > 100, "only {} alerts are expected: this tests nothing", self.expected.len());
        let mut found = Found::default();
        for record in secured().read_committed(&self.alerts_topic) {
            found.add(record.text().as_bytes());
        }
        let verdict = found.compare(&self.expected);
        assert!(verdict.is_exact(), "{what}: {verdict:?}");
    }

    /// Runs what cannot start, which must come to its end soon.
    fn refused(&self) -> Run {
        let began = Instant::now();
        let run = self.scene.run();
        assert!(began.elapsed() < REFUSAL_MAX, "the refusal took {:?}:\n{}", began.elapsed(), run.log);
        run
    }

    /// Nothing that the host has left behind, its logs and its store among it, shows the password.
    fn expect_untold(&self, password: &str, left_behind: &[&str]) {
        let mut files = Vec::new();
        search(self.scene.folder(), password, &mut files);
        for part in left_behind {
            assert!(files.iter().any(|name| name.contains(part)), "no `{part}` was looked into: {files:?}");
        }
    }
}

/// Fails if a file below shows the password; adds the names of those that do not.
fn search(folder: &Path, password: &str, files: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("the folder is read") {
        let path = entry.expect("the folder is read").path();
        let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
        if path.is_dir() {
            search(&path, password, files);
        } else if name != PASSWORD_FILE {
            let bytes = fs::read(&path).expect("the file is read");
            assert!(!bytes.is_empty(), "`{name}` is empty: this tests nothing");
            let told = bytes.windows(password.len()).any(|part| part == password.as_bytes());
            assert!(!told, "`{}` shows the password", path.display());
            files.push(name);
        }
    }
}

/// Writes payments and gives the alerts that follow from them.
fn produce(topic: &str, count: u64) -> Vec<Alert> {
    let mut recount = Recount::new(Rule::default());
    let mut records = Vec::new();
    let take = |payment: Payment<'_>| -> Result<(), BadLine> {
        recount.add(payment.json)?;
        records.push((payment.index as i32 % PARTITIONS, payment.json.to_vec(), payment.timestamp_ms));
        Ok(())
    };
    generate(Plan::new(count), take).expect("payments are JSON");
    let records = records.iter().map(|(partition, json, timestamp)| NewRecord {
        partition: *partition,
        key: None,
        value: Some(json),
        timestamp: *timestamp,
    });
    secured().produce(topic, records);
    recount.alerts()
}

fn job(number: u32, address: &str, mechanism: &str, authority: Option<&Path>) -> String {
    format!(
        r#"format = 1
name = "fraud-{number}"
shards = 4
workers = 2

[checkpoint]
interval = "10ms"

[connection.main]
kind = "kafka"
brokers = ["{address}"]
security = "sasl_ssl"
{trust}
sasl = {{ mechanism = "{mechanism}", username = "{SCRAM_USER}", password = {{ file = "{PASSWORD_FILE}" }} }}

[source.payments]
connection = "main"
topics = ["payments-{number}"]
until = "latest"
key = "/user_id"
timestamp = {{ field = "/timestamp", format = "unix_ms" }}
watermark = {{ max_out_of_orderness = "5s" }}

[operator.detector]
plugin = "{plugin}"
inputs = {{ main = "payments" }}
config = {{ threshold = 10, window = "1m" }}
discard = ["late"]

[sink.alerts]
connection = "main"
topic = "alerts-{number}"
from = ["detector.alerts"]
"#,
        trust = authority.map_or_else(String::new, |path| format!("ca_file = \"{}\"", path.display())),
        plugin = plugin("fraud_detector").display(),
    )
}

#[test]
fn a_job_with_tls_and_a_password_ends_exactly_and_keeps_the_password_to_itself() {
    for mechanism in SCRAM_MECHANISMS {
        let payments = Payments::new(RECORDS, mechanism, SCRAM_PASSWORD, Some(&secured().authority()));
        // The way back is a client's of its own: it asks the cluster for the fate of a transaction.
        let killed = payments.scene.run_and_kill("unconfirmed:1");
        assert!(killed.was_killed(), "{mechanism}: the kill did not hit: {:?}\n{}", killed.status, killed.log);
        payments.scene.run().expect_success(mechanism);
        payments.expect_exact(mechanism);
        payments.expect_untold(SCRAM_PASSWORD, &["host-0.log", "host-1.log", ".redb"]);
    }
}

#[test]
fn a_repair_speaks_tls_and_scram_by_itself_and_keeps_the_password_to_itself() {
    for mechanism in SCRAM_MECHANISMS {
        let payments = Payments::new(RECORDS, mechanism, SCRAM_PASSWORD, Some(&secured().authority()));
        let killed = payments.scene.run_and_kill("marked:2");
        assert!(killed.was_killed(), "{mechanism}: the kill did not hit: {:?}\n{}", killed.status, killed.log);
        let said = ["transactions are open in", "in hand (`Ongoing`)", "--do take-over"];
        payments.scene.repair(&[]).expect_refusal(mechanism, 78, &said);
        payments.scene.run().expect_success(mechanism);
        payments.scene.repair(&[]).expect_success(mechanism);
        payments.expect_exact(mechanism);
        payments.expect_untold(SCRAM_PASSWORD, &["host-1.log", "host-3.log", ".redb"]);
    }
}

#[test]
fn a_wrong_password_is_refused_by_name_and_not_shown() {
    let wrong = "Mistaken-Horse-8-Battery";
    let payments = Payments::new(10, "SCRAM-SHA-512", wrong, Some(&secured().authority()));
    payments.refused().expect_refusal(
        "a wrong password",
        78,
        &["the brokers of connection `main` refuse its credentials", "check `sasl` (mechanism, user name, password)"],
    );
    payments.expect_untold(wrong, &["host-0.log"]);
}

#[test]
fn a_certificate_of_a_foreign_authority_is_refused() {
    let payments = Payments::new(10, "SCRAM-SHA-512", SCRAM_PASSWORD, Some(&secured().stranger()));
    payments.refused().expect_refusal(
        "a foreign authority",
        78,
        &[
            "TLS with the brokers of connection `main` fails",
            "certificate verify failed",
            "check `security` and `ca_file`",
        ],
    );
    payments.expect_untold(SCRAM_PASSWORD, &["host-0.log"]);
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    // The system takes it for 127.0.0.1, which is in the certificate; as a name it is not.
    let address = secured().secured_address().replace("127.0.0.1", "127.1");
    let payments = Payments::through(&address, 10, "SCRAM-SHA-512", SCRAM_PASSWORD, Some(&secured().authority()));
    payments.refused().expect_refusal(
        "a foreign name",
        78,
        &["TLS with the brokers of connection `main` fails", "certificate verify failed"],
    );
}

#[test]
fn without_an_authority_of_its_own_a_job_trusts_those_of_the_system() {
    let mut payments = Payments::new(RECORDS, "SCRAM-SHA-512", SCRAM_PASSWORD, None);
    payments.scene.set_variable("SSL_CERT_DIR", None);
    payments.scene.set_variable("SSL_CERT_FILE", None);
    let said = ["TLS with the brokers of connection `main` fails", "certificate verify failed"];
    payments.refused().expect_refusal("an authority that the system does not know", 78, &said);
    payments.scene.set_variable("SSL_CERT_FILE", Some(secured().authority()));
    payments.scene.run().expect_success("an authority that the system knows");
    payments.expect_exact("an authority that the system knows");
}
