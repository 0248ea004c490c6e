//! The few system calls the standard library does not offer: epoll, clocks, limits, CPU accounting.
//!
//! Promises: a safe surface; the only `unsafe` of this package. Must never hold state of its own.
#![expect(unsafe_code, reason = "system calls without a safe binding; each use states why it is sound")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Nanoseconds of a second.
pub(crate) const SECOND_NS: u64 = 1_000_000_000;

/// A readiness set, edge-triggered: read until short, write until full.
pub(crate) struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

/// What one descriptor became.
#[derive(Clone, Copy)]
pub(crate) struct Ready {
    /// The token given to [`Epoll::add`].
    pub(crate) token: u64,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

impl Epoll {
    /// `events_max` bounds what one wait may report.
    pub(crate) fn new(events_max: usize) -> io::Result<Self> {
        // SAFETY: no pointers; the result is checked.
        let raw = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: `raw` is a fresh descriptor that nobody else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        Ok(Self { fd, events: vec![libc::epoll_event { events: 0, u64: 0 }; events_max] })
    }

    /// Watches reading and writing at once, by edges: no second call is ever needed for this descriptor.
    pub(crate) fn add(&self, fd: &impl AsRawFd, token: u64) -> io::Result<()> {
        let interest = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
        let mut event = libc::epoll_event { events: interest as u32, u64: token };
        // SAFETY: `event` lives through the call, which copies it.
        check(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &mut event) })?;
        Ok(())
    }

    /// Waits at most `timeout_ns`; gives the number of events, to be read with [`Epoll::event`].
    /// An interrupted wait is a wait that found nothing.
    pub(crate) fn wait(&mut self, timeout_ns: u64) -> io::Result<usize> {
        let timeout = libc::timespec {
            tv_sec: (timeout_ns / 1_000_000_000) as i64,
            tv_nsec: (timeout_ns % 1_000_000_000) as i64,
        };
        let none: *const libc::sigset_t = std::ptr::null();
        // SAFETY: the buffer has `len` places, `timeout` lives through the call, no signal mask is passed.
        let found = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.fd.as_raw_fd(),
                self.events.as_mut_ptr(),
                self.events.len() as libc::c_int,
                &raw const timeout,
                none,
                8_usize,
            )
        };
        match usize::try_from(found) {
            Ok(found) => Ok(found),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() == io::ErrorKind::Interrupted { Ok(0) } else { Err(error) }
            }
        }
    }

    /// The event at `index` of the last wait.
    pub(crate) fn event(&self, index: usize) -> Ready {
        let event = self.events[index];
        let (bits, token) = (event.events as libc::c_int, event.u64);
        let broken = bits & (libc::EPOLLERR | libc::EPOLLHUP) != 0;
        Ready {
            token,
            readable: broken || bits & (libc::EPOLLIN | libc::EPOLLRDHUP) != 0,
            writable: broken || bits & libc::EPOLLOUT != 0,
        }
    }
}

/// CLOCK_MONOTONIC in nanoseconds: the same for all processes of a host.
pub(crate) fn monotonic_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

/// Gives the core away until this time of [`monotonic_ns`], whatever comes in meanwhile; a signal may end it early.
pub(crate) fn rest_until(at_ns: u64) {
    let time = libc::timespec { tv_sec: (at_ns / 1_000_000_000) as i64, tv_nsec: (at_ns % 1_000_000_000) as i64 };
    // SAFETY: `time` is valid for reading, and with an absolute time nothing is written.
    unsafe { libc::clock_nanosleep(libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &raw const time, std::ptr::null_mut()) };
}

/// Seconds since 1970.
pub(crate) fn unix_s() -> u64 {
    clock_ns(libc::CLOCK_REALTIME) / 1_000_000_000
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writing; each of the clocks asked for exists on every Linux.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// User and system time of this process so far, in nanoseconds.
pub(crate) fn cpu_ns() -> u64 {
    // SAFETY: all-zero is a valid `rusage`.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is valid for writing.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    let ns = |time: libc::timeval| time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1_000;
    ns(usage.ru_utime) + ns(usage.ru_stime)
}

/// User and system time of this thread so far, in nanoseconds.
pub(crate) fn thread_cpu_ns() -> u64 {
    clock_ns(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Raises the soft limit of open files to the hard one and gives it.
pub(crate) fn raise_file_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for writing.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is valid for reading.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) })?;
    Ok(limit.rlim_max)
}

/// Keeps this process on one core.
pub(crate) fn pin(core: usize) -> io::Result<()> {
    // SAFETY: all-zero is the empty set; CPU_SET checks its bound by indexing.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        set
    };
    // SAFETY: `set` lives through the call and has the size that is passed.
    check(unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) })?;
    Ok(())
}

/// Asks the kernel to wake us on time, not up to 50 us later.
pub(crate) fn wake_on_time() {
    // SAFETY: no pointers. A refusal only costs precision.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_000) };
}

/// No huge pages for this process and those it starts: whoever touches a byte of one pays for 2 MiB.
pub(crate) fn refuse_huge_pages() {
    // SAFETY: no pointers. A kernel that does not know it only costs memory.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}

/// Makes reads of `fd` return at once when there is nothing.
pub(crate) fn set_nonblocking(fd: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: no pointers.
    let flags = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    // SAFETY: no pointers.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) })?;
    Ok(())
}

/// Clock ticks a second in `/proc/PID/stat`.
pub(crate) fn ticks_per_second() -> u64 {
    // SAFETY: no pointers.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).unwrap_or(100)
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
