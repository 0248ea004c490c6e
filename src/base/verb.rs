//! What somebody may want to do in a room.

/// What somebody may want to do in a room.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verb {
    /// Sit in the room and hear what is said.
    Join,
    /// Say something; no seat needed.
    Publish,
    /// Ask who is there, and hear who comes and goes.
    Presence,
    /// Read what was said before.
    History,
}

impl Verb {
    pub const ALL: [Self; 4] = [Self::Join, Self::Publish, Self::Presence, Self::History];

    /// As written in a token's `can`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Publish => "publish",
            Self::Presence => "presence",
            Self::History => "history",
        }
    }

    /// The verb of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.name() == name)
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of verbs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Verbs(u8);

impl Verbs {
    /// All there are.
    pub fn all() -> Self {
        Verb::ALL.into_iter().fold(Self::default(), Self::with)
    }

    /// These and one more.
    #[must_use]
    pub fn with(self, verb: Verb) -> Self {
        Self(self.0 | verb.bit())
    }

    /// What is in either.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub fn has(self, verb: Verb) -> bool {
        self.0 & verb.bit() != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Verb> {
        Verb::ALL.into_iter().filter(move |verb| self.has(*verb))
    }
}
