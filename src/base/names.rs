//! Names that came from outside and have been checked once.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// Why a name was not taken. The text is for the person who sent it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum BadName {
    #[error("a room name has 1 to 128 bytes of A-Z a-z 0-9 : _ . - @ / +")]
    Room,
    #[error("a user (`sub`) has 1 to 128 bytes and no control characters")]
    User,
    #[error("`info` is JSON of at most 256 bytes")]
    Info,
}

/// How envelopes are written for one connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Encoding {
    MessagePack,
    Json,
}

impl Encoding {
    /// Both, in the order of [`Encoding::index`].
    pub const ALL: [Self; 2] = [Self::MessagePack, Self::Json];

    /// A place in a table of two.
    pub fn index(self) -> usize {
        match self {
            Self::MessagePack => 0,
            Self::Json => 1,
        }
    }
}

/// How somebody is written to: in which encoding, and whether a message may come deflated (RFC 7692).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Form {
    pub encoding: Encoding,
    pub deflated: bool,
}

impl Form {
    /// A place in a table of four.
    pub fn index(self) -> usize {
        2 * self.encoding.index() + usize::from(self.deflated)
    }
}

/// A checked room name, shared by everything that speaks of the room.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomName(Arc<str>);

impl RoomName {
    pub const BYTES_MAX: usize = 128;

    /// Takes 1 to 128 bytes of `[A-Za-z0-9:_.\-@/+]`.
    pub fn parse(text: &str) -> Result<Self, BadName> {
        Self::check(text).map(|()| Self(Arc::from(text)))
    }

    /// The rule of [`RoomName::parse`] without taking the name.
    pub fn check(text: &str) -> Result<(), BadName> {
        let fits = (1..=Self::BYTES_MAX).contains(&text.len()) && text.bytes().all(Self::allows);
        if fits { Ok(()) } else { Err(BadName::Room) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn allows(byte: u8) -> bool {
        byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'_' | b'.' | b'-' | b'@' | b'/' | b'+')
    }
}

impl std::borrow::Borrow<str> for RoomName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who somebody is, as others see it: the user and, if the token carried one, the public `info`.
///
/// One shared string per session in the whole process: `user`, or `user NUL info-json`.
/// Compared by user only: two connections of one user with different `info` are one person.
#[derive(Clone)]
pub struct Identity(Arc<str>);

impl Identity {
    pub const USER_BYTES_MAX: usize = 128;
    pub const INFO_BYTES_MAX: usize = 256;

    /// `info` is compact JSON text, checked by the caller that parsed the token.
    pub fn new(user: &str, info: Option<&str>) -> Result<Self, BadName> {
        let fits = (1..=Self::USER_BYTES_MAX).contains(&user.len()) && !user.chars().any(char::is_control);
        if !fits {
            return Err(BadName::User);
        }
        let Some(info) = info else { return Ok(Self(Arc::from(user))) };
        if info.len() > Self::INFO_BYTES_MAX || info.is_empty() {
            return Err(BadName::Info);
        }
        Ok(Self(Arc::from([user, "\0", info].concat())))
    }

    pub fn user(&self) -> &str {
        self.split().map_or(&self.0, |at| &self.0[..at])
    }

    /// Compact JSON text.
    pub fn info(&self) -> Option<&str> {
        self.split().map(|at| &self.0[at + 1..])
    }

    fn split(&self) -> Option<usize> {
        memchr::memchr(0, self.0.as_bytes())
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.user() == other.user()
    }
}

impl Eq for Identity {}

impl PartialOrd for Identity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Identity {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.user().cmp(other.user())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.user())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_name_is_never_a_surprise_in_a_path_or_a_log() {
        assert!(RoomName::parse("chat:lobby/en_GB.1-@bob+x").is_ok());
        for bad in ["", "a b", "ä", "a\n", "a\0", &"x".repeat(129)] {
            assert_eq!(RoomName::parse(bad), Err(BadName::Room), "{bad:?}");
        }
    }

    #[test]
    fn an_identity_gives_back_user_and_info_and_compares_by_user() {
        let plain = Identity::new("ann", None).unwrap();
        let named = Identity::new("ann", Some(r#"{"name":"Ann"}"#)).unwrap();
        assert_eq!((plain.user(), plain.info()), ("ann", None));
        assert_eq!((named.user(), named.info()), ("ann", Some(r#"{"name":"Ann"}"#)));
        assert_eq!(plain, named);
        assert_eq!(Identity::new("a\0b", None), Err(BadName::User));
        assert_eq!(Identity::new("", None), Err(BadName::User));
        assert_eq!(Identity::new("a", Some(&"x".repeat(257))), Err(BadName::Info));
    }
}
