//! Kinds of values that belong to the parts of the server: nets, origins, algorithms, keys.
//!
//! Promises: as in [`value`](super::value). A list of tables is written as JSON in a variable or a flag; where one field is
//! enough, as a plain list.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use toml::de::DeValue;

use super::AdminListen;
use super::table::{Table, many_from_json, to_toml};
use super::value::{Value, quoted, text_of, to_json};
use crate::base::Nets;
use crate::control::ApiKey;
use crate::control::jwks::JwksRules;
use crate::control::token_keys::KeyFile;
use crate::wire::token::{Algorithm, Algorithms};
use crate::wire::{Grants, Origins, Verb};

/// As in a token's `rooms`: a list of tables in the file, JSON in a variable or a flag.
impl Value for Grants {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        Self::from_claim(&to_json(value)).map_err(str::to_owned)
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let claim = serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?;
        Self::from_claim(&claim).map_err(str::to_owned)
    }

    fn to_toml(&self) -> Option<String> {
        let grant = |(pattern, can): (&str, Vec<Verb>)| {
            let can: Vec<String> = can.iter().map(|verb| format!("\"{}\"", verb.name())).collect();
            format!("{{ match = {}, can = [{}] }}", Json::from(pattern), can.join(", "))
        };
        let grants: Vec<String> = self.iter().map(grant).collect();
        Some(format!("[{}]", grants.join(", ")))
    }
}

/// An address, or `off`.
impl Value for AdminListen {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        Self::from_text(text_of(value)?)
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let example = "must be \"off\", or an address and a port such as \"127.0.0.1:8081\"";
        match text.trim() {
            "off" => Ok(Self::Off),
            at => at.parse().map(Self::At).map_err(|_| format!("{example}, not {}", quoted(text))),
        }
    }

    fn to_toml(&self) -> Option<String> {
        match self {
            Self::Off => "off".to_owned().to_toml(),
            Self::At(address) => address.to_toml(),
        }
    }
}

/// Lists of texts that are read as a whole.
macro_rules! lists {
    ($($kind:ty: $read:expr, $write:expr;)*) => {$(
        impl Value for $kind {
            fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
                $read(&Vec::<String>::from_toml(value)?)
            }

            fn from_text(text: &str) -> Result<Self, String> {
                $read(&Vec::<String>::from_text(text)?)
            }

            fn to_toml(&self) -> Option<String> {
                let texts: Vec<String> = $write(self);
                texts.to_toml()
            }
        }
    )*};
}

lists! {
    Nets: |texts: &[String]| Nets::parse(texts).map_err(|bad| format!("holds what is no net: {bad}")),
        |nets: &Nets| nets.iter().map(|net| net.to_string()).collect();
    Origins: |texts: &[String]| Origins::parse(texts).map_err(|bad| format!("holds what cannot be allowed: {bad}")),
        Origins::entries;
    Algorithms: algorithms, |all: &Algorithms| all.iter().map(|one| one.name().to_owned()).collect();
}

fn algorithms(names: &[String]) -> Result<Algorithms, String> {
    names.iter().map(|name| algorithm(name)).collect::<Result<Vec<_>, _>>().map(Algorithms::of)
}

fn algorithm(name: &str) -> Result<Algorithm, String> {
    let unknown = || format!("names {}, which is none of {}", quoted(name), Algorithms::all());
    Algorithm::parse(name).ok_or_else(unknown)
}

/// `{ name, sha256 }`, or `NAME=SHA256`.
impl Value for ApiKey {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        let json = to_json(value);
        let table = Table::open(&json, &["name", "sha256"])?;
        let (name, sha256) = (table.text("name")?.unwrap_or_default(), table.text("sha256")?.unwrap_or_default());
        Self::new(name, sha256).map_err(wrong)
    }

    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(wrong)
    }

    fn to_toml(&self) -> Option<String> {
        Some(to_toml(&[("name", self.name().to_owned().to_toml()), ("sha256", Some("(set, not shown)".to_owned()))]))
    }
}

fn wrong(sentence: String) -> String {
    format!("is no API key: {sentence}")
}

/// `{ file, kid, algorithm, issuer }`, or a path.
impl Value for KeyFile {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        key_file(&to_json(value))
    }

    fn from_text(text: &str) -> Result<Self, String> {
        PathBuf::from_text(text).map(Self::at)
    }

    fn many_from_text(text: &str) -> Result<Vec<Self>, String> {
        if text.trim_start().starts_with('[') { many_from_json(text, key_file) } else { plain(text) }
    }

    fn to_toml(&self) -> Option<String> {
        Some(to_toml(&[
            ("file", self.path.to_toml()),
            ("kid", self.kid.to_toml()),
            ("algorithm", self.algorithm.map(|algorithm| format!("\"{}\"", algorithm.name()))),
            ("issuer", self.issuer.to_toml()),
        ]))
    }

    fn seen_from(self, folder: &Path) -> Self {
        Self { path: self.path.seen_from(folder), ..self }
    }
}

fn key_file(value: &Json) -> Result<KeyFile, String> {
    let table = Table::open(value, &["file", "kid", "algorithm", "issuer"])?;
    Ok(KeyFile {
        path: table.text("file")?.unwrap_or_default().into(),
        kid: table.text("kid")?.map(str::to_owned),
        algorithm: table.text("algorithm")?.map(algorithm).transpose()?,
        issuer: table.text("issuer")?.map(str::to_owned),
    })
}

/// `{ url, issuer, … }`, or a URL.
impl Value for JwksRules {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        jwks(&to_json(value))
    }

    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self { url: text.to_owned(), ..Self::default() })
    }

    fn many_from_text(text: &str) -> Result<Vec<Self>, String> {
        if text.trim_start().starts_with('[') { many_from_json(text, jwks) } else { plain(text) }
    }

    fn to_toml(&self) -> Option<String> {
        let usual = Self::default();
        let unusual = |here: u64, usual: u64| (here != usual).then(|| here.to_toml()).flatten();
        let bytes = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
        Some(to_toml(&[
            ("url", self.url.to_toml()),
            ("issuer", self.issuer.to_toml()),
            ("refresh_s", unusual(self.refresh_s, usual.refresh_s)),
            ("between_s", unusual(self.between_s, usual.between_s)),
            ("stale_max_s", unusual(self.stale_max_s, usual.stale_max_s)),
            ("backoff_max_s", unusual(self.backoff_max_s, usual.backoff_max_s)),
            ("timeout_ms", unusual(self.timeout_ms, usual.timeout_ms)),
            ("body_bytes_max", unusual(bytes(self.body_bytes_max), bytes(usual.body_bytes_max))),
            ("plain_http", self.plain_http.then(|| "true".to_owned())),
            ("ca_file", self.ca_file.to_toml()),
        ]))
    }

    fn seen_from(self, folder: &Path) -> Self {
        Self { ca_file: self.ca_file.seen_from(folder), ..self }
    }
}

fn jwks(value: &Json) -> Result<JwksRules, String> {
    let (table, usual) = (Table::open(value, JWKS_FIELDS)?, JwksRules::default());
    let bytes = table.number("body_bytes_max")?.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    Ok(JwksRules {
        url: table.text("url")?.unwrap_or_default().to_owned(),
        issuer: table.text("issuer")?.map(str::to_owned),
        refresh_s: table.number("refresh_s")?.unwrap_or(usual.refresh_s),
        between_s: table.number("between_s")?.unwrap_or(usual.between_s),
        stale_max_s: table.number("stale_max_s")?.unwrap_or(usual.stale_max_s),
        backoff_max_s: table.number("backoff_max_s")?.unwrap_or(usual.backoff_max_s),
        timeout_ms: table.number("timeout_ms")?.unwrap_or(usual.timeout_ms),
        body_bytes_max: bytes.unwrap_or(usual.body_bytes_max),
        plain_http: table.yes("plain_http")?.unwrap_or(usual.plain_http),
        ca_file: table.text("ca_file")?.map(PathBuf::from),
    })
}

const JWKS_FIELDS: &[&str] = &[
    "url",
    "issuer",
    "refresh_s",
    "between_s",
    "stale_max_s",
    "backoff_max_s",
    "timeout_ms",
    "body_bytes_max",
    "plain_http",
    "ca_file",
];

fn plain<T: Value>(text: &str) -> Result<Vec<T>, String> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    items.map(T::from_text).collect()
}
