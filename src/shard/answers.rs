//! Asks of the control plane that concern a room's home.

use crate::base::{Delivery, Encoding, Form, Now, Offset, Position, RoomName};
use crate::room::{Post, Room};
use crate::wire::{GapWhy, Press, Refusal, SharedFrame};

use super::ask::{
    Announcement, Answer, Ask, AskId, Audience, HistoryFrom, HistoryPage, HistoryQuestion, Notice, Question, RoomFacts,
};
use super::{Count, Effect, Mail, RoomRef, Shard};

/// Questions that wait for news at one shard; one more is answered at once, without news.
const FOLLOWERS_MAX: usize = 256;
/// Places of the table of rooms one page looks at.
const ROOM_PLACES_PER_PAGE: u32 = 4_096;

/// A question that waits for a message.
#[derive(Debug)]
pub(crate) struct Follower {
    id: AskId,
    question: Box<HistoryQuestion>,
    until_mono_ms: u64,
}

impl Shard {
    pub(super) fn on_ask(&mut self, now: Now, Ask { id, question }: Ask) {
        self.counters.add(Count::Asks, 1);
        match question {
            Question::Publish(notices) => {
                let outcomes = notices.iter().map(|notice| self.publish_notice(now, notice)).collect();
                self.answer_ask(id, Answer::Published(outcomes));
            }
            Question::Announce { to, notice } => self.announce(now, id, to, &notice),
            Question::Presence { room } => {
                let roll = self.roll_of(&room);
                self.answer_ask(id, Answer::Presence(roll));
            }
            Question::History(question) => self.on_history(now, id, question),
            Question::Rooms { from, rooms_max, prefix } => self.list_rooms(id, from, rooms_max, &prefix),
            Question::Ticket(verified) => {
                let ticket = self.make_ticket(now, *verified);
                self.answer_ask(id, Answer::Ticket(ticket));
            }
            Question::Revoke(revocation) => {
                let revoked = self.revoke(now, &revocation);
                self.answer_ask(id, Answer::Revoked(revoked));
            }
            Question::FullestRooms { .. } | Question::Connections { .. } | Question::Close { .. } => {
                self.begin_errand(now, id, question);
            }
        }
    }

    pub(super) fn answer_ask(&mut self, id: AskId, answer: Answer) {
        self.effects.push(Effect::Answer { id, answer });
    }

    fn publish_notice(&mut self, now: Now, notice: &Notice) -> Result<Position, Refusal> {
        let accepted = self.accept(now, &RoomRef::Named(notice.room.clone()), &post_of(notice))?;
        self.publish_accepted(now, &accepted);
        Ok(accepted.position)
    }

    /// The home gives the position and sends the message to every shard, in the order of its positions.
    fn announce(&mut self, now: Now, id: AskId, to: Audience, notice: &Notice) {
        let shards: Vec<_> = self.homes.shards().collect();
        if shards.iter().any(|shard| !self.has_room_for(*shard)) {
            self.answer_ask(id, Answer::Refused(Refusal::Busy));
            return;
        }
        let accepted = match self.accept(now, &RoomRef::Named(notice.room.clone()), &post_of(notice)) {
            Ok(accepted) => accepted,
            Err(refusal) => {
                self.answer_ask(id, Answer::Refused(refusal));
                return;
            }
        };
        let frames = Encoding::ALL.map(|encoding| {
            let room = self.rooms.room_mut(accepted.at).expect("the room was written a moment ago");
            // Who will be told is not known here; deflated once, it is for all of them.
            let frame = room.frame(accepted.offset, Form { encoding, deflated: true }, &mut self.scratch);
            frame.expect("the newest message always stays").0
        });
        self.publish_accepted(now, &accepted);
        self.answer_ask(id, Answer::Announced(accepted.position));
        let offset = accepted.offset;
        let announcement = Announcement { id, room: notice.room.clone(), offset, to, frames };
        for shard in shards {
            self.post(shard, Mail::Announce(Box::new(announcement.clone())));
        }
    }

    fn on_history(&mut self, now: Now, id: AskId, question: Box<HistoryQuestion>) {
        let page = self.history(now, &question, Encoding::Json);
        let nothing_new = page.messages.is_empty() && page.gap.is_none();
        if nothing_new && question.wait_ms > 0 && self.followers.len() < FOLLOWERS_MAX {
            let until_mono_ms = now.mono_ms + question.wait_ms;
            self.followers.push(Follower { id, question, until_mono_ms });
        } else {
            self.answer_ask(id, Answer::History(Box::new(page)));
        }
    }

    /// Each tick: who waits for news and has some, or has waited long enough, is answered.
    pub(super) fn serve_followers(&mut self, now: Now) {
        for follower in std::mem::take(&mut self.followers) {
            let page = self.history(now, &follower.question, Encoding::Json);
            if page.messages.is_empty() && page.gap.is_none() && now.mono_ms < follower.until_mono_ms {
                self.followers.push(follower);
            } else {
                self.answer_ask(follower.id, Answer::History(Box::new(page)));
            }
        }
    }

    pub(super) fn history(&mut self, now: Now, question: &HistoryQuestion, encoding: Encoding) -> HistoryPage {
        let Some((at, room)) = self.rooms.find_mut(question.room.as_str()) else {
            return page_of_nothing(question.from);
        };
        let bytes_before = room.log().bytes();
        super::home::trim(room, now, self.config.rules.classes.class(room.class()).log.age_ms);
        let page = page_of(room, question, encoding, &mut self.scratch);
        self.rooms.account(at, bytes_before);
        page
    }

    fn list_rooms(&mut self, id: AskId, from: u32, rooms_max: usize, prefix: &str) {
        let end = from.saturating_add(ROOM_PLACES_PER_PAGE).min(self.rooms.places());
        let mut rooms = Vec::new();
        let mut place = from;
        while place < end && rooms.len() < rooms_max {
            if let Some(room) = self.rooms.room_mut(place)
                && room.name().as_str().starts_with(prefix)
            {
                rooms.push(facts_of(room));
            }
            place += 1;
        }
        let next = (place < self.rooms.places()).then_some(place);
        self.answer_ask(id, Answer::Rooms { rooms, next });
    }
}

fn post_of(notice: &Notice) -> Post<'_> {
    Post { from: &notice.from, event: notice.event.as_deref(), key: None, payload: &notice.payload, skip: None }
}

pub(super) fn facts_of(room: &Room) -> RoomFacts {
    RoomFacts {
        name: room.name().clone(),
        epoch: room.epoch(),
        head: room.head(),
        users: room.people().count(),
        connections: room.attendance().iter().map(|attendance| u64::from(attendance.seats.total())).sum(),
        messages_kept: room.log().len() as u64,
        bytes_kept: room.log().bytes() as u64,
    }
}

/// A room that is not there has forgotten whatever a position of it named.
fn page_of_nothing(from: HistoryFrom) -> HistoryPage {
    let gap = match from {
        HistoryFrom::After { offset, .. } if offset > Offset(0) => Some((Offset(1), Offset(0), GapWhy::Epoch)),
        HistoryFrom::After { .. } | HistoryFrom::Newest | HistoryFrom::Before(_) => None,
    };
    HistoryPage { epoch: None, head: Offset(0), messages: Vec::new(), last: Offset(0), gap }
}

fn page_of(room: &mut Room, question: &HistoryQuestion, encoding: Encoding, scratch: &mut Press) -> HistoryPage {
    let (first, head) = (room.log().first(), room.head());
    let mut page = HistoryPage { epoch: Some(room.epoch()), head, messages: Vec::new(), last: head, gap: None };
    if room.delivery() != Delivery::Reliable {
        // What it keeps is no history.
        return page;
    }
    // They become parts of one answer.
    let form = Form { encoding, deflated: false };
    let mut pen = Pen { room, question, form, scratch };
    match question.from {
        HistoryFrom::Newest => page.fill_backward(&mut pen, head.next()),
        HistoryFrom::Before(offset) => page.fill_backward(&mut pen, offset.min(head.next())),
        HistoryFrom::After { epoch, offset } => {
            let same_life = epoch.is_none_or(|epoch| epoch == pen.room.epoch()) && offset <= head;
            let wanted = if same_life { offset.next() } else { Offset(1) };
            let start = wanted.max(first);
            page.gap = match same_life {
                // What another life of the room had is not known here.
                false => Some((Offset(1), Offset(start.0 - 1), GapWhy::Epoch)),
                true => (wanted < start).then(|| (wanted, Offset(start.0 - 1), GapWhy::Retention)),
            };
            page.last = Offset(start.0 - 1);
            page.fill_forward(&mut pen, start);
        }
    }
    page
}

/// What a page is written with.
struct Pen<'a> {
    room: &'a mut Room,
    question: &'a HistoryQuestion,
    form: Form,
    scratch: &'a mut Press,
}

impl Pen<'_> {
    fn frame(&mut self, offset: Offset) -> Option<SharedFrame> {
        self.room.frame(offset, self.form, self.scratch).map(|(frame, _)| frame)
    }
}

impl HistoryPage {
    fn fill_forward(&mut self, pen: &mut Pen<'_>, start: Offset) {
        let (mut bytes, mut offset) = (0, start);
        while self.messages.len() < pen.question.messages_max
            && let Some(frame) = pen.frame(offset)
        {
            bytes += frame.plain().len();
            if bytes > pen.question.bytes_max && !self.messages.is_empty() {
                return;
            }
            self.messages.push(frame);
            self.last = offset;
            offset = offset.next();
        }
    }

    fn fill_backward(&mut self, pen: &mut Pen<'_>, end: Offset) {
        let (mut bytes, mut offset) = (0, end);
        self.last = Offset(end.0.saturating_sub(1));
        while self.messages.len() < pen.question.messages_max && offset > pen.room.log().first() {
            offset = Offset(offset.0 - 1);
            let Some(frame) = pen.frame(offset) else { break };
            bytes += frame.plain().len();
            if bytes > pen.question.bytes_max && !self.messages.is_empty() {
                break;
            }
            self.messages.push(frame);
        }
        self.messages.reverse();
    }
}

/// Where the room of a question is written, for the asker.
impl Question {
    /// The room whose home must be asked; `None`: any shard, or all of them.
    pub fn room(&self) -> Option<&RoomName> {
        match self {
            Self::Publish(notices) => notices.first().map(|notice| &notice.room),
            Self::Announce { notice, .. } => Some(&notice.room),
            Self::Presence { room } => Some(room),
            Self::History(question) => Some(&question.room),
            Self::Rooms { .. }
            | Self::FullestRooms { .. }
            | Self::Connections { .. }
            | Self::Close { .. }
            | Self::Ticket(_)
            | Self::Revoke(_) => None,
        }
    }
}
