//! What a walk over foreign bytes finds, whichever the encoding.
//!
//! Promises: one pass, no recursion, no allocation; claimed lengths are compared with what is there before they are
//! believed. The two grammars live in `json` and `msgpack`.

use super::{json, msgpack};
use crate::base::Encoding;

/// Levels any walk can keep on its stack. A larger configured depth counts as this one.
pub const DEPTH_CEILING: usize = 64;

/// Where one value ends, and what was seen on the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Walked {
    /// The index after the value's last byte.
    pub(crate) end: usize,
    /// Why the value cannot be shown in the other encoding, and where.
    pub(crate) unportable: Option<Broken>,
    /// Whether there is JSON white space outside strings.
    pub(crate) spaced: bool,
}

/// Where the bytes stopped being acceptable, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Broken {
    pub(crate) at: usize,
    pub(crate) why: &'static str,
}

/// A value that has no end (not of the grammar), or one that is not looked into any further.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    Malformed(Broken),
    TooDeep { at: usize },
}

impl Fault {
    pub(crate) fn malformed(at: usize, why: &'static str) -> Self {
        Self::Malformed(Broken { at, why })
    }
}

/// Walks the one value that begins exactly at `at`.
pub(crate) fn walk(encoding: Encoding, bytes: &[u8], at: usize, depth_max: usize) -> Result<Walked, Fault> {
    let depth_max = depth_max.min(DEPTH_CEILING);
    match encoding {
        Encoding::MessagePack => msgpack::walk(bytes, at, depth_max),
        Encoding::Json => json::walk(bytes, at, depth_max),
    }
}

/// The end of a value that is too deep to be walked: brackets or claimed counts only, so that an `id` behind it can
/// still be found. What it passes over is not proved to be anything.
pub(crate) fn skim(encoding: Encoding, bytes: &[u8], at: usize) -> Result<usize, Broken> {
    match encoding {
        Encoding::MessagePack => msgpack::skim(bytes, at),
        Encoding::Json => json::skim(bytes, at),
    }
}
