//! Which local (address, port) each connection binds: explicit, so that the kernel never searches.
//!
//! A server with several addresses is reached from the same pairs at each: the kernel tells such connections apart.
//! `IP_BIND_ADDRESS_NO_PORT` with most of a range taken makes one connect cost 0.64 ms; an explicit pair does not.
//! Every worker has addresses of its own, and a run starts somewhere else in the net than the run before it, so
//! that pairs still in TIME_WAIT are not asked for.

use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// First port used on each address. Below the usual ephemeral range there is room too; above 10,000 hardly anything listens.
const PORT_FIRST: u16 = 10_000;
/// Ports used on each address.
pub(crate) const PORTS_PER_ADDRESS: u32 = 50_000;

/// An IPv4 net in CIDR form.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Net {
    first: u32,
    addresses: u32,
}

impl FromStr for Net {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not an IPv4 net like 127.0.0.0/8 or an address like 10.0.0.7");
        let (address, bits) = text.split_once('/').unwrap_or((text, "32"));
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let bits: u32 = bits.parse().ok().filter(|bits| (8..=32).contains(bits)).ok_or_else(wrong)?;
        let addresses = 1_u32 << (32 - bits);
        Ok(Self { first: u32::from(address) & !(addresses - 1), addresses })
    }
}

impl Net {
    pub(crate) fn is_loopback(&self) -> bool {
        Ipv4Addr::from(self.first).is_loopback()
    }

    /// Usable addresses: last bytes 0 and 255 are left out of nets larger than one address.
    pub(crate) fn usable(&self) -> u32 {
        if self.addresses < 256 { self.addresses } else { self.addresses / 256 * 254 }
    }

    fn address(&self, index: u32) -> Ipv4Addr {
        let index = index % self.usable();
        let offset = if self.addresses < 256 { index } else { index / 254 * 256 + index % 254 + 1 };
        Ipv4Addr::from(self.first + offset)
    }
}

/// One worker's addresses.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Sources {
    net: Net,
    first_address: u32,
    /// How many connections share one address before the next begins.
    per_address: u32,
}

impl Sources {
    /// Addresses `first_address..` of `net`, `connections` spread so that at most half of the ports are asked for.
    pub(crate) fn new(net: Net, first_address: u32) -> Self {
        Self { net, first_address, per_address: PORTS_PER_ADDRESS / 2 }
    }

    /// How many addresses `connections` take.
    pub(crate) fn addresses(connections: u32) -> u32 {
        connections.div_ceil(PORTS_PER_ADDRESS / 2)
    }

    /// The pair of connection `index`; `attempt` moves on to a fresh one after a refusal.
    pub(crate) fn pair(&self, index: u32, attempt: u32) -> (Ipv4Addr, u16) {
        let address = self.net.address(self.first_address.wrapping_add(index / self.per_address));
        // Retries lie in the other half of the ports: they never take a pair that is still to come.
        let place = index % self.per_address;
        let port =
            if attempt == 0 { place } else { self.per_address + (place + (attempt - 1) * 7_919) % self.per_address };
        (address, PORT_FIRST + port as u16)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_pair_is_asked_for_twice() {
        let sources = Sources::new("127.0.0.0/8".parse().expect("a net"), 16_000_000);
        let pairs: HashSet<_> = (0..200_000).map(|index| sources.pair(index, 0)).collect();
        assert_eq!(pairs.len(), 200_000);
        assert!(
            pairs
                .iter()
                .all(|(address, port)| address.is_loopback() && *port >= PORT_FIRST && address.octets()[3] != 0)
        );
        assert!((1..100).all(|attempt| !pairs.contains(&sources.pair(7, attempt))), "a retry takes nobody's pair");
    }

    /// What the worker's connections rely on: the kernel tells them apart by where they go.
    #[test]
    fn one_pair_serves_towards_every_port_of_a_server() {
        use std::net::{SocketAddr, TcpListener, TcpStream};
        let listen = || TcpListener::bind("127.0.0.1:0").expect("a port");
        let doors = [listen(), listen()];
        let net: Net = "127.0.0.0/8".parse().expect("a net");
        let sources = Sources::new(net, 16_100_000 + std::process::id() % 100_000);
        let connections = doors.each_ref().map(|door| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
            socket.set_reuse_address(true).expect("is set");
            socket.bind(&SocketAddr::from(sources.pair(7, 0)).into()).expect("the pair is ours");
            socket.connect(&door.local_addr().expect("its address").into()).expect("is let in");
            TcpStream::from(socket)
        });
        let [one, other] = connections.each_ref().map(|stream| stream.local_addr().expect("its address"));
        assert_eq!(one, other);
    }

    #[test]
    fn a_net_is_read_strictly_and_a_single_address_is_a_net() {
        for bad in ["", "127.0.0.0/33", "127.0.0/8", "::1/64", "10.0.0.0/7", "a/8"] {
            assert!(bad.parse::<Net>().is_err(), "{bad}");
        }
        let one: Net = "10.1.2.3".parse().expect("an address");
        assert_eq!((one.usable(), one.address(5)), (1, Ipv4Addr::new(10, 1, 2, 3)));
        assert_eq!("127.0.0.0/8".parse::<Net>().map(|net| net.usable()), Ok(65_536 * 254));
    }
}
