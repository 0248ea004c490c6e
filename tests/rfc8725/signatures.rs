//! Attacks on the signature and on the key it is verified with.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use throng::base::Limits;
use throng::wire::token::{Algorithm, Algorithms, TokenRules, TokenVerifier, VerifyingKey};

use crate::forge::{
    Attack, NOW, SECRET, Server, base64url, claims, der, hs256, jwk, message, pem, plain, signed, signed_es256,
};
pub(crate) fn weak_signatures(server: &Server) -> Vec<Attack> {
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

pub(crate) fn forged_signatures(server: &Server) -> Vec<Attack> {
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

/// An Ed25519 key as `ssh-keygen` writes it, without its kind and its comment.
const OPENSSH: &str = "AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea";

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

pub(crate) fn weak_keys() -> Vec<Attack> {
    let secret = |algorithm, secret: &[u8]| {
        VerifyingKey::from_secret(algorithm, secret).map(drop).map_err(|bad| bad.to_string())
    };
    let x = base64url(&[9; 32]);
    let key = der(Ed25519KeyPair::generate().unwrap().public_key());
    let (key_pem, set) = (pem(&key), json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x}]}).to_string());
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
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
            name: "a PEM file given as a secret, bare, behind other text or in UTF-16, refused when it is loaded",
            answer: "is a PEM file",
            tries: vec![
                secret(Algorithm::Hs256, key_pem.as_bytes()),
                secret(Algorithm::Hs256, format!("Bag Attributes\n    localKeyID: 01\n{key_pem}").as_bytes()),
                secret(Algorithm::Hs256, format!("# the issuer's key\n{key_pem}").as_bytes()),
                secret(Algorithm::Hs256, &utf16(&key_pem)),
            ],
        },
        Attack {
            section: "2.1",
            name: "anything behind a byte order mark given as a secret, refused when it is loaded",
            answer: "begins with a byte order mark",
            tries: vec![
                secret(Algorithm::Hs256, ["\u{feff}", &key_pem].concat().as_bytes()),
                secret(Algorithm::Hs256, ["\u{feff}", &set].concat().as_bytes()),
                secret(Algorithm::Hs256, &utf16(&["\u{feff}", &key_pem].concat())),
            ],
        },
        Attack {
            section: "2.1",
            name: "a public key in DER given as a secret, bare or in base64 without its lines, refused when it is loaded",
            answer: "is a key or a certificate in DER",
            tries: vec![
                secret(Algorithm::Hs256, &key),
                secret(Algorithm::Hs256, STANDARD.encode(&key).as_bytes()),
                secret(Algorithm::Hs256, base64url(&key).as_bytes()),
            ],
        },
        Attack {
            section: "2.1",
            name: "a line of OpenSSH given as a secret, refused when it is loaded",
            answer: "is a public key of OpenSSH",
            tries: vec![
                secret(Algorithm::Hs256, format!("ssh-ed25519 {OPENSSH} ann@example\n").as_bytes()),
                secret(Algorithm::Hs256, format!("no-pty ssh-ed25519 {OPENSSH}").as_bytes()),
                secret(Algorithm::Hs256, OPENSSH.as_bytes()),
            ],
        },
        Attack {
            section: "2.1",
            name: "a JWK or a set of them given as a secret, refused when it is loaded",
            answer: "is JSON, as a JWK is",
            tries: vec![
                secret(Algorithm::Hs256, set.as_bytes()),
                secret(Algorithm::Hs256, format!("[{set},]").as_bytes()),
                secret(Algorithm::Hs256, &utf16(&set)),
            ],
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
