//! WebSocket frames, with and without deflated messages: the outcome is the same however the bytes are cut, what is held is
//! bounded, and what was understood is understood again when it is written anew.

use throng::wire::{
    Compression, FrameKind, FrameLimits, Incoming, Inflater, Partial, Press, Reader, Role, Violation, write_close,
    write_frame,
};

use super::feed::Feed;

/// Small enough to be reached.
const LIMITS: FrameLimits = FrameLimits { message_bytes_max: 300, fragments_max: 5 };
const CONTROL_BYTES_MAX: usize = 125;
const MASK: [u8; 4] = [1, 2, 3, 4];
/// The first bytes of frames that there are: text, binary, their first fragments, the next and the last one, ping, pong,
/// close, and deflated messages.
const HEADS: [u8; 13] = [0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8a, 0x88, 0xc1, 0xc2, 0x41, 0x42];

#[derive(Clone, PartialEq, Eq, Debug)]
enum Said {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

impl Said {
    fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) | Self::Ping(bytes) | Self::Pong(bytes) => bytes.len(),
            Self::Close(close) => close.as_ref().map_or(0, |(_, reason)| reason.len()),
        }
    }

    fn new(incoming: &Incoming<'_>) -> Self {
        match incoming {
            Incoming::Text(text) => Self::Text((*text).to_owned()),
            Incoming::Binary(bytes) => Self::Binary(bytes.to_vec()),
            Incoming::Ping(bytes) => Self::Ping(bytes.to_vec()),
            Incoming::Pong(bytes) => Self::Pong(bytes.to_vec()),
            Incoming::Close(close) => Self::Close(close.map(|(code, reason)| (code, reason.to_owned()))),
        }
    }

    /// Messages deflated wherever that makes them shorter, if the press is for it.
    fn write(&self, out: &mut Vec<u8>, press: &mut Press, mask: Option<[u8; 4]>) {
        match self {
            Self::Text(text) => drop(press.write_message(out, FrameKind::Text, text.as_bytes(), mask)),
            Self::Binary(bytes) => drop(press.write_message(out, FrameKind::Binary, bytes, mask)),
            Self::Ping(bytes) => write_frame(out, FrameKind::Ping, bytes, mask),
            Self::Pong(bytes) => write_frame(out, FrameKind::Pong, bytes, mask),
            Self::Close(Some((code, reason))) => write_close(out, *code, reason, mask),
            Self::Close(None) => write_frame(out, FrameKind::Close, b"", mask),
        }
    }
}

/// Everything that was heard, what ended it, and whether something is unfinished.
type Heard = (Vec<Said>, Result<(), Violation>, bool);

fn hear<'a>(role: Role, deflates: bool, reads: impl Iterator<Item = &'a [u8]>) -> Heard {
    let (mut said, mut partial) = (Vec::new(), Partial::default());
    let mut inflater = deflates.then(Inflater::default);
    for read in reads {
        let mut input = read.to_vec();
        let mut reader = Reader::new(role, LIMITS, &mut input).inflating(inflater.as_mut());
        loop {
            match reader.next(&mut partial) {
                Ok(Some(incoming)) => {
                    said.push(Said::new(&incoming));
                    assert!(said.last().is_none_or(|said| said.bytes() <= LIMITS.message_bytes_max), "too long");
                }
                Ok(None) => break,
                Err(violation) => return (said, Err(violation), false),
            }
            if matches!(said.last(), Some(Said::Close(_))) {
                return (said, Ok(()), false);
            }
        }
        assert!(reader.unread().is_empty(), "`None` means that the input is used up");
        assert!(partial.bytes_held() <= 2 * LIMITS.message_bytes_max + 2 * CONTROL_BYTES_MAX, "{partial:?}");
    }
    (said, Ok(()), !partial.is_idle())
}

pub(crate) fn run(data: &[u8]) -> bool {
    let mut feed = Feed::new(data);
    let kind = feed.byte();
    let (role, deflates) = (if kind & 1 == 1 { Role::Client } else { Role::Server }, kind & 2 == 2);
    let cut = feed.below(16) + 1;
    let composed;
    let bytes = if kind & 4 == 4 {
        composed = compose(&mut feed, role);
        &composed[..]
    } else {
        feed.rest()
    };
    let whole = hear(role, deflates, std::iter::once(bytes));
    assert_eq!(hear(role, deflates, bytes.chunks(cut)), whole, "the outcome depends on how the bytes were cut");
    let (said, _, _) = &whole;
    for (role, deflates) in [(Role::Server, deflates), (Role::Client, false), (Role::Client, true)] {
        let mut press = Press::new(Compression { enabled: deflates, bytes_above: 0, level: 1 });
        let mut again = Vec::new();
        let mask = (role == Role::Server).then_some(MASK);
        said.iter().for_each(|one| one.write(&mut again, &mut press, mask));
        let heard = hear(role, deflates, std::iter::once(&again[..]));
        assert_eq!(heard, (said.clone(), Ok(()), false), "written anew it differs");
    }
    is_planted(said)
}

/// Frames whose lengths and masks are right, whatever their kinds, their order and what is in them (RFC 6455, section 5.2).
fn compose(feed: &mut Feed<'_>, to: Role) -> Vec<u8> {
    let mut out = Vec::new();
    while !feed.is_empty() {
        let head = match feed.below(HEADS.len() + 1) {
            known if known < HEADS.len() => HEADS[known],
            _ => feed.byte(),
        };
        let piece = feed.piece();
        let masked = if to == Role::Server { 0x80 } else { 0 };
        out.push(head);
        match u8::try_from(piece.len()) {
            Ok(len @ ..126) => out.push(masked | len),
            _ => {
                out.push(masked | 126);
                out.extend(u16::try_from(piece.len()).expect("a piece has at most 255 bytes").to_be_bytes());
            }
        }
        if to == Role::Server {
            out.extend(MASK);
        }
        let mask = if to == Role::Server { MASK } else { [0; 4] };
        out.extend(piece.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    }
    out
}

/// A ping of seven bytes, and right behind it a text.
fn is_planted(said: &[Said]) -> bool {
    said.windows(2).any(|two| matches!(two, [Said::Ping(ping), Said::Text(_)] if ping.len() == 7))
}
