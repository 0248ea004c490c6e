//! One hop: from a publisher's write to another member's read, through the real runtime, beside the raw TCP floor.
//!
//! The data plane is booted in this process, with one shard and with two; clients are plain blocking sockets on this
//! thread. Each sample begins after a pause, with everybody asleep: what is measured is a wake-up, not a loaded loop.
//! Where a client sits is in its session (the first four digits are its shard); a room's home is the shard where
//! somebody joins it without a letter to the other. Envelopes are JSON, flush is eager. Shards are pinned to cores 0 and 1; the client's thread runs where the kernel (or taskset)
//! puts it.
//!
//! `cargo bench --bench hop [-- SAMPLES]`
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock, pauses, and starts the thread that answers")]
#![expect(clippy::unwrap_used, reason = "a bench stops at the first surprise")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use throng::base::{Limits, ShardId};
use throng::runtime::Give;
use throng::runtime::boot::{BootConfig, Running, start};
use throng::runtime::engine::Engine;
use throng::shard::{Flush, Rules, Shard, ShardConfig};
use throng::wire::{Grants, TokenVerifier};
use tungstenite::{Message, WebSocket};

const SECRET: &[u8] = b"only for this bench, 32 bytes long";
const FAR_FUTURE: u64 = 4_000_000_000;
const SAMPLES: usize = 2_000;
const WARMUP: usize = 100;
/// Long enough for every thread to fall asleep; not a divisor of the tick, so that samples meet it everywhere.
const PAUSE: Duration = Duration::from_micros(1_370);
/// A connection lands on either of two shards; so many do not all miss one.
const CLIENTS_TRIED: usize = 64;
const ROOMS_TRIED: usize = 64;
const TEXT: &str = "0123456789abcdef0123456789abcdef";

fn main() {
    let samples = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(SAMPLES);
    println!("one hop, {samples} samples each, {} us of quiet before each; times in us", PAUSE.as_micros());
    println!("{:<64} {:>8} {:>8} {:>8} {:>8}", "what", "p50", "p90", "p99", "max");
    floor(samples);
    same_shard(samples);
    across_shards(samples);
    floor(samples);
}

/// There and back over raw TCP, a blocked thread in between: two sockets and one wake-up, as a hop has.
fn floor(samples: usize) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        let mut bytes = [0; 256];
        while let Ok(length) = stream.read(&mut bytes)
            && length > 0
        {
            stream.write_all(&bytes[..length]).unwrap();
        }
    });
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    // As many bytes as a hop's publish and message have, about.
    let (out, mut back) = ([7; 100], [0; 100]);
    measure("floor: raw TCP, a blocked thread sends it back", samples, || {
        stream.write_all(&out).unwrap();
        stream.read_exact(&mut back).unwrap();
    });
    drop(stream);
    answering.join().unwrap();
}

fn same_shard(samples: usize) {
    let running = serve(1);
    let (mut publisher, mut member) = (Client::open(running.address()), Client::open(running.address()));
    publisher.join("hall");
    member.join("hall");
    measure("1 shard", samples, || hop(&mut publisher, &mut member, "hall"));
    drop((publisher, member));
    running.stop().unwrap();
}

/// Every way two people and their room can lie on two shards.
fn across_shards(samples: usize) {
    let running = serve(2);
    let homes = [room_at(&running, 0), room_at(&running, 1)];
    for (what, publisher_at, member_at, home) in [
        ("2 shards: publisher, member and room's home on one", 0, 0, 0),
        ("2 shards: publisher and home on one, member on the other", 0, 1, 0),
        ("2 shards: member and home on one, publisher on the other", 1, 0, 0),
        ("2 shards: publisher and member on one, home on the other", 0, 0, 1),
    ] {
        let room = &homes[home];
        let (mut publisher, mut member) = (client_on(&running, publisher_at), client_on(&running, member_at));
        publisher.join(room);
        member.join(room);
        measure(what, samples, || hop(&mut publisher, &mut member, room));
    }
    running.stop().unwrap();
}

fn hop(publisher: &mut Client, member: &mut Client, room: &str) {
    publisher.say(&format!(r#"{{"type":"publish","room":"{room}","data":"{TEXT}","echo":false}}"#));
    let heard = member.hear();
    assert!(heard.contains(r#""type":"message""#), "{heard}");
}

/// Runs `once` so many times, each after a pause, and prints how long it took.
fn measure(what: &str, samples: usize, mut once: impl FnMut()) {
    let mut times = Histogram::<u64>::new(3).unwrap();
    for sample in 0..WARMUP + samples {
        std::thread::sleep(PAUSE);
        let from = Instant::now();
        once();
        let took = from.elapsed();
        if sample >= WARMUP {
            times.record(took.as_nanos() as u64).unwrap();
        }
    }
    let at = |quantile| times.value_at_quantile(quantile) as f64 / 1e3;
    let max = times.max() as f64 / 1e3;
    println!("{what:<64} {:>8.1} {:>8.1} {:>8.1} {max:>8.1}", at(0.5), at(0.9), at(0.99));
}

/// A name whose home is this shard: one who sits there joins it without any letter between shards.
fn room_at(running: &Running, shard: u16) -> String {
    let mut scout = client_on(running, shard);
    for number in 0..ROOMS_TRIED {
        let room = format!("room{number}");
        let before = parcels(running);
        scout.join(&room);
        if parcels(running) == before {
            return room;
        }
    }
    panic!("{ROOMS_TRIED} names, and not one has its home at shard {shard}");
}

/// Parcels between shards so far; counts are published with the tick, so two of them must have passed.
fn parcels(running: &Running) -> u64 {
    std::thread::sleep(Duration::from_millis(3 * Limits::default().tick_ms));
    running.counts().totals().runtime.parcels
}

/// A client whose session lives on this shard; the kernel deals out connections by their ports.
fn client_on(running: &Running, shard: u16) -> Client {
    (0..CLIENTS_TRIED)
        .map(|_| Client::open(running.address()))
        .find(|client| client.shard == shard)
        .expect("of so many connections one lands on each of two shards")
}

/// A plain blocking member that speaks JSON.
struct Client {
    socket: WebSocket<TcpStream>,
    shard: u16,
}

impl Client {
    fn open(address: SocketAddr) -> Self {
        let claims = serde_json::json!({ "sub": "a-user-of-the-hop-bench-", "exp": FAR_FUTURE });
        let key = jsonwebtoken::EncodingKey::from_secret(SECRET);
        let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap();
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        let (socket, _) = tungstenite::client(format!("ws://{address}/ws?token={token}"), stream).unwrap();
        let mut client = Self { socket, shard: 0 };
        let welcome: serde_json::Value = serde_json::from_str(&client.hear()).unwrap();
        let session = welcome["session"].as_str().unwrap();
        client.shard = u16::from_str_radix(&session[..4], 16).unwrap();
        client
    }

    fn join(&mut self, room: &str) {
        self.say(&format!(r#"{{"type":"join","id":1,"room":"{room}"}}"#));
        let reply = self.hear();
        assert!(reply.contains(r#""type":"reply""#), "{reply}");
    }

    fn say(&mut self, text: &str) {
        self.socket.send(Message::text(text)).unwrap();
    }

    /// The next event; heartbeats are answered on the way.
    fn hear(&mut self) -> String {
        loop {
            if let Message::Text(text) = self.socket.read().unwrap() {
                return text.to_string();
            }
        }
    }
}

fn serve(shards: u16) -> Running {
    let limits = Limits::default();
    let config = BootConfig {
        engine: Engine::IoUring,
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        backlog: 128,
        shards,
        cores: (0..usize::from(shards)).collect(),
        slots_per_ring: limits.slots_per_ring,
        slow_turn_ms: Some(1_000),
        takeover: false,
        tick_ms: limits.tick_ms,
        connections_max: u64::MAX,
        parcels_per_inbox: 256,
        asks_per_inbox: 16,
    };
    let verifier = Arc::new(TokenVerifier::hs256(SECRET, &limits));
    let rules = Arc::new(Rules::new(limits, verifier, Grants::everything()));
    let make_shard = move |id: ShardId| {
        Shard::new(ShardConfig {
            id,
            shards,
            rules: Arc::clone(&rules),
            seed: [7, 8],
            flush: Flush::Eager,
            node: Arc::from("hop"),
            #[cfg(feature = "planted-bugs")]
            planted: None,
        })
    };
    // Nobody here speaks plain HTTP.
    let give: Give = Arc::new(drop);
    // And nobody asks.
    start(&config, make_shard, give, Arc::new(|_, _| ())).unwrap()
}
