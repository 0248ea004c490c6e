//! What a room tells of the people in it: the settings of its class that concern presence, typing and receipts.

/// Who hears what of those who come and go.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub enum Presence {
    /// Nothing is kept: `presence` is refused.
    Off,
    /// Who is here for those who ask; those who watch are told only how many, at most once per tick.
    Counted,
    /// Who comes and goes, by name, merged per tick, for those who watch.
    #[default]
    Announced,
}

impl Presence {
    pub const ALL: [Self; 3] = [Self::Off, Self::Counted, Self::Announced];

    /// The word on the wire and in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Counted => "counted",
            Self::Announced => "announced",
        }
    }

    /// The mode of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

/// What holds in one room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeopleRules {
    pub presence: Presence,
    /// How long a user whose last connection was lost (not one who left) counts as away before they count as gone.
    /// 0: at once.
    pub leave_delay_ms: u64,
    /// How long a `typing` holds if it is not said again; 0: the room has no typing.
    pub typing_ms: u64,
    /// Whether the room keeps how far its people have read.
    pub receipts: bool,
}

impl Default for PeopleRules {
    fn default() -> Self {
        Self { presence: Presence::Announced, leave_delay_ms: 0, typing_ms: 5_000, receipts: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_found_by_its_name() {
        for mode in Presence::ALL {
            assert_eq!(Presence::parse(mode.name()), Some(mode));
        }
        assert_eq!(Presence::parse("on"), None);
    }
}
