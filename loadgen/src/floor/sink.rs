//! The process that takes what the floor sends and does nothing with it.
//!
//! Promises: every socket is read until it is short, whenever it has something; the count printed at the end is of all
//! bytes of all sockets, each read to its end.

use std::io::{self, Read, StdinLock};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use anyhow::{Context, Result};
use clap::Args;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::say::answer;
use crate::sys::{self, Epoll};

#[derive(Args, Clone)]
pub(crate) struct SinkArgs {
    /// The core it runs on. Default: any.
    #[arg(long, env = "THRONG_LOAD_SINK_CORE", value_parser = crate::args::core)]
    pub(crate) sink_core: Option<usize>,
}

const LISTENER: u64 = u64::MAX;
const OWNER: u64 = u64::MAX - 1;
const EVENTS_MAX: usize = 1_024;
const READ_BYTES: usize = 256 << 10;
const BACKLOG: i32 = 4_096;
const LONG_NS: u64 = 3_600_000_000_000;

/// Prints its address, drains until standard input and every socket have ended, prints how many bytes came.
pub(crate) fn run(args: &SinkArgs) -> Result<()> {
    if let Some(core) = args.sink_core {
        sys::pin(core).with_context(|| format!("--sink-core {core}"))?;
    }
    sys::raise_file_limit().context("raising the limit of open files")?;
    let mut sink = Sink::new()?;
    answer!("{}", sink.listener.local_addr()?);
    sink.drain()?;
    answer!("{}", sink.bytes);
    Ok(())
}

struct Sink {
    listener: TcpListener,
    epoll: Epoll,
    owner: StdinLock<'static>,
    owned: bool,
    sockets: Vec<Option<TcpStream>>,
    open: usize,
    bytes: u64,
    buffer: Vec<u8>,
}

impl Sink {
    fn new() -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.bind(&SockAddr::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))))?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let (listener, epoll, owner) = (TcpListener::from(socket), Epoll::new(EVENTS_MAX)?, io::stdin().lock());
        epoll.add(&listener, LISTENER)?;
        sys::set_nonblocking(&owner)?;
        epoll.add(&owner, OWNER)?;
        let buffer = vec![0; READ_BYTES];
        Ok(Self { listener, epoll, owner, owned: true, sockets: Vec::new(), open: 0, bytes: 0, buffer })
    }

    fn drain(&mut self) -> Result<()> {
        while self.owned || self.open > 0 {
            let found = self.epoll.wait(LONG_NS)?;
            for index in 0..found {
                match self.epoll.event(index).token {
                    LISTENER => self.accept()?,
                    OWNER => self.hear_owner()?,
                    socket => self.read(socket as usize)?,
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(true)?;
                    self.epoll.add(&stream, self.sockets.len() as u64)?;
                    self.sockets.push(Some(stream));
                    self.open += 1;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Once nobody more will come, ends matter: one that came together with the last bytes has had its event already.
    fn hear_owner(&mut self) -> Result<()> {
        let (_, ended) = read_now(&mut self.owner, &mut self.buffer, true)?;
        if ended {
            self.owned = false;
            self.accept()?;
            for index in 0..self.sockets.len() {
                self.read(index)?;
            }
        }
        Ok(())
    }

    fn read(&mut self, index: usize) -> Result<()> {
        let Some(stream) = &mut self.sockets[index] else { return Ok(()) };
        let (length, ended) = read_now(stream, &mut self.buffer, !self.owned)?;
        self.bytes += length;
        if ended {
            self.sockets[index] = None;
            self.open -= 1;
        }
        Ok(())
    }
}

/// Reads until there is nothing more now; gives how much that was and whether the other side has ended. A short read
/// means that there are no more bytes now, and saves asking; who wants to hear of the end (`to_end`) asks all the same.
fn read_now(from: &mut impl Read, buffer: &mut [u8], to_end: bool) -> io::Result<(u64, bool)> {
    let mut bytes = 0;
    loop {
        match from.read(buffer) {
            Ok(0) => return Ok((bytes, true)),
            Ok(length) => {
                bytes += length as u64;
                if length < buffer.len() && !to_end {
                    return Ok((bytes, false));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok((bytes, false)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
