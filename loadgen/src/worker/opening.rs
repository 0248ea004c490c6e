//! Connections on their way in: socket, upgrade, welcome, join; a few at a time.
//!
//! A dozen connecting at once is faster than a hundred: more overflow the listen queue, and a lost SYN waits a second.
//! Promises: never more than `connecting` at once, nor more than that waiting to try again; a refusal that can pass is tried
//! again with patience, any other one ends the worker with a sentence that says what to do.

use std::io;
use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::latency::Latencies;
use crate::ramp::LimitedBy;
use crate::source::Sources;
use crate::steps::Times;

/// How far one opening is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Step {
    Connecting,
    Upgrading,
    Welcoming,
    Joining,
}

/// One connection on its way in.
pub(super) struct Opening {
    pub(super) member: u32,
    pub(super) step: Step,
    /// From when the first attempt should have begun: retries count into the time to open.
    pub(super) times: Times,
    /// When this attempt is given up.
    pub(super) deadline_ns: u64,
    pub(super) attempt: u32,
    /// The answer's head, while it is incomplete.
    pub(super) head: Vec<u8>,
}

/// An attempt to be made again.
struct Retry {
    at_ns: u64,
    member: u32,
    started_ns: u64,
    attempt: u32,
}

/// Everybody on the way in.
pub(super) struct Openings {
    slots: Vec<Option<Opening>>,
    free: Vec<u16>,
    next: u32,
    total: u32,
    retries: Vec<Retry>,
    pub(super) retried: u64,
    /// From when somebody was due and there was a place, until they began: our own doing.
    pub(super) lateness: Latencies,
    /// When a place was given back after there had been none.
    freed_ns: u64,
    distance_ns: Option<u64>,
    start_ns: u64,
    /// When the last one sat down, or the first could have.
    sat_ns: u64,
    patience_ns: u64,
    stopped: bool,
}

/// An attempt takes at most this long; above the second that a lost SYN waits, and the three of the next.
const ATTEMPT_NS: u64 = 15_000_000_000;
const RETRY_NS: u64 = 100_000_000;
/// Above this one of them has no luck, even if others come in.
const ATTEMPTS_MAX: u32 = 60;
const ATTEMPTS_MAX_ALONE: u32 = 5;

impl Openings {
    /// Members `0..total`, at most `at_once` (1 to 65,535) at a time, begun at most at `ramp_rate` a second; given up when
    /// nobody sits down for `patience_ns`.
    pub(super) fn new(total: u32, at_once: usize, ramp_rate: Option<f64>, start_ns: u64, patience_ns: u64) -> Self {
        let at_once = u16::try_from(at_once.max(1)).unwrap_or(u16::MAX);
        Self {
            slots: (0..at_once).map(|_| None).collect(),
            free: (0..at_once).rev().collect(),
            next: 0,
            total,
            retries: Vec::new(),
            retried: 0,
            lateness: Latencies::new(),
            freed_ns: start_ns,
            distance_ns: ramp_rate.map(|rate| (1e9 / rate) as u64),
            start_ns,
            sat_ns: start_ns,
            patience_ns,
            stopped: false,
        }
    }

    /// Nobody begins any more, and nobody tries again; those under way may still come in.
    pub(super) fn stop(&mut self) {
        self.total = self.next;
        self.retries.clear();
        self.stopped = true;
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Whether somebody new may begin: a server that refuses is asked by a few, again and again, not by everybody.
    fn is_open(&self) -> bool {
        self.next < self.total && self.retries.len() < self.slots.len()
    }

    /// The next one to begin now: its slot.
    pub(super) fn begin(&mut self, now_ns: u64) -> Option<u16> {
        let slot = *self.free.last()?;
        let (member, started_ns, attempt) = match self.retries.iter().position(|retry| retry.at_ns <= now_ns) {
            Some(at) => {
                let was_shut = self.retries.len() >= self.slots.len();
                let retry = self.retries.swap_remove(at);
                self.lateness.record_ns(now_ns.saturating_sub(retry.at_ns.max(self.freed_ns)));
                if was_shut {
                    // Nobody new was to begin until now.
                    self.freed_ns = now_ns;
                }
                (retry.member, retry.started_ns, retry.attempt)
            }
            None if self.is_open() && self.due_ns() <= now_ns => {
                // A ramp that has a pace has a time for everybody, however late they begin.
                let intended_ns = if self.distance_ns.is_some() { self.due_ns() } else { now_ns };
                self.lateness.record_ns(now_ns.saturating_sub(self.due_ns().max(self.freed_ns)));
                self.next += 1;
                (self.next - 1, intended_ns, 0)
            }
            None => return None,
        };
        self.free.pop();
        self.slots[usize::from(slot)] = Some(Opening {
            member,
            step: Step::Connecting,
            times: Times { intended_ns: started_ns, ..Times::default() },
            deadline_ns: now_ns + ATTEMPT_NS,
            attempt,
            head: Vec::new(),
        });
        Some(slot)
    }

    pub(super) fn at(&mut self, slot: u16) -> &mut Opening {
        self.slots[usize::from(slot)].as_mut().expect("a row in stage Opening names a taken slot")
    }

    /// It sits: the slot is free for the next.
    pub(super) fn sit(&mut self, slot: u16, now_ns: u64) -> Opening {
        self.sat_ns = now_ns;
        self.finish(slot, now_ns)
    }

    /// It is given up: the slot is free for the next.
    pub(super) fn finish(&mut self, slot: u16, now_ns: u64) -> Opening {
        if self.free.is_empty() {
            self.freed_ns = now_ns;
        }
        self.free.push(slot);
        self.slots[usize::from(slot)].take().expect("a row in stage Opening names a taken slot")
    }

    /// Puts an attempt off; `false` when nothing is to be hoped for: a server that lets nobody in is given up sooner.
    pub(super) fn retry(&mut self, opening: &Opening, now_ns: u64, anybody_in: bool) -> bool {
        self.retried += 1;
        if self.stopped {
            return true;
        }
        let patience = RETRY_NS * u64::from(opening.attempt.min(10) + 1);
        self.retries.push(Retry {
            at_ns: now_ns + patience,
            member: opening.member,
            started_ns: opening.times.intended_ns,
            attempt: opening.attempt + 1,
        });
        if !anybody_in {
            return opening.attempt < ATTEMPTS_MAX_ALONE;
        }
        let since_ns = now_ns.saturating_sub(self.sat_ns.max(opening.times.intended_ns));
        opening.attempt < ATTEMPTS_MAX && since_ns < self.patience_ns
    }

    /// A slot whose attempt has taken too long.
    pub(super) fn overdue(&self, now_ns: u64) -> Option<u16> {
        let at =
            self.slots.iter().position(|slot| slot.as_ref().is_some_and(|opening| opening.deadline_ns <= now_ns))?;
        u16::try_from(at).ok()
    }

    pub(super) fn done(&self) -> bool {
        self.next == self.total && self.retries.is_empty() && self.free.len() == self.slots.len()
    }

    /// When there is something to do beside what sockets say.
    pub(super) fn wake_ns(&self) -> Option<u64> {
        let begin = (self.is_open() && !self.free.is_empty()).then(|| self.due_ns());
        let retry = self.retries.iter().map(|retry| retry.at_ns).min().filter(|_| !self.free.is_empty());
        let deadline = self.slots.iter().flatten().map(|opening| opening.deadline_ns).min();
        [begin, retry, deadline].into_iter().flatten().min()
    }

    fn due_ns(&self) -> u64 {
        self.start_ns + self.distance_ns.unwrap_or(0) * u64::from(self.next)
    }
}

/// Begins to connect, from an explicit pair where the run has any; a pair that is taken is replaced by another.
pub(super) fn connect(
    server: SocketAddr,
    sources: Option<&Sources>,
    connection: u32,
    attempt: u32,
) -> io::Result<TcpStream> {
    let mut result = connect_once(server, sources, connection, attempt);
    for other in 1..PAIRS_TRIED {
        let taken =
            |error: &io::Error| matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable);
        if sources.is_none() || !result.as_ref().is_err_and(taken) {
            break;
        }
        result = connect_once(server, sources, connection, attempt + other);
    }
    result
}

const PAIRS_TRIED: u32 = 64;

/// Whose limit it is that a socket could not be made, bound or connected.
pub(super) fn limited_by(error: &io::Error) -> LimitedBy {
    let ours = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS, libc::EADDRINUSE, libc::EADDRNOTAVAIL];
    match error.raw_os_error() {
        Some(code) if ours.contains(&code) => LimitedBy::Generator,
        Some(_) | None => LimitedBy::Server,
    }
}

fn connect_once(server: SocketAddr, sources: Option<&Sources>, connection: u32, attempt: u32) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(sources) = sources {
        socket.set_reuse_address(true)?;
        socket.bind(&SockAddr::from(SocketAddr::from(sources.pair(connection, attempt))))?;
    }
    match socket.connect(&SockAddr::from(server)) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE_NS: u64 = 60_000_000_000;

    #[test]
    fn a_dozen_at_a_time_and_everybody_once() {
        let mut openings = Openings::new(30, 12, None, 0, PATIENCE_NS);
        let mut begun = Vec::new();
        while !openings.done() {
            let slots: Vec<u16> = std::iter::from_fn(|| openings.begin(0)).collect();
            assert!(!slots.is_empty() && slots.len() <= 12);
            begun.extend(slots.into_iter().map(|slot| openings.finish(slot, 0).member));
        }
        begun.sort_unstable();
        assert_eq!(begun, (0..30).collect::<Vec<_>>());
    }

    #[test]
    fn a_ramp_keeps_its_distance_and_a_retry_its_patience() {
        let mut openings = Openings::new(3, 12, Some(1_000.0), 0, PATIENCE_NS);
        let first = openings.begin(0).expect("the first is due at once");
        assert_eq!(openings.begin(0), None);
        assert_eq!(openings.wake_ns(), Some(1_000_000));
        let opening = openings.finish(first, 0);
        assert!(openings.retry(&opening, 0, true));
        let second = openings.begin(2_500_000).expect("the second");
        let third = openings.begin(2_500_000).expect("and the third");
        let intended = [second, third].map(|slot| openings.at(slot).times.intended_ns);
        assert_eq!(intended, [1_000_000, 2_000_000], "from when each should have begun");
        assert_eq!(openings.begin(2_500_000), None);
        let again = openings.begin(RETRY_NS).expect("the first again");
        assert_eq!((openings.at(again).member, openings.at(again).attempt), (0, 1));
        assert_eq!(openings.at(again).times.intended_ns, 0, "what it waited for another try counts");
        assert!(!openings.done());
        assert_eq!(openings.overdue(ATTEMPT_NS + 2_500_000).map(|slot| slot == again), Some(false));
    }

    /// How late the ramp itself was went into `open.p99` and was never told apart from the server.
    #[test]
    fn our_own_lateness_is_from_when_one_was_due_and_a_place_was_free() {
        let ms = |ms: u64| ms * 1_000_000;
        let mut openings = Openings::new(3, 1, Some(1_000.0), 0, PATIENCE_NS);
        let slot = openings.begin(0).expect("the first is due at once");
        assert_eq!(openings.begin(ms(50)), None, "the second was due after a millisecond, and there is no place");
        openings.sit(slot, ms(50));
        let slot = openings.begin(ms(50)).expect("now there is");
        assert!(openings.lateness.quantiles().max_ms < 1.0, "the server took that time");
        openings.sit(slot, ms(51));
        openings.begin(ms(91)).expect("it was due and had a place long ago");
        assert_eq!(openings.lateness.quantiles().max_ms.round(), 40.0);
    }

    #[test]
    fn patience_ends_sooner_with_a_server_that_lets_nobody_in() {
        for (anybody_in, attempts_max) in [(true, ATTEMPTS_MAX), (false, ATTEMPTS_MAX_ALONE)] {
            let mut openings = Openings::new(1, 1, None, 0, u64::MAX);
            let mut now_ns = 0;
            let attempts = std::iter::from_fn(|| {
                now_ns += 60_000_000_000;
                let slot = openings.begin(now_ns)?;
                let opening = openings.finish(slot, now_ns);
                openings.retry(&opening, now_ns, anybody_in).then_some(())
            });
            assert_eq!(attempts.count(), attempts_max as usize);
        }
    }
    #[test]
    fn a_server_that_is_full_is_asked_by_few_and_given_up_when_nobody_sat_for_long() {
        let mut openings = Openings::new(1_000, 4, None, 0, PATIENCE_NS);
        let first = openings.begin(0).expect("is due");
        openings.sit(first, 50_000_000_000);
        let (mut now_ns, mut members, mut given_up) = (50_000_000_000, std::collections::BTreeSet::new(), false);
        while !given_up {
            now_ns += 200_000_000;
            let slots: Vec<u16> = std::iter::from_fn(|| openings.begin(now_ns)).collect();
            for slot in slots {
                let opening = openings.finish(slot, now_ns);
                members.insert(opening.member);
                given_up |= !openings.retry(&opening, now_ns, true);
            }
        }
        assert!(members.len() <= 8, "as many as may come at once, and as many who wait: {members:?}");
        assert!(now_ns >= 50_000_000_000 + PATIENCE_NS, "from the last who sat, not from the start: {now_ns}");
    }

    #[test]
    fn who_is_under_way_when_it_stops_may_still_come_in() {
        let mut openings = Openings::new(30, 3, None, 0, PATIENCE_NS);
        let slots: Vec<u16> = std::iter::from_fn(|| openings.begin(0)).collect();
        openings.stop();
        assert!(openings.is_stopped() && !openings.done());
        openings.sit(slots[0], 1);
        let lost = openings.finish(slots[1], 1);
        assert!(openings.retry(&lost, 1, true), "nobody is asked for more");
        assert_eq!(openings.begin(u64::MAX), None);
        assert!(!openings.done());
        openings.sit(slots[2], 2);
        assert!(openings.done());
    }
}
