//! From nothing to a seat: what happens to a connection between `connect` and the answer to `join`.

use anyhow::{Result, bail};
use throng::wire::client::{CommandOut, ServerEvent, write_command};

use super::connection::Connection;
use super::opening::{self, Step};
use super::upgrade::{self, Answer};
use super::{Stage, Worker};
use crate::payload::put_hex;
use crate::ramp::{LimitedBy, Stopped};

/// The largest id there is; publishes never use it.
const JOIN_ID: u64 = (1 << 53) - 1;

impl<const OTHER: bool> Worker<OTHER> {
    /// Starts as many openings as may be under way now, and gives up those that take too long.
    pub(super) fn begin_openings(&mut self) -> Result<()> {
        if self.openings.done() {
            return Ok(());
        }
        if !self.openings.is_stopped()
            && let Some(stopped) = self.memory_floor.reached(self.now_ns)
        {
            self.stop_ramp(stopped);
        }
        while let Some(slot) = self.openings.overdue(self.now_ns) {
            self.retry(slot, LimitedBy::Server, "no answer in time")?;
        }
        while let Some(slot) = self.openings.begin(self.now_ns) {
            let (member, attempt) = (self.openings.at(slot).member, self.openings.at(slot).attempt);
            let sources = self.crew.sources.as_ref();
            let (door, number) = self.crew.door(member);
            let server = door.address;
            match opening::connect(server, sources, number, attempt) {
                Ok(stream) => {
                    self.epoll.add(&stream, u64::from(member))?;
                    let connection = &mut self.connections[member as usize];
                    connection.attach(stream);
                    connection.stage = Stage::Opening(slot);
                }
                Err(error) => {
                    let why = format!("cannot connect to {server}: {error}");
                    self.retry(slot, opening::limited_by(&error), &why)?;
                }
            }
        }
        Ok(())
    }

    /// The socket is connected (or has failed, which the read will say): the request goes out.
    pub(super) fn on_connected(&mut self, member: u32, slot: u16) -> Result<()> {
        let opening = self.openings.at(slot);
        if opening.step != Step::Connecting {
            return Ok(());
        }
        (opening.step, opening.times.connected_ns) = (Step::Upgrading, self.now_ns);
        let (door, _) = self.crew.door(member);
        let server = door.address;
        let request = if OTHER {
            upgrade::plain_request(&door.host, &door.target)
        } else {
            let token = self.signer.sign(self.crew.crowd.global(member))?;
            upgrade::request(&door.host, &door.target, self.encoding, &token)
        };
        // Signing a token takes its time, which is ours.
        self.tick();
        self.openings.at(slot).times.requested_ns = self.now_ns;
        match self.connections[member as usize].send(request.as_bytes()) {
            Ok(()) => Ok(()),
            Err(error) => self.retry(slot, LimitedBy::Server, &format!("cannot connect to {server}: {error}")),
        }
    }

    /// Takes bytes of the answer's head; gives where frames begin in `bytes` once it is whole.
    pub(super) fn on_head(&mut self, slot: u16, bytes: &[u8]) -> Result<Option<usize>> {
        let opening = self.openings.at(slot);
        let (before, member) = (opening.head.len(), opening.member);
        opening.head.extend_from_slice(bytes);
        let subprotocol = (!OTHER).then(|| upgrade::subprotocol(self.encoding));
        match upgrade::answer(&opening.head, subprotocol) {
            Answer::More => Ok(None),
            Answer::Switched(end) => {
                (opening.step, opening.times.upgraded_ns) = (Step::Welcoming, self.now_ns);
                opening.head = Vec::new();
                Ok(Some(end.saturating_sub(before)))
            }
            Answer::Later(why) => self.retry(slot, LimitedBy::Server, &why).map(|()| None),
            Answer::No(why) if OTHER => bail!("the server refused the upgrade: {why}"),
            Answer::No(why) => bail!(
                "the server refused the upgrade: {why}. Is {} throng's address and the secret (--secret, --secret-file) its own?",
                self.crew.door(member).0.address
            ),
        }
    }

    pub(super) fn on_opening_event(&mut self, member: u32, slot: u16, event: &ServerEvent<'_>) -> Result<()> {
        let step = self.openings.at(slot).step;
        match (step, event) {
            (Step::Welcoming, ServerEvent::Welcome(welcome)) => {
                self.heartbeat_ms = welcome.heartbeat_ms;
                let opening = self.openings.at(slot);
                (opening.step, opening.times.asked_ns) = (Step::Joining, self.now_ns);
                self.join(member, slot)
            }
            (Step::Joining, ServerEvent::Reply(reply)) if reply.id == JOIN_ID => {
                let Some(position) = reply.position() else {
                    bail!("the answer to `join` holds no position: {reply:?}")
                };
                self.seat(member, slot, position.epoch.0, position.offset.0);
                Ok(())
            }
            (_, ServerEvent::Error { refusal, .. }) if refusal.retryable() => {
                self.retry(slot, LimitedBy::Server, refusal.code())
            }
            (_, ServerEvent::Error { refusal, message, .. }) => {
                bail!("the server refused to let a connection in: {}: {message}", refusal.code())
            }
            (
                _,
                ServerEvent::Welcome(_)
                | ServerEvent::Reply(_)
                | ServerEvent::Message(_)
                | ServerEvent::PresenceJoined { .. }
                | ServerEvent::PresenceLeft { .. }
                | ServerEvent::PresenceAway { .. }
                | ServerEvent::PresenceBack { .. }
                | ServerEvent::PresenceCounted { .. }
                | ServerEvent::Stale { .. }
                | ServerEvent::Typing { .. }
                | ServerEvent::Read { .. }
                | ServerEvent::Gap { .. }
                | ServerEvent::Expiring { .. }
                | ServerEvent::Removed { .. }
                | ServerEvent::Drain { .. }
                | ServerEvent::Unknown { .. },
            ) => Ok(()),
        }
    }

    /// The socket ended, or told us to go away, before it had a seat.
    pub(super) fn on_opening_end(&mut self, slot: u16, code: u16, why: &str) -> Result<()> {
        if code >= 4_500 {
            bail!("the server closed with {code} {why}: is the secret (--secret, --secret-file) the server's own?");
        }
        self.retry(slot, LimitedBy::Server, &format!("ended while opening: {code} {why}"))
    }

    fn join(&mut self, member: u32, slot: u16) -> Result<()> {
        let room = self.room_name(member);
        let presence = self.crew.presence;
        let command = CommandOut::Join { room: &room, since: None, history: None, presence };
        self.envelope.clear();
        write_command(&mut self.envelope, self.encoding, Some(JOIN_ID), &command);
        match self.send_envelope(member) {
            Ok(()) => Ok(()),
            Err(error) => self.retry(slot, LimitedBy::Server, &format!("ended while opening: {error}")),
        }
    }

    pub(super) fn seat(&mut self, member: u32, slot: u16, epoch: u64, offset: u64) {
        let opening = self.openings.sit(slot, self.now_ns);
        self.connections[member as usize].stage = Stage::Open;
        self.opened_since_logged.record(&opening.times, self.now_ns);
        self.progress.open += 1;
        if let Err(fault) = self.ledger.joined(member, epoch, offset) {
            self.blame(fault, member, None, || format!("told to begin at {epoch:016x}/{offset}, unlike the others"));
        }
    }

    /// Puts an attempt off. When nothing is to be hoped for and somebody sits, the ramp ends here with those who do.
    pub(super) fn retry(&mut self, slot: u16, by: LimitedBy, why: &str) -> Result<()> {
        let opening = self.openings.finish(slot, self.now_ns);
        self.connections[opening.member as usize].end(Stage::Waiting);
        let anybody_in = self.progress.open > 0 || self.crew.others_sit;
        if self.openings.retry(&opening, self.now_ns, anybody_in) {
            return Ok(());
        }
        let (connection, attempts) = (self.crew.crowd.global(opening.member), opening.attempt + 1);
        let sentence = format!("connection {connection} was not let in after {attempts} attempts: {why}");
        if !anybody_in {
            bail!(sentence);
        }
        self.stop_ramp(Stopped { by, sentence });
        Ok(())
    }

    fn stop_ramp(&mut self, stopped: Stopped) {
        self.openings.stop();
        self.stopped.get_or_insert(stopped);
    }

    /// Another worker has found the end: who is under way may still come in.
    pub(super) fn enough(&mut self) {
        if !self.openings.done() {
            self.openings.stop();
        }
    }

    /// After a ramp that was stopped: rooms in which not everybody has sat are given up, and those who sit there leave.
    pub(super) fn keep_whole_rooms(&mut self) {
        let crowd = &mut self.crew.crowd;
        let has_not_sat = |connection: &Connection| matches!(connection.stage, Stage::Waiting | Stage::Opening(_));
        let sat = self.connections.iter().position(has_not_sat).unwrap_or(self.connections.len());
        crowd.rooms = sat as u32 / crowd.room_size;
        for connection in &mut self.connections.split_off(crowd.connections() as usize) {
            self.progress.open -= u64::from(connection.stage == Stage::Open);
            connection.reset();
        }
        self.ledger.keep_rooms(crowd.rooms);
    }

    /// The room a local connection sits in.
    pub(super) fn room_name(&self, member: u32) -> String {
        let crowd = self.crew.crowd;
        let mut digits = *b"00000000";
        put_hex(&mut digits, u64::from(crowd.first_room + member / crowd.room_size));
        format!("{}{}", self.room_prefix, String::from_utf8_lossy(&digits))
    }
}
