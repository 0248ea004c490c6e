//! Case 7: how a conversation ends.

use super::case::{Case, Heard, close, frame, ping, says, text};

pub(crate) fn cases() -> Vec<Case> {
    let hello = "Hello World!";
    let normal = 1000_u16.to_be_bytes();
    let reason = |bytes: &[u8]| close([&normal, bytes].concat());
    let long: Vec<u8> = b"BAsd7&jh23".iter().copied().cycle().take(256 << 10).collect();
    // What is sent behind the first close is nobody's.
    let ends = |id: &str, frames: &[Vec<u8>], hears: &[Heard]| Case::fails(id, frames, hears, 1000).at_once();
    let mut cases = vec![
        Case::good("7.1.1", &[text(hello)], &[says(hello)]).at_once(),
        ends("7.1.2", &[close(normal), close("")], &[]),
        ends("7.1.3", &[close(normal), ping("")], &[]),
        ends("7.1.4", &[close(normal), text(hello)], &[]),
        ends("7.1.5", &[frame(1, b"fragment1"), close(normal), frame(0x80, b"fragment2")], &[]),
        ends("7.1.6", &[text(&long), text(hello), close(normal), ping("")], &[says(&long), says(hello)]),
        ends("7.3.1", &[close("")], &[]),
        Case::fails("7.3.2", &[close("a")], &[], 1002),
        ends("7.3.3", &[close(normal)], &[]),
        ends("7.3.4", &[reason(hello.as_bytes())], &[]),
        ends("7.3.5", &[reason(&[b'*'; 123])], &[]),
        Case::fails("7.3.6", &[reason(&[b'*'; 124])], &[], 1002),
        Case::fails("7.5.1", &[reason(b"\xce\xba\xed\xa0\x80edited")], &[], 1007),
    ];
    let coded = |id: String, code: u16, answer| Case::fails(id, &[close(code.to_be_bytes())], &[], answer);
    for (nth, code) in GOOD.into_iter().enumerate() {
        cases.push(coded(format!("7.7.{}", nth + 1), code, code));
    }
    for (nth, code) in BAD.into_iter().enumerate() {
        cases.push(coded(format!("7.9.{}", nth + 1), code, 1002));
    }
    cases.extend([coded("7.13.1".to_owned(), 5000, 1002), coded("7.13.2".to_owned(), 65_535, 1002)]);
    cases
}

const GOOD: [u16; 13] = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999];
const BAD: [u16; 9] = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999];
