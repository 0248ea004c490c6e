//! The closed tables of `docs/protocol.md` are those of the code: commands, events, error codes, close codes; and the limits
//! that `docs/operations.md` tells of are those that hold where nothing is configured.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use throng::base::Limits;
use throng::config::{Config, settings};
use throng::wire::TokenRules;
use throng::wire::close::CloseReason;
use throng::wire::envelope::{Command, Event};
use throng::wire::refusal::Refusal;
use throng::wire::{GapWhy, RemovedWhy};

/// The rows of the table under a heading of `docs/protocol.md`: the text of each cell.
fn table(heading: &str) -> Vec<Vec<String>> {
    table_of("protocol.md", heading)
}

fn table_of(page: &str, heading: &str) -> Vec<Vec<String>> {
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page)).expect("the page is there");
    let (_, section) = text.split_once(&format!("# {heading}\n")).expect("the heading is there");
    let rows = section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let cells = |row: &str| row.trim_matches('|').split(" |").map(|cell| cell.trim().to_owned()).collect();
    rows.skip(2).map(cells).collect()
}

/// The words in back quotes.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_documented_error_codes_are_all_there_are() {
    let documented: Vec<String> = table("Codes of `error`").iter().flat_map(|row| quoted(&row[0])).collect();
    assert_eq!(documented, Refusal::ALL.map(Refusal::code));
}

#[test]
fn the_documented_close_codes_are_all_there_are() {
    let documented: Vec<(u16, String)> =
        table("Closing").iter().map(|row| (row[0].parse().unwrap(), quoted(&row[1]).concat())).collect();
    let ours: Vec<(u16, String)> =
        CloseReason::ALL.iter().filter_map(|reason| Some((reason.code()?, reason.name().to_owned()))).collect();
    assert_eq!(documented, ours);
}

#[test]
fn the_documented_commands_and_events_are_all_there_are() {
    let commands: Vec<String> = table("Client → server").iter().flat_map(|row| quoted(&row[0])).collect();
    assert_eq!(commands, Command::NAMES);
    let events: BTreeSet<String> = table("Server → client").iter().flat_map(|row| quoted(&row[0])).collect();
    let ours = Event::NAMES.iter().map(|name| name.split('_').next().unwrap().to_owned());
    assert_eq!(events, ours.chain(["message".to_owned()]).collect());
}

/// The client and its page, as text.
fn script(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("the script is there")
}

/// What the line or lines between two words of the client list in double quotes.
fn listed(text: &str, from: &str, to: &str) -> BTreeSet<String> {
    let (_, rest) = text.split_once(from).unwrap_or_else(|| panic!("{from} is there"));
    let (list, _) = rest.split_once(to).unwrap_or_else(|| panic!("{to} is behind it"));
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_client_sends_every_command_and_takes_every_event() {
    let client = script("clients/js/throng.js");
    for command in Command::NAMES {
        let ways = ["ask(", "encode(", "request(", "say(", "type: "];
        let sends = ways.iter().any(|way| client.contains(&format!("{way}\"{command}\"")));
        assert!(sends, "throng.js never sends {command}");
    }
    for event in table("Server → client").iter().flat_map(|row| quoted(&row[0])) {
        assert!(client.contains(&format!("case \"{event}\"")), "throng.js does not know {event}");
    }
}

#[test]
fn the_client_names_every_error_code_and_every_why() {
    let client = script("clients/js/throng.js");
    let named = listed(&client, " * @typedef {\"malformed\"", "ErrorCode");
    // The first stands in what was looked for.
    let named: BTreeSet<String> = named.into_iter().chain(["malformed".to_owned()]).collect();
    let own =
        ["timeout", "disconnected", "not_connected", "queue_full", "closed", "too_big", "unencodable", "left", "token"];
    let known: BTreeSet<String> =
        Refusal::ALL.iter().map(|refusal| refusal.code()).chain(own).map(str::to_owned).collect();
    assert_eq!(named, known);
    let whys = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(
        listed(&client, "nothing is known to be missing. `why`:", "\n * @typedef"),
        whys(&GapWhy::ALL.map(GapWhy::name))
    );
    assert_eq!(listed(&client, "why: string}} Removed `why`:", "("), whys(&RemovedWhy::ALL.map(RemovedWhy::name)));
}

#[test]
fn the_page_explains_every_end_that_is_final() {
    let page = script("src/control/page/page.js");
    for reason in CloseReason::ALL {
        if let Some(code @ 4_500..) = reason.code() {
            assert!(page.contains(&format!("\n  {code}: [")), "the page has no words for {code} {}", reason.name());
        }
    }
    for why in GapWhy::ALL {
        assert!(
            page.contains(&format!("\n    {}: \"", why.name())),
            "the page has no words for a gap by {}",
            why.name()
        );
    }
}

/// 1,234,567.
fn grouped(number: impl TryInto<u64>) -> String {
    let digits = number.try_into().ok().expect("it is no more than fits").to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| str::from_utf8(group).expect("digits")).collect();
    groups.join(",")
}

/// 64 KiB, 16 MiB, 2 GiB.
fn bytes(number: usize) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let (shift, unit) = units.into_iter().find(|(shift, _)| number.is_multiple_of(1 << shift)).expect("a round number");
    format!("{} {unit}", number >> shift)
}

fn seconds(ms: u64) -> String {
    assert_eq!(ms % 1_000, 0);
    format!("{} s", ms / 1_000)
}

/// The limits that the page tells of, each with what its row must say; nothing where no default is behind it.
fn told(limits: &Limits) -> Vec<(&'static str, Vec<String>)> {
    let rules = TokenRules::default();
    let asked_in_time = limits.heartbeat_ms / limits.tick_ms * u64::from(limits.pings_per_tick);
    vec![
        (
            "message, frame",
            vec![
                format!("{} bytes", grouped(limits.message_bytes_max)),
                format!("{} fragments", grouped(limits.fragments_max)),
            ],
        ),
        ("nesting of a payload", vec![limits.depth_max.to_string()]),
        ("request head", vec![bytes(limits.head_bytes_max), seconds(limits.handshake_ms)]),
        ("all incomplete heads of a shard", vec![bytes(limits.heads_bytes_max)]),
        ("handshakes under way", vec![grouped(limits.handshakes_pending_max)]),
        ("`hello`", vec![bytes(limits.hello_bytes_max), seconds(limits.handshake_ms)]),
        ("connections", vec![]),
        ("connections from one address", vec![grouped(limits.connections_per_address_max)]),
        ("handshakes from one address", vec![format!("{} a second", limits.handshakes_per_address_per_s)]),
        (
            "handshakes from one address that come to nothing",
            vec![format!("{} a minute", limits.failures_per_address_per_minute)],
        ),
        ("connections of one user", vec![limits.connections_per_user_max.to_string()]),
        (
            "what deflated messages of one connection become",
            vec![format!("{} MB", limits.inflated_per_tick_max / 1_000_000)],
        ),
        ("answers deflated for single connections", vec![bytes(limits.answers_deflated_per_tick_max)]),
        ("tickets", vec![seconds(limits.ticket_ms), grouped(limits.tickets_max)]),
        (
            "a session without a connection",
            vec![
                seconds(limits.resume_window_ms),
                grouped(limits.sessions_kept_max),
                bytes(limits.sessions_kept_bytes_max),
            ],
        ),
        ("token", vec![bytes(limits.token_bytes_max), format!("leeway {} s", limits.token_leeway_s)]),
        (
            "a token's life",
            vec![
                format!("{} days ahead", rules.life_max_s / 86_400),
                format!("in a URL {} hour", rules.query_token_max_age_s / 3_600),
            ],
        ),
        ("keys", vec![]),
        ("word that the token ends", vec![seconds(limits.expiring_notice_ms)]),
        ("`refresh`", vec![format!("20 ticks ({})", seconds(20 * limits.tick_ms))]),
        ("different sets of grants at a time", vec![bytes(limits.grant_sets_bytes_max)]),
        ("a goodbye", vec![seconds(limits.close_grace_ms)]),
        ("revocations of tokens and users", vec![grouped(limits.revocations_max)]),
        ("`info`", vec![format!("{} bytes", limits.info_bytes_max)]),
        ("rooms per connection", vec![limits.rooms_per_connection_max.to_string()]),
        (
            "a room's log",
            vec![
                format!("{} messages", limits.log_messages_max),
                bytes(limits.log_bytes_max),
                format!("{} h", limits.log_age_ms / 3_600_000),
            ],
        ),
        ("history on join", vec![limits.history_on_join_max.to_string()]),
        ("rooms nobody sits in", vec![grouped(limits.idle_rooms_max)]),
        ("unsent bytes of a reader", vec![bytes(limits.outbox_soft_bytes_max), bytes(limits.outbox_hard_bytes_max)]),
        ("no progress in reading", vec![seconds(limits.no_progress_ms)]),
        ("silence", vec![seconds(limits.heartbeat_ms), seconds(limits.dead_after_ms)]),
        ("pings", vec![grouped(limits.pings_per_tick), format!("{} million", asked_in_time as f64 / 1e6)]),
        ("a shard's turn", vec![format!("{} ms", limits.slow_turn_ms)]),
        ("plain HTTP", vec![]),
    ]
}

#[test]
fn the_limits_told_of_are_the_defaults() {
    let limits = Limits::default();
    let (told, rows) = (told(&limits), table_of("operations.md", "Limits"));
    let names: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(names, told.iter().map(|(name, _)| *name).collect::<Vec<_>>(), "each row is compared here");
    for ((name, parts), row) in told.iter().zip(&rows) {
        let said = row[1..].join(" | ");
        for part in parts {
            let stands = said.match_indices(part.as_str()).any(|(at, _)| {
                let edge = |byte: Option<&u8>| byte.is_none_or(|byte| !byte.is_ascii_digit() && *byte != b',');
                edge(said.as_bytes()[..at].last()) && !said[at + part.len()..].starts_with(|c: char| c.is_ascii_digit())
            });
            assert!(stands, "{name}: the default is {part}, and the page says {said}");
        }
    }
}

/// "`key` (VALUE)" in a table: the value is that of the setting.
#[test]
fn the_bounds_of_what_is_remembered_are_the_defaults() {
    let defaults = Config::default();
    let number = |text: &str| -> u64 {
        let (digits, unit) = text.split_once(' ').unwrap_or((text, ""));
        let shift = match unit {
            "" | "inboxes" => 0,
            "MiB" => 20,
            "GiB" => 30,
            unit => panic!("{unit} is no unit of this page"),
        };
        digits.replace([',', '_'], "").parse::<u64>().unwrap() << shift
    };
    let mut compared = 0;
    for row in table_of("operations.md", "What is remembered, and how much of it") {
        let words: Vec<&str> = row[1].split('`').collect();
        for pair in words[1..].chunks(2) {
            let [key, behind] = pair else { continue };
            let Some((value, _)) = behind.strip_prefix(" (").and_then(|rest| rest.split_once(')')) else { continue };
            if value == "class" {
                continue;
            }
            let setting = settings().iter().find(|setting| setting.path() == format!("limits.{key}"));
            let default =
                setting.and_then(|setting| setting.show(&defaults)).unwrap_or_else(|| panic!("{key} is no setting"));
            assert_eq!(number(value), number(&default), "{key}");
            compared += 1;
        }
    }
    assert!(compared >= 9, "{compared}");
}
