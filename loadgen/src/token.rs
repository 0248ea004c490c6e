//! One signed token per connection, each with its own `sub` of 24 characters.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

use crate::payload::{hex8, put_hex};

/// Signs with HS256.
pub(crate) struct Signer {
    key: EncodingKey,
    header: Header,
    run: String,
    expires_s: u64,
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    exp: u64,
}

impl Signer {
    /// `run` has 8 ASCII characters; `expires_s` counts from 1970.
    pub(crate) fn new(secret: &[u8], run: &str, expires_s: u64) -> Self {
        let header = Header::new(Algorithm::HS256);
        Self { key: EncodingKey::from_secret(secret), header, run: run.to_owned(), expires_s }
    }

    pub(crate) fn sign(&self, connection: u32) -> Result<String, jsonwebtoken::errors::Error> {
        let claims = Claims { sub: &sub(&self.run, connection), exp: self.expires_s };
        jsonwebtoken::encode(&self.header, &claims, &self.key)
    }
}

/// The user of a connection: `load`, the run, the number of the connection in 12 hex digits.
pub(crate) fn sub(run: &str, connection: u32) -> String {
    let mut digits = [b'0'; 12];
    put_hex(&mut digits, u64::from(connection));
    format!("load{run}{}", String::from_utf8_lossy(&digits))
}

/// The connection behind a user of this run.
pub(crate) fn connection_of(run: &str, sub: &str) -> Option<u32> {
    let rest = sub.strip_prefix("load")?.strip_prefix(run)?;
    (rest.len() == 12 && rest.starts_with("0000")).then(|| hex8(rest.as_bytes(), 4))
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation};

    use super::*;

    #[test]
    fn every_connection_is_somebody_else_with_24_characters() {
        let (one, other) = (sub("00c0ffee", 7), sub("00c0ffee", 0xdead_beef));
        assert_eq!((one.len(), other.len()), (24, 24));
        assert_ne!(one, other);
        assert_eq!(connection_of("00c0ffee", &other), Some(0xdead_beef));
        assert_eq!(connection_of("00c0ffed", &other), None);
    }

    #[test]
    fn a_token_is_what_the_server_checks() {
        let exp = crate::sys::unix_s() + 60;
        let token = Signer::new(b"secret", "00c0ffee", exp).sign(9).expect("signs");
        let read = |secret: &[u8]| {
            let key = DecodingKey::from_secret(secret);
            jsonwebtoken::decode::<serde_json::Value>(&token, &key, &Validation::new(Algorithm::HS256))
        };
        let claims = read(b"secret").expect("verifies").claims;
        assert_eq!((claims["sub"].as_str(), claims["exp"].as_u64()), (Some("load00c0ffee000000000009"), Some(exp)));
        assert!(read(b"other").is_err());
    }
}
