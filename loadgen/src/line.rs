//! A line between people and a server that can be made bad: our own TCP proxy, on a thread of its own.
//!
//! Promises: what passes, passes in order and unchanged; a fault hits one connection and is counted by its kind; a calm line
//! breaks nothing. Bounded: what one side does not take is not read from the other.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::ValueEnum;
use serde::Serialize;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::mix::Random;
use crate::sys::{self, Epoll};

/// What can happen to a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Fault {
    /// Nothing passes for a while, then all of it.
    Delay,
    /// Both ends are reset.
    Cut,
    /// Nothing passes any more, and nobody is told.
    Blackhole,
    /// The client is reset; the server is not told.
    HalfOpen,
}

/// How the line is bad.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    /// Faults a second over all connections, at random times.
    pub(crate) faults_per_s: f64,
    /// At least one.
    pub(crate) kinds: Vec<Fault>,
    pub(crate) delay_ns: u64,
    pub(crate) seed: u64,
}

/// What the line did.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Broken {
    pub(crate) delayed: u64,
    pub(crate) cut: u64,
    pub(crate) blackholed: u64,
    pub(crate) half_open: u64,
}

impl Broken {
    /// Faults by which a connection ended.
    pub(crate) fn ended(&self) -> u64 {
        self.cut + self.blackholed + self.half_open
    }
}

/// The line; it ends when this is dropped.
pub(crate) struct Line {
    /// Where clients connect to.
    pub(crate) address: SocketAddr,
    rough: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Broken>>>,
}

impl Line {
    /// A calm line to `server`.
    pub(crate) fn start(server: SocketAddr, weather: Weather) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("a port for the line")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (rough, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let epoll = Epoll::new(1_024)?;
        epoll.add(&listener, LISTENER)?;
        let board = Board {
            listener,
            server,
            epoll,
            random: Random::new(weather.seed),
            weather,
            rough: Arc::clone(&rough),
            over: Arc::clone(&over),
            pairs: Vec::new(),
            free: Vec::new(),
            lives: 0,
            fault_ns: None,
            buffer: vec![0; 16 << 10],
            broken: Broken::default(),
        };
        let thread = std::thread::Builder::new().name("line".to_owned()).spawn(move || board.run());
        Ok(Self { address, rough, over, thread: Some(thread.context("starting the line")?) })
    }

    /// From now on faults happen.
    pub(crate) fn rough(&self) {
        self.rough.store(true, Ordering::Relaxed);
    }

    /// From now on none happens. What is dead stays dead.
    pub(crate) fn calm(&self) {
        self.rough.store(false, Ordering::Relaxed);
    }

    /// Ends every connection, and says what was done.
    pub(crate) fn end(mut self) -> Result<Broken> {
        self.over.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("a line ends once")?;
        thread.join().map_err(|_| anyhow!("the line's thread panicked"))?
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

const LISTENER: u64 = u64::MAX;
/// How long the thread may not notice that it is over, or that the weather changed.
const NOTICE_NS: u64 = 20_000_000;
/// The sides of a pair.
const CLIENT: usize = 0;

/// One connection through the line.
struct Pair {
    ends: [Option<TcpStream>; 2],
    ways: [Way; 2],
    state: State,
    life: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Passes,
    /// Until this time of the monotonic clock.
    Held(u64),
    /// For ever; its sockets stay until the line ends, unread.
    Dead,
}

/// From one end to the other.
#[derive(Default)]
struct Way {
    waiting: Vec<u8>,
    at: usize,
    ended: bool,
    shut: bool,
}

/// Everything on the line's thread.
struct Board {
    listener: TcpListener,
    server: SocketAddr,
    epoll: Epoll,
    random: Random,
    weather: Weather,
    rough: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    pairs: Vec<Option<Pair>>,
    free: Vec<usize>,
    lives: u32,
    fault_ns: Option<u64>,
    buffer: Vec<u8>,
    broken: Broken,
}

impl Board {
    fn run(mut self) -> Result<Broken> {
        while !self.over.load(Ordering::Relaxed) {
            let now_ns = sys::monotonic_ns();
            self.weather(now_ns);
            self.release(now_ns);
            let found = self.epoll.wait(self.wake_ns().saturating_sub(sys::monotonic_ns()).min(NOTICE_NS))?;
            for at in 0..found {
                let token = self.epoll.event(at).token;
                if token == LISTENER {
                    self.accept()?;
                    continue;
                }
                let (index, life) = ((token >> 32) as usize, token as u32);
                if self.pairs[index].as_ref().is_some_and(|pair| pair.life == life && pair.state == State::Passes) {
                    self.pump(index);
                }
            }
        }
        Ok(self.broken)
    }

    fn wake_ns(&self) -> u64 {
        let held = self.pairs.iter().flatten().filter_map(|pair| match pair.state {
            State::Held(until_ns) => Some(until_ns),
            State::Passes | State::Dead => None,
        });
        held.chain(self.fault_ns).min().unwrap_or(u64::MAX)
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            match self.listener.accept() {
                Ok((client, _)) => self.connect(client)?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // Who is gone before it was taken, or has no file left: it is told by its own socket.
                Err(_) => return Ok(()),
            }
        }
    }

    fn connect(&mut self, client: TcpStream) -> Result<()> {
        client.set_nonblocking(true)?;
        client.set_nodelay(true)?;
        let socket = Socket::new(Domain::for_address(self.server), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&self.server.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            // Nobody there: the client is told by the end of its own connection.
            Err(_) => return Ok(()),
        }
        let server = TcpStream::from(socket);
        let index = self.free.pop().unwrap_or_else(|| {
            self.pairs.push(None);
            self.pairs.len() - 1
        });
        self.lives = self.lives.wrapping_add(1);
        let token = (index as u64) << 32 | u64::from(self.lives);
        self.epoll.add(&client, token)?;
        self.epoll.add(&server, token)?;
        self.pairs[index] = Some(Pair {
            ends: [Some(client), Some(server)],
            ways: [Way::default(), Way::default()],
            state: State::Passes,
            life: self.lives,
        });
        Ok(())
    }

    /// Lets pass what was held long enough.
    fn release(&mut self, now_ns: u64) {
        for index in 0..self.pairs.len() {
            if let Some(pair) = &mut self.pairs[index]
                && matches!(pair.state, State::Held(until_ns) if until_ns <= now_ns)
            {
                pair.state = State::Passes;
                self.pump(index);
            }
        }
    }

    /// A fault, if it is time for one.
    fn weather(&mut self, now_ns: u64) {
        if !self.rough.load(Ordering::Relaxed) {
            self.fault_ns = None;
            return;
        }
        let distance_ns = (-self.random.fraction().ln() / self.weather.faults_per_s * 1e9) as u64;
        match self.fault_ns {
            None => self.fault_ns = Some(now_ns + distance_ns),
            Some(due_ns) if due_ns <= now_ns => {
                self.fault_ns = Some(due_ns + distance_ns);
                self.strike(now_ns);
            }
            Some(_) => {}
        }
    }

    /// Hits somebody of those whose connection passes.
    fn strike(&mut self, now_ns: u64) {
        let from = self.random.below(self.pairs.len());
        let kind = self.weather.kinds[self.random.below(self.weather.kinds.len())];
        let passes = |index: &usize| self.pairs[*index].as_ref().is_some_and(|pair| pair.state == State::Passes);
        let hit = (from..self.pairs.len()).chain(0..from).find(passes);
        let Some(pair) = hit.and_then(|index| self.pairs[index].as_mut()) else { return };
        match kind {
            Fault::Delay => {
                pair.state = State::Held(now_ns + self.weather.delay_ns);
                self.broken.delayed += 1;
            }
            Fault::Cut => {
                pair.ends.iter_mut().for_each(reset);
                pair.state = State::Dead;
                self.broken.cut += 1;
            }
            Fault::Blackhole => {
                pair.state = State::Dead;
                self.broken.blackholed += 1;
            }
            Fault::HalfOpen => {
                reset(&mut pair.ends[CLIENT]);
                pair.state = State::Dead;
                self.broken.half_open += 1;
            }
        }
        self.sweep(hit.unwrap_or(0));
    }

    /// Moves what there is, both ways.
    fn pump(&mut self, index: usize) {
        let Some(pair) = &mut self.pairs[index] else { return };
        let alive = pair.passes(0, &mut self.buffer) && pair.passes(1, &mut self.buffer);
        if !alive {
            pair.ends.iter_mut().for_each(reset);
        } else if pair.ways.iter().all(|way| way.shut) {
            pair.ends = [None, None];
        }
        self.sweep(index);
    }

    /// A pair without ends makes room for another.
    fn sweep(&mut self, index: usize) {
        if self.pairs[index].as_ref().is_some_and(|pair| pair.ends.iter().all(Option::is_none)) {
            self.pairs[index] = None;
            self.free.push(index);
        }
    }
}

impl Pair {
    /// Whether both ends live after what came from `from` went to the other.
    fn passes(&mut self, from: usize, buffer: &mut [u8]) -> bool {
        let [Some(client), Some(server)] = &mut self.ends else { return false };
        let (source, target) = if from == CLIENT { (client, server) } else { (server, client) };
        let way = &mut self.ways[from];
        loop {
            while way.at < way.waiting.len() {
                match target.write(&way.waiting[way.at..]) {
                    Ok(len) => way.at += len,
                    Err(error) if is_for_later(&error) => return true,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => return false,
                }
            }
            way.waiting.clear();
            way.at = 0;
            if way.ended {
                if !way.shut {
                    way.shut = true;
                    // Who has gone already needs no goodbye.
                    target.shutdown(Shutdown::Write).unwrap_or_default();
                }
                return true;
            }
            match source.read(buffer) {
                Ok(0) => way.ended = true,
                Ok(len) => way.waiting.extend_from_slice(&buffer[..len]),
                Err(error) if is_for_later(&error) => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
    }
}

fn is_for_later(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected)
}

/// Ends it without a word of goodbye.
fn reset(end: &mut Option<TcpStream>) {
    if let Some(stream) = end.take() {
        // A socket that cannot linger is dead already.
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends back what it hears, and the line to it.
    fn echo(kinds: Vec<Fault>, faults_per_s: f64) -> Line {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let server = listener.local_addr().expect("has an address");
        let serve = move || {
            for stream in listener.incoming() {
                let stream = stream.expect("accepts");
                let echo = move || {
                    let mut back = stream.try_clone().expect("clones");
                    // It ends when the line does.
                    std::io::copy(&mut &stream, &mut back).map(|_| ()).unwrap_or_default();
                };
                std::thread::Builder::new().spawn(echo).expect("a thread starts");
            }
        };
        std::thread::Builder::new().spawn(serve).expect("a thread starts");
        Line::start(server, Weather { faults_per_s, kinds, delay_ns: 5_000_000, seed: 7 }).expect("starts")
    }

    #[test]
    fn a_calm_line_passes_everything_in_order_and_the_end_of_it() {
        let line = echo(vec![Fault::Cut], 1_000.0);
        let mut stream = TcpStream::connect(line.address).expect("connects");
        let sent: Vec<u8> = (0..1_000_000_u32).map(|at| (at ^ at >> 8) as u8).collect();
        let (mut heard, mut writer) = (Vec::new(), stream.try_clone().expect("clones"));
        let bytes = sent.clone();
        let write = move || {
            writer.write_all(&bytes).expect("writes");
            writer.shutdown(Shutdown::Write).expect("ends");
        };
        std::thread::Builder::new().spawn(write).expect("a thread starts");
        stream.read_to_end(&mut heard).expect("reads");
        assert!(heard == sent);
        assert_eq!(line.end().expect("ends"), Broken::default());
    }

    #[test]
    fn each_fault_is_what_it_says() {
        for kind in [Fault::Delay, Fault::Cut, Fault::Blackhole, Fault::HalfOpen] {
            let line = echo(vec![kind], 1_000.0);
            let mut stream = TcpStream::connect(line.address).expect("connects");
            let mut byte = [0; 1];
            stream.write_all(b"a").expect("writes");
            stream.read_exact(&mut byte).expect("reads");
            line.rough();
            stream.set_read_timeout(Some(Duration::from_secs(2))).expect("sets");
            match kind {
                // Held again and again, and yet all of it comes.
                Fault::Delay => {
                    stream.set_read_timeout(None).expect("sets");
                    for _ in 0..400 {
                        stream.write_all(b"b").expect("writes");
                        stream.read_exact(&mut byte).expect("reads");
                    }
                }
                Fault::Cut | Fault::HalfOpen => {
                    stream.set_read_timeout(None).expect("sets");
                    let error = stream.read_exact(&mut byte).expect_err("is reset");
                    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                }
                Fault::Blackhole => {
                    // Until it is hit it answers; then never again, and nobody says why.
                    let silent = loop {
                        stream.write_all(b"c").expect("writes");
                        if let Err(error) = stream.read_exact(&mut byte) {
                            break error;
                        }
                    };
                    assert!(matches!(silent.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{silent}");
                }
            }
            let broken = line.end().expect("ends");
            let of_kind = match kind {
                Fault::Delay => broken.delayed,
                Fault::Cut => broken.cut,
                Fault::Blackhole => broken.blackholed,
                Fault::HalfOpen => broken.half_open,
            };
            assert!(of_kind > 0 && (kind == Fault::Delay) == (broken.ended() == 0), "{kind:?}: {broken:?}");
        }
    }
}
