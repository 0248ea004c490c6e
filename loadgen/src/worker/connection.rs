//! One connection's row: what an idle one costs, and how bytes leave it.
//!
//! Promises: an idle row owns no heap; nothing is ever dropped by a short write: what did not fit waits, in order.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use socket2::SockRef;
use throng::wire::websocket::Partial;

/// Where a connection stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Not begun, or to be begun again.
    Waiting,
    /// Between `connect` and the answer to `join`: the place in the table of openings.
    Opening(u16),
    /// Sits in its room.
    Open,
    /// Ended; it will not come back.
    Over,
}

/// The row. The proof's 32 bytes lie in the ledger, at the same index.
pub(super) struct Connection {
    stream: Option<TcpStream>,
    pub(super) stage: Stage,
    /// Pings answered, this phase.
    pub(super) heartbeats: u8,
    partial: Option<Box<Partial>>,
    unsent: Option<Box<Unsent>>,
}

const _: () = assert!(size_of::<Connection>() <= 32, "64 bytes an idle connection, the proof's 32 among them");

#[derive(Default)]
struct Unsent {
    bytes: Vec<u8>,
    at: usize,
}

impl Connection {
    pub(super) fn new() -> Self {
        Self { stream: None, stage: Stage::Waiting, heartbeats: 0, partial: None, unsent: None }
    }

    pub(super) fn attach(&mut self, stream: TcpStream) {
        self.stream = Some(stream);
    }

    /// Closes the socket and forgets what was unfinished.
    pub(super) fn end(&mut self, stage: Stage) {
        (self.stream, self.partial, self.unsent, self.stage) = (None, None, None, stage);
    }

    /// Ends by a reset: what is unsent is dropped, and no TIME_WAIT keeps the pair.
    pub(super) fn reset(&mut self) {
        if let Some(stream) = &self.stream {
            // A socket that cannot linger is dead already.
            SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap_or_default();
        }
        self.end(Stage::Over);
    }

    /// `Ok(None)`: nothing there now. `Ok(Some(0))`: the peer has closed.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        loop {
            match stream.read(buffer) {
                Ok(length) => return Ok(Some(length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes `bytes` after everything that still waits; keeps what the socket does not take.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(unsent) = &mut self.unsent {
            unsent.bytes.extend_from_slice(bytes);
            return Ok(());
        }
        let taken = self.write(bytes)?;
        if taken < bytes.len() {
            self.unsent = Some(Box::new(Unsent { bytes: bytes[taken..].to_vec(), at: 0 }));
        }
        Ok(())
    }

    /// Goes on with what waits; the socket has room again.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let Some(mut unsent) = self.unsent.take() else { return Ok(()) };
        unsent.at += self.write(&unsent.bytes[unsent.at..])?;
        if unsent.at < unsent.bytes.len() {
            self.unsent = Some(unsent);
        }
        Ok(())
    }

    /// Takes the unfinished reading out, or an idle one lent by `spare`.
    pub(super) fn borrow_partial(&mut self, spare: &mut Partial) -> Partial {
        self.partial.take().map_or_else(|| std::mem::take(spare), |partial| *partial)
    }

    /// Gives it back: kept here only if something is unfinished.
    pub(super) fn return_partial(&mut self, partial: Partial, spare: &mut Partial) {
        if partial.is_idle() {
            *spare = partial;
        } else {
            self.partial = Some(Box::new(partial));
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(stream) = &mut self.stream else { return Ok(bytes.len()) };
        let mut taken = 0;
        while taken < bytes.len() {
            match stream.write(&bytes[taken..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => taken += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_reset_reaches_the_peer_as_one() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let stream = TcpStream::connect(listener.local_addr().expect("has an address")).expect("connects");
        let (mut peer, _) = listener.accept().expect("accepts");
        let mut connection = Connection::new();
        connection.attach(stream);
        connection.reset();
        let end = peer.read(&mut [0; 1]).map_err(|error| error.kind());
        assert_eq!(end, Err(io::ErrorKind::ConnectionReset));
        assert_eq!(connection.stage, Stage::Over);
    }

    #[test]
    fn a_full_socket_neither_drops_nor_doubles_a_byte() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let stream = TcpStream::connect(listener.local_addr().expect("has an address")).expect("connects");
        stream.set_nonblocking(true).expect("sets");
        let (mut peer, _) = listener.accept().expect("accepts");
        let mut connection = Connection::new();
        connection.attach(stream);
        let mut sent = Vec::new();
        // Until the kernel is full, and a good deal further.
        let mut waiting = 0;
        while waiting < 50 {
            let bytes: Vec<u8> = (0..100_003_usize).map(|at| (at + sent.len()) as u8 ^ (at >> 8) as u8).collect();
            connection.send(&bytes).expect("the peer lives");
            sent.extend_from_slice(&bytes);
            waiting += usize::from(connection.unsent.is_some());
        }
        let mut heard = vec![0; sent.len()];
        let mut at = 0;
        while at < heard.len() {
            at += peer.read(&mut heard[at..]).expect("reads");
            connection.flush().expect("the peer lives");
        }
        assert!(heard == sent);
        assert!(connection.unsent.is_none(), "an idle row owns no heap");
    }
}
