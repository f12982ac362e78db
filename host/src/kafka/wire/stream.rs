//! One TCP connection to a broker, with TLS where the connection asks for it. Every wait is bounded.
//!
//! Knows nothing of Kafka's messages. Next room: `session`, which sends them.

use super::settings::{Family, Settings, Tls};
use crate::kafka::error::KafkaError;
use openssl::error::ErrorStack;
use openssl::ssl::{HandshakeError, SslConnector, SslFiletype, SslMethod, SslStream};
use openssl::x509::X509;
use openssl::x509::store::X509Lookup;
use openssl::x509::verify::X509VerifyFlags;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Where systems keep the authorities that they trust. The OpenSSL that is linked in looks in a folder of its own, which no
/// system has.
const AUTHORITY_FILES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// An open connection.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<SslStream<TcpStream>>),
}

impl Stream {
    /// Connects to `host:port`.
    pub(super) fn connect(settings: &Settings, address: &str, doing: &str) -> Result<Stream, KafkaError> {
        let tcp = tcp(settings, address).map_err(|error| unreachable(settings, address, doing, &error))?;
        let Some(tls) = &settings.tls else { return Ok(Stream::Plain(tcp)) };
        let refused = |detail: String| KafkaError::Tls {
            doing: doing.to_owned(),
            connection: settings.connection.clone(),
            detail: format!("`{address}`: {detail}"),
        };
        let connector = connector(tls).map_err(refused)?;
        let stream = connector
            .configure()
            .map(|configuration| configuration.verify_hostname(!tls.any_name).connect(host_of(address), tcp))
            .map_err(|error| refused(words(&error)))?;
        match stream {
            Ok(stream) => Ok(Stream::Tls(Box::new(stream))),
            Err(HandshakeError::SetupFailure(error)) => Err(refused(words(&error))),
            Err(HandshakeError::Failure(middle) | HandshakeError::WouldBlock(middle)) => {
                let verdict = middle.ssl().verify_result();
                let why = if verdict == openssl::x509::X509VerifyResult::OK {
                    middle.error().to_string()
                } else {
                    format!("the certificate is not trusted: {verdict}")
                };
                Err(refused(why))
            }
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.write(bytes),
            Stream::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(stream) => stream.flush(),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}

/// A broker that cannot be talked to.
pub(super) fn unreachable(settings: &Settings, address: &str, doing: &str, error: &io::Error) -> KafkaError {
    KafkaError::Unreachable {
        doing: doing.to_owned(),
        connection: settings.connection.clone(),
        brokers: format!("`{address}`"),
        detail: error.to_string(),
    }
}

fn tcp(settings: &Settings, address: &str) -> io::Result<TcpStream> {
    let deadline = Instant::now() + settings.timeout;
    let wanted = |address: &SocketAddr| match settings.family {
        Family::Any => true,
        Family::V4 => address.is_ipv4(),
        Family::V6 => address.is_ipv6(),
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address of the wanted family");
    for candidate in address.to_socket_addrs()?.filter(wanted) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(&candidate, left) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(settings.timeout))?;
                stream.set_write_timeout(Some(settings.timeout))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The host in `host:port`, an IPv6 one without its brackets.
fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn connector(tls: &Tls) -> Result<SslConnector, String> {
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(|error| words(&error))?;
    let said = |what: &str, path: &Path, error: &ErrorStack| format!("{what} `{}`: {}", path.display(), words(error));
    match (&tls.ca_location, &tls.ca_pem) {
        (Some(path), _) if path.as_os_str() != "probe" => {
            let (file, folder) = if path.is_dir() { (None, Some(path)) } else { (Some(path), None) };
            builder
                .load_verify_locations(file.map(PathBuf::as_path), folder.map(PathBuf::as_path))
                .map_err(|error| said("the authorities in", path, &error))?;
        }
        (_, Some(pem)) => {
            let authorities = X509::stack_from_pem(pem.reveal().as_bytes()).map_err(|error| words(&error))?;
            for authority in authorities {
                builder.cert_store_mut().add_cert(authority).map_err(|error| words(&error))?;
            }
        }
        // Where OpenSSL's own variables name a place it has been looked at already.
        _ if ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().any(|name| std::env::var_os(name).is_some()) => {}
        _ => {
            if let Some(path) = AUTHORITY_FILES.iter().find(|path| Path::new(path).exists()) {
                builder.set_ca_file(path).map_err(|error| said("the authorities in", Path::new(path), &error))?;
            }
        }
    }
    if let Some(path) = &tls.certificate {
        builder.set_certificate_chain_file(path).map_err(|error| said("the certificate in", path, &error))?;
    }
    if let Some(path) = &tls.key {
        let pem = std::fs::read(path).map_err(|error| format!("the key in `{}`: {error}", path.display()))?;
        let password = tls.key_password.as_ref().map_or(&b""[..], |password| password.reveal().as_bytes());
        let key = openssl::pkey::PKey::private_key_from_pem_passphrase(&pem, password);
        // What the library says here may quote the input, so only the path is told.
        let unusable = |_| format!("the key in `{}` cannot be used; is `ssl.key.password` right?", path.display());
        builder.set_private_key(&*key.map_err(unusable)?).map_err(unusable)?;
    }
    if let Some(path) = &tls.revoked {
        let store = builder.cert_store_mut();
        let loaded = store
            .add_lookup(X509Lookup::file())
            .and_then(|lookup| lookup.load_crl_file(path, SslFiletype::PEM))
            .and_then(|_| store.set_flags(X509VerifyFlags::CRL_CHECK));
        loaded.map_err(|error| said("the revocation list in", path, &error))?;
    }
    Ok(builder.build())
}

/// The library's stack of errors in one line.
fn words(error: &ErrorStack) -> String {
    let reasons: Vec<&str> = error.errors().iter().filter_map(openssl::error::Error::reason).collect();
    if reasons.is_empty() { "OpenSSL gives no reason".to_owned() } else { reasons.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::host_of;

    #[test]
    fn the_host_is_found_in_every_form_of_an_address() {
        assert_eq!(host_of("kafka-1.example:9092"), "kafka-1.example");
        assert_eq!(host_of("[::1]:9092"), "::1");
        assert_eq!(host_of("10.0.0.1:1"), "10.0.0.1");
    }
}
