//! Where the servers of one address find each other: names without a file, which only this network namespace knows.
//!
//! Promises: a name says user, address and one of [`PLACES`]; it is gone with the process that has it. Only a process of
//! the same user is believed, which is the same that the kernel asks of whoever shares a port (`SO_REUSEPORT`).

use std::io::{self, ErrorKind};
use std::net;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use tokio::net::UnixStream;

/// One of the names of an address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Place(u8);

impl Place {
    pub(super) fn new(number: u8) -> Option<Self> {
        (number < PLACES).then_some(Self(number))
    }

    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..PLACES).map(Self)
    }

    pub(super) fn number(self) -> u8 {
        self.0
    }
}

/// The names of one address, for one user.
#[derive(Clone, Debug)]
pub(super) struct Names {
    uid: u32,
    address: net::SocketAddr,
}

impl Names {
    /// Those of the user this process runs as. Needs a runtime of tokio.
    pub(super) fn of(address: net::SocketAddr) -> io::Result<Self> {
        // The system says by its own end of a pair who this is.
        let (own, _other) = UnixStream::pair()?;
        Ok(Self { uid: own.peer_cred()?.uid(), address })
    }

    /// The first place that nobody has, and a listener there. `None`: all are taken.
    pub(super) fn take_place(&self) -> io::Result<Option<(Place, UnixListener)>> {
        for place in Place::all() {
            match self.bind(place) {
                Ok(listener) => return Ok(Some((place, listener))),
                Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Listens at this place.
    pub(super) fn bind(&self, place: Place) -> io::Result<UnixListener> {
        UnixListener::bind_addr(&SocketAddr::from_abstract_name(self.name(place))?)
    }

    /// Whether nobody has this place: who had it has ended. What cannot be found out is not so.
    pub(super) fn is_free(&self, place: Place) -> bool {
        self.bind(place).is_ok()
    }

    /// Whoever has this place. `None`: nobody has.
    pub(super) async fn connect(&self, place: Place) -> io::Result<Option<UnixStream>> {
        match UnixStream::connect(format!("\0{}", self.name(place))).await {
            Ok(stream) => Ok(Some(stream)),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether a process of the same user is at the other end.
    pub(super) fn is_ours(&self, stream: &UnixStream) -> bool {
        stream.peer_cred().is_ok_and(|peer| peer.uid() == self.uid)
    }

    fn name(&self, place: Place) -> String {
        format!("throng/{}/{}/{}", self.uid, self.address, place.0)
    }
}

/// Servers of one address at a time: one that serves, those that leave, and one that comes.
pub(super) const PLACES: u8 = 8;
