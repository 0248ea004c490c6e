//! JWK sets (RFC 7517): keys as JSON.
//!
//! Promises: bounded in bytes and in keys; a key that is not for signatures, of another algorithm or broken is left out
//! with a sentence and spoils no other (an issuer may publish what we do not know); a set in which nothing is usable is
//! an error, so that it never replaces one that works.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use thiserror::Error;

use super::algorithm::Algorithm;
use super::json;
use super::key::{BadKey, VerifyingKey};
use super::set::{BadKeySet, KeySet};

/// Who gave the set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JwksFrom {
    /// A file of the operator: may hold secrets (`oct`).
    File,
    /// Fetched: a secret in it would be one that many have seen.
    Url,
}

/// A set that was read.
#[derive(Debug)]
pub struct Jwks {
    pub keys: KeySet,
    /// What was left out, and why.
    pub left_out: Vec<String>,
}

/// Why nothing could be made of it.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum BadJwks {
    #[error("this is not a JWK set: a JSON object with an array `keys`, no member given twice")]
    Malformed,
    #[error("the set has {0} keys, more than {max}", max = KeySet::KEYS_MAX)]
    TooManyKeys(usize),
    #[error("no key in the set is usable: {0}")]
    Nothing(String),
}

impl Jwks {
    /// Reads a set. `issuer` binds its keys to one `iss`.
    pub fn read(text: &[u8], from: JwksFrom, issuer: Option<&str>) -> Result<Self, BadJwks> {
        let set = json::object(text).ok_or(BadJwks::Malformed)?;
        let keys = set.get("keys").and_then(Value::as_array).ok_or(BadJwks::Malformed)?;
        if keys.len() > KeySet::KEYS_MAX {
            return Err(BadJwks::TooManyKeys(keys.len()));
        }
        let mut jwks = Self { keys: KeySet::default(), left_out: Vec::new() };
        for (place, jwk) in keys.iter().enumerate() {
            let read = read_key(jwk, from).map(|key| match issuer {
                Some(issuer) => key.with_issuer(issuer),
                None => key,
            });
            let added = read
                .map_err(|bad| bad.to_string())
                .and_then(|key| jwks.keys.add(Arc::new(key)).map_err(|bad: BadKeySet| bad.to_string()));
            if let Err(why) = added {
                jwks.left_out.push(format!("key {place}: {why}"));
            }
        }
        if jwks.keys.is_empty() {
            let why = jwks.left_out.first().cloned().unwrap_or_else(|| "it is empty".to_owned());
            return Err(BadJwks::Nothing(why));
        }
        Ok(jwks)
    }
}

fn read_key(jwk: &Value, from: JwksFrom) -> Result<VerifyingKey, BadKey> {
    let bad = |member, why| Err(BadKey::Jwk { member, why });
    let Some(jwk) = jwk.as_object() else { return bad("kty", "is missing: this is no object") };
    if text(jwk, "use")?.is_some_and(|what| what != "sig") {
        return bad("use", "is not `sig`");
    }
    let verifies = |ops: &Value| ops.as_array().is_some_and(|ops| ops.iter().any(|op| op == "verify"));
    if jwk.get("key_ops").is_some_and(|ops| !verifies(ops)) {
        return bad("key_ops", "does not list `verify`");
    }
    let named = text(jwk, "alg")?.map(Algorithm::parse);
    if named == Some(None) {
        return bad("alg", "is none of ours (HS256, HS384, HS512, RS256, ES256, EdDSA)");
    }
    let named = named.flatten();
    let key = match text(jwk, "kty")? {
        Some("RSA") => public(jwk, |jwk| VerifyingKey::rsa(&bytes(jwk, "n")?, &bytes(jwk, "e")?)),
        Some("EC") => public(jwk, p256),
        Some("OKP") => public(jwk, ed25519),
        Some("oct") if from == JwksFrom::Url => bad("kty", "is `oct`: a secret that is fetched is none"),
        Some("oct") => match named {
            Some(algorithm) => VerifyingKey::from_secret(algorithm, &bytes(jwk, "k")?),
            None => bad("alg", "is missing: a secret must say what it is for"),
        },
        Some(_) => bad("kty", "is none of RSA, EC, OKP, oct"),
        None => bad("kty", "is missing"),
    }?;
    if let Some(wanted) = named.filter(|wanted| *wanted != key.algorithm()) {
        return Err(BadKey::OtherAlgorithm { is: key.algorithm().name(), wanted: wanted.name() });
    }
    match text(jwk, "kid")? {
        Some(kid) => key.with_kid(kid),
        None => Ok(key),
    }
}

/// A key whose secret half must not be here.
fn public(
    jwk: &Map<String, Value>,
    make: impl FnOnce(&Map<String, Value>) -> Result<VerifyingKey, BadKey>,
) -> Result<VerifyingKey, BadKey> {
    if jwk.contains_key("d") {
        return Err(BadKey::Private);
    }
    make(jwk)
}

fn p256(jwk: &Map<String, Value>) -> Result<VerifyingKey, BadKey> {
    if text(jwk, "crv")? != Some("P-256") {
        return Err(BadKey::Jwk { member: "crv", why: "is not P-256" });
    }
    let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
    if x.len() != COORDINATE_BYTES || y.len() != COORDINATE_BYTES {
        return Err(BadKey::Jwk { member: "x", why: "and `y` must have 32 bytes each" });
    }
    VerifyingKey::p256(&[&[4], &x[..], &y[..]].concat())
}

fn ed25519(jwk: &Map<String, Value>) -> Result<VerifyingKey, BadKey> {
    if text(jwk, "crv")? != Some("Ed25519") {
        return Err(BadKey::Jwk { member: "crv", why: "is not Ed25519" });
    }
    let x = bytes(jwk, "x")?;
    if x.len() != COORDINATE_BYTES {
        return Err(BadKey::Jwk { member: "x", why: "must have 32 bytes" });
    }
    VerifyingKey::ed25519(&x)
}

fn text<'a>(jwk: &'a Map<String, Value>, member: &'static str) -> Result<Option<&'a str>, BadKey> {
    match jwk.get(member) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(BadKey::Jwk { member, why: "is not a string" }),
    }
}

fn bytes(jwk: &Map<String, Value>, member: &'static str) -> Result<Vec<u8>, BadKey> {
    let text = text(jwk, member)?.ok_or(BadKey::Jwk { member, why: "is missing" })?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| BadKey::Jwk { member, why: "is not base64url" })
}

const COORDINATE_BYTES: usize = 32;
