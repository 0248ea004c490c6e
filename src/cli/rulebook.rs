//! What holds now, for all who must agree on it: the shards, the public routes, and whoever makes tokens.
//!
//! Promises: every way to new rules, a reload or fetched keys, goes through here, so neither undoes the other; keys of an
//! address that is no longer listed are gone at once, those of one that still is stay. Which keys were fetched is asked of
//! the thread that fetches now: what another one, of a configuration that is gone or never came, says late changes nothing.
//! Must never hold its lock while it waits for a thread.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use throng::base::Classes;
use throng::control::jwks::{Jwks, JwksRules, Status, UnknownKeys};
use throng::control::token_keys::KeyRing;
use throng::control::{Family, FrontDoor};
use throng::shard::Rules;
use throng::wire::token::KeySet;

use super::Failure;
use super::secret::Secret;
use super::serve::ServeConfig;

/// Takes new rules to the shards.
pub(crate) type Tell = Arc<dyn Fn(Arc<Rules>) + Send + Sync>;

/// The one place where rules are made.
pub(crate) struct Rulebook(Mutex<Book>);

struct Book {
    config: ServeConfig,
    ring: KeyRing,
    /// They follow from the configuration and from those before: a pattern keeps its place.
    classes: Classes,
    /// `None` until the shards run.
    shards: Option<(Tell, UnknownKeys)>,
    fetching: Option<Jwks>,
    /// The addresses of keys are asked by now, if there are any.
    asks: bool,
}

/// What a change needs and may fail to get; nothing is changed yet.
pub(crate) struct Prepared {
    config: ServeConfig,
    classes: Classes,
    /// Addresses to be asked otherwise than before: their thread, if there are any.
    fetching: Option<Option<Jwks>>,
}

impl Rulebook {
    pub(crate) fn new(config: ServeConfig) -> Result<Arc<Self>, Failure> {
        let classes = config.rooms.classes(&config.limits, None).map_err(Failure::Misused)?;
        let ring = KeyRing::new(config.keys.clone(), config.token_rules.clone(), !config.jwks.is_empty());
        let book = Book { config, ring, classes, shards: None, fetching: None, asks: false };
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
    pub(crate) fn start(self: &Arc<Self>, tell: Tell, unknown: UnknownKeys) -> Result<(), Failure> {
        let jwks = {
            let mut book = self.lock();
            book.shards = Some((tell, Arc::clone(&unknown)));
            book.config.jwks.clone()
        };
        let fetching = self.fetch(&jwks, None, unknown)?;
        let mut book = self.lock();
        (book.fetching, book.asks) = (fetching, true);
        // They may have come before this was their thread.
        book.on_keys();
        Ok(())
    }

    /// Gets ready for another configuration.
    pub(crate) fn prepare(self: &Arc<Self>, config: ServeConfig) -> Result<Prepared, Failure> {
        let (before, status, shards, classes) = {
            let book = self.lock();
            let classes = config.rooms.classes(&config.limits, Some(&book.classes)).map_err(Failure::Misused)?;
            (book.config.jwks.clone(), book.fetching.as_ref().map(Jwks::status), book.shards.clone(), classes)
        };
        let fetching = match shards {
            // The same file may hold other certificates by now.
            Some((_, unknown)) if before != config.jwks || config.jwks.iter().any(|jwks| jwks.ca_file.is_some()) => {
                Some(self.fetch(&config.jwks, status.as_ref(), unknown)?)
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
            (book.config, book.classes) = (config, classes);
            let former = fetching.map(|fetching| std::mem::replace(&mut book.fetching, fetching));
            if former.is_some() {
                book.take_fetched();
            }
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
        before: Option<&Status>,
        unknown: UnknownKeys,
    ) -> Result<Option<Jwks>, Failure> {
        if jwks.is_empty() {
            return Ok(None);
        }
        // The thread lies in here: it must not keep the whole alive.
        let rulebook: Weak<Self> = Arc::downgrade(self);
        let on_keys = Arc::new(move || {
            if let Some(rulebook) = rulebook.upgrade() {
                rulebook.lock().on_keys();
            }
        });
        Jwks::start(jwks, before, unknown, on_keys).map(Some).map_err(Failure::Broken)
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
        if let Some((tell, _)) = &self.shards {
            tell(Arc::new(self.rules()));
        }
    }

    /// Some thread says that it fetched keys.
    fn on_keys(&mut self) {
        if self.fetching.is_some() {
            self.take_fetched();
            self.tell();
        }
    }

    /// All that the thread of now has, and what it took over.
    fn take_fetched(&mut self) {
        self.ring.take_fetched(self.fetching.as_ref().map_or_else(KeySet::default, Jwks::keys));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::thread::JoinHandle;

    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;
    use throng::control::Value;
    use throng::wire::token::{Algorithm, signing_input, with_signature};

    use super::super::serve::tests::config;
    use super::*;

    const NOW: u64 = 1_800_000_000;

    /// A server of one key, on a real socket.
    struct Issuer {
        name: &'static str,
        address: SocketAddr,
        pair: Ed25519KeyPair,
        answer: Arc<Mutex<String>>,
        asked: Arc<AtomicU64>,
        over: Arc<AtomicBool>,
        thread: JoinHandle<()>,
    }

    impl Issuer {
        fn open(name: &'static str) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let (address, pair) = (listener.local_addr().unwrap(), Ed25519KeyPair::generate().unwrap());
            let answer = Arc::new(Mutex::new(answer_of(&pair)));
            let (asked, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
            let (give, count, ends) = (Arc::clone(&answer), Arc::clone(&asked), Arc::clone(&over));
            let serve = move || {
                while let Ok((stream, _)) = listener.accept() {
                    if ends.load(Ordering::SeqCst) {
                        return;
                    }
                    let mut stream = BufReader::new(stream);
                    (&mut stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
                    count.fetch_add(1, Ordering::SeqCst);
                    let answer = give.lock().unwrap().clone();
                    // Who was stopped meanwhile reads no more.
                    let _written = stream.get_mut().write_all(answer.as_bytes());
                }
            };
            let thread = std::thread::Builder::new().spawn(serve).unwrap();
            Self { name, address, pair, answer, asked, over, thread }
        }

        /// From now on it signs with another key.
        fn change_key(&mut self) {
            self.pair = Ed25519KeyPair::generate().unwrap();
            *self.answer.lock().unwrap() = answer_of(&self.pair);
        }

        /// Nobody listens any more when this returns.
        fn close(self) -> Closed {
            self.over.store(true, Ordering::SeqCst);
            drop(TcpStream::connect(self.address));
            self.thread.join().unwrap();
            Closed { rules: rules(self.name, self.address), token: token(self.name, &self.pair) }
        }

        fn rules(&self) -> JwksRules {
            rules(self.name, self.address)
        }

        fn token(&self) -> String {
            token(self.name, &self.pair)
        }
    }

    /// What is left of an issuer that is down.
    struct Closed {
        rules: JwksRules,
        token: String,
    }

    fn answer_of(pair: &Ed25519KeyPair) -> String {
        let x = URL_SAFE_NO_PAD.encode(pair.public_key());
        let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": &x, "x": &x}]}).to_string();
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{set}", set.len())
    }

    fn rules(name: &str, address: SocketAddr) -> JwksRules {
        let (url, issuer) = (format!("http://{address}/keys"), Some(name.to_owned()));
        JwksRules { url, issuer, timeout_ms: 60_000, ..JwksRules::default() }
    }

    fn token(name: &str, pair: &Ed25519KeyPair) -> String {
        let (kid, claims) =
            (URL_SAFE_NO_PAD.encode(pair.public_key()), json!({"sub": "ann", "exp": NOW + 60, "iss": name}));
        let message = signing_input(Algorithm::EdDsa, Some(&kid), &claims).unwrap();
        let signature = pair.sign(message.as_bytes());
        with_signature(message, signature.as_ref())
    }

    fn with(jwks: &[&JwksRules]) -> ServeConfig {
        let jwks = jwks.iter().map(|rules| (*rules).clone()).collect();
        ServeConfig { jwks, ..config(&["--dev"]).unwrap() }
    }

    /// One that fetches, for shards that are nowhere.
    fn started(jwks: &[&JwksRules]) -> Arc<Rulebook> {
        let rulebook = Rulebook::new(with(jwks)).unwrap();
        rulebook.start(Arc::new(drop::<Arc<Rules>>), Arc::new(|| 0)).unwrap();
        rulebook
    }

    fn reload(rulebook: &Arc<Rulebook>, jwks: &[&JwksRules]) {
        let prepared = rulebook.prepare(with(jwks)).unwrap();
        rulebook.take(prepared);
    }

    fn takes(rulebook: &Rulebook, token: &str) -> bool {
        rulebook.rules().verifier.verify(token, NOW).is_ok()
    }

    fn failures(rulebook: &Rulebook) -> Value {
        let families = rulebook.families();
        let family = families.iter().find(|family| family.name == "throng_jwks_failures").unwrap();
        family.samples[0].value.clone()
    }

    #[test]
    fn a_reload_keeps_the_keys_of_an_issuer_that_is_down_and_the_server_ready() {
        let (mut here, away) = (Issuer::open("https://here.example"), Issuer::open("https://away.example"));
        let rulebook = started(&[&here.rules(), &away.rules()]);
        while !takes(&rulebook, &here.token()) || !takes(&rulebook, &away.token()) {
            std::thread::yield_now();
        }
        assert_eq!(rulebook.keys_missing(), None);
        let away = away.close();
        let old = here.token();
        here.change_key();

        let hurried = |rules: &JwksRules| JwksRules { refresh_s: 500, ..rules.clone() };
        reload(&rulebook, &[&hurried(&here.rules()), &hurried(&away.rules)]);
        // The new key of the one comes, and the other has been asked in vain.
        while !takes(&rulebook, &here.token()) || failures(&rulebook) == Value::Number(0) {
            assert!(takes(&rulebook, &away.token), "its keys stay at every moment");
            assert_eq!(rulebook.keys_missing(), None);
            std::thread::yield_now();
        }
        assert!(takes(&rulebook, &away.token) && !takes(&rulebook, &old));
        assert_eq!(rulebook.keys_missing(), None);

        reload(&rulebook, &[&away.rules]);
        assert!(takes(&rulebook, &away.token), "another address is taken away, not this one");
        assert!(!takes(&rulebook, &here.token()), "what is no longer listed is gone at once");
        let of_another = JwksRules { issuer: Some("https://other.example".to_owned()), ..away.rules.clone() };
        reload(&rulebook, &[&of_another]);
        assert!(!takes(&rulebook, &away.token) && rulebook.keys_missing().is_some(), "other keys are meant");
        reload(&rulebook, &[]);
        assert_eq!(rulebook.keys_missing(), None);
        rulebook.stop();
        here.close();
    }

    #[test]
    fn keys_fetched_for_a_configuration_that_was_refused_are_never_taken() {
        let (ours, theirs) = (Issuer::open("https://ours.example"), Issuer::open("https://theirs.example"));
        let rulebook = started(&[&ours.rules()]);
        let refused = rulebook.prepare(with(&[&ours.rules(), &theirs.rules()])).unwrap();
        while theirs.asked.load(Ordering::SeqCst) == 0 || !takes(&rulebook, &ours.token()) {
            assert!(!takes(&rulebook, &theirs.token()));
            std::thread::yield_now();
        }
        // It ends all that it was doing, and nothing of it comes late.
        refused.fetching.flatten().unwrap().stop();
        assert!(!takes(&rulebook, &theirs.token()));
        reload(&rulebook, &[&JwksRules { refresh_s: 500, ..ours.rules() }]);
        assert!(takes(&rulebook, &ours.token()) && !takes(&rulebook, &theirs.token()));
        rulebook.stop();
        ours.close();
        theirs.close();
    }
}
