//! Tokens on real sockets: keys of another kind, one that is still to be fetched, in a URL, refreshed, at its end.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "support/issuer.rs"]
mod issuer;
#[path = "support/raw.rs"]
mod raw;
#[expect(dead_code, reason = "other tests use more of it")]
mod support;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use issuer::{Issuer, turned};
use raw::{Raw, Seen};
use serde_json::{Value, json};
use support::{SECRET, serve_by, small};
use throng::base::Limits;
use throng::shard::Rules;
use throng::wire::TokenRules;
use throng::wire::token::{Algorithm, KeySet, TokenVerifier, VerifyingKey, sign_hmac, signing_input, with_signature};

const OURS: &str = "Sec-WebSocket-Protocol: throng.v1.json";

/// The secret, the key `new`, or both; the rules of a server that was told nothing.
fn prove_by(keys: impl IntoIterator<Item = VerifyingKey>, more_to_come: bool) -> impl FnOnce(&mut Rules) {
    let keys = KeySet::new(keys.into_iter().map(Arc::new)).unwrap();
    move |rules| {
        let verifier = TokenVerifier::new(keys, TokenRules::default(), &rules.limits);
        rules.verifier = Arc::new(if more_to_come { verifier.with_keys_to_come() } else { verifier });
    }
}

fn secret() -> VerifyingKey {
    VerifyingKey::from_secret(Algorithm::Hs256, SECRET).unwrap()
}

fn public(pair: &EcdsaKeyPair) -> VerifyingKey {
    let der: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    VerifyingKey::from_der(der.as_ref()).unwrap().with_kid("new").unwrap()
}

fn now_s() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a token's life is counted by the wall clock")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs()
}

fn claims(lasts_s: u64) -> Value {
    json!({"sub": "ann", "iat": now_s(), "exp": now_s() + lasts_s})
}

fn signed(lasts_s: u64) -> String {
    sign_hmac(Algorithm::Hs256, None, SECRET, &claims(lasts_s)).unwrap()
}

fn by_the_new_key(pair: &EcdsaKeyPair, kid: Option<&str>) -> String {
    let message = signing_input(Algorithm::Es256, kid, &claims(600)).unwrap();
    let signature = pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
    with_signature(message, signature.as_ref())
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

#[test]
fn a_key_that_is_still_to_be_fetched_is_asked_to_come_again_and_let_in_when_it_is_there() {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    // An issuer of one key need not name it.
    let tokens = [Some("new"), None].map(|kid| bearer(&by_the_new_key(&pair, kid)));
    let (running, _handed) = serve_by(1, small(), prove_by([secret()], true), |_| {});
    for token in &tokens {
        let Seen::Close(code, sentence) = Raw::ask(running.address(), "/ws", &[OURS, token]).verdict() else {
            panic!("a client of ours is told by a close code")
        };
        assert!(code == 1013 && sentence.contains("does not know the token's key yet"), "{code} {sentence}");
        let Seen::Http(status, answer) = Raw::ask(running.address(), "/ws", &[token]).verdict() else {
            panic!("anybody else by HTTP")
        };
        assert!(status == 503 && answer.contains("Retry-After"), "{answer}");
    }
    let (mut rules, adjust) = (None, prove_by([secret(), public(&pair)], true));
    let (other, _handed) = serve_by(
        1,
        small(),
        |fresh| {
            adjust(fresh);
            rules = Some(fresh.clone());
        },
        |_| {},
    );
    other.stop().unwrap();
    running.rules_change().tell(Arc::new(rules.unwrap()));
    for token in &tokens {
        let mut raw = Raw::ask(running.address(), "/ws", &[OURS, token]).switched();
        assert!(raw.hear().contains(r#""user":"ann""#));
    }
    running.stop().unwrap();
}

#[test]
fn a_session_is_opened_by_a_token_of_each_algorithm_and_by_none_that_was_turned() {
    let issuer = Issuer::new();
    let keys = issuer.keys();
    let adjust = |rules: &mut Rules| {
        rules.verifier = Arc::new(TokenVerifier::new(keys, TokenRules::default(), &rules.limits));
    };
    let (running, _handed) = serve_by(2, small(), adjust, |_| {});
    for algorithm in Algorithm::ALL {
        let token = issuer.signs(algorithm, &claims(600));
        let mut raw = Raw::ask(running.address(), "/ws", &[OURS, &bearer(&token)]).switched();
        let welcome = raw.hear();
        assert!(welcome.contains(r#""user":"ann""#), "{algorithm:?}: {welcome}");
        let forged = Raw::ask(running.address(), "/ws", &[OURS, &bearer(&turned(&token))]).verdict();
        assert!(matches!(forged, Seen::Close(4503, _)), "{algorithm:?}: {forged:?}");
    }
    running.stop().unwrap();
}

#[test]
fn a_token_that_lives_long_is_taken_from_the_header_and_not_from_a_url() {
    let (running, _handed) = serve_by(1, small(), prove_by([secret()], false), |_| {});
    let (long, short) = (signed(86_400), signed(600));
    let Seen::Close(code, sentence) = Raw::ask(running.address(), &format!("/ws?token={long}"), &[OURS]).verdict()
    else {
        panic!("a day is too long")
    };
    assert!(code == 4503 && sentence.contains("in a URL"), "{code} {sentence}");
    for (path, header) in [("/ws", bearer(&long)), (&*format!("/ws?token={short}"), "X: y".to_owned())] {
        assert!(Raw::ask(running.address(), path, &[OURS, &header]).switched().hear().contains("welcome"));
    }
    running.stop().unwrap();
}

#[test]
fn who_is_told_of_the_end_and_refreshes_goes_on_and_who_does_not_is_sent_for_a_new_token() {
    let limits = Limits { token_leeway_s: 1, ..small() };
    let (running, _handed) = serve_by(2, limits, prove_by([secret()], false), |_| {});
    let open = || Raw::ask(running.address(), "/ws", &[OURS, &bearer(&signed(5))]).switched();
    let (mut ann, mut other) = (open(), open());
    for raw in [&mut ann, &mut other] {
        assert!(raw.hear().contains("welcome"));
        assert!(raw.hear().starts_with(r#"{"type":"expiring","in_ms":"#));
    }
    ann.say(&format!(r#"{{"type":"refresh","id":1,"token":"{}"}}"#, signed(600)));
    assert!(ann.hear().starts_with(r#"{"type":"reply","id":1,"expires_in_ms":"#));
    let Seen::Close(code, _) = other.end() else { panic!("its token is over") };
    assert_eq!(code, 4003);
    ann.say(r#"{"type":"ping","id":2}"#);
    assert_eq!(ann.hear(), r#"{"type":"reply","id":2}"#);
    running.stop().unwrap();
}
