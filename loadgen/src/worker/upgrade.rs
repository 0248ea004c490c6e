//! The client's half of the opening handshake (RFC 6455, 4.1): the request, and what answer is taken.

use throng::base::Encoding;

/// The key and the accept of RFC 6455, 1.3. A key has to be unguessable only where a cache or a browser could be
/// fooled; here a fixed pair lets us check every answer without a hash.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// More than this is not an answer to an upgrade.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// What came of the bytes so far.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// Not all there yet.
    More,
    /// Switched; frames begin at this byte.
    Switched(usize),
    /// The server cannot take us now: try again.
    Later(String),
    /// Something that trying again does not change.
    No(String),
}

pub(crate) fn subprotocol(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::MessagePack => "throng.v1.msgpack",
        Encoding::Json => "throng.v1.json",
    }
}

pub(crate) fn request(host: &str, target: &str, encoding: Encoding, token: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Protocol: {}\r\n\
         Authorization: Bearer {token}\r\n\r\n",
        subprotocol(encoding)
    )
}

/// For a server that knows neither our subprotocols nor our tokens.
pub(crate) fn plain_request(host: &str, target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    )
}

/// Reads an answer's head; `asked` is the subprotocol that was offered.
pub(crate) fn answer(bytes: &[u8], asked: Option<&str>) -> Answer {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return if bytes.len() < HEAD_BYTES_MAX { Answer::More } else { Answer::No("an endless answer".to_owned()) };
    };
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    let fields: Vec<(String, &str)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim()))
        .collect();
    let field = |name: &str| fields.iter().find(|(other, _)| other == name).map(|(_, value)| *value);
    match status.split(' ').nth(1) {
        Some("101") => {}
        Some("503" | "429") => return Answer::Later(status.to_owned()),
        Some(_) | None => {
            let body = String::from_utf8_lossy(&bytes[end + 4..]);
            return Answer::No(format!("{status} {}", body.trim()));
        }
    }
    if field("sec-websocket-accept") != Some(ACCEPT) {
        return Answer::No("the answer's Sec-WebSocket-Accept does not fit our key".to_owned());
    }
    let chosen = field("sec-websocket-protocol");
    if chosen == asked {
        Answer::Switched(end + 4)
    } else {
        Answer::No(format!("asked for the subprotocol {asked:?}, got {chosen:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nConnection: Upgrade\r\n\
        sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: throng.v1.json\r\n\r\n";

    #[test]
    fn only_a_complete_and_fitting_answer_switches() {
        let whole = SWITCHED.as_bytes();
        for end in 0..whole.len() {
            assert_eq!(answer(&whole[..end], Some("throng.v1.json")), Answer::More, "{end}");
        }
        let more = [whole, b"\x82\x00"].concat();
        assert_eq!(answer(&more, Some("throng.v1.json")), Answer::Switched(whole.len()));
        assert!(matches!(answer(whole, Some("throng.v1.msgpack")), Answer::No(_)), "another subprotocol");
        assert!(matches!(answer(whole, None), Answer::No(_)), "one that nobody asked for");
        let none = SWITCHED.replace("Sec-WebSocket-Protocol: throng.v1.json\r\n", "");
        assert_eq!(answer(none.as_bytes(), None), Answer::Switched(none.len()));
        assert!(matches!(answer(SWITCHED.replace("s3pP", "s3pQ").as_bytes(), Some("throng.v1.json")), Answer::No(_)));
    }

    #[test]
    fn busy_is_for_later_and_forbidden_is_for_good() {
        let read = |text: &str| answer(text.as_bytes(), Some("throng.v1.json"));
        assert!(matches!(read("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n\r\n"), Answer::Later(_)));
        let no = read("HTTP/1.1 401 Unauthorized\r\n\r\n{\"error\":\"bad_token\"}");
        assert_eq!(no, Answer::No("HTTP/1.1 401 Unauthorized {\"error\":\"bad_token\"}".to_owned()));
    }
}
