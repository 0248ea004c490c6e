//! `[rooms]`: how rooms behave, by the pattern of their names.
//!
//! Each `[rooms."PATTERN"]` is a table of what differs from `[limits]` and the defaults; [`FIELDS`] is all that can stand
//! in it. Promises: a field that is not known or cannot be is refused with its line and what may have been meant; what is
//! not said is what `[limits]` says, whatever order they stand in.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde_json::Value as Json;
use toml::de::DeValue;

use super::nearest::nearest;
use super::value::{Value, must_be, quoted, to_json};
use crate::base::{Classes, Delivery, Flush, Limits, Presence, RoomClass, Verb, Verbs, pattern};

/// What is said of rooms, by pattern, in the order of the text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RoomSettings(Vec<(String, BTreeMap<&'static str, Json>)>);

/// What can be said of the rooms of a pattern.
pub(super) struct Field {
    pub(super) key: &'static str,
    /// What it means to an operator, in whole sentences.
    pub(super) words: &'static str,
    kind: Kind,
}

enum Kind {
    Number(RangeInclusive<u64>, fn(&mut RoomClass, u64), fn(&RoomClass) -> u64),
    YesNo(fn(&mut RoomClass) -> &mut bool),
    /// One of these words.
    Word(&'static [&'static str], fn(&mut RoomClass, usize), fn(&RoomClass) -> usize),
    Verbs(fn(&mut RoomClass) -> &mut Verbs),
}

impl RoomSettings {
    /// The classes that these and the limits come to. `former` are those that held until now.
    ///
    /// # Errors
    /// What is wrong, as a sentence.
    pub fn classes(&self, limits: &Limits, former: Option<&Classes>) -> Result<Classes, String> {
        let mut given = Vec::new();
        for (pattern, fields) in &self.0 {
            let mut class = RoomClass::of(limits);
            for (key, value) in fields {
                let field = field(key).expect("what was taken is known");
                field.put(&mut class, value).map_err(|why| format!("`{key}` in [rooms.{pattern:?}] {why}"))?;
            }
            given.push((pattern.as_str(), class));
        }
        Classes::new(limits, &given, former)
    }

    /// Begins what is said of a pattern.
    pub(super) fn open(&mut self, text: &str) -> Result<(), String> {
        pattern::check(text).map_err(|why| why.replace("`match`", "the pattern"))?;
        self.0.push((text.to_owned(), BTreeMap::new()));
        Ok(())
    }

    /// Says something of the pattern that was opened last.
    pub(super) fn put(&mut self, key: &str, value: Json) -> Result<(), String> {
        let Some(field) = field(key) else {
            return Err(match nearest(key, FIELDS.iter().map(|field| field.key)) {
                Some(meant) => format!("is unknown: did you mean `{meant}`?"),
                None => format!("is unknown: there are {}", names()),
            });
        };
        field.put(&mut RoomClass::default(), &value)?;
        let (_, fields) = self.0.last_mut().expect("a pattern was opened");
        fields.insert(field.key, value);
        Ok(())
    }
}

/// A table of tables; in a variable a JSON object of objects.
impl Value for RoomSettings {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        let DeValue::Table(_) = value else { return Err(must_be("a table of tables", value)) };
        Self::from_json(&to_json(value))
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let json: Json = serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?;
        Self::from_json(&json)
    }

    fn to_toml(&self) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        let table = |(pattern, fields): &(String, BTreeMap<&str, Json>)| {
            let fields: Vec<String> = fields.iter().map(|(key, value)| format!("{key} = {value}")).collect();
            format!("{} = {{ {} }}", Json::from(pattern.as_str()), fields.join(", "))
        };
        Some(format!("{{ {} }}", self.0.iter().map(table).collect::<Vec<_>>().join(", ")))
    }
}

impl RoomSettings {
    fn from_json(json: &Json) -> Result<Self, String> {
        let example = r#"must be a table of tables, such as {"chat:*": {"log_messages_max": 500}}"#;
        let mut all = Self::default();
        for (pattern, fields) in json.as_object().ok_or(example)? {
            all.open(pattern).map_err(|why| format!("names {}: {why}", quoted(pattern)))?;
            for (key, value) in fields.as_object().ok_or(example)? {
                all.put(key, value.clone())
                    .map_err(|why| format!("holds {}, whose {} {why}", quoted(pattern), quoted(key)))?;
            }
        }
        Ok(all)
    }
}

impl Field {
    /// The value this class has, as it would stand in the file.
    pub(super) fn show(&self, class: &RoomClass) -> String {
        let mut class = class.clone();
        match &self.kind {
            Kind::Number(_, _, get) => get(&class).to_toml().unwrap_or_default(),
            Kind::YesNo(place) => place(&mut class).to_string(),
            Kind::Word(words, _, get) => format!("\"{}\"", words[get(&class)]),
            Kind::Verbs(place) => {
                let verbs: Vec<String> = place(&mut class).iter().map(|verb| format!("\"{}\"", verb.name())).collect();
                format!("[{}]", verbs.join(", "))
            }
        }
    }

    /// Bounds in words.
    pub(super) fn bounds(&self) -> Option<String> {
        match &self.kind {
            Kind::Number(bounds, _, _) => Some(format!("{} to {}", bounds.start(), bounds.end())),
            Kind::Word(words, _, _) => Some(words.join(", ")),
            Kind::YesNo(_) | Kind::Verbs(_) => None,
        }
    }

    fn put(&self, class: &mut RoomClass, value: &Json) -> Result<(), String> {
        match &self.kind {
            Kind::Number(bounds, set, _) => {
                let number = value.as_u64().ok_or_else(|| format!("must be a whole number, not {value}"))?;
                if !bounds.contains(&number) {
                    return Err(format!("is {number} and must be between {} and {}", bounds.start(), bounds.end()));
                }
                set(class, number);
            }
            Kind::YesNo(place) => {
                *place(class) = value.as_bool().ok_or_else(|| format!("must be true or false, not {value}"))?;
            }
            Kind::Word(words, set, _) => {
                let at = value.as_str().and_then(|text| words.iter().position(|word| *word == text));
                set(class, at.ok_or_else(|| format!("must be one of {}, not {value}", words.join(", ")))?);
            }
            Kind::Verbs(place) => {
                let wrong = || format!("must be a list of join, publish, presence, history, not {value}");
                let verbs = value.as_array().ok_or_else(wrong)?.iter();
                let verb = |verb: &Json| verb.as_str().and_then(Verb::parse).ok_or_else(wrong);
                *place(class) =
                    verbs.map(verb).try_fold(Verbs::default(), |all, verb| verb.map(|verb| all.with(verb)))?;
            }
        }
        Ok(())
    }
}

fn field(key: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.key == key)
}

fn names() -> String {
    FIELDS.iter().map(|field| field.key).collect::<Vec<_>>().join(", ")
}

/// A number of whatever type it has in the class.
macro_rules! number {
    ($bounds:expr, $($place:ident).+) => {
        Kind::Number(
            $bounds,
            |class, number| class.$($place).+ = number.try_into().expect("the bounds fit the type"),
            |class| class.$($place).+ as u64,
        )
    };
}

/// All that can stand in a `[rooms."PATTERN"]`, in the order of the reference.
pub(super) static FIELDS: &[Field] = &[
    Field {
        key: "log_messages_max",
        words: "Messages a room's log keeps; who needs older ones gets a `gap`.",
        kind: number!(1..=65_535, log.messages_max),
    },
    Field {
        key: "log_bytes_max",
        words: "Bytes of frames a room's log keeps (one message is always kept).",
        kind: number!(0..=1 << 40, log.bytes_max),
    },
    Field { key: "log_age_ms", words: "How long a message stays in the log.", kind: number!(1..=1 << 50, log.age_ms) },
    Field {
        key: "flush",
        words: "When messages leave: \"inherit\" is what `flush` in [server] says.",
        kind: Kind::Word(
            &["inherit", "eager", "tick"],
            |class, at| class.flush = [None, Some(Flush::Eager), Some(Flush::Tick)][at],
            |class| match class.flush {
                None => 0,
                Some(Flush::Eager) => 1,
                Some(Flush::Tick) => 2,
            },
        ),
    },
    Field {
        key: "delivery",
        words: "\"reliable\": every message has an offset and reaches everybody, or a `gap` says what is missing. \
                \"latest\": the last value of each `key` is kept and given to who joins; a slow reader misses what was \
                overtaken. \"ephemeral\": nothing is kept, a slow reader misses it. A room keeps what it was opened with.",
        kind: Kind::Word(
            &["reliable", "latest", "ephemeral"],
            |class, at| class.delivery = [Delivery::Reliable, Delivery::Latest, Delivery::Ephemeral][at],
            |class| class.delivery as usize,
        ),
    },
    Field {
        key: "presence",
        words: "What can be known of who is there: \"off\" nothing, \"counted\" who and how many, \"announced\" also who \
                comes and goes, for those who ask for it when they join. A room that was opened with \"off\" and without \
                `seats_max` counts nobody until it is forgotten.",
        kind: Kind::Word(
            &["off", "counted", "announced"],
            |class, at| class.presence = [Presence::Off, Presence::Counted, Presence::Announced][at],
            |class| class.presence as usize,
        ),
    },
    Field {
        key: "leave_delay_ms",
        words: "How long somebody whose connections were all lost is `away` before having left. 0: not at all.",
        kind: number!(0..=3_600_000, leave_delay_ms),
    },
    Field {
        key: "typing_ms",
        words: "How long somebody is shown as typing who does not say so again. 0: `typing` is refused.",
        kind: number!(0..=600_000, typing_ms),
    },
    Field {
        key: "receipts",
        words: "Whether it is kept, and told, how far everybody has read.",
        kind: Kind::YesNo(|class| &mut class.receipts),
    },
    Field {
        key: "seats_max",
        words: "Connections that may sit in one room; one more is refused as `room_full`. 0: not limited. A room that was \
                opened without it and with `presence` \"off\" does not know who sits there: until it is forgotten \
                whoever resumes may stand in it beyond the limit.",
        kind: number!(0..=1 << 31, seats_max),
    },
    Field {
        key: "message_bytes_max",
        words: "Bytes of a published payload; more is refused as `too_long`. At most what [limits] says.",
        kind: number!(1..=16 << 20, message_bytes_max),
    },
    Field {
        key: "publishes_per_minute",
        words: "Messages one user may publish into one room in a minute, over all connections; more are refused as \
                `too_often`. 0: not limited.",
        kind: number!(0..=1 << 30, publish_rate.per_minute),
    },
    Field { key: "publish_burst", words: "How many of them at once.", kind: number!(1..=65_535, publish_rate.burst) },
    Field {
        key: "can",
        words: "What people may do there at most; their grants narrow it further. The API is not asked.",
        kind: Kind::Verbs(|class| &mut class.can),
    },
    Field {
        key: "idempotency_keys_max",
        words: "Keys of `publish` a room remembers; the oldest goes first. 0: a `key` is refused.",
        kind: number!(0..=1 << 20, idempotency.keys_max),
    },
    Field { key: "idempotency_ms", words: "For how long.", kind: number!(1_000..=1 << 40, idempotency.ms) },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_read_into_the_class_and_shown_as_it_was_written() {
        let mut unusual = RoomClass::default();
        let said = r#"{"log_messages_max": 7, "log_bytes_max": 70, "log_age_ms": 700, "flush": "tick",
            "delivery": "latest", "presence": "off", "leave_delay_ms": 3, "typing_ms": 4, "receipts": false,
            "seats_max": 5, "message_bytes_max": 6, "publishes_per_minute": 8, "publish_burst": 9,
            "can": ["join", "history"], "idempotency_keys_max": 10, "idempotency_ms": 1100}"#;
        let said: Json = serde_json::from_str(said).unwrap();
        for field in FIELDS {
            let usual = field.show(&unusual);
            field.put(&mut unusual, &said[field.key]).unwrap();
            assert_ne!(field.show(&unusual), usual, "{} does something", field.key);
        }
        assert_eq!(said.as_object().unwrap().len(), FIELDS.len());
        assert_eq!(unusual.log.messages_max, 7);
        assert!(unusual.can.has(Verb::History) && !unusual.can.has(Verb::Publish));
        assert_eq!((unusual.flush, unusual.delivery), (Some(Flush::Tick), Delivery::Latest));
    }

    #[test]
    fn a_variable_holds_json_and_is_shown_as_it_would_stand_in_the_file() {
        let rooms = RoomSettings::from_text(r#"{"chat:*": {"receipts": false, "log_messages_max": 5}}"#).unwrap();
        let shown = r#"{ "chat:*" = { log_messages_max = 5, receipts = false } }"#;
        assert_eq!(rooms.to_toml().as_deref(), Some(shown));
        let classes = rooms.classes(&Limits { log_age_ms: 77, ..Limits::default() }, None).unwrap();
        let class = classes.class(classes.of_room("chat:a"));
        assert_eq!((class.log.messages_max, class.log.age_ms, class.receipts), (5, 77, false));
        let error = RoomSettings::from_text(r#"{"chat:*": {"reciepts": false}}"#).unwrap_err();
        assert!(error.contains("did you mean `receipts`"), "{error}");
        for bad in ["[]", "{\"a b\": {}}", "{\"a\": 1}", r#"{"a": {"can": ["all"]}}"#, r#"{"a": {"flush": 1}}"#] {
            assert!(RoomSettings::from_text(bad).is_err(), "{bad}");
        }
    }
}
