//! Floor 1: bytes ⇄ meaning. WebSocket frames, the request head, tokens, envelopes, payloads.
//!
//! Promises: sans-I/O, no clock; nothing read from outside recurses, panics or is trusted before it is checked.

pub mod client;
pub mod close;
pub mod envelope;
pub mod payload;
pub mod refusal;
pub mod upgrade;
pub mod websocket;
