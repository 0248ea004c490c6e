//! Addresses, proxies, and handshakes under way.

use super::*;

fn strict(connections: u32, per_s: u32) -> Limits {
    Limits {
        connections_per_address_max: connections,
        handshakes_per_address_per_s: per_s,
        uncounted: Nets::none(),
        ..Limits::default()
    }
}

#[test]
fn an_address_has_its_share_of_places_and_handshakes_and_gets_them_back() {
    let mut house = House::new(1, strict(2, 0), |_| {});
    let first = house.comes_from(0, "203.0.113.5").unwrap();
    house.comes_from(0, "203.0.113.5").unwrap();
    assert_eq!(house.comes_from(0, "::ffff:203.0.113.5"), Err(CloseReason::AddressFull));
    assert!(house.comes_from(0, "203.0.113.6").is_ok());
    house.vanishes(0, first);
    assert!(house.comes_from(0, "203.0.113.5").is_ok());
    let shard = &house.shards[0];
    assert_eq!(shard.counters().closes(CloseReason::AddressFull), 1);

    let mut house = House::new(1, strict(0, 2), |_| {});
    for peer in ["2001:db8::1", "2001:db8::2"] {
        house.comes_from(0, peer).unwrap();
    }
    assert_eq!(house.comes_from(0, "2001:db8::3"), Err(CloseReason::HandshakeRate), "one /64 is one");
    assert!(house.comes_from(0, "2001:db8:0:1::1").is_ok());
    house.passes(500);
    assert!(house.comes_from(0, "2001:db8::3").is_ok());
}

/// Regression: whom the engine could not take in was told that the server is full and counted as one who vanished.
#[test]
fn who_was_told_that_the_server_is_full_is_counted_so() {
    let mut house = House::new(1, strict(1, 0), |_| {});
    let conn = house.comes_from(0, "203.0.113.5").unwrap();
    house.shards[0].turn_back(conn);
    house.settle();
    assert_eq!(house.reason(0, conn), Some(CloseReason::Full));
    let counted = |reason| house.shards[0].counters().closes(reason);
    assert_eq!([CloseReason::Full, CloseReason::Gone].map(counted), [1, 0]);
    assert!(house.comes_from(0, "203.0.113.5").is_ok(), "it has left nothing behind");
}

#[test]
fn behind_a_trusted_proxy_whom_it_names_is_counted_and_behind_others_the_peer() {
    let trust = |rules: &mut Rules| {
        rules.proxies = Proxies { trusted: Nets::parse(&["10.0.0.0/8"]).unwrap(), protocol: false };
    };
    let mut house = House::new(1, strict(1, 0), trust);
    let mut ask = |peer: &str, hops: &str| {
        let conn = match house.comes_from(0, peer) {
            Ok(conn) => conn,
            Err(reason) => return format!("{reason:?}"),
        };
        house.receives(
            0,
            conn,
            &head("/ws", &[&format!("X-Forwarded-For: {hops}"), &format!("Authorization: Bearer {}", token("ann"))]),
        );
        house.settle();
        house.heard(0, conn).lines().next().unwrap_or_default().to_owned()
    };
    assert!(ask("10.0.0.1", "203.0.113.5").contains("101"));
    assert!(ask("10.0.0.2", "1.1.1.1, 203.0.113.5").contains("429"), "what the client claimed is not looked at");
    assert!(ask("10.0.0.2", "203.0.113.6, 10.9.9.9").contains("101"));
    assert!(ask("10.0.0.2", "10.9.9.9").contains("101"), "proxies themselves are not counted");
    assert!(ask("10.0.0.2", "10.9.9.9").contains("101"));
    assert!(ask("203.0.113.7", "203.0.113.8").contains("101"));
    assert_eq!(ask("203.0.113.7", "203.0.113.9"), "AddressFull", "nobody believes a stranger");
}

#[test]
fn a_proxy_header_is_required_of_the_trusted_and_of_nobody_else() {
    let speak = |rules: &mut Rules| {
        rules.proxies = Proxies { trusted: Nets::parse(&["10.0.0.0/8"]).unwrap(), protocol: true };
    };
    let mut house = House::new(1, strict(1, 0), speak);
    let bearer = format!("Authorization: Bearer {}", token("ann"));
    let request = head("/ws", &[&bearer]);
    let v2 = |command: u8, source: [u8; 4]| {
        let addresses = [&source[..], &[10, 0, 0, 1, 0, 1, 0, 2], &[4, 0, 2, 9, 9]].concat();
        [b"\r\n\r\n\0\r\nQUIT\n", &[0x20 | command, 0x11, 0, addresses.len() as u8][..], &addresses].concat()
    };
    let mut ask = |peer: &str, bytes: &[u8], cut: usize| {
        let conn = house.comes_from(0, peer).unwrap();
        bytes.chunks(cut).for_each(|piece| house.receives(0, conn, piece));
        house.settle();
        let status = house.heard(0, conn).lines().next().unwrap_or_default().to_owned();
        (status, house.reason(0, conn))
    };
    let v1 = b"PROXY TCP4 203.0.113.5 10.0.0.1 1 2\r\n".to_vec();
    let switched = |(status, reason): (String, Option<CloseReason>)| status.contains("101") && reason.is_none();
    assert!(switched(ask("10.0.0.1", &[v1.clone(), request.clone()].concat(), 1)));
    assert!(ask("10.0.0.1", &[v1.clone(), request.clone()].concat(), 7).0.contains("429"));
    assert!(switched(ask("10.0.0.1", &[v2(1, [203, 0, 113, 6]), request.clone()].concat(), 4_000)));
    assert!(ask("10.0.0.1", &[v2(1, [203, 0, 113, 6]), request.clone()].concat(), 1).0.contains("429"));
    // Health checks name nobody, and nobody is counted.
    assert!(switched(ask("10.0.0.1", &[v2(0, [203, 0, 113, 6]), request.clone()].concat(), 3)));
    assert!(switched(ask("10.0.0.1", &[b"PROXY UNKNOWN\r\n".to_vec(), request.clone()].concat(), 3)));
    // The proxy in front of the proxy speaks by the header.
    let chain =
        [b"PROXY TCP4 10.0.0.9 10.0.0.1 1 2\r\n".to_vec(), head("/ws", &[&bearer, "X-Forwarded-For: 203.0.113.6"])];
    assert!(ask("10.0.0.1", &chain.concat(), 50).0.contains("429"));
    for broken in [&request[..], b"PROXY TCP4 nonsense\r\n", b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\0", b"\x16\x03\x01"] {
        assert_eq!(ask("10.0.0.1", broken, 5), (String::new(), Some(CloseReason::BadProxy)), "{broken:?}");
    }
    assert!(ask("203.0.113.50", &[v1, request.clone()].concat(), 4_000).0.contains("400"), "a stranger names nobody");
    assert!(switched(ask("203.0.113.51", &request, 4_000)));
    let v2_of_a_stranger = ask("203.0.113.52", &[v2(1, [1, 1, 1, 1]), request].concat(), 4_000);
    assert!(v2_of_a_stranger.0.contains("400"));
}

#[test]
fn who_becomes_a_proxy_by_a_reload_between_its_header_and_its_request_is_counted_once() {
    let trust = |nets: &[&str]| Proxies { trusted: Nets::parse(nets).unwrap(), protocol: true };
    let mut house = House::new(1, strict(1, 0), |rules| rules.proxies = trust(&["10.0.0.0/8"]));
    let conn = house.comes_from(0, "10.0.0.1").unwrap();
    house.receives(0, conn, b"PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\n");
    let mut rules = Rules::clone(&house.shards[0].config.rules);
    rules.proxies = trust(&["10.0.0.0/8", "192.0.2.0/24"]);
    house.shards[0].handle(house.now, Input::Rules(Arc::new(rules)));
    let bearer = format!("Authorization: Bearer {}", token("ann"));
    house.receives(0, conn, &head("/ws", &[&bearer, "X-Forwarded-For: 203.0.113.5"]));
    house.settle();
    assert!(house.heard(0, conn).contains("welcome"));
    assert_eq!(house.comes_from(0, "203.0.113.5"), Err(CloseReason::AddressFull));
    house.vanishes(0, conn);
    assert_eq!(house.shards[0].addresses.total(), 0);
}

#[test]
fn what_is_handed_over_begins_behind_the_proxy_header_and_says_for_whom() {
    let mut house = House::new(1, Limits::default(), |rules| {
        rules.proxies = Proxies { trusted: Nets::parse(&["10.0.0.0/8"]).unwrap(), protocol: true };
    });
    let conn = house.comes_from(0, "10.0.0.1").unwrap();
    house.receives(0, conn, b"PROXY TCP4 203.0.113.5 10.0.0.1 1 2\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut effects = Vec::new();
    house.shards[0].take_effects(&mut effects);
    let given = effects.iter().find_map(|effect| match effect {
        Effect::HandOver { read, client, .. } => Some((read.clone(), *client)),
        Effect::Close { .. } | Effect::Opened { .. } | Effect::Closed { .. } | Effect::Answer { .. } => None,
    });
    let (read, client) = given.unwrap();
    assert_eq!((&read[..], client), (&b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"[..], "203.0.113.5".parse::<IpAddr>().ok()));
}

/// An engine reads a socket several times in one turn, and hands it over at the end of it.
#[test]
fn behind_a_request_that_is_handed_over_nothing_more_is_read_and_nothing_is_lost() {
    let mut sent = b"POST /api/v1/publish HTTP/1.1\r\nHost: h\r\nContent-Length: 900\r\n\r\n".to_vec();
    let head_len = sent.len();
    sent.extend((0..900u32).map(|n| n as u8));
    for read_bytes in [1, 7, head_len - 1, head_len, head_len + 1, 500, 2_000] {
        let mut house = House::new(1, Limits::default(), |_| {});
        let conn = house.comes(0);
        let mut socket = &sent[..];
        while !socket.is_empty() && house.shards[0].reads(conn) {
            let (piece, rest) = socket.split_at(read_bytes.min(socket.len()));
            house.receives(0, conn, piece);
            socket = rest;
        }
        let mut effects = Vec::new();
        house.shards[0].take_effects(&mut effects);
        let handed = effects.into_iter().find_map(|effect| match effect {
            Effect::HandOver { read, .. } => Some(read),
            Effect::Close { .. } | Effect::Opened { .. } | Effect::Closed { .. } | Effect::Answer { .. } => None,
        });
        let handed = handed.unwrap();
        assert!(handed.len() < head_len + read_bytes && [&handed[..], socket].concat() == sent, "{read_bytes}");
        assert_eq!(house.shards[0].counters().count(Count::StaleKeys), 0);
    }
}

// Handshakes under way

#[test]
fn handshakes_under_way_are_bounded_in_number_and_in_bytes_and_end_in_time() {
    let limits = Limits { handshakes_pending_max: 3, heads_bytes_max: 64 << 10, ..Limits::default() };
    let mut house = House::new(1, limits, |_| {});
    let slow: Vec<ConnKey> = (0..3).map(|_| house.comes(0)).collect();
    assert_eq!(house.comes_from(0, "127.0.0.1"), Err(CloseReason::HandshakesFull));
    house.receives(0, slow[0], format!("GET /ws HTTP/1.1\r\nX: {}", "x".repeat(40_000)).as_bytes());
    house.receives(0, slow[1], format!("GET /ws HTTP/1.1\r\nX: {}", "x".repeat(40_000)).as_bytes());
    house.settle();
    assert!(house.heard(0, slow[1]).starts_with("HTTP/1.1 503") && house.heard(0, slow[1]).contains("Retry-After: 1"));
    assert_eq!(house.reason(0, slow[1]), Some(CloseReason::HandshakesFull));
    // Its place is free, and a session takes none for long.
    let ann = house.enters(0, "ann");
    assert!(house.heard(0, ann).contains("welcome"));
    house.passes(10_000);
    for conn in [slow[0], slow[2]] {
        assert!(house.heard(0, conn).starts_with("HTTP/1.1 408"), "{}", house.heard(0, conn));
        assert_eq!(house.reason(0, conn), Some(CloseReason::HandshakeTimeout));
    }
    assert_eq!(house.reason(0, ann), None);
    assert!((0..3).all(|_| house.comes_from(0, "127.0.0.1").is_ok()));
}

// Handshakes that come to nothing

#[test]
fn an_address_that_fails_too_often_is_told_shortly_and_its_good_users_come_in() {
    let limits = Limits { uncounted: Nets::none(), failures_per_address_per_minute: 3, ..Limits::default() };
    let mut house = House::new(1, limits, |_| {});
    let ann_before = house.comes_from(0, "203.0.113.5").unwrap();
    house.receives(0, ann_before, &head("/ws", &[&format!("Authorization: Bearer {}", token("ann"))]));
    let ask = |house: &mut House, peer: &str, user: Option<&str>| {
        let conn = house.comes_from(0, peer).unwrap();
        let token = user.map_or_else(|| "no.good.token".to_owned(), token);
        let bearer = format!("Authorization: Bearer {token}");
        house.receives(0, conn, &head("/ws", &[&bearer]));
        house.settle();
        house.heard(0, conn).lines().next().unwrap_or_default().to_owned()
    };
    for _ in 0..4 {
        assert!(ask(&mut house, "203.0.113.5", None).contains("401"));
    }
    assert!(ask(&mut house, "203.0.113.5", None).contains("429"));
    assert_eq!(house.shards[0].counters().closes(CloseReason::BadToken), 4);
    assert!(ask(&mut house, "203.0.113.6", None).contains("401"), "somebody else");
    assert!(ask(&mut house, "203.0.113.5", Some("bob")).contains("101"), "a good token comes in");
    assert_eq!(house.reason(0, ann_before), None, "who sits there stays");
    house.passes(60_000);
    assert!(ask(&mut house, "203.0.113.5", None).contains("401"), "forgiven");
}

/// Where keys are fetched anybody can name one that nobody has.
#[test]
fn tokens_whose_key_is_still_to_come_are_counted_like_bad_ones() {
    let limits = Limits { uncounted: Nets::none(), failures_per_address_per_minute: 3, ..Limits::default() };
    let fetching = TokenVerifier::hs256(SECRET, &limits).with_keys_to_come();
    let mut house = House::new(1, limits, |rules| rules.verifier = Arc::new(fetching));
    let forged = "eyJhbGciOiJIUzI1NiIsImtpZCI6Im5ldyJ9.e30.AAAA";
    let mut ask = |user: Option<&str>, by_hello: bool| {
        let token = user.map_or_else(|| forged.to_owned(), token);
        let conn = house.comes_from(0, "203.0.113.5").unwrap();
        if by_hello {
            let hello = text(&format!(r#"{{"type":"hello","token":"{token}"}}"#));
            house.receives(0, conn, &[head("/ws", &[OURS]), hello].concat());
        } else {
            house.receives(0, conn, &head("/ws", &[&format!("Authorization: Bearer {token}")]));
        }
        house.settle();
        house.heard(0, conn).to_owned()
    };
    assert!(ask(None, false).contains("503") && ask(None, true).contains("try again in a while"));
    assert!(ask(None, false).contains("503") && ask(None, false).contains("503"));
    assert!(ask(None, false).contains("failed_too_often"));
    assert!(ask(Some("bob"), false).contains("welcome"), "a good token comes in");
    let counters = house.shards[0].counters();
    assert_eq!((counters.closes(CloseReason::FailedTooOften), counters.count(Count::UnknownKeys)), (1, 5));
}

#[test]
fn who_begins_handshakes_and_does_not_go_on_has_less_time_for_the_next_ones() {
    let limits = Limits { uncounted: Nets::none(), failures_per_address_per_minute: 2, ..Limits::default() };
    let mut house = House::new(1, limits, |_| {});
    let slow: Vec<ConnKey> = (0..3).map(|_| house.comes_from(0, "203.0.113.5").unwrap()).collect();
    house.passes(13_000);
    assert!(slow.iter().all(|conn| house.reason(0, *conn) == Some(CloseReason::HandshakeTimeout)));
    let (again, other) = (house.comes_from(0, "203.0.113.5").unwrap(), house.comes_from(0, "203.0.113.6").unwrap());
    house.passes(5_000);
    assert_eq!(house.reason(0, again), Some(CloseReason::HandshakeTimeout), "an eighth of ten seconds");
    assert_eq!(house.reason(0, other), None);
}

/// Regression: who went away just before its time was over was never counted, and could hold places for ever.
#[test]
fn a_handshake_that_is_given_up_late_came_to_nothing_and_one_that_is_given_up_at_once_did_not() {
    let limits = Limits { uncounted: Nets::none(), failures_per_address_per_minute: 2, ..Limits::default() };
    type Leaves = fn(&mut House, ConnKey);
    let leave: [(&str, Leaves); 3] = [
        ("its socket ends", |house, conn| house.vanishes(0, conn)),
        ("it says goodbye", |house, conn| house.receives(0, conn, b"\x88\x80\x01\x02\x03\x04")),
        ("it has half a head", |house, conn| {
            house.receives(0, conn, b"GET /ws HTTP/1.1\r\n");
            house.vanishes(0, conn);
        }),
    ];
    for (how, leaves) in leave {
        for (after_ms, is_charged) in [(1_000, false), (9_000, true)] {
            let mut house = House::new(1, limits.clone(), |_| {});
            let people: Vec<ConnKey> = (0..3).map(|_| house.comes_from(0, "203.0.113.5").unwrap()).collect();
            if how == "it says goodbye" {
                people.iter().for_each(|conn| house.receives(0, *conn, &head("/ws", &[OURS])));
            }
            house.passes(after_ms);
            people.iter().for_each(|conn| leaves(&mut house, *conn));
            house.settle();
            let next = house.comes_from(0, "203.0.113.5").unwrap();
            assert_eq!(
                house.shards[0].fails_too_often(house.now, next.index()),
                is_charged,
                "{how} after {after_ms} ms"
            );
        }
    }
}

/// Regression: what was too long for a `hello`, of the wrong kind or no frame cost its address nothing.
#[test]
fn what_is_no_hello_is_a_handshake_that_came_to_nothing() {
    let limits = Limits { uncounted: Nets::none(), failures_per_address_per_minute: 2, ..Limits::default() };
    let long = text(&"x".repeat(5_000));
    for first in [&long[..], b"\x82\x80\x01\x02\x03\x04", b"\xf1\x80\x01\x02\x03\x04", &text("nonsense")] {
        let mut house = House::new(1, limits.clone(), |_| {});
        for _ in 0..3 {
            let conn = house.comes_from(0, "203.0.113.5").unwrap();
            house.receives(0, conn, &[&head("/ws", &[OURS])[..], first].concat());
            house.settle();
        }
        let next = house.comes_from(0, "203.0.113.5").unwrap();
        assert!(house.shards[0].fails_too_often(house.now, next.index()), "{:?}", &first[..6]);
    }
}

/// Whoever broke the framing is read on for the time of a goodbye: bounded in time, and in number by what bounds everybody.
#[test]
fn who_broke_the_framing_keeps_its_place_until_it_is_cut_off_whatever_it_sends() {
    let limits =
        Limits { connections_per_address_max: 1, close_grace_ms: 2_000, uncounted: Nets::none(), ..Limits::default() };
    let mut house = House::new(1, limits, |_| {});
    let conn = house.comes_from(0, "192.0.2.1").unwrap();
    house.receives(0, conn, &head("/ws", &[&format!("Authorization: Bearer {}", token("ann"))]));
    house.settle();
    // A frame nobody masked, and then as much as it likes.
    house.receives(0, conn, b"\x82\x05hello");
    house.settle();
    assert_eq!((house.reason(0, conn), house.comes_from(0, "192.0.2.1")), (None, Err(CloseReason::AddressFull)));
    house.passes(1_000);
    house.receives(0, conn, &[0xff; 5_000]);
    assert_eq!(house.reason(0, conn), None, "it hears why, and may still be sending");
    house.passes(2_000);
    assert_eq!(house.reason(0, conn), Some(CloseReason::Protocol), "sending on does not make it longer");
    assert!(house.comes_from(0, "192.0.2.1").is_ok(), "and its place is free");
}
