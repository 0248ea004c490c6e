//! The admin listener and its keys, from settings to a bound socket.
//!
//! Promises: an address in use is said before anything runs, and shared only with a server that this one takes over from;
//! under `--dev` alone a key is made for the run, and a port is looked for.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};

use throng::config::Admin;
use throng::control::{ApiKey, NewKey};
use throng::runtime::accept;

use super::Failure;

/// The admin listener, ready to be served.
#[derive(Debug)]
pub(crate) struct Operators {
    /// `None`: it is off.
    pub(crate) listener: Option<TcpListener>,
    /// `--dev`: a key for the run, and its text, to be shown.
    pub(crate) dev_key: Option<(ApiKey, String)>,
}

/// All keys of the API, those in the file, too.
pub(crate) fn keys(admin: &Admin) -> Result<Vec<ApiKey>, Failure> {
    let mut keys = admin.keys.clone();
    if let Some(path) = &admin.keys_file {
        let at = path.display();
        let text = fs::read_to_string(path)
            .map_err(|error| Failure::Misused(format!("the file of API keys {at} cannot be read: {error}")))?;
        keys.extend(ApiKey::parse_file(&text).map_err(|why| Failure::Misused(format!("{at}, {why}")))?);
    }
    let mut names: Vec<&str> = keys.iter().map(ApiKey::name).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|two| two[0] == two[1]) {
        return Err(Failure::Misused(format!("two API keys are called {}: give each a name of its own", twice[0])));
    }
    Ok(keys)
}

impl Operators {
    /// Binds. `takeover`: a server that is about to leave may be there. `or_elsewhere`: any other port will do.
    pub(crate) fn bind(
        address: Option<SocketAddr>,
        takeover: bool,
        or_elsewhere: bool,
        dev: bool,
    ) -> Result<Self, Failure> {
        let dev_key = dev.then(dev_key).transpose()?;
        let listener = address.map(|address| listen(address, takeover, or_elsewhere)).transpose()?;
        Ok(Self { listener, dev_key })
    }

    /// Where it stands; the port is real even if 0 was asked for.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.listener.as_ref().and_then(|listener| listener.local_addr().ok())
    }
}

fn listen(address: SocketAddr, takeover: bool, or_elsewhere: bool) -> Result<TcpListener, Failure> {
    let claimed = if takeover { Ok(()) } else { accept::claim(address) };
    match claimed.and_then(|()| accept::bind(address, BACKLOG)) {
        Err(error) if error.kind() == ErrorKind::AddrInUse && or_elsewhere => {
            accept::bind(SocketAddr::new(address.ip(), 0), BACKLOG)
        }
        bound => bound,
    }
    .map_err(|error| refused(address, &error))
}

fn refused(address: SocketAddr, error: &io::Error) -> Failure {
    Failure::Broken(format!(
        "the admin listener cannot be at {address}: {error}. Give another --admin-listen, or --admin-listen off; \
         --takeover shares it with a throng of this user that is about to leave"
    ))
}

fn dev_key() -> Result<(ApiKey, String), Failure> {
    let new = NewKey::draw().map_err(Failure::Broken)?;
    Ok((ApiKey::new(DEV_KEY, &new.sha256).map_err(Failure::Misused)?, new.text))
}

const DEV_KEY: &str = "dev";
/// Operators, not crowds.
const BACKLOG: i32 = 128;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn each_key_has_a_name_of_its_own_wherever_it_stands() {
        let path = std::env::temp_dir().join(format!("throng-api-keys-{}", std::process::id()));
        let (zeros, ones) = ("0".repeat(64), "1".repeat(64));
        let key = ApiKey::parse(&format!("a={zeros}")).unwrap();
        let admin = Admin { keys: vec![key], keys_file: Some(path.clone()), ..Admin::default() };
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            keys(&admin).map_err(|failure| failure.sentence().to_owned())
        };
        assert_eq!(read(&format!("# ours\nb={ones}\n")).unwrap().len(), 2);
        assert!(read(&format!("a={ones}")).unwrap_err().contains("called a"));
        assert!(read("\nb=1\n").unwrap_err().contains("line 2"));
        fs::remove_file(&path).unwrap();
        assert!(matches!(keys(&admin), Err(Failure::Misused(sentence)) if sentence.contains("cannot be read")));
    }

    #[test]
    fn a_port_in_use_is_an_error_where_it_was_asked_for_and_another_one_under_dev() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = taken.local_addr().ok();
        for dev in [true, false] {
            let refused = Operators::bind(address, false, false, dev);
            assert!(matches!(refused, Err(Failure::Broken(sentence)) if sentence.contains("--takeover")));
        }
        let refused = Operators::bind(address, true, false, false);
        assert!(matches!(refused, Err(Failure::Broken(_))), "only a throng shares its address");
        let elsewhere = Operators::bind(address, false, true, true).unwrap();
        assert_ne!(elsewhere.address(), address);
        assert!(elsewhere.dev_key.is_some());
        let next = Operators::bind(elsewhere.address(), true, false, false).unwrap();
        assert_eq!(next.address(), elsewhere.address(), "shared by two of us");
    }
}
