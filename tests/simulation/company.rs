//! What one connection has been told about the people of one room, and whether it is the truth once all is quiet.

use std::collections::BTreeMap;

use throng::base::{Offset, Presence};
use throng::room::Room;
use throng::wire::client::{Reply, ServerEvent};

use crate::client::{Client, Surroundings};
use crate::fleeting;
use crate::reference::Reference;
use crate::tally::Lived;

/// The people of a room, as one of those who sit there keeps them.
#[derive(Debug, Default)]
pub(crate) struct Company {
    /// What the room said it tells; `None`: nothing was asked for.
    watches: Option<Presence>,
    /// Who is here and whether they are away; `None`: more than was ever named.
    list: Option<BTreeMap<String, bool>>,
    count: Option<u64>,
    version: u64,
    /// Something was left out, and what it knows is not certain until it asks.
    stale: bool,
    /// The next version may be any.
    leaps: bool,
    /// Its join was answered, so that it knows how far its user had read.
    answered: bool,
    typing: Vec<String>,
    reads: BTreeMap<String, Offset>,
}

impl Company {
    /// H1: the answer to a join says what will be told, and how much there is to read.
    pub(crate) fn on_joined(&mut self, reply: &Reply<'_>, user: &str, watches: bool) -> Result<(), String> {
        *self = Self { answered: true, ..Self::default() };
        if let (Some(read), Some(head)) = (reply.read, reply.offset) {
            if read > head || reply.unread != Some(head.since(read)) {
                return Err(format!("H1 read {read:?} of {head:?}, {:?} unread", reply.unread));
            }
            self.reads.insert(user.to_owned(), read);
        }
        if reply.presence.is_some() != watches {
            return Err(format!("H1 asked to watch: {watches}, answered {:?}", reply.presence));
        }
        self.watches = reply.presence;
        self.take_roll(reply)
    }

    /// It may not know any more who is there.
    pub(crate) fn stop_watching(&mut self) {
        (self.watches, self.list, self.count) = (None, None, None);
        self.typing.clear();
    }

    /// A list that was asked for; one who watches keeps it.
    pub(crate) fn take_roll(&mut self, reply: &Reply<'_>) -> Result<(), String> {
        let Some(watches) = self.watches else { return Ok(()) };
        for read in reply.reads.iter().flatten() {
            self.reads.insert(read.user.to_string(), read.offset);
        }
        if watches == Presence::Off {
            return Ok(());
        }
        let (Some(count), Some(version)) = (reply.count, reply.version) else {
            return Err(format!("H1 neither count nor version: {reply:?}"));
        };
        if version < self.version {
            return Err(format!("H1 a roll of version {version} after {}", self.version));
        }
        (self.count, self.version) = (Some(count), version);
        (self.stale, self.leaps) = (false, false);
        let members = reply.members.as_ref().filter(|members| members.len() as u64 == count);
        let keeps = watches == Presence::Announced;
        self.list = members.filter(|_| keeps).map(|members| {
            members.iter().map(|member| (member.person.user.to_string(), member.connections == 0)).collect()
        });
        Ok(())
    }

    /// H2: news of people come only to those who asked, each version after the one before.
    pub(crate) fn hear(
        &mut self,
        event: &ServerEvent<'_>,
        who: (&str, usize),
        reference: &Reference,
        keeps_all_reads: bool,
    ) -> Result<(), String> {
        let names = |users: &[throng::wire::envelope::Person<'_>]| -> Vec<String> {
            users.iter().map(|person| person.user.to_string()).collect()
        };
        match event {
            ServerEvent::PresenceJoined { users, count, version, .. }
            | ServerEvent::PresenceBack { users, count, version, .. } => {
                self.change(*version, *count, &names(users), |list, name| {
                    list.insert(name, false);
                })
            }
            ServerEvent::PresenceAway { users, count, version, .. } => {
                self.change(*version, *count, &names(users), |list, name| {
                    list.insert(name, true);
                })
            }
            ServerEvent::PresenceLeft { users, count, version, .. } => {
                self.change(*version, *count, &names(users), |list, name| {
                    list.remove(&name);
                })
            }
            ServerEvent::PresenceCounted { count, version, .. } => {
                self.next(*version, *count)?;
                self.list = None;
                Ok(())
            }
            ServerEvent::Stale { .. } => {
                (self.list, self.count) = (None, None);
                (self.stale, self.leaps) = (true, true);
                Ok(())
            }
            ServerEvent::Typing { users, count, .. } => self.on_typing(names(users), *count, who.1, reference),
            ServerEvent::Read { reads, .. } => {
                for read in reads {
                    let is_own = read.user == who.0;
                    if self.watches.is_none() && !is_own {
                        return Err(format!("H4 {} was told how far {} has read", who.0, read.user));
                    }
                    reference.may_have_read(who.1, &read.user, read.offset)?;
                    let known = self.reads.insert(read.user.to_string(), read.offset);
                    if keeps_all_reads && known.is_some_and(|known| known > read.offset) {
                        return Err(format!("H4 {} has read {known:?} and then {:?}", read.user, read.offset));
                    }
                }
                Ok(())
            }
            ServerEvent::Welcome(_)
            | ServerEvent::Reply(_)
            | ServerEvent::Error { .. }
            | ServerEvent::Message(_)
            | ServerEvent::Gap { .. }
            | ServerEvent::Expiring { .. }
            | ServerEvent::Removed { .. }
            | ServerEvent::Drain { .. }
            | ServerEvent::Unknown { .. } => Ok(()),
        }
    }

    /// H3: at quiet whoever watches knows who is here, unless it was told that it does not.
    pub(crate) fn is_true(&self, home: &Room) -> Result<(), String> {
        let truth: BTreeMap<String, bool> =
            home.people().iter().map(|(who, connections)| (who.user().to_owned(), connections == 0)).collect();
        if let Some(list) = self.list.as_ref().filter(|list| **list != truth) {
            return Err(format!("H3 it keeps {list:?} of version {}, the truth is {truth:?}", self.version));
        }
        match self.count.filter(|count| *count != truth.len() as u64) {
            Some(count) => Err(format!("H3 it was told of {count}, there are {}", truth.len())),
            None => Ok(()),
        }
    }

    /// H4: at quiet nobody types, and whoever may know knows how far everybody has read. `said_read`: what this connection
    /// said itself, of which it is not told.
    pub(crate) fn knows_what_was_done(
        &self,
        (user, said_read): (&str, Offset),
        reads: &BTreeMap<String, Offset>,
        typing_was_dropped: bool,
    ) -> Result<(), String> {
        if !typing_was_dropped && !self.typing.is_empty() {
            return Err(format!("H5 {:?} type for ever", self.typing));
        }
        if self.stale || !self.answered {
            return Ok(());
        }
        for (name, read) in reads.iter().filter(|(name, _)| self.watches.is_some() || **name == *user) {
            let known = self.reads.get(name).copied().unwrap_or_default();
            let own = *name == *user && said_read >= *read;
            if known != *read && !own {
                return Err(format!(
                    "H4 {name} has read {read:?}, {user} knows of {known:?} (watches {:?})",
                    self.watches
                ));
            }
        }
        Ok(())
    }

    fn change(
        &mut self,
        version: u64,
        count: u64,
        names: &[String],
        apply: impl Fn(&mut BTreeMap<String, bool>, String),
    ) -> Result<(), String> {
        if names.is_empty() || self.watches != Some(Presence::Announced) {
            return Err(format!("H2 {names:?} for one who was told {:?}", self.watches));
        }
        self.next(version, count)?;
        if let Some(list) = &mut self.list {
            names.iter().for_each(|name| apply(list, name.clone()));
        }
        Ok(())
    }

    /// Those who came and those who went at one tick share a version.
    fn next(&mut self, version: u64, count: u64) -> Result<(), String> {
        let follows = version == self.version || version == self.version + 1;
        if self.watches.is_none() || !(follows || self.leaps && version > self.version) {
            return Err(format!("H2 version {version} after {} (watches {:?})", self.version, self.watches));
        }
        (self.version, self.count, self.leaps) = (version, Some(count), false);
        Ok(())
    }

    /// H5: only who has typed is said to type.
    fn on_typing(&mut self, users: Vec<String>, count: u64, room: usize, reference: &Reference) -> Result<(), String> {
        if self.watches.is_none() || users.len() as u64 > count {
            return Err(format!("H5 {users:?} of {count} type, and nobody asked"));
        }
        users.iter().try_for_each(|user| reference.may_type(room, user))?;
        self.typing = users;
        Ok(())
    }
}

impl Client {
    pub(crate) fn hear_of_people(
        &mut self,
        room: usize,
        event: &ServerEvent<'_>,
        around: &mut Surroundings<'_>,
    ) -> Result<(), String> {
        around.tally.add(people_event(event), 1);
        let keeps_all_reads = around.weather.limits.receipts_max >= around.weather.users;
        if fleeting::is(room) {
            let seat = self.fleeting.entry(room).or_default();
            seat.hears_of_people()?;
            return seat.company.hear(event, (&self.name, room), around.reference, keeps_all_reads);
        }
        let view = self.views.entry(room).or_default();
        view.hears_of_people()?;
        view.company.hear(event, (&self.name, room), around.reference, keeps_all_reads)
    }
}

fn people_event(event: &ServerEvent<'_>) -> Lived {
    match event {
        ServerEvent::PresenceAway { .. } => Lived::WentAway,
        ServerEvent::PresenceBack { .. } => Lived::CameBack,
        ServerEvent::PresenceCounted { .. } => Lived::Counted,
        ServerEvent::Stale { .. } => Lived::ListsStale,
        ServerEvent::Typing { .. } => Lived::Typing,
        ServerEvent::Read { .. } => Lived::Reads,
        ServerEvent::PresenceJoined { .. }
        | ServerEvent::PresenceLeft { .. }
        | ServerEvent::Welcome(_)
        | ServerEvent::Reply(_)
        | ServerEvent::Error { .. }
        | ServerEvent::Message(_)
        | ServerEvent::Gap { .. }
        | ServerEvent::Expiring { .. }
        | ServerEvent::Removed { .. }
        | ServerEvent::Drain { .. }
        | ServerEvent::Unknown { .. } => Lived::PresenceNews,
    }
}
