//! `throng api-key`, `publish`, `tail`, `who`, `kick`, `top`: what an operator does by the HTTP API.
//!
//! Promises: one line per fact for people, the server's own answer with `--json`; what is printed of others' words cannot
//! move the terminal's cursor.

use std::io::{Read, Write};

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use throng::control::{ApiKey, NewKey};

use super::Failure;
use super::admin::{AdminClient, segment};
use super::args::{ApiKeyArgs, ApiKeyCommand, KickArgs, PublishArgs, TailArgs, TopArgs, WhoArgs};

/// Draws a key.
pub(crate) fn api_key(args: &ApiKeyArgs) -> Result<(), Failure> {
    let ApiKeyCommand::New { name, json } = &args.command;
    let new = NewKey::draw().map_err(Failure::Broken)?;
    // A name the server would not take is said now.
    ApiKey::new(name, &new.sha256).map_err(Failure::Misused)?;
    if *json {
        println!("{}", json!({"name": name, "key": new.text, "sha256": new.sha256}));
    } else {
        println!("key     {}", new.text);
        println!("server  --api-key-sha256 {name}={}", new.sha256);
        println!("The key is shown once and kept by nobody: the server needs its hash only.");
    }
    Ok(())
}

/// What is to be said, as the API takes it.
#[derive(Serialize)]
struct Said<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<&'a str>,
    /// As it came: keys in their order and as often as they stand there, numbers with all their digits.
    data: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Author<'a>>,
}

#[derive(Serialize)]
struct Author<'a> {
    user: &'a str,
}

/// Says something.
pub(crate) fn publish(args: &PublishArgs) -> Result<(), Failure> {
    let client = AdminClient::new(&args.api)?;
    let (path, room) = match args.room.strip_prefix('@') {
        Some("all") => ("/broadcast".to_owned(), None),
        Some(user) => (format!("/users/{}/messages", segment(user)), None),
        None => ("/publish".to_owned(), Some(args.room.as_str())),
    };
    let from = args.from.as_deref().map(|user| Author { user });
    let body = Said { room, data: &data(args)?, event: args.event.as_deref(), from };
    let answer = client.post(&path, &body, args.idempotency_key.as_deref())?;
    if args.api.json {
        println!("{answer}");
        return Ok(());
    }
    let receipt = format!("{} #{} ({})", plain(&answer["room"]), answer["offset"], plain(&answer["epoch"]));
    match answer["reached"].as_u64() {
        Some(reached) => println!("{receipt}: {}{}", connections(reached), unfinished(&answer)),
        None => println!("{receipt}"),
    }
    Ok(())
}

/// A piece of a room's log, with each message as the server said it.
#[derive(Deserialize)]
struct Page {
    messages: Vec<Box<RawValue>>,
    gap: Option<Value>,
    /// Where to go on.
    next: u64,
    epoch: Option<String>,
}

/// What is shown of a message.
#[derive(Deserialize)]
struct Message {
    offset: u64,
    at: u64,
    from: Value,
    event: Option<String>,
    data: Box<RawValue>,
}

/// Prints what is said, for as long as it is asked to.
pub(crate) fn tail(args: &TailArgs) -> Result<(), Failure> {
    let client = AdminClient::new(&args.api)?;
    let path = format!("/rooms/{}/history", segment(&args.room));
    // `limit` 0 is not a page; what is said from now on begins at the head either way.
    let mut page: Page = client.get(&path, &[("limit", args.history.max(1).to_string())])?;
    if args.history == 0 {
        page.messages.clear();
    }
    let mut left = args.count.unwrap_or(u64::MAX);
    loop {
        if let Some(gap) = &page.gap {
            print_line(&gap_line(gap, args.api.json))?;
        }
        for message in &page.messages {
            if left == 0 {
                break;
            }
            left -= 1;
            print_line(&if args.api.json { message.get().to_owned() } else { line_of(message)? })?;
        }
        if left == 0 {
            return Ok(());
        }
        let mut query = vec![("after", page.next.to_string()), ("wait_ms", WAIT_MS.to_string())];
        query.extend(page.epoch.map(|epoch| ("epoch", epoch)));
        page = client.get(&path, &query)?;
    }
}

/// Who is there.
pub(crate) fn who(args: &WhoArgs) -> Result<(), Failure> {
    let client = AdminClient::new(&args.api)?;
    let answer: Value = match (&args.room, &args.user) {
        (Some(room), _) => client.get(&format!("/rooms/{}/presence", segment(room)), &[])?,
        (None, user) => {
            let user = user.as_deref().unwrap_or_default();
            client.get(&format!("/users/{}/connections", segment(user)), &[])?
        }
    };
    if args.api.json {
        println!("{answer}");
        return Ok(());
    }
    if args.room.is_some() {
        println!("{} in {}", users(answer["count"].as_u64().unwrap_or(0)), plain(&answer["room"]));
        for member in answer["members"].as_array().into_iter().flatten() {
            println!("{}", line_of_member(member));
        }
        return Ok(());
    }
    let count = connections(answer["count"].as_u64().unwrap_or(0));
    println!("{}: {count}{}", plain(&answer["user"]), unfinished(&answer));
    for one in answer["connections"].as_array().into_iter().flatten() {
        let rooms: Vec<String> = one["rooms"].as_array().into_iter().flatten().map(plain).collect();
        let stalled = if one["stalled"] == json!(true) { ", reads nothing" } else { "" };
        println!(
            "  {}  {:<7}  silent {} s, token ends in {} s{stalled}  {}",
            plain(&one["connection"]),
            plain(&one["encoding"]),
            one["silent_s"],
            one["expires_in_s"],
            rooms.join(" ")
        );
    }
    Ok(())
}

/// Out with them.
pub(crate) fn kick(args: &KickArgs) -> Result<(), Failure> {
    let client = AdminClient::new(&args.api)?;
    let path = match (&args.user, &args.room, &args.connection) {
        (Some(user), _, _) => format!("/users/{}/disconnect", segment(user)),
        (None, Some(room), _) => format!("/rooms/{}/disconnect", segment(room)),
        (None, None, connection) => {
            let connection = connection.as_deref().expect("clap requires one of the three");
            format!("/connections/{}/disconnect", segment(connection))
        }
    };
    let answer = client.post(&path, &json!({"come_back": args.come_back}), None)?;
    if args.api.json {
        println!("{answer}");
    } else {
        println!("closed {}{}", connections(answer["closed"].as_u64().unwrap_or(0)), unfinished(&answer));
    }
    Ok(())
}

/// How many are here, and where.
pub(crate) fn top(args: &TopArgs) -> Result<(), Failure> {
    let client = AdminClient::new(&args.api)?;
    let mut answer: Value = client.get("/top", &[("limit", args.limit.to_string())])?;
    let [sessions, rooms, publishes, deliveries] = client.metrics([
        "websocket_connections",
        "throng_rooms",
        "throng_publishes_total",
        "throng_deliveries_total",
    ])?;
    if args.api.json {
        answer["totals"] = json!({
            "connections": sessions, "rooms": rooms, "publishes": publishes, "deliveries": deliveries
        });
        println!("{answer}");
        return Ok(());
    }
    println!("{}, {rooms} rooms, {publishes} messages published, {deliveries} delivered", connections(sessions));
    println!("{:>12} {:>10} {:>12} {:>10}  room{}", "connections", "users", "newest", "kept", unfinished(&answer));
    for room in answer["rooms"].as_array().into_iter().flatten() {
        let figure = |name: &str| room[name].as_u64().unwrap_or(0);
        println!(
            "{:>12} {:>10} {:>12} {:>10}  {}",
            figure("connections"),
            figure("users"),
            figure("offset"),
            figure("messages"),
            plain(&room["room"])
        );
    }
    Ok(())
}

fn data(args: &PublishArgs) -> Result<Box<RawValue>, Failure> {
    let text = if args.data == "-" {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(|error| Failure::Broken(format!("stdin cannot be read: {error}")))?;
        text
    } else {
        args.data.clone()
    };
    if args.text {
        return to_raw_value(&text).map_err(|error| Failure::Broken(error.to_string()));
    }
    serde_json::from_str(&text).map_err(|error| {
        Failure::Misused(format!("the data is not JSON: {error} (with --text it is sent as a string)"))
    })
}

/// Whoever reads a tail may have had enough: that is no panic.
fn print_line(line: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{line}").map_err(|error| Failure::Broken(format!("stdout takes no more: {error}")))
}

fn gap_line(gap: &Value, as_json: bool) -> String {
    if as_json {
        let mut line = gap.clone();
        line["type"] = json!("gap");
        line.to_string()
    } else if gap["to"].as_u64() >= gap["from"].as_u64() {
        format!("-- messages {} to {} are gone ({})", gap["from"], gap["to"], plain(&gap["why"]))
    } else {
        format!("-- this is another life of the room ({})", plain(&gap["why"]))
    }
}

/// `#42 12:34:56 ann [event] {"data":1}`.
fn line_of(message: &RawValue) -> Result<String, Failure> {
    let message: Message = serde_json::from_str(message.get())
        .map_err(|error| Failure::Broken(format!("the server tells of a message in other words: {error}")))?;
    let seconds = message.at / 1_000 % 86_400;
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let event = message.event.map(|event| format!(" [{}]", visible(&event))).unwrap_or_default();
    let (user, data) = (plain(&message.from["user"]), visible(message.data.get()));
    Ok(format!("#{} {clock} {user}{event} {data}", message.offset))
}

fn line_of_member(member: &Value) -> String {
    let info = member.get("info").map(|info| format!("  {}", visible(&info.to_string()))).unwrap_or_default();
    let count = connections(member["connections"].as_u64().unwrap_or(0));
    format!("  {:<32} {count}{info}", plain(&member["user"]))
}

/// A string of the answer, for a terminal.
fn plain(value: &Value) -> String {
    visible(value.as_str().unwrap_or("?"))
}

/// Control characters made visible: a message must not move the cursor of whoever reads it.
fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}

fn connections(count: u64) -> String {
    if count == 1 { "1 connection".to_owned() } else { format!("{count} connections") }
}

fn users(count: u64) -> String {
    if count == 1 { "1 user".to_owned() } else { format!("{count} users") }
}

fn unfinished(answer: &Value) -> &'static str {
    if answer["complete"] == json!(false) { " so far: not every shard has answered" } else { "" }
}

/// How long one call of `tail` waits for news.
const WAIT_MS: u64 = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_says_what_is_gone() {
        let gap = json!({"from": 3, "to": 5, "why": "retention"});
        assert_eq!(gap_line(&gap, false), "-- messages 3 to 5 are gone (retention)");
        assert_eq!(gap_line(&gap, true), r#"{"from":3,"to":5,"type":"gap","why":"retention"}"#);
        let other = json!({"from": 1, "to": 0, "why": "epoch"});
        assert_eq!(gap_line(&other, false), "-- this is another life of the room (epoch)");
    }

    #[test]
    fn a_message_is_one_line_that_moves_no_cursor() {
        let message = json!({
            "offset": 42, "at": 1_700_000_000_123_u64, "from": {"user": "ann\u{1b}[2J"}, "event": "said",
            "data": {"text": "a\nb\u{9b}"}
        });
        let member = json!({"user": "ann", "connections": 1, "info": {"name": "\u{9b}2J"}});
        assert!(line_of_member(&member).ends_with("1 connection  {\"name\":\"\\u{9b}2J\"}"));
        let line = line_of(&to_raw_value(&message).unwrap()).unwrap();
        assert_eq!(line, "#42 22:13:20 ann\\u{1b}[2J [said] {\"text\":\"a\\nb\\u{9b}\"}");
    }
}
