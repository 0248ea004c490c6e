//! Somebody who signs tokens in every algorithm, and the keys by which a server proves them.

use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use serde_json::Value;
use throng::wire::token::{Algorithm, KeySet, VerifyingKey, sign_hmac, signing_input, with_signature};

pub(crate) struct Issuer {
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

impl Issuer {
    pub(crate) fn new() -> Self {
        Self {
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).expect("a key of RSA"),
            p256: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key on P-256"),
            ed: Ed25519KeyPair::generate().expect("a key on Curve25519"),
        }
    }

    /// One key for each algorithm.
    pub(crate) fn keys(&self) -> KeySet {
        KeySet::new(Algorithm::ALL.map(|algorithm| Arc::new(self.key(algorithm)))).expect("they are different keys")
    }

    fn key(&self, algorithm: Algorithm) -> VerifyingKey {
        let key = match algorithm {
            Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => VerifyingKey::from_secret(algorithm, SECRET),
            Algorithm::Rs256 => VerifyingKey::from_der(&der(self.rsa.public_key())),
            Algorithm::Es256 => VerifyingKey::from_der(&der(self.p256.public_key())),
            Algorithm::EdDsa => VerifyingKey::from_der(&der(self.ed.public_key())),
        };
        key.expect("a good key")
    }

    pub(crate) fn signs(&self, algorithm: Algorithm, claims: &Value) -> String {
        let (message, random) = (signing_input(algorithm, None, claims).expect("good claims"), SystemRandom::new());
        let bytes = message.as_bytes();
        let signature = match algorithm {
            Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => {
                return sign_hmac(algorithm, None, SECRET, claims).expect("good claims");
            }
            Algorithm::Rs256 => {
                let mut signature = vec![0; self.rsa.public_modulus_len()];
                self.rsa.sign(&RSA_PKCS1_SHA256, &random, bytes, &mut signature).expect("a signature");
                signature
            }
            Algorithm::Es256 => self.p256.sign(&random, bytes).expect("a signature").as_ref().to_vec(),
            Algorithm::EdDsa => self.ed.sign(bytes).as_ref().to_vec(),
        };
        with_signature(message, &signature)
    }
}

/// The same token with another signature.
pub(crate) fn turned(token: &str) -> String {
    // Not the last letter, of which some bits mean nothing.
    let (before, letter) = token.split_at(token.len() - 10);
    let turned = if letter.starts_with('A') { 'B' } else { 'A' };
    format!("{before}{turned}{}", &letter[1..])
}

fn der<K: AsDer<PublicKeyX509Der<'static>>>(key: &K) -> Vec<u8> {
    AsDer::as_der(key).expect("a public key is written").as_ref().to_vec()
}

/// As long as HS512 wants it.
const SECRET: &[u8; 64] = b"The quick brown fox jumps over 0123456789 lazy dogs, and sleeps.";
