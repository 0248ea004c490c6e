//! Each way a head can come, and what is made of it.

use proptest::prelude::*;

use super::*;

const MAX: usize = 64 << 10;

/// A head of the given request line and header lines.
fn head(line: &str, headers: &[&str]) -> Vec<u8> {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    format!("{line}\r\n{headers}\r\n").into_bytes()
}

const GOOD: [&str; 5] = [
    "Host: localhost:8080",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

fn asked_by(bytes: &[u8]) -> Asked {
    let head = read_head(bytes, 0, MAX).unwrap().expect("a whole head");
    assert_eq!(head.len, bytes.len());
    head.what
}

/// A good upgrade with these headers added.
fn upgraded(line: &str, more: &[&str]) -> Upgrade {
    match asked_by(&head(line, &[&GOOD[..], more].concat())) {
        Asked::Upgrade(upgrade) => upgrade,
        other @ (Asked::BadUpgrade { .. } | Asked::Elsewhere) => panic!("{other:?}"),
    }
}

/// The good headers without those that begin with `without`, and with `with`.
fn but(without: &str, with: &[&'static str]) -> Vec<&'static str> {
    GOOD.into_iter().filter(|header| !header.starts_with(without)).chain(with.iter().copied()).collect()
}

fn refusal(bytes: &[u8]) -> (u16, &'static str) {
    match asked_by(bytes) {
        Asked::BadUpgrade { status, message, endpoint: _ } => (status, message),
        other @ (Asked::Upgrade(_) | Asked::Elsewhere) => panic!("{other:?}"),
    }
}

fn accepted(upgrade: &Upgrade) -> String {
    let mut out = Vec::new();
    upgrade.write_accept(&mut out, false);
    String::from_utf8(out).unwrap()
}

fn token(token: &str) -> Carried {
    Carried::Token { token: token.to_owned(), in_url: false }
}

fn in_url(token: &str) -> Carried {
    Carried::Token { token: token.to_owned(), in_url: true }
}

// The upgrade

#[test]
fn the_key_of_rfc_6455_is_answered_as_there() {
    let upgrade =
        upgraded("GET /ws HTTP/1.1", &["Sec-WebSocket-Protocol: throng.v1.msgpack", "Origin: http://a.example"]);
    assert_eq!(upgrade.origin.as_deref(), Some("http://a.example"));
    assert_eq!(
        accepted(&upgrade),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: throng.v1.msgpack\r\n\r\n"
    );
}

#[test]
fn case_lists_and_bare_line_feeds_make_no_difference() {
    let shouting = head(
        "GET /ws HTTP/1.1",
        &[
            "HOST: x",
            "upgrade: WebSocket",
            "CONNECTION: keep-alive, UPGRADE",
            "sec-websocket-version:13",
            "SEC-WebSocket-KEY:  dGhlIHNhbXBsZSBub25jZQ==",
        ],
    );
    assert!(matches!(asked_by(&shouting), Asked::Upgrade(_)));
    let two_lines = head("GET /ws HTTP/1.1", &but("Connection", &["Connection: keep-alive", "Connection: Upgrade"]));
    assert!(matches!(asked_by(&two_lines), Asked::Upgrade(_)));
    let bare: Vec<u8> = head("GET /ws HTTP/1.1", &GOOD).into_iter().filter(|byte| *byte != b'\r').collect();
    assert!(matches!(asked_by(&bare), Asked::Upgrade(_)));
    let absolute = head("GET http://localhost:8080/ws?token=t HTTP/1.1", &GOOD);
    assert!(matches!(asked_by(&absolute), Asked::Upgrade(Upgrade { token: Carried::Token { .. }, .. })));
    let stray_bits =
        head("GET /ws HTTP/1.1", &but("Sec-WebSocket-Key", &["Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEC=="]));
    assert!(matches!(asked_by(&stray_bits), Asked::Upgrade(_)));
}

#[test]
fn what_is_no_upgrade_of_ws_goes_elsewhere() {
    for bytes in [
        head("GET / HTTP/1.1", &["Host: x"]),
        head("GET / HTTP/1.1", &[]),
        head("GET /ws HTTP/1.1", &["Host: x"]),
        head("GET /ws HTTP/1.1", &["Host: x", "Upgrade: h2c", "Connection: Upgrade"]),
        head("GET /wss HTTP/1.1", &GOOD),
        head("GET /ws/ HTTP/1.1", &GOOD),
        head("GET /metrics?x=/ws HTTP/1.0", &[]),
        head("POST /api HTTP/1.1", &["Host: x", "Content-Length: 2"]),
        head("POST /ws HTTP/1.1", &["Host: x", "Content-Length: 2"]),
        head("OPTIONS * HTTP/1.1", &["Host: x"]),
    ] {
        assert!(matches!(asked_by(&bytes), Asked::Elsewhere), "{}", String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn an_upgrade_of_ws_that_breaks_a_rule_is_told_which() {
    let get = |headers: &[&str]| refusal(&head("GET /ws HTTP/1.1", headers));
    assert_eq!(refusal(&head("POST /ws?token=t HTTP/1.1", &GOOD)).0, 405);
    assert!(refusal(&head("GET /ws HTTP/1.0", &GOOD)).1.contains("HTTP/1.1"));
    assert!(get(&but("Host", &[])).1.contains("Host"));
    assert!(get(&but("Upgrade", &[])).1.contains("Upgrade header"));
    assert!(get(&but("Connection", &["Connection: close"])).1.contains("Connection"));
    assert_eq!(get(&but("Sec-WebSocket-Version", &[])).0, 426);
    assert_eq!(get(&but("Sec-WebSocket-Version", &["Sec-WebSocket-Version: 8"])).0, 426);
    assert!(get(&but("Sec-WebSocket-Key", &[])).1.contains("missing"));
    assert!(get(&[&GOOD[..], &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]].concat()).1.contains("more than one"));
    for key in ["", "short", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZTEy", "dGhlIHNhbXBsZSBub25j!Q=="] {
        let key = format!("Sec-WebSocket-Key: {key}");
        let headers: Vec<&str> = but("Sec-WebSocket-Key", &[]).into_iter().chain([key.as_str()]).collect();
        assert!(get(&headers).1.contains("base64"), "{key}");
    }
    assert!(get(&[&GOOD[..], &["Content-Length: 5"]].concat()).1.contains("body"));
    assert!(get(&[&GOOD[..], &["Content-Length: 0", "Content-Length: 5"]].concat()).1.contains("body"));
    assert!(get(&[&GOOD[..], &["Host: elsewhere"]].concat()).1.contains("more than one Host"));
    assert!(get(&[&GOOD[..], &["Transfer-Encoding: chunked"]].concat()).1.contains("body"));
}

// Subprotocols

#[test]
fn the_first_subprotocol_of_ours_wins_and_decides_the_encoding() {
    type Row = (&'static [&'static str], Option<&'static str>, Encoding, bool, bool);
    let table: &[Row] = &[
        (&[], None, Encoding::Json, false, false),
        (&["throng.v1.msgpack"], Some("throng.v1.msgpack"), Encoding::MessagePack, true, false),
        (&["throng.v1.json"], Some("throng.v1.json"), Encoding::Json, true, false),
        (&["throng.v1.json, throng.v1.msgpack"], Some("throng.v1.json"), Encoding::Json, true, false),
        (&["throng.v1.msgpack,throng.v1.json"], Some("throng.v1.msgpack"), Encoding::MessagePack, true, false),
        (
            &["chat", "throng.token.t", " throng.v1.msgpack "],
            Some("throng.v1.msgpack"),
            Encoding::MessagePack,
            true,
            false,
        ),
        (&["throng.v2.json, throng.v1.json"], Some("throng.v1.json"), Encoding::Json, true, false),
        (&["chat, superchat"], None, Encoding::Json, false, false),
        (&["throng.token.t"], None, Encoding::Json, false, false),
        (&["throng.v2.json"], None, Encoding::Json, false, true),
        (&["throng.v1.cbor"], None, Encoding::Json, true, true),
        (&["Throng.V1.Json"], None, Encoding::Json, false, false),
    ];
    for (offered, chosen, encoding, ours, unknown) in table {
        let headers: Vec<String> = offered.iter().map(|name| format!("Sec-WebSocket-Protocol: {name}")).collect();
        let upgrade = upgraded("GET /ws HTTP/1.1", &headers.iter().map(String::as_str).collect::<Vec<_>>());
        let got = (upgrade.chosen, upgrade.encoding, upgrade.offers_ours, upgrade.unknown_version);
        assert_eq!(got, (*chosen, *encoding, *ours, *unknown), "{offered:?}");
    }
}

#[test]
fn the_answer_names_one_offered_subprotocol_and_never_a_token() {
    let table = [
        ("throng.token.secret, throng.v1.json", Some("throng.v1.json")),
        ("throng.token.secret", None),
        ("throng.token.secret, throng.v2.json, throng.v3.json", Some("throng.v2.json")),
        ("throng.v2/json", None),
        ("chat", None),
    ];
    for (offered, named) in table {
        let answer = accepted(&upgraded("GET /ws HTTP/1.1", &[&format!("Sec-WebSocket-Protocol: {offered}")]));
        let line = answer.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Protocol: "));
        assert_eq!(line, named, "{offered}");
        assert!(!answer.contains("secret"));
    }
}

// Tokens

#[test]
fn each_carrier_brings_the_token() {
    let by = |line, headers: &[&str]| upgraded(line, headers).token;
    let plain = "GET /ws HTTP/1.1";
    assert_eq!(by(plain, &[]), Carried::None);
    for header in ["Authorization: Bearer a.b.c", "authorization: bearer   a.b.c ", "AUTHORIZATION: BEARER\ta.b.c"] {
        assert_eq!(by(plain, &[header]), token("a.b.c"), "{header}");
    }
    assert_eq!(by(plain, &["Sec-WebSocket-Protocol: throng.v1.json, throng.token.a.b.c"]), token("a.b.c"));
    assert_eq!(by("GET /ws?token=a.b.c HTTP/1.1", &[]), in_url("a.b.c"));
    assert_eq!(by("GET /ws?x=1&token=a%2Eb%2ec&y HTTP/1.1", &[]), in_url("a.b.c"));
    assert_eq!(by("GET /ws?%74oken=a.b.c HTTP/1.1", &[]), in_url("a.b.c"));
    assert_eq!(by("GET /ws?token=a%zz%4 HTTP/1.1", &[]), in_url("a%zz%4"));
    assert_eq!(by("GET /ws?token=%22a.b.c%22 HTTP/1.1", &[]), in_url("\"a.b.c\""));
}

#[test]
fn other_schemes_and_empty_carriers_bring_none() {
    for header in
        ["Authorization: Basic dTpw", "Authorization: Bearer", "Authorization: Bearer ", "Authorization: Bearerx y"]
    {
        assert_eq!(upgraded("GET /ws HTTP/1.1", &[header]).token, Carried::None, "{header}");
    }
    for line in ["GET /ws?token= HTTP/1.1", "GET /ws?token HTTP/1.1", "GET /ws?mytoken=t HTTP/1.1", "GET /ws? HTTP/1.1"]
    {
        assert_eq!(upgraded(line, &[]).token, Carried::None, "{line}");
    }
}

#[test]
fn carriers_that_agree_are_one_and_others_disagree() {
    let by = |line, headers: &[&str]| upgraded(line, headers).token;
    let (same, other) = ("GET /ws?token=a HTTP/1.1", "GET /ws?token=b HTTP/1.1");
    let both = ["Authorization: Bearer a", "Sec-WebSocket-Protocol: throng.token.a"];
    assert_eq!(by(same, &both), in_url("a"));
    assert_eq!(by(other, &both), Carried::Disagree);
    assert_eq!(by("GET /ws HTTP/1.1", &["Authorization: Bearer a", "Authorization: Bearer b"]), Carried::Disagree);
    assert_eq!(by("GET /ws HTTP/1.1", &["Authorization: Bearer a", "Authorization: Bearer a"]), token("a"));
    assert_eq!(by("GET /ws?token=a&token=b HTTP/1.1", &[]), Carried::Disagree);
    assert_eq!(by("GET /ws HTTP/1.1", &["Sec-WebSocket-Protocol: throng.token.a, throng.token.b"]), Carried::Disagree);
}

#[test]
fn every_pair_of_carriers_agrees_or_is_refused() {
    // Each carrier as (query, headers) with one of two values.
    type Carry = fn(&str) -> (String, Vec<String>);
    let tokens: [Carry; 4] = [
        |value| (String::new(), vec![format!("Authorization: Bearer {value}")]),
        |value| (String::new(), vec![format!("Sec-WebSocket-Protocol: throng.v1.json, throng.token.{value}")]),
        |value| (format!("token={value}"), Vec::new()),
        |value| (String::new(), vec![format!("Cookie: other=1; session={value}")]),
    ];
    let ticket: Carry = |value| (format!("ticket={value}"), Vec::new());
    let carried = |pair: [(Carry, &str); 2]| {
        let [first, second] = pair.map(|(carry, value)| carry(value));
        let headers: Vec<String> = GOOD.iter().map(|&good| good.to_owned()).chain(first.1).chain(second.1).collect();
        let line = format!("GET /ws?{}&{} HTTP/1.1", first.0, second.0);
        let bytes = head(&line, &headers.iter().map(String::as_str).collect::<Vec<_>>());
        match asked_by(&bytes) {
            Asked::Upgrade(upgrade) => upgrade.token_or_cookie("session"),
            other @ (Asked::BadUpgrade { .. } | Asked::Elsewhere) => panic!("{other:?}"),
        }
    };
    for (nth, one) in tokens.into_iter().enumerate() {
        for (mth, other) in tokens.into_iter().enumerate() {
            let url = nth == 2 || mth == 2;
            let expected = Carried::Token { token: "a".to_owned(), in_url: url };
            assert_eq!(carried([(one, "a"), (other, "a")]), expected, "{nth} {mth}");
            assert_eq!(carried([(one, "a"), (other, "b")]), Carried::Disagree, "{nth} {mth}");
        }
        assert_eq!(carried([(one, "a"), (ticket, "a")]), Carried::Disagree, "{nth} and a ticket");
    }
    assert_eq!(carried([(ticket, "a"), (ticket, "a")]), Carried::Ticket("a".to_owned()));
    assert_eq!(carried([(ticket, "a"), (ticket, "b")]), Carried::Disagree);
}

#[test]
fn a_cookie_is_read_only_under_the_name_asked_for() {
    let by = |headers: &[&str]| upgraded("GET /ws HTTP/1.1", headers);
    let upgrade = by(&["Cookie: session=a.b.c; other=x"]);
    assert_eq!((upgrade.token.clone(), upgrade.token_or_cookie("none")), (Carried::None, Carried::None));
    assert_eq!(upgrade.token_or_cookie("session"), token("a.b.c"));
    assert_eq!(by(&["Cookie: x=1", "Cookie:  session = \"a.b.c\" "]).token_or_cookie("session"), token("a.b.c"));
    assert_eq!(by(&["Cookie: session=; session"]).token_or_cookie("session"), Carried::None);
    assert_eq!(by(&["Cookie: Session=a; xsession=a"]).token_or_cookie("session"), Carried::None);
    assert_eq!(by(&["Cookie: session=a; session=b"]).token_or_cookie("session"), Carried::Disagree);
    for (name, good) in
        [("session", true), ("__Host-throng", true), ("", false), ("a b", false), ("a=b", false), ("a;b", false)]
    {
        let carriers = Carriers { cookie: Some(name.to_owned()), ..Carriers::default() };
        assert_eq!(carriers.check().is_ok(), good, "{name}");
    }
    assert_eq!(Carriers::default().check(), Ok(()));
}

#[test]
fn hops_and_origins_come_whole() {
    let bytes = head("GET /x HTTP/1.1", &["Host: h", "X-Forwarded-For: 1.1.1.1", "x-forwarded-for: 2.2.2.2, 3.3.3.3"]);
    let head = read_head(&bytes, 0, MAX).unwrap().unwrap();
    assert_eq!(head.forwarded_for.as_deref(), Some(&b"1.1.1.1,2.2.2.2, 3.3.3.3"[..]));
    let upgrade = upgraded("GET /ws HTTP/1.1", &["Origin: http://a", "Origin: http://b"]);
    assert_eq!(
        (upgrade.origin.as_deref(), upgrade.host.as_deref()),
        (Some("http://a,http://b"), Some("localhost:8080"))
    );
    let post = read_head(b"POST /x HTTP/1.1\r\nX-Forwarded-For: 4.4.4.4\r\n\r\n", 0, MAX).unwrap().unwrap();
    assert_eq!(post.forwarded_for.as_deref(), Some(&b"4.4.4.4"[..]));
}

#[test]
fn debug_shows_no_token() {
    let headers =
        ["Authorization: Bearer secret", "Sec-WebSocket-Protocol: throng.token.secret", "Cookie: session=secret"];
    let bytes = head("GET /ws?token=secret HTTP/1.1", &[&GOOD[..], &headers].concat());
    let head = read_head(&bytes, 0, MAX).unwrap().unwrap();
    let shown = format!("{head:?} {head:#?}");
    assert!(shown.contains("6 bytes") && !shown.contains("secret"), "{shown}");
}

// The head's end

#[test]
fn what_follows_the_head_is_not_part_of_it() {
    let head_len = head("GET /ws HTTP/1.1", &GOOD).len();
    let bytes = [head("GET /ws HTTP/1.1", &GOOD), b"\x81\x80\r\n\r\nframes".to_vec()].concat();
    assert_eq!(read_head(&bytes, 0, MAX).unwrap().unwrap().len, head_len);
}

#[test]
fn a_head_that_comes_byte_by_byte_is_found_at_its_last_byte() {
    for blank in ["", "\r\n", "\n\n"] {
        for end in ["\r\n", "\n"] {
            let whole = [blank.as_bytes(), &head("GET /ws HTTP/1.1", &GOOD)].concat();
            let whole = String::from_utf8(whole).unwrap().replace("\r\n", end).into_bytes();
            for looked in 0..whole.len() {
                assert!(read_head(&whole[..looked], looked.saturating_sub(1), MAX).unwrap().is_none());
                // However much was there the last time, the end is found.
                assert_eq!(read_head(&whole, looked, MAX).unwrap().unwrap().len, whole.len());
            }
        }
    }
}

#[test]
fn a_long_head_is_refused_when_it_is_too_long_and_not_before() {
    let bytes = head("GET /ws HTTP/1.1", &[&GOOD[..], &[&format!("X: {}", "x".repeat(500))]].concat());
    assert!(read_head(&bytes, 0, bytes.len()).unwrap().is_some());
    assert_eq!(read_head(&bytes, 0, bytes.len() - 1).unwrap_err(), HeadError::TooLong);
    assert!(read_head(&bytes[..300], 0, 300).unwrap().is_none());
    assert_eq!(read_head(&bytes[..301], 300, 300).unwrap_err(), HeadError::TooLong);
    let many: Vec<String> = (0..200).map(|i| format!("X-{i}: y")).collect();
    let many = head("GET / HTTP/1.1", &many.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(read_head(&many, 0, MAX).unwrap_err(), HeadError::TooLong);
    assert_eq!((HeadError::TooLong.status(), HeadError::Malformed.status()), (431, 400));
}

#[test]
fn what_cannot_be_a_request_is_refused_without_waiting_for_its_end() {
    for bytes in [&b"\x16\x03\x01\x02"[..], b"\0", b" GET / HTTP/1.1", b"\r\n\r\n\r\n\r\n\r\n"] {
        assert_eq!(read_head(bytes, 0, MAX).unwrap_err(), HeadError::Malformed);
    }
    for line in ["GET /ws", "GET /ws HTTP/2.0", "GET  /ws HTTP/1.1", "PRI * HTTP/2.0", "GET /\u{7f} HTTP/1.1"] {
        assert_eq!(read_head(&head(line, &GOOD), 0, MAX).unwrap_err(), HeadError::Malformed, "{line}");
    }
    assert_eq!(read_head(&head("GET /ws HTTP/1.1", &["no colon"]), 0, MAX).unwrap_err(), HeadError::Malformed);
}

// Refusals

/// Splits an answer into status line, headers and JSON body, and checks its length.
fn refused(status: u16, message: &str, retry_after_s: Option<u32>) -> (String, String) {
    let mut out = Vec::new();
    write_refusal(&mut out, status, "code", message, retry_after_s);
    let text = String::from_utf8(out).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("\r\nContent-Length: {}", body.len())));
    assert!(head.contains("\r\nConnection: close"));
    let json: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(json, serde_json::json!({ "error": "code", "message": message }));
    let (line, headers) = head.split_once("\r\n").unwrap();
    (line.to_owned(), headers.to_owned())
}

#[test]
fn a_refusal_is_a_whole_response_with_what_its_status_needs() {
    assert_eq!(refused(401, "no token: \"quoted\"\r\n", None).0, "HTTP/1.1 401 Unauthorized");
    let (line, headers) = refused(503, "full", Some(7));
    assert!(line == "HTTP/1.1 503 Service Unavailable" && headers.contains("\r\nRetry-After: 7\r\n"));
    assert!(refused(426, "version", None).1.contains("\r\nSec-WebSocket-Version: 13\r\n"));
    assert!(refused(405, "method", None).1.contains("\r\nAllow: GET\r\n"));
    assert_eq!(refused(599, "odd", None).0, "HTTP/1.1 599 Refused");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn foreign_bytes_never_panic_and_come_to_the_same_in_one_read_or_many(
        line in prop_oneof![Just("GET /ws?token=a%".to_owned()), "[A-Z]{1,4} /ws[ -~]{0,9}"],
        version in prop_oneof![4 => Just(" HTTP/1.1"), 1 => Just(" HTTP/1.0"), 1 => Just("")],
        noise in proptest::collection::vec(prop_oneof!["[!-~]{0,9}:[ -~]{0,20}", "[ -~\r\n\u{e9}]{0,12}"], 0..4),
        max in 0_usize..400,
    ) {
        let noise: Vec<&str> = noise.iter().map(String::as_str).collect();
        let bytes = head(&(line + version), &[&noise[..], &GOOD].concat());
        let mut by_bytes = Ok(None);
        for len in 1..=bytes.len() {
            by_bytes = read_head(&bytes[..len], len - 1, max);
            if !matches!(by_bytes, Ok(None)) {
                break;
            }
        }
        let at_once = read_head(&bytes, 0, max);
        prop_assert_eq!(format!("{by_bytes:?}"), format!("{at_once:?}"));
    }
}
