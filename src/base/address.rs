//! Addresses of the internet, as a server that counts them sees them.
//!
//! Promises: an IPv4 address is the same however it is written (`::ffff:192.0.2.1` is `192.0.2.1`); an IPv6 address is
//! counted by its /64, which is what one customer gets and may use up at will. Nothing here resolves names.

use core::net::IpAddr;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

/// A net in CIDR form: `10.0.0.0/8`, `2001:db8::/32`; an address alone is a net of one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Net {
    /// The first address, IPv4 as itself.
    first: IpAddr,
    bits: u8,
}

/// Why a text is no net. The text is for the person who wrote it.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum BadNet {
    #[error("`{0}` is no address or net: write 10.0.0.0/8, 2001:db8::/32 or 192.0.2.7")]
    Malformed(String),
    #[error("`{0}` has bits set behind its prefix: `{1}` is the net it lies in")]
    NotFirst(String, Net),
}

impl Net {
    /// Whether an address lies in it. An IPv4 address never lies in an IPv6 net.
    pub fn contains(self, address: IpAddr) -> bool {
        Self::masked(address.to_canonical(), self.bits) == Some(self.first)
    }

    /// The first address of the net of `bits` that `address` lies in; `None` if it has not so many bits.
    fn masked(address: IpAddr, bits: u8) -> Option<IpAddr> {
        match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32_u32.checked_sub(u32::from(bits))?).unwrap_or(0);
                Some(IpAddr::V4((v4.to_bits() & mask).into()))
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128_u32.checked_sub(u32::from(bits))?).unwrap_or(0);
                Some(IpAddr::V6((v6.to_bits() & mask).into()))
            }
        }
    }
}

impl FromStr for Net {
    type Err = BadNet;

    fn from_str(text: &str) -> Result<Self, BadNet> {
        let malformed = || BadNet::Malformed(text.to_owned());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| malformed())?;
        let mut bits = match bits {
            // `/+8` and `/08` are read by nobody else as 8.
            Some(bits) if bits.starts_with('+') || bits.len() > 1 && bits.starts_with('0') => return Err(malformed()),
            Some(bits) => bits.parse::<u8>().map_err(|_| malformed())?,
            None if address.is_ipv4() => 32,
            None => 128,
        };
        let canonical = address.to_canonical();
        if canonical.is_ipv4() && address.is_ipv6() {
            bits = bits.checked_sub(96).ok_or_else(malformed)?;
        }
        let first = Self::masked(canonical, bits).ok_or_else(malformed)?;
        let net = Self { first, bits };
        if first == canonical { Ok(net) } else { Err(BadNet::NotFirst(text.to_owned(), net)) }
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

/// A list of nets. A clone is a pointer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Nets(Arc<[Net]>);

impl Nets {
    /// No address lies in them.
    pub fn none() -> Self {
        Self(Arc::from([]))
    }

    /// This host itself: `127.0.0.0/8` and `::1`.
    pub fn loopback() -> Self {
        let v4 = Net { first: IpAddr::from([127, 0, 0, 0]), bits: 8 };
        let v6 = Net { first: IpAddr::V6(core::net::Ipv6Addr::LOCALHOST), bits: 128 };
        Self(Arc::from([v4, v6]))
    }

    /// Reads each; the first that is no net is the error.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, BadNet> {
        texts.iter().map(|text| text.as_ref().parse()).collect::<Result<Vec<Net>, _>>().map(|nets| Self(nets.into()))
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|net| net.contains(address))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them is all of IPv4 or all of IPv6.
    pub fn hold_everybody(&self) -> bool {
        self.0.iter().any(|net| net.bits == 0)
    }

    pub fn iter(&self) -> impl Iterator<Item = Net> + '_ {
        self.0.iter().copied()
    }
}

/// What is counted as one address: an IPv4 address, or the /64 of an IPv6 address.
pub fn counted_as(address: IpAddr) -> u64 {
    match address.to_canonical() {
        // No /64 that is routed begins with 32 zero bits.
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_net_holds_its_own_and_nobody_else() {
        let table = [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "203.0.113.9", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("192.0.2.0/24", "::ffff:192.0.2.9", true),
            ("::ffff:192.0.2.0/120", "192.0.2.9", true),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
        ];
        for (net, address, inside) in table {
            assert_eq!(net.parse::<Net>().unwrap().contains(ip(address)), inside, "{net} {address}");
        }
        let loopback = Nets::loopback();
        assert!(["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"].iter().all(|a| loopback.contains(ip(a))));
        assert!(!loopback.contains(ip("128.0.0.1")) && !Nets::none().contains(ip("::1")));
    }

    #[test]
    fn what_is_no_net_is_refused_and_what_was_meant_is_said() {
        for bad in [
            "",
            "10.0.0.0/33",
            "10.0.0/8",
            "::1/129",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/08",
            "a/8",
            "::ffff:1.2.3.4/8",
        ] {
            assert_eq!(bad.parse::<Net>(), Err(BadNet::Malformed(bad.to_owned())), "{bad}");
        }
        let error = "10.1.2.3/8".parse::<Net>().unwrap_err().to_string();
        assert!(error.contains("10.0.0.0/8"), "{error}");
        assert_eq!(
            Nets::parse(&["10.0.0.0/8", "::1"]).unwrap().iter().map(|n| n.to_string()).collect::<Vec<_>>(),
            ["10.0.0.0/8", "::1/128"]
        );
        assert!(Nets::parse(&["10.0.0.0/8", "x"]).is_err());
    }

    #[test]
    fn ipv6_is_counted_by_its_64_and_ipv4_by_itself() {
        assert_eq!(counted_as(ip("2001:db8:1:2::1")), counted_as(ip("2001:db8:1:2:ffff::9")));
        assert_ne!(counted_as(ip("2001:db8:1:2::1")), counted_as(ip("2001:db8:1:3::1")));
        assert_eq!(counted_as(ip("::ffff:192.0.2.1")), counted_as(ip("192.0.2.1")));
        assert_ne!(counted_as(ip("192.0.2.1")), counted_as(ip("192.0.2.2")));
    }
}
