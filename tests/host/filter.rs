//! System call filters as container runtimes set them, for a child process from its first instruction on.
#![expect(unsafe_code, reason = "std can neither install a seccomp filter nor run anything between fork and exec")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use libc::{sock_filter, sock_fprog};

/// What a call gets that is on no list.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Otherwise {
    Allow,
    /// The process ends by SIGSYS: no call can go unnoticed.
    Kill,
}

/// These calls answer with this errno (0: they are carried out); all others get `otherwise`. It holds for `command` and for
/// all it starts.
pub(crate) fn confine(command: &mut Command, calls: &[libc::c_long], errno: i32, otherwise: Otherwise) {
    let listed = match errno {
        0 => libc::SECCOMP_RET_ALLOW,
        errno => libc::SECCOMP_RET_ERRNO | errno as u32,
    };
    let unlisted = match otherwise {
        Otherwise::Allow => libc::SECCOMP_RET_ALLOW,
        Otherwise::Kill => libc::SECCOMP_RET_KILL_PROCESS,
    };
    let mut program = vec![load(CALL_AT)];
    for call in calls {
        program.extend([unless_equal(*call as u32), answer(listed)]);
    }
    program.push(answer(unlisted));
    // SAFETY: the closure makes two system calls and touches only what it owns.
    unsafe {
        command.pre_exec(move || install(&program));
    }
}

fn install(program: &[sock_filter]) -> io::Result<()> {
    let filter = sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    // SAFETY: no pointer is passed.
    let promised = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: `filter` and its program outlive the call.
    if promised != 0 || unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &filter) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The number of the call stands at the beginning of `seccomp_data`.
const CALL_AT: u32 = 0;

fn load(at: u32) -> sock_filter {
    sock_filter { code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, jt: 0, jf: 0, k: at }
}

/// The next instruction is passed over unless the call is this one.
fn unless_equal(call: u32) -> sock_filter {
    sock_filter { code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, jt: 0, jf: 1, k: call }
}

fn answer(with: u32) -> sock_filter {
    sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: with }
}
