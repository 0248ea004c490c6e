//! How many connections and handshakes come from one address: counters that share cells.
//!
//! Two rows of cells; an address has one cell in each, chosen by a keyed hash. What an address is charged is added to
//! both; what it has is read from the smaller. So an address is never counted too low, and too high only when *both* its
//! cells are shared with busy others: with A addresses at their limit that is (A / 16,384)².
//!
//! A handshake that comes to nothing (a bad token, no end in time, a late goodbye) is charged to its address a second time. Who is charged
//! with too many is not shut out, since others may sit behind the same address: whoever brings a good token comes in; but
//! who does not is told so shortly, and has less time (`patrol`).
//!
//! Promises: memory is fixed (640 KiB of address space a shard, touched by page as addresses come), so there is no table to
//! fill up and nothing to forget; who came is remembered by 4 bytes in its row. Must never know a time but the one it is
//! given.

use super::patrol::HASTE;
use super::{Shard, seconds};
use crate::base::{ConnKey, Limits, Now};
use crate::wire::CloseReason;
use core::net::IpAddr;

/// An address in 32 bits, by a key that nobody outside knows. 0 stands for nobody's.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct AddressKey(u32);

impl AddressKey {
    /// Whether somebody is counted under it.
    pub(crate) fn is_counted(self) -> bool {
        self.0 != 0
    }

    /// The cell in each row: by the lowest and by the highest of 32 well-mixed bits, which share none.
    fn cells(self) -> [usize; ROWS] {
        [self.0 as usize % CELLS, CELLS + (self.0 >> (32 - CELL_BITS)) as usize]
    }
}

#[derive(Debug)]
pub(crate) struct Addresses {
    connections: Vec<u32>,
    /// When the handshakes so far would all have come at the allowed rate, in microseconds of the monotonic clock.
    busy_until_us: Vec<u64>,
    /// Likewise for handshakes that came to nothing.
    failing_until_us: Vec<u64>,
    /// All that are counted now, whatever their address.
    counted: u64,
}

impl Default for Addresses {
    fn default() -> Self {
        // Zeroed by the kernel, page by page when touched.
        Self {
            connections: vec![0; ROWS * CELLS],
            busy_until_us: vec![0; ROWS * CELLS],
            failing_until_us: vec![0; ROWS * CELLS],
            counted: 0,
        }
    }
}

impl Addresses {
    /// Charges one handshake and one connection, or says which of them is one too many and charges nothing.
    fn enter(&mut self, now: Now, key: AddressKey, limits: &Limits, shards: u16) -> Result<(), CloseReason> {
        let (per_s, connections_max) = (
            u64::from(Limits::share(limits.handshakes_per_address_per_s, shards)),
            Limits::share(limits.connections_per_address_max, shards),
        );
        if connections_max > 0 && self.connections(key) >= connections_max {
            return Err(CloseReason::AddressFull);
        }
        if let Some(each_us) = SECOND_US.checked_div(per_s) {
            let now_us = now.mono_ms * 1_000;
            let begins = |busy_until_us: u64| busy_until_us.max(now_us);
            let ahead_us = self.smallest(key, |at| self.busy_until_us[at]).map_or(0, |it| begins(it) - now_us);
            if ahead_us + each_us > per_s * each_us {
                return Err(CloseReason::HandshakeRate);
            }
            for at in key.cells() {
                self.busy_until_us[at] = begins(self.busy_until_us[at]) + each_us;
            }
        }
        for at in key.cells() {
            self.connections[at] += 1;
        }
        self.counted += 1;
        Ok(())
    }

    /// One connection less.
    pub(crate) fn leave(&mut self, key: AddressKey) {
        for at in key.cells() {
            self.connections[at] -= 1;
        }
        self.counted -= 1;
    }

    /// Charges a handshake that came to nothing; what is charged is forgotten after two minutes at most.
    fn fail(&mut self, now: Now, key: AddressKey, per_minute: u32) {
        let Some(each_us) = MINUTE_US.checked_div(u64::from(per_minute)) else { return };
        let now_us = now.mono_ms * 1_000;
        for at in key.cells() {
            let until_us = &mut self.failing_until_us[at];
            *until_us = (now_us.max(*until_us) + each_us).min(now_us + 2 * MINUTE_US);
        }
    }

    /// Whether more than `per_minute` came to nothing within a minute (0: never too many).
    fn fails_too_often(&self, now: Now, key: AddressKey, per_minute: u32) -> bool {
        let now_us = now.mono_ms * 1_000;
        per_minute > 0 && self.smallest(key, |at| self.failing_until_us[at]).is_some_and(|it| it > now_us + MINUTE_US)
    }

    /// At least as many as there are.
    fn connections(&self, key: AddressKey) -> u32 {
        self.smallest(key, |at| self.connections[at]).unwrap_or(0)
    }

    fn smallest<T: Ord>(&self, key: AddressKey, of: impl Fn(usize) -> T) -> Option<T> {
        key.cells().into_iter().map(of).min()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.connections.len() * size_of::<u32>()
            + (self.busy_until_us.len() + self.failing_until_us.len()) * size_of::<u64>()
    }

    /// How many are counted now.
    pub(crate) fn total(&self) -> u64 {
        self.counted
    }
}

impl Shard {
    /// Counts somebody who wants in, unless its address is not counted at all.
    pub(super) fn charge(&mut self, now: Now, address: IpAddr) -> Result<AddressKey, CloseReason> {
        let limits = &self.config.rules.limits;
        if limits.uncounted.contains(address) {
            return Ok(AddressKey::default());
        }
        let hash = self.seed.mix(&crate::base::counted_as(address).to_le_bytes());
        let key = AddressKey((hash as u32).max(1));
        self.addresses.enter(now, key, limits, self.config.shards).map(|()| key)
    }

    /// A connection ends for `reason`: if that makes its handshake one that came to nothing, its address is charged.
    pub(super) fn charge_failure(&mut self, now: Now, conn: ConnKey, reason: CloseReason) {
        if reason.is_failed_handshake() {
            self.charge_handshake(now, conn);
        }
    }

    /// The peer goes by itself. Where that is a handshake under way which has held its place for longer than those may who
    /// fail too often, it is one that came to nothing: else whoever leaves just before the end of its time could hold
    /// places for ever.
    pub(super) fn charge_late_leaver(&mut self, now: Now, conn: ConnKey) {
        let Some(row) = self.connections.row(conn) else { return };
        let held_ms = u64::from(seconds(now).saturating_sub(row.heard_mono_s)) * 1_000;
        // Who has said hello waits for us.
        let has_come = row.work.as_ref().is_some_and(|work| work.greeted.is_some());
        if held_ms > self.limits().handshake_ms / HASTE && !has_come {
            self.charge_handshake(now, conn);
        }
    }

    /// The handshake came to nothing.
    pub(super) fn charge_handshake(&mut self, now: Now, conn: ConnKey) {
        let Some(row) = self.connections.row(conn) else { return };
        if row.stage.is_pending() && row.address.is_counted() {
            let per_minute = self.failures_max();
            self.addresses.fail(now, row.address, per_minute);
        }
    }

    /// Whether too many handshakes of the address of row `index` came to nothing.
    pub(super) fn fails_too_often(&self, now: Now, index: u32) -> bool {
        let address = self.connections.at(index).address;
        address.is_counted() && self.addresses.fails_too_often(now, address, self.failures_max())
    }

    fn failures_max(&self) -> u32 {
        Limits::share(self.limits().failures_per_address_per_minute, self.config.shards)
    }
}

const SECOND_US: u64 = 1_000_000;
const MINUTE_US: u64 = 60 * SECOND_US;
const ROWS: usize = 2;
const CELL_BITS: u32 = 14;
const CELLS: usize = 1 << CELL_BITS;

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: AddressKey = AddressKey(0x1234_5678);

    #[test]
    fn failures_are_charged_for_a_minute_and_forgiven_after_two_at_most() {
        let mut addresses = Addresses::default();
        for _ in 0..60 {
            assert!(!addresses.fails_too_often(at(0), KEY, 60));
            addresses.fail(at(0), KEY, 60);
        }
        assert!(!addresses.fails_too_often(at(0), KEY, 60), "as many as are allowed");
        addresses.fail(at(0), KEY, 60);
        assert!(addresses.fails_too_often(at(0), KEY, 60));
        assert!(!addresses.fails_too_often(at(0), AddressKey(99), 60), "somebody else");
        assert!(!addresses.fails_too_often(at(1_000), KEY, 60), "one more a second");
        for _ in 0..10_000 {
            addresses.fail(at(1_000), KEY, 60);
        }
        assert!(addresses.fails_too_often(at(60_999), KEY, 60));
        assert!(!addresses.fails_too_often(at(61_000), KEY, 60));
        assert!(!addresses.fails_too_often(at(0), KEY, 0), "not limited");
        addresses.fail(at(0), KEY, 0);
    }

    fn at(mono_ms: u64) -> Now {
        Now { mono_ms, unix_ms: 0 }
    }

    fn limits(connections: u32, per_s: u32) -> Limits {
        Limits { connections_per_address_max: connections, handshakes_per_address_per_s: per_s, ..Limits::default() }
    }

    #[test]
    fn a_rate_allows_a_second_at_once_and_then_one_each_its_time() {
        let (mut addresses, limits) = (Addresses::default(), limits(0, 50));
        let mut enter = |ms| addresses.enter(at(ms), KEY, &limits, 1);
        assert!((0..50).all(|_| enter(1_000).is_ok()));
        assert_eq!(enter(1_000), Err(CloseReason::HandshakeRate));
        assert_eq!(enter(1_019), Err(CloseReason::HandshakeRate), "a refusal costs nothing, and gains nothing");
        assert_eq!(enter(1_020), Ok(()));
        assert_eq!(enter(1_020), Err(CloseReason::HandshakeRate));
        assert!((0..50).all(|_| enter(60_000).is_ok()), "what was not used is not saved up beyond a second");
        assert!(enter(60_000).is_err());
    }

    #[test]
    fn places_are_given_back_and_a_refusal_takes_none() {
        let (mut addresses, limits) = (Addresses::default(), limits(2, 0));
        assert!(addresses.enter(at(0), KEY, &limits, 1).is_ok() && addresses.enter(at(0), KEY, &limits, 1).is_ok());
        assert_eq!(addresses.enter(at(0), KEY, &limits, 1), Err(CloseReason::AddressFull));
        assert!(addresses.enter(at(0), AddressKey(99), &limits, 1).is_ok(), "somebody else");
        assert_eq!(addresses.total(), 3);
        for row in addresses.connections.chunks(CELLS) {
            assert_eq!(row.iter().sum::<u32>(), 3, "everybody is in one cell of each row");
        }
        addresses.leave(KEY);
        assert_eq!(addresses.total(), 2);
        assert!(addresses.enter(at(0), KEY, &limits, 1).is_ok());
        assert!(addresses.enter(at(0), KEY, &limits, 1).is_err());
    }

    #[test]
    fn zero_is_no_limit() {
        let (mut addresses, limits) = (Addresses::default(), limits(0, 0));
        assert!((0..5_000).all(|_| addresses.enter(at(0), KEY, &limits, 4).is_ok()));
    }

    #[test]
    fn who_shares_one_cell_with_the_busy_is_not_refused() {
        let (mut addresses, limits) = (Addresses::default(), limits(2, 1));
        let same_first = AddressKey(KEY.0 ^ 1 << 31);
        assert_eq!(KEY.cells()[0], same_first.cells()[0]);
        assert_ne!(KEY.cells()[1], same_first.cells()[1]);
        assert!(addresses.enter(at(0), KEY, &limits, 1).is_ok());
        assert!(addresses.enter(at(0), KEY, &limits, 1).is_err());
        assert!(addresses.enter(at(0), same_first, &limits, 1).is_ok());
    }
}
