//! The world at quiet: the load has stopped, time has passed, and everything must add up.

use std::collections::BTreeMap;

use throng::base::{Identity, Offset, Presence};
use throng::shard::Count;
use throng::wire::Verb;

use crate::client::{Asked, Client, room_name};
use crate::fleeting;
use crate::view::Wish;
use crate::world::World;

/// Rounds of all shards a world may need to become quiet: a bound, so that a livelock is a failure.
const ROUNDS_MAX: usize = 3_000;
const ROUND_MS: u64 = 20;
/// Quiet must last for two ticks: presence news goes out on ticks only.
const QUIET_ROUNDS: usize = 12;

impl World {
    /// Stops the load, lets everything arrive, compares everything, sends everybody home, and looks for what is left.
    pub(crate) fn settle(&mut self) -> Result<(), String> {
        self.clear_up();
        self.become_quiet()?;
        self.ask_what_is_unknown();
        self.become_quiet()?;
        self.compare()?;
        let everybody: Vec<usize> = self.sockets.keys().copied().collect();
        everybody.into_iter().for_each(|number| self.cut(number));
        self.become_quiet()?;
        self.nothing_is_left()
    }

    /// Nothing goes wrong any more, and everybody listens.
    fn clear_up(&mut self) {
        let weather = &mut self.weather;
        (weather.short_write, weather.stale_input, weather.tick_late) = (0, 0, 0);
        (weather.read_bytes_max, weather.torn_read, weather.full_turn) = (4_000, 0, 0);
        let numbers: Vec<usize> = self.sockets.keys().copied().collect();
        for number in numbers {
            self.clients[number].deaf = false;
            if self.clients[number].mute {
                self.cut(number);
            }
        }
    }

    /// Q1: a world without load comes to rest.
    pub(crate) fn become_quiet(&mut self) -> Result<(), String> {
        let mut quiet_rounds = 0;
        for _ in 0..ROUNDS_MAX {
            self.pass_time(ROUND_MS);
            for shard in 0..self.shards.len() {
                self.seeded_turn(shard)?;
            }
            let numbers: Vec<usize> = self.sockets.keys().copied().collect();
            for number in numbers {
                self.client_reads(number, usize::MAX)?;
            }
            quiet_rounds = if self.what_is_busy().is_none() { quiet_rounds + 1 } else { 0 };
            if quiet_rounds >= QUIET_ROUNDS {
                return Ok(());
            }
        }
        Err(format!("Q1 not quiet after {ROUNDS_MAX} rounds: {}", self.what_is_busy().unwrap_or_default()))
    }

    fn what_is_busy(&self) -> Option<String> {
        for shard in &self.shards {
            if !shard.is_quiet() {
                return Some(format!("{:?} {:?}", shard.id(), shard.gauges()));
            }
        }
        if let Some(shard) = (0..self.shards.len()).find(|n| !self.asks[*n].is_empty() || self.board[*n].is_some()) {
            return Some(format!("shard {shard} has not heard of all asks and rules"));
        }
        if let Some(inbox) = self.inboxes.iter().position(|inbox| !inbox.is_empty()) {
            return Some(format!("mail for shard {inbox}"));
        }
        let busy = self.sockets.iter().find(|(_, socket)| !socket.is_quiet());
        busy.map(|(number, socket)| {
            format!(
                "client {number}: up {} down {} stalled {} cut {} let go {}",
                socket.up.len(),
                socket.down.len(),
                socket.stalled,
                socket.cut,
                socket.let_go
            )
        })
    }

    /// Who is where, by asking; whoever joined without an `id` asks once more, with one.
    fn ask_what_is_unknown(&mut self) {
        let numbers: Vec<usize> =
            self.sockets.keys().copied().filter(|number| self.clients[*number].is_open()).collect();
        for number in &numbers {
            let client = &mut self.clients[*number];
            client.roll_calls.clear();
            let unknown: Vec<usize> = client
                .views
                .iter()
                .filter(|(_, view)| view.joined_silently && !view.seated)
                .map(|(room, _)| *room)
                .collect();
            let mut out = Vec::new();
            for room in unknown {
                let wish = Wish { since: None, history: 0, presence: false, ..Wish::default() };
                client.ask(Asked::Join(room, wish), true, &mut out, &mut self.dice, 1);
            }
            self.send(*number, &out);
        }
    }

    fn compare(&mut self) -> Result<(), String> {
        for number in 0..self.clients.len() {
            if self.is_alive(number) && self.clients[number].is_open() {
                self.clients[number].has_all_answers().map_err(|error| format!("client {number}: {error}"))?;
            }
        }
        for room in [fleeting::LATEST, fleeting::EPHEMERAL] {
            self.people_are_known(room).map_err(|error| format!("room {room}: {error}"))?;
        }
        for room in self.rooms_compared() {
            self.compare_room(room).map_err(|error| format!("room {room} (home {}): {error}", self.home_of(room)))?;
        }
        let sessions: u64 = self.shards.iter().map(|shard| shard.sessions_counted()).sum();
        let counted: u64 = self.shards.iter().map(|shard| shard.users_counted()).sum();
        if sessions != counted {
            return Err(format!("Q6 {sessions} sessions, {counted} counted at their users' homes"));
        }
        for client in &self.clients {
            client
                .was_answered_before_the_goodbye(&self.reference)
                .map_err(|error| format!("client {}: {error}", client.number))?;
        }
        self.nobody_lives_twice()?;
        self.reference.settle()?;
        let open = (0..self.clients.len()).filter(|n| self.is_alive(*n) && self.clients[*n].is_open());
        if self.weather.plain_log() {
            fleeting::agree(open.map(|number| &self.clients[number]))?;
        }
        self.grants_and_limits_hold()?;
        self.desk_is_clear()?;
        self.call_the_roll()
    }

    /// G5: at quiet nobody sits where it may not, whatever token it came with; U1: nobody has more connections than any
    /// limit so far allowed.
    fn grants_and_limits_hold(&self) -> Result<(), String> {
        let mut users = BTreeMap::<usize, u32>::new();
        let open = |client: &&Client| self.is_alive(client.number) && client.is_open();
        for client in self.clients.iter().filter(open) {
            *users.entry(client.user).or_default() += 1;
            let Some(paper) = client.papers.last() else { continue };
            let seats = client.views.iter().filter(|(_, view)| view.seated && !view.left_silently);
            for (room, _) in seats {
                if !self.deeds.allows(client.shard, paper, Verb::Join, *room) {
                    return Err(format!("G5 client {} sits in room {room} with {paper:?}", client.number));
                }
            }
        }
        let max = self.deeds.user_max_ever;
        match users.iter().find(|(_, count)| max > 0 && **count > max) {
            Some((user, count)) => {
                Err(format!("U1 user {user} has {count} connections, never more than {max} allowed"))
            }
            None => Ok(()),
        }
    }

    /// Q2: home counts are the seats on all shards, presence is who was told to sit there; Q3: every seat has all.
    fn compare_room(&mut self, room: usize) -> Result<(), String> {
        let name = room_name(room);
        let home = self.home_of(room);
        let elsewhere = self
            .shards
            .iter()
            .enumerate()
            .find(|(n, shard)| *n != home && shard.homes().any(|r| r.name().as_str() == name));
        if let Some((shard, _)) = elsewhere {
            return Err(format!("Q2 it is home at shard {shard} too"));
        }
        let mut counts = vec![0; self.shards.len()];
        let (mut present, mut place) = (Vec::new(), (0, Offset(0)));
        self.people_are_known(room)?;
        if let Some(home) = self.shards[home].homes().find(|room| room.name().as_str() == name) {
            for attending in home.attendance() {
                counts[attending.shard.index()] = attending.seats.total() as usize;
                if attending.owed_from.is_some() {
                    return Err(format!("Q2 {:?} is owed something", attending.shard));
                }
            }
            present = home.people().iter().map(|(who, n)| (who.user().to_owned(), n as usize)).collect();
            place = (home.epoch().0, home.head());
        }
        let seated: Vec<Vec<String>> = self.shards.iter().map(|shard| shard.seated(&name)).collect();
        if seated.iter().map(Vec::len).ne(counts.iter().copied()) {
            return Err(format!("Q2 the home counts {counts:?}, the shards seat {seated:?}"));
        }
        let expected = self.told_to_sit_in(room);
        let kept = self.weather.people.presence != Presence::Off || self.weather.seats_max > 0;
        let told = if kept { expected.clone() } else { Vec::new() };
        if count_names(seated.iter().flatten()) != expected || present != told {
            return Err(format!("Q2 told {expected:?}, seated {seated:?}, present {present:?}"));
        }
        for number in 0..self.clients.len() {
            if self.is_alive(number) && self.clients[number].is_open() && self.sits(number, room) {
                let view = self.clients[number].views.get(&room).ok_or("Q3 no view")?;
                view.is_complete(number, room, place, &mut self.reference)
                    .map_err(|error| format!("client {number}: {error}"))?;
            }
        }
        Ok(())
    }

    /// Q7: nobody types any more, and whoever watches knows who is here and who has read how far.
    fn people_are_known(&self, room: usize) -> Result<(), String> {
        let name = room_name(room);
        let Some(home) = self.shards[self.home_of(room)].homes().find(|room| room.name().as_str() == name) else {
            return Ok(());
        };
        if home.typists() > 0 {
            return Err(format!("Q7 {} type though all is quiet", home.typists()));
        }
        let class = &self.weather.class();
        let user = |number: usize| Identity::new(&crate::tokens::name(number), None).expect("a good name");
        let known = (0..self.weather.users).filter_map(|number| home.read_of(&user(number), class));
        let names = (0..self.weather.users).map(crate::tokens::name);
        let reads = names.zip(known).filter(|(_, read)| *read > Offset(0)).collect();
        let dropped = self.shards.iter().any(|shard| shard.counters().count(Count::TypingDropped) > 0);
        let limits = &self.weather.limits;
        let keeps_all_reads = limits.receipts_max.min(limits.members_max) >= self.weather.users;
        for number in 0..self.clients.len() {
            let client = &self.clients[number];
            let told = client.company_of(room);
            let Some(known) = told.filter(|_| self.is_alive(number) && client.is_open()) else { continue };
            // Who may not know any more who is there is not told so.
            let may = |paper| {
                let reaches = self.deeds.reaches(client.shard, paper, client.came_since);
                reaches.iter().all(|reach| reach.allows(Verb::Presence, room))
            };
            if !client.papers.iter().all(may) {
                continue;
            }
            let company = known.is_true(home);
            company.map_err(|error| format!("client {number}: {error}"))?;
            if keeps_all_reads {
                let said = client.said_read.get(&room).copied().unwrap_or_default();
                let done = known.knows_what_was_done((&client.name, said), &reads, dropped);
                done.map_err(|error| format!("client {number}: {error}"))?;
            }
        }
        Ok(())
    }

    /// Q4: everybody who asks is told the truth.
    fn call_the_roll(&mut self) -> Result<(), String> {
        if self.weather.people.presence == Presence::Off {
            return Ok(());
        }
        for room in 0..self.weather.rooms {
            let may = |client: &Client| {
                let paper = client.papers.last();
                paper.is_some_and(|paper| self.deeds.allows(client.shard, paper, Verb::Presence, room))
            };
            let asks = |client: &&Client| self.is_alive(client.number) && client.is_open() && may(client);
            let Some(number) = self.clients.iter().find(asks).map(|client| client.number) else { continue };
            let mut out = Vec::new();
            let expected = self.told_to_sit_in(room);
            self.clients[number].roll_calls.clear();
            self.clients[number].ask(Asked::Presence(room), true, &mut out, &mut self.dice, 1);
            self.send(number, &out);
            self.become_quiet()?;
            if !self.is_alive(number) || !self.clients[number].is_open() {
                continue;
            }
            if expected != self.told_to_sit_in(room) {
                // A token ended between question and answer.
                continue;
            }
            let Some(call) = self.clients[number].roll_calls.pop().filter(|call| call.room == room) else {
                // Asking may be refused as busy, never when all is quiet.
                return Err(format!("Q4 no roll of room {room}"));
            };
            let listed =
                expected.iter().take(self.weather.limits.members_max).map(|(name, n)| (name.clone(), *n as u64));
            if !call.members.iter().cloned().eq(listed) || call.count != expected.len() as u64 {
                return Err(format!("Q4 room {room}: told {:?}, expected {expected:?}", call.members));
            }
        }
        Ok(())
    }

    fn told_to_sit_in(&self, room: usize) -> Vec<(String, usize)> {
        let here =
            (0..self.clients.len()).filter(|n| self.is_alive(*n) && self.clients[*n].is_open() && self.sits(*n, room));
        count_names(here.map(|n| &self.clients[n].name))
    }

    fn sits(&self, number: usize, room: usize) -> bool {
        self.clients[number].views.get(&room).is_some_and(|view| view.seated && !view.left_silently)
    }

    /// Q5: when everybody is gone everything that was lent is back.
    fn nothing_is_left(&mut self) -> Result<(), String> {
        if let Some((number, socket)) = self.sockets.iter().next() {
            return Err(format!("Q5 client {number} ended and its socket was never released ({:?})", socket.key));
        }
        for shard in &self.shards {
            let gauges = shard.gauges();
            if self.weather.drain_ms.is_some() != shard.is_drained() {
                return Err(format!("D3 {:?} was told to leave and is not empty: {gauges:?}", shard.id()));
            }
            let held = [
                shard.users_counted(),
                gauges.connections,
                gauges.sessions,
                gauges.rooms_seated,
                gauges.behind_readers,
                gauges.unsent_bytes,
                gauges.letters_waiting,
            ];
            if held.iter().any(|held| *held > 0) || shard.rings_wanted() > 1 {
                return Err(format!("Q5 {:?} still holds {gauges:?}, {} rings", shard.id(), shard.rings_wanted()));
            }
            if let Some(room) = shard.homes().find(|room| !room.is_idle() || room.people().count() > 0) {
                return Err(format!("Q5 {:?} has attendance {:?}", room.name(), room.attendance()));
            }
            let kept = shard.homes().count();
            if kept > self.weather.limits.idle_rooms_max + self.weather.limits.idle_inboxes_max {
                return Err(format!("Q5 {:?} keeps {kept} empty rooms", shard.id()));
            }
            self.tally.take_counters(shard.counters());
        }
        Ok(())
    }
}

fn count_names<'a>(names: impl Iterator<Item = &'a String>) -> Vec<(String, usize)> {
    let mut counts = BTreeMap::new();
    names.for_each(|name| *counts.entry(name.clone()).or_insert(0) += 1);
    counts.into_iter().collect()
}
