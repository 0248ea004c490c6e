//! Claims of a token whose signature is good → what the server believes.
//!
//! Promises: a claim of the wrong type is an error and never an absent one: `"rooms": null` must not grant the default.

use serde_json::{Map, Value};

use super::{BadToken, Verified};
use crate::base::{BadName, Identity};
use crate::wire::grants::Grants;

/// Everything but times and parties.
pub(super) fn verified(
    claims: &Map<String, Value>,
    info_bytes_max: usize,
    depth_max: usize,
) -> Result<Verified, BadToken> {
    let grants = claims.get("rooms").map(Grants::from_claim).transpose();
    Ok(Verified {
        identity: identity(claims, info_bytes_max, depth_max)?,
        grants: grants.map_err(|why| BadToken::BadClaim { claim: "rooms", why })?,
        expires_unix_s: seconds(claims, "exp")?.ok_or(BadToken::MissingClaim("exp"))?,
        issued_unix_s: seconds(claims, "iat")?,
        jti: jti(claims)?,
    })
}

/// A NumericDate (RFC 7519, 2), fraction cut off.
pub(super) fn seconds(claims: &Map<String, Value>, claim: &'static str) -> Result<Option<u64>, BadToken> {
    let bad = |why| Err(BadToken::BadClaim { claim, why });
    let Some(value) = claims.get(claim) else { return Ok(None) };
    let whole = value.as_u64().or_else(|| value.as_f64().filter(|s| *s >= 0.0).map(|s| s as u64));
    match whole {
        None => bad("must be a number of seconds since 1970"),
        Some(seconds) if seconds > YEAR_9999_UNIX_S => bad("lies beyond the year 9999: seconds, not milliseconds?"),
        Some(seconds) => Ok(Some(seconds)),
    }
}

fn jti(claims: &Map<String, Value>) -> Result<Option<Box<str>>, BadToken> {
    match claims.get("jti") {
        None => Ok(None),
        Some(Value::String(jti)) if (1..=JTI_BYTES_MAX).contains(&jti.len()) => Ok(Some(jti.as_str().into())),
        Some(_) => Err(BadToken::BadClaim { claim: "jti", why: "must be a string of 1 to 256 bytes" }),
    }
}

fn identity(claims: &Map<String, Value>, info_bytes_max: usize, depth_max: usize) -> Result<Identity, BadToken> {
    let bad = |claim, why| BadToken::BadClaim { claim, why };
    let sub = claims.get("sub").ok_or(BadToken::MissingClaim("sub"))?;
    let user = sub.as_str().ok_or_else(|| bad("sub", "must be a string"))?;
    // Parsed and written again: no white space, no lone surrogate, no number without a counterpart reaches a reader.
    let info = claims.get("info").filter(|info| !info.is_null());
    if info.is_some_and(|info| depth(info) > depth_max) {
        return Err(bad("info", "nests too deep"));
    }
    let info = info.map(Value::to_string);
    if info.as_ref().is_some_and(|info| info.len() > info_bytes_max) {
        return Err(bad("info", "is too long: it may have 256 bytes of compact JSON"));
    }
    Identity::new(user, info.as_deref()).map_err(|name| match name {
        BadName::User | BadName::Room => bad("sub", "must have 1 to 128 bytes and no control characters"),
        BadName::Info => bad("info", "is too long: it may have 256 bytes of compact JSON"),
    })
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
/// Bytes a `jti` may have.
pub const JTI_BYTES_MAX: usize = 256;
