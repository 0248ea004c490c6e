//! Who may use the API: keys, of which the server knows only the hashes, and how often one may guess.
//!
//! Promises: no key is kept or printed; every known hash is compared, in constant time, whichever fits; the right key is
//! let in whoever else guesses at the same address; wrong ones are answered at a bounded rate, in a table that cannot
//! grow. Must never say what was wrong with a key.
//!
//! What keeps guessing pointless is the key, not the rate: `throng api-key new` draws 256 bits, and what is shorter than
//! [`TEXT_BYTES_MIN`] is no key even if its hash is listed. So the right one need not wait behind the wrong ones.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::time::{Duration, Instant};

use crate::base::counted_as;

/// One key: a name for logs and messages, and the SHA-256 of the key's text.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    name: String,
    sha256: [u8; 32],
}

/// A new key. Shown once, kept by nobody.
pub struct NewKey {
    /// What the holder sends as `Authorization: Bearer`.
    pub text: String,
    /// What the server is given, in lower-case hex.
    pub sha256: String,
}

impl ApiKey {
    /// Reads `NAME=HEX`, as a flag, a line of a keys file or the config has it.
    ///
    /// # Errors
    /// A sentence that says what is wrong and never repeats the hash.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, hex) = text.split_once('=').ok_or("an API key is given as NAME=SHA256, see: throng api-key new")?;
        Self::new(name.trim(), hex.trim())
    }

    /// # Errors
    /// See [`ApiKey::parse`].
    pub fn new(name: &str, sha256_hex: &str) -> Result<Self, String> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        if !(1..=NAME_BYTES_MAX).contains(&name.len()) || !name.bytes().all(allowed) {
            return Err(format!("the name of an API key has 1 to {NAME_BYTES_MAX} bytes of A-Z a-z 0-9 _ . -"));
        }
        let sha256 = from_hex(sha256_hex).ok_or_else(|| {
            format!("the API key {name} is not 64 hex digits: the server is given the key's SHA-256, not the key")
        })?;
        Ok(Self { name: name.to_owned(), sha256 })
    }

    /// One `NAME=HEX` per line; empty lines and lines that begin with `#` are skipped.
    ///
    /// # Errors
    /// Names the line.
    pub fn parse_file(text: &str) -> Result<Vec<Self>, String> {
        let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
        lines
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
            .map(|(at, line)| Self::parse(line).map_err(|why| format!("line {at}: {why}")))
            .collect()
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({})", self.name)
    }
}

impl NewKey {
    /// Draws one: 256 bits of the system's randomness.
    ///
    /// # Errors
    /// The system gives none.
    pub fn draw() -> Result<Self, String> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| format!("the system gives no randomness for a key: {error}"))?;
        Ok(Self::of(format!("throng_{}", URL_SAFE_NO_PAD.encode(bytes))))
    }

    fn of(text: String) -> Self {
        let hash = digest(&SHA256, text.as_bytes());
        let sha256 = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Self { text, sha256 }
    }
}

/// Finds the key whose hash this text has. Looks at all of them, whichever fits. What could be guessed (too short) or
/// would cost more than it may (too long) is none.
pub(super) fn find<'a>(keys: &'a [ApiKey], text: &str) -> Option<&'a ApiKey> {
    if !(TEXT_BYTES_MIN..=TEXT_BYTES_MAX).contains(&text.len()) {
        return None;
    }
    let hash = digest(&SHA256, text.as_bytes());
    let mut found = None;
    for key in keys {
        if verify_slices_are_equal(hash.as_ref(), &key.sha256).is_ok() {
            found = Some(key);
        }
    }
    found
}

/// Wrong keys by address: [`BURST`] at once, then one a second.
#[derive(Default, Debug)]
pub(super) struct Guesses {
    /// By what is counted as one address: whoever has a /64 could draw a new one for each guess.
    by_address: HashMap<u64, Tries>,
}

#[derive(Clone, Copy, Debug)]
struct Tries {
    spent: u32,
    since: Instant,
}

impl Tries {
    fn left_at(self, now: Instant) -> u32 {
        let forgiven = now.saturating_duration_since(self.since).as_secs();
        self.spent.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX))
    }
}

impl Guesses {
    /// A wrong key came from this address. False: it has sent too many, this one is not counted any more.
    pub(super) fn note_wrong(&mut self, address: IpAddr, now: Instant) -> bool {
        let address = counted_as(address);
        let spent = self.by_address.get(&address).map_or(0, |tries| tries.left_at(now));
        if spent >= BURST {
            return false;
        }
        if self.by_address.len() >= ADDRESSES_MAX && !self.by_address.contains_key(&address) {
            self.by_address.retain(|_, tries| tries.left_at(now) > 0);
            if self.by_address.len() >= ADDRESSES_MAX {
                // So many guess at once that whoever is longest forgiven is forgotten: the rate stays bounded by the
                // table, and the table by this.
                let oldest = self.by_address.iter().min_by_key(|(_, tries)| tries.since).map(|(address, _)| *address);
                oldest.map(|oldest| self.by_address.remove(&oldest));
            }
        }
        self.by_address.insert(address, Tries { spent: spent + 1, since: now });
        true
    }
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

const NAME_BYTES_MAX: usize = 64;
/// Of 32 bytes drawn from 64 characters nobody guesses one in a lifetime of tries, however many come in a second.
pub(super) const TEXT_BYTES_MIN: usize = 32;
/// A hash over this costs about a microsecond.
const TEXT_BYTES_MAX: usize = 512;
/// Wrong keys an address may send at once.
const BURST: u32 = 10;
const ADDRESSES_MAX: usize = 1_024;
/// What an address that guesses is asked to wait.
pub(super) const GUESS_AGAIN_AFTER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_by_its_hash_and_by_nothing_else() {
        let (new, other) = (NewKey::draw().unwrap(), NewKey::draw().unwrap());
        assert_ne!(new.text, other.text);
        let keys = [
            ApiKey::new("backend", &new.sha256).unwrap(),
            ApiKey::parse(&format!("ops = {}", other.sha256.to_uppercase())).unwrap(),
        ];
        assert_eq!(find(&keys, &new.text).map(ApiKey::name), Some("backend"));
        assert_eq!(find(&keys, &other.text).map(ApiKey::name), Some("ops"));
        for wrong in ["", "throng_", &new.sha256, &new.text[1..]] {
            assert!(find(&keys, wrong).is_none(), "{wrong}");
        }
        assert_eq!(format!("{keys:?}"), "[ApiKey(backend), ApiKey(ops)]");
        let short = NewKey::of("a".repeat(TEXT_BYTES_MIN - 1));
        let listed = [ApiKey::new("weak", &short.sha256).unwrap()];
        assert!(find(&listed, &short.text).is_none(), "what could be guessed is no key, whatever is listed");
        // FIPS 180-2, B.1.
        assert_eq!(
            NewKey::of("abc".to_owned()).sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn what_is_no_key_is_said_with_its_line_and_without_the_hash() {
        let hash = "ab".repeat(32);
        let keys = ApiKey::parse_file(&format!("# ours\n\nbackend={hash}\n ops = {hash} \n")).unwrap();
        assert_eq!(keys.iter().map(ApiKey::name).collect::<Vec<_>>(), ["backend", "ops"]);
        for (bad, word) in [
            ("backend".to_owned(), "line 1: an API key is given as NAME=SHA256"),
            (format!("a b={hash}"), "line 1: the name"),
            (format!("# x\na={hash}0"), "line 2: the API key a is not 64 hex digits"),
            ("a=throng_secret".to_owned(), "not the key"),
        ] {
            let sentence = ApiKey::parse_file(&bad).unwrap_err();
            assert!(sentence.contains(word) && !sentence.contains("secret") && !sentence.contains(&hash), "{sentence}");
        }
    }

    #[test]
    fn who_guesses_waits_and_the_others_do_not() {
        let (mut guesses, now) = (Guesses::default(), Instant::now());
        let (bad, good) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        for _ in 0..BURST {
            assert!(guesses.note_wrong(bad, now));
        }
        assert!(!guesses.note_wrong(bad, now) && guesses.note_wrong(good, now));
        let later = now + Duration::from_secs(1);
        assert!(guesses.note_wrong(bad, later), "one a second");
        assert!(!guesses.note_wrong(bad, later));
        let of_one_net = |n: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, n]);
        assert!((0..).map(of_one_net).take(10).all(|address| guesses.note_wrong(address, later)));
        assert!(!guesses.note_wrong(of_one_net(99), later), "a /64 is one");
        for n in 0..5_000_u32 {
            guesses.note_wrong(IpAddr::from(n.to_be_bytes()), later);
        }
        assert!(guesses.by_address.len() <= ADDRESSES_MAX);
    }
}
