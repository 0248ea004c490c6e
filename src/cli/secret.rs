//! The secret that signs tokens.
//!
//! Promises: at least 32 bytes (RFC 7518, 3.2: no shorter than the hash), never printed, not even by `Debug`.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::Failure;
use super::args::SecretArgs;

/// A checked secret.
#[derive(Clone)]
pub(crate) struct Secret(Vec<u8>);

impl Secret {
    pub(crate) const BYTES_MIN: usize = 32;

    /// From the file, else from the environment, else `None`.
    pub(crate) fn find(args: &SecretArgs) -> Result<Option<Self>, Failure> {
        if let Some(path) = &args.jwt_secret_file {
            return Self::from_file(path).map(Some);
        }
        args.jwt_hs256_secret.as_deref().map(Self::from_text).transpose()
    }

    /// One that was given as it is, in a variable or a flag.
    pub(crate) fn from_text(secret: &str) -> Result<Self, Failure> {
        Self::checked(secret.as_bytes().to_vec(), "THRONG_JWT_HS256_SECRET")
    }

    /// A new one from the system's randomness, for this run only.
    pub(crate) fn random() -> Result<Self, Failure> {
        let mut bytes = vec![0; Self::BYTES_MIN];
        getrandom::fill(&mut bytes)
            .map_err(|error| Failure::Broken(format!("the system gives no randomness for a secret: {error}")))?;
        Ok(Self(bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads the file as it is now.
    pub(crate) fn from_file(path: &Path) -> Result<Self, Failure> {
        let fail = |why: &dyn fmt::Display| {
            Failure::Misused(format!("the secret file {} cannot be read: {why}", path.display()))
        };
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
            .map_err(|error| fail(&error))?;
        // A part of it would be another secret than the one that others sign with.
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(fail(&format!("it has more than {FILE_BYTES_MAX} bytes")));
        }
        // Editors and `echo` end a line; the line's end is not part of the secret.
        if bytes.ends_with(b"\n") {
            bytes.pop();
        }
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
        Self::checked(bytes, &path.display().to_string())
    }

    fn checked(bytes: Vec<u8>, whence: &str) -> Result<Self, Failure> {
        if bytes.len() >= Self::BYTES_MIN {
            return Ok(Self(bytes));
        }
        Err(Failure::Misused(format!(
            "the secret in {whence} has {} bytes; HS256 needs at least {}. Make one with: openssl rand -hex 32",
            bytes.len(),
            Self::BYTES_MIN
        )))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

const FILE_BYTES_MAX: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn from_env(secret: &str) -> Result<Option<Secret>, Failure> {
        Secret::find(&SecretArgs { jwt_secret_file: None, jwt_hs256_secret: Some(secret.to_owned()) })
    }

    #[test]
    fn a_short_secret_is_refused_without_being_repeated() {
        let short = "x".repeat(31);
        let Err(Failure::Misused(sentence)) = from_env(&short) else { panic!("31 bytes were taken") };
        assert!(sentence.contains("31 bytes") && sentence.contains("at least 32") && !sentence.contains(&short));
        assert_eq!(from_env(&"x".repeat(32)).unwrap().unwrap().bytes().len(), 32);
        assert!(Secret::find(&SecretArgs { jwt_secret_file: None, jwt_hs256_secret: None }).unwrap().is_none());
    }

    #[test]
    fn a_file_wins_and_its_last_line_end_is_not_secret() {
        let path = std::env::temp_dir().join(format!("throng-secret-{}", std::process::id()));
        let args = SecretArgs { jwt_secret_file: Some(path.clone()), jwt_hs256_secret: Some("y".repeat(40)) };
        for end in ["", "\n", "\r\n"] {
            std::fs::write(&path, format!("{}{end}", "x".repeat(32))).unwrap();
            assert_eq!(Secret::find(&args).unwrap().unwrap().bytes(), "x".repeat(32).as_bytes());
        }
        for (len, is_taken) in [(FILE_BYTES_MAX, true), (FILE_BYTES_MAX + 1, false)] {
            std::fs::write(&path, vec![b'x'; len as usize]).unwrap();
            match Secret::find(&args) {
                Ok(secret) => assert!(is_taken && secret.unwrap().bytes().len() as u64 == len, "cut, without a word"),
                Err(Failure::Misused(sentence)) => assert!(!is_taken && sentence.contains("more than 65536 bytes")),
                Err(Failure::Broken(sentence)) => panic!("{sentence}"),
            }
        }
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(Secret::find(&args), Err(Failure::Misused(sentence)) if sentence.contains("cannot be read")));
    }

    #[test]
    fn random_secrets_differ_and_none_is_printed() {
        let (a, b) = (Secret::random().unwrap(), Secret::random().unwrap());
        assert_ne!(a.bytes(), b.bytes());
        assert_eq!(format!("{a:?}"), "Secret(..)");
    }
}
