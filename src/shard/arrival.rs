//! Somebody comes: is there a place, who is it really, and how many of them are here already?
//!
//! The order is by cost: places and handshakes under way are numbers; an address is a hash and two cells; whom a proxy
//! speaks for is known after its header, or after the request head. All of it comes before a token is looked at.
//!
//! Promises: whoever is refused here has taken nothing; a peer that is no trusted proxy is counted by its own address, and
//! what it says about others is not read.

use core::net::IpAddr;

use super::addresses::AddressKey;
use super::row::Stage;
use super::{Count, Shard, seconds};
use crate::base::{ConnKey, Now};
use crate::wire::{CloseReason, read_proxy};

impl Shard {
    /// Takes in a socket from `peer`: its row, or why it must go; the runtime answers with
    /// [`CloseReason::http_status`].
    pub fn open(&mut self, now: Now, peer: IpAddr) -> Result<ConnKey, CloseReason> {
        let opened = self.find_place(now, peer);
        match opened {
            Ok(_) => self.counters.add(Count::Accepted, 1),
            Err(reason) => self.counters.closed(reason),
        }
        opened
    }

    /// Somebody has a place, and the runtime could not take the socket in: it was told that the server is full.
    pub fn turn_back(&mut self, conn: ConnKey) {
        self.give_up(conn, CloseReason::Full);
    }

    fn find_place(&mut self, now: Now, peer: IpAddr) -> Result<ConnKey, CloseReason> {
        if self.pending >= self.limits().handshakes_pending_max {
            return Err(CloseReason::HandshakesFull);
        }
        if self.connections.is_full() {
            return Err(CloseReason::Full);
        }
        let proxies = &self.config.rules.proxies;
        let (is_proxy, speaks_first) = (proxies.trusted.contains(peer), proxies.speaks_first(peer));
        // A proxy's own address says nothing about who is behind it.
        let address = if is_proxy { AddressKey::default() } else { self.charge(now, peer)? };
        let Some(conn) = self.connections.open() else {
            self.forget_address(address);
            return Err(CloseReason::Full);
        };
        self.pending += 1;
        let row = self.connections.at_mut(conn.index());
        row.heard_mono_s = seconds(now);
        row.address = address;
        if is_proxy && let Some(work) = self.work_mut(conn) {
            (work.behind_proxy, work.expects_proxy) = (Some(peer), speaks_first);
        }
        Ok(conn)
    }

    /// Takes a PROXY header from the front of `work.head`. False: it is not all there, or the connection is over.
    pub(super) fn take_proxy_header(&mut self, now: Now, conn: ConnKey) -> bool {
        let Some(work) = self.work_mut(conn) else { return false };
        let proxied = match read_proxy(&work.head) {
            Ok(Some(proxied)) => proxied,
            Ok(None) => return false,
            Err(_) => {
                self.give_up(conn, CloseReason::BadProxy);
                return false;
            }
        };
        work.head.drain(..proxied.len);
        work.expects_proxy = false;
        let client = proxied.client;
        self.heads_bytes -= proxied.len;
        let Some(client) = client else { return true };
        let Some(work) = self.work_mut(conn) else { return false };
        work.behind_proxy = Some(client);
        // Another proxy in front of that one may still name somebody else.
        if self.config.rules.proxies.trusted.contains(client) {
            return true;
        }
        self.charge_late(now, conn, client)
    }

    /// Counts whom a trusted proxy speaks for, once the whole head is there. False: one too many, it is told so.
    pub(super) fn count_client_behind(&mut self, now: Now, conn: ConnKey, forwarded_for: Option<&[u8]>) -> bool {
        let Some(named) = self.connections.row(conn).and_then(|row| row.work.as_ref()?.behind_proxy) else {
            return true;
        };
        let proxies = &self.config.rules.proxies;
        let client = proxies.client(named, forwarded_for.into_iter());
        // One that was named by a PROXY header and is no proxy itself was counted then; a proxy that names nobody is not
        // counted, or all that are behind it would be one.
        if client == named || proxies.trusted.contains(client) {
            return true;
        }
        self.charge_late(now, conn, client)
    }

    fn charge_late(&mut self, now: Now, conn: ConnKey, client: IpAddr) -> bool {
        match self.charge(now, client) {
            Ok(address) => {
                // Somebody else may be counted for it: the net it comes from was added to the trusted ones meanwhile.
                let before = self.connections.row_mut(conn).map(|row| std::mem::replace(&mut row.address, address));
                self.forget_address(before.unwrap_or(address));
                true
            }
            Err(reason) => {
                self.turn_away(now, conn, reason, reason.message());
                false
            }
        }
    }

    pub(super) fn forget_address(&mut self, address: AddressKey) {
        if address.is_counted() {
            self.addresses.leave(address);
        }
    }

    /// The only way from one stage to another, so that handshakes under way are counted rightly.
    pub(super) fn move_to(&mut self, conn: ConnKey, stage: Stage) {
        let Some(row) = self.connections.row_mut(conn) else { return };
        let before = std::mem::replace(&mut row.stage, stage);
        self.pending -= usize::from(before.is_pending() && !stage.is_pending());
    }

    /// Adds to the bytes a handshake holds; gives how many it had.
    pub(super) fn add_to_head(&mut self, conn: ConnKey, bytes: &[u8]) -> usize {
        let Some(work) = self.work_mut(conn) else { return 0 };
        let before = work.head.len();
        work.head.extend_from_slice(bytes);
        self.heads_bytes += bytes.len();
        before
    }

    pub(super) fn take_head(&mut self, conn: ConnKey) -> Vec<u8> {
        let work = self.connections.row_mut(conn).and_then(|row| row.work.as_mut());
        let head = work.map(|work| std::mem::take(&mut work.head)).unwrap_or_default();
        self.heads_bytes -= head.len();
        head
    }

    /// A handshake is not complete: false if all of them together hold more bytes than they may, and this one is told so.
    pub(super) fn heads_fit(&mut self, now: Now, conn: ConnKey) -> bool {
        let fits = self.heads_bytes <= self.limits().heads_bytes_max;
        if !fits {
            self.turn_away(now, conn, CloseReason::HandshakesFull, CloseReason::HandshakesFull.message());
        }
        fits
    }
}
