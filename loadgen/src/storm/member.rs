//! One connection of a storm: it comes, takes its seat, keeps its position, and comes again when it is lost.
//!
//! Promises: what it heard twice, not at all, or was told missing is counted, never passed over. It holds back nothing:
//! what it is told to say is written at once, or the connection counts as lost.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use throng::base::{Encoding, Offset, Position};
use throng::wire::client::{CommandOut, Reply, ResumeOut, ServerEvent, read_event, write_command};
use throng::wire::{FrameKind, FrameLimits, Incoming, Partial, Reader, Role, write_frame};

use crate::worker::upgrade::{self, Answer};

pub(super) const ENCODING: Encoding = Encoding::MessagePack;
/// Ids of its own commands; publishes have those behind.
const JOIN: u64 = 1;
const RESUME: u64 = 2;
pub(super) const PUBLISH_FROM: u64 = 16;

/// Where it is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Waits for its time to come (again).
    Away,
    /// TCP, the upgrade and the answer to its join or resume are under way.
    Coming,
    /// Seated, or for one without a room: welcomed.
    Here,
}

/// What it lived through.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Lived {
    pub(super) heard: u64,
    pub(super) twice: u64,
    pub(super) missing: u64,
    pub(super) gaps: u64,
    pub(super) told_missing: u64,
    pub(super) tries: u64,
    /// Tries answered "later".
    pub(super) put_off: u64,
    pub(super) resumed: u64,
    pub(super) not_resumed: u64,
    pub(super) recovered: u64,
}

/// What the world has to take note of.
pub(super) enum News {
    /// It has its seat.
    Seated,
    /// A publish has its position.
    Acked(u64, Position),
}

pub(super) struct Member {
    pub(super) stage: Stage,
    pub(super) lived: Lived,
    /// `None`: one that only publishes.
    pub(super) room: Option<String>,
    /// The newest it has everything up to.
    pub(super) position: Option<Position>,
    /// Failures since it was last here.
    pub(super) failures: u32,
    token: String,
    session: Option<String>,
    /// Told that its position is of no use: the gap that says where to go on comes next.
    awaits_gap: bool,
    stream: Option<TcpStream>,
    asked: bool,
    head: Vec<u8>,
    upgraded: bool,
    partial: Partial,
}

/// It is lost; the sentence is for the report.
#[derive(Debug)]
pub(super) struct Lost(pub(super) String);

impl Member {
    pub(super) fn new(token: String, room: Option<String>) -> Self {
        Self {
            stage: Stage::Away,
            lived: Lived::default(),
            room,
            position: None,
            failures: 0,
            token,
            session: None,
            awaits_gap: false,
            stream: None,
            asked: false,
            head: Vec::new(),
            upgraded: false,
            partial: Partial::default(),
        }
    }

    /// Begins to connect; what it says follows when the socket can be written to.
    pub(super) fn comes(&mut self, server: SocketAddr) -> Result<&TcpStream, Lost> {
        self.lived.tries += 1;
        let begin = || {
            let socket = Socket::new(Domain::for_address(server), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_nonblocking(true)?;
            match socket.connect(&server.into()) {
                Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
                Ok(()) | Err(_) => Ok(TcpStream::from(socket)),
            }
        };
        let stream = begin().map_err(|error| Lost(format!("connect: {error}")))?;
        self.stage = Stage::Coming;
        (self.asked, self.upgraded) = (false, false);
        (self.head, self.partial) = (Vec::new(), Partial::default());
        Ok(self.stream.insert(stream))
    }

    /// The line is cut, without a word: a reset.
    pub(super) fn is_cut(&mut self) {
        if let Some(stream) = self.stream.take() {
            // A failure only means that the kernel says goodbye more politely.
            let _set = SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO));
        }
        self.stage = Stage::Away;
    }

    /// The socket can be written to: the request, and behind it what would follow the welcome.
    pub(super) fn asks(&mut self, host: &str, target: &str) -> Result<(), Lost> {
        if std::mem::replace(&mut self.asked, true) || self.stream.is_none() {
            return Ok(());
        }
        let mut out = upgrade::request(host, target, ENCODING, &self.token).into_bytes();
        if let Some(room) = self.room.clone() {
            match (&self.session, self.position) {
                (Some(session), Some(position)) => {
                    let entry = ResumeOut {
                        room: &room,
                        id: Some(JOIN),
                        since: Some(position),
                        history: None,
                        presence: false,
                    };
                    let resume = CommandOut::Resume { session: Some(session), rooms: &[entry] };
                    put(&mut out, RESUME, &resume);
                }
                _ => {
                    let join = CommandOut::Join { room: &room, since: self.position, history: None, presence: false };
                    put(&mut out, JOIN, &join);
                }
            }
        }
        self.write(&out)
    }

    pub(super) fn publishes(&mut self, id: u64, command: &CommandOut<'_>) -> Result<(), Lost> {
        let mut out = Vec::new();
        put(&mut out, id, command);
        self.write(&out)
    }

    /// Reads all there is.
    pub(super) fn reads(&mut self, buffer: &mut [u8], news: &mut Vec<News>) -> Result<(), Lost> {
        loop {
            let Some(stream) = &mut self.stream else { return Ok(()) };
            match stream.read(buffer) {
                Ok(0) => return Err(Lost("the server closed".to_owned())),
                Ok(len) => self.takes(&mut buffer[..len], news)?,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Lost(format!("read: {error}"))),
            }
        }
    }

    fn takes(&mut self, bytes: &mut [u8], news: &mut Vec<News>) -> Result<(), Lost> {
        if self.upgraded {
            return self.frames(bytes, news);
        }
        self.head.extend_from_slice(bytes);
        match upgrade::answer(&self.head, ENCODING) {
            Answer::More => Ok(()),
            Answer::Switched(at) => {
                self.upgraded = true;
                let mut rest = std::mem::take(&mut self.head).split_off(at);
                self.frames(&mut rest, news)
            }
            Answer::Later(status) => {
                self.lived.put_off += 1;
                Err(Lost(status))
            }
            Answer::No(sentence) => Err(Lost(sentence)),
        }
    }

    fn frames(&mut self, bytes: &mut [u8], news: &mut Vec<News>) -> Result<(), Lost> {
        let limits = FrameLimits { message_bytes_max: 16 << 20, fragments_max: 1 };
        let mut partial = std::mem::take(&mut self.partial);
        let mut reader = Reader::new(Role::Client, limits, bytes);
        let mut pong = Vec::new();
        loop {
            match reader.next(&mut partial).map_err(|violation| Lost(violation.to_string()))? {
                None => break,
                Some(Incoming::Binary(message)) => {
                    let event = read_event(ENCODING, message).map_err(|error| Lost(error.to_string()))?;
                    self.hears(&event, news)?;
                }
                Some(Incoming::Ping(payload)) => write_frame(&mut pong, FrameKind::Pong, payload, Some(MASK)),
                Some(Incoming::Close(close)) => return Err(Lost(format!("closed {:?}", close.map(|(code, _)| code)))),
                Some(Incoming::Text(_) | Incoming::Pong(_)) => return Err(Lost("a frame nobody asked for".to_owned())),
            }
        }
        self.partial = partial;
        if pong.is_empty() { Ok(()) } else { self.write(&pong) }
    }

    fn hears(&mut self, event: &ServerEvent<'_>, news: &mut Vec<News>) -> Result<(), Lost> {
        match event {
            ServerEvent::Welcome(welcome) => {
                self.session = Some(welcome.session.to_string());
                if self.room.is_none() {
                    news.push(News::Seated);
                }
            }
            ServerEvent::Reply(reply) => self.answered(reply, news),
            ServerEvent::Error { id: Some(id), refusal, .. } if *id < PUBLISH_FROM => {
                return Err(Lost(format!("refused: {}", refusal.code())));
            }
            ServerEvent::Message(message) => self.said(message.offset),
            ServerEvent::Gap { epoch, from, to, .. } => {
                self.lived.gaps += 1;
                self.lived.told_missing += (to.0 + 1).saturating_sub(from.0);
                self.awaits_gap = false;
                self.position = Some(match self.position {
                    Some(Position { epoch: known, offset }) if known == *epoch => {
                        self.lived.missing += from.0.saturating_sub(offset.0 + 1);
                        Position { epoch: known, offset: offset.max(*to) }
                    }
                    Some(_) | None => Position { epoch: *epoch, offset: *to },
                });
            }
            ServerEvent::Error { .. }
            | ServerEvent::PresenceJoined { .. }
            | ServerEvent::PresenceLeft { .. }
            | ServerEvent::PresenceAway { .. }
            | ServerEvent::PresenceBack { .. }
            | ServerEvent::PresenceCounted { .. }
            | ServerEvent::Stale { .. }
            | ServerEvent::Typing { .. }
            | ServerEvent::Read { .. }
            | ServerEvent::Expiring { .. }
            | ServerEvent::Removed { .. }
            | ServerEvent::Drain { .. }
            | ServerEvent::Unknown { .. } => {}
        }
        Ok(())
    }

    fn answered(&mut self, reply: &Reply<'_>, news: &mut Vec<News>) {
        match (reply.id, reply.position()) {
            (JOIN, Some(position)) => {
                match (reply.recovered, self.position) {
                    (Some(true), _) => self.lived.recovered += 1,
                    (Some(false), _) => self.awaits_gap = true,
                    (None, _) => self.position = Some(position),
                }
                news.push(News::Seated);
            }
            (RESUME, _) if reply.resumed == Some(true) => self.lived.resumed += 1,
            (RESUME, _) => self.lived.not_resumed += 1,
            (id, Some(position)) => news.push(News::Acked(id, position)),
            (_, None) => {}
        }
    }

    /// V: each offset once, in order, or told missing.
    fn said(&mut self, Offset(offset): Offset) {
        self.lived.heard += 1;
        let Some(position) = &mut self.position else {
            self.lived.missing += 1;
            return;
        };
        if self.awaits_gap {
            // Something of a room that forgot, before the word that it did.
            self.lived.missing += 1;
        } else if offset <= position.offset.0 {
            self.lived.twice += 1;
            return;
        } else {
            self.lived.missing += offset - position.offset.0 - 1;
        }
        position.offset = Offset(offset);
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Lost> {
        let Some(stream) = &mut self.stream else { return Err(Lost("not connected".to_owned())) };
        // A few hundred bytes at a time: a socket that does not take them is of no use.
        match stream.write(bytes) {
            Ok(len) if len == bytes.len() => Ok(()),
            Ok(_) => Err(Lost("the socket takes no more".to_owned())),
            Err(error) => Err(Lost(format!("write: {error}"))),
        }
    }
}

fn put(out: &mut Vec<u8>, id: u64, command: &CommandOut<'_>) {
    let mut envelope = Vec::new();
    write_command(&mut envelope, ENCODING, Some(id), command);
    write_frame(out, FrameKind::Binary, &envelope, Some(MASK));
}

/// Masking protects proxies from scripts; here are neither.
const MASK: [u8; 4] = [0x5a, 0xa5, 0x3c, 0xc3];

#[cfg(test)]
mod tests {
    use super::*;
    use throng::base::Epoch;
    use throng::wire::GapWhy;

    fn member(epoch: u64, offset: u64) -> Member {
        let mut member = Member::new(String::new(), Some("r".to_owned()));
        member.position = Some(Position { epoch: Epoch(epoch), offset: Offset(offset) });
        member
    }

    fn gap(epoch: u64, from: u64, to: u64) -> ServerEvent<'static> {
        let why = GapWhy::Epoch;
        ServerEvent::Gap { room: "r".into(), epoch: Epoch(epoch), from: Offset(from), to: Offset(to), why }
    }

    #[test]
    fn what_is_passed_over_or_repeated_is_counted_and_what_is_told_is_not() {
        let mut it = member(1, 3);
        [4, 5, 8, 8].into_iter().for_each(|offset| it.said(Offset(offset)));
        assert_eq!((it.lived.missing, it.lived.twice, it.lived.heard), (2, 1, 4));
        assert!(it.hears(&gap(1, 9, 10), &mut Vec::new()).is_ok());
        it.said(Offset(11));
        assert_eq!((it.lived.missing, it.lived.gaps, it.lived.told_missing), (2, 1, 2));
        assert!(it.hears(&gap(1, 14, 15), &mut Vec::new()).is_ok());
        assert_eq!(it.lived.missing, 4, "a gap that begins too late hides two");
    }

    #[test]
    fn a_room_that_forgot_goes_on_where_its_gap_says() {
        let mut it = member(1, 30);
        it.awaits_gap = true;
        assert!(it.hears(&gap(2, 1, 4), &mut Vec::new()).is_ok());
        it.said(Offset(5));
        assert_eq!((it.lived.missing, it.lived.twice, it.lived.gaps), (0, 0, 1));
        assert_eq!(it.position, Some(Position { epoch: Epoch(2), offset: Offset(5) }));
    }
}
