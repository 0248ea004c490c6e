//! A seat: who sits in a room of this shard, and what it is owed, in eight bytes.

use crate::base::{Encoding, Form};

/// One reader in one room: 8 bytes.
///
/// `taken`: how many of the messages after its base (the mark, or the mark a running sweep will leave) it is not
/// owed, because it has them or joined after them. While it waits for its seat: the ticket of the join.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seat {
    pub(crate) conn: u32,
    bits: u32,
}

const _: () = assert!(size_of::<Seat>() == 8, "a seat costs 8 bytes");

impl Seat {
    const JSON: u32 = 1 << 31;
    const JOINING: u32 = 1 << 30;
    const BEHIND: u32 = 1 << 29;
    const WATCHES: u32 = 1 << 28;
    const SKIPS: u32 = 1 << 27;
    const MISSED: u32 = 1 << 26;
    const DEFLATES: u32 = 1 << 25;
    /// Eight bits by which the seats of one user are found among many.
    const TAG_AT: u32 = 17;
    const TAG: u32 = 0xff << Self::TAG_AT;
    pub(crate) const TAKEN_MAX: u32 = (1 << Self::TAG_AT) - 1;

    pub(super) fn joining(conn: u32, form: Form, watches: bool, ticket: u16) -> Self {
        let mut seat = Self { conn, bits: u32::from(ticket) | Self::JOINING };
        seat.flag(Self::JSON, form.encoding == Encoding::Json);
        seat.flag(Self::DEFLATES, form.deflated);
        seat.flag(Self::WATCHES, watches);
        seat
    }

    pub(crate) fn encoding(self) -> Encoding {
        if self.bits & Self::JSON != 0 { Encoding::Json } else { Encoding::MessagePack }
    }

    /// How it is written to.
    pub(crate) fn form(self) -> Form {
        Form { encoding: self.encoding(), deflated: self.bits & Self::DEFLATES != 0 }
    }

    pub(crate) fn is_joining(self) -> bool {
        self.bits & Self::JOINING != 0
    }

    pub(crate) fn is_behind(self) -> bool {
        self.bits & Self::BEHIND != 0
    }

    pub(crate) fn is_live(self) -> bool {
        self.bits & (Self::JOINING | Self::BEHIND) == 0
    }

    pub(crate) fn watches(self) -> bool {
        self.bits & Self::WATCHES != 0
    }

    /// Something about the people was left out, and it has not been told so.
    pub(crate) fn has_missed(self) -> bool {
        self.bits & Self::MISSED != 0
    }

    pub(crate) fn set_missed(&mut self, on: bool) {
        self.flag(Self::MISSED, on);
    }

    /// Some of the pending messages are its own and not for it.
    pub(crate) fn skips(self) -> bool {
        self.bits & Self::SKIPS != 0
    }

    pub(crate) fn set_behind(&mut self) {
        self.bits = self.bits & !(Self::JOINING | Self::SKIPS | Self::TAKEN_MAX) | Self::BEHIND;
    }

    pub(crate) fn set_live(&mut self, taken: u32) {
        self.bits &= !(Self::JOINING | Self::BEHIND);
        self.set_taken(taken);
    }

    pub(crate) fn set_skips(&mut self, on: bool) {
        self.flag(Self::SKIPS, on);
    }

    pub(crate) fn taken(self) -> u32 {
        self.bits & Self::TAKEN_MAX
    }

    pub(crate) fn set_taken(&mut self, taken: u32) {
        debug_assert!(taken <= Self::TAKEN_MAX);
        self.bits = self.bits & !Self::TAKEN_MAX | taken;
    }

    pub(crate) fn ticket(self) -> u16 {
        self.bits as u16
    }

    /// Equal for all seats of one user, and for one in 256 of others'.
    pub(crate) fn tag(self) -> u8 {
        (self.bits >> Self::TAG_AT) as u8
    }

    pub(crate) fn set_tag(&mut self, tag: u8) {
        self.bits = self.bits & !Self::TAG | u32::from(tag) << Self::TAG_AT;
    }

    pub(crate) fn stop_watching(&mut self) {
        self.flag(Self::WATCHES, false);
    }

    fn flag(&mut self, flag: u32, on: bool) {
        self.bits = if on { self.bits | flag } else { self.bits & !flag };
    }
}

const _: () = assert!(Seat::TAG & (Seat::DEFLATES | Seat::TAKEN_MAX) == 0, "no bit means two things");
const _: () = assert!(Seat::TAKEN_MAX > u16::MAX as u32, "a seat may be as far ahead as messages may be pending");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_keeps_its_tag_and_its_form_whatever_becomes_of_it() {
        let form = Form { encoding: Encoding::Json, deflated: true };
        let mut seat = Seat::joining(7, form, true, u16::MAX);
        seat.set_tag(0xa5);
        assert_eq!((seat.ticket(), seat.tag(), seat.is_joining()), (u16::MAX, 0xa5, true));
        seat.set_live(Seat::TAKEN_MAX);
        seat.set_behind();
        assert_eq!((seat.taken(), seat.tag(), seat.form(), seat.watches()), (0, 0xa5, form, true));
        seat.set_live(3);
        seat.set_tag(0x5a);
        assert_eq!((seat.taken(), seat.tag(), seat.is_live()), (3, 0x5a, true));
    }
}
