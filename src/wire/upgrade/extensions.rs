//! `Sec-WebSocket-Extensions`: `permessage-deflate` (RFC 7692, 7.1) without context takeover, or nothing.
//!
//! Promises: the first offer that can be granted is; one that asks for what is not given, or is no good offer, is declined
//! by going on to the next, and without any the connection goes on uncompressed. What cannot be read as the header's
//! grammar at all (RFC 6455, 9.1) is no request.

use std::borrow::Cow;

use tungstenite::http::header::{HeaderMap, SEC_WEBSOCKET_EXTENSIONS};

use super::offer::is_token_byte;

/// `permessage-deflate` as it was agreed on. Neither side remembers anything from one message to the next: so nobody who is
/// idle costs a buffer, and what is deflated once is read by everybody.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deflate {
    /// The client limited our window to the 15 bits that it has anyway: the answer says so (7.1.2.1).
    names_window: bool,
}

/// The header does not follow its grammar.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Unreadable;

impl Deflate {
    /// The first offer that can be granted, all headers of that name together.
    pub(super) fn read(headers: &HeaderMap) -> Result<Option<Self>, Unreadable> {
        let mut agreed = None;
        for line in headers.get_all(SEC_WEBSOCKET_EXTENSIONS) {
            let mut scan = Scan(line.as_bytes());
            while let Some((name, params)) = scan.offer()? {
                if agreed.is_none() && name == NAME {
                    agreed = Self::grant(&params);
                }
            }
        }
        Ok(agreed)
    }

    /// What the answer names (RFC 7692, 7.1).
    pub(super) fn answer(self) -> &'static str {
        match self.names_window {
            false => "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            true => {
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15"
            }
        }
    }

    /// `None`: declined.
    fn grant(params: &[Param<'_>]) -> Option<Self> {
        let mut agreed = Self { names_window: false };
        for (nth, (name, value)) in params.iter().enumerate() {
            if params[..nth].iter().any(|(before, _)| before == name) {
                return None;
            }
            match (*name, value.as_deref()) {
                ("server_no_context_takeover" | "client_no_context_takeover", None) => {}
                // How much the client itself remembers within a message is all the same to us.
                ("client_max_window_bits", None) => {}
                ("client_max_window_bits", Some(bits)) if WINDOW_BITS.contains(&bits) => {}
                // One window fits all: what is deflated once is for everybody.
                ("server_max_window_bits", Some("15")) => agreed.names_window = true,
                _ => return None,
            }
        }
        Some(agreed)
    }
}

type Param<'a> = (&'a str, Option<Cow<'a, str>>);

/// What is left of a line.
struct Scan<'a>(&'a [u8]);

impl<'a> Scan<'a> {
    /// The next extension and its parameters; `None` at the end.
    fn offer(&mut self) -> Result<Option<(&'a str, Vec<Param<'a>>)>, Unreadable> {
        // RFC 9110, 5.6.1.2: elements of a list may be empty.
        while self.eats(b',') {}
        if self.0.is_empty() {
            return Ok(None);
        }
        let name = self.token()?;
        let mut params = Vec::new();
        while self.eats(b';') {
            let param = self.token()?;
            let value = if self.eats(b'=') { Some(self.value()?) } else { None };
            params.push((param, value));
        }
        if self.0.is_empty() || self.eats(b',') { Ok(Some((name, params))) } else { Err(Unreadable) }
    }

    fn value(&mut self) -> Result<Cow<'a, str>, Unreadable> {
        if !self.eats(b'"') {
            return self.token().map(Cow::Borrowed);
        }
        // RFC 6455, 9.1: what a quoted value says must be a token.
        let mut value = String::new();
        loop {
            let (byte, rest) = match *self.0 {
                [b'\\', byte, ref rest @ ..] => (byte, rest),
                [b'"', ref rest @ ..] if !value.is_empty() => {
                    self.0 = rest;
                    self.skip_space();
                    return Ok(Cow::Owned(value));
                }
                [byte, ref rest @ ..] => (byte, rest),
                [] => return Err(Unreadable),
            };
            if !is_token_byte(byte) {
                return Err(Unreadable);
            }
            value.push(char::from(byte));
            self.0 = rest;
        }
    }

    fn token(&mut self) -> Result<&'a str, Unreadable> {
        let len = self.0.iter().take_while(|byte| is_token_byte(**byte)).count();
        let (token, rest) = self.0.split_at(len);
        self.0 = rest;
        self.skip_space();
        std::str::from_utf8(token).ok().filter(|token| !token.is_empty()).ok_or(Unreadable)
    }

    /// Whether this comes next; then it is behind, with the space around it.
    fn eats(&mut self, byte: u8) -> bool {
        self.skip_space();
        let Some(rest) = self.0.strip_prefix(&[byte]) else { return false };
        self.0 = rest;
        self.skip_space();
        true
    }

    fn skip_space(&mut self) {
        let len = self.0.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        self.0 = &self.0[len..];
    }
}

const NAME: &str = "permessage-deflate";
const WINDOW_BITS: [&str; 8] = ["8", "9", "10", "11", "12", "13", "14", "15"];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Read {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(SEC_WEBSOCKET_EXTENSIONS, line.parse().expect("a header's value"));
        }
        Deflate::read(&headers)
    }

    type Read = Result<Option<Deflate>, Unreadable>;

    const PLAIN: Read = Ok(Some(Deflate { names_window: false }));
    const NAMED: Read = Ok(Some(Deflate { names_window: true }));

    #[test]
    fn the_first_offer_that_can_be_granted_is() {
        let table: &[(&[&str], Read)] = &[
            (&[], Ok(None)),
            (&["permessage-deflate"], PLAIN),
            // Chromium and Firefox.
            (&["permessage-deflate; client_max_window_bits"], PLAIN),
            // Safari.
            (&["permessage-deflate, x-webkit-deflate-frame"], PLAIN),
            (&["permessage-deflate;client_no_context_takeover ;\tserver_no_context_takeover"], PLAIN),
            (&["permessage-deflate; client_max_window_bits=8"], PLAIN),
            (&["permessage-deflate; client_max_window_bits=\"10\""], PLAIN),
            (&["permessage-deflate; server_max_window_bits=15"], NAMED),
            (&["permessage-deflate; server_max_window_bits=\"1\\5\""], NAMED),
            // We keep one window for all.
            (&["permessage-deflate; server_max_window_bits=10"], Ok(None)),
            (&["permessage-deflate; server_max_window_bits=10, permessage-deflate"], PLAIN),
            (
                &["permessage-deflate; server_max_window_bits=8", "x, permessage-deflate; server_max_window_bits=15"],
                NAMED,
            ),
            (&["permessage-deflate, permessage-deflate; server_max_window_bits=15"], PLAIN),
            (&["permessage-bzip2", "permessage-deflate"], PLAIN),
            (&["permessage-bzip2; level=9"], Ok(None)),
            (&["Permessage-Deflate"], Ok(None)),
            (&[",, permessage-deflate ,"], PLAIN),
            (&[""], Ok(None)),
        ];
        for (lines, expected) in table {
            assert_eq!(read(lines), *expected, "{lines:?}");
        }
    }

    #[test]
    fn an_offer_that_is_none_is_declined() {
        for params in [
            "server_max_window_bits",
            "server_max_window_bits=16",
            "server_max_window_bits=7",
            "server_max_window_bits=015",
            "client_max_window_bits=7",
            "client_max_window_bits=16",
            "client_max_window_bits=08",
            "client_max_window_bits=1x",
            "server_no_context_takeover=true",
            "client_no_context_takeover=\"\\1\"",
            "client_max_window_bits; client_max_window_bits",
            "server_no_context_takeover; client_max_window_bits; server_no_context_takeover",
            "mux",
            "level=9",
        ] {
            assert_eq!(read(&[&format!("permessage-deflate; {params}")]), Ok(None), "{params}");
            assert_eq!(read(&[&format!("permessage-deflate; {params}, permessage-deflate")]), PLAIN, "{params}");
        }
    }

    #[test]
    fn what_does_not_follow_the_grammar_cannot_be_read() {
        for line in [
            ";",
            "permessage-deflate;",
            "permessage-deflate; =1",
            "permessage-deflate; client_max_window_bits=",
            "permessage-deflate; client_max_window_bits=\"\"",
            "permessage-deflate; client_max_window_bits=\"10",
            "permessage-deflate; client_max_window_bits=\"1 0\"",
            "permessage-deflate client_max_window_bits",
            "permessage-deflate; a=b c",
            "permessage/deflate",
            "permessage-deflate, ä",
        ] {
            assert_eq!(read(&[line]), Err(Unreadable), "{line}");
        }
    }

    #[test]
    fn the_answer_is_an_offer_that_would_be_granted() {
        for agreed in [PLAIN, NAMED] {
            assert_eq!(read(&[agreed.unwrap().unwrap().answer()]), agreed);
        }
    }
}
