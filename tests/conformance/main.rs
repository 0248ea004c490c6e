//! RFC 6455 and RFC 7692 on a real socket, against `/echo`: the cases of the Autobahn|Testsuite as a table, and some of
//! our own.
//!
//! `docs/protocol.md` says what `/echo` is; `tuning/autobahn` runs the suite itself (it needs Python 2). What is here runs
//! everywhere, and is stricter: everything that is heard until the end must be exactly what was expected.

mod case;
mod closing;
mod deflating;
mod extension;
mod framing;
#[path = "../support/raw.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod raw;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod support;
mod unicode;

use std::collections::BTreeSet;

use raw::Raw;
use support::until::{PATIENCE, connect};
use support::{serve, serve_by, small};
use throng::base::Limits;
use tungstenite::Message;

/// What one message may have here: the suite's cases up to 1 MiB fit.
const MESSAGE_BYTES_MAX: usize = (1 << 20) + 1;
const FRAGMENTS_MAX: usize = 1_024;

#[test]
fn every_case_ends_as_it_must() {
    let limits = Limits { message_bytes_max: MESSAGE_BYTES_MAX, fragments_max: FRAGMENTS_MAX, ..small() };
    let (running, _handed) = serve_by(1, limits, |rules| rules.echo = true, |_| {});
    let address = running.address();
    let cases: Vec<_> =
        [framing::cases(), unicode::cases(), closing::cases(), deflating::cases()].into_iter().flatten().collect();
    let ids: BTreeSet<&str> = cases.iter().map(|case| case.id.as_str()).collect();
    assert_eq!(ids.len(), cases.len(), "each case has an id of its own");
    let wrong: Vec<String> = cases.iter().filter_map(|case| case.run(address).err()).collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    println!("{} cases", cases.len());
    running.stop().unwrap();
}

/// What the suite's cases 13 are about: offers, and what is made of them.
#[test]
fn offers_of_compression_are_agreed_on_or_declined_and_the_connection_goes_on() {
    let (running, _handed) = serve_by(1, small(), |rules| rules.echo = true, |_| {});
    let agreed = |offer: &str| deflating::agreed(running.address(), &format!("Sec-WebSocket-Extensions: {offer}"));
    let ours = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    for offer in [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; client_max_window_bits=9",
        "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; server_max_window_bits=9, permessage-deflate; client_max_window_bits",
        "x-webkit-deflate-frame, permessage-deflate",
    ] {
        let (answer, bytes) = agreed(offer);
        assert_eq!(answer.as_deref(), Some(ours), "{offer}");
        assert!(bytes < 3_000, "{offer}: {bytes}");
    }
    let (answer, _) = agreed("permessage-deflate; server_max_window_bits=15");
    assert_eq!(answer, Some(format!("{ours}; server_max_window_bits=15")));
    for offer in
        ["permessage-deflate; server_max_window_bits=9", "permessage-deflate; level=1", "x-webkit-deflate-frame"]
    {
        assert_eq!(agreed(offer).0, None, "{offer}");
    }
    let line = "Sec-WebSocket-Extensions: permessage-deflate; =";
    let refused = Raw::ask(running.address(), "/echo", &[line]).verdict();
    assert!(matches!(&refused, raw::Seen::Http(400, text) if text.contains("Extensions")), "{refused:?}");
    running.stop().unwrap();
}

#[test]
fn a_server_told_not_to_compress_agrees_on_nothing() {
    let adjust = |rules: &mut throng::shard::Rules| (rules.echo, rules.compression.enabled) = (true, false);
    let (running, _handed) = serve_by(1, small(), adjust, |_| {});
    let (answer, bytes) = deflating::agreed(running.address(), extension::DEFLATE);
    assert_eq!((answer, bytes), (None, 10_000));
    running.stop().unwrap();
}

#[test]
fn a_client_that_is_not_ours_gets_back_what_it_says() {
    let (running, _handed) = serve_by(2, small(), |rules| rules.echo = true, |_| {});
    let address = running.address();
    for _ in 0..4 {
        let (mut socket, answer) = tungstenite::client(format!("ws://{address}/echo"), connect(address)).unwrap();
        assert!(answer.headers().get("Sec-WebSocket-Protocol").is_none());
        for len in [0, 1, 125, 126, 65_535, 65_536, 1_000_000] {
            let letters: String = "aé😀".chars().cycle().take(len / 4).collect();
            for said in [Message::text(letters), Message::binary(vec![7; len])] {
                socket.send(said.clone()).unwrap();
                assert!(socket.read().unwrap() == said, "{len}");
            }
        }
        socket.close(None).unwrap();
        assert!(matches!(socket.read().unwrap(), Message::Close(_)));
        assert!(matches!(socket.read(), Err(tungstenite::Error::ConnectionClosed)));
    }
    running.stop().unwrap();
}

#[test]
fn where_nobody_mounted_it_the_socket_is_handed_over() {
    let (running, handed) = serve(1, small());
    let asking = Raw::ask(running.address(), "/echo", &[]);
    let given = handed.recv_timeout(PATIENCE).expect("somebody else answers");
    assert!(given.read.starts_with(b"GET /echo HTTP/1.1\r\n"));
    drop((asking, given));
    running.stop().unwrap();
}
