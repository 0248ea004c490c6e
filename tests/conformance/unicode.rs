//! Case 6: what is UTF-8 and what is not, whole, in fragments, and refused at the first byte that cannot be.

use super::case::{Case, FIN, MASK, TEXT, fragments, frame, says, text};

const WORD: &[u8] = "κόσμε".as_bytes();
const WORDS: &str = "Hello-µ@ßöäüàá-UTF-8!!";

pub(crate) fn cases() -> Vec<Case> {
    [fragmented(), fails_fast(), sequences()].into_iter().flatten().collect()
}

fn fragmented() -> Vec<Case> {
    let surrogate = [WORD, b"\xed\xa0\x80edited"].concat();
    let (head, tail) = WORDS.split_at("Hello-µ@ßöä".len());
    let empty = [frame(TEXT, b""), frame(0, b""), frame(FIN, b"")];
    let middle = [frame(TEXT, b""), frame(0, b"middle frame payload"), frame(FIN, b"")];
    vec![
        Case::good("6.1.1", &[text("")], &[says("")]),
        Case::good("6.1.2", &empty, &[says("")]),
        Case::good("6.1.3", &middle, &[says("middle frame payload")]),
        Case::good("6.2.1", &[text(WORDS)], &[says(WORDS)]),
        Case::good("6.2.2", &[frame(TEXT, head.as_bytes()), frame(FIN, tail.as_bytes())], &[says(WORDS)]),
        Case::good("6.2.3", &fragments(TEXT, WORDS.as_bytes(), 1), &[says(WORDS)]),
        Case::good("6.2.4", &fragments(TEXT, WORD, 1), &[says(WORD)]),
        Case::fails("6.3.1", &[text(&surrogate)], &[], 1007),
        Case::fails("6.3.2", &fragments(TEXT, &surrogate, 1), &[], 1007),
    ]
}

/// Nothing behind the first impossible byte is sent: the close must come because of that byte.
fn fails_fast() -> Vec<Case> {
    let beyond = [WORD, b"\xf4\x90\x80\x80edited"].concat();
    let masked_by_hand = |len: usize| frame(FIN | TEXT, &beyond)[..2 + MASK.len() + len].to_vec();
    vec![
        Case::fails("6.4.1", &[frame(TEXT, WORD), frame(0, b"\xf4\x90\x80\x80")], &[], 1007),
        Case::fails("6.4.2", &[frame(TEXT, &beyond[..12]), frame(0, &beyond[12..13])], &[], 1007),
        Case::fails("6.4.3", &[masked_by_hand(15)], &[], 1007),
        Case::fails("6.4.4", &[masked_by_hand(13)], &[], 1007),
    ]
}

/// The sequences of Markus Kuhn's UTF-8 stress test, numbered as the suite numbers them.
fn sequences() -> Vec<Case> {
    let groups: [Vec<Vec<u8>>; 19] = [
        list(&[
            b"hello\x24world",
            b"hello\xc2\xa2world",
            b"hello\xe2\x82\xacworld",
            b"hello\xf0\xa4\xad\xa2world",
            WORD,
        ]),
        (1..=WORD.len()).map(|len| WORD[..len].to_vec()).collect(),
        list(&[b"\x00", b"\xc2\x80", b"\xe0\xa0\x80", b"\xf0\x90\x80\x80"]),
        list(&[b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"]),
        list(&[b"\x7f", b"\xdf\xbf", b"\xef\xbf\xbf", b"\xf4\x8f\xbf\xbf"]),
        list(&[b"\xf7\xbf\xbf\xbf", b"\xfb\xbf\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf\xbf"]),
        list(&[b"\xed\x9f\xbf", b"\xee\x80\x80", b"\xef\xbf\xbd", b"\xf4\x8f\xbf\xbf", b"\xf4\x90\x80\x80"]),
        [
            list(&[b"\x80", b"\xbf", b"\x80\xbf", b"\x80\xbf\x80", b"\x80\xbf\x80\xbf", b"\x80\xbf\x80\xbf\x80"]),
            vec![b"\x80\xbf\x80\xbf\x80\xbf".to_vec(), (0x80..0xbf).collect()],
        ]
        .concat(),
        [(0xc0, 0xdf), (0xe0, 0xef), (0xf0, 0xf7), (0xf8, 0xfb), (0xfc, 0xfd)]
            .map(|(from, to): (u8, u8)| (from..to).flat_map(|byte| [byte, b' ']).collect())
            .to_vec(),
        list(&CUT_SHORT),
        vec![CUT_SHORT.concat()],
        list(&[b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"]),
        list(&[
            b"\xc0\xaf",
            b"\xe0\x80\xaf",
            b"\xf0\x80\x80\xaf",
            b"\xf8\x80\x80\x80\xaf",
            b"\xfc\x80\x80\x80\x80\xaf",
        ]),
        list(&[
            b"\xc1\xbf",
            b"\xe0\x9f\xbf",
            b"\xf0\x8f\xbf\xbf",
            b"\xf8\x87\xbf\xbf\xbf",
            b"\xfc\x83\xbf\xbf\xbf\xbf",
        ]),
        list(&[
            b"\xc0\x80",
            b"\xe0\x80\x80",
            b"\xf0\x80\x80\x80",
            b"\xf8\x80\x80\x80\x80",
            b"\xfc\x80\x80\x80\x80\x80",
        ]),
        [0xa080, 0xadbf, 0xae80, 0xafbf, 0xb080, 0xbe80, 0xbfbf].map(surrogate).to_vec(),
        [0xa080, 0xadbf, 0xae80, 0xafbf]
            .into_iter()
            .flat_map(|high| [0xb080, 0xbfbf].map(|low| [surrogate(high), surrogate(low)].concat()))
            .collect(),
        non_characters(),
        list(&[
            b"\xef\xbf\xb9",
            b"\xef\xbf\xba",
            b"\xef\xbf\xbb",
            b"\xef\xbf\xbc",
            b"\xef\xbf\xbd",
            b"\xef\xbf\xbe",
            b"\xef\xbf\xbf",
        ]),
    ];
    let mut cases = Vec::new();
    for (group, list) in groups.iter().enumerate() {
        for (nth, bytes) in list.iter().enumerate() {
            let id = format!("6.{}.{}", group + 5, nth + 1);
            // The verdict is std's: what it takes for UTF-8 comes back, all else ends the connection.
            cases.push(match std::str::from_utf8(bytes) {
                Ok(words) => Case::good(id, &[text(words)], &[says(words)]),
                Err(_) => Case::fails(id, &[text(bytes)], &[], 1007),
            });
        }
    }
    cases
}

const CUT_SHORT: [&[u8]; 10] = [
    b"\xc0",
    b"\xe0\x80",
    b"\xf0\x80\x80",
    b"\xf8\x80\x80\x80",
    b"\xfc\x80\x80\x80\x80",
    b"\xdf",
    b"\xef\xbf",
    b"\xf7\xbf\xbf",
    b"\xfb\xbf\xbf\xbf",
    b"\xfd\xbf\xbf\xbf\xbf",
];

fn list(sequences: &[&[u8]]) -> Vec<Vec<u8>> {
    sequences.iter().map(|bytes| bytes.to_vec()).collect()
}

fn surrogate(last_two: u16) -> Vec<u8> {
    [&[0xed][..], &last_two.to_be_bytes()].concat()
}

/// U+nFFFE and U+nFFFF of every plane: nobody's characters, and good UTF-8.
fn non_characters() -> Vec<Vec<u8>> {
    let ends = (0..=0x10_u32).flat_map(|plane| [plane << 16 | 0xfffe, plane << 16 | 0xffff]);
    ends.map(|code| char::from_u32(code).expect("no surrogate").to_string().into_bytes()).collect()
}
