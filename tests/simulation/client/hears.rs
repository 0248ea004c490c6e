//! What a client believes after what it was told, and whether that may be.

use throng::base::{Encoding, Epoch, Offset, Presence};
use throng::wire::client::{Reply, ServerEvent, read_event};
use throng::wire::envelope::MessageIn;
use throng::wire::{GapWhy, Refusal, Verb};

use super::{Asked, Client, EVERYBODY, RollCall, Sent, Surroundings, inbox_of, is_inbox, room_number};
use crate::deeds::Since;
use crate::diary;
use crate::fleeting;
use crate::reference::Heard;
use crate::tally::Lived;
use crate::tokens::Paper;
use crate::view::{JoinAnswer, View, Wish};

impl Client {
    pub(super) fn hear(&mut self, message: &[u8], around: &mut Surroundings<'_>) -> Result<(), String> {
        let event = read_event(self.encoding, message).map_err(|error| format!("W5 {error}: {message:?}"))?;
        match (&event, self.welcomed) {
            (ServerEvent::Welcome(welcome), false) if welcome.user == self.name => {
                self.session = Some(welcome.session.to_string());
                if self.greets {
                    self.resume_told = Some(welcome.resumed);
                } else if welcome.resumed {
                    return Err("W6 resumed before it was asked".into());
                }
                self.on_welcome(around)?;
            }
            (ServerEvent::Welcome(_), _) => return Err(format!("W6 {event:?}")),
            (_, false) => return Err(format!("W6 before the welcome came {event:?}")),
            (_, true) => {}
        }
        let room = |name: &str| room_number(name).ok_or_else(|| format!("W5 no room of ours: {name}"));
        self.diary.push(diary::line(&event));
        match event {
            ServerEvent::Welcome(_) => Ok(()),
            ServerEvent::Reply(reply) => self.on_reply(&reply, around),
            ServerEvent::Error { id, refusal, .. } => self.on_error(id, refusal, around),
            ServerEvent::Message(message) => self.on_message(room(&message.room)?, &message, around),
            ServerEvent::Gap { room: name, epoch, from, to, why } => {
                let room = room(&name)?;
                around.tally.add(Lived::Gaps, 1);
                let number = self.number;
                self.misses_broadcasts |= room == EVERYBODY && why != GapWhy::Unknown;
                self.view(room).on_gap(number, room, (epoch, from, to, why), around.reference)
            }
            ServerEvent::PresenceJoined { room: ref name, .. }
            | ServerEvent::PresenceLeft { room: ref name, .. }
            | ServerEvent::PresenceAway { room: ref name, .. }
            | ServerEvent::PresenceBack { room: ref name, .. }
            | ServerEvent::PresenceCounted { room: ref name, .. }
            | ServerEvent::Stale { room: ref name }
            | ServerEvent::Typing { room: ref name, .. }
            | ServerEvent::Read { room: ref name, .. } => {
                let room = room(name)?;
                self.hear_of_people(room, &event, around)
            }
            // W7: only who has a token that ends soon is told so, and once.
            ServerEvent::Expiring { .. } if self.has_short_token() && !self.warned => {
                self.warned = true;
                Ok(())
            }
            ServerEvent::Expiring { in_ms } => Err(format!("W7 a token that ends in {in_ms}")),
            ServerEvent::Removed { room: name, .. } => self.on_removed(room(&name)?, around),
            ServerEvent::Drain { .. } if self.told_slot => Err("D1 its slot was told twice".into()),
            ServerEvent::Drain { .. } => {
                self.told_slot = true;
                around.tally.add(Lived::Slots, 1);
                Ok(())
            }
            ServerEvent::Unknown { kind } => Err(format!("W5 an event {kind}")),
        }
    }

    fn on_welcome(&mut self, around: &Surroundings<'_>) -> Result<(), String> {
        self.welcomed = true;
        // W8: nobody comes in with a token that had been revoked.
        match self.papers.first() {
            None => Err("W8 a stranger was welcomed".into()),
            Some(paper) if around.deeds.kept_out(self.shard, paper, self.came_since) => {
                Err(format!("W8 {paper:?} was welcomed, and had been revoked"))
            }
            Some(_) => Ok(()),
        }
    }

    fn on_message(
        &mut self,
        room: usize,
        message: &MessageIn<'_>,
        around: &mut Surroundings<'_>,
    ) -> Result<(), String> {
        let mut json = Vec::new();
        message.data.write_as(Encoding::Json, &mut json);
        let json = String::from_utf8(json).map_err(|_| "W5 a payload that is not UTF-8")?;
        if fleeting::is(room) {
            let seat = self.fleeting.entry(room).or_default();
            let (number, offset, key) = (self.number, message.offset.0, message.key.as_deref());
            return seat.on_message((number, room), offset, key, &json, around.tally);
        }
        let view = self.views.get(&room);
        let (epoch, own_from) = view.map_or((None, Offset(0)), |view| (view.epoch, view.own_from()));
        let heard = Heard {
            room,
            epoch,
            offset: message.offset,
            own_from,
            at_unix_ms: message.at_unix_ms,
            user: &message.from.user,
            event: message.event.as_deref(),
            json: &json,
        };
        let tag = around.reference.heard(self.number, &heard)?;
        around.tally.add(Lived::OwnHistory, u64::from(message.from.user == self.name && message.offset < own_from));
        if room == EVERYBODY || room == inbox_of(self.user) && !around.weather.letters {
            self.on_announcement(room, tag, around)?;
            // Who sits there hears it by its seat: behind what the answer to its join said, and in order.
            return match self.views.get_mut(&room).filter(|view| view.seated) {
                Some(view) => view.on_message(self.number, room, message.offset, around.reference),
                None => Ok(()),
            };
        }
        around.tally.add(if is_inbox(room) { Lived::Letters } else { Lived::Messages }, 1);
        self.views.entry(room).or_default().on_message(self.number, room, message.offset, around.reference)
    }

    /// A1: what the backend says to everybody, or to one, comes once and in the order it was said.
    fn on_announcement(&mut self, room: usize, tag: usize, around: &mut Surroundings<'_>) -> Result<(), String> {
        around.tally.add(Lived::Announced, 1);
        match self.announced.entry(room).or_default().last() {
            Some(last) if *last >= tag => Err(format!("A1 heard {tag} of room {room} after {last}")),
            Some(_) | None => {
                self.announced.entry(room).or_default().insert(tag);
                Ok(())
            }
        }
    }

    /// G1: a seat is taken only from who sits, or is about to, where some token or default of its time does not reach.
    fn on_removed(&mut self, room: usize, around: &mut Surroundings<'_>) -> Result<(), String> {
        around.tally.add(Lived::Removed, 1);
        if fleeting::is(room) {
            self.fleeting.entry(room).or_default().left();
            return Ok(());
        }
        let asking = self.is_asking(room);
        let view = self.views.entry(room).or_default();
        if !view.seated && !view.joined_silently && !asking {
            return Err(format!("G1 put out of room {room}, and does not sit there"));
        }
        view.on_removed(self.sequence);
        let outstanding = self
            .outstanding
            .values()
            .filter_map(|sent| if let Asked::Refresh(paper, None) = &sent.asked { Some(&**paper) } else { None });
        let mut papers = self.papers.last().into_iter().chain(outstanding);
        let deeds = around.deeds;
        let lost = papers.any(|paper| {
            let reaches = deeds.reaches(self.shard, paper, self.came_since);
            reaches.iter().any(|reach| !reach.allows(Verb::Join, room))
        });
        if lost { Ok(()) } else { Err(format!("G1 put out of room {room}, which every token of {} grants", self.name)) }
    }

    /// G4: when the new token is taken, what it does not grant has been left.
    fn on_refreshed(
        &mut self,
        paper: Paper,
        reply: &Reply<'_>,
        since: Since,
        around: &mut Surroundings<'_>,
    ) -> Result<(), String> {
        around.tally.add(Lived::Refreshed, 1);
        if around.deeds.kept_out(self.shard, &paper, since) {
            return Err(format!("W8 {paper:?} was taken, and had been revoked"));
        }
        let ends_ms = paper.ends_unix_s * 1_000;
        let said_ms = reply.expires_in_ms.ok_or("C2 a refresh without its end")?;
        let most_ms = ends_ms.saturating_sub(self.came_unix_ms);
        if said_ms > most_ms + 1_000 || said_ms + 1_000 < ends_ms.saturating_sub(around.now.unix_ms) {
            return Err(format!("W11 {paper:?} was said to end in {said_ms} ms at {}", around.now.unix_ms));
        }
        let reaches = around.deeds.reaches(self.shard, &paper, since);
        let narrower = self.papers.last().is_some_and(|before| before.reach != paper.reach);
        around.tally.add(if narrower { Lived::RefreshedOtherwise } else { Lived::RefreshedAlike }, 1);
        for (room, view) in &mut self.views {
            let may = |verb| reaches.iter().any(|reach| reach.allows(verb, *room));
            if view.seated && !view.left_silently && !may(Verb::Join) {
                return Err(format!("G4 sits in room {room} with {paper:?}"));
            }
            if !may(Verb::Presence) {
                view.stop_watching();
            }
        }
        for (room, seat) in &mut self.fleeting {
            let may = |verb| reaches.iter().any(|reach| reach.allows(verb, *room));
            if seat.seated && !may(Verb::Join) {
                return Err(format!("G4 sits in room {room} with {paper:?}"));
            }
            if !may(Verb::Presence) {
                seat.company.stop_watching();
            }
        }
        self.warned = false;
        self.papers.push(paper);
        Ok(())
    }

    /// Whether what was sent could have been granted when it was read, and whether it could have been refused.
    fn grants_over(&self, sent: &Sent, around: &Surroundings<'_>) -> (bool, bool) {
        let (room, verbs) = match &sent.asked {
            Asked::Join(room, wish) => {
                let history = wish.since.is_some() || wish.history > 0;
                let more = [(wish.presence, Verb::Presence), (history, Verb::History)];
                let more = more.into_iter().filter(|(asked, _)| *asked).map(|(_, verb)| verb);
                (*room, [Verb::Join].into_iter().chain(more).collect())
            }
            Asked::Publish(room, _) | Asked::Fleeting(room) => (*room, vec![Verb::Publish]),
            Asked::History(room, _) => (*room, vec![Verb::History]),
            Asked::Presence(room) => (*room, vec![Verb::Presence]),
            Asked::Typing(room, _) => (*room, vec![Verb::Publish]),
            Asked::Unread(room) => (*room, vec![Verb::Join]),
            Asked::Read(..)
            | Asked::Leave(_)
            | Asked::Ping
            | Asked::Refresh(..)
            | Asked::Resume(_)
            | Asked::Wrong(_) => {
                return (true, false);
            }
        };
        let (mut may, mut may_not) = (false, false);
        for paper in &self.papers[sent.papers..] {
            for reach in around.deeds.reaches(self.shard, paper, sent.since) {
                let granted = verbs.iter().all(|verb| reach.allows(*verb, room));
                (may, may_not) = (may || granted, may_not || !granted);
            }
        }
        (may, may_not)
    }

    /// C2: an answer has the id of a command that has none yet, and fits it.
    fn on_reply(&mut self, reply: &Reply<'_>, around: &mut Surroundings<'_>) -> Result<(), String> {
        let sent = self.outstanding.remove(&reply.id).ok_or_else(|| format!("C2 nobody asked {reply:?}"))?;
        let told = reply.room.as_deref().and_then(room_number);
        let (asked, missing) = (sent.asked.clone(), || format!("C2 {:?} was answered by {reply:?}", sent.asked));
        if !self.grants_over(&sent, around).0 {
            return Err(format!("G3 {asked:?} was carried out, and no token of {} allows it", self.name));
        }
        match asked {
            Asked::Join(room, wish) if told == Some(room) && fleeting::is(room) => {
                let name = self.name.clone();
                self.fleeting.entry(room).or_default().joined(&wish, reply, &name)?;
                let lists = wish.presence && around.weather.people.presence == Presence::Announced;
                if lists { self.on_members(room, reply, around) } else { Ok(()) }
            }
            Asked::Presence(room) if told == Some(room) && fleeting::is(room) => {
                if let Some(seat) = self.fleeting.get_mut(&room).filter(|seat| seat.seated) {
                    seat.company.take_roll(reply)?;
                }
                self.on_members(room, reply, around)
            }
            Asked::Read(room, _) | Asked::Unread(room) | Asked::History(room, _) if fleeting::is(room) => {
                Err(format!("C2 {asked:?} was answered by {reply:?}, and nothing there has an offset"))
            }
            Asked::Leave(room) if told == Some(room) && fleeting::is(room) => {
                self.fleeting.entry(room).or_default().left();
                Ok(())
            }
            Asked::Fleeting(room) if told == Some(room) && reply.position().is_none() => Ok(()),
            Asked::History(room, wish) if told == Some(room) => self.on_history(room, &wish, reply, around),
            Asked::Join(room, wish) if told == Some(room) => {
                let (epoch, head): (Epoch, Offset) =
                    (reply.epoch.ok_or_else(missing)?, reply.offset.ok_or_else(missing)?);
                around.tally.add(Lived::Joins, 1);
                around.tally.add(Lived::SatInBroadcasts, u64::from(room == EVERYBODY));
                let recovered = wish.resumes && reply.recovered == Some(true);
                around.tally.add(Lived::Recovered, u64::from(recovered));
                around.tally.add(Lived::UnknownGaps, u64::from(wish.resumes && wish.since.is_none()));
                let answer = JoinAnswer { sequence: reply.id, epoch, head, recovered: reply.recovered };
                let waited = wish.since.is_some_and(|since| since.epoch == epoch && since.offset < head);
                around.tally.add(Lived::LettersWaited, u64::from(waited && is_inbox(room)));
                let name = self.name.clone();
                // Who opens its inbox without a word about how much of it gets the newest page.
                let history = if is_inbox(room) && wish.history == 0 { u32::MAX } else { wish.history };
                let wish = Wish { history, ..wish };
                self.view(room).on_joined(&wish, &answer, around.weather)?;
                self.view(room).company.on_joined(reply, &name, wish.presence)?;
                let lists = wish.presence && around.weather.people.presence == Presence::Announced;
                if lists { self.on_members(room, reply, around) } else { Ok(()) }
            }
            Asked::Leave(room) if told == Some(room) => {
                self.view(room).on_left(reply.id);
                Ok(())
            }
            Asked::Publish(room, tag) if told == Some(room) => {
                let position = reply.position().ok_or_else(missing)?;
                around.tally.add(Lived::Acks, 1);
                let dup = reply.dup == Some(true);
                around.tally.add(Lived::Dups, u64::from(dup));
                around.reference.acked(tag, position, dup)
            }
            Asked::Presence(room) if told == Some(room) => {
                if self.view(room).seated && !self.view(room).left_silently {
                    self.view(room).company.take_roll(reply)?;
                }
                self.on_members(room, reply, around)
            }
            Asked::Typing(room, _) | Asked::Read(room, _) if told == Some(room) => Ok(()),
            Asked::Unread(room) if told == Some(room) => self.on_unread(room, reply, around),
            Asked::Ping => Ok(()),
            Asked::Resume(_) if self.greets == reply.resumed.is_none() => {
                self.resume_told = self.resume_told.or(reply.resumed);
                Ok(())
            }
            Asked::Refresh(paper, None) => self.on_refreshed(*paper, reply, sent.since, around),
            Asked::Refresh(_, Some(_))
            | Asked::Join(..)
            | Asked::Leave(_)
            | Asked::Publish(..)
            | Asked::Presence(_)
            | Asked::Typing(..)
            | Asked::Read(..)
            | Asked::Unread(_)
            | Asked::History(..)
            | Asked::Fleeting(_)
            | Asked::Resume(_)
            | Asked::Wrong(_) => Err(missing()),
        }
    }

    /// C4: what there is to read is what there is but for what was read.
    fn on_unread(&self, room: usize, reply: &Reply<'_>, around: &Surroundings<'_>) -> Result<(), String> {
        let (Some(head), Some(read)) = (reply.offset, reply.read) else { return Err(format!("C4 {reply:?}")) };
        if read > head || reply.unread != Some(head.since(read)) {
            return Err(format!("C4 {reply:?}"));
        }
        around.reference.may_have_read(room, &self.name, read)
    }

    fn on_members(&mut self, room: usize, reply: &Reply<'_>, around: &Surroundings<'_>) -> Result<(), String> {
        let (Some(members), Some(count)) = (&reply.members, reply.count) else {
            return Err(format!("C2 no members: {reply:?}"));
        };
        let members: Vec<(String, u64)> = members.iter().map(|m| (m.person.user.to_string(), m.connections)).collect();
        let listed = (count as usize).min(around.weather.limits.members_max);
        if members.len() != listed || !members.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(format!("C3 a roll of {count} lists {members:?}"));
        }
        self.roll_calls.push(RollCall { room, members, count });
        Ok(())
    }

    fn on_error(&mut self, id: Option<u64>, refusal: Refusal, around: &mut Surroundings<'_>) -> Result<(), String> {
        let lived =
            [(Refusal::Busy, Lived::Busy), (Refusal::TooOften, Lived::TooOften), (Refusal::RoomFull, Lived::RoomFull)];
        lived.iter().filter(|(of, _)| *of == refusal).for_each(|(_, lived)| around.tally.add(*lived, 1));
        self.struck |= refusal.is_strike();
        let Some(id) = id else {
            if refusal == Refusal::RoomFull {
                self.views.values_mut().for_each(View::on_nameless_refusal);
            }
            return Ok(());
        };
        let sent = self.outstanding.remove(&id).ok_or_else(|| format!("C2 nobody asked {id}: {refusal:?}"))?;
        let (may, may_not) = self.grants_over(&sent, around);
        let (asked, people) = (sent.asked, around.weather.people);
        let fits = match (&asked, refusal) {
            (Asked::Wrong(expected), _) => refusal == *expected,
            (Asked::Refresh(..), Refusal::Busy | Refusal::TooOften) => true,
            (Asked::Resume(rooms), Refusal::Busy) => {
                // Nothing of it was carried out.
                rooms.iter().for_each(|id| drop(self.outstanding.remove(id)));
                true
            }
            (Asked::Refresh(_, Some(wrong)), _) if *wrong == refusal => {
                around.tally.add(Lived::RefreshesRefused, 1);
                true
            }
            // W10: a good one is refused only if it was revoked, or ended on its way.
            (Asked::Refresh(paper, _), Refusal::BadToken) => paper.short || around.deeds.has_revoked(self.shard, paper),
            // G2: whoever is refused is not granted it, and whoever is not granted it is refused.
            (Asked::Publish(_, tag), Refusal::Forbidden) if may_not => return around.reference.refused(*tag),
            // Until its seat is taken, somebody may sit where it may not join any more.
            (
                Asked::Join(..)
                | Asked::Presence(_)
                | Asked::Typing(..)
                | Asked::Unread(_)
                | Asked::History(..)
                | Asked::Fleeting(_),
                Refusal::Forbidden,
            ) => may_not,
            // Its seat was taken on the way, or not given yet.
            (
                Asked::Join(room, _) | Asked::Leave(room) | Asked::Typing(room, _) | Asked::Read(room, _),
                Refusal::NotJoined,
            ) if fleeting::is(*room) => true,
            (Asked::Join(room, _), Refusal::AlreadyJoined) if fleeting::is(*room) => true,
            (Asked::Read(room, _) | Asked::Unread(room) | Asked::History(room, _), Refusal::Unsupported)
                if fleeting::is(*room) =>
            {
                around.tally.add(Lived::FleetingRefused, 1);
                true
            }
            // Room for the answer is asked for with the first grant, before the others.
            _ if !may && refusal != Refusal::Busy => false,
            (Asked::Join(..), Refusal::Busy | Refusal::TooManyRooms) => true,
            (Asked::Join(..), Refusal::RoomFull) => around.weather.seats_max > 0,
            (Asked::Join(..), Refusal::TooOften) => around.weather.meters_joins(),
            (Asked::Publish(_, tag), Refusal::TooOften) if around.weather.meters_publishes() => {
                return around.reference.refused(*tag);
            }
            (Asked::Fleeting(_), Refusal::TooOften) => around.weather.meters_publishes(),
            (Asked::Join(room, _), Refusal::AlreadyJoined) => {
                // A join that is still unanswered is what the server means.
                if !self.is_asking(*room) {
                    self.view(*room).on_already_joined();
                }
                true
            }
            (Asked::Join(room, _), Refusal::NotJoined) => self.view(*room).left_after(id),
            (Asked::Leave(room), Refusal::NotJoined) => !self.view(*room).seated || self.view(*room).left_silently,
            (Asked::Publish(_, tag), Refusal::Busy) => return around.reference.refused(*tag),
            (
                Asked::Presence(_) | Asked::Unread(_) | Asked::Typing(..) | Asked::History(..) | Asked::Fleeting(_),
                Refusal::Busy,
            ) => true,
            (Asked::Presence(_), Refusal::Unsupported) => people.presence == Presence::Off,
            (Asked::Typing(..), Refusal::Unsupported) => people.typing_ms == 0,
            (Asked::Read(..) | Asked::Unread(_), Refusal::Unsupported) => !people.receipts,
            // The join may have no answer yet, or none at all.
            (Asked::Typing(room, _) | Asked::Read(room, _), Refusal::NotJoined) => {
                let asking = self.is_asking(*room);
                let view = self.view(*room);
                asking || !view.seated || view.joined_silently || view.left_silently || view.left_after(id)
            }
            _ => false,
        };
        if fits { Ok(()) } else { Err(format!("C2 {asked:?} was refused as {refusal:?}")) }
    }
}
