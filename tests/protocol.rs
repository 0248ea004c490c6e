//! The closed tables of `docs/protocol.md` are those of the code: commands, events, error codes, close codes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use throng::wire::close::CloseReason;
use throng::wire::envelope::{Command, Event};
use throng::wire::refusal::Refusal;
use throng::wire::{GapWhy, RemovedWhy};

/// The rows of the table under a heading of `docs/protocol.md`: the text of each cell.
fn table(heading: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/protocol.md"))
        .expect("the protocol is there");
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
