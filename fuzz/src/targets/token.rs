//! Tokens and JWK sets: nothing that was not signed is ever let in, and no key set makes a panic.

use std::sync::LazyLock;

use throng::base::Limits;
use throng::wire::token::{Jwks, JwksFrom, TokenRules, TokenVerifier};
use throng::wire::token_part;

use super::feed::Feed;
use super::house::{SECRET, UNIX_S, USERS};

static VERIFIER: LazyLock<TokenVerifier> = LazyLock::new(|| TokenVerifier::hs256(SECRET, &Limits::default()));

pub(crate) fn run(data: &[u8]) -> bool {
    let mut feed = Feed::new(data);
    let kind = feed.below(3);
    let bytes = feed.rest();
    if kind == 0 {
        return presented(&String::from_utf8_lossy(bytes));
    }
    let from = if kind == 1 { JwksFrom::File } else { JwksFrom::Url };
    let Ok(jwks) = Jwks::read(bytes, from, None) else { return false };
    assert!(!jwks.keys.is_empty());
    // A token that is tried with whatever keys came.
    let verifier = TokenVerifier::new(jwks.keys.clone(), TokenRules::default(), &Limits::default());
    assert!(verifier.verify(NOBODYS, UNIX_S).is_err());
    jwks.keys.len() == 2 && jwks.left_out.len() == 1 && from == JwksFrom::Url
}

/// Signatures cannot be guessed: whoever gets in is somebody a token was made for.
fn presented(text: &str) -> bool {
    let (_header, _claims) = (token_part(text, 0), token_part(text, 1));
    if let Ok(verified) = VERIFIER.verify(text, UNIX_S) {
        assert!(USERS.contains(&verified.identity.user()), "{text}");
    }
    false
}

/// `{"alg":"RS256","kid":"1"}.{"sub":"eve","exp":4000000000}.` and no signature worth the name.
const NOBODYS: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJzdWIiOiJldmUiLCJleHAiOjQwMDAwMDAwMDB9.AAAA";
