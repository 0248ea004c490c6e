//! A room server in miniature, honest or lying in one chosen way: a thread per connection, one lock.
//!
//! Built from the house's own wire, so that the prover meets real frames; it exists to be caught.

use std::collections::{BTreeSet, HashMap};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use throng::base::{Encoding, Epoch, Identity, Limits, Offset, Position, RoomName};
use throng::wire::envelope::{Command, Event, GapWhy, HistoryAnswer, MessageOut, decode, write_event, write_message};
use throng::wire::payload::Data;
use throng::wire::refusal::Refusal;
use throng::wire::token::TokenVerifier;
use throng::wire::upgrade::{Asked, Carried, read_head};
use throng::wire::websocket::{FrameKind, FrameLimits, Incoming, Partial, Reader, Role, write_close, write_frame};

pub(crate) const SECRET: &str = "a secret of the fake server";

/// What it does wrong: by delivery or publish, see [`Lie::every`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lie {
    /// Nothing.
    Honest,
    /// One delivery in ten thousand is left out.
    Drops,
    Duplicates,
    /// A delivery goes out after the next one.
    Swaps,
    /// A delivery goes to a member of another room, too.
    Leaks,
    /// One bit of a payload.
    Corrupts,
    /// Says itself that something is missing.
    Gaps,
    /// Acks, and gives the message to nobody.
    ForgetsAccepted,
    /// Does not answer one publish in a hundred.
    WithholdsAck,
    /// Never answers a publish.
    NeverAcks,
    /// The ack names another offset than the live message.
    AcksElsewhere,
    /// One member never hears anything.
    Mutes,
    /// Nobody hears anything.
    MutesAll,
    /// Whoever comes when something was said already hears the next message and then nothing more.
    MutesLater,
    /// Somebody else's name under a message.
    Misattributes,
    /// Closes a connection.
    Cuts,
    /// Honestly refuses every tenth publish.
    Busy,
    /// Never pings.
    NoHeartbeat,
}

/// One server; its threads end with the process of the test.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    world: Arc<Mutex<World>>,
}

/// Whom it lets in; who is not is answered 404, and told so whenever it comes again.
#[derive(Clone, Copy)]
struct Door {
    /// Only who asks for it by its own address, as a server of many sites does.
    knows_its_name: bool,
    /// Only so many connections, ever.
    connections_max: usize,
}

const OPEN: Door = Door { knows_its_name: false, connections_max: usize::MAX };

struct World {
    lie: Lie,
    /// Bytes of the texts that were published.
    lengths: BTreeSet<usize>,
    every: u64,
    rooms: HashMap<String, Room>,
    deliveries: u64,
    publishes: u64,
}

struct Room {
    name: RoomName,
    offset: u64,
    members: Vec<Member>,
    /// All that was said, in MessagePack, for those who come back: by offset.
    log: Vec<(u64, Vec<u8>)>,
}

struct Member {
    connection: usize,
    encoding: Encoding,
    stream: TcpStream,
    held: Option<Vec<u8>>,
    /// Came when something was said already, and has heard so many since.
    late: bool,
    heard: u64,
}

const EPOCH: Epoch = Epoch(0x0123_4567_89ab_cdef);
/// The offset of a room in which nothing was said yet.
const FIRST: u64 = 7;

impl Lie {
    /// So many deliveries to one that is lied about. Of publishes there are fewer: one in a hundred.
    fn every(self) -> u64 {
        if self == Self::Drops { 10_000 } else { 1_000 }
    }
}

const PUBLISHES_EVERY: u64 = 100;

impl Fake {
    pub(crate) fn start(lie: Lie) -> Self {
        Self::lying(lie, lie.every())
    }

    /// Of so many deliveries one is lied about.
    pub(crate) fn lying(lie: Lie, every: u64) -> Self {
        Self::behind(OPEN, lie, every)
    }

    /// Honest, and only to who names it in `Host`.
    pub(crate) fn that_knows_its_name() -> Self {
        Self::behind(Door { knows_its_name: true, ..OPEN }, Lie::Honest, 1)
    }

    /// Honest to the first so many; nobody else is let in.
    pub(crate) fn of_at_most(connections_max: usize) -> Self {
        Self::behind(Door { connections_max, ..OPEN }, Lie::Honest, 1)
    }

    /// How long the texts were that it was told to publish.
    pub(crate) fn lengths(&self) -> BTreeSet<usize> {
        lock(&self.world).lengths.clone()
    }

    pub(crate) fn publishes(&self) -> u64 {
        lock(&self.world).publishes
    }

    fn behind(door: Door, lie: Lie, every: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let (rooms, lengths) = (HashMap::new(), BTreeSet::new());
        let world = Arc::new(Mutex::new(World { lie, lengths, every, rooms, deliveries: 0, publishes: 0 }));
        let theirs = Arc::clone(&world);
        let accept = move || {
            for (connection, stream) in listener.incoming().enumerate() {
                let (stream, world) = (stream.expect("accepts"), theirs.clone());
                let name = door.knows_its_name.then(|| address.to_string());
                let is_known = connection < door.connections_max;
                let lets_in = move |host: Option<&str>| is_known && (name.is_none() || name.as_deref() == host);
                let serve = move || serve(stream, connection, lets_in, &world).unwrap_or_default();
                thread::Builder::new().spawn(serve).expect("a thread starts");
            }
        };
        thread::Builder::new().spawn(accept).expect("a thread starts");
        Self { address, world }
    }
}

/// `None`: the connection has ended, in whatever way.
fn serve(
    mut stream: TcpStream,
    connection: usize,
    lets_in: impl Fn(Option<&str>) -> bool,
    world: &Mutex<World>,
) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let (encoding, user, mut bytes) = shake_hands(&mut stream, lets_in)?;
    let lie = lock(world).lie;
    let limits = Limits { heartbeat_ms: 400, ..Limits::default() };
    say(
        &stream,
        encoding,
        &Event::Welcome {
            session: "s",
            resumed: false,
            user: user.user(),
            node: "fake",
            heartbeat_ms: 400,
            limits: &limits,
        },
    )?;
    if lie != Lie::NoHeartbeat {
        let mut frame = Vec::new();
        write_frame(&mut frame, FrameKind::Ping, b"are you there", None);
        stream.write_all(&frame).ok()?;
    }
    let frame_limits = FrameLimits { message_bytes_max: limits.message_bytes_max, fragments_max: 16 };
    let mut partial = Partial::default();
    loop {
        let mut reader = Reader::new(Role::Server, frame_limits, &mut bytes);
        while let Some(incoming) = reader.next(&mut partial).ok()? {
            match incoming {
                Incoming::Text(text) => {
                    lock(world).on_command(connection, &user, encoding, text.as_bytes(), &stream)?
                }
                Incoming::Binary(bytes) => lock(world).on_command(connection, &user, encoding, bytes, &stream)?,
                Incoming::Ping(_) | Incoming::Pong(_) => {}
                Incoming::Close(_) => {
                    let mut frame = Vec::new();
                    write_close(&mut frame, 1000, "", None);
                    stream.write_all(&frame).ok()?;
                    return leave(world, connection);
                }
            }
        }
        bytes.resize(16_384, 0);
        // A reset is an end, too.
        let length = stream.read(&mut bytes).unwrap_or(0);
        if length == 0 {
            return leave(world, connection);
        }
        bytes.truncate(length);
    }
}

fn leave(world: &Mutex<World>, connection: usize) -> Option<()> {
    let mut world = lock(world);
    world.rooms.values_mut().for_each(|room| room.members.retain(|member| member.connection != connection));
    None
}

fn shake_hands(
    stream: &mut TcpStream,
    lets_in: impl Fn(Option<&str>) -> bool,
) -> Option<(Encoding, Identity, Vec<u8>)> {
    let mut bytes = Vec::new();
    let head = loop {
        let mut more = [0; 4_096];
        let length = stream.read(&mut more).ok()?;
        bytes.extend_from_slice(&more[..length]);
        if length == 0 {
            return None;
        }
        if let Some(head) = read_head(&bytes, 0, 65_536).ok()? {
            break head;
        }
    };
    let Asked::Upgrade(upgrade) = head.what else {
        // Somebody asks how it is.
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").ok()?;
        return None;
    };
    if !lets_in(upgrade.host.as_deref()) {
        stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").ok()?;
        return None;
    }
    let mut out = Vec::new();
    upgrade.write_accept(&mut out, false);
    let Carried::Token { token, .. } = &upgrade.token else { return None };
    let unix_s = std::time::UNIX_EPOCH.elapsed().ok()?.as_secs();
    let verified = TokenVerifier::hs256(SECRET.as_bytes(), &Limits::default()).verify(token, unix_s);
    if verified.is_err() {
        write_close(&mut out, 4503, "bad_token", None);
    }
    stream.write_all(&out).ok()?;
    Some((upgrade.encoding, verified.ok()?.identity, bytes.split_off(head.len)))
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().expect("no thread of the fake server panics")
}

fn say(mut stream: &TcpStream, encoding: Encoding, event: &Event<'_>) -> Option<()> {
    let mut frame = Vec::new();
    write_event(&mut frame, encoding, event);
    stream.write_all(&frame).ok()
}

impl World {
    fn on_command(
        &mut self,
        connection: usize,
        user: &Identity,
        encoding: Encoding,
        bytes: &[u8],
        stream: &TcpStream,
    ) -> Option<()> {
        let envelope = decode(encoding, bytes, &Limits::default()).expect("the prover writes what the house reads");
        match envelope.command {
            Command::Join { room, .. } => {
                let name = RoomName::parse(&room).expect("the prover names rooms well");
                let new = || Room { name: name.clone(), offset: FIRST, members: Vec::new(), log: Vec::new() };
                let room = self.rooms.entry(room.into_owned()).or_insert_with(new);
                let id = envelope.id.expect("the prover asks for an answer");
                let offset = Offset(room.offset);
                say(
                    stream,
                    encoding,
                    &Event::Joined {
                        id,
                        room: &name,
                        epoch: EPOCH,
                        offset,
                        recovered: None,
                        read: None,
                        members: None,
                    },
                )?;
                let late = room.offset > FIRST;
                let stream = stream.try_clone().ok()?;
                room.members.push(Member { connection, encoding, stream, held: None, late, heard: 0 });
                Some(())
            }
            Command::History { room, .. } => {
                let room = self.rooms.get(room.as_ref()).expect("only who sits here asks");
                let head = Offset(room.offset);
                let answer = HistoryAnswer { epoch: Some(EPOCH), head, gap: None, reads: None, messages: &[] };
                let id = envelope.id.expect("the prover asks for an answer");
                say(stream, encoding, &Event::History { id, room: &room.name, answer })
            }
            Command::Publish { room, data, echo, .. } => {
                self.on_publish(connection, user, encoding, envelope.id, &room, data, echo, stream)
            }
            // It has no answer, and nobody is told.
            Command::Typing { .. } | Command::Read { .. } => Some(()),
            Command::Resume { rooms, .. } => {
                for resumed in rooms {
                    let room = self.rooms.get_mut(resumed.room.as_ref()).expect("only who sat here resumes");
                    let joined = Event::Joined {
                        id: resumed.id.expect("the prover asks for an answer"),
                        room: &room.name,
                        epoch: EPOCH,
                        offset: Offset(room.offset),
                        recovered: Some(true),
                        read: None,
                        members: None,
                    };
                    say(stream, encoding, &joined)?;
                    let since = resumed.since.map_or(room.offset, |position| position.offset.0);
                    let missed = room.log.iter().filter(|(offset, _)| *offset > since);
                    let missed: Vec<u8> = missed.flat_map(|(_, frame)| frame).copied().collect();
                    let mut socket = stream;
                    socket.write_all(&missed).ok()?;
                    let stream = stream.try_clone().ok()?;
                    room.members.push(Member { connection, encoding, stream, held: None, late: false, heard: 0 });
                }
                let id = envelope.id.expect("the prover asks for an answer");
                say(stream, encoding, &Event::Resumed { id, resumed: Some(true) })
            }
            Command::Leave { .. }
            | Command::Presence { .. }
            | Command::Unread { .. }
            | Command::Ping
            | Command::Hello { .. }
            | Command::Send { .. }
            | Command::Refresh { .. } => panic!("the prover does not ask this"),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one command, taken apart once")]
    fn on_publish(
        &mut self,
        connection: usize,
        user: &Identity,
        encoding: Encoding,
        id: Option<u64>,
        room: &str,
        data: Data<'_>,
        echo: Option<bool>,
        stream: &TcpStream,
    ) -> Option<()> {
        self.publishes += 1;
        if self.lie == Lie::Busy && self.publishes.is_multiple_of(10) {
            return say(stream, encoding, &Event::Error { id, refusal: Refusal::Busy, detail: None });
        }
        let turn = self.publishes.is_multiple_of(PUBLISHES_EVERY);
        let lie = self.lie;
        let room_name = self.rooms[room].name.clone();
        let stranger = |other: &&mut Room| other.name != room_name;
        let foreign =
            self.rooms.values_mut().find(stranger).and_then(|other| other.members.last()?.stream.try_clone().ok());
        let room = self.rooms.get_mut(room).expect("the prover publishes where it sits");
        room.offset += 1;
        let offset = Offset(room.offset);
        if let Some(id) = id.filter(|_| !(lie == Lie::WithholdsAck && turn || lie == Lie::NeverAcks)) {
            let told = Offset(offset.0 + u64::from(lie == Lie::AcksElsewhere && turn));
            let position = Position { epoch: EPOCH, offset: told };
            say(stream, encoding, &Event::Published { id, room: &room.name, position, dup: false })?;
        }
        if lie == Lie::MutesAll || lie == Lie::ForgetsAccepted && turn {
            return Some(());
        }
        let stranger = Identity::new("somebody-else", None).expect("a name");
        let unasked = id.is_none();
        let own_copy = echo.unwrap_or(unasked);
        let payload = data.to_payload();
        self.lengths.insert(text_bytes(data.raw()));
        let said =
            MessageOut { room: &room.name, offset, at_unix_ms: 0, from: user, event: None, key: None, data: &payload };
        let mut kept = Vec::new();
        write_message(&mut kept, Encoding::MessagePack, &said);
        room.log.push((offset.0, kept));
        for (place, member) in room.members.iter_mut().enumerate() {
            if member.connection == connection && !own_copy || lie == Lie::Mutes && place == 3 {
                continue;
            }
            member.heard += 1;
            if lie == Lie::MutesLater && member.late && member.heard > 1 {
                continue;
            }
            self.deliveries += 1;
            let turn = self.deliveries.is_multiple_of(self.every);
            let from = if lie == Lie::Misattributes && turn { &stranger } else { user };
            let message =
                MessageOut { room: &room.name, offset, at_unix_ms: 0, from, event: None, key: None, data: &payload };
            let mut frame = Vec::new();
            write_message(&mut frame, member.encoding, &message);
            let lie = if turn { lie } else { Lie::Honest };
            member.deliver(lie, frame, foreign.as_ref(), &room.name, offset);
        }
        Some(())
    }
}

/// Bytes of a string that stands as MessagePack (`str 8` or `str 16`, as the prover writes it) or JSON.
fn text_bytes(value: &[u8]) -> usize {
    let beside = match value.first() {
        Some(b'"' | 0xd9) => 2,
        _ => 3,
    };
    value.len() - beside
}

impl Member {
    /// A peer that is gone hears nothing; that is for its own thread to find out.
    fn deliver(&mut self, lie: Lie, mut frame: Vec<u8>, foreign: Option<&TcpStream>, room: &RoomName, offset: Offset) {
        match lie {
            Lie::Drops => return,
            Lie::Duplicates => frame.extend_from_within(..),
            Lie::Swaps if self.held.is_none() => {
                self.held = Some(frame);
                return;
            }
            Lie::Leaks => {
                // Nobody may be there at the moment.
                foreign.map(|mut stream| stream.write_all(&frame).unwrap_or_default()).unwrap_or_default();
            }
            Lie::Corrupts => {
                let at = frame.len() - 10;
                frame[at] ^= 1;
            }
            Lie::Gaps => {
                let gap = Event::Gap { room, epoch: EPOCH, from: offset, to: offset, why: GapWhy::Slow };
                say(&self.stream, self.encoding, &gap).unwrap_or_default();
            }
            Lie::Cuts => {
                self.stream.shutdown(std::net::Shutdown::Both).unwrap_or_default();
                return;
            }
            Lie::Swaps
            | Lie::Honest
            | Lie::ForgetsAccepted
            | Lie::WithholdsAck
            | Lie::NeverAcks
            | Lie::AcksElsewhere
            | Lie::Mutes
            | Lie::MutesAll
            | Lie::MutesLater
            | Lie::Misattributes
            | Lie::Busy
            | Lie::NoHeartbeat => {}
        }
        frame.extend(self.held.take().unwrap_or_default());
        (&self.stream).write_all(&frame).unwrap_or_default();
    }
}
