//! Fetching from a server of this test, on a real socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::source::together;
use super::*;
use crate::control::Value;
use crate::wire::token::VerifyingKey;

const KEY: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"KID"}"#;

const KEY_X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const OTHER_X: &str = "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw";
/// Another key.
const OTHER: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw","kid":"KID"}"#;

fn set(kids: &[&str]) -> String {
    let keys: Vec<String> = kids.iter().map(|kid| KEY.replace("KID", kid)).collect();
    format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{{\"keys\":[{}]}}", keys.join(","))
}

/// Answers one request after the other with what it is given; tells of each that came.
struct Issuer {
    scheme: &'static str,
    address: SocketAddr,
    answers: Sender<String>,
    asked: Receiver<String>,
}

/// A socket with TLS on it or without.
trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

impl Issuer {
    fn start() -> Self {
        Self::serve("http", Ipv4Addr::LOCALHOST, |stream| Box::new(stream))
    }

    /// With a certificate for 127.0.0.1 and localhost from the authority in `tests/tls`.
    fn start_with_tls(at: Ipv4Addr) -> Self {
        let certificate = CertificateDer::from_pem_file(of_tls("server.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(of_tls("server.key")).unwrap();
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        let config = Arc::new(config);
        Self::serve("https", at, move |stream| {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            Box::new(StreamOwned::new(connection, stream))
        })
    }

    fn serve(
        scheme: &'static str,
        at: Ipv4Addr,
        dress: impl Fn(TcpStream) -> Box<dyn Stream> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind((at, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let ((answers, to_give), (tell, asked)) = (channel::<String>(), channel());
        std::thread::Builder::new()
            .spawn(move || {
                while let Ok((stream, _)) = listener.accept() {
                    let mut stream = BufReader::new(dress(stream));
                    let mut first = String::new();
                    // Who does not believe us never asks.
                    if stream.read_line(&mut first).is_err() || first.is_empty() {
                        continue;
                    }
                    (&mut stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
                    if tell.send(first.trim_end().to_owned()).is_err() {
                        return;
                    }
                    let Ok(answer) = to_give.recv() else { return };
                    // Who has had enough does not read to the end.
                    let _written = stream.get_mut().write_all(answer.as_bytes());
                }
            })
            .unwrap();
        Self { scheme, address, answers, asked }
    }

    fn rules(&self) -> JwksRules {
        JwksRules {
            url: format!("{}://{}/jwks.json", self.scheme, self.address),
            between_s: 1,
            backoff_max_s: 1,
            timeout_ms: 60_000,
            body_bytes_max: 4_096,
            ..JwksRules::default()
        }
    }
}

struct Watched {
    jwks: Jwks,
    unknown: Arc<AtomicU64>,
    news: Receiver<()>,
}

impl Watched {
    /// Waits for keys, and gives their names.
    fn hears(&self) -> Vec<String> {
        self.news.recv().unwrap();
        self.jwks.keys().iter().map(|key| key.kid().unwrap_or_default().to_owned()).collect()
    }
}

fn watch(rules: &JwksRules) -> Watched {
    rules.check().unwrap();
    let unknown = Arc::new(AtomicU64::new(0));
    let (count, (tell, news)) = (Arc::clone(&unknown), channel());
    let on_keys = move || {
        // The test may be over.
        let _told = tell.send(());
    };
    let count: UnknownKeys = Arc::new(move || count.load(Ordering::Relaxed));
    let jwks = Jwks::start(std::slice::from_ref(rules), None, count, Arc::new(on_keys)).unwrap();
    Watched { jwks, unknown, news }
}

#[test]
fn keys_come_at_once_stay_when_a_fetch_fails_and_change_when_an_unknown_one_is_asked_for() {
    let issuer = Issuer::start();
    let watched = watch(&issuer.rules());
    assert!(watched.jwks.status().ready().unwrap_err().contains("still fetching"));
    assert_eq!(issuer.asked.recv().unwrap(), "GET /jwks.json HTTP/1.1");
    issuer.answers.send(set(&["a"])).unwrap();
    assert_eq!(watched.hears(), ["a"]);
    assert_eq!(watched.jwks.status().ready(), Ok(()));

    watched.unknown.fetch_add(1, Ordering::Relaxed);
    let bad = [
        "HTTP/1.1 500 Oops\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            .to_owned(),
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"keys\":[]}".to_owned(),
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n<html>".to_owned(),
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", " ".repeat(5_000)),
        "no HTTP".to_owned(),
    ];
    let failures = bad.len() as u64;
    for answer in bad {
        issuer.asked.recv().unwrap();
        issuer.answers.send(answer).unwrap();
    }
    issuer.asked.recv().unwrap();
    assert!(watched.news.try_recv().is_err(), "what was there stays");
    assert_eq!(watched.jwks.status().ready(), Ok(()));
    issuer.answers.send(set(&["a", "b"])).unwrap();
    assert_eq!(watched.hears(), ["a", "b"]);
    let counted = |name: &str| {
        let families = watched.jwks.status().families();
        families.iter().find(|family| family.name == name).unwrap().samples[0].value.clone()
    };
    assert_eq!([counted("throng_jwks_keys"), counted("throng_jwks_fetches")], [Value::Number(2), Value::Number(2)]);
    assert_eq!(counted("throng_jwks_failures"), Value::Number(failures));
    watched.jwks.stop();
}

/// Regression: a key that its issuer had withdrawn was trusted for as long as fetches failed.
#[test]
fn keys_that_no_fetch_vouches_for_are_given_up_and_the_server_is_not_ready() {
    let issuer = Issuer::start();
    let watched = watch(&JwksRules { refresh_s: 1, stale_max_s: 1, ..issuer.rules() });
    issuer.answers.send(set(&["a"])).unwrap();
    for _ in 0..1_000 {
        issuer.answers.send("HTTP/1.1 500 Oops\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_owned()).unwrap();
    }
    watched.news.recv().unwrap();
    watched.news.recv().unwrap();
    assert!(watched.jwks.keys().is_empty());
    let why = watched.jwks.status().ready().unwrap_err();
    assert!(why.starts_with("token keys were given up "), "{why}");
    watched.jwks.stop();
}

#[test]
fn keys_are_given_up_when_they_are_older_than_may_be_and_not_before() {
    let rules = JwksRules { url: "https://id.example/".to_owned(), ..JwksRules::default() };
    let status = Status::new(&[rules], None);
    let source = status.source(0);
    let read = KeysRead::read(format!("{{\"keys\":[{KEY}]}}").as_bytes(), JwksFrom::Url, None).unwrap();
    source.take_keys(read.keys.clone());
    let fetched_ms = source.now_ms();
    let age = || status.families()[4].clone();
    assert_eq!((age().name, &age().samples[0].value), ("throng_jwks_age_seconds", &Value::Number(0)));
    assert_eq!(source.give_up_stale(fetched_ms + (1 << 40), None), None, "never");
    assert_eq!(source.give_up_stale(fetched_ms.saturating_sub(1_000) + 60_000, Some(60_000)), None);
    assert_eq!((status.ready(), status.together().0.len()), (Ok(()), 1));
    assert_eq!(source.give_up_stale(fetched_ms + 61_000, Some(60_000)), Some(61));
    assert_eq!(source.give_up_stale(fetched_ms + 62_000, Some(60_000)), None, "once");
    assert_eq!(status.together().0.len(), 0);
    assert!(status.ready().unwrap_err().contains("given up 61 s after"));
    source.take_keys(read.keys);
    assert_eq!((status.ready(), status.together().0.len()), (Ok(()), 1));
}

#[test]
fn an_issuer_that_never_answers_is_given_up_and_holds_up_no_end() {
    let issuer = Issuer::start();
    let watched = watch(&JwksRules { timeout_ms: 10, ..issuer.rules() });
    issuer.asked.recv().unwrap();
    assert!(trouble(&watched).contains("within 10 ms"));
    watched.jwks.stop();
    let watched = watch(&issuer.rules());
    watched.jwks.stop();
}

fn of_tls(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(file)
}

/// Waits for the first failure and gives its sentence.
fn trouble(watched: &Watched) -> String {
    while watched.jwks.status().families()[2].samples[0].value == Value::Number(0) {
        std::thread::yield_now();
    }
    watched.jwks.status().ready().unwrap_err()
}

#[test]
fn keys_come_over_tls_from_who_is_vouched_for_and_from_nobody_else() {
    let issuer = Issuer::start_with_tls(Ipv4Addr::LOCALHOST);
    let with = |file: Option<&str>| JwksRules { ca_file: file.map(of_tls), ..issuer.rules() };
    let watched = watch(&with(Some("ca.pem")));
    assert_eq!(issuer.asked.recv().unwrap(), "GET /jwks.json HTTP/1.1");
    // No close_notify: the length says where the answer ends.
    let body = format!(r#"{{"keys":[{}]}}"#, KEY.replace("KID", "a"));
    let answer = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    issuer.answers.send(answer).unwrap();
    assert_eq!(watched.hears(), ["a"]);
    watched.jwks.stop();

    // Not vouched for by this one, nor by any authority of the system.
    for file in [Some("stranger.pem"), None] {
        let watched = watch(&with(file));
        let why = trouble(&watched);
        assert!(why.contains("certificate"), "{file:?}: {why}");
        watched.jwks.stop();
    }
    // Vouched for, but under another name.
    let elsewhere = Issuer::start_with_tls(Ipv4Addr::new(127, 0, 0, 2));
    let watched = watch(&JwksRules { ca_file: Some(of_tls("ca.pem")), ..elsewhere.rules() });
    let why = trouble(&watched);
    assert!(why.contains("certificate"), "{why}");
    watched.jwks.stop();
    assert!(
        [&issuer, &elsewhere].iter().all(|issuer| issuer.asked.try_recv().is_err()),
        "nobody asked who is not believed"
    );
}

#[test]
fn a_file_of_authorities_that_cannot_be_used_is_said_before_anything_is_fetched() {
    let with = |file| JwksRules { url: "https://id.example/".into(), ca_file: Some(file), ..JwksRules::default() };
    assert_eq!(with(of_tls("ca.pem")).check_files(), Ok(()));
    for (file, word) in
        [("no such file", "cannot be read"), ("README.md", "no certificate"), ("server.key", "no certificate")]
    {
        let why = with(of_tls(file)).check_files().unwrap_err();
        assert!(why.contains(word) && why.contains(file), "{why}");
    }
    assert!(JwksRules { url: "http://localhost/".into(), ..with(of_tls("ca.pem")) }.check().is_err());
}

/// The breaker on a real socket: while it is open nobody knocks, however many tokens of unknown keys come.
#[test]
fn while_the_breaker_is_open_unknown_keys_make_nobody_knock() {
    let issuer = Issuer::start();
    let watched = watch(&issuer.rules());
    let mut failed: Option<Clock> = None;
    for _ in 0..3 {
        while issuer.asked.recv_timeout(Duration::from_millis(1)).is_err() {
            watched.unknown.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(failed) = failed {
            let after_ms = failed.now().mono_ms;
            assert!(after_ms >= 500, "half of a second at least lies before the next try, not {after_ms} ms");
        }
        // Begun before the failure is known: what is measured is never too short because a machine is slow.
        failed = Some(Clock::start());
        let later = "HTTP/1.1 503 Later\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        issuer.answers.send(later.to_owned()).unwrap();
    }
    issuer.asked.recv().unwrap();
    issuer.answers.send(set(&["a"])).unwrap();
    assert_eq!(watched.hears(), ["a"]);
    assert_eq!(watched.jwks.status().families()[2].samples[0].value, Value::Number(3));
    watched.jwks.stop();
}

#[test]
fn addresses_without_tls_are_taken_from_this_host_only_unless_said() {
    let rules = |url: &str| JwksRules { url: url.to_owned(), ..JwksRules::default() };
    for good in ["https://issuer.example/keys", "http://127.0.0.1:9/k", "http://localhost/k", "http://[::1]:9/k"] {
        assert_eq!(rules(good).check(), Ok(()), "{good}");
    }
    for bad in ["", "keys.json", "/keys", "ftp://issuer.example/", "http://issuer.example/keys", "http://10.0.0.1/k"] {
        assert!(rules(bad).check().is_err(), "{bad}");
    }
    assert_eq!(JwksRules { plain_http: true, ..rules("http://issuer.example/keys") }.check(), Ok(()));
    let https = || rules("https://issuer.example/");
    for bad in [
        JwksRules { refresh_s: 5, ..https() },
        // Times 1,000 it would be no time at all.
        JwksRules { refresh_s: 1 << 61, ..https() },
        JwksRules { refresh_s: u64::MAX, between_s: u64::MAX, ..https() },
        JwksRules { backoff_max_s: 31_536_001, ..https() },
        JwksRules { stale_max_s: 31_536_001, ..https() },
        JwksRules { timeout_ms: 600_001, ..https() },
        JwksRules { body_bytes_max: (16 << 20) + 1, ..https() },
    ] {
        assert!(bad.check().is_err(), "{bad:?}");
    }
    let (year_s, most) = (31_536_000, 16 << 20);
    let stale = |stale_max_s, refresh_s| JwksRules { stale_max_s, refresh_s, ..https() }.stale_ms();
    assert_eq!([stale(0, 600), stale(1, 600), stale(86_400, 600)], [None, Some(1_200_000), Some(86_400_000)]);
    let longest = JwksRules { stale_max_s: year_s, ..https() };
    let longest =
        JwksRules { refresh_s: year_s, between_s: year_s, backoff_max_s: year_s, timeout_ms: 600_000, ..longest };
    assert_eq!(JwksRules { body_bytes_max: most, ..longest }.check(), Ok(()));
}

/// `/readyz` tells whoever asks, without a key, why there are no keys yet.
#[test]
fn what_stands_behind_the_path_of_an_address_is_asked_for_and_never_told() {
    let issuer = Issuer::start();
    let url = format!("{}?key=SECRET", issuer.rules().url);
    let watched = watch(&JwksRules { url: url.clone(), ..issuer.rules() });
    assert_eq!(issuer.asked.recv().unwrap(), "GET /jwks.json?key=SECRET HTTP/1.1");
    issuer.answers.send("HTTP/1.1 403 No\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_owned()).unwrap();
    let why = trouble(&watched);
    assert!(why.contains("/jwks.json: it answered 403") && !why.contains("SECRET"), "{why}");
    watched.jwks.stop();
    for (url, told) in [
        (&*url, issuer.rules().url.as_str()),
        ("https://id.example?SECRET", "https://id.example"),
        ("https://ann:SECRET@id.example/a#SECRET", "https://id.example/a"),
        ("SECRET@id.example/a?b", "id.example/a"),
        ("", ""),
    ] {
        assert_eq!(shown(url), told);
    }
    for bad in [&*url.replace("127.0.0.1", "id.example"), "ftp://a/?SECRET", "https://a b/?SECRET", "https:///?SECRET"]
    {
        let rules = JwksRules { url: bad.to_owned(), ..JwksRules::default() };
        let why = rules.check().unwrap_err();
        assert!(!why.contains("SECRET"), "{why}");
        let why = JwksRules { refresh_s: 1, url: "https://a/?SECRET".to_owned(), ..rules }.check().unwrap_err();
        assert!(why.contains("https://a/") && !why.contains("SECRET"), "{why}");
    }
}

#[test]
fn a_name_is_the_address_s_that_is_listed_first_and_the_other_is_told_by_name() {
    let read = |keys: &[(&str, &str)], issuer: Option<&str>| {
        let keys: Vec<String> = keys.iter().map(|(key, kid)| key.replace("KID", kid)).collect();
        let text = format!("{{\"keys\":[{}]}}", keys.join(","));
        Some(KeysRead::read(text.as_bytes(), JwksFrom::Url, issuer).unwrap().keys)
    };
    let (first, mirror) = (read(&[(KEY, "1"), (KEY, "2")], None), read(&[(KEY, "2"), (OTHER, "3")], None));
    let (all, left_out) = together(&[first.clone(), None, mirror]);
    assert_eq!((all.len(), left_out.len()), (3, 0), "the very same key under its name is missed by nobody");

    let (all, left_out) = together(&[None, first.clone(), read(&[(OTHER, "1"), (OTHER, "4")], None)]);
    assert_eq!(all.iter().filter_map(VerifyingKey::kid).collect::<Vec<_>>(), ["1", "2", "4"]);
    let told = left_out.iter().map(|one| (one.place, one.holder, one.why.to_string())).collect::<Vec<_>>();
    let [(2, Some(1), why)] = &told[..] else { panic!("{told:?}") };
    assert!(why.contains("`1`") && why.contains("EdDSA"), "{why}");
    // For another issuer it is another key, whatever it is made of.
    let (_, left_out) = together(&[first, read(&[(KEY, "1")], Some("https://elsewhere.example"))]);
    assert_eq!(left_out.len(), 1);
}

#[test]
fn a_key_whose_name_is_taken_is_counted() {
    let (one, two) = (Issuer::start(), Issuer::start());
    let (tell, news) = channel();
    let on_keys: OnKeys = Arc::new(move || tell.send(()).unwrap());
    let jwks = Jwks::start(&[one.rules(), two.rules()], None, Arc::new(|| 0), on_keys).unwrap();
    let left_out = || jwks.status().families()[3].samples[0].value.clone();
    for (issuer, answer, has, leaves) in
        [(&one, set(&["a", "b"]), 2, 0), (&two, set(&["a", "c"]).replacen(KEY_X, OTHER_X, 1), 3, 1)]
    {
        issuer.asked.recv().unwrap();
        issuer.answers.send(answer).unwrap();
        news.recv().unwrap();
        assert_eq!((jwks.keys().len(), left_out()), (has, Value::Number(leaves)));
    }
    jwks.stop();
}
