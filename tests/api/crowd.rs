//! A room of many to whom the backend speaks, and what that takes: the call, and the way to the last of them.
//!
//! Promises: everything said is heard by everybody, once and in order, or it panics. Times are only measured.

use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use throng::runtime::clock::Clock;

use crate::server::{Server, hear};

/// Who listens, and how much is said how often.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) readers: usize,
    pub(crate) messages: usize,
    pub(crate) pace_ms: u64,
}

/// In microseconds from the moment each message was to be said, sorted.
pub(crate) struct Figures {
    /// Until the call was answered.
    pub(crate) call_us: Vec<u64>,
    /// Until the last of all readers had read it.
    pub(crate) last_us: Vec<u64>,
    /// Until the call was begun: what this test itself was late, which is part of both.
    pub(crate) late_us: Vec<u64>,
    /// What all readers together read, each of them everything once and in order.
    pub(crate) heard: usize,
}

/// Readers sit down; `begun` is called when all do; then the backend speaks.
pub(crate) fn speak(server: &Server, plan: Plan, begun: impl FnOnce()) -> Figures {
    let (clock, seated) = (Clock::start(), Mutex::new(0));
    let read_us = Mutex::new(vec![0; plan.messages]);
    std::thread::scope(|scope| {
        let share = plan.readers.div_ceil(THREADS);
        let listeners: Vec<_> = (0..plan.readers)
            .step_by(share)
            .map(|first| {
                let (read_us, seated) = (&read_us, &seated);
                let numbers = first..plan.readers.min(first + share);
                let listen = move || listen(server, numbers, plan.messages, clock, seated, read_us);
                std::thread::Builder::new().spawn_scoped(scope, listen).expect("a thread starts")
            })
            .collect();
        while *seated.lock().expect("nobody panics with it") < plan.readers {
            assert!(!listeners.iter().any(|listener| listener.is_finished()), "somebody found no seat");
            std::thread::park_timeout(Duration::from_millis(5));
        }
        begun();
        let start_us = clock.mono_us();
        let due_us = |n: usize| start_us + n as u64 * plan.pace_ms * 1_000;
        let said = (0..plan.messages).map(|n| say(server, n, clock, due_us(n)));
        let (mut late_us, mut call_us): (Vec<u64>, Vec<u64>) = said.unzip();
        let heard = listeners.into_iter().map(|listener| listener.join().expect("everybody heard everything")).sum();
        let read_us = read_us.lock().expect("nobody panics with it");
        let mut last_us: Vec<u64> = (0..).zip(&*read_us).map(|(n, us)| us.saturating_sub(due_us(n))).collect();
        [&mut call_us, &mut last_us, &mut late_us].into_iter().for_each(|all| all.sort_unstable());
        Figures { call_us, last_us, late_us, heard }
    })
}

/// At its time, whether the call before was answered early or late. Gives how long after that it was begun and answered.
fn say(server: &Server, n: usize, clock: Clock, due_us: u64) -> (u64, u64) {
    while clock.mono_us() < due_us {
        std::thread::park_timeout(Duration::from_micros(due_us - clock.mono_us().min(due_us)));
    }
    let late_us = clock.mono_us() - due_us;
    let said = server.post("/publish", &json!({"room": ROOM, "data": n, "event": "spoken"})).good();
    assert_eq!(said["offset"], n + 1);
    (late_us, clock.mono_us() - due_us)
}

/// Gives how many messages were read.
fn listen(
    server: &Server,
    numbers: std::ops::Range<usize>,
    messages: usize,
    clock: Clock,
    seated: &Mutex<usize>,
    read_us: &Mutex<Vec<u64>>,
) -> usize {
    let mut sockets: Vec<_> = numbers.map(|number| server.sits(&format!("reader{number}"), ROOM)).collect();
    *seated.lock().expect("nobody panics with it") += sockets.len();
    for n in 0..messages {
        for socket in &mut sockets {
            let heard: Value = serde_json::from_str(&hear(socket)).expect("JSON");
            assert_eq!((&heard["offset"], &heard["data"]), (&json!(n + 1), &json!(n)), "once and in order: {heard}");
        }
        let mut read_us = read_us.lock().expect("nobody panics with it");
        read_us[n] = read_us[n].max(clock.mono_us());
    }
    messages * sockets.len()
}

/// The value below which so many of a hundred lie, in milliseconds.
pub(crate) fn percentile_ms(sorted_us: &[u64], percent: usize) -> f64 {
    sorted_us[(sorted_us.len() * percent / 100).min(sorted_us.len() - 1)] as f64 / 1_000.0
}

const ROOM: &str = "crowd";
/// Of readers. More would only take the cores from the server.
const THREADS: usize = 4;
