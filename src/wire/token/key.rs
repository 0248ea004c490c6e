//! A key that proves tokens, bound to one algorithm for life.
//!
//! Promises: what is weak, private or not on its curve is refused when it is loaded, with a sentence that says what to do
//! (RFC 8725, 3.2, 3.4, 3.5); a key never checks a signature of another algorithm; `Debug` shows no key material.

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use super::algorithm::Algorithm;
use super::forms;

/// One key the server trusts.
pub struct VerifyingKey {
    kid: Option<Box<str>>,
    issuer: Option<Box<str>>,
    algorithm: Algorithm,
    material: Material,
}

enum Material {
    /// Padded and hashed once, not at each token.
    Secret(Box<hmac::Key>),
    Public(ParsedPublicKey),
}

/// Why a key was not taken. It repeats nothing of the key.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum BadKey {
    #[error("{algorithm} takes no secret: give a public key (PEM or JWK)")]
    NoSecret { algorithm: &'static str },
    #[error(
        "the secret has {has} bytes; {algorithm} needs at least {needs}. Make one with: openssl rand -hex {}",
        needs
    )]
    ShortSecret { algorithm: &'static str, has: usize, needs: usize },
    #[error("the secret has hardly any different bytes: anybody could guess it. Make one with: openssl rand -hex 32")]
    PoorSecret,
    #[error(
        "the secret is {0}: a public key as an HMAC secret would let everybody who has it make tokens. Give public keys as \
         PEM (-----BEGIN PUBLIC KEY-----) or as a JWK set, by `keys` in [tokens]"
    )]
    PublicAsSecret(&'static str),
    #[error(
        "the secret begins with a byte order mark, as some editors and shells write it: save the file as plain text \
         without one"
    )]
    MarkedSecret,
    #[error("this is a private key; the server needs the public one: openssl pkey -in KEY -pubout")]
    Private,
    #[error("this is a certificate; the server needs its public key: openssl x509 -in CERT -pubkey -noout")]
    Certificate,
    #[error("this is not one PEM block `PUBLIC KEY` or `RSA PUBLIC KEY`")]
    NotPem,
    #[error("this is no public key of RSA (2,048 to 8,192 bits), of P-256 or of Ed25519")]
    NotPublic,
    #[error("an RSA key has {0} bits; from 2,048 to 8,192 are taken")]
    RsaBits(usize),
    #[error("this key is for {is}, not for {wanted}")]
    OtherAlgorithm { is: &'static str, wanted: &'static str },
    #[error("the Ed25519 key is a point of small order: every signature fits it")]
    WeakPoint,
    #[error("the `kid` is longer than {} bytes", VerifyingKey::KID_BYTES_MAX)]
    LongKid,
    #[error("the JWK's `{member}` {why}")]
    Jwk { member: &'static str, why: &'static str },
}

impl VerifyingKey {
    pub const KID_BYTES_MAX: usize = 256;

    /// A secret for HS256, HS384 or HS512, at least as long as the hash (RFC 7518, 3.2), and nothing that is public by its
    /// form.
    pub fn from_secret(algorithm: Algorithm, secret: &[u8]) -> Result<Self, BadKey> {
        let needs = algorithm.secret_bytes_min().ok_or_else(|| BadKey::NoSecret { algorithm: algorithm.name() })?;
        forms::check_secret(secret)?;
        if secret.len() < needs {
            return Err(BadKey::ShortSecret { algorithm: algorithm.name(), has: secret.len(), needs });
        }
        let mut seen = [false; 256];
        secret.iter().for_each(|byte| seen[usize::from(*byte)] = true);
        if seen.into_iter().filter(|seen| *seen).count() < DIFFERENT_BYTES_MIN {
            return Err(BadKey::PoorSecret);
        }
        Ok(Self::unchecked_secret(algorithm, secret))
    }

    /// A secret nobody has judged; only for a server that is tried out and for tests.
    pub(super) fn unchecked_secret(algorithm: Algorithm, secret: &[u8]) -> Self {
        let hash = match algorithm {
            Algorithm::Hs384 => hmac::HMAC_SHA384,
            Algorithm::Hs512 => hmac::HMAC_SHA512,
            Algorithm::Hs256 | Algorithm::Rs256 | Algorithm::Es256 | Algorithm::EdDsa => hmac::HMAC_SHA256,
        };
        Self::new(algorithm, Material::Secret(Box::new(hmac::Key::new(hash, secret))))
    }

    /// A public key in PEM: `PUBLIC KEY` (RFC 7468, 13) of any of our kinds or `RSA PUBLIC KEY` (RFC 8017, A.1.1). Its
    /// kind says its algorithm; `wanted`, if given, must be that.
    pub fn from_pem(pem: &[u8], wanted: Option<Algorithm>) -> Result<Self, BadKey> {
        let der = pem_block(pem)?;
        let key = Self::from_der(&der)?;
        match wanted {
            Some(wanted) if wanted != key.algorithm => {
                Err(BadKey::OtherAlgorithm { is: key.algorithm.name(), wanted: wanted.name() })
            }
            Some(_) | None => Ok(key),
        }
    }

    /// A public key in DER (`SubjectPublicKeyInfo`, RFC 5280, or an RSA key by itself).
    pub fn from_der(der: &[u8]) -> Result<Self, BadKey> {
        if let Ok(rsa) = rsa::PublicKey::from_der(der) {
            check_rsa_bits(rsa.modulus_len() * 8)?;
            return Self::public(Algorithm::Rs256, &RSA_PKCS1_2048_8192_SHA256, der);
        }
        Self::public(Algorithm::Es256, &ECDSA_P256_SHA256_FIXED, der).or_else(|_| Self::ed25519(der))
    }

    /// The public parts of an RSA key, big-endian.
    pub(super) fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, BadKey> {
        let bits = modulus.iter().skip_while(|byte| **byte == 0).count() * 8;
        check_rsa_bits(bits)?;
        let parts = rsa::PublicKeyComponents { n: modulus, e: exponent };
        let key = parts.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).map_err(|_| BadKey::NotPublic)?;
        Ok(Self::new(Algorithm::Rs256, Material::Public(key)))
    }

    /// A point on P-256, not compressed (`04 ‖ x ‖ y`). One that is not on the curve is refused.
    pub(super) fn p256(point: &[u8]) -> Result<Self, BadKey> {
        Self::public(Algorithm::Es256, &ECDSA_P256_SHA256_FIXED, point)
    }

    /// An Ed25519 key: its 32 bytes, or the same in DER, whose end they are.
    pub(super) fn ed25519(key: &[u8]) -> Result<Self, BadKey> {
        let key = Self::public(Algorithm::EdDsa, &ED25519, key).and_then(|parsed| {
            let raw = key.len().checked_sub(ED25519_BYTES).map(|from| &key[from..]);
            if raw.is_none_or(is_of_small_order) { Err(BadKey::WeakPoint) } else { Ok(parsed) }
        })?;
        Ok(key)
    }

    fn public(
        algorithm: Algorithm,
        verification: &'static dyn VerificationAlgorithm,
        key: &[u8],
    ) -> Result<Self, BadKey> {
        let key = ParsedPublicKey::new(verification, key).map_err(|_| BadKey::NotPublic)?;
        Ok(Self::new(algorithm, Material::Public(key)))
    }

    fn new(algorithm: Algorithm, material: Material) -> Self {
        Self { kid: None, issuer: None, algorithm, material }
    }

    /// Named so in a token's `kid`.
    pub fn with_kid(mut self, kid: &str) -> Result<Self, BadKey> {
        if kid.len() > Self::KID_BYTES_MAX {
            return Err(BadKey::LongKid);
        }
        self.kid = Some(kid.into());
        Ok(self)
    }

    /// Good only for tokens whose `iss` is this: keys of one issuer prove nothing about another (RFC 8725, 3.8).
    #[must_use]
    pub fn with_issuer(mut self, issuer: &str) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether both are one public key, for tokens of the same issuer. Of secrets nobody can say.
    pub(super) fn is_the_same_as(&self, other: &Self) -> bool {
        let same_material = match (&self.material, &other.material) {
            (Material::Public(this), Material::Public(other)) => this.as_ref() == other.as_ref(),
            (Material::Secret(_), _) | (_, Material::Secret(_)) => false,
        };
        same_material && self.algorithm == other.algorithm && self.issuer == other.issuer
    }

    /// Whether `signature` was made over `message` with this key and its one algorithm.
    pub(super) fn fits(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Secret(key) => hmac::verify(key, message, signature).is_ok(),
            Material::Public(key) => key.verify_sig(message, signature).is_ok(),
        }
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("VerifyingKey");
        shown.field("algorithm", &self.algorithm).field("kid", &self.kid).finish_non_exhaustive()
    }
}

fn check_rsa_bits(bits: usize) -> Result<(), BadKey> {
    if (2_048..=8_192).contains(&bits) { Ok(()) } else { Err(BadKey::RsaBits(bits)) }
}

/// The content of the one block of a PEM file (RFC 7468); text around it is not read.
fn pem_block(pem: &[u8]) -> Result<Vec<u8>, BadKey> {
    let text = std::str::from_utf8(pem).map_err(|_| BadKey::NotPem)?;
    let (_, rest) = text.split_once("-----BEGIN ").ok_or(BadKey::NotPem)?;
    let (label, rest) = rest.split_once("-----").ok_or(BadKey::NotPem)?;
    match label {
        "PUBLIC KEY" | "RSA PUBLIC KEY" => {}
        "CERTIFICATE" => return Err(BadKey::Certificate),
        label if label.ends_with("PRIVATE KEY") => return Err(BadKey::Private),
        _ => return Err(BadKey::NotPem),
    }
    let (body, rest) = rest.split_once("-----END ").ok_or(BadKey::NotPem)?;
    if !rest.starts_with(label) || rest.contains("-----BEGIN ") {
        return Err(BadKey::NotPem);
    }
    let body: Vec<u8> = body.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    STANDARD.decode(body).map_err(|_| BadKey::NotPem)
}

/// The points of order 1, 2, 4 and 8, and the other ways to write them (the list of libsodium's
/// `ge25519_has_small_order`), the sign of x left out.
fn is_of_small_order(key: &[u8]) -> bool {
    let Ok(mut key) = <[u8; ED25519_BYTES]>::try_from(key) else { return false };
    key[ED25519_BYTES - 1] &= 0x7f;
    let small = |low: u8| {
        let mut point = [0; ED25519_BYTES];
        point[0] = low;
        point
    };
    // p − 1, p and p + 1, with p = 2^255 − 19.
    let near_p = |low: u8| {
        let mut point = [0xff; ED25519_BYTES];
        (point[0], point[ED25519_BYTES - 1]) = (low, 0x7f);
        point
    };
    [small(0), small(1), near_p(0xec), near_p(0xed), near_p(0xee), ORDER_8_A, ORDER_8_B].contains(&key)
}

const ORDER_8_A: [u8; ED25519_BYTES] = [
    0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf, 0xac,
    0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
];
const ORDER_8_B: [u8; ED25519_BYTES] = [
    0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20, 0x53,
    0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
];
const ED25519_BYTES: usize = 32;
/// 32 random bytes have fewer with a chance of less than 1 in 10^40; a hex text has up to 16.
const DIFFERENT_BYTES_MIN: usize = 8;
