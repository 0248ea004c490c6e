//! "No, and you stay": why a command was not carried out.
//!
//! Promises: a closed set, one variant per row of `docs/protocol.md`, "Codes of `error`" (a test reads that table).
//! A refusal never ends the connection; what does is a [`CloseReason`](super::close::CloseReason).

/// Why a command was refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Refusal {
    /// Not an envelope, or a field of the wrong type.
    Malformed,
    /// No such `type`.
    UnknownCommand,
    /// Rooms of this kind do not have it, or this is not the moment for it.
    Unsupported,
    /// Not a room name.
    BadRoom,
    /// The token does not grant this in this room.
    Forbidden,
    /// A join of a room one sits in.
    AlreadyJoined,
    /// A leave of a room one does not sit in.
    NotJoined,
    /// The connection sits in as many rooms as it may.
    TooManyRooms,
    /// The payload has no counterpart in the other encoding.
    Unportable,
    /// Nested deeper than the limit.
    TooDeep,
    /// Not accepted now; nothing was given an offset.
    Busy,
    /// More often than this user may.
    TooOften,
    /// The payload is longer than messages of this room may be.
    TooLong,
    /// As many connections sit in the room as may.
    RoomFull,
    /// Something else was published by this key.
    KeyReused,
    /// The token of a `refresh` was not taken; the connection keeps the one it has.
    BadToken,
    /// The token of a `refresh` is somebody else's.
    OtherUser,
}

impl Refusal {
    /// Every refusal, in the order of [`Refusal::index`].
    pub const ALL: [Self; 17] = [
        Self::Malformed,
        Self::UnknownCommand,
        Self::Unsupported,
        Self::BadRoom,
        Self::Forbidden,
        Self::AlreadyJoined,
        Self::NotJoined,
        Self::TooManyRooms,
        Self::Unportable,
        Self::TooDeep,
        Self::Busy,
        Self::TooOften,
        Self::TooLong,
        Self::RoomFull,
        Self::KeyReused,
        Self::BadToken,
        Self::OtherUser,
    ];

    /// The word on the wire, and the label of its counter.
    pub fn code(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownCommand => "unknown_command",
            Self::Unsupported => "unsupported",
            Self::BadRoom => "bad_room",
            Self::Forbidden => "forbidden",
            Self::AlreadyJoined => "already_joined",
            Self::NotJoined => "not_joined",
            Self::TooManyRooms => "too_many_rooms",
            Self::Unportable => "unportable",
            Self::TooDeep => "too_deep",
            Self::Busy => "busy",
            Self::TooOften => "too_often",
            Self::TooLong => "too_long",
            Self::RoomFull => "room_full",
            Self::KeyReused => "key_reused",
            Self::BadToken => "bad_token",
            Self::OtherUser => "other_user",
        }
    }

    /// A sentence for the person who reads the log of the client; never parsed by anybody.
    pub fn message(self) -> &'static str {
        match self {
            Self::Malformed => "this is not an envelope",
            Self::UnknownCommand => "there is no command of this type",
            Self::Unsupported => "rooms of this kind do not have this",
            Self::BadRoom => "a room name has 1 to 128 bytes of A-Z a-z 0-9 : _ . - @ / +",
            Self::Forbidden => "the token does not grant this in this room",
            Self::AlreadyJoined => "this connection already sits in this room",
            Self::NotJoined => "this connection does not sit in this room",
            Self::TooManyRooms => "this connection sits in as many rooms as it may",
            Self::Unportable => "the payload cannot be shown to readers of the other encoding",
            Self::TooDeep => "the payload nests deeper than the limit",
            Self::Busy => "not accepted now, try again",
            Self::TooOften => "more often than this user may: wait before trying again",
            Self::TooLong => "the payload is longer than messages of this room may be",
            Self::RoomFull => "as many connections sit in this room as may",
            Self::KeyReused => "another message was published by this key",
            Self::BadToken => "the token was not accepted; the one before still holds",
            Self::OtherUser => "the token is for another user than this connection's",
        }
    }

    /// What to do about it, for `docs/errors.md`.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Malformed => "Mend the client: the message says at which byte it broke.",
            Self::UnknownCommand => "Mend the client, or update the server: `docs/protocol.md` lists the commands.",
            Self::Unsupported => "Do without: what rooms of a kind have is set by the server's operator.",
            Self::BadRoom => "Choose another name.",
            Self::Forbidden => "Get a token that grants it, or let the operator add it to the default grants.",
            Self::AlreadyJoined => "Nothing: you are there. To begin anew, leave first.",
            Self::NotJoined => "Nothing: you are not there.",
            Self::TooManyRooms => "Leave a room first; `welcome` says how many there may be.",
            Self::Unportable => "Send what both encodings have: the message says which byte has no counterpart.",
            Self::TooDeep => "Nest less; `welcome` says how deep it may be.",
            Self::Busy => "Send the same command again after `retry_after_ms`.",
            Self::TooOften => {
                "Wait for `retry_after_ms`, and send, publish or join less often: who goes on as before is closed with 4007. \
                 The operator's limits are the rates of the room's class and of [limits]; of `refresh` it is one try in \
                 20 ticks."
            }
            Self::TooLong => "Send less, or let the operator raise `message_bytes_max` of the room's class.",
            Self::RoomFull => {
                "Come back when somebody has left, or let the operator raise `seats_max` of the room's class."
            }
            Self::KeyReused => "Mend the client: a key stands for one message; a new message needs a new key.",
            Self::BadToken => {
                "Refresh with a good token before the old one ends: the message says what is wrong with this one."
            }
            Self::OtherUser => "Refresh with a token of the same `sub`; for another user open another connection.",
        }
    }

    /// Whether it is a strike against the connection: what no client that listens is told again and again, because it was
    /// told how long to wait, or how much may be sent, or cannot say what it means. Too many of them close it.
    pub fn is_strike(self) -> bool {
        matches!(self, Self::Malformed | Self::TooDeep | Self::TooLong | Self::TooOften)
    }

    /// Whether the same command may succeed later without anything being changed by the client.
    pub fn retryable(self) -> bool {
        self.retry_after_ms().is_some()
    }

    /// How long to wait before the same command is sent again, in milliseconds; `None`: do not.
    pub fn retry_after_ms(self) -> Option<u32> {
        match self {
            Self::Busy => Some(100),
            // Said for each case; this is where nothing is.
            Self::TooOften => Some(1_000),
            Self::RoomFull => Some(5_000),
            Self::Malformed
            | Self::UnknownCommand
            | Self::Unsupported
            | Self::BadRoom
            | Self::Forbidden
            | Self::AlreadyJoined
            | Self::NotJoined
            | Self::TooManyRooms
            | Self::Unportable
            | Self::TooDeep
            | Self::TooLong
            | Self::KeyReused
            | Self::BadToken
            | Self::OtherUser => None,
        }
    }

    /// The place in a table of all refusals.
    pub fn index(self) -> usize {
        self as usize
    }

    /// The refusal of a code read from the wire.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| refusal.code() == code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_stands_at_its_index_and_is_found_by_its_code() {
        for (place, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal.index(), place);
            assert_eq!(Refusal::from_code(refusal.code()), Some(refusal));
        }
        assert_eq!(Refusal::from_code("no_such_code"), None);
    }

    #[test]
    fn only_what_passes_invites_to_come_again() {
        let inviting: Vec<Refusal> = Refusal::ALL.into_iter().filter(|refusal| refusal.retryable()).collect();
        assert_eq!(inviting, [Refusal::Busy, Refusal::TooOften, Refusal::RoomFull]);
        assert_eq!(Refusal::Busy.retry_after_ms(), Some(100));
    }
}
