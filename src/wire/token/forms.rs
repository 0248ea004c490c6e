//! The forms that keys come in, told from their bytes: a file that is listed as a key may be whatever some tool wrote.
//!
//! Promises: what is public by its form (PEM, DER, JSON, a line of OpenSSH, a point on P-256) is never taken for a secret,
//! however an editor or a shell left it: behind other text or a byte order mark, in UTF-16, in base64 without its lines.
//! Whoever has a public key could else make tokens with it (RFC 8725, 2.1). What has no form, such as the 32 bytes of an
//! Ed25519 key by themselves, nobody can tell from a secret.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use memchr::memmem;

use super::json;
use super::key::{BadKey, VerifyingKey};

/// Whether these bytes hold PEM, with or without text around it (RFC 7468, 2).
pub fn is_pem(bytes: &[u8]) -> bool {
    holds(bytes, b"-----BEGIN")
}

/// Without the byte order mark that some editors put before UTF-8.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(UTF8_MARK).unwrap_or(bytes)
}

/// Why these bytes are no secret, however many they are.
pub(super) fn check_secret(bytes: &[u8]) -> Result<(), BadKey> {
    if [UTF8_MARK, UTF16_LITTLE_MARK, UTF16_BIG_MARK].iter().any(|mark| bytes.starts_with(mark)) {
        return Err(BadKey::MarkedSecret);
    }
    match public_form(bytes) {
        Some(form) => Err(BadKey::PublicAsSecret(form)),
        None => Ok(()),
    }
}

/// What everybody may have that these bytes are.
fn public_form(bytes: &[u8]) -> Option<&'static str> {
    // UTF-16 puts a zero beside each ASCII letter.
    let text: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0).collect();
    if is_pem(&text) {
        return Some("a PEM file");
    }
    if is_line_of_ssh(&text) || holds(&text, b"---- BEGIN SSH2") {
        return Some(OPENSSH);
    }
    if holds(&text, b"\"kty\"") || json::object(&text).is_some() {
        return Some("JSON, as a JWK is");
    }
    if holds(&text, b"<RSAKeyValue") {
        return Some("an RSA key in XML");
    }
    binary_form(bytes).or_else(|| binary_form(&from_base64(&text)?))
}

fn binary_form(bytes: &[u8]) -> Option<&'static str> {
    // Each field of OpenSSH begins with its length in four bytes; the first is the kind (RFC 4253, 6.6).
    let kind = bytes.strip_prefix(&[0, 0, 0]).and_then(|rest| rest.get(1..));
    if kind.is_some_and(is_kind_of_ssh) {
        return Some(OPENSSH);
    }
    if is_key_in_der(bytes) {
        return Some("a key or a certificate in DER");
    }
    let is_point = bytes.len() == POINT_BYTES && bytes[0] == UNCOMPRESSED && VerifyingKey::p256(bytes).is_ok();
    is_point.then_some("a public key of P-256")
}

/// `kind base64 comment`, with options or a host's name before it or without.
fn is_line_of_ssh(text: &[u8]) -> bool {
    let words = text.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
    // A kind's length in base64, as above.
    words.clone().zip(words.skip(1)).any(|(kind, key)| is_kind_of_ssh(kind) && key.starts_with(b"AAAA"))
}

fn is_kind_of_ssh(word: &[u8]) -> bool {
    let kinds: [&[u8]; 4] = [b"ssh-", b"ecdsa-sha2-", b"sk-ssh-", b"sk-ecdsa-"];
    kinds.iter().any(|kind| word.starts_with(kind))
}

/// Whether this is one sequence from its beginning to its end, and within it, first, a number (an RSA key by itself;
/// private keys) or a sequence that begins with an object identifier (`SubjectPublicKeyInfo`), a version or a number (a
/// certificate). Each has a byte that is no letter, so that no secret of text is taken for it by chance.
fn is_key_in_der(bytes: &[u8]) -> bool {
    let Some((SEQUENCE, length, content)) = der_value(bytes) else { return false };
    // A line end may have been put behind it, or its last byte taken for one.
    if length.abs_diff(content.len()) > LINE_END_BYTES {
        return false;
    }
    match der_value(content) {
        Some((INTEGER, length, rest)) => length <= rest.len(),
        Some((SEQUENCE, length, rest)) => {
            let first = rest.first().copied().unwrap_or_default();
            length <= rest.len() && [OBJECT_IDENTIFIER, VERSION, INTEGER].contains(&first)
        }
        Some(_) | None => false,
    }
}

/// Tag and length of the value that begins here, and what is behind them (X.690, 8.1).
fn der_value(bytes: &[u8]) -> Option<(u8, usize, &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&length, rest) = rest.split_first()?;
    if length < 0x80 {
        return Some((tag, usize::from(length), rest));
    }
    let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f)).filter(|(digits, _)| digits.len() <= 4)?;
    Some((tag, digits.iter().fold(0, |sum, digit| (sum << 8) | usize::from(*digit)), rest))
}

/// What stands there in base64 of either alphabet, in one line or several.
fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    let letters = text.iter().filter(|byte| !byte.is_ascii_whitespace()).map(|byte| match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => *other,
    });
    let mut letters: Vec<u8> = letters.collect();
    letters.truncate(letters.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1));
    STANDARD_NO_PAD.decode(letters).ok()
}

fn holds(bytes: &[u8], what: &[u8]) -> bool {
    memmem::find(bytes, what).is_some()
}

const UTF8_MARK: &[u8] = &[0xef, 0xbb, 0xbf];
const UTF16_LITTLE_MARK: &[u8] = &[0xff, 0xfe];
const UTF16_BIG_MARK: &[u8] = &[0xfe, 0xff];
const OPENSSH: &str = "a public key of OpenSSH";
const LINE_END_BYTES: usize = 2;
const POINT_BYTES: usize = 65;
const UNCOMPRESSED: u8 = 4;
const INTEGER: u8 = 0x02;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
/// `[0]`, the version of a certificate (RFC 5280, 4.1).
const VERSION: u8 = 0xa0;

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
    use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    };
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::*;

    fn der<K: AsDer<PublicKeyX509Der<'static>>>(key: &K) -> Vec<u8> {
        AsDer::as_der(key).unwrap().as_ref().to_vec()
    }

    #[test]
    fn a_public_key_in_der_is_known_whatever_its_kind_bare_in_base64_and_with_a_line_end_more_or_less() {
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let (p256, p384) = (&ECDSA_P256_SHA256_FIXED_SIGNING, &ECDSA_P384_SHA384_FIXED_SIGNING);
        let (p256, p384) = (EcdsaKeyPair::generate(p256).unwrap(), EcdsaKeyPair::generate(p384).unwrap());
        let ed = Ed25519KeyPair::generate().unwrap();
        let certificate = include_bytes!("../../../tests/tls/ca.pem");
        let certificate = std::str::from_utf8(certificate).unwrap();
        let body: String = certificate.lines().filter(|line| !line.starts_with('-')).collect();
        let all = [
            der(rsa.public_key()),
            rsa.public_key().as_ref().to_vec(),
            der(p256.public_key()),
            der(p384.public_key()),
            der(ed.public_key()),
            p256.to_pkcs8v1().unwrap().as_ref().to_vec(),
            ed.to_pkcs8().unwrap().as_ref().to_vec(),
            STANDARD.decode(body).unwrap(),
        ];
        for der in all {
            let lines: Vec<_> = STANDARD.encode(&der).into_bytes().chunks(64).map(<[u8]>::to_vec).collect();
            let forms = [
                der.clone(),
                [&der[..], b"\r\n"].concat(),
                der[..der.len() - 1].to_vec(),
                lines.join(&b'\n'),
                URL_SAFE_NO_PAD.encode(&der).into_bytes(),
            ];
            for form in forms {
                assert_eq!(public_form(&form), Some("a key or a certificate in DER"), "{form:02x?}");
            }
        }
        assert_eq!(public_form(p256.public_key().as_ref()), Some("a public key of P-256"));
        assert_eq!(public_form(STANDARD.encode(p256.public_key()).as_bytes()), Some("a public key of P-256"));
    }

    #[test]
    fn a_public_key_in_text_is_known_behind_other_text_and_in_utf_16() {
        let ssh = "AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea";
        let jwk = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n";
        for (text, form) in [
            (format!("Bag Attributes\n    localKeyID: 01\n{pem}"), "a PEM file"),
            (format!("ssh-ed25519 {ssh} ann@example\n"), OPENSSH),
            (format!("# of ann\ncert-authority,no-pty ssh-ed25519 {ssh}\n"), OPENSSH),
            (format!("sk-ssh-ed25519@openssh.com {ssh}"), OPENSSH),
            (format!("ecdsa-sha2-nistp256 {ssh}"), OPENSSH),
            (ssh.to_owned(), OPENSSH),
            (format!("---- BEGIN SSH2 PUBLIC KEY ----\n{ssh}\n---- END SSH2 PUBLIC KEY ----\n"), OPENSSH),
            (jwk.to_owned(), "JSON, as a JWK is"),
            (format!("[{jwk},]"), "JSON, as a JWK is"),
            (r#"{"1f88":"AAAAB3NzaC1yc2EAAAADAQABAAABAQ"}"#.to_owned(), "JSON, as a JWK is"),
            ("<RSAKeyValue><Modulus>AAAA</Modulus></RSAKeyValue>".to_owned(), "an RSA key in XML"),
        ] {
            let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
            for bytes in [text.as_bytes(), &little, &big] {
                assert_eq!(public_form(bytes), Some(form), "{text}");
            }
        }
        for mark in [UTF8_MARK, UTF16_LITTLE_MARK, UTF16_BIG_MARK] {
            assert_eq!(check_secret(&[mark, &[7; 40]].concat()), Err(BadKey::MarkedSecret));
        }
    }

    #[test]
    fn a_secret_may_speak_of_keys_without_being_one() {
        for secret in [
            "ssh-agent forwarding is a bad idea, says ann",
            "{this is no JSON, though it begins so}",
            "---BEGIN a phrase with dashes before it",
            "0000000000000000000000000000000000000000000000000001",
            "000-0123456789abcdef0123456789abcdef0123456789abcde",
        ] {
            assert_eq!(check_secret(secret.as_bytes()), Ok(()), "{secret}");
        }
    }

    proptest! {
        /// What people make with `openssl rand`, in each of its ways to write it.
        #[test]
        fn a_secret_of_random_bytes_is_a_secret(random in proptest::collection::vec(any::<u8>(), 32..=64)) {
            let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
            for secret in [hex, STANDARD.encode(&random), URL_SAFE_NO_PAD.encode(&random)] {
                prop_assert_eq!(check_secret(secret.as_bytes()), Ok(()));
            }
        }
    }
}
