//! Tokens good, bad and forged. The house's secrets here are 32 bytes of text.

use jsonwebtoken::EncodingKey;
use serde_json::json;

use super::*;
use crate::wire::Verb;

mod kinds;

const SECRET: &[u8] = b"an-example-secret-of-thirty-two-b";
const NOW: u64 = 1_800_000_000;

fn verifier() -> TokenVerifier {
    TokenVerifier::hs256(SECRET, &Limits::default())
}

fn encoded(header: &Value, claims: &str, secret: &[u8]) -> String {
    let message = [header.to_string().as_str(), claims].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
    let key = EncodingKey::from_secret(secret);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

fn signed(claims: &Value) -> String {
    encoded(&json!({"alg": "HS256", "typ": "JWT"}), &claims.to_string(), SECRET)
}

fn verified(claims: &Value) -> Result<Verified, BadToken> {
    verifier().verify(&signed(claims), NOW)
}

fn refusal(claims: &Value) -> BadToken {
    verified(claims).unwrap_err()
}

#[test]
fn a_good_token_gives_user_info_grants_and_end() {
    let rooms = json!([{"match": "chat:*", "can": ["join"]}]);
    let info = json!({"name": "Ann", "avatar": 7});
    let claims = Claims { sub: "ann", exp: NOW + 60, info: Some(&info), rooms: Some(&rooms) };
    let token = sign_hs256(SECRET, &claims).unwrap();
    let verified = verifier().verify(&token, NOW).unwrap();
    assert_eq!(verified.identity.user(), "ann");
    assert_eq!(verified.identity.info(), Some(r#"{"avatar":7,"name":"Ann"}"#));
    assert_eq!(verified.expires_unix_s, NOW + 60);
    let grants = verified.grants.unwrap();
    assert!(grants.allows(Verb::Join, "chat:a", "ann") && !grants.allows(Verb::Publish, "chat:a", "ann"));
}

#[test]
fn absent_grants_are_none_and_unknown_claims_are_ignored() {
    let claims = json!({"sub": "ann", "exp": NOW + 60, "iss": 7, "extra": {"a": [1]}});
    let verified = verified(&claims).unwrap();
    assert!(verified.grants.is_none());
    assert_eq!(verified.identity.info(), None);
}

#[test]
fn unsigned_and_otherwise_signed_tokens_are_refused_by_algorithm() {
    let claims = json!({"sub": "ann", "exp": NOW + 60}).to_string();
    for alg in ["none", "None", "hs256", "HS384", "HS512", "RS256", "ES256", "EdDSA", "", "\u{212a}S256"] {
        let token = encoded(&json!({"alg": alg, "typ": "JWT"}), &claims, SECRET);
        assert_eq!(
            verifier().verify(&token, NOW).unwrap_err(),
            BadToken::Algorithm(Algorithms::of([Algorithm::Hs256])),
            "{alg}"
        );
        let bare = format!("{}.", token.rsplit_once('.').unwrap().0);
        assert_eq!(
            verifier().verify(&bare, NOW).unwrap_err(),
            BadToken::Algorithm(Algorithms::of([Algorithm::Hs256])),
            "{alg}"
        );
    }
    for header in [json!({}), json!({"alg": null}), json!({"alg": ["HS256"]})] {
        let token = encoded(&header, &claims, SECRET);
        assert_eq!(
            verifier().verify(&token, NOW).unwrap_err(),
            BadToken::Algorithm(Algorithms::of([Algorithm::Hs256]))
        );
    }
}

#[test]
fn a_header_extension_that_must_be_understood_is_refused() {
    let claims = json!({"sub": "ann", "exp": NOW + 60}).to_string();
    let token = encoded(&json!({"alg": "HS256", "crit": ["b64"], "b64": false}), &claims, SECRET);
    assert_eq!(verifier().verify(&token, NOW).unwrap_err(), BadToken::Critical);
}

#[test]
fn no_byte_of_a_token_can_be_changed() {
    let token = signed(&json!({"sub": "ann", "exp": NOW + 60}));
    assert!(verifier().verify(&token, NOW).is_ok());
    for place in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        let tampered = String::from_utf8(bytes).unwrap();
        assert!(verifier().verify(&tampered, NOW).is_err(), "place {place}");
    }
    let claims = json!({"sub": "ann", "exp": NOW + 60}).to_string();
    let foreign = encoded(&json!({"alg": "HS256"}), &claims, b"another-secret-of-thirty-two-byte");
    assert_eq!(verifier().verify(&foreign, NOW).unwrap_err(), BadToken::Signature);
    let no_secret = encoded(&json!({"alg": "HS256"}), &claims, b"");
    assert_eq!(verifier().verify(&no_secret, NOW).unwrap_err(), BadToken::Signature);
}

#[test]
fn what_is_no_token_is_malformed() {
    let token = signed(&json!({"sub": "ann", "exp": NOW + 60}));
    let mut bad: Vec<String> =
        ["", ".", "..", "...", "a.b.c", "ä.ö.ü", "e30.e30", "e30=.e30.e30"].map(String::from).into();
    bad.push(format!("{token}.x"));
    bad.push(format!("{token}="));
    bad.push(format!(" {token}"));
    bad.push(token.replace('.', ".."));
    let header = json!({"alg": "HS256"});
    for claims in [
        "",
        "7",
        "[]",
        r#"["ann",1900000000]"#,
        "\"sub\"",
        "{",
        r#"{"sub":"a","sub":"b","exp":1}"#,
        r#"{"rooms":[],"rooms":[]}"#,
    ] {
        bad.push(encoded(&header, claims, SECRET));
    }
    bad.push(encoded(&header, &format!("{{\"info\":{}", "[".repeat(4_000)), SECRET));
    bad.push(encoded(&header, r#"{"sub":"a","exp":1,"info":"\ud800"}"#, SECRET));
    bad.push(encoded(&header, r#"{"sub":"a","exp":1,"info":1e999}"#, SECRET));
    for token in bad {
        assert_eq!(verifier().verify(&token, NOW).unwrap_err(), BadToken::Malformed, "{token}");
    }
}

#[test]
fn length_is_looked_at_before_anything_else() {
    let token = signed(&json!({"sub": "ann", "exp": NOW + 60}));
    let limits = |token_bytes_max| Limits { token_bytes_max, ..Limits::default() };
    let fits = TokenVerifier::hs256(SECRET, &limits(token.len()));
    assert!(fits.verify(&token, NOW).is_ok());
    let short = TokenVerifier::hs256(SECRET, &limits(token.len() - 1));
    assert_eq!(short.verify(&token, NOW).unwrap_err(), BadToken::TooLong(token.len() - 1));
    assert_eq!(verifier().verify(&"x".repeat(16 << 20), NOW).unwrap_err(), BadToken::TooLong(8 << 10));
}

#[test]
fn a_token_ends_leeway_seconds_after_its_exp() {
    let token = signed(&json!({"sub": "ann", "exp": NOW}));
    let verifier = verifier();
    for (now, good) in
        [(0, true), (NOW - 1, true), (NOW, true), (NOW + 4, true), (NOW + 5, false), (u64::MAX >> 1, false)]
    {
        assert_eq!(verifier.verify(&token, now).is_ok(), good, "{now}");
    }
    assert_eq!(verifier.verify(&token, NOW + 7).unwrap_err(), BadToken::Expired { ago_s: 7 });
}

#[test]
fn a_token_begins_leeway_seconds_before_its_nbf() {
    let token = signed(&json!({"sub": "ann", "exp": NOW + 60, "nbf": NOW}));
    for (now, good) in [(0, false), (NOW - 6, false), (NOW - 5, true), (NOW, true), (NOW + 30, true)] {
        assert_eq!(verifier().verify(&token, now).is_ok(), good, "{now}");
    }
    assert_eq!(verifier().verify(&token, NOW - 15).unwrap_err(), BadToken::NotYet { in_s: 10 });
}

/// A 4503 is final: a client would ask its people to log in again because a clock is wrong.
#[test]
fn a_server_whose_clock_is_behind_asks_to_come_again() {
    let key = VerifyingKey::from_secret(Algorithm::Hs256, SECRET).unwrap();
    let usual = TokenVerifier::new(KeySet::new([key.into()]).unwrap(), TokenRules::default(), &Limits::default());
    let token = signed(&json!({"sub": "ann", "iat": NOW, "exp": NOW + 3_600}));
    let begins = signed(&json!({"sub": "ann", "nbf": NOW, "exp": NOW + 3_600}));
    for behind_s in [6, 3_600, 40 * 365 * 86_400, NOW] {
        for token in [&token, &begins] {
            let bad = usual.verify(token, NOW - behind_s).unwrap_err();
            assert!(bad.close_reason().may_retry(), "{behind_s}: {bad}");
        }
        assert_eq!(usual.verify(&token, NOW - behind_s).unwrap_err(), BadToken::Ahead { in_s: behind_s });
    }
    assert!(usual.verify(&token, NOW - 5).is_ok(), "within the leeway");
}

#[test]
fn a_time_is_a_number_and_nothing_that_looks_like_one() {
    for exp in [json!(NOW + 60), json!(NOW as f64 + 60.75)] {
        assert_eq!(verified(&json!({"sub": "ann", "exp": exp})).unwrap().expires_unix_s, NOW + 60);
    }
    let bad = [
        json!(null),
        json!(true),
        json!((NOW + 60).to_string()),
        json!([NOW + 60]),
        json!({"$date": NOW + 60}),
        json!(-1),
        json!(-0.5),
        json!((NOW + 60) * 1_000),
        json!(u64::MAX),
        json!(1e300),
    ];
    for value in bad {
        let of = |bad| matches!(bad, BadToken::BadClaim { claim: "exp", .. });
        assert!(of(refusal(&json!({"sub": "ann", "exp": value}))), "{value}");
        let of = |bad| matches!(bad, BadToken::BadClaim { claim: "nbf", .. });
        assert!(of(refusal(&json!({"sub": "ann", "exp": NOW + 60, "nbf": value}))), "{value}");
    }
}

#[test]
fn required_claims_are_required_and_have_their_type() {
    assert_eq!(refusal(&json!({"sub": "ann"})), BadToken::MissingClaim("exp"));
    assert_eq!(refusal(&json!({"exp": NOW + 60})), BadToken::MissingClaim("sub"));
    for sub in [json!(null), json!(7), json!(["ann"]), json!(""), json!("a\nb"), json!("a\0b"), json!("x".repeat(129))]
    {
        let bad = refusal(&json!({"sub": sub, "exp": NOW + 60}));
        assert!(matches!(bad, BadToken::BadClaim { claim: "sub", .. }), "{sub}");
    }
    for rooms in [json!(null), json!("*"), json!({}), json!([{"match": "*", "can": ["everything"]}])] {
        let bad = refusal(&json!({"sub": "ann", "exp": NOW + 60, "rooms": rooms}));
        assert!(matches!(bad, BadToken::BadClaim { claim: "rooms", .. }), "{rooms}");
    }
}

#[test]
fn info_is_small_compact_and_shallow() {
    let info = |text: &str| {
        let claims = format!(r#"{{"sub":"ann","exp":{},"info":{text}}}"#, NOW + 60);
        let token = encoded(&json!({"alg": "HS256"}), &claims, SECRET);
        verifier().verify(&token, NOW).map(|verified| verified.identity.info().map(str::to_owned))
    };
    assert_eq!(
        info(r#" { "name" : "A n" , "n" : [ 1, 2 ] } "#).unwrap().as_deref(),
        Some(r#"{"n":[1,2],"name":"A n"}"#)
    );
    assert_eq!(info("null").unwrap(), None);
    assert_eq!(info("false").unwrap().as_deref(), Some("false"));
    assert_eq!(info(&format!("\"{}\"", "x".repeat(254))).unwrap().map(|info| info.len()), Some(256));
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(info(&deep(32)).is_ok());
    for bad in [format!("\"{}\"", "x".repeat(255)), deep(33), deep(120)] {
        assert!(matches!(info(&bad).unwrap_err(), BadToken::BadClaim { claim: "info", .. }), "{bad}");
    }
}

#[test]
fn refusals_fit_a_close_reason_and_secrets_are_not_printed() {
    let whys = [
        json!("*"),
        json!(vec![json!({}); 65]),
        json!([7]),
        json!([{"x": 1}]),
        json!([{"match": "*"}]),
        json!([{"can": []}]),
        json!([{"match": "x".repeat(129), "can": []}]),
        json!([{"match": "a b", "can": []}]),
        json!([{"match": "{user}*", "can": []}]),
        json!([{"match": "*a*", "can": []}]),
        json!([{"match": "*", "can": []}]),
        json!([{"match": "*", "can": [""]}]),
    ];
    let mut all: Vec<BadToken> =
        whys.map(|rooms| refusal(&json!({"sub": "ann", "exp": NOW + 60, "rooms": rooms}))).into();
    all.extend([BadToken::TooLong(usize::MAX), BadToken::Malformed, BadToken::Algorithm(Algorithms::all())]);
    all.extend([BadToken::Critical, BadToken::Type, BadToken::UnknownKey, BadToken::KeyToCome, BadToken::Signature]);
    all.extend([BadToken::MissingClaim("exp"), BadToken::Required, BadToken::Revoked]);
    all.extend([BadToken::TooLongLived { most_s: u64::MAX }, BadToken::TooLongForUrl { most_s: 253_402_300_799 }]);
    all.extend([BadToken::Expired { ago_s: u64::MAX }, BadToken::NotYet { in_s: u64::MAX }]);
    all.push(BadToken::Ahead { in_s: u64::MAX });
    all.extend([json!("x"), json!(NOW * 1_000)].map(|exp| refusal(&json!({"sub": "ann", "exp": exp}))));
    all.extend(
        [json!(7), json!(NOW + 600)].map(|iat| refusal(&json!({"sub": "a", "exp": NOW + 60, "iat": iat, "aud": 1}))),
    );
    all.push(refusal(&json!({"sub": "a", "exp": NOW + 60, "jti": 7})));
    all.push(refusal(&json!({"sub": "", "exp": NOW + 60})));
    all.push(refusal(&json!({"sub": "ann", "exp": NOW + 60, "info": "x".repeat(255)})));
    for bad in all {
        assert!(bad.to_string().len() <= 123, "{} bytes: {bad}", bad.to_string().len());
    }
    let printed = format!("{:?} {:#?}", verifier(), verifier());
    assert!(!printed.contains("example") && !printed.contains("97, 110"), "{printed}");
}
