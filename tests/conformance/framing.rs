//! Cases 1 to 5, 9 and 10: sizes, pings, reserved bits and opcodes, fragments, limits.

use super::case::{
    BINARY, Case, FIN, Heard, MASK, PING, PONG, TEXT, binary, fragments, frame, ping, pong, pongs, reserved, says, text,
};
use super::{FRAGMENTS_MAX, MESSAGE_BYTES_MAX};

const HELLO: &str = "Hello, world!";

pub(crate) fn cases() -> Vec<Case> {
    [sizes(), pings(), reserved_bits(), opcodes(), control_fragments(), data_fragments(), long(), limits()]
        .into_iter()
        .flatten()
        .collect()
}

fn sizes() -> Vec<Case> {
    let mut cases = Vec::new();
    for (nth, len) in [0, 125, 126, 127, 128, 65_535, 65_536, 65_536].into_iter().enumerate() {
        let (stars, bytes) = (vec![b'*'; len], vec![0xfe; len]);
        let pair = [
            Case::good(format!("1.1.{}", nth + 1), &[text(&stars)], &[says(&stars)]),
            Case::good(format!("1.2.{}", nth + 1), &[binary(&bytes)], &[Heard::Binary(bytes.clone())]),
        ];
        cases.extend(pair.map(|case| if nth == 7 { case.chopped(997) } else { case }));
    }
    cases
}

fn pings() -> Vec<Case> {
    let some = b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff";
    let ten: Vec<Vec<u8>> = (0..10).map(|n| ping(format!("payload-{n}"))).collect();
    let answers: Vec<Heard> = (0..10).map(|n| pongs(format!("payload-{n}"))).collect();
    vec![
        Case::good("2.1", &[ping("")], &[pongs("")]),
        Case::good("2.2", &[ping(HELLO)], &[pongs(HELLO)]),
        Case::good("2.3", &[ping(some)], &[pongs(some)]),
        Case::good("2.4", &[ping([0xfe; 125])], &[pongs([0xfe; 125])]),
        Case::fails("2.5", &[ping([0xfe; 126])], &[], 1002),
        Case::good("2.6", &[ping([0xfe; 125])], &[pongs([0xfe; 125])]).chopped(1),
        Case::good("2.7", &[pong("")], &[]),
        Case::good("2.8", &[pong("unsolicited pong payload")], &[]),
        Case::good("2.9", &[pong("unsolicited pong payload"), ping("ping payload")], &[pongs("ping payload")]),
        Case::good("2.10", &ten, &answers),
        Case::good("2.11", &ten, &answers).chopped(1),
    ]
}

fn reserved_bits() -> Vec<Case> {
    let after = |rsv| [text(HELLO), reserved(rsv, TEXT, HELLO.as_bytes()), ping("")];
    vec![
        Case::fails("3.1", &[reserved(1, TEXT, HELLO.as_bytes())], &[], 1002),
        Case::fails("3.2", &after(2), &[says(HELLO)], 1002).at_once(),
        Case::fails("3.3", &after(3), &[says(HELLO)], 1002),
        Case::fails("3.4", &after(4), &[says(HELLO)], 1002).chopped(1),
        Case::fails("3.5", &[reserved(5, BINARY, b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff")], &[], 1002),
        Case::fails("3.6", &[reserved(6, PING, HELLO.as_bytes())], &[], 1002),
        Case::fails("3.7", &[reserved(7, super::case::CLOSE, b"")], &[], 1002),
    ]
}

fn opcodes() -> Vec<Case> {
    let alone = |opcode, payload: &str| [frame(FIN | opcode, payload.as_bytes())];
    let after = |opcode, payload: &str| [text(HELLO), frame(FIN | opcode, payload.as_bytes()), ping("")];
    let mut cases = Vec::new();
    for (group, first) in [(1, 3), (2, 11)] {
        cases.extend([
            Case::fails(format!("4.{group}.1"), &alone(first, ""), &[], 1002),
            Case::fails(format!("4.{group}.2"), &alone(first + 1, "reserved opcode payload"), &[], 1002),
            Case::fails(format!("4.{group}.3"), &after(first + 2, ""), &[says(HELLO)], 1002).at_once(),
            Case::fails(format!("4.{group}.4"), &after(first + 3, "payload"), &[says(HELLO)], 1002),
            Case::fails(format!("4.{group}.5"), &after(first + 4, "payload"), &[says(HELLO)], 1002).chopped(1),
        ]);
    }
    cases
}

fn control_fragments() -> Vec<Case> {
    let broken = |opcode| [frame(opcode, b"fragment1"), frame(FIN, b"fragment2")];
    vec![Case::fails("5.1", &broken(PING), &[], 1002), Case::fails("5.2", &broken(PONG), &[], 1002)]
}

fn data_fragments() -> Vec<Case> {
    let whole = says("fragment1fragment2");
    let two = [frame(TEXT, b"fragment1"), frame(FIN, b"fragment2")];
    let pinged = [frame(TEXT, b"fragment1"), ping("ping payload"), frame(FIN, b"fragment2")];
    let answered = [pongs("ping payload"), whole.clone()];
    let stray = |first: u8| [frame(first, b"non-continuation payload"), text(HELLO)];
    let strays = |first: u8| {
        let once = [frame(first, b"fragment1"), frame(TEXT, b"fragment2"), frame(FIN, b"fragment3")];
        [once.clone(), once].concat()
    };
    let five = [
        frame(TEXT, b"fragment1"),
        frame(0, b"fragment2"),
        ping("pongme 1!"),
        frame(0, b"fragment3"),
        frame(0, b"fragment4"),
        ping("pongme 2!"),
        frame(FIN, b"fragment5"),
    ];
    let heard = [pongs("pongme 1!"), pongs("pongme 2!"), says("fragment1fragment2fragment3fragment4fragment5")];
    let behind = [frame(TEXT, b"fragment1"), frame(FIN, b"fragment2"), frame(0, b"fragment3"), text("fragment4")];
    vec![
        Case::good("5.3", &two, std::slice::from_ref(&whole)).at_once(),
        Case::good("5.4", &two, std::slice::from_ref(&whole)),
        Case::good("5.5", &two, std::slice::from_ref(&whole)).chopped(1),
        Case::good("5.6", &pinged, &answered).at_once(),
        Case::good("5.7", &pinged, &answered),
        Case::good("5.8", &pinged, &answered).chopped(1),
        Case::fails("5.9", &stray(FIN), &[], 1002).at_once(),
        Case::fails("5.10", &stray(FIN), &[], 1002),
        Case::fails("5.11", &stray(FIN), &[], 1002).chopped(1),
        Case::fails("5.12", &stray(0), &[], 1002).at_once(),
        Case::fails("5.13", &stray(0), &[], 1002),
        Case::fails("5.14", &stray(0), &[], 1002).chopped(1),
        Case::fails("5.15", &behind, &[whole], 1002).at_once(),
        Case::fails("5.16", &strays(0), &[], 1002),
        Case::fails("5.17", &strays(FIN), &[], 1002),
        Case::fails("5.18", &[frame(TEXT, b"fragment1"), frame(FIN | TEXT, b"fragment2")], &[], 1002).at_once(),
        Case::good("5.19", &five, &heard).at_once(),
        Case::good("5.20", &five, &heard),
    ]
}

/// The suite goes up to 16 MiB where the server lets it; up to our limit everything is here.
fn long() -> Vec<Case> {
    let words: Vec<u8> = b"BAsd7&jh23".iter().copied().cycle().take(1 << 20).collect();
    let mut cases = Vec::new();
    for (nth, len) in [64 << 10, 256 << 10, 1 << 20].into_iter().enumerate() {
        let words = &words[..len];
        cases.push(Case::good(format!("9.1.{}", nth + 1), &[text(words)], &[says(words)]));
        cases.push(Case::good(format!("9.2.{}", nth + 1), &[binary(words)], &[Heard::Binary(words.to_vec())]));
    }
    for (nth, chop) in [512, 2_048].into_iter().enumerate() {
        let nth = 2 * nth + 4;
        cases.push(Case::good(format!("9.5.{nth}"), &[text(&words)], &[says(&words)]).chopped(chop));
        let heard = Heard::Binary(words.clone());
        cases.push(Case::good(format!("9.6.{nth}"), &[binary(&words)], &[heard]).chopped(chop));
    }
    let stars = [b'*'; 65_536];
    cases.push(Case::good("10.1.1", &fragments(TEXT, &stars, 1_300), &[says(stars)]));
    cases
}

/// What only we say: our bounds, and rules that the suite's own client cannot break.
fn limits() -> Vec<Case> {
    let most = vec![b'x'; MESSAGE_BYTES_MAX];
    let claims = |first: u8, len: u64| [&[first, 0x80 | 127][..], &len.to_be_bytes(), &MASK].concat();
    let halves = [frame(BINARY, &most[1..]), frame(0, b"x")];
    let empty = [vec![frame(BINARY, b"")], vec![frame(0, b""); FRAGMENTS_MAX]].concat();
    let many = |count: usize| fragments(BINARY, &vec![7; count], 1);
    vec![
        Case::good("own.longest", &[text(&most)], &[says(&most)]),
        Case::fails("own.too-long", &[claims(FIN | TEXT, most.len() as u64 + 1)], &[], 1009),
        Case::fails("own.too-long-with-all-its-bytes", &[binary(vec![0xff; 4 << 20])], &[], 1009),
        Case::fails("own.too-long-in-sum", &[&halves[..], &[frame(FIN, b"x")]].concat(), &[], 1009),
        Case::fails("own.longest-there-is", &[claims(FIN | BINARY, u64::MAX >> 1)], &[], 1009),
        Case::good("own.most-fragments", &many(FRAGMENTS_MAX), &[Heard::Binary(vec![7; FRAGMENTS_MAX])]).at_once(),
        Case::fails("own.too-many-fragments", &many(FRAGMENTS_MAX + 1), &[], 1009).at_once(),
        Case::fails("own.too-many-empty", &empty, &[], 1009).at_once(),
        Case::fails("own.unmasked", &[b"\x81\x02hi".to_vec()], &[], 1002),
        Case::fails("own.highest-bit", &[claims(FIN | BINARY, 1 << 63)], &[], 1002),
        Case::fails("own.not-shortest-64", &[claims(FIN | BINARY, 65_535)], &[], 1002),
        Case::fails("own.not-shortest-16", &[[&[FIN | BINARY, 0x80 | 126, 0, 125][..], &MASK].concat()], &[], 1002),
    ]
}
