//! `throng token`: makes a token, or explains one.

use clap::ArgMatches;
use serde_json::{Value, json};
use throng::base::Limits;
use throng::wire::{Claims, TokenVerifier, Verb, sign_hs256};

use super::args::TokenArgs;
use super::secret::Secret;
use super::{Failure, explain, unix_s};

/// Does what `throng token` asks. `matches` knows the order of `--room` and `--can`.
pub(crate) fn run(args: &TokenArgs, matches: &ArgMatches) -> Result<(), Failure> {
    let secret = Secret::find(&args.secret)?;
    if let Some(token) = &args.explain {
        let explained = explain::explain(token.trim(), secret.as_ref(), unix_s());
        print!("{}", explained.text);
        return if explained.good { Ok(()) } else { Err(Failure::Broken("this token would not be taken".to_owned())) };
    }
    let secret = secret.ok_or_else(|| Failure::Misused(NO_SECRET.to_owned()))?;
    let user = args.user.as_deref().expect("clap requires --user where there is no --explain");
    let info = args.info.as_deref().map(serde_json::from_str::<Value>).transpose();
    let info = info.map_err(|error| Failure::Misused(format!("--info is not JSON: {error}")))?;
    let rooms = rooms(args, matches);
    let claims = Claims { sub: user, exp: unix_s() + args.ttl, info: info.as_ref(), rooms: rooms.as_ref() };
    println!("{}", make(&secret, &claims)?);
    Ok(())
}

/// Signs, and checks as a server would: a token that no server takes is not given out.
pub(crate) fn make(secret: &Secret, claims: &Claims<'_>) -> Result<String, Failure> {
    let token = sign_hs256(secret.bytes(), claims).map_err(Failure::Broken)?;
    TokenVerifier::hs256(secret.bytes(), &Limits::default())
        .verify(&token, unix_s())
        .map_err(|bad| Failure::Misused(bad.to_string()))?;
    Ok(token)
}

/// The `rooms` claim: each `--can` belongs to the `--room` before it.
fn rooms(args: &TokenArgs, matches: &ArgMatches) -> Option<Value> {
    if args.room.is_empty() {
        return None;
    }
    let room_places: Vec<usize> = matches.indices_of("room").into_iter().flatten().collect();
    let can_places = matches.indices_of("can").into_iter().flatten();
    let mut verbs: Vec<Vec<&str>> = vec![Vec::new(); args.room.len()];
    for (verb, place) in args.can.iter().zip(can_places) {
        // A `--can` before the first `--room` is meant for that one.
        let room = room_places.iter().rposition(|room| *room < place).unwrap_or(0);
        verbs[room].push(verb);
    }
    let grants = args.room.iter().zip(verbs).map(|(room, can)| {
        let can = if can.is_empty() { Verb::ALL.iter().map(|verb| verb.name()).collect() } else { can };
        json!({"match": room, "can": can})
    });
    Some(grants.collect())
}

const NO_SECRET: &str = "a token needs the server's secret: set THRONG_JWT_HS256_SECRET or give --jwt-secret-file";

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches};

    use super::super::args::{Cli, Command};
    use super::*;

    fn rooms_of(arguments: &[&str]) -> Option<Value> {
        let line = ["throng", "token", "--user", "ann"].iter().chain(arguments);
        let matches = Cli::command().try_get_matches_from(line).unwrap();
        let Command::Token(args) = Cli::from_arg_matches(&matches).unwrap().command else { panic!("token was asked") };
        rooms(&args, matches.subcommand_matches("token").unwrap())
    }

    #[test]
    fn each_can_belongs_to_the_room_before_it() {
        assert_eq!(rooms_of(&[]), None);
        let line = [
            "--room",
            "a",
            "--can",
            "join,history",
            "--room",
            "b:*",
            "--room",
            "c",
            "--can",
            "publish",
            "--can",
            "join",
        ];
        let expected = json!([
            {"match": "a", "can": ["join", "history"]},
            {"match": "b:*", "can": ["join", "publish", "presence", "history"]},
            {"match": "c", "can": ["publish", "join"]},
        ]);
        assert_eq!(rooms_of(&line), Some(expected));
    }

    #[test]
    fn a_token_no_server_takes_is_not_given_out() {
        let secret = Secret::random().unwrap();
        let rooms = json!([{"match": "*", "can": ["shout"]}]);
        let claims = |sub, rooms| Claims { sub, exp: unix_s() + 60, info: None, rooms };
        assert!(make(&secret, &claims("ann", None)).is_ok());
        assert!(
            matches!(make(&secret, &claims("", None)), Err(Failure::Misused(sentence)) if sentence.contains("`sub`"))
        );
        let bad = make(&secret, &claims("ann", Some(&rooms)));
        assert!(matches!(bad, Err(Failure::Misused(sentence)) if sentence.contains("`can`")));
    }
}
