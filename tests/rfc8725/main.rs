//! The attacks on JSON Web Tokens that RFC 8725 names, tried one by one, and a few that have become known since.
//!
//! Each is a row of `docs/rfc8725.md`: section, attack, and the sentence it is refused with. To write that table anew after
//! a wanted change: `THRONG_BLESS=1 cargo test --test rfc8725`.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod contents;
mod forge;
#[path = "../support/issuer.rs"]
mod issuer;
mod signatures;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::json;

use forge::{Attack, NOW, Server, claims, plain, signed_es256};
use issuer::{Issuer, turned};
use throng::base::Limits;
use throng::wire::token::{Algorithm, TokenVerifier};

#[test]
fn the_servers_own_tokens_are_taken_in_each_algorithm() {
    let (server, issuer, other) = (Server::new(), Issuer::new(), Issuer::new());
    let verifier = TokenVerifier::new(issuer.keys(), server.verifier.rules().clone(), &Limits::default());
    for algorithm in Algorithm::ALL {
        let token = issuer.signs(algorithm, &claims());
        let verified = verifier.verify(&token, NOW).map_err(|bad| bad.to_string());
        assert_eq!(verified.map(|verified| verified.identity.user().to_owned()), Ok("ann".to_owned()), "{algorithm:?}");
        assert!(verifier.verify(&turned(&token), NOW).is_err(), "{algorithm:?}: another signature");
        if algorithm.secret_bytes_min().is_none() {
            let foreign = other.signs(algorithm, &claims());
            assert!(verifier.verify(&foreign, NOW).is_err(), "{algorithm:?}: another key");
        }
    }
    assert_eq!(server.tries(&plain(&claims())), Ok(()));
    assert_eq!(server.tries(&signed_es256(&server.p256, &json!({"alg": "ES256"}))), Ok(()));
}

#[test]
fn every_attack_is_refused_for_its_reason_and_the_table_in_the_docs_is_this_one() {
    let server = Server::new();
    let attacks = [
        signatures::weak_signatures(&server),
        signatures::forged_signatures(&server),
        signatures::weak_keys(),
        contents::encodings(&server),
        contents::substitution(&server),
        contents::indirect(&server),
        contents::lifetimes(&server),
    ];
    let mut table = String::from("| section | attack | refused with |\n|---|---|---|\n");
    for Attack { section, name, answer, tries } in attacks.into_iter().flatten() {
        assert!(!tries.is_empty(), "{name}: nobody tried");
        for (number, outcome) in tries.into_iter().enumerate() {
            let Err(sentence) = outcome else { panic!("{section} {name}: try {number} got through") };
            assert!(sentence.contains(answer), "{section} {name}: try {number} was told: {sentence}");
        }
        writeln!(table, "| {section} | {name} | … {answer} … |").unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rfc8725.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, documented) = text.split_once("\n| section").unwrap();
    // Compiled in by the one who blesses: nothing here reads the environment when it runs.
    if option_env!("THRONG_BLESS").is_some() {
        fs::write(&path, format!("{before}\n{table}")).unwrap();
        return;
    }
    assert_eq!(format!("| section{documented}"), table, "docs/rfc8725.md tells of other attacks");
}
