//! Which pages may connect: the `Origin` of a browser against what the operator allows (RFC 6454; RFC 6455, 10.2).
//!
//! The rules:
//! 1. No `Origin`: not a browser (all of them send it with a WebSocket), so there is no page to be wary of. Let in; but a
//!    cookie such a client sends is no carrier of a token.
//! 2. `Origin: null`: a page without an address (a sandboxed frame, a file, a redirect across sites). Anybody's page can
//!    make one, so it can be neither allowed nor the same host. Refused, always.
//! 3. Anything else must be one `scheme://host[:port]`, and equal an allowed one in all three, a default port written or
//!    not. Names are compared without case and never resolved; there are no wildcards for parts of a name.
//!
//! Promises: what it does not understand it refuses. It never sees a token.

use core::net::IpAddr;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

/// Who may connect from a browser. A clone is a pointer. Default: the same host, and nothing else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origins {
    listed: Arc<[Origin]>,
    same_host: bool,
    any_localhost: bool,
    any: bool,
}

/// One entry of the list: `https://app.example`, `http://localhost:5173`, `capacitor://localhost`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Origin {
    scheme: Box<str>,
    host: Box<str>,
    /// The scheme's own where none is written; 0 where it has none.
    port: u16,
}

/// Why a text is no origin. The text is for the operator who wrote it.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum BadOrigin {
    #[error("`{0}` is no origin: write scheme://host or scheme://host:port, without path, or `same-host`, or `*`")]
    Malformed(String),
    #[error("`{0}` has a wildcard: list each origin, or `*` alone for all (a cookie is then no carrier of a token)")]
    Wildcard(String),
    #[error("`null` cannot be allowed: any page can make itself one without an origin")]
    Null,
}

/// What came of looking at a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checked {
    /// No `Origin`: not a browser.
    Absent,
    /// Allowed by the same host, `--dev` or `*`.
    Allowed,
    /// Allowed because it is listed by name: only then a cookie speaks for its page.
    Listed,
    Refused,
}

impl Default for Origins {
    fn default() -> Self {
        Self { listed: Arc::from([]), same_host: true, any_localhost: false, any: false }
    }
}

impl Origins {
    /// Exactly these; `same-host` keeps the default beside them, `*` allows every page that has an origin.
    pub fn parse<T: AsRef<str>>(entries: &[T]) -> Result<Self, BadOrigin> {
        let (mut origins, mut listed) = (Self { same_host: false, ..Self::default() }, Vec::new());
        for entry in entries.iter().map(AsRef::as_ref) {
            match entry {
                "same-host" => origins.same_host = true,
                "*" => origins.any = true,
                "null" => return Err(BadOrigin::Null),
                entry if entry.contains('*') => return Err(BadOrigin::Wildcard(entry.to_owned())),
                entry => listed.push(entry.parse()?),
            }
        }
        Ok(Self { listed: listed.into(), ..origins })
    }

    /// What [`Origins::parse`] would be given to come to the same.
    pub fn entries(&self) -> Vec<String> {
        let words = [(self.same_host, "same-host"), (self.any, "*")];
        let words = words.into_iter().filter(|(holds, _)| *holds).map(|(_, word)| word.to_owned());
        words.chain(self.listed.iter().map(Origin::to_string)).collect()
    }

    /// The same, and with `--dev` also every page that this machine serves to itself, at any port.
    pub fn with_any_localhost(self) -> Self {
        Self { any_localhost: true, ..self }
    }

    /// Whether somebody made a list: without one a cookie is no carrier.
    pub fn has_list(&self) -> bool {
        !self.listed.is_empty()
    }

    /// Looks at a request by its `Origin` (several lines joined by a comma are no origin) and its `Host`.
    pub fn check(&self, origin: Option<&str>, host: Option<&str>) -> Checked {
        let Some(origin) = origin else { return Checked::Absent };
        let Ok(origin) = origin.parse::<Origin>() else { return Checked::Refused };
        if self.listed.contains(&origin) {
            Checked::Listed
        } else if self.any
            || self.same_host && host.is_some_and(|host| origin.is_served_by(host))
            || self.any_localhost && origin.is_localhost()
        {
            Checked::Allowed
        } else {
            Checked::Refused
        }
    }
}

impl Origin {
    /// Whether a page of this origin came from this `Host`. The scheme is the proxy's secret, so either will do; a `Host`
    /// without a port means the scheme's own.
    fn is_served_by(&self, host: &str) -> bool {
        if !matches!(&*self.scheme, "http" | "https") {
            return false;
        }
        let Some((name, port)) = split_port(host) else { return false };
        as_compared(name) == *self.host && port.unwrap_or_else(|| default_port(&self.scheme)) == self.port
    }

    fn is_localhost(&self) -> bool {
        let bare = self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&self.host);
        let by_name = &*self.host == "localhost" || self.host.ends_with(".localhost");
        matches!(&*self.scheme, "http" | "https")
            && (by_name || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()))
    }
}

impl FromStr for Origin {
    type Err = BadOrigin;

    fn from_str(text: &str) -> Result<Self, BadOrigin> {
        let malformed = || BadOrigin::Malformed(text.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(malformed)?;
        let starts_well = scheme.starts_with(|first: char| first.is_ascii_alphabetic());
        if !starts_well || !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)) {
            return Err(malformed());
        }
        let (host, port) = split_port(rest).ok_or_else(malformed)?;
        if text.len() > ORIGIN_BYTES_MAX || !is_host(host) {
            return Err(malformed());
        }
        let scheme = scheme.to_ascii_lowercase();
        let port = port.unwrap_or_else(|| default_port(&scheme));
        Ok(Self { scheme: scheme.into(), host: as_compared(host).into(), port })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        if self.port == default_port(&self.scheme) { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// Host and port of `host`, `host:port`, `[v6]`, `[v6]:port`.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.rfind(']') {
        Some(end) => (&authority[..=end], &authority[end + 1..]),
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    if port.is_empty() {
        return Some((host, None));
    }
    let digits = port.strip_prefix(':')?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten().map(|port| (host, Some(port)))
}

fn is_host(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match bare {
        Some(v6) => v6.parse::<core::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)),
    }
}

/// A host in the one form in which it is compared: without case, and an IPv6 address as short as it can be written
/// (RFC 5952), which is how browsers write it, whoever wrote the list.
fn as_compared(host: &str) -> String {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match bare.and_then(|v6| v6.parse::<core::net::Ipv6Addr>().ok()) {
        Some(v6) => format!("[{v6}]"),
        None => host.to_ascii_lowercase(),
    }
}

fn default_port(scheme: &str) -> u16 {
    match scheme {
        "http" | "ws" => 80,
        "https" | "wss" => 443,
        _ => 0,
    }
}

/// A name has at most 253 bytes; the rest is scheme and port.
const ORIGIN_BYTES_MAX: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(origins: &Origins, origin: &str, host: &str) -> Checked {
        origins.check(Some(origin), Some(host))
    }

    #[test]
    fn without_a_list_only_the_same_host_is_let_in() {
        let default = Origins::default();
        let table = [
            ("https://app.example", "app.example", true),
            ("http://app.example", "app.example", true),
            ("https://APP.example", "app.EXAMPLE:443", true),
            ("http://app.example:8080", "app.example:8080", true),
            ("http://[::1]:8080", "[::1]:8080", true),
            ("https://app.example", "app.example:8443", false),
            ("https://app.example:8443", "app.example", false),
            ("https://app.example", "app.example:80", false),
            ("https://evil.example", "app.example", false),
            ("https://app.example.evil.example", "app.example", false),
            ("https://evil-app.example", "app.example", false),
            ("file://app.example", "app.example", false),
            ("http://localhost:5173", "127.0.0.1:8080", false),
        ];
        for (origin, host, allowed) in table {
            let expected = if allowed { Checked::Allowed } else { Checked::Refused };
            assert_eq!(check(&default, origin, host), expected, "{origin} at {host}");
        }
        assert_eq!(default.check(Some("https://app.example"), None), Checked::Refused);
        assert!(!default.has_list());
    }

    #[test]
    fn a_list_is_exact_in_scheme_host_and_port_and_replaces_the_default() {
        let origins =
            Origins::parse(&["https://app.example", "http://localhost:5173", "capacitor://localhost"]).unwrap();
        for good in [
            "https://app.example",
            "https://app.example:443",
            "HTTPS://App.Example",
            "http://localhost:5173",
            "capacitor://localhost",
        ] {
            assert_eq!(check(&origins, good, "x"), Checked::Listed, "{good}");
        }
        for bad in [
            "http://app.example",
            "https://app.example:8443",
            "https://sub.app.example",
            "https://app.example.",
            "http://localhost",
            "capacitor://localhost:1",
            "https://x",
        ] {
            assert_eq!(check(&origins, bad, "x"), Checked::Refused, "{bad}");
        }
        assert!(origins.has_list());
        let both = Origins::parse(&["https://app.example", "same-host"]).unwrap();
        assert_eq!(check(&both, "https://x", "x"), Checked::Allowed);
        assert_eq!(check(&both, "https://app.example", "x"), Checked::Listed);
        let all = Origins::parse(&["*"]).unwrap();
        assert_eq!((check(&all, "https://any.example", "x"), all.has_list()), (Checked::Allowed, false));
    }

    #[test]
    fn an_address_is_one_origin_however_it_is_written() {
        let origins = Origins::parse(&["http://[2001:0db8:0::0001]:8080", "http://[::FFFF:192.0.2.1]"]).unwrap();
        for good in ["http://[2001:db8::1]:8080", "http://[2001:DB8:0:0::1]:8080", "http://[::ffff:c000:201]"] {
            assert_eq!(check(&origins, good, "x"), Checked::Listed, "{good}");
        }
        assert_eq!(check(&origins, "http://[2001:db8::2]:8080", "x"), Checked::Refused);
        assert_eq!(origins.entries()[0], "http://[2001:db8::1]:8080");
        // As browsers write it, where the proxy wrote it otherwise.
        let default = Origins::default();
        assert_eq!(check(&default, "http://[::ffff:c000:201]", "[::ffff:192.0.2.1]"), Checked::Allowed);
        assert_eq!(check(&default, "https://[2001:db8::1]", "[2001:DB8:0::1]:443"), Checked::Allowed);
    }

    #[test]
    fn null_and_what_is_no_origin_is_refused_whatever_is_allowed_and_absence_is_no_browser() {
        for origins in [Origins::default().with_any_localhost(), Origins::parse(&["*"]).unwrap()] {
            for bad in [
                "null",
                "",
                "https://",
                "https://a/",
                "https://a b",
                "https://a, https://a",
                "https://u@a",
                "https://a:",
                "https://a:+1",
                "https://a:65536",
                "https://[::1",
                "https://[x]",
                "://a",
                "1://a",
                "a",
            ] {
                assert_eq!(check(&origins, bad, bad.trim_start_matches("https://")), Checked::Refused, "{bad}");
            }
            assert_eq!(origins.check(None, Some("x")), Checked::Absent);
        }
    }

    #[test]
    fn dev_lets_in_whatever_this_machine_serves_itself() {
        let dev = Origins::default().with_any_localhost();
        for good in [
            "http://localhost",
            "http://localhost:5173",
            "https://app.localhost:3000",
            "http://127.0.0.1:1",
            "http://[::1]:3000",
        ] {
            assert_eq!(check(&dev, good, "10.0.0.1"), Checked::Allowed, "{good}");
        }
        for bad in ["http://localhost.evil.example", "http://10.0.0.7", "http://xlocalhost", "capacitor://localhost"] {
            assert_eq!(check(&dev, bad, "10.0.0.1"), Checked::Refused, "{bad}");
        }
    }

    #[test]
    fn an_operator_is_told_what_is_wrong_with_an_entry() {
        assert_eq!(Origins::parse(&["null"]), Err(BadOrigin::Null));
        assert!(matches!(Origins::parse(&["https://*.example"]), Err(BadOrigin::Wildcard(_))));
        for bad in ["app.example", "https://app.example/", "https://app.example/path", ""] {
            assert!(matches!(Origins::parse(&[bad]), Err(BadOrigin::Malformed(_))), "{bad}");
        }
        let shown: Vec<String> =
            ["https://a:443", "http://b:81"].iter().map(|o| o.parse::<Origin>().unwrap().to_string()).collect();
        assert_eq!(shown, ["https://a", "http://b:81"]);
        assert_eq!(Origins::default().entries(), ["same-host"]);
        let origins = Origins::parse(&["https://a:443", "*", "same-host"]).unwrap();
        assert_eq!(Origins::parse(&origins.entries()), Ok(origins));
    }
}
