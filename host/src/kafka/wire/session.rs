//! One conversation with one broker: frames, correlation ids, versions, and who we are.
//!
//! Asks one question at a time and waits for its answer, bounded by the connection's timeout. Knows no topic. Next rooms:
//! `stream`, `sasl`; the parent, which asks.

use super::sasl;
use super::settings::Settings;
use super::stream::{Stream, unreachable};
use crate::guarded;
use crate::kafka::error::{CallFlags, Class, KafkaError};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use std::io::{Read, Write};
use std::sync::Arc;

/// A larger answer is not believed.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Understood by every broker since 2.4.
const API_VERSIONS_VERSION: i16 = 3;

/// An authenticated connection to a broker.
pub(super) struct Session {
    settings: Arc<Settings>,
    address: String,
    stream: Stream,
    next_id: i32,
    /// Key, lowest and highest version of each request that the broker knows.
    known: Vec<(i16, i16, i16)>,
}

impl Session {
    /// Connects, learns which requests the broker knows, and says who we are.
    pub(super) fn open(settings: &Arc<Settings>, address: &str, doing: &str) -> Result<Session, KafkaError> {
        let stream = Stream::connect(settings, address, doing)?;
        let settings = Arc::clone(settings);
        let mut session = Session { settings, address: address.to_owned(), stream, next_id: 0, known: Vec::new() };
        let mut request = ApiVersionsRequest::default();
        request.client_software_name = StrBytes::from_static_str("tidegate");
        request.client_software_version = StrBytes::from_static_str(env!("CARGO_PKG_VERSION"));
        let answer: ApiVersionsResponse =
            session.exchange(ApiKey::ApiVersions, API_VERSIONS_VERSION, &request, doing)?;
        session.check(doing, answer.error_code)?;
        session.known = answer.api_keys.iter().map(|key| (key.api_key, key.min_version, key.max_version)).collect();
        if session.settings.sasl.is_some() {
            sasl::authenticate(&mut session, doing)?;
        }
        Ok(session)
    }

    /// Asks a question and waits for the answer.
    pub(super) fn ask<Q, A>(&mut self, key: ApiKey, version: i16, request: &Q, doing: &str) -> Result<A, KafkaError>
    where
        Q: Encodable + HeaderVersion,
        A: Decodable + HeaderVersion,
    {
        let is_known = |(known, min, max): &(i16, i16, i16)| *known == key as i16 && (*min..=*max).contains(&version);
        if !self.known.iter().any(is_known) {
            let detail = format!(
                "the broker `{}` does not know version `{version}` of `{key:?}`; it takes Kafka 3.0 or newer",
                self.address
            );
            return Err(self.failed(doing, "UNSUPPORTED_VERSION", detail, Class::Fatal));
        }
        self.exchange(key, version, request, doing)
    }

    fn exchange<Q, A>(&mut self, key: ApiKey, version: i16, request: &Q, doing: &str) -> Result<A, KafkaError>
    where
        Q: Encodable + HeaderVersion,
        A: Decodable + HeaderVersion,
    {
        let id = self.next_id;
        self.next_id += 1;
        let mut header = RequestHeader::default();
        header.request_api_key = key as i16;
        header.request_api_version = version;
        header.correlation_id = id;
        header.client_id = Some(StrBytes::from_string(self.settings.client_id.clone()));
        let mut frame: Vec<u8> = vec![0; 4];
        header
            .encode(&mut frame, Q::header_version(version))
            .and_then(|()| request.encode(&mut frame, version))
            .map_err(|error| self.failed(doing, "INVALID_REQUEST", error.to_string(), Class::Fatal))?;
        let length = (frame.len() - 4) as u32;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        let answer = self.send(&frame, doing)?;
        // Lengths inside are checked by the library; that it panics on none of them is not promised.
        let decoded = guarded::catch(|| {
            let mut bytes = answer.as_slice();
            let header = ResponseHeader::decode(&mut bytes, A::header_version(version)).ok()?;
            if header.correlation_id != id {
                return None;
            }
            A::decode(&mut bytes, version).ok()
        });
        let garbled = || {
            let detail = format!("the answer of `{}` to `{key:?}` cannot be read", self.address);
            self.failed(doing, "CORRUPT_MESSAGE", detail, Class::Fatal)
        };
        decoded.flatten().ok_or_else(garbled)
    }

    fn send(&mut self, frame: &[u8], doing: &str) -> Result<Vec<u8>, KafkaError> {
        let mut exchanged = || {
            self.stream.write_all(frame)?;
            self.stream.flush()?;
            let mut length = [0; 4];
            self.stream.read_exact(&mut length)?;
            let length = u32::from_be_bytes(length) as usize;
            if length > ANSWER_BYTES_MAX {
                let what = format!("an answer of {length} bytes; is this a Kafka listener of the right `security`?");
                return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, what));
            }
            let mut answer = vec![0; length];
            self.stream.read_exact(&mut answer)?;
            Ok(answer)
        };
        exchanged().map_err(|error| unreachable(&self.settings, &self.address, doing, &error))
    }

    /// Whether a code in an answer says that it was done; if not, why.
    pub(super) fn check(&self, doing: &str, code: i16) -> Result<(), KafkaError> {
        let Some(error) = ResponseError::try_from_code(code) else { return Ok(()) };
        let class = if error.is_retriable() { Class::Retry } else { Class::Fatal };
        let (doing, connection) = (doing.to_owned(), self.settings.connection.clone());
        let (code, detail) = (format!("{error:?}"), error.to_string());
        Err(match error {
            ResponseError::ClusterAuthorizationFailed
            | ResponseError::TopicAuthorizationFailed
            | ResponseError::TransactionalIdAuthorizationFailed => {
                KafkaError::Authorization { doing, connection, code, detail }
            }
            _ => KafkaError::Call { doing, connection, code, detail, flags: CallFlags::default(), class },
        })
    }

    /// An error of our own making.
    pub(super) fn failed(&self, doing: &str, code: &str, detail: String, class: Class) -> KafkaError {
        KafkaError::Call {
            doing: doing.to_owned(),
            connection: self.settings.connection.clone(),
            code: code.to_owned(),
            detail,
            flags: CallFlags::default(),
            class,
        }
    }

    /// The credentials are refused. Holds what the broker said, never a secret.
    pub(super) fn refused(&self, doing: &str, detail: String) -> KafkaError {
        KafkaError::Authentication { doing: doing.to_owned(), connection: self.settings.connection.clone(), detail }
    }

    /// What the connection says.
    pub(super) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings)
    }
}
