//! Small tables in lists, such as `{ file = "a.pem", kid = "a" }`: in the file as TOML, in a variable or a flag as JSON.
//!
//! Promises: a field that is not known, or of another kind, is refused with the second half of a sentence.

use serde_json::{Map, Value as Json};

use super::value::quoted;

/// One table, and the fields it may have.
pub(super) struct Table<'a>(&'a Map<String, Json>);

impl<'a> Table<'a> {
    /// `known` are the fields there are; the first must be there.
    pub(super) fn open(value: &'a Json, known: &[&str]) -> Result<Self, String> {
        let Json::Object(fields) = value else { return Err(format!("must be a table with {}", known.join(", "))) };
        if let Some(strange) = fields.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(format!("has an unknown field {}: there are {}", quoted(strange), known.join(", ")));
        }
        let first = known.first().filter(|first| !fields.contains_key(**first));
        first.map_or(Ok(Self(fields)), |first| Err(format!("has no `{first}`")))
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, String> {
        let read = |value: &'a Json| value.as_str().filter(|text| !text.is_empty()).ok_or("a text that is not empty");
        self.field(name, read)
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, String> {
        let read = |value: &'a Json| value.as_u64().filter(|number| *number <= NUMBER_MAX).ok_or("a whole number");
        self.field(name, read)
    }

    pub(super) fn yes(&self, name: &str) -> Result<Option<bool>, String> {
        self.field(name, |value| value.as_bool().ok_or("true or false"))
    }

    fn field<T>(&self, name: &str, read: impl Fn(&'a Json) -> Result<T, &'static str>) -> Result<Option<T>, String> {
        let read = self.0.get(name).map(read).transpose();
        read.map_err(|what| format!("has a `{name}` that must be {what}"))
    }
}

/// A list as JSON.
pub(super) fn many_from_json<T>(text: &str, read: impl Fn(&Json) -> Result<T, String>) -> Result<Vec<T>, String> {
    let items: Vec<Json> = serde_json::from_str(text).map_err(|error| format!("is not a list in JSON: {error}"))?;
    let read = |(nth, item)| read(item).map_err(|why| format!("holds an item ({}) that {why}", nth + 1));
    items.iter().enumerate().map(read).collect()
}

/// `{ a = "b", c = 1 }` of values that are TOML already.
pub(super) fn to_toml(fields: &[(&str, Option<String>)]) -> String {
    let given = fields.iter().filter_map(|(name, value)| Some(format!("{name} = {}", value.as_ref()?)));
    format!("{{ {} }}", given.collect::<Vec<_>>().join(", "))
}

/// Whatever it counts: more is a slip of the pen, and sums of such numbers must not overflow.
const NUMBER_MAX: u64 = 1 << 40;
