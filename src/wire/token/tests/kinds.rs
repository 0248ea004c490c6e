//! Every algorithm and every way to give a key, signed by another library than the one that checks.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::Header;

use super::*;

fn claims() -> Value {
    json!({"sub": "ann", "exp": NOW + 60})
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<&str> = body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn x509<K: AsDer<PublicKeyX509Der<'static>>>(key: &K) -> Vec<u8> {
    AsDer::as_der(key).unwrap().as_ref().to_vec()
}

fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A pair of each public kind: the algorithm, its signer, its public key in PEM and as a JWK.
fn pairs() -> Vec<(Algorithm, jsonwebtoken::Algorithm, EncodingKey, String, Value)> {
    use aws_lc_rs::encoding::Pkcs8V1Der;
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let rsa_der: Pkcs8V1Der<'_> = rsa.as_der().unwrap();
    // The library wants an RSA key without its PKCS #8 wrapping, which has 26 bytes before a key of 2,048 bits.
    let rsa_signer = EncodingKey::from_rsa_der(&rsa_der.as_ref()[26..]);
    let (n, e) = (rsa.public_key().modulus(), rsa.public_key().exponent());
    let rsa_jwk = json!({
        "kty": "RSA",
        "n": base64url(n.big_endian_without_leading_zero()),
        "e": base64url(e.big_endian_without_leading_zero()),
    });
    let p256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let point = p256.public_key().as_ref();
    let p256_jwk = json!({"kty": "EC", "crv": "P-256", "x": base64url(&point[1..33]), "y": base64url(&point[33..])});
    let p256_signer = EncodingKey::from_ec_der(p256.to_pkcs8v1().unwrap().as_ref());
    let ed = Ed25519KeyPair::generate().unwrap();
    let ed_jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(ed.public_key().as_ref())});
    let ed_signer = EncodingKey::from_ed_der(ed.to_pkcs8().unwrap().as_ref());
    vec![
        (
            Algorithm::Rs256,
            jsonwebtoken::Algorithm::RS256,
            rsa_signer,
            pem("PUBLIC KEY", &x509(rsa.public_key())),
            rsa_jwk,
        ),
        (
            Algorithm::Es256,
            jsonwebtoken::Algorithm::ES256,
            p256_signer,
            pem("PUBLIC KEY", &x509(p256.public_key())),
            p256_jwk,
        ),
        (
            Algorithm::EdDsa,
            jsonwebtoken::Algorithm::EdDSA,
            ed_signer,
            pem("PUBLIC KEY", &x509(ed.public_key())),
            ed_jwk,
        ),
    ]
}

fn verifier_of(key: VerifyingKey) -> TokenVerifier {
    TokenVerifier::new(KeySet::new([key.into()]).unwrap(), TokenRules::default(), &Limits::default())
}

#[test]
fn a_token_of_each_kind_is_taken_by_its_key_from_pem_and_from_a_jwk() {
    for (algorithm, theirs, signer, pem, jwk) in pairs() {
        let mut header = Header::new(theirs);
        header.kid = Some("k1".to_owned());
        let token = jsonwebtoken::encode(&header, &claims(), &signer).unwrap();
        let by_pem = VerifyingKey::from_pem(pem.as_bytes(), Some(algorithm)).unwrap();
        assert_eq!(by_pem.algorithm(), algorithm);
        verifier_of(by_pem).verify(&token, NOW).unwrap();
        let mut named = jwk.clone();
        named["kid"] = json!("k1");
        named["alg"] = json!(algorithm.name());
        let set = json!({"keys": [{"kty": "oct", "k": "AA"}, named]}).to_string();
        let jwks = Jwks::read(set.as_bytes(), JwksFrom::Url, None).unwrap();
        assert_eq!((jwks.keys.len(), jwks.left_out.len()), (1, 1), "{:?}", jwks.left_out);
        let verifier = TokenVerifier::new(jwks.keys, TokenRules::default(), &Limits::default());
        assert_eq!(verifier.verify(&token, NOW).unwrap().identity.user(), "ann");
        let (message, signature) = token.rsplit_once('.').unwrap();
        let mut broken = URL_SAFE_NO_PAD.decode(signature).unwrap();
        broken[7] ^= 1;
        let broken = with_signature(message.to_owned(), &broken);
        assert_eq!(verifier.verify(&broken, NOW).unwrap_err(), BadToken::Signature, "{algorithm:?}");
        let wrong = Algorithm::ALL.into_iter().find(|other| *other != algorithm).unwrap();
        assert!(VerifyingKey::from_pem(pem.as_bytes(), Some(wrong)).is_err());
    }
}

#[test]
fn the_three_hashes_of_a_secret_are_three_algorithms() {
    let secret = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let theirs = [jsonwebtoken::Algorithm::HS256, jsonwebtoken::Algorithm::HS384, jsonwebtoken::Algorithm::HS512];
    let ours = [Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512];
    for (algorithm, theirs) in ours.into_iter().zip(theirs) {
        let token = jsonwebtoken::encode(&Header::new(theirs), &claims(), &EncodingKey::from_secret(secret)).unwrap();
        assert_eq!(
            sign_hmac(algorithm, None, secret, &claims()).unwrap().rsplit_once('.').unwrap().1.len(),
            token.rsplit_once('.').unwrap().1.len()
        );
        for other in ours {
            let taken = verifier_of(VerifyingKey::from_secret(other, secret).unwrap()).verify(&token, NOW);
            assert_eq!(taken.is_ok(), other == algorithm, "{theirs:?} by {other:?}");
        }
    }
}

#[test]
fn what_is_weak_private_or_no_key_is_refused_when_it_is_loaded() {
    use aws_lc_rs::encoding::Pkcs8V1Der;
    for (algorithm, least) in [(Algorithm::Hs256, 32), (Algorithm::Hs384, 48), (Algorithm::Hs512, 64)] {
        let secret: Vec<u8> = (0..least).collect();
        assert!(VerifyingKey::from_secret(algorithm, &secret).is_ok());
        let short = VerifyingKey::from_secret(algorithm, &secret[1..]).unwrap_err();
        assert!(short.to_string().contains(&format!("rand -hex {least}")), "{short}");
        assert_eq!(VerifyingKey::from_secret(algorithm, &[7; 100]).unwrap_err(), BadKey::PoorSecret);
    }
    for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa] {
        assert!(matches!(VerifyingKey::from_secret(algorithm, SECRET), Err(BadKey::NoSecret { .. })));
    }
    let small = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let private: Pkcs8V1Der<'_> = small.as_der().unwrap();
    let from_pem = |text: &str| VerifyingKey::from_pem(text.as_bytes(), None).unwrap_err();
    assert_eq!(from_pem(&pem("PRIVATE KEY", private.as_ref())), BadKey::Private);
    assert_eq!(from_pem(&pem("RSA PRIVATE KEY", b"x")), BadKey::Private);
    assert_eq!(from_pem(&pem("CERTIFICATE", b"x")), BadKey::Certificate);
    assert_eq!(from_pem(&pem("PUBLIC KEY", b"x")), BadKey::NotPublic);
    assert_eq!(from_pem(&pem("SOMETHING", b"x")), BadKey::NotPem);
    let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    assert_eq!(from_pem(&pem("PUBLIC KEY", &x509(p384.public_key()))), BadKey::NotPublic);
    let good = pem("PUBLIC KEY", &x509(small.public_key()));
    assert!(VerifyingKey::from_pem(good.as_bytes(), None).is_ok());
    assert!(VerifyingKey::from_pem(good.replace('\n', "\r\n").as_bytes(), None).is_ok());
    assert!(VerifyingKey::from_pem(pem("RSA PUBLIC KEY", small.public_key().as_ref()).as_bytes(), None).is_ok());
    for bad in ["", "-----BEGIN ", "-----BEGIN PUBLIC KEY-----", &good[..80], &format!("{good}{good}"), "ä"] {
        assert_eq!(from_pem(bad), BadKey::NotPem, "{bad:?}");
    }
}

#[test]
fn keys_of_a_set_are_left_out_one_by_one_with_a_sentence() {
    let x = base64url(&[9; 32]);
    let key = |jwk: Value, from| {
        let set = json!({"keys": [jwk]}).to_string();
        match Jwks::read(set.as_bytes(), from, None).unwrap_err() {
            BadJwks::Nothing(why) => why,
            other @ (BadJwks::Malformed | BadJwks::TooManyKeys(_)) => panic!("{other}"),
        }
    };
    let secret = base64url(SECRET);
    for (jwk, expected) in [
        (json!({"kty": "oct", "alg": "HS256", "k": secret}), "a secret that is fetched is none"),
        (json!({"kty": "RSA", "n": base64url(&[0xff; 128]), "e": "AQAB"}), "1024 bits"),
        (json!({"kty": "RSA", "n": base64url(&[0xff; 2_048]), "e": "AQAB"}), "16384 bits"),
        (json!({"kty": "RSA", "e": "AQAB"}), "`n` is missing"),
        (json!({"kty": "RSA", "n": "!", "e": "AQAB"}), "`n` is not base64url"),
        (json!({"kty": "RSA", "n": x, "e": x, "d": x}), "private key"),
        (json!({"kty": "EC", "crv": "P-384", "x": x, "y": x}), "`crv` is not P-256"),
        (json!({"kty": "EC", "crv": "P-256", "x": x, "y": x}), "no public key"),
        (json!({"kty": "EC", "crv": "P-256", "x": x, "y": "AA"}), "32 bytes each"),
        (json!({"kty": "OKP", "crv": "Ed448", "x": x}), "`crv` is not Ed25519"),
        (json!({"kty": "OKP", "crv": "Ed25519", "x": "AA"}), "32 bytes"),
        (json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(&[0; 32])}), "small order"),
        (json!({"kty": "OKP", "crv": "X25519", "x": x}), "`crv`"),
        (json!({"kty": "what"}), "none of RSA"),
        (json!({"kty": 7}), "not a string"),
        (json!({}), "`kty` is missing"),
        (json!("key"), "no object"),
        (json!({"kty": "RSA", "use": "enc"}), "not `sig`"),
        (json!({"kty": "RSA", "key_ops": ["sign"]}), "`verify`"),
        (json!({"kty": "RSA", "alg": "PS256"}), "none of ours"),
        (json!({"kty": "EC", "crv": "P-256", "alg": "none"}), "none of ours"),
    ] {
        let why = key(jwk, JwksFrom::Url);
        assert!(why.contains(expected), "{expected}: {why}");
    }
    assert!(key(json!({"kty": "oct", "k": secret}), JwksFrom::File).contains("`alg` is missing"));
    assert!(key(json!({"kty": "oct", "alg": "RS256", "k": secret}), JwksFrom::File).contains("takes no secret"));
    assert!(key(json!({"kty": "oct", "alg": "HS256", "k": "AA"}), JwksFrom::File).contains("1 bytes"));
    let good = json!({"keys": [{"kty": "oct", "alg": "HS256", "k": secret}]}).to_string();
    assert_eq!(Jwks::read(good.as_bytes(), JwksFrom::File, None).unwrap().keys.len(), 1);
    for bad in ["", "{}", "[]", r#"{"keys":7}"#, r#"{"keys":[],"keys":[]}"#] {
        assert_eq!(Jwks::read(bad.as_bytes(), JwksFrom::File, None).unwrap_err(), BadJwks::Malformed, "{bad}");
    }
    let many = json!({"keys": vec![json!({}); 129]}).to_string();
    assert_eq!(Jwks::read(many.as_bytes(), JwksFrom::File, None).unwrap_err(), BadJwks::TooManyKeys(129));
    assert!(Jwks::read(br#"{"keys":[]}"#, JwksFrom::File, None).unwrap_err().to_string().contains("empty"));
}

#[test]
fn a_key_that_is_fetched_may_still_come() {
    let rules = || TokenRules { algorithms: Algorithms::of([Algorithm::Es256]), ..TokenRules::default() };
    let header = |kid: Option<&str>, alg: &str| match kid {
        Some(kid) => base64url(json!({"alg": alg, "kid": kid}).to_string().as_bytes()),
        None => base64url(json!({ "alg": alg }).to_string().as_bytes()),
    };
    let token = |kid, alg| format!("{}.{}.{}", header(kid, alg), base64url(claims().to_string().as_bytes()), "AAAA");
    let none_yet = TokenVerifier::new(KeySet::default(), rules(), &Limits::default()).with_keys_to_come();
    assert_eq!(none_yet.verify(&token(Some("k"), "ES256"), NOW).unwrap_err(), BadToken::KeyToCome);
    assert!(BadToken::KeyToCome.close_reason().may_retry() && !BadToken::UnknownKey.close_reason().may_retry());
    assert_eq!(none_yet.verify(&token(None, "ES256"), NOW).unwrap_err(), BadToken::KeyToCome, "a token without a name");
    let named = |name: &str| {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        VerifyingKey::from_der(&x509(pair.public_key())).unwrap().with_kid(name).unwrap().into()
    };
    let here = |names: &[&str]| {
        let keys = KeySet::new(names.iter().map(|name| named(name))).unwrap();
        TokenVerifier::new(keys, rules(), &Limits::default()).with_keys_to_come()
    };
    let refused = |names: &[&str], kid| here(names).verify(&token(kid, "ES256"), NOW).unwrap_err();
    assert_eq!(refused(&["a"], None), BadToken::Signature, "the only one there is");
    assert_eq!(refused(&["a", "b"], None), BadToken::UnknownKey, "keys are here, and nobody can say which is meant");
    assert_eq!(refused(&["a", "b"], Some("c")), BadToken::KeyToCome);
    let es256 = Algorithms::of([Algorithm::Es256]);
    for alg in ["HS256", "RS256", "none"] {
        assert_eq!(none_yet.verify(&token(Some("k"), alg), NOW).unwrap_err(), BadToken::Algorithm(es256));
    }
    let never = TokenVerifier::new(KeySet::default(), rules(), &Limits::default());
    assert!(matches!(never.verify(&token(Some("k"), "ES256"), NOW), Err(BadToken::Algorithm(_))));
}
