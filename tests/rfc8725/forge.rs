//! What an attacker and an issuer work with: keys of every kind, and tokens put together by hand.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use throng::base::Limits;
use throng::wire::token::{Algorithm, Jwks, JwksFrom, KeySet, TokenRules, TokenVerifier, VerifyingKey};

pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const SECRET: &[u8] = b"the server's own secret, which no attacker has";

/// What an attacker tried and what came of it: the sentence of the refusal, or `Ok` if it got through.
pub(crate) struct Attack {
    pub(crate) section: &'static str,
    pub(crate) name: &'static str,
    /// What every refusal must say.
    pub(crate) answer: &'static str,
    pub(crate) tries: Vec<Result<(), String>>,
}

/// A server with a key of every kind, and all that its issuer has besides.
pub(crate) struct Server {
    pub(crate) rsa: RsaKeyPair,
    pub(crate) rsa_pem: String,
    pub(crate) p256: EcdsaKeyPair,
    pub(crate) ed: Ed25519KeyPair,
    pub(crate) verifier: TokenVerifier,
}

impl Server {
    pub(crate) fn new() -> Self {
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
    pub(crate) fn public_only(&self) -> TokenVerifier {
        let key = VerifyingKey::from_pem(self.rsa_pem.as_bytes(), None).unwrap();
        let rules = self.verifier.rules().clone();
        TokenVerifier::new(KeySet::new([key.into()]).unwrap(), rules, &Limits::default())
    }

    pub(crate) fn tries(&self, token: &str) -> Result<(), String> {
        self.verifier.verify(token, NOW).map(drop).map_err(|bad| bad.to_string())
    }
}

pub(crate) fn claims() -> Value {
    json!({"sub": "ann", "exp": NOW + 600, "iss": "https://issuer.example", "aud": "throng"})
}

pub(crate) fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

pub(crate) fn message(header: &Value, claims: &[u8]) -> String {
    format!("{}.{}", base64url(header.to_string().as_bytes()), base64url(claims))
}

/// Signed by the issuer itself, with the secret.
pub(crate) fn signed(header: &Value, claims: &[u8]) -> String {
    hs256(header, claims, SECRET)
}

pub(crate) fn hs256(header: &Value, claims: &[u8], secret: &[u8]) -> String {
    let message = message(header, claims);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", base64url(tag.as_ref()))
}

pub(crate) fn plain(claims: &Value) -> String {
    signed(&json!({"alg": "HS256", "typ": "JWT"}), claims.to_string().as_bytes())
}

pub(crate) fn signed_es256(pair: &EcdsaKeyPair, header: &Value) -> String {
    let message = message(header, claims().to_string().as_bytes());
    let signature = pair.sign(&aws_lc_rs::rand::SystemRandom::new(), message.as_bytes()).unwrap();
    format!("{message}.{}", base64url(signature.as_ref()))
}

pub(crate) fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn der<K: AsDer<PublicKeyX509Der<'static>>>(key: &K) -> Vec<u8> {
    AsDer::as_der(key).unwrap().as_ref().to_vec()
}

pub(crate) fn pem(der: &[u8]) -> String {
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
}

pub(crate) fn jwk(jwk: Value) -> Result<(), String> {
    let set = json!({ "keys": [jwk] }).to_string();
    Jwks::read(set.as_bytes(), JwksFrom::Url, None).map(drop).map_err(|bad| bad.to_string())
}
