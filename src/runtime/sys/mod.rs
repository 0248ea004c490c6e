//! The only unsafe module: io_uring, epoll, eventfds, and the few system calls std does not have.
//!
//! ```text
//!  ring     io_uring with direct descriptors: sockets that are slots
//!  epoll    readiness of descriptors, and what is done with a socket then
//!  host     cores, limits, huge pages
//! ```
//!
//! Promises: no buffer is ever the kernel's after a call has returned; `EINTR` is retried here, or is a wake-up.
//! Must never: hold a pointer into somebody else's memory, decide anything, read a clock.
#![expect(
    unsafe_code,
    reason = "ring submissions and raw system calls are unsafe by nature; each use says why it holds"
)]

mod epoll;
mod host;
mod ring;

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

pub(super) use epoll::{Epoll, discard_input, receive, reset_on_close, send};
pub use host::{
    Resource, ResourceLimit, end_when_nobody_reads, keep_no_spare_memory, refuse_huge_pages, resource_limit,
    set_resource_limit,
};
pub(super) use host::{allowed_cores, catch_nudges, give_back_memory, nudge, stay_on_core, this_thread};
pub(super) use ring::{Completion, Ring, RingSize, SlotSend};

/// A counter one can sleep on. Any thread may signal it.
#[derive(Debug)]
pub struct EventFd(OwnedFd);

impl EventFd {
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM`.
    pub fn new() -> io::Result<Self> {
        // Not EFD_NONBLOCK: a ring's read of it must wait instead of answering EAGAIN.
        // SAFETY: no pointer is passed.
        let number = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) })?;
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(number) }))
    }

    /// Wakes whoever reads. Never blocks: the counter would have to reach 2^64.
    pub fn signal(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: the eight bytes live on this stack frame.
        while unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) } < 0 {
            let error = io::Error::last_os_error();
            assert!(error.kind() == io::ErrorKind::Interrupted, "an eventfd always takes a signal: {error}");
        }
    }

    /// Sleeps until somebody has signalled, `most_ms` at most, and forgets what was signalled. A signal handler wakes it, too.
    /// The descriptor has one sleeper: nobody else may read it.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn wait(&self, most_ms: i32) -> io::Result<()> {
        let mut door = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd, which outlives the call.
        match check(unsafe { libc::poll(&mut door, 1, most_ms) }) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        let mut count = [0; 8];
        // SAFETY: the eight bytes live on this stack frame. It does not wait: something was signalled.
        match unsafe { libc::read(self.0.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) } {
            0.. => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The same counter as a file that glommio can read.
    ///
    /// # Errors
    /// `EMFILE`. Must be called inside an executor.
    pub(super) fn as_glommio_file(&self) -> io::Result<glommio::io::BufferedFile> {
        let number = self.0.try_clone()?.into_raw_fd();
        // SAFETY: the number was made on the line above and belongs to nobody else.
        Ok(unsafe { glommio::io::BufferedFile::from_raw_fd(number) })
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Takes one waiting connection: close-on-exec and non-blocking, with its peer.
///
/// # Errors
/// `EAGAIN` when nobody waits; `EMFILE`, `ENFILE`; whatever was wrong with the connection itself.
pub(super) fn accept(listener: BorrowedFd<'_>) -> io::Result<(OwnedFd, SocketAddr)> {
    // SAFETY: all zeroes is a valid sockaddr_storage.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let mut len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    let (address, flags) = ((&raw mut storage).cast(), libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK);
    let number = loop {
        // SAFETY: `storage` and `len` outlive the call and `len` is the size of `storage`.
        match check(unsafe { libc::accept4(listener.as_raw_fd(), address, &mut len, flags) }) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    // SAFETY: the kernel has just made this descriptor for us.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    match socket_address(&storage) {
        Some(peer) => Ok((socket, peer)),
        None => Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT)),
    }
}

fn socket_address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let from: *const libc::sockaddr_storage = storage;
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which address lies here, and a sockaddr_storage has room and alignment for each.
            let v4 = unsafe { *from.cast::<libc::sockaddr_in>() };
            Some(SocketAddr::from((u32::from_be(v4.sin_addr.s_addr).to_be_bytes(), u16::from_be(v4.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { *from.cast::<libc::sockaddr_in6>() };
            Some(SocketAddr::from((v6.sin6_addr.s6_addr, u16::from_be(v6.sin6_port))))
        }
        _ => None,
    }
}

fn check(result: i32) -> io::Result<RawFd> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The most unread input one close throws away.
const DISCARD_BYTES: usize = 64 << 10;
/// With it a close is a reset, and what is unsent is forgotten.
static RESET_ON_CLOSE: libc::linger = libc::linger { l_onoff: 1, l_linger: 0 };
