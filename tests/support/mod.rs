//! A data plane for a test, and clients that speak to it as a browser or a terminal would.

pub(crate) mod engine;
pub(crate) mod until;

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use throng::base::{Limits, ShardId};
use throng::runtime::boot::{BootConfig, BootError, Running, start};
use throng::runtime::engine::Engine;
use throng::runtime::{Give, Given};
use throng::shard::{Flush, Rules, Shard, ShardConfig};
use throng::wire::{Claims, Grants, TokenVerifier, sign_hs256};
use tungstenite::{Message, WebSocket};
use until::connect;

pub(crate) const SECRET: &[u8] = b"only for this test, 32 bytes long!";
pub(crate) const FAR_FUTURE: u64 = 4_000_000_000;

/// Sockets that were handed over.
pub(crate) type Handed = Receiver<Given>;

pub(crate) fn serve(shards: u16, limits: Limits) -> (Running, Handed) {
    try_serve(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), shards, limits).expect("a free port and an able host")
}

pub(crate) fn try_serve(listen: SocketAddr, shards: u16, limits: Limits) -> Result<(Running, Handed), BootError> {
    try_serve_few(listen, shards, limits, u64::MAX)
}

/// At most `connections_max` over all shards.
pub(crate) fn try_serve_few(
    listen: SocketAddr,
    shards: u16,
    limits: Limits,
    connections_max: u64,
) -> Result<(Running, Handed), BootError> {
    serve_at(listen, shards, limits, connections_max, false)
}

/// With `takeover` a second data plane may share the address of another.
pub(crate) fn serve_at(
    listen: SocketAddr,
    shards: u16,
    limits: Limits,
    connections_max: u64,
    takeover: bool,
) -> Result<(Running, Handed), BootError> {
    let verifier = Arc::new(TokenVerifier::hs256(SECRET, &limits));
    let rules = Rules::new(limits, verifier, Grants::everything());
    start_with(listen, shards, rules, (connections_max, takeover), |_| {})
}

/// A server with rules of its own; `born` sees each shard before it takes anybody in.
pub(crate) fn serve_by(
    shards: u16,
    limits: Limits,
    adjust: impl FnOnce(&mut Rules),
    born: impl Fn(&mut Shard) + Send + Sync + 'static,
) -> (Running, Handed) {
    let verifier = Arc::new(TokenVerifier::hs256(SECRET, &limits));
    let mut rules = Rules::new(limits, verifier, Grants::everything());
    adjust(&mut rules);
    start_with(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), shards, rules, (u64::MAX, false), born)
        .expect("a free port and an able host")
}

fn start_with(
    listen: SocketAddr,
    shards: u16,
    rules: Rules,
    (connections_max, takeover): (u64, bool),
    born: impl Fn(&mut Shard) + Send + Sync + 'static,
) -> Result<(Running, Handed), BootError> {
    let (limits, engine) = (&rules.limits, engine());
    let config = BootConfig {
        engine,
        listen,
        backlog: 1_024,
        shards,
        cores: Vec::new(),
        slots_per_ring: limits.slots_per_ring,
        tick_ms: limits.tick_ms,
        // Here nothing means every turn.
        slow_turn_ms: Some(limits.slow_turn_ms),
        takeover,
        connections_max,
        parcels_per_inbox: 256,
        asks_per_inbox: 16,
    };
    let rules = Arc::new(rules);
    let make_shard = move |id: ShardId| {
        let mut shard = Shard::new(ShardConfig {
            id,
            shards,
            rules: Arc::clone(&rules),
            // The next server is another: it takes no session of the one before for its own.
            seed: [7, if takeover { 9 } else { 8 }],
            flush: Flush::Eager,
            node: Arc::from("test"),
            #[cfg(feature = "planted-bugs")]
            planted: None,
        });
        born(&mut shard);
        shard
    };
    let (sender, handed) = channel();
    let give: Give = Arc::new(move |given| drop(sender.send(given)));
    // Nobody asks.
    let running = start(&config, make_shard, give, Arc::new(|_, _| ()))?;
    assert_eq!(running.engine(), engine);
    engine::assert_carried("self");
    Ok((running, handed))
}

/// What the tests run on.
pub(crate) fn engine() -> Engine {
    Engine::ALL.into_iter().find(|one| one.name() == engine::asked()).expect("THRONG_ENGINE names an engine")
}

/// Small chunks and quick ticks, so that a few people reach what takes thousands otherwise.
pub(crate) fn small() -> Limits {
    Limits { slots_per_ring: 8, tick_ms: 5, ..Limits::default() }
}

pub(crate) fn token(user: &str, exp: u64, rooms: Option<serde_json::Value>) -> String {
    sign_hs256(SECRET, &Claims { sub: user, exp, info: None, rooms: rooms.as_ref() }).expect("good claims")
}

/// Opens a session by the query token.
pub(crate) fn open(address: SocketAddr, token: &str) -> WebSocket<TcpStream> {
    let request = format!("ws://{address}/ws?token={token}");
    let (mut socket, _) = tungstenite::client(request, connect(address)).expect("a good token is let in");
    assert!(hear(&mut socket).contains(r#""type":"welcome""#));
    socket
}

pub(crate) fn say(socket: &mut WebSocket<TcpStream>, text: &str) {
    socket.send(Message::text(text)).expect("an open socket");
}

pub(crate) fn hear(socket: &mut WebSocket<TcpStream>) -> String {
    let message = socket.read().expect("a message");
    message.into_text().expect("JSON is text").to_string()
}
