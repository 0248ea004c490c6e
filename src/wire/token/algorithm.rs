//! The algorithms a token may be signed with.
//!
//! Promises: a closed set (RFC 8725, 3.1); `none` is not in it. An algorithm is a property of a key and of the server's
//! rules, never of a token: a token only says which of them it claims.

use std::fmt;

/// How a token is signed (RFC 7518, 3.1; RFC 8037, 3.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Algorithm {
    /// HMAC with SHA-256: whoever can check a token can make one.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All of them, in the order of [`Algorithm::index`].
    pub const ALL: [Self; 6] = [Self::Hs256, Self::Hs384, Self::Hs512, Self::Rs256, Self::Es256, Self::EdDsa];

    /// As written in a token's `alg`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of that name, spelled exactly so. `Ed25519` (RFC 9864) is another name of `EdDSA` on that curve.
    pub fn parse(name: &str) -> Option<Self> {
        if name == "Ed25519" {
            return Some(Self::EdDsa);
        }
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// The fewest bytes a secret may have: as many as the hash (RFC 7518, 3.2). `None`: it takes no secret.
    pub fn secret_bytes_min(self) -> Option<usize> {
        match self {
            Self::Hs256 => Some(32),
            Self::Hs384 => Some(48),
            Self::Hs512 => Some(64),
            Self::Rs256 | Self::Es256 | Self::EdDsa => None,
        }
    }

    /// The place in a table of all algorithms.
    pub fn index(self) -> usize {
        self as usize
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Some of the algorithms.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Algorithms(u8);

impl Algorithms {
    /// Every one.
    pub fn all() -> Self {
        Self::of(Algorithm::ALL)
    }

    /// These.
    pub fn of(algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        Self(algorithms.into_iter().fold(0, |bits, algorithm| bits | algorithm.bit()))
    }

    pub fn contains(self, algorithm: Algorithm) -> bool {
        self.0 & algorithm.bit() != 0
    }

    /// Those in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// One after the other, in the order of [`Algorithm::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Algorithm> {
        Algorithm::ALL.into_iter().filter(move |algorithm| self.contains(*algorithm))
    }
}

/// `HS256`, or `HS256, RS256 or ES256`.
impl fmt::Display for Algorithms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.iter().map(Algorithm::name).collect();
        match names.split_last() {
            None => f.write_str("nothing"),
            Some((last, [])) => f.write_str(last),
            Some((last, others)) => write!(f, "{} or {last}", others.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exact_and_none_is_not_among_them() {
        for (place, algorithm) in Algorithm::ALL.into_iter().enumerate() {
            assert_eq!((algorithm.index(), Algorithm::parse(algorithm.name())), (place, Some(algorithm)));
        }
        for bad in ["none", "None", "hs256", "HS256 ", "", "RS384", "PS256", "ES384", "eddsa", "\u{212a}S256"] {
            assert_eq!(Algorithm::parse(bad), None, "{bad}");
        }
        assert_eq!(Algorithm::parse("Ed25519"), Some(Algorithm::EdDsa));
    }

    #[test]
    fn a_set_is_told_in_words() {
        let of = |algorithms: &[Algorithm]| Algorithms::of(algorithms.iter().copied()).to_string();
        assert_eq!(of(&[Algorithm::Hs256]), "HS256");
        assert_eq!(of(&[Algorithm::Es256, Algorithm::Hs256, Algorithm::Rs256]), "HS256, RS256 or ES256");
        assert_eq!(of(&[]), "nothing");
    }
}
