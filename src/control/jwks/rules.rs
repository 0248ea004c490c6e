//! What an operator says of one address of keys.
//!
//! Promises: rules that passed [`JwksRules::check`] are bounded, so that no sum of them overflows; what may be secret in an
//! address (a query, a user, a password) is never told.

use std::net::IpAddr;
use std::path::PathBuf;

use hyper::Uri;

use super::fetch;

/// One address of keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JwksRules {
    /// `https://…`; `http://` only to this host, unless `plain_http`.
    pub url: String,
    /// Its keys are good for tokens of this `iss` only. With several addresses each should have one.
    pub issuer: Option<String>,
    /// How long a set is used before it is fetched again, in seconds; at most a year.
    pub refresh_s: u64,
    /// The shortest time between two fetches, in seconds, however many tokens of unknown keys come.
    pub between_s: u64,
    /// How long keys are trusted of which no fetch could say that they still are, in seconds, at most a year and never less
    /// than twice `refresh_s`; then they are given up until a fetch brings some. 0: for ever.
    pub stale_max_s: u64,
    /// The longest time between two tries after failures, in seconds, at most a year; the first is 1 s, then it doubles.
    pub backoff_max_s: u64,
    /// Time for one fetch, in milliseconds, from the name's resolution to the last byte; at most ten minutes.
    pub timeout_ms: u64,
    /// Bytes of a set; at most 16 MiB.
    pub body_bytes_max: usize,
    /// Take keys without TLS from elsewhere, too: whoever sits in between can then make tokens.
    pub plain_http: bool,
    /// Certificates (PEM) of those who may vouch for this address, instead of the system's. Read when fetching starts.
    pub ca_file: Option<PathBuf>,
}

impl Default for JwksRules {
    fn default() -> Self {
        Self {
            url: String::new(),
            issuer: None,
            refresh_s: 600,
            between_s: 30,
            stale_max_s: 86_400,
            backoff_max_s: 300,
            timeout_ms: 5_000,
            body_bytes_max: 256 << 10,
            plain_http: false,
            ca_file: None,
        }
    }
}

impl JwksRules {
    /// The address as it may be told: in logs, and by `/readyz` to whoever asks.
    pub fn shown(&self) -> String {
        shown(&self.url)
    }

    /// How old keys may become before they are given up, in milliseconds; `None`: as old as they like.
    pub(super) fn stale_ms(&self) -> Option<u64> {
        (self.stale_max_s > 0).then(|| self.stale_max_s.max(2 * self.refresh_s) * 1_000)
    }

    /// Says what is wrong with these rules and what to do.
    pub fn check(&self) -> Result<(), String> {
        let shown = self.shown();
        let uri: Uri = self.url.parse().map_err(|_| format!("the JWKS address {shown:?} is not a URL"))?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            // They would be sent to nobody.
            return Err("a JWKS address has a user or a password in it, which are not sent: leave them out".to_owned());
        }
        match uri.scheme_str() {
            _ if host.is_empty() => return Err(format!("the JWKS address {shown:?} names no host")),
            Some("https") => {}
            Some("http") if is_here || self.plain_http => {}
            Some("http") => {
                return Err(format!(
                    "{shown} is not https: whoever sits in between could make tokens; if nobody can, set plain_http"
                ));
            }
            Some(_) | None => return Err(format!("the JWKS address {shown:?} is neither https nor http")),
        }
        let bounds = [
            (self.refresh_s >= self.between_s, "refresh is shorter than the shortest interval between two fetches"),
            (self.between_s >= 1, "the shortest interval between two fetches must be at least 1 s"),
            (self.backoff_max_s >= 1, "the longest wait after failures must be at least 1 s"),
            (self.timeout_ms >= 1, "the time for a fetch must be above 0"),
            (self.body_bytes_max >= 1, "the bytes of a set must be above 0"),
            (self.refresh_s <= YEAR_S, "refresh_s is more than a year (31,536,000 s)"),
            (self.stale_max_s <= YEAR_S, "stale_max_s is more than a year (31,536,000 s); 0 is never"),
            (self.backoff_max_s <= YEAR_S, "backoff_max_s is more than a year (31,536,000 s)"),
            (self.timeout_ms <= TIMEOUT_MS_MAX, "timeout_ms is more than ten minutes (600,000 ms)"),
            (self.body_bytes_max <= BODY_BYTES_MAX, "body_bytes_max is more than 16 MiB (16,777,216)"),
            (
                self.ca_file.is_none() || uri.scheme_str() == Some("https"),
                "ca_file says who vouches for an https address, and this is none",
            ),
        ];
        match bounds.iter().find(|(holds, _)| !holds) {
            Some((_, why)) => Err(format!("JWKS {shown}: {why}")),
            None => Ok(()),
        }
    }

    /// Whether the files these rules name can be used; else why not, as a sentence.
    pub fn check_files(&self) -> Result<(), String> {
        self.ca_file.as_deref().map_or(Ok(()), |path| fetch::vouched_for_by(path).map(drop))
    }
}

/// Scheme, host and path of an address. What an operator put behind them, a query, may be a secret.
pub fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    if scheme.is_empty() { format!("{host}{path}") } else { format!("{scheme}://{host}{path}") }
}

const YEAR_S: u64 = 365 * 86_400;
const TIMEOUT_MS_MAX: u64 = 600_000;
const BODY_BYTES_MAX: usize = 16 << 20;
