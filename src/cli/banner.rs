//! What `throng serve` says about itself when it begins: where it is, and commands that work as they stand.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Shown once, on stdout.
pub(crate) struct Banner<'a> {
    pub(crate) listen: SocketAddr,
    pub(crate) shards: u16,
    pub(crate) flush: &'a str,
    pub(crate) engine: &'a str,
    /// How many connections this host can hold now, and what limits it.
    pub(crate) capacity: &'a str,
    pub(crate) secret: &'a str,
    /// With `--dev`: a token good for this run's tries.
    pub(crate) dev_token: Option<&'a str>,
    /// Where operators look.
    pub(crate) admin: Option<SocketAddr>,
    /// With `--dev`: a key of the API for this run.
    pub(crate) admin_key: Option<&'a str>,
}

impl fmt::Display for Banner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = reachable(self.listen);
        let shards = if self.shards == 1 { "1 shard" } else { &format!("{} shards", self.shards) };
        writeln!(f, "throng {} serves at {}", env!("CARGO_PKG_VERSION"), self.listen)?;
        writeln!(f)?;
        writeln!(f, "  rooms      ws://{at}/ws")?;
        writeln!(f, "  runs on    {shards}, {}, flush {}", self.engine, self.flush)?;
        writeln!(f, "  this host  {}", self.capacity)?;
        writeln!(f, "  secret     {}", self.secret)?;
        match self.admin {
            Some(admin) => writeln!(f, "  admin      http://{}/metrics", reachable(admin))?,
            None => writeln!(f, "  admin      off")?,
        }
        let Some(token) = self.dev_token else { return Ok(()) };
        writeln!(f)?;
        writeln!(f, "  Talk to yourself in two tabs:")?;
        writeln!(f, "    http://{at}/?user=ann&room=lobby")?;
        writeln!(f, "    http://{at}/?user=bob&room=lobby")?;
        writeln!(f)?;
        writeln!(f, "  A token for `guest`, good for a day:")?;
        writeln!(f, "    {token}")?;
        writeln!(f)?;
        writeln!(f, "  In a terminal (the answer is a 101 and the `welcome`; curl stops after 2 s):")?;
        writeln!(
            f,
            "    curl -siN --output - --max-time 2 -H 'Connection: Upgrade' -H 'Upgrade: websocket' \
             -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' \
             'http://{at}/ws?token={token}'"
        )?;
        writeln!(f)?;
        writeln!(f, "  With websocat, then say {JOIN}:")?;
        writeln!(f, "    websocat 'ws://{at}/ws?token={token}'")?;
        let (Some(admin), Some(key)) = (self.admin.map(reachable), self.admin_key) else { return Ok(()) };
        writeln!(f)?;
        writeln!(f, "  Speak as a backend, with a key for this run:")?;
        writeln!(f, "    THRONG_API_KEY={key} throng publish --admin http://{admin} lobby '\"hello\"'")
    }
}

/// An address that can be connected to: 0.0.0.0 is not one.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, listen.port())
}

const JOIN: &str = r#"{"type":"join","id":1,"room":"lobby","presence":true}"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_somewhere_and_tokens_are_shown_under_dev_only() {
        let banner = |dev_token| Banner {
            listen: "0.0.0.0:8080".parse().unwrap(),
            shards: 2,
            flush: "eager",
            engine: "io_uring",
            capacity: "can hold 19,000 connections now; open files (ulimit -n) are the limit",
            secret: "from the environment",
            dev_token,
            admin: Some("0.0.0.0:8081".parse().unwrap()),
            admin_key: dev_token.map(|_| "throng_k"),
        };
        let shown = banner(Some("a.b.c")).to_string();
        for part in [
            "http://127.0.0.1:8081/metrics",
            "THRONG_API_KEY=throng_k throng publish --admin http://127.0.0.1:8081",
            "http://127.0.0.1:8080/?user=ann&room=lobby",
            "ws?token=a.b.c'",
            "19,000",
            "2 shards, io_uring, flush eager",
        ] {
            assert!(shown.contains(part), "{part} is not in {shown}");
        }
        let shown = banner(None).to_string();
        assert!(!shown.contains("token") && !shown.contains("API_KEY"));
    }
}
