//! Every setting there is, in the order of the reference.
//!
//! To add one: a field with its default in its section's struct, and one entry here. File, environment, flags, their
//! help, `check-config`, `default-config` and `docs/config.md` follow by themselves.

use std::sync::LazyLock;

use super::limits;
use super::setting::{Setting, setting};

/// Sections in the order of the reference, with what they are about.
pub(super) const SECTIONS: &[(&str, &str)] = &[
    ("server", "Where and on what the server runs."),
    ("admin", "Where operators and backends ask: `/readyz`, `/metrics` and the HTTP API, apart from the public."),
    (
        "log",
        "What is written to stderr. Of each kind of line at most 20 a second are written, the rest is \
             counted.",
    ),
    (
        "tokens",
        "Who proves tokens, what they must say, and how they may come. Secrets lie in files of their own and never in this one.",
    ),
    ("grants", "What people may do whose token does not say it."),
    ("origins", "Which pages may connect, by the `Origin` that browsers send."),
    ("proxies", "Who stands in front of the server, and may say for whom it speaks."),
    (
        "compression",
        "`permessage-deflate` (RFC 7692) for clients that offer it, as browsers do. A message is deflated once for all who \
             are sent it; nothing is remembered between two messages, so a connection costs no memory.",
    ),
    ("drain", "How the server leaves after SIGTERM or SIGINT; a second signal ends it at once."),
    (
        "rooms",
        "How rooms behave, by their names: each `[rooms.\"PATTERN\"]` holds what differs from `[limits]` and the \
             defaults. A pattern is a room's name, or a prefix with one trailing *. Of those that fit a name the longest \
             holds, a whole name before a prefix of the same length; \"*\" is for rooms that nothing else fits.",
    ),
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
        all.extend(admin());
        all.extend(log());
        all.extend(tokens());
        all.extend(demands());
        all.extend(grants());
        all.extend(origins());
        all.extend(proxies());
        all.extend(compression());
        all.extend(drain());
        all.extend(rooms());
        all.extend(limits::all());
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
        setting(
            "server.engine",
            |c| &mut c.server.engine,
            "What carries the sockets: \"io_uring\" (Linux 6.8 or later); \"epoll\" for hosts that forbid it, as containers \
             do by default, at more CPU per message; \"auto\" tries io_uring and says why where it takes epoll.",
        )
        .flag("engine", "ENGINE"),
        setting("server.node", |c| &mut c.server.node, "This server's name in `welcome`: 1 to 128 bytes.")
            .flag("node", "NAME")
            .unset("the host's name", "\"eu-1\""),
        setting(
            "server.takeover",
            |c| &mut c.server.takeover,
            "Share the address with a server that is about to leave: start this one, then send the other SIGTERM.",
        )
        .flag("takeover", "BOOL"),
        setting(
            "server.echo",
            |c| &mut c.server.echo,
            "Mounts `/echo`, which sends every message back, for conformance suites and measurements. No token is asked \
             for there: not on a server that strangers reach.",
        )
        .flag("echo", "BOOL")
        .live(),
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

fn admin() -> Vec<Setting> {
    vec![
        setting(
            "admin.listen",
            |c| &mut c.admin.listen,
            "Address and port of the admin listener, or \"off\" for none. Port 0 picks a free one; so does `dev` where \
             this is taken and nobody asked for it.",
        )
        .flag("admin-listen", "ADDR"),
        setting(
            "admin.on_public",
            |c| &mut c.admin.on_public,
            "What is on the admin listener is on the public one, too: for hosts that give one port.",
        )
        .flag("admin-on-public", "BOOL"),
        setting(
            "admin.keys",
            |c| &mut c.admin.keys,
            "Who may use the API: keys by a name and their SHA-256, as `throng api-key new` prints it: \
             [{ name = \"shop\", sha256 = \"…\" }]. In a variable or a flag NAME=SHA256, with commas between.",
        )
        .flag("api-key-sha256", "NAME=HEX")
        .repeats()
        .variables(&["THRONG_API_KEY_SHA256"])
        .live(),
        setting(
            "admin.keys_file",
            |c| &mut c.admin.keys_file,
            "File with more such keys, one NAME=SHA256 per line; # begins a comment.",
        )
        .flag("api-keys-file", "FILE")
        .variables(&["THRONG_API_KEYS_FILE"])
        .live()
        .unset("none", "\"/etc/throng/api-keys\""),
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
            "this, THRONG_JWT_HS256_SECRET, `keys` or `jwks` must be given; with `dev` a secret is made for the run",
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
        setting(
            "tokens.keys",
            |c| &mut c.tokens.keys,
            "Files with more keys: a public key in PEM, a JWK set, or a secret; a reload reads them again: \
             [{ file = \"/etc/throng/eu.pem\", kid = \"eu-1\", algorithm = \"ES256\", issuer = \"https://id.example\" }], of \
             which only `file` must be there. In a variable JSON, or paths with commas between.",
        )
        .live(),
        setting(
            "tokens.jwks",
            |c| &mut c.tokens.jwks,
            "Addresses of JWK sets: [{ url = \"https://id.example/jwks.json\", issuer = \"https://id.example\" }]; there \
             are also `refresh_s` (600), `between_s` (30), `stale_max_s` (86_400: how long keys are trusted when fetches \
             fail; 0: for ever), `backoff_max_s` (300), `timeout_ms` (5_000), \
             `body_bytes_max` (262_144), `plain_http` (false) and `ca_file` (certificates that vouch for this address, \
             instead of the system's). In a variable JSON, or URLs with commas between.",
        )
        .flag("jwks-url", "URL")
        .repeats()
        .variables(&["THRONG_JWKS_URL"])
        .live(),
    ]
}

fn demands() -> Vec<Setting> {
    vec![
        setting(
            "tokens.algorithms",
            |c| &mut c.tokens.rules.algorithms,
            "Algorithms that are taken, of those there are keys for.",
        )
        .live(),
        setting(
            "tokens.issuers",
            |c| &mut c.tokens.rules.issuers,
            "`iss` must be one of these. Empty: whatever it says.",
        )
        .live(),
        setting(
            "tokens.audiences",
            |c| &mut c.tokens.rules.audiences,
            "`aud` must name one of these. Empty: a token with an `aud` is meant for somebody else and refused.",
        )
        .live(),
        setting(
            "tokens.required",
            |c| &mut c.tokens.rules.required,
            "Claims that must be there besides `sub` and `exp`, such as \"jti\" or \"iat\".",
        )
        .live(),
        setting("tokens.types", |c| &mut c.tokens.rules.types, "Values of `typ` that are taken.").live(),
        setting(
            "tokens.type_required",
            |c| &mut c.tokens.rules.type_required,
            "A token must have a `typ`; else one without it passes.",
        )
        .live(),
        setting(
            "tokens.life_max_s",
            |c| &mut c.tokens.rules.life_max_s,
            "The longest a token may still be good for; one that ends later is refused. Revocations are remembered \
             for as long. With `dev`, where nothing is said, for ever.",
        )
        .within(1..=1 << 40)
        .live(),
        setting(
            "tokens.query_token_max_age_s",
            |c| &mut c.tokens.rules.query_token_max_age_s,
            "The same for a token that comes in a URL: others log URLs.",
        )
        .within(1..=1 << 40)
        .live(),
        setting(
            "tokens.cookie",
            |c| &mut c.tokens.carriers.cookie,
            "The cookie that may hold the token; looked at only for pages that `allow` in [origins] lists by name.",
        )
        .live()
        .unset("none", "\"session\""),
        setting(
            "tokens.hello",
            |c| &mut c.tokens.carriers.hello,
            "Whether a client that brings no token may send it as its first message.",
        )
        .live(),
    ]
}

fn origins() -> Vec<Setting> {
    vec![
        setting(
            "origins.allow",
            |c| &mut c.origins,
            "Origins of pages, each as scheme://host or scheme://host:port. \"same-host\" allows pages of the host and \
             port they connect to, \"*\" every page that has an origin. With `dev` pages of this machine are \
             allowed, too.",
        )
        .flag("origins", "ORIGIN")
        .repeats()
        .variables(&["THRONG_ORIGINS_ALLOW", "ALLOWED_ORIGINS"])
        .live(),
    ]
}

fn proxies() -> Vec<Setting> {
    vec![
        setting(
            "proxies.trusted",
            |c| &mut c.proxies.trusted,
            "Nets of proxies that are believed about who is behind them: [\"10.0.0.0/8\", \"2001:db8::/32\"].",
        )
        .flag("trusted-proxies", "NET")
        .repeats()
        .live(),
        setting(
            "proxies.protocol",
            |c| &mut c.proxies.protocol,
            "Every connection of a trusted proxy begins with a PROXY header, version 1 or 2; one that does not is \
             closed.",
        )
        .live(),
    ]
}

fn compression() -> Vec<Setting> {
    vec![
        setting(
            "compression.enabled",
            |c| &mut c.compression.enabled,
            "Whether it is agreed on, and messages are deflated. Who agreed before it was switched off may go on sending \
             deflated messages.",
        )
        .flag("compression", "BOOL")
        .live(),
        setting(
            "compression.bytes_above",
            |c| &mut c.compression.bytes_above,
            "Messages of more bytes than this are deflated, if that makes them shorter.",
        )
        .within(64..=1 << 30)
        .live(),
        setting(
            "compression.level",
            |c| &mut c.compression.level,
            "How much work is put into it: 1 the least, 9 the most and for little more.",
        )
        .within(1..=9)
        .live(),
    ]
}

fn rooms() -> Vec<Setting> {
    vec![
        setting(
            "rooms.*",
            |c| &mut c.rooms,
            "All of it, in a variable: a JSON object by pattern, of objects by the keys below.",
        )
        .variables(&["THRONG_ROOMS"])
        .live()
        .unset("no pattern", ""),
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
