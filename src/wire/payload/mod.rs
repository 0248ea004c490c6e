//! Payloads: any one value, carried as it came.
//!
//! Promises: what stands in a [`Data`] or a [`Payload`] was walked: exactly one complete value, no deeper than the
//! limit, and with a counterpart in the other encoding, so that no publisher can make another reader's frame
//! undecodable. It is never decoded and rebuilt for readers of its own encoding; for the others it is transcoded once.

mod json;
pub(crate) mod msgpack;
pub(crate) mod text;
mod to_json;
mod to_msgpack;
mod walk;

#[cfg(test)]
pub(crate) mod laws;
#[cfg(test)]
pub(crate) mod tree;

use bytes::Bytes;

use super::refusal::Refusal;
use crate::base::Encoding;

pub(crate) use json::skip_space;
pub use walk::DEPTH_CEILING;
pub(crate) use walk::{Broken, Fault, skim, walk};

/// A proved value, owned; JSON has no white space outside its strings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Payload {
    encoding: Encoding,
    bytes: Bytes,
}

impl Payload {
    /// Takes bytes that [`prove`] has accepted before (a slice of a frame in the log, for one). Bytes that it would
    /// not accept make later transcoding panic.
    pub fn from_proved(encoding: Encoding, bytes: Bytes) -> Self {
        Self { encoding, bytes }
    }

    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Exactly one value.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The same value, borrowed.
    pub fn as_data(&self) -> Data<'_> {
        Data { encoding: self.encoding, bytes: &self.bytes, spaced: false }
    }

    /// Appends the value in `encoding`: a copy, or the transcoded form of `docs/protocol.md`, "Payloads".
    pub fn write_as(&self, encoding: Encoding, out: &mut Vec<u8>) {
        self.as_data().write_as(encoding, out);
    }
}

/// A proved value, borrowed from the bytes it was read from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Data<'a> {
    encoding: Encoding,
    bytes: &'a [u8],
    /// JSON white space outside strings is still in it.
    spaced: bool,
}

impl<'a> Data<'a> {
    /// For bytes that were walked (or written by us) and whose spacing is known.
    pub(crate) fn of_proved(encoding: Encoding, bytes: &'a [u8], spaced: bool) -> Self {
        Self { encoding, bytes, spaced }
    }

    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// As it was read: white space outside the strings of JSON may still be in it.
    pub fn raw(&self) -> &'a [u8] {
        self.bytes
    }

    /// Copies the value out of the read buffer.
    pub fn to_payload(&self) -> Payload {
        let bytes = if self.spaced {
            let mut tight = Vec::with_capacity(self.bytes.len());
            json::copy_tight(self.bytes, &mut tight);
            Bytes::from(tight)
        } else {
            Bytes::copy_from_slice(self.bytes)
        };
        Payload { encoding: self.encoding, bytes }
    }

    /// Appends the value in `encoding`: a copy, or the transcoded form of `docs/protocol.md`, "Payloads".
    pub fn write_as(&self, encoding: Encoding, out: &mut Vec<u8>) {
        let transcoded = match (self.encoding, encoding) {
            (Encoding::Json, Encoding::Json) if self.spaced => {
                json::copy_tight(self.bytes, out);
                return;
            }
            (Encoding::Json, Encoding::Json) | (Encoding::MessagePack, Encoding::MessagePack) => {
                out.extend_from_slice(self.bytes);
                return;
            }
            (Encoding::Json, Encoding::MessagePack) => to_msgpack::transcode(self.bytes, out),
            (Encoding::MessagePack, Encoding::Json) => to_json::transcode(self.bytes, out),
        };
        if let Err(broken) = transcoded {
            unreachable!("a proved payload was transcoded and byte {} is wrong: {}", broken.at, broken.why);
        }
    }
}

/// Proves that `bytes` hold exactly one value that every reader can be shown. `depth_max` counts containers: a scalar
/// has depth 0, `[]` has 1; above [`DEPTH_CEILING`] it counts as that.
///
/// Errors: `Malformed`, `TooDeep`, `Unportable`.
pub fn prove(encoding: Encoding, bytes: &[u8], depth_max: usize) -> Result<Data<'_>, Refusal> {
    let start = match encoding {
        Encoding::MessagePack => 0,
        Encoding::Json if std::str::from_utf8(bytes).is_err() => return Err(Refusal::Malformed),
        Encoding::Json => skip_space(bytes, 0),
    };
    let walked = walk(encoding, bytes, start, depth_max).map_err(|fault| match fault {
        Fault::Malformed(_) => Refusal::Malformed,
        Fault::TooDeep { .. } => Refusal::TooDeep,
    })?;
    let behind = match encoding {
        Encoding::MessagePack => walked.end,
        Encoding::Json => skip_space(bytes, walked.end),
    };
    if behind != bytes.len() {
        return Err(Refusal::Malformed);
    }
    if walked.unportable.is_some() {
        return Err(Refusal::Unportable);
    }
    Ok(Data { encoding, bytes: &bytes[start..walked.end], spaced: walked.spaced })
}
