//! Fetching from a server of this test, on a real socket.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::control::Value;

const KEY: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"KID"}"#;

fn set(kids: &[&str]) -> String {
    let keys: Vec<String> = kids.iter().map(|kid| KEY.replace("KID", kid)).collect();
    format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{{\"keys\":[{}]}}", keys.join(","))
}

/// Answers one request after the other with what it is given; tells of each that came.
struct Issuer {
    address: SocketAddr,
    answers: Sender<String>,
    asked: Receiver<String>,
}

impl Issuer {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let ((answers, to_give), (tell, asked)) = (channel::<String>(), channel());
        std::thread::Builder::new()
            .spawn(move || {
                while let Ok((mut stream, _)) = listener.accept() {
                    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                    let first = lines.next().unwrap_or_default();
                    lines.take_while(|line| !line.is_empty()).for_each(drop);
                    if tell.send(first).is_err() {
                        return;
                    }
                    let Ok(answer) = to_give.recv() else { return };
                    // Who has had enough does not read to the end.
                    let _written = stream.write_all(answer.as_bytes());
                }
            })
            .unwrap();
        Self { address, answers, asked }
    }

    fn rules(&self) -> JwksRules {
        JwksRules {
            url: format!("http://{}/jwks.json", self.address),
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
    keys: Receiver<Vec<String>>,
}

fn watch(rules: &JwksRules) -> Watched {
    rules.check().unwrap();
    let unknown = Arc::new(AtomicU64::new(0));
    let (count, (tell, keys)) = (Arc::clone(&unknown), channel());
    let on_keys = move |keys: KeySet| {
        let kids = keys.iter().map(|key| key.kid().unwrap_or_default().to_owned()).collect();
        drop(tell.send(kids));
    };
    let count: UnknownKeys = Arc::new(move || count.load(Ordering::Relaxed));
    let jwks = Jwks::start(std::slice::from_ref(rules), count, Arc::new(on_keys)).unwrap();
    Watched { jwks, unknown, keys }
}

#[test]
fn keys_come_at_once_stay_when_a_fetch_fails_and_change_when_an_unknown_one_is_asked_for() {
    let issuer = Issuer::start();
    let watched = watch(&issuer.rules());
    assert!(watched.jwks.status().ready().unwrap_err().contains("still fetching"));
    assert_eq!(issuer.asked.recv().unwrap(), "GET /jwks.json HTTP/1.1");
    issuer.answers.send(set(&["a"])).unwrap();
    assert_eq!(watched.keys.recv().unwrap(), ["a"]);
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
    assert!(watched.keys.try_recv().is_err(), "what was there stays");
    assert_eq!(watched.jwks.status().ready(), Ok(()));
    issuer.answers.send(set(&["a", "b"])).unwrap();
    assert_eq!(watched.keys.recv().unwrap(), ["a", "b"]);
    let counted = |name: &str| {
        let families = watched.jwks.status().families();
        families.iter().find(|family| family.name == name).unwrap().samples[0].value.clone()
    };
    assert_eq!([counted("throng_jwks_keys"), counted("throng_jwks_fetches")], [Value::Number(2), Value::Number(2)]);
    assert_eq!(counted("throng_jwks_failures"), Value::Number(failures));
    watched.jwks.stop();
}

#[test]
fn an_issuer_that_never_answers_is_given_up_and_holds_up_no_end() {
    let issuer = Issuer::start();
    let watched = watch(&JwksRules { timeout_ms: 10, ..issuer.rules() });
    issuer.asked.recv().unwrap();
    while watched.jwks.status().families()[2].samples[0].value == Value::Number(0) {
        std::thread::yield_now();
    }
    assert!(watched.jwks.status().ready().unwrap_err().contains("within 10 ms"));
    watched.jwks.stop();
    let watched = watch(&issuer.rules());
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
    assert!(JwksRules { refresh_s: 5, ..rules("https://issuer.example/") }.check().is_err());
}
