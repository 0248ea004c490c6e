//! What a token allows: the `rooms` claim, parsed.
//!
//! Promises: bounded (at most [`Grants::PATTERNS_MAX`] patterns), equal sets compare and hash equal whatever order they
//! were written in, `{user}` stands for exactly the token's user. It must never grant by accident: what it does not
//! understand it refuses, in a sentence.

use std::sync::Arc;

use serde_json::Value;

use crate::base::{RoomName, pattern};
pub use crate::base::{Verb, Verbs};

/// A set of grants. A clone is a pointer. It holds patterns, not people: everybody whose token says the same has an equal
/// set, so that one copy serves them all.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Grants(Arc<[Grant]>);

/// Sorted by pattern, no pattern twice, no empty `can`: this is what makes equal sets equal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Grant {
    pattern: Box<str>,
    can: Verbs,
}

impl Grants {
    /// Patterns one token may carry.
    pub const PATTERNS_MAX: usize = 64;
    /// Bytes of one pattern, the same as of a room name.
    pub const PATTERN_BYTES_MAX: usize = pattern::BYTES_MAX;

    /// Every verb in every room, and a word to every user.
    pub fn everything() -> Self {
        let to_inboxes = Grant { pattern: "@*".into(), can: Verbs::default().with(Verb::Publish) };
        Self(Arc::from([Grant { pattern: "*".into(), can: Verbs::all() }, to_inboxes]))
    }

    /// No verb in any room.
    pub fn nothing() -> Self {
        Self(Arc::from([]))
    }

    /// Reads the `rooms` claim. The error says what a person has to mend; it repeats nothing of the token.
    pub fn from_claim(claim: &Value) -> Result<Self, &'static str> {
        let entries = claim.as_array().ok_or(r#"must be an array of {"match", "can"}"#)?;
        if entries.len() > Self::PATTERNS_MAX {
            return Err("holds more than 64 patterns; use prefixes such as chat:*");
        }
        let mut grants = entries.iter().map(Grant::from_claim).collect::<Result<Vec<_>, _>>()?;
        grants.sort_unstable();
        grants.dedup_by(|later, kept| {
            let same = later.pattern == kept.pattern;
            if same {
                kept.can = kept.can.or(later.can);
            }
            same
        });
        Ok(Self(grants.into()))
    }

    /// May `user`, the token's own, do `verb` in `room`? Its own inbox it may always read, and write to: no pattern is
    /// needed. Another user's only by a pattern that begins with `@`: who wrote `*` meant rooms, not letters.
    pub fn allows(&self, verb: Verb, room: &str, user: &str) -> bool {
        if is_inbox_of(room, user) && verb != Verb::Presence {
            return true;
        }
        let meant = |pattern: &str| match room.strip_prefix('@') {
            // What the backend says to everybody is not said by whoever may write to users, nor by whoever is called so.
            Some(EVERYBODY) => match pattern.strip_prefix('@') {
                Some(user) => user == EVERYBODY || verb != Verb::Publish,
                None => !pattern.starts_with("{user}"),
            },
            Some(_) => pattern.starts_with('@'),
            None => true,
        };
        let allows = |grant: &Grant| grant.can.has(verb) && pattern::matches(&grant.pattern, room, user);
        self.0.iter().any(|grant| meant(&grant.pattern) && allows(grant))
    }

    /// What the patterns take on the heap, once for all who share this set.
    pub fn bytes(&self) -> usize {
        let counts = 2 * size_of::<usize>();
        counts + self.0.iter().map(|grant| size_of::<Grant>() + grant.pattern.len()).sum::<usize>()
    }

    /// Patterns with what each allows, for people to read.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Vec<Verb>)> {
        self.0.iter().map(|grant| (&*grant.pattern, grant.can.iter().collect()))
    }
}

impl Grant {
    fn from_claim(entry: &Value) -> Result<Self, &'static str> {
        let fields = entry.as_object().ok_or(r#"must hold objects {"match", "can"}"#)?;
        if fields.keys().any(|key| key != "match" && key != "can") {
            // A field that narrows a grant and is not understood would widen it.
            return Err("has a field besides `match` and `can`");
        }
        let pattern = fields.get("match").and_then(Value::as_str).ok_or("needs `match`, a string")?;
        pattern::check(pattern)?;
        let verbs = fields.get("can").and_then(Value::as_array).ok_or("needs `can`, an array")?;
        let mut can = Verbs::default();
        for verb in verbs {
            let verb = verb.as_str().and_then(Verb::parse);
            can = can.with(verb.ok_or("`can` lists join, publish, presence, history and nothing else")?);
        }
        if can.is_empty() {
            return Err("`can` must name at least one of join, publish, presence, history");
        }
        Ok(Self { pattern: pattern.into(), can })
    }
}

/// The room that holds what is for this user alone; `None`: its name has bytes that no room name has, or it is that of
/// the room for everybody.
pub fn inbox_of(user: &str) -> Option<String> {
    let inbox = format!("@{user}");
    (user != EVERYBODY && RoomName::check(&inbox).is_ok()).then_some(inbox)
}

/// Whether this room is this user's inbox.
pub fn is_inbox_of(room: &str, user: &str) -> bool {
    room.strip_prefix('@') == Some(user) && user != EVERYBODY
}

/// `@all` is no user's inbox.
const EVERYBODY: &str = "all";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(pattern: &str) -> Grants {
        Grants::from_claim(&json!([{"match": pattern, "can": ["join"]}])).unwrap()
    }

    #[test]
    fn a_pattern_matches_what_it_says_and_nothing_beside_it() {
        let cases = [
            ("lobby", "lobby", true),
            ("lobby", "lobby2", false),
            ("lobby", "lobb", false),
            ("chat:*", "chat:", true),
            ("chat:*", "chat:a:b", true),
            ("chat:*", "chat", false),
            ("chat:*", "xchat:a", false),
            ("*", "anything/at@all", true),
            ("@{user}", "@ann", true),
            ("@{user}", "@annabel", false),
            ("@{user}", "@bob", false),
            ("{user}", "ann", true),
            ("dm:{user}:*", "dm:ann:bob", true),
            ("dm:{user}:*", "dm:annabel:bob", false),
            ("dm:{user}:*", "dm:bob:ann", false),
            ("{user}/{user}.x", "ann/ann.x", true),
            ("{user}/{user}.x", "ann/bob.x", false),
        ];
        for (pattern, room, expected) in cases {
            assert_eq!(one(pattern).allows(Verb::Join, room, "ann"), expected, "{pattern} on {room}");
        }
    }

    #[test]
    fn a_user_full_of_pattern_characters_is_still_only_a_name() {
        assert!(!one("@{user}").allows(Verb::Join, "@bob", "*"));
        assert!(!one("@{user}").allows(Verb::Join, "@ann", "{user}"));
        assert!(!one("@{user}").allows(Verb::Join, "@", "ann"));
    }

    #[test]
    fn an_inbox_is_its_owners_and_others_need_a_pattern_that_means_it() {
        let rooms_only = Grants::from_claim(&json!([{"match": "*", "can": ["join", "publish", "history"]}])).unwrap();
        let letters = Grants::from_claim(&json!([{"match": "@*", "can": ["publish"]}])).unwrap();
        let none = Grants::nothing();
        for verb in [Verb::Join, Verb::History, Verb::Publish] {
            assert!(none.allows(verb, "@ann", "ann"), "her own");
            assert!(!rooms_only.allows(verb, "@ann", "bob"), "whoever may {verb:?} anywhere is not let into letters");
        }
        assert!(letters.allows(Verb::Publish, "@ann", "bob") && !letters.allows(Verb::Join, "@ann", "bob"));
        assert!(Grants::everything().allows(Verb::Publish, "@ann", "bob"));
        assert!(!Grants::everything().allows(Verb::Join, "@ann", "bob"));
        // A name that looks like an inbox opens none, and nobody's name is everybody.
        assert!(!one("{user}").allows(Verb::Join, "@ann", "@ann"));
        assert!(!none.allows(Verb::Join, "@all", "all") && inbox_of("all").is_none() && inbox_of("a b").is_none());
        assert!(rooms_only.allows(Verb::Join, "@all", "bob") && !letters.allows(Verb::Publish, "@all", "bob"));
        assert_eq!(inbox_of("bob@example.org").as_deref(), Some("@bob@example.org"));
    }

    #[test]
    fn whatever_a_user_is_called_it_does_not_speak_for_everybody() {
        for (pattern, user, may) in [
            ("@{user}", "all", false),
            ("@*", "all", false),
            ("{user}", "@all", false),
            ("@all", "bob", true),
            ("*", "bob", true),
        ] {
            let grants = Grants::from_claim(&json!([{"match": pattern, "can": ["publish"]}])).unwrap();
            assert_eq!(grants.allows(Verb::Publish, "@all", user), may, "{pattern} for {user}");
        }
    }

    #[test]
    fn a_verb_that_is_not_listed_is_not_granted() {
        let grants = Grants::from_claim(&json!([
            {"match": "a", "can": ["join", "history"]},
            {"match": "b*", "can": ["publish"]},
        ]));
        let grants = grants.unwrap();
        let allowed = |room| Verb::ALL.map(|verb| grants.allows(verb, room, "ann"));
        assert_eq!(allowed("a"), [true, false, false, true]);
        assert_eq!(allowed("bob"), [false, true, false, false]);
        assert_eq!(allowed("c"), [false; 4]);
        assert!(Verb::ALL.iter().all(|verb| Grants::everything().allows(*verb, "c", "ann")));
        let none = Grants::from_claim(&json!([])).unwrap();
        assert_eq!(none, Grants::nothing());
        assert!(Verb::ALL.iter().all(|verb| !none.allows(*verb, "c", "ann")));
    }

    #[test]
    fn equal_sets_are_equal_whatever_order_they_came_in() {
        let a = json!([{"match": "x", "can": ["join"]}, {"match": "y", "can": ["join", "publish"]}]);
        let b = json!([
            {"can": ["publish", "join"], "match": "y"},
            {"match": "x", "can": ["join", "join"]},
            {"match": "y", "can": ["join"]},
        ]);
        let (a, b) = (Grants::from_claim(&a).unwrap(), Grants::from_claim(&b).unwrap());
        assert_eq!(a, b);
        let hash = |grants: &Grants| crate::base::Seed::new([1, 2]).state().hash_one(grants);
        assert_eq!(hash(&a), hash(&b));
        assert_ne!(a, one("x"));
        assert_eq!(b.iter().count(), 2);
    }

    #[test]
    fn what_is_not_understood_is_refused_and_not_guessed() {
        let many: Vec<Value> = (0..65).map(|n| json!({"match": format!("r{n}"), "can": ["join"]})).collect();
        let bad = [
            json!(null),
            json!("*"),
            json!({"match": "*", "can": ["join"]}),
            json!(["*"]),
            json!([{"match": "*"}]),
            json!([{"can": ["join"]}]),
            json!([{"match": 7, "can": ["join"]}]),
            json!([{"match": "*", "can": "join"}]),
            json!([{"match": "*", "can": ["Join"]}]),
            json!([{"match": "*", "can": [1]}]),
            json!([{"match": "*", "can": []}]),
            json!([{"match": "*", "can": ["join"], "until": 5}]),
            json!([{"match": "", "can": ["join"]}]),
            json!([{"match": "a*b", "can": ["join"]}]),
            json!([{"match": "a**", "can": ["join"]}]),
            json!([{"match": "a b", "can": ["join"]}]),
            json!([{"match": "{room}", "can": ["join"]}]),
            json!([{"match": "{user}*", "can": ["join"]}]),
            json!([{"match": "x".repeat(129), "can": ["join"]}]),
            Value::Array(many),
        ];
        for claim in bad {
            assert!(Grants::from_claim(&claim).is_err(), "{claim}");
        }
    }

    use std::hash::BuildHasher;
}
