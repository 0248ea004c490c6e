//! Who is really at the other end: the peer, or whom trusted proxies name.
//!
//! Promises: nothing a client writes is believed; only what a trusted proxy *added* counts, which is why the list is read
//! from its right end, hop by hop, until the first address that is not a trusted proxy's own.

use core::net::{IpAddr, SocketAddr};

use crate::base::Nets;

/// The proxies in front of this server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proxies {
    /// Who may say for whom it speaks, by `X-Forwarded-For` or a PROXY header. Default: nobody.
    pub trusted: Nets,
    /// Whether every connection of a trusted peer begins with a PROXY header (version 1 or 2). It is not guessed: with
    /// it one that does not is closed, without it one that does is a bad request.
    pub protocol: bool,
}

impl Default for Proxies {
    fn default() -> Self {
        Self { trusted: Nets::none(), protocol: false }
    }
}

impl Proxies {
    /// Whether a connection of this peer begins with a PROXY header.
    pub fn speaks_first(&self, peer: IpAddr) -> bool {
        self.protocol && self.trusted.contains(peer)
    }

    /// The client behind `peer`, given the lines of `X-Forwarded-For` in the order they came. `peer` is the socket's
    /// own, or whom a PROXY header named.
    ///
    /// The rightmost address that is not trusted; the leftmost, when all are. Something that is no address ends the
    /// walk: who wrote it is not known, so the last proxy that is known stands for it.
    pub fn client<'a>(&self, peer: IpAddr, forwarded_for: impl DoubleEndedIterator<Item = &'a [u8]>) -> IpAddr {
        let mut client = peer.to_canonical();
        let mut hops = forwarded_for.rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
        while self.trusted.contains(client) {
            match hops.next().and_then(hop) {
                Some(next) => client = next,
                None => break,
            }
        }
        client
    }
}

/// An address as proxies write it: bare, in brackets, with a port.
fn hop(bytes: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(bytes.trim_ascii()).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(trusted: &[&str], peer: &str, lines: &[&str]) -> String {
        let proxies = Proxies { trusted: Nets::parse(trusted).unwrap(), protocol: false };
        proxies.client(peer.parse().unwrap(), lines.iter().map(|line| line.as_bytes())).to_string()
    }

    #[test]
    fn the_rightmost_hop_that_is_not_trusted_is_the_client() {
        let trusted = ["10.0.0.0/8", "::1"];
        let table: &[(&str, &[&str], &str)] = &[
            ("203.0.113.5", &["1.1.1.1"], "203.0.113.5"),
            ("10.0.0.1", &["203.0.113.5"], "203.0.113.5"),
            ("10.0.0.1", &["1.1.1.1, 203.0.113.5"], "203.0.113.5"),
            ("10.0.0.1", &["1.1.1.1", "203.0.113.5,10.0.0.2"], "203.0.113.5"),
            ("10.0.0.1", &["203.0.113.5", "10.0.0.3", " 10.0.0.2 "], "203.0.113.5"),
            ("10.0.0.1", &["10.0.0.9, 10.0.0.2"], "10.0.0.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &[""], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.5, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.5, _hidden, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["203.0.113.5:4711"], "203.0.113.5"),
            ("::1", &["2001:db8::7"], "2001:db8::7"),
            ("::1", &["[2001:db8::7]:99, [::1]"], "2001:db8::7"),
            ("::ffff:10.0.0.1", &["::ffff:203.0.113.5"], "203.0.113.5"),
        ];
        for (peer, lines, expected) in table {
            assert_eq!(client(&trusted, peer, lines), *expected, "{peer} {lines:?}");
        }
        assert_eq!(client(&[], "10.0.0.1", &["1.1.1.1"]), "10.0.0.1", "nobody is trusted unless named");
    }

    #[test]
    fn only_trusted_peers_speak_first_and_only_when_told_to() {
        let mut proxies = Proxies { trusted: Nets::parse(&["10.0.0.0/8"]).unwrap(), protocol: true };
        let (balancer, stranger) = ("10.0.0.1".parse().unwrap(), "203.0.113.5".parse().unwrap());
        assert!(proxies.speaks_first(balancer) && !proxies.speaks_first(stranger));
        proxies.protocol = false;
        assert!(!proxies.speaks_first(balancer));
    }
}
