//! For tests: a value as decoders that are not ours read it.
//!
//! Promises: nothing in here uses the walk or the transcoders; what it reads, any client can read.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use crate::base::Encoding;

#[derive(Clone, Debug)]
pub(crate) enum Tree {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Self>),
    /// In order, duplicates kept.
    Map(Vec<(Self, Self)>),
}

/// Floats may differ in their last bits: serde_json without `float_roundtrip` is that inexact in reading. That ours are
/// exact is a law of its own.
impl PartialEq for Tree {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a == b || a.to_bits().abs_diff(b.to_bits()) <= 8,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::List(a), Self::List(b)) => a == b,
            (Self::Map(a), Self::Map(b)) => a == b,
            _ => false,
        }
    }
}

impl Tree {
    /// Reads exactly one value with serde_json or rmp-serde.
    pub(crate) fn read(encoding: Encoding, bytes: &[u8]) -> Option<Self> {
        match encoding {
            Encoding::Json => serde_json::from_slice(bytes).ok(),
            Encoding::MessagePack => {
                let mut rest = bytes;
                let mut decoder = rmp_serde::Deserializer::new(&mut rest);
                decoder.set_max_depth(80);
                let tree = Self::deserialize(&mut decoder).ok()?;
                rest.is_empty().then_some(tree)
            }
        }
    }

    pub(crate) fn to_bytes(&self, encoding: Encoding) -> Vec<u8> {
        match encoding {
            Encoding::Json => serde_json::to_vec(self).expect("a tree with string keys is JSON"),
            Encoding::MessagePack => rmp_serde::to_vec(self).expect("any tree is MessagePack"),
        }
    }

    /// What the mapping of `docs/protocol.md` makes of a value for readers of `to`; `None` when it is unportable.
    pub(crate) fn mapped(&self, to: Encoding) -> Option<Self> {
        let json = to == Encoding::Json;
        Some(match self {
            Self::Bytes(bytes) if json => Self::Text(STANDARD.encode(bytes)),
            Self::Int(value) if json && value.unsigned_abs() > (1 << 53) - 1 => Self::Text(value.to_string()),
            Self::Float(value) if json && !value.is_finite() => Self::Null,
            Self::List(list) => Self::List(list.iter().map(|value| value.mapped(to)).collect::<Option<_>>()?),
            Self::Map(map) => {
                let pair = |(key, value): &(Self, Self)| match key {
                    Self::Text(_) => Some((key.clone(), value.mapped(to)?)),
                    Self::Null
                    | Self::Bool(_)
                    | Self::Int(_)
                    | Self::Float(_)
                    | Self::Bytes(_)
                    | Self::List(_)
                    | Self::Map(_) => None,
                };
                Self::Map(map.iter().map(pair).collect::<Option<_>>()?)
            }
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Text(_) | Self::Bytes(_) => self.clone(),
        })
    }

    pub(crate) fn depth(&self) -> usize {
        match self {
            Self::List(list) => 1 + list.iter().map(Self::depth).max().unwrap_or(0),
            Self::Map(map) => 1 + map.iter().map(|(key, value)| key.depth().max(value.depth())).max().unwrap_or(0),
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Text(_) | Self::Bytes(_) => 0,
        }
    }

    /// The first entry of this key.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        let Self::Map(map) = self else { return None };
        map.iter().find(|(key, _)| *key == Self::Text(name.to_owned())).map(|(_, value)| value)
    }

    /// Any value JSON can hold.
    pub(crate) fn any_json() -> impl Strategy<Value = Self> {
        let scalar = prop_oneof![
            Just(Self::Null),
            any::<bool>().prop_map(Self::Bool),
            any::<u64>().prop_map(|value| Self::Int(value.into())),
            any::<i64>().prop_map(|value| Self::Int(value.into())),
            (-300_i64..300).prop_map(|value| Self::Int(value.into())),
            prop::num::f64::NORMAL.prop_map(Self::Float),
            any::<String>().prop_map(Self::Text),
            "[ -~\\n\\t\"\\\\]{0,40}".prop_map(Self::Text),
        ];
        scalar.prop_recursive(6, 48, 20, |inner| {
            let key = any::<String>().prop_map(Self::Text);
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..20).prop_map(Self::List),
                prop::collection::vec((key, inner), 0..20).prop_map(Self::Map),
            ]
        })
    }

    /// Any value MessagePack can hold, ext apart.
    pub(crate) fn any_msgpack() -> impl Strategy<Value = Self> {
        let scalar = prop_oneof![
            4 => Self::any_json(),
            1 => any::<f64>().prop_filter("NaN is not itself", |it| !it.is_nan()).prop_map(Self::Float),
            1 => prop::collection::vec(any::<u8>(), 0..900).prop_map(Self::Bytes),
        ];
        scalar.prop_recursive(4, 32, 6, |inner| {
            let key = prop_oneof![9 => any::<String>().prop_map(Self::Text), 1 => inner.clone()];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Self::List),
                prop::collection::vec((key, inner), 0..6).prop_map(Self::Map),
            ]
        })
    }
}

impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => to.serialize_unit(),
            Self::Bool(value) => to.serialize_bool(*value),
            Self::Int(value) => match (u64::try_from(*value), i64::try_from(*value)) {
                (Ok(value), _) => to.serialize_u64(value),
                (Err(_), Ok(value)) => to.serialize_i64(value),
                (Err(_), Err(_)) => unreachable!("integers here fit 64 bits"),
            },
            Self::Float(value) => to.serialize_f64(*value),
            Self::Text(value) => to.serialize_str(value),
            Self::Bytes(value) => to.serialize_bytes(value),
            Self::List(list) => {
                let mut seq = to.serialize_seq(Some(list.len()))?;
                list.iter().try_for_each(|value| seq.serialize_element(value))?;
                seq.end()
            }
            Self::Map(map) => {
                let mut entries = to.serialize_map(Some(map.len()))?;
                map.iter().try_for_each(|(key, value)| entries.serialize_entry(key, value))?;
                entries.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Int(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Int(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_owned()))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Tree, E> {
        Ok(Tree::Bytes(value.to_vec()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = seq.next_element()? {
            list.push(value);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Tree::Map(map))
    }
}
