//! A person apart from the measured crowd: it comes, takes its seat, keeps its position, and comes again when it is lost.
//!
//! Storms are made of them, and those who are slow or come and go beside a run. Promises: what it heard twice, not at all, from
//! another room, or not as it was sent, and what it was told missing is counted, never passed over. It holds back nothing: what
//! it is told to say is written at once, or the connection counts as lost.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use throng::base::{Encoding, Offset, Position};
use throng::wire::client::{CommandOut, Reply, ResumeOut, ServerEvent, read_event, write_command};
use throng::wire::envelope::HistoryFrom;
use throng::wire::websocket::write_close;
use throng::wire::{FrameKind, FrameLimits, Incoming, Partial, Reader, Role, write_frame};

use crate::payload::Marker;
use crate::place::{Place, Wrong, room_of};
use crate::proof::Fault;
use crate::reach::Door;
use crate::worker::upgrade::{self, Answer};

pub(crate) const ENCODING: Encoding = Encoding::MessagePack;
/// Ids of its own commands; publishes have those behind.
const JOIN: u64 = 1;
const RESUME: u64 = 2;
const PING: u64 = 3;
const HEAD: u64 = 4;
pub(crate) const PUBLISH_FROM: u64 = 16;

/// Where it is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// Waits for its time to come (again).
    Away,
    /// TCP, the upgrade and the answer to its join or resume are under way.
    Coming,
    /// Seated, or for one without a room: welcomed.
    Here,
}

/// What it lived through.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Lived {
    pub(crate) heard: u64,
    pub(crate) twice: u64,
    pub(crate) missing: u64,
    /// Of another room than its own; and what nobody sent like this, or not under this name.
    pub(crate) foreign: u64,
    pub(crate) corrupted: u64,
    pub(crate) gaps: u64,
    pub(crate) told_missing: u64,
    pub(crate) tries: u64,
    /// Tries answered "later".
    pub(crate) put_off: u64,
    pub(crate) resumed: u64,
    pub(crate) not_resumed: u64,
    pub(crate) recovered: u64,
    /// What it was told of the people of its room: who is there, who types, who has read; and that something was left out.
    pub(crate) presence: u64,
    pub(crate) typing: u64,
    pub(crate) receipts: u64,
    pub(crate) stale: u64,
    /// What it said and the server refused.
    pub(crate) refused: u64,
}

/// What the world has to take note of.
#[derive(Debug)]
pub(crate) enum News {
    /// It has its seat.
    Seated,
    /// A publish has its position.
    Acked(u64, Position),
    /// The newest message of its room, as the server says; none: the server does not say.
    Head(Option<Offset>),
    /// The server leaves, and it has this slot to come back in.
    Slot { ms: u64 },
    /// Something that no server may do.
    Wronged(Offence),
}

/// A fault as whoever met it knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Offence {
    pub(crate) fault: Fault,
    /// Who sent the message, and which of its own it was, where that is known.
    pub(crate) marker: Option<(u32, u32)>,
    /// The offsets it is about, both inclusive; none: it had none.
    pub(crate) offsets: Option<(u64, u64)>,
}

impl Offence {
    pub(crate) fn at(fault: Fault, offsets: (u64, u64)) -> Self {
        Self { fault, marker: None, offsets: Some(offsets) }
    }

    /// For people.
    pub(crate) fn describe(&self) -> String {
        match self.offsets {
            None => "no message".to_owned(),
            Some((from, to)) if from == to => format!("offset {from}"),
            Some((from, to)) => format!("offsets {from} to {to}"),
        }
    }
}

pub(crate) struct Member {
    pub(crate) stage: Stage,
    pub(crate) lived: Lived,
    /// `None`: one that only publishes.
    pub(crate) place: Option<Place>,
    /// The newest it has everything up to.
    pub(crate) position: Option<Position>,
    /// Failures since it was last here.
    pub(crate) failures: u32,
    /// Whether it wants to hear of the people of its room.
    pub(crate) presence: bool,
    /// Bytes the kernel may hold for it unread, where that is not the kernel's own choice.
    pub(crate) receive_bytes: Option<usize>,
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

/// It is lost.
#[derive(Debug)]
pub(crate) struct Lost {
    /// The code the server closed with, if it did.
    pub(crate) code: Option<u16>,
    /// The server's answer to whoever tries the same again will be the same.
    pub(crate) for_good: bool,
    /// A sentence for the report.
    pub(crate) why: String,
}

impl Lost {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self { code: None, for_good: false, why: why.into() }
    }

    /// Turned away.
    fn for_good(why: impl Into<String>) -> Self {
        Self { for_good: true, ..Self::new(why) }
    }
}

impl Member {
    pub(crate) fn new(token: String, place: Option<Place>) -> Self {
        Self {
            stage: Stage::Away,
            lived: Lived::default(),
            place,
            position: None,
            failures: 0,
            presence: false,
            receive_bytes: None,
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
    pub(crate) fn comes(&mut self, server: SocketAddr) -> Result<&TcpStream, Lost> {
        self.lived.tries += 1;
        let begin = || {
            let socket = Socket::new(Domain::for_address(server), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_nonblocking(true)?;
            if let Some(bytes) = self.receive_bytes {
                // Before connecting: the window that is announced never shrinks.
                socket.set_recv_buffer_size(bytes)?;
            }
            match socket.connect(&server.into()) {
                Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
                Ok(()) | Err(_) => Ok(TcpStream::from(socket)),
            }
        };
        let stream = begin().map_err(|error| Lost::new(format!("connect: {error}")))?;
        self.stage = Stage::Coming;
        (self.asked, self.upgraded) = (false, false);
        (self.head, self.partial) = (Vec::new(), Partial::default());
        Ok(self.stream.insert(stream))
    }

    /// The line is cut, without a word: a reset.
    pub(crate) fn is_cut(&mut self) {
        if let Some(stream) = self.stream.take() {
            // A failure only means that the kernel says goodbye more politely.
            let _set = SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO));
        }
        self.stage = Stage::Away;
    }

    /// The socket can be written to: the request, and behind it what would follow the welcome.
    pub(crate) fn asks(&mut self, door: &Door) -> Result<(), Lost> {
        if std::mem::replace(&mut self.asked, true) || self.stream.is_none() {
            return Ok(());
        }
        let mut out = upgrade::request(&door.host, &door.target, ENCODING, &self.token).into_bytes();
        if let Some(Place { room, .. }) = &self.place {
            match (&self.session, self.position) {
                (Some(session), Some(position)) => {
                    let entry = ResumeOut {
                        room,
                        id: Some(JOIN),
                        since: Some(position),
                        history: None,
                        presence: self.presence,
                    };
                    let resume = CommandOut::Resume { session: Some(session), rooms: &[entry] };
                    put(&mut out, Some(RESUME), &resume);
                }
                _ => {
                    let (since, presence) = (self.position, self.presence);
                    put(&mut out, Some(JOIN), &CommandOut::Join { room, since, history: None, presence });
                }
            }
        }
        self.write(&out)
    }

    pub(crate) fn says(&mut self, id: Option<u64>, command: &CommandOut<'_>) -> Result<(), Lost> {
        let mut out = Vec::new();
        put(&mut out, id, command);
        self.write(&out)
    }

    /// Asks whether the server is still there.
    pub(crate) fn pings(&mut self) -> Result<(), Lost> {
        self.says(Some(PING), &CommandOut::Ping)
    }

    /// Asks for the newest message of its room; the answer is [`News::Head`].
    pub(crate) fn asks_for_head(&mut self) -> Result<(), Lost> {
        let Some(Place { room, .. }) = self.place.clone() else { return Ok(()) };
        let newest = CommandOut::History { room: &room, from: HistoryFrom::Newest, messages_max: Some(1) };
        self.says(Some(HEAD), &newest)
    }

    /// Goes for good: what it was and where it was is forgotten, but not what it lived through.
    pub(crate) fn goes(&mut self) {
        let mut goodbye = Vec::new();
        write_close(&mut goodbye, NORMAL, "", Some(MASK));
        // Who is gone already needs no goodbye.
        let _told = self.write(&goodbye);
        (self.stream, self.stage) = (None, Stage::Away);
        (self.session, self.position, self.awaits_gap) = (None, None, false);
    }

    /// Reads at most so many bytes: someone who is slow.
    pub(crate) fn sips(&mut self, bytes: usize, buffer: &mut [u8], news: &mut Vec<News>) -> Result<(), Lost> {
        let bytes = bytes.min(buffer.len());
        let Some(stream) = &mut self.stream else { return Ok(()) };
        match stream.read(&mut buffer[..bytes]) {
            Ok(0) => Err(Lost::new("the server closed")),
            Ok(len) => self.takes(&mut buffer[..len], news),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
            Err(error) => Err(Lost::new(format!("read: {error}"))),
        }
    }

    /// Reads all there is.
    pub(crate) fn reads(&mut self, buffer: &mut [u8], news: &mut Vec<News>) -> Result<(), Lost> {
        loop {
            let Some(stream) = &mut self.stream else { return Ok(()) };
            match stream.read(buffer) {
                Ok(0) => return Err(Lost::new("the server closed")),
                Ok(len) => self.takes(&mut buffer[..len], news)?,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Lost::new(format!("read: {error}"))),
            }
        }
    }

    fn takes(&mut self, bytes: &mut [u8], news: &mut Vec<News>) -> Result<(), Lost> {
        if self.upgraded {
            return self.frames(bytes, news);
        }
        self.head.extend_from_slice(bytes);
        match upgrade::answer(&self.head, Some(upgrade::subprotocol(ENCODING))) {
            Answer::More => Ok(()),
            Answer::Switched(at) => {
                self.upgraded = true;
                let mut rest = std::mem::take(&mut self.head).split_off(at);
                self.frames(&mut rest, news)
            }
            Answer::Later(status) => {
                self.lived.put_off += 1;
                Err(Lost::new(status))
            }
            Answer::No(sentence) => Err(Lost::for_good(sentence)),
        }
    }

    fn frames(&mut self, bytes: &mut [u8], news: &mut Vec<News>) -> Result<(), Lost> {
        let limits = FrameLimits { message_bytes_max: 16 << 20, fragments_max: 1 };
        let mut partial = std::mem::take(&mut self.partial);
        let mut reader = Reader::new(Role::Client, limits, bytes);
        let mut pong = Vec::new();
        loop {
            match reader.next(&mut partial).map_err(|violation| Lost::new(violation.to_string()))? {
                None => break,
                Some(Incoming::Binary(message)) => {
                    let event = read_event(ENCODING, message).map_err(|error| Lost::new(error.to_string()))?;
                    self.hears(&event, news)?;
                }
                Some(Incoming::Ping(payload)) => write_frame(&mut pong, FrameKind::Pong, payload, Some(MASK)),
                Some(Incoming::Close(close)) => {
                    let code = close.map(|(code, _)| code);
                    let for_good = code.is_some_and(|code| code >= FOR_GOOD);
                    return Err(Lost { code, for_good, why: format!("closed {code:?}") });
                }
                Some(Incoming::Text(_) | Incoming::Pong(_)) => return Err(Lost::new("a frame nobody asked for")),
            }
        }
        self.partial = partial;
        if pong.is_empty() { Ok(()) } else { self.write(&pong) }
    }

    fn hears(&mut self, event: &ServerEvent<'_>, news: &mut Vec<News>) -> Result<(), Lost> {
        if let Some(room) = room_of(event)
            && self.place.as_ref().is_none_or(|place| place.room != room)
        {
            self.lived.foreign += 1;
            let offset = if let ServerEvent::Message(message) = event { Some(message.offset) } else { None };
            news.push(News::Wronged(Offence {
                fault: Fault::Foreign,
                marker: None,
                offsets: offset.map(|at| (at.0, at.0)),
            }));
            return Ok(());
        }
        match event {
            ServerEvent::Welcome(welcome) => {
                self.session = Some(welcome.session.to_string());
                if self.place.is_none() {
                    news.push(News::Seated);
                }
            }
            ServerEvent::Reply(reply) => self.answered(reply, news),
            ServerEvent::Error { id: Some(HEAD), .. } => news.push(News::Head(None)),
            ServerEvent::Error { id: Some(id), refusal, .. } if *id < PUBLISH_FROM => {
                let why = format!("refused: {}", refusal.code());
                return Err(if refusal.retryable() { Lost::new(why) } else { Lost::for_good(why) });
            }
            ServerEvent::Message(message) => {
                match self.place.as_ref().map(|place| place.verify(ENCODING, message)).transpose() {
                    Ok(marker) => self.said(message.offset, marker.as_ref(), news),
                    // What should have stood there is missing, then.
                    Err(Wrong::Foreign) => {
                        self.lived.foreign += 1;
                        news.push(News::Wronged(Offence::at(Fault::Foreign, (message.offset.0, message.offset.0))));
                    }
                    Err(Wrong::Corrupted) => {
                        self.lived.corrupted += 1;
                        news.push(News::Wronged(Offence::at(Fault::Corrupted, (message.offset.0, message.offset.0))));
                        self.said(message.offset, None, news);
                    }
                }
            }
            ServerEvent::Gap { epoch, from, to, .. } => {
                self.lived.gaps += 1;
                // The server gives the offsets: any number may come.
                let told = to.0.saturating_add(1).saturating_sub(from.0);
                self.lived.told_missing = self.lived.told_missing.saturating_add(told);
                self.awaits_gap = false;
                self.position = Some(match self.position {
                    Some(Position { epoch: known, offset }) if known == *epoch => {
                        self.misses(offset.0.saturating_add(1), from.0.saturating_sub(1), news);
                        Position { epoch: known, offset: offset.max(*to) }
                    }
                    Some(_) | None => Position { epoch: *epoch, offset: *to },
                });
            }
            ServerEvent::PresenceJoined { .. }
            | ServerEvent::PresenceLeft { .. }
            | ServerEvent::PresenceAway { .. }
            | ServerEvent::PresenceBack { .. }
            | ServerEvent::PresenceCounted { .. } => self.lived.presence += 1,
            ServerEvent::Stale { .. } => self.lived.stale += 1,
            ServerEvent::Typing { .. } => self.lived.typing += 1,
            ServerEvent::Read { .. } => self.lived.receipts += 1,
            ServerEvent::Drain { reconnect_in_ms } => news.push(News::Slot { ms: *reconnect_in_ms }),
            ServerEvent::Removed { why, .. } => return Err(Lost::new(format!("put out of its room: {}", why.name()))),
            ServerEvent::Error { .. } => self.lived.refused += 1,
            ServerEvent::Expiring { .. } | ServerEvent::Unknown { .. } => {}
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
            (HEAD, _) => news.push(News::Head(reply.offset)),
            (id, Some(position)) => news.push(News::Acked(id, position)),
            (_, None) => {}
        }
    }

    /// V: each offset once, in order, or told missing. `marker` says what it was, where that could be read.
    fn said(&mut self, Offset(offset): Offset, marker: Option<&Marker>, news: &mut Vec<News>) {
        self.lived.heard += 1;
        let Some(position) = self.position else { return self.misses(offset, offset, news) };
        if self.awaits_gap {
            // Something of a room that forgot, before the word that it did.
            self.misses(offset, offset, news);
        } else if offset <= position.offset.0 {
            self.lived.twice += 1;
            let marker = marker.map(|marker| (marker.publisher, marker.seq));
            return news.push(News::Wronged(Offence { marker, ..Offence::at(Fault::Duplicated, (offset, offset)) }));
        } else {
            self.misses(position.offset.0 + 1, offset - 1, news);
        }
        self.position = Some(Position { offset: Offset(offset), ..position });
    }

    /// Nothing came of these offsets, both inclusive (none, if the last is before the first), and nobody said why.
    fn misses(&mut self, first: u64, last: u64, news: &mut Vec<News>) {
        if first > last {
            return;
        }
        self.lived.missing = self.lived.missing.saturating_add((last - first).saturating_add(1));
        news.push(News::Wronged(Offence::at(Fault::Lost, (first, last))));
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Lost> {
        let Some(stream) = &mut self.stream else { return Err(Lost::new("not connected")) };
        // A few hundred bytes at a time: a socket that does not take them is of no use.
        match stream.write(bytes) {
            Ok(len) if len == bytes.len() => Ok(()),
            Ok(_) => Err(Lost::new("the socket takes no more")),
            Err(error) => Err(Lost::new(format!("write: {error}"))),
        }
    }
}

fn put(out: &mut Vec<u8>, id: Option<u64>, command: &CommandOut<'_>) {
    let mut envelope = Vec::new();
    write_command(&mut envelope, ENCODING, id, command);
    write_frame(out, FrameKind::Binary, &envelope, Some(MASK));
}

/// From this close code on nobody is to come back as it is (docs/protocol.md, "Closing").
const FOR_GOOD: u16 = 4_500;
/// "Normal closure", RFC 6455, 7.4.1.
const NORMAL: u16 = 1000;
/// Masking protects proxies from scripts; here are neither.
const MASK: [u8; 4] = [0x5a, 0xa5, 0x3c, 0xc3];

#[cfg(test)]
mod tests;
