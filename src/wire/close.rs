//! "Goodbye, and why": how a connection ended.
//!
//! Promises: a closed set; what has a code stands in `docs/protocol.md`, "Closing" (a test reads that table); the ends
//! that have no code on the wire still have a name, so that each is counted. A reason's text fits a close frame.
//! `docs/errors.md` is written from what stands here. When *we* are wrong there is no reason: the process ends.

/// Why a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CloseReason {
    /// The client said goodbye first.
    Bye,
    /// The server stops.
    GoingAway,
    /// The client broke RFC 6455.
    Protocol,
    /// Text where binary was agreed, or the reverse.
    WrongKind,
    /// A text message, or a close reason, that is not UTF-8.
    NotUtf8,
    /// A message, a frame or a number of fragments beyond the limit.
    TooBig,
    /// Not now: there is no room for another session, or what its token needs is not there yet.
    Busy,
    /// The server is being replaced, and the connection's slot has come.
    Restart,
    /// The client took nothing for the time allowed.
    Slow,
    /// Nothing was heard, not even a pong.
    Silent,
    /// The token's time is over, or a ticket's.
    Expired,
    /// The user has as many connections as it may.
    UserFull,
    /// No `hello` in time after an upgrade without a token.
    NoHello,
    /// An operator or a backend ended it; it may come back.
    Kicked,
    /// It went on after having been refused as too often, as malformed or as too much, again and again.
    Flooding,
    /// The token, its user or everything issued so early was revoked.
    Revoked,
    /// An operator or a backend ended it, and it is not wanted back.
    Banned,
    /// The session goes on by another socket.
    TakenOver,
    /// The token was not accepted, or there was none.
    BadToken,
    /// The page's origin is not allowed.
    Origin,
    /// No version of ours was offered.
    Version,
    /// The peer vanished or closed TCP without a goodbye. Nothing is sent.
    Gone,
    /// The server holds as many connections as it may.
    Full,
    /// The server leaves, and takes nobody new in.
    Draining,
    /// Too many handshakes are under way, or their heads are too long together.
    HandshakesFull,
    /// The address has as many connections as it may.
    AddressFull,
    /// The address begins handshakes faster than it may.
    HandshakeRate,
    /// Too many handshakes of the address came to nothing, and this one, too.
    FailedTooOften,
    /// No complete request head in time.
    HandshakeTimeout,
    /// A request head beyond the limit.
    HeadTooLong,
    /// The request was no good HTTP, or no good upgrade.
    BadHandshake,
    /// A trusted proxy's connection did not begin with a PROXY header. Nothing is sent.
    BadProxy,
    /// Not an upgrade: the socket lives on in the control plane.
    HandedOver,
}

impl CloseReason {
    /// Every reason, in the order of [`CloseReason::index`].
    pub const ALL: [Self; 33] = [
        Self::Bye,
        Self::GoingAway,
        Self::Protocol,
        Self::WrongKind,
        Self::NotUtf8,
        Self::TooBig,
        Self::Busy,
        Self::Restart,
        Self::Slow,
        Self::Silent,
        Self::Expired,
        Self::UserFull,
        Self::NoHello,
        Self::Kicked,
        Self::Flooding,
        Self::Revoked,
        Self::Banned,
        Self::TakenOver,
        Self::BadToken,
        Self::Origin,
        Self::Version,
        Self::Gone,
        Self::Full,
        Self::Draining,
        Self::HandshakesFull,
        Self::AddressFull,
        Self::HandshakeRate,
        Self::FailedTooOften,
        Self::HandshakeTimeout,
        Self::HeadTooLong,
        Self::BadHandshake,
        Self::BadProxy,
        Self::HandedOver,
    ];

    /// The WebSocket close code; `None` for the ends that send no close frame.
    pub fn code(self) -> Option<u16> {
        match self {
            Self::Bye => Some(1000),
            Self::GoingAway => Some(1001),
            Self::Protocol => Some(1002),
            Self::WrongKind => Some(1003),
            Self::NotUtf8 => Some(1007),
            Self::TooBig => Some(1009),
            Self::Busy => Some(1013),
            Self::Restart => Some(1012),
            Self::Slow => Some(4001),
            Self::Silent => Some(4002),
            Self::Expired => Some(4003),
            Self::UserFull => Some(4004),
            Self::NoHello => Some(4005),
            Self::Kicked => Some(4006),
            Self::Flooding => Some(4007),
            Self::Revoked => Some(4500),
            Self::Banned => Some(4501),
            Self::TakenOver => Some(4502),
            Self::BadToken => Some(4503),
            Self::Origin => Some(4504),
            Self::Version => Some(4505),
            Self::Gone
            | Self::Full
            | Self::Draining
            | Self::HandshakesFull
            | Self::AddressFull
            | Self::HandshakeRate
            | Self::FailedTooOften
            | Self::HandshakeTimeout
            | Self::HeadTooLong
            | Self::BadHandshake
            | Self::BadProxy
            | Self::HandedOver => None,
        }
    }

    /// The word in logs, the label of its counter, and `error` in an HTTP answer.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bye => "bye",
            Self::GoingAway => "going_away",
            Self::Protocol => "protocol",
            Self::WrongKind => "wrong_kind",
            Self::NotUtf8 => "not_utf8",
            Self::TooBig => "too_big",
            Self::Busy => "busy",
            Self::Restart => "restart",
            Self::Slow => "slow",
            Self::Silent => "silent",
            Self::Expired => "expired",
            Self::UserFull => "user_full",
            Self::NoHello => "no_hello",
            Self::Kicked => "kicked",
            Self::Flooding => "flooding",
            Self::Revoked => "revoked",
            Self::Banned => "banned",
            Self::TakenOver => "taken_over",
            Self::BadToken => "bad_token",
            Self::Origin => "origin",
            Self::Version => "version",
            Self::Gone => "gone",
            Self::Full => "full",
            Self::Draining => "draining",
            Self::HandshakesFull => "handshakes_full",
            Self::AddressFull => "address_full",
            Self::HandshakeRate => "handshake_rate",
            Self::FailedTooOften => "failed_too_often",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::HeadTooLong => "head_too_long",
            Self::BadHandshake => "bad_handshake",
            Self::BadProxy => "bad_proxy",
            Self::HandedOver => "handed_over",
        }
    }

    /// The reason text of the close frame, at most 123 bytes (RFC 6455 5.5); for people, never parsed.
    pub fn message(self) -> &'static str {
        match self {
            Self::Bye => "goodbye",
            Self::GoingAway => "the server stops, come back",
            Self::Protocol => "this breaks RFC 6455",
            Self::WrongKind => "text where binary was agreed, or the reverse",
            Self::NotUtf8 => "text that is not UTF-8",
            Self::TooBig => "a message, a frame or a number of fragments beyond the limit",
            Self::Busy => "not now, try again in a while",
            Self::Restart => "the server is being replaced, come back now",
            Self::Slow => "nothing was read for too long",
            Self::Silent => "nothing was heard for too long, not even a pong",
            Self::Expired => "the token's time is over: refresh it first",
            Self::UserFull => "this user has as many connections as it may: close another one",
            Self::NoHello => "no hello{token} in time",
            Self::Kicked => "the server's operator ended this connection: come back",
            Self::Flooding => "it went on after having been refused again and again",
            Self::Revoked => "the token was revoked",
            Self::Banned => "the server's operator ended this connection: do not come back",
            Self::TakenOver => "this session goes on by another connection",
            Self::BadToken => "the token was not accepted",
            Self::Origin => "this page's origin is not allowed here: the operator lists origins",
            Self::Version => "no version of ours among the subprotocols",
            Self::Gone => "the peer vanished",
            Self::Full => "this server has no place left, try again later",
            Self::Draining => "this server is being replaced: try again",
            Self::HandshakesFull => "too many handshakes are under way, try again",
            Self::AddressFull => "this address has as many connections as it may",
            Self::HandshakeRate => "too many handshakes from this address, wait a little",
            Self::FailedTooOften => "too many handshakes of this address came to nothing, and this one, too",
            Self::HandshakeTimeout => "no complete request in time",
            Self::HeadTooLong => "the request head is longer than the limit",
            Self::BadHandshake => "the request was answered by an HTTP status",
            Self::BadProxy => "no good PROXY header from a trusted proxy",
            Self::HandedOver => "not an upgrade, handed to the control plane",
        }
    }

    /// What to do about it, for `docs/errors.md`.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Bye => "Nothing: you asked for it.",
            Self::GoingAway => "Come back, with backoff: another server, or this one again.",
            Self::Protocol => {
                "Mend the WebSocket library, or what changes its bytes on the way; the reason says which rule was broken."
            }
            Self::WrongKind => "Send text messages as throng.v1.json and binary ones as throng.v1.msgpack.",
            Self::NotUtf8 => "Encode text as UTF-8.",
            Self::TooBig => {
                "Send less at once: `welcome` says how many bytes a message may have; a `hello` may have 4 KiB."
            }
            Self::Busy => {
                "Try again later, with backoff. If it lasts, the operator should look at the server's load, and at its keys if they are fetched."
            }
            Self::Restart => "Come back at once, without backoff: another server may have the address already.",
            Self::Slow => "Come back and read faster, or join fewer rooms.",
            Self::Silent => {
                "Come back. If it happens often, something on the way drops quiet connections: answer pings, and let proxies be silent for longer than the heartbeat."
            }
            Self::Expired => "Get a new token (or ticket) first, then come back with it.",
            Self::UserFull => {
                "Close another connection of this user (a forgotten tab, a client that opens without closing), then come back. The operator's limit is `connections_per_user_max`."
            }
            Self::NoHello => "Send `hello` with a token as the first message, at once after the connection opens.",
            Self::Kicked => {
                "Come back, with backoff. It was ended by hand, or by your backend: nothing is wrong with the token."
            }
            Self::Flooding => {
                "Come back with backoff, and wait for `retry_after_ms` whenever something is refused as `too_often`; mend what is refused as `malformed`, `too_deep` or `too_long`; or inflate less: the reason says which. The operator's limits are `strikes_per_minute` and `inflated_per_tick_max`."
            }
            Self::Banned => {
                "Do not come back by yourself. It was ended by hand, or by your backend, which knows why; the token is as good as before."
            }
            Self::TakenOver => {
                "Nothing, if it was you who resumed: this socket is the old one. Two clients (a tab that was duplicated) must not share one session: let each have its own."
            }
            Self::Revoked => {
                "Do not come back with this token. A new one is good if it was issued after the revocation."
            }
            Self::BadToken => {
                "Do not come back with this token. The reason says what is wrong with it; `throng token --explain` says more."
            }
            Self::Origin => {
                "Serve the page from an allowed origin, or let the operator add it to `origins.allow`. Behind a proxy: pass `Host` on."
            }
            Self::Version => {
                "Offer `throng.v1.json` or `throng.v1.msgpack`: the client is newer or older than this server."
            }
            Self::Gone => "Come back.",
            Self::Full => {
                "Try again after `Retry-After`, with backoff. The operator's limit is `--max-connections`, `connections_per_shard_max`, or what the host can hold."
            }
            Self::Draining => "Try again after `Retry-After`: another server may have the address already.",
            Self::HandshakesFull => "Try again after `Retry-After`, with backoff.",
            Self::AddressFull => {
                "Close some, then try again. The operator's limit is `connections_per_address_max`; behind a proxy, name it in `proxies.trusted`."
            }
            Self::HandshakeRate => {
                "Try again after `Retry-After`, with backoff and jitter. The operator's limit is `handshakes_per_address_per_s`; behind a proxy, name it in `proxies.trusted`."
            }
            Self::FailedTooOften => {
                "Get a good token first, then come back: it is let in at once. Or something behind this address tries bad tokens again and again, or begins handshakes and does not go on. The operator's limit is `failures_per_address_per_minute`; behind a proxy, name it in `proxies.trusted`."
            }
            Self::HandshakeTimeout => "Send the whole request at once, then try again.",
            Self::HeadTooLong => "Send fewer or shorter headers; cookies of other services are the usual cause.",
            Self::BadHandshake => "Mend the request; the answer says what is wrong with it (400, 405 or 426).",
            Self::BadProxy => {
                "For the operator: let the proxy send the PROXY protocol (nginx `proxy_protocol on`, HAProxy `send-proxy-v2`), or set `proxies.protocol` to off."
            }
            Self::HandedOver => "Nothing: an ordinary HTTP request.",
        }
    }

    /// The status of the HTTP answer where one is given: before an upgrade, to whoever would not understand a close code.
    pub fn http_status(self) -> Option<u16> {
        match self {
            Self::Bye
            | Self::GoingAway
            | Self::Protocol
            | Self::WrongKind
            | Self::NotUtf8
            | Self::TooBig
            | Self::Restart
            | Self::Slow
            | Self::Silent
            | Self::UserFull
            | Self::NoHello
            | Self::Kicked
            | Self::Flooding
            | Self::Banned
            | Self::TakenOver
            | Self::Version
            | Self::Gone
            | Self::BadProxy
            | Self::HandedOver => None,
            Self::Busy | Self::Full | Self::Draining | Self::HandshakesFull => Some(503),
            Self::Expired | Self::Revoked | Self::BadToken => Some(401),
            Self::Origin => Some(403),
            Self::AddressFull | Self::HandshakeRate | Self::FailedTooOften => Some(429),
            Self::HandshakeTimeout => Some(408),
            Self::HeadTooLong => Some(431),
            Self::BadHandshake => Some(400),
        }
    }

    /// `Retry-After` of that answer, in seconds.
    pub fn retry_after_s(self) -> Option<u32> {
        match self {
            Self::Bye
            | Self::GoingAway
            | Self::Protocol
            | Self::WrongKind
            | Self::NotUtf8
            | Self::TooBig
            | Self::Restart
            | Self::Slow
            | Self::Silent
            | Self::Expired
            | Self::UserFull
            | Self::NoHello
            | Self::Kicked
            | Self::Flooding
            | Self::Banned
            | Self::TakenOver
            | Self::Revoked
            | Self::BadToken
            | Self::Origin
            | Self::Version
            | Self::Gone
            | Self::HandshakeTimeout
            | Self::HeadTooLong
            | Self::BadHandshake
            | Self::BadProxy
            | Self::HandedOver => None,
            Self::Busy | Self::Full | Self::AddressFull => Some(5),
            Self::Draining | Self::HandshakesFull | Self::HandshakeRate => Some(1),
            Self::FailedTooOften => Some(60),
        }
    }

    /// Whether a client that ended this way is expected back, with backoff. For our own codes the range says it
    /// (4000–4499 yes, 4500–4999 no); what broke the protocol would only happen again.
    pub fn may_retry(self) -> bool {
        match self {
            Self::GoingAway
            | Self::Busy
            | Self::Restart
            | Self::Slow
            | Self::Silent
            | Self::Expired
            | Self::Kicked
            | Self::Flooding
            | Self::UserFull
            | Self::NoHello
            | Self::Gone
            | Self::Full
            | Self::Draining
            | Self::HandshakesFull
            | Self::AddressFull
            | Self::HandshakeRate
            | Self::FailedTooOften
            | Self::HandshakeTimeout => true,
            Self::Bye
            | Self::Protocol
            | Self::WrongKind
            | Self::NotUtf8
            | Self::TooBig
            | Self::Banned
            | Self::TakenOver
            | Self::Revoked
            | Self::BadToken
            | Self::Origin
            | Self::Version
            | Self::HeadTooLong
            | Self::BadHandshake
            | Self::BadProxy
            | Self::HandedOver => false,
        }
    }

    /// Whether the session of a connection that ended this way is kept for a while, so that it can be resumed: it was lost,
    /// or is invited back.
    pub fn keeps_session(self) -> bool {
        self.may_retry()
    }

    /// Whether a handshake that ends so came to nothing by the client's doing; what is no good `hello` is such an end, too.
    pub fn is_failed_handshake(self) -> bool {
        matches!(
            self,
            Self::Protocol
                | Self::WrongKind
                | Self::NotUtf8
                | Self::TooBig
                | Self::BadToken
                | Self::Expired
                | Self::Revoked
                | Self::NoHello
                | Self::FailedTooOften
                | Self::HandshakeTimeout
                | Self::HeadTooLong
                | Self::BadHandshake
        )
    }

    /// The place in a table of all reasons.
    pub fn index(self) -> usize {
        self as usize
    }

    /// The reason of a code read from the wire.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == Some(code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_at_its_index_and_is_found_by_its_code() {
        for (place, reason) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), place);
            if let Some(code) = reason.code() {
                assert_eq!(CloseReason::from_code(code), Some(reason));
            }
        }
        assert_eq!(CloseReason::from_code(1006), None);
    }

    #[test]
    fn our_own_codes_say_by_their_range_whether_to_come_back() {
        let ours = CloseReason::ALL.into_iter().filter_map(|reason| Some((reason, reason.code()?)));
        for (reason, code) in ours.filter(|(_, code)| *code >= 4000) {
            assert_eq!(reason.may_retry(), (4000..4500).contains(&code), "{reason:?}");
        }
    }

    #[test]
    fn a_reason_fits_a_close_frame() {
        for reason in CloseReason::ALL {
            assert!((1..=123).contains(&reason.message().len()), "{reason:?}");
            assert!(!reason.advice().is_empty() && !reason.advice().contains('|'), "{reason:?} stands in a table");
        }
    }

    #[test]
    fn who_is_asked_to_wait_is_answered_by_http_and_expected_back() {
        for reason in CloseReason::ALL {
            let (status, wait) = (reason.http_status(), reason.retry_after_s());
            assert_eq!(matches!(status, Some(429 | 503)), wait.is_some(), "{reason:?}");
            assert!(wait.is_none() || reason.may_retry(), "{reason:?}");
        }
    }
}
