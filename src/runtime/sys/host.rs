//! What a process may use, and on which cores.

use std::io;
use std::mem;

use super::check;

/// Cores this thread may run on, in order.
pub(in crate::runtime) fn allowed_cores() -> io::Result<Vec<usize>> {
    // SAFETY: all zeroes is an empty cpu_set_t.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: `set` outlives the call and its size is given.
    check(unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) })?;
    // SAFETY: every index is below CPU_SETSIZE.
    Ok((0..libc::CPU_SETSIZE as usize).filter(|&core| unsafe { libc::CPU_ISSET(core, &set) }).collect())
}

/// From here on this thread runs on `core` only.
///
/// # Errors
/// `EINVAL`: there is no such core, or this process may not use it.
pub(in crate::runtime) fn stay_on_core(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: all zeroes is an empty cpu_set_t.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the index is below CPU_SETSIZE.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: `set` outlives the call and its size is given.
    check(unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) }).map(drop)
}

/// From here on a process whose reader is gone (`throng tail … | head`) ends by SIGPIPE without a word, as people at a
/// terminal expect of a tool; a server must outlive that and does not call this.
pub fn end_when_nobody_reads() {
    // SAFETY: SIG_DFL is no function of ours, and SIGPIPE may be set. It cannot fail for a signal that exists.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// The number of this thread, for [`nudge`].
pub(in crate::runtime) fn this_thread() -> i32 {
    // SAFETY: it reads a number.
    unsafe { libc::gettid() }
}

/// From here on [`nudge`] interrupts a system call and does nothing else. SIGURG is ignored by default, so a nudge that
/// comes where nobody catches it does nothing at all.
///
/// # Errors
/// None known.
pub(in crate::runtime) fn catch_nudges() -> io::Result<()> {
    extern "C" fn nothing(_signal: libc::c_int) {}
    let handler: extern "C" fn(libc::c_int) = nothing;
    // SAFETY: all zeroes is a valid sigaction: no flags (SA_RESTART least of all), nothing blocked.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = handler as usize;
    // SAFETY: `action` outlives the call; the handler touches nothing, so it may run anywhere.
    check(unsafe { libc::sigaction(libc::SIGURG, &action, std::ptr::null_mut()) }).map(drop)
}

/// Interrupts the system call that a thread of this process sleeps in.
///
/// # Errors
/// `ESRCH`: the thread has ended.
pub(in crate::runtime) fn nudge(thread: i32) -> io::Result<()> {
    // SAFETY: sends a signal to a thread of this very process; no memory is passed.
    check(unsafe { libc::tgkill(libc::getpid(), thread, libc::SIGURG) }).map(drop)
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

/// From here on the allocator gives an empty page back when it becomes empty. As it comes, mimalloc waits a second, which
/// means until it is next busy, and by then has made other pages of the same memory, with what was in it.
/// `MIMALLOC_PURGE_DELAY`, in milliseconds, still decides where it is set.
pub fn keep_no_spare_memory() {
    #[cfg(not(feature = "system-allocator"))]
    // SAFETY: may be called at any time; no memory is passed.
    unsafe {
        // The crate gives no name to the one before this.
        libmimalloc_sys::mi_option_set_default(libmimalloc_sys::mi_option_use_numa_nodes - 1, 0);
    }
}

/// What the allocator keeps of this thread's for later goes back to the kernel, where a whole page of one size is free. It
/// looks at each page the thread has (64 KiB of allocations and more), so that it is for every few seconds.
pub(in crate::runtime) fn give_back_memory() {
    #[cfg(not(feature = "system-allocator"))]
    // SAFETY: may be called on any thread at any time; no memory is passed.
    unsafe {
        libmimalloc_sys::mi_collect(false);
    }
}

fn number_of(resource: Resource) -> libc::__rlimit_resource_t {
    match resource {
        Resource::OpenFiles => libc::RLIMIT_NOFILE,
        Resource::LockedMemory => libc::RLIMIT_MEMLOCK,
    }
}
