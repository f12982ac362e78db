//! Says who we are: PLAIN and SCRAM over Kafka's own SASL messages.
//!
//! Never prints a user's password, nor what is derived from it. Next room: `scram`, the messages themselves.

use super::scram::{Exchange, Hash};
use super::session::Session;
use super::settings::Mechanism;
use crate::kafka::error::KafkaError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use kafka_protocol::messages::{
    ApiKey, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use kafka_protocol::protocol::StrBytes;

const HANDSHAKE_VERSION: i16 = 1;
const AUTHENTICATE_VERSION: i16 = 1;
/// Random bytes of a nonce.
const NONCE_BYTES: usize = 24;

/// Authenticates a fresh session by the connection's mechanism.
pub(super) fn authenticate(session: &mut Session, doing: &str) -> Result<(), KafkaError> {
    let settings = session.settings();
    let Some(sasl) = &settings.sasl else { return Ok(()) };
    let name = sasl.mechanism.name();
    let mut handshake = SaslHandshakeRequest::default();
    handshake.mechanism = StrBytes::from_static_str(name);
    let answer: SaslHandshakeResponse = session.ask(ApiKey::SaslHandshake, HANDSHAKE_VERSION, &handshake, doing)?;
    if answer.error_code != 0 {
        let offered: Vec<&str> = answer.mechanisms.iter().map(StrBytes::as_str).collect();
        return Err(session.refused(doing, format!("the broker does not take `{name}`, but {}", offered.join(", "))));
    }
    let (user, password) = (sasl.user.reveal(), sasl.password.reveal());
    match sasl.mechanism {
        Mechanism::Plain => {
            tell(session, [&[0], user.as_bytes(), &[0], password.as_bytes()].concat(), doing)?;
            Ok(())
        }
        Mechanism::Scram(hash) => scram(session, hash, user, password, doing),
    }
}

fn scram(session: &mut Session, hash: Hash, user: &str, password: &str, doing: &str) -> Result<(), KafkaError> {
    let mut random = [0; NONCE_BYTES];
    openssl::rand::rand_bytes(&mut random)
        .map_err(|_| session.refused(doing, "the system gives no random bytes".to_owned()))?;
    let nonce = STANDARD_NO_PAD.encode(random);
    let (exchange, first) = Exchange::begin(hash, user, password, &nonce);
    let server_first = tell(session, first, doing)?;
    let (expected, last) = exchange.answer(&server_first).map_err(|what| session.refused(doing, what))?;
    let server_last = tell(session, last, doing)?;
    if expected.is_proven_by(&server_last) {
        return Ok(());
    }
    Err(session.refused(doing, "the broker does not prove that it knows the password".to_owned()))
}

/// Sends one message of the mechanism and gives the broker's.
fn tell(session: &mut Session, message: Vec<u8>, doing: &str) -> Result<Vec<u8>, KafkaError> {
    let mut request = SaslAuthenticateRequest::default();
    request.auth_bytes = message.into();
    let answer: SaslAuthenticateResponse =
        session.ask(ApiKey::SaslAuthenticate, AUTHENTICATE_VERSION, &request, doing)?;
    if answer.error_code != 0 {
        let said = answer.error_message.map_or_else(|| "no reason was given".to_owned(), |text| text.to_string());
        return Err(session.refused(doing, said));
    }
    Ok(answer.auth_bytes.to_vec())
}
