//! What it costs to prove a token, by algorithm: header, signature, claims and rules, as at each handshake.
//!
//! `cargo bench --bench tokens`. Time, not instructions: most of it is the library's, and its code chooses by processor.

use std::hint::black_box;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use serde_json::{Value, json};
use throng::base::Limits;
use throng::wire::token::{
    Algorithm, KeySet, TokenRules, TokenVerifier, VerifyingKey, sign_hmac, signing_input, with_signature,
};

const NOW: u64 = 1_800_000_000;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn main() {
    let mut criterion = criterion::Criterion::default();
    for (name, key, token) in cases() {
        let keys = KeySet::new([key.into()]).expect("one key is a set");
        let verifier = TokenVerifier::new(keys, TokenRules::default(), &Limits::default());
        assert!(verifier.verify(&token, NOW).is_ok(), "{name}");
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| verifier.verify(black_box(&token), NOW).is_ok());
        });
    }
}

fn claims() -> Value {
    json!({
        "sub": "user-0123456789abcdef", "iat": NOW, "exp": NOW + 3_600, "jti": "0123456789abcdef",
        "info": {"name": "Ann"},
        "rooms": [{"match": "chat:*", "can": ["join", "publish", "presence", "history"]}],
    })
}

fn cases() -> Vec<(&'static str, VerifyingKey, String)> {
    let mut cases: Vec<_> = [Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512]
        .map(|algorithm| {
            let token = sign_hmac(algorithm, None, SECRET, &claims()).expect("plain claims");
            (algorithm.name(), VerifyingKey::from_secret(algorithm, SECRET).expect("a long secret"), token)
        })
        .into();
    let random = SystemRandom::new();
    let input = |algorithm| signing_input(algorithm, None, &claims()).expect("plain claims");
    for (name, size) in [("RS256, 2048 bits", KeySize::Rsa2048), ("RS256, 4096 bits", KeySize::Rsa4096)] {
        let pair = RsaKeyPair::generate(size).expect("a key");
        let (message, mut signature) = (input(Algorithm::Rs256), vec![0; pair.public_modulus_len()]);
        pair.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature).expect("a signature");
        cases.push((name, public(pair.public_key()), with_signature(message, &signature)));
    }
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let message = input(Algorithm::Es256);
    let signature = pair.sign(&random, message.as_bytes()).expect("a signature");
    cases.push(("ES256", public(pair.public_key()), with_signature(message, signature.as_ref())));
    let pair = Ed25519KeyPair::generate().expect("a key");
    let message = input(Algorithm::EdDsa);
    let signature = pair.sign(message.as_bytes());
    cases.push(("EdDSA", public(pair.public_key()), with_signature(message, signature.as_ref())));
    cases
}

fn public<K: AsDer<PublicKeyX509Der<'static>>>(key: &K) -> VerifyingKey {
    VerifyingKey::from_der(AsDer::as_der(key).expect("a key in DER").as_ref()).expect("a public key")
}
