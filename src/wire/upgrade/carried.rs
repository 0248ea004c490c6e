//! The token, by whichever of its carriers.

use std::fmt;

use tungstenite::http::header::{AUTHORIZATION, HeaderMap};

/// What the carriers brought: `Authorization: Bearer`, a subprotocol `throng.token.<jwt>`, `?token=`.
///
/// Neither checked nor bounded beyond the head itself. `Debug` never shows it.
#[derive(Clone, PartialEq, Eq)]
pub enum Carried {
    /// No carrier, or only empty ones.
    None,
    /// One token, by one carrier or by several that agree.
    Token(String),
    /// Two different tokens: nobody can say who this is.
    Disagree,
}

impl Carried {
    pub(super) fn read(headers: &HeaderMap, query: &str, from_subprotocols: Vec<String>) -> Self {
        let from_headers = headers.get_all(AUTHORIZATION).iter().filter_map(|value| bearer(value.as_bytes()));
        let from_query = query.split('&').filter_map(query_token);
        let mut tokens = from_headers.chain(from_subprotocols).chain(from_query).filter(|token| !token.is_empty());
        let Some(first) = tokens.next() else { return Self::None };
        if tokens.all(|token| token == first) { Self::Token(first) } else { Self::Disagree }
    }
}

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Token(token) => write!(f, "Token({} bytes)", token.len()),
            Self::Disagree => f.write_str("Disagree"),
        }
    }
}

/// The credentials of `Bearer …` (RFC 6750, 2.1); another scheme belongs to somebody else on the way.
fn bearer(value: &[u8]) -> Option<String> {
    let (scheme, token) = value.split_at_checked(SCHEME.len())?;
    let ours = scheme.eq_ignore_ascii_case(SCHEME) && token.first().is_none_or(|byte| matches!(byte, b' ' | b'\t'));
    // What is not text stays a token that no signature fits, rather than none at all.
    ours.then(|| String::from_utf8_lossy(token.trim_ascii()).into_owned())
}

/// The value of a `token=…` of a query.
fn query_token(pair: &str) -> Option<String> {
    let (key, value) = pair.split_once('=')?;
    (percent_decoded(key) == b"token").then(|| String::from_utf8_lossy(&percent_decoded(value)).into_owned())
}

/// `%XX` become bytes; a `%` without two hex digits stays as it is (as browsers read it).
fn percent_decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let decoded = match (byte, after) {
            (b'%', [high, low, after @ ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| (high << 4 | low, after)),
            _ => None,
        };
        let (byte, after) = decoded.unwrap_or((byte, after));
        out.push(byte);
        rest = after;
    }
    out
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

const SCHEME: &[u8] = b"bearer";
