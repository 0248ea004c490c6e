//! The way in: a request head, a token, a session.

use std::sync::Arc;

use bytes::Bytes;

use crate::base::{ConnKey, Encoding, Now};
use crate::wire::{
    Asked, BadToken, Carried, CloseReason, Event, Upgrade, Verified, read_head, write_close, write_event, write_refusal,
};

use super::row::{Flags, Stage};
use super::{Count, Effect, Shard, seconds};

/// Seconds a refused client is asked to stay away.
const RETRY_AFTER_S: u32 = 5;

impl Shard {
    pub(super) fn on_head_bytes(&mut self, now: Now, conn: ConnKey, bytes: &[u8]) {
        let head_bytes_max = self.limits().head_bytes_max;
        let Some(work) = self.work_mut(conn) else { return };
        let looked = work.head.len();
        work.head.extend_from_slice(bytes);
        let head = match read_head(&work.head, looked, head_bytes_max) {
            Ok(None) => return,
            Ok(Some(head)) => head,
            Err(error) => {
                let status = error.status();
                self.turn_away(conn, status, "bad_request", &error.to_string(), None, CloseReason::BadHandshake);
                return;
            }
        };
        let mut read = std::mem::take(&mut work.head);
        match head.what {
            Asked::Elsewhere => self.hand_over(conn, Bytes::from(read)),
            Asked::BadUpgrade { status, message } => {
                self.turn_away(conn, status, "bad_upgrade", message, None, CloseReason::BadHandshake);
            }
            Asked::Upgrade(_) if self.is_leaving() => self.turn_away_leaving(conn),
            Asked::Upgrade(upgrade) => {
                self.on_upgrade(now, conn, &upgrade);
                // A client may send its first frames without waiting for our answer; if that is a close frame, they are
                // read past, so that what follows is not taken for something else.
                let speaks_frames = self.connections.row(conn).is_some_and(|row| !row.flags.has(Flags::CLOSE_HEARD));
                if speaks_frames && read.len() > head.len {
                    self.on_frame_bytes(now, conn, &mut read[head.len..]);
                }
            }
        }
    }

    fn on_upgrade(&mut self, now: Now, conn: ConnKey, upgrade: &Upgrade) {
        if upgrade.unknown_version {
            self.refuse_entry(now, conn, upgrade, CloseReason::Version, "version", CloseReason::Version.message());
            return;
        }
        let verified = match &upgrade.token {
            Carried::Token(token) => self.config.rules.verifier.verify(token, now.unix_ms / 1_000),
            Carried::None => {
                let sentence =
                    "no token: send `Authorization: Bearer`, the subprotocol `throng.token.<jwt>` or `?token=`";
                self.refuse_entry(now, conn, upgrade, CloseReason::BadToken, "no_token", sentence);
                return;
            }
            Carried::Disagree => {
                let sentence = "two different tokens were sent: send one";
                self.refuse_entry(now, conn, upgrade, CloseReason::BadToken, "bad_token", sentence);
                return;
            }
        };
        match verified {
            Ok(verified) => self.begin_session(now, conn, upgrade, verified),
            Err(error @ BadToken::Expired { .. }) => {
                self.refuse_entry(now, conn, upgrade, CloseReason::Expired, "expired", &error.to_string());
            }
            Err(error) => self.refuse_entry(now, conn, upgrade, CloseReason::BadToken, "bad_token", &error.to_string()),
        }
    }

    fn begin_session(&mut self, now: Now, conn: ConnKey, upgrade: &Upgrade, verified: Verified) {
        let Some(grants) = self.grants.take(verified.grants, self.config.rules.limits.grant_sets_max) else {
            let sentence = "the server keeps as many different sets of grants as it may: try again later";
            self.turn_away(conn, 503, "busy", sentence, Some(RETRY_AFTER_S), CloseReason::BadHandshake);
            return;
        };
        let lasts_s = (verified.expires_unix_s + self.limits().token_leeway_s).saturating_sub(now.unix_ms / 1_000);
        let Some(row) = self.connections.row_mut(conn) else { return };
        row.stage = Stage::Open;
        row.flags.set(Flags::JSON, upgrade.encoding == Encoding::Json);
        row.grants = grants;
        row.heard_mono_s = seconds(now);
        row.expires_mono_s = seconds(now).saturating_add(u32::try_from(lasts_s).unwrap_or(u32::MAX));
        row.identity = Some(verified.identity.clone());
        self.sessions += 1;
        self.counters.add(Count::Upgraded, 1);
        let session = self.session_code(conn);
        let (rules, node) = (Arc::clone(&self.config.rules), Arc::clone(&self.config.node));
        let welcome = Event::Welcome {
            session: &session,
            resumed: false,
            user: verified.identity.user(),
            node: &node,
            heartbeat_ms: rules.limits.heartbeat_ms,
            limits: &rules.limits,
        };
        self.counters.said(&welcome, 1);
        self.append(conn, |out| {
            upgrade.write_accept(out);
            write_event(out, upgrade.encoding, &welcome);
        });
        self.effects.push(Effect::Opened { conn, identity: verified.identity });
    }

    /// A client that speaks our language gets its upgrade and the reason in a close frame, because JavaScript sees
    /// nothing of a refused upgrade; everybody else gets plain HTTP.
    fn refuse_entry(
        &mut self,
        now: Now,
        conn: ConnKey,
        upgrade: &Upgrade,
        reason: CloseReason,
        code: &str,
        sentence: &str,
    ) {
        if !upgrade.offers_ours && !upgrade.unknown_version {
            self.turn_away(conn, 401, code, sentence, None, reason);
            return;
        }
        let Some(row) = self.connections.row_mut(conn) else { return };
        row.stage = Stage::Closing;
        row.heard_mono_s = seconds(now);
        row.flags.set(Flags::CLOSE_SENT, true);
        self.note_closing(conn, reason);
        self.append(conn, |out| {
            upgrade.write_accept(out);
            write_close(out, reason.code().unwrap_or(1011), sentence, None);
        });
    }

    /// An HTTP answer, then the end.
    fn turn_away(
        &mut self,
        conn: ConnKey,
        status: u16,
        code: &str,
        sentence: &str,
        retry_after_s: Option<u32>,
        reason: CloseReason,
    ) {
        let Some(row) = self.connections.row_mut(conn) else { return };
        row.stage = Stage::Closing;
        row.flags.set(Flags::CLOSE_SENT, true);
        row.flags.set(Flags::CLOSE_HEARD, true);
        self.note_closing(conn, reason);
        self.append(conn, |out| write_refusal(out, status, code, sentence, retry_after_s));
    }

    /// The server leaves: the next one may have the address already.
    pub(super) fn turn_away_leaving(&mut self, conn: ConnKey) {
        self.counters.add(Count::RefusedLeaving, 1);
        let sentence = "this server is being replaced: try again";
        self.turn_away(conn, 503, "draining", sentence, Some(1), CloseReason::BadHandshake);
    }

    fn hand_over(&mut self, conn: ConnKey, read: Bytes) {
        self.note_closing(conn, CloseReason::HandedOver);
        if let Some(reason) = self.retire(conn) {
            self.counters.closed(reason);
            self.counters.add(Count::HandedOver, 1);
            self.effects.push(Effect::HandOver { conn, read });
        }
    }

    /// The session's handle: where it lives, and a code that nobody can make up.
    fn session_code(&self, conn: ConnKey) -> String {
        let place = format!("{:04x}{:08x}{:04x}", self.config.id.0, conn.index(), conn.generation());
        format!("{place}{:016x}", self.seed.mix(place.as_bytes()))
    }
}
