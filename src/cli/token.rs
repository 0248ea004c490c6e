//! `throng token`: makes a token, or explains one.

use std::sync::Arc;

use clap::ArgMatches;
use serde_json::{Map, Value, json};
use throng::base::Limits;
use throng::control::token_keys::{self, KeyFile};
use throng::wire::token::KeySet;
use throng::wire::{Claims, TokenRules, TokenVerifier, Verb, sign_hs256};

use super::args::TokenArgs;
use super::secret::Secret;
use super::sign::Signer;
use super::{Failure, explain, unix_s};

/// Does what `throng token` asks. `matches` knows the order of `--room` and `--can`.
pub(crate) fn run(args: &TokenArgs, matches: &ArgMatches) -> Result<(), Failure> {
    if let Some(token) = &args.explain {
        let explained = explain::explain(token.trim(), proof(args)?.as_ref(), unix_s());
        print!("{}", explained.text);
        return if explained.good { Ok(()) } else { Err(Failure::Broken("this token would not be taken".to_owned())) };
    }
    let signer = match &args.key_file {
        Some(path) => Signer::from_file(path, args.alg)?,
        None => {
            let secret = Secret::find(&args.secret)?.ok_or_else(|| Failure::Misused(NO_SECRET.to_owned()))?;
            Signer::with_secret(&secret, args.alg)?
        }
    };
    println!("{}", signed(&signer, args, rooms(args, matches), unix_s())?);
    Ok(())
}

/// What a token is compared with; `None`: nothing is at hand.
fn proof(args: &TokenArgs) -> Result<Option<TokenVerifier>, Failure> {
    let keys = match (&args.key_file, Secret::find(&args.secret)?) {
        (Some(path), _) => {
            let file = KeyFile { kid: args.kid.clone(), ..KeyFile::at(path) };
            token_keys::load(&[file]).map_err(Failure::Misused)?.keys
        }
        (None, Some(secret)) => key_set(Signer::with_secret(&secret, None)?.verifying_key()?)?,
        (None, None) => return Ok(None),
    };
    Ok(Some(TokenVerifier::new(keys, rules(args), &Limits::default())))
}

fn key_set(key: throng::wire::token::VerifyingKey) -> Result<KeySet, Failure> {
    KeySet::new([Arc::new(key)]).map_err(|bad| Failure::Misused(bad.to_string()))
}

/// A server that expects what was said on the command line, and any time.
fn rules(args: &TokenArgs) -> TokenRules {
    TokenRules { issuers: args.iss.iter().cloned().collect(), audiences: args.aud.clone(), ..TokenRules::any_time() }
}

/// Signs, and checks as a server would: a token that no server takes is not given out.
fn signed(signer: &Signer, args: &TokenArgs, rooms: Option<Value>, now_s: u64) -> Result<String, Failure> {
    let info = args.info.as_deref().map(serde_json::from_str::<Value>).transpose();
    let info = info.map_err(|error| Failure::Misused(format!("--info is not JSON: {error}")))?;
    let text = |text: &Option<String>| text.clone().map(Value::from);
    let audience = match args.aud.as_slice() {
        [] => None,
        [one] => Some(json!(one)),
        several => Some(json!(several)),
    };
    let claims: Map<String, Value> = [
        ("sub", text(&args.user)),
        ("iat", Some(json!(now_s))),
        ("nbf", args.nbf.map(|from_s| json!(now_s + from_s))),
        ("exp", Some(json!(now_s + args.ttl))),
        ("iss", text(&args.iss)),
        ("aud", audience),
        ("jti", text(&args.jti)),
        ("info", info),
        ("rooms", rooms),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect();
    let token = signer.sign(args.kid.as_deref(), &Value::Object(claims))?;
    let misused = |why: &dyn std::fmt::Display| Failure::Misused(why.to_string());
    let mut key = signer.verifying_key()?;
    if let Some(kid) = &args.kid {
        key = key.with_kid(kid).map_err(|bad| misused(&bad))?;
    }
    let verifier = TokenVerifier::new(key_set(key)?, rules(args), &Limits::default());
    verifier.verify(&token, now_s + args.nbf.unwrap_or(0)).map_err(|bad| misused(&bad))?;
    Ok(token)
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

const NO_SECRET: &str = "a token needs a key: set THRONG_JWT_HS256_SECRET, or give --jwt-secret-file or --key-file";

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

    /// Keys of `openssl genpkey`, for tests only.
    const ED25519: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";

    fn token_of(arguments: &[&str]) -> Result<String, String> {
        let line = ["throng", "token", "--user", "ann"].iter().chain(arguments);
        let matches = Cli::command().try_get_matches_from(line).map_err(|error| error.to_string())?;
        let Command::Token(args) = Cli::from_arg_matches(&matches).unwrap().command else { panic!("token was asked") };
        let signer = match &args.key_file {
            Some(path) => Signer::from_file(path, args.alg),
            None => Signer::with_secret(&Secret::random().unwrap(), args.alg),
        };
        let token = signer.and_then(|signer| signed(&signer, &args, None, 1_800_000_000));
        match token {
            Ok(token) => Ok(token),
            Err(Failure::Broken(sentence) | Failure::Misused(sentence)) => Err(sentence),
        }
    }

    #[test]
    fn what_is_asked_for_stands_in_the_token_and_a_key_says_its_algorithm() {
        let path = std::env::temp_dir().join(format!("throng-ed25519-{}", std::process::id()));
        std::fs::write(&path, ED25519).unwrap();
        let file = path.to_str().unwrap();
        let token = token_of(&[
            "--key-file",
            file,
            "--kid",
            "k1",
            "--iss",
            "me",
            "--aud",
            "a",
            "--aud",
            "b",
            "--jti",
            "t",
            "--nbf",
            "1m",
        ])
        .unwrap();
        let header = throng::wire::token_part(&token, 0).unwrap();
        assert_eq!((&header["alg"], &header["kid"]), (&json!("EdDSA"), &json!("k1")));
        let claims = Value::Object(throng::wire::token_part(&token, 1).unwrap());
        let expected = json!({
            "sub": "ann", "iat": 1_800_000_000_u64, "nbf": 1_800_000_060_u64, "exp": 1_800_003_600_u64,
            "iss": "me", "aud": ["a", "b"], "jti": "t",
        });
        assert_eq!(claims, expected);
        let wrong = token_of(&["--key-file", file, "--alg", "RS256"]).unwrap_err();
        assert!(wrong.contains("for EdDSA, not for RS256"), "{wrong}");
        std::fs::write(&path, "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n").unwrap();
        assert!(token_of(&["--key-file", file]).unwrap_err().contains("openssl genpkey"));
        std::fs::remove_file(&path).unwrap();
        assert!(token_of(&["--alg", "none"]).unwrap_err().contains("HS256, HS384"));
        assert!(token_of(&["--alg", "HS512"]).unwrap_err().contains("at least 64"), "a random secret has 32 bytes");
        assert!(token_of(&["--jti", ""]).unwrap_err().contains("`jti`"));
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
