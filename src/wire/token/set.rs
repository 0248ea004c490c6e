//! The keys a server trusts, and which of them a token may be tried with.
//!
//! ```text
//!  kid in the token   tried, always of the token's algorithm only
//!  one of ours        the key of that name
//!  none of ours       keys without a name; if none fits: unknown key (a JWKS may be fetched anew)
//!  no kid             keys without a name, and the one named key if the algorithm has only one
//! ```
//!
//! Promises: bounded, and so is the number of signatures one token can cost ([`KeySet::UNNAMED_MAX`] + 1); a `kid` is
//! compared with names and used for nothing else (RFC 8725, 3.10).

use std::sync::Arc;

use thiserror::Error;

use super::algorithm::{Algorithm, Algorithms};
use super::key::VerifyingKey;

/// Keys, in the order they were given. A clone copies pointers.
#[derive(Clone, Default, Debug)]
pub struct KeySet(Vec<Arc<VerifyingKey>>);

/// Why keys do not make a set.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum BadKeySet {
    #[error("{0} keys are more than {max}", max = KeySet::KEYS_MAX)]
    TooMany(usize),
    #[error("two keys for {algorithm} are named `{kid}`: nobody could say which is meant")]
    SameKid { algorithm: &'static str, kid: String },
    #[error("the key for {algorithm} named `{kid}` is given twice")]
    SameKey { algorithm: &'static str, kid: String },
    #[error(
        "{count} keys for {algorithm} have no `kid`; more than {max} would each be tried with every token: name them",
        max = KeySet::UNNAMED_MAX
    )]
    TooManyUnnamed { algorithm: &'static str, count: usize },
}

impl KeySet {
    pub const KEYS_MAX: usize = 128;
    /// Keys without a name, per algorithm.
    pub const UNNAMED_MAX: usize = 4;

    /// Names must be unique per algorithm.
    pub fn new(keys: impl IntoIterator<Item = Arc<VerifyingKey>>) -> Result<Self, BadKeySet> {
        let mut set = Self::default();
        keys.into_iter().try_for_each(|key| set.add(key))?;
        Ok(set)
    }

    /// One key more.
    pub fn add(&mut self, key: Arc<VerifyingKey>) -> Result<(), BadKeySet> {
        if self.0.len() == Self::KEYS_MAX {
            return Err(BadKeySet::TooMany(Self::KEYS_MAX + 1));
        }
        let algorithm = key.algorithm();
        let named = |other: &&Arc<VerifyingKey>| other.algorithm() == algorithm && other.kid() == key.kid();
        let alike = self.0.iter().filter(named).count();
        match key.kid() {
            Some(kid) if alike > 0 => {
                let (algorithm, kid) = (algorithm.name(), kid.to_owned());
                return Err(match self.0.iter().filter(named).any(|other| other.is_the_same_as(&key)) {
                    true => BadKeySet::SameKey { algorithm, kid },
                    false => BadKeySet::SameKid { algorithm, kid },
                });
            }
            None if alike == Self::UNNAMED_MAX => {
                return Err(BadKeySet::TooManyUnnamed { algorithm: algorithm.name(), count: alike + 1 });
            }
            Some(_) | None => {}
        }
        self.0.push(key);
        Ok(())
    }

    /// All of `others` more, or none where one does not fit.
    pub fn add_all(&mut self, others: &Self) -> Result<(), BadKeySet> {
        let mut all = self.clone();
        others.0.iter().try_for_each(|key| all.add(Arc::clone(key)))?;
        *self = all;
        Ok(())
    }

    /// These and those of `others` that still fit; why the rest did not, one by one. A key that is here already is not
    /// missed.
    #[must_use]
    pub fn joined_by(&self, others: &Self) -> (Self, Vec<BadKeySet>) {
        let (mut all, mut left_out) = (self.clone(), Vec::new());
        for key in &others.0 {
            let added = all.add(Arc::clone(key));
            left_out.extend(added.err().filter(|why| !matches!(why, BadKeySet::SameKey { .. })));
        }
        (all, left_out)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &VerifyingKey> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// The algorithms there is a key for.
    pub fn algorithms(&self) -> Algorithms {
        Algorithms::of(self.iter().map(VerifyingKey::algorithm))
    }

    /// Whether a key for the algorithm called so has this name.
    pub fn has_named(&self, algorithm: &str, kid: &str) -> bool {
        self.iter().any(|key| key.algorithm().name() == algorithm && key.kid() == Some(kid))
    }

    /// Whether a key of this algorithm has this name.
    pub(super) fn names(&self, kid: &str, algorithm: Algorithm) -> bool {
        self.has_named(algorithm.name(), kid)
    }

    /// What a token of this `kid` and algorithm is tried with; see the module.
    pub(super) fn candidates(&self, kid: Option<&str>, algorithm: Algorithm) -> impl Iterator<Item = &VerifyingKey> {
        let ours = move || self.iter().filter(move |key| key.algorithm() == algorithm);
        let only_named = kid.is_none() && ours().filter(|key| key.kid().is_some()).count() == 1;
        let known = kid.is_some_and(|kid| self.names(kid, algorithm));
        ours().filter(move |key| match key.kid() {
            Some(name) => kid == Some(name) || only_named,
            None => !known,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(algorithm: Algorithm, kid: Option<&str>) -> Arc<VerifyingKey> {
        let key = VerifyingKey::unchecked_secret(algorithm, b"x");
        Arc::new(match kid {
            Some(kid) => key.with_kid(kid).unwrap(),
            None => key,
        })
    }

    fn tried(set: &KeySet, kid: Option<&str>) -> Vec<Option<String>> {
        set.candidates(kid, Algorithm::Hs256).map(|key| key.kid().map(str::to_owned)).collect()
    }

    #[test]
    fn a_token_is_tried_with_the_key_it_names_or_with_few_without_a_name() {
        let name = |name: &str| Some(name.to_owned());
        let (hs, other) = (Algorithm::Hs256, Algorithm::Hs512);
        let set = KeySet::new([key(hs, Some("a")), key(hs, None), key(other, Some("b")), key(other, None)]).unwrap();
        assert_eq!(tried(&set, Some("a")), [name("a")]);
        assert_eq!(tried(&set, Some("b")), [None], "a name of another algorithm is not ours");
        assert_eq!(tried(&set, Some("nobody")), [None]);
        assert_eq!(tried(&set, None), [name("a"), None], "the only named key of the algorithm");
        let set = KeySet::new([key(hs, Some("a")), key(hs, Some("b"))]).unwrap();
        assert_eq!(tried(&set, Some("b")), [name("b")]);
        assert_eq!(tried(&set, None), Vec::<Option<String>>::new(), "nobody can say which of two is meant");
        assert_eq!(tried(&set, Some("")), Vec::<Option<String>>::new());
    }

    #[test]
    fn a_set_is_bounded_and_its_names_are_unique() {
        let (hs, other) = (Algorithm::Hs256, Algorithm::Hs512);
        let twice = KeySet::new([key(hs, Some("a")), key(hs, Some("a"))]).unwrap_err();
        assert!(twice.to_string().contains("`a`"), "{twice}");
        assert!(KeySet::new([key(hs, Some("a")), key(other, Some("a"))]).is_ok());
        assert!(KeySet::new((0..4).map(|_| key(hs, None))).is_ok());
        assert!(matches!(KeySet::new((0..5).map(|_| key(hs, None))), Err(BadKeySet::TooManyUnnamed { .. })));
        let many = (0..129).map(|n| key(hs, Some(&n.to_string())));
        assert_eq!(KeySet::new(many).unwrap_err(), BadKeySet::TooMany(129));
        let (all, left_out) = KeySet::new([key(hs, Some("a"))])
            .unwrap()
            .joined_by(&KeySet::new([key(hs, Some("a")), key(hs, Some("b"))]).unwrap());
        assert_eq!((all.len(), left_out.len()), (2, 1), "what is there wins");
    }
}
