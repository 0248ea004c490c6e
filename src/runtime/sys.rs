//! The only unsafe module: io_uring with direct descriptors, eventfds, and the few system calls std does not have.
//!
//! Promises: no buffer is ever the kernel's after a call has returned: what needs one (send, receive, install) is
//! submitted *and* reaped inside the call, made non-blocking so that the kernel finishes it there. A completion of
//! another kind that comes up meanwhile waits for the next [`Ring::take`]; none is lost. `EINTR` is retried here.
//! Must never: hold a pointer into somebody else's memory, decide anything, read a clock.
#![expect(
    unsafe_code,
    reason = "ring submissions and raw system calls are unsafe by nature; each use says why it holds"
)]

use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue, types};

/// One finished request that had no buffer: a poll, a close, a cancellation that found nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Completion {
    /// What the caller named the request by.
    pub(super) tag: u64,
    /// As the system call would have answered: negative is an errno.
    pub(super) result: i32,
    /// The request lives on and will complete again (multishot).
    pub(super) more: bool,
}

/// One send of a batch: `arena[start..start + len]` to the direct descriptor `slot`.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlotSend {
    pub(super) slot: u16,
    pub(super) start: u32,
    pub(super) len: u32,
}

/// How large a ring is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct RingSize {
    /// Submissions that can wait; also the most sends of one `enter`.
    pub(super) submissions: u32,
    /// Completions that can wait. Must be well above what one `enter` can post.
    pub(super) completions: u32,
    /// Direct descriptors. The kernel allows at most `RLIMIT_NOFILE` of them in one ring.
    pub(super) slots: u16,
}

/// An io_uring with a sparse table of direct descriptors, used by the thread that made it.
///
/// Deferred task work: the kernel keeps what happened in a list until this thread enters, so a thousand sockets
/// dying at once cannot overflow the completion queue.
pub(super) struct Ring {
    uring: IoUring,
    waiting: VecDeque<Completion>,
    overflows: u64,
    /// True while submissions that point into a caller's buffer may be queued. Still true at the start of a call
    /// means that an earlier one ended in the middle: the ring must never enter the kernel again.
    lending: bool,
    /// Swallows what a peer sent and nobody will read; see [`Ring::discard_input`].
    discarded: Box<[u8]>,
    /// `SINGLE_ISSUER`: only the thread that made the ring may submit.
    here: PhantomData<*const ()>,
}

impl Ring {
    /// The highest bit of a tag is the ring's own: it marks requests that borrow a buffer.
    pub(super) const TAG_MAX: u64 = LENT - 1;

    /// Makes a ring whose events make `bell` readable.
    ///
    /// # Errors
    /// What the kernel says: `EMFILE` for more slots than `RLIMIT_NOFILE`, `EPERM` where io_uring is forbidden,
    /// `EINVAL` on a kernel older than 6.1, `ENOMEM`.
    pub(super) fn new(size: RingSize, bell: &EventFd) -> io::Result<Self> {
        let uring = build(size, true).or_else(|error| match error.raw_os_error() {
            Some(libc::EINVAL) => build(size, false),
            _ => Err(error),
        })?;
        uring.submitter().register_files_sparse(u32::from(size.slots))?;
        uring.submitter().register_eventfd(bell.0.as_raw_fd())?;
        Ok(Self {
            uring,
            waiting: VecDeque::new(),
            overflows: 0,
            lending: false,
            discarded: vec![0; DISCARD_BYTES].into_boxed_slice(),
            here: PhantomData,
        })
    }

    /// Puts a socket into an empty slot. The ring holds the file from then on; the caller may close its number.
    pub(super) fn put_file(&self, slot: u16, file: BorrowedFd<'_>) -> io::Result<()> {
        match self.uring.submitter().register_files_update(u32::from(slot), &[file.as_raw_fd()])? {
            1 => Ok(()),
            _ => Err(io::Error::from_raw_os_error(libc::EBADF)),
        }
    }

    /// Asks to be told each time the peer sends, ends or breaks (edge-like: read until short).
    pub(super) fn poll_input(&mut self, slot: u16, tag: u64) {
        let mask = (libc::POLLIN | libc::POLLRDHUP) as u32;
        self.queue(opcode::PollAdd::new(types::Fixed(u32::from(slot)), mask).multi(true).build(), tag);
    }

    /// Asks to be told once when there is room to write.
    pub(super) fn poll_room(&mut self, slot: u16, tag: u64) {
        self.queue(opcode::PollAdd::new(types::Fixed(u32::from(slot)), libc::POLLOUT as u32).build(), tag);
    }

    /// Asks to be told each time a listener has somebody waiting.
    pub(super) fn poll_listener(&mut self, listener: BorrowedFd<'_>, tag: u64) {
        let entry = opcode::PollAdd::new(types::Fd(listener.as_raw_fd()), libc::POLLIN as u32).multi(true).build();
        self.queue(entry, tag);
    }

    /// Ends the request `of`; its last completion comes with `ECANCELED`. Completes itself (as `tag`) only if it
    /// found nothing.
    ///
    /// Not `POLL_REMOVE`: that one answers `EALREADY` and leaves the poll armed when an event of it is just under
    /// way, and an armed poll keeps the socket open: the peer would never see a FIN.
    pub(super) fn cancel(&mut self, of: u64, tag: u64) {
        self.queue(opcode::AsyncCancel::new(of).build().flags(squeue::Flags::SKIP_SUCCESS), tag);
    }

    /// Makes the coming close a reset: the kernel forgets what is unsent. Completes only on failure.
    pub(super) fn reset_on_close(&mut self, slot: u16, tag: u64) {
        let option = (&raw const RESET_ON_CLOSE).cast();
        let (level, name) = (libc::SOL_SOCKET as u32, libc::SO_LINGER as u32);
        let entry = opcode::SetSockOpt::new(types::Fixed(u32::from(slot)), level, name, option, LINGER_BYTES).build();
        self.queue(entry.flags(squeue::Flags::SKIP_SUCCESS), tag);
    }

    /// Drops what the peer sent and nobody read, without copying it: a close over unread bytes would be a reset,
    /// and a reset can take our last words from the peer. Completes only when there was nothing.
    pub(super) fn discard_input(&mut self, slot: u16, tag: u64) {
        let (start, len) = (self.discarded.as_mut_ptr(), self.discarded.len() as u32);
        let entry =
            opcode::Recv::new(types::Fixed(u32::from(slot)), start, len).flags(libc::MSG_TRUNC | libc::MSG_DONTWAIT);
        self.queue(entry.build().flags(squeue::Flags::SKIP_SUCCESS), tag);
    }

    /// Empties a slot. The socket itself closes when its last poll is gone too.
    pub(super) fn close(&mut self, slot: u16, tag: u64) {
        self.queue(opcode::Close::new(types::Fixed(u32::from(slot))).build(), tag);
    }

    /// Sends each write whole or reports it: `failed` gets `(index into writes, result)` where the result is the
    /// number of bytes the socket took before it was full (> 0), or a negative errno when it took none.
    pub(super) fn send_batch(&mut self, arena: &[u8], writes: &[SlotSend], failed: &mut Vec<(u32, i32)>) {
        self.submit();
        let at_once = self.uring.params().sq_entries() as usize;
        for (nth, chunk) in writes.chunks(at_once).enumerate() {
            let first = nth * at_once;
            for write in chunk {
                assert!((write.start as usize + write.len as usize) <= arena.len(), "a write lies inside its arena");
            }
            self.lending = true;
            for (index, write) in chunk.iter().enumerate() {
                let bytes = &arena[write.start as usize..][..write.len as usize];
                let entry = opcode::Send::new(types::Fixed(u32::from(write.slot)), bytes.as_ptr(), write.len)
                    .flags(libc::MSG_WAITALL | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
                    .build()
                    .flags(squeue::Flags::SKIP_SUCCESS);
                self.push(&entry.user_data(LENT | (first + index) as u64));
            }
            self.enter(0, EnterFlags::empty());
            self.collect(|index, result| failed.push((index as u32, result)));
            self.lending = false;
        }
    }

    /// Receives once from each slot into its piece of `scratch` (`each` bytes). `results[i]` is the number of bytes,
    /// 0 for the end, or a negative errno (`EAGAIN`: nothing there).
    pub(super) fn recv_batch(&mut self, slots: &[u16], scratch: &mut [u8], each: usize, results: &mut Vec<i32>) {
        self.submit();
        assert!(slots.len() <= self.uring.params().sq_entries() as usize, "a batch of reads fits one submission");
        assert!(slots.len() * each <= scratch.len(), "each read has its own piece of the scratch");
        results.clear();
        results.resize(slots.len(), 0);
        self.lending = true;
        for (index, (&slot, piece)) in slots.iter().zip(scratch.chunks_exact_mut(each)).enumerate() {
            let entry = opcode::Recv::new(types::Fixed(u32::from(slot)), piece.as_mut_ptr(), each as u32)
                .flags(libc::MSG_DONTWAIT);
            self.push(&entry.build().user_data(LENT | index as u64));
        }
        let mut missing = slots.len();
        self.enter(0, EnterFlags::empty());
        loop {
            self.collect(|index, result| {
                results[index] = result;
                missing -= 1;
            });
            if missing == 0 {
                break;
            }
            self.enter(1, EnterFlags::GETEVENTS);
        }
        self.lending = false;
    }

    /// A real descriptor for the socket in `slot`, beside the direct one.
    ///
    /// # Errors
    /// `EMFILE` when the table of descriptors is full.
    pub(super) fn install(&mut self, slot: u16) -> io::Result<OwnedFd> {
        self.submit();
        let mut answer = None;
        self.push(&opcode::FixedFdInstall::new(types::Fixed(u32::from(slot)), 0).build().user_data(LENT));
        self.enter(0, EnterFlags::empty());
        loop {
            self.collect(|_, result| answer = Some(result));
            match answer {
                None => self.enter(1, EnterFlags::GETEVENTS),
                Some(errno) if errno < 0 => return Err(io::Error::from_raw_os_error(-errno)),
                // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
                Some(number) => return Ok(unsafe { OwnedFd::from_raw_fd(number) }),
            }
        }
    }

    /// Gives the kernel what is queued.
    pub(super) fn submit(&mut self) {
        if !self.uring.submission().is_empty() {
            self.enter(0, EnterFlags::empty());
            self.collect(|_, _| unreachable!("every lent buffer came back inside its call"));
        }
    }

    /// Submits, and lets the kernel run what waits for this thread (some 20 events an `enter`, at most `enters` times).
    pub(super) fn turn(&mut self, enters: u32) {
        for _ in 0..enters {
            if !self.has_events() {
                break;
            }
            self.enter(0, EnterFlags::GETEVENTS);
            self.collect(|_, _| unreachable!("every lent buffer came back inside its call"));
        }
    }

    /// The next completion that has come up.
    pub(super) fn take(&mut self) -> Option<Completion> {
        self.waiting.pop_front()
    }

    /// Whether a turn would do anything.
    pub(super) fn has_work(&mut self) -> bool {
        !self.waiting.is_empty() || self.has_events()
    }

    /// While off, events of this ring do not ring the bell; whoever turns it on must look at [`Ring::has_work`] again.
    pub(super) fn set_bell(&mut self, on: bool) {
        let completions = self.uring.completion();
        if on { completions.enable_eventfd() } else { completions.disable_eventfd() }
    }

    /// How often completions outgrew the queue. Stays 0: each `enter` is followed by a reap.
    pub(super) fn overflows(&self) -> u64 {
        self.overflows
    }

    fn has_events(&mut self) -> bool {
        let submissions = self.uring.submission();
        let found = !submissions.is_empty() || submissions.taskrun() || submissions.cq_overflow();
        drop(submissions);
        found || !self.uring.completion().is_empty()
    }

    fn queue(&mut self, entry: squeue::Entry, tag: u64) {
        assert!(tag <= Self::TAG_MAX, "the highest bit of a tag is the ring's own");
        if self.uring.submission().is_full() {
            self.submit();
        }
        self.push(&entry.user_data(tag));
    }

    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: an entry either has no pointer at all, or points to a static, to `self.discarded`, or into a buffer
        // that the calling function holds until the kernel has finished with the entry (`MSG_DONTWAIT`: inside `enter`).
        let pushed = unsafe { self.uring.submission().push(entry) };
        assert!(pushed.is_ok(), "the submission queue was emptied before");
    }

    /// Submits everything queued; returns only when the kernel has taken all of it.
    fn enter(&mut self, want: u32, flags: EnterFlags) {
        loop {
            let queued = self.uring.submission().len() as u32;
            // SAFETY: no argument is passed that the kernel would read, and the ring's own queues are valid.
            let entered = unsafe { self.uring.submitter().enter::<libc::sigset_t>(queued, want, flags.bits(), None) };
            match entered.map_err(|error| error.raw_os_error()) {
                Ok(_) if self.uring.submission().is_empty() => return,
                // The kernel stopped in the middle, was interrupted, or had no memory for a request just now.
                Ok(_) | Err(Some(libc::EINTR | libc::EAGAIN)) => {}
                Err(errno) => {
                    panic!("io_uring_enter failed for good (errno {errno:?}); a ring without it has lost its sockets")
                }
            }
        }
    }

    /// Takes all completions: those of lent buffers go to `lent`, the rest waits.
    fn collect(&mut self, mut lent: impl FnMut(usize, i32)) {
        loop {
            for done in self.uring.completion() {
                match done.user_data() {
                    tag if tag & LENT != 0 => lent((tag & !LENT) as usize, done.result()),
                    tag => self.waiting.push_back(Completion {
                        tag,
                        result: done.result(),
                        more: cqueue::more(done.flags()),
                    }),
                }
            }
            if !self.uring.submission().cq_overflow() {
                return;
            }
            self.overflows += 1;
            self.enter(0, EnterFlags::GETEVENTS);
        }
    }
}

fn build(size: RingSize, without_array: bool) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.setup_cqsize(size.completions).setup_submit_all().setup_single_issuer();
    builder.setup_taskrun_flag().setup_defer_taskrun();
    if without_array {
        builder.setup_no_sqarray();
    }
    builder.build(size.submissions)
}

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

/// Cores this thread may run on, in order.
pub(super) fn allowed_cores() -> io::Result<Vec<usize>> {
    // SAFETY: all zeroes is an empty cpu_set_t.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: `set` outlives the call and its size is given.
    check(unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) })?;
    // SAFETY: every index is below CPU_SETSIZE.
    Ok((0..libc::CPU_SETSIZE as usize).filter(|&core| unsafe { libc::CPU_ISSET(core, &set) }).collect())
}

/// What a process may use of something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ResourceLimit {
    pub soft: u64,
    pub hard: u64,
}

/// The resources this server looks at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resource {
    /// Descriptors, and the direct descriptors of one ring.
    OpenFiles,
    /// Bytes that may be locked in memory.
    LockedMemory,
}

/// # Errors
/// None known.
pub fn resource_limit(of: Resource) -> io::Result<ResourceLimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` outlives the call.
    check(unsafe { libc::getrlimit(number_of(of), &mut limit) })?;
    Ok(ResourceLimit { soft: limit.rlim_cur, hard: limit.rlim_max })
}

/// # Errors
/// `EPERM` for more than the hard limit.
pub fn set_resource_limit(of: Resource, to: ResourceLimit) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: to.soft, rlim_max: to.hard };
    // SAFETY: `limit` outlives the call.
    check(unsafe { libc::setrlimit(number_of(of), &limit) }).map(drop)
}

/// From here on the kernel backs no memory of this process with huge pages.
///
/// # Errors
/// `EINVAL` on kernels that do not know the call.
pub fn refuse_huge_pages() -> io::Result<()> {
    // SAFETY: changes a flag of the process; no memory is passed.
    check(unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) }).map(drop)
}

fn number_of(resource: Resource) -> libc::__rlimit_resource_t {
    match resource {
        Resource::OpenFiles => libc::RLIMIT_NOFILE,
        Resource::LockedMemory => libc::RLIMIT_MEMLOCK,
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

/// Marks the tags of requests that borrow a buffer for one call.
const LENT: u64 = 1 << 63;
/// The most unread input one close throws away. Never touched (the kernel only counts): address space, not memory.
const DISCARD_BYTES: usize = 64 << 10;
const LINGER_BYTES: u32 = size_of::<libc::linger>() as u32;
static RESET_ON_CLOSE: libc::linger = libc::linger { l_onoff: 1, l_linger: 0 };
