//! "Goodbye, and why": how a connection ended.
//!
//! Promises: a closed set; what has a code stands in `docs/protocol.md`, "Closing" (a test reads that table); the ends
//! that have no code on the wire still have a name, so that each is counted. A reason's text fits a close frame.

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
    /// Our fault.
    Internal,
    /// The server is being replaced, and the connection's slot has come.
    Restart,
    /// The client took nothing for the time allowed.
    Slow,
    /// Nothing was heard, not even a pong.
    Silent,
    /// The token's time is over.
    Expired,
    /// The token was not accepted.
    BadToken,
    /// No version of ours was offered.
    Version,
    /// The peer vanished or closed TCP without a goodbye. Nothing is sent.
    Gone,
    /// No complete request head in time. Nothing is sent.
    HandshakeTimeout,
    /// The request was answered by an HTTP status instead of an upgrade.
    BadHandshake,
    /// Not an upgrade: the socket lives on in the control plane.
    HandedOver,
}

impl CloseReason {
    /// Every reason, in the order of [`CloseReason::index`].
    pub const ALL: [Self; 17] = [
        Self::Bye,
        Self::GoingAway,
        Self::Protocol,
        Self::WrongKind,
        Self::NotUtf8,
        Self::TooBig,
        Self::Internal,
        Self::Restart,
        Self::Slow,
        Self::Silent,
        Self::Expired,
        Self::BadToken,
        Self::Version,
        Self::Gone,
        Self::HandshakeTimeout,
        Self::BadHandshake,
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
            Self::Internal => Some(1011),
            Self::Restart => Some(1012),
            Self::Slow => Some(4001),
            Self::Silent => Some(4002),
            Self::Expired => Some(4003),
            Self::BadToken => Some(4503),
            Self::Version => Some(4505),
            Self::Gone | Self::HandshakeTimeout | Self::BadHandshake | Self::HandedOver => None,
        }
    }

    /// The word in logs, and the label of its counter.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bye => "bye",
            Self::GoingAway => "going_away",
            Self::Protocol => "protocol",
            Self::WrongKind => "wrong_kind",
            Self::NotUtf8 => "not_utf8",
            Self::TooBig => "too_big",
            Self::Internal => "internal",
            Self::Restart => "restart",
            Self::Slow => "slow",
            Self::Silent => "silent",
            Self::Expired => "expired",
            Self::BadToken => "bad_token",
            Self::Version => "version",
            Self::Gone => "gone",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::BadHandshake => "bad_handshake",
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
            Self::Internal => "our fault",
            Self::Restart => "the server is being replaced, come back now",
            Self::Slow => "nothing was read for too long",
            Self::Silent => "nothing was heard for too long, not even a pong",
            Self::Expired => "the token's time is over: refresh it first",
            Self::BadToken => "the token was not accepted",
            Self::Version => "no version of ours among the subprotocols",
            Self::Gone => "the peer vanished",
            Self::HandshakeTimeout => "no complete request in time",
            Self::BadHandshake => "the request was answered by an HTTP status",
            Self::HandedOver => "not an upgrade, handed to the control plane",
        }
    }

    /// Whether a client that ended this way is expected back, with backoff. For our own codes the range says it
    /// (4000–4499 yes, 4500–4999 no); what broke the protocol would only happen again.
    pub fn may_retry(self) -> bool {
        match self {
            Self::GoingAway
            | Self::Internal
            | Self::Restart
            | Self::Slow
            | Self::Silent
            | Self::Expired
            | Self::Gone
            | Self::HandshakeTimeout => true,
            Self::Bye
            | Self::Protocol
            | Self::WrongKind
            | Self::NotUtf8
            | Self::TooBig
            | Self::BadToken
            | Self::Version
            | Self::BadHandshake
            | Self::HandedOver => false,
        }
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
        }
    }
}
