//! The closed tables of `docs/protocol.md` are those of the code: commands, events, error codes, close codes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use throng::wire::close::CloseReason;
use throng::wire::envelope::{Command, Event};
use throng::wire::refusal::Refusal;

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
