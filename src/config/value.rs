//! Kinds of values: each is read from TOML and from plain text, and written as TOML.
//!
//! Promises: a wrong value is refused with the second half of a sentence ("must be …"); what is repeated of it is
//! short and escaped; a hidden one is repeated by nobody.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use toml::de::DeValue;

use super::{EngineWish, LogForm};
use crate::shard::Flush;

/// One kind of value.
pub(super) trait Value: Sized {
    /// From the file.
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String>;
    /// From a variable or a flag.
    fn from_text(text: &str) -> Result<Self, String>;
    /// As it would stand in the file; `None`: not set.
    fn to_toml(&self) -> Option<String>;
    /// What bounds are compared with.
    fn number(&self) -> Option<u64> {
        None
    }
    /// A list of them from a variable or a flag: one behind the other with commas between.
    fn many_from_text(text: &str) -> Result<Vec<Self>, String> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        let read = |(nth, item)| Self::from_text(item).map_err(|why| format!("holds an item ({}) that {why}", nth + 1));
        items.enumerate().map(read).collect()
    }
    /// Paths in a file are seen from the file's folder.
    fn seen_from(self, _folder: &Path) -> Self {
        self
    }
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(String);

impl Hidden {
    /// For the one who needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden(..)")
    }
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Value for $number {
            fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
                let DeValue::Integer(digits) = value else {
                    return Err(match value {
                        DeValue::String(text) if text.trim().parse::<Self>().is_ok() => {
                            "must be a whole number: write it without quotes".to_owned()
                        }
                        _ => must_be("a whole number", value),
                    });
                };
                whole(i128::from_str_radix(digits.as_str(), digits.radix()).ok(), digits.as_str())
            }

            fn from_text(text: &str) -> Result<Self, String> {
                let digits = text.trim();
                whole(digits.replace('_', "").parse().ok(), digits)
            }

            fn to_toml(&self) -> Option<String> {
                Some(grouped(&self.to_string()))
            }

            fn number(&self) -> Option<u64> {
                u64::try_from(*self).ok()
            }
        }
    )*};
}

numbers!(u16, u32, u64, usize);

fn whole<T: TryFrom<i128>>(number: Option<i128>, written: &str) -> Result<T, String> {
    let Some(number) = number else { return Err(format!("must be a whole number, not {}", quoted(written))) };
    T::try_from(number).map_err(|_| match number {
        ..0 => format!("must not be negative, and is {number}"),
        0.. => format!("is {number}, which is more than this setting can hold"),
    })
}

impl Value for bool {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        let DeValue::Boolean(yes) = value else { return Err(must_be("true or false", value)) };
        Ok(*yes)
    }

    fn from_text(text: &str) -> Result<Self, String> {
        match text.trim() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(format!("must be true or false, not {}", quoted(text))),
        }
    }

    fn to_toml(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Value for String {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        text_of(value).map(str::to_owned)
    }

    fn from_text(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn to_toml(&self) -> Option<String> {
        Some(Json::from(self.as_str()).to_string())
    }
}

impl Value for Hidden {
    fn from_toml(_: &DeValue<'_>) -> Result<Self, String> {
        Err("is a secret and does not belong into the file".to_owned())
    }

    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }

    fn to_toml(&self) -> Option<String> {
        Some("(set, not shown)".to_owned())
    }
}

impl Value for PathBuf {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        Self::from_text(text_of(value)?)
    }

    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("must be a path and is empty".to_owned()) } else { Ok(Self::from(text)) }
    }

    fn to_toml(&self) -> Option<String> {
        self.display().to_string().to_toml()
    }

    fn seen_from(self, folder: &Path) -> Self {
        folder.join(self)
    }
}

impl Value for SocketAddr {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        Self::from_text(text_of(value)?)
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let example = "must be an address and a port such as \"0.0.0.0:8080\" or \"[::]:8080\"";
        text.trim().parse().map_err(|_| format!("{example}, not {}", quoted(text)))
    }

    fn to_toml(&self) -> Option<String> {
        self.to_string().to_toml()
    }
}

impl<T: Value> Value for Option<T> {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        T::from_toml(value).map(Some)
    }

    fn from_text(text: &str) -> Result<Self, String> {
        T::from_text(text).map(Some)
    }

    fn to_toml(&self) -> Option<String> {
        self.as_ref().and_then(T::to_toml)
    }

    fn number(&self) -> Option<u64> {
        self.as_ref().and_then(T::number)
    }

    fn seen_from(self, folder: &Path) -> Self {
        self.map(|value| value.seen_from(folder))
    }
}

/// A list; in a variable or a flag its items stand behind each other with commas between.
impl<T: Value> Value for Vec<T> {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        let DeValue::Array(items) = value else { return Err(must_be("a list in [ ]", value)) };
        let item = |(nth, item): (usize, &toml::Spanned<DeValue<'_>>)| {
            T::from_toml(item.get_ref()).map_err(|why| format!("holds an item ({}) that {why}", nth + 1))
        };
        items.iter().enumerate().map(item).collect()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        T::many_from_text(text)
    }

    fn to_toml(&self) -> Option<String> {
        let items: Vec<String> = self.iter().filter_map(T::to_toml).collect();
        Some(format!("[{}]", items.join(", ")))
    }

    fn seen_from(self, folder: &Path) -> Self {
        self.into_iter().map(|item| item.seen_from(folder)).collect()
    }
}

/// One of a few words.
macro_rules! words {
    ($($kind:ty { $($word:literal => $variant:ident),* })*) => {$(
        impl Value for $kind {
            fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
                Self::from_text(text_of(value)?)
            }

            fn from_text(text: &str) -> Result<Self, String> {
                match text.trim() {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(format!("must be one of {}, not {}", [$($word),*].join(", "), quoted(text))),
                }
            }

            fn to_toml(&self) -> Option<String> {
                match self {
                    $(Self::$variant => Some(format!("\"{}\"", $word)),)*
                }
            }
        }
    )*};
}

words! {
    Flush { "eager" => Eager, "tick" => Tick }
    EngineWish { "auto" => Auto, "io_uring" => IoUring, "epoll" => Epoll }
    LogForm { "human" => Human, "json" => Json }
}

/// Recurses as deep as the TOML parser did.
pub(super) fn to_json(value: &DeValue<'_>) -> Json {
    match value {
        DeValue::String(text) => Json::from(text.as_ref()),
        DeValue::Integer(digits) => i64::from_str_radix(digits.as_str(), digits.radix()).map_or(Json::Null, Json::from),
        DeValue::Float(digits) => digits.as_str().parse::<f64>().map_or(Json::Null, Json::from),
        DeValue::Boolean(yes) => Json::from(*yes),
        DeValue::Datetime(date) => Json::from(date.to_string()),
        DeValue::Array(items) => items.iter().map(|item| to_json(item.get_ref())).collect(),
        DeValue::Table(table) => {
            let fields = table.iter().map(|(key, value)| (key.get_ref().to_string(), to_json(value.get_ref())));
            Json::Object(fields.collect())
        }
    }
}

pub(super) fn must_be(what: &str, value: &DeValue<'_>) -> String {
    format!("must be {what}, not {}", kind(value))
}

pub(super) fn text_of<'a>(value: &'a DeValue<'_>) -> Result<&'a str, String> {
    let DeValue::String(text) = value else { return Err(must_be("a text in quotes", value)) };
    Ok(text)
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// What was written, short and without control characters.
pub(super) fn quoted(text: &str) -> String {
    let short: String = text.chars().take(QUOTED_CHARS_MAX).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("{short:?}{more}")
}

/// 1_000_000, as TOML allows it.
fn grouped(digits: &str) -> String {
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join("_")
}

const QUOTED_CHARS_MAX: usize = 60;
