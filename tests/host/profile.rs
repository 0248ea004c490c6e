//! `tuning/container/seccomp.json`: what it says, and a server that lives under it on either engine.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use serde_json::Value;
use throng::runtime::engine::{Engine, choose};

use crate::filter::{Otherwise, confine};
use crate::process::banner::Lines;
use crate::support::until::until;
use crate::support::{FAR_FUTURE, open, token};
use crate::{Mortal, get, process, talk};

fn profile() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/container/seccomp.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// All calls it allows.
fn allowed() -> Vec<String> {
    let profile = profile();
    let groups = profile["syscalls"].as_array().unwrap().iter();
    groups.flat_map(|group| group["names"].as_array().unwrap()).map(|name| name.as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_profile_is_one_that_container_runtimes_read_and_allows_little() {
    let profile = profile();
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    assert_eq!(profile["defaultErrnoRet"], libc::ENOSYS);
    let architectures =
        profile["archMap"].as_array().unwrap().iter().map(|entry| entry["architecture"].as_str().unwrap());
    assert_eq!(architectures.collect::<Vec<_>>(), ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"]);
    for group in profile["syscalls"].as_array().unwrap() {
        assert_eq!(group["action"], "SCMP_ACT_ALLOW", "{group}");
        assert!(group["comment"].as_str().is_some_and(|words| !words.is_empty()), "{group}");
        let names: Vec<&str> = group["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        assert!(names.is_sorted(), "{names:?}");
    }
    let (names, numbers) = (allowed(), numbers());
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "each stands there once");
    for name in &names {
        assert!(numbers.contains_key(name.as_str()), "{name} is no call this test knows: add it to its table");
    }
    for rings in ["io_uring_setup", "io_uring_enter", "io_uring_register"] {
        assert!(names.iter().any(|name| name == rings));
    }
    for dangerous in ["bpf", "init_module", "kexec_load", "keyctl", "mount", "pivot_root", "ptrace", "setns", "unshare"]
    {
        assert!(!names.iter().any(|name| name == dangerous), "{dangerous}");
    }
}

#[test]
fn a_server_lives_under_the_profile_though_every_other_call_would_kill_it() {
    for engine in Engine::ALL {
        // Where io_uring is forbidden to this very test, the profile cannot allow it.
        if choose(Some(engine)).is_ok() {
            let status = live_under_the_profile(engine);
            assert_eq!(
                status.signal(),
                None,
                "{engine}: a call is missing in the profile; `strace -f` shows the last one"
            );
            assert_eq!(status.code(), Some(0), "{engine}");
        }
    }
}

/// What a server does in its life: people, plain HTTP, the page, the API, keys fetched by a name, new settings, leaving,
/// and another server that takes over for a while.
fn live_under_the_profile(engine: Engine) -> ExitStatus {
    // Somebody who takes the fetch of keys and hangs up.
    let issuer = TcpListener::bind("127.0.0.1:0").unwrap();
    let jwks = format!("http://localhost:{}/jwks.json", issuer.local_addr().unwrap().port());
    let mut command = Command::new(env!("CARGO_BIN_EXE_throng"));
    command
        .args(["serve", "--dev", "--listen", &process::free_address().to_string(), "--admin-listen", "127.0.0.1:0"])
        .args(["--shards", "2", "--takeover"])
        .args(["--engine", engine.name(), "--jwks-url", &jwks])
        .env("THRONG_JWT_HS256_SECRET", process::SECRET)
        .env_remove("THRONG_JWT_SECRET_FILE")
        .stdout(Stdio::piped());
    let numbers = numbers();
    let calls: Vec<libc::c_long> = allowed().iter().filter_map(|name| numbers[name.as_str()]).collect();
    confine(&mut command, &calls, 0, Otherwise::Kill);
    let mut server = Mortal(command.spawn().unwrap());
    let Some((at, admin, key)) = addresses(&mut server) else { return server.ended().0 };

    let (mut ann, mut bob) = (open(at, &token("ann", FAR_FUTURE, None)), open(at, &token("bob", FAR_FUTURE, None)));
    talk(&mut ann, &mut bob);
    let runs = format!("throng_engine{{engine=\"{engine}\"}} 1");
    assert!(get(admin, "/metrics").1.lines().any(|line| line == runs), "{engine} was asked for");
    for (address, path) in [(at, "/"), (at, "/healthz"), (admin, "/metrics")] {
        assert_eq!(get(address, path).0, "200", "{path}");
    }
    assert!(get(admin, "/readyz").1.contains("dependency"), "the keys of the issuer are not there");
    let said = Command::new(env!("CARGO_BIN_EXE_throng"))
        .args(["who", "hall", "--admin", &format!("http://{admin}")])
        .env("THRONG_API_KEY", key)
        .env_remove("THRONG_API_KEY_FILE")
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&said.stdout).contains("ann"), "{said:?}");
    drop(issuer.accept().unwrap());
    process::signal(server.0.id(), "HUP");
    until("it has reloaded", || reloaded(admin));
    // It does not live under the profile; who is asked does.
    let next = process::Server::start(at, &["--takeover"]);
    assert!(get(admin, "/metrics").1.lines().any(|line| line == "throng_siblings 1"));
    drop(next);
    // An orderly end of one, an abrupt end of the other, and both engines' way to leave.
    ann.close(None).unwrap();
    socket2::SockRef::from(bob.get_ref()).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(bob);
    process::signal(server.0.id(), "TERM");
    server.ended().0
}

fn reloaded(admin: SocketAddr) -> bool {
    get(admin, "/metrics").1.lines().any(|line| line == "throng_config_reloads_total 1")
}

/// Where the server listens, where operators look, and the key for the API, by its banner. `None`: it ended.
fn addresses(server: &mut Mortal) -> Option<(SocketAddr, SocketAddr, String)> {
    let said = Lines::of(server.0.stdout.take().unwrap());
    let mut lines = std::iter::from_fn(|| said.next("an address"));
    let mut address = |word: &str, scheme: &str, path: &str| -> Option<SocketAddr> {
        let url = lines.find_map(|line| line.trim().strip_prefix(word).map(|rest| rest.trim().to_owned()))?;
        url.strip_prefix(scheme)?.strip_suffix(path)?.parse().ok()
    };
    let (at, admin) = (address("rooms ", "ws://", "/ws")?, address("admin ", "http://", "/metrics")?);
    let key = lines.find_map(|line| {
        let (_, rest) = line.split_once("THRONG_API_KEY=")?;
        rest.split(' ').next().map(str::to_owned)
    })?;
    Some((at, admin, key))
}

/// Numbers of the calls in the profile; `None`: this architecture has no such call, and runtimes pass it over.
fn numbers() -> BTreeMap<&'static str, Option<libc::c_long>> {
    macro_rules! calls {
        ($($everywhere:ident)*; $($older:ident)*) => {
            [
                $((stringify!($everywhere), Some(libc::$everywhere)),)*
                $(
                    #[cfg(target_arch = "x86_64")]
                    (stringify!($older), Some(libc::$older)),
                    #[cfg(not(target_arch = "x86_64"))]
                    (stringify!($older), None),
                )*
            ]
        };
    }
    let numbers = calls! {
        SYS_accept4 SYS_bind SYS_brk SYS_capget SYS_capset SYS_chdir SYS_clock_gettime SYS_clock_nanosleep SYS_clone
        SYS_clone3 SYS_close SYS_close_range SYS_connect SYS_dup SYS_dup3 SYS_epoll_create1 SYS_epoll_ctl
        SYS_epoll_pwait SYS_eventfd2 SYS_execve SYS_exit SYS_exit_group SYS_faccessat SYS_faccessat2 SYS_fchdir
        SYS_fchown SYS_fcntl SYS_fstat SYS_fstatfs SYS_futex SYS_getcwd SYS_getdents64 SYS_getegid SYS_geteuid
        SYS_getgid SYS_getgroups SYS_getpeername SYS_getpid SYS_getppid SYS_getrandom SYS_getsockname SYS_getsockopt
        SYS_gettid SYS_getuid SYS_io_uring_enter SYS_io_uring_register SYS_io_uring_setup SYS_ioctl SYS_listen
        SYS_lseek SYS_madvise SYS_membarrier SYS_mmap SYS_mprotect SYS_mremap SYS_munmap SYS_nanosleep
        SYS_newfstatat SYS_openat SYS_pipe2 SYS_ppoll SYS_prctl SYS_pread64 SYS_prlimit64 SYS_read SYS_readlinkat
        SYS_recvfrom SYS_recvmsg SYS_restart_syscall SYS_rseq SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigreturn
        SYS_sched_getaffinity SYS_sched_setaffinity SYS_sched_yield SYS_sendmmsg SYS_sendmsg SYS_sendto
        SYS_set_robust_list SYS_set_tid_address SYS_setgid SYS_setgroups SYS_setresgid SYS_setresuid SYS_setsid
        SYS_setsockopt SYS_setuid SYS_shutdown SYS_sigaltstack SYS_socket SYS_socketpair SYS_statfs SYS_statx
        SYS_sysinfo SYS_tgkill SYS_umask SYS_uname SYS_write SYS_writev
        ;
        SYS_access SYS_arch_prctl SYS_epoll_wait SYS_open SYS_poll SYS_readlink SYS_stat
    };
    numbers.into_iter().map(|(name, number)| (&name["SYS_".len()..], number)).collect()
}
