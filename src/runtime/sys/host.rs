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
