//! The PROXY protocol, versions 1 and 2: what a load balancer says before the client's first byte.
//!
//! Promises: sans-I/O; the header is bounded ([`PROXY_BYTES_MAX`]) and found without guessing: who is told to expect one
//! and reads something else says so ([`BadProxy`]), because a guess would let any client name its own address. It must
//! only ever be read from peers the operator trusts.
//!
//! The protocol: <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>.

use core::net::IpAddr;

use thiserror::Error;

/// Bytes a header may have. Version 1 has at most 107; version 2 has 16 and what it says follows, which is an address and
/// whatever TLVs the balancer adds (a client certificate's names, a connection's id).
pub const PROXY_BYTES_MAX: usize = 4_096;

/// A complete header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proxied {
    /// Its bytes; the client's own begin after them.
    pub len: usize,
    /// Who connected to the balancer. `None`: the balancer itself (a health check, `LOCAL`), or somebody without an
    /// internet address (`UNKNOWN`, a Unix socket).
    pub client: Option<IpAddr>,
}

/// Why bytes are no PROXY header. The connection is closed without an answer: nobody can say who is listening.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum BadProxy {
    #[error("no PROXY header: this peer is in `proxies.trusted` and must send one before each connection")]
    Missing,
    #[error("a PROXY header of more than {PROXY_BYTES_MAX} bytes")]
    TooLong,
    #[error("a line of PROXY version 1 that is not `PROXY TCP4|TCP6|UNKNOWN source destination port port`")]
    Line,
    #[error("a PROXY version 2 header of a version, command, family or length that this is not")]
    Binary,
}

/// Reads a header from the start of all that came so far. `None`: more bytes are needed.
pub fn read_proxy(bytes: &[u8]) -> Result<Option<Proxied>, BadProxy> {
    if is_begun(bytes, SIGNATURE) {
        return if bytes.len() < SIGNATURE.len() { Ok(None) } else { read_binary(bytes) };
    }
    if is_begun(bytes, WORD) {
        return read_line(bytes);
    }
    Err(BadProxy::Missing)
}

/// Whether `bytes` agree with `whole` as far as both go.
fn is_begun(bytes: &[u8], whole: &[u8]) -> bool {
    let len = bytes.len().min(whole.len());
    bytes[..len] == whole[..len]
}

/// `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n` (section 2.1).
fn read_line(bytes: &[u8]) -> Result<Option<Proxied>, BadProxy> {
    let seen = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let Some(end) = seen.windows(2).position(|two| two == b"\r\n") else {
        return if seen.len() < LINE_BYTES_MAX { Ok(None) } else { Err(BadProxy::Line) };
    };
    let line = std::str::from_utf8(&seen[..end]).map_err(|_| BadProxy::Line)?;
    let mut words = line.split(' ').skip(1);
    let family = words.next().ok_or(BadProxy::Line)?;
    let len = end + 2;
    if family == "UNKNOWN" {
        // Whatever else stands there must be ignored.
        return Ok(Some(Proxied { len, client: None }));
    }
    let addresses = [words.next(), words.next()].map(|word| word.and_then(|word| word.parse::<IpAddr>().ok()));
    let ports = [words.next(), words.next()].map(|word| word.filter(|word| is_port(word)));
    let [Some(client), Some(server)] = addresses else { return Err(BadProxy::Line) };
    let fits = match family {
        "TCP4" => client.is_ipv4() && server.is_ipv4(),
        "TCP6" => client.is_ipv6() && server.is_ipv6(),
        _ => false,
    };
    if !fits || ports.contains(&None) || words.next().is_some() {
        return Err(BadProxy::Line);
    }
    Ok(Some(Proxied { len, client: Some(client.to_canonical()) }))
}

fn is_port(word: &str) -> bool {
    let plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    plain && word.parse::<u16>().is_ok()
}

/// Twelve bytes of signature, version and command, family, length; then addresses and TLVs (section 2.2).
fn read_binary(bytes: &[u8]) -> Result<Option<Proxied>, BadProxy> {
    let Some(&[version_and_command, family, high, low]) = bytes.get(SIGNATURE.len()..HEADER_BYTES) else {
        return Ok(None);
    };
    let body_len = usize::from(u16::from_be_bytes([high, low]));
    let len = HEADER_BYTES + body_len;
    let command = match version_and_command {
        0x20 => Command::Local,
        0x21 => Command::Proxy,
        _ => return Err(BadProxy::Binary),
    };
    if len > PROXY_BYTES_MAX {
        return Err(BadProxy::TooLong);
    }
    let Some(body) = bytes.get(HEADER_BYTES..len) else { return Ok(None) };
    let client = match (command, family) {
        // The family of a LOCAL connection must be ignored.
        (Command::Local, _) | (Command::Proxy, UNSPECIFIED) => None,
        (Command::Proxy, TCP4) => {
            let source: [u8; 4] = *body.first_chunk().filter(|_| body_len >= 12).ok_or(BadProxy::Binary)?;
            Some(IpAddr::from(source))
        }
        (Command::Proxy, TCP6) => {
            let source: [u8; 16] = *body.first_chunk().filter(|_| body_len >= 36).ok_or(BadProxy::Binary)?;
            Some(IpAddr::from(source).to_canonical())
        }
        (Command::Proxy, UNIX) if body_len >= 216 => None,
        (Command::Proxy, _) => return Err(BadProxy::Binary),
    };
    Ok(Some(Proxied { len, client }))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Command {
    /// The balancer's own connection.
    Local,
    /// A client's.
    Proxy,
}

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const WORD: &[u8] = b"PROXY ";
const HEADER_BYTES: usize = 16;
/// The longest line there can be, its end included (section 2.1).
const LINE_BYTES_MAX: usize = 107;
const UNSPECIFIED: u8 = 0x00;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
const UNIX: u8 = 0x31;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    fn binary(version_and_command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let len = (body.len() as u16).to_be_bytes();
        [SIGNATURE, &[version_and_command, family], &len, body].concat()
    }

    fn tcp4(tlvs: &[u8]) -> Vec<u8> {
        binary(0x21, TCP4, &[&[192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 4, 1, 0xbb], tlvs].concat())
    }

    #[test]
    fn the_lines_of_version_1() {
        let table = [
            ("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n", ip("192.0.2.1")),
            ("PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n", ip("2001:db8::1")),
            ("PROXY TCP6 ::ffff:192.0.2.1 ::1 0 65535\r\n", ip("192.0.2.1")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ff:ff:: anything 1 2 at all\r\n", None),
        ];
        for (line, client) in table {
            let bytes = [line.as_bytes(), b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(read_proxy(&bytes), Ok(Some(Proxied { len: line.len(), client })), "{line}");
        }
        for line in [
            "PROXY\r\n",
            "PROXY TCP4\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443 more\r\n",
            "PROXY TCP4 2001:db8::1 2001:db8::2 56324 443\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.1 56324 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 65536 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 +1 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 01 443\r\n",
            "PROXY TCP4  192.0.2.1 198.51.100.1 1 443\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.1 1 443\r\n",
            "PROXY tcp4 192.0.2.1 198.51.100.1 1 443\r\n",
        ] {
            assert!(read_proxy(line.as_bytes()).is_err(), "{line}");
        }
        let endless = format!("PROXY UNKNOWN {}", "x".repeat(200));
        assert_eq!(read_proxy(endless.as_bytes()), Err(BadProxy::Line));
        assert_eq!(read_proxy(&endless.as_bytes()[..106]), Ok(None));
    }

    #[test]
    fn the_headers_of_version_2_with_what_is_skipped() {
        let tlvs = [0x04, 0, 3, 1, 2, 3, 0x20, 0, 1, 9];
        let v6: Vec<u8> = [[0x20, 1, 0xd, 0xb8], [0; 4], [0; 4], [0, 0, 0, 7]].concat();
        let tcp6 = binary(0x21, TCP6, &[&v6[..], &[0; 16], &[0; 4], &tlvs].concat());
        let table = [
            (tcp4(&[]), ip("192.0.2.1")),
            (tcp4(&tlvs), ip("192.0.2.1")),
            (tcp4(&[0xff; 2_000]), ip("192.0.2.1")),
            (tcp6, ip("2001:db8::7")),
            // Health checks: what they say of addresses is not looked at.
            (binary(0x20, UNSPECIFIED, &[]), None),
            (binary(0x20, TCP4, &[1; 12]), None),
            (binary(0x20, 0x77, &[1; 3]), None),
            (binary(0x21, UNSPECIFIED, &tlvs), None),
            (binary(0x21, UNIX, &[0; 216]), None),
        ];
        for (header, client) in table {
            let bytes = [&header[..], b"GET"].concat();
            assert_eq!(read_proxy(&bytes), Ok(Some(Proxied { len: header.len(), client })), "{header:x?}");
        }
        for header in [
            binary(0x11, TCP4, &[0; 12]),
            binary(0x22, TCP4, &[0; 12]),
            binary(0x21, TCP4, &[0; 11]),
            binary(0x21, TCP6, &[0; 35]),
            binary(0x21, UNIX, &[0; 215]),
            // Datagrams do not come over TCP.
            binary(0x21, 0x12, &[0; 12]),
            binary(0x21, 0x41, &[0; 12]),
        ] {
            assert_eq!(read_proxy(&header), Err(BadProxy::Binary), "{header:x?}");
        }
        assert_eq!(
            read_proxy(&binary(0x21, TCP4, &[0; 4_081])[..16]),
            Err(BadProxy::TooLong),
            "before it has all come"
        );
        assert!(read_proxy(&binary(0x21, TCP4, &[0; 4_080])).unwrap().is_some());
    }

    #[test]
    fn who_is_told_to_expect_a_header_takes_nothing_else_for_one() {
        for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"P0", b"\r\n\r\nX", b"\x16\x03", b"proxy tcp4 ", b"POST / HTTP/1.1"]
        {
            assert_eq!(read_proxy(bytes), Err(BadProxy::Missing), "{bytes:x?}");
        }
        for begun in [&b""[..], b"P", b"PROXY", b"\r", b"\r\n\r\n\0\r\nQUI"] {
            assert_eq!(read_proxy(begun), Ok(None), "{begun:x?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn foreign_bytes_never_panic_and_come_to_the_same_in_one_read_or_many(
            begin in prop_oneof![Just(SIGNATURE.to_vec()), Just(WORD.to_vec()), Just(Vec::new())],
            noise in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let bytes = [begin, noise].concat();
            let mut by_bytes = Ok(None);
            for len in 0..=bytes.len() {
                by_bytes = read_proxy(&bytes[..len]);
                if !matches!(by_bytes, Ok(None)) {
                    break;
                }
            }
            prop_assert_eq!(by_bytes, read_proxy(&bytes));
        }
    }
}
