//! The unit for systemd says what the server takes and does.

use std::path::Path;
use std::process::Command;

use throng::config::DRAIN_BUDGET_MS;

/// The values of a key of `[Service]`, in order.
fn values(key: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/systemd/throng.service");
    let unit = std::fs::read_to_string(path).unwrap();
    let (_, service) = unit.split_once("\n[Service]\n").unwrap();
    let lines = service.lines().take_while(|line| !line.starts_with('['));
    let pairs = lines.filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    pairs.filter(|(name, _)| *name == key).map(|(_, value)| value.to_owned()).collect()
}

/// The one value of such a key.
fn value(key: &str) -> String {
    let [value] = values(key).try_into().unwrap_or_else(|all| panic!("{key} is there once: {all:?}"));
    value
}

#[test]
fn the_unit_starts_a_server_with_options_it_has() {
    let start = value("ExecStart");
    let words: Vec<&str> = start.split(' ').collect();
    assert_eq!(&words[..2], ["/usr/local/bin/throng", "serve"]);
    // It takes what `serve` takes, and starts nothing.
    let check = Command::new(env!("CARGO_BIN_EXE_throng"))
        .arg("check-config")
        .args(&words[2..])
        .env("THRONG_JWT_HS256_SECRET", "only for this test, 32 bytes long!")
        .env_remove("THRONG_JWT_SECRET_FILE")
        .output()
        .unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    let reference = throng::config::reference_page();
    for variable in values("Environment") {
        let (name, _) = variable.split_once('=').unwrap();
        assert!(reference.contains(&format!("`{name}`")), "{name} is no variable of ours");
    }
    let (credential, _) =
        value("LoadCredential").split_once(':').map(|(name, path)| (name.to_owned(), path.to_owned())).unwrap();
    assert_eq!(values("Environment"), [format!("THRONG_JWT_SECRET_FILE=%d/{credential}")]);
}

#[test]
fn the_unit_waits_for_ready_feeds_the_watchdog_reloads_by_hangup_and_gives_leaving_its_time() {
    assert_eq!((value("Type"), value("NotifyAccess")), ("notify".to_owned(), "main".to_owned()));
    assert!(value("WatchdogSec").parse::<u64>().unwrap() >= 10, "a shard is stalled after five seconds");
    assert_eq!(value("ExecReload"), "/bin/kill -HUP $MAINPID");
    assert_eq!(value("KillMode"), "mixed");
    let patience_s: u64 = value("TimeoutStopSec").parse().unwrap();
    assert!(patience_s * 1_000 > DRAIN_BUDGET_MS, "systemd kills after {patience_s} s");
}
