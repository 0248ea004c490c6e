//! What an operator sees: metrics, readiness, health, and what a supervisor is told.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "support/http.rs"]
mod http;
#[path = "process/mod.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod process;
#[expect(dead_code, reason = "other tests use more of it")]
mod support;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use http::get;
use process::{Server, free_address};
use support::until::{PATIENCE, until, until_some};
use support::{FAR_FUTURE, hear, open, say, serve, small, token, try_serve_few};
#[cfg(feature = "planted-bugs")]
use throng::base::ShardId;
use throng::base::{Limits, Nets};
use throng::control::{AdminRules, Control, ControlConfig, HandOver, Look, Standing};
use throng::wire::{Origins, Proxies};

/// The names of all samples in a scrape.
fn names(scrape: &str) -> BTreeSet<&str> {
    scrape.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(['{', ' ']).next()).collect()
}

/// The value of one sample, by its whole name with labels.
fn value(scrape: &str, sample: &str) -> f64 {
    let found = scrape.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {sample} in\n{scrape}")).parse().unwrap()
}

#[test]
fn a_scrape_counts_what_was_done_and_has_every_metric_of_the_dashboard() {
    let server = Server::start(free_address(), &["--shards", "2"]);
    let mut ann = open(server.address, &token("ann", FAR_FUTURE, None));
    let mut bob = open(server.address, &token("bob", FAR_FUTURE, None));
    for person in [&mut ann, &mut bob] {
        say(person, r#"{"type":"join","id":1,"room":"hall"}"#);
        assert!(hear(person).contains(r#""type":"reply""#));
    }
    say(&mut ann, r#"{"type":"publish","id":2,"room":"hall","data":"hello"}"#);
    assert!(hear(&mut ann).contains(r#""type":"reply""#) && hear(&mut bob).contains("hello"));
    say(&mut ann, r#"{"type":"dance","id":3}"#);
    assert!(hear(&mut ann).contains("unknown_command"));
    let counted = [
        ("websocket_connections", 2.0),
        ("throng_seats", 2.0),
        ("websocket_messages_total{direction=\"in\",event=\"join\"}", 2.0),
        ("websocket_messages_total{direction=\"in\",event=\"publish\"}", 1.0),
        ("websocket_messages_total{direction=\"in\",event=\"invalid\"}", 1.0),
        ("websocket_messages_total{direction=\"out\",event=\"welcome\"}", 2.0),
        ("websocket_messages_total{direction=\"out\",event=\"reply_join\"}", 2.0),
        ("websocket_messages_total{direction=\"out\",event=\"reply_publish\"}", 1.0),
        ("websocket_messages_total{direction=\"out\",event=\"message\"}", 1.0),
        ("websocket_messages_total{direction=\"out\",event=\"error\"}", 1.0),
        ("throng_publishes_total", 1.0),
        ("throng_class_joins_total{class=\"default\"}", 2.0),
        ("throng_class_publishes_total{class=\"default\"}", 1.0),
        ("throng_class_published_bytes_total{class=\"default\"}", 7.0),
        ("throng_class_too_often_total{class=\"default\"}", 0.0),
        ("throng_deliveries_total", 1.0),
        ("throng_ring_overflows_total", 0.0),
        ("throng_memory_bytes{table=\"seats\"}", 16.0),
    ];
    // Counts are as of each shard's last tick: what the one has told the other may still have to.
    let scrape = until_some("what was done is counted", || {
        let (status, scrape) = get(server.admin, "/metrics");
        assert_eq!(status, "200");
        let all = counted.iter().all(|(sample, expected)| value(&scrape, sample) >= *expected)
            && value(&scrape, "throng_refusals_total{code=\"unknown_command\"}") > 0.0
            && value(&scrape, "websocket_message_latency_seconds_count") > 0.0;
        all.then_some(scrape)
    });
    for (sample, expected) in counted {
        assert_eq!(value(&scrape, sample), expected, "{sample}");
    }
    // One sample for each shard with readers: they may sit at one or at two.
    let samples = value(&scrape, "websocket_message_latency_seconds_count");
    assert!(samples == 1.0 || samples == 2.0, "{samples}");
    for sample in ["throng_turn_seconds_count", "throng_ticks_total", "process_resident_memory_bytes"] {
        assert!(value(&scrape, sample) > 0.0, "{sample}");
    }
    assert!(value(&scrape, "throng_memory_bytes{table=\"rows\"}") >= 128.0);

    let dashboard = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/grafana/throng.json"));
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard.unwrap()).unwrap();
    let known = names(&scrape);
    let mut asked = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap_or(&Vec::new()) {
            let expr = target["expr"].as_str().unwrap();
            let words = expr.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
            let ours: Vec<&str> = words
                .filter(|word| ["websocket_", "throng_", "process_"].iter().any(|prefix| word.starts_with(prefix)))
                .collect();
            assert!(!ours.is_empty(), "{expr} asks for nothing of ours");
            asked.extend(ours.into_iter().map(str::to_owned));
        }
    }
    assert!(asked.len() > 30, "{asked:?}");
    let missing: Vec<&String> = asked.iter().filter(|name| !known.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "the dashboard names {missing:?}, which no scrape has");
}

#[test]
fn readiness_and_health_of_a_server_at_work() {
    let server = Server::start(free_address(), &["--shards", "2"]);
    assert_eq!(get(server.admin, "/readyz"), ("200".to_owned(), r#"{"ready":true,"reasons":[]}"#.to_owned()));
    for address in [server.address, server.admin] {
        assert_eq!(get(address, "/healthz"), ("200".to_owned(), "ok\n".to_owned()));
    }
}

#[test]
fn a_full_server_and_one_that_leaves_are_not_ready_and_say_why() {
    let (running, _handed) = try_serve_few("127.0.0.1:0".parse().unwrap(), 1, small(), 2).unwrap();
    let counts = running.counts();
    let reasons = || Standing::of(&counts).reasons().into_iter().map(|reason| reason.reason).collect::<Vec<_>>();
    assert_eq!(reasons(), [""; 0]);
    let ann = open(running.address(), &token("ann", FAR_FUTURE, None));
    let _bob = open(running.address(), &token("bob", FAR_FUTURE, None));
    until("it is full", || reasons() == ["full"]);
    drop(ann);
    until("there is a place again", || reasons().is_empty());
    running.drain(std::time::Duration::from_secs(1));
    assert_eq!(reasons(), ["draining"], "at once, before anybody is sent away");
    running.join().unwrap();
}

/// Regression: only the places of all shards together were looked at, and the server said that it was ready while one of
/// its shards turned its share of the newcomers away.
#[test]
fn a_server_with_one_full_shard_is_not_ready_and_names_it() {
    let limits = Limits { connections_per_shard_max: 2, ..small() };
    let (running, _handed) = try_serve_few("127.0.0.1:0".parse().unwrap(), 2, limits, 100).unwrap();
    let counts = running.counts();
    let reasons = || Standing::of(&counts).reasons();
    assert!(reasons().is_empty());
    // However the kernel deals three out over two shards: one has two of them at least.
    let people = [0; 3].map(|_| TcpStream::connect(running.address()).unwrap());
    until("a shard is full", || !reasons().is_empty());
    let said = &reasons()[0];
    assert!(
        said.reason == "full" && said.message.starts_with("shard ") && said.message.contains("no place"),
        "{said:?}"
    );
    drop(people);
    until("it has a place again", || reasons().is_empty());
    running.stop().unwrap();
}

/// Regression: the shard was full by a limit of its own, told every newcomer so, and the server said that it was ready.
#[test]
fn a_server_whose_shards_are_full_is_not_ready_until_a_reload_gives_them_room() {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("few-{}.toml", std::process::id()));
    let allow = |most: u32| std::fs::write(&file, format!("[limits]\nconnections_per_shard_max = {most}\n")).unwrap();
    allow(2);
    let server = Server::start(free_address(), &["--shards", "1", "--config", &file.display().to_string()]);
    let is_ready = || get(server.admin, "/readyz").0 == "200";
    let places = || value(&get(server.admin, "/metrics").1, "throng_connections_max");
    assert!(is_ready() && places() == 2.0);
    let people = ["ann", "bob"].map(|user| open(server.address, &token(user, FAR_FUTURE, None)));
    until("two have taken all places", || !is_ready());
    assert!(get(server.admin, "/readyz").1.contains("all 2 places are taken"));
    allow(3);
    server.signal("HUP");
    until("the reload has made room", is_ready);
    assert_eq!(places(), 3.0);
    let cid = open(server.address, &token("cid", FAR_FUTURE, None));
    until("three have taken all places", || !is_ready());
    drop((people, cid));
    until("everybody has gone", is_ready);
    std::fs::remove_file(&file).unwrap();
}

/// The control plane alone, and where it answers operators.
fn control(look: Look) -> (SocketAddr, Control, HandOver) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let (operators, proxies) = (listener.local_addr().unwrap(), Proxies { trusted: Nets::none(), protocol: false });
    let config = ControlConfig {
        scrape: Arc::new(Vec::new),
        admin: Some(listener),
        admin_on_public: false,
        admin_rules: AdminRules {
            keys: Vec::new(),
            message_bytes_max: 1,
            depth_max: 1,
            revocations_max: 1,
            revocation_life_s: 1,
        },
        front: Arc::new(move || (Origins::default(), proxies.clone())),
        look,
        watchdog: None,
        dev: None,
        sharing: None,
    };
    let (control, handover, _desk) = Control::start(config).unwrap();
    (operators, control, handover)
}

#[test]
fn a_server_that_starts_lives_and_is_not_ready_until_its_shards_take_people() {
    let (running, _handed) = serve(1, small());
    let (counts, serves) = (running.counts(), Arc::new(AtomicBool::new(false)));
    let seen = Arc::clone(&serves);
    let look = move || if seen.load(Ordering::Relaxed) { Standing::of(&counts) } else { Standing::starting() };
    let (operators, control, handover) = control(Arc::new(look));
    let (status, body) = get(operators, "/readyz");
    let reason = r#"{"reason":"starting","message":"not all shards take connections yet"}"#;
    assert_eq!((&*status, body), ("503", format!(r#"{{"ready":false,"reasons":[{reason}]}}"#)));
    assert_eq!(get(operators, "/healthz").0, "200", "nobody shall kill it for that");
    serves.store(true, Ordering::Relaxed);
    assert_eq!(get(operators, "/readyz"), ("200".to_owned(), r#"{"ready":true,"reasons":[]}"#.to_owned()));
    running.stop().unwrap();
    drop(handover);
    control.join();
}

#[cfg(feature = "planted-bugs")]
#[test]
fn a_shard_that_stands_still_is_named_and_one_that_turns_again_is_well() {
    let (running, _handed) = serve(2, small());
    let counts = running.counts();
    assert!(Standing::of(&counts).stalled().is_empty());
    let looked = running.counts();
    let (operators, control, handover) = control(Arc::new(move || Standing::of(&looked)));
    assert_eq!(get(operators, "/healthz").0, "200");
    running.plant_stall(ShardId(1), true);
    until("somebody stands still", || !Standing::of(&counts).stalled().is_empty());
    let stalled = Standing::of(&counts).stalled();
    // Only a machine that stands still itself could add the other.
    assert!(stalled.iter().any(|reason| reason.message.starts_with("shard 1 has not turned for ")), "{stalled:?}");
    assert!(Standing::of(&counts).reasons().iter().any(|reason| reason.reason == "stalled"));
    // It is said by those who answer for it, too.
    for (path, word) in [("/healthz", r#"{"healthy":false,"reasons":"#), ("/readyz", r#"{"ready":false,"reasons":"#)] {
        let (status, body) = get(operators, path);
        assert!(status == "503" && body.starts_with(word) && body.contains("shard 1 has not turned for "), "{body}");
    }
    // A signal does not help a shard that turns in circles, and does it no harm.
    until("it is nudged", || counts.totals().nudges > 0);
    running.plant_stall(ShardId(1), false);
    until("it turns again", || Standing::of(&counts).stalled().is_empty());
    until("operators are told", || get(operators, "/healthz").0 == "200" && get(operators, "/readyz").0 == "200");
    running.stop().unwrap();
    drop(handover);
    control.join();
}

#[test]
fn a_supervisor_hears_that_it_serves_that_it_lives_and_that_it_leaves() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("notify-{}", std::process::id()));
    let _left_over = std::fs::remove_file(&path);
    let supervisor = UnixDatagram::bind(&path).unwrap();
    supervisor.set_read_timeout(Some(PATIENCE)).unwrap();
    let hear = || {
        let mut words = [0; 512];
        let length = supervisor.recv(&mut words).unwrap();
        String::from_utf8(words[..length].to_vec()).unwrap()
    };
    let socket = format!("NOTIFY_SOCKET={}", path.display());
    let options = ["--shards", "2", "--drain-budget-ms", "3000", &socket, "WATCHDOG_USEC=2000000"];
    let server = Server::start(free_address(), &options);
    // The watchdog may be fed before all is said; the unit is started only by READY=1.
    let mut said = Vec::new();
    while !said.iter().any(|words: &String| words.starts_with("READY=1\nSTATUS=serving at 127.0.0.1:")) {
        said.push(hear());
    }
    for _ in 0..3 {
        assert_eq!(hear(), "WATCHDOG=1");
    }
    server.signal("TERM");
    let stopping = loop {
        let words = hear();
        if words != "WATCHDOG=1" {
            break words;
        }
    };
    assert_eq!(stopping, "STOPPING=1\nEXTEND_TIMEOUT_USEC=8000000\nSTATUS=leaving");
    assert_eq!(server.ended().code(), Some(0));
    std::fs::remove_file(&path).unwrap();
}

/// What was logged in this process.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_slow_turn_is_counted_and_logged_with_what_it_did() {
    let log = Log::default();
    let writer = log.clone();
    let lines = tracing_subscriber::fmt().with_ansi(false).with_max_level(tracing::Level::WARN);
    tracing::subscriber::set_global_default(lines.with_writer(move || writer.clone()).finish()).unwrap();
    // With a bound of nothing every turn is slow, also those of other tests' servers that say so.
    let (running, _handed) = serve(1, Limits { slow_turn_ms: 0, ..small() });
    let mut ann = open(running.address(), &token("ann", FAR_FUTURE, None));
    let text = || String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    // Of one tick only the first is told: until one of them has read something.
    until("a turn that read something is told as slow", || {
        say(&mut ann, r#"{"type":"ping","id":1}"#);
        assert!(hear(&mut ann).contains("reply"));
        text().lines().any(|line| line.contains("a slow turn") && line.contains(" reads=1 "))
    });
    let all = text();
    let line = all.lines().find(|line| line.contains("a slow turn") && line.contains(" reads=1 ")).unwrap();
    for part in ["shard=0", "took_ms=", "accepts=", "read_bytes=", "letters=", "writes=", "write_ms=", "mail_ms="] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    let totals = running.counts().totals();
    assert!(totals.runtime.slow_turns > 0 && totals.turns.buckets.iter().sum::<u64>() > 0);
    running.stop().unwrap();
}

#[test]
fn where_no_turn_is_to_be_told_as_slow_none_is_counted() {
    let server = Server::start(free_address(), &["--shards", "1", "THRONG_LIMITS_SLOW_TURN_MS=0"]);
    let scrape = until_some("it has ticked three times", || {
        let (_, scrape) = get(server.admin, "/metrics");
        (value(&scrape, "throng_ticks_total") >= 3.0).then_some(scrape)
    });
    assert!(value(&scrape, "throng_turns_total") > 0.0);
    assert_eq!(value(&scrape, "throng_turns_slow_total"), 0.0);
}
