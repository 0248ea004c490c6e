//! The token, by whichever of its carriers.

use std::fmt;

use tungstenite::http::header::{AUTHORIZATION, COOKIE, HeaderMap};

/// Which carriers beside the header, the subprotocol, the query and the ticket are taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Carriers {
    /// The name of a cookie that holds the token. It is looked at only for a page whose origin is *listed*
    /// ([`Origins::has_list`](crate::wire::Origins::has_list)): browsers send cookies along whoever's page asks.
    /// Default: none.
    pub cookie: Option<String>,
    /// Whether a client that offers a `throng.v1.*` and brings no token may send it as its first message,
    /// `hello{token}`. Default: yes.
    pub hello: bool,
}

impl Default for Carriers {
    fn default() -> Self {
        Self { cookie: None, hello: true }
    }
}

impl Carriers {
    /// Says what is wrong with these settings.
    pub fn check(&self) -> Result<(), String> {
        let allows = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        match &self.cookie {
            Some(name) if name.is_empty() || !name.bytes().all(allows) => {
                Err(format!("`{name}` is no name of a cookie: use letters, digits, `-` and `_`"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// What the carriers brought: `Authorization: Bearer`, a subprotocol `throng.token.<jwt>`, `?token=`, `?ticket=`, a cookie.
///
/// Neither checked nor bounded beyond the head itself. `Debug` never shows it.
#[derive(Clone, PartialEq, Eq)]
pub enum Carried {
    /// No carrier, or only empty ones.
    None,
    /// One token, by one carrier or by several that agree.
    Token {
        token: String,
        /// The query was among the carriers: others log URLs.
        in_url: bool,
    },
    /// A one-time ticket, and nothing else.
    Ticket(String),
    /// Two different tokens, two tickets, or a ticket and a token: nobody can say who this is.
    Disagree,
}

impl Carried {
    pub(super) fn read(headers: &HeaderMap, query: &str, from_subprotocols: Vec<String>) -> Self {
        let from_headers = headers.get_all(AUTHORIZATION).iter().filter_map(|value| bearer(value.as_bytes()));
        let from_query = || query.split('&').filter_map(|pair| query_value(pair, b"token")).filter(|it| !it.is_empty());
        let tokens = from_headers.chain(from_subprotocols).filter(|token| !token.is_empty()).chain(from_query());
        let tickets = query.split('&').filter_map(|pair| query_value(pair, b"ticket")).filter(|it| !it.is_empty());
        match (one_of(tokens), one_of(tickets)) {
            (Ok(None), Ok(None)) => Self::None,
            (Ok(Some(token)), Ok(None)) => Self::Token { token, in_url: from_query().next().is_some() },
            (Ok(None), Ok(Some(ticket))) => Self::Ticket(ticket),
            (Ok(Some(_)), Ok(Some(_))) | (Err(Differ), _) | (_, Err(Differ)) => Self::Disagree,
        }
    }

    /// The same with a cookie of this name beside it.
    pub(super) fn with_cookie(&self, cookies: &Cookies, name: &str) -> Self {
        let Ok(cookie) = one_of(cookies.named(name)) else { return Self::Disagree };
        match (self, cookie) {
            (_, None) => self.clone(),
            (Self::None, Some(token)) => Self::Token { token, in_url: false },
            (Self::Token { token, .. }, Some(cookie)) if *token == cookie => self.clone(),
            (Self::Token { .. } | Self::Ticket(_) | Self::Disagree, Some(_)) => Self::Disagree,
        }
    }
}

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Token { token, in_url } => write!(f, "Token({} bytes, in the URL: {in_url})", token.len()),
            Self::Ticket(ticket) => write!(f, "Ticket({} bytes)", ticket.len()),
            Self::Disagree => f.write_str("Disagree"),
        }
    }
}

/// The `Cookie` lines, unread until the operator's rules say that they may be.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Cookies(Vec<u8>);

impl Cookies {
    pub(super) fn read(headers: &HeaderMap) -> Self {
        let lines: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(|value| value.as_bytes()).collect();
        Self(lines.join(&b';'))
    }

    /// The values under a name (RFC 6265, 4.2.1), empty ones left out.
    fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = String> + 'a {
        self.0.split(|byte| *byte == b';').filter_map(move |pair| {
            let at = pair.iter().position(|byte| *byte == b'=')?;
            let (key, value) = (pair[..at].trim_ascii(), pair[at + 1..].trim_ascii());
            let bare = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
            (key == name.as_bytes() && !bare.is_empty()).then(|| String::from_utf8_lossy(bare).into_owned())
        })
    }
}

impl fmt::Debug for Cookies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cookies({} bytes)", self.0.len())
    }
}

/// Two values that differ.
struct Differ;

/// The one value that all of these are.
fn one_of(mut values: impl Iterator<Item = String>) -> Result<Option<String>, Differ> {
    let Some(first) = values.next() else { return Ok(None) };
    if values.all(|value| value == first) { Ok(Some(first)) } else { Err(Differ) }
}

/// The credentials of `Bearer …` (RFC 6750, 2.1); another scheme belongs to somebody else on the way.
fn bearer(value: &[u8]) -> Option<String> {
    let (scheme, token) = value.split_at_checked(SCHEME.len())?;
    let ours = scheme.eq_ignore_ascii_case(SCHEME) && token.first().is_none_or(|byte| matches!(byte, b' ' | b'\t'));
    // What is not text stays a token that no signature fits, rather than none at all.
    ours.then(|| String::from_utf8_lossy(token.trim_ascii()).into_owned())
}

/// The value of a `name=…` of a query.
fn query_value(pair: &str, name: &[u8]) -> Option<String> {
    let (key, value) = pair.split_once('=')?;
    let is_meant = if key.contains('%') { percent_decoded(key) == name } else { key.as_bytes() == name };
    is_meant.then(|| String::from_utf8_lossy(&percent_decoded(value)).into_owned())
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
