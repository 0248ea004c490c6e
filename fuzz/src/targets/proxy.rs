//! What a proxy says: PROXY headers of both versions, and `X-Forwarded-For`.

use core::net::{IpAddr, Ipv4Addr};

use throng::base::Nets;
use throng::wire::{BadProxy, PROXY_BYTES_MAX, Proxied, Proxies, read_proxy};

use super::feed::Feed;

pub(crate) fn run(data: &[u8]) -> bool {
    let mut feed = Feed::new(data);
    let cut = feed.below(16) + 1;
    let bytes = feed.rest();
    // In pieces it must come to the same.
    let mut came = cut.min(bytes.len());
    let pieces = loop {
        match read_proxy(&bytes[..came]) {
            Ok(None) if came < bytes.len() => came = bytes.len().min(came + cut),
            done @ (Ok(_) | Err(_)) => break done,
        }
    };
    let whole = read_proxy(bytes);
    match (&whole, &pieces) {
        // Whichever is wrong first.
        (Err(_), Err(_)) => {}
        _ => assert_eq!(whole, pieces),
    }
    assert!(!matches!(whole, Err(BadProxy::Missing)) || !bytes.starts_with(b"PROXY "));
    forwarded(bytes);
    let Ok(Some(Proxied { len, client })) = whole else { return false };
    assert!(len <= bytes.len() && len <= PROXY_BYTES_MAX);
    matches!(client, Some(IpAddr::V6(_))) && bytes[0] != b'P' && len == 16 + 36 + 3
}

/// Whoever is named, it is the peer, or somebody the line names; and no proxy's word is taken from one that is not trusted.
fn forwarded(line: &[u8]) {
    let (trusted, stranger) = (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)));
    let nets = Nets::parse(&["10.0.0.0/8", "2001:db8::/32"]).expect("good nets");
    let proxies = Proxies { trusted: nets, protocol: false };
    assert_eq!(proxies.client(stranger, std::iter::once(line)), stranger);
    let client = proxies.client(trusted, std::iter::once(line));
    assert!(client == trusted || !line.is_empty());
}
