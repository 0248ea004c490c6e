//! One-time tickets: a stand-in for a token that may be seen by others, since it is good once and not for long.
//!
//! A ticket names the shard that made it; only there it is known, so it is used once however many shards hear of it. Whoever
//! presents it elsewhere waits parked, with its request, while two letters go.
//!
//! ```text
//!  API ─► any shard: make_ticket ─► text          GET /ws?ticket=… ─► Redeem ─► the shard that made it
//!                                                  session, or 4003  ◄─ Redeemed ◄─┘ taken out
//! ```
//!
//! Promises: bounded in number and age; nobody can make one up (128 bits under a key that nothing else is drawn from:
//! the shard's own numbers are told to everybody as epochs); what is looked up is used up, whatever becomes of the
//! connection. A request that is refused before (its origin, no place, a token beside the ticket) looks nothing up.

use std::collections::VecDeque;

use super::{Count, Mail, Shard};
use crate::base::{ConnKey, Now, Seed, SeededMap, ShardId};
use crate::wire::Verified;

/// A ticket as it travels: which shard made it, and a code only that shard knows.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TicketCode {
    shard: ShardId,
    code: u128,
}

impl TicketCode {
    /// Four and thirty-two lower-case hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        let lower_hex = text.len() == 36 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let (shard, code) = text.split_at_checked(4).filter(|_| lower_hex)?;
        let shard = ShardId(u16::from_str_radix(shard, 16).ok()?);
        Some(Self { shard, code: u128::from_str_radix(code, 16).ok()? })
    }
}

impl std::fmt::Display for TicketCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04x}{:032x}", self.shard.0, self.code)
    }
}

/// A ticket is as good as a token for as long as it lives: it is not shown.
impl std::fmt::Debug for TicketCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TicketCode({:?})", self.shard)
    }
}

#[derive(Debug)]
struct Ticket {
    verified: Box<Verified>,
    until_mono_ms: u64,
}

/// The tickets one shard has made and nobody has used.
#[derive(Debug)]
pub(super) struct Tickets {
    by_code: SeededMap<u128, Ticket>,
    /// In the order they were made, which is the order they grow too old in. Used ones stand here until then.
    made: VecDeque<(u64, u128)>,
    codes: Seed,
}

impl Tickets {
    pub(super) fn new(seed: &Seed) -> Self {
        Self { by_code: SeededMap::with_hasher(seed.state()), made: VecDeque::new(), codes: seed.derive("tickets") }
    }

    /// Without what names and grants in them take.
    pub(super) fn bytes(&self) -> usize {
        let each = size_of::<(u128, Ticket)>() + size_of::<Verified>();
        self.by_code.len() * each + self.made.capacity() * size_of::<(u64, u128)>()
    }

    fn draw(&mut self) -> u128 {
        u128::from(self.codes.draw()) << 64 | u128::from(self.codes.draw())
    }

    fn forget_old(&mut self, now: Now) {
        while let Some((_, code)) = self.made.front().filter(|(until_mono_ms, _)| *until_mono_ms <= now.mono_ms) {
            self.by_code.remove(code);
            self.made.pop_front();
        }
    }
}

impl Shard {
    /// Makes a ticket for somebody whom the caller vouches for, good once within `Limits::ticket_ms`. The session lasts
    /// until `verified` ends, like a token's. `None`: there are `Limits::tickets_max` already; ask another shard or later.
    pub fn make_ticket(&mut self, now: Now, verified: Verified) -> Option<TicketCode> {
        self.tickets.forget_old(now);
        // Used ones count until they are old: the list of their codes is bounded too.
        if self.tickets.made.len() >= self.limits().tickets_max {
            self.counters.add(Count::TicketsFull, 1);
            return None;
        }
        let code = self.tickets.draw();
        let until_mono_ms = now.mono_ms + self.limits().ticket_ms;
        self.tickets.by_code.insert(code, Ticket { verified: Box::new(verified), until_mono_ms });
        self.tickets.made.push_back((until_mono_ms, code));
        Some(TicketCode { shard: self.config.id, code })
    }

    /// Whether the shard that made it exists and can be asked; the answer comes by letter.
    pub(super) fn ask_redeem(&mut self, conn: ConnKey, ticket: TicketCode) -> Asking {
        if ticket.shard.0 >= self.config.shards {
            return Asking::Nobody;
        }
        if !self.has_room_for(ticket.shard) {
            return Asking::Busy;
        }
        self.post(ticket.shard, Mail::Redeem { conn, ticket });
        Asking::Asked
    }

    /// At the shard that made it.
    pub(super) fn on_redeem(&mut self, now: Now, from: ShardId, conn: ConnKey, ticket: TicketCode) {
        let found = self.tickets.by_code.remove(&ticket.code).filter(|found| now.mono_ms < found.until_mono_ms);
        self.post(from, Mail::Redeemed { conn, verified: found.map(|found| found.verified) });
    }

    /// Once a tick.
    pub(super) fn forget_old_tickets(&mut self, now: Now) {
        self.tickets.forget_old(now);
    }
}

/// What came of asking.
pub(super) enum Asking {
    Asked,
    /// No shard of that number: nobody ever made this.
    Nobody,
    /// The inbox is full; the ticket is as good as before.
    Busy,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_survives_the_url_and_nothing_else_parses() {
        let ticket = TicketCode { shard: ShardId(0x2f), code: 0xabc };
        assert_eq!(TicketCode::parse(&ticket.to_string()), Some(ticket));
        assert!(!format!("{ticket:?}").contains("abc"));
        let good = ticket.to_string();
        for bad in ["", "0", &good[1..], &format!("{good}0"), &good.to_uppercase(), &good.replace('2', "+")] {
            assert_eq!(TicketCode::parse(bad), None, "{bad}");
        }
    }
}
