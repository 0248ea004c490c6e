//! `throng-load floor`: what the kernel alone takes for the sends a server makes: plain `send(2)`, nothing around it.
//!
//! One thread writes the same bytes to one socket after the other, a room at a time, by an open-loop schedule; another
//! process drains them. Promises: the CPU time is that of the whole sending process over the measured time and
//! nothing else; every byte sent is proved to have arrived, or the figure is not given as good.
//! Must never wait for a socket: one that does not take a frame whole is counted, and spoils the run.

mod sink;

use std::fmt::{self, Display, Formatter};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use throng::base::{Encoding, Identity, Offset, RoomName};
use throng::wire::envelope::{MessageOut, write_message};
use throng::wire::prove;

use crate::lengths::Lengths;
use crate::mix::Random;
use crate::orders::Wire;
use crate::payload::{self, Marker};
use crate::source::{Net, Sources};
use crate::sys::{self, Epoll};
use crate::token;
use crate::worker::FILES_BESIDE;

pub(crate) use sink::{SinkArgs, run as run_sink};

#[derive(Args, Clone)]
pub(crate) struct FloorArgs {
    /// Sockets written to.
    #[arg(long, env = "THRONG_LOAD_CONNECTIONS", default_value_t = 19_500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) connections: u32,
    /// Sockets that get each message, one send each: a room.
    #[arg(long, env = "THRONG_LOAD_ROOM_SIZE", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) room_size: u32,
    /// Sends a second over all sockets, whether or not they keep up (open loop).
    #[arg(long, env = "THRONG_LOAD_RATE", default_value = "50000", value_parser = crate::args::positive)]
    pub(crate) rate: f64,
    /// Seconds measured.
    #[arg(long, env = "THRONG_LOAD_DURATION", default_value = "10", value_parser = crate::args::positive)]
    pub(crate) duration: f64,
    /// Seconds of the same traffic before.
    #[arg(long, env = "THRONG_LOAD_WARMUP", default_value = "1", value_parser = crate::args::not_negative)]
    pub(crate) warmup: f64,
    /// Bytes of a message's text; a send has the bytes of the whole frame that the server makes of it.
    #[arg(long, env = "THRONG_LOAD_PAYLOAD", default_value_t = 128, value_parser = clap::value_parser!(u32).range(64..=65_535))]
    pub(crate) payload: u32,
    /// How that frame's envelope is written.
    #[arg(long, env = "THRONG_LOAD_ENCODING", value_enum, default_value_t = Wire::Msgpack)]
    pub(crate) encoding: Wire,
    /// Bytes of each send, instead of those of a frame.
    #[arg(long, env = "THRONG_LOAD_BYTES", conflicts_with_all = ["payload", "encoding"], value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub(crate) bytes: Option<u32>,
    /// The core of the one sending thread. Default: any.
    #[arg(long, env = "THRONG_LOAD_CORE", value_parser = crate::args::core)]
    pub(crate) core: Option<usize>,
    /// The core of the process that drains the sockets. Default: any.
    #[arg(long, env = "THRONG_LOAD_SINK_CORE", value_parser = crate::args::core)]
    pub(crate) sink_core: Option<usize>,
    /// Writes the report there (`-`: to standard output, instead of the table).
    #[arg(long, env = "THRONG_LOAD_JSON")]
    pub(crate) json: Option<PathBuf>,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Floor {
    pub(crate) exit_code: u8,
    /// Each a sentence: why the figure is not good.
    reasons: Vec<String>,
    connections: u32,
    room_size: u32,
    bytes_per_send: usize,
    core: Option<usize>,
    sink_core: Option<usize>,
    rate_asked_per_s: f64,
    seconds: f64,
    sends: u64,
    sends_per_s: f64,
    /// User and system time of the whole sending process in those seconds.
    cpu_s: f64,
    cpu_us_per_send: f64,
    /// Sends that a socket did not take whole, warm-up included.
    stalled: u64,
    bytes_sent: u64,
    bytes_arrived: u64,
}

/// A rate is kept if this share of it was sent.
const RATE_KEPT: f64 = 0.98;
const LOOPBACK: &str = "127.0.0.0/8";

/// Measures.
pub(crate) fn run(args: &FloorArgs) -> Result<Floor> {
    ensure!(
        args.connections.is_multiple_of(args.room_size),
        "--connections {} is not a multiple of --room-size {}",
        args.connections,
        args.room_size
    );
    let files = sys::raise_file_limit().context("raising the limit of open files")?;
    ensure!(
        u64::from(args.connections) + FILES_BESIDE <= files,
        "--connections {} do not fit {files} open files",
        args.connections
    );
    // Before this process is pinned: what it starts would be pinned with it.
    let sink = Sink::start(args.sink_core)?;
    if let Some(core) = args.core {
        sys::pin(core).with_context(|| format!("--core {core}"))?;
    }
    sys::wake_on_time();
    let bytes = match args.bytes {
        Some(bytes) => vec![0x55; bytes as usize],
        None => frame(args.encoding, args.payload as usize)?,
    };
    let mut sender = Sender::connect(args, sink.address, bytes)?;
    let measured = sender.send_all(args)?;
    let (bytes_sent, stalled) = (sender.bytes_sent, sender.stalled);
    drop(sender);
    let bytes_arrived = sink.finish()?;
    Ok(Floor::new(args, &measured, bytes_sent, bytes_arrived, stalled))
}

/// The frame that a message of the generator's crowd becomes.
pub(crate) fn frame(wire: Wire, payload_bytes: usize) -> Result<Vec<u8>> {
    let encoding = Encoding::from(wire);
    let marker = Marker { room: 7, publisher: 350, seq: 3, intended_ns: 9_000_000_000, late_us: 80 };
    let mut writer = payload::Writer::new(encoding, &Lengths::fixed(payload_bytes).map_err(anyhow::Error::msg)?, 1);
    let data = prove(encoding, writer.write(&marker), 1).ok().context("a string is one complete value")?;
    let message = MessageOut {
        room: &RoomName::parse("load:00c0ffee:00000007")?,
        offset: Offset(3),
        at_unix_ms: 1_700_000_000_000,
        from: &Identity::new(&token::sub("00c0ffee", 350), None)?,
        event: None,
        key: None,
        data: &data.to_payload(),
    };
    let mut frame = Vec::new();
    write_message(&mut frame, encoding, &message);
    Ok(frame)
}

/// The one thread that sends.
struct Sender {
    sockets: Vec<TcpStream>,
    bytes: Vec<u8>,
    sends: u64,
    bytes_sent: u64,
    stalled: u64,
}

/// One reading at an edge of the measured time.
struct Edge {
    at_ns: u64,
    cpu_ns: u64,
    sends: u64,
}

struct Measured {
    bytes_per_send: usize,
    seconds: f64,
    cpu_s: f64,
    sends: u64,
}

impl Sender {
    fn connect(args: &FloorArgs, sink: SocketAddr, bytes: Vec<u8>) -> Result<Self> {
        let net: Net = LOOPBACK.parse().map_err(anyhow::Error::msg)?;
        // Somewhere else in the net than the run before: its pairs may still be in TIME_WAIT.
        let spread = net.usable() - Sources::addresses(args.connections);
        let first = Random::new(sys::monotonic_ns()).below(spread as usize) as u32;
        let sources = Sources::new(net, first);
        let sockets = (0..args.connections)
            .map(|index| connect(sink, &sources, index).with_context(|| format!("connection {index}")))
            .collect::<Result<_>>()?;
        Ok(Self { sockets, bytes, sends: 0, bytes_sent: 0, stalled: 0 })
    }

    /// Sends a room at a time, each when it is due, until the time is over.
    fn send_all(&mut self, args: &FloorArgs) -> Result<Measured> {
        let rooms = (args.connections / args.room_size) as usize;
        let distance_ns = 1e9 * f64::from(args.room_size) / args.rate;
        let mut random = Random::new(1);
        let mut sleeper = Epoll::new(1)?;
        let start_ns = sys::monotonic_ns();
        let from_ns = start_ns + (args.warmup * 1e9) as u64;
        let to_ns = from_ns + (args.duration * 1e9) as u64;
        let mut from = None;
        for room in 0_u64.. {
            let due_ns = start_ns + (room as f64 * distance_ns) as u64;
            let mut now_ns = sys::monotonic_ns();
            while now_ns < due_ns.min(to_ns) {
                sleeper.wait(due_ns.min(to_ns) - now_ns)?;
                now_ns = sys::monotonic_ns();
            }
            if from.is_none() && now_ns >= from_ns {
                from = Some(self.edge(now_ns));
            }
            if now_ns >= to_ns {
                break;
            }
            self.send_room(random.below(rooms), args.room_size as usize)?;
        }
        let to = self.edge(sys::monotonic_ns());
        let from = from.context("the measured time began")?;
        Ok(Measured {
            bytes_per_send: self.bytes.len(),
            seconds: (to.at_ns - from.at_ns) as f64 / 1e9,
            cpu_s: (to.cpu_ns - from.cpu_ns) as f64 / 1e9,
            sends: to.sends - from.sends,
        })
    }

    fn send_room(&mut self, room: usize, size: usize) -> io::Result<()> {
        for socket in &mut self.sockets[room * size..(room + 1) * size] {
            // The standard library's write to a socket is one send(2) with MSG_NOSIGNAL.
            let taken = match socket.write(&self.bytes) {
                Ok(taken) => taken,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            self.sends += 1;
            self.bytes_sent += taken as u64;
            self.stalled += u64::from(taken < self.bytes.len());
        }
        Ok(())
    }

    fn edge(&self, at_ns: u64) -> Edge {
        Edge { at_ns, cpu_ns: sys::cpu_ns(), sends: self.sends }
    }
}

fn connect(sink: SocketAddr, sources: &Sources, index: u32) -> Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(sink), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&SockAddr::from(SocketAddr::from(sources.pair(index, 0))))?;
    socket.connect(&SockAddr::from(sink))?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// The process that drains.
struct Sink {
    child: Child,
    /// Its end tells the sink that nobody more will come.
    alive: Option<ChildStdin>,
    says: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Sink {
    fn start(core: Option<usize>) -> Result<Self> {
        let program = std::env::current_exe().context("finding this program for its sink")?;
        let mut command = Command::new(program);
        command.arg("sink").stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some(core) = core {
            command.args(["--sink-core", &core.to_string()]);
        }
        let mut child = command.spawn().context("starting the sink")?;
        let mut says = BufReader::new(child.stdout.take().context("the sink's standard output is piped")?);
        let alive = child.stdin.take();
        let mut line = String::new();
        says.read_line(&mut line)?;
        let address = line.trim().parse().context("the sink did not start; its reason stands above")?;
        Ok(Self { child, alive, says, address })
    }

    /// Waits until everything sent has been drained, the sockets being closed; gives how many bytes that were.
    fn finish(mut self) -> Result<u64> {
        self.alive = None;
        let mut line = String::new();
        self.says.read_line(&mut line)?;
        line.trim().parse().context("the sink ended without a count")
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.alive = None;
        // It ends by itself once its sockets are closed; should it hang, it is ended.
        self.child.kill().unwrap_or_default();
        self.child.wait().map(|_| ()).unwrap_or_default();
    }
}

impl Floor {
    fn new(args: &FloorArgs, measured: &Measured, bytes_sent: u64, bytes_arrived: u64, stalled: u64) -> Self {
        let sends_per_s = measured.sends as f64 / measured.seconds;
        let (mut exit_code, mut reasons) = (0, Vec::new());
        if sends_per_s < args.rate * RATE_KEPT {
            exit_code = 1;
            reasons.push(format!("{sends_per_s:.0} sends/s were made, {:.0} were asked", args.rate));
        }
        if stalled > 0 {
            exit_code = 1;
            reasons.push(format!("{stalled} sends were not taken whole: the sink does not keep up"));
        }
        if bytes_sent != bytes_arrived {
            exit_code = 2;
            reasons.push(format!("{bytes_sent} bytes were sent and {bytes_arrived} arrived"));
        }
        Self {
            exit_code,
            reasons,
            connections: args.connections,
            room_size: args.room_size,
            bytes_per_send: measured.bytes_per_send,
            core: args.core,
            sink_core: args.sink_core,
            rate_asked_per_s: args.rate,
            seconds: measured.seconds,
            sends: measured.sends,
            sends_per_s,
            cpu_s: measured.cpu_s,
            cpu_us_per_send: measured.cpu_s * 1e6 / measured.sends.max(1) as f64,
            stalled,
            bytes_sent,
            bytes_arrived,
        }
    }
}

impl Display for Floor {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let core = |core: Option<usize>| core.map_or_else(|| "any core".to_owned(), |core| format!("core {core}"));
        writeln!(
            f,
            "send(2)    {} sockets, rooms of {}, {} bytes each; sender on {}, sink on {}",
            self.connections,
            self.room_size,
            self.bytes_per_send,
            core(self.core),
            core(self.sink_core)
        )?;
        writeln!(
            f,
            "sends      {} in {:.2} s: {:.0}/s ({:.0} asked), {} not taken whole",
            self.sends, self.seconds, self.sends_per_s, self.rate_asked_per_s, self.stalled
        )?;
        writeln!(f, "CPU        {:.3} s, {:.3} us per send", self.cpu_s, self.cpu_us_per_send)?;
        writeln!(f, "arrived    {} of {} bytes", self.bytes_arrived, self.bytes_sent)?;
        self.reasons.iter().try_for_each(|reason| writeln!(f, "  - {reason}"))
    }
}

#[cfg(test)]
mod tests {
    use throng::wire::client::{ServerEvent, read_event};
    use throng::wire::websocket::{FrameLimits, Incoming, Partial, Reader, Role};

    use super::*;

    #[test]
    fn what_is_sent_is_a_frame_that_a_member_would_read() {
        for wire in [Wire::Msgpack, Wire::Json] {
            let mut bytes = frame(wire, 128).expect("a frame");
            let limits = FrameLimits { message_bytes_max: 1 << 20, fragments_max: 1 };
            let mut partial = Partial::default();
            let mut reader = Reader::new(Role::Client, limits, &mut bytes);
            let envelope = match reader.next(&mut partial).expect("RFC 6455 is kept") {
                Some(Incoming::Binary(bytes)) => bytes.to_vec(),
                Some(Incoming::Text(text)) => text.as_bytes().to_vec(),
                other => panic!("a message was expected: {other:?}"),
            };
            let Ok(ServerEvent::Message(message)) = read_event(Encoding::from(wire), &envelope) else {
                panic!("a message")
            };
            assert_eq!(token::connection_of("00c0ffee", &message.from.user), Some(350));
            let marker =
                payload::read(Encoding::from(wire), message.data.raw(), &128.into(), 1).expect("a marked payload");
            assert_eq!(marker.publisher, 350);
        }
    }
}
