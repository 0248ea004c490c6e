//! What is fuzzed: functions of bytes that panic when a promise is broken.
//!
//! Used twice: by the fuzzer (`fuzz/src/main.rs`) and, over the kept corpus, by every test run (`tests/corpus.rs`). A
//! target says whether an input reached its *planted spot*, some rare state behind several decisions: the fuzzer built with
//! `--features planted` panics there, and `tuning/fuzz --planted` proves that it gets there from the corpus, which does not.

mod command;
mod envelope;
mod feed;
mod frame;
mod hello;
mod house;
mod payload;
mod proxy;
mod shard;
mod token;
mod upgrade;

/// One target.
pub(crate) struct Target {
    /// Also the folder of its corpus.
    pub(crate) name: &'static str,
    /// Whether the planted spot was reached.
    pub(crate) run: fn(&[u8]) -> bool,
}

pub(crate) const TARGETS: [Target; 8] = [
    Target { name: "frame", run: frame::run },
    Target { name: "upgrade", run: upgrade::run },
    Target { name: "hello", run: hello::run },
    Target { name: "envelope", run: envelope::run },
    Target { name: "payload", run: payload::run },
    Target { name: "proxy", run: proxy::run },
    Target { name: "token", run: token::run },
    Target { name: "shard", run: shard::run },
];
