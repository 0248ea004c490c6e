//! What the configuration promises.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::explain::explain_room;
use super::list::SECTIONS;
use super::reference::EXAMPLE;
use super::*;

fn settle(file: &str, environment: &[(&str, &str)], flags: &[(&'static str, &str)]) -> Result<Settled, Vec<String>> {
    let environment: BTreeMap<String, String> =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let flags: Vec<(&'static str, String)> = flags.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    let file = Some((Path::new("conf/throng.toml"), file));
    read(&Sources { file, environment: &environment, flags: &flags }).map_err(|problems| problems.0)
}

fn problems(file: &str) -> Vec<String> {
    settle(file, &[], &[]).expect_err(file)
}

fn values(config: &Config) -> Vec<Option<String>> {
    settings().iter().map(|setting| setting.show(config)).collect()
}

#[test]
fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
    let file = "[server]\nshards = 2\nbacklog = 20\nnode = 'file'\n";
    let environment = [("THRONG_SHARDS", "3"), ("THRONG_NODE", ""), ("THRONG_BACKLOG", "30")];
    let settled = settle(file, &environment, &[("shards", "4")]).unwrap();
    let server = &settled.config.server;
    assert_eq!((server.shards, server.backlog, server.node.as_deref()), (Some(4), 30, Some("file")));
    assert_eq!(server.max_connections, None);
    let whence = |path: &str| settled.whence(path).to_string();
    assert_eq!(whence("server.shards"), "--shards");
    assert_eq!(whence("server.backlog"), "THRONG_BACKLOG");
    assert_eq!(whence("server.node"), "conf/throng.toml:4", "an empty variable is not set");
    assert_eq!(whence("server.max_connections"), "default");
}

#[test]
fn a_port_alone_loses_to_an_address_only_where_it_has_no_higher_precedence() {
    let listen = |file: &str, environment: &[(&str, &str)], flags: &[(&'static str, &str)]| {
        settle(file, environment, flags).unwrap().listen().map(|listen| listen.to_string()).unwrap_or_default()
    };
    let file = "[server]\nlisten = '10.0.0.1:1'\n";
    assert_eq!(listen("", &[], &[]), "");
    assert_eq!(listen(file, &[], &[]), "10.0.0.1:1");
    assert_eq!(listen(file, &[("PORT", "9")], &[]), "0.0.0.0:9");
    assert_eq!(listen(file, &[("PORT", "9"), ("THRONG_LISTEN", "[::1]:7")], &[]), "[::1]:7");
    assert_eq!(listen("[server]\nport = 5\nlisten = '10.0.0.1:1'\n", &[], &[]), "10.0.0.1:1");
    assert_eq!(listen("", &[], &[("dev", "true")]), "127.0.0.1:8080");
    assert_eq!(listen("[server]\ndev = true\nport = 9\n", &[], &[]), "127.0.0.1:9");
    assert_eq!(listen("", &[("PORT", "9")], &[("listen", "[::1]:7")]), "[::1]:7");
}

#[test]
fn what_is_unknown_is_refused_with_its_line_and_what_may_have_been_meant() {
    let cases = [
        ("[server]\nlisen = 'x'", "conf/throng.toml:2: unknown key `lisen` in [server]: did you mean `listen`?"),
        ("\n\n[sever]\nx = 1", "conf/throng.toml:3: unknown section [sever]: did you mean [server]?"),
        ("shards = 1", "conf/throng.toml:1: `shards` stands in no section: it belongs into [server]"),
        ("[log]\nshards = 1", "conf/throng.toml:2: unknown key `shards` in [log]: it belongs into [server]"),
        ("[log]\ncolour = 1", "conf/throng.toml:2: unknown key `colour` in [log]: `throng default-config` shows all"),
        ("[[server]]\nshards = 1", "conf/throng.toml:1: [server] must be one table, written once, not a list"),
        ("server = 1", "conf/throng.toml:1: [server] must be one table, written once, not a whole number"),
        ("[zoo]", "conf/throng.toml:1: unknown section [zoo]: there are [server], [admin], [log],"),
        ("[server]\n\"li\\u001Bsten\" = 1", "unknown key `li\\u{1b}sten` in [server]"),
        ("[tokens]\nsecret = 'x'", "use `secret_file`, or the variable THRONG_JWT_HS256_SECRET"),
        ("[server]\nshards = 1\nshards = 2", "conf/throng.toml:3: this is not TOML: duplicate key"),
        ("[server\nshards = 1", "conf/throng.toml:1: this is not TOML"),
    ];
    for (file, expected) in cases {
        let problems = problems(file);
        assert!(problems.len() == 1 && problems[0].contains(expected), "{problems:?} is not {expected:?}");
    }
}

#[test]
fn a_wrong_value_is_refused_in_a_sentence() {
    let cases = [
        ("[server]\nshards = 0", "conf/throng.toml:2: `shards` in [server] is 0 and must be between 1 and 1024"),
        ("[server]\nmax_connections = 0", "is 0 and must be at least 1"),
        ("[server]\nshards = -1", "`shards` in [server] must not be negative, and is -1"),
        ("[server]\nshards = 70_000", "is 70000, which is more than this setting can hold"),
        ("[server]\nshards = 99999999999999999999999999999999999999999", "must be a whole number"),
        ("[server]\nshards = 'two'", "must be a whole number, not a text"),
        ("[server]\nshards = '2'", "must be a whole number: write it without quotes"),
        ("[server]\nshards = 1.5", "must be a whole number, not a number with a fraction"),
        ("[server]\ndev = 1", "must be true or false, not a whole number"),
        (
            "[server]\nlisten = 'here'",
            "must be an address and a port such as \"0.0.0.0:8080\" or \"[::]:8080\", not \"here\"",
        ),
        ("[server]\nflush = 'later'", "must be one of eager, tick, not \"later\""),
        ("[server]\ncores = [0, 'x']", "`cores` in [server] holds an item (2) that must be a whole number, not a text"),
        ("[server]\nnode = ''", "`node` in [server] must have 1 to 128 bytes"),
        ("[server]\nnode = 1", "`node` in [server] must be a text in quotes, not a whole number"),
        ("[log]\nformat = 1979-05-27", "must be a text in quotes, not a date"),
        ("[tokens]\nsecret_file = ''", "must be a path and is empty"),
        ("[grants]\ndefault = 'chat:*'", "`default` in [grants] must be an array of"),
        ("[grants]\ndefault = [{ match = 'a', can = ['shout'] }]", "`can` lists join, publish, presence, history"),
        ("[admin]\nlisten = 'no'", "must be \"off\", or an address and a port"),
        ("[admin]\nkeys = ['a']", "holds an item (1) that must be a table with name, sha256"),
        ("[admin]\nkeys = [{ name = 'a', sha256 = '0' }]", "is no API key: the API key a is not 64 hex digits"),
        ("[tokens]\nkeys = [{ kid = 'a' }]", "holds an item (1) that has no `file`"),
        ("[tokens]\nkeys = [{ file = 'a', key = 'b' }]", "has an unknown field \"key\": there are file, kid,"),
        ("[tokens]\nkeys = [{ file = 'a', algorithm = 'none' }]", "names \"none\", which is none of HS256"),
        ("[tokens]\njwks = [{ url = 'http://id.example/' }]", "http://id.example/ is not https"),
        (
            "[tokens]\njwks = [{ url = 'http://localhost/', ca_file = 'ca' }]",
            "ca_file says who vouches for an https address",
        ),
        ("[tokens]\njwks = [{ url = 'https://a', refresh_s = '1' }]", "has a `refresh_s` that must be a whole number"),
        (
            "[tokens]\njwks = [{ url = 'https://a', refresh_s = 31_536_001 }]",
            "JWKS https://a: refresh_s is more than a",
        ),
        ("[tokens]\njwks = [{ url = 'https://a', stale_max_s = 31_536_001 }]", "stale_max_s is more than a year"),
        ("[tokens]\njwks = [{ url = 'https://a', backoff_max_s = 31_536_001 }]", "backoff_max_s is more than a year"),
        ("[tokens]\njwks = [{ url = 'https://a', timeout_ms = 600_001 }]", "timeout_ms is more than ten minutes"),
        ("[tokens]\njwks = [{ url = 'https://a', body_bytes_max = 16_777_217 }]", "body_bytes_max is more than 16 MiB"),
        (
            "[tokens]\njwks = [{ url = 'https://a/?k=1' }, { url = 'https://a/?k=1' }]",
            "`jwks` in [tokens] names https://a/ twice",
        ),
        ("[tokens]\njwks = [{ url = 'https://a' }, { url = 'https://a' }]", "`jwks` in [tokens] names https://a twice"),
        ("[tokens]\nalgorithms = []", "tokens.algorithms names none"),
        ("[tokens]\naudiences = ['']", "tokens.audiences holds an empty text"),
        ("[tokens]\ncookie = 'a b'", "`cookie` in [tokens]: `a b` is no name of a cookie"),
        ("[origins]\nallow = ['null']", "`allow` in [origins] holds what cannot be allowed: `null` cannot be allowed"),
        ("[proxies]\ntrusted = ['10.0.0.1/8']", "holds what is no net: `10.0.0.1/8` has bits set behind its prefix"),
        (
            "[rooms.'chat:*']\n\nlog_mesages_max = 5",
            "conf/throng.toml:3: `log_mesages_max` in [rooms.\"chat:*\"] is unknown: did you mean `log_messages_max`?",
        ),
        ("[rooms]\nlog_messages_max = 5", "`log_messages_max` in [rooms] must be a table, because it is a pattern"),
        ("[rooms.'a b']", "conf/throng.toml:1: [rooms.\"a b\"] the pattern holds what no room name holds"),
        (
            "[rooms.'a*']\nflush = 'later'",
            "`flush` in [rooms.\"a*\"] must be one of inherit, eager, tick, not \"later\"",
        ),
        ("[rooms.'a*']\nseats_max = -1", "`seats_max` in [rooms.\"a*\"] must be a whole number, not -1"),
        (
            "[rooms.'a*']\nlog_messages_max = 0",
            "`log_messages_max` in [rooms.\"a*\"] is 0 and must be between 1 and 65535",
        ),
        ("[rooms.'a*']\ncan = ['shout']", "must be a list of join, publish, presence, history"),
        ("[rooms.'a*']\nmessage_bytes_max = 2_000_000", "raise `message_bytes_max` in [limits]"),
        ("[limits]\nheartbeat_ms = 70_000", "[limits] contradict each other: dead_after_ms must be above heartbeat_ms"),
    ];
    for (file, expected) in cases {
        let problems = problems(file);
        assert!(problems.len() == 1 && problems[0].contains(expected), "{problems:?} is not {expected:?}");
    }
    let bad = settle("", &[("THRONG_SHARDS", "two"), ("THRONG_DEFAULT_GRANTS", "x")], &[("backlog", "0")]).unwrap_err();
    assert_eq!(bad.len(), 3, "{bad:?}");
    assert!(
        bad.iter().any(|why| why == "THRONG_SHARDS: `server.shards` must be a whole number, not \"two\""),
        "{bad:?}"
    );
    assert!(bad.iter().any(|why| why.starts_with("--backlog: `server.backlog` is 0 and must be")), "{bad:?}");
    assert!(bad.iter().any(|why| why.starts_with("THRONG_DEFAULT_GRANTS: `grants.default` is not JSON")), "{bad:?}");
}

#[test]
fn everything_that_is_wrong_is_told_at_once_in_the_order_of_the_lines() {
    let told = problems("[server]\nzap = 1\nshards = 0\n[log]\nlevel = 7\n[grants]\ndefalt = []\n");
    let lines: Vec<&str> = told.iter().map(|why| &why[..why.find(": ").unwrap()]).collect();
    assert_eq!(lines, [2, 3, 5, 7].map(|line| format!("conf/throng.toml:{line}")));
}

#[test]
fn a_variable_nobody_reads_is_warned_of_and_those_of_kubernetes_are_not() {
    let environment = [
        ("THRONG_SHRADS", "2"),
        ("THRONG_CONFIG", "x"),
        ("THRONG_PORT", "tcp://10.0.0.1:80"),
        ("THRONG_SERVICE_HOST", "10.0.0.1"),
        ("THRONG_PORT_80_TCP_PROTO", "tcp"),
        ("OTHERS", "1"),
    ];
    let warnings = settle("", &environment, &[]).unwrap().warnings;
    assert_eq!(warnings, ["the variable THRONG_SHRADS is read by nobody: did you mean THRONG_SHARDS?"]);
}

#[test]
fn paths_in_the_file_are_seen_from_its_folder() {
    let path = |file: &str, variable: &str| {
        let settled = settle(file, &[("THRONG_JWT_SECRET_FILE", variable)], &[]).unwrap();
        settled.config.tokens.secret_file.unwrap()
    };
    assert_eq!(path("[tokens]\nsecret_file = 'a'", ""), Path::new("conf/a"));
    assert_eq!(path("[tokens]\nsecret_file = '/a'", ""), Path::new("/a"));
    assert_eq!(path("[tokens]\nsecret_file = 'a'", "b"), Path::new("b"));
}

#[test]
fn a_secret_is_never_shown() {
    const SECRET: &str = "a-secret-of-thirty-two-characters";
    let settled = settle("", &[("THRONG_JWT_HS256_SECRET", SECRET)], &[]).unwrap();
    assert_eq!(settled.config.tokens.secret.as_ref().unwrap().reveal(), SECRET);
    let shown = format!("{settled:?} {}", explain(&settled));
    assert!(shown.contains("not shown") && shown.contains("THRONG_JWT_HS256_SECRET") && !shown.contains(SECRET));
    assert!(!default_file().contains("HS256_SECRET\n#secret "), "not a setting of the file");
}

#[test]
fn the_kinds_of_the_parts_are_the_same_in_the_file_and_in_variables() {
    let (zeros, ones) = ("0".repeat(64), "1".repeat(64));
    let file = format!(
        "[admin]\nlisten = 'off'\nkeys = [{{ name = 'a', sha256 = '{zeros}' }}, {{ name = 'b', sha256 = '{ones}' }}]\n\
         [tokens]\nkeys = [{{ file = '/a.pem', kid = 'k', algorithm = 'ES256', issuer = 'i' }}]\n\
         jwks = [{{ url = 'https://a/', issuer = 'i', timeout_ms = 7, ca_file = '/ca.pem' }}]\nalgorithms = ['RS256', 'EdDSA']\n\
         [origins]\nallow = ['https://a', 'same-host']\n[proxies]\ntrusted = ['10.0.0.0/8', '::1']\n\
         [limits]\nuncounted = []\n"
    );
    let by_file = settle(&file, &[], &[]).unwrap();
    let keys = format!("a={zeros},b={ones}");
    let environment = [
        ("THRONG_ADMIN_LISTEN", "off"),
        ("THRONG_API_KEY_SHA256", &keys),
        ("THRONG_TOKENS_KEYS", r#"[{"file":"/a.pem","kid":"k","algorithm":"ES256","issuer":"i"}]"#),
        ("THRONG_JWKS_URL", r#"[{"url":"https://a/","issuer":"i","timeout_ms":7,"ca_file":"/ca.pem"}]"#),
        ("THRONG_TOKENS_ALGORITHMS", "RS256,EdDSA"),
        ("ALLOWED_ORIGINS", "https://a, same-host"),
        ("THRONG_PROXIES_TRUSTED", "10.0.0.0/8,::1"),
        ("THRONG_LIMITS_UNCOUNTED", ","),
    ];
    let by_variables = settle("", &environment, &[]).unwrap();
    assert_eq!(values(&by_file.config), values(&by_variables.config));
    assert_ne!(values(&by_file.config), values(&Config::default()));
    let (of_file, of_variables) = (&by_file.config, &by_variables.config);
    assert_eq!((&of_file.admin.keys, &of_file.tokens.keys), (&of_variables.admin.keys, &of_variables.tokens.keys));
    assert_eq!((&of_file.tokens.jwks, &of_file.origins), (&of_variables.tokens.jwks, &of_variables.origins));
    assert!(!explain(&by_file).contains(&zeros), "not even the hash is shown");
    let plain = [("THRONG_JWKS_URL", "https://a/,https://b/"), ("THRONG_TOKENS_KEYS", "/a.pem")];
    let tokens = settle("", &plain, &[]).unwrap().config.tokens;
    assert_eq!((tokens.jwks.len(), tokens.keys), (2, vec![KeyFile::at("/a.pem")]));
}

#[test]
fn what_does_nothing_is_warned_of() {
    let warnings = |file: &str| settle(file, &[], &[]).unwrap().warnings;
    assert!(warnings("[tokens]\ncookie = 'session'")[0].contains("never looked at"));
    let issuers = |second: &str| {
        warnings(&format!("[tokens]\njwks = [{{ url = 'https://a', issuer = 'a' }}, {{ url = 'https://b'{second} }}]"))
    };
    assert!(issuers("")[0].contains("everybody's tokens") && issuers(", issuer = 'b'").is_empty());
    assert_eq!(warnings("[tokens]\ncookie = 'session'\n[origins]\nallow = ['https://a']"), [""; 0]);
    assert!(warnings("[proxies]\nprotocol = true")[0].contains("names nobody"));
    for everybody in ["0.0.0.0/0", "::/0", "::ffff:0:0/96"] {
        let warned = warnings(&format!("[proxies]\ntrusted = ['10.0.0.0/8', '{everybody}']"));
        assert!(warned[0].contains("holds every address"), "{warned:?}");
    }
    assert_eq!(warnings("[proxies]\ntrusted = ['10.0.0.0/8', '::/1']"), [""; 0]);
}

#[test]
fn what_cannot_change_is_named_and_stays_and_what_can_changes() {
    let running = settle("[server]\nshards = 2\nnode = 'a'\n[limits]\ntick_ms = 50", &[], &[]).unwrap();
    let mut fresh = settle("[server]\nshards = 3\n[limits]\ndepth_max = 5\nslots_per_ring = 7", &[], &[]).unwrap();
    let restart = ["server.shards", "server.node", "limits.tick_ms", "limits.slots_per_ring"];
    assert_eq!(fresh.needs_restart(&running), restart);
    fresh.keep_fixed(&running);
    assert_eq!(fresh.needs_restart(&running), [""; 0]);
    let (server, limits) = (&fresh.config.server, &fresh.config.limits);
    assert_eq!((server.shards, server.node.as_deref()), (Some(2), Some("a")));
    assert_eq!((limits.tick_ms, limits.slots_per_ring, limits.depth_max), (50, 19_000, 5));
}

#[test]
fn the_reference_file_says_what_holds_anyway() {
    let file = default_file();
    assert_eq!(values(&settle(&file, &[], &[]).unwrap().config), values(&Config::default()));
    let (mut said, mut examples) = (String::new(), String::new());
    for line in file.lines() {
        let setting =
            line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '"'));
        match setting {
            Some(setting) if setting.ends_with(EXAMPLE) => examples.push_str(setting),
            Some(setting) => said.push_str(setting),
            None => {}
        }
        for text in [&mut said, &mut examples] {
            text.push_str(if line.starts_with('[') { line } else { "" });
            text.push('\n');
        }
    }
    let settled = settle(&said, &[], &[]).unwrap();
    assert_eq!(values(&settled.config), values(&Config::default()));
    let all = settings().iter().filter(|setting| !setting.hidden);
    let from_file = |settled: &Settled| settled.each().filter(|(_, whence)| whence.rank() == 1).count();
    let settled_examples = settle(&examples, &[], &[]).expect("every example is good");
    assert_eq!(from_file(&settled) + from_file(&settled_examples), all.count());
}

#[test]
fn every_setting_has_a_place_words_and_names_of_its_own() {
    let mut paths = BTreeSet::new();
    let mut names = BTreeSet::new();
    for setting in settings() {
        assert!(SECTIONS.iter().any(|(section, _)| *section == setting.section), "{setting:?}");
        assert!(setting.words.ends_with('.'), "{setting:?}: whole sentences");
        let has_default = setting.show(&Config::default()).is_some();
        assert!(setting.hidden || has_default == setting.unset.is_empty(), "{setting:?}: a default, or what holds");
        assert!(paths.insert(setting.path()), "{setting:?} is there twice");
        for name in setting.variables.iter().cloned().chain(setting.flag.map(|flag| format!("--{flag}"))) {
            assert!(names.insert(name.clone()), "{name} means two settings");
        }
    }
}

/// `THRONG_BLESS=1` writes the page instead.
#[test]
fn the_page_in_docs_is_the_reference() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/config.md");
    #[expect(clippy::disallowed_methods, reason = "a test that is asked to write what it would compare")]
    if std::env::var("THRONG_BLESS").is_ok() {
        std::fs::write(&path, reference_page()).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap();
    assert!(page == reference_page(), "docs/config.md is not what src/config/list.rs says: run with THRONG_BLESS=1");
}

#[test]
fn a_room_is_told_what_it_gets() {
    let grants =
        "[grants]\ndefault = [{ match = 'chat:*', can = ['join', 'publish'] }, { match = '@{user}', can = ['join'] }]";
    let settled = settle(grants, &[], &[]).unwrap();
    let of = |room: &str, user: Option<&str>| explain_room(&settled, room, user).unwrap();
    assert!(of("chat:a", None).contains("may here: join, publish\n"), "{}", of("chat:a", None));
    assert!(of("x", None).contains("may here: do nothing\n") && of("x", None).contains("@{user}"));
    assert!(of("@ann", Some("ann")).contains("\"ann\" whose token has no `rooms` may here: join, publish, history\n"));
    assert!(of("@ann", Some("bob")).contains("do nothing"));
    assert!(
        of("x", None).contains("no pattern in [rooms] fits") && of("x", None).contains("log_messages_max      100\n")
    );
    let settled = settle("[rooms.'chat:*']\nlog_messages_max = 7\n[limits]\nlog_age_ms = 70", &[], &[]).unwrap();
    let chat = explain_room(&settled, "chat:a", None).unwrap();
    assert!(chat.contains("class chat:*, the longest pattern") && chat.contains("log_messages_max      7\n"), "{chat}");
    assert!(chat.contains("log_age_ms            70\n"), "what a pattern does not say is what [limits] says: {chat}");
    let settled = settle(grants, &[], &[]).unwrap();
    assert!(explain_room(&settled, "no room", None).unwrap_err().contains("is no room name"));
    let dev = settle("[server]\ndev = true", &[], &[]).unwrap();
    assert!(explain_room(&dev, "x", None).unwrap().contains("join, publish, presence, history"));
}

#[test]
fn what_is_said_of_defaults_that_depend_on_dev_is_what_holds() {
    let unset = |path: &str| settings().iter().find(|setting| setting.path() == path).unwrap().unset.to_owned();
    let with_commas = |ms: u64| format!("{},{:03}", ms / 1_000, ms % 1_000);
    let budgets = format!("{}; with `dev` {}", with_commas(DRAIN_BUDGET_MS), with_commas(DEV_DRAIN_BUDGET_MS));
    assert_eq!(unset("drain.budget_ms"), budgets);
    assert!(unset("server.listen").ends_with(&format!("with `dev` 127.0.0.1:{DEV_PORT}")));
}
