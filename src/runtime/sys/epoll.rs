//! epoll, and what is done with a socket when it is ready.
//!
//! Promises: nothing here waits but [`Epoll::wait`]; no buffer is lent beyond its call.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::{DISCARD_BYTES, RESET_ON_CLOSE, check};

/// Descriptors that are watched, each edge-like: an event is told once, when it happens.
pub(in crate::runtime) struct Epoll {
    own: OwnedFd,
    found: Box<[libc::epoll_event]>,
    filled: usize,
}

impl Epoll {
    /// `most` events are taken at once.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM`.
    pub(in crate::runtime) fn new(most: usize) -> io::Result<Self> {
        // SAFETY: no pointer is passed.
        let number = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the kernel has just made this descriptor for us.
        let own = unsafe { OwnedFd::from_raw_fd(number) };
        Ok(Self { own, found: vec![libc::epoll_event { events: 0, u64: 0 }; most].into_boxed_slice(), filled: 0 })
    }

    /// Tells of the events in `mask` by `tag`, until the file is closed or forgotten.
    ///
    /// # Errors
    /// `ENOMEM`; `ENOSPC` above `fs.epoll.max_user_watches`.
    pub(in crate::runtime) fn watch(&self, file: BorrowedFd<'_>, mask: i32, tag: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, file, mask, tag)
    }

    /// The same under a new mask; what is true by now is told (again).
    ///
    /// # Errors
    /// `ENOENT`: it is not watched.
    pub(in crate::runtime) fn watch_again(&self, file: BorrowedFd<'_>, mask: i32, tag: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, file, mask, tag)
    }

    /// Tells no more of a file that lives on.
    ///
    /// # Errors
    /// `ENOENT`: it is not watched.
    pub(in crate::runtime) fn forget(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, file, 0, 0)
    }

    /// Sleeps until something is told, `most_ms` at most (0: not at all). Returns whether there may be more than was found.
    /// A signal handler wakes it, too.
    pub(in crate::runtime) fn wait(&mut self, most_ms: i32) -> bool {
        let (events, most) = (self.found.as_mut_ptr(), self.found.len() as i32);
        // SAFETY: `found` has room for `most` events and outlives the call.
        let found = check(unsafe { libc::epoll_wait(self.own.as_raw_fd(), events, most, most_ms) });
        self.filled = match found {
            Ok(found) => found as usize,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => panic!("epoll_wait failed for good ({error}); a shard without it has lost its sockets"),
        };
        self.filled == self.found.len()
    }

    /// What the last wait found: tags and masks.
    pub(in crate::runtime) fn found(&self, nth: usize) -> Option<(u64, i32)> {
        self.found[..self.filled].get(nth).map(|event| (event.u64, event.events as i32))
    }

    fn control(&self, what: i32, file: BorrowedFd<'_>, mask: i32, tag: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: (mask | libc::EPOLLET) as u32, u64: tag };
        // SAFETY: `event` outlives the call.
        check(unsafe { libc::epoll_ctl(self.own.as_raw_fd(), what, file.as_raw_fd(), &mut event) }).map(drop)
    }
}

/// Writes as much as there is room for, without waiting.
///
/// # Errors
/// `EAGAIN` when there is no room at all; what is wrong with the connection.
pub(in crate::runtime) fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: `bytes` outlives the call.
    again(|| unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) })
}

/// Reads what is there, without waiting; 0 is the end.
///
/// # Errors
/// `EAGAIN` when nothing is there; what is wrong with the connection.
pub(in crate::runtime) fn receive(socket: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<usize> {
    let (start, len) = (into.as_mut_ptr().cast(), into.len());
    // SAFETY: `into` outlives the call and is ours alone.
    again(|| unsafe { libc::recv(socket.as_raw_fd(), start, len, libc::MSG_DONTWAIT) })
}

/// Drops what the peer sent and nobody read, of TCP without copying it: a close over unread bytes would be a reset, and a
/// reset can take our last words from the peer.
pub(in crate::runtime) fn discard_input(socket: BorrowedFd<'_>) {
    let mut discarded = MaybeUninit::<[u8; DISCARD_BYTES]>::uninit();
    let flags = libc::MSG_TRUNC | libc::MSG_DONTWAIT;
    // SAFETY: the kernel writes at most that many bytes into `discarded`, which nobody reads.
    let _nothing_to_do =
        again(|| unsafe { libc::recv(socket.as_raw_fd(), discarded.as_mut_ptr().cast(), DISCARD_BYTES, flags) });
}

/// Makes the coming close a reset: the kernel forgets what is unsent.
///
/// # Errors
/// None known for a socket that can reset.
pub(in crate::runtime) fn reset_on_close(socket: BorrowedFd<'_>) -> io::Result<()> {
    let (option, len) = ((&raw const RESET_ON_CLOSE).cast(), size_of::<libc::linger>() as libc::socklen_t);
    // SAFETY: the option is a static of that size.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, option, len) }).map(drop)
}

/// Until no signal comes between.
fn again(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        let done = call();
        if done >= 0 {
            return Ok(done as usize);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
