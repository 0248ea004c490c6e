//! Floor 1: bytes ⇄ meaning. WebSocket frames, the request head, tokens, envelopes, payloads.
//!
//! Promises: sans-I/O, no clock; nothing read from outside recurses, panics or is trusted before it is checked.

pub mod upgrade;
pub mod websocket;
