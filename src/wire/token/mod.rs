//! Tokens: who somebody is and what they may do, proved by a signature (RFC 7515, RFC 7519, RFC 8725).
//!
//! ```text
//!  length → shape → alg, crit, typ → key by kid → signature → exp nbf iat iss aud required → sub info rooms
//! ```
//!
//! Promises: the length is checked before anything is decoded, the algorithm is that of one of our keys and never the
//! token's choice, nothing a header offers (`jwk`, `jku`, `x5u`, `x5c`) is looked at, the time is an argument. A
//! [`BadToken`] is a sentence a person can act on; it fits a close reason (123 bytes, RFC 6455, 5.5.1) and repeats nothing
//! of the token. Secrets are never printed.

mod algorithm;
mod claims;
mod forms;
mod json;
mod jwk;
mod key;
mod refusal;
mod rules;
mod set;
mod sign;
#[cfg(test)]
mod tests;

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::base::{Identity, Limits};

use super::grants::Grants;

pub use algorithm::{Algorithm, Algorithms};
pub use claims::JTI_BYTES_MAX;
pub use forms::{is_pem, without_mark};
pub use jwk::{BadJwks, Jwks, JwksFrom};
pub use key::{BadKey, VerifyingKey};
pub use refusal::BadToken;
pub use rules::TokenRules;
pub use set::{BadKeySet, KeySet};
pub use sign::{Claims, sign_hmac, sign_hs256, signing_input, with_signature};

/// Checks tokens against the keys and the rules of this server.
pub struct TokenVerifier {
    keys: KeySet,
    rules: TokenRules,
    /// What the rules take and there is, or may come to be, a key for.
    taken: Algorithms,
    /// Keys are fetched: one that is not known now may be known soon.
    keys_may_come: bool,
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
    /// The `iat` claim: what is revoked by time is revoked by it.
    pub issued_unix_s: Option<u64>,
    /// The `jti` claim, 1 to 256 bytes.
    pub jti: Option<Box<str>>,
}

/// A header that may be tried with a key.
struct Header {
    algorithm: Algorithm,
    kid: Option<String>,
}

impl TokenVerifier {
    /// With these keys, rules and the limits of length, leeway and sizes.
    ///
    /// The rules must have passed [`TokenRules::check`].
    pub fn new(keys: KeySet, rules: TokenRules, limits: &Limits) -> Self {
        Self {
            taken: rules.algorithms.and(keys.algorithms()),
            keys_may_come: false,
            token_bytes_max: limits.token_bytes_max,
            leeway_s: limits.token_leeway_s,
            info_bytes_max: limits.info_bytes_max,
            depth_max: limits.depth_max,
            keys,
            rules,
        }
    }

    /// Keys are fetched from somewhere: a token of a key that is not here yet is to be tried again, and every public
    /// algorithm of the rules is taken.
    #[must_use]
    pub fn with_keys_to_come(mut self) -> Self {
        let public = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa].into_iter().chain(self.taken.iter());
        self.taken = self.rules.algorithms.and(Algorithms::of(public));
        self.keys_may_come = true;
        self
    }

    /// Tokens signed with HS256 and this secret, whatever its length, and without limits in time: for tests and tools.
    pub fn hs256(secret: &[u8], limits: &Limits) -> Self {
        let key = VerifyingKey::unchecked_secret(Algorithm::Hs256, secret);
        let mut keys = KeySet::default();
        let added = keys.add(key.into());
        debug_assert!(added.is_ok(), "an empty set has room for one key");
        Self::new(keys, TokenRules::any_time(), limits)
    }

    /// Checks everything, in the order shown above. `unix_s` is now, in seconds since 1970.
    pub fn verify(&self, token: &str, unix_s: u64) -> Result<Verified, BadToken> {
        if token.len() > self.token_bytes_max {
            return Err(BadToken::TooLong(self.token_bytes_max));
        }
        let (key, claims) = self.signed_claims(token)?;
        self.check_times(&claims, unix_s)?;
        self.check_parties(key, &claims)?;
        claims::verified(&claims, self.info_bytes_max, self.depth_max)
    }

    /// Like [`TokenVerifier::verify`], for a token that came in a URL: it must end soon.
    pub fn verify_from_url(&self, token: &str, unix_s: u64) -> Result<Verified, BadToken> {
        let verified = self.verify(token, unix_s)?;
        let most_s = self.rules.query_token_max_age_s;
        if verified.expires_unix_s.saturating_sub(unix_s) > most_s.saturating_add(self.leeway_s) {
            return Err(BadToken::TooLongForUrl { most_s });
        }
        Ok(verified)
    }

    /// How long a token can be good at most, leeway included, in seconds: what is revoked need not be remembered longer.
    pub fn life_max_s(&self) -> u64 {
        self.rules.life_max_s.saturating_add(2 * self.leeway_s)
    }

    pub fn keys(&self) -> &KeySet {
        &self.keys
    }

    pub fn rules(&self) -> &TokenRules {
        &self.rules
    }

    /// Nothing but the signature is the library's.
    fn signed_claims(&self, token: &str) -> Result<(&VerifyingKey, Map<String, Value>), BadToken> {
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(BadToken::Malformed);
        };
        let header = self.header(header)?;
        let message = &token[..token.len() - signature.len() - 1];
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| BadToken::Malformed)?;
        let key = self.key_of(&header, message.as_bytes(), &signature)?;
        let claims = URL_SAFE_NO_PAD.decode(claims).ok().and_then(|claims| json::object(&claims));
        Ok((key, claims.ok_or(BadToken::Malformed)?))
    }

    fn header(&self, part: &str) -> Result<Header, BadToken> {
        let header = URL_SAFE_NO_PAD.decode(part).ok().and_then(|header| json::object(&header));
        let header = header.ok_or(BadToken::Malformed)?;
        let claimed = header.get("alg").and_then(Value::as_str).and_then(Algorithm::parse);
        let algorithm = claimed.filter(|algorithm| self.taken.contains(*algorithm));
        let algorithm = algorithm.ok_or(BadToken::Algorithm(self.taken))?;
        // Whatever must be understood is not (RFC 7515, 4.1.11).
        if header.contains_key("crit") {
            return Err(BadToken::Critical);
        }
        match header.get("typ") {
            Some(Value::String(found)) if self.rules.takes_type(found) => {}
            None if !self.rules.type_required => {}
            Some(_) | None => return Err(BadToken::Type),
        }
        let kid = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err(BadToken::Malformed),
        };
        Ok(Header { algorithm, kid })
    }

    fn key_of(&self, header: &Header, message: &[u8], signature: &[u8]) -> Result<&VerifyingKey, BadToken> {
        let kid = header.kid.as_deref();
        let mut candidates = self.keys.candidates(kid, header.algorithm).peekable();
        let had_any = candidates.peek().is_some();
        if let Some(key) = candidates.find(|key| key.fits(message, signature)) {
            return Ok(key);
        }
        let is_unknown = match kid {
            Some(kid) => !self.keys.names(kid, header.algorithm) && (!had_any || self.keys_may_come),
            None => !had_any,
        };
        // Without a name it is to come where none of its algorithm is here yet; where there are some, none of them is meant.
        let may_come = kid.is_some() || !self.keys.algorithms().contains(header.algorithm);
        match (is_unknown, self.keys_may_come && may_come) {
            (false, _) => Err(BadToken::Signature),
            (true, true) => Err(BadToken::KeyToCome),
            (true, false) => Err(BadToken::UnknownKey),
        }
    }

    fn check_times(&self, claims: &Map<String, Value>, unix_s: u64) -> Result<(), BadToken> {
        let expires_unix_s = claims::seconds(claims, "exp")?.ok_or(BadToken::MissingClaim("exp"))?;
        if unix_s >= expires_unix_s.saturating_add(self.leeway_s) {
            return Err(BadToken::Expired { ago_s: unix_s - expires_unix_s });
        }
        let begins_unix_s = claims::seconds(claims, "nbf")?.unwrap_or(0).saturating_sub(self.leeway_s);
        if unix_s < begins_unix_s {
            return Err(BadToken::NotYet { in_s: begins_unix_s - unix_s });
        }
        // One from the future would outlive a revocation of everything issued before now.
        let issued_unix_s = claims::seconds(claims, "iat")?.unwrap_or(0);
        if issued_unix_s > unix_s.saturating_add(self.leeway_s) {
            return Err(BadToken::Ahead { in_s: issued_unix_s - unix_s });
        }
        let life_max_s = self.rules.life_max_s;
        if expires_unix_s - unix_s.min(expires_unix_s) > life_max_s.saturating_add(self.leeway_s) {
            return Err(BadToken::TooLongLived { most_s: life_max_s });
        }
        Ok(())
    }

    /// Who gave it to whom (RFC 8725, 3.8, 3.9).
    fn check_parties(&self, key: &VerifyingKey, claims: &Map<String, Value>) -> Result<(), BadToken> {
        let bad = |claim, why| Err(BadToken::BadClaim { claim, why });
        let issuer = claims.get("iss");
        let issued_by = |wanted: &str| issuer.and_then(Value::as_str) == Some(wanted);
        if key.issuer().is_some_and(|wanted| !issued_by(wanted)) {
            return bad("iss", "is not the issuer this key belongs to");
        }
        if !self.rules.issuers.is_empty() && !self.rules.issuers.iter().any(|wanted| issued_by(wanted)) {
            return bad("iss", "is none of the issuers this server trusts");
        }
        let ours = |audience: &Value| self.rules.audiences.iter().any(|ours| audience.as_str() == Some(ours));
        match claims.get("aud") {
            None if self.rules.audiences.is_empty() => {}
            Some(Value::Array(audiences)) if audiences.iter().any(ours) => {}
            Some(audience) if ours(audience) => {}
            Some(_) if self.rules.audiences.is_empty() => {
                return bad("aud", "is for somebody, and this server has no `tokens.audiences`");
            }
            Some(_) | None => return bad("aud", "does not name this server"),
        }
        let missing = |claim: &&String| claims.get(claim.as_str()).is_none_or(Value::is_null);
        match self.rules.required.iter().any(|claim| missing(&claim)) {
            true => Err(BadToken::Required),
            false => Ok(()),
        }
    }
}

impl fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenVerifier").field("keys", &self.keys).field("rules", &self.rules).finish_non_exhaustive()
    }
}

/// One JSON part of a token (0: header, 1: claims), unproved: only for reading aloud and for choosing a sentence.
/// `None` if the token has not three parts or this one is no JSON object in base64url.
pub fn token_part(token: &str, index: usize) -> Option<Map<String, Value>> {
    let parts: Vec<&str> = token.splitn(4, '.').collect();
    if parts.len() != 3 || index > 1 {
        return None;
    }
    json::object(&URL_SAFE_NO_PAD.decode(parts[index]).ok()?)
}
