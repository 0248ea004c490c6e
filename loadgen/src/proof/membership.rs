//! What one member of one room remembers of what it heard: 32 bytes.

use crate::mix::placed_name;

/// How a message stands to those before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Seen {
    InOrder,
    /// Surely heard before. Not counted again.
    Duplicated,
    /// Behind a later one, or its publisher's messages in the wrong order. Counted as heard.
    Misordered,
    /// So far behind a later one that nobody remembers whether it was heard: late, or a copy. Counted as heard.
    LateOrCopy,
}

/// One seat's proof.
///
/// Invariant: bit `i` of `window` is set exactly if offset `newest - i` was heard.
#[derive(Clone, Debug, Default)]
pub(crate) struct Membership {
    /// Newest offset heard, counted from the room's base; 0 is none.
    newest: u32,
    heard: u32,
    /// Sum of the names of the messages heard.
    names: u64,
    /// Sum of the names with their offsets.
    places: u64,
    window: u32,
    /// The next sequence number of the publisher this member is the witness of; all ones: the seat is cut.
    witness: u32,
}

const _: () = assert!(size_of::<Membership>() == 32);
const CUT: u32 = u32::MAX;

impl Membership {
    /// `offset` counts from the room's base and is not 0; `witnessed` is the sequence number if this member
    /// watches over the publisher's order.
    pub(crate) fn receive(&mut self, offset: u32, name: u64, witnessed: Option<u32>) -> Seen {
        let in_order = offset > self.newest;
        let mut remembered = true;
        if in_order {
            self.window = self.window.checked_shl(offset - self.newest).unwrap_or(0) | 1;
            self.newest = offset;
        } else {
            let age = self.newest - offset;
            let bit = 1_u32.checked_shl(age).unwrap_or(0);
            if self.window & bit != 0 {
                return Seen::Duplicated;
            }
            self.window |= bit;
            remembered = bit != 0;
        }
        self.heard += 1;
        self.names = self.names.wrapping_add(name);
        self.places = self.places.wrapping_add(placed_name(offset, name));
        let mut publisher_in_order = true;
        if let Some(seq) = witnessed.filter(|_| self.witness != CUT) {
            publisher_in_order = seq >= self.witness;
            self.witness = self.witness.max(seq.saturating_add(1));
        }
        match (in_order && publisher_in_order, remembered) {
            (true, _) => Seen::InOrder,
            (false, true) => Seen::Misordered,
            (false, false) => Seen::LateOrCopy,
        }
    }

    pub(crate) fn cut(&mut self) {
        self.witness = CUT;
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.witness == CUT
    }

    /// Forgets the phase, but not the publisher's sequence, which goes on.
    pub(crate) fn next_phase(&mut self) {
        *self = Self { witness: self.witness, ..Self::default() };
    }

    pub(crate) fn newest(&self) -> u32 {
        self.newest
    }

    pub(crate) fn heard(&self) -> u32 {
        self.heard
    }

    pub(crate) fn names(&self) -> u64 {
        self.names
    }

    pub(crate) fn places(&self) -> u64 {
        self.places
    }
}
