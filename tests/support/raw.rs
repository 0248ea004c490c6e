//! A client that hides nothing and mends nothing: bytes on a socket, and frames as they come. The crate that has this has
//! `support`, too.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use throng::wire::{FrameKind, write_frame};

use crate::support::until::{PATIENCE, connect};

/// A connection after its request.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
}

/// How the server let somebody go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Seen {
    /// A close frame: code and reason.
    Close(u16, String),
    /// An HTTP answer: status and the whole text.
    Http(u16, String),
    /// The socket ended.
    Nothing,
}

/// A good upgrade of `target` with these header lines added.
pub(crate) fn request(target: &str, lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    format!(
        "GET {target} HTTP/1.1\r\nHost: throng.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{lines}\r\n"
    )
}

impl Raw {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self { stream: connect(address) }
    }

    /// Connects and sends an upgrade.
    pub(crate) fn ask(address: SocketAddr, target: &str, lines: &[&str]) -> Self {
        let mut raw = Self::connect(address);
        raw.send(request(target, lines).as_bytes());
        raw
    }

    /// Sends bytes. A server that has closed already is no error here: what it said is still to be read.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        if let Err(error) = self.stream.write_all(bytes) {
            let closed = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset].contains(&error.kind());
            assert!(closed, "{error}");
        }
    }

    pub(crate) fn say(&mut self, text: &str) {
        self.send_frame(FrameKind::Text, text.as_bytes());
    }

    pub(crate) fn send_frame(&mut self, kind: FrameKind, payload: &[u8]) {
        let mut frame = Vec::new();
        write_frame(&mut frame, kind, payload, Some([1, 2, 3, 4]));
        self.send(&frame);
    }

    /// The answer's head is read and must be a 101.
    pub(crate) fn switched(self) -> Self {
        self.switched_by().0
    }

    /// Likewise; and the answer's head.
    pub(crate) fn switched_by(mut self) -> (Self, String) {
        let head = self.head().expect("an answer");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        (self, head)
    }

    /// The next text message.
    pub(crate) fn hear(&mut self) -> String {
        loop {
            let (opcode, payload) = self.frame().expect("a frame");
            match opcode {
                1 => return String::from_utf8(payload).expect("text is UTF-8"),
                9 | 10 => {}
                _ => panic!("opcode {opcode}: {}", payload.escape_ascii()),
            }
        }
    }

    /// Reads past whatever comes until the end, and says how it came. Nothing is answered, pings neither.
    pub(crate) fn end(mut self) -> Seen {
        loop {
            match self.frame() {
                None => return Seen::Nothing,
                Some((8, payload)) => {
                    let (code, reason) = payload.split_at_checked(2).expect("our close frames have a code");
                    let reason = String::from_utf8_lossy(reason).into_owned();
                    return Seen::Close(u16::from_be_bytes([code[0], code[1]]), reason);
                }
                Some(_) => {}
            }
        }
    }

    /// How a connection ends that has read nothing of its answer yet.
    pub(crate) fn verdict(mut self) -> Seen {
        let Some(head) = self.head() else { return Seen::Nothing };
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        if status == 101 {
            return self.end();
        }
        let mut body = Vec::new();
        // The server may reset what we sent too much of; what came until then is the answer.
        let ended = self.stream.read_to_end(&mut body);
        assert!(ended.map_err(|error| error.kind()) != Err(ErrorKind::WouldBlock), "it neither goes on nor closes");
        Seen::Http(status, head + &String::from_utf8_lossy(&body))
    }

    fn head(&mut self) -> Option<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(self.bytes(1)?);
        }
        Some(String::from_utf8(head).expect("heads are text"))
    }

    /// Opcode and payload of a server's frame, which is never masked nor cut.
    pub(crate) fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let (first, payload) = self.frame_as_is()?;
        assert!(first & RSV1 == 0, "deflated, and nobody agreed on that: {first:x}");
        Some((first & 15, payload))
    }

    /// The same where deflated messages were agreed on: the first byte as it stands, the payload as it came.
    pub(crate) fn frame_as_is(&mut self) -> Option<(u8, Vec<u8>)> {
        let start = self.bytes(2)?;
        assert!(start[0] & 0xb0 == 0x80 && start[1] & 0x80 == 0, "cut, with a reserved bit, or masked: {start:x?}");
        let len = match start[1] {
            126 => u64::from(u16::from_be_bytes(self.bytes(2)?.try_into().ok()?)),
            127 => u64::from_be_bytes(self.bytes(8)?.try_into().ok()?),
            len => u64::from(len),
        };
        Some((start[0], self.bytes(usize::try_from(len).ok()?)?))
    }

    fn bytes(&mut self, len: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; len];
        match self.stream.read_exact(&mut bytes) {
            Ok(()) => Some(bytes),
            // Not an end, and nobody may take it for one.
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("{} s without a word", PATIENCE.as_secs()),
            Err(_) => None,
        }
    }
}

/// The bit of a frame that begins a deflated message (RFC 7692, 6).
pub(crate) const RSV1: u8 = 0x40;
