//! The door: takes connections in, and says no politely when there is no place or no descriptor left.
//!
//! Promises: nobody who connected is dropped without a word: who cannot be seated is answered 503 or 429 and closed. When
//! the process has no descriptor left, a reserve is given up to answer the next in line, and the door rests until the
//! next tick instead of spinning. A door that closes turns newcomers to the other servers of the address and still takes
//! in those who were on their way. Must never: accept without bound in one turn.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};

use super::sockets::Sockets;
use super::sys::{self, EventFd};
use crate::base::{ConnKey, Now};
use crate::wire::{CloseReason, write_refusal};

/// A listener that shares its port with those of the other shards. Accepted sockets inherit `TCP_NODELAY`, and a bound
/// on what the kernel keeps unsent for a reader that does not read.
///
/// # Errors
/// `EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`.
pub fn bind(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

/// Whether nobody else listens here. The shards share their port, and the kernel would let any other process of this
/// user share it too: two servers would each get a part of the connections, and rooms would silently fall in two.
///
/// # Errors
/// `EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`.
pub fn claim(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())
}

/// From now on the kernel drops every new SYN for this listener: the client sends it again after a second, to whoever
/// listens then. Accept for [`LINGER_MS_MAX`] more, so that those on their way arrive, and then close.
pub fn hold_newcomers_off(listener: &impl AsFd) {
    // Where the kernel forbids filters, a few newcomers are reset; leaving goes on.
    if let Err(error) = SockRef::from(listener).attach_filter(&DROPS_NEW_SYNS) {
        tracing::warn!(%error, "newcomers cannot be held off while the door closes: some may be reset");
    }
}

/// Whether another socket, of this process or another, listens at the very address of this one.
///
/// # Errors
/// `/proc/self/net` cannot be read, or does not know this listener.
pub fn is_shared(listener: &TcpListener) -> io::Result<bool> {
    let own = File::from(OwnedFd::from(listener.try_clone()?)).metadata()?.ino().to_string();
    let table = if listener.local_addr()?.is_ipv4() { "/proc/self/net/tcp" } else { "/proc/self/net/tcp6" };
    let mut listeners = Vec::new();
    for line in BufReader::new(File::open(table)?).lines().skip(1) {
        let line = line?;
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (Some(at), Some(state), Some(inode)) = (fields.get(1), fields.get(3), fields.get(9)) else { continue };
        if *state != LISTENS {
            // The kernel lists listeners first; of connections there may be a million.
            break;
        }
        listeners.push(((*at).to_owned(), *inode == own));
    }
    let here = listeners.iter().find(|(_, is_own)| *is_own).map(|(at, _)| at);
    let here = here.ok_or_else(|| io::Error::other(format!("{table} does not list this listener")))?;
    Ok(listeners.iter().any(|(at, is_own)| !is_own && at == here))
}

/// What happened at the door since it opened.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct DoorTotals {
    /// Connections that were seated.
    pub accepted: u64,
    /// Answered 503: no place.
    pub refused_full: u64,
    /// Answered 503: a place, and no room for it in the engine.
    pub refused_engine: u64,
    /// Answered 503: too many handshakes under way.
    pub refused_handshakes: u64,
    /// Answered 429: too many connections or handshakes from one address.
    pub refused_address: u64,
    /// Answered 503 by means of the reserve: no descriptor.
    pub refused_no_files: u64,
    /// Connections that were gone before they were accepted, and other errors of `accept`.
    pub failed: u64,
}

/// One shard's listener.
pub struct Door {
    /// `None`: closed for good.
    listener: Option<TcpListener>,
    /// It closes: since when, and after how many milliseconds for good.
    closing: Option<(u64, u64)>,
    /// A file of our own to give up when there is no descriptor left.
    reserve: Option<EventFd>,
    /// Somebody may be waiting: readiness is said once, so this stays until `accept` finds nobody.
    waiting: bool,
    /// Out of descriptors or memory; nothing is tried before the next tick.
    resting: bool,
    totals: DoorTotals,
}

impl Door {
    /// Opens the door: `sockets` will tell by an event when somebody waits.
    ///
    /// # Errors
    /// `EMFILE`: not even the reserve could be made.
    pub fn new(listener: TcpListener, sockets: &mut Sockets) -> io::Result<Self> {
        sockets.watch_listener(listener.as_fd())?;
        let reserve = Some(EventFd::new()?);
        Ok(Self {
            listener: Some(listener),
            closing: None,
            reserve,
            waiting: true,
            resting: false,
            totals: DoorTotals::default(),
        })
    }

    /// Takes in [`SocketEvent::Acceptable`](super::sockets::SocketEvent::Acceptable).
    pub fn on_acceptable(&mut self, watching: bool, sockets: &mut Sockets) {
        let Some(listener) = &self.listener else { return };
        self.waiting = true;
        if !watching {
            sockets.watch_listener_again(listener.as_fd());
        }
    }

    /// Takes nobody new. A listener that is closed resets everybody in its queue, and whoever's handshake with the kernel is
    /// half done; so first its kernel drops every new SYN (the client sends it again after a second, to whoever listens
    /// then), and it is closed when those who were on their way have arrived: after `linger_ms` at most.
    pub fn close(&mut self, now: Now, linger_ms: u64) {
        let Some(listener) = self.listener.as_ref().filter(|_| self.closing.is_none()) else { return };
        hold_newcomers_off(listener);
        self.closing = Some((now.mono_ms, linger_ms.min(LINGER_MS_MAX)));
    }

    /// Whether nobody can come any more.
    pub fn is_closed(&self) -> bool {
        self.listener.is_none()
    }

    /// Rest is over; the reserve is made again if somebody took its place; a door that closes may be closed by now.
    pub fn on_tick(&mut self, now: Now, sockets: &mut Sockets) {
        self.resting = false;
        if let Some((since_ms, linger_ms)) = self.closing
            && now.since(since_ms) >= linger_ms
            && let Some(listener) = self.listener.take()
        {
            // The poll holds the file: without this the listener would go on listening after its close.
            let _was_listening = SockRef::from(&listener).shutdown(Shutdown::Both);
            sockets.unwatch_listener(listener.as_fd());
            self.waiting = false;
        }
        if self.reserve.is_none() {
            self.reserve = EventFd::new().ok();
        }
    }

    /// Whether a turn would try to accept.
    pub fn has_work(&self) -> bool {
        self.waiting && !self.resting && self.listener.is_some()
    }

    /// Accepts at most `most`. `open` gives each a place or says why not, which is answered by HTTP; connections it gave
    /// a place that the engine could not take are answered 503 too and stand in `homeless`, for the owner to forget.
    pub fn turn(
        &mut self,
        most: usize,
        sockets: &mut Sockets,
        open: &mut impl FnMut(IpAddr) -> Result<ConnKey, CloseReason>,
        homeless: &mut Vec<ConnKey>,
    ) {
        for _ in 0..most {
            if !self.has_work() {
                break;
            }
            let Some(listener) = &self.listener else { break };
            match sys::accept(listener.as_fd()) {
                Ok((socket, peer)) => self.seat((socket, peer), sockets, open, homeless),
                Err(error) => self.on_error(&error),
            }
        }
    }

    /// What happened so far.
    pub fn totals(&self) -> DoorTotals {
        self.totals
    }

    fn seat(
        &mut self,
        (socket, peer): (OwnedFd, SocketAddr),
        sockets: &mut Sockets,
        open: &mut impl FnMut(IpAddr) -> Result<ConnKey, CloseReason>,
        homeless: &mut Vec<ConnKey>,
    ) {
        let mut engine_is_full = false;
        let seated = match open(peer.ip()) {
            Ok(conn) => sockets.adopt(socket, conn).map_err(|(socket, error)| {
                tracing::debug!(%peer, %error, "no room in the engine");
                engine_is_full = true;
                homeless.push(conn);
                (socket, CloseReason::Full)
            }),
            Err(reason) => Err((socket, reason)),
        };
        match seated {
            Ok(()) => self.totals.accepted += 1,
            Err((socket, reason)) => {
                match reason.http_status() {
                    Some(_) | None if engine_is_full => self.totals.refused_engine += 1,
                    Some(429) => self.totals.refused_address += 1,
                    Some(_) | None if reason == CloseReason::HandshakesFull => self.totals.refused_handshakes += 1,
                    Some(_) | None => self.totals.refused_full += 1,
                }
                tracing::debug!(%peer, reason = reason.name(), "refused at the door");
                refuse(socket.into(), reason);
            }
        }
    }

    fn on_error(&mut self, error: &io::Error) {
        match error.raw_os_error() {
            Some(libc::EAGAIN) => self.waiting = false,
            Some(libc::EMFILE | libc::ENFILE) => {
                self.refuse_by_reserve();
                self.resting = true;
            }
            Some(libc::ENOBUFS | libc::ENOMEM | libc::EBADF | libc::EINVAL | libc::ENOTSOCK) => {
                self.totals.failed += 1;
                self.resting = true;
            }
            // The connection's own trouble (ECONNABORTED, a network error that waited on it): the next one may be fine.
            _ => self.totals.failed += 1,
        }
    }

    /// Gives up the reserve for as long as it takes to answer those in front.
    fn refuse_by_reserve(&mut self) {
        self.reserve = None;
        for _ in 0..REFUSALS_PER_REST {
            let Some(listener) = &self.listener else { break };
            match sys::accept(listener.as_fd()) {
                Ok((socket, peer)) => {
                    self.totals.refused_no_files += 1;
                    tracing::debug!(%peer, "no descriptor left");
                    refuse(socket.into(), CloseReason::Full);
                }
                Err(error) => {
                    self.waiting &= error.raw_os_error() != Some(libc::EAGAIN);
                    break;
                }
            }
        }
        self.reserve = EventFd::new().ok();
    }
}

/// What somebody is told who cannot be served now.
pub(super) fn refusal(reason: CloseReason) -> Vec<u8> {
    let mut answer = Vec::new();
    let status = reason.http_status().unwrap_or(503);
    write_refusal(&mut answer, status, reason.name(), reason.message(), reason.retry_after_s());
    answer
}

/// Answers 503 or 429 and closes. Best effort: the socket is new and has room, and nobody waits for it here.
fn refuse(mut socket: TcpStream, reason: CloseReason) {
    // A peer that is gone already needs no answer.
    if socket.write_all(&refusal(reason)).is_ok() && socket.shutdown(Shutdown::Write).is_ok() {
        discard_input(&socket);
    }
}

/// Unread bytes would turn the close into a reset, and the peer might never see the answer.
fn discard_input(mut socket: &TcpStream) {
    let mut unread = [0; 4 << 10];
    for _ in 0..DISCARDS_MAX {
        match io::Read::read(&mut socket, &mut unread) {
            Ok(1..) => {}
            Ok(0) | Err(_) => break,
        }
    }
}

/// Well below the second after which a dropped SYN is sent again, so that it never comes here twice.
pub const LINGER_MS_MAX: u64 = 700;
/// Drops a segment whose flags (byte 13 of the TCP header) say SYN and not ACK; everything else passes.
const DROPS_NEW_SYNS: [SockFilter; 5] = [
    SockFilter::new((libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16, 0, 0, 13),
    SockFilter::new((libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16, 0, 0, 0x12),
    SockFilter::new((libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, 0, 1, 0x02),
    SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, 0),
    SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, u32::MAX),
];
/// `TCP_LISTEN` as the table of sockets writes it.
const LISTENS: &str = "0A";
/// How many are answered before the door rests: 16 a tick keep a queue of refused clients moving.
const REFUSALS_PER_REST: usize = 16;
/// A slow reader may stall with this much (and one send) unsent in the kernel: enough for a good connection, and some
/// thousand stalled ones still fit into `tcp_mem`, which everybody shares.
const UNSENT_BYTES_MAX: u32 = 128 << 10;
/// 64 KiB: a whole request head.
const DISCARDS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_keeps_unsent_for_an_accepted_socket_is_bounded_and_nothing_waits_to_be_joined() {
        let listener = bind("127.0.0.1:0".parse().unwrap(), 8).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.set_nonblocking(false).unwrap();
        let (socket, _) = listener.accept().unwrap();
        let socket = SockRef::from(&socket);
        assert_eq!((socket.tcp_notsent_lowat().unwrap(), socket.tcp_nodelay().unwrap()), (UNSENT_BYTES_MAX, true));
    }

    #[test]
    fn a_listener_knows_whether_it_has_its_address_for_itself() {
        for local in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(one) = bind(local.parse().unwrap(), 8) else {
                // Not every host has IPv6.
                assert!(local.starts_with('['), "{local}");
                continue;
            };
            let address = one.local_addr().unwrap();
            let _elsewhere = bind(SocketAddr::new(address.ip(), 0), 8).unwrap();
            let client = TcpStream::connect(address).unwrap();
            assert!(!is_shared(&one).unwrap(), "connections are no listeners, and another port is another address");
            assert!(claim(address).is_err());
            let other = bind(address, 8).unwrap();
            assert!(is_shared(&one).unwrap() && is_shared(&other).unwrap());
            drop(one);
            assert!(!is_shared(&other).unwrap());
            drop(client);
        }
    }
}
