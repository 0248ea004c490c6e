//! Signals arriving all the time, while awake and while asleep on the bell.
#![expect(unsafe_code, reason = "std can neither install a signal handler nor send a signal to a thread")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::owner::Owner;

static SEEN: AtomicU64 = AtomicU64::new(0);

extern "C" fn count(_: i32) {
    SEEN.fetch_add(1, Ordering::Relaxed);
}

/// Without `SA_RESTART`: every blocking call of the thread it hits answers EINTR.
fn install_handler() {
    // SAFETY: the handler only touches an atomic; all zeroes is a valid sigaction.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = count as extern "C" fn(i32) as usize;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()), 0);
    }
}

#[test]
fn a_storm_of_signals_costs_nobody_a_byte() {
    install_handler();
    // SAFETY: the call has no precondition.
    let me = unsafe { libc::pthread_self() };
    let mut owner = Owner::new(64, 2);
    let address = owner.address;
    let done = AtomicBool::new(false);
    let rounds: usize = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // SAFETY: the scope ends before the thread that is hit does.
                assert_eq!(unsafe { libc::pthread_kill(me, libc::SIGUSR1) }, 0);
                std::thread::yield_now();
            }
        });
        let bell = owner.bell.clone();
        let clients = scope.spawn(move || {
            // At least 200 rounds, and until the storm has been one.
            let mut rounds = 0;
            while rounds < 200 || SEEN.load(Ordering::Relaxed) < 500 {
                let round = rounds as u32;
                rounds += 1;
                let mut client = TcpStream::connect(address).unwrap();
                for part in 0..5u32 {
                    let words = (round * 5 + part).to_be_bytes();
                    client.write_all(&words).unwrap();
                    let mut echo = [0; 4];
                    client.read_exact(&mut echo).unwrap();
                    assert_eq!(echo, words);
                }
            }
            bell.signal();
            rounds
        });
        while !(clients.is_finished() && owner.rows.is_empty()) {
            owner.turn();
            if !clients.is_finished() {
                owner.sleep();
            }
        }
        done.store(true, Ordering::Relaxed);
        clients.join().unwrap()
    });
    assert_eq!((owner.opened, owner.ended, owner.released.len()), (rounds, rounds, rounds));
}
