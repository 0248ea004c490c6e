//! `/echo`: every message comes back as it came. For conformance suites and for measuring the path itself.
//!
//! Nobody's session: no token, no greeting, no rooms, no subprotocol of ours spoken. Everything else is what a session has:
//! the same handshake up to the token, the same codec, outbox, batches, heartbeats, limits and closes. It is a
//! [`Stage`] of the row and nothing else, so it costs no other connection anything.
//!
//! Promises: text comes back as text and binary as binary, byte for byte, one unfragmented frame for each message, in
//! order; deflated, like a message of a room, where that was agreed on and is worth it. Who does not read what comes back ends like any other slow reader.

use super::row::Stage;
use super::{Count, Shard, seconds};
use crate::base::{ConnKey, Now};
use crate::wire::{FrameKind, Upgrade, write_frame};

impl Shard {
    /// The upgrade is completed; from here on whatever is said comes back.
    pub(super) fn begin_echo(&mut self, now: Now, conn: ConnKey, upgrade: &Upgrade) {
        self.move_to(conn, Stage::Echo);
        let deflates = self.agree(conn, upgrade);
        let Some(row) = self.connections.row_mut(conn) else { return };
        row.heard_mono_s = seconds(now);
        row.expires_mono_s = u32::MAX;
        self.counters.add(Count::Echoes, 1);
        self.append(conn, |out| upgrade.write_accept(out, deflates));
    }

    pub(super) fn echo(&mut self, conn: ConnKey, kind: FrameKind, payload: &[u8]) {
        self.counters.add(Count::MessagesIn, 1);
        self.counters.add(Count::Echoed, 1);
        let deflates = self.connections.row(conn).is_some_and(|row| row.form().deflated);
        self.append_frame(conn, deflates, |out| write_frame(out, kind, payload, None));
    }
}
