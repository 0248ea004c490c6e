//! One client: the real wire in both directions, and a book of what it asked and what it was told.

mod hears;
mod says;

pub(crate) use says::envelope;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use throng::base::{Encoding, Now, Offset, Position, RoomName};
use throng::wire::{
    FrameKind, FrameLimits, HistoryFrom, Incoming, Inflater, Partial, Reader, Refusal, Role, write_close, write_frame,
};

use crate::company::Company;
use crate::deeds::{Deeds, Since};
use crate::dice::Dice;
use crate::fleeting::Seat;
use crate::reference::Reference;
use crate::tally::{Lived, Tally};
use crate::tokens::{FORBIDDEN, FORBIDDEN_ROOM, Paper};
use crate::view::{View, Wish};
use crate::weather::Weather;

/// What the answer with a certain `id` belongs to.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    Join(usize, Wish),
    Leave(usize),
    Publish(usize, usize),
    Presence(usize),
    Typing(usize, bool),
    Read(usize, Offset),
    Unread(usize),
    History(usize, PageWish),
    /// Something said in a room without offsets.
    Fleeting(usize),
    Ping,
    /// With the ids of its rooms.
    Resume(Vec<u64>),
    /// Another token, which must be refused with this.
    Refresh(Box<Paper>, Option<Refusal>),
    /// A command that must be refused with this.
    Wrong(Refusal),
}

/// Which page of a room's history, and how many messages at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageWish {
    pub(crate) from: HistoryFrom,
    pub(crate) limit: u32,
}

/// A command that waits for its answer.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) asked: Asked,
    /// Which of its tokens held when it was sent; later ones may have been taken before it was read.
    pub(crate) papers: usize,
    pub(crate) since: Since,
}

/// How something is said to a room.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words {
    pub(crate) room: usize,
    pub(crate) with_id: bool,
    pub(crate) echo: Option<bool>,
    /// How many bytes of padding the payload carries.
    pub(crate) filler: usize,
    /// Fragments of the WebSocket message.
    pub(crate) pieces: usize,
    pub(crate) key: Key,
}

/// Whether what is said can be said again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Key {
    None,
    New,
    /// The post of this number once more.
    Again(usize),
}

/// Where a client is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// The request is out.
    Opening,
    Open,
    /// It said goodbye first.
    Leaving,
    /// It has read a close frame.
    Closed,
    /// Turned away with an HTTP status.
    TurnedAway,
    /// The socket is gone.
    Ended,
}

/// Who was told to be in a room, by the answer to `presence`.
pub(crate) struct RollCall {
    pub(crate) room: usize,
    pub(crate) members: Vec<(String, u64)>,
    pub(crate) count: u64,
}

pub(crate) struct Client {
    pub(crate) number: usize,
    pub(crate) user: usize,
    pub(crate) shard: usize,
    pub(crate) name: String,
    pub(crate) encoding: Encoding,
    pub(crate) stage: Stage,
    /// The tokens it was let in and goes on with; none: a stranger.
    pub(crate) papers: Vec<Paper>,
    /// What its shard had lived through when it came, and has by now.
    pub(crate) came_since: Since,
    pub(crate) since: Since,
    came_unix_ms: u64,
    /// Reads nothing for now.
    pub(crate) deaf: bool,
    /// Never says anything again, not even a pong.
    pub(crate) mute: bool,
    /// Broke the protocol: the server may close with any code.
    pub(crate) misbehaved: bool,
    pub(crate) close_code: Option<u16>,
    /// The highest offset it said it has read, by room, whether it was answered there or not.
    pub(crate) said_read: BTreeMap<usize, Offset>,
    /// Its handle, of `welcome`.
    pub(crate) session: Option<String>,
    /// Whose session it goes on with.
    pub(crate) resumes: Option<usize>,
    /// What it was told about that.
    pub(crate) resume_told: Option<bool>,
    /// It said hello with that session.
    pub(crate) greets: bool,
    /// Somebody goes on with its session.
    pub(crate) succeeded: bool,
    pub(crate) said_goodbye: bool,
    /// The code of its own close frame.
    said_code: Option<u16>,
    /// It was told of a gap where the backend speaks to everybody, or got up there: what it should have heard is not certain.
    pub(crate) misses_broadcasts: bool,
    /// It was refused something that is a strike.
    struck: bool,
    /// It was told its slot: the server leaves.
    pub(crate) told_slot: bool,
    pub(crate) views: BTreeMap<usize, View>,
    /// Rooms without offsets.
    pub(crate) fleeting: BTreeMap<usize, Seat>,
    pub(crate) roll_calls: Vec<RollCall>,
    /// What it heard without a seat, by room.
    pub(crate) announced: BTreeMap<usize, BTreeSet<usize>>,
    /// What it was told, a line each: a scene reads it, a failure shows the end of it.
    pub(crate) diary: Vec<String>,
    /// It offered to send and take deflated messages.
    pub(crate) offered: bool,
    /// And that was agreed on.
    inflater: Option<Inflater>,
    head: Vec<u8>,
    partial: Partial,
    welcomed: bool,
    warned: bool,
    /// Commands are numbered in the order they are sent, with `id` or without.
    pub(crate) sequence: u64,
    pub(crate) outstanding: BTreeMap<u64, Sent>,
    pings: VecDeque<Vec<u8>>,
}

/// What a client needs to know of the world while it reads.
pub(crate) struct Surroundings<'a> {
    pub(crate) weather: &'a Weather,
    pub(crate) deeds: &'a Deeds,
    pub(crate) now: Now,
    pub(crate) reference: &'a mut Reference,
    pub(crate) tally: &'a mut Tally,
    pub(crate) dice: &'a mut Dice,
}

pub(crate) fn room_name(room: usize) -> String {
    match room {
        FORBIDDEN => FORBIDDEN_ROOM.to_owned(),
        EVERYBODY => "@all".to_owned(),
        room if room >= INBOXES => format!("@{}", crate::tokens::name(room - INBOXES)),
        room => format!("r:{room}"),
    }
}

fn room_number(name: &str) -> Option<usize> {
    if name == "@all" {
        return Some(EVERYBODY);
    }
    match name.strip_prefix("@user-") {
        Some(user) => Some(inbox_of(user.parse().ok()?)),
        None => name.strip_prefix("r:")?.parse().ok(),
    }
}

/// The room in which the backend speaks to one user, or others write to it.
pub(crate) fn inbox_of(user: usize) -> usize {
    INBOXES + user
}

/// Whether this is somebody's inbox.
pub(crate) fn is_inbox(room: usize) -> bool {
    room >= INBOXES
}

/// The number of the room in which the backend speaks to everybody.
pub(crate) const EVERYBODY: usize = 100;
const INBOXES: usize = 200;
/// The extension that a client may offer.
pub(crate) const DEFLATE: &str = "permessage-deflate";

impl Client {
    pub(crate) fn new(number: usize, shard: usize, user: usize, encoding: Encoding, now: Now, since: Since) -> Self {
        Self {
            number,
            user,
            shard,
            name: crate::tokens::name(user),
            encoding,
            stage: Stage::Opening,
            papers: Vec::new(),
            came_since: since,
            since,
            came_unix_ms: now.unix_ms,
            deaf: false,
            mute: false,
            misbehaved: false,
            close_code: None,
            said_read: BTreeMap::new(),
            session: None,
            resumes: None,
            resume_told: None,
            greets: false,
            succeeded: false,
            said_goodbye: false,
            said_code: None,
            misses_broadcasts: false,
            struck: false,
            told_slot: false,
            views: BTreeMap::new(),
            fleeting: BTreeMap::new(),
            roll_calls: Vec::new(),
            announced: BTreeMap::new(),
            diary: Vec::new(),
            offered: false,
            inflater: None,
            head: Vec::new(),
            partial: Partial::default(),
            welcomed: false,
            warned: false,
            sequence: 0,
            outstanding: BTreeMap::new(),
            pings: VecDeque::new(),
        }
    }

    /// Reads bytes as they come off the socket; what it answers goes to `out`.
    pub(crate) fn read(
        &mut self,
        bytes: &mut [u8],
        out: &mut Vec<u8>,
        around: &mut Surroundings<'_>,
    ) -> Result<(), String> {
        match self.stage {
            Stage::Opening => self.read_head(bytes, out, around),
            Stage::TurnedAway | Stage::Ended => Ok(()),
            Stage::Open | Stage::Leaving => self.read_frames(bytes, out, around),
            Stage::Closed => Err(format!("W1 {} bytes after the close frame", bytes.len())),
        }
    }

    /// C1: every command with an id has had its answer.
    pub(crate) fn has_all_answers(&self) -> Result<(), String> {
        match self.outstanding.iter().next() {
            Some((id, sent)) => Err(format!("C1 nobody answered {id} ({:?})", sent.asked)),
            None => Ok(()),
        }
    }

    /// D2: what was accepted of somebody who was sent away was answered before the goodbye.
    pub(crate) fn was_answered_before_the_goodbye(&self, reference: &Reference) -> Result<(), String> {
        if self.close_code != Some(1012) {
            return Ok(());
        }
        for Sent { asked, .. } in self.outstanding.values() {
            if let Asked::Publish(_, tag) = asked
                && reference.was_accepted(*tag)
            {
                return Err(format!("D2 {asked:?} was accepted, never answered, and then came the goodbye"));
            }
        }
        Ok(())
    }

    pub(crate) fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// The end of what it was told, for whoever looks into a failure.
    pub(crate) fn told_last(&self) -> String {
        let last = self.diary.len().saturating_sub(12);
        self.diary[last..].join(", ")
    }

    pub(crate) fn is_welcomed(&self) -> bool {
        self.welcomed
    }

    /// Whether its token, as far as it knows, ends while the world goes on.
    pub(crate) fn has_short_token(&self) -> bool {
        self.papers.last().is_some_and(|paper| paper.short)
    }

    /// Whether another token is on its way, so that nobody can say which one holds.
    pub(crate) fn is_refreshing(&self) -> bool {
        self.outstanding.values().any(|sent| matches!(sent.asked, Asked::Refresh(..)))
    }

    pub(crate) fn view(&mut self, room: usize) -> &mut View {
        self.views.entry(room).or_default()
    }

    /// What it knows of the people of a room, if it sits there as far as it was told.
    pub(crate) fn company_of(&self, room: usize) -> Option<&Company> {
        let fleeting = self.fleeting.get(&room).filter(|seat| seat.seated).map(|seat| &seat.company);
        let view = self.views.get(&room).filter(|view| view.seated && !view.left_silently);
        fleeting.or_else(|| view.map(|view| &view.company))
    }

    /// Whether a join or leave of this room has no answer yet.
    pub(crate) fn is_asking(&self, room: usize) -> bool {
        let about = |sent: &Sent| matches!(sent.asked, Asked::Join(of, _) | Asked::Leave(of) if of == room);
        self.outstanding.values().any(about)
    }

    /// Positions of the newest messages it has, by room.
    pub(crate) fn positions(&self) -> impl Iterator<Item = (usize, Position)> + '_ {
        self.views.iter().filter_map(|(room, view)| Some((*room, view.position()?)))
    }

    fn read_head(&mut self, bytes: &[u8], out: &mut Vec<u8>, around: &mut Surroundings<'_>) -> Result<(), String> {
        self.head.extend_from_slice(bytes);
        let Some(end) = self.head.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(()) };
        let mut rest = self.head.split_off(end + 4);
        let status = self.head.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
        let agreed = self.head.windows(DEFLATE.len()).any(|window| window == DEFLATE.as_bytes());
        if agreed && !self.offered {
            return Err("W5 an extension that nobody offered".into());
        }
        self.inflater = agreed.then(Inflater::default);
        match status {
            Some("101") => self.stage = Stage::Open,
            Some("400" | "401" | "408" | "503") => {
                self.stage = Stage::TurnedAway;
                return Ok(());
            }
            _ => return Err(format!("W2 an answer with {status:?}")),
        }
        self.head = Vec::new();
        self.read_frames(&mut rest, out, around)
    }

    /// W1: whatever comes is a stream of whole frames, torn nowhere.
    fn read_frames(
        &mut self,
        bytes: &mut [u8],
        out: &mut Vec<u8>,
        around: &mut Surroundings<'_>,
    ) -> Result<(), String> {
        let limits = FrameLimits { message_bytes_max: 1 << 20, fragments_max: 1 };
        let mut partial = std::mem::take(&mut self.partial);
        // A deflated message that was not agreed on breaks the framing.
        let mut inflater = self.inflater.take();
        let agreed = inflater.is_some();
        let mut reader = Reader::new(Role::Client, limits, bytes).inflating(inflater.as_mut());
        loop {
            match reader.next(&mut partial).map_err(|violation| format!("W1 {violation}"))? {
                None => break,
                Some(Incoming::Text(text)) if self.encoding == Encoding::Json => self.hear(text.as_bytes(), around)?,
                Some(Incoming::Binary(bytes)) if self.encoding == Encoding::MessagePack => self.hear(bytes, around)?,
                Some(Incoming::Text(_) | Incoming::Binary(_)) => return Err("W1 the wrong kind of message".into()),
                Some(Incoming::Ping(payload)) => {
                    around.tally.add(Lived::Pings, 1);
                    if !self.mute && self.stage == Stage::Open {
                        write_frame(out, FrameKind::Pong, payload, Some(around.dice.mask()));
                    }
                }
                Some(Incoming::Pong(payload)) => {
                    if self.pings.pop_front().as_deref() != Some(payload) {
                        return Err(format!("W3 a pong with {payload:?} nobody pinged for"));
                    }
                }
                Some(Incoming::Close(close)) => {
                    self.on_close(close.map(|(code, _)| code), out, around)?;
                    return if reader.unread().is_empty() {
                        Ok(())
                    } else {
                        Err("W1 bytes after the close frame".into())
                    };
                }
            }
        }
        self.partial = partial;
        if agreed {
            around.tally.add(Lived::Inflated, inflater.as_mut().map_or(0, Inflater::take_messages));
            self.inflater = inflater;
        }
        Ok(())
    }

    /// W4: a connection ends for a reason it has given.
    fn on_close(&mut self, code: Option<u16>, out: &mut Vec<u8>, around: &mut Surroundings<'_>) -> Result<(), String> {
        let deserved = match code {
            // With the code it gave, if it gave one.
            Some(code @ (1000 | 1001)) => self.stage == Stage::Leaving && self.said_code.unwrap_or(1000) == code,
            Some(1002 | 1003 | 1007 | 1009) => self.misbehaved,
            Some(1012) => self.told_slot || self.greets && !self.welcomed,
            Some(1013) => self.greets && !self.welcomed,
            Some(4502) => self.succeeded,
            Some(4001) => true,
            Some(4002) => true,
            Some(4003) => self.has_short_token() || !self.welcomed,
            Some(4007) => self.struck,
            Some(4004) => around.deeds.user_max_ever > 0,
            Some(code @ (4006 | 4501)) => around.deeds.may_have_kicked(self, code),
            Some(4500) => self.papers.last().is_some_and(|paper| around.deeds.has_revoked(self.shard, paper)),
            Some(4005 | 4503 | 4505) => !self.welcomed,
            Some(_) | None => false,
        };
        if !deserved {
            return Err(format!("W4 closed with {code:?} ({:?})", self.stage));
        }
        if self.stage == Stage::Open && !self.mute {
            write_close(out, code.unwrap_or(1000), "", Some(around.dice.mask()));
        }
        self.diary.push(format!("closed {}", code.unwrap_or(0)));
        self.close_code = code;
        self.stage = Stage::Closed;
        around.tally.add(Lived::Closes, 1);
        Ok(())
    }
}

/// Checked once here, so that every room of a world is one the server takes.
pub(crate) fn check_room(room: usize) {
    assert!(RoomName::parse(&room_name(room)).is_ok());
}
