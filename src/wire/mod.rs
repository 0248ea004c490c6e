//! Floor 1: bytes ⇄ meaning. WebSocket frames, the request head, tokens, envelopes, payloads.
//!
//! Promises: sans-I/O, no clock; nothing read from outside recurses, panics or is trusted before it is checked.

mod grants;
mod token;

pub use grants::{Grants, Verb};
pub use token::{BadToken, Claims, TokenVerifier, Verified, sign_hs256, token_part};
