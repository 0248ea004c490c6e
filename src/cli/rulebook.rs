//! What holds now, for all who must agree on it: the shards, the public routes, and whoever makes tokens.
//!
//! Promises: every way to new rules, a reload or fetched keys, goes through here, so neither undoes the other; keys of an
//! address that is no longer listed are gone at once. Must never hold its lock while it waits for a thread.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use throng::base::Classes;
use throng::control::jwks::{Jwks, JwksRules, UnknownKeys};
use throng::control::token_keys::KeyRing;
use throng::control::{Family, FrontDoor};
use throng::runtime::RulesChange;
use throng::shard::Rules;
use throng::wire::token::KeySet;

use super::Failure;
use super::secret::Secret;
use super::serve::ServeConfig;

/// The one place where rules are made.
pub(crate) struct Rulebook(Mutex<Book>);

struct Book {
    config: ServeConfig,
    ring: KeyRing,
    /// They follow from the configuration and from those before: a pattern keeps its place.
    classes: Classes,
    /// `None` until the shards run.
    shards: Option<(RulesChange, UnknownKeys)>,
    fetching: Option<Jwks>,
    /// The addresses of keys are asked by now, if there are any.
    asks: bool,
    /// Counts the threads that fetched; only the newest one's keys are taken.
    generation: u64,
    /// What the next thread brought before it was the newest.
    early: Option<KeySet>,
}

/// What a change needs and may fail to get; nothing is changed yet.
pub(crate) struct Prepared {
    config: ServeConfig,
    classes: Classes,
    /// Other addresses than before: their thread, if there are any.
    fetching: Option<Option<Jwks>>,
}

impl Rulebook {
    pub(crate) fn new(config: ServeConfig) -> Result<Arc<Self>, Failure> {
        let classes = config.rooms.classes(&config.limits, None).map_err(Failure::Misused)?;
        let ring = KeyRing::new(config.keys.clone(), config.token_rules.clone(), !config.jwks.is_empty());
        let book =
            Book { config, ring, classes, shards: None, fetching: None, asks: false, generation: 0, early: None };
        Ok(Arc::new(Self(Mutex::new(book))))
    }

    pub(crate) fn rules(&self) -> Rules {
        self.lock().rules()
    }

    /// For the scrape: their names are its labels.
    pub(crate) fn classes(&self) -> Classes {
        self.lock().classes.clone()
    }

    /// The public routes ask it at each request.
    pub(crate) fn front_door(self: &Arc<Self>) -> FrontDoor {
        let rulebook = Arc::clone(self);
        Arc::new(move || {
            let book = rulebook.lock();
            (book.config.origins.clone(), book.config.proxies.clone())
        })
    }

    /// What signs the tokens of `--dev`.
    pub(crate) fn secret(&self) -> Option<Secret> {
        self.lock().config.secret.clone()
    }

    /// From now on the shards are told of changes, and keys are fetched.
    pub(crate) fn start(self: &Arc<Self>, change: RulesChange, unknown: UnknownKeys) -> Result<(), Failure> {
        let jwks = {
            let mut book = self.lock();
            book.shards = Some((change, Arc::clone(&unknown)));
            book.config.jwks.clone()
        };
        let fetching = self.fetch(&jwks, 0, unknown)?;
        let mut book = self.lock();
        (book.fetching, book.asks) = (fetching, true);
        Ok(())
    }

    /// Gets ready for another configuration.
    pub(crate) fn prepare(self: &Arc<Self>, config: ServeConfig) -> Result<Prepared, Failure> {
        let (before, next, shards, classes) = {
            let mut book = self.lock();
            book.early = None;
            let classes = config.rooms.classes(&config.limits, Some(&book.classes)).map_err(Failure::Misused)?;
            (book.config.jwks.clone(), book.generation + 1, book.shards.clone(), classes)
        };
        let fetching = match shards {
            // The same file may hold other certificates by now.
            Some((_, unknown)) if before != config.jwks || config.jwks.iter().any(|jwks| jwks.ca_file.is_some()) => {
                Some(self.fetch(&config.jwks, next, unknown)?)
            }
            Some(_) | None => None,
        };
        Ok(Prepared { config, classes, fetching })
    }

    /// From now on this holds.
    pub(crate) fn take(&self, prepared: Prepared) {
        let Prepared { config, classes, fetching } = prepared;
        let former = {
            let mut book = self.lock();
            book.ring.reload(config.keys.clone(), config.token_rules.clone(), !config.jwks.is_empty());
            let keeps =
                |old: &JwksRules| config.jwks.iter().any(|new| (&new.url, &new.issuer) == (&old.url, &old.issuer));
            if !book.config.jwks.iter().all(keeps) {
                book.ring.take_fetched(KeySet::default());
            }
            (book.config, book.classes) = (config, classes);
            let former = fetching.map(|fetching| {
                book.generation += 1;
                if let Some(keys) = book.early.take() {
                    book.ring.take_fetched(keys);
                }
                std::mem::replace(&mut book.fetching, fetching)
            });
            book.tell();
            former
        };
        // Only now: its thread may be waiting for the lock.
        if let Some(former) = former.flatten() {
            former.stop();
        }
    }

    pub(crate) fn stop(&self) {
        let fetching = self.lock().fetching.take();
        if let Some(fetching) = fetching {
            fetching.stop();
        }
    }

    /// For the scrape.
    pub(crate) fn families(&self) -> Vec<Family> {
        let status = self.lock().fetching.as_ref().map(Jwks::status);
        status.map_or_else(Vec::new, |status| status.families())
    }

    /// Why not every address has given its keys yet, as a sentence.
    pub(crate) fn keys_missing(&self) -> Option<String> {
        let status = {
            let book = self.lock();
            if !book.asks && !book.config.jwks.is_empty() {
                // The shards serve a moment before anybody is asked.
                return Some("no token keys yet: nobody was asked so far".to_owned());
            }
            book.fetching.as_ref().map(Jwks::status)
        };
        status.and_then(|status| status.ready().err())
    }

    fn fetch(
        self: &Arc<Self>,
        jwks: &[JwksRules],
        generation: u64,
        unknown: UnknownKeys,
    ) -> Result<Option<Jwks>, Failure> {
        if jwks.is_empty() {
            return Ok(None);
        }
        // The thread lies in here: it must not keep the whole alive.
        let rulebook: Weak<Self> = Arc::downgrade(self);
        let on_keys = Arc::new(move |keys| {
            if let Some(rulebook) = rulebook.upgrade() {
                rulebook.lock().on_keys(generation, keys);
            }
        });
        Jwks::start(jwks, unknown, on_keys).map(Some).map_err(Failure::Broken)
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn rules(&self) -> Rules {
        self.config.rules(&self.ring, self.classes.clone())
    }

    fn tell(&self) {
        if let Some((shards, _)) = &self.shards {
            shards.tell(Arc::new(self.rules()));
        }
    }

    fn on_keys(&mut self, generation: u64, keys: KeySet) {
        if generation == self.generation {
            self.ring.take_fetched(keys);
            self.tell();
        } else if generation == self.generation + 1 {
            self.early = Some(keys);
        }
    }
}
