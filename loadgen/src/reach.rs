//! How a server is reached: its address taken apart, and the secret by which tokens are signed.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// An address of the server, and how it is asked there. With several, rooms take them in turn: all of a room at one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    /// The `Host` header and the request target.
    pub(crate) host: String,
    pub(crate) target: String,
}

/// At least one.
pub(crate) fn doors(urls: &[String]) -> Result<Vec<Door>> {
    let mut doors: Vec<Door> = Vec::new();
    for url in urls.iter().map(|url| url.trim()) {
        let (host, target) = split_url(url)?;
        let address = host.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
        let address = address.with_context(|| format!("--url: cannot resolve {host}"))?;
        ensure!(doors.iter().all(|door| door.address != address), "--url: {address} stands there twice");
        let first = doors.first().map_or(address, |door| door.address);
        let alike = (first.is_ipv4(), first.ip().is_loopback()) == (address.is_ipv4(), address.ip().is_loopback());
        ensure!(alike, "--url: {first} and {address} cannot be reached from the same local addresses");
        doors.push(Door { address, host, target });
    }
    ensure!(!doors.is_empty(), "--url: no address");
    Ok(doors)
}

/// The secret by which tokens are signed, given or in a file.
pub(crate) fn secret_of(given: Option<&str>, file: Option<&Path>) -> Result<Vec<u8>> {
    if let Some(secret) = given {
        return Ok(secret.as_bytes().to_vec());
    }
    let Some(path) = file else {
        bail!("the server's secret is needed to sign tokens: --secret-file FILE or THRONG_LOAD_SECRET");
    };
    let bytes = std::fs::read(path).with_context(|| format!("--secret-file {}", path.display()))?;
    // As the server reads it: the end of the line is not part of the secret, anything else is.
    let secret = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    ensure!(!secret.is_empty(), "--secret-file {} is empty", path.display());
    Ok(secret.to_vec())
}

/// `host:port` and the request target of a `ws://` address.
pub(crate) fn split_url(url: &str) -> Result<(String, String)> {
    let rest = url.strip_prefix("ws://").with_context(|| format!("--url {url}: only ws:// is spoken"))?;
    let (host, target) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    ensure!(
        !host.is_empty() && !rest.contains(|c: char| c.is_whitespace() || c.is_control()),
        "--url {url}: no address"
    );
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let host = if has_port { host.to_owned() } else { format!("{host}:80") };
    Ok((host, if target.is_empty() { "/".to_owned() } else { target.to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_doors_are_different_and_alike() {
        let said = |urls: &str| {
            doors(&urls.split(',').map(str::to_owned).collect::<Vec<_>>()).map_err(|error| error.to_string())
        };
        let two = said("ws://127.0.0.1:8080/ws, ws://127.0.0.1:8081/ws").expect("two doors");
        assert_eq!(two.iter().map(|door| door.address.port()).collect::<Vec<_>>(), [8080, 8081]);
        for (urls, word) in [
            ("ws://127.0.0.1:1/ws,ws://127.0.0.1:1/", "twice"),
            ("ws://127.0.0.1:1/ws,ws://192.0.2.1:1/ws", "same local addresses"),
            ("ws://127.0.0.1:1/ws,", "only ws://"),
        ] {
            assert!(said(urls).is_err_and(|error| error.contains(word)), "{urls}");
        }
    }

    #[test]
    fn an_address_is_taken_apart() {
        let parts = |url| split_url(url).ok();
        assert_eq!(parts("ws://127.0.0.1:8080/ws"), Some(("127.0.0.1:8080".to_owned(), "/ws".to_owned())));
        assert_eq!(parts("ws://localhost"), Some(("localhost:80".to_owned(), "/".to_owned())));
        assert_eq!(parts("ws://[::1]:9/x?y=1"), Some(("[::1]:9".to_owned(), "/x?y=1".to_owned())));
    }
}
