//! What is written back: the 101, or a refusal.

use std::io::Write;

use tungstenite::http::StatusCode;

/// Appends a complete HTTP/1.1 response that ends the connection: `{"error": code, "message": message}` as JSON.
///
/// 426 names the WebSocket version we speak (RFC 6455, 4.4), 405 the method we take. `retry_after_s` becomes
/// `Retry-After`, in seconds. A token must never be part of `message`.
pub fn write_refusal(out: &mut Vec<u8>, status: u16, code: &str, message: &str, retry_after_s: Option<u32>) {
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Refused");
    let extra = match status {
        405 => "Connection: close\r\nAllow: GET\r\n",
        // RFC 9110, 7.8: who sends `Upgrade` also names it in `Connection`.
        426 => "Connection: close, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        _ => "Connection: close\r\n",
    };
    let retry = retry_after_s.map(|seconds| format!("Retry-After: {seconds}\r\n")).unwrap_or_default();
    let body = serde_json::json!({ "error": code, "message": message }).to_string();
    let len = body.len();
    write!(
        out,
        "HTTP/1.1 {status} {reason}\r\n{extra}{retry}Cache-Control: no-store\r\nContent-Type: application/json\r\n\
         Content-Length: {len}\r\n\r\n{body}"
    )
    .expect("writing into a Vec does not fail");
}

/// Appends the 101.
pub(super) fn write_accept(out: &mut Vec<u8>, accept: &str, subprotocol: Option<&str>, extension: Option<&str>) {
    for part in [
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
        accept,
    ] {
        out.extend_from_slice(part.as_bytes());
    }
    let named = [(&b"\r\nSec-WebSocket-Protocol: "[..], subprotocol), (b"\r\nSec-WebSocket-Extensions: ", extension)];
    for (header, name) in named {
        if let Some(name) = name {
            out.extend_from_slice(header);
            out.extend_from_slice(name.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n\r\n");
}
