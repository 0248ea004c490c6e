//! Tokens: what each says, and how it is signed.

use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};
use throng::base::{Limits, RoomClass};
use throng::shard::{Revocation, Rules};
use throng::wire::token::{Algorithm, sign_hmac};
use throng::wire::{Compression, Grants, TokenVerifier, Verb};

use crate::client::{EVERYBODY, is_inbox};
use crate::dice::Dice;
use crate::fleeting;

/// The wall clock of every world begins here.
pub(crate) const START_UNIX_S: u64 = 1_800_000_000;
/// How long a short token is good, leeway not counted.
pub(crate) const SHORT_S: u64 = 3;
/// Nobody may do anything here.
pub(crate) const FORBIDDEN_ROOM: &str = "secret";
/// The number of that room.
pub(crate) const FORBIDDEN: usize = 99;
const LONG_S: u64 = 1_000_000;
const SECRET: &[u8] = b"the-simulation-keeps-no-secrets-at-all";
const ANOTHER: &[u8] = b"another-secret-of-somebody-else-entirely";

/// In which rooms somebody may do what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reach {
    /// Everything in every room but the forbidden one.
    All,
    /// Everything in these rooms, one bit each; without `presence` nobody is told who is there.
    Some { rooms: u8, presence: bool },
}

impl Reach {
    pub(crate) fn draw(dice: &mut Dice) -> Self {
        match dice.below(4) {
            0 => Self::All,
            // Three at most: a token is no longer than a message may be.
            _ => {
                let rooms = (0..3).fold(0, |rooms, _| rooms | 1 << dice.below(8));
                Self::Some { rooms, presence: dice.chance(700) }
            }
        }
    }

    pub(crate) fn allows(self, verb: Verb, room: usize) -> bool {
        if is_inbox(room) {
            // Its owner may always read it, and nobody else tries to; writing to somebody needs a grant that says so.
            return match verb {
                Verb::Join | Verb::History => true,
                Verb::Publish => self == Self::All,
                Verb::Presence => false,
            };
        }
        if room == EVERYBODY {
            return verb == Verb::Join && self == Self::All;
        }
        match self {
            Self::All => room != FORBIDDEN,
            Self::Some { rooms, presence } => {
                room < 8 && rooms >> room & 1 == 1 && (presence || verb != Verb::Presence)
            }
        }
    }

    /// As the `rooms` claim, and as default grants.
    pub(crate) fn claim(self) -> Value {
        let everything = ["join", "publish", "presence", "history"];
        match self {
            Self::All => json!([
                { "match": "r:*", "can": everything },
                { "match": "@*", "can": ["publish"] },
                { "match": "@all", "can": ["join"] },
            ]),
            Self::Some { rooms, presence } => {
                let can = if presence { &everything[..] } else { &["join", "publish", "history"] };
                let rooms = (0..8).filter(|room| rooms >> room & 1 == 1);
                rooms.map(|room| json!({ "match": format!("r:{room}"), "can": can })).collect()
            }
        }
    }

    pub(crate) fn grants(self) -> Grants {
        Grants::from_claim(&self.claim()).expect("a claim written here")
    }
}

/// What a token says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Paper {
    pub(crate) user: usize,
    /// `None`: the server's default.
    pub(crate) reach: Option<Reach>,
    pub(crate) ends_unix_s: u64,
    /// It ends while the world goes on.
    pub(crate) short: bool,
    pub(crate) issued_unix_s: Option<u64>,
    pub(crate) jti: Option<u64>,
}

impl Paper {
    /// One that is good for as long as any world lasts. Every third user has the default's reach, the others their own.
    pub(crate) fn plain(user: usize) -> Self {
        let reach = (!user.is_multiple_of(3)).then_some(Reach::All);
        let ends_unix_s = START_UNIX_S + LONG_S;
        Self { user, reach, ends_unix_s, short: false, issued_unix_s: None, jti: None }
    }

    /// One that somebody gets at this second.
    pub(crate) fn draw(user: usize, short: bool, unix_s: u64, dice: &mut Dice) -> Self {
        Self {
            ends_unix_s: unix_s + if short { SHORT_S } else { LONG_S },
            short,
            issued_unix_s: dice.chance(900).then_some(unix_s),
            // A few names for each user, so that one of them is found again.
            jti: dice.chance(500).then(|| (user * 4 + dice.below(4)) as u64),
            ..Self::plain(user)
        }
    }

    pub(crate) fn signed(&self) -> String {
        self.signed_with(SECRET)
    }

    /// By a key that the server does not know.
    pub(crate) fn forged(&self) -> String {
        self.signed_with(ANOTHER)
    }

    /// Whether this revocation names it.
    pub(crate) fn is_named_by(&self, revocation: &Revocation) -> bool {
        let issued_unix_s = self.issued_unix_s.unwrap_or(0);
        match revocation {
            Revocation::Token { jti } => self.jti.is_some_and(|own| jti_of(own) == **jti),
            Revocation::User { user, issued_before_unix_s } => {
                **user == name(self.user) && issued_unix_s < *issued_before_unix_s
            }
            Revocation::Issued { before_unix_s } => issued_unix_s < *before_unix_s,
        }
    }

    fn signed_with(&self, secret: &[u8]) -> String {
        let mut claims = json!({ "sub": name(self.user), "exp": self.ends_unix_s });
        if self.user.is_multiple_of(2) {
            claims["info"] = json!({ "name": format!("User {}", self.user) });
        }
        if let Some(reach) = self.reach {
            claims["rooms"] = reach.claim();
            if self.user % 3 == 2 && reach == Reach::All {
                // Some alike, some not.
                let own = json!({ "match": format!("own:{}", self.user), "can": ["join"] });
                claims["rooms"].as_array_mut().expect("a claim is an array").push(own);
            }
        }
        if let Some(issued_unix_s) = self.issued_unix_s {
            claims["iat"] = issued_unix_s.into();
        }
        if let Some(jti) = self.jti {
            claims["jti"] = jti_of(jti).into();
        }
        sign_hmac(Algorithm::Hs256, None, secret, &claims).expect("claims are plain values")
    }
}

/// Rules by which these tokens are good.
pub(crate) fn rules(limits: Limits, class: &RoomClass, default: Reach) -> Rules {
    static VERIFIER: OnceLock<Arc<TokenVerifier>> = OnceLock::new();
    let verifier = VERIFIER.get_or_init(|| Arc::new(TokenVerifier::hs256(SECRET, &Limits::default())));
    let classes = fleeting::classes(&limits, class);
    // So little that what people say here is deflated.
    let compression = Compression { bytes_above: 120, ..Compression::default() };
    Rules { classes, compression, ..Rules::new(limits, Arc::clone(verifier), default.grants()) }
}

/// A token that ended before any world began.
pub(crate) fn expired() -> String {
    Paper { ends_unix_s: START_UNIX_S - 100, ..Paper::plain(0) }.signed()
}

pub(crate) fn name(user: usize) -> String {
    format!("user-{user}")
}

pub(crate) fn jti_of(jti: u64) -> String {
    format!("token-{jti}")
}
