//! Those who have asked for an upgrade and are nobody yet: a `hello` is awaited, or the answer to a ticket.
//!
//! ```text
//!  upgrade without a token ─► Greeting (101 is out) ─► hello{token} ─► session
//!  upgrade with a ticket   ─► Parked (nothing is out) ─► Redeemed   ─► session, 401 or 4003
//! ```
//!
//! Promises: nobody here is served anything: the first message is a `hello` with a good token, or the connection ends.
//! Both states are handshakes under way: counted, bounded in bytes, read and unread, and ended by the patrol.

use bytes::Bytes;

use super::row::{Flags, Stage};
use super::tickets::{Asking, TicketCode};
use super::{Shard, seconds};
use crate::base::{ConnKey, Encoding, Form, Now};
use crate::wire::{
    CloseReason, Command, Envelope, FrameLimits, Incoming, Partial, Reader, Role, Upgrade, Verified, decode,
};

impl Shard {
    /// The upgrade is completed without a session: who this is comes with the first message.
    pub(super) fn expect_hello(&mut self, now: Now, conn: ConnKey, upgrade: &Upgrade) {
        self.move_to(conn, Stage::Greeting);
        let Some(row) = self.connections.row_mut(conn) else { return };
        row.flags.set(Flags::JSON, upgrade.encoding == Encoding::Json);
        row.heard_mono_s = seconds(now);
        let deflates = self.agree(conn, upgrade);
        self.append(conn, |out| upgrade.write_accept(out, deflates));
    }

    /// Frames of somebody who has not said hello. Behind the hello come those of a session, perhaps in the same read.
    pub(super) fn on_greeting_bytes(&mut self, now: Now, conn: ConnKey, bytes: &mut [u8]) {
        if self.is_greeted(conn) {
            self.keep_bytes_behind_hello(now, conn, bytes);
            return;
        }
        let limits = FrameLimits {
            message_bytes_max: self.limits().hello_bytes_max,
            fragments_max: self.limits().fragments_max,
        };
        let Some(row) = self.connections.row_mut(conn) else { return };
        let Form { encoding, deflated } = row.form();
        let mut partial = row.work.as_mut().map_or_else(Partial::default, |work| std::mem::take(&mut work.partial));
        let bytes_len = bytes.len();
        let mut inflater = deflated.then(|| std::mem::take(&mut self.inflater));
        let mut reader = Reader::new(Role::Server, limits, bytes).inflating(inflater.as_mut());
        let (mut violated, mut pong_at) = (None, None);
        while violated.is_none() && self.stage_of(conn) == Some(Stage::Greeting) && !self.is_greeted(conn) {
            match reader.next(&mut partial) {
                Ok(Some(Incoming::Ping(payload))) => pong_at = self.pong_latest(now, conn, pong_at, payload),
                Ok(Some(incoming)) => self.on_greeting(now, conn, encoding, &incoming),
                Ok(None) => break,
                Err(violation) => violated = Some(violation),
            }
        }
        let read = bytes_len - reader.unread().len();
        // No more than a `hello` may have was made of it.
        let _made = self.take_back_inflater(inflater);
        if let Some(violation) = violated {
            self.on_violation(now, conn, violation);
            return;
        }
        let Some(row) = self.connections.row(conn) else { return };
        let (greeting, hears_on) = (row.stage == Stage::Greeting, !row.flags.has(Flags::CLOSE_HEARD));
        if self.is_greeted(conn) {
            if let Some(work) = self.work_mut(conn) {
                work.partial = partial;
            }
            self.keep_bytes_behind_hello(now, conn, &bytes[read..]);
            return;
        }
        if greeting && partial.is_idle() {
            self.take_back_work(conn);
            return;
        }
        if let Some(work) = self.work_mut(conn) {
            work.partial = partial;
        }
        if !greeting && hears_on {
            // Also where nothing follows: what was delivered is forgotten, what was lent is taken back.
            self.on_frame_bytes(now, conn, &mut bytes[read..]);
        }
    }

    /// Whether it has said hello and waits for its welcome.
    fn is_greeted(&self, conn: ConnKey) -> bool {
        self.connections.row(conn).and_then(|row| row.work.as_ref()).is_some_and(|work| work.greeted.is_some())
    }

    fn keep_bytes_behind_hello(&mut self, now: Now, conn: ConnKey, bytes: &[u8]) {
        let before = self.add_to_head(conn, bytes);
        let limits = self.limits();
        if before + bytes.len() > limits.head_bytes_max || self.heads_bytes > limits.heads_bytes_max {
            drop(self.take_head(conn));
            self.fail(now, conn, CloseReason::Busy);
        }
    }

    /// Whether frames are read from it.
    pub(super) fn hears_frames(&self, conn: ConnKey) -> bool {
        let row = self.connections.row(conn);
        row.is_some_and(|row| matches!(row.stage, Stage::Open | Stage::Closing) && !row.flags.has(Flags::CLOSE_HEARD))
    }

    fn on_greeting(&mut self, now: Now, conn: ConnKey, encoding: Encoding, incoming: &Incoming<'_>) {
        match incoming {
            Incoming::Close(answer) => self.on_close_frame(now, conn, answer.as_ref().map(|(code, _)| *code)),
            Incoming::Ping(_) | Incoming::Pong(_) => {}
            Incoming::Text(text) if encoding == Encoding::Json => self.on_first(now, conn, encoding, text.as_bytes()),
            Incoming::Binary(bytes) if encoding == Encoding::MessagePack => self.on_first(now, conn, encoding, bytes),
            Incoming::Text(_) | Incoming::Binary(_) => self.fail(now, conn, CloseReason::WrongKind),
        }
    }

    /// Of all pings of one read the latest is answered (RFC 6455, 5.5.3), in the place of the one before; tells where. Who
    /// goes on pinging and reads nothing ends: nobody knows who it is, so it is not lent more than a `hello` may be long.
    fn pong_latest(&mut self, now: Now, conn: ConnKey, before: Option<usize>, payload: &[u8]) -> Option<usize> {
        let work = self.work_mut(conn)?;
        let at = before.unwrap_or(work.outbox.len());
        if at > UNREAD_BYTES_MAX {
            self.charge_handshake(now, conn);
            self.give_up(conn, CloseReason::Slow);
            return None;
        }
        work.outbox.truncate(at);
        self.pong(conn, payload);
        Some(at)
    }

    /// The first message of somebody who brought no token.
    fn on_first(&mut self, now: Now, conn: ConnKey, encoding: Encoding, message: &[u8]) {
        match decode(encoding, message, self.limits()) {
            Ok(Envelope { id, command: Command::Hello { token, session } }) => {
                let verified = self.config.rules.verifier.verify(&token.0, now.unix_ms / 1_000);
                match (verified, session) {
                    (Ok(verified), None) => {
                        self.begin_session(now, conn, None, verified, false);
                        self.answer_ping(conn, id);
                    }
                    (Ok(verified), Some(session)) => {
                        // A session is nobody's who may not come in.
                        match self.check_revoked(&verified) {
                            Ok(()) => self.greet_with_session(now, conn, id, &session, verified),
                            Err(bad) => self.refuse_token(now, conn, None, bad),
                        }
                    }
                    (Err(bad), _) => self.refuse_token(now, conn, None, bad),
                }
            }
            Ok(Envelope { id: _, command: _ }) | Err(_) => {
                let sentence = "no token came with the request, so the first message must be hello{token}";
                self.fail_with(now, conn, CloseReason::BadToken, sentence);
            }
        }
    }

    /// A ticket is asked for where it was made; until the answer comes nothing is written.
    pub(super) fn on_ticket(&mut self, now: Now, conn: ConnKey, upgrade: Upgrade, ticket: &str) {
        let asking = TicketCode::parse(ticket).map_or(Asking::Nobody, |ticket| self.ask_redeem(conn, ticket));
        match asking {
            Asking::Asked => {
                self.move_to(conn, Stage::Parked);
                if let Some(work) = self.work_mut(conn) {
                    work.parked = Some(Box::new(upgrade.without_carriers()));
                }
            }
            Asking::Nobody => {
                let sentence = "this is no ticket of this server";
                self.refuse_entry(now, conn, &upgrade, CloseReason::BadToken, sentence);
            }
            Asking::Busy => self.turn_away(now, conn, CloseReason::Busy, CloseReason::Busy.message()),
        }
    }

    /// A client may send frames without waiting for our answer: they are kept like the head they follow.
    pub(super) fn keep_early_bytes(&mut self, now: Now, conn: ConnKey, bytes: &[u8]) {
        let head_bytes_max = self.limits().head_bytes_max;
        let before = self.add_to_head(conn, bytes);
        if self.heads_fit(now, conn) && before + bytes.len() > head_bytes_max {
            self.turn_away(now, conn, CloseReason::HeadTooLong, CloseReason::HeadTooLong.message());
        }
    }

    /// The answer to a ticket.
    pub(super) fn on_redeemed(&mut self, now: Now, conn: ConnKey, verified: Option<Verified>) {
        if self.stage_of(conn) != Some(Stage::Parked) {
            return;
        }
        let mut early = self.take_head(conn);
        let Some(upgrade) = self.work_mut(conn).and_then(|work| work.parked.take()) else { return };
        match verified {
            Some(verified) => self.begin_session(now, conn, Some(&upgrade), verified, false),
            None => {
                let sentence = "this ticket was used already, or is too old: get a new one";
                self.refuse_entry(now, conn, &upgrade, CloseReason::Expired, sentence);
            }
        }
        self.read_behind_head(now, conn, &mut early);
    }

    /// What came behind a request head, once it is known what it is for.
    pub(super) fn read_behind_head(&mut self, now: Now, conn: ConnKey, bytes: &mut [u8]) {
        let Some(row) = self.connections.row(conn).filter(|_| !bytes.is_empty()) else { return };
        match row.stage {
            Stage::Parked => self.keep_early_bytes(now, conn, bytes),
            Stage::Greeting => self.on_greeting_bytes(now, conn, bytes),
            // If what was answered is HTTP, what follows is not taken for something else.
            Stage::Open | Stage::Echo | Stage::Closing if !row.flags.has(Flags::CLOSE_HEARD) => {
                self.on_frame_bytes(now, conn, bytes)
            }
            Stage::Open | Stage::Echo | Stage::Closing | Stage::Opening | Stage::Free | Stage::Gone => {}
        }
    }

    /// `None`: it is nobody's any more.
    pub(super) fn stage_of(&self, conn: ConnKey) -> Option<Stage> {
        self.connections.row(conn).map(|row| row.stage)
    }

    pub(super) fn hand_over(&mut self, conn: ConnKey, read: Bytes) {
        let client = self.connections.row(conn).and_then(|row| row.work.as_ref()?.behind_proxy);
        self.note_closing(conn, CloseReason::HandedOver);
        if let Some(reason) = self.retire(conn) {
            self.counters.closed(reason);
            self.counters.add(super::Count::HandedOver, 1);
            self.effects.push(super::Effect::HandOver { conn, read, client });
        }
    }
}

/// Bytes that may wait for somebody who is nobody yet, and one pong more.
const UNREAD_BYTES_MAX: usize = 4 << 10;
