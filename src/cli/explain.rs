//! `throng token --explain`: what a token holds, in words.
//!
//! Promises: never fails on anything given to it, prints no control character of it, and says at its end whether a server
//! with the key at hand would take it.

use serde_json::{Map, Value};
use throng::base::Limits;
use throng::wire::token::Algorithm;
use throng::wire::{Grants, TokenVerifier, token_part};

use super::duration::{date, words};

/// A token in words.
pub(crate) struct Explained {
    pub(crate) text: String,
    /// Nothing known speaks against it.
    pub(crate) good: bool,
}

/// Explains `token` as of `unix_s`.
pub(crate) fn explain(token: &str, proof: Option<&TokenVerifier>, unix_s: u64) -> Explained {
    let limits = Limits::default();
    if token.len() > limits.token_bytes_max {
        let (has, most) = (token.len(), limits.token_bytes_max);
        return Explained { text: format!("verdict\n  bad: it has {has} bytes, more than {most}\n"), good: false };
    }
    let mut text = String::new();
    let (header, claims) = (token_part(token, 0), token_part(token, 1));
    let readable = header.is_some() && claims.is_some();
    section(&mut text, "header", header, header_comment);
    section(&mut text, "claims", claims, |claim, value| comment(claim, value, unix_s));
    let (verdict, good) = match proof {
        _ if !readable => {
            ("bad: this is not a JWT (three base64url parts, the first two JSON objects)".to_owned(), false)
        }
        None => {
            ("not verified: no key at hand (THRONG_JWT_HS256_SECRET, --jwt-secret-file or --key-file)".to_owned(), true)
        }
        Some(proof) => match proof.verify(token, unix_s) {
            Ok(_) => ("good: a server with this key takes it".to_owned(), true),
            Err(bad) => (format!("bad: {bad}"), false),
        },
    };
    line(&mut text, "verdict");
    line(&mut text, &format!("  {verdict}"));
    Explained { text, good }
}

fn section(
    text: &mut String,
    title: &str,
    part: Option<Map<String, Value>>,
    comment: impl Fn(&str, &Value) -> Option<String>,
) {
    line(text, title);
    let Some(fields) = part else { return line(text, "  (not readable)") };
    for (name, value) in &fields {
        let comment = comment(name, value).map_or_else(String::new, |comment| format!("   ({comment})"));
        line(text, &format!("  {name:<6} {value}{comment}"));
    }
}

/// What a claim means, where its value does not say it.
fn comment(claim: &str, value: &Value, unix_s: u64) -> Option<String> {
    match claim {
        "exp" | "nbf" | "iat" => {
            let at = value.as_u64().filter(|at| *at <= YEAR_9999_UNIX_S)?;
            let far =
                if at > unix_s { format!("in {}", words(at - unix_s)) } else { format!("{} ago", words(unix_s - at)) };
            Some(format!("{}, {far}", date(at)))
        }
        "jti" => Some("by this it can be revoked".to_owned()),
        "aud" => Some("taken only by a server of that name (`tokens.audiences`)".to_owned()),
        "rooms" => Some(match Grants::from_claim(value) {
            Ok(grants) => spoken(&grants),
            Err(why) => format!("not understood: `rooms` {why}"),
        }),
        _ => None,
    }
}

/// What a header's member is to a server.
fn header_comment(name: &str, value: &Value) -> Option<String> {
    let comment = match name {
        "alg" => match value.as_str().and_then(Algorithm::parse) {
            Some(_) => return None,
            None => "not taken: a token is signed with one of our algorithms",
        },
        "kid" => "the key's name",
        "crit" => "not taken: extensions that must be understood are not",
        "jwk" | "jku" | "x5u" | "x5c" | "x5t" | "x5t#S256" => "never looked at: keys come from the operator",
        _ => return None,
    };
    Some(comment.to_owned())
}

fn spoken(grants: &Grants) -> String {
    let each = grants.iter().map(|(pattern, can)| {
        let can: Vec<_> = can.into_iter().map(|verb| verb.name()).collect();
        format!("{pattern}: {}", can.join(", "))
    });
    let all: Vec<_> = each.collect();
    if all.is_empty() { "nothing in any room".to_owned() } else { all.join("; ") }
}

/// Adds a line in which nothing can steer a terminal or begin a line of its own.
fn line(text: &mut String, content: &str) {
    for letter in content.chars() {
        if letter.is_control() {
            text.extend(letter.escape_unicode());
        } else {
            text.push(letter);
        }
    }
    text.push('\n');
}

/// 9999-12-31T23:59:59Z.
const YEAR_9999_UNIX_S: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use serde_json::json;
    use throng::wire::{Claims, sign_hs256};

    use super::super::secret::Secret;
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn token(secret: &Secret, sub: &str) -> String {
        let rooms = json!([{"match": "chat:*", "can": ["publish", "join"]}]);
        let claims = Claims { sub, exp: NOW + 5_400, info: None, rooms: Some(&rooms) };
        sign_hs256(secret.bytes(), &claims).unwrap()
    }

    fn proof(secret: &Secret) -> TokenVerifier {
        TokenVerifier::hs256(secret.bytes(), &Limits::default())
    }

    #[test]
    fn a_token_is_told_in_words_with_a_verdict() {
        let secret = Secret::random().unwrap();
        let explained = explain(&token(&secret, "ann"), Some(&proof(&secret)), NOW);
        for part in ["alg    \"HS256\"", "sub    \"ann\"", "2027-01-15 09:30:00 UTC, in 1 hour 30 minutes"] {
            assert!(explained.text.contains(part), "{part} is not in {}", explained.text);
        }
        assert!(explained.text.contains("(chat:*: join, publish)") && explained.text.contains("good: a server"));
        assert!(explained.good);
        let unproved = explain(&token(&secret, "ann"), None, NOW);
        assert!(unproved.text.contains("not verified") && unproved.good);
    }

    #[test]
    fn what_no_server_takes_is_called_bad() {
        let (secret, other) = (Secret::random().unwrap(), Secret::random().unwrap());
        let expired = explain(&token(&secret, "ann"), Some(&proof(&secret)), NOW + 9_000);
        assert!(
            expired.text.contains("1 hour ago") && expired.text.contains("bad: the token expired") && !expired.good
        );
        let forged = explain(&token(&other, "ann"), Some(&proof(&secret)), NOW);
        assert!(forged.text.contains("bad: the token's signature") && !forged.good);
    }

    #[test]
    fn garbage_is_explained_and_cannot_steer_the_terminal() {
        let secret = Secret::random().unwrap();
        for garbage in
            ["", ".", "..", "a.b.c", "\u{1b}[2J", "e30.e30.x", "e30.W10.", &"x".repeat(100_000), "ä.ö.ü", "....."]
        {
            let explained = explain(garbage, Some(&proof(&secret)), NOW);
            assert!(!explained.good && explained.text.contains("bad"), "{garbage}: {}", explained.text);
        }
        let hostile = explain(&token(&secret, "a\u{9b}2J\u{1b}[31m\u{7f}"), Some(&proof(&secret)), NOW);
        let forged = base64(&json!({"alg": "HS256", "x\nverdict\n  good": 1}).to_string());
        assert!(!explain(&format!("{forged}.e30."), None, NOW).text.contains("\n  good"));
        assert!(!hostile.text.chars().any(|letter| letter.is_control() && letter != '\n'), "{}", hostile.text);
        let odd = json!({"exp": "soon", "nbf": -1, "iat": 1e300, "rooms": {"a": 1}, "sub": null});
        let parts = [json!({"alg": "none"}), odd].map(|part| base64(&part.to_string()));
        let explained = explain(&format!("{}.", parts.join(".")), Some(&proof(&secret)), NOW);
        assert!(explained.text.contains("not understood") && explained.text.contains("bad: "), "{}", explained.text);
    }

    fn base64(text: &str) -> String {
        use base64::Engine;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
    }
}
