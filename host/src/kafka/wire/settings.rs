//! What a connection's properties mean to this client: how to reach brokers, TLS, who we are.
//!
//! The properties are librdkafka's, already judged by the allow list; what only concerns librdkafka's own work is passed
//! over. Never printed. Next rooms: `stream` (TLS), `sasl`.

use super::scram::Hash;
use crate::config::model::{KafkaConnection, Secret};
use std::path::PathBuf;
use std::time::Duration;

/// How long one question may take, connecting included, unless `socket.timeout.ms` says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A connection as this client needs it. Holds secrets: no `Debug`.
pub(super) struct Settings {
    pub(super) connection: String,
    pub(super) brokers: Vec<String>,
    pub(super) timeout: Duration,
    pub(super) client_id: String,
    pub(super) family: Family,
    pub(super) tls: Option<Tls>,
    pub(super) sasl: Option<Sasl>,
}

/// Which addresses of a host are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Any,
    V4,
    V6,
}

/// TLS, as far as it is not the default.
#[derive(Default)]
pub(super) struct Tls {
    /// A file or a folder of authorities.
    pub(super) ca_location: Option<PathBuf>,
    /// Authorities as text.
    pub(super) ca_pem: Option<Secret>,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) key_password: Option<Secret>,
    pub(super) revoked: Option<PathBuf>,
    /// Whether the certificate's name is not compared with the host's.
    pub(super) any_name: bool,
}

/// Who we are.
pub(super) struct Sasl {
    pub(super) mechanism: Mechanism,
    pub(super) user: Secret,
    pub(super) password: Secret,
}

/// How we prove it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mechanism {
    Plain,
    Scram(Hash),
}

impl Mechanism {
    /// Its name on the wire.
    pub(super) fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Scram(Hash::Sha256) => "SCRAM-SHA-256",
            Mechanism::Scram(Hash::Sha512) => "SCRAM-SHA-512",
        }
    }

    fn named(name: &str) -> Option<Mechanism> {
        [Mechanism::Plain, Mechanism::Scram(Hash::Sha256), Mechanism::Scram(Hash::Sha512)]
            .into_iter()
            .find(|mechanism| mechanism.name() == name)
    }
}

impl Settings {
    /// The settings in a connection. The last of two properties with one name counts, as in librdkafka.
    pub(super) fn of(connection: &KafkaConnection) -> Settings {
        let find = |name: &str| {
            connection.properties.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone())
        };
        let path = |name: &str| find(name).map(|value| PathBuf::from(value.reveal()));
        let text = |name: &str| find(name).map(|value| value.reveal().to_owned());
        let security = text("security.protocol").unwrap_or_else(|| "plaintext".to_owned()).to_lowercase();
        let tls = security.ends_with("ssl").then(|| Tls {
            ca_location: path("ssl.ca.location"),
            ca_pem: find("ssl.ca.pem"),
            certificate: path("ssl.certificate.location"),
            key: path("ssl.key.location"),
            key_password: find("ssl.key.password"),
            revoked: path("ssl.crl.location"),
            any_name: text("ssl.endpoint.identification.algorithm").is_some_and(|name| name == "none"),
        });
        let mechanism = text("sasl.mechanism").or_else(|| text("sasl.mechanisms"));
        let empty = || Secret::new(String::new());
        let sasl = security.starts_with("sasl").then(|| Sasl {
            // The allow list has these three only.
            mechanism: mechanism.and_then(|name| Mechanism::named(&name)).unwrap_or(Mechanism::Plain),
            user: find("sasl.username").unwrap_or_else(empty),
            password: find("sasl.password").unwrap_or_else(empty),
        });
        let timeout = text("socket.timeout.ms").and_then(|value| value.parse().ok()).map(Duration::from_millis);
        Settings {
            connection: connection.name.clone(),
            brokers: connection.brokers.clone(),
            timeout: timeout.filter(|timeout| !timeout.is_zero()).unwrap_or(TIMEOUT),
            client_id: text("client.id").unwrap_or_else(|| "tidegate".to_owned()),
            family: match text("broker.address.family").as_deref() {
                Some("v4") => Family::V4,
                Some("v6") => Family::V6,
                _ => Family::Any,
            },
            tls,
            sasl,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Family, Hash, Mechanism, Settings};
    use crate::config::model::{KafkaConnection, Secret};
    use std::time::Duration;

    fn settings(properties: &[(&str, &str)]) -> Settings {
        let property = |(name, value): &(&str, &str)| ((*name).to_owned(), Secret::new((*value).to_owned()));
        Settings::of(&KafkaConnection {
            name: "main".to_owned(),
            brokers: vec!["k1:9092".to_owned()],
            properties: properties.iter().map(property).collect(),
        })
    }

    #[test]
    fn each_security_protocol_gives_what_its_name_says() {
        for (protocol, tls, sasl) in [
            ("plaintext", false, false),
            ("ssl", true, false),
            ("sasl_plaintext", false, true),
            ("sasl_ssl", true, true),
        ] {
            let settings = settings(&[("security.protocol", protocol)]);
            assert_eq!((settings.tls.is_some(), settings.sasl.is_some()), (tls, sasl), "{protocol}");
        }
    }

    #[test]
    fn what_matters_to_a_connection_is_taken_over() {
        let settings = settings(&[
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", "u"),
            ("socket.timeout.ms", "3000"),
            ("client.id", "first"),
            ("client.id", "second"),
            ("broker.address.family", "v6"),
            ("ssl.endpoint.identification.algorithm", "none"),
            ("linger.ms", "5"),
        ]);
        let sasl = settings.sasl.expect("there is a user");
        assert_eq!((sasl.mechanism, sasl.user.reveal()), (Mechanism::Scram(Hash::Sha512), "u"));
        assert_eq!((settings.timeout, settings.family), (Duration::from_secs(3), Family::V6));
        assert_eq!((settings.client_id.as_str(), settings.tls.expect("TLS is on").any_name), ("second", true));
    }
}
