//! Why a token was not taken.

use thiserror::Error;

use super::algorithm::Algorithms;
use crate::wire::close::CloseReason;

/// Why a token was not taken, as a sentence for the person who made it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum BadToken {
    #[error("the token has more than {0} bytes")]
    TooLong(usize),
    #[error("this is not a JWT: it needs three base64url parts, the first two JSON objects")]
    Malformed,
    #[error("the token is not signed with {0}, which this server takes")]
    Algorithm(Algorithms),
    #[error("the token asks for header extensions (`crit`) this server does not know")]
    Critical,
    #[error("the token's `typ` is not one this server takes: it was made for something else")]
    Type,
    #[error("this server has no key of the token's `kid` and `alg`")]
    UnknownKey,
    /// The keys are fetched; this one may be among them the next time.
    #[error("this server does not know the token's key yet: try again in a while")]
    KeyToCome,
    #[error("the token's signature does not fit this server's key")]
    Signature,
    #[error("the token has no `{0}`")]
    MissingClaim(&'static str),
    #[error("the token lacks a claim this server requires (`tokens.required`)")]
    Required,
    #[error("the token's `{claim}` {why}")]
    BadClaim { claim: &'static str, why: &'static str },
    #[error("the token expired {ago_s} s ago")]
    Expired { ago_s: u64 },
    #[error("the token is not valid for another {in_s} s (`nbf`)")]
    NotYet { in_s: u64 },
    /// Who waits until this server's clock is set, or the issuer's, need not log in again for it.
    #[error("the token's `iat` lies in the future, by {in_s} s: is a clock wrong?")]
    Ahead { in_s: u64 },
    #[error("the token is good for longer than {most_s} s (`tokens.life_max`)")]
    TooLongLived { most_s: u64 },
    #[error("a token in a URL may be good for {most_s} s at most: send it in the header or the subprotocol")]
    TooLongForUrl { most_s: u64 },
    #[error("the token was revoked")]
    Revoked,
}

impl BadToken {
    /// How a connection that brought it ends.
    pub fn close_reason(self) -> CloseReason {
        match self {
            Self::Expired { .. } => CloseReason::Expired,
            Self::Revoked => CloseReason::Revoked,
            Self::KeyToCome | Self::NotYet { .. } | Self::Ahead { .. } => CloseReason::Busy,
            Self::TooLong(_)
            | Self::Malformed
            | Self::Algorithm(_)
            | Self::Critical
            | Self::Type
            | Self::UnknownKey
            | Self::Signature
            | Self::MissingClaim(_)
            | Self::Required
            | Self::BadClaim { .. }
            | Self::TooLongLived { .. }
            | Self::TooLongForUrl { .. } => CloseReason::BadToken,
        }
    }
}
