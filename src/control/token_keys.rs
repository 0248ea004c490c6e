//! Keys from files: what an operator lists becomes a set.
//!
//! Promises: what a file holds is found out from the file (PEM, a JWK set, else a raw secret, which is nothing that is
//! public by its form), every refusal names the file and says what to do, no key is ever printed. A file is read in whole
//! and bounded.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::Limits;
use crate::wire::token::{
    Algorithm, Jwks, JwksFrom, KeySet, TokenRules, TokenVerifier, VerifyingKey, is_pem, without_mark,
};

/// All keys a server has, from files and fetched, and the rules they are used by: what a verifier is made of anew
/// whenever one of these changes.
#[derive(Clone, Debug)]
pub struct KeyRing {
    fixed: KeySet,
    fetched: KeySet,
    rules: TokenRules,
    /// There are addresses to fetch from.
    fetches: bool,
}

impl KeyRing {
    /// Keys from files, and rules that have passed [`TokenRules::check`]. `fetches`: others will be fetched.
    pub fn new(fixed: KeySet, rules: TokenRules, fetches: bool) -> Self {
        Self { fixed, fetched: KeySet::default(), rules, fetches }
    }

    /// A reload: what was fetched stays.
    pub fn reload(&mut self, fixed: KeySet, rules: TokenRules, fetches: bool) {
        *self = Self { fetched: std::mem::take(&mut self.fetched), ..Self::new(fixed, rules, fetches) };
    }

    /// What [`OnKeys`](super::jwks::OnKeys) brings: all fetched keys together.
    pub fn take_fetched(&mut self, keys: KeySet) {
        self.fetched = keys;
    }

    /// Where names collide, a file's key wins.
    pub fn verifier(&self, limits: &Limits) -> TokenVerifier {
        let (keys, left_out) = self.fixed.joined_by(&self.fetched);
        for why in left_out {
            tracing::warn!(%why, "a fetched key was left out: keys from files go first");
        }
        let verifier = TokenVerifier::new(keys, self.rules.clone(), limits);
        if self.fetches { verifier.with_keys_to_come() } else { verifier }
    }
}

/// One file of keys, as an operator lists it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyFile {
    pub path: PathBuf,
    /// What tokens name this key by. Not for a JWK set, whose keys have names of their own.
    pub kid: Option<String>,
    /// For a raw secret which of HS256 (the default), HS384, HS512 it is for; for a public key only to make sure.
    pub algorithm: Option<Algorithm>,
    /// Its keys are good for tokens of this `iss` only.
    pub issuer: Option<String>,
}

impl KeyFile {
    /// A file without wishes.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), kid: None, algorithm: None, issuer: None }
    }
}

/// What files held.
#[derive(Debug, Default)]
pub struct Loaded {
    pub keys: KeySet,
    /// Keys of JWK sets that were left out, and why: worth a warning.
    pub left_out: Vec<String>,
}

/// Reads all files. The error names the first one that is not good.
pub fn load(files: &[KeyFile]) -> Result<Loaded, String> {
    let mut loaded = Loaded::default();
    for file in files {
        load_one(file, &mut loaded).map_err(|why| format!("the key file {}: {why}", file.path.display()))?;
    }
    Ok(loaded)
}

fn load_one(file: &KeyFile, loaded: &mut Loaded) -> Result<(), String> {
    let bytes = read_bounded(&file.path)?;
    let text = without_mark(&bytes);
    if text.trim_ascii_start().starts_with(b"{") {
        if file.kid.is_some() || file.algorithm.is_some() {
            return Err("this is a JWK set: its keys say themselves what they are named and for".to_owned());
        }
        let jwks = Jwks::read(text, JwksFrom::File, file.issuer.as_deref()).map_err(|bad| bad.to_string())?;
        loaded.keys.add_all(&jwks.keys).map_err(|bad| bad.to_string())?;
        let left_out = jwks.left_out.into_iter().map(|why| format!("{}: {why}", file.path.display()));
        loaded.left_out.extend(left_out);
        return Ok(());
    }
    let key = match is_pem(text) {
        true => VerifyingKey::from_pem(text, file.algorithm),
        // With its mark, if it has one: that is refused, since nobody knows whether it belongs to the secret.
        false => VerifyingKey::from_secret(file.algorithm.unwrap_or(Algorithm::Hs256), without_line_end(&bytes)),
    };
    let key = key.and_then(|key| match &file.kid {
        Some(kid) => key.with_kid(kid),
        None => Ok(key),
    });
    let key = key.map_err(|bad| bad.to_string())?;
    let key = match &file.issuer {
        Some(issuer) => key.with_issuer(issuer),
        None => key,
    };
    loaded.keys.add(Arc::new(key)).map_err(|bad| bad.to_string())
}

/// Editors and `echo` end a line; the line's end is not part of a secret.
pub fn without_line_end(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    read.map_err(|error| format!("it cannot be read: {error}"))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("it has more than {FILE_BYTES_MAX} bytes"));
    }
    Ok(bytes)
}

const FILE_BYTES_MAX: u64 = 256 << 10;

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";
    const JWKS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k1","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},{"kty":"x"}]}"#;

    /// A file that is gone when the test is over.
    struct Temporary(PathBuf);

    impl Temporary {
        fn new(name: &str, content: &[u8]) -> Self {
            let path = std::env::temp_dir().join(format!("throng-keys-{}-{name}", std::process::id()));
            std::fs::write(&path, content).unwrap();
            Self(path)
        }

        fn file(&self) -> KeyFile {
            KeyFile::at(&self.0)
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            std::fs::remove_file(&self.0).unwrap();
        }
    }

    #[test]
    fn each_kind_of_file_is_known_by_what_is_in_it() {
        let secret = Temporary::new("secret", b"0123456789abcdef0123456789abcdef\r\n");
        let (public, set) = (Temporary::new("pem", PUBLIC.as_bytes()), Temporary::new("jwks", JWKS.as_bytes()));
        let named = KeyFile { kid: Some("p".to_owned()), ..public.file() };
        let loaded = load(&[secret.file(), named, set.file()]).unwrap();
        let keys: Vec<_> = loaded.keys.iter().map(|key| (key.algorithm(), key.kid())).collect();
        let ed = Algorithm::EdDsa;
        assert_eq!(keys, [(Algorithm::Hs256, None), (ed, Some("p")), (ed, Some("k1"))]);
        assert_eq!(loaded.left_out.len(), 1, "{:?}", loaded.left_out);
    }

    /// Each was once taken for a secret, so that whoever had the public key could make tokens with it.
    #[test]
    fn a_public_key_however_a_tool_left_it_is_read_as_one_or_refused_and_never_a_secret() {
        let (body, marked) = (PUBLIC.lines().nth(1).unwrap(), |text: &str| ["\u{feff}", text].concat().into_bytes());
        let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        for (name, content) in [
            ("marked.pem", marked(PUBLIC)),
            (
                "bag.pem",
                format!("Bag Attributes\n    localKeyID: 01\nKey Attributes: <No Attributes>\n{PUBLIC}").into(),
            ),
            ("comment.pem", format!("# the key of the issuer in the EU\n{PUBLIC}").into()),
            ("marked.json", marked(JWKS)),
        ] {
            let file = Temporary::new(name, &content);
            let keys = load(&[file.file()]).unwrap().keys;
            assert_eq!(keys.iter().map(VerifyingKey::algorithm).collect::<Vec<_>>(), [Algorithm::EdDsa], "{name}");
        }
        let ssh = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea ann@example\n";
        for (name, content, word) in [
            ("powershell.pem", wide(&format!("\u{feff}{PUBLIC}")), "byte order mark"),
            ("wide.pem", wide(PUBLIC), "a PEM file"),
            ("wide.json", wide(JWKS), "JSON"),
            ("key.der", STANDARD.decode(body).unwrap(), "in DER"),
            ("no-lines", body.as_bytes().to_vec(), "in DER"),
            ("id_ed25519.pub", ssh.into(), "OpenSSH"),
            ("keys.json", format!("[{JWKS}]").into(), "JSON"),
            ("marked", marked("0123456789abcdef0123456789abcdef"), "byte order mark"),
        ] {
            let why = load(&[Temporary::new(name, &content).file()]).unwrap_err();
            assert!(why.contains(word) && why.contains(name), "{name}: {why}");
        }
    }

    #[test]
    fn fetched_keys_join_those_of_files_survive_a_reload_and_never_take_a_name_away() {
        let (secret, set) = (Temporary::new("ring", b"0123456789abcdef0123456789abcdef"), JWKS.replace("k1", "k2"));
        let fixed = || load(&[secret.file()]).unwrap().keys;
        let fetched = Jwks::read(set.as_bytes(), JwksFrom::Url, None).unwrap().keys;
        let mut ring = KeyRing::new(fixed(), TokenRules::default(), true);
        let known = |ring: &KeyRing| ring.verifier(&Limits::default()).keys().len();
        assert_eq!(known(&ring), 1);
        ring.take_fetched(fetched.clone());
        assert_eq!(known(&ring), 2);
        ring.reload(fixed(), TokenRules::default(), true);
        assert_eq!(known(&ring), 2);
        ring.reload(fixed().joined_by(&fetched).0, TokenRules::default(), true);
        assert_eq!(known(&ring), 2, "the same name from both is one key");
    }

    #[test]
    fn what_is_not_good_is_told_with_the_name_of_its_file() {
        let short = Temporary::new("short", b"too short\n");
        let (public, set) = (Temporary::new("pem2", PUBLIC.as_bytes()), Temporary::new("jwks2", JWKS.as_bytes()));
        let huge = Temporary::new("huge", &vec![b'x'; 300 << 10]);
        let why = |files: &[KeyFile]| load(files).unwrap_err();
        assert!(why(&[short.file()]).contains("short") && why(&[short.file()]).contains("at least 32"));
        assert!(
            why(&[KeyFile { algorithm: Some(Algorithm::Rs256), ..public.file() }]).contains("for EdDSA, not for RS256")
        );
        assert!(why(&[KeyFile { kid: Some("x".to_owned()), ..set.file() }]).contains("JWK set"));
        assert!(why(&[set.file(), set.file()]).contains("`k1`"));
        assert!(why(&[huge.file()]).contains("more than"));
        assert!(why(&[KeyFile::at("/no/such/file")]).contains("cannot be read"));
    }
}
