//! Which way of the kernel carries the sockets: io_uring, or epoll where io_uring is forbidden.
//!
//! Promises: io_uring is probed with what the shards really need, on the very host; whoever is refused it is told why, and
//! what to do about it. Must never: fall back in silence.

use std::fmt;
use std::fs;
use std::io;
use std::thread;

use glommio::{LocalExecutorBuilder, Placement};
use thiserror::Error;

use super::host::{self, HostError};
use super::sys::{EventFd, Ring, RingSize};

/// What holds sockets and sleeps for them. The turn of a shard is the same under both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Engine {
    /// A glommio executor per shard, and rings of direct descriptors: sends and reads of a turn are one system call.
    IoUring,
    /// A plain thread per shard, one epoll, a system call for each read and send.
    Epoll,
}

impl Engine {
    pub const ALL: [Self; 2] = [Self::IoUring, Self::Epoll];

    /// As operators know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why io_uring cannot carry this server here.
#[derive(Debug, Error)]
pub enum NoRings {
    #[error(
        "kernel.io_uring_disabled is {0}: the kernel gives io_uring to nobody, or to few; `sysctl kernel.io_uring_disabled=0` \
         allows it"
    )]
    Disabled(u8),
    #[error(
        "io_uring is refused to this process (EPERM), as container runtimes do by their default seccomp profile; \
         `--security-opt seccomp=tuning/container/seccomp.json` allows what throng needs"
    )]
    Forbidden,
    #[error("this kernel has no io_uring (ENOSYS), or a sandbox hides it; Linux 6.8 or later has all that is needed")]
    Absent,
    #[error("this kernel's io_uring is too old ({0}); Linux 6.8 or later has all that is needed")]
    TooOld(io::Error),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("io_uring does not work here: {0}")]
    Broken(String),
}

/// `--engine io_uring` where it cannot be.
#[derive(Debug, Error)]
#[error("--engine io_uring: {0}; `--engine auto` or `epoll` would do without")]
pub struct EngineError(NoRings);

/// An engine for this host. `None` asks for the better one that works; what kept it from io_uring is told then.
///
/// # Errors
/// io_uring was asked for and does not work.
pub fn choose(wish: Option<Engine>) -> Result<(Engine, Option<NoRings>), EngineError> {
    match wish {
        Some(Engine::Epoll) => Ok((Engine::Epoll, None)),
        Some(Engine::IoUring) => probe().map(|()| (Engine::IoUring, None)).map_err(EngineError),
        None => Ok(match probe() {
            Ok(()) => (Engine::IoUring, None),
            Err(why) => (Engine::Epoll, Some(why)),
        }),
    }
}

/// Tries rings on a thread of its own. The kernel takes a ring apart later, on the thread that made it: a call that waits
/// there with a time limit then ends with EINTR.
fn probe() -> Result<(), NoRings> {
    let probe = thread::Builder::new().name("probe".to_owned()).spawn(try_rings);
    let probe = probe.map_err(|error| NoRings::Broken(error.to_string()))?;
    probe.join().unwrap_or_else(|_| Err(NoRings::Broken("the probe panicked".to_owned())))
}

/// Makes a small ring as the shards make theirs, asks it for every operation they use, and starts an executor once.
fn try_rings() -> Result<(), NoRings> {
    let broken = |error: &dyn fmt::Display| NoRings::Broken(error.to_string());
    let bell = EventFd::new().map_err(|error| broken(&error))?;
    let size = RingSize { submissions: 8, completions: 64, slots: 4 };
    let ring = Ring::new(size, &bell).map_err(|error| explain(error, disabled()))?;
    ring.probe().map_err(|error| explain(error, disabled()))?;
    host::allow_executors()?;
    // Not pinned: which cores there are is not its question.
    let executor =
        LocalExecutorBuilder::new(Placement::Unbound).name("probe").io_memory(EXECUTOR_IO_BYTES).spawn(|| async {});
    executor.and_then(glommio::ExecutorJoinHandle::join).map_err(|error| broken(&error))
}

/// What an error of the first ring means.
fn explain(error: io::Error, disabled: Option<u8>) -> NoRings {
    match (error.raw_os_error(), disabled) {
        (Some(libc::EPERM | libc::EACCES), Some(level @ 1..)) => NoRings::Disabled(level),
        (Some(libc::EPERM | libc::EACCES), _) => NoRings::Forbidden,
        (Some(libc::ENOSYS), _) => NoRings::Absent,
        (Some(libc::EINVAL | libc::EOPNOTSUPP), _) => NoRings::TooOld(error),
        _ => NoRings::Broken(error.to_string()),
    }
}

/// What the operator of this host says; kernels before 6.6 have no such setting.
fn disabled() -> Option<u8> {
    fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?.trim().parse().ok()
}

/// Glommio's own buffers for files, which a server of sockets never uses; its default is 10 MiB a shard.
pub(super) const EXECUTOR_IO_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_says_what_to_do() {
        let said = |errno, disabled| explain(io::Error::from_raw_os_error(errno), disabled).to_string();
        assert!(said(libc::EPERM, Some(2)).contains("sysctl kernel.io_uring_disabled=0"));
        for disabled in [None, Some(0)] {
            assert!(said(libc::EPERM, disabled).contains("--security-opt seccomp="));
        }
        assert!(said(libc::ENOSYS, None).contains("no io_uring") && said(libc::EINVAL, None).contains("too old"));
        assert!(said(libc::EOPNOTSUPP, None).contains("Linux 6.8"));
        assert!(said(libc::ENOMEM, None).starts_with("io_uring does not work here: "));
        let asked = EngineError(NoRings::Absent).to_string();
        assert!(asked.starts_with("--engine io_uring: ") && asked.contains("`--engine auto`"), "{asked}");
    }

    #[test]
    fn who_asks_for_epoll_gets_it_without_a_word_and_this_host_has_one_engine_at_least() {
        assert!(matches!(choose(Some(Engine::Epoll)), Ok((Engine::Epoll, None))));
        let (engine, why) = choose(None).unwrap();
        assert_eq!(engine == Engine::Epoll, why.is_some(), "nobody falls back in silence");
        assert_eq!(choose(Some(Engine::IoUring)).is_ok(), why.is_none());
    }
}
