//! One GET over a connection of its own, of a server's `/metrics` or `/healthz`.
//!
//! Promises: bounded in bytes and in time, however the answer comes: one that never ends, or comes byte by byte, is an error
//! and nothing else. Anything but 200 is one, too.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::sys;

/// A server that has not answered for so long has no figures.
const PATIENCE: Duration = Duration::from_secs(10);
/// A hundred times what a server with a hundred shards has to say.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// The whole answer, head included. Errors: a sentence without the address, which whoever asks knows.
pub(crate) fn get(server: SocketAddr, path: &str) -> Result<String> {
    get_within(server, path, PATIENCE)
}

fn get_within(server: SocketAddr, path: &str, patience: Duration) -> Result<String> {
    let until_ns = sys::monotonic_ns() + patience.as_nanos() as u64;
    let mut stream = TcpStream::connect_timeout(&server, patience)?;
    stream.set_write_timeout(Some(patience))?;
    // In one piece: who answers and closes before the last one was read resets the connection, and the answer is lost.
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let (mut answer, mut bytes) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let left_ns = until_ns.saturating_sub(sys::monotonic_ns());
        ensure!(left_ns > 0, "the answer was not complete after {patience:?}");
        stream.set_read_timeout(Some(Duration::from_nanos(left_ns)))?;
        match stream.read(&mut bytes) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(&bytes[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                bail!("no answer within {patience:?}")
            }
            Err(error) => return Err(error.into()),
        }
        ensure!(answer.len() <= ANSWER_BYTES_MAX, "the answer is longer than {ANSWER_BYTES_MAX} bytes");
    }
    let answer = String::from_utf8(answer).context("the answer is not UTF-8")?;
    ensure!(answer.starts_with("HTTP/1.1 200 "), "answered {:?}", answer.lines().next().unwrap_or(""));
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Says this to one who asks, and then `again` until nobody listens.
    fn server(begin: &'static [u8], again: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = listener.local_addr().expect("has an address");
        let serve = move || {
            let (mut stream, _) = listener.accept().expect("somebody comes");
            let _asked = stream.read(&mut [0; 1_024]).expect("and asks");
            let mut more = stream.write_all(begin).is_ok() && !again.is_empty();
            while more {
                more = stream.write_all(again).is_ok();
            }
        };
        std::thread::Builder::new().spawn(serve).expect("a thread starts");
        address
    }

    /// Regression: the question was written in five pieces, and a server that had read only the first reset the rest.
    #[test]
    fn an_answer_is_given_whole_and_anything_but_200_is_an_error() {
        let good = b"HTTP/1.1 200 OK\r\n\r\nthrong_connections 3\n";
        assert!(get(server(good, b""), "/metrics").is_ok_and(|answer| answer.as_bytes() == good));
        let busy = get(server(b"HTTP/1.1 503 Busy\r\n\r\n", b""), "/metrics").expect_err("is no answer").to_string();
        assert!(busy.contains("503 Busy"), "{busy}");
    }

    /// A listener that went on for ever filled the prover's memory, or held its thread.
    #[test]
    fn an_answer_without_an_end_is_given_up_by_its_length_or_its_time() {
        let begin = b"HTTP/1.1 200 OK\r\n\r\n";
        let said = |again: &'static [u8], patience| {
            get_within(server(begin, again), "/metrics", patience).expect_err("has no end").to_string()
        };
        let endless = said(&[b'#'; 65_536], Duration::from_secs(3_600));
        assert!(endless.contains("longer than"), "{endless}");
        let dripping = said(b"#", Duration::from_millis(50));
        assert!(dripping.contains("not complete after") || dripping.contains("no answer within"), "{dripping}");
    }
}
