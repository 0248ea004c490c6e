//! What two servers of one address say to each other: a JSON object on a line.
//!
//! ```text
//!  Hello, Known…, Complete   each to the other at once: what the sender remembers
//!  Revoke ─► ◄─ Done         from then on, either way: each that the API takes in, and what became of it
//! ```
//!
//! Promises: a line of more than [`LINE_BYTES_MAX`] is not read to its end; whatever comes, nothing panics.

use std::io;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

use super::place::Place;
use super::sharing::Fault;
use crate::control::api::RevokeRequest;

/// One line.
#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Line {
    /// The first, on both ways. `place`: where the sender is found.
    Hello { version: u32, place: u8 },
    /// The sender remembers this since then, in seconds since 1970.
    Known { at: u64, what: RevokeRequest },
    /// That was all it remembered.
    Complete,
    /// Somebody asks that this be revoked.
    Revoke { id: u64, what: RevokeRequest },
    /// The answer to the `Revoke` of this number.
    Done { id: u64, remembered: bool, complete: bool },
}

impl Line {
    pub(super) fn hello(own: Place) -> Self {
        Self::Hello { version: VERSION, place: own.number() }
    }

    pub(super) async fn write(&self, into: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        // Numbers and strings cannot fail to be written; a string's line break is escaped.
        let mut bytes = serde_json::to_vec(self).unwrap_or_default();
        bytes.push(b'\n');
        into.write_all(&bytes).await
    }
}

/// The lines of the other, as they come.
#[derive(Debug)]
pub(super) struct Lines<R>(BufReader<R>);

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(from: R) -> Self {
        Self(BufReader::new(from))
    }

    /// The next line; `None`: the other has ended.
    pub(super) async fn next(&mut self) -> Result<Option<Line>, Fault> {
        let mut bytes = Vec::new();
        let read = (&mut self.0).take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut bytes).await;
        if read.is_err() {
            // As good as its end: there is nobody to talk to.
            return Ok(None);
        }
        match bytes.pop() {
            Some(b'\n') => serde_json::from_slice(&bytes).map(Some).map_err(|_| Fault::Malformed),
            Some(_) if bytes.len() + 1 == LINE_BYTES_MAX => Err(Fault::TooLong),
            Some(_) | None => Ok(None),
        }
    }

    /// The first line: where the other is found. `None`: it has ended.
    pub(super) async fn hello(&mut self) -> Result<Option<Place>, Fault> {
        match self.next().await? {
            Some(Line::Hello { version: VERSION, place }) => Place::new(place).map(Some).ok_or(Fault::Malformed),
            Some(Line::Hello { .. }) => Err(Fault::Version),
            Some(Line::Known { .. } | Line::Complete | Line::Revoke { .. } | Line::Done { .. }) => {
                Err(Fault::Malformed)
            }
            None => Ok(None),
        }
    }
}

/// Changes when a server of before could not understand what is said; the two then share nothing, and say so.
const VERSION: u32 = 1;
/// A `jti` of 256 bytes, each written as `\u0000`, and what stands around it.
pub(super) const LINE_BYTES_MAX: usize = 2_048;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::shard::Revocation;

    fn in_time<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test)
    }

    async fn read(mut bytes: &[u8]) -> Vec<Result<Option<Line>, Fault>> {
        let (mut lines, mut read) = (Lines::new(&mut bytes), Vec::new());
        loop {
            read.push(lines.next().await);
            if !matches!(read.last(), Some(Ok(Some(_)))) {
                return read;
            }
        }
    }

    #[test]
    fn the_longest_that_can_be_revoked_is_a_line_and_comes_out_as_it_went_in() {
        in_time(async {
            for revocation in [
                Revocation::Token { jti: "\u{1}".repeat(256).into() },
                Revocation::User { user: "é\"\\".repeat(32).into(), issued_before_unix_s: 1_700_000_000 },
                Revocation::Issued { before_unix_s: 1_700_000_000 },
            ] {
                let mut bytes = Vec::new();
                let line = Line::Known { at: u64::MAX, what: RevokeRequest::of(&revocation) };
                line.write(&mut bytes).await.unwrap();
                assert!(bytes.len() <= LINE_BYTES_MAX, "{}", bytes.len());
                let Ok(Some(Line::Known { at: u64::MAX, what })) = read(&bytes).await.remove(0) else {
                    panic!("it is what it was: {}", bytes.escape_ascii())
                };
                assert_eq!(what.check().unwrap(), revocation);
            }
        });
    }

    #[test]
    fn a_line_without_an_end_is_not_waited_for_and_one_that_is_cut_is_none() {
        in_time(async {
            let endless = b"\"complete\"\n".iter().copied().chain([b' '; LINE_BYTES_MAX]).collect::<Vec<_>>();
            let read_long = read(&endless).await;
            assert!(matches!(read_long[..], [Ok(Some(Line::Complete)), Err(Fault::TooLong)]), "{read_long:?}");
            let cut = read(b"\"complete\"\n\"compl").await;
            assert!(matches!(cut[..], [Ok(Some(Line::Complete)), Ok(None)]), "{cut:?}");
            assert!(matches!(read(b"\n").await[..], [Err(Fault::Malformed)]));
        });
    }

    proptest! {
        #[test]
        fn whatever_comes_is_a_line_or_a_fault(bytes in proptest::collection::vec(any::<u8>(), 0..4_096)) {
            in_time(async { assert!(!read(&bytes).await.is_empty()) });
        }
    }
}
