//! The attacks on JSON Web Tokens that RFC 8725 names, tried one by one, and a few that have become known since.
//!
//! Each is a row of `docs/rfc8725.md`: section, attack, and the sentence it is refused with. To write that table anew after
//! a wanted change: `THRONG_BLESS=1 cargo test --test rfc8725`.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod contents;
mod forge;
mod signatures;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::json;

use forge::{Attack, Server, base64url, claims, message, plain, signed_es256};

#[test]
fn the_servers_own_tokens_are_taken_in_each_algorithm() {
    let server = Server::new();
    assert_eq!(server.tries(&plain(&claims())), Ok(()));
    assert_eq!(server.tries(&signed_es256(&server.p256, &json!({"alg": "ES256"}))), Ok(()));
    let text = message(&json!({"alg": "EdDSA"}), claims().to_string().as_bytes());
    let signature = server.ed.sign(text.as_bytes());
    assert_eq!(server.tries(&format!("{text}.{}", base64url(signature.as_ref()))), Ok(()));
    let text = message(&json!({"alg": "RS256"}), claims().to_string().as_bytes());
    let mut signature = vec![0; server.rsa.public_modulus_len()];
    let (padding, random) = (&aws_lc_rs::signature::RSA_PKCS1_SHA256, aws_lc_rs::rand::SystemRandom::new());
    server.rsa.sign(padding, &random, text.as_bytes(), &mut signature).unwrap();
    assert_eq!(server.tries(&format!("{text}.{}", base64url(&signature))), Ok(()));
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
