//! The floor as a whole: what one process sends, the other has.

use std::process::Command;

#[test]
fn every_byte_sent_is_counted_at_the_other_end_and_a_send_is_a_whole_frame() {
    let output = Command::new(env!("CARGO_BIN_EXE_throng-load"))
        .args(["floor", "--connections", "100", "--room-size", "10", "--rate", "5000"])
        .args(["--duration", "0.3", "--warmup", "0.1", "--json", "-"])
        .output()
        .expect("it runs");
    let floor: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let number = |name: &str| floor[name].as_u64().unwrap_or(0);
    assert!(number("bytes_sent") > 0, "{floor:#}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(number("bytes_sent"), number("bytes_arrived"));
    // 128 bytes of text, and the envelope and frame around them.
    assert!((129..400).contains(&number("bytes_per_send")), "{floor:#}");
    assert!(number("sends") > 0 && floor["cpu_us_per_send"].as_f64().is_some_and(|us| us > 0.0));
    assert!(output.status.code() != Some(2));
}

#[test]
fn what_cannot_be_is_said_before() {
    for options in [["--connections", "101"], ["--core", "5000"], ["--rate", "0"]] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_throng-load")).arg("floor").args(options).output().expect("it runs");
        assert_eq!(output.status.code(), Some(4), "{options:?}");
    }
}
