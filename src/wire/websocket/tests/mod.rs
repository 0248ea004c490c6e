//! The rules of RFC 6455 one by one, and what must hold for every sequence of bytes.

mod cuts;
mod rules;

use super::*;

/// [`Incoming`] with its own bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Said {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

impl From<Incoming<'_>> for Said {
    fn from(incoming: Incoming<'_>) -> Self {
        match incoming {
            Incoming::Text(text) => Self::Text(text.to_owned()),
            Incoming::Binary(bytes) => Self::Binary(bytes.to_vec()),
            Incoming::Ping(bytes) => Self::Ping(bytes.to_vec()),
            Incoming::Pong(bytes) => Self::Pong(bytes.to_vec()),
            Incoming::Close(close) => Self::Close(close.map(|(code, reason)| (code, reason.to_owned()))),
        }
    }
}

const LIMITS: FrameLimits = FrameLimits { message_bytes_max: 1_000_000, fragments_max: 1_024 };

/// One connection's reading side.
struct Ear {
    role: Role,
    limits: FrameLimits,
    partial: Partial,
    inflater: Option<Inflater>,
    said: Vec<Said>,
}

impl Ear {
    fn new(role: Role, limits: FrameLimits) -> Self {
        Self { role, limits, partial: Partial::default(), inflater: None, said: Vec::new() }
    }

    /// Deflated messages were agreed on.
    fn inflating(role: Role, limits: FrameLimits) -> Self {
        Self { inflater: Some(Inflater::default()), ..Self::new(role, limits) }
    }

    fn hear(&mut self, read: &[u8]) -> Result<(), Violation> {
        let mut input = read.to_vec();
        let mut reader = Reader::new(self.role, self.limits, &mut input).inflating(self.inflater.as_mut());
        while let Some(incoming) = reader.next(&mut self.partial)? {
            self.said.push(incoming.into());
        }
        assert!(reader.unread().is_empty(), "None means that the input is used up");
        Ok(())
    }

    fn hear_all<'a>(&mut self, reads: impl IntoIterator<Item = &'a [u8]>) -> Result<(), Violation> {
        reads.into_iter().try_for_each(|read| self.hear(read))
    }
}

/// A frame by hand, so that wrong ones can be made: the first byte as it stands, the shortest length, a mask or none.
fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut out = vec![first];
    match payload.len() {
        len @ 0..=125 => out.push(masked | len as u8),
        len @ 126..=65_535 => {
            out.push(masked | 126);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(masked | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    out.extend(mask.into_iter().flatten());
    let mask = mask.unwrap_or_default();
    out.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]));
    out
}

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// From a client, masked.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(first, payload, Some(MASK))
}

/// What a server makes of `bytes`, in one read and in reads of one byte, which must agree.
fn heard(bytes: &[u8]) -> (Vec<Said>, Result<(), Violation>) {
    let mut whole = Ear::new(Role::Server, LIMITS);
    let outcome = whole.hear(bytes);
    let mut single = Ear::new(Role::Server, LIMITS);
    assert_eq!(single.hear_all(bytes.chunks(1)), outcome);
    assert_eq!(single.said, whole.said);
    if outcome.is_ok() {
        assert_eq!(single.partial.is_idle(), whole.partial.is_idle());
    }
    (whole.said, outcome)
}

/// What a server makes of bytes that keep the rules.
fn said(bytes: &[u8]) -> Vec<Said> {
    let (said, outcome) = heard(bytes);
    assert_eq!(outcome, Ok(()));
    said
}

fn refused(bytes: &[u8]) -> Violation {
    heard(bytes).1.expect_err("this breaks a rule")
}

fn text(text: &str) -> Said {
    Said::Text(text.to_owned())
}
