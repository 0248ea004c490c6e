//! What signs tokens on the command line: a secret, or a private key in PEM.
//!
//! Promises: a key is bound to one algorithm, as at the server; nothing of it is ever printed.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use throng::control::token_keys::without_line_end;
use throng::wire::token::{Algorithm, VerifyingKey, is_pem, sign_hmac, signing_input, with_signature};

use super::Failure;
use super::secret::Secret;

/// A key that signs.
pub(crate) enum Signer {
    Secret { algorithm: Algorithm, secret: Vec<u8> },
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    /// The server's secret, for HS256 unless another of its family is wanted.
    pub(crate) fn with_secret(secret: &Secret, wanted: Option<Algorithm>) -> Result<Self, Failure> {
        Self::checked_secret(secret.bytes(), wanted).map_err(Failure::Misused)
    }

    /// From a file: a private key in PEM (PKCS #8, or the older form of RSA and EC), else a raw secret.
    pub(crate) fn from_file(path: &Path, wanted: Option<Algorithm>) -> Result<Self, Failure> {
        let misused = |why: String| Failure::Misused(format!("the key file {}: {why}", path.display()));
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
        read.map_err(|error| misused(format!("it cannot be read: {error}")))?;
        if !is_pem(&bytes) {
            return Self::checked_secret(without_line_end(&bytes), wanted).map_err(misused);
        }
        let signer = Self::from_pem(&bytes).ok_or_else(|| misused(NO_PRIVATE_KEY.to_owned()))?;
        match wanted.filter(|wanted| *wanted != signer.algorithm()) {
            Some(wanted) => Err(misused(format!("it is for {}, not for {}", signer.algorithm().name(), wanted.name()))),
            None => Ok(signer),
        }
    }

    fn checked_secret(secret: &[u8], wanted: Option<Algorithm>) -> Result<Self, String> {
        let algorithm = wanted.unwrap_or(Algorithm::Hs256);
        VerifyingKey::from_secret(algorithm, secret).map_err(|bad| bad.to_string())?;
        Ok(Self::Secret { algorithm, secret: secret.to_vec() })
    }

    fn from_pem(pem: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(pem).ok()?;
        let (_, rest) = text.split_once("-----BEGIN ")?;
        let (label, rest) = rest.split_once("-----")?;
        let (body, _) = rest.split_once("-----END ")?;
        let body: Vec<u8> = body.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let der = STANDARD.decode(body).ok()?;
        let p256 = &ECDSA_P256_SHA256_FIXED_SIGNING;
        match label {
            "RSA PRIVATE KEY" => RsaKeyPair::from_der(&der).ok().map(Self::Rsa),
            "EC PRIVATE KEY" => EcdsaKeyPair::from_private_key_der(p256, &der).ok().map(Self::P256),
            "PRIVATE KEY" => (Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).ok().map(Self::Ed25519))
                .or_else(|| EcdsaKeyPair::from_pkcs8(p256, &der).ok().map(Self::P256))
                .or_else(|| RsaKeyPair::from_pkcs8(&der).ok().map(Self::Rsa)),
            _ => None,
        }
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Secret { algorithm, .. } => *algorithm,
            Self::Rsa(_) => Algorithm::Rs256,
            Self::P256(_) => Algorithm::Es256,
            Self::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    /// A token of these claims.
    pub(crate) fn sign(&self, kid: Option<&str>, claims: &Value) -> Result<String, Failure> {
        if let Self::Secret { algorithm, secret } = self {
            return sign_hmac(*algorithm, kid, secret, claims).map_err(Failure::Broken);
        }
        let message = signing_input(self.algorithm(), kid, claims).map_err(Failure::Broken)?;
        let signature = self.signature(message.as_bytes()).ok_or_else(|| Failure::Broken(NOT_SIGNED.to_owned()))?;
        Ok(with_signature(message, &signature))
    }

    fn signature(&self, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match self {
            Self::Secret { .. } => None,
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).ok()?;
                Some(signature)
            }
            Self::P256(pair) => pair.sign(&random, message).ok().map(|signature| signature.as_ref().to_vec()),
            Self::Ed25519(pair) => Some(pair.sign(message).as_ref().to_vec()),
        }
    }

    /// What a server proves these tokens with.
    pub(crate) fn verifying_key(&self) -> Result<VerifyingKey, Failure> {
        let key = match self {
            Self::Secret { algorithm, secret } => VerifyingKey::from_secret(*algorithm, secret),
            Self::Rsa(pair) => VerifyingKey::from_der(&der(pair.public_key())),
            Self::P256(pair) => VerifyingKey::from_der(&der(pair.public_key())),
            Self::Ed25519(pair) => VerifyingKey::from_der(&der(pair.public_key())),
        };
        key.map_err(|bad| Failure::Misused(bad.to_string()))
    }
}

/// Empty, which is no key, where the library cannot write it.
fn der<K: AsDer<PublicKeyX509Der<'static>>>(key: &K) -> Vec<u8> {
    AsDer::as_der(key).map(|der| der.as_ref().to_vec()).unwrap_or_default()
}

const FILE_BYTES_MAX: u64 = 64 << 10;
const NO_PRIVATE_KEY: &str = "this is no private key for RS256 (RSA), ES256 (P-256) or EdDSA (Ed25519) without a password; \
                              make one with: openssl genpkey -algorithm ed25519";
const NOT_SIGNED: &str = "the key could not sign";
