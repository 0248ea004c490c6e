//! The promises of the wire on real sockets, one file each: `docs/promises.md` says which test stands for which.
//!
//! Promises: no test passes by time; what must not come is looked for behind something that comes later by the same way.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod away;
mod fleeting;
mod gaps;
mod history;
mod isolation;
mod keys;
mod order;
mod person;
#[path = "../support/raw.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod raw;
mod slow;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod support;
