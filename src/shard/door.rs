//! The way in: a request head, a token, a session.

use bytes::Bytes;
use std::sync::Arc;

use crate::base::{ConnKey, Encoding, Now};
use crate::wire::{
    Asked, BadToken, Carried, Checked, CloseReason, Endpoint, Event, HeadError, Upgrade, Verified, read_head,
    write_event, write_refusal,
};

use super::grants::GRANTS_FULL;
use super::row::{Flags, Stage};
use super::{Count, Effect, Shard, seconds};

impl Shard {
    pub(super) fn on_head_bytes(&mut self, now: Now, conn: ConnKey, bytes: &[u8]) {
        let mut looked = self.add_to_head(conn, bytes);
        if self.connections.row(conn).and_then(|row| row.work.as_ref()).is_some_and(|work| work.expects_proxy) {
            if !self.take_proxy_header(now, conn) {
                return;
            }
            looked = 0;
        }
        let head_bytes_max = self.limits().head_bytes_max;
        let Some(work) = self.work_mut(conn) else { return };
        let head = match read_head(&work.head, looked, head_bytes_max) {
            Ok(None) => {
                self.heads_fit(now, conn);
                return;
            }
            Ok(Some(head)) => head,
            Err(error) => {
                let reason = match error {
                    HeadError::TooLong => CloseReason::HeadTooLong,
                    HeadError::Malformed => CloseReason::BadHandshake,
                };
                self.turn_away(now, conn, reason, &error.to_string());
                return;
            }
        };
        if !self.count_client_behind(now, conn, head.forwarded_for.as_deref()) {
            return;
        }
        let mut read = self.take_head(conn);
        match head.what {
            Asked::Elsewhere => self.hand_over(conn, Bytes::from(read)),
            // It is not there: whoever answers what is not ours says so.
            Asked::Upgrade(Upgrade { endpoint: Endpoint::Echo, .. })
            | Asked::BadUpgrade { endpoint: Endpoint::Echo, .. }
                if !self.config.rules.echo =>
            {
                self.hand_over(conn, Bytes::from(read));
            }
            Asked::BadUpgrade { endpoint: _, status, message } => {
                self.turn_away_as(now, conn, status, CloseReason::BadHandshake, message);
            }
            Asked::Upgrade(_) if self.is_leaving() => self.turn_away_leaving(now, conn),
            Asked::Upgrade(upgrade) => {
                if let Some(work) = self.work_mut(conn) {
                    work.behind_proxy = None;
                }
                self.on_upgrade(now, conn, upgrade);
                self.read_behind_head(now, conn, &mut read[head.len..]);
            }
        }
    }

    fn on_upgrade(&mut self, now: Now, conn: ConnKey, upgrade: Upgrade) {
        if upgrade.unknown_version {
            self.refuse_entry(now, conn, &upgrade, CloseReason::Version, CloseReason::Version.message());
            return;
        }
        let rules = Arc::clone(&self.config.rules);
        let origin = rules.origins.check(upgrade.origin.as_deref(), upgrade.host.as_deref());
        let carried = match &rules.carriers.cookie {
            _ if origin == Checked::Refused => {
                self.refuse_entry(now, conn, &upgrade, CloseReason::Origin, CloseReason::Origin.message());
                return;
            }
            _ if upgrade.endpoint == Endpoint::Echo => {
                self.begin_echo(now, conn, &upgrade);
                return;
            }
            // Only a page that is listed by name may speak by what its user's browser sends along anyway.
            Some(cookie) if origin == Checked::Listed => upgrade.token_or_cookie(cookie),
            Some(_) | None => upgrade.token.clone(),
        };
        match carried {
            Carried::Token { token, in_url } => {
                let (verifier, unix_s) = (&rules.verifier, now.unix_ms / 1_000);
                let verified =
                    if in_url { verifier.verify_from_url(&token, unix_s) } else { verifier.verify(&token, unix_s) };
                match verified {
                    Ok(verified) => self.begin_session(now, conn, Some(&upgrade), verified, false),
                    Err(bad) => self.refuse_token(now, conn, Some(&upgrade), bad),
                }
            }
            Carried::Ticket(ticket) => self.on_ticket(now, conn, upgrade, &ticket),
            Carried::None if upgrade.offers_ours && rules.carriers.hello => self.expect_hello(now, conn, &upgrade),
            Carried::None => self.refuse_entry(now, conn, &upgrade, CloseReason::BadToken, NO_TOKEN),
            Carried::Disagree => self.refuse_entry(now, conn, &upgrade, CloseReason::BadToken, TWO_TOKENS),
        }
    }

    /// `upgrade` is what the 101 is still to be written for; without one it is out already.
    pub(super) fn refuse_token(&mut self, now: Now, conn: ConnKey, upgrade: Option<&Upgrade>, bad: BadToken) {
        self.note_bad_token(bad);
        let (reason, sentence) = (bad.close_reason(), bad.to_string());
        if !reason.is_failed_handshake() {
            // It may be good later; but anybody can name a key that nobody has.
            if upgrade.is_some() && self.fails_too_often(now, conn.index()) {
                let reason = CloseReason::FailedTooOften;
                self.turn_away(now, conn, reason, reason.message());
                return;
            }
            self.charge_handshake(now, conn);
        }
        match upgrade {
            Some(upgrade) => self.refuse_entry(now, conn, upgrade, reason, &sentence),
            None => self.fail_with(now, conn, reason, &sentence),
        }
    }

    /// A key that is not known is asked for where keys are fetched.
    pub(super) fn note_bad_token(&mut self, bad: BadToken) {
        if bad == BadToken::KeyToCome {
            self.counters.add(Count::UnknownKeys, 1);
        }
    }

    /// Likewise. What brought the token or stands for it, it may have been revoked.
    /// `resumed`: it goes on with the session that its `hello` named.
    pub(super) fn begin_session(
        &mut self,
        now: Now,
        conn: ConnKey,
        upgrade: Option<&Upgrade>,
        verified: Verified,
        resumed: bool,
    ) {
        if self.is_leaving() {
            match upgrade {
                Some(_) => self.turn_away_leaving(now, conn),
                None => self.fail(now, conn, CloseReason::Restart),
            }
            return;
        }
        if let Err(bad) = self.check_revoked(&verified) {
            self.refuse_token(now, conn, upgrade, bad);
            return;
        }
        let grants = match self.can_tell_of(&verified.identity) {
            true => self.keep_grants(&verified).ok_or(GRANTS_FULL),
            false => Err(CloseReason::Busy.message()),
        };
        let grants = match grants {
            Ok(grants) => grants,
            Err(sentence) => {
                match upgrade {
                    Some(_) => self.turn_away(now, conn, CloseReason::Busy, sentence),
                    None => self.fail_with(now, conn, CloseReason::Busy, sentence),
                }
                return;
            }
        };
        let expires_mono_s = self.token_end(now, &verified);
        self.note_mark(conn.index(), &verified);
        self.move_to(conn, Stage::Open);
        let deflates = upgrade.is_some_and(|upgrade| self.agree(conn, upgrade));
        let Some(row) = self.connections.row_mut(conn) else { return };
        if let Some(upgrade) = upgrade {
            row.flags.set(Flags::JSON, upgrade.encoding == Encoding::Json);
        }
        row.grants = grants;
        row.heard_mono_s = seconds(now);
        row.expires_mono_s = expires_mono_s;
        row.identity = Some(verified.identity.clone());
        let encoding = row.encoding();
        self.sessions += 1;
        self.counters.add(Count::Upgraded, 1);
        self.tell_user_came(&verified.identity, conn);
        let session = self.session_code(conn).to_string();
        let (rules, node) = (Arc::clone(&self.config.rules), self.config.node.clone());
        let welcome = Event::Welcome {
            session: &session,
            resumed,
            user: verified.identity.user(),
            node: &node,
            heartbeat_ms: self.heartbeat_ms(),
            limits: &rules.limits,
        };
        self.counters.said(&welcome, 1);
        self.append(conn, |out| {
            if let Some(upgrade) = upgrade {
                upgrade.write_accept(out, deflates);
            }
            write_event(out, encoding, &welcome);
        });
        self.effects.push(Effect::Opened { conn, identity: verified.identity });
    }

    /// Whether the answer grants what was offered: from now on deflated messages come and go.
    pub(super) fn agree(&mut self, conn: ConnKey, upgrade: &Upgrade) -> bool {
        let deflates = upgrade.deflate.is_some() && self.config.rules.compression.enabled;
        if let Some(row) = self.connections.row_mut(conn).filter(|_| deflates) {
            row.flags.set(Flags::DEFLATES, true);
            self.counters.add(Count::DeflateAgreed, 1);
        }
        deflates
    }

    /// A client that speaks our language gets its upgrade and the reason in a close frame, because JavaScript sees
    /// nothing of a refused upgrade; everybody else gets plain HTTP.
    pub(super) fn refuse_entry(
        &mut self,
        now: Now,
        conn: ConnKey,
        upgrade: &Upgrade,
        reason: CloseReason,
        sentence: &str,
    ) {
        if reason.is_failed_handshake() && self.fails_too_often(now, conn.index()) {
            let reason = CloseReason::FailedTooOften;
            self.turn_away(now, conn, reason, reason.message());
            return;
        }
        if !upgrade.offers_ours && !upgrade.unknown_version {
            self.turn_away(now, conn, reason, sentence);
            return;
        }
        // All that follows is a close frame.
        self.append(conn, |out| upgrade.write_accept(out, false));
        self.fail_with(now, conn, reason, sentence);
    }

    /// An HTTP answer, then the end.
    pub(super) fn turn_away(&mut self, now: Now, conn: ConnKey, reason: CloseReason, sentence: &str) {
        self.turn_away_as(now, conn, reason.http_status().unwrap_or(400), reason, sentence);
    }

    /// The server leaves: the next one may have the address already.
    pub(super) fn turn_away_leaving(&mut self, now: Now, conn: ConnKey) {
        self.counters.add(Count::RefusedLeaving, 1);
        let reason = CloseReason::Draining;
        self.turn_away(now, conn, reason, reason.message());
    }

    fn turn_away_as(&mut self, now: Now, conn: ConnKey, status: u16, reason: CloseReason, sentence: &str) {
        // What it sent is not looked at any more, and others may need the room.
        drop(self.take_head(conn));
        let Some(row) = self.connections.row_mut(conn) else { return };
        row.heard_mono_s = seconds(now);
        row.flags.set(Flags::CLOSE_HEARD, true);
        self.charge_failure(now, conn, reason);
        self.move_to(conn, Stage::Closing);
        self.note_closing(conn, reason);
        self.append(conn, |out| write_refusal(out, status, reason.name(), sentence, reason.retry_after_s()));
    }
}

const NO_TOKEN: &str = "no token: send `Authorization: Bearer`, a subprotocol `throng.token.<jwt>`, `?token=`, or offer throng.v1.json and say hello";
const TWO_TOKENS: &str = "two carriers brought different tokens: send one";
