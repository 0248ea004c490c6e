//! The attacks on JSON Web Tokens that RFC 8725 names, tried one by one, and a few that have become known since.
//!
//! Each is a row of `docs/rfc8725.md`: section, attack, and the sentence it is refused with. To write that table anew after
//! a wanted change: `THRONG_BLESS=1 cargo test --test rfc8725`.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use throng::base::Limits;
use throng::wire::token::{Algorithm, Algorithms, Jwks, JwksFrom, KeySet, TokenRules, TokenVerifier, VerifyingKey};

const NOW: u64 = 1_800_000_000;
const SECRET: &[u8] = b"the server's own secret, which no attacker has";

/// What an attacker tried and what came of it: the sentence of the refusal, or `Ok` if it got through.
struct Attack {
    section: &'static str,
    name: &'static str,
    /// What every refusal must say.
    answer: &'static str,
    tries: Vec<Result<(), String>>,
}

/// A server with a key of every kind, and all that its issuer has besides.
struct Server {
    rsa: RsaKeyPair,
    rsa_pem: String,
    p256: EcdsaKeyPair,
    ed: Ed25519KeyPair,
    verifier: TokenVerifier,
}

impl Server {
    fn new() -> Self {
        let rsa = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        let p256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let ed = Ed25519KeyPair::generate().unwrap();
        let rsa_pem = pem(&der(rsa.public_key()));
        let pems = [rsa_pem.clone(), pem(&der(p256.public_key())), pem(&der(ed.public_key()))];
        let public = pems.iter().map(|text| VerifyingKey::from_pem(text.as_bytes(), None).unwrap());
        let secret = VerifyingKey::from_secret(Algorithm::Hs256, SECRET).unwrap();
        let keys = KeySet::new(public.chain([secret]).map(Into::into)).unwrap();
        let rules = TokenRules {
            audiences: vec!["throng".to_owned()],
            issuers: vec!["https://issuer.example".to_owned()],
            ..TokenRules::default()
        };
        let verifier = TokenVerifier::new(keys, rules, &Limits::default());
        Self { rsa, rsa_pem, p256, ed, verifier }
    }

    /// The same without a secret: only public keys.
    fn public_only(&self) -> TokenVerifier {
        let key = VerifyingKey::from_pem(self.rsa_pem.as_bytes(), None).unwrap();
        let rules = self.verifier.rules().clone();
        TokenVerifier::new(KeySet::new([key.into()]).unwrap(), rules, &Limits::default())
    }

    fn tries(&self, token: &str) -> Result<(), String> {
        self.verifier.verify(token, NOW).map(drop).map_err(|bad| bad.to_string())
    }
}

fn claims() -> Value {
    json!({"sub": "ann", "exp": NOW + 600, "iss": "https://issuer.example", "aud": "throng"})
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn message(header: &Value, claims: &[u8]) -> String {
    format!("{}.{}", base64url(header.to_string().as_bytes()), base64url(claims))
}

/// Signed by the issuer itself, with the secret.
fn signed(header: &Value, claims: &[u8]) -> String {
    hs256(header, claims, SECRET)
}

fn hs256(header: &Value, claims: &[u8], secret: &[u8]) -> String {
    let message = message(header, claims);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", base64url(tag.as_ref()))
}

fn plain(claims: &Value) -> String {
    signed(&json!({"alg": "HS256", "typ": "JWT"}), claims.to_string().as_bytes())
}

fn signed_es256(pair: &EcdsaKeyPair, header: &Value) -> String {
    let message = message(header, claims().to_string().as_bytes());
    let signature = pair.sign(&aws_lc_rs::rand::SystemRandom::new(), message.as_bytes()).unwrap();
    format!("{message}.{}", base64url(signature.as_ref()))
}

fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn der<K: AsDer<PublicKeyX509Der<'static>>>(key: &K) -> Vec<u8> {
    AsDer::as_der(key).unwrap().as_ref().to_vec()
}

fn pem(der: &[u8]) -> String {
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
}

fn jwk(jwk: Value) -> Result<(), String> {
    let set = json!({ "keys": [jwk] }).to_string();
    Jwks::read(set.as_bytes(), JwksFrom::Url, None).map(drop).map_err(|bad| bad.to_string())
}

#[test]
fn the_servers_own_tokens_are_taken_in_each_algorithm() {
    let server = Server::new();
    assert_eq!(server.tries(&plain(&claims())), Ok(()));
    assert_eq!(server.tries(&signed_es256(&server.p256, &json!({"alg": "ES256"}))), Ok(()));
    let text = message(&json!({"alg": "EdDSA"}), claims().to_string().as_bytes());
    let signature = server.ed.sign(text.as_bytes());
    assert_eq!(server.tries(&format!("{text}.{}", base64url(signature.as_ref()))), Ok(()));
    let text = message(&json!({"alg": "RS256"}), claims().to_string().as_bytes());
    let mut signature = vec![0; server.rsa.public_modulus_len()];
    let (padding, random) = (&aws_lc_rs::signature::RSA_PKCS1_SHA256, aws_lc_rs::rand::SystemRandom::new());
    server.rsa.sign(padding, &random, text.as_bytes(), &mut signature).unwrap();
    assert_eq!(server.tries(&format!("{text}.{}", base64url(&signature))), Ok(()));
}

#[test]
fn every_attack_is_refused_for_its_reason_and_the_table_in_the_docs_is_this_one() {
    let server = Server::new();
    let attacks = [
        weak_signatures(&server),
        forged_signatures(&server),
        weak_keys(),
        encodings(&server),
        substitution(&server),
        indirect(&server),
        lifetimes(&server),
    ];
    let mut table = String::from("| section | attack | refused with |\n|---|---|---|\n");
    for Attack { section, name, answer, tries } in attacks.into_iter().flatten() {
        assert!(!tries.is_empty(), "{name}: nobody tried");
        for (number, outcome) in tries.into_iter().enumerate() {
            let Err(sentence) = outcome else { panic!("{section} {name}: try {number} got through") };
            assert!(sentence.contains(answer), "{section} {name}: try {number} was told: {sentence}");
        }
        writeln!(table, "| {section} | {name} | … {answer} … |").unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rfc8725.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, documented) = text.split_once("\n| section").unwrap();
    // Compiled in by the one who blesses: nothing here reads the environment when it runs.
    if option_env!("THRONG_BLESS").is_some() {
        fs::write(&path, format!("{before}\n{table}")).unwrap();
        return;
    }
    assert_eq!(format!("| section{documented}"), table, "docs/rfc8725.md tells of other attacks");
}

fn weak_signatures(server: &Server) -> Vec<Attack> {
    let body = claims().to_string();
    let unsigned = |alg: &str| format!("{}.", message(&json!({ "alg": alg }), body.as_bytes()));
    let none = ["none", "None", "NONE", "nOnE", ""];
    let public_only = server.public_only();
    let tries_public = |token: &str| public_only.verify(token, NOW).map(drop).map_err(|bad| bad.to_string());
    // The public key, in every form somebody may take for a secret.
    let rsa_der = der(server.rsa.public_key());
    let as_secret: [&[u8]; 4] =
        [server.rsa_pem.as_bytes(), server.rsa_pem.trim().as_bytes(), &rsa_der, server.rsa.public_key().as_ref()];
    let confused = |header: &Value| as_secret.map(|secret| hs256(header, body.as_bytes(), secret));
    let hs = json!({"alg": "HS256"});
    vec![
        Attack {
            section: "2.1",
            name: "`alg: none`, in any spelling, without a signature",
            answer: "is not signed with",
            tries: none.iter().map(|alg| server.tries(&unsigned(alg))).collect(),
        },
        Attack {
            section: "2.1",
            name: "`alg` missing, no text, or a letter that only looks like one",
            answer: "is not signed with",
            tries: [json!({}), json!({"alg": null}), json!({"alg": ["HS256"]}), json!({"alg": "\u{212a}S256"})]
                .map(|header| server.tries(&signed(&header, body.as_bytes())))
                .into(),
        },
        Attack {
            section: "2.1",
            name: "a public RSA key as HMAC secret (`RS256` → `HS256`), server without secrets",
            answer: "is not signed with",
            tries: confused(&hs).map(|token| tries_public(&token)).into(),
        },
        Attack {
            section: "2.1",
            name: "the same, server with a secret beside its public keys",
            answer: "signature does not fit",
            tries: confused(&hs).map(|token| server.tries(&token)).into(),
        },
        Attack {
            section: "3.1",
            name: "a good signature under another algorithm's name",
            answer: "signature does not fit",
            tries: ["RS256", "ES256", "EdDSA"]
                .map(|alg| server.tries(&signed(&json!({ "alg": alg }), body.as_bytes())))
                .into(),
        },
        Attack {
            section: "3.1",
            name: "an algorithm the operator left out, with a key of the server",
            answer: "is not signed with ES256",
            tries: vec![{
                let rules =
                    TokenRules { algorithms: Algorithms::of([Algorithm::Es256]), ..server.verifier.rules().clone() };
                let pinned = TokenVerifier::new(server.verifier.keys().clone(), rules, &Limits::default());
                pinned.verify(&plain(&claims()), NOW).map(drop).map_err(|bad| bad.to_string())
            }],
        },
        Attack {
            section: "3.1",
            name: "algorithms beyond ours: `RS1`, `RS512`, `PS256`, `ES256K`, `HS1`, `dir`",
            answer: "is not signed with",
            tries: ["RS1", "RS512", "PS256", "ES256K", "HS1", "dir", "A128GCM"]
                .map(|alg| server.tries(&signed(&json!({ "alg": alg }), body.as_bytes())))
                .into(),
        },
    ]
}

fn forged_signatures(server: &Server) -> Vec<Attack> {
    let body = claims().to_string();
    let es256 = message(&json!({"alg": "ES256"}), body.as_bytes());
    // n, the order of P-256.
    let order: Vec<u8> = [
        &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..],
        &[0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51],
    ]
    .concat();
    let zero_one = |first: u8, second: u8| [&[0; 31][..], &[first], &[0; 31], &[second]].concat();
    let asn1_zero = [0x30, 6, 2, 1, 0, 2, 1, 0].to_vec();
    let psychic =
        [zero_one(0, 0), zero_one(0, 1), zero_one(1, 0), [&order[..], &order].concat(), asn1_zero, Vec::new()];
    let ed = message(&json!({"alg": "EdDSA"}), body.as_bytes());
    let signature = server.ed.sign(ed.as_bytes());
    let mut malleable = signature.as_ref().to_vec();
    add_order_of_ed25519(&mut malleable[32..]);
    let good = plain(&claims());
    let (text, tag) = good.rsplit_once('.').unwrap();
    let tag = URL_SAFE_NO_PAD.decode(tag).unwrap();
    let others = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    vec![
        Attack {
            section: "2.1",
            name: "ECDSA with r or s of 0, r = s = n, in ASN.1, or empty (“psychic signatures”, CVE-2022-21449)",
            answer: "signature does not fit",
            tries: psychic.iter().map(|forged| server.tries(&format!("{es256}.{}", base64url(forged)))).collect(),
        },
        Attack {
            section: "2.1",
            name: "Ed25519 with s + L instead of s (a second signature from one)",
            answer: "signature does not fit",
            tries: vec![server.tries(&format!("{ed}.{}", base64url(&malleable)))],
        },
        Attack {
            section: "2.1",
            name: "an HMAC cut short, lengthened, or none",
            answer: "signature does not fit",
            tries: [&tag[..0], &tag[..1], &tag[..31], &[&tag[..], &[0]].concat()]
                .map(|tag| server.tries(&format!("{text}.{}", base64url(tag))))
                .into(),
        },
        Attack {
            section: "2.1",
            name: "the signature of another token, or of somebody else's key",
            answer: "signature does not fit",
            tries: vec![
                server.tries(&format!("{}.{}", message(&json!({"alg": "HS256"}), b"{}"), base64url(&tag))),
                server.tries(&signed_es256(&others, &json!({"alg": "ES256"}))),
            ],
        },
    ]
}

/// Little-endian: s + L, with L = 2^252 + 27742317777372353535851937790883648493.
fn add_order_of_ed25519(s: &mut [u8]) {
    let mut order = [0; 32];
    order[..16].copy_from_slice(&27_742_317_777_372_353_535_851_937_790_883_648_493_u128.to_le_bytes());
    order[31] = 0x10;
    let mut carry = 0;
    for (digit, add) in s.iter_mut().zip(order) {
        let sum = u16::from(*digit) + u16::from(add) + carry;
        (*digit, carry) = (sum as u8, sum >> 8);
    }
}

fn weak_keys() -> Vec<Attack> {
    let secret = |algorithm, secret: &[u8]| {
        VerifyingKey::from_secret(algorithm, secret).map(drop).map_err(|bad| bad.to_string())
    };
    let x = base64url(&[9; 32]);
    let point = |x: &[u8], y: &[u8]| json!({"kty": "EC", "crv": "P-256", "x": base64url(x), "y": base64url(y)});
    vec![
        Attack {
            section: "2.2",
            name: "a secret shorter than the hash, refused when it is loaded",
            answer: "needs at least",
            tries: vec![
                secret(Algorithm::Hs256, b""),
                secret(Algorithm::Hs256, b"secret"),
                secret(Algorithm::Hs256, &SECRET[..31]),
                secret(Algorithm::Hs384, SECRET),
                secret(Algorithm::Hs512, SECRET),
            ],
        },
        Attack {
            section: "2.2",
            name: "a secret of hardly any different bytes, refused when it is loaded",
            answer: "anybody could guess it",
            tries: vec![secret(Algorithm::Hs256, &[0; 64]), secret(Algorithm::Hs256, &b"abc".repeat(40))],
        },
        Attack {
            section: "2.1",
            name: "a PEM file given as a secret, refused when it is loaded",
            answer: "is a PEM file",
            tries: vec![secret(Algorithm::Hs256, pem(&[7; 100]).as_bytes())],
        },
        Attack {
            section: "2.5",
            name: "a point that is not on P-256 (invalid curve), refused when it is loaded",
            answer: "no public key",
            tries: vec![
                jwk(point(&[9; 32], &[9; 32])),
                jwk(point(&[0; 32], &[0; 32])),
                jwk(point(&[0xff; 32], &[1; 32])),
            ],
        },
        Attack {
            section: "2.5",
            name: "an Ed25519 key of small order, with which every signature fits, refused when it is loaded",
            answer: "small order",
            tries: [0, 1]
                .map(|low| {
                    jwk(json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(&[&[low][..], &[0; 31]].concat())}))
                })
                .into(),
        },
        Attack {
            section: "3.5",
            name: "an RSA key of 1,024 bits, refused when it is loaded",
            answer: "2,048 to 8,192",
            tries: vec![jwk(json!({"kty": "RSA", "n": base64url(&[0xff; 128]), "e": "AQAB"}))],
        },
        Attack {
            section: "3.5",
            name: "a secret or a private key in a set that is fetched",
            answer: "no key in the set is usable",
            tries: vec![
                jwk(json!({"kty": "oct", "alg": "HS256", "k": base64url(SECRET)})),
                jwk(json!({"kty": "OKP", "crv": "Ed25519", "x": x, "d": x})),
            ],
        },
    ]
}

fn encodings(server: &Server) -> Vec<Attack> {
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

fn substitution(server: &Server) -> Vec<Attack> {
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

fn indirect(server: &Server) -> Vec<Attack> {
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

fn lifetimes(server: &Server) -> Vec<Attack> {
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
