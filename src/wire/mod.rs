//! Floor 1: bytes ⇄ meaning. WebSocket frames, the request head, tokens, envelopes, payloads.
//!
//! Promises: sans-I/O, no clock; nothing read from outside recurses, panics or is trusted before it is checked.

pub mod client;
pub mod close;
pub mod envelope;
pub mod forwarded;
pub mod grants;
pub mod origin;
pub mod payload;
pub mod press;
pub mod proxy;
pub mod refusal;
pub mod token;
pub mod upgrade;
pub mod websocket;

pub use close::CloseReason;
pub use envelope::{
    Command, Envelope, Event, GapWhy, HistoryAnswer, HistoryFrom, Member, Members, MessageOut, ReadBy, Rejected,
    RemovedWhy, ResumeRoom, SharedFrame, TokenText, decode, frame_content, is_event_name, is_key, transcode_message,
    write_event, write_message,
};
pub use forwarded::Proxies;
pub use grants::{Grants, Verb, inbox_of, is_inbox_of};
pub use origin::{BadOrigin, Checked, Origin, Origins};
pub use payload::{Data, Payload, prove};
pub use press::{Compression, Press};
pub use proxy::{BadProxy, PROXY_BYTES_MAX, Proxied, read_proxy};
pub use refusal::Refusal;
pub use token::{BadToken, Claims, TokenRules, TokenVerifier, Verified, sign_hs256, token_part};
pub use upgrade::{Asked, Carried, Carriers, Deflate, Endpoint, Head, HeadError, Upgrade, read_head, write_refusal};
pub use websocket::{
    FrameKind, FrameLimits, Incoming, Inflater, Partial, Reader, Role, Violation, header_len, write_close, write_frame,
};
