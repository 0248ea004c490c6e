//! Every setting there is, in the order of the reference.
//!
//! To add one: a field with its default in its section's struct, and one entry here. File, environment, flags, their
//! help, `check-config`, `default-config` and `docs/config.md` follow by themselves.

use std::sync::LazyLock;

use super::setting::{Setting, setting};
use crate::wire::payload::DEPTH_CEILING;

/// Sections in the order of the reference, with what they are about.
pub(super) const SECTIONS: &[(&str, &str)] = &[
    ("server", "Where and on what the server runs."),
    (
        "log",
        "What is written to stderr. Of each kind of line at most 20 a second are written, the rest is \
             counted.",
    ),
    ("tokens", "Who proves tokens. Secrets lie in files of their own and never in this one."),
    ("grants", "What people may do whose token does not say it."),
    ("drain", "How the server leaves after SIGTERM or SIGINT; a second signal ends it at once."),
    (
        "limits",
        "Every bound of the server, and what happens when it is reached. Units stand in the names: \
         `_bytes`, `_ms`, `_s`.",
    ),
];

/// All of them.
pub fn settings() -> &'static [Setting] {
    static SETTINGS: LazyLock<Vec<Setting>> = LazyLock::new(|| {
        let mut all = server();
        all.extend(log());
        all.extend(tokens());
        all.extend(grants());
        all.extend(drain());
        all.extend(limits_of_messages());
        all.extend(limits_of_rooms());
        all.extend(limits_of_connections());
        all.extend(limits_of_shards());
        all
    });
    &SETTINGS
}

fn server() -> Vec<Setting> {
    vec![
        setting(
            "server.dev",
            |c| &mut c.server.dev,
            "For trying out: a page at /, tokens for whoever asks from this host, everything granted, and no \
             setting required. Never on a host that others reach.",
        )
        .flag("dev", "BOOL"),
        setting(
            "server.listen",
            |c| &mut c.server.listen,
            "Address and port to listen on. Every shard has a listener of its own there (`SO_REUSEPORT`).",
        )
        .flag("listen", "ADDR")
        .unset("must be given; with `dev` 127.0.0.1:8080", "\"0.0.0.0:8080\""),
        setting(
            "server.port",
            |c| &mut c.server.port,
            "Port to listen on where no address is given: at every address, with `dev` at 127.0.0.1. Of \
             `listen` and `port` the one with the higher precedence holds, `listen` if both come from the \
             same place.",
        )
        .flag("port", "PORT")
        .variables(&["PORT"])
        .unset("none", "8080"),
        setting("server.shards", |c| &mut c.server.shards, "Cores to use, one shard on each.")
            .flag("shards", "N")
            .within(1..=1024)
            .unset("the cores this process may use", "4"),
        setting(
            "server.cores",
            |c| &mut c.server.cores,
            "Cores to pin the shards to, in turn. Empty: all this process may run on.",
        )
        .flag("cores", "CORES"),
        setting(
            "server.backlog",
            |c| &mut c.server.backlog,
            "Connections the kernel holds per shard until they are accepted; `net.core.somaxconn` caps it.",
        )
        .flag("backlog", "N")
        .within(1..=65_535),
        setting(
            "server.max_connections",
            |c| &mut c.server.max_connections,
            "Connections of all shards together; more are answered 503. It never exceeds what this host can \
             hold.",
        )
        .flag("max-connections", "N")
        .within(1..=u64::MAX)
        .live()
        .unset("as many as this host can hold", "100_000"),
        setting(
            "server.flush",
            |c| &mut c.server.flush,
            "When messages leave: \"eager\" writes at once while the tick's budget lasts; \"tick\" only with \
             the tick, in fewer and larger writes.",
        )
        .flag("flush", "MODE"),
        setting("server.node", |c| &mut c.server.node, "This server's name in `welcome`: 1 to 128 bytes.")
            .flag("node", "NAME")
            .unset("the host's name", "\"eu-1\""),
        setting(
            "server.takeover",
            |c| &mut c.server.takeover,
            "Share the address with a server that is about to leave: start this one, then send the other SIGTERM.",
        )
        .flag("takeover", "BOOL"),
    ]
}

fn drain() -> Vec<Setting> {
    vec![
        setting(
            "drain.budget_ms",
            |c| &mut c.drain.budget_ms,
            "How long leaving may take: connections are sent away spread over it, each with a slot to come back in. 0: \
             everybody is cut off. Keep it below the time your supervisor waits before it kills.",
        )
        .flag("drain-budget-ms", "MS")
        .within(0..=3_600_000)
        .unset("30,000; with `dev` 1,000", "30_000"),
    ]
}

fn log() -> Vec<Setting> {
    vec![
        setting(
            "log.format",
            |c| &mut c.log.format,
            "How log lines are written: \"human\" for a person, \"json\" for a machine, an object per line.",
        )
        .flag("log", "FORM")
        .variables(&["THRONG_LOG"]),
        setting(
            "log.level",
            |c| &mut c.log.level,
            "What is logged: error, warn, info, debug (connects and closes with their reason), trace; or \
             directives such as info,throng=debug.",
        )
        .flag("log-level", "LEVEL")
        .live(),
    ]
}

fn tokens() -> Vec<Setting> {
    vec![
        setting(
            "tokens.secret_file",
            |c| &mut c.tokens.secret_file,
            "File with the HS256 secret of the tokens: at least 32 bytes; one line end at its end is dropped. \
             A reload reads it again. With the same precedence it beats `THRONG_JWT_HS256_SECRET`, which \
             holds the secret itself.",
        )
        .flag("jwt-secret-file", "FILE")
        .variables(&["THRONG_JWT_SECRET_FILE"])
        .live()
        .unset(
            "must be given, or THRONG_JWT_HS256_SECRET; with `dev` a secret is made for the run",
            "\"/etc/throng/jwt-secret\"",
        ),
        setting(
            "tokens.secret",
            |c| &mut c.tokens.secret,
            "The secret itself: meant for the environment, since arguments are there for every process to \
             read.",
        )
        .flag("jwt-hs256-secret", "SECRET")
        .variables(&["THRONG_JWT_HS256_SECRET"])
        .not_in_file(),
    ]
}

fn grants() -> Vec<Setting> {
    vec![
        setting(
            "grants.default",
            |c| &mut c.grants.default,
            "What a token without `rooms` may do, written like that claim: patterns (a name, or a prefix with \
             a trailing *, either may hold {user}), and what may be done there: join, publish, presence, \
             history. In a variable or a flag it is JSON.",
        )
        .flag("default-grants", "JSON")
        .variables(&["THRONG_DEFAULT_GRANTS"])
        .live()
        .unset("nothing; with `dev` everything", r#"[{ match = "chat:*", can = ["join", "publish"] }]"#),
    ]
}

fn limits_of_messages() -> Vec<Setting> {
    vec![
        setting(
            "limits.message_bytes_max",
            |c| &mut c.limits.message_bytes_max,
            "Bytes of one WebSocket message and of one frame; more closes with 1009.",
        )
        .within(1..=16 << 20)
        .live(),
        setting(
            "limits.fragments_max",
            |c| &mut c.limits.fragments_max,
            "Frames one message may be cut into; more closes with 1009.",
        )
        .within(1..=65_536)
        .live(),
        setting(
            "limits.depth_max",
            |c| &mut c.limits.depth_max,
            "Nesting of a payload; more is refused as `too_deep`.",
        )
        .within(1..=DEPTH_CEILING as u64)
        .live(),
        setting(
            "limits.head_bytes_max",
            |c| &mut c.limits.head_bytes_max,
            "Bytes of a request head; more answers 431.",
        )
        .within(1_024..=1 << 20)
        .live(),
        setting(
            "limits.handshake_ms",
            |c| &mut c.limits.handshake_ms,
            "Time from accept to a complete request head; then closed.",
        )
        .within(100..=600_000)
        .live(),
        setting(
            "limits.token_bytes_max",
            |c| &mut c.limits.token_bytes_max,
            "Bytes of a token; more is a bad token, before any cryptography.",
        )
        .within(256..=65_536)
        .live(),
        setting(
            "limits.token_leeway_s",
            |c| &mut c.limits.token_leeway_s,
            "Clock skew forgiven on `exp` and `nbf`, and the grace before 4003.",
        )
        .within(0..=600)
        .live(),
        setting(
            "limits.info_bytes_max",
            |c| &mut c.limits.info_bytes_max,
            "Bytes of one user's `info` claim, as compact JSON; more is a bad token.",
        )
        .within(0..=256)
        .live(),
    ]
}

fn limits_of_rooms() -> Vec<Setting> {
    vec![
        setting(
            "limits.rooms_per_connection_max",
            |c| &mut c.limits.rooms_per_connection_max,
            "Rooms one connection may sit in; more is refused as `too_many_rooms`.",
        )
        .within(1..=16_384)
        .live(),
        setting(
            "limits.history_on_join_max",
            |c| &mut c.limits.history_on_join_max,
            "Newest messages a join may ask for; more is cut down to it.",
        )
        .within(0..=65_535)
        .live(),
        setting(
            "limits.log_messages_max",
            |c| &mut c.limits.log_messages_max,
            "Messages a room's log keeps; who needs older ones gets a `gap`.",
        )
        .within(1..=65_535)
        .live(),
        setting(
            "limits.log_bytes_max",
            |c| &mut c.limits.log_bytes_max,
            "Bytes of frames a room's log keeps (one message is always kept).",
        )
        .within(0..=1 << 40)
        .live(),
        setting(
            "limits.logs_bytes_max",
            |c| &mut c.limits.logs_bytes_max,
            "Bytes of frames all logs of one shard keep; beyond it the longest-empty rooms are forgotten, and \
             when there are none, publishes are refused as `busy`.",
        )
        .within(1..=1 << 50)
        .live(),
        setting("limits.log_age_ms", |c| &mut c.limits.log_age_ms, "How long a message stays in the log.")
            .within(1..=1 << 50)
            .live(),
        setting(
            "limits.idle_rooms_max",
            |c| &mut c.limits.idle_rooms_max,
            "Rooms without anybody in them whose log a shard keeps; the longest empty is forgotten first.",
        )
        .within(0..=1 << 30)
        .live(),
        setting(
            "limits.members_max",
            |c| &mut c.limits.members_max,
            "Members listed in one answer; `count` is the true number all the same.",
        )
        .within(0..=65_535)
        .live(),
        setting(
            "limits.announced_max",
            |c| &mut c.limits.announced_max,
            "Users named in one announcement of who came and went; the rest follow with the next tick.",
        )
        .within(1..=65_535)
        .live(),
    ]
}

fn limits_of_connections() -> Vec<Setting> {
    vec![
        setting(
            "limits.outbox_soft_bytes_max",
            |c| &mut c.limits.outbox_soft_bytes_max,
            "Bytes written to one connection at once, and what its outbox may hold before it falls behind and \
             pulls from the log (one message longer than this passes alone).",
        )
        .within(1_024..=64 << 20)
        .live(),
        setting(
            "limits.outbox_hard_bytes_max",
            |c| &mut c.limits.outbox_hard_bytes_max,
            "Bytes in an outbox beyond which its connection's commands are refused as `busy`; a stalled one \
             that holds this and one frame is closed with 4001.",
        )
        .within(1_024..=64 << 20)
        .live(),
        setting(
            "limits.no_progress_ms",
            |c| &mut c.limits.no_progress_ms,
            "A stalled connection that takes nothing for this long is closed with 4001.",
        )
        .within(1_000..=86_400_000)
        .live(),
        setting("limits.heartbeat_ms", |c| &mut c.limits.heartbeat_ms, "Silence after which a ping goes out.")
            .within(1_000..=86_400_000)
            .live(),
        setting(
            "limits.pings_per_tick",
            |c| &mut c.limits.pings_per_tick,
            "Pings a shard sends per tick; who is due and has to wait is asked at the next.",
        )
        .within(1..=1 << 20)
        .live(),
        setting(
            "limits.dead_after_ms",
            |c| &mut c.limits.dead_after_ms,
            "Silence after which a connection is dead (4002); above `heartbeat_ms`.",
        )
        .within(1_000..=86_400_000)
        .live(),
        setting(
            "limits.close_grace_ms",
            |c| &mut c.limits.close_grace_ms,
            "How long the peer may take to answer a close frame.",
        )
        .within(0..=600_000)
        .live(),
    ]
}

fn limits_of_shards() -> Vec<Setting> {
    vec![
        setting(
            "limits.tick_ms",
            |c| &mut c.limits.tick_ms,
            "The tick: what is not written at once is written with it.",
        )
        .within(1..=10_000),
        setting(
            "limits.slow_turn_ms",
            |c| &mut c.limits.slow_turn_ms,
            "A turn of a shard that takes so long is logged with what it did. 0: none is.",
        )
        .within(0..=3_600_000),
        setting(
            "limits.sends_per_tick",
            |c| &mut c.limits.sends_per_tick,
            "Writes a shard makes per tick; the rest waits for the next.",
        )
        .within(1..=1 << 30)
        .live(),
        setting(
            "limits.letters_waiting_max",
            |c| &mut c.limits.letters_waiting_max,
            "Letters waiting for one shard before a publish is refused as `busy` and a delivery is made up \
             for from the log.",
        )
        .within(1..=1 << 30)
        .live(),
        setting("limits.letters_bytes_max", |c| &mut c.limits.letters_bytes_max, "Bytes of those letters, likewise.")
            .within(1..=1 << 40)
            .live(),
        setting(
            "limits.pending_messages_max",
            |c| &mut c.limits.pending_messages_max,
            "Unsent messages of one room at one shard; beyond it the shard's readers pull from the log.",
        )
        .within(1..=65_535)
        .live(),
        setting(
            "limits.connections_per_shard_max",
            |c| &mut c.limits.connections_per_shard_max,
            "Connections of one shard; more are answered 503. `max_connections` in [server] bounds all shards \
             together.",
        )
        .within(1..=1 << 40)
        .live(),
        setting(
            "limits.slots_per_ring",
            |c| &mut c.limits.slots_per_ring,
            "Rows, and direct descriptors, of one io_uring; the limit on open files cuts it down.",
        )
        .within(1..=65_535),
        setting(
            "limits.grant_sets_max",
            |c| &mut c.limits.grant_sets_max,
            "Distinct sets of grants a shard keeps; beyond it a token with yet another set is answered 503.",
        )
        .within(1..=1 << 30)
        .live(),
    ]
}
