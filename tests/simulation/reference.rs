//! The naive truth: what was said, where it was seen, and by whom it must not be.
//!
//! It knows no shards, no mail and no cursors: only commands sent and events received, of all clients together.

use std::collections::{BTreeMap, BTreeSet};

use throng::base::{Encoding, Offset, Position};

/// One publish, from the moment it was sent.
#[derive(Debug)]
pub(crate) struct Post {
    client: usize,
    room: usize,
    user: String,
    event: Option<String>,
    /// The payload as compact JSON.
    json: String,
    /// The publisher gets no copy.
    skip_own: bool,
    has_id: bool,
    place: Option<(u64, Offset)>,
    /// Seen where the epoch was not known.
    offset: Option<Offset>,
    at_unix_ms: Option<u64>,
    refused: bool,
    keyed: Option<Keyed>,
    /// The newest place of its room that anybody knew of when it was sent, by epoch: it stands behind it.
    behind: BTreeMap<u64, Offset>,
}

/// What was published by a key may be sent again, by any connection of its user, and is one message in each life of its
/// room. It is echoed to everybody, its publisher included.
#[derive(Debug)]
struct Keyed {
    key: String,
    encoding: Encoding,
    /// Where it stands, by epoch; and in which it was answered as new.
    lives: BTreeMap<u64, Offset>,
    new_in: BTreeSet<u64>,
}

/// A message as one reader saw it.
pub(crate) struct Heard<'a> {
    pub(crate) room: usize,
    pub(crate) epoch: Option<u64>,
    pub(crate) offset: Offset,
    /// From here on the reader gets none of its own of which it has the ack.
    pub(crate) own_from: Offset,
    pub(crate) at_unix_ms: u64,
    pub(crate) user: &'a str,
    pub(crate) event: Option<&'a str>,
    pub(crate) json: &'a str,
}

/// A place in a room's history.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Place {
    room: usize,
    epoch: u64,
    offset: Offset,
}

/// All that was ever said in one world.
#[derive(Default)]
pub(crate) struct Reference {
    /// All rooms together remember so few keys that one may be forgotten before it comes again.
    keys_are_few: bool,
    posts: Vec<Post>,
    said: BTreeMap<Place, usize>,
    /// Places a reader was not shown and that can only be its own unacknowledged words: proved at the end.
    holes: BTreeSet<(usize, Place)>,
    /// Who ever typed where.
    typed: BTreeSet<(usize, String)>,
    /// The newest place anybody was told of, in each room and epoch.
    newest: BTreeMap<(usize, u64), Offset>,
    /// The highest offset anybody said to have read.
    read: BTreeMap<(usize, String), Offset>,
}

impl Reference {
    pub(crate) fn new(keys_are_few: bool) -> Self {
        Self { keys_are_few, ..Self::default() }
    }

    /// The number the next post will carry in its payload.
    pub(crate) fn next_tag(&self) -> usize {
        self.posts.len()
    }

    pub(crate) fn posted(
        &mut self,
        client: usize,
        room: usize,
        user: &str,
        event: Option<&str>,
        json: &str,
        rules: (bool, bool),
    ) {
        let (has_id, skip_own) = rules;
        let of_room = self.newest.range((room, 0)..=(room, u64::MAX));
        let behind = of_room.map(|((_, epoch), offset)| (*epoch, *offset)).collect();
        self.posts.push(Post {
            client,
            room,
            user: user.to_owned(),
            event: event.map(str::to_owned),
            json: json.to_owned(),
            skip_own,
            has_id,
            place: None,
            offset: None,
            at_unix_ms: None,
            refused: false,
            keyed: None,
            behind,
        });
    }

    pub(crate) fn types(&mut self, room: usize, user: &str) {
        self.typed.insert((room, user.to_owned()));
    }

    pub(crate) fn reads(&mut self, room: usize, user: &str, offset: Offset) {
        let highest = self.read.entry((room, user.to_owned())).or_default();
        *highest = offset.max(*highest);
    }

    /// R9: nobody is said to type who never did.
    pub(crate) fn may_type(&self, room: usize, user: &str) -> Result<(), String> {
        let typed = self.typed.contains(&(room, user.to_owned()));
        if typed { Ok(()) } else { Err(format!("R9 {user} is said to type in room {room}")) }
    }

    /// R7: nobody is said to have read more than they said.
    pub(crate) fn may_have_read(&self, room: usize, user: &str, offset: Offset) -> Result<(), String> {
        let said = self.read.get(&(room, user.to_owned())).copied().unwrap_or_default();
        if offset <= said { Ok(()) } else { Err(format!("R7 {user} is said to have read {offset:?}, it was {said:?}")) }
    }

    /// The newest post was published by a key of its own.
    pub(crate) fn by_key(&mut self, encoding: Encoding) -> String {
        let (last, before) = self.posts.split_last_mut().expect("something was posted");
        let same = |post: &&Post| post.keyed.is_some() && post.user == last.user && post.room == last.room;
        let key = format!("k{}", before.iter().filter(same).count());
        last.keyed = Some(Keyed { key: key.clone(), encoding, lives: BTreeMap::new(), new_in: BTreeSet::new() });
        key
    }

    /// Posts of a user in a room that may be sent again.
    pub(crate) fn repeatable(&self, user: &str, room: usize, encoding: Encoding) -> Vec<usize> {
        let same = |post: &Post| {
            post.user == user
                && post.room == room
                && post.keyed.as_ref().is_some_and(|keyed| keyed.encoding == encoding)
        };
        (0..self.posts.len()).filter(|tag| same(&self.posts[*tag])).collect()
    }

    /// What is to be sent again: key, event and payload.
    pub(crate) fn again(&self, tag: usize) -> (String, Option<String>, String) {
        let post = &self.posts[tag];
        let keyed = post.keyed.as_ref().expect("only what has a key is sent again");
        (keyed.key.clone(), post.event.clone(), post.json.clone())
    }

    /// R1: a message seen is a message sent, the same for every reader, at one place only, never at its publisher
    /// who sat there and took the ack as receipt.
    /// Gives the number of the post.
    pub(crate) fn heard(&mut self, client: usize, heard: &Heard<'_>) -> Result<usize, String> {
        let tag = tag_of(heard.json).ok_or_else(|| format!("R1 a payload nobody sent: {}", heard.json))?;
        let post = self.posts.get_mut(tag).ok_or_else(|| format!("R1 nobody said {tag}"))?;
        let same = post.room == heard.room
            && post.user == heard.user
            && post.event.as_deref() == heard.event
            && post.json == heard.json
            && (post.keyed.is_some() || *post.at_unix_ms.get_or_insert(heard.at_unix_ms) == heard.at_unix_ms);
        if !same {
            return Err(format!(
                "R1 {post:?} was heard as {:?} from {} at {}",
                heard.json, heard.user, heard.at_unix_ms
            ));
        }
        if post.refused {
            return Err(format!("R1 {post:?} was refused and came all the same"));
        }
        if post.client == client && post.skip_own && heard.offset >= heard.own_from {
            return Err(format!("R1 {post:?} came back to its publisher, who has the ack"));
        }
        if post.keyed.is_none() && *post.offset.get_or_insert(heard.offset) != heard.offset {
            return Err(format!("R1 {post:?} was heard again at {:?}", heard.offset));
        }
        if let Some(epoch) = heard.epoch {
            self.place(tag, Place { room: heard.room, epoch, offset: heard.offset })?;
        }
        Ok(tag)
    }

    /// R2: the ack names the place where everybody sees the message. R6: by one key it is new once.
    pub(crate) fn acked(&mut self, tag: usize, position: Position, dup: bool) -> Result<(), String> {
        let post = &mut self.posts[tag];
        if let Some(keyed) = &mut post.keyed {
            if !dup && !keyed.new_in.insert(position.epoch.0) && !self.keys_are_few {
                return Err(format!("R6 {post:?} was accepted twice, at {position:?} too"));
            }
        } else if dup {
            return Err(format!("R6 {post:?} has no key and was known at {position:?}"));
        } else if *post.offset.get_or_insert(position.offset) != position.offset {
            return Err(format!("R2 {post:?} was acknowledged at {:?}", position.offset));
        }
        let room = post.room;
        self.place(tag, Place { room, epoch: position.epoch.0, offset: position.offset })
    }

    /// R3: what was refused was given no offset.
    pub(crate) fn refused(&mut self, tag: usize) -> Result<(), String> {
        let post = &mut self.posts[tag];
        if post.keyed.is_some() {
            // Another time it may not be.
            return Ok(());
        }
        post.refused = true;
        if post.offset.is_some() { Err(format!("R3 {post:?} was refused after it had been heard")) } else { Ok(()) }
    }

    /// Whether anybody was told of this post's place.
    pub(crate) fn was_accepted(&self, tag: usize) -> bool {
        self.posts[tag].offset.is_some()
    }

    /// R4: a reader may pass over a message only if it is its own.
    pub(crate) fn passed_over(&mut self, client: usize, room: usize, epoch: u64, offset: Offset) -> Result<(), String> {
        let place = Place { room, epoch, offset };
        match self.said.get(&place).map(|tag| &self.posts[*tag]) {
            Some(post) if post.client == client && post.skip_own => Ok(()),
            Some(post) => Err(format!("R4 client {client} was not shown {place:?}: {post:?}")),
            None if self.silent_posts(client, room) > 0 => {
                self.holes.insert((client, place));
                Ok(())
            }
            None => Err(format!("R4 client {client} was not shown {place:?}, and it said nothing there itself")),
        }
    }

    /// R5: every hole was the reader's own word; each publisher's words stand in the order it said them.
    pub(crate) fn settle(&self) -> Result<(), String> {
        let mut unknown: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        for (client, place) in &self.holes {
            match self.said.get(place).map(|tag| &self.posts[*tag]) {
                Some(post) if post.client == *client && post.skip_own => {}
                Some(post) => return Err(format!("R5 client {client} was not shown {place:?}: {post:?}")),
                None => *unknown.entry((*client, place.room)).or_default() += 1,
            }
        }
        for ((client, room), holes) in unknown {
            let silent = self.silent_posts(client, room);
            if holes > silent {
                return Err(format!(
                    "R5 client {client} missed {holes} messages of room {room} and said {silent} itself"
                ));
            }
        }
        let mut last: BTreeMap<(usize, usize, u64), Offset> = BTreeMap::new();
        for post in &self.posts {
            // What is sent again may come later than what was said after it.
            let Some((epoch, offset)) = post.place.filter(|_| post.keyed.is_none()) else { continue };
            let before = last.insert((post.client, post.room, epoch), offset);
            if before.is_some_and(|before| before >= offset) {
                return Err(format!("R5 {post:?} stands at or before {before:?}, which its publisher said earlier"));
            }
        }
        Ok(())
    }

    /// R8: whatever somebody was told of before this was sent stands before it, whoever said it (real-time order).
    fn place(&mut self, tag: usize, place: Place) -> Result<(), String> {
        let newest = self.newest.entry((place.room, place.epoch)).or_default();
        *newest = place.offset.max(*newest);
        if self.posts[tag].behind.get(&place.epoch).is_some_and(|known| *known >= place.offset) {
            return Err(format!(
                "R8 {:?} stands at {place:?}, though more was known before it was sent",
                self.posts[tag]
            ));
        }
        let here = *self.said.entry(place).or_insert(tag);
        if here != tag {
            return Err(format!(
                "R1 {place:?} is {:?} for one and {:?} for another",
                self.posts[here], self.posts[tag]
            ));
        }
        let post = &mut self.posts[tag];
        if let Some(keyed) = &mut post.keyed {
            let known = *keyed.lives.entry(place.epoch).or_insert(place.offset);
            return match known == place.offset || self.keys_are_few {
                true => Ok(()),
                false => Err(format!("R6 {post:?} stands at {place:?} too")),
            };
        }
        let known = *post.place.get_or_insert((place.epoch, place.offset));
        if known == (place.epoch, place.offset) { Ok(()) } else { Err(format!("R1 {post:?} stands at {place:?} too")) }
    }

    /// Words of this client whose place nobody told it.
    fn silent_posts(&self, client: usize, room: usize) -> usize {
        let silent = |post: &&Post| {
            post.client == client && post.room == room && post.skip_own && !post.has_id && post.place.is_none()
        };
        self.posts.iter().filter(silent).count()
    }
}

/// Payloads are `{"n":tag,…}`.
fn tag_of(json: &str) -> Option<usize> {
    let digits = json.strip_prefix("{\"n\":")?;
    digits[..digits.find(|c: char| !c.is_ascii_digit())?].parse().ok()
}

#[cfg(test)]
mod tests {
    use throng::base::Epoch;

    use super::*;

    #[test]
    fn what_is_sent_after_an_answer_must_stand_behind_it_in_the_same_life_of_the_room() {
        let mut reference = Reference::default();
        let at = |epoch, offset| Position { epoch: Epoch(epoch), offset: Offset(offset) };
        for client in 0..3 {
            reference.posted(client, 7, "u", None, "{}", (true, true));
        }
        // Sent before anybody knew of anything: in whatever order.
        assert_eq!((reference.acked(1, at(1, 2), false), reference.acked(0, at(1, 1), false)), (Ok(()), Ok(())));
        reference.posted(3, 7, "u", None, "{}", (true, true));
        assert!(reference.acked(3, at(1, 2), false).unwrap_err().contains("R8"));
        reference.posted(4, 7, "u", None, "{}", (true, true));
        assert_eq!(reference.acked(4, at(9, 1), false), Ok(()), "another epoch begins anew");
        assert_eq!(reference.acked(2, at(1, 3), false), Ok(()));
    }
}
