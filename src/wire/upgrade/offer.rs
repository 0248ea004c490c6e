//! `Sec-WebSocket-Protocol`: which of ours the client speaks, and tokens that travel as names.

use tungstenite::http::header::{HeaderMap, SEC_WEBSOCKET_PROTOCOL};

use crate::base::Encoding;

/// What the client offered, all headers of that name together (RFC 6455, 11.3.4). Foreign names are passed over.
#[derive(Default)]
pub(super) struct Offer {
    /// The first one that we speak.
    pub(super) chosen: Option<&'static str>,
    /// Some `throng.v1.*` was among them.
    pub(super) offers_ours: bool,
    /// The first `throng.*` that we do not speak and that is no token.
    pub(super) unknown: Option<String>,
    pub(super) tokens: Vec<String>,
}

impl Offer {
    pub(super) fn read(headers: &HeaderMap) -> Self {
        let mut offer = Self::default();
        for value in headers.get_all(SEC_WEBSOCKET_PROTOCOL) {
            for name in value.as_bytes().split(|byte| *byte == b',') {
                // What is not even text is foreign.
                if let Ok(name) = std::str::from_utf8(name.trim_ascii()) {
                    offer.take(name);
                }
            }
        }
        offer
    }

    fn take(&mut self, name: &str) {
        if let Some(token) = name.strip_prefix(TOKEN) {
            self.tokens.push(token.to_owned());
            return;
        }
        if !name.starts_with(OURS) {
            return;
        }
        self.offers_ours |= name.starts_with(V1);
        if let Some(known) = [MSGPACK, JSON].into_iter().find(|known| *known == name) {
            self.chosen.get_or_insert(known);
        } else if self.unknown.is_none() && name.bytes().all(is_token_byte) {
            // Only what may be said back: the answer repeats it.
            self.unknown = Some(name.to_owned());
        }
    }

    pub(super) fn encoding(&self) -> Encoding {
        match self.chosen {
            Some(MSGPACK) => Encoding::MessagePack,
            Some(_) | None => Encoding::Json,
        }
    }
}

/// RFC 9110, 5.6.2.
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

const OURS: &str = "throng.";
const V1: &str = "throng.v1.";
const MSGPACK: &str = "throng.v1.msgpack";
const JSON: &str = "throng.v1.json";
const TOKEN: &str = "throng.token.";
