//! What was fetched from one address, and how that went.
//!
//! Promises: it outlives the thread that fetched it: a reload that lists the same address for the same issuer goes on with
//! it, so that keys are given up for better ones only, or because nobody could say for too long that they still are good. Must never hold its lock while it calls anybody.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::JwksRules;
use crate::control::metrics::{Family, Kind};
use crate::runtime::clock::Clock;
use crate::wire::token::{BadKeySet, KeySet};

/// One address.
#[derive(Debug)]
pub(super) struct Source {
    url: String,
    /// The same for people.
    shown: String,
    issuer: Option<String>,
    fetches: AtomicU64,
    failures: AtomicU64,
    /// It has one zero for as long as the source lives, whoever fetches.
    clock: Clock,
    newest: Mutex<Newest>,
}

#[derive(Debug, Default)]
struct Newest {
    /// Of the last fetch that brought some.
    keys: Option<KeySet>,
    /// When that was.
    fetched_mono_ms: u64,
    /// Keys were there and were given up: after so many seconds.
    given_up_s: Option<u64>,
    /// Why the last try failed; empty after a success.
    trouble: String,
}

impl Source {
    fn new(rules: &JwksRules) -> Self {
        Self {
            url: rules.url.clone(),
            shown: rules.shown(),
            issuer: rules.issuer.clone(),
            fetches: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            clock: Clock::start(),
            newest: Mutex::default(),
        }
    }

    /// Whether these rules are about the same keys, for the same tokens.
    fn is_of(&self, rules: &JwksRules) -> bool {
        (&self.url, &self.issuer) == (&rules.url, &rules.issuer)
    }

    pub(super) fn take_keys(&self, keys: KeySet) {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        let fetched_mono_ms = self.clock.now().mono_ms;
        *self.newest() = Newest { keys: Some(keys), fetched_mono_ms, ..Newest::default() };
    }

    /// Milliseconds of its clock.
    pub(super) fn now_ms(&self) -> u64 {
        self.clock.now().mono_ms
    }

    /// Gives up keys of which no fetch has said for more than `stale_ms` (`None`: never) that they still are good; tells
    /// after how many seconds.
    pub(super) fn give_up_stale(&self, now_ms: u64, stale_ms: Option<u64>) -> Option<u64> {
        let mut newest = self.newest();
        let age_ms = newest.keys.as_ref().map(|_| now_ms.saturating_sub(newest.fetched_mono_ms))?;
        if stale_ms.is_none_or(|stale_ms| age_ms <= stale_ms) {
            return None;
        }
        (newest.keys, newest.given_up_s) = (None, Some(age_ms / 1_000));
        newest.given_up_s
    }

    /// Seconds since the keys that are used were fetched.
    fn age_s(&self) -> u64 {
        let newest = self.newest();
        newest.keys.as_ref().map_or(0, |_| self.now_ms().saturating_sub(newest.fetched_mono_ms) / 1_000)
    }

    /// The keys before stay.
    pub(super) fn take_failure(&self, why: String) {
        self.newest().trouble = why;
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    fn keys(&self) -> Option<KeySet> {
        self.newest().keys.clone()
    }

    fn newest(&self) -> MutexGuard<'_, Newest> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known about the fetching, for a scrape, for readiness, and for whoever fetches next. A clone is a pointer.
#[derive(Clone, Debug)]
pub struct Status(Arc<[Arc<Source>]>);

impl Status {
    /// Of these addresses. What is known of one of them `before` stays known.
    pub(super) fn new(rules: &[JwksRules], before: Option<&Self>) -> Self {
        let known = |rules: &JwksRules| before?.0.iter().find(|source| source.is_of(rules)).map(Arc::clone);
        Self(rules.iter().map(|rules| known(rules).unwrap_or_else(|| Arc::new(Source::new(rules)))).collect())
    }

    /// The address at `place`, for people.
    pub(super) fn shown(&self, place: usize) -> &str {
        &self.0[place].shown
    }

    pub(super) fn source(&self, place: usize) -> &Source {
        &self.0[place]
    }

    /// The keys of all addresses; those that are not used, each with its reason.
    pub(super) fn together(&self) -> (KeySet, Vec<LeftOut>) {
        let sets: Vec<Option<KeySet>> = self.0.iter().map(|source| source.keys()).collect();
        together(&sets)
    }

    /// Whether keys of every address are there; else why not, as a sentence.
    pub fn ready(&self) -> Result<(), String> {
        let missing = self.0.iter().map(|source| source.newest()).find(|newest| newest.keys.is_none());
        match missing.as_deref() {
            None => Ok(()),
            Some(Newest { trouble, given_up_s: Some(given_up_s), .. }) => {
                Err(format!("token keys were given up {given_up_s} s after they were fetched: {trouble}"))
            }
            Some(Newest { trouble, .. }) if trouble.is_empty() => Err("no token keys yet: still fetching".to_owned()),
            Some(Newest { trouble, .. }) => Err(format!("no token keys yet: {trouble}")),
        }
    }

    /// For the scrape.
    pub fn families(&self) -> Vec<Family> {
        let count = |of: fn(&Source) -> u64| -> u64 { self.0.iter().map(|source| of(source)).sum() };
        let keys = count(|source| source.keys().map_or(0, |keys| keys.len() as u64));
        let left_out = self.together().1.len() as u64;
        vec![
            Family::single("throng_jwks_keys", "Keys from JWKS addresses", Kind::Gauge, keys),
            Family::single(
                "throng_jwks_fetches",
                "Key sets fetched",
                Kind::Counter,
                count(|source| source.fetches.load(Ordering::Relaxed)),
            ),
            Family::single(
                "throng_jwks_failures",
                "Fetches of key sets that failed; the sets before them stay",
                Kind::Counter,
                count(|source| source.failures.load(Ordering::Relaxed)),
            ),
            Family::single(
                "throng_jwks_keys_left_out",
                "Keys from JWKS addresses that are not used: another address has the name, or there are too many",
                Kind::Gauge,
                left_out,
            ),
            Family::single(
                "throng_jwks_age_seconds",
                "How long ago the oldest key set that is in use was fetched",
                Kind::Gauge,
                self.0.iter().map(|source| source.age_s()).max().unwrap_or(0),
            ),
        ]
    }
}

/// A key that is not used, of the address at `place`.
pub(super) struct LeftOut {
    pub(super) place: usize,
    pub(super) why: BadKeySet,
    /// The address that has the name already.
    pub(super) holder: Option<usize>,
}

/// The keys of all addresses. A name belongs to the address that is listed first: an issuer further down cannot take it
/// away, and its own key of that name is left out by name, not in silence.
pub(super) fn together(sets: &[Option<KeySet>]) -> (KeySet, Vec<LeftOut>) {
    let (mut all, mut left_out) = (KeySet::default(), Vec::new());
    for (place, set) in sets.iter().enumerate() {
        let Some(set) = set else { continue };
        let (more, why_not) = all.joined_by(set);
        all = more;
        left_out.extend(why_not.into_iter().map(|why| {
            let holds = |set: &Option<KeySet>| match (set, &why) {
                (Some(set), BadKeySet::SameKid { algorithm, kid }) => set.has_named(algorithm, kid),
                (None, _)
                | (Some(_), BadKeySet::SameKey { .. } | BadKeySet::TooMany(_) | BadKeySet::TooManyUnnamed { .. }) => {
                    false
                }
            };
            let holder = sets[..place].iter().position(holds);
            LeftOut { place, why, holder }
        }));
    }
    (all, left_out)
}
