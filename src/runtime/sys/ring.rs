//! io_uring with direct descriptors.
//!
//! Promises: no buffer is ever the kernel's after a call has returned: what needs one (send, receive, install) is
//! submitted *and* reaped inside the call, made non-blocking so that the kernel finishes it there. A completion of
//! another kind that comes up meanwhile waits for the next [`Ring::take`]; none is lost. `EINTR` is retried here.

use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use io_uring::{EnterFlags, IoUring, Probe, cqueue, opcode, squeue, types};

use super::EventFd;
use super::{DISCARD_BYTES, RESET_ON_CLOSE};

/// One finished request that had no buffer: a poll, a close, a cancellation that found nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::runtime) struct Completion {
    /// What the caller named the request by.
    pub(in crate::runtime) tag: u64,
    /// As the system call would have answered: negative is an errno.
    pub(in crate::runtime) result: i32,
    /// The request lives on and will complete again (multishot).
    pub(in crate::runtime) more: bool,
}

/// One send of a batch: `arena[start..start + len]` to the direct descriptor `slot`.
#[derive(Clone, Copy, Debug)]
pub(in crate::runtime) struct SlotSend {
    pub(in crate::runtime) slot: u16,
    pub(in crate::runtime) start: u32,
    pub(in crate::runtime) len: u32,
}

/// How large a ring is made.
#[derive(Clone, Copy, Debug)]
pub(in crate::runtime) struct RingSize {
    /// Submissions that can wait; also the most sends of one `enter`.
    pub(in crate::runtime) submissions: u32,
    /// Completions that can wait. Must be well above what one `enter` can post.
    pub(in crate::runtime) completions: u32,
    /// Direct descriptors. The kernel allows at most `RLIMIT_NOFILE` of them in one ring.
    pub(in crate::runtime) slots: u16,
}

/// An io_uring with a sparse table of direct descriptors, used by the thread that made it.
///
/// Deferred task work: the kernel keeps what happened in a list until this thread enters, so a thousand sockets
/// dying at once cannot overflow the completion queue.
pub(in crate::runtime) struct Ring {
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
    pub(in crate::runtime) const TAG_MAX: u64 = LENT - 1;

    /// Makes a ring whose events make `bell` readable.
    ///
    /// # Errors
    /// What the kernel says: `EMFILE` for more slots than `RLIMIT_NOFILE`, `EPERM` where io_uring is forbidden,
    /// `EINVAL` on a kernel older than 6.1, `ENOMEM`.
    pub(in crate::runtime) fn new(size: RingSize, bell: &EventFd) -> io::Result<Self> {
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

    /// Whether this kernel knows all that a ring is used for. The youngest of it, a descriptor for a slot, is of Linux 6.8,
    /// and so implies socket options (6.7), which no kernel lists.
    ///
    /// # Errors
    /// `EOPNOTSUPP`; what the kernel says when it is asked.
    pub(in crate::runtime) fn probe(&self) -> io::Result<()> {
        let mut known = Probe::new();
        self.uring.submitter().register_probe(&mut known)?;
        let needed = [
            opcode::PollAdd::CODE,
            opcode::AsyncCancel::CODE,
            opcode::SetSockOpt::CODE,
            opcode::Recv::CODE,
            opcode::Send::CODE,
            opcode::Close::CODE,
            opcode::FixedFdInstall::CODE,
        ];
        match needed.into_iter().all(|code| known.is_supported(code)) {
            true => Ok(()),
            false => Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP)),
        }
    }

    /// Puts a socket into an empty slot. The ring holds the file from then on; the caller may close its number.
    pub(in crate::runtime) fn put_file(&self, slot: u16, file: BorrowedFd<'_>) -> io::Result<()> {
        match self.uring.submitter().register_files_update(u32::from(slot), &[file.as_raw_fd()])? {
            1 => Ok(()),
            _ => Err(io::Error::from_raw_os_error(libc::EBADF)),
        }
    }

    /// Asks to be told each time the peer sends, ends or breaks (edge-like: read until short).
    pub(in crate::runtime) fn poll_input(&mut self, slot: u16, tag: u64) {
        let mask = (libc::POLLIN | libc::POLLRDHUP) as u32;
        self.queue(opcode::PollAdd::new(types::Fixed(u32::from(slot)), mask).multi(true).build(), tag);
    }

    /// Asks to be told once when there is room to write.
    pub(in crate::runtime) fn poll_room(&mut self, slot: u16, tag: u64) {
        self.queue(opcode::PollAdd::new(types::Fixed(u32::from(slot)), libc::POLLOUT as u32).build(), tag);
    }

    /// Asks to be told each time a listener has somebody waiting.
    pub(in crate::runtime) fn poll_listener(&mut self, listener: BorrowedFd<'_>, tag: u64) {
        let entry = opcode::PollAdd::new(types::Fd(listener.as_raw_fd()), libc::POLLIN as u32).multi(true).build();
        self.queue(entry, tag);
    }

    /// Ends the request `of`; its last completion comes with `ECANCELED`. Completes itself (as `tag`) only if it
    /// found nothing.
    ///
    /// Not `POLL_REMOVE`: that one answers `EALREADY` and leaves the poll armed when an event of it is just under
    /// way, and an armed poll keeps the socket open: the peer would never see a FIN.
    pub(in crate::runtime) fn cancel(&mut self, of: u64, tag: u64) {
        self.queue(opcode::AsyncCancel::new(of).build().flags(squeue::Flags::SKIP_SUCCESS), tag);
    }

    /// Makes the coming close a reset: the kernel forgets what is unsent. Completes only on failure.
    pub(in crate::runtime) fn reset_on_close(&mut self, slot: u16, tag: u64) {
        let option = (&raw const RESET_ON_CLOSE).cast();
        let (level, name) = (libc::SOL_SOCKET as u32, libc::SO_LINGER as u32);
        let entry = opcode::SetSockOpt::new(types::Fixed(u32::from(slot)), level, name, option, LINGER_BYTES).build();
        self.queue(entry.flags(squeue::Flags::SKIP_SUCCESS), tag);
    }

    /// Drops what the peer sent and nobody read, without copying it: a close over unread bytes would be a reset,
    /// and a reset can take our last words from the peer. Completes only when there was nothing.
    pub(in crate::runtime) fn discard_input(&mut self, slot: u16, tag: u64) {
        let (start, len) = (self.discarded.as_mut_ptr(), self.discarded.len() as u32);
        let entry =
            opcode::Recv::new(types::Fixed(u32::from(slot)), start, len).flags(libc::MSG_TRUNC | libc::MSG_DONTWAIT);
        self.queue(entry.build().flags(squeue::Flags::SKIP_SUCCESS), tag);
    }

    /// Empties a slot. The socket itself closes when its last poll is gone too.
    pub(in crate::runtime) fn close(&mut self, slot: u16, tag: u64) {
        self.queue(opcode::Close::new(types::Fixed(u32::from(slot))).build(), tag);
    }

    /// Sends each write whole or reports it: `failed` gets `(index into writes, result)` where the result is the
    /// number of bytes the socket took before it was full (> 0), or a negative errno when it took none.
    pub(in crate::runtime) fn send_batch(&mut self, arena: &[u8], writes: &[SlotSend], failed: &mut Vec<(u32, i32)>) {
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
    pub(in crate::runtime) fn recv_batch(
        &mut self,
        slots: &[u16],
        scratch: &mut [u8],
        each: usize,
        results: &mut Vec<i32>,
    ) {
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
    pub(in crate::runtime) fn install(&mut self, slot: u16) -> io::Result<OwnedFd> {
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
    pub(in crate::runtime) fn submit(&mut self) {
        if !self.uring.submission().is_empty() {
            self.enter(0, EnterFlags::empty());
            self.collect(|_, _| unreachable!("every lent buffer came back inside its call"));
        }
    }

    /// Submits, and lets the kernel run what waits for this thread (some 20 events an `enter`, at most `enters` times).
    pub(in crate::runtime) fn turn(&mut self, enters: u32) {
        for _ in 0..enters {
            if !self.has_events() {
                break;
            }
            self.enter(0, EnterFlags::GETEVENTS);
            self.collect(|_, _| unreachable!("every lent buffer came back inside its call"));
        }
    }

    /// The next completion that has come up.
    pub(in crate::runtime) fn take(&mut self) -> Option<Completion> {
        self.waiting.pop_front()
    }

    /// Whether a turn would do anything.
    pub(in crate::runtime) fn has_work(&mut self) -> bool {
        !self.waiting.is_empty() || self.has_events()
    }

    /// While off, events of this ring do not ring the bell; whoever turns it on must look at [`Ring::has_work`] again.
    pub(in crate::runtime) fn set_bell(&mut self, on: bool) {
        let completions = self.uring.completion();
        if on { completions.enable_eventfd() } else { completions.disable_eventfd() }
    }

    /// How often completions outgrew the queue. Stays 0: each `enter` is followed by a reap.
    pub(in crate::runtime) fn overflows(&self) -> u64 {
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

/// Marks the tags of requests that borrow a buffer for one call.
const LENT: u64 = 1 << 63;
const LINGER_BYTES: u32 = size_of::<libc::linger>() as u32;
