//! Each rule once, grouped as the Autobahn test suite groups them.

use super::*;

const FIN: u8 = 0x80;
const CONTINUE: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

// 1. Framing and sizes

#[test]
fn messages_of_every_size_class_arrive_whole() {
    for len in [0, 1, 7, 8, 125, 126, 127, 128, 65_535, 65_536, 65_537] {
        let letters: String = ('a'..='z').cycle().take(len).collect();
        assert_eq!(said(&masked(FIN | TEXT, letters.as_bytes())), [text(&letters)]);
        let bytes: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
        assert_eq!(said(&masked(FIN | BINARY, &bytes)), [Said::Binary(bytes)]);
    }
}

#[test]
fn a_big_message_in_small_reads_arrives_whole_and_costs_what_has_come() {
    let bytes: Vec<u8> = (0..1_000_000).map(|i: u32| (i * 7) as u8).collect();
    let sent = masked(FIN | BINARY, &bytes);
    let mut ear = Ear::new(Role::Server, LIMITS);
    for (count, read) in sent.chunks(997).enumerate() {
        ear.hear(read).unwrap();
        assert!(ear.partial.bytes_held() <= 2 * 997 * (count + 1), "after {count} reads");
    }
    assert_eq!(ear.said, [Said::Binary(bytes)]);
}

#[test]
fn a_claimed_length_allocates_nothing() {
    let mut sent = vec![FIN | BINARY, 0x80 | 127];
    sent.extend(1_000_000_u64.to_be_bytes());
    sent.extend(MASK);
    let mut ear = Ear::new(Role::Server, LIMITS);
    ear.hear(&sent).unwrap();
    assert_eq!((ear.partial.bytes_held(), ear.partial.is_idle()), (0, false));
}

#[test]
fn a_whole_frame_is_handed_out_from_the_input_itself_and_leaves_nothing_behind() {
    let mut input = [masked(FIN | TEXT, b"hello"), masked(FIN | PING, b"x")].concat();
    let place = input.as_ptr_range();
    let mut partial = Partial::default();
    let mut reader = Reader::new(Role::Server, LIMITS, &mut input);
    let Some(Incoming::Text(hello)) = reader.next(&mut partial).unwrap() else { panic!("a text came") };
    assert!(place.contains(&hello.as_ptr()));
    assert_eq!(hello, "hello");
    assert_eq!(reader.next(&mut partial), Ok(Some(Incoming::Ping(b"x"))));
    assert_eq!(reader.next(&mut partial), Ok(None));
    assert!(partial.is_idle());
    assert_eq!(partial.bytes_held(), 0);
}

#[test]
fn a_length_that_is_not_the_shortest_or_has_its_highest_bit_set_is_refused() {
    let long = |length: &[u8]| [&[FIN | BINARY], length, &MASK].concat();
    assert_eq!(refused(&long(&[0x80 | 126, 0, 125])), Violation::LengthNotShortest);
    assert_eq!(refused(&long(&[0x80 | 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff])), Violation::LengthNotShortest);
    assert_eq!(refused(&long(&[0x80 | 127, 0x80, 0, 0, 0, 0, 1, 0, 0])), Violation::LengthHighestBit);
    assert_eq!(refused(&long(&[0x80 | 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])), Violation::MessageTooBig);
}

#[test]
fn a_server_wants_masks_and_a_client_wants_none() {
    assert_eq!(refused(&frame(FIN | TEXT, b"hi", None)), Violation::Unmasked);
    let mut client = Ear::new(Role::Client, LIMITS);
    assert_eq!(client.hear(&frame(FIN | TEXT, b"hi", None)), Ok(()));
    assert_eq!(client.said, [text("hi")]);
    assert_eq!(client.hear(&masked(FIN | TEXT, b"hi")), Err(Violation::Masked));
}

// 2. Pings and pongs

#[test]
fn pings_and_pongs_of_0_to_125_bytes_arrive_and_longer_ones_are_refused() {
    for len in [0, 1, 124, 125] {
        let payload = vec![0xfe; len];
        let sent = [masked(FIN | PING, &payload), masked(FIN | PONG, &payload)].concat();
        assert_eq!(said(&sent), [Said::Ping(payload.clone()), Said::Pong(payload)]);
    }
    assert_eq!(refused(&masked(FIN | PING, &[0; 126])), Violation::ControlTooLong);
    assert_eq!(refused(&masked(FIN | PONG, &[0; 126])), Violation::ControlTooLong);
}

#[test]
fn ten_pings_in_a_row_arrive_in_order() {
    let sent: Vec<u8> = (0..10).flat_map(|i| masked(FIN | PING, &[i])).collect();
    assert_eq!(said(&sent), (0..10).map(|i| Said::Ping(vec![i])).collect::<Vec<_>>());
}

// 3. Reserved bits

#[test]
fn reserved_bits_are_refused_on_every_kind_of_frame_after_what_came_before() {
    for bits in 1..8_u8 {
        for opcode in [TEXT, BINARY, CLOSE, PING, PONG] {
            let sent = [masked(FIN | TEXT, b"before"), masked(FIN | bits << 4 | opcode, b"")].concat();
            assert_eq!(heard(&sent), (vec![text("before")], Err(Violation::ReservedBits)));
        }
    }
}

// 4. Opcodes

#[test]
fn reserved_opcodes_are_refused_and_named() {
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        for payload in [&b""[..], b"payload"] {
            assert_eq!(refused(&masked(FIN | opcode, payload)), Violation::ReservedOpcode(opcode));
        }
    }
}

// 5. Fragmentation

#[test]
fn fragments_are_put_together_empty_ones_too() {
    let sent = [masked(TEXT, b"ab"), masked(CONTINUE, b""), masked(CONTINUE, b"cd"), masked(FIN | CONTINUE, b"")];
    assert_eq!(said(&sent.concat()), [text("abcd")]);
    let sent = [masked(BINARY, b""), masked(FIN | CONTINUE, b"")];
    assert_eq!(said(&sent.concat()), [Said::Binary(Vec::new())]);
}

#[test]
fn control_frames_between_fragments_come_at_once_and_disturb_nothing() {
    let sent = [
        masked(TEXT, "smörg\u{e5}s".as_bytes().split_at(3).0),
        masked(FIN | PING, b"are you there"),
        masked(CONTINUE, "smörg\u{e5}s".as_bytes().split_at(3).1),
        masked(FIN | PONG, b""),
        masked(FIN | CONTINUE, b"bord"),
        masked(FIN | BINARY, b"next"),
    ];
    let expected = [
        Said::Ping(b"are you there".to_vec()),
        Said::Pong(Vec::new()),
        text("smörgåsbord"),
        Said::Binary(b"next".to_vec()),
    ];
    assert_eq!(said(&sent.concat()), expected);
}

#[test]
fn a_close_between_fragments_comes_at_once() {
    let sent = [masked(TEXT, b"never finished"), masked(FIN | CLOSE, &1001_u16.to_be_bytes())];
    assert_eq!(said(&sent.concat()), [Said::Close(Some((1001, String::new())))]);
}

#[test]
fn control_frames_may_not_be_fragmented() {
    for opcode in [CLOSE, PING, PONG] {
        assert_eq!(refused(&masked(opcode, b"")), Violation::ControlFragmented);
    }
}

#[test]
fn a_continuation_needs_a_beginning_and_a_beginning_needs_the_end_of_the_last() {
    assert_eq!(refused(&masked(CONTINUE, b"x")), Violation::NothingToContinue);
    assert_eq!(refused(&masked(FIN | CONTINUE, b"x")), Violation::NothingToContinue);
    let after = [masked(TEXT, b"a"), masked(FIN | CONTINUE, b"b"), masked(FIN | CONTINUE, b"c")];
    assert_eq!(heard(&after.concat()), (vec![text("ab")], Err(Violation::NothingToContinue)));
    for second in [TEXT, BINARY, FIN | TEXT, FIN | BINARY] {
        let sent = [masked(TEXT, b"a"), masked(second, b"b")];
        assert_eq!(refused(&sent.concat()), Violation::MessageUnfinished);
    }
}

#[test]
fn the_number_of_fragments_is_bounded_even_when_they_are_empty() {
    let fragments = |count: usize| {
        let middle = (2..count).flat_map(|_| masked(CONTINUE, b""));
        masked(BINARY, b"").into_iter().chain(middle).chain(masked(FIN | CONTINUE, b"")).collect::<Vec<u8>>()
    };
    assert_eq!(said(&fragments(1_024)), [Said::Binary(Vec::new())]);
    assert_eq!(refused(&fragments(1_025)), Violation::TooManyFragments);
    let twice = [fragments(1_024), fragments(1_024)].concat();
    assert_eq!(said(&twice).len(), 2, "each message is counted by itself");
}

#[test]
fn the_bytes_of_a_message_are_bounded_from_its_headers() {
    let limits = FrameLimits { message_bytes_max: 10, fragments_max: 4 };
    let header = |first: u8, len: u8| [&[first, 0x80 | len], &MASK[..]].concat();
    for (sent, outcome) in [
        (masked(FIN | BINARY, &[0; 10]), Ok(())),
        (header(FIN | BINARY, 11), Err(Violation::MessageTooBig)),
        ([masked(BINARY, &[0; 6]), masked(FIN | CONTINUE, &[0; 4])].concat(), Ok(())),
        ([masked(BINARY, &[0; 6]), header(FIN | CONTINUE, 5)].concat(), Err(Violation::MessageTooBig)),
        ([masked(TEXT, b"aaaa\xe2\x82"), header(FIN | CONTINUE, 5)].concat(), Err(Violation::MessageTooBig)),
        ([masked(BINARY, &[0; 6]), masked(FIN | PING, &[0; 11])].concat(), Ok(())),
    ] {
        assert_eq!(Ear::new(Role::Server, limits).hear(&sent), outcome, "{sent:x?}");
    }
}

#[test]
fn a_partial_keeps_a_small_buffer_for_the_next_message_and_drops_a_big_one() {
    let mut ear = Ear::new(Role::Server, LIMITS);
    for (len, held) in [(100, true), (50_000, false)] {
        let sent = [masked(BINARY, &vec![1; len]), masked(FIN | CONTINUE, b"")].concat();
        ear.hear(&sent).unwrap();
        assert!(ear.partial.is_idle());
        assert_eq!(ear.partial.bytes_held() > 0, held);
    }
}

// 6. UTF-8

#[test]
fn text_may_be_cut_anywhere_even_inside_a_character() {
    let whole = "Hello-µ@ßöäüàá-UTF-8!! κόσμε 😀\u{10ffff}";
    for cut in 0..=whole.len() {
        let (head, tail) = whole.as_bytes().split_at(cut);
        assert_eq!(said(&[masked(TEXT, head), masked(FIN | CONTINUE, tail)].concat()), [text(whole)]);
    }
    let by_byte: Vec<u8> = whole.bytes().flat_map(|byte| masked(CONTINUE, &[byte])).collect();
    assert_eq!(said(&[masked(TEXT, b""), by_byte, masked(FIN | CONTINUE, b"")].concat()), [text(whole)]);
}

#[test]
fn text_that_is_not_utf8_is_refused_whole_and_fragmented() {
    let bad: [&[u8]; 12] = [
        b"\xce\xba\xed\xa0\x80edited",
        b"\x80",
        b"\xbf",
        b"\xfe",
        b"\xff",
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xf0\x80\x80\xaf",
        b"\xf8\x88\x80\x80\x80",
        b"\xed\xbf\xbf",
        b"\xf4\x90\x80\x80",
        b"cut short \xe2\x82",
    ];
    for bytes in bad {
        assert_eq!(refused(&masked(FIN | TEXT, bytes)), Violation::TextNotUtf8, "{bytes:x?}");
        let (head, tail) = bytes.split_at(bytes.len() / 2);
        assert_eq!(refused(&[masked(TEXT, head), masked(FIN | CONTINUE, tail)].concat()), Violation::TextNotUtf8);
        assert_eq!(said(&masked(FIN | BINARY, bytes)), [Said::Binary(bytes.to_vec())], "binary is anything");
    }
}

/// How many bytes go in, one by one, before one is refused.
fn bytes_before_refusal(sent: &[u8]) -> usize {
    let mut ear = Ear::new(Role::Server, LIMITS);
    sent.chunks(1).take_while(|byte| ear.hear(byte).is_ok()).count()
}

#[test]
fn the_first_bad_byte_ends_it_in_the_middle_of_a_fragment_and_of_a_frame() {
    // Autobahn 6.4: κόσμε, then a code point beyond U+10FFFF whose second byte gives it away, then more text.
    let good = "κόσμε".as_bytes();
    let fragments = [masked(TEXT, good), masked(CONTINUE, b"\xf4\x90\x80\x80"), masked(FIN | CONTINUE, b"edited")];
    assert_eq!(bytes_before_refusal(&fragments.concat()), fragments[0].len() + 6 + 1);
    let payload = [good, b"\xf4\x90\x80\x80edited"].concat();
    assert_eq!(bytes_before_refusal(&masked(FIN | TEXT, &payload)), 6 + good.len() + 1);
    // The character begun by one fragment, broken by the first byte of the next.
    let broken = [masked(TEXT, b"\xe2\x82"), masked(FIN | CONTINUE, b"(later")];
    assert_eq!(bytes_before_refusal(&broken.concat()), broken[0].len() + 6);
}

#[test]
fn a_message_that_ends_inside_a_character_is_refused_though_each_byte_was_possible() {
    let sent = [masked(TEXT, b"ok"), masked(FIN | CONTINUE, b"\xf0\x9f\x98")];
    assert_eq!(refused(&sent.concat()), Violation::TextNotUtf8);
}

// 7. Closing

#[test]
fn a_close_carries_nothing_or_a_code_or_a_code_and_a_reason() {
    assert_eq!(said(&masked(FIN | CLOSE, b"")), [Said::Close(None)]);
    assert_eq!(said(&masked(FIN | CLOSE, b"\x03\xe8")), [Said::Close(Some((1000, String::new())))]);
    let longest = [&b"\x03\xe8"[..], &[b'x'; 123]].concat();
    assert_eq!(said(&masked(FIN | CLOSE, &longest)), [Said::Close(Some((1000, "x".repeat(123))))]);
}

#[test]
fn a_close_of_one_byte_or_of_126_or_with_a_broken_reason_is_refused() {
    assert_eq!(refused(&masked(FIN | CLOSE, b"\x03")), Violation::CloseTooShort);
    assert_eq!(refused(&masked(FIN | CLOSE, &[3; 126])), Violation::ControlTooLong);
    assert_eq!(refused(&masked(FIN | CLOSE, b"\x03\xe8\xce\xba\xed\xa0\x80")), Violation::CloseNotUtf8);
    assert_eq!(refused(&masked(FIN | CLOSE, b"\x03\xe8\xe2\x82")), Violation::CloseNotUtf8);
}

#[test]
fn close_codes_that_may_be_sent_are_taken_and_no_others() {
    let allowed =
        [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4001, 4503, 4999];
    for code in allowed {
        let sent = masked(FIN | CLOSE, &u16::to_be_bytes(code));
        assert_eq!(said(&sent), [Said::Close(Some((code, String::new())))]);
    }
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        assert_eq!(refused(&masked(FIN | CLOSE, &u16::to_be_bytes(code))), Violation::CloseCode(code));
    }
}

#[test]
fn each_violation_closes_with_the_code_of_its_group() {
    assert_eq!(Violation::ReservedBits.close_code(), 1002);
    assert_eq!(Violation::CloseCode(1005).close_code(), 1002);
    assert_eq!(Violation::NotDeflate.close_code(), 1002);
    assert_eq!(Violation::TextNotUtf8.close_code(), 1007);
    assert_eq!(Violation::MessageTooBig.close_code(), 1009);
    assert_eq!(Violation::TooManyFragments.close_code(), 1009);
    assert_eq!(Violation::InflatesTooBig.close_code(), 1009);
}

// Stopping in the middle of a read

#[test]
fn a_budget_may_stop_between_two_messages_and_go_on_later() {
    let sent =
        [masked(FIN | TEXT, b"one"), masked(TEXT, b"tw"), masked(FIN | CONTINUE, b"o"), masked(FIN | TEXT, b"three")];
    let mut rest = sent.concat();
    let mut partial = Partial::default();
    let mut said: Vec<Said> = Vec::new();
    while !rest.is_empty() {
        let mut reader = Reader::new(Role::Server, LIMITS, &mut rest);
        said.extend(reader.next(&mut partial).unwrap().map(Said::from));
        let unread = reader.unread().to_vec();
        assert!(partial.is_idle(), "a message handed out is not unfinished");
        rest = unread;
    }
    assert_eq!(said, [text("one"), text("two"), text("three")]);
}
