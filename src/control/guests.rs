//! How many of the public HTTP connections one address holds.
//!
//! A socket that was handed over counts no longer at its shard. Without a bound here one address could hold every
//! connection there is, by a small request now and then, and nobody else's health check would be answered.
//!
//! Promises: whoever is counted is given back when its [`Guest`] is dropped; the table is as long as connections are open.
//! Not counted: this host, and trusted proxies, which are many behind one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::FrontDoor;
use crate::base::counted_as;

/// Connections by address. A clone is a pointer.
#[derive(Clone, Default, Debug)]
pub(super) struct Guests(Arc<Mutex<HashMap<u64, usize>>>);

/// One connection; it is counted until this is dropped.
#[derive(Debug)]
pub(super) struct Guest {
    guests: Guests,
    /// `None`: it is not counted.
    address: Option<u64>,
}

/// The address has as many as it may.
#[derive(Debug)]
pub(super) struct TooMany;

impl Guests {
    /// Counts one more, unless it is one too many. `named`: the peer, or whom a PROXY header named.
    pub(super) fn take_in(&self, front: &FrontDoor, named: IpAddr) -> Result<Guest, TooMany> {
        let guest = |address| Guest { guests: self.clone(), address };
        if named.to_canonical().is_loopback() || front().1.trusted.contains(named) {
            return Ok(guest(None));
        }
        let address = counted_as(named);
        let mut by_address = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = by_address.entry(address).or_default();
        if *count >= PER_ADDRESS_MAX {
            return Err(TooMany);
        }
        *count += 1;
        Ok(guest(Some(address)))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut by_address = self.guests.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&address);
            }
        }
    }
}

/// An eighth of all: more than a browser or a backend opens at a time.
pub(super) const PER_ADDRESS_MAX: usize = super::CONNECTIONS_MAX / 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Nets;
    use crate::wire::{Origins, Proxies};

    #[test]
    fn an_address_has_its_share_and_gets_it_back_and_proxies_are_not_counted() {
        let trusted = Nets::parse(&["10.0.0.0/8"]).unwrap();
        let front: FrontDoor =
            Arc::new(move || (Origins::default(), Proxies { trusted: trusted.clone(), protocol: false }));
        let guests = Guests::default();
        let take_in = |text: &str| guests.take_in(&front, text.parse().unwrap());
        let mut held: Vec<Guest> = (0..PER_ADDRESS_MAX).map(|_| take_in("2001:db8::1").unwrap()).collect();
        assert!(take_in("2001:db8::2").is_err(), "one /64 is one");
        held.push(take_in("2001:db8:0:1::1").unwrap());
        for many in ["127.0.0.1", "::1", "10.0.0.7"] {
            held.extend((0..=PER_ADDRESS_MAX).map(|_| take_in(many).unwrap()));
        }
        held.clear();
        assert!(guests.0.lock().unwrap().is_empty() && take_in("2001:db8::2").is_ok());
    }
}
