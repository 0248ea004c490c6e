//! Attacks by what a token says: how it is encoded, whom it was meant for, where it points, how long it lasts.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use throng::base::Limits;
use throng::wire::token::{Algorithm, KeySet, TokenRules, TokenVerifier, VerifyingKey};

use crate::forge::{Attack, NOW, SECRET, Server, base64url, claims, der, hs256, plain, signed, signed_es256, with};
pub(crate) fn encodings(server: &Server) -> Vec<Attack> {
    let header = json!({"alg": "HS256"});
    let twice = |json: &str| server.tries(&signed(&header, json.as_bytes()));
    let header_twice = |json: &str| {
        let text = format!("{}.{}", base64url(json.as_bytes()), base64url(claims().to_string().as_bytes()));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), text.as_bytes());
        server.tries(&format!("{text}.{}", base64url(tag.as_ref())))
    };
    let body = claims().to_string();
    let utf16: Vec<u8> = body.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let good = plain(&claims());
    let nested = signed(&json!({"alg": "HS256", "cty": "JWT"}), good.as_bytes());
    // `{}` in raw DEFLATE: what an inflating server would take for claims.
    let deflated = signed(&json!({"alg": "HS256", "zip": "DEF"}), &[0xab, 0xae, 0x05, 0x00]);
    vec![
        Attack {
            section: "2.3",
            name: "an encrypted token (five parts), and a token inside a token",
            answer: "this is not a JWT",
            tries: vec![server.tries("e30.e30.e30.e30.e30"), server.tries(&nested)],
        },
        Attack {
            section: "2.4",
            name: "compressed claims (`zip`): never inflated",
            answer: "this is not a JWT",
            tries: vec![server.tries(&deflated)],
        },
        Attack {
            section: "2.4",
            name: "a token beyond 8 KiB, before anything is decoded",
            answer: "more than 8192 bytes",
            tries: vec![
                server.tries(&plain(&with("pad", json!("x".repeat(9_000))))),
                server.tries(&"x".repeat(1 << 20)),
            ],
        },
        Attack {
            section: "2.6",
            name: "claims in UTF-16, with a byte order mark, or not text",
            answer: "this is not a JWT",
            tries: vec![
                server.tries(&signed(&header, &utf16)),
                server.tries(&signed(&header, &[&b"\xef\xbb\xbf"[..], body.as_bytes()].concat())),
                server.tries(&signed(&header, b"{\"sub\":\"\xff\"}")),
            ],
        },
        Attack {
            section: "2.6",
            name: "a member given twice, in the header or at any depth of the claims",
            answer: "this is not a JWT",
            tries: vec![
                twice(r#"{"sub":"ann","sub":"bob","exp":1900000000}"#),
                twice(r#"{"sub":"ann","s\u0075b":"bob","exp":1900000000}"#),
                twice(r#"{"rooms":[{"match":"a","match":"*","can":["join"]}]}"#),
                header_twice(r#"{"alg":"HS256","alg":"none"}"#),
                header_twice(r#"{"alg":"none","alg":"HS256"}"#),
            ],
        },
        Attack {
            section: "2.6",
            name: "another spelling of a good token: padding, white space, the other alphabet, stray bits",
            answer: "this is not a JWT",
            tries: {
                let last = good.chars().last().unwrap();
                let stray = char::from(last as u8 + 1);
                vec![
                    server.tries(&format!("{good}=")),
                    server.tries(&format!("{good}\n")),
                    server.tries(&format!(" {good}")),
                    server.tries(&format!("{good}.")),
                    server.tries(&format!("{}{}", &good[..good.len() - 1], stray)),
                ]
            },
        },
        Attack {
            section: "2.6",
            name: "JSON nested thousands of levels deep",
            answer: "this is not a JWT",
            tries: vec![twice(&format!("{{\"info\":{}", "[".repeat(4_000)))],
        },
    ]
}

pub(crate) fn substitution(server: &Server) -> Vec<Attack> {
    let typed =
        |typ: Value| server.tries(&signed(&json!({"alg": "HS256", "typ": typ}), claims().to_string().as_bytes()));
    let without = |name: &str| {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        server.tries(&plain(&claims))
    };
    let no_audience = TokenRules { audiences: Vec::new(), ..server.verifier.rules().clone() };
    let no_audience = TokenVerifier::new(server.verifier.keys().clone(), no_audience, &Limits::default());
    let of_another = VerifyingKey::from_secret(Algorithm::Hs256, SECRET).unwrap().with_issuer("https://other.example");
    let rules = TokenRules { issuers: Vec::new(), ..server.verifier.rules().clone() };
    let of_another = TokenVerifier::new(KeySet::new([of_another.into()]).unwrap(), rules, &Limits::default());
    let tell = |outcome: Result<throng::wire::Verified, throng::wire::BadToken>| {
        outcome.map(drop).map_err(|bad| bad.to_string())
    };
    vec![
        Attack {
            section: "2.7",
            name: "a token the same issuer made for another server, or for nobody",
            answer: "`aud` does not name this server",
            tries: [
                json!("mail"),
                json!(["mail", "wiki"]),
                json!([]),
                json!(7),
                json!(null),
                json!(["throngs", ["throng"]]),
            ]
            .map(|aud| server.tries(&plain(&with("aud", aud))))
            .into_iter()
            .chain([without("aud")])
            .collect(),
        },
        Attack {
            section: "3.9",
            name: "a token with an audience, to a server that was told none",
            answer: "`aud` is for somebody",
            tries: vec![tell(no_audience.verify(&plain(&claims()), NOW))],
        },
        Attack {
            section: "3.8",
            name: "a token of an issuer that is not trusted, or of none",
            answer: "`iss` is none of the issuers",
            tries: [
                json!("https://evil.example"),
                json!(["https://issuer.example"]),
                json!(null),
                json!("HTTPS://ISSUER.EXAMPLE"),
            ]
            .map(|iss| server.tries(&plain(&with("iss", iss))))
            .into_iter()
            .chain([without("iss")])
            .collect(),
        },
        Attack {
            section: "3.8",
            name: "one issuer's key under another issuer's name",
            answer: "`iss` is not the issuer this key belongs to",
            tries: vec![tell(of_another.verify(&plain(&claims()), NOW))],
        },
        Attack {
            section: "2.8",
            name: "a token of another kind (`typ`): logout, security event, proof of possession, access token",
            answer: "`typ` is not one",
            tries: ["logout+jwt", "secevent+jwt", "dpop+jwt", "at+jwt", "application/at+jwt", "", "JWT2"]
                .map(|typ| typed(json!(typ)))
                .into_iter()
                .chain([typed(json!(null)), typed(json!(["JWT"]))])
                .collect(),
        },
        Attack {
            section: "3.10",
            name: "no subject, or one of another type",
            answer: "`sub`",
            tries: [json!(null), json!(7), json!(["ann"]), json!(""), json!("a\u{0}b")]
                .map(|sub| server.tries(&plain(&with("sub", sub))))
                .into_iter()
                .chain([without("sub")])
                .collect(),
        },
    ]
}

pub(crate) fn indirect(server: &Server) -> Vec<Attack> {
    let theirs = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let point = theirs.public_key().as_ref();
    let own_jwk = json!({"kty": "EC", "crv": "P-256", "x": base64url(&point[1..33]), "y": base64url(&point[33..])});
    let brought = [
        json!({"alg": "ES256", "jwk": own_jwk}),
        json!({"alg": "ES256", "jku": "https://evil.example/jwks.json"}),
        json!({"alg": "ES256", "jku": "file:///etc/passwd"}),
        json!({"alg": "ES256", "x5u": "http://169.254.169.254/latest/meta-data/"}),
        json!({"alg": "ES256", "x5c": [STANDARD.encode(der(theirs.public_key()))]}),
        json!({"alg": "ES256", "x5t": "AAAA", "x5t#S256": "AAAA"}),
    ];
    let kids = [
        "../../../../dev/null",
        "/dev/null",
        "' OR 1=1 --",
        "' UNION SELECT 'key",
        "$(id)",
        "|id",
        "http://evil.example/",
        "\u{0}",
        "",
        "%2e%2e%2f",
        &"k".repeat(3_000),
    ];
    let empty_secret = |kid: &str| hs256(&json!({"alg": "HS256", "kid": kid}), claims().to_string().as_bytes(), b"");
    let named = VerifyingKey::from_secret(Algorithm::Hs256, SECRET).unwrap().with_kid("k1").unwrap();
    let named = TokenVerifier::new(KeySet::new([named.into()]).unwrap(), TokenRules::default(), &Limits::default());
    let crit = |value: Value| {
        let header = json!({"alg": "HS256", "crit": value, "b64": false, "http://evil.example/x": 1});
        server.tries(&signed(&header, claims().to_string().as_bytes()))
    };
    vec![
        Attack {
            section: "2.9",
            name: "the attacker's own key brought along: `jwk`, `jku`, `x5u`, `x5c`, `x5t`; nothing is fetched",
            answer: "signature does not fit",
            tries: brought.iter().map(|header| server.tries(&signed_es256(&theirs, header))).collect(),
        },
        Attack {
            section: "3.10",
            name: "a `kid` that is a path, SQL, a shell command, a URL, empty or huge, with an empty secret",
            answer: "signature does not fit",
            tries: kids.iter().map(|kid| server.tries(&empty_secret(kid))).collect(),
        },
        Attack {
            section: "3.10",
            name: "the same to a server whose keys all have names",
            answer: "no key of the token's `kid`",
            tries: kids
                .iter()
                .map(|kid| named.verify(&empty_secret(kid), NOW).map(drop).map_err(|bad| bad.to_string()))
                .collect(),
        },
        Attack {
            section: "3.10",
            name: "a `kid` that is no text",
            answer: "this is not a JWT",
            tries: [json!(7), json!(null), json!(["k1"]), json!({"$ne": ""})]
                .map(|kid| server.tries(&signed(&json!({"alg": "HS256", "kid": kid}), claims().to_string().as_bytes())))
                .into(),
        },
        Attack {
            section: "3.10",
            name: "header extensions that must be understood (`crit`), known to us or not",
            answer: "`crit`",
            tries: [json!(["b64"]), json!(["http://evil.example/x"]), json!([]), json!(null), json!("b64")]
                .map(crit)
                .into(),
        },
    ]
}

pub(crate) fn lifetimes(server: &Server) -> Vec<Attack> {
    let exp = |value: Value| server.tries(&plain(&with("exp", value)));
    let mut endless = claims();
    endless.as_object_mut().unwrap().remove("exp");
    vec![
        Attack {
            section: "3.10",
            name: "no end (`exp`)",
            answer: "no `exp`",
            tries: vec![server.tries(&plain(&endless))],
        },
        Attack {
            section: "3.10",
            name: "an end that is no time: text, negative, in milliseconds, beyond every calendar",
            answer: "`exp`",
            tries: [
                json!("1900000000"),
                json!(-1),
                json!(NOW * 1_000),
                json!(u64::MAX),
                json!(1e300),
                json!(null),
                json!([NOW]),
            ]
            .map(exp)
            .into(),
        },
        Attack {
            section: "3.10",
            name: "an end years ahead",
            answer: "good for longer than 7776000 s",
            tries: vec![exp(json!(NOW + 91 * 86_400)), exp(json!(4_000_000_000_u64))],
        },
        Attack {
            section: "3.10",
            name: "a token from the past",
            answer: "expired",
            tries: vec![exp(json!(NOW - 6)), exp(json!(0))],
        },
        Attack {
            section: "3.10",
            name: "a token from the future (`nbf`)",
            answer: "not valid for another",
            tries: vec![server.tries(&plain(&with("nbf", json!(NOW + 60))))],
        },
        Attack {
            section: "3.10",
            name: "a token dated ahead (`iat`), so that no revocation by time would reach it",
            answer: "`iat` lies in the future",
            tries: vec![server.tries(&plain(&with("iat", json!(NOW + 60))))],
        },
        Attack {
            section: "3.10",
            name: "a token that lives long, in a URL that others log",
            answer: "a token in a URL",
            tries: vec![
                server.verifier.verify_from_url(&plain(&with("exp", json!(NOW + 3_606))), NOW).map(drop),
                server.verifier.verify_from_url(&plain(&with("exp", json!(NOW + 86_400))), NOW).map(drop),
            ]
            .into_iter()
            .map(|outcome| outcome.map_err(|bad| bad.to_string()))
            .collect(),
        },
    ]
}
