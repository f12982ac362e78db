//! SCRAM (RFC 5802) as Kafka speaks it: the client's two messages and the proof that the server knows the password too.
//!
//! Pure but for the hash functions; the nonce comes in as an argument. No channel binding, as in all Kafka clients. Next
//! room: `sasl`, which sends the messages.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openssl::error::ErrorStack;
use openssl::hash::{MessageDigest, hash};
use openssl::pkcs5::pbkdf2_hmac;
use openssl::pkey::PKey;
use openssl::sign::Signer;

/// What RFC 7677 demands at least; brokers store no fewer.
const ITERATIONS_MIN: usize = 4096;
/// More than anybody configures: a server must not keep us busy for ever.
const ITERATIONS_MAX: usize = 1 << 20;
/// "No channel binding", in base64, as it is repeated in the last message.
const NO_BINDING: &str = "n,,";

/// Which hash function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    fn digest(self) -> MessageDigest {
        match self {
            Hash::Sha256 => MessageDigest::sha256(),
            Hash::Sha512 => MessageDigest::sha512(),
        }
    }
}

/// The exchange after the client's first message. Holds the password: no `Debug`.
pub(super) struct Exchange {
    hash: Hash,
    password: String,
    nonce: String,
    /// The client's first message without the binding's header.
    first_bare: String,
}

/// What the server's last message must prove.
pub(super) struct Expected {
    signature: Vec<u8>,
}

impl Exchange {
    /// Begins: the exchange and the first message. The nonce is printable, without commas, and new each time.
    pub(super) fn begin(hash: Hash, user: &str, password: &str, nonce: &str) -> (Exchange, Vec<u8>) {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let first_bare = format!("n={user},r={nonce}");
        let message = format!("{NO_BINDING}{first_bare}").into_bytes();
        let exchange = Exchange { hash, password: password.to_owned(), nonce: nonce.to_owned(), first_bare };
        (exchange, message)
    }

    /// Answers the server's first message. The error says what is wrong with it, and holds nothing secret.
    pub(super) fn answer(self, server_first: &[u8]) -> Result<(Expected, Vec<u8>), String> {
        let text = std::str::from_utf8(server_first).map_err(|_| "the server's first SCRAM message is no text")?;
        let field = |name: &str| text.split(',').find_map(|part| part.strip_prefix(name)).ok_or_else(malformed);
        let (nonce, salt, iterations) = (field("r=")?, field("s=")?, field("i=")?);
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("the server answers to another SCRAM nonce".to_owned());
        }
        let salt = STANDARD.decode(salt).map_err(|_| malformed())?;
        let iterations: usize = iterations.parse().map_err(|_| malformed())?;
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
            return Err(format!(
                "the server asks for `{iterations}` SCRAM iterations; taken are {ITERATIONS_MIN} to {ITERATIONS_MAX}"
            ));
        }
        let without_proof = format!("c={},r={nonce}", STANDARD.encode(NO_BINDING));
        let signed = format!("{},{text},{without_proof}", self.first_bare);
        let (proof, signature) = self.prove(&salt, iterations, signed.as_bytes()).map_err(|error| error.to_string())?;
        let message = format!("{without_proof},p={}", STANDARD.encode(proof));
        Ok((Expected { signature }, message.into_bytes()))
    }

    /// The client's proof and the server's signature.
    fn prove(&self, salt: &[u8], iterations: usize, signed: &[u8]) -> Result<(Vec<u8>, Vec<u8>), ErrorStack> {
        let digest = self.hash.digest();
        let mut salted = vec![0; digest.size()];
        pbkdf2_hmac(self.password.as_bytes(), salt, iterations, digest, &mut salted)?;
        let client_key = hmac(digest, &salted, b"Client Key")?;
        let stored_key = hash(digest, &client_key)?;
        let client_signature = hmac(digest, &stored_key, signed)?;
        let proof = client_key.iter().zip(&client_signature).map(|(key, signature)| key ^ signature).collect();
        let server_key = hmac(digest, &salted, b"Server Key")?;
        Ok((proof, hmac(digest, &server_key, signed)?))
    }
}

impl Expected {
    /// Whether the server's last message proves that it knows the password.
    pub(super) fn is_proven_by(&self, server_final: &[u8]) -> bool {
        let proof = std::str::from_utf8(server_final).ok().and_then(|text| text.strip_prefix("v="));
        let proof = proof.map(|proof| proof.split(',').next().unwrap_or_default());
        let Some(Ok(proof)) = proof.map(|proof| STANDARD.decode(proof)) else { return false };
        proof.len() == self.signature.len() && openssl::memcmp::eq(&proof, &self.signature)
    }
}

fn malformed() -> String {
    "the server's first SCRAM message is malformed".to_owned()
}

fn hmac(digest: MessageDigest, key: &[u8], data: &[u8]) -> Result<Vec<u8>, ErrorStack> {
    let key = PKey::hmac(key)?;
    let mut signer = Signer::new(digest, &key)?;
    signer.update(data)?;
    signer.sign_to_vec()
}

#[cfg(test)]
mod tests {
    use super::{Exchange, Hash};

    /// The example of RFC 7677, section 3.
    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn refusal(server_first: &str) -> String {
        let (exchange, _) = Exchange::begin(Hash::Sha256, "user", "pencil", NONCE);
        exchange.answer(server_first.as_bytes()).map(|_| ()).expect_err("it is refused")
    }

    #[test]
    fn the_example_of_the_standard_gives_the_standards_proofs() {
        let (exchange, first) = Exchange::begin(Hash::Sha256, "user", "pencil", NONCE);
        assert_eq!(first, b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let (expected, last) = exchange.answer(SERVER_FIRST.as_bytes()).expect("the example is right");
        assert_eq!(
            String::from_utf8_lossy(&last),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert!(expected.is_proven_by(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        assert!(!expected.is_proven_by(b"v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        assert!(!expected.is_proven_by(b"e=invalid-proof"));
        assert!(!expected.is_proven_by(b""));
    }

    #[test]
    fn a_name_with_a_comma_cannot_add_fields() {
        let (_, first) = Exchange::begin(Hash::Sha512, "a,b=c", "secret", "n");
        assert_eq!(first, b"n,,n=a=2Cb=3Dc,r=n");
    }

    #[test]
    fn a_server_that_cheats_or_asks_too_much_is_refused() {
        assert!(refusal("r=somebody-else,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096").contains("nonce"));
        assert!(refusal(&SERVER_FIRST.replace("i=4096", "i=1")).contains("iterations"));
        assert!(refusal(&SERVER_FIRST.replace("i=4096", "i=99999999")).contains("iterations"));
        for broken in ["", "r=x", "i=4096", &SERVER_FIRST.replace("s=W22", "s=!!!")] {
            let text = refusal(broken);
            assert!(text.contains("malformed") || text.contains("nonce"), "{broken}: {text}");
        }
    }
}
