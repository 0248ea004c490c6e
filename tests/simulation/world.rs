//! Shards in a `Vec`, a fake clock, seeded mail and sockets: what the runtime does, without a kernel.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{BuildHasher, DefaultHasher, Hasher};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use throng::base::{ConnKey, Encoding, Limits, Now, Position, Seed, ShardId};
use throng::shard::{Ask, Batch, CloseHow, Effect, Fate, Input, Parcel, Rules, Shard, ShardConfig};
use throng::wire::CloseReason;

use crate::client::{Client, DEFLATE, Stage, Surroundings, room_name};
use crate::deeds::Deeds;
use crate::desk::Desk;
use crate::dice::Dice;
use crate::reference::Reference;
use crate::socket::Socket;
use crate::tally::{Lived, Tally};
use crate::tokens::{Reach, START_UNIX_S};
use crate::weather::Weather;

/// One thing that happens to a shard in a turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Happening {
    /// Some bytes of this client are read.
    Read(usize),
    /// The shard is told that this client's socket is dead.
    Ended(usize),
    Writable(usize),
    Released(usize),
    /// The oldest parcel of the inbox is opened.
    Mail,
    Tick,
    /// The oldest ask of the control plane is taken.
    Ask,
    /// The newest rules are taken in.
    Rules,
    /// The server leaves, in so many milliseconds.
    Drain(u64),
    /// Something arrives for a connection that is long gone.
    Stale(ConnKey),
}

pub(crate) struct World {
    pub(crate) weather: Weather,
    pub(crate) dice: Dice,
    pub(crate) now: Now,
    pub(crate) shards: Vec<Shard>,
    pub(crate) inboxes: Vec<VecDeque<(ShardId, Parcel)>>,
    /// Asks of the control plane that wait for a shard.
    pub(crate) asks: Vec<VecDeque<Ask>>,
    /// The newest rules, where a shard has not seen them, and their default grants.
    pub(crate) board: Vec<Option<(Arc<Rules>, Reach)>>,
    pub(crate) desk: Desk,
    pub(crate) deeds: Deeds,
    pub(crate) next_tick_ms: Vec<u64>,
    /// Every client that ever was.
    pub(crate) clients: Vec<Client>,
    /// By number of the client.
    pub(crate) sockets: BTreeMap<usize, Socket>,
    pub(crate) by_key: BTreeMap<(usize, ConnKey), usize>,
    pub(crate) stale: Vec<(usize, ConnKey)>,
    pub(crate) reference: Reference,
    pub(crate) tally: Tally,
    /// The newest message each user had in each room when a connection of theirs ended.
    pub(crate) last_seen: BTreeMap<(usize, usize), Position>,
    /// Messages in rooms without offsets.
    pub(crate) uttered: usize,
    sessions: BTreeSet<usize>,
    /// Clients whose sessions went on elsewhere.
    pub(crate) resumed: BTreeSet<usize>,
    seed: [u64; 2],
    trace: DefaultHasher,
    batch: Batch,
}

impl World {
    pub(crate) fn new(seed: u64, weather: Weather, dice: Dice, adjust: impl Fn(&mut ShardConfig)) -> Self {
        let rules = Arc::new(weather.rules(Reach::All));
        let count = usize::from(weather.shards);
        let seed = [seed, seed ^ 0x6b65_7973];
        let shards = (0..weather.shards).map(|id| {
            let mut config = ShardConfig {
                id: ShardId(id),
                shards: weather.shards,
                rules: Arc::clone(&rules),
                seed,
                flush: weather.flush,
                node: Arc::from("sim"),
                #[cfg(feature = "planted-bugs")]
                planted: None,
            };
            adjust(&mut config);
            Shard::new(config)
        });
        let keys_are_few = weather.limits.idempotency_keys_max < Limits::default().idempotency_keys_max;
        Self {
            shards: shards.collect(),
            inboxes: (0..weather.shards).map(|_| VecDeque::new()).collect(),
            asks: (0..weather.shards).map(|_| VecDeque::new()).collect(),
            board: vec![None; count],
            desk: Desk::default(),
            deeds: Deeds::new(count, Reach::All, weather.limits.connections_per_user_max),
            next_tick_ms: vec![weather.limits.tick_ms; usize::from(weather.shards)],
            weather,
            dice,
            now: Now { mono_ms: 1, unix_ms: START_UNIX_S * 1_000 },
            clients: Vec::new(),
            sockets: BTreeMap::new(),
            by_key: BTreeMap::new(),
            stale: Vec::new(),
            reference: Reference::new(keys_are_few),
            tally: Tally::default(),
            last_seen: BTreeMap::new(),
            uttered: 0,
            sessions: BTreeSet::new(),
            resumed: BTreeSet::new(),
            seed,
            trace: DefaultHasher::new(),
            batch: Batch::default(),
        }
    }

    /// Opens a socket and sends a request head. `None`: the shard has no place for it.
    pub(crate) fn connect(&mut self, shard: usize, user: usize, encoding: Encoding, head: &str) -> Option<usize> {
        let address = match self.dice.below(self.weather.addresses + 1) {
            0 => Ipv4Addr::LOCALHOST,
            nth => Ipv4Addr::new(10, 0, 0, nth as u8),
        };
        let key = match self.shards[shard].open(self.now, address.into()) {
            Ok(key) => key,
            Err(reason) => {
                self.turned_away(shard, address.into(), reason);
                return None;
            }
        };
        let number = self.clients.len();
        let (low, high) = self.weather.socket_bytes;
        let mut socket = Socket::new(shard, key, address.into(), self.dice.between(low, high));
        let mut client = Client::new(number, shard, user, encoding, self.now, self.deeds.now(shard));
        let rest = head.strip_suffix("\r\n").filter(|head| head.ends_with("\r\n"));
        client.offered = rest.is_some() && self.weather.deflates > 0 && self.dice.chance(self.weather.deflates);
        match rest {
            Some(rest) if client.offered => {
                socket.up.extend(format!("{rest}Sec-WebSocket-Extensions: {DEFLATE}\r\n\r\n").as_bytes());
            }
            Some(_) | None => socket.up.extend(head.as_bytes()),
        }
        self.clients.push(client);
        self.sockets.insert(number, socket);
        let before = self.by_key.insert((shard, key), number);
        assert_eq!(before, None, "a row is given to one connection at a time");
        Some(number)
    }

    /// D4: who is told that its address has too many connections has as many as one shard admits.
    fn turned_away(&mut self, shard: usize, address: IpAddr, reason: CloseReason) {
        self.tally.add(Lived::TurnedAway, 1);
        if reason == CloseReason::AddressFull {
            let here = |socket: &&Socket| socket.shard == shard && socket.address == address && !socket.let_go;
            let count = self.sockets.values().filter(here).count();
            let most = Limits::share(self.weather.limits.connections_per_address_max, self.weather.shards);
            assert_eq!(count, most as usize, "D4 {address} is told that it has all it may");
            self.tally.add(Lived::AddressFull, 1);
        } else if reason == CloseReason::HandshakeRate {
            self.tally.add(Lived::AddressRate, 1);
        }
    }

    /// New rules for all shards: other default grants, and another limit for a user's connections.
    pub(crate) fn reload(&mut self) {
        let reach = if self.dice.chance(300) { Reach::All } else { Reach::draw(&mut self.dice) };
        let mut limits = self.weather.limits.clone();
        if limits.connections_per_user_max > 0 {
            limits.connections_per_user_max = self.dice.between(1, 4) as u32;
        }
        self.deeds.limit_users(limits.connections_per_user_max);
        let mut rules = self.weather.rules_with(limits, reach);
        rules.compression.enabled = !self.dice.chance(300);
        let rules = Arc::new(rules);
        self.board.iter_mut().for_each(|shown| *shown = Some((Arc::clone(&rules), reach)));
    }

    /// What is said to its shard from now on is said after what just came to hold there.
    pub(crate) fn shard_moved_on(&mut self, shard: usize) {
        let since = self.deeds.now(shard);
        for client in self.clients.iter_mut().filter(|client| client.shard == shard) {
            client.since = since;
        }
    }

    pub(crate) fn pass_time(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.unix_ms += ms;
    }

    /// One turn of one shard: what happens, then what the head of `shard/mod.rs` says, then the invariants.
    pub(crate) fn turn(&mut self, shard: usize, happenings: &[Happening]) -> Result<(), String> {
        for happening in happenings {
            self.happen(shard, *happening)?;
        }
        self.shards[shard].end_turn(self.now);
        self.write(shard)?;
        self.carry_out(shard)?;
        self.post(shard);
        // The others are plain values nobody has touched.
        let valid = self.shards[shard].check();
        valid.map_err(|broken| format!("{:?} {broken}", self.shards[shard].id()))?;
        if happenings.contains(&Happening::Tick) {
            self.revocations_hold(shard)?;
            self.default_grants_hold(shard)?;
        }
        Ok(())
    }

    /// A client reads at most so many bytes, and notices its end.
    pub(crate) fn client_reads(&mut self, number: usize, bytes_max: usize) -> Result<(), String> {
        let Some(socket) = self.sockets.get_mut(&number) else { return Ok(()) };
        let taken = bytes_max.min(socket.down.len());
        let mut bytes: Vec<u8> = socket.down.drain(..taken).collect();
        let mut out = Vec::new();
        let client = &mut self.clients[number];
        let mut around = Surroundings {
            weather: &self.weather,
            deeds: &self.deeds,
            now: self.now,
            reference: &mut self.reference,
            tally: &mut self.tally,
            dice: &mut self.dice,
        };
        if !bytes.is_empty() {
            let read = client.read(&mut bytes, &mut out, &mut around);
            read.map_err(|error| format!("client {number}: {error}; it was told {}", client.told_last()))?;
        }
        if !socket.let_go && !socket.cut {
            socket.up.extend(out);
        }
        if socket.let_go && socket.down.is_empty() {
            self.client_ends(number);
        }
        self.is_rightly_resumed(number)
    }

    /// The network breaks: both directions are lost, the shard will hear of it.
    pub(crate) fn cut(&mut self, number: usize) {
        let Some(socket) = self.sockets.get_mut(&number) else { return };
        if !socket.cut && !socket.let_go {
            socket.cut();
            self.tally.add(Lived::Cuts, 1);
        }
        self.client_ends(number);
    }

    /// Which shard writes this room.
    pub(crate) fn home_of(&self, room: usize) -> usize {
        (Seed::new(self.seed).state().hash_one(room_name(room).as_str()) % self.shards.len() as u64) as usize
    }

    /// Equal for equal histories.
    pub(crate) fn trace(&self) -> u64 {
        self.trace.finish()
    }

    pub(crate) fn is_alive(&self, number: usize) -> bool {
        self.clients[number].stage != Stage::Ended && self.sockets.contains_key(&number)
    }

    fn client_ends(&mut self, number: usize) {
        let client = &mut self.clients[number];
        for (room, position) in client.positions() {
            self.last_seen.insert((client.user, room), position);
        }
        client.stage = Stage::Ended;
        self.forget_socket(number);
    }

    /// A socket is forgotten when neither end knows it any more.
    fn forget_socket(&mut self, number: usize) {
        let done = |socket: &Socket| socket.let_go && socket.release_at_ms.is_none();
        if self.clients[number].stage == Stage::Ended && self.sockets.get(&number).is_some_and(done) {
            self.sockets.remove(&number);
        }
    }

    fn happen(&mut self, shard: usize, happening: Happening) -> Result<(), String> {
        let now = self.now;
        let is_input = matches!(happening, Happening::Read(_) | Happening::Mail);
        if is_input && !self.shards[shard].wants_input() {
            // Past the peak the runtime takes no more: what was accepted is written first.
            return Ok(());
        }
        match happening {
            Happening::Read(number) => {
                let socket = self.sockets.get_mut(&number).filter(|socket| !socket.let_go && !socket.cut);
                let Some(socket) = socket else { return Ok(()) };
                let torn = self.dice.chance(self.weather.torn_read);
                let most = if torn { 3 } else { self.weather.read_bytes_max };
                let taken = self.dice.between(1, most).min(socket.up.len());
                // Twice in one turn, as an engine does while there is more; what is handed over meanwhile is not read on.
                for most in [taken / 2, taken - taken / 2] {
                    let mut bytes: Vec<u8> = socket.up.drain(..most).collect();
                    if !bytes.is_empty() && self.shards[shard].reads(socket.key) {
                        socket.read_bytes += bytes.len();
                        let input = Input::Received { conn: socket.key, bytes: &mut bytes };
                        self.shards[shard].handle(now, input);
                    }
                }
            }
            Happening::Ended(number) => {
                let socket = self.sockets.get_mut(&number).filter(|socket| !socket.let_go && !socket.cut_told);
                let Some(socket) = socket else { return Ok(()) };
                socket.cut_told = true;
                let conn = socket.key;
                self.shards[shard].handle(now, Input::Ended { conn });
            }
            Happening::Writable(number) => {
                let Some(socket) = self.sockets.get_mut(&number) else { return Ok(()) };
                if std::mem::replace(&mut socket.stalled, false) && !socket.let_go {
                    let conn = socket.key;
                    self.shards[shard].handle(now, Input::Writable { conn });
                }
            }
            Happening::Released(number) => self.release(shard, number),
            Happening::Mail => {
                if let Some((from, mut parcel)) = self.inboxes[shard].pop_front() {
                    self.shards[shard].handle_parcel(now, from, &mut parcel);
                    if !parcel.is_empty() {
                        return Err("S1 a parcel was not emptied".into());
                    }
                }
            }
            Happening::Tick => {
                self.deeds.ticks[shard] += 1;
                self.shards[shard].handle(now, Input::Tick);
            }
            Happening::Ask => {
                if let Some(ask) = self.take_ask(shard) {
                    self.shards[shard].handle(now, Input::Ask(ask));
                }
            }
            Happening::Rules => {
                if let Some((rules, reach)) = self.board[shard].take() {
                    self.tally.add(Lived::RulesChanged, 1);
                    self.shards[shard].handle(now, Input::Rules(rules));
                    self.deeds.grant_by_default(shard, reach);
                    self.shard_moved_on(shard);
                }
            }
            Happening::Drain(budget_ms) => self.shards[shard].handle(now, Input::Drain { budget_ms }),
            Happening::Stale(conn) => self.poke(shard, conn)?,
        }
        self.carry_out(shard)
    }

    fn release(&mut self, shard: usize, number: usize) {
        let Some(socket) = self.sockets.get_mut(&number) else { return };
        if socket.release_at_ms.take().is_some() {
            let conn = socket.key;
            self.shards[shard].handle(self.now, Input::Released { conn });
            self.by_key.remove(&(shard, conn));
            self.stale.push((shard, conn));
            self.forget_socket(number);
        }
    }

    /// S2: a stale key never resolves.
    fn poke(&mut self, shard: usize, conn: ConnKey) -> Result<(), String> {
        use throng::shard::Count;
        let shard = &mut self.shards[shard];
        let before = (shard.counters().count(Count::StaleKeys), format!("{:?}", shard.gauges()));
        let mut bytes = *b"\x81\x80aaaa";
        let inputs = [Input::Received { conn, bytes: &mut bytes }, Input::Writable { conn }, Input::Released { conn }];
        for input in inputs {
            shard.handle(self.now, input);
        }
        shard.handle(self.now, Input::Ended { conn });
        let after = (shard.counters().count(Count::StaleKeys), format!("{:?}", shard.gauges()));
        if after.0 == before.0 + 3 && after.1 == before.1 {
            Ok(())
        } else {
            Err(format!("S2 {conn:?} resolved: {before:?} {after:?}"))
        }
    }

    /// S3: a write goes to a socket that waits for nothing, once per batch, and is never empty.
    fn write(&mut self, shard: usize) -> Result<(), String> {
        if self.dice.chance(self.weather.full_turn) {
            return Ok(());
        }
        let mut batch = std::mem::take(&mut self.batch);
        for _ in 0..BATCHES_PER_TURN_MAX {
            if !self.shards[shard].fill_batch(self.now, &mut batch) {
                self.batch = batch;
                return Ok(());
            }
            let (mut fates, mut written) = (Vec::new(), BTreeSet::new());
            for (at, write) in batch.writes().iter().enumerate() {
                let number = *self.by_key.get(&(shard, write.conn)).ok_or("S3 a write to nobody")?;
                let socket = self.sockets.get_mut(&number).ok_or("S3 a write to nobody's socket")?;
                if socket.let_go || socket.stalled || write.len == 0 || !written.insert(number) {
                    return Err(format!("S3 {write:?} to client {number}, stalled {}", socket.stalled));
                }
                let bytes = batch.bytes(write);
                self.trace.write_usize(number);
                self.trace.write(bytes);
                if socket.cut && !socket.cut_told && self.dice.chance(500) {
                    socket.cut_told = true;
                    fates.push((at, Fate::Broken));
                    continue;
                }
                let short = self.dice.chance(self.weather.short_write);
                let most = if short { self.dice.below(bytes.len()) } else { usize::MAX };
                let taken = socket.take(bytes, most);
                if taken < bytes.len() {
                    socket.stalled = true;
                    fates.push((at, Fate::Stalled { taken: taken as u32 }));
                }
            }
            self.shards[shard].finish_batch(self.now, &mut batch, &fates);
        }
        Err("S4 a turn that never stops writing".into())
    }

    /// S5: each connection ends once, and quietly only after a close frame or an HTTP answer; what is handed over goes with
    /// all that was read of it.
    fn carry_out(&mut self, shard: usize) -> Result<(), String> {
        let mut effects = Vec::new();
        self.shards[shard].take_effects(&mut effects);
        for effect in effects {
            let conn = match &effect {
                Effect::Answer { .. } => {
                    let Effect::Answer { id, answer } = effect else { continue };
                    self.on_answer(shard, id, answer)?;
                    continue;
                }
                Effect::Close { conn, .. } | Effect::HandOver { conn, .. } => *conn,
                Effect::Opened { conn, .. } | Effect::Closed { conn, .. } => *conn,
            };
            let number = *self.by_key.get(&(shard, conn)).ok_or_else(|| format!("S5 {effect:?} for nobody"))?;
            let socket = self.sockets.get_mut(&number).ok_or_else(|| format!("S5 {effect:?} for no socket"))?;
            let client = &self.clients[number];
            let fits = match &effect {
                Effect::Opened { identity, .. } => identity.user() == client.name && self.sessions.insert(number),
                Effect::Closed { identity, reason, .. } => {
                    let had = self.sessions.remove(&number);
                    let vanished = *reason != CloseReason::Gone || socket.cut;
                    had == identity.is_some() && vanished
                }
                Effect::Answer { .. } => true,
                Effect::Close { .. } | Effect::HandOver { .. } => !std::mem::replace(&mut socket.let_go, true),
            };
            if !fits {
                return Err(format!("S5 {effect:?} of client {number} ({:?})", client.stage));
            }
            if let Effect::Close { how: CloseHow::Abruptly, .. } = effect {
                socket.down.clear();
            }
            if let Effect::HandOver { read, .. } = effect {
                if read.len() != socket.read_bytes {
                    return Err(format!(
                        "S5 client {number}: {} of {} bytes handed over",
                        read.len(),
                        socket.read_bytes
                    ));
                }
                self.tally.add(Lived::HandedOver, 1);
            }
            if socket.let_go {
                socket.up.clear();
                socket.stalled = false;
                let wait_ms = self.dice.between(0, 300) as u64;
                socket.release_at_ms.get_or_insert(self.now.mono_ms + wait_ms);
            }
        }
        Ok(())
    }

    /// A parcel goes whole or, where the inbox is full, stays with its sender.
    fn post(&mut self, from: usize) {
        for (to, inbox) in self.inboxes.iter_mut().enumerate() {
            let parcel = self.shards[from].outgoing_mut(ShardId(to as u16));
            if !parcel.is_empty() && inbox.len() < self.weather.inbox_parcels_max {
                inbox.push_back((ShardId(from as u16), std::mem::take(parcel)));
            }
        }
    }
}

const BATCHES_PER_TURN_MAX: usize = 5_000;
