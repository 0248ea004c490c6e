//! Making tokens: for tools and tests, and for what is signed with a secret.
//!
//! Promises: deterministic. Signatures that need randomness are made elsewhere, over [`signing_input`].

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::{Value, json};

use super::algorithm::Algorithm;

/// The claims of a token to be signed.
#[derive(Serialize, Debug)]
pub struct Claims<'a> {
    pub sub: &'a str,
    /// Seconds since 1970.
    pub exp: u64,
    /// JSON others see beside the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub info: Option<&'a Value>,
    /// Grants as in the `rooms` claim; `None` leaves it to the server's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rooms: Option<&'a Value>,
}

/// Signs a token with HS256. Fails with a sentence if the claims cannot be written as JSON.
pub fn sign_hs256(secret: &[u8], claims: &Claims<'_>) -> Result<String, String> {
    sign_hmac(Algorithm::Hs256, None, secret, claims)
}

/// Signs a token with HS256, HS384 or HS512. Fails with a sentence if that cannot be.
pub fn sign_hmac(
    algorithm: Algorithm,
    kid: Option<&str>,
    secret: &[u8],
    claims: &impl Serialize,
) -> Result<String, String> {
    let hash = match algorithm {
        Algorithm::Hs256 => hmac::HMAC_SHA256,
        Algorithm::Hs384 => hmac::HMAC_SHA384,
        Algorithm::Hs512 => hmac::HMAC_SHA512,
        Algorithm::Rs256 | Algorithm::Es256 | Algorithm::EdDsa => {
            return Err(format!("{} is not signed with a secret", algorithm.name()));
        }
    };
    let message = signing_input(algorithm, kid, claims)?;
    let tag = hmac::sign(&hmac::Key::new(hash, secret), message.as_bytes());
    Ok(with_signature(message, tag.as_ref()))
}

/// What is signed: header and claims, each in base64url (RFC 7515, 5.1).
pub fn signing_input(algorithm: Algorithm, kid: Option<&str>, claims: &impl Serialize) -> Result<String, String> {
    let header = match kid {
        Some(kid) => json!({"typ": "JWT", "alg": algorithm.name(), "kid": kid}),
        None => json!({"typ": "JWT", "alg": algorithm.name()}),
    };
    let claims =
        serde_json::to_vec(claims).map_err(|error| format!("the claims cannot be written as JSON: {error}"))?;
    let (header, claims) = (URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims));
    Ok(format!("{header}.{claims}"))
}

/// The token: what was signed, and the signature behind it.
pub fn with_signature(message: String, signature: &[u8]) -> String {
    message + "." + &URL_SAFE_NO_PAD.encode(signature)
}
