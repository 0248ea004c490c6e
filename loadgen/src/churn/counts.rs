//! What the server's `/metrics` says of what it holds.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::scrape;

/// What must come back when everybody has left, and what must never move.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Counts {
    /// Rows in use: handshakes, sessions, goodbyes.
    pub(crate) rows: u64,
    pub(crate) sockets: u64,
    pub(crate) rings: u64,
    pub(crate) rooms: u64,
    /// Keys of publishes and read positions: they go with their rooms.
    pub(crate) keys: u64,
    pub(crate) receipts: u64,
    /// Completions that outgrew their queue, and those that came for a slot's former owner. Both stay 0.
    pub(crate) overflows: u64,
    pub(crate) stale: u64,
}

impl Counts {
    /// Asks the server's admin listener.
    pub(crate) fn read(admin: SocketAddr) -> Result<Self> {
        let counts = scrape::get(admin, "/metrics").and_then(|answer| Self::parse(&answer));
        counts.with_context(|| format!("http://{admin}/metrics"))
    }

    fn parse(answer: &str) -> Result<Self> {
        let of = |name: &str| {
            answer
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
                .with_context(|| format!("does not say {name}"))
        };
        Ok(Self {
            rows: of("throng_connections")?,
            sockets: of("throng_sockets")?,
            rings: of("throng_rings")?,
            rooms: of("throng_rooms")?,
            keys: of("throng_idempotency_keys")?,
            receipts: of("throng_receipts")?,
            overflows: of("throng_ring_overflows_total")?,
            stale: of("throng_ring_stale_total")?,
        })
    }

    /// Whether nobody is here and no more is held than at `first`, but for so many rooms with a log.
    pub(crate) fn is_back(&self, first: &Self, rooms_kept: u64) -> bool {
        let rooms_max = first.rooms + rooms_kept;
        self.rows == 0 && self.sockets <= first.sockets && self.rings <= first.rings && self.rooms <= rooms_max
    }
}

/// One short connection of the public listener.
pub(crate) fn knock(server: SocketAddr) -> Result<()> {
    scrape::get(server, "/healthz").map(|_| ()).with_context(|| format!("http://{server}/healthz"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-type: text\r\n\r\n\
        # TYPE throng_connections gauge\nthrong_connections 3\nthrong_sockets 4\nthrong_rings 2\n\
        throng_rooms_seated 9\nthrong_rooms 1\nthrong_idempotency_keys 5\nthrong_receipts 6\n\
        throng_ring_overflows_total 0\nthrong_ring_stale_total 7\n# EOF\n";

    #[test]
    fn counts_are_found_by_their_whole_names_and_a_missing_one_is_no_zero() {
        let counts = Counts::parse(ANSWER).expect("all are there");
        let expected = Counts { rows: 3, sockets: 4, rings: 2, rooms: 1, keys: 5, receipts: 6, overflows: 0, stale: 7 };
        assert_eq!(counts, expected);
        assert!(Counts::parse(&ANSWER.replace("throng_rings 2\n", "")).is_err());
        let none = Counts { rows: 0, keys: 0, receipts: 0, stale: 0, ..expected };
        assert!(none.is_back(&none, 0) && !counts.is_back(&none, 0));
        assert!(!Counts { rings: 3, ..none }.is_back(&none, 9) && !Counts { rooms: 2, ..none }.is_back(&none, 0));
        assert!(Counts { rooms: 2, ..none }.is_back(&none, 1) && !Counts { rooms: 3, ..none }.is_back(&none, 1));
    }
}
