//! Tokens, signed once for all worlds.

use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};
use throng::base::Limits;
use throng::shard::Rules;
use throng::wire::token::sign_hs256;
use throng::wire::{Claims, Grants, TokenVerifier};

/// The wall clock of every world begins here.
pub(crate) const START_UNIX_S: u64 = 1_800_000_000;
/// When a short token ends, leeway not counted.
pub(crate) const SHORT_S: u64 = 3;
/// Nobody may do anything here.
pub(crate) const FORBIDDEN_ROOM: &str = "secret";
const USERS: usize = 8;

pub(crate) struct Tokens {
    verifier: Arc<TokenVerifier>,
    default_grants: Grants,
    long: Vec<String>,
    short: Vec<String>,
    narrow: Vec<String>,
    pub(crate) expired: String,
    pub(crate) forged: String,
}

impl Tokens {
    pub(crate) fn shared() -> &'static Self {
        static TOKENS: OnceLock<Tokens> = OnceLock::new();
        TOKENS.get_or_init(Self::sign)
    }

    pub(crate) fn of(&self, user: usize, short: bool) -> &str {
        if short { &self.short[user] } else { &self.long[user] }
    }

    /// One that lost most of its grants: everything in the first room, all but the log in the second.
    pub(crate) fn narrow(&self, user: usize) -> &str {
        &self.narrow[user]
    }

    /// Rules by which these tokens are good.
    pub(crate) fn rules(&self, limits: Limits) -> Rules {
        Rules::new(limits, Arc::clone(&self.verifier), self.default_grants.clone())
    }

    fn sign() -> Self {
        let secret = b"the-simulation-keeps-no-secrets-at-all";
        let token = |user: usize, exp: u64, secret: &[u8]| {
            let (name, info, rooms) = (name(user), info(user), rooms(user));
            let claims = Claims { sub: &name, exp, info: info.as_ref(), rooms: rooms.as_ref() };
            sign_hs256(secret, &claims).expect("claims are plain values")
        };
        let narrow = |user: usize| {
            let rooms = json!([
                { "match": "r:0", "can": ["join", "publish", "presence", "history"] },
                { "match": "r:1", "can": ["join", "publish", "presence"] },
            ]);
            let (name, info) = (name(user), info(user));
            let claims = Claims { sub: &name, exp: START_UNIX_S + 1_000_000, info: info.as_ref(), rooms: Some(&rooms) };
            sign_hs256(secret, &claims).expect("claims are plain values")
        };
        let all = |exp| (0..USERS).map(|user| token(user, exp, secret)).collect();
        Self {
            verifier: Arc::new(TokenVerifier::hs256(secret, &Limits::default())),
            default_grants: Grants::from_claim(&everything_in("r:*")).expect("a claim written here"),
            long: all(START_UNIX_S + 1_000_000),
            short: all(START_UNIX_S + SHORT_S),
            narrow: (0..USERS).map(narrow).collect(),
            expired: token(0, START_UNIX_S - 100, secret),
            forged: token(0, START_UNIX_S + 1_000_000, b"another-secret-of-somebody-else-entirely"),
        }
    }
}

pub(crate) fn name(user: usize) -> String {
    format!("user-{user}")
}

fn info(user: usize) -> Option<Value> {
    user.is_multiple_of(2).then(|| json!({ "name": format!("User {user}") }))
}

/// Every third user has grants of the default, the others some of their own: some alike, some not.
fn rooms(user: usize) -> Option<Value> {
    match user % 3 {
        0 => None,
        1 => Some(everything_in("r:*")),
        _ => {
            let mut rooms = everything_in("r:*");
            let own = json!({ "match": format!("own:{user}"), "can": ["join"] });
            rooms.as_array_mut().expect("a claim is an array").push(own);
            Some(rooms)
        }
    }
}

fn everything_in(pattern: &str) -> Value {
    json!([{ "match": pattern, "can": ["join", "publish", "presence", "history"] }])
}
