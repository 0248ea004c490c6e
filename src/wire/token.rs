//! Tokens: who somebody is and what they may do, proved by a signature (RFC 7515, RFC 7519).
//!
//! Promises: the length is checked before any cryptography, the algorithm is ours and never the token's, the time is an
//! argument. A [`BadToken`] is a sentence a person can act on; it fits a close reason (123 bytes, RFC 6455, 5.5.1) and
//! repeats nothing of the token. Secrets are never printed.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use thiserror::Error;

use super::grants::Grants;
use crate::base::{BadName, Identity, Limits};

/// Checks tokens against the one key and the one algorithm this server trusts.
pub struct TokenVerifier {
    key: DecodingKey,
    algorithm: Algorithm,
    /// The algorithm as written in a token's `alg`.
    name: &'static str,
    token_bytes_max: usize,
    leeway_s: u64,
    info_bytes_max: usize,
    depth_max: usize,
}

/// What a good token says.
#[derive(Clone, Debug)]
pub struct Verified {
    pub identity: Identity,
    /// `None`: the claim is absent, the configured default applies.
    pub grants: Option<Grants>,
    /// The `exp` claim, without leeway: the session ends `Limits::token_leeway_s` later. At most the year 9999.
    pub expires_unix_s: u64,
}

/// Why a token was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum BadToken {
    #[error("the token has more than {0} bytes")]
    TooLong(usize),
    #[error("this is not a JWT: it needs three base64url parts, the first two JSON objects")]
    Malformed,
    #[error("the token is not signed with {0}, the algorithm this server takes")]
    Algorithm(&'static str),
    #[error("the token asks for header extensions (`crit`) this server does not know")]
    Critical,
    #[error("the token's signature does not fit this server's key")]
    Signature,
    #[error("the token has no `{0}`")]
    MissingClaim(&'static str),
    #[error("the token's `{claim}` {why}")]
    BadClaim { claim: &'static str, why: &'static str },
    #[error("the token expired {ago_s} s ago")]
    Expired { ago_s: u64 },
    #[error("the token is not valid for another {in_s} s (`nbf`)")]
    NotYet { in_s: u64 },
}

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

impl TokenVerifier {
    /// Tokens signed with HS256 and this secret.
    pub fn hs256(secret: &[u8], limits: &Limits) -> Self {
        Self::new(DecodingKey::from_secret(secret), Algorithm::HS256, "HS256", limits)
    }

    fn new(key: DecodingKey, algorithm: Algorithm, name: &'static str, limits: &Limits) -> Self {
        Self {
            key,
            algorithm,
            name,
            token_bytes_max: limits.token_bytes_max,
            leeway_s: limits.token_leeway_s,
            info_bytes_max: limits.info_bytes_max,
            depth_max: limits.depth_max,
        }
    }

    /// Checks length, shape, algorithm, signature, claims and times, in this order. `unix_s` is now, in seconds since
    /// 1970.
    pub fn verify(&self, token: &str, unix_s: u64) -> Result<Verified, BadToken> {
        if token.len() > self.token_bytes_max {
            return Err(BadToken::TooLong(self.token_bytes_max));
        }
        let claims = self.signed_claims(token)?;
        let expires_unix_s = seconds("exp", &claims.exp)?.ok_or(BadToken::MissingClaim("exp"))?;
        if unix_s >= expires_unix_s.saturating_add(self.leeway_s) {
            return Err(BadToken::Expired { ago_s: unix_s - expires_unix_s });
        }
        let begins_unix_s = seconds("nbf", &claims.nbf)?.unwrap_or(0).saturating_sub(self.leeway_s);
        if unix_s < begins_unix_s {
            return Err(BadToken::NotYet { in_s: begins_unix_s - unix_s });
        }
        let grants = claims.rooms.as_ref().map(Grants::from_claim).transpose();
        Ok(Verified {
            identity: self.identity(&claims)?,
            grants: grants.map_err(|why| BadToken::BadClaim { claim: "rooms", why })?,
            expires_unix_s,
        })
    }

    /// Only the signature is the library's: it would compare times with the system clock, take a wrong-typed claim for an
    /// absent one and overlook `crit`.
    fn signed_claims(&self, token: &str) -> Result<RawClaims, BadToken> {
        let header = token_part(token, 0).ok_or(BadToken::Malformed)?;
        if header.get("alg").and_then(Value::as_str) != Some(self.name) {
            return Err(BadToken::Algorithm(self.name));
        }
        if header.contains_key("crit") {
            return Err(BadToken::Critical);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(BadToken::Malformed)?;
        match jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.key, self.algorithm) {
            Ok(true) => {}
            Ok(false) => return Err(BadToken::Signature),
            Err(_) => return Err(BadToken::Malformed),
        }
        let claims = message.split_once('.').and_then(|(_, claims)| URL_SAFE_NO_PAD.decode(claims).ok());
        // serde would also read a struct from an array, by place.
        let claims = claims.filter(|json| json.trim_ascii_start().starts_with(b"{")).ok_or(BadToken::Malformed)?;
        serde_json::from_slice(&claims).map_err(|_| BadToken::Malformed)
    }

    fn identity(&self, claims: &RawClaims) -> Result<Identity, BadToken> {
        let bad = |claim, why| BadToken::BadClaim { claim, why };
        let sub = claims.sub.as_ref().ok_or(BadToken::MissingClaim("sub"))?;
        let user = sub.as_str().ok_or_else(|| bad("sub", "must be a string"))?;
        // Parsed and written again: no white space, no lone surrogate, no number without a counterpart reaches a reader.
        let info = claims.info.as_ref().filter(|info| !info.is_null());
        if info.is_some_and(|info| depth(info) > self.depth_max) {
            return Err(bad("info", "nests too deep"));
        }
        let info = info.map(Value::to_string);
        if info.as_ref().is_some_and(|info| info.len() > self.info_bytes_max) {
            return Err(bad("info", "is too long: it may have 256 bytes of compact JSON"));
        }
        Identity::new(user, info.as_deref()).map_err(|name| match name {
            BadName::User | BadName::Room => bad("sub", "must have 1 to 128 bytes and no control characters"),
            BadName::Info => bad("info", "is too long: it may have 256 bytes of compact JSON"),
        })
    }
}

impl fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenVerifier").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// Signs a token with HS256. Fails with a sentence if the claims cannot be written as JSON.
pub fn sign_hs256(secret: &[u8], claims: &Claims<'_>) -> Result<String, String> {
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(secret))
        .map_err(|error| format!("the token could not be signed: {error}"))
}

/// One JSON part of a token (0: header, 1: claims), unproved: only for reading aloud and for choosing a sentence.
/// `None` if the token has not three parts or this one is no JSON object in base64url.
pub fn token_part(token: &str, index: usize) -> Option<serde_json::Map<String, Value>> {
    let parts: Vec<&str> = token.splitn(4, '.').collect();
    if parts.len() != 3 || index > 1 {
        return None;
    }
    let json = URL_SAFE_NO_PAD.decode(parts[index]).ok()?;
    serde_json::from_slice(&json).ok()
}

/// The claims as they came, types not yet believed. A claim of ours given twice is malformed.
#[derive(Deserialize)]
struct RawClaims {
    #[serde(default, deserialize_with = "present")]
    sub: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    exp: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    nbf: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    info: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    rooms: Option<Value>,
}

/// A NumericDate (RFC 7519, 2), fraction cut off.
fn seconds(claim: &'static str, value: &Option<Value>) -> Result<Option<u64>, BadToken> {
    let bad = |why| Err(BadToken::BadClaim { claim, why });
    let Some(value) = value else { return Ok(None) };
    let whole = value.as_u64().or_else(|| value.as_f64().filter(|s| *s >= 0.0).map(|s| s as u64));
    match whole {
        None => bad("must be a number of seconds since 1970"),
        Some(seconds) if seconds > YEAR_9999_UNIX_S => bad("lies beyond the year 9999: seconds, not milliseconds?"),
        Some(seconds) => Ok(Some(seconds)),
    }
}

/// `null` is a value of the wrong type, not an absent claim: `"rooms": null` must not grant the default.
fn present<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(value).map(Some)
}

/// Recurses no deeper than the JSON parser did (128).
fn depth(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
    }
}

/// 9999-12-31T23:59:59Z.
const YEAR_9999_UNIX_S: u64 = 253_402_300_799;

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
