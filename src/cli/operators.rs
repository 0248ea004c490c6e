//! The admin listener and its keys, from what was typed to a bound socket.
//!
//! Promises: an address in use is said before anything runs; under `--dev` alone a key is made for the run, and a port is
//! looked for.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

use throng::control::{AdminSettings, ApiKey, NewKey};

use super::Failure;
use super::args::{AdminArgs, AdminListen};

/// The admin listener, ready to be served.
#[derive(Debug)]
pub(crate) struct Operators {
    /// `None`: it is off.
    pub(crate) listener: Option<TcpListener>,
    pub(crate) settings: AdminSettings,
    /// `--dev`: a key for the run, to be shown.
    pub(crate) dev_key: Option<String>,
}

impl AdminArgs {
    /// What they come to, with the defaults.
    pub(crate) fn settings(&self) -> Result<AdminSettings, Failure> {
        let mut settings = AdminSettings { on_public: self.admin_on_public, ..AdminSettings::default() };
        match self.admin_listen {
            Some(AdminListen::Off) => settings.listen = None,
            Some(AdminListen::At(address)) => settings.listen = Some(address),
            None => {}
        }
        for text in &self.api_key_sha256 {
            settings
                .keys
                .push(ApiKey::parse(text).map_err(|why| Failure::Misused(format!("--api-key-sha256: {why}")))?);
        }
        if let Some(path) = &self.api_keys_file {
            let at = path.display();
            let text = fs::read_to_string(path)
                .map_err(|error| Failure::Misused(format!("the file of API keys {at} cannot be read: {error}")))?;
            let keys = ApiKey::parse_file(&text).map_err(|why| Failure::Misused(format!("{at}, {why}")))?;
            settings.keys.extend(keys);
        }
        let mut names: Vec<&str> = settings.keys.iter().map(ApiKey::name).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|two| two[0] == two[1]) {
            return Err(Failure::Misused(format!("two API keys are called {}: give each a name of its own", twice[0])));
        }
        Ok(settings)
    }
}

impl Operators {
    /// Binds. `chosen`: the address was asked for, so no other will do.
    pub(crate) fn bind(mut settings: AdminSettings, chosen: bool, dev: bool) -> Result<Self, Failure> {
        let mut dev_key = None;
        if dev {
            let new = NewKey::draw().map_err(Failure::Broken)?;
            settings.keys.push(ApiKey::new(DEV_KEY, &new.sha256).map_err(Failure::Misused)?);
            dev_key = Some(new.text);
        }
        let listener = match settings.listen {
            None => None,
            Some(address) => Some(listen(address, dev && !chosen)?),
        };
        Ok(Self { listener, settings, dev_key })
    }

    /// Where it stands; the port is real even if 0 was asked for.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.listener.as_ref().and_then(|listener| listener.local_addr().ok())
    }
}

fn listen(address: SocketAddr, or_elsewhere: bool) -> Result<TcpListener, Failure> {
    match TcpListener::bind(address) {
        Err(error) if error.kind() == ErrorKind::AddrInUse && or_elsewhere => {
            TcpListener::bind(SocketAddr::new(address.ip(), 0))
        }
        bound => bound,
    }
    .map_err(|error| {
        Failure::Broken(format!(
            "the admin listener cannot be at {address}: {error}. Give another --admin-listen, or --admin-listen off"
        ))
    })
}

const DEV_KEY: &str = "dev";

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn settings(listen: Option<&str>, keys: &[&str]) -> Result<AdminSettings, String> {
        let args = AdminArgs {
            admin_listen: listen.map(|text| text.parse().unwrap()),
            admin_on_public: false,
            api_key_sha256: keys.iter().map(|key| (*key).to_owned()).collect(),
            api_keys_file: None,
        };
        args.settings().map_err(|failure| match failure {
            Failure::Broken(sentence) | Failure::Misused(sentence) => sentence,
        })
    }

    #[test]
    fn it_stands_at_home_unless_it_is_told_otherwise() {
        let home = settings(None, &[]).unwrap();
        assert_eq!(home.listen, Some("127.0.0.1:8081".parse().unwrap()));
        assert!(!home.on_public && home.keys.is_empty());
        assert_eq!(settings(Some("off"), &[]).unwrap().listen, None);
        let (a, b) = (format!("a={}", "0".repeat(64)), format!("b={}", "1".repeat(64)));
        assert_eq!(settings(None, &[&a, &b]).unwrap().keys.len(), 2);
        assert!(settings(None, &[&a, &a]).unwrap_err().contains("called a"));
        assert!(settings(None, &["a"]).unwrap_err().contains("--api-key-sha256"));
    }

    #[test]
    fn a_port_in_use_is_an_error_where_it_was_asked_for_and_another_one_under_dev() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let settings = AdminSettings { listen: taken.local_addr().ok(), ..AdminSettings::default() };
        for (chosen, dev) in [(true, true), (true, false), (false, false)] {
            let refused = Operators::bind(settings.clone(), chosen, dev);
            assert!(matches!(refused, Err(Failure::Broken(sentence)) if sentence.contains("--admin-listen")));
        }
        let elsewhere = Operators::bind(settings.clone(), false, true).unwrap();
        assert_ne!(elsewhere.address(), settings.listen);
        assert!(elsewhere.dev_key.is_some() && elsewhere.settings.keys.len() == 1);
    }
}
