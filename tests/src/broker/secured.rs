//! The broker's secured listener: TLS with certificates of an authority of its own, and users with SCRAM.
//!
//! Certificates are made anew for each broker, in its folder, with the JDK's `keytool`; nothing secret is in the
//! repository. Next room: [`crate::judge`], which does not come through here.

use super::{Broker, Options};
use crate::java::tail;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The user that the secured listener lets in, with either mechanism of [`SCRAM_MECHANISMS`].
pub const SCRAM_USER: &str = "fraud-detector";
/// The password of [`SCRAM_USER`].
pub const SCRAM_PASSWORD: &str = "Correct-Horse-7-Battery";
/// How users can identify themselves at the secured listener.
pub const SCRAM_MECHANISMS: [&str; 2] = ["SCRAM-SHA-256", "SCRAM-SHA-512"];

/// The authority that signed the broker's certificate.
const AUTHORITY: &str = "authority.pem";
/// An authority that signed nothing.
const STRANGER: &str = "stranger.pem";
/// The broker's key, certificate, and the authority's certificate.
const KEY_STORE: &str = "broker.p12";
/// Protects key stores that are gone with the test; `keytool` wants six characters.
const STORE_PASSWORD: &str = "key-store";

impl Broker {
    /// Where clients reach it with `SASL_SSL`. Only brokers with [`Options::secured`] listen there.
    pub fn secured_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.secured)
    }

    /// The certificate, as PEM, of the authority that signed the broker's.
    pub fn authority(&self) -> PathBuf {
        self.path(AUTHORITY)
    }

    /// The certificate, as PEM, of an authority that has nothing to do with the broker.
    pub fn stranger(&self) -> PathBuf {
        self.path(STRANGER)
    }
}

/// The arguments of the storage tool that make the user.
pub(super) fn storage_arguments(options: &Options) -> Vec<String> {
    if !options.secured {
        return Vec::new();
    }
    let user = |mechanism| format!("{mechanism}=[name={SCRAM_USER},password={SCRAM_PASSWORD}]");
    SCRAM_MECHANISMS.into_iter().flat_map(|mechanism| ["--add-scram".to_owned(), user(mechanism)]).collect()
}

/// The listener's lines of `server.properties`.
pub(super) fn properties(folder: &Path) -> Vec<(&'static str, String)> {
    let login = "org.apache.kafka.common.security.scram.ScramLoginModule required ;";
    vec![
        ("listener.name.secured.sasl.enabled.mechanisms", SCRAM_MECHANISMS.join(",")),
        ("listener.name.secured.scram-sha-256.sasl.jaas.config", login.to_owned()),
        ("listener.name.secured.scram-sha-512.sasl.jaas.config", login.to_owned()),
        ("listener.name.secured.ssl.keystore.type", "PKCS12".to_owned()),
        ("listener.name.secured.ssl.keystore.location", folder.join(KEY_STORE).display().to_string()),
        ("listener.name.secured.ssl.keystore.password", STORE_PASSWORD.to_owned()),
        ("listener.name.secured.ssl.key.password", STORE_PASSWORD.to_owned()),
    ]
}

/// Makes the authority, the broker's certificate, and the stranger.
pub(super) fn make_certificates(folder: &Path) {
    for (alias, file) in [("authority", AUTHORITY), ("stranger", STRANGER)] {
        keytool(
            folder,
            &format!("-genkeypair -keystore all.p12 -alias {alias} -dname CN={alias} -ext bc:c -ext ku:c=keyCertSign"),
            &["-keyalg", "EC", "-groupname", "secp256r1", "-validity", "2"],
        );
        keytool(folder, &format!("-exportcert -rfc -keystore all.p12 -alias {alias} -file {file}"), &[]);
    }
    keytool(
        folder,
        "-genkeypair -keystore all.p12 -alias broker -dname CN=broker -signer authority",
        &["-ext", "san=dns:localhost,ip:127.0.0.1", "-keyalg", "EC", "-groupname", "secp256r1", "-validity", "2"],
    );
    keytool(
        folder,
        &format!("-importkeystore -srckeystore all.p12 -srcalias broker -destkeystore {KEY_STORE}"),
        &["-srcstorepass", STORE_PASSWORD, "-deststoretype", "PKCS12"],
    );
}

fn keytool(folder: &Path, order: &str, more: &[&str]) {
    let log = folder.join("keytool.log");
    let output = File::options().create(true).append(true).open(&log).expect("the temporary folder can be written");
    let errors = output.try_clone().expect("a file handle can be duplicated");
    let mut command = Command::new("keytool");
    command.args(order.split(' ')).args(more).arg("-noprompt").arg("-J-XX:TieredStopAtLevel=1").current_dir(folder);
    // The destination of an import has an option of its own, and all others know only the other one.
    let store = if order.starts_with("-importkeystore") { "-deststorepass" } else { "-storepass" };
    command.args([store, STORE_PASSWORD]).stdin(Stdio::null()).stdout(output).stderr(errors);
    let status = command.status().unwrap_or_else(|error| panic!("`keytool` cannot be run: {error}; install Java 17"));
    assert!(status.success(), "`keytool {order}` failed:\n{}", tail(&log));
}
